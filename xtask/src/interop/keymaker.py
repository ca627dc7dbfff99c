"""Keys that follow from the seed."""

from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519

CURVES = {"p192": (ec.SECP192R1, 24), "p256": (ec.SECP256R1, 32), "p384": (ec.SECP384R1, 48)}
SMALL_PRIMES = [n for n in range(3, 2000, 2) if all(n % d for d in range(3, int(n**0.5) + 1, 2))]


def rsa_key(random, bits):
    while True:
        p, q = prime(random, bits // 2), prime(random, bits // 2)
        n = p * q
        if p != q and n.bit_length() == bits and (p - 1) % 65537 and (q - 1) % 65537:
            break
    d = pow(65537, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(65537, n)
    parts = (rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q))
    return rsa.RSAPrivateNumbers(p, q, d, *parts, public).private_key()


def prime(random, bits):
    while True:
        candidate = random.getrandbits(bits) | 1 | 3 << (bits - 2)
        if all(candidate % small for small in SMALL_PRIMES) and pow(2, candidate - 1, candidate) == 1:
            if all(pow(random.randrange(3, candidate), candidate - 1, candidate) == 1 for _ in range(4)):
                return candidate


def ec_key(random, curve):
    kind, length = CURVES[curve]
    return ec.derive_private_key(random.getrandbits(8 * length - 1) | 1, kind())


def ed25519_key(random):
    return ed25519.Ed25519PrivateKey.from_private_bytes(random.randbytes(32))


def x25519_key(random):
    return x25519.X25519PrivateKey.from_private_bytes(random.randbytes(32))


def save(area, name, key, traditional=False):
    """NAME.pem and NAME.pub; the paths of both."""
    style = form.PrivateFormat.TraditionalOpenSSL if traditional else form.PrivateFormat.PKCS8
    private = key.private_bytes(form.Encoding.PEM, style, form.NoEncryption())
    public = key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    return area.write(f"{name}.pem", private), area.write(f"{name}.pub", public)

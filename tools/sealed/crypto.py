"""Primitives: hashes, HKDF, strict signature checks, HPKE and key wrap, content ciphers.

The library does the arithmetic that takes skill; what the format asks beyond it (canonical and small-order
checks of Ed25519, low-S, the composition of HPKE) is written out here.
"""

import hashlib
import hmac

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils, x25519
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

ED25519, P256, LMS = -19, -9, -46
RAW = (serialization.Encoding.Raw, serialization.PublicFormat.Raw)
POINT = (serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ED_P = 2**255 - 19
ED_L = 2**252 + 27742317777372353535851937790883648493
ED_D = -121665 * pow(121666, -1, ED_P) % ED_P
ED_I = pow(2, (ED_P - 1) // 4, ED_P)


class Bad(Exception):
    """A primitive refused its input; the caller knows which field that was. args: reason, detail."""


def sha256(*parts):
    state = hashlib.sha256()
    for part in parts:
        state.update(part)
    return state.digest()


def hkdf_extract(salt, ikm):
    return hmac.digest(salt or bytes(32), ikm, "sha256")


def hkdf_expand(prk, info, length):
    out, block, counter = b"", b"", 1
    while len(out) < length:
        block = hmac.digest(prk, block + info + bytes([counter]), "sha256")
        out, counter = out + block, counter + 1
    return out[:length]


def hkdf(ikm, info, length, salt=b""):
    return hkdf_expand(hkdf_extract(salt, ikm), info, length)


# --- Ed25519 -----------------------------------------------------------------------------------------------


def ed_decode(encoded):
    """RFC 8032 section 5.1.3, strictly: the one encoding of a point, or a refusal."""
    y = int.from_bytes(encoded, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    if y >= ED_P:
        raise Bad("bad-key", "y is not below the field prime")
    square = (y * y - 1) * pow(ED_D * y * y + 1, -1, ED_P) % ED_P
    x = pow(square, (ED_P + 3) // 8, ED_P)
    if (x * x - square) % ED_P:
        x = x * ED_I % ED_P
    if (x * x - square) % ED_P:
        raise Bad("bad-key", "no point has this encoding")
    if x == 0 and sign:
        raise Bad("bad-key", "minus zero")
    return (x if x & 1 == sign else ED_P - x), y


def ed_add(a, b):
    (x1, y1), (x2, y2) = a, b
    product = ED_D * x1 * x2 * y1 * y2 % ED_P
    x3 = (x1 * y2 + x2 * y1) * pow(1 + product, -1, ED_P)
    y3 = (y1 * y2 + x1 * x2) * pow(1 - product, -1, ED_P)
    return x3 % ED_P, y3 % ED_P


def ed_check_point(encoded):
    """Canonical and outside the eight-element subgroup."""
    point = ed_decode(encoded)
    for _ in range(3):
        point = ed_add(point, point)
    if point == (0, 1):
        raise Bad("bad-key", "the point has order 1, 2, 4 or 8")


def ed25519_verify(public, message, signature):
    ed_check_point(public)
    try:
        ed_check_point(signature[:32])
    except Bad as bad:
        raise Bad("bad-signature", f"R: {bad.args[1]}") from None
    if int.from_bytes(signature[32:], "little") >= ED_L:
        raise Bad("bad-signature", "S is not below the group order")
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        raise Bad("bad-signature", "does not verify") from None


# --- ECDSA P-256 -------------------------------------------------------------------------------------------


def p256_point(encoded):
    if len(encoded) != 65 or encoded[0] != 4:
        raise Bad("bad-key", "an uncompressed point of 65 bytes is expected")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), encoded)
    except ValueError:
        raise Bad("bad-key", "not a point of P-256") from None


def p256_verify(public, message, signature):
    key = p256_point(public)
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if not 1 <= r < P256_ORDER or not 1 <= s < P256_ORDER:
        raise Bad("bad-signature", "r and s lie in 1..n-1")
    if s > (P256_ORDER - 1) // 2:
        raise Bad("high-s", "only the smaller of s and n-s is accepted")
    try:
        key.verify(utils.encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise Bad("bad-signature", "does not verify") from None


def p256_sign(private, message):
    """Deterministic (RFC 6979) and low-S; 64 bytes r||s."""
    der = private.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    r, s = utils.decode_dss_signature(der)
    return r.to_bytes(32, "big") + min(s, P256_ORDER - s).to_bytes(32, "big")


# --- HPKE base mode (RFC 9180), HKDF-SHA256, ChaCha20-Poly1305, one message --------------------------------


class X25519Kem:
    suite, kem_id, enc_len = 1, 0x0020, 32

    @staticmethod
    def exchange(private, public):
        try:
            return private.exchange(x25519.X25519PublicKey.from_public_bytes(public))
        except ValueError:
            raise Bad("bad-key", "the shared secret is all zero") from None

    @staticmethod
    def public(private):
        return private.public_key().public_bytes(*RAW)


class P256Kem:
    suite, kem_id, enc_len = 2, 0x0010, 65

    @staticmethod
    def exchange(private, public):
        return private.exchange(ec.ECDH(), p256_point(public))

    @staticmethod
    def public(private):
        return private.public_key().public_bytes(*POINT)


KEMS = {1: X25519Kem, 2: P256Kem}


def labeled_extract(suite_id, salt, label, ikm):
    return hkdf_extract(salt, b"HPKE-v1" + suite_id + label + ikm)


def labeled_expand(suite_id, prk, label, info, length):
    return hkdf_expand(prk, length.to_bytes(2, "big") + b"HPKE-v1" + suite_id + label + info, length)


def hpke_key(kem, dh, enc, recipient, info):
    """AEAD key and nonce of the first message."""
    kem_suite = b"KEM" + kem.kem_id.to_bytes(2, "big")
    shared = labeled_expand(kem_suite, labeled_extract(kem_suite, b"", b"eae_prk", dh), b"shared_secret", enc + recipient, 32)
    suite = b"HPKE" + kem.kem_id.to_bytes(2, "big") + b"\x00\x01" + b"\x00\x03"
    context = b"\x00" + labeled_extract(suite, b"", b"psk_id_hash", b"") + labeled_extract(suite, b"", b"info_hash", info)
    secret = labeled_extract(suite, shared, b"secret", b"")
    return labeled_expand(suite, secret, b"key", context, 32), labeled_expand(suite, secret, b"base_nonce", context, 12)


def hpke_seal(kem, ephemeral, recipient, info, plaintext):
    enc = kem.public(ephemeral)
    key, nonce = hpke_key(kem, kem.exchange(ephemeral, recipient), enc, recipient, info)
    return enc + ChaCha20Poly1305(key).encrypt(nonce, plaintext, b"")


def hpke_open(kem, private, info, sealed):
    enc, ciphertext = sealed[: kem.enc_len], sealed[kem.enc_len :]
    key, nonce = hpke_key(kem, kem.exchange(private, enc), enc, kem.public(private), info)
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, ciphertext, b"")
    except InvalidTag:
        raise Bad("unwrap-failed", "the envelope does not open with this key") from None


def key_wrap(kek, key):
    return keywrap.aes_key_wrap(kek, key)


def key_unwrap(kek, wrapped):
    try:
        return keywrap.aes_key_unwrap(kek, wrapped)
    except keywrap.InvalidUnwrap:
        raise Bad("unwrap-failed", "the envelope does not open with this key") from None


# --- Content ciphers ---------------------------------------------------------------------------------------


def content_cipher(suite, key, data, offset=0):
    """Encrypts or decrypts bytes that start at `offset` of a component; `offset` is a multiple of 64."""
    if suite == 0:
        return data
    if suite == 1:
        counter = bytes(12) + (offset // 16).to_bytes(4, "big")
        cipher = Cipher(algorithms.AES(key), modes.CTR(counter))
    else:
        counter = (offset // 64).to_bytes(4, "little") + bytes(12)
        cipher = Cipher(algorithms.ChaCha20(key, counter), mode=None)
    return cipher.encryptor().update(data)

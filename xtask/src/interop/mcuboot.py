"""MCUboot images against imgtool. It makes encrypted images and opens none: ours are unwrapped here and put back into its hands in
the clear, where it checks hash and signature."""

import struct

import keymaker
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec, padding, x25519
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from frame import equal, quiet, refuses
from imgtool.main import imgtool

# Kinds of the signing key and of the wrap that belong together, and whether SHA-512 derives.
PAIRS = [("rsa", "rsa", False), ("p256", "p256", False), ("ed25519", "x25519", False), ("ed25519", "x25519", True)]
ENC_RSA, ENC_P256, ENC_X25519, ENC_X25519_SHA512 = 0x30, 0x32, 0x33, 0x34


def run(area):
    random = area.random
    keys = {
        "rsa": [keymaker.rsa_key(random, 2048) for _ in range(3)],
        "p256": [keymaker.ec_key(random, "p256") for _ in range(3)],
        "ed25519": [keymaker.ed25519_key(random) for _ in range(3)],
        "x25519": [keymaker.x25519_key(random) for _ in range(3)],
    }
    for kind, some in keys.items():
        for number, key in enumerate(some):
            keymaker.save(area, f"{kind}-{number}", key)
    for number in range(32):
        signer, wrap, is_sha512 = PAIRS[number % len(PAIRS)]
        image(area, number, (signer, wrap, is_sha512), keys)


def image(area, number, pair, keys):
    signer, wrap, is_sha512 = pair
    random = area.random
    length = random.choice([1, 16, 31, 1000, 4096, 50_000])
    header = random.choice([32, 256, 512])
    bits = random.choice([128, 256])
    version = f"{random.randrange(256)}.{random.randrange(256)}.{random.randrange(65536)}+{random.randrange(1 << 32)}"
    counter = random.randrange(1 << 31) if random.random() < 0.5 else None
    plain = area.noise(length)
    area.write("plain.bin", plain)
    padded = plain + bytes(-length % 16)
    signing, wrapping = f"{signer}-{random.randrange(2)}", f"{wrap}-2" if wrap != "x25519" else f"x25519-{random.randrange(3)}"
    what = f"#{number} {signer} and {wrap}{', SHA-512' if is_sha512 else ''}, {bits} bits, {length} bytes behind {header}, {version}"
    with area.case(f"ours opens theirs: {what}", "imgtool"):
        options = ["--encrypt-keylen", str(bits), *(["--hmac-sha", "512"] if is_sha512 else [])]
        options += ["--security-counter", str(counter)] if counter is not None else []
        theirs("sign", "--key", area.path(f"{signing}.pem"), "--encrypt", area.path(f"{wrapping}.pub"), "--version", version, "--align", "4",
               "-H", header, "--pad-header", "-S", 0x100000, *options, area.path("plain.bin"), area.path("theirs.img"))
        area.ours("bridge", "mcuboot", "verify", "--verify", f"{signing}.pub", "--key", f"{wrapping}.pem", "theirs.img")
        area.ours("bridge", "mcuboot", "decrypt", "--verify", f"{signing}.pub", "--key", f"{wrapping}.pem", "theirs.img", "back.bin", "--force")
        equal(area.read("back.bin"), padded)
    with area.case(f"ours refuses theirs when a bit changed: {what}", "imgtool"):
        changed = bytearray(area.read("theirs.img"))
        changed[random.randrange(header, header + len(padded))] ^= 1 << random.randrange(8)
        area.write("changed.img", bytes(changed))
        area.ours_refuses("bridge", "mcuboot", "verify", "--verify", f"{signing}.pub", "--key", f"{wrapping}.pem", "changed.img")
    with area.case(f"theirs verifies ours: {what}", "imgtool"):
        options = ["--sha512"] if is_sha512 else []
        options += ["--security-counter", counter] if counter is not None else []
        area.ours("bridge", "mcuboot", "encrypt", "--sign", f"{signing}.pem", "--to", f"{wrapping}.pub", "--version", version, "--key-bits", bits,
                  "--header-size", header, *options, "plain.bin", "ours.img", "--force")
        clear, aes_key = in_the_clear(area.read("ours.img"), keys[wrap][int(wrapping[-1])])
        equal(clear[header:header + len(padded)], padded)
        equal(len(aes_key) * 8, bits, "lengths of the key")
        area.write("clear.img", clear)
        theirs("verify", "--key", area.path(f"{signing}.pub"), area.path("clear.img"))
    with area.case(f"theirs refuses ours for another signer: {what}", "imgtool"):
        other = f"{signer}-{1 - int(signing[-1])}"
        refuses(theirs, "verify", "--key", area.path(f"{other}.pub"), area.path("clear.img"))
    with area.case(f"the same header: {what}", "imgtool"):
        # What follows up to the firmware is free: imgtool fills it with 0xFF.
        equal(area.read("ours.img")[:32], area.read("theirs.img")[:32], "headers")


def theirs(*arguments):
    quiet(imgtool, [str(argument) for argument in arguments], standalone_mode=False)


def in_the_clear(data, private):
    """The image with its body decrypted, and the key that did it."""
    _, _, header_len, protected_len, body_len = struct.unpack_from("<IIHHI", data)
    body = slice(header_len, header_len + body_len)
    aes_key = unwrapped(records(data[body.stop + protected_len:]), private)
    cipher = Cipher(algorithms.AES(aes_key), modes.CTR(bytes(16))).decryptor()
    return data[:header_len] + cipher.update(data[body]) + data[body.stop:], aes_key


def records(area):
    magic, total = struct.unpack_from("<HH", area)
    equal(magic, 0x6907, "magic numbers of the records")
    found, place = {}, 4
    while place < total:
        kind, length = struct.unpack_from("<HH", area, place)
        found[kind] = area[place + 4:place + 4 + length]
        place += 4 + length
    return found


def unwrapped(found, private):
    if ENC_RSA in found:
        mask = padding.MGF1(hashes.SHA256())
        return private.decrypt(found[ENC_RSA], padding.OAEP(mask, hashes.SHA256(), None))
    sha = hashes.SHA512() if ENC_X25519_SHA512 in found else hashes.SHA256()
    if ENC_P256 in found:
        wrap, point_len = found[ENC_P256], 65
        shared = private.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), wrap[:65]))
    else:
        wrap, point_len = found.get(ENC_X25519) or found[ENC_X25519_SHA512], 32
        shared = private.exchange(x25519.X25519PublicKey.from_public_bytes(wrap[:32]))
    tag, wrapped = wrap[point_len:point_len + sha.digest_size], wrap[point_len + sha.digest_size:]
    derived = HKDF(sha, len(wrapped) + sha.digest_size, None, b"MCUBoot_ECIES_v1").derive(shared)
    check = hmac.HMAC(derived[len(wrapped):], sha)
    check.update(wrapped)
    check.verify(tag)
    return Cipher(algorithms.AES(derived[:len(wrapped)]), modes.CTR(bytes(16))).decryptor().update(wrapped)

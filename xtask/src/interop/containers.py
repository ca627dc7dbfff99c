"""Espressif's pre-encrypted images: the scheme of esp_enc_img_gen.py, which is on no index, written down once more.

What stands here follows esp_encrypted_img 2.7 (`tools/esp_enc_img_gen.py`, `src/esp_encrypted_img.c`): a header of 512 bytes, then
AES-256-GCM with an IV of 16 bytes. The key is wrapped by RSA-3072 (PKCS#1 v1.5), or agreed on with P-256 and HKDF.
"""

import struct

import keymaker
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from frame import Different, equal

MAGIC = 0x0788B6CF
DEVICE_SALT = bytes.fromhex("0e2160642dae76d33448e43d7720123d9f3b1eceb88e573a4e8f7fb94ff0c869")
TOOL = "esp_enc_img_gen's scheme"


def run(area):
    for number in range(18):
        pair(area, f"rsa #{number}", *keymaker.save(area, "rsa", rsa_key(area, number)))
    for number in range(18):
        secret = area.random.randbytes(32)
        key = device_key(secret)
        private, public = keymaker.save(area, "device", key)
        hmac_key = area.write("hmac.key", secret)
        with area.case(f"key of a device #{number}", TOOL):
            area.ours("esp", "encrypted-img", "device-key", "--hmac-key", hmac_key, "-o", "ours.pub", "--force")
            equal(form.load_pem_public_key(area.read("ours.pub")).public_numbers(), key.public_key().public_numbers(), "public keys")
        pair(area, f"p-256 #{number}", private, public, hmac_key)


def rsa_key(area, number, made={}):
    if number % 6 == 0:
        made["key"] = keymaker.rsa_key(area.random, 3072)
    return made["key"]


def pair(area, what, private, public, hmac_key=None):
    length = area.random.choice([0, 1, 15, 16, 17, 31, 1000, 4096, 100_000])
    plain = area.noise(length)
    area.write("plain.bin", plain)
    what = f"{what}, {length} bytes"
    key = form.load_pem_private_key(open(private, "rb").read(), None)
    if length:
        with area.case(f"theirs opens ours: {what}", TOOL):
            area.ours("esp", "encrypted-img", "encrypt", "--key", public, "plain.bin", "ours.enc", "--force")
            equal(unwrap(key, area.read("ours.enc")), plain)
    area.write("theirs.enc", wrap(area.random, key.public_key(), plain))
    with area.case(f"ours opens theirs: {what}", TOOL):
        opened_by = ("--hmac-key", hmac_key) if hmac_key else ("--key", private)
        area.ours("esp", "encrypted-img", "decrypt", *opened_by, "theirs.enc", "back.bin", "--force")
        equal(area.read("back.bin"), plain)
    changed = bytearray(area.read("theirs.enc"))
    place = area.random.choice([area.random.randrange(4, 68), area.random.randrange(388, 424), len(changed) - 1 if length else 400])
    changed[place] ^= 1 << area.random.randrange(8)
    area.write("changed.enc", bytes(changed))
    with area.case(f"both refuse a change at {place}: {what}", TOOL):
        area.ours_refuses("esp", "encrypted-img", "decrypt", *opened_by, "changed.enc", "no.bin")
        try:
            unwrap(key, bytes(changed))
        except Exception:
            pass
        else:
            raise Different("the scheme accepts it")


def device_key(secret):
    scalar = PBKDF2HMAC(hashes.SHA256(), 32, DEVICE_SALT, 2048).derive(secret)
    return ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP256R1())


def wrap(random, public, plain):
    iv = random.randbytes(16)
    if isinstance(public, ec.EllipticCurvePublicKey):
        ephemeral, salt = keymaker.ec_key(random, "p256"), random.randbytes(32)
        numbers = ephemeral.public_key().public_numbers()
        key = agreed(ephemeral.exchange(ec.ECDH(), public), salt)
        block = numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big") + salt + bytes(288)
    else:
        key = random.randbytes(32)
        block = public.encrypt(key, padding.PKCS1v15())
    sealed = AESGCM(key).encrypt(iv, plain, None)
    header = struct.pack("<I384s16sI16s88s", MAGIC, block, iv, len(plain), sealed[len(plain):], bytes(88))
    return header + sealed[:len(plain)]


def unwrap(private, container):
    magic, block, iv, length, tag, _ = struct.unpack("<I384s16sI16s88s", container[:512])
    equal(magic, MAGIC, "magic numbers")
    equal(length, len(container) - 512, "lengths")
    if isinstance(private, ec.EllipticCurvePrivateKey):
        numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(block[:32], "big"), int.from_bytes(block[32:64], "big"), ec.SECP256R1())
        key = agreed(private.exchange(ec.ECDH(), numbers.public_key()), block[64:96])
    else:
        key = private.decrypt(block, padding.PKCS1v15())
    return AESGCM(key).decrypt(iv, container[512:] + tag, None)


def agreed(shared, salt):
    return HKDF(hashes.SHA256(), 32, salt, b"_esp_enc_img_ecc").derive(shared)

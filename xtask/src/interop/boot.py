"""Secure boot: signatures in both directions, several blocks, digests of keys."""

import espsecure
import images
import keymaker
from frame import equal, quiet, refuses

# For which chip an image is made that may carry this kind of signature.
KINDS = {"rsa3072": "esp32c3", "p192": "esp32c6", "p256": "esp32c6", "p384": "esp32p4"}


def run(area):
    keys = {"rsa3072": [keymaker.rsa_key(area.random, 3072) for _ in range(3)]}
    for curve in keymaker.CURVES:
        keys[curve] = [keymaker.ec_key(area.random, curve) for _ in range(3)]
    for kind, some in keys.items():
        for number, key in enumerate(some):
            keymaker.save(area, f"{kind}-{number}", key)
        digests(area, kind)
        for number in range(6):
            version_2(area, kind, number)
    for number in range(8):
        keymaker.save(area, "v1", keymaker.ec_key(area.random, "p256"), traditional=True)
        version_1(area, number)


def digests(area, kind):
    for number in range(3):
        for half in ("pem", "pub"):
            with area.case(f"digest of {kind} key {number}, {half}", "espsecure"):
                area.ours("esp", "key-digest", "--key", f"{kind}-{number}.{half}", "ours.digest", "--force")
                theirs("digest-sbv2-public-key", "--keyfile", area.path(f"{kind}-{number}.{half}"), "--output", area.path("their.digest"))
                equal(area.read("ours.digest"), area.read("their.digest"))


def version_2(area, kind, number):
    image = images.build(area.random, KINDS[kind])
    area.write("image.bin", image)
    key, other = area.random.sample(range(3), 2)
    key, other = f"{kind}-{key}", f"{kind}-{other}"
    what = f"v2 {kind} #{number}"
    with area.case(f"theirs verifies ours: {what}", "espsecure"):
        area.ours("esp", "sign", "--scheme", "v2", "--key", f"{key}.pem", "image.bin", "ours.signed", "--force")
        verify(area, "2", f"{key}.pub", "ours.signed")
    with area.case(f"theirs refuses ours under another key: {what}", "espsecure"):
        refuses(verify, area, "2", f"{other}.pub", "ours.signed")
    with area.case(f"ours verifies theirs: {what}", "espsecure"):
        sign(area, "2", [key], "image.bin", "theirs.signed")
        area.ours("esp", "verify-signature", "--scheme", "v2", "--key", f"{key}.pub", "theirs.signed")
        area.ours_refuses("esp", "verify-signature", "--scheme", "v2", "--key", f"{other}.pub", "theirs.signed")
    with area.case(f"the same but for the signature: {what}", "espsecure"):
        ours, their = area.read("ours.signed"), area.read("theirs.signed")
        equal(len(ours), len(their), "lengths")
        block = len(ours) - 4096
        equal(ours[:block], their[:block], "images")
        until = {"rsa3072": 812, "p192": 101, "p256": 101, "p384": 149}[kind]
        equal(ours[block:block + until], their[block:block + until], "blocks before the signature")
        equal(ours[block + 1200:], their[block + 1200:], "rest of the sector")
    with area.case(f"ours appends to theirs: {what}", "espsecure"):
        area.ours("esp", "sign", "--scheme", "v2", "--append", "--key", f"{other}.pem", "theirs.signed", "both.signed", "--force")
        verify(area, "2", f"{key}.pub", "both.signed")
        verify(area, "2", f"{other}.pub", "both.signed")
    with area.case(f"theirs appends to ours: {what}", "espsecure"):
        sign(area, "2", [other], "ours.signed", "both.signed", "--append-signatures")
        for each in (key, other):
            area.ours("esp", "verify-signature", "--scheme", "v2", "--key", f"{each}.pub", "both.signed")


def version_1(area, number):
    area.write("image.bin", images.build(area.random, "esp32"))
    with area.case(f"v1 signatures are the same #{number}", "espsecure"):
        area.ours("esp", "sign", "--scheme", "v1", "--key", "v1.pem", "image.bin", "ours.signed", "--force")
        sign(area, "1", ["v1"], "image.bin", "theirs.signed")
        equal(area.read("ours.signed"), area.read("theirs.signed"))
    with area.case(f"v1 verified by both #{number}", "espsecure"):
        verify(area, "1", "v1.pub", "ours.signed")
        area.ours("esp", "verify-signature", "--scheme", "v1", "--key", "v1.pub", "theirs.signed")


def sign(area, version, keys, source, target, *options):
    files = [part for key in keys for part in ("--keyfile", area.path(f"{key}.pem"))]
    theirs("sign-data", "--version", version, *files, "--output", area.path(target), *options, area.path(source))


def verify(area, version, key, signed):
    theirs("verify-signature", "--version", version, "--keyfile", area.path(key), area.path(signed))


def theirs(*arguments):
    quiet(espsecure.main, list(arguments))

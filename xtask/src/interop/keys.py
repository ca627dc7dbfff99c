"""Key files and bare AES-CBC against the openssl program."""

import images
import keymaker
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from frame import Different, equal, openssl

TOOL = "openssl"


def run(area):
    for number in range(24):
        cbc(area, number)
    for kind in ("signing", "signing-p256", "device", "device-p256"):
        for number in range(2):
            with area.case(f"openssl reads our {kind} key #{number}", TOOL):
                area.ours("key", "new", "--kind", kind, "-o", "ours", "--force")
                of_private = openssl("pkey", "-in", area.path("ours.key"), "-pubout")
                of_public = openssl("pkey", "-pubin", "-in", area.path("ours.pub"), "-pubout")
                equal(of_public, of_private, "public keys")
    for kind, options in {
        "signing": ["-algorithm", "ed25519"],
        "signing-p256": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    }.items():
        for number in range(3):
            with area.case(f"we read openssl's {kind} key #{number}", TOOL):
                openssl("genpkey", *options, "-out", area.path("theirs.pem"))
                area.write("theirs.pub", openssl("pkey", "-in", area.path("theirs.pem"), "-pubout"))
                area.ours("keyset", "new", "--vendor", "example.com", "--root", "theirs.pem", "--release", "theirs.pub", "-o", "keyset", "--force")
                area.ours("keyset", "show", "keyset")
    for number in range(6):
        digest(area, number)


def cbc(area, number):
    random = area.random
    length = random.choice([1, 15, 16, 17, 1000, 4096, 70_000])
    plain, key = area.noise(length), random.randbytes(32)
    area.write("plain.bin", plain)
    area.write("fleet.key", key)
    is_signed = number % 2 == 1
    private, public = keymaker.save(area, "signer", keymaker.ec_key(random, "p256"))
    what = f"#{number}, {length} bytes{', signed' if is_signed else ''}"
    with area.case(f"openssl opens our AES-CBC: {what}", TOOL):
        signing = ["--sign", private] if is_signed else []
        area.ours("bridge", "aes-cbc", "encrypt", "--key", "fleet.key", *signing, "plain.bin", "ours.bin", "--force")
        ours = area.read("ours.bin")
        end = 16 + length + 16 - length % 16
        area.write("ours.ct", ours[16:end])
        equal(decrypt(area, key, ours[:16], "ours.ct"), plain)
        if is_signed:
            area.write("ours.sig", der(ours[end:]))
            area.write("ours.body", ours[:end])
            openssl("dgst", "-sha256", "-verify", public, "-signature", area.path("ours.sig"), area.path("ours.body"))
    with area.case(f"we open openssl's AES-CBC: {what}", TOOL):
        iv = random.randbytes(16)
        theirs = iv + openssl("enc", "-aes-256-cbc", "-K", key.hex(), "-iv", iv.hex(), "-in", area.path("plain.bin"))
        checking = []
        if is_signed:
            area.write("theirs.body", theirs)
            theirs += raw(openssl("dgst", "-sha256", "-sign", private, area.path("theirs.body")))
            checking = ["--verify", public]
        area.write("theirs.bin", theirs)
        area.ours("bridge", "aes-cbc", "decrypt", "--key", "fleet.key", *checking, "theirs.bin", "back.bin", "--force")
        equal(area.read("back.bin"), plain)


def decrypt(area, key, iv, name):
    return openssl("enc", "-d", "-aes-256-cbc", "-K", key.hex(), "-iv", iv.hex(), "-in", area.path(name))


def digest(area, number):
    """A signature that openssl made of what we ask to be signed."""
    area.write("image.bin", images.build(area.random, "esp32c6"))
    with area.case(f"openssl signs what we ask for #{number}", TOOL):
        private, public = keymaker.save(area, "boot", keymaker.ec_key(area.random, "p256"))
        area.ours("esp", "sign-request", "--scheme", "v2", "image.bin", "-o", "request.bin", "--force")
        area.write("request.sig", openssl("dgst", "-sha256", "-sign", private, area.path("request.bin")))
        area.ours("esp", "attach-signature", "--scheme", "v2", "--key", public, "--signature", "request.sig", "image.bin", "signed.bin", "--force")
        area.ours("esp", "verify-signature", "--scheme", "v2", "--key", public, "signed.bin")


def raw(signature):
    return b"".join(part.to_bytes(32, "big") for part in decode_dss_signature(signature))


def der(signature):
    if len(signature) != 64:
        raise Different(f"the signature has {len(signature)} bytes")
    return encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))

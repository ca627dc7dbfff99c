"""Flash encryption against espsecure: every scheme, any place, both directions."""

import espsecure
from frame import equal, quiet, refuses

# chip, bytes of the key
SCHEMES = [("esp32", 32), ("esp32", 24), ("esp32c3", 32), ("esp32c2", 32), ("esp32c2", 16), ("esp32s3", 64), ("esp32s2", 32), ("esp32p4", 64)]
LENGTHS = [16, 32, 48, 112, 128, 144, 240, 1024, 4096, 4112, 8208, 65536]


def run(area):
    for number in range(72):
        chip, key_len = SCHEMES[number % len(SCHEMES)]
        region(area, number, chip, key_len)
    for length in (0, 8, 17, 100):
        for chip, key_len in (("esp32c3", 32), ("esp32s3", 64)):
            area.write("key.bin", area.random.randbytes(key_len))
            area.write("odd.bin", area.noise(length))
            with area.case(f"{length} bytes are refused for {chip}", "espsecure"):
                area.ours_refuses("esp", "flash-encrypt", "--chip", chip, "--key", "key.bin", "--address", "0x1000", "odd.bin", "no.bin")
                refuses(theirs, area, "encrypt-flash-data", chip, "key.bin", 0x1000, "odd.bin", "no.bin", None)


def region(area, number, chip, key_len):
    random = area.random
    length = random.choice(LENGTHS)
    limit = 1 << 24 if chip == "esp32" else 1 << 32
    address = random.randrange(0, limit - length, 16)
    if random.random() < 0.5:
        address &= 0xFFFFFF & ~0xFFF
    config = random.randrange(16) if chip == "esp32" and random.random() < 0.7 else None
    area.write("key.bin", random.randbytes(key_len))
    plain = area.noise(length)
    area.write("plain.bin", plain)
    place = ["--chip", chip, "--key", "key.bin", "--address", hex(address)]
    if config is not None:
        place += ["--flash-crypt-conf", config]
    what = f"#{number} {chip}, key of {key_len}, {length} bytes at {address:#x}, config {config}"
    with area.case(f"encrypted alike: {what}", "espsecure"):
        area.ours("esp", "flash-encrypt", *place, "plain.bin", "ours.bin", "--force")
        theirs(area, "encrypt-flash-data", chip, "key.bin", address, "plain.bin", "theirs.bin", config)
        equal(area.read("ours.bin"), area.read("theirs.bin"))
    with area.case(f"ours decrypts theirs: {what}", "espsecure"):
        area.ours("esp", "flash-decrypt", *place, "theirs.bin", "back.bin", "--force")
        equal(area.read("back.bin"), plain)
    with area.case(f"theirs decrypts ours: {what}", "espsecure"):
        theirs(area, "decrypt-flash-data", chip, "key.bin", address, "ours.bin", "back.bin", config)
        equal(area.read("back.bin"), plain)


def theirs(area, command, chip, key, address, source, target, config):
    scheme = [] if chip == "esp32" else ["--aes-xts"]
    options = ["--keyfile", area.path(key), "--address", hex(address), "--output", area.path(target)]
    if config is not None:
        options += ["--flash-crypt-conf", hex(config)]
    quiet(espsecure.main, [command, *scheme, *options, area.path(source)])

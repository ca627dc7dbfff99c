"""Images that esptool's own classes write, and what both sides read in them."""

import struct

from esptool.bin_image import ELFSection, LoadFirmwareImage
from esptool.targets import CHIP_DEFS
from frame import Different, equal, quiet

CHIPS = ["esp32", "esp32s2", "esp32c3", "esp32s3", "esp32c2", "esp32c6", "esp32h2", "esp32p4", "esp32c61", "esp32c5"]


def run(area):
    for number in range(40):
        chip = CHIPS[number % len(CHIPS)]
        image(area, number, chip)


def image(area, number, chip):
    data = build(area.random, chip)
    path = area.write("image.bin", data)
    what = f"#{number} {chip}, {len(data)} bytes"
    with area.case(f"both read the same: {what}", "esptool"):
        ours = area.ours_json("esp", "info", "image.bin")
        theirs = load(chip, path)
        equal(ours["chip"], chip, "chips")
        equal(ours["chip_id"], theirs.chip_id, "chip ids")
        equal(ours["entry"], theirs.entrypoint, "entries")
        equal(ours["checksum"], theirs.checksum, "checksums")
        equal(ours["sha256"], theirs.stored_digest.hex(), "digests")
        equal((ours["min_rev_full"], ours["max_rev_full"]), (theirs.min_rev_full, theirs.max_rev_full), "revisions")
        segments = [(each["load_addr"], each["len"]) for each in ours["segments"]]
        equal(segments, [(each.addr, len(each.data)) for each in theirs.segments], "segments")
        equal(ours["image_len"], theirs.data_length + 32, "lengths")
    place = area.random.randrange(24 + 8, len(data) - 33)
    damaged = bytearray(data)
    damaged[place] ^= 1 << area.random.randrange(8)
    path = area.write("damaged.bin", bytes(damaged))
    with area.case(f"both find the bit flipped at {place}: {what}", "esptool"):
        area.ours_refuses("esp", "info", "damaged.bin")
        if theirs_accept(chip, path):
            raise Different("esptool finds nothing wrong")


def theirs_accept(chip, path):
    try:
        loaded = load(chip, path)
    except Exception:
        return False
    return loaded.stored_digest == loaded.calc_digest and loaded.checksum == loaded.calculate_checksum()


def load(chip, path):
    loaded = []
    quiet(lambda: loaded.append(LoadFirmwareImage(chip, path)))
    return loaded[0]


def build(random, chip, size=None):
    """An application: a segment of constants with a descriptor, then code in RAM, perhaps code in flash."""
    rom = CHIP_DEFS[chip]
    made = rom.BOOTLOADER_IMAGE()
    made.entrypoint = 4 * random.randrange(1 << 30)
    made.flash_mode = random.choice([0, 2])
    made.flash_size_freq = random.choice([0x10, 0x20, 0x30]) | 0xF
    made.min_rev_full, made.max_rev_full = random.randrange(200), random.randrange(200, 400)
    made.chip_id = rom.IMAGE_CHIP_ID
    constants = descriptor(random) + random.randbytes(4 * random.randrange(0, 400) if size is None else size)
    made.segments = [ELFSection(b".flash.appdesc", rom.DROM_MAP_START + 0x20, constants, 0)]
    ram = next(start for start, _, name in rom.MEMORY_MAP if name == "IRAM")
    for _ in range(random.randrange(1, 4)):
        code = random.randbytes(4 * random.randrange(1, 300))
        made.segments.append(ELFSection(b".iram0.text", ram, code, 0))
        ram += len(code) + 0x1000
    saved = []
    quiet(lambda: saved.append(made.save(None)))
    return saved[0]


def descriptor(random):
    def text(length):
        word = "".join(random.choice("abcdefghij0123456789.-") for _ in range(random.randrange(1, length)))
        return word.encode().ljust(length, b"\0")

    head = struct.pack("<II8x", 0xABCD5432, random.randrange(5))
    body = head + text(32) + text(32) + text(16) + text(16) + text(32) + random.randbytes(32)
    return body.ljust(256, b"\0")

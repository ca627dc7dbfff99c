"""NVS partitions against esp-idf-nvs-partition-gen: plain, encrypted, with derived keys, both formats, and read back."""

import base64
import csv
import os
from types import SimpleNamespace

from esp_idf_nvs_partition_gen import nvs_partition_gen as generator
from frame import equal, quiet

NUMBERS = {f"{sign}{bits}": bits for sign in ("u", "i") for bits in (8, 16, 32, 64)}
TOOL = "esp-idf-nvs-partition-gen"
KINDS = ["plain", "keys", "hmac"]


def run(area):
    for number in range(36):
        partition(area, number, KINDS[number % 3], 1 + number // 3 % 2)


def partition(area, number, kind, version):
    random = area.random
    size = random.choice([0x3000, 0x4000, 0x6000, 0x10000])
    rows = table(random, version, size)
    with open(area.path("values.csv"), "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("key", "type", "encoding", "value"), *rows])
    area.write("keys.bin", random.randbytes(64))
    area.write("hmac.key", random.randbytes(32))
    protection = {"plain": [], "keys": ["--keys", "keys.bin"], "hmac": ["--hmac-key", "hmac.key"]}[kind]
    what = f"#{number} {kind}, version {version}, {len(rows)} rows, {size:#x}"
    with area.case(f"the same bytes: {what}", TOOL):
        area.ours("esp", "nvs", "to-bin", "values.csv", "ours.bin", "--size", hex(size), "--version", version, *protection, "--force")
        theirs(area, kind, version, size)
        equal(area.read("ours.bin"), area.read("theirs.bin"))
    with area.case(f"theirs read back by ours, made again by theirs: {what}", TOOL):
        area.ours("esp", "nvs", "to-csv", "theirs.bin", "values.csv", *protection, "--force")
        theirs(area, kind, version, size, "again.bin")
        equal(area.read("again.bin"), area.read("theirs.bin"))


def theirs(area, kind, version, size, output="theirs.bin"):
    common = {"input": [area.path("values.csv")], "output": output, "size": hex(size), "version": version, "outdir": area.folder}
    derived = {"keygen": False, "keyfile": None, "key_protect_hmac": False, "kp_hmac_keygen": False, "kp_hmac_keyfile": None, "kp_hmac_inputkey": None}
    if kind == "plain":
        return quiet(generator.generate, SimpleNamespace(**common))
    key = "keys.bin"
    if kind == "hmac":
        key = os.path.join("keys", "derived.bin")
        settings = derived | {"keyfile": "derived.bin", "key_protect_hmac": True, "kp_hmac_inputkey": area.path("hmac.key")}
        quiet(generator.generate_key, SimpleNamespace(outdir=area.folder, **settings))
    return quiet(generator.encrypt, SimpleNamespace(inputkey=area.path(key), **common, **derived))


def table(random, version, size):
    rows = [("first", "namespace", "", "")]
    room = size // 4096 * 60 - 130
    for index in range(random.randrange(3, 25)):
        if random.random() < 0.15:
            rows.append((f"space{index}", "namespace", "", ""))
        encoding, value, entries = value_of(random, version)
        room -= entries
        if room < 0:
            break
        rows.append((f"k{index}_{random.randrange(1 << 20):x}", "data", encoding, value))
    return rows


def value_of(random, version):
    choice = random.choice([*NUMBERS, "string", "hex2bin", "base64", "binary"])
    if choice in NUMBERS:
        bits = NUMBERS[choice]
        low = -(1 << (bits - 1)) if choice[0] == "i" else 0
        return choice, str(random.choice([low, low + (1 << bits) - 1, random.randrange(low, low + (1 << bits))])), 1
    length = random.choice([1, 31, 32, 33, 200, 1500 if version == 1 else 3000])
    entries = length // 32 + 4
    if choice in ("string", "binary"):
        return choice, "".join(random.choice("abcdefgh xyz-019,;\"'") for _ in range(length - 1)) + "e", entries
    data = random.randbytes(length)
    return choice, data.hex() if choice == "hex2bin" else base64.b64encode(data).decode(), entries

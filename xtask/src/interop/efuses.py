"""The audit of eFuses against virtual chips that espefuse burns: in the right order with detours, and at random."""

import json
import os

import espefuse
import keymaker
from esptool.util import FatalError
from frame import Different, equal, quiet

# What release means here, in an order that works: each step is a command of espefuse and the fields it settles.
C3_LOCKS = ["DIS_DOWNLOAD_ICACHE", "DIS_DIRECT_BOOT", "DIS_USB_JTAG", "DIS_PAD_JTAG", "DIS_DOWNLOAD_MANUAL_ENCRYPT"]
S3_LOCKS = ["DIS_DOWNLOAD_ICACHE", "DIS_DOWNLOAD_DCACHE", "DIS_DIRECT_BOOT", "DIS_USB_JTAG", "DIS_PAD_JTAG", "DIS_DOWNLOAD_MANUAL_ENCRYPT"]
CHIPS = {"esp32c3": ("XTS_AES_128_KEY", C3_LOCKS), "esp32s3": ("XTS_AES_128_KEY", S3_LOCKS)}
TOOL = "espefuse"


def run(area):
    area.write("flash.key", area.random.randbytes(32))
    keymaker.save(area, "boot", keymaker.rsa_key(area.random, 3072))
    for number, chip in enumerate(CHIPS):
        to_release(area, chip, number)
        at_random(area, chip, number)


def to_release(area, chip, number):
    purpose, locks = CHIPS[chip]
    state = VirtualChip(area, chip, f"{chip}-{number}")
    last = [("write-protect-efuse", "DIS_ICACHE"), ("write-protect-efuse", "RD_DIS"), ("burn-efuse", "ENABLE_SECURITY_DOWNLOAD", "1")]
    keys = [("burn-key", "BLOCK_KEY0", area.path("flash.key"), purpose),
            ("burn-key-digest", "BLOCK_KEY1", area.path("boot.pub"), "SECURE_BOOT_DIGEST0")]
    ones = ["SECURE_BOOT_EN", "SECURE_BOOT_KEY_REVOKE1", "SECURE_BOOT_KEY_REVOKE2", *locks]
    free = [("SPI_BOOT_CRYPT_CNT", "7"), *((name, "1") for name in ones)]
    area.random.shuffle(free)
    cut = area.random.randrange(1, len(free))
    groups = [("burn-efuse", *sum(group, ())) for group in (free[:cut], free[cut:])]
    steps = [*keys, *groups, *last]
    good = set()
    for step in steps:
        what = f"{chip} #{number} after {' '.join(map(os.path.basename, step))}"
        with area.case(what, TOOL):
            state.do(*step)
            rules = state.audit("release")
            judged(rules, state.summary())
            held = {rule["field"] for rule in rules["rules"] if rule["ok"]}
            if missing := {name for name in good if name not in held and not name.startswith("SECURE_BOOT_KEY_REVOKE")}:
                raise Different(f"held before, and no more: {missing}")
            good = held
            equal(rules["ok"], step == steps[-1], "verdicts on the whole")
    with area.case(f"{chip} #{number} is also fit for development's own rule or says why", TOOL):
        rules = state.audit("development")
        judged(rules, state.summary())


def at_random(area, chip, number):
    state = VirtualChip(area, chip, f"{chip}-random-{number}")
    names = [*CHIPS[chip][1], "SECURE_BOOT_EN", "ENABLE_SECURITY_DOWNLOAD", "SECURE_BOOT_KEY_REVOKE0", "SECURE_BOOT_KEY_REVOKE2"]
    for name in area.random.sample(names, 6):
        step = area.random.choice([("burn-efuse", name, "1"), ("burn-efuse", name, "1"), ("write-protect-efuse", name)])
        with area.case(f"{chip} at random #{number} after {' '.join(step)}", TOOL):
            is_done = state.tries(*step)
            rules = state.audit("release")
            judged(rules, state.summary())
            equal(rules["ok"], False, "verdicts on the whole")
            if not is_done:
                about = [rule for rule in rules["rules"] if rule["field"] == name and not rule["ok"]]
                equal({rule["repair"] for rule in about} - {"never"}, set(), f"what can be done about {name}")


def judged(rules, summary):
    """Each rule that a field decides by itself, against what espefuse says of it."""
    seen = 0
    for rule in rules["rules"]:
        field = summary.get(rule["field"])
        if field is None:
            continue
        if rule["want"] == "write-protected":
            equal(rule["ok"], not field["writeable"], f"verdicts on {rule['field']}")
        elif rule["want"].startswith("0x"):
            equal(rule["ok"], number(field["value"]) == int(rule["want"], 16), f"verdicts on {rule['field']}")
            if not rule["ok"] and not field["writeable"]:
                equal(rule["repair"], "never", f"what can be done about {rule['field']}")
        else:
            continue
        seen += 1
    if seen == 0 and len(rules["rules"]) > 3:
        raise Different("no rule could be compared")


def number(value):
    words = {"Disable": 0, "Enable": 7}
    if isinstance(value, str):
        return words[value] if value in words else int(value, 0)
    return int(value)


class VirtualChip:
    def __init__(self, area, chip, name):
        self.area, self.chip = area, chip
        self.memory = area.path(f"{name}.virt")
        self.file = area.path(f"{name}.json")
        if os.path.exists(self.memory):
            os.remove(self.memory)

    def do(self, *command):
        options = ["--chip", self.chip, "--virt", "--path-efuse-file", self.memory, "--do-not-confirm"]
        quiet(espefuse.main, [*options, *command])

    def tries(self, *command):
        """False if espefuse says that it can't be done any more: one write protection covers several fields."""
        try:
            self.do(*command)
        except FatalError as error:
            if "is not possible" not in str(error):
                raise
            return False
        return True

    def audit(self, policy):
        self.do("summary", "--format", "json", "--file", self.file)
        return self.area.ours_report("esp", "efuse", "audit", "--chip", self.chip, "--policy", policy, "--state", self.file)

    def summary(self):
        with open(self.file, encoding="utf-8") as file:
            return json.load(file)

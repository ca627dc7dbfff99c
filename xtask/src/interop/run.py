"""Runs our commands against the tools they take the place of; `cargo xtask interop` starts it.

    run.py AIRSEAL FOLDER SEED [AREA...]
"""

import importlib
import importlib.metadata
import json
import sys
import time

from frame import Area, openssl, progress

AREAS = ["flash", "images", "boot", "containers", "mcuboot", "nvs", "efuses", "keys"]
PACKAGES = ["esptool", "imgtool", "esp-idf-nvs-partition-gen", "cryptography"]


def main(airseal, folder, seed, *chosen):
    cases, failed, tools = 0, 0, set()
    for name in chosen or AREAS:
        area = Area(name, airseal, folder, seed)
        started = time.perf_counter()
        importlib.import_module(name).run(area)
        progress(f"{name:<12} {area.cases:>5} cases {len(area.failures):>4} failed {time.perf_counter() - started:>7.1f} s")
        for failure in area.failures:
            progress(f"  {failure}")
        cases, failed, tools = cases + area.cases, failed + len(area.failures), tools | area.tools
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    versions["openssl"] = openssl("version").decode().split()[1]
    progress(json.dumps({"cases": cases, "failed": failed, "seed": seed, "tools": sorted(tools), "versions": versions}))


if __name__ == "__main__":
    main(*sys.argv[1:])

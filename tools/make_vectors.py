#!/usr/bin/env python3
"""Writes vectors/v1: the same bytes on every run. Usage: make_vectors.py [DIR]"""

import sys
from pathlib import Path

from vectorgen import good, sins
from vectorgen.frame import Collector


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent / "vectors" / "v1")
    out = Collector(root)
    good.add_all(out)
    sins.add_all(out)
    out.finish()
    count = sum(c["expect"] == "ok" for c in out.cases)
    print(f"{count} good cases, {len(out.cases) - count} sins")


if __name__ == "__main__":
    main()

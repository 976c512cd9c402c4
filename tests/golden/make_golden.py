"""Writes the golden files next to it: what other libraries compute, for test_golden.py.

    pip install torch keras dm-haiku flax equinox
    python tests/golden/make_golden.py [CASE ...]

The libraries are needed here only. Without names all files are made anew.
"""

import argparse
import os
from importlib import import_module
from pathlib import Path

from record import write

os.environ["KERAS_BACKEND"] = "jax"  # before any of them is imported
os.environ["JAX_ENABLE_X64"] = "1"
os.environ["JAX_PLATFORMS"] = "cpu"

ORACLES = ("torch", "keras", "haiku", "flax", "equinox")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", help="names of files without .npz; all by default")
    wanted = set(parser.parse_args().cases)
    for oracle in ORACLES:
        module = import_module(f"oracle_{oracle}")
        for case, make in module.CASES.items():
            if not wanted or case in wanted:
                write(Path(__file__).parent, case, make(case), module.VERSIONS)
                print(case)


if __name__ == "__main__":
    main()

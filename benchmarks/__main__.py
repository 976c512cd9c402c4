"""Lists the benchmarks, or runs one: python -m benchmarks [NAME ...]."""

import ast
import importlib
import sys
from pathlib import Path

from benchmarks import harness

NAMES = "unroll", "compile", "memory", "decode", "linear", "profile", "report"


def purpose(name: str) -> str:
    """The first line of a benchmark's docstring, which is read without importing it."""
    source = (Path(__file__).parent / f"{name}.py").read_text("utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def main(args: list[str]) -> int:
    """Lists the benchmarks without arguments; returns 2 where there is none of that name."""
    if not args or args[0] in ("-h", "--help"):
        print("python -m benchmarks NAME --help has the settings of each.\n")
        for name in NAMES:
            print(f"{name:<9} {purpose(name)}")
        return 0
    if args[0] not in NAMES:
        known = ", ".join(NAMES)
        print(f"error: there is no benchmark {args[0]!r}; expected one of {known}", file=sys.stderr)
        return 2
    module = importlib.import_module(f"benchmarks.{args[0]}")
    if args[0] == "report":
        return module.main(args[1:])
    return harness.command(module.main, module.Settings, args[0], module.__doc__, args[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

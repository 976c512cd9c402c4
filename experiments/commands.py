"""Command lines of experiments: what they need, what they return."""

import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

from experiments.lab.folder import RunFolder


def run_command(
    run: Callable[[Any, RunFolder], int | None],
    settings: type,
    args: Sequence[str] | None,
    prog: str,
    needs: Sequence[str] = ("matplotlib", "tyro"),
) -> int:
    """Reads `settings` from the command line and runs in the folder `out`.

    Returns:
      What `run` returns, None counted as 0; 2 where a package is missing or `run` raises
      ValueError or OSError, which is what it does about an argument that cannot be used.
    """
    if not installed(needs):
        return 2
    import tyro

    try:
        config = tyro.cli(settings, args=args, prog=prog)
        with RunFolder(config.out, prog.rpartition(".")[2]) as folder:
            return run(config, folder) or 0
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def installed(packages: Sequence[str]) -> bool:
    """Whether all packages are there; says which are not and how to get them."""
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        how = "run: pip install -e '.[experiments]'"
        print(f"error: {', '.join(missing)} not installed; {how}", file=sys.stderr)
    return not missing


def check_counts(config: Any, *names: str) -> None:
    """Raises ValueError unless all these settings are at least 1."""
    for name in names:
        value = getattr(config, name)
        if value < 1:
            raise ValueError(f"{name} is {value}; expected at least 1")

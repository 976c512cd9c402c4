"""python -m experiments: lists the experiments, runs one, or writes the pages of results.

python -m experiments                  lists them
python -m experiments NAME [--quick]   runs one; NAME --help has its settings
python -m experiments NAME --try TEXT  lets the best model of a run make something of a text or file
python -m experiments report [RUN ...] takes the results of runs, and writes every page
"""

import argparse
import os
import sys
import textwrap
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from experiments.lab import page
from experiments.lab.experiment import Experiment, find, names
from experiments.sources.text import text_or_file

ALWAYS = "matplotlib", "tyro"


def main(args: Sequence[str] | None = None) -> int:
    """Does what the command line says.

    Returns:
      0; 1 where a result is better than its exact bound; 2 after a wrong argument, or where a
      package or a file is missing or a file cannot be written; 130 after Ctrl-C; 141 where nobody
      reads what is printed.

    Raises:
      UnicodeError: for a fault of the program's own; no argument makes one.
    """
    _print_anything()
    name, *rest = (sys.argv[1:] if args is None else args) or ["--help"]
    try:
        code = _do(name, rest)
        sys.stdout.flush()
        return code
    except UnicodeError:
        raise
    except BrokenPipeError:
        _print_nothing()
        return 141
    except OSError as error:
        where = "" if error.filename is None else f": {error.filename}"
        print(f"error: {error.strerror or error}{where}", file=sys.stderr)
        _print_nothing()
        return 2
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"\nstopped; {str(stop) or 'nothing was written'}", file=sys.stderr)
        return 130


def _do(name: str, rest: Sequence[str]) -> int:
    if name in ("-h", "--help"):
        print(listing())
        return 0
    return _report(rest) if name == "report" else _run(find(name), rest)


def listing() -> str:
    """All experiments: question, source, data and extras, minutes, result."""
    lines = [(__doc__ or "").strip(), ""]
    for experiment in map(find, names()):
        needs = ", ".join(experiment.needs)
        facts = [
            experiment.question,
            f"source: {experiment.source}",
            f"data: {experiment.data}" + (f" (needs {needs})" if needs else ""),
            page.duration(experiment.minutes),
            "result: " + page.committed(experiment)["report"]["headline"],
        ]
        lines.append(experiment.name)
        wrap = {"width": 100, "initial_indent": "  ", "subsequent_indent": "    "}
        lines += [line for fact in facts for line in textwrap.wrap(fact, **wrap)]
    return "\n".join(lines)


def _run(experiment: Experiment, args: Sequence[str]) -> int:
    if not installed([*ALWAYS, *experiment.needs]):
        return 2
    import tyro

    from experiments.lab.run import run, use

    tried, args = _tried(experiment, args)
    hint = " --try TEXT-OR-FILE uses the best model of the run in --out." if experiment.use else ""
    config = tyro.cli(
        experiment.config,
        args=args,
        prog=page.command(experiment),
        description=f"{experiment.question} {experiment.config.__doc__}{hint}",
    )
    if tried is None:
        return run(experiment, config)
    print(use(experiment, config, tried))
    return 0


def _tried(experiment: Experiment, args: Sequence[str]) -> tuple[str | None, list[str]]:
    """The text to try, or that of the file to try, and the arguments that are left."""
    parser = argparse.ArgumentParser(
        page.command(experiment), add_help=False, allow_abbrev=False, usage=argparse.SUPPRESS
    )
    parser.add_argument("--try", dest="text")
    known, rest = parser.parse_known_args(args)
    if known.text is not None and experiment.use is None:
        others = ", ".join(name for name in names() if find(name).use)
        raise ValueError(f"{experiment.name} has nothing to --try; expected one of {others}")
    return known.text if known.text is None else text_or_file(known.text), rest


def _report(args: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m experiments report",
        description="Writes RESULTS.md of every experiment and their index from committed results.",
    )
    parser.add_argument(
        "runs", nargs="*", type=Path, help="folders of runs whose results are taken first"
    )
    for path in page.rewrite(parser.parse_args(args).runs):
        print(path.relative_to(page.ROOT))
    return 0


def installed(packages: Sequence[str]) -> bool:
    """Whether all packages are there; says which are not and how to get them."""
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        how = "run: pip install -e '.[experiments]'"
        print(f"error: {', '.join(missing)} not installed; {how}", file=sys.stderr)
    return not missing


def _print_nothing() -> None:
    """Gives up a standard output that takes no more: Python would complain again at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print_anything() -> None:
    """Lets a terminal that cannot show a character show a ? instead."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # pyright: ignore[reportAttributeAccessIssue]

"""Where a run's time went: seconds by file against the budget of `make test`. It fails nothing."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

SECONDS = 720  # of both workers together: six minutes on two cores
SHOWN = 10  # files


def lines(reports: Iterable[Any]) -> list[str]:
    """The dearest files and the sum, from pytest's reports of set-up, call and tear-down."""
    spent: Counter[str] = Counter()
    for report in reports:
        if hasattr(report, "duration") and hasattr(report, "nodeid"):
            spent[report.nodeid.partition("::")[0]] += report.duration
    total = sum(spent.values())
    dearest = [f"{seconds:7.1f} s  {file}" for file, seconds in spent.most_common(SHOWN)]
    return [*dearest, f"{total:7.1f} s  in {len(spent)} files; the budget of all is {SECONDS} s"]

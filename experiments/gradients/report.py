"""Tables and results.json."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from experiments.report import made_with

WHEN = "initial", "trained"


def table(results: dict[str, Any]) -> str:
    """A line a network, at initialisation and trained: medians over seeds."""
    lines = [
        "medians over seeds; lags in steps, exponents in nats a step; inf: beyond what was seen",
        "".ljust(16)
        + "".join(
            head.rjust(15)
            for head in ("nats/char", "memory", "half-life", "exponent", "influence", "ends")
        ),
    ]
    for name, each in results.items():
        test = each["training"]["test"]["nats a character"]["mean"]
        for when in WHEN:
            middle = lambda key: np.median([seed[key] for seed in each[when]])  # noqa: B023
            top = np.median([max(seed["exponents"]) for seed in each[when]])
            ends = np.mean([share_at_ends(seed["saturation"]) for seed in each[when]])
            cells = [
                f"{test:.3f}" if when == "trained" else "",
                f"{middle('memory'):.1f}",
                f"{middle('half_life'):.1f}",
                f"{top:.3f}",
                f"{middle('influence_half_life'):.1f}",
                f"{100 * ends:.0f} %",
            ]
            lines.append(f"{name}, {when}".ljust(16) + "".join(c.rjust(15) for c in cells))
    failed = {name: each["training"]["failed_seeds"] for name, each in results.items()}
    lines += [f"failed: {name}, seeds {seeds}" for name, seeds in failed.items() if seeds]
    return "\n".join(lines)


def share_at_ends(saturation: dict[str, Any]) -> float:
    """Mean share of time that a unit of a gate is at either of its ends."""
    gates = saturation.values()
    return float(np.mean([np.add(gate["left"], gate["right"]).mean() for gate in gates]))


def clipping_table(study: list[dict[str, Any]]) -> str:
    """The shares of runs that diverged and whose weights were thrown away, and their norms."""
    heads = "diverged", "thrown", "growth", "last loss", "norm"
    lines = ["", "runs of which losses, or params, end more than 10 times as large as they began;"]
    lines += ["medians of growth of params and of the last losses; largest norm of a gradient"]
    lines += ["".ljust(36) + "".join(head.rjust(11) for head in heads)]
    for row in study:
        cells = [f"{row['diverged']:.0%}", f"{row['thrown']:.0%}"]
        cells += [f"{np.median(row[key]):.3g}" for key in ("growth", "last_loss")]
        cells += [f"{row['largest_norm']:.2g}"]
        head = f"{row['optimizer']}, {row['rate']:g}, clip: {row['clip']}"
        lines.append(head.ljust(36) + "".join(cell.rjust(11) for cell in cells))
    return "\n".join(lines)


def write(path: Path, config: Any, results: Any, study: Any, seconds: float) -> None:
    """Everything that was measured, as JSON; what is not finite is written as text."""
    content = {
        "config": {name: str(value) for name, value in dataclasses.asdict(config).items()},
        "networks": results,
        "clipping": study,
        "seconds": seconds,
        "made_with": made_with(),
    }
    path.write_text(json.dumps(plain(content), indent=1, allow_nan=False) + "\n")


def plain(value: Any) -> Any:
    """The same with "inf", "-inf" and "nan" for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value

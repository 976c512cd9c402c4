"""Time stamps as cells need them: counted from where each sequence begins."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from seqjax._internal import checks
from seqjax.core.lengths import check_lengths, within


def relative_times(
    times: ArrayLike,
    *,
    lengths: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reset: ArrayLike | None = None,
    unit: Any = 1,
) -> np.ndarray:
    """Stamps since the first of each sequence, subtracted on the host before they are rounded.

        rₜ = (tₜ - t₁) / unit

    float32 holds 24 bits: seconds of Unix time are 128 s apart in it. Differences are taken in the
    dtype that came, float64, integers or datetime64, and only they become float32 where x64 is off.
    For the clocks of `PhasedLSTM`; Neil, Pfeiffer and Liu 2016.

    Args:
      times: [B, T] numbers or datetime64; whatever stands in padding.
      lengths: [B] integers: steps from there on do not exist.
      mask: [B, T] bool, True = real.
      reset: [B, T] bool. True: a new sequence begins before step t, and its stamps count from its
        first real one.
      unit: what is 1 in the result, of the kind of a difference of times, such as
        `np.timedelta64(1, "s")` for datetime64.

    Returns:
      [B, T] float64, 0 where not real, never decreasing within a sequence.

    Raises:
      ValueError: if times is not [B, T] numbers or stamps, another argument does not fit it, or a
        real stamp is not finite or lies before the one before it in its sequence; the message
        names row and step.

    Example:
      >>> stamps = np.array([[1.7e9, 1.7e9 + 0.25, 1.7e9 + 60]])
      >>> relative_times(stamps).tolist()
      [[0.0, 0.25, 60.0]]
    """
    times = np.asarray(times)
    _check_times(times)
    _check_unit(unit, times)
    real = np.ones(times.shape, bool) if mask is None else _check_like("mask", mask, times)
    if lengths is not None:
        lengths = check_lengths("lengths", lengths, "times", times.shape)
        real = real & np.asarray(within(lengths, times.shape[1]))
    starts = np.zeros(times.shape, bool) if reset is None else _check_like("reset", reset, times)
    result = np.zeros(times.shape)
    for row in range(times.shape[0]):
        for part in np.split(np.arange(times.shape[1]), np.flatnonzero(starts[row])):
            steps = part[real[row, part]]
            if steps.size:
                _check_order(times[row, steps], row, steps)
                result[row, steps] = (times[row, steps] - times[row, steps[0]]) / unit
    return result


def _check_order(stamps: np.ndarray, row: int, steps: np.ndarray) -> None:
    """Checks the stamps of one sequence, which are those of `steps` of a row."""
    finite = np.isfinite(stamps)
    if not finite.all():
        at = np.argmin(finite)
        raise ValueError(
            f"times[{row}, {steps[at]}] is {stamps[at]}; expected finite stamps at real steps. "
            "Leave the step out, or mark it as padding with mask or lengths."
        )
    backwards = stamps[1:] < stamps[:-1]
    if backwards.any():
        at = int(np.argmax(backwards))
        raise ValueError(
            f"times[{row}, {steps[at + 1]}] is {stamps[at + 1]}, before times[{row}, {steps[at]}] "
            f"= {stamps[at]}; expected stamps that do not go backwards. Sort each row by time, or "
            "say with reset where a new sequence begins."
        )


def _check_times(times: np.ndarray) -> None:
    checks.require(
        times.ndim == 2 and times.dtype.kind in "iufM",
        f"times is {times.dtype}{list(times.shape)}; expected numbers or datetime64 [B, T]. For "
        "one sequence pass times[None].",
    )


def _check_unit(unit: Any, times: np.ndarray) -> None:
    dates = times.dtype.kind == "M"
    span = isinstance(unit, np.timedelta64)  # which NumPy counts among the integers
    ok = span if dates else checks.is_number(unit) and not span
    checks.require(
        bool(ok and unit > 0 * unit),
        f"unit is {unit!r}; expected a positive "
        + ("np.timedelta64 such as np.timedelta64(1, 's')." if dates else "number."),
    )


def _check_like(name: str, flags: ArrayLike, times: np.ndarray) -> np.ndarray:
    flags = np.asarray(flags)
    checks.require(
        flags.shape == times.shape and flags.dtype == bool,
        f"{name} is {flags.dtype}{list(flags.shape)}; expected bool [B, T] = "
        f"{list(times.shape)} as times.",
    )
    return flags

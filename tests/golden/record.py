"""What a golden file holds, and how one is drawn and written.

A file is one case: arrays named `weights/NAME`, `carry/NAME`, `xs`, then `lengths` or `mask` where
the case has them; what the oracle made of these, `ys` and `final/NAME`; the weights of a loss,
`loss/ys` and `loss/final/NAME`; and the oracle's gradients of that loss, `grad/weights/NAME`,
`grad/carry/NAME` and `grad/xs`. Names, shapes and orders are the oracle's own, but for xs and ys,
which are [B, T, ...]. `versions` names the packages that made it.

Every number put in comes from NumPy's generator, seeded by the case's name, so that a file can be
made again bit for bit with the same oracle.
"""

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]
Shapes = dict[str, tuple[int, ...]]

# All different, so that no swap of axes can go unnoticed.
BATCH, LENGTH, INPUT, HIDDEN, PROJECTION = 3, 5, 2, 4, 6
LENGTHS = np.array([2, 5, 1], np.int32)  # not sorted, one row full, one of a single step
MASK = np.array([[0, 1, 1, 0, 1], [1, 1, 1, 1, 1], [1, 0, 0, 1, 0]], bool)


def padding_mask(lengths: np.ndarray) -> np.ndarray:
    """The mask [B, T] of right padding."""
    return np.arange(LENGTH) < lengths[:, None]


class Draw:
    """The numbers of one case."""

    def __init__(self, case: str, dtype: type):
        self._random = np.random.default_rng(zlib.crc32(case.encode()))
        self._dtype = dtype

    def array(self, shape: tuple[int, ...], scale: float = 1.0) -> np.ndarray:
        """Normal draws."""
        return (scale * self._random.normal(size=shape)).astype(self._dtype)

    def arrays(self, shapes: Shapes, scale: float) -> Arrays:
        """Normal draws for every name, in the order of the names."""
        return {name: self.array(shapes[name], scale) for name in sorted(shapes)}


def record(
    case: str,
    weights: Shapes,
    carry: Shapes,
    run: Callable,
    grad: Callable,
    steps: Arrays,
    dtype: type = np.float64,
    features: tuple[int, ...] = (INPUT,),
) -> Arrays:
    """Draws a case, runs an oracle on it, and returns everything under the names of a file.

    Args:
      case: the file's name, which seeds the draws.
      weights: shapes by the oracle's names.
      carry: shapes of the initial carry.
      run: {weights, carry, xs} -> (ys, final).
      grad: ({weights, carry, xs}, (ys, final) weights of the loss) -> gradients like the first.
      steps: `lengths` or `mask` or nothing, recorded as it is.
      dtype: of all that is drawn: float64 unless the oracle cannot.
      features: the shape of one step's input.
    """
    draw = Draw(case, dtype)
    inputs = {
        "weights": draw.arrays(weights, 0.7),
        "carry": draw.arrays(carry, 0.7),
        "xs": draw.array((BATCH, LENGTH, *features)),
    }
    ys, final = run(inputs)
    loss = draw.array(ys.shape), draw.arrays({name: a.shape for name, a in final.items()}, 1.0)
    gradients = grad(inputs, loss)
    tree = {**inputs, **steps, "ys": ys, "final": final}
    tree |= {"loss": {"ys": loss[0], "final": loss[1]}, "grad": gradients}
    return flatten(tree)


def flatten(tree: dict, prefix: str = "") -> Arrays:
    """Nested dicts as one, with names joined by a slash."""
    flat = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}/")
        else:
            flat[prefix + name] = np.asarray(value)
    return flat


def write(folder: Path, case: str, arrays: Arrays, versions: dict[str, str]) -> None:
    """Writes one file, after checking that it is worth having."""
    for name, array in arrays.items():
        if array.dtype.kind == "f":
            assert array.dtype == arrays["ys"].dtype, f"{case}: {name} is {array.dtype}"
            assert np.isfinite(array).all(), f"{case}: {name} is not finite"
            assert array.any(), f"{case}: {name} is all zero, so it would test nothing"
    lines = [f"{name} {version}" for name, version in sorted(versions.items())]
    np.savez_compressed(folder / f"{case}.npz", versions=np.array(lines), **arrays)  # pyright: ignore[reportArgumentType]

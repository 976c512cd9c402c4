"""A task: what to learn, and what is known about it."""

import bisect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

MAX_NORM = 1.0
VALID, TEST = 0, 1
TOLERANCE = 5.0  # standard errors; below an exact bound by more is impossible without a leak


class Estimate(NamedTuple):
    """A mean over independent rows and its standard error."""

    mean: Any
    error: Any


def estimate(values: jax.Array) -> Estimate:
    """The mean of values [N, ...], rows independent of one another."""
    rows = values.astype(jnp.float32).reshape(values.shape[0], -1).mean(axis=1)
    return Estimate(rows.mean(), rows.std() / jnp.sqrt(jnp.float32(rows.size)))


def parameters(init: Callable) -> int:
    """How many numbers `init(key)` draws; none is drawn."""
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(init, jax.random.key(0))))


def of_size(build: Callable[[int], Any], wanted: int, sizes: Sequence[int] = range(4, 128)) -> Any:
    """The network build(size) whose `init` draws a number of params nearest to the one wanted.

    The number has to grow with the size.
    """
    count = lambda size: parameters(build(size).init)
    place = bisect.bisect_left(sizes, wanted, hi=len(sizes) - 1, key=count)
    near = sizes[max(place - 1, 0) : place + 1]
    return build(min(near, key=lambda size: abs(count(size) - wanted)))


@dataclass(frozen=True)
class Task:
    """What to learn, and what is known about it.

    Attributes:
      name: of the row in the table.
      init: key -> params.
      loss: (params, key) -> mean loss of a batch drawn with key, in nats.
      evaluate: (params, key, split) -> estimates by name; split is VALID or TEST, traced.
      metric: the estimate that chooses the learning rate, on validation data.
      optimum: by metric, the exact best where it is known; no expected loss is lower.
      baseline: the metric of the best predictor that ignores the input, exact.
      gate: what a seed has to reach on test data.
      steps: of training.
      rates: learning rates to choose from.
      rises: whether higher is better.
      gated: the estimate that has to reach the gate; None is `metric`.
      margins: by estimate, how far from its optimum a seed may end, on either side.
      watch: params -> a number to follow through training, such as an accuracy; None follows none.
      carry: params -> what one batch hands on to the next, where it does; the loss is then
        (params, carry, key) -> (loss, carry).
      max_norm: of a gradient; longer ones are cut.
    """

    name: str
    init: Callable
    loss: Callable
    evaluate: Callable
    metric: str
    optimum: Mapping[str, float]
    baseline: float
    gate: float
    steps: int
    rates: tuple[float, ...] = (3e-3, 1e-2, 3e-2)
    rises: bool = True
    gated: str | None = None
    margins: Mapping[str, float] = field(default_factory=dict)
    watch: Callable | None = None
    carry: Callable | None = None
    max_norm: float = MAX_NORM

    def passes(self, found: Mapping[str, float]) -> bool:
        """Whether one seed's means reach the gate and keep the margins; NaN does not."""
        value = found[self.gated or self.metric]
        reached = value >= self.gate if self.rises else value <= self.gate
        return bool(reached) and all(
            abs(found[name] - self.optimum[name]) <= margin for name, margin in self.margins.items()
        )

    def leaks(self, name: str, found: Estimate) -> bool:
        """Whether a loss is lower than any predictor's can be."""
        if self.rises or name not in self.optimum:
            return False
        return bool(found.mean < self.optimum[name] - TOLERANCE * found.error - 1e-5)


def chosen(tasks: list[Task], only: str) -> list[Task]:
    """The tasks with `only` in their names; raises ValueError where there is none."""
    found = [task for task in tasks if only in task.name]
    if not found:
        names = "; ".join(task.name for task in tasks)
        raise ValueError(f"only is {only!r}; expected part of one of: {names}")
    return found

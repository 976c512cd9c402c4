"""Every seed and learning rate of a task, by one compiled program."""

import bisect
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import seqjax as sj

MAX_NORM = 1.0
POINTS = 50  # of a learning curve
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


def train(task: Task, key: jax.Array, rate: jax.Array):
    """One run: learning curve, what was watched beside it, skipped steps, scores, and the params.

    The scores are what it reaches on both splits.
    """
    key_p, key_t = jax.random.split(key)
    decay = optax.cosine_decay_schedule(1.0, task.steps)
    optimizer = optax.adam(lambda count: rate * decay(count))
    params = task.init(key_p)
    carry = None if task.carry is None else task.carry(params)

    def loss_fn(params, carry, batch, key):
        if task.carry is None:
            return task.loss(params, key), carry
        return task.loss(params, carry, key)

    step = sj.make_train_step(loss_fn, optimizer, max_norm=task.max_norm, donate=False)
    state = sj.init_train_state(params, optimizer, key=key_t, carry=carry)
    points = min(POINTS, task.steps)
    each = task.steps // points
    run = lambda state, length: jax.lax.scan(lambda s, _: step(s, None), state, length=length)
    watched = None
    if task.watch is None:
        state, metrics = run(state, task.steps)
        curve = metrics.loss[: each * points].reshape(points, each).mean(axis=1)
    else:
        watch = task.watch

        def part(state, _):
            state, metrics = run(state, each)
            return state, (metrics.loss.mean(), watch(state.params))

        state, (curve, watched) = jax.lax.scan(part, state, length=points)
    # One trace of the evaluation for both splits; their data is the same for every run.
    data = lambda split: jax.random.fold_in(jax.random.key(2**31 - 1), split)
    score = lambda split: task.evaluate(state.params, data(split), split)
    return curve, watched, state.skipped, jax.lax.map(score, jnp.array([VALID, TEST])), state.params


def sweep(task: Task, seeds: Sequence[int], threads: int = 1) -> tuple[dict[str, Any], Any]:
    """Trains with every rate and seed; the test results of the rate best on validation.

    The params of its seeds come back too, stacked. So many runs go on at the same time as there
    are threads: products too small for two cores leave one of them idle.
    """
    keys = jax.vmap(jax.random.key)(jnp.array(seeds))
    begun = time.perf_counter()
    run = lambda rate, key: train(task, key, rate)
    compiled = jax.jit(run).lower(jnp.float32(0), keys[0]).compile()
    middle = time.perf_counter()
    # Each run on its own: on a CPU small products of one run are faster than wide ones of all.
    each = [(jnp.float32(rate), key) for rate in task.rates for key in keys]
    with ThreadPoolExecutor(threads) as pool:
        runs = list(pool.map(lambda run: jax.block_until_ready(compiled(*run)), each))
    fold = lambda *leaves: np.stack(leaves).reshape(len(task.rates), len(seeds), *leaves[0].shape)
    # [rates, seeds, ...]
    curve, watched, skipped, scores, params = jax.tree.map(fold, *runs)
    ended = time.perf_counter()
    valid = scores[task.metric].mean[:, :, VALID].mean(axis=1)
    order = valid if task.rises else -valid
    best = int(np.argmax(np.where(np.isfinite(order), order, -np.inf)))
    names = sorted(scores, key=lambda name: name != task.metric)  # the metric first
    test = {name: Estimate(*(a[best, :, TEST] for a in scores[name])) for name in names}
    reached = [{name: test[name].mean[i] for name in names} for i in range(len(seeds))]
    result = {
        "rate": task.rates[best],
        "validation": dict(zip(map(str, task.rates), valid.tolist(), strict=True)),
        "test": {name: summary(task, name, found) for name, found in test.items()},
        "failed_seeds": _seeds(seeds, [not task.passes(one) for one in reached]),
        "skipped_steps": skipped[best].tolist(),
        "curve": curve[best].tolist(),
        "watched": None if watched is None else watched[best].tolist(),
        "compile_seconds": middle - begun,
        "run_seconds": ended - middle,
    }
    return result, jax.tree.map(lambda a: a[best], params)


def summary(task: Task, name: str, found: Estimate) -> dict[str, Any]:
    """One metric over the seeds; `leak` where a seed's is below what is possible."""
    each = [Estimate(float(m), float(e)) for m, e in zip(*found, strict=True)]
    return {
        "mean": float(np.mean(found.mean)),
        "min": float(np.min(found.mean)),
        "max": float(np.max(found.mean)),
        "seeds": [one.mean for one in each],
        "standard_errors": [one.error for one in each],
        "optimum": task.optimum.get(name),
        "leak": any(task.leaks(name, one) for one in each),
    }


def _seeds(seeds: Sequence[int], chosen: list) -> list[int]:
    return [seed for seed, picked in zip(seeds, chosen, strict=True) if picked]

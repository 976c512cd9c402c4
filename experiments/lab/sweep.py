"""Every seed and learning rate of a task, by one compiled program."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import seqjax as sj
from experiments.lab.task import TEST, VALID, Estimate, Task

POINTS = 50  # of a learning curve


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
        if rest := task.steps - each * points:
            state, _ = run(state, rest)
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
        "parameters": sum(leaf[0, 0].size for leaf in jax.tree.leaves(params)),
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

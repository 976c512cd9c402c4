"""Each arm on each task: what is learned, and what is measured while it writes on its own."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.attention.models import ARMS, Arm
from experiments.attention.sources import SYMBOLS, Pairs, draw
from experiments.lab.sweep import sweep
from experiments.lab.task import TEST, Task, estimate

SHORTEST, LONGEST = 5, 40  # of training
LENGTHS = 5, 10, 20, 30, 40, 60  # of measuring
GATED = 30
BATCH, ROWS = 32, 128
EXACT, MASS = 0.95, 0.8  # what attention has to reach at GATED
LOST = 0.2  # what nothing without it should


def make_task(arm: Arm, name: str, steps: int, lengths=LENGTHS, rows: int = ROWS) -> Task:
    """Trains on lengths 5 to 40; the learning rate is chosen by symbols right at these lengths."""

    def loss(params, key):
        return arm.loss(params, draw(name, key, BATCH, SHORTEST, LONGEST, LONGEST))

    def evaluate(params, key, split):
        del split
        size = max(lengths)

        def at(length):
            own = jax.random.fold_in(key, length)
            return measure(arm, params, draw(name, own, rows, length, length, size))

        right, exact, mass, near = jax.lax.map(at, jnp.array(lengths))
        known = [i for i, length in enumerate(lengths) if length <= LONGEST]
        found = {"symbols right": estimate(jnp.stack([right[i] for i in known], axis=1))}
        for i, length in enumerate(lengths):
            found[f"exact match at {length}"] = estimate(exact[i])
            if arm.attention is not None:
                found[f"mass at {length}"] = estimate(mass[i])
                found[f"mass within 1 at {length}"] = estimate(near[i])
        return found

    mass = {} if arm.attention is None else {f"mass at {GATED}": 1 - MASS}
    return Task(
        name=f"{name}, {arm.name}",
        init=arm.init,
        loss=loss,
        evaluate=evaluate,
        metric="symbols right",
        optimum={"symbols right": 1.0} | dict.fromkeys(mass, 1.0),
        baseline=SYMBOLS**-GATED if name != "expansion" else 0.0,
        gate=0.0 if arm.attention is None else EXACT,
        steps=steps,
        rates=(5e-3, 1e-2),
        gated=f"exact match at {GATED}",
        margins=mass,
    )


def measure(arm: Arm, params, pairs: Pairs) -> tuple[jax.Array, ...]:
    """Of each row [N]: the share of symbols right, whether all are, the mass of attention on the
    place that the symbol had to be written from, and that on it and its neighbours; all without
    teacher forcing.
    """
    tokens, alignments = arm.write(params, pairs)
    same, real = tokens == pairs.target, pairs.target_mask
    share = lambda a, real: jnp.sum(a * real, axis=1) / jnp.sum(real, axis=1)
    as_float = lambda a: a.astype(jnp.float32)
    places = pairs.position[..., None]
    away = jnp.abs(jnp.arange(alignments.shape[2]) - places)
    within = lambda reach: jnp.sum(jnp.where(away <= reach, alignments[:, :-1], 0), axis=2)
    mass, near = (share(within(reach), as_float(real[:, 1:])) for reach in (0, 1))
    right = share(as_float(same), as_float(real))
    return right, as_float(jnp.all(same, axis=1)), mass, near


def example(arm: Arm, name: str, params, length: int = 20) -> dict[str, np.ndarray]:
    """What one row of test data was written as, and where the model looked."""
    key = jax.random.fold_in(jax.random.key(2**31 - 1), TEST)
    pairs = draw(name, key, 1, length, length, length)
    tokens, alignments = jax.jit(arm.write)(params, pairs)
    number = int(pairs.source_mask.sum())
    return {
        "source": np.asarray(pairs.source[0, :number]),
        "written": np.asarray(tokens[0, :length]),
        "target": np.asarray(pairs.target[0, :length]),
        "alignment": np.asarray(alignments[0, :length, :number]),
    }


def run_job(job: tuple[str, int, int, int]) -> tuple[str, dict[str, Any], dict[str, Any] | None]:
    """One arm on one task: its name, its results, and an example of where it looked."""
    name, number, steps, seeds = job
    arm = ARMS[number]
    task = make_task(arm, name, steps)
    result, params = sweep(task, range(seeds))
    if arm.attention is None:
        return task.name, result, None
    return task.name, result, example(arm, name, jax.tree.map(lambda a: a[0], params))

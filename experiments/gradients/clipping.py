"""How many runs diverge with and without clipping of gradients."""

import functools
import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import seqjax as sj
from experiments.sources.adding import draw

LENGTH, SIZE, ROWS, RADIUS = 100, 64, 16, 1.5
CLIPS = {
    "none": optax.identity(),
    "global norm 1": sj.training.clip_by_global_norm(1.0),
}
OPTIMIZERS = {"SGD": optax.sgd, "Adam": optax.adam}
RATES = (1e-3, 1e-2)
TIMES = 10  # how much larger than at first losses, or params, are that have got out of hand
LAST = 50

CELL = sj.Elman(SIZE)


def init(key: jax.Array) -> dict[str, Any]:
    """A plain network whose recurrent weights have the spectral radius 1.5."""
    key_c, key_h, key_o = jax.random.split(key, 3)
    params = CELL.init(key_c, 2)
    w_h = sj.initializers.Orthogonal(RADIUS)(key_h, (SIZE, SIZE))
    return {
        "cell": params._replace(w_h=w_h),
        "w_o": sj.initializers.GlorotUniform()(key_o, (SIZE, 1)),
    }


def loss_fn(params: Any, key: jax.Array) -> jax.Array:
    """Mean squared error of the sum of two marked numbers."""
    xs, sums = draw(key, ROWS, LENGTH)
    ys = sj.unroll(CELL, params["cell"], xs)[1]
    return jnp.mean((ys[:, -1] @ params["w_o"][:, 0] - sums) ** 2)


def train(optimizer: optax.GradientTransformation, steps: int, key: jax.Array):
    """Losses and norms of gradients [steps], and how many times larger params are in the end.

    Nothing is skipped or mended.
    """
    key_p, key_t = jax.random.split(key)
    params = init(key_p)

    def update(state, n):
        params, moments = state
        loss, grads = jax.value_and_grad(loss_fn)(params, jax.random.fold_in(key_t, n))
        norm = sj.training.global_norm(grads)
        updates, moments = optimizer.update(grads, moments, params)
        return (optax.apply_updates(params, updates), moments), (loss, norm)

    state = params, optimizer.init(params)
    (after, _), (losses, norms) = jax.lax.scan(update, state, jnp.arange(steps))
    return losses, norms, sj.training.global_norm(after) / sj.training.global_norm(params)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def run(name: str, clip: str, steps: int, rate: jax.Array, key: jax.Array):
    """`train` by the optimiser of that name; one program for all learning rates."""
    return train(optax.chain(CLIPS[clip], OPTIMIZERS[name](rate)), steps, key)


def diverged(losses: np.ndarray) -> np.ndarray:
    """Which runs, [N] of losses [N, steps], hold a NaN or end far above where they began."""
    last = losses[:, -LAST:].mean(axis=1)
    return ~np.isfinite(losses).all(axis=1) | ~(last <= TIMES * losses[:, 0])


def study(steps: int, seeds: int, threads: int) -> list[dict[str, Any]]:
    """Every optimiser, way of clipping and learning rate, so many runs at the same time."""
    keys = [jax.random.key(seed) for seed in range(seeds)]
    found = []
    for name, clip, rate in itertools.product(OPTIMIZERS, CLIPS, RATES):
        # Each on its own: on a CPU small products of one run are faster than wide ones of all.
        one = functools.partial(run, name, clip, steps, jnp.float32(rate))
        with ThreadPoolExecutor(threads) as pool:
            done = pool.map(lambda key: jax.tree.map(np.asarray, one(key)), keys)  # noqa: B023
            losses, norms, growth = (np.stack(each) for each in zip(*done, strict=True))
        found.append(
            {
                "optimizer": name,
                "rate": rate,
                "clip": clip,
                "diverged": float(diverged(losses).mean()),
                "diverged_seeds": np.flatnonzero(diverged(losses)).tolist(),
                "thrown": float((~(growth <= TIMES)).mean()),
                "growth": growth.tolist(),
                "last_loss": losses[:, -LAST:].mean(axis=1).tolist(),
                "largest_norm": float(np.nanmax(norms)),
                "curve": losses.tolist(),
            }
        )
    return found

"""A plain network that begins with recurrent weights of spectral radius 1.5, and its training."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

import seqjax as sj
from experiments.sources.adding import draw

SIZE, ROWS, RADIUS = 64, 16, 1.5
CLIPS = {"none": optax.identity(), "global norm 1": sj.training.clip_by_global_norm(1.0)}
OPTIMIZERS = {"SGD": optax.sgd, "Adam": optax.adam}
CELL = sj.Elman(SIZE)


def init(key: jax.Array) -> dict[str, Any]:
    """Draws params."""
    key_c, key_h, key_o = jax.random.split(key, 3)
    params = CELL.init(key_c, 2)
    w_h = sj.initializers.Orthogonal(RADIUS)(key_h, (SIZE, SIZE))
    return {
        "cell": params._replace(w_h=w_h),
        "w_o": sj.initializers.GlorotUniform()(key_o, (SIZE, 1)),
    }


def loss_fn(params: Any, key: jax.Array, length: int) -> jax.Array:
    """Mean squared error of the sum of two marked numbers among so many."""
    xs, sums = draw(key, ROWS, length)
    ys = sj.unroll(CELL, params["cell"], xs)[1]
    return jnp.mean((ys[:, -1] @ params["w_o"][:, 0] - sums) ** 2)


def train(optimizer: optax.GradientTransformation, steps: int, length: int, key: jax.Array):
    """Losses and norms of gradients [steps], and how many times larger params are in the end.

    Nothing is skipped or mended.
    """
    key_p, key_t = jax.random.split(key)
    params = init(key_p)

    def update(state, n):
        params, moments = state
        loss, grads = jax.value_and_grad(loss_fn)(params, jax.random.fold_in(key_t, n), length)
        norm = sj.training.global_norm(grads)
        with jax.numpy_dtype_promotion("standard"):  # optax is written for it
            updates, moments = optimizer.update(grads, moments, params)
        return (optax.apply_updates(params, updates), moments), (loss, norm)

    state = params, optimizer.init(params)
    (after, _), (losses, norms) = jax.lax.scan(update, state, jnp.arange(steps))
    return losses, norms, sj.training.global_norm(after) / sj.training.global_norm(params)

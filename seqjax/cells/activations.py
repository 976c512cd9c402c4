"""Activation functions, held by name where they have one."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import _checks

Activation = str | Callable[[jax.Array], jax.Array]


def named_activation(activation: Activation, argument: str = "activation") -> Activation:
    """Turns a function of `jax.nn` into its name, so that the spec's repr evaluates.

    Raises:
      ValueError: if a name is not in `jax.nn`, or what came is neither name nor function.
    """
    if isinstance(activation, str):
        known = callable(getattr(jax.nn, activation, None))
        _checks.require(
            known,
            f"{argument} is {activation!r}; expected a name in jax.nn such as 'tanh', 'relu' or "
            "'sigmoid', or an elementwise function.",
        )
        return activation
    _checks.require(
        callable(activation),
        f"{argument} is {activation!r}; expected a name in jax.nn or an elementwise function.",
    )
    name = getattr(activation, "__name__", "")
    same = activation in (getattr(jax.nn, name, None), getattr(jnp, name, None))
    return name if same and hasattr(jax.nn, name) else activation


def activation_function(activation: Activation) -> Callable[[jax.Array], jax.Array]:
    """The function that a name in `jax.nn` stands for."""
    return getattr(jax.nn, activation) if isinstance(activation, str) else activation


def sigmoid(a: jax.Array) -> jax.Array:
    """σ(a) = (1 + tanh(a / 2)) / 2, several times cheaper on a CPU than by an exponential."""
    return 0.5 * jnp.tanh(0.5 * a) + 0.5


def squash(a: jax.Array, kinds: str) -> list[jax.Array]:
    """The gates in a [..., N H], N = len(kinds): "s" for σ, "t" for tanh; one tanh over all."""
    halves = np.repeat([0.5 if kind == "s" else 1.0 for kind in kinds], a.shape[-1] // len(kinds))
    blocks = jnp.split(jnp.tanh(a * halves.astype(a.dtype)), len(kinds), axis=-1)
    return [
        0.5 * block + 0.5 if kind == "s" else block
        for kind, block in zip(kinds, blocks, strict=True)
    ]

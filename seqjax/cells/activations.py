"""Activation functions, held by name where they have one."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

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

"""The one form of a loss function, checked at the door and at its first call."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax._internal.types import Params


def check_loss_fn(loss_fn: Any) -> None:
    """Raises ValueError unless a loss function takes params, carry, batch and key."""
    checks.require(
        callable(loss_fn),
        f"loss_fn is {loss_fn!r}; expected a function (params, carry, batch, key) -> "
        "(loss, carry).",
    )
    try:
        signature = inspect.signature(loss_fn)
    except ValueError:  # some callables have none
        return
    try:
        signature.bind(*"pcbk")
    except TypeError:
        message = f"loss_fn takes {signature}; expected (params, carry, batch, key)."
        raise ValueError(f"{message} Leave unused ones in its signature.") from None


def check_learned(params: Params, kind: Any = jnp.inexact) -> None:
    """Raises ValueError if params contain numbers that have no gradient, such as integers."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        dtype = jnp.result_type(leaf)
        checks.require(
            jnp.issubdtype(dtype, kind),
            f"params{jax.tree_util.keystr(path)} is {dtype}; expected floats only. Let loss_fn "
            "close over numbers that are not learned.",
        )


def call_loss(loss_fn: Callable[..., Any], params, carry, batch, key) -> tuple[Any, Any, Any]:
    """The loss [], the new carry and aux, `()` without one, of a loss function.

    Raises:
      ValueError: if it returns anything else, the loss is not one float or the carry changes form.
    """
    results = loss_fn(params, carry, batch, key)
    several = isinstance(results, tuple)
    came = f"{len(results)} results" if several else f"a {type(results).__name__}"
    came = "one array" if isinstance(results, jax.Array) else came
    checks.require(
        several and len(results) in (2, 3),
        f"loss_fn returned {came}; expected (loss, carry), with carry=() for a loss without one, "
        "or (loss, carry, aux).",
    )
    loss, new_carry, *aux = results
    _check_loss(loss, carry, new_carry)
    return loss, new_carry, aux[0] if aux else ()


def _check_loss(loss, carry, new_carry) -> None:
    checks.require(
        jnp.shape(loss) == () and jnp.issubdtype(jnp.result_type(loss), jnp.floating),
        f"loss_fn returned a loss of shape {jnp.shape(loss)} and dtype {jnp.result_type(loss)}; "
        "expected one float. Sum or average it.",
    )
    forms = [jax.tree.map(lambda x: (jnp.shape(x), x.dtype), tree) for tree in (carry, new_carry)]
    checks.require(
        forms[0] == forms[1],
        f"loss_fn was given a carry of {forms[0]} and returned one of {forms[1]}; expected the "
        "same structure, shapes and dtypes.",
    )

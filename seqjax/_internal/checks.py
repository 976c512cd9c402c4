"""Argument checks shared by the public functions.

Every message names the argument, says what came and what was expected, and gives the remedy.
"""

import math
import operator
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np


def require(condition: bool, message: str) -> None:
    """Raises `ValueError(message)` unless the condition holds."""
    if not condition:
        raise ValueError(message)


def positive_int(name: str, value: Any, remedy: str = "") -> int:
    """Checks a static count such as a size or a number of steps, and returns it as an int."""
    message = f"{name} is {value!r}; expected an integer of at least 1. {remedy}"
    require(is_positive_int(value), message.strip())
    return operator.index(value)


def is_positive_int(value: Any) -> bool:
    """Whether a static value is an integer (NumPy's included, bool not) of at least 1."""
    is_int = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return is_int and bool(value >= 1)


def hold_ints(spec: Any, *names: str) -> None:
    """Checks the counts of a frozen spec, and holds them as Python's own integers."""
    for name in names:
        object.__setattr__(spec, name, positive_int(name, getattr(spec, name)))


def hold_numbers(spec: Any, *names: str) -> None:
    """Checks the numbers of a frozen spec, and holds them as Python's own floats."""
    for name in names:
        finite_number(name, getattr(spec, name))
        object.__setattr__(spec, name, float(getattr(spec, name)))


def hold_positive(spec: Any, name: str) -> None:
    """Checks a positive number of a frozen spec, and holds it as Python's own float."""
    hold_numbers(spec, name)
    value = getattr(spec, name)
    require(value > 0, f"{name} is {value!r}; expected a positive number.")


def hold_pair(spec: Any, name: str) -> None:
    """Checks a range, from one number to another, of a frozen spec, and holds it as floats."""
    value = getattr(spec, name)
    ok = isinstance(value, (tuple, list)) and len(value) == 2
    ok = ok and all(is_number(part) and math.isfinite(part) for part in value)
    require(ok, f"{name} is {value!r}; expected a pair of finite numbers, from and to.")
    object.__setattr__(spec, name, tuple(map(float, value)))


def divides(name: str, value: int, of: str, total: int) -> None:
    """Checks that one size of a spec divides another."""
    require(
        total % value == 0,
        f"{of} is {total} but {name} is {value}; expected {of} to be a multiple of {name}.",
    )


def rate(name: str, value: Any) -> None:
    """Checks a probability of dropping something: a number in [0, 1)."""
    require(
        is_number(value) and 0 <= value < 1,
        f"{name} is {value!r}; expected a probability with 0 <= {name} < 1.",
    )


def one_of(name: str, value: Any, options: tuple) -> None:
    """Checks that a named choice is one of its options."""
    choices = ", ".join(map(repr, options))
    require(value in options, f"{name} is {value!r}; expected one of {choices}.")


def concrete(x: Any) -> np.ndarray | None:
    """The values of an array where they are known now, None under a transformation."""
    return None if isinstance(x, jax.core.Tracer) else np.asarray(x)


def is_float(x: Any) -> bool:
    """Whether an array leaf holds floating-point numbers (typed keys and integers do not)."""
    return jnp.issubdtype(x.dtype, jnp.floating)


def vectors(xs: Any) -> None:
    """Checks that inputs of a whole sequence, where they are one array of floats, are vectors."""
    if hasattr(xs, "ndim") and is_float(xs):
        require(
            xs.ndim >= 3,
            f"xs has shape {xs.shape}; expected [B, T, D]. For one sequence [T, D] pass xs[None], "
            "for numbers [B, T] pass xs[..., None].",
        )


def describe(tree: Any) -> str:
    """A short text of a tree's shapes, for messages."""
    leaves = jax.tree.leaves(tree)
    shown = ", ".join(str(tuple(jnp.shape(leaf))) for leaf in leaves[:4])
    return shown + (", ..." if len(leaves) > 4 else "")


def finite_number(name: str, value: Any) -> None:
    """Checks a static hyper-parameter that must be a finite number."""
    ok = is_number(value) and math.isfinite(value)
    require(ok, f"{name} is {value!r}; expected a finite number.")


def is_number(value: Any) -> bool:
    """Whether a static value is one real number, Python's or NumPy's, and no bool."""
    plain = isinstance(value, (int, float, np.integer, np.floating))
    return plain and not isinstance(value, bool)


def same_structure(name: str, tree: Any, expected: Any, source: str) -> None:
    """Checks that a tree has the structure, shapes and dtypes of another one.

    Args:
      name: the argument's name.
      tree: what came.
      expected: arrays or shape structs.
      source: where the expected one comes from, a clause.
    """
    got, want = jax.tree.structure(tree), jax.tree.structure(expected)
    require(got == want, f"{name} has structure {got}; expected {want}, as {source}.")
    for (path, leaf), target in zip(
        jax.tree_util.tree_flatten_with_path(tree)[0], jax.tree.leaves(expected), strict=True
    ):
        where = name + jax.tree_util.keystr(path)
        dtype = jnp.result_type(leaf) if not hasattr(leaf, "dtype") else leaf.dtype
        require(
            jnp.shape(leaf) == target.shape and dtype == target.dtype,
            f"{where} is {dtype}{list(jnp.shape(leaf))}; expected "
            f"{target.dtype}{list(target.shape)}, as {source}.",
        )


def key(key: Any, batch_size: int | None = None) -> None:
    """Raises ValueError unless key is a typed key, or [B] typed keys where B is given."""
    typed = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    require(
        typed,
        f"key is {_described(key)}; expected a typed key. Make one with jax.random.key(seed), "
        "or wrap an old one with jax.random.wrap_key_data(key).",
    )
    rows = "" if batch_size is None else f" or {batch_size} keys, one a row"
    require(
        key.ndim == 0 or (batch_size is not None and key.shape == (batch_size,)),
        f"key has shape {key.shape}; expected one key (shape ()){rows}.",
    )


def _described(key: Any) -> str:
    if hasattr(key, "dtype"):
        return f"an array of {key.dtype} with shape {key.shape}"
    return repr(key)

"""A step function over time, with state kept at padding and begun again at resets."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from seqjax._internal import checks, trees
from seqjax.core.steps import Steps, swap_time

Step = Callable[[Any, Any], tuple[Any, Any]]


def scan(
    step: Step,
    carry: Any,
    xs: Any,
    *,
    mask: ArrayLike | None = None,
    reset: ArrayLike | None = None,
    initial: Any = None,
) -> tuple[Any, Any]:
    """Runs a step function over a batch of sequences.

        hₜ, yₜ = step(hₜ₋₁, xₜ)   where mask[t];   hₜ = hₜ₋₁, yₜ = 0   elsewhere

    `lax.scan` over axis 1, in which masked steps change nothing at all: their inputs are zeroed
    before the step and its results discarded, so that NaN in padding reaches no value and no
    gradient.

    Args:
      step: (carry, x) -> (carry, y), where x is xs[:, t].
      carry: pytree whose leaves are [B, ...].
      xs: [B, T, ...] inputs; a pytree of such arrays is allowed.
      mask: [B, T] bool, True = real. None means that every step is real.
      reset: [B, T] bool. Where True, the carry before step t is the initial one; streams of
        noise (`seqjax.core.Noise`) continue. A reset acts at a masked step too: what is held from
        there is the initial carry.
      initial: what a reset returns to, of carry's structure; None means `carry` itself.

    Returns:
      The carry after the last step, and ys [B, T, ...], zero where masked.

    Raises:
      ValueError: if xs has no batch and time axes, mask or reset is not [B, T] bool, a leaf of
        carry is not [B, ...], or initial is not of carry's structure, shapes and dtypes.

    Example:
      >>> total = lambda carry, x: (carry + x, carry + x)
      >>> xs = jnp.array([[1, 2, 3], [4, 5, 6]])
      >>> mask = jnp.array([[True, True, True], [True, False, True]])
      >>> carry, ys = scan(total, jnp.zeros(2, int), xs, mask=mask)
      >>> print(carry, ys.tolist())
      [ 6 10] [[1, 3, 6], [4, 0, 10]]
    """
    batch_size, length = check_xs(xs)
    real = check_flags("mask", mask, batch_size, length)
    flags = check_flags("reset", reset, batch_size, length)
    check_batch("carry", carry, batch_size)
    if initial is not None:
        checks.same_structure("initial", initial, carry, "carry is")
    initial = carry if initial is None else initial
    steps = Steps(real, flags, None if flags is None else initial)
    return scan_steps(step, carry, jax.tree.map(jnp.asarray, xs), steps)


def scan_steps(step: Step, carry: Any, xs: Any, steps: Steps) -> tuple[Any, Any]:
    """`scan` without checks."""
    xs, flags = swap_time(xs), steps.flags()
    everything = (carry, steps.initial, xs, flags)
    carry, initial = trees.vary_like((strong(carry), strong(steps.initial)), everything)
    steps = replace(steps, initial=initial)

    def body(carry, inputs):
        x, flags = inputs
        now = steps.at(flags)
        carry = now.restart(carry)
        new, y = step(carry, now.zero_padding(x))
        return now.hold(new, carry), now.zero_padding(y)

    carry, ys = jax.lax.scan(body, carry, (xs, flags))
    return carry, swap_time(ys)


def strong(tree: Any) -> Any:
    """The tree as arrays without weak types, which a loop's carry must not have."""

    def one(leaf):
        array = jnp.asarray(leaf)
        weak = getattr(array, "weak_type", False)  # typed keys have no such attribute
        return jax.lax.convert_element_type(array, array.dtype) if weak else array

    return jax.tree.map(one, tree)


def check_xs(xs: Any) -> tuple[int, int]:
    """Checks that xs is [B, T, ...] in every leaf, and returns (B, T)."""
    leaves = jax.tree.leaves(xs)
    checks.require(bool(leaves), "xs holds no arrays; expected [B, T, ...].")
    for leaf in leaves:
        shape = jnp.shape(leaf)
        checks.require(
            len(shape) >= 2,
            f"xs has shape {shape}; expected [B, T, ...] with a batch and a time axis. "
            "For one sequence pass xs[None].",
        )
        first = jnp.shape(leaves[0])[:2]
        checks.require(
            shape[:2] == first,
            f"xs has leaves of shapes {checks.describe(xs)}; expected all to share [B, T].",
        )
    batch_size, length = jnp.shape(leaves[0])[:2]
    return batch_size, length


def check_flags(name: str, flags: Any, batch_size: int, length: int) -> jax.Array | None:
    """Checks a mask or reset: None or [B, T] bool."""
    if flags is None:
        return None
    flags = jnp.asarray(flags)
    checks.require(
        flags.dtype == jnp.bool_,
        f"{name} has dtype {flags.dtype}; expected bool [B, T]. Write {name} > 0 or {name} != 0, "
        "whichever you mean.",
    )
    hint = (
        " Is it time-major? seqjax is batch-major." if flags.shape == (length, batch_size) else ""
    )
    checks.require(
        flags.shape == (batch_size, length),
        f"{name} has shape {flags.shape}; expected [B, T] = {(batch_size, length)}.{hint}",
    )
    return flags


def check_batch(name: str, tree: Any, batch_size: int) -> None:
    """Checks that every leaf of a carry leads with the batch axis."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        shape = jnp.shape(leaf)
        where = name + jax.tree_util.keystr(path)
        checks.require(
            shape[:1] == (batch_size,),
            f"{where} has shape {shape}; expected the batch axis first, [B, ...] with "
            f"B = {batch_size} as in xs.",
        )

"""A carry under way: its rows begun again, its noise started and stopped."""

from typing import Any

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax._internal.types import Carry, Params
from seqjax.core.noise import has_noise, is_noise
from seqjax.core.scan import check_batch
from seqjax.core.steps import restart_rows


def reset_carry(cell: Any, params: Params, carry: Carry, reset: jax.Array) -> Carry:
    """Begins rows of a carry again, as `unroll` does where its `reset` is True.

    For an agent that acts step by step. Call it before the step with the flags of episodes that
    begin there; training on the same steps by `unroll(..., reset=)` then sees the same numbers.
    A `jnp.where` over the leaves is not the same: noise continues through a reset, so that no two
    episodes draw alike, and what is drawn once a sequence is drawn again.

    Args:
      cell: any `Cell`.
      params: the params the cell runs with, from `cell.init`; a learned carry is read off them.
      carry: the carry under way, leaves [B, ...].
      reset: [B] bool. True: the row returns to the cell's initial carry.

    Returns:
      A carry of the same structure, leaves [B, ...].

    Raises:
      ValueError: if reset is not [B] bool, or carry is not one of this cell.

    Example:
      >>> import seqjax as sj
      >>> cell = sj.Stack((sj.GRU(3), sj.Dropout(0.5)))
      >>> params = cell.init(jax.random.key(0), input_size=2)
      >>> carry = cell.initial_carry(params, 2, key=jax.random.key(1))
      >>> carry, y = cell.step(params, carry, jnp.ones((2, 2)))
      >>> carry = sj.core.reset_carry(cell, params, carry, jnp.array([True, False]))
      >>> carry[0][0].tolist(), carry[1].step.tolist(), carry[1].start.tolist()
      ([0.0, 0.0, 0.0], [1, 1], [1, 0])

    References:
      Kapturowski et al., Recurrent Experience Replay in Distributed Reinforcement Learning, 2019,
      for training on the states that acting met.
    """
    flags = jnp.asarray(reset)
    checks.require(
        flags.ndim == 1 and flags.dtype == jnp.bool_,
        f"reset is {flags.dtype}{list(flags.shape)}; expected bool [B], the rows that begin again.",
    )
    return restart_rows(flags, checked_initial(cell, params, carry, flags.shape[0]), carry)


def start_noise(cell: Any, params: Params, carry: Carry, key: jax.Array) -> Carry:
    """Gives a carry streams of noise: from here on a stochastic cell draws, as in training.

    The state stays as it is. A carry that draws already draws from new streams.

    Args:
      cell: any `Cell`.
      params: from `cell.init`.
      carry: leaves [B, ...], with or without noise.
      key: a typed key, or [B] typed keys, one a row, as in `cell.initial_carry`.

    Returns:
      A carry with the streams of `cell.initial_carry(params, B, key=key)`, leaves [B, ...].

    Raises:
      ValueError: if carry has no leaf to tell B, or is not one of this cell, or key is not typed.

    Example:
      >>> import seqjax as sj
      >>> cell = sj.Stack((sj.GRU(3), sj.Dropout(0.5)))
      >>> params = cell.init(jax.random.key(0), input_size=2)
      >>> quiet, _ = sj.unroll(cell, params, jnp.ones((2, 5, 2)))
      >>> noisy = sj.core.start_noise(cell, params, quiet, jax.random.key(1))
      >>> sj.core.has_noise(quiet), sj.core.has_noise(noisy)
      (False, True)

    References:
      Salmon et al., Parallel random numbers: as easy as 1, 2, 3, 2011, for streams that are a
      function of a key and a counter.
    """
    batch_size = _batch_size(carry)
    checks.key(key, batch_size)
    checked_initial(cell, params, carry, batch_size)
    begun = cell.initial_carry(params, batch_size, key=key)
    pick = lambda new, now: new if is_noise(new) else now
    return jax.tree.map(pick, begun, carry, is_leaf=is_noise)


def stop_noise(cell: Any, params: Params, carry: Carry) -> Carry:
    """Takes the streams of noise out of a carry: the cell is deterministic from here on.

    For evaluation that continues from the carry of a training run. The state stays as it is.

    Args:
      cell: any `Cell`.
      params: from `cell.init`.
      carry: leaves [B, ...], with or without noise.

    Returns:
      A carry of the structure of `cell.initial_carry(params, B)`, leaves [B, ...].

    Raises:
      ValueError: if carry is not one of this cell.

    Example:
      >>> import seqjax as sj
      >>> cell = sj.Stack((sj.GRU(3), sj.Dropout(0.5)))
      >>> params = cell.init(jax.random.key(0), input_size=2)
      >>> noisy, _ = sj.unroll(cell, params, jnp.ones((2, 5, 2)), key=jax.random.key(1))
      >>> quiet = sj.core.stop_noise(cell, params, noisy)
      >>> sj.core.has_noise(quiet), bool((quiet[0] == noisy[0]).all())
      (False, True)

    References:
      Srivastava et al., Dropout: A Simple Way to Prevent Neural Networks from Overfitting, 2014,
      for networks that are deterministic at test time.
    """
    if not has_noise(carry):
        return carry
    batch_size = _batch_size(carry)
    checked_initial(cell, params, carry, batch_size)
    structure = jax.tree.structure(jax.eval_shape(lambda: cell.initial_carry(params, batch_size)))
    nodes = jax.tree.leaves(carry, is_leaf=is_noise)
    return jax.tree.unflatten(structure, [node for node in nodes if not is_noise(node)])


def checked_initial(cell: Any, params: Params, carry: Carry, batch_size: int) -> Carry:
    """The cell's initial carry, of the structure of the one under way.

    Raises:
      ValueError: if carry does not lead with B rows, or is not of the cell's structure.
    """
    check_batch("carry", carry, batch_size)
    # Streams of noise continue through a reset, so the keys only give the carry its structure.
    streams = [node for node in jax.tree.leaves(carry, is_leaf=is_noise) if is_noise(node)]
    key = streams[0].key if streams else None
    initial = cell.initial_carry(params, batch_size, key=key)
    checks.same_structure(
        "carry", carry, initial, f"{type(cell).__name__}.initial_carry(params, B) makes it"
    )
    return initial


def _batch_size(carry: Carry) -> int:
    leaves = jax.tree.leaves(carry)
    checks.require(
        bool(leaves),
        "carry has no arrays, so that B is unknown; make one that draws with "
        "cell.initial_carry(params, batch_size, key=key).",
    )
    return jnp.shape(leaves[0])[0] if jnp.ndim(leaves[0]) else 0

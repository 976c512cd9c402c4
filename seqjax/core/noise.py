"""Randomness that travels in the carry.

A stochastic cell draws from a stream that its carry holds: a key a row and a counter of the steps
that the row has really taken. A draw therefore depends on (key, row, step) and on nothing else:
not on batch mates, padding, window size or unroll factor.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from seqjax._internal import checks


class Noise(NamedTuple):
    """One stream of random draws a row. Put it in the carry of a cell that draws.

    A `reset` inside a sequence does not rewind it: the stream goes on, and `start` moves to the
    step at which the new sequence begins, so that what is drawn once a sequence is drawn anew.

    Attributes:
      key: [B] typed keys, one a row.
      step: [B] int32, steps taken since the stream was started.
      start: [B] int32, the value of `step` at which the present sequence began.

    Raises:
      ValueError: from `from_key`, if key is not typed or does not fit the batch.

    Example:
      >>> noise = Noise.from_key(jax.random.key(0), batch_size=3)
      >>> noise.each_step().shape, noise.advance().step.tolist()
      ((3,), [1, 1, 1])

    References:
      Salmon et al., Parallel random numbers: as easy as 1, 2, 3, 2011, for draws that are a
      function of a key and a counter.
    """

    key: jax.Array
    step: jax.Array
    start: jax.Array

    @classmethod
    def from_key(cls, key: jax.Array, batch_size: int) -> "Noise":
        """Starts a stream: row b draws from `fold_in(key, b)`.

        Args:
          key: a typed key, or [B] typed keys, one a row.
          batch_size: B.

        Returns:
          A `Noise` with key, step and start [B], step and start 0.

        Raises:
          ValueError: if key is neither.
        """
        checks.key(key, batch_size)
        key = row_safe(key)
        if key.ndim == 0:
            key = fold_in_rows(key, jnp.arange(batch_size))
        zeros = jnp.zeros(batch_size, jnp.int32)
        return cls(key, zeros, zeros)

    def each_step(self) -> jax.Array:
        """[B] keys for draws that change from step to step."""
        return fold_in_rows(self.key, self.step)

    def each_sequence(self) -> jax.Array:
        """[B] keys for draws that are made once a sequence."""
        return fold_in_rows(self.key, self.start)

    def advance(self) -> "Noise":
        """The stream one step later, all rows [B] of it."""
        return self._replace(step=self.step + 1)


def over_time(noise: Noise, length: int, mask, reset) -> tuple[Noise, Noise]:
    """A stream over a whole sequence at once, as steps and resets would move it.

    Args:
      noise: a stream of [B] rows.
      length: T.
      mask: [B, T] bool or None; masked steps take no draw.
      reset: [B, T] bool or None.

    Returns:
      The stream after T steps, and one whose `step` and `start` are [B, T]: what each step sees.
    """
    if mask is None:
        mask = jnp.ones((noise.step.shape[0], length), bool)
    taken = jnp.cumsum(mask, axis=1, dtype=jnp.int32)
    step = noise.step[:, None] + taken - mask.astype(jnp.int32)
    if reset is None:
        start = jnp.broadcast_to(noise.start[:, None], step.shape)
    else:
        begun = jnp.where(reset, step, jnp.int32(-1))
        start = jax.lax.cummax(jnp.concatenate([noise.start[:, None], begun], 1), axis=1)[:, 1:]
    if length == 0:
        return noise, noise._replace(step=step, start=start)
    after = Noise(noise.key, noise.step + taken[:, -1], start[:, -1])
    return after, noise._replace(step=step, start=start)


def fold_in_rows(keys: jax.Array, data: jax.Array) -> jax.Array:
    """Folds integers [B, ...] into keys [B], or [...] into one key: a key a number."""
    one = jax.random.fold_in
    for _ in range(data.ndim - keys.ndim):
        one = jax.vmap(one, (None, 0))
    for _ in range(keys.ndim):
        one = jax.vmap(one)
    return one(keys, data)


def draw_rows(draw: Callable[[jax.Array], jax.Array], keys: jax.Array) -> jax.Array:
    """Draws once a key: keys [...] and draw(key) [S] give [..., S]."""
    for _ in range(keys.ndim):
        draw = jax.vmap(draw)
    return draw(keys)


def row_safe(key: jax.Array) -> jax.Array:
    """A key of the generator whose draws under `vmap` depend on their own key alone.

    JAX's rbg generators are not of that kind: a batch of keys draws by its first one.
    """
    if str(jax.random.key_impl(key)) == "threefry2x32":
        return key
    return jax.random.wrap_key_data(jax.random.key_data(key)[..., :2], impl="threefry2x32")


def fold_in(key: jax.Array | None, index: int) -> jax.Array | None:
    """The key of a cell's member `index`; None stays None. Takes a key or [B] keys."""
    if key is None:
        return None
    checks.key(key, key.shape[0] if getattr(key, "ndim", 0) else None)
    key = row_safe(key)
    return fold_in_rows(key, jnp.full(key.shape, index))


def is_noise(node) -> bool:
    """Whether a node of a carry is a stream of draws; for `is_leaf` in tree maps."""
    return isinstance(node, Noise)


def has_noise(carry) -> bool:
    """Whether a carry, leaves [B, ...], holds a stream of draws: whether dropout is at work.

    A stochastic cell draws only from a carry that was started with a key, and is deterministic
    from any other, in training as well. `start_noise` and `stop_noise` change that on the way.

    Example:
      >>> import seqjax as sj
      >>> begin = sj.Dropout(0.5).initial_carry
      >>> has_noise(begin((), 2)), has_noise(begin((), 2, key=jax.random.key(0)))
      (False, True)

    References:
      Salmon et al., Parallel random numbers: as easy as 1, 2, 3, 2011.
    """
    return any(map(is_noise, jax.tree.leaves(carry, is_leaf=is_noise)))

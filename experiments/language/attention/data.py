"""Three tasks in which it is known from where each symbol has to be written."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

SYMBOLS = 12  # of a source; a target has these, END and (to read) BEGIN
END, BEGIN = SYMBOLS, SYMBOLS + 1
BASE = 6
TASKS = "copy", "reverse", "expansion"


class Pairs(NamedTuple):
    """Sources and targets.

    Fields:
      source: [N, S] symbols, 0 in padding.
      source_mask: [N, S], True = real.
      target: [N, S + 1] symbols, END from `lengths` on.
      position: [N, S] the place of the source that each target symbol is written from.
      lengths: [N] symbols of the target, END not counted.
    """

    source: jax.Array
    source_mask: jax.Array
    target: jax.Array
    position: jax.Array
    lengths: jax.Array

    @property
    def target_mask(self) -> jax.Array:
        """[N, S + 1], True up to the first END."""
        return jnp.arange(self.target.shape[1]) <= self.lengths[:, None]


def draw(task: str, key: jax.Array, rows: int, shortest, longest, size: int) -> Pairs:
    """Pairs with targets of shortest to longest symbols, padded to `size`, at least longest.

    copy: the source itself. reverse: the source from its end. expansion: numbers 0 to 11, each
    written in base 6, so that 7 becomes 1 1 and 5 stays 5; as many numbers as fill the length.
    """
    key_l, key_s = jax.random.split(key)
    lengths = jax.random.randint(key_l, (rows,), shortest, longest + 1)
    source = jax.random.randint(key_s, (rows, size), 0, SYMBOLS)
    places = jnp.broadcast_to(jnp.arange(size), source.shape)
    real = places < lengths[:, None]
    if task == "expansion":
        return _filled(*expand(source, lengths), lengths)
    position = places if task == "copy" else jnp.maximum(lengths[:, None] - 1 - places, 0)
    return _filled(source, real, jnp.take_along_axis(source, position, axis=1), position, lengths)


def expand(numbers: jax.Array, lengths: jax.Array):
    """Numbers [N, S] in base 6, until there are `lengths` [N] digits.

    A number whose second digit would be one too many loses its first.

    Returns:
      Numbers [N, S] and which of them are used, digits [N, S] and the number each belongs to.
    """
    widths = lambda numbers: jnp.where(numbers >= BASE, 2, 1)
    ends = jnp.cumsum(widths(numbers), axis=1)
    numbers = jnp.where(ends == lengths[:, None] + 1, numbers % BASE, numbers)
    ends = jnp.cumsum(widths(numbers), axis=1)
    starts = ends - widths(numbers)
    places = jnp.arange(numbers.shape[1])
    position = jnp.sum(ends[:, None] <= places[:, None], axis=2)  # finished before this digit
    take = lambda a: jnp.take_along_axis(a, position, axis=1)
    number, first = take(numbers), take(starts) == places
    digits = jnp.where((number >= BASE) & first, number // BASE, number % BASE)
    return numbers, starts < lengths[:, None], digits, position


def _filled(source, source_mask, target, position, lengths) -> Pairs:
    target = jnp.pad(target, ((0, 0), (0, 1)))
    target = jnp.where(jnp.arange(target.shape[1]) < lengths[:, None], target, END)
    return Pairs(jnp.where(source_mask, source, 0), source_mask, target, position, lengths)

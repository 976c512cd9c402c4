"""The five algorithmic tasks of Graves, Wayne and Danihelka 2014, section 4, drawn afresh."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp

ITEM = 3  # vectors of an item to recall


class Rows(NamedTuple):
    """Inputs xs [B, T, D], target bits [B, T, O], mask [B, T], where a target is."""

    xs: jax.Array
    targets: jax.Array
    mask: jax.Array


@dataclass(frozen=True)
class Problem:
    """What to draw and what to reach; costs are bits a sequence.

    Attributes:
      draw: (key, rows, *span) -> `Rows`.
      inputs, outputs: D, O.
      spans: of training, one drawn at each step.
      tests: spans by name; the first one chooses the learning rate and has to reach the gate.
      gate: bits.
      margins: bits that other tests have to reach.
      known: rows -> bits that the best predictor needs on each; None means 0.
    """

    draw: Callable[..., Rows]
    inputs: int
    outputs: int
    spans: tuple[tuple[int, ...], ...]
    tests: Mapping[str, tuple[int, ...]]
    gate: float
    margins: Mapping[str, float] = field(default_factory=dict)
    known: Callable[[Rows], jax.Array] | None = None


def coins(key: jax.Array, *shape: int) -> jax.Array:
    """Fair bits."""
    return jax.random.bernoulli(key, 0.5, shape).astype(jnp.float32)


def at(bits: jax.Array, index: jax.Array) -> jax.Array:
    """Vectors [B, N, W] at index [B, T]; zeros where it is out of range."""
    inside = (index >= 0) & (index < bits.shape[1])
    found = jnp.take_along_axis(bits, jnp.clip(index, 0, bits.shape[1] - 1)[..., None], axis=1)
    return jnp.where(inside[..., None], found, 0)


def uniform(key: jax.Array, rows: int, low: int, high: int) -> jax.Array:
    """Whole numbers [B, 1] from low to high."""
    return jax.random.randint(key, (rows, 1), low, high + 1)


def channel(flags: jax.Array) -> jax.Array:
    """Flags or numbers [B, T] as a channel."""
    return flags.astype(jnp.float32)[..., None]


def copy(key: jax.Array, rows: int, low: int, high: int, width: int = 8) -> Rows:
    """`low` to `high` vectors, a delimiter, then the same vectors."""
    key_n, key_b = jax.random.split(key)
    n, bits, t = (
        uniform(key_n, rows, low, high),
        coins(key_b, rows, high, width),
        jnp.arange(2 * high + 1),
    )
    shown = at(bits, jnp.where(t < n, t, -1))
    mask = (t > n) & (t <= 2 * n)
    xs = jnp.concatenate([shown, channel(t == n)], axis=-1)
    return Rows(xs, jnp.where(mask[..., None], at(bits, t - n - 1), 0), mask)


def repeat_copy(key: jax.Array, rows: int, low: int, high: int, least: int, most: int) -> Rows:
    """Vectors, how often to repeat them, the repetitions, a mark for their end."""
    key_n, key_r, key_b = jax.random.split(key, 3)
    n, times = uniform(key_n, rows, low, high), uniform(key_r, rows, least, most)
    bits, t = coins(key_b, rows, high, 6), jnp.arange(high + high * most + 2)
    shown = at(bits, jnp.where(t < n, t, -1))
    count = (times.astype(jnp.float32) - 5.5) / 2.87  # mean 0 and variance 1 over 1 to 10
    xs = jnp.concatenate([shown, channel(t == n), channel(jnp.where(t == n, count, 0.0))], axis=-1)
    since, end = t - n - 1, n * times
    mask, last = (since >= 0) & (since <= end), since == end
    again = jnp.where((mask & ~last)[..., None], at(bits, since % n), 0)
    return Rows(xs, jnp.concatenate([again, channel(last)], axis=-1), mask)


def recall(key: jax.Array, rows: int, low: int, high: int) -> Rows:
    """Items of three vectors, one of them again (not the last); its successor is to be named."""
    key_n, key_q, key_b = jax.random.split(key, 3)
    n = uniform(key_n, rows, low, high)
    query = jax.random.randint(key_q, (rows, 1), 0, n - 1)
    bits, step = coins(key_b, rows, high * ITEM, 6), ITEM + 1
    t = jnp.arange(step * high + 2 * step)
    item, place, since = t // step, t % step - 1, t - step * n
    vectors = jnp.where(place >= 0, item * ITEM + place, -1)
    again = query * ITEM + since - 1
    source = jnp.where(t < step * n, vectors, jnp.where((since > 0) & (since < step), again, -1))
    marks = channel((t < step * n) & (place < 0)), channel((since == 0) | (since == step))
    mask = (since > step) & (since <= step + ITEM)
    answer = (query + 1) * ITEM + since - step - 1
    targets = jnp.where(mask[..., None], at(bits, answer), 0)
    return Rows(jnp.concatenate([at(bits, source), *marks], axis=-1), targets, mask)


def sort(key: jax.Array, rows: int, count: int, kept: int) -> Rows:
    """Vectors with priorities in [-1, 1]; those of the highest, in their order."""
    key_p, key_b = jax.random.split(key)
    bits = coins(key_b, rows, count, 8)
    priority = jax.random.uniform(key_p, (rows, count), minval=-1.0)
    t = jnp.arange(count + 1 + kept)
    place = jnp.broadcast_to(t, (rows, t.size))
    shown = at(jnp.concatenate([bits, priority[..., None]], axis=-1), place)
    order = jnp.argsort(-priority, axis=1)[:, :kept]
    ranked = jnp.take_along_axis(bits, order[..., None], axis=1)
    xs = jnp.concatenate([shown, channel(place == count)], axis=-1)
    return Rows(xs, at(ranked, place - count - 1), place > count)


def ngrams(key: jax.Array, rows: int, length: int = 200, context: int = 5) -> Rows:
    """Bits after `context` ones by a table drawn from Beta(1/2, 1/2) anew for each row."""
    key_t, key_f, key_u = jax.random.split(key, 3)
    table = jax.random.beta(key_t, 0.5, 0.5, (rows, 2**context))
    first = jax.random.bernoulli(key_f, 0.5, (rows, context)).astype(jnp.int32)
    draws = jax.random.uniform(key_u, (length - context, rows))
    code = first @ (2 ** jnp.arange(context - 1, -1, -1))

    def grow(code, u):
        bit = (u < jnp.take_along_axis(table, code[:, None], axis=1)[:, 0]).astype(jnp.int32)
        return (2 * code + bit) % 2**context, bit

    _, later = jax.lax.scan(grow, code, draws)
    bits = jnp.concatenate([first, later.T], axis=1).astype(jnp.float32)[..., None]
    mask = jnp.broadcast_to(jnp.arange(length - 1) >= context - 1, (rows, length - 1))
    return Rows(bits[:, :-1], bits[:, 1:], mask)


def bayes_bits(rows: Rows, context: int = 5) -> jax.Array:
    """Bits [B] that (N₁ + 1/2) / (N₀ + N₁ + 1) needs, N₀ and N₁ counting its context so far."""
    bits = jnp.concatenate([rows.xs[:, :1, 0], rows.targets[..., 0]], axis=1).astype(jnp.int32)
    code = bits[:, :context] @ (2 ** jnp.arange(context - 1, -1, -1))
    row = jnp.arange(bits.shape[0])

    def predict(carry, bit):
        code, counts = carry  # [B, 2^5, 2]
        seen = counts[row, code]
        chance = (seen[row, bit] + 0.5) / (seen.sum(axis=1) + 1)
        return ((2 * code + bit) % 2**context, counts.at[row, code, bit].add(1)), -jnp.log2(chance)

    start = code, jnp.zeros((bits.shape[0], 2**context, 2))
    return jax.lax.scan(predict, start, bits[:, context:].T)[1].sum(axis=0)


PROBLEMS = {
    "copy": Problem(
        copy,
        9,
        8,
        spans=((1, 5), (6, 10), (11, 15), (16, 20)),
        tests={"bits at 20": (20, 20), "at 40": (40, 40), "at 80": (80, 80), "at 120": (120, 120)},
        gate=0.1,
        margins={"at 40": 1.0},
    ),
    "repeat": Problem(
        repeat_copy,
        8,
        7,
        spans=((1, 10, 1, 10),),
        tests={
            "bits at 10 x 10": (10, 10, 10, 10),
            "at 20 x 10": (20, 20, 10, 10),
            "at 10 x 20": (10, 10, 20, 20),
        },
        gate=1.0,
    ),
    "recall": Problem(
        recall,
        8,
        6,
        spans=((2, 6),),
        tests={"bits at 6 items": (6, 6), "at 12": (12, 12), "at 20": (20, 20)},
        gate=1.0,
    ),
    "ngrams": Problem(
        ngrams, 1, 1, spans=((),), tests={"bits above Bayes": ()}, gate=3.0, known=bayes_bits
    ),
    "sort": Problem(sort, 10, 8, spans=((20, 16),), tests={"bits": (20, 16)}, gate=32.0),
}

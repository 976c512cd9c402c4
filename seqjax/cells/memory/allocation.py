"""Which slots are free, and in which order they were written: pure functions of one step.

Graves et al. 2016, Methods, "Dynamic memory allocation" and "Temporal memory linkage". Weightings
are [..., S] over S slots, not negative and of sum at most 1; L[i, j] in [..., S, S] says to what
degree slot i was written right after slot j. All of it is in at least float32.
"""

import jax
import jax.numpy as jnp

USAGE_EPSILON = 1e-6  # the least usage of a slot: products of usages keep a gradient


def retention(read_weights: jax.Array, free_gates: jax.Array) -> jax.Array:
    """ψ(i) = Πₙ (1 - fₙ rₙ(i)): what reading [..., N, S] frees no slot of, gates f [..., N].

    Returns:
      [..., S], 1 where nothing is freed.
    """
    return jnp.prod(1 - free_gates[..., None] * read_weights, axis=-2)


def next_usage(usage: jax.Array, write_weights: jax.Array, retained: jax.Array) -> jax.Array:
    """u' = (u + w - u ⊙ w) ⊙ ψ, all [..., S], w being where the step before wrote.

    Example:
      >>> u, w = jnp.array([0.0, 0.5]), jnp.array([1.0, 0.5])
      >>> next_usage(u, w, jnp.array([0.5, 1.0])).tolist()
      [0.5, 0.75]
    """
    return (usage + write_weights - usage * write_weights) * retained


def allocation_weights(usage: jax.Array) -> jax.Array:
    """The freest slots first: a weighting [..., S] from usages u [..., S] between 0 and 1.

        a(φⱼ) = (1 - u(φⱼ)) Π_{i<j} u(φᵢ),   φ the slots by rising usage, the first of equals first

    The order has no gradient, the products have one. Usages count as u (1 - 10⁻⁶) + 10⁻⁶.

    Example:
      >>> [round(w, 3) for w in allocation_weights(jnp.array([1.0, 0.25, 0.5])).tolist()]
      [0.0, 0.75, 0.125]
    """
    usage = USAGE_EPSILON + (1 - USAGE_EPSILON) * usage
    order = jnp.argsort(usage, axis=-1, stable=True)
    rising = jnp.take_along_axis(usage, order, axis=-1)
    before = jnp.concatenate([jnp.ones_like(rising[..., :1]), rising[..., :-1]], axis=-1)
    free = (1 - rising) * jnp.cumprod(before, axis=-1)
    return jnp.take_along_axis(free, jnp.argsort(order, axis=-1), axis=-1)


def next_precedence(precedence: jax.Array, write_weights: jax.Array) -> jax.Array:
    """p' = (1 - Σ w) p + w, all [..., S]: which slot was written last."""
    return (1 - jnp.sum(write_weights, axis=-1, keepdims=True)) * precedence + write_weights


def next_links(links: jax.Array, precedence: jax.Array, write_weights: jax.Array) -> jax.Array:
    """L'[i, j] = (1 - w(i) - w(j)) L[i, j] + w(i) p(j), 0 where i = j.

    Args:
      links: L, [..., S, S].
      precedence: p of the step before, [..., S].
      write_weights: w, [..., S].

    Example:
      >>> first, second = jnp.eye(3)[0], jnp.eye(3)[2]
      >>> links = next_links(jnp.zeros((3, 3)), first, second)
      >>> float(links[2, 0]), float(links.sum())
      (1.0, 1.0)
    """
    i, j = write_weights[..., :, None], write_weights[..., None, :]
    links = (1 - i - j) * links + i * precedence[..., None, :]
    return links * (1 - jnp.eye(links.shape[-1], dtype=links.dtype))


def follow(links: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What was written right after, and right before, what was read: L w and Lᵀ w.

    Args:
      links: L, [..., S, S].
      weights: w, [..., N, S].

    Returns:
      Forward and backward weightings [..., N, S].
    """
    forward = jnp.einsum("...ij,...nj->...ni", links, weights)
    return forward, jnp.einsum("...ij,...ni->...nj", links, weights)

"""Where the heads of a memory look, and what they do there: pure functions of one step.

Graves, Wayne and Danihelka 2014, sections 3.1 to 3.3. A memory is [..., S, W], S slots of W
numbers; a weighting over its slots is [..., S], not negative and of sum 1; heads stand on an axis
N before the slots. All of it is in at least float32, and finite for finite arguments, gradients
included: zero keys, slots of zeros and weightings that are exactly one-hot are legal.
"""

import functools
import operator

import jax
import jax.numpy as jnp

NORM_EPSILON = 1e-6  # added to squared norms: the gradient of a norm at 0 is 0, not infinite
LOG_EPSILON = 1e-12  # the smallest weight whose logarithm is taken


def content_weights(memory: jax.Array, keys: jax.Array, strengths: jax.Array) -> jax.Array:
    """Weightings by similarity to a key, eq. 5 and 6.

        w(i) = softmaxᵢ(β k·M(i) / (|k| |M(i)|)),   |v| = √(Σ v² + 10⁻⁶)

    Args:
      memory: [..., S, W].
      keys: k, [..., N, W].
      strengths: β >= 0, [..., N].

    Returns:
      [..., N, S].

    Example:
      >>> memory = jnp.eye(3)
      >>> weights = content_weights(memory, memory[1:2], jnp.array([50.0]))
      >>> print(weights.round(3))
      [[0. 1. 0.]]
    """
    norm = lambda v: jnp.sqrt(jnp.sum(v * v, axis=-1) + NORM_EPSILON)
    products = jnp.einsum("...nw,...sw->...ns", keys, memory)
    scales = (strengths / norm(keys))[..., None] / norm(memory)[..., None, :]
    return jax.nn.softmax(products * scales, axis=-1)


def interpolate(content: jax.Array, previous: jax.Array, gates: jax.Array) -> jax.Array:
    """g content + (1 - g) previous, eq. 7: two [..., N, S], g [..., N]; g = 0 stays."""
    return previous + gates[..., None] * (content - previous)


def shift(weights: jax.Array, shifts: jax.Array) -> jax.Array:
    """Moves weightings around the ring of slots, eq. 8.

        w̃(i) = Σⱼ w(i - j) s(j),   j from -r to r, i - j modulo S

    Args:
      weights: w, [..., S].
      shifts: s, [..., 2 r + 1], a distribution over the shifts from -r to r.

    Returns:
      [..., S].

    Example:
      >>> shift(jnp.array([0.0, 0.0, 1.0]), jnp.array([0.25, 0.0, 0.75])).tolist()
      [0.75, 0.25, 0.0]
    """
    reach = shifts.shape[-1] // 2
    moved = [
        jnp.roll(weights, index - reach, axis=-1) * shifts[..., index : index + 1]
        for index in range(shifts.shape[-1])
    ]
    return functools.reduce(operator.add, moved)


def sharpen(weights: jax.Array, powers: jax.Array) -> jax.Array:
    """w(i)^γ / Σⱼ w(j)^γ, eq. 9, by logarithms: weights [..., S], γ >= 1 [...].

    Weights under 10⁻¹² count as 10⁻¹², so that the result is a weighting whatever comes.

    Example:
      >>> [round(w, 3) for w in sharpen(jnp.array([0.25, 0.75]), jnp.array(2.0)).tolist()]
      [0.1, 0.9]
    """
    logs = jnp.log(jnp.maximum(weights, LOG_EPSILON))
    return jax.nn.softmax(powers[..., None] * logs, axis=-1)


def erase_and_add(
    memory: jax.Array, weights: jax.Array, erase: jax.Array, add: jax.Array
) -> jax.Array:
    """Writes with N heads at once, eq. 3 and 4: all erase, then all add.

        M'(i) = M(i) Πₙ (1 - wₙ(i) eₙ) + Σₙ wₙ(i) aₙ

    Args:
      memory: M, [..., S, W].
      weights: w, [..., N, S].
      erase: e, [..., N, W], between 0 and 1.
      add: a, [..., N, W].

    Returns:
      [..., S, W].

    Example:
      >>> memory, at = jnp.ones((2, 2)), jnp.array([[0.0, 1.0]])
      >>> erase_and_add(memory, at, jnp.array([[1.0, 0.0]]), jnp.array([[5.0, 0.0]])).tolist()
      [[1.0, 1.0], [5.0, 1.0]]
    """
    for head in range(weights.shape[-2]):
        memory = memory * (1 - weights[..., head, :, None] * erase[..., head, None, :])
    for head in range(weights.shape[-2]):
        memory = memory + weights[..., head, :, None] * add[..., head, None, :]
    return memory


def read(memory: jax.Array, weights: jax.Array) -> jax.Array:
    """Σᵢ w(i) M(i), eq. 2: memory [..., S, W], weights [..., N, S] -> [..., N, W].

    Example:
      >>> read(jnp.array([[2.0], [4.0]]), jnp.array([[0.5, 0.5]])).tolist()
      [[3.0]]
    """
    return jnp.einsum("...ns,...sw->...nw", weights, memory)

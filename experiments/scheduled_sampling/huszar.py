"""Two steps on which scheduled sampling is wrong in the limit of endless data (Huszár 2015)."""

import jax
import jax.numpy as jnp

from seqjax.objectives import scheduled_sampling

STAY = 0.95
BOS = 2


def optimum(epsilon):
    """Where Q(x₂ = x₁ | x₁) ends: 0.95 ε + 0.5 (1 - ε), as a drawn x₁ says nothing of x₂."""
    return STAY * epsilon + 0.5 * (1 - epsilon)


def draw(key: jax.Array, rows: int) -> jax.Array:
    """Pairs [N, 2]: a fair coin, and the same again with probability 0.95."""
    key_1, key_2 = jax.random.split(key)
    first = jax.random.bernoulli(key_1, 0.5, (rows,)).astype(jnp.int32)
    change = jax.random.bernoulli(key_2, 1 - STAY, (rows,)).astype(jnp.int32)
    return jnp.stack([first, first ^ change], axis=1)


def learned(epsilon: jax.Array, key: jax.Array, *, steps: int = 200, rows: int = 2048) -> jax.Array:
    """[3, 2] probabilities after 0, 1 and bos: a table trained at one ε, averaged over its end."""

    def loss(table, key):
        key_d, key_s = jax.random.split(key)
        step = lambda carry, tokens: (carry, table[tokens])
        how = {"bos": BOS, "truth_probability": epsilon, "key": key_s}
        return scheduled_sampling(step, (), draw(key_d, rows), **how).loss.mean

    def update(table, i):
        table = table - 8.0 * jax.grad(loss)(table, jax.random.fold_in(key, i))
        return table, table

    _, tables = jax.lax.scan(update, jnp.zeros((3, 2)), jnp.arange(steps))
    return jax.nn.softmax(tables[steps // 2 :].mean(axis=0))

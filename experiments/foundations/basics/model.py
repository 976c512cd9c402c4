"""A window without memory."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

import seqjax as sj


@dataclass(frozen=True)
class WindowMLP:
    """One hidden layer over a window of fixed length: a weight for each symbol at each place."""

    hidden_size: int
    vocab_size: int
    classes: int
    length: int

    def init(self, key: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
        """Draws params."""
        sizes = (self.length * self.vocab_size, self.hidden_size, self.classes)
        keys, draw = jax.random.split(key), sj.initializers.GlorotUniform()
        shapes = zip(sizes[:-1], sizes[1:], strict=True)
        return [
            (draw(k, shape), jnp.zeros(shape[1])) for k, shape in zip(keys, shapes, strict=True)
        ]

    def last(self, params, tokens: jax.Array) -> jax.Array:
        """Logits [B, classes] from tokens [B, T]."""
        (w_1, b_1), (w_2, b_2) = params
        x = jax.nn.one_hot(tokens, self.vocab_size).reshape(tokens.shape[0], -1)
        return jax.nn.relu(x @ w_1 + b_1) @ w_2 + b_2

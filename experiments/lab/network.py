"""A cell between one-hot symbols and logits."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import seqjax as sj


@dataclass(frozen=True)
class Network:
    """A recurrent network over V symbols.

    Attributes:
      cell: any cell whose `output` is [B, hidden_size].
      vocab_size: V, of the inputs.
      classes: number of logits; None where the cell's own output is the logits (a Jordan net).
    """

    cell: Any
    vocab_size: int
    classes: int | None

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Draws params."""
        key_c, key_o = jax.random.split(key)
        params = {"cell": self.cell.init(key_c, self.vocab_size)}
        if self.classes is not None:
            params["w_o"] = sj.initializers.GlorotUniform()(
                key_o, (self.cell.hidden_size, self.classes)
            )
            params["b_o"] = jnp.zeros(self.classes)
        return params

    def unroll(self, params, tokens: jax.Array, **options) -> tuple[Any, jax.Array]:
        """The carry after tokens [B, T], and logits [B, T, classes]; options of `sj.unroll`."""
        xs = jax.nn.one_hot(tokens, self.vocab_size)
        carry, ys = sj.unroll(self.cell, params["cell"], xs, **options)
        return carry, self._logits(params, ys)

    def step(self, params, carry, tokens: jax.Array) -> tuple[Any, jax.Array]:
        """One token [B] further."""
        x = jax.nn.one_hot(tokens, self.vocab_size)
        carry, y = self.cell.step(params["cell"], carry, x)
        return carry, self._logits(params, y)

    def last(self, params, tokens: jax.Array, **options) -> jax.Array:
        """Logits [B, classes] after each row's last token."""
        carry, _ = self.unroll(params, tokens, **options)
        return self._logits(params, self.cell.output(params["cell"], carry))

    def _logits(self, params, ys: jax.Array) -> jax.Array:
        return ys if self.classes is None else ys @ params["w_o"] + params["b_o"]

"""Given tokens at given places, as a potential, and a guess of what they will cost, as a twist."""

from dataclasses import dataclass
from typing import Any, final

import jax
import jax.numpy as jnp
from jax import lax

from seqjax._internal.checks import require
from seqjax._internal.ranks import own_ranks
from seqjax._internal.types import Carry, Logits, Tokens
from seqjax.decoding.engine.candidates import is_end

FREE = -1  # a place of a template that any token fits


@final
@dataclass(frozen=True, eq=False)
class Infill:
    """Requires given tokens at given places: a constraint, or a potential.

        log Gₜ(y) = 0 where template[t] is y or free, -inf elsewhere

    A sequence must not end before its last given token, so eos is refused until then unless it is
    given itself. As a processor of `sample` it renormalises each token, blind to what lies
    ahead; as a potential of `sequential_monte_carlo` it conditions on the whole template.

    Attributes:
      template: [B, L] integers, one a row, or [L] for all rows; -1 where any token fits. Places
        beyond L are free.
      eos: the token that ends a sequence, or a tuple of several, as the decoder has it.

    Raises:
      ValueError: if template is not integers [B, L] or [L], or its rows do not fit the batch.

    Example:
      >>> from seqjax.decoding import sample
      >>> step = lambda carry, tokens: (carry, jnp.array([[3.0, 2.0, 1.0]]))
      >>> how = dict(bos=jnp.array([0]), eos=0, max_len=4, key=jax.random.key(0), temperature=0.0)
      >>> fill = Infill(jnp.array([[-1, 2, -1]]), eos=0)
      >>> sample(step, (), processors=[fill], **how).tokens.tolist()
      [[1, 2, 0, 0]]

    References:
      Lew et al., Sequential Monte Carlo Steering of Large Language Models using Probabilistic
      Programs, 2023, for infilling by potentials.
    """

    template: Any
    eos: Any

    def __post_init__(self):
        object.__setattr__(self, "template", _check_template(self.template))

    @property
    def _ends(self) -> tuple[int, ...]:
        return tuple(self.eos) if isinstance(self.eos, (tuple, list)) else (self.eos,)

    def initial_state(self, batch_size: int) -> tuple[jax.Array, jax.Array]:
        """Which row of the template, and the place in it: each [N] int32."""
        return _begin(self.template, batch_size)

    def __call__(self, state: Carry, logits: Logits) -> Logits:
        """logits [N, V] with -inf at what does not fit."""
        row, place = state
        length = self.template.shape[1]
        here = jnp.where(place < length, self.template[row, jnp.minimum(place, length - 1)], FREE)
        ids = jnp.arange(logits.shape[1], dtype=jnp.int32)
        fits = (here[:, None] == FREE) | (ids == here[:, None])
        later = jnp.arange(length, dtype=jnp.int32) > place[:, None]
        given = (self.template != FREE) & ~is_end(self.template, self._ends)  # [B, L]
        early = jnp.any(later & given[row], axis=1)
        return jnp.where(fits & ~(early[:, None] & is_end(ids, self._ends)), logits, -jnp.inf)

    def update(self, state: Carry, tokens: Tokens) -> tuple[jax.Array, jax.Array]:
        """The next place, whatever tokens [N] were chosen."""
        row, place = state
        return row, place + 1


@final
@dataclass(frozen=True, eq=False)
class InfillTwist:
    """How probable a bigram model finds what a template still asks for; see `lookahead_infill`.

    Attributes:
      table: [B, L, V] floats, log ψₜ(v) for token v at place t.
    """

    table: jax.Array

    def initial_state(self, batch_size: int) -> tuple[jax.Array, jax.Array]:
        """Which row of the table, and the place in it: each [N] int32."""
        return _begin(self.table, batch_size)

    def __call__(self, state: Carry, logits: Logits) -> Logits:
        """logits [N, V] with log ψ added."""
        row, place = state
        ahead = self.table[row, jnp.minimum(place, self.table.shape[1] - 1)]
        return logits + ahead.astype(logits.dtype)

    def update(self, state: Carry, tokens: Tokens) -> tuple[jax.Array, jax.Array]:
        """The next place, whatever tokens [N] were chosen."""
        row, place = state
        return row, place + 1


@own_ranks
def lookahead_infill(template: Any, bigram: jax.Array) -> InfillTwist:
    """A twist for `Infill`: the probability of the rest of the template under a bigram model.

        ψₜ(v) = Σ_w bigram(w | v) fits(w, template[t + 1]) ψₜ₊₁(w);    ψ = 1 at the end

    Exact for a step that is that bigram: then every particle has the same weight. For any
    other step it is a guess, which changes the variance and nothing else; it must allow what the
    step allows, so smooth it.

    Args:
      template: as for `Infill`: [B, L] or [L] integers, -1 where any token fits.
      bigram: [V, V] floats, log p(next token | token); its eos row should stay at eos.

    Returns:
      An InfillTwist, for the `twists` of `sequential_monte_carlo`.

    Raises:
      ValueError: if template is not integers [B, L] or [L], or bigram is not [V, V].

    Example:
      >>> bigram = jnp.log(jnp.array([[0.9, 0.1], [0.5, 0.5]]))
      >>> twist = lookahead_infill(jnp.array([-1, -1, 1]), bigram)
      >>> [[round(p, 2) for p in row] for row in jnp.exp(twist.table[0]).tolist()]
      [[0.14, 0.3], [0.1, 0.5], [1.0, 1.0]]

    References:
      Guarniero, Johansen and Lee, The Iterated Auxiliary Particle Filter, 2017, section 2.
    """
    template, bigram = _check_template(template), jnp.asarray(bigram)
    vocab = bigram.shape[0] if bigram.ndim else 0
    require(
        bigram.shape == (vocab, vocab) and jnp.issubdtype(bigram.dtype, jnp.floating),
        f"bigram is {bigram.dtype}{list(bigram.shape)}; expected floats [V, V], log p of the next "
        "token given this one.",
    )
    fits = (template[..., None] == FREE) | (template[..., None] == jnp.arange(vocab))  # [B, L, V]

    def back(later, fit):
        weighed = jnp.where(fit, later, -jnp.inf)[:, None, :] + bigram  # [B, V, V]
        return jax.nn.logsumexp(weighed, axis=-1), later

    zeros = jnp.zeros((template.shape[0], vocab), bigram.dtype)
    _, table = lax.scan(back, zeros, jnp.swapaxes(fits, 0, 1), reverse=True)
    return InfillTwist(jnp.swapaxes(table, 0, 1))


def _check_template(template: Any) -> jax.Array:
    """The template as [B, L] or [1, L] int32."""
    template = jnp.asarray(template)
    require(
        template.ndim in (1, 2)
        and template.shape[-1] > 0
        and jnp.issubdtype(template.dtype, jnp.integer),
        f"template is {template.dtype}{list(template.shape)}; expected integers [B, L] or [L], -1 "
        "where any token fits.",
    )
    return jnp.atleast_2d(template.astype(jnp.int32))


def _begin(rows: jax.Array, batch_size: int) -> tuple[jax.Array, jax.Array]:
    count = rows.shape[0]
    require(
        count in (1, batch_size),
        f"template has {count} rows but the batch size is {batch_size}; expected one a row, "
        "[B, L], or [L] for all.",
    )
    row = jnp.arange(batch_size, dtype=jnp.int32) if count > 1 else jnp.zeros(batch_size, jnp.int32)
    return row, jnp.zeros(batch_size, jnp.int32)

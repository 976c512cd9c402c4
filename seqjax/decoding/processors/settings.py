"""How tokens are drawn: temperature and truncations as one spec, which every decoder takes."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np

from seqjax._internal.checks import concrete, is_number, positive_int, require
from seqjax._internal.types import Logits
from seqjax.decoding.engine.logits import column
from seqjax.decoding.processors import truncation


@final
@dataclass(frozen=True)
class Sampling:
    """From logits to the distribution that is drawn from, which `how=` hands to every sampler.

        logits' = eta(epsilon(typical(min_p(top_p(top_k(logits / temperature))))))

    Each truncation acts on what the one before left, renormalised. It is a processor as well: for
    beam search, or in a list of several for another order. As the last processor of `sample` it
    draws what `how=` draws.

    Attributes:
      temperature: >= 0; 0 leaves the argmax alone, ties to the lowest id. Every setting but
        min_keep is a number, may be traced, or is one a row, [B] ([N] for logits [N, V]).
      top_k: keep the k most probable tokens, exactly k, ties to the lowest ids; 1..V.
      top_p: keep the most probable tokens until their sum reaches p, at least one; in (0, 1]. A
        sum that equals p but for rounding ends the set.
      min_p: keep tokens at least min_p times as probable as the best one; in [0, 1].
      typical_p: keep the tokens whose information -log p is nearest to the entropy until their sum
        reaches typical_p, at least one; in (0, 1].
      epsilon_cutoff: keep tokens more probable than ε, and the best one; in [0, 1).
      eta_cutoff: keep tokens more probable than min(ε, √ε exp(-H)) with ε = eta_cutoff and H the
        entropy in nats, and the best one; in [0, 1).
      min_keep: how many tokens each truncation but top_k leaves at least, its first or most
        probable ones; of equally probable ones all.

    Raises:
      ValueError: for a setting out of range; when used, for a top_k or min_keep above V or a shape
        that is not that of the rows.

    Example:
      >>> logits = jnp.log(jnp.array([[0.5, 0.3, 0.2]]))
      >>> first = Sampling(temperature=2.0, top_p=0.45)(logits)
      >>> then = Sampling(temperature=2.0)(Sampling(top_p=0.45)(logits))
      >>> jnp.isfinite(first).tolist(), jnp.isfinite(then).tolist()
      ([[True, True, False]], [[True, False, False]])

    References:
      Fan, Lewis and Dauphin, Hierarchical Neural Story Generation, 2018, for top-k. Holtzman et
      al., The Curious Case of Neural Text Degeneration, 2020, for top-p. Nguyen et al., Turning Up
      the Heat: Min-p Sampling, 2024. Meister et al., Locally Typical Sampling, 2023. Hewitt,
      Manning and Liang, Truncation Sampling as Language Model Desmoothing, 2022, for epsilon and
      eta.
    """

    temperature: Any = 1.0
    top_k: Any = None
    top_p: Any = None
    min_p: Any = None
    typical_p: Any = None
    epsilon_cutoff: Any = None
    eta_cutoff: Any = None
    min_keep: int = 1

    def __post_init__(self):
        require(self.temperature is not None, "temperature is None; expected a number, or [B].")
        self._check("temperature", lambda t: (t >= 0) & np.isfinite(t), ">= 0")
        for name in ("top_p", "typical_p"):
            self._check(name, lambda p: (p > 0) & (p <= 1), "in (0, 1]")
        self._check("min_p", lambda p: (p >= 0) & (p <= 1), "in [0, 1]")
        for name in ("epsilon_cutoff", "eta_cutoff"):
            self._check(name, lambda e: (e >= 0) & (e < 1), "in [0, 1)")
        object.__setattr__(self, "min_keep", positive_int("min_keep", self.min_keep))

    def _check(self, name: str, valid: Callable, expected: str) -> None:
        value = getattr(self, name)
        known = None if value is None else concrete(value)
        require(
            known is None or bool(np.all(valid(known))),
            f"{name} is {value!r}; expected {name} {expected}.",
        )

    def fit(self, batch: int, vocab_size: int) -> "Sampling":
        """The settings for B rows over V tokens, checked; one known integer top_k is static."""
        for field in fields(self):
            shape = np.shape(getattr(self, field.name))
            require(
                shape in ((), (batch,)),
                f"{field.name} has shape {shape}; expected a single number or one a row, [B] = "
                f"({batch},).",
            )
        expected = f"in 1..{vocab_size}, the vocabulary size"
        require(
            self.min_keep <= vocab_size, f"min_keep is {self.min_keep}; expected it {expected}."
        )
        if self.top_k is None:
            return self
        require(
            jnp.issubdtype(jnp.asarray(self.top_k).dtype, jnp.integer),
            f"top_k is {self.top_k!r}; expected an integer, or integers [B].",
        )
        self._check("top_k", lambda k: (k >= 1) & (k <= vocab_size), expected)
        known = concrete(self.top_k)
        return replace(self, top_k=int(known)) if known is not None and known.ndim == 0 else self

    def repeat(self, times: int) -> "Sampling":
        """The settings of B rows for their B * times copies, a row's side by side."""
        rows = {
            f.name: getattr(self, f.name) for f in fields(self) if np.ndim(getattr(self, f.name))
        }
        each = {name: jnp.repeat(jnp.asarray(x), times, axis=0) for name, x in rows.items()}
        return replace(self, **each)

    @property
    def is_greedy(self) -> bool:
        """Whether the temperature is known to be 0 when traced: no noise, no sort."""
        known = isinstance(self.temperature, (int, float))
        return known and self.temperature < np.finfo(np.float32).tiny

    def apply(self, logits: Logits, rounding: Any = None) -> Logits:
        """Logits [N, V] to draw from, not normalised, by settings that `fit` has checked.

        `rounding` is the relative error of the logits, None that of their dtype.
        """
        if self.is_greedy:
            return truncation.keep_best(logits)
        kept, least = truncation.temper(logits, self.temperature), self.min_keep
        if self.top_k is not None:
            kept = truncation.keep_top_k(kept, self.top_k)
        if self.top_p is not None:
            kept = truncation.keep_top_p(kept, self.top_p, least, rounding)
        if self.min_p is not None:
            kept = truncation.keep_min_p(kept, self.min_p, least)
        if self.typical_p is not None:
            kept = truncation.keep_typical(kept, self.typical_p, least, rounding)
        if self.epsilon_cutoff is not None:
            kept = truncation.keep_epsilon(kept, self.epsilon_cutoff, least)
        if self.eta_cutoff is not None:
            kept = truncation.keep_eta(kept, self.eta_cutoff, least)
        if isinstance(self.temperature, (int, float)):
            return kept
        cold = column(truncation.is_cold(self.temperature, logits.dtype), bool)
        return jnp.where(cold, truncation.keep_best(logits), kept)

    def __call__(self, logits: jax.Array, tokens: Any = None, length: Any = None) -> Logits:
        """The truncated logits [N, V], not normalised; the tokens so far do not matter."""
        return self.fit(*logits.shape).apply(logits)


MODEL = Sampling()  # the model's own distribution


def chosen(how: Sampling | None, **spelled: Any) -> Sampling:
    """What a caller asks for: `how`, or the settings spelled out, but not both."""
    if how is None:
        return Sampling(**spelled)
    require(isinstance(how, Sampling), f"how is {how!r}; expected a Sampling.")
    differs = lambda value, default: (
        value is not default and not (is_number(value) and value == default)
    )
    both = [name for name, value in spelled.items() if differs(value, getattr(MODEL, name))]
    require(
        not both,
        f"{', '.join(both)} and how={how!r} were given; expected one of both. Write "
        f"how=Sampling({', '.join(f'{name}=...' for name in both)}, ...).",
    )
    return how

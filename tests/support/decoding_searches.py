"""Searches by many rules, compiled once for each set of them, and what lists find by the same."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from support import decoding_models as models

from seqjax.decoding import BeamRules, CoveragePenalty, GNMTLengthPenalty, beam_search

RULES = {field.name for field in dataclasses.fields(BeamRules)}
STATIC = (
    "eos beam_size max_len min_len length_penalty early_exit patience groups covered processors"
)


def attending(carry, tokens):
    """The step of `models`, which also hands out attention weights and what it has read."""
    carry, logits = models.step(carry, tokens)
    weights = jax.nn.softmax(4 * carry["state"]["h"])  # [N, 3]
    return carry, logits, {"weights": weights, "read": [tokens, carry["state"]["n"]]}


def attending_anew(carry, tokens):
    """`attending` under `models.NoRepeat`, read off the tokens that come in; bos may repeat."""
    carry, logits, outputs = attending(carry, tokens)
    repeats = jnp.arange(logits.shape[1]) == jnp.where(carry["state"]["n"] > 1, tokens, -1)[:, None]
    return carry, jnp.where(repeats, -jnp.inf, logits), outputs


@functools.partial(jax.jit, static_argnames=STATIC.split())
def search(carry, bos, beta=0.5, covered=False, mask=None, **how):
    if covered:
        how["coverage_penalty"] = CoveragePenalty(beta, memory_mask=mask)
        how["alignments"] = lambda outputs: outputs["weights"]
    return beam_search(attending, carry, bos=bos, **ruled(how))


def ruled(how: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `beam_search`, of which those that are rules move into a `BeamRules`."""
    rules = BeamRules(**{name: how[name] for name in how if name in RULES})
    return {"rules": rules} | {name: how[name] for name in how if name not in RULES}


@functools.cache
def model(rows, vocab):
    return models.random_rows(10 + vocab, rows, vocab), np.arange(rows, dtype=np.int32) % vocab


def coverage_of(weights, lengths, mask):
    """The coverage penalty of beta 1, in NumPy: weights [B, M, L, S] -> [B, M]."""
    real = np.arange(weights.shape[2])[:, None] < lengths[..., None, None]
    total = np.minimum(np.sum(np.where(real, weights, 0), axis=2), 1)
    return np.sum(np.where(mask[:, None], np.log(total), 0), axis=-1)


def narrow(eos, size, score, rows=32, prefix: Any = None, prefix_lengths: Any = None, **how):
    """What `models.python_beam` finds in rows of random models, as (tokens, scores) a row."""
    vocab, length = 4, 5
    carry, bos = model(rows, vocab)
    tokens = models.every_sequence(vocab, length)
    each = models.token_log_probs(
        models.step, carry, bos, np.broadcast_to(tokens, (rows, *tokens.shape))
    ).reshape(rows, *[vocab] * length, length)

    def row(b):
        given = () if prefix is None else prefix[b, : prefix_lengths[b]]

        def next_log_probs(past):
            rest = (0,) * (length - len(past) - 1)
            law = [each[(b, *past, v, *rest, len(past))] for v in range(vocab)]
            if len(past) >= len(given):
                return law
            return [p if v == given[len(past)] else -np.inf for v, p in enumerate(law)]

        return models.python_beam(next_log_probs, score, vocab, length, eos, size, **how)

    return [row(b) for b in range(rows)]


def assert_same(beams, expected):
    """The beams are those that Python lists found, with nothing in the places left over."""
    for b, row in enumerate(expected):
        assert np.isfinite(beams.scores[b]).sum() == len(row)
        for k, (score, tokens, log_prob) in enumerate(row):
            assert beams.tokens[b, k, : len(tokens)].tolist() == list(tokens), (b, k)
            assert beams.lengths[b, k] == len(tokens)
            np.testing.assert_allclose(beams.scores[b, k], score, atol=1e-4)
            np.testing.assert_allclose(beams.log_probs[b, k], log_prob, atol=1e-4)


GNMT = (GNMTLengthPenalty(0.8), lambda p, n: p / ((5 + n) / 6) ** 0.8)

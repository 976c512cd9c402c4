# pyright: reportMissingImports=false
"""The same beam search by several decoders, and the steps that none of them can do without.

Each builder makes a function without arguments that searches a `Job` and hands out the tokens
[B, K, L] and log-probabilities [B, K] of the hypotheses, best first.
"""

import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import seqjax as sj

os.environ.setdefault("KERAS_BACKEND", "jax")

BOS, EOS = 0, 1
Found = tuple[Any, Any]


class Job(NamedTuple):
    """A search with an LSTM language model."""

    params: dict[str, Any]
    batch_size: int
    beam_size: int
    max_len: int

    def step(self, params: dict[str, Any], carry: Any, tokens: jax.Array) -> tuple[Any, jax.Array]:
        """One token for each of N hypotheses."""
        cell = sj.LSTM(params["out"].shape[0])
        carry, y = cell.step(params["lstm"], carry, params["embed"][tokens])
        return carry, y @ params["out"] + params["bias"]

    def carry(self, hypotheses: int = 1) -> Any:
        """B rows that differ, each repeated."""
        size = (self.batch_size, self.params["out"].shape[0])
        h = jnp.tanh(jax.random.normal(jax.random.key(1), size))
        h = jnp.repeat(h, hypotheses, axis=0)
        return sj.LSTMCarry(h, h)


def language_model(vocab_size: int, hidden_size: int, eos_bias: float) -> dict[str, Any]:
    """Weights of a model with peaked predictions, so that hypotheses are told apart."""
    keys = jax.random.split(jax.random.key(0), 3)
    draw = lambda key, *size: jax.random.normal(key, size)
    return {
        "embed": draw(keys[1], vocab_size, hidden_size),
        "lstm": sj.LSTM(hidden_size).init(keys[0], hidden_size),
        "out": draw(keys[2], hidden_size, vocab_size) * (8 / hidden_size**0.5),
        "bias": jnp.zeros(vocab_size).at[EOS].set(eos_bias),
    }


def compiled_search(job: Job) -> Any:
    """seqjax's search, compiled, as a function of (params, carry)."""

    def search(params, carry):
        step = lambda carry, tokens: job.step(params, carry, tokens)
        how: dict[str, Any] = dict(beam_size=job.beam_size, max_len=job.max_len)
        beams = sj.beam_search(step, carry, bos=BOS, eos=EOS, **how)
        return beams.tokens, beams.log_probs

    return jax.jit(search).lower(job.params, job.carry()).compile()


def build_floor(job: Job) -> Callable[[], Any]:
    """The step on B K rows, max_len times: tokens come from outside, logits are dropped."""

    def run(params, carry, tokens):
        def body(carry, tokens):
            carry, logits = job.step(params, carry, tokens)
            # What a conditional is given is written; of a slice one column would be computed.
            return carry, lax.cond(tokens[0] < 0, lambda x: x[:, 1], lambda x: x[:, 0], logits)

        return lax.scan(body, carry, tokens)

    rows = job.batch_size * job.beam_size
    vocab_size = job.params["bias"].shape[0]
    tokens = jax.random.randint(jax.random.key(2), (job.max_len, rows), 2, vocab_size)
    run, carry = jax.jit(run), job.carry(job.beam_size)
    return lambda: run(job.params, carry, tokens)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis, in NumPy."""
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), -1, keepdims=True))


def best_of(values: np.ndarray, k: int) -> np.ndarray:
    """The indices of the k largest of a vector, best first."""
    chosen = np.argpartition(-values, k - 1)[:k] if k < len(values) else np.arange(len(values))
    return chosen[np.argsort(-values[chosen], kind="stable")]


def build_python(job: Job) -> Callable[[], Found]:
    """Lists on the host, one hypothesis a call of the jitted step; no more than two rows."""
    step = jax.jit(job.step)
    carries = job.carry()
    size = job.beam_size

    def row(b):
        start = jax.tree.map(lambda x: x[b : b + 1], carries)
        live: list[tuple[float, list[int], Any]] = [(0.0, [], start)]
        for _ in range(job.max_len):
            grown = []
            for total, tokens, carry in live:
                read = np.array([tokens[-1] if tokens else BOS], np.int32)
                carry, logits = step(job.params, carry, read)
                log_probs = log_softmax(np.asarray(logits)[0])
                for token in best_of(log_probs, 2 * size):
                    grown.append((total + float(log_probs[token]), [*tokens, int(token)], carry))
            live = sorted(grown, key=lambda c: -c[0])[:size]
        return [c[1] for c in live], [c[0] for c in live]

    def search():
        rows = [row(b) for b in range(min(2, job.batch_size))]
        return np.array([r[0] for r in rows]), np.array([r[1] for r in rows], np.float32)

    return search


def build_numpy(job: Job) -> Callable[[], Found]:
    """The jitted step on all B K rows at once; NumPy chooses, JAX gathers the carry."""

    @jax.jit
    def step(params, carry, parents, tokens):
        return job.step(params, jax.tree.map(lambda x: x[parents], carry), tokens)

    batch, size = job.batch_size, job.beam_size
    begin = job.carry(size)
    own = np.arange(batch * size, dtype=np.int32)

    def search():
        carry, parents, last = begin, own, np.full(batch * size, BOS, np.int32)
        totals = np.where(np.arange(size) == 0, 0, -np.inf)[None].repeat(batch, 0)
        history = np.zeros((batch, size, 0), np.int32)
        for _ in range(job.max_len):
            carry, logits = step(job.params, carry, parents, last)
            log_probs = log_softmax(np.asarray(logits)).reshape(batch, size, -1)
            vocab_size = log_probs.shape[-1]
            grown = (totals[..., None] + log_probs).reshape(batch, -1)
            chosen = np.stack([best_of(row, size) for row in grown])
            totals = np.take_along_axis(grown, chosen, 1)
            parents, last = chosen // vocab_size, chosen % vocab_size
            history = np.take_along_axis(history, parents[..., None], 1)
            history = np.concatenate([history, last[..., None].astype(np.int32)], -1)
            parents = (parents + size * np.arange(batch)[:, None]).reshape(-1)
            last = last.reshape(-1).astype(np.int32)
        return history, totals.astype(np.float32)

    return search


def build_keras_hub(job: Job) -> Callable[[], Found]:
    """KerasHub's BeamSampler on the JAX back end, under one jit."""
    from keras_hub.samplers import BeamSampler

    sampler = BeamSampler(num_beams=job.beam_size, return_all_beams=True)

    def search(params, carry):
        def after(prompt, cache, index):
            tokens = lax.dynamic_index_in_dim(prompt, index - 1, axis=1, keepdims=False)
            cache, logits = job.step(params, cache, tokens)
            return logits, None, cache

        prompt = jnp.full((job.batch_size, job.max_len + 1), BOS, jnp.int32)
        mask = jnp.arange(job.max_len + 1) == 0
        mask = jnp.broadcast_to(mask, prompt.shape)
        tokens, log_probs = sampler(
            next=after, prompt=prompt, cache=carry, index=1, mask=mask, stop_token_ids=[EOS]
        )
        return tokens[:, :, 1:], log_probs

    search, carry = jax.jit(search), job.carry()
    return lambda: search(job.params, carry)


BUILDERS = {"python": build_python, "numpy": build_numpy, "keras_hub": build_keras_hub}


def installed(name: str) -> bool:
    """Whether a contender can run here."""
    return name != "keras_hub" or all(find_spec(n) is not None for n in ("keras", "keras_hub"))


def check_equal(name: str, found: Found, expected: Found) -> None:
    """Raises AssertionError unless the hypotheses are those expected, up to near ties."""
    rows = len(found[1])
    want = np.asarray(expected[1])[:rows]
    np.testing.assert_allclose(np.asarray(found[1]), want, rtol=2e-3, atol=1e-2, err_msg=name)
    same = np.asarray(found[0])[:, 0] == np.asarray(expected[0])[:rows, 0]
    assert np.mean(same) > 0.9, f"{name}: its best hypotheses differ"

"""Tiny models for the decoding tests, and what they say about every sequence, by enumeration."""

import itertools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np


def random_rows(seed, batch, vocab, hidden=3, scale=2.0):
    """A carry whose rows are different random recurrent models, parameters and all."""
    rng = np.random.default_rng(seed)
    draw = lambda *shape: jnp.asarray(scale * rng.normal(size=(batch, *shape)), jnp.float32)
    return {
        "params": (draw(vocab, hidden), draw(hidden, hidden), draw(hidden, vocab)),
        "state": {"h": jnp.tanh(draw(hidden)), "n": jnp.zeros((batch,), jnp.int32)},
    }


def step(carry, tokens):
    """A recurrent model of each row's own; no matmul, so rows round alike in any batch."""
    embed, recur, out = carry["params"]
    state = carry["state"]
    read = jnp.take_along_axis(embed, tokens[:, None, None], axis=1)[:, 0]  # [N, H]
    h = jnp.tanh(read + jnp.sum(state["h"][:, :, None] * recur, axis=1) / 3)
    h = jnp.where(state["n"][:, None] % 2 == 0, h, -h)
    logits = jnp.sum(h[:, :, None] * out, axis=1)  # [N, V]
    return {**carry, "state": {"h": h, "n": state["n"] + 1}}, logits


LEAVES = {
    "float": lambda tail: jnp.zeros((2, *tail), jnp.float32),
    "half": lambda tail: jnp.zeros((2, *tail), jnp.bfloat16),
    "int": lambda tail: jnp.zeros((2, *tail), jnp.int8),
    "bool": lambda tail: jnp.zeros((2, *tail), bool),
    "key": lambda tail: jax.random.split(jax.random.key(3), (2, *tail)),
}


def every_kind(batch):
    """A carry [B, ...] for `history_step` with a leaf of every kind, nested."""
    repeat = lambda leaf: jnp.repeat(leaf[:1], batch, axis=0)
    return repeat(LEAVES["half"]((2,))), {k: [repeat(f(()))] for k, f in LEAVES.items()}


def remember(leaf, tokens):
    """Mixes the token into a leaf of any kind; what it holds depends on the whole history."""
    token = jnp.broadcast_to(tokens.reshape(-1, *[1] * (leaf.ndim - 1)), leaf.shape)
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        fold = jax.random.fold_in
        return jax.vmap(fold)(leaf.reshape(-1), token.reshape(-1)).reshape(leaf.shape)
    if leaf.dtype == jnp.bool_:
        return leaf ^ (token == 2)
    if jnp.issubdtype(leaf.dtype, jnp.integer):
        return (leaf * 3 + token.astype(leaf.dtype) + 1) % 7
    return (leaf * 0.5 + token.astype(leaf.dtype) + 0.25).astype(leaf.dtype)


def digest(leaf):
    """A number a row that tells histories apart."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf).astype(jnp.int32) % 11
    return jnp.sum(leaf.astype(jnp.float32).reshape(leaf.shape[0], -1), axis=1)


def history_step(carry, tokens):
    """Logits [N, 3] that depend on what every leaf of any carry remembers of all tokens."""
    carry = jax.tree.map(lambda leaf: remember(leaf, tokens), carry)
    total = sum((digest(leaf) for leaf in jax.tree.leaves(carry)), jnp.zeros(tokens.shape))
    return carry, 2 * jnp.sin(total[:, None] * jnp.array([1.0, 2.0, 3.0]) + jnp.arange(3.0))


@dataclass(frozen=True)
class NoRepeat:
    """A processor with a state: bans the token that came last."""

    def initial_state(self, batch_size):
        return {"last": jnp.full((batch_size,), -1, jnp.int32)}

    def __call__(self, state, logits):
        banned = jnp.arange(logits.shape[1]) == state["last"][:, None]
        return jnp.where(banned, -jnp.inf, logits)

    def update(self, state, tokens):
        return {"last": tokens}


def no_repeat(logits, tokens, length):
    """`NoRepeat` as a function of the tokens so far."""
    last = jnp.where(length > 0, tokens[:, jnp.maximum(length - 1, 0)], -1)
    return jnp.where(jnp.arange(logits.shape[1]) == last[:, None], -jnp.inf, logits)


def every_sequence(vocab, length):
    """All token sequences [V^L, L], in lexicographic order."""
    return np.array(list(itertools.product(range(vocab), repeat=length)), np.int32)


def token_log_probs(step, carry, first, tokens):
    """log p of each token of tokens [B, M, L] when row b first reads first[b]: [B, M, L]."""
    return along(lambda *args: (*step(*args), ()), carry, first, tokens)[0]


def along(step, carry, first, tokens):
    """log p [B, M, L] as `token_log_probs`, and the outputs [B, M, L, ...] of such a step."""
    batch, count, _ = tokens.shape
    carry = jax.tree.map(lambda leaf: jnp.repeat(leaf, count, axis=0), carry)
    read = np.concatenate([np.repeat(first, count)[:, None], tokens.reshape(batch * count, -1)], 1)

    def body(carry, pair):
        before, token = pair
        carry, logits, outputs = step(carry, before)
        log_probs = jax.nn.log_softmax(logits.astype(jnp.float32))
        return carry, (jnp.take_along_axis(log_probs, token[:, None], axis=1)[:, 0], outputs)

    read = jnp.asarray(read.T, jnp.int32)
    _, out = jax.jit(lambda c, r: jax.lax.scan(body, c, (r[:-1], r[1:])))(carry, read)
    fold = lambda x: np.swapaxes(np.asarray(x), 0, 1).reshape(*tokens.shape, *x.shape[2:])
    return fold(out[0]).astype(np.float64), jax.tree.map(fold, out[1])


def prime(step, carry, bos, prompts):
    """Reads bos and each row's prompt (a list) one row at a time; returns carry and last tokens."""
    rows, last, step = [], [], jax.jit(step)
    for b, prompt in enumerate(prompts):
        row = jax.tree.map(lambda leaf, b=b: leaf[b : b + 1], carry)
        fed = [int(bos[b]), *prompt]
        for token in fed[:-1]:
            row, _ = step(row, jnp.array([token], jnp.int32))
        rows.append(row)
        last.append(fed[-1])
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *rows), np.array(last, np.int32)


def end_at(tokens, eos):
    """Fills sequences with the first eos (one or several) that they hold: (tokens, lengths)."""
    ended = np.cumsum(np.isin(tokens, eos), axis=-1) > 0
    lengths = np.minimum(np.sum(~ended, axis=-1) + 1, tokens.shape[-1])
    last = np.take_along_axis(tokens, np.maximum(lengths - 1, 0)[..., None], axis=-1)
    return np.where(ended, last, tokens), lengths


def sum_to(log_probs, lengths):
    """Sums [..., L] over the first `lengths` [...] entries."""
    return np.sum(np.where(np.arange(log_probs.shape[-1]) < lengths[..., None], log_probs, 0), -1)


def hypotheses(step, carry, first, vocab, length, eos):
    """Every finished or full-length sequence: tokens [M, L], lengths [M], log_probs [B, M]."""
    tokens, lengths = end_at(every_sequence(vocab, length), eos)
    tokens, index = np.unique(tokens, axis=0, return_index=True)
    lengths = lengths[index]
    batch = len(first)
    each = token_log_probs(step, carry, first, np.broadcast_to(tokens, (batch, *tokens.shape)))
    return tokens, lengths, sum_to(each, np.broadcast_to(lengths, (batch, len(lengths))))


def python_beam(
    next_log_probs,
    penalty,
    vocab,
    length,
    eos,
    size,
    *,
    wanted=None,
    min_len=1,
    groups=1,
    diversity=0.0,
):
    """The search that `beam_search` documents, for one row, in lists and without an early exit.

    next_log_probs(prefix) gives log p [V]. Returns at most `size` (score, tokens, log_prob);
    with `wanted`, a group takes in no more once so many of its hypotheses have finished.
    """
    ends, size = tuple(np.atleast_1d(eos).tolist()), size // groups
    live: list[list[tuple[float, tuple[int, ...]]]] = [[(0.0, ())] for _ in range(groups)]
    finished: list[list[tuple[float, tuple[int, ...], float]]] = [[] for _ in range(groups)]
    count = [0] * groups
    open_ = lambda g: wanted is None or count[g] < wanted
    for n in range(1, length + 1):
        taken = [0] * vocab
        for g in range(groups):
            grown = [
                (total + log_prob - diversity * taken[token], total + log_prob, (*prefix, token))
                for total, prefix in live[g]
                for token, log_prob in enumerate(next_log_probs(prefix))
                if log_prob > -np.inf
            ]
            grown = sorted(grown, key=lambda c: -c[0])[: (1 + len(ends)) * size]
            ended = [c[1:] for c in grown[:size] if c[2][-1] in ends and n >= min_len]
            if open_(g):
                found = [(penalty(lp, n), tokens, lp) for lp, tokens in ended]
                finished[g] = sorted(finished[g] + found, key=lambda c: -c[0])[:size]
                count[g] += len(ended)
            live[g] = [c[1:] for c in grown if c[2][-1] not in ends][:size]
            for _, tokens in live[g]:
                taken[tokens[-1]] += 1
    for g in range(groups):
        if open_(g):
            full = [(penalty(lp, length), tokens, lp) for lp, tokens in live[g]]
            finished[g] = sorted(finished[g] + full, key=lambda c: -c[0])[:size]
    return sorted(sum(finished, []), key=lambda c: -c[0])

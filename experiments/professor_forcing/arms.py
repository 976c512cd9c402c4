"""A character model trained by teacher forcing alone, and with a professor beside it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

import seqjax as sj
from experiments.lab.task import Estimate, Task, estimate
from experiments.professor_forcing.text import (
    Text,
    pair_counts,
    pair_divergence,
    unigram_entropy,
    windows,
)
from seqjax import objectives

LENGTH, FREE = 50, 200  # characters trained on, and written
BATCH_SIZE, HIDDEN = 32, 96
TEST_ROWS, WRITTEN_ROWS = 256, 384
CELL = sj.GRU(HIDDEN)
JUDGE = objectives.Discriminator(sj.GRU(32), layer_sizes=(32, 32))
WEIGHT = 0.03  # of the adversarial term beside nats a character; trials with 0.1 and 1 cost more
JUDGE_STEPS, JUDGE_ROWS = 200, 512  # of discriminators that are made to test, and their test


def generator(vocab_size: int) -> Callable:
    """key -> params of a GRU between one-hot characters and logits."""

    def init(key):
        key_c, key_o = jax.random.split(key)
        return {
            "cell": CELL.init(key_c, vocab_size),
            "w_o": sj.initializers.GlorotUniform()(key_o, (HIDDEN, vocab_size)),
            "b_o": jnp.zeros(vocab_size),
        }

    return init


def stepper(params: dict[str, Any]) -> Callable:
    """step(carry, characters [B]) -> (carry, logits [B, V])."""
    vocab_size = params["b_o"].shape[0]

    def step(carry, tokens):
        carry, y = CELL.step(params["cell"], carry, jax.nn.one_hot(tokens, vocab_size))
        return carry, y @ params["w_o"] + params["b_o"]

    return step


def start(params: dict[str, Any], rows: int) -> jax.Array:
    """The carry before a window."""
    return CELL.initial_carry(params["cell"], rows)


def nats(params: dict[str, Any], piece: jax.Array) -> jax.Array:
    """Nats of each character [B, T] after the first of pieces [B, T + 1], teacher-forced."""
    xs = jax.nn.one_hot(piece[:, :-1], params["b_o"].shape[0])
    _, ys = sj.unroll(CELL, params["cell"], xs)
    return sj.token_losses(ys @ params["w_o"] + params["b_o"], piece[:, 1:])


def behave(params: dict[str, Any], piece: jax.Array, key: jax.Array) -> objectives.Behaviours:
    """States and outputs over pieces [B, T + 1], reading them and running free."""
    carry, step = start(params, piece.shape[0]), stepper(params)
    return objectives.behaviours(step, carry, piece[:, 1:], bos=piece[:, 0], key=key)


def written(params: dict[str, Any], first: jax.Array, key: jax.Array) -> jax.Array:
    """FREE characters [B, FREE] a row, sampled after a first one [B]."""
    none = jnp.zeros((first.shape[0], FREE + 1), jnp.int32)
    how = {"bos": first, "truth_probability": 0.0, "key": key}
    run = objectives.scheduled_sampling(stepper(params), start(params, len(first)), none, **how)
    return run.inputs[:, 1:]


def task(name: str, text: Text, steps: int, floor: float, gate: float) -> Task:
    """Teacher forcing, or professor forcing where the name says so."""
    vocab_size = len(text.vocabulary)
    professor = name == "professor forcing"
    reference = pair_counts(text.rest[None], vocab_size)
    init = generator(vocab_size)
    fixed = windows(text.train, jax.random.key(3), 128, LENGTH)

    def init_both(key):
        judge = JUDGE.init(jax.random.fold_in(key, 1), HIDDEN + vocab_size)
        return {"generator": init(key)} | ({"judge": judge} if professor else {})

    def judged(params, piece, key):
        both = behave(params["generator"], piece, key)
        return objectives.professor_forcing(both, JUDGE, params["judge"], weight=WEIGHT)

    def loss(params, key):
        key_w, key_s = jax.random.split(key)
        piece = windows(text.train, key_w, BATCH_SIZE, LENGTH)
        if not professor:
            return nats(params["generator"], piece).mean()
        out = judged(params, piece, key_s)
        return out.generator + out.discriminator

    def evaluate(params, key, split):
        key_w, key_s = jax.random.split(key)
        piece = windows(text.held_out[split], key_w, TEST_ROWS, FREE)
        first = windows(text.rest, key_w, WRITTEN_ROWS, 1)[:, 0]
        late = written(params["generator"], first, key_s)[:, LENGTH:]
        pairs = pair_divergence(reference, pair_counts(late, vocab_size))
        losses = nats(params["generator"], piece)
        return {
            "nats/character": estimate(losses),
            "KL of pairs, beyond 50": Estimate(pairs, jnp.zeros(())),
        }

    return Task(
        name=name,
        init=init_both,
        loss=loss,
        evaluate=evaluate,
        metric="nats/character",
        optimum={"KL of pairs, beyond 50": floor},
        baseline=unigram_entropy(text.train, vocab_size),
        gate=gate,
        steps=steps,
        rates=(3e-3, 8e-3),
        rises=False,
        max_norm=10.0,
        watch=(lambda p: judged(p, fixed, jax.random.key(4)).accuracy) if professor else None,
    )


def fresh_judge(params: dict[str, Any], key: jax.Array, text: Text) -> jax.Array:
    """[] accuracy of a new discriminator of a finished generator's runs, on held-out text.

    It learns from training text, as the generator did; 1/2 where the two ways are alike.
    """
    optimizer = optax.adam(3e-3)
    both = lambda stream, key, rows: behave(
        params, windows(stream, key, rows, LENGTH), jax.random.fold_in(key, 1)
    )
    judged = lambda phi, runs: objectives.professor_forcing(runs, JUDGE, phi, train_below=1.0)

    def loss(phi, carry, batch, key):
        return judged(phi, both(text.train, key, BATCH_SIZE)).discriminator, carry

    step = sj.make_train_step(loss, optimizer, max_norm=10.0, donate=False)
    phi = JUDGE.init(key, HIDDEN + len(text.vocabulary))
    state = sj.init_train_state(phi, optimizer, key=key)
    state, _ = jax.lax.scan(lambda s, _: (step(s, None)[0], None), state, length=JUDGE_STEPS)
    test = both(text.held_out[1], jax.random.key(2**31 - 2), JUDGE_ROWS)
    return judged(state.params, test).accuracy


def fresh_judges(params: dict[str, Any], text: Text) -> jax.Array:
    """`fresh_judge` of each of several generators, leaves stacked [N, ...]: [N]."""
    keys = jax.random.split(jax.random.key(100), params["b_o"].shape[0])
    return jax.lax.map(lambda pair: fresh_judge(pair[0], pair[1], text), (params, keys))

"""A character model, and discriminators of how it behaves."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

import seqjax as sj
from experiments.language.professor_forcing.data import Text, windows
from seqjax import objectives

BATCH_SIZE, JUDGED_ROWS, HIDDEN = 32, 512, 96
CELL = sj.GRU(HIDDEN)
JUDGE = objectives.Discriminator(sj.GRU(32), layer_sizes=(32, 32))
WEIGHT = 0.03  # of the adversarial term beside nats a character; trials with 0.1 and 1 cost more


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


def written(params: dict[str, Any], first: jax.Array, count: int, key: jax.Array) -> jax.Array:
    """So many characters [B, N] a row, sampled after a first one [B]."""
    none = jnp.zeros((first.shape[0], count + 1), jnp.int32)
    how = {"bos": first, "truth_probability": 0.0, "key": key}
    run = objectives.scheduled_sampling(stepper(params), start(params, len(first)), none, **how)
    return run.inputs[:, 1:]


def judged(params: dict[str, Any], piece: jax.Array, key: jax.Array) -> Any:
    """Losses of a generator and its discriminator, params of both, on pieces [B, T + 1]."""
    both = behave(params["generator"], piece, key)
    return objectives.professor_forcing(both, JUDGE, params["judge"], weight=WEIGHT)


def fresh_judge(params: dict[str, Any], key: jax.Array, text: Text, length: int, steps: int):
    """[] accuracy of a new discriminator of a finished generator's runs, on held-out text.

    It learns from training text, as the generator did; 1/2 where the two ways are alike.
    """
    optimizer = optax.adam(3e-3)
    both = lambda stream, key, rows: behave(
        params, windows(stream, key, rows, length), jax.random.fold_in(key, 1)
    )
    score = lambda phi, runs: objectives.professor_forcing(runs, JUDGE, phi, train_below=1.0)

    def loss(phi, carry, batch, key):
        return score(phi, both(text.train, key, BATCH_SIZE)).discriminator, carry

    step = sj.make_train_step(loss, optimizer, max_norm=10.0, donate=False)
    phi = JUDGE.init(key, HIDDEN + len(text.vocabulary))
    state = sj.init_train_state(phi, optimizer, key=key)
    state, _ = jax.lax.scan(lambda s, _: (step(s, None)[0], None), state, length=steps)
    test = both(text.held_out[1], jax.random.key(2**31 - 2), JUDGED_ROWS)
    return score(state.params, test).accuracy


def fresh_judges(params: dict[str, Any], text: Text, length: int, steps: int) -> jax.Array:
    """`fresh_judge` of each of several generators, leaves stacked [N, ...]: [N]."""
    keys = jax.random.split(jax.random.key(100), params["b_o"].shape[0])
    one = lambda pair: fresh_judge(pair[0], pair[1], text, length, steps)
    return jax.lax.map(one, (params, keys))

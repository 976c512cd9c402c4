"""Tagging: one direction beside the filter, two beside the smoother."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import seqjax as sj
from experiments.sweeps import Task, estimate, of_size
from experiments.tagging.hmm import HiddenMarkovModel, posteriors

STATES, SYMBOLS, LENGTH = 8, 20, 40
BATCH_SIZE, TEST_ROWS = 64, 1024
PARAMETERS = 17_000
MODEL = HiddenMarkovModel.random(STATES, SYMBOLS, stay=0.7, shown=0.6, seed=0)


@dataclass(frozen=True)
class Tagger:
    """A recurrent layer over one-hot symbols, and logits of the tag at each step.

    Attributes:
      hidden_size: H, of each direction.
      both: reads in both directions.
    """

    hidden_size: int
    both: bool

    @property
    def cell(self) -> Any:
        """What reads the symbols."""
        gru = sj.GRU(self.hidden_size)
        return sj.Bidirectional(gru) if self.both else gru

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Draws params."""
        key_c, key_o = jax.random.split(key)
        width = self.hidden_size * (1 + self.both)
        w_o = sj.initializers.GlorotUniform()(key_o, (width, STATES))
        return {"cell": self.cell.init(key_c, SYMBOLS), "w_o": w_o, "b_o": jnp.zeros(STATES)}

    def log_probs(self, params: dict[str, Any], symbols: jax.Array) -> jax.Array:
        """Of the tags, [B, T, S], for symbols [B, T]."""
        xs = jax.nn.one_hot(symbols, SYMBOLS)
        ys = sj.unroll(self.cell, params["cell"], xs)[1]
        return jax.nn.log_softmax(ys @ params["w_o"] + params["b_o"])


def tagger(both: bool, parameters: int = PARAMETERS) -> Tagger:
    """The one whose number of parameters is nearest to the one wanted."""
    return of_size(lambda size: Tagger(size, both), parameters)


def known(model: HiddenMarkovModel, rows: int = 4096, length: int = LENGTH) -> dict[str, Any]:
    """What can be known, exactly but for the draw of the symbols: a pair for filter and smoother.

    accuracy: the mean probability of the likeliest state. nats: the mean entropy of the state.
    """
    symbols, _ = model.draw(jax.random.key(11), rows, length)
    both = jax.jit(lambda symbols: posteriors(model, symbols))(symbols)
    entropy = lambda p: -jnp.sum(jnp.exp(p) * p, axis=-1).mean()
    return {
        "accuracy": tuple(float(jnp.exp(p.max(axis=-1)).mean()) for p in both),
        "nats": tuple(float(entropy(p)) for p in both),
        "guess": float(np.max(model.stationary)),
    }


def tagging(name: str, both: bool, steps: int, length: int = LENGTH) -> Task:
    """One network; its bound is the filter's or, if it reads both ways, the smoother's.

    It is scored by the exact posterior of its context, given the same symbols: the probability of
    the tag that it names, which is that of the likeliest at most, and the divergence of its
    distribution from the exact one, which is 0 at least. Neither has the noise of drawn states.
    """
    net, facts = tagger(both), known(MODEL, length=length)

    def loss(params, key):
        symbols, states = MODEL.draw(key, BATCH_SIZE, length)
        log_probs = net.log_probs(params, symbols)
        return -jnp.take_along_axis(log_probs, states[..., None], axis=-1).mean()

    def evaluate(params, key, split):
        del split  # fresh symbols, from another key
        symbols, _ = MODEL.draw(key, TEST_ROWS, length)
        exact = posteriors(MODEL, symbols)[int(both)]
        found = net.log_probs(params, symbols)
        named = found.argmax(axis=-1)[..., None]
        right = jnp.exp(jnp.take_along_axis(exact, named, axis=-1))
        best = jnp.exp(exact.max(axis=-1))
        nats = -jnp.sum(jnp.exp(exact) * found, axis=-1)
        apart = jnp.sum(jnp.exp(exact) * (exact - found), axis=-1)
        return {
            "nats/tag": estimate(nats),
            "nats, above the bound": estimate(apart),
            "accuracy": estimate(right),
            "accuracy, below the bound": estimate(best - right[..., 0]),
        }

    return Task(
        name=f"tagging, {name}",
        init=net.init,
        loss=loss,
        evaluate=evaluate,
        metric="nats/tag",
        optimum={
            "nats/tag": facts["nats"][both],
            "nats, above the bound": 0.0,
            "accuracy": facts["accuracy"][both],
            "accuracy, below the bound": 0.0,
        },
        baseline=float(-np.sum(MODEL.stationary * np.log(MODEL.stationary))),
        gate=0.01,
        gated="accuracy, below the bound",
        steps=steps,
        rates=(3e-3, 1e-2),
        rises=False,
    )


def tasks(steps: int) -> list[Task]:
    """One direction and two, of as many parameters."""
    return [tagging("one direction", False, steps), tagging("both directions", True, steps)]

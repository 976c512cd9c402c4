"""A tiny training run that can be killed at any moment: python resumable.py DIRECTORY.

It saves after each step, resumes from the newest checkpoint, and prints a line a step: the step
and its metrics as hexadecimal floats.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax

import seqjax as sj
from seqjax.data.corpus import Corpus
from seqjax.losses import cross_entropy
from seqjax.training.saving import latest_checkpoint, restore_checkpoint, save_checkpoint
from seqjax.training.step import init_train_state, make_train_step

STEPS, SEED, V, H, B = 24, 3, 6, 5, 2
CELL = sj.LSTM(H)
OPTIMIZER = optax.adam(1e-2)


def corpus():
    """Fourteen documents: three windows an epoch, in another order each time."""
    rng = np.random.default_rng(SEED)
    documents = [rng.integers(1, V, size=n) for n in rng.integers(0, 4, size=14)]
    return Corpus.from_documents(documents, bos=0, eos=0, batch_size=B, window=6, vocab_size=V)


def loss_fn(params, carry, batch, key):
    """A language model with noise of two sources: the step's key, and a key in the carry."""
    cell, noise_key = carry
    next_key, now = jax.random.split(noise_key)
    xs = params["embed"][batch.inputs]
    xs = xs + 0.1 * (jax.random.uniform(key, xs.shape) + jax.random.uniform(now, xs.shape))
    cell, ys = sj.unroll(CELL, params["cell"], xs, carry=cell, mask=batch.mask, reset=batch.reset)
    loss = cross_entropy(ys @ params["out"], batch.targets, mask=batch.mask)
    return loss, (cell, next_key)


@jax.jit  # one compilation instead of many small ones
def fresh_state():
    """The state at step 0."""
    normal = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    rng = np.random.default_rng(SEED)
    cell = sj.cells.LSTMParams(normal(H, 4 * H), normal(H, 4 * H), normal(4 * H))
    params = {"embed": normal(V, H), "cell": cell, "out": normal(H, V)}
    # These keys compile ten times faster than the default ones.
    key, noise_key = (jax.random.key(seed, impl="unsafe_rbg") for seed in (SEED, SEED + 1))
    carry = (CELL.initial_carry(cell, B), noise_key)
    return init_train_state(params, OPTIMIZER, key=key, carry=carry)


def advance(train_step, state, text, position):
    """Trains to the end; yields each state, the position after it and the metrics."""
    for step in range(position, STEPS):
        epoch, k = divmod(step, len(text))
        batch = jax.tree.map(jnp.asarray, text.shuffled((SEED, epoch))[k])
        state, metrics = train_step(state, batch)
        yield state, step + 1, metrics


def hexadecimal(metrics):
    return " ".join(float(value).hex() for value in jax.tree.leaves(metrics))


def main(directory):
    if latest_checkpoint(directory) is None:
        save_checkpoint(directory, fresh_state(), spec=CELL, position=0)
    start, begin = restore_checkpoint(directory, fresh_state(), spec=CELL)
    train_step = make_train_step(loss_fn, OPTIMIZER, max_norm=1.0)
    for state, position, metrics in advance(train_step, start, corpus(), begin):
        print(position, hexadecimal(metrics), flush=True)
        save_checkpoint(directory, state, spec=CELL, position=position, keep=2)


if __name__ == "__main__":
    main(sys.argv[1])

"""One recurrence wired five ways: what it reads, what it is to write, and the translator."""

import itertools
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np

from experiments.foundations.topologies import experiment as topologies
from experiments.foundations.topologies.data import (
    DIGITS,
    LETTERS,
    all_runs,
    expand,
    pairs,
    random_runs,
)
from experiments.foundations.topologies.model import Translator


def test_parity_counts_real_bits():
    draw = jax.jit(lambda key: topologies.parity_rows(key, 200, 16))
    bits, lengths, parity = map(np.array, draw(jax.random.key(3)))
    assert (lengths.min(), lengths.max()) == (1, 16)
    for row, length, odd in zip(bits, lengths, parity, strict=True):
        assert row[:length].sum() % 2 == odd


def test_run_length_codes():
    assert expand("a3b2") == "aaabb" and expand("") == ""
    codes = [code for number in (1, 2, 3) for code in all_runs(number)]
    assert len(set(codes)) == len(codes) == 20 + 20 * 15 + 20 * 15**2
    for code in codes[::50] + random_runs(6, 20, seed=0):
        groups = itertools.groupby(expand(code))
        assert "".join(f"{letter}{len(list(group))}" for letter, group in groups) == code


def test_pairs_are_the_strings():
    table = pairs(["b1", "a2b3"], ["b", "aabbb"], LETTERS + "12345", LETTERS)
    assert table.source.tolist() == [[1, 4, 0, 0], [0, 5, 1, 6]]
    assert table.source_lengths.tolist() == [2, 4]
    assert table.target.tolist() == [[1, 4, 4, 4, 4, 4], [0, 0, 1, 1, 1, 4]]
    assert table.target_lengths.tolist() == [2, 6]


def test_held_out_codes_are_never_trained_on():
    splits = topologies.run_length_splits(2)
    rows = {
        name: {
            tuple(row[:n])
            for row, n in zip(part.source.tolist(), part.source_lengths.tolist(), strict=True)
        }
        for name, part in splits.items()
    }
    for one, other in itertools.combinations(("train", "valid", "test", "one run more"), 2):
        assert not rows[one] & rows[other]
    assert sum(len(rows[name]) for name in ("train", "valid", "test")) == 20 + 20 * 15


def test_baselines_by_counting():
    sizes = Counter(map(len, DIGITS))
    assert topologies.one_to_one().baseline == max(sizes.values()) / 10 == 0.4


def test_a_translator_writes_what_its_steps_say():
    model = Translator(6, 9, 4)
    params = jax.jit(model.init)(jax.random.key(5))
    params = jax.tree.map(lambda a: 3 * a, params)
    encode, exact, step = map(jax.jit, (model.encode, model.exact, model.decoder.step))
    codes = ["a1", "b2c3", "d5", "c1a4"]
    batch = pairs(codes, [expand(code) for code in codes], LETTERS + "12345", LETTERS)
    carry, tokens, written = encode(params, batch), jnp.full(4, 5), []
    for _ in range(batch.target.shape[1]):
        carry, logits = step(params["decoder"], carry, tokens)
        tokens = logits.argmax(axis=-1).astype(jnp.int32)
        if written:
            tokens = jnp.where(written[-1] == 4, 4, tokens)
        written.append(tokens)
    own = np.stack(written, axis=1)
    assert exact(params, batch._replace(target=own)).all()
    own[1, 0] = (own[1, 0] + 1) % 4
    assert exact(params, batch._replace(target=own)).tolist() == [True, False, True, True]

"""Greedy and beam decoding of RNN transducers, beside sums over lattice paths."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from support.alignments import labellings, log_softmax, transducer_log_prob

from seqjax.decoding import LanguageModel, transducer_beam_search, transducer_greedy

B, T, V, D = 4, 4, 3, 5
RNG = np.random.default_rng(2)
F, W = RNG.normal(size=(B, T, D)), RNG.normal(size=(D, V))


def joint_of(w):
    return lambda f, g: jnp.tanh(f + g) @ w


def network(table):
    """A prediction network that counts what it has read, so that its carry must be followed."""

    def step(carry, tokens):
        return carry + 1, table[tokens] * jnp.cos(2 * carry[:, None])

    return step


def predicted_after(table, bos, labels):
    return np.stack([table[y] * np.cos(2 * i) for i, y in enumerate((bos, *labels))])


TABLE = RNG.normal(size=(V, D))
LIMIT = 2
ALL = 7  # prefixes of at most two labels out of two


def exact(b, steps):
    """log p of all labellings of at most LIMIT labels of a row."""
    found = {}
    for y in (y for n in range(LIMIT + 1) for y in itertools.product((1, 2), repeat=n)):
        g = predicted_after(TABLE, 0, y)
        log_p = log_softmax(np.tanh(F[b, :steps, None] + g[None]) @ W)
        found[y] = transducer_log_prob(log_p, y)
    return found


@jax.jit
def search(frames, lengths):
    return transducer_beam_search(
        joint_of(jnp.asarray(W, frames.dtype)),
        frames,
        network(jnp.asarray(TABLE, frames.dtype)),
        jnp.zeros(B, frames.dtype),
        bos=0,
        beam_size=ALL,
        max_len=LIMIT,
        lengths=lengths,
    )


def test_a_wide_beam_has_every_labelling_with_its_exact_probability(x64):
    lengths = np.array([4, 3, 1, 0])
    real = (np.arange(T) < lengths[:, None])[..., None]
    found = search(jnp.where(real, F, np.nan), lengths)
    for row in range(3):
        expected = exact(row, lengths[row])
        got = labellings(found, row)
        assert [y for y, _ in got] == sorted(expected, key=lambda y: -expected[y])
        np.testing.assert_allclose([p for _, p in got], [expected[y] for y, _ in got], rtol=1e-10)
    assert labellings(found, 3) == [((), 0.0)]  # no frame, no label


def test_a_language_model_and_a_bonus_enter_the_scores(x64):
    table = np.log(RNG.dirichlet(np.ones(V + 1), size=V))
    said = lambda carry, tokens: (carry, jnp.asarray(table)[tokens])
    language = LanguageModel(said, (), bos=0, eos=V, weight=0.6)
    found = jax.jit(
        lambda frames: transducer_beam_search(
            joint_of(jnp.asarray(W)),
            frames,
            network(jnp.asarray(TABLE)),
            jnp.zeros(B),
            bos=0,
            beam_size=ALL,
            max_len=LIMIT,
            language=language,
            insertion_bonus=0.4,
        )
    )(F)
    for row in range(B):
        scores = {
            y: log_p
            + 0.6 * sum(table[a, b] for a, b in itertools.pairwise((0, *y, V)))
            + 0.4 * len(y)
            for y, log_p in exact(row, T).items()
        }
        ranked = sorted(scores, key=lambda y: -scores[y])
        assert [y for y, _ in labellings(found, row)] == ranked
        np.testing.assert_allclose(found.scores[row], [scores[y] for y in ranked], rtol=1e-10)


def test_what_is_complete_leaves_its_place_in_the_beam():
    # One frame: nothing 0.6, then labels 1 and 2 alike, of which 2 is complete more probably.
    after = jnp.log(jnp.array([[0.6, 0.2, 0.2], [0.1, 0.45, 0.45], [0.9, 0.05, 0.05]]))
    found = transducer_beam_search(
        jnp.add,
        jnp.zeros((1, 1, V)),
        lambda carry, tokens: (carry, after[tokens]),
        (),
        bos=jnp.array([0]),
        beam_size=2,
        max_len=1,
    )
    assert [y for y, _ in labellings(found, 0)] == [(), (2,)]
    np.testing.assert_allclose(np.exp(found.log_probs[0]), [0.6, 0.18], rtol=1e-5)


def test_the_prediction_network_reads_labels_alone():
    # Nothing but the blank at the first frame; then 1 and 2, as the network counts what it reads.
    allowed = jnp.log(jnp.array([[0.1, 0.9, 0], [0.1, 0, 0.9], [1, 0, 0]]))
    frames = jnp.array([[[0, -jnp.inf, -jnp.inf], [0, 0, 0]]])
    model = (jnp.add, frames, lambda carry, tokens: (carry + 1, allowed[carry]))
    carry = jnp.zeros(1, jnp.int32)
    found = transducer_beam_search(*model, carry, bos=0, beam_size=ALL, max_len=LIMIT)
    assert [y for y, _ in labellings(found, 0)] == [(1, 2), (), (1,)]
    best = transducer_greedy(*model, carry, bos=0, max_len=3)
    assert (best.labels.tolist(), best.lengths.tolist()) == ([[[1, 2, 0]]], [[2]])


def test_greedy_takes_the_best_of_each_node():
    frames, table, w = (x.astype(np.float32) for x in (3 * F, TABLE, 2 * W))
    lengths = np.array([4, 2, 4, 0])
    found = jax.jit(
        lambda frames: transducer_greedy(
            joint_of(w),
            frames,
            network(jnp.asarray(table)),
            jnp.zeros(B),
            bos=0,
            max_len=5,
            lengths=lengths,
        )
    )(frames)
    for b in range(B):
        expected, t, log_prob = [], 0, 0.0
        while t < lengths[b]:
            g = predicted_after(table, 0, expected)[-1]
            said = log_softmax(np.tanh(frames[b, t] + g) @ w)
            best = int(np.argmax(said)) if len(expected) < 5 else 0
            log_prob += said[best]
            if best == 0:
                t += 1
            else:
                expected.append(best)
        (labels, scored), size = labellings(found, b)[0], len(expected)
        assert labels == tuple(expected) and found.lengths[b, 0] == size
        assert not np.any(found.labels[b, 0, size:])
        np.testing.assert_allclose(scored, log_prob, rtol=1e-5)
    np.testing.assert_array_equal(found.scores, found.log_probs)
    assert found.lengths.max() > 0 and found.lengths[3, 0] == 0

"""Several steps as one: formulas, carries, outputs, and shallow fusion by enumeration."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import decoding_models as models

from seqjax.decoding import BeamRules, Ensemble, beam_search, sample

EOS = 1


def fixed(*rows):
    """A step whose logits are rows [len(rows), V], whatever it reads."""
    return lambda carry, tokens: (carry, jnp.array(rows, jnp.float32))


def log_probs(logits):
    return logits - np.log(np.sum(np.exp(logits), -1, keepdims=True))


LOGITS = [np.array([[1.0, -2.0, 0.5]]), np.array([[0.0, 3.0, 1.0]])]


def test_means_have_the_written_formula():
    steps = tuple(fixed(*one.tolist()) for one in LOGITS)
    first, second = (log_probs(one) for one in LOGITS)
    run = lambda **how: Ensemble(steps, **how)(((), ()), jnp.array([0]))[1]
    mean = np.log((np.exp(first) + np.exp(second)) / 2)
    np.testing.assert_allclose(run(), mean, rtol=1e-6)
    mixed = np.log((3 * np.exp(first) + np.exp(second)) / 4)
    np.testing.assert_allclose(run(weights=(3, 1)), mixed, rtol=1e-6)
    product = run(mean="log_probability")
    np.testing.assert_allclose(product, (first + second) / 2, rtol=1e-6)
    fused = run(weights=jnp.array([1.0, 0.3]), mean="log_probability")
    np.testing.assert_allclose(fused, first + 0.3 * second, rtol=1e-6)


def test_probabilities_of_zero():
    never, other = fixed([0.0, -jnp.inf]), fixed([0.0, 0.0])
    none = fixed([-jnp.inf, -jnp.inf])
    run = lambda *steps, **how: np.exp(Ensemble(steps, **how)(((), ()), jnp.array([0]))[1])[0]
    np.testing.assert_allclose(run(never, other), [0.75, 0.25], rtol=1e-6)
    product: dict[str, Any] = dict(mean="log_probability")
    np.testing.assert_allclose(run(never, other, **product), [0.5**0.5, 0], rtol=1e-6)
    # No say is no say, and a member that allows nothing forbids all of a product.
    np.testing.assert_allclose(run(never, other, weights=(0, 1), **product), [0.5, 0.5])
    np.testing.assert_allclose(run(none, other), [0.25, 0.25], rtol=1e-6)
    assert run(none, other, **product).tolist() == [0, 0]


def two_models():
    """Two different models, with different carries, that hand out outputs or do not."""
    first, second = (models.random_rows(seed, 4, 3) for seed in (20, 21))

    def told(carry, tokens):
        carry, logits = models.step(carry, tokens)
        return carry, logits, carry["state"]["n"]

    return (told, lambda carry, tokens: models.step(carry, tokens)), (first, second)


def test_shallow_fusion_returns_the_true_best():
    steps, carries = two_models()
    fused = Ensemble(steps, weights=(1.0, 0.4), mean="log_probability")
    bos = np.array([0, 1, 2, 0], np.int32)

    @jax.jit
    def search(carries):
        how: dict[str, Any] = dict(bos=bos, eos=EOS, beam_size=27, max_len=4)
        return beam_search(fused, carries, rules=BeamRules(normalise=False), **how)

    beams = search(carries)
    tokens, lengths, first = models.hypotheses(models.step, carries[0], bos, 3, 4, EOS)
    _, _, second = models.hypotheses(models.step, carries[1], bos, 3, 4, EOS)
    scores = first + 0.4 * second
    for b in range(4):
        order = np.argsort(-scores[b], kind="stable")[:27]
        np.testing.assert_array_equal(beams.tokens[b], tokens[order])
        np.testing.assert_allclose(beams.log_probs[b], scores[b, order], atol=5e-5)
    steps_read = 1 + np.arange(4)  # of the first model's counter, along each hypothesis
    real = np.arange(4) < np.asarray(beams.lengths)[..., None]
    np.testing.assert_array_equal(beams.outputs[0], np.where(real, steps_read, 0))
    assert beams.outputs[1] == ()


def test_an_ensemble_is_a_value_that_samples():
    steps, carries = two_models()
    quiet = steps[1]
    ensemble = Ensemble((quiet, quiet), weights=(0.5, 0.5))
    assert ensemble == Ensemble([quiet, quiet], weights=(0.5, 0.5))  # pyright: ignore[reportArgumentType]
    assert hash(ensemble) == hash(Ensemble((quiet, quiet), weights=(0.5, 0.5)))
    how: dict[str, Any] = dict(bos=0, eos=EOS, max_len=5, key=jax.random.key(0), temperature=0.0)
    both = jax.jit(lambda c: sample(ensemble, (c, c), **how))(carries[0])
    one = jax.jit(lambda c: sample(quiet, c, **how))(carries[0])
    np.testing.assert_array_equal(both.tokens, one.tokens)
    np.testing.assert_allclose(both.log_probs, one.log_probs, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Ensemble(()), r"steps is \(\); expected a tuple of at least one step function."),
        (lambda: Ensemble((fixed([0.0]),), mean="mean"), "mean is 'mean'; expected one of 'prob"),
        (lambda: Ensemble((fixed([0.0]),), weights=(1, 2)), r"weights is \(1, 2\); expected 1 num"),
        (lambda: Ensemble((fixed([0.0]),), weights=(-1,)), r"weights is \(-1,\); expected 1 numb"),
        (lambda: Ensemble((fixed([0.0]),), weights=(0.0,)), "one a step, not all 0."),
        (
            lambda: Ensemble((fixed([0.0]),), weights=jnp.ones(2)),
            r"weights has shape \(2,\); expected one a step, \(1,\).",
        ),
        (
            lambda: Ensemble((fixed([0.0]),))({}, jnp.array([0])),  # pyright: ignore[reportArgumentType]
            "carry is a dict; expected a tuple of 1 carries, one a step.",
        ),
        (
            lambda: Ensemble((fixed([0.0]), fixed([0.0, 1.0])))(((), ()), jnp.array([0])),
            r"steps returned logits of shapes \[\(1, 1\), \(1, 2\)\]; expected one vocabulary",
        ),
    ],
)
def test_ensemble_says_what_is_wrong(make, message):
    with pytest.raises(ValueError, match=message):
        make()

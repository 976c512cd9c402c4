"""The experiment on clipping in its pieces."""

import jax
import numpy as np
import optax

import seqjax as sj
from experiments.foundations.clipping.experiment import counted, diverged
from experiments.foundations.clipping.model import train


def test_a_run_has_diverged_with_a_nan_or_large_last_losses():
    losses = np.full((4, 100), 0.1)
    losses[1, 3], losses[2, -50:], losses[3, 10] = np.nan, 1.1, 1e9
    assert diverged(losses).tolist() == [False, True, True, False]


def test_gradients_are_clipped_before_the_optimiser():
    norms = []
    for clip in (optax.identity(), sj.training.clip_by_global_norm(1e-6)):
        optimizer = optax.chain(clip, optax.sgd(1.0))
        losses, found, _ = jax.jit(lambda key: train(optimizer, 3, 8, key))(jax.random.key(0))  # noqa: B023
        norms.append(found)
        assert np.isfinite(losses).all()
    np.testing.assert_allclose(norms[0][0], norms[1][0], rtol=1e-5)  # the same start
    assert abs(np.log(norms[0][2] / norms[1][2])) > 0.1


def test_runs_are_counted_by_their_losses_and_by_their_params():
    losses = np.full((4, 100), 0.1)
    losses[1, 3] = np.nan
    norms = np.array([[1.0, 2.0], [np.nan, 3.0], [0.0, 0.0], [0.0, 5.0]])
    found = counted(losses, norms, np.array([1.0, np.nan, 10.0, 11.0]))
    assert (found["diverged"], found["diverged_seeds"]) == (0.25, [1])
    assert found["thrown"] == 0.5 and found["largest_norm"] == 5

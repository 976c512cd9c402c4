"""The experiment on the adding problem in its pieces."""

import jax
import numpy as np

from experiments.foundations.adding import model
from experiments.lab.task import parameters
from experiments.sources.adding import BASELINE, draw


def test_numbers_to_add_are_marked_one_in_each_half():
    xs, sums = map(np.array, jax.jit(draw, static_argnums=(1, 2))(jax.random.key(9), 4000, 10))
    numbers, marks = xs[..., 0], xs[..., 1]
    assert (marks[:, :5].sum(axis=1) == 1).all() and (marks[:, 5:].sum(axis=1) == 1).all()
    np.testing.assert_allclose((numbers * marks).sum(axis=1), sums, rtol=1e-6)
    np.testing.assert_allclose(((sums - 1) ** 2).mean(), BASELINE, rtol=0.1)
    assert (marks.mean(axis=0) > 0.15).all()  # every place is drawn


def test_networks_are_of_one_size_and_begin_as_they_say():
    nets = {arm.name: model.network(arm) for arm in model.ARMS}
    sizes = [parameters(net.init) for net in nets.values()]
    assert max(abs(size / model.PARAMETERS - 1) for size in sizes) < 0.03, sizes
    params = {name: net.init(jax.random.key(0))["cell"] for name, net in nets.items()}
    np.testing.assert_array_equal(
        params["ReLU, identity (IRNN)"].w_h, np.eye(len(params["ReLU, identity (IRNN)"].w_h))
    )
    w_h = np.array(params["tanh, orthogonal"].w_h)
    np.testing.assert_allclose(w_h @ w_h.T, np.eye(len(w_h)), atol=1e-5)
    size = nets["LSTM"].cell.hidden_size
    plain, chrono = (params[name].b[size : 2 * size] for name in ("LSTM", "LSTM, chrono"))
    assert (plain == 1).all() and 1 + np.exp(chrono).max() <= model.LENGTH and chrono.max() > 3

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import seqjax as sj
from seqjax.losses import cross_entropy, cross_entropy_sum, token_losses
from seqjax.training.step import clip_by_global_norm, global_norm, init_train_state, make_train_step

B, T, H, V = 2, 8, 6, 5
CELL = sj.LSTM(H)
KEY = jax.random.key(7)


def language_model(dtype: Any = jnp.float32):
    """Parameters of an embedding, an LSTM and a softmax."""
    rng = np.random.default_rng(0)
    normal = lambda *shape: jnp.asarray(rng.normal(size=shape) / np.sqrt(H), dtype)
    cell = sj.cells.LSTMParams(normal(H, 4 * H), normal(H, 4 * H), normal(4 * H))
    return {"embed": normal(V, H) * 2, "cell": cell, "out": normal(H, V)}


def logits_of(params, carry, tokens, **kwargs):
    carry, ys = sj.unroll(CELL, params["cell"], params["embed"][tokens], carry=carry, **kwargs)
    return carry, ys @ params["out"]


def loss_fn(params, carry, batch, key):
    del key
    carry, logits = logits_of(params, carry, batch[:, :-1])
    return cross_entropy(logits, batch[:, 1:]), carry


def sum_loss_fn(params, carry, batch, key):
    del key
    carry, logits = logits_of(params, carry, batch[:, :-1])
    return cross_entropy_sum(logits, batch[:, 1:]).total, carry


def quadratic(params, carry, batch, key):
    del key
    return jnp.sum(jnp.square(params["w"] - batch).astype(jnp.float32)), carry


def remember_gradient():
    """An optimiser that changes nothing and keeps the last gradient as its state."""
    init = lambda params: jax.tree.map(jnp.zeros_like, params)
    update = lambda updates, state, params=None: (init(updates), updates)
    return optax.GradientTransformation(init, update)


class Traced:
    """Counts how often a function is traced."""

    def __init__(self, function):
        self.function, self.count = function, 0

    def __call__(self, *args):
        self.count += 1
        return self.function(*args)


def tokens(length=T + 1, seed=0):
    return jnp.asarray(np.random.default_rng(seed).integers(0, V, size=(B, length)))


def start(params, optimizer):
    carry = CELL.initial_carry(params["cell"], B)
    return init_train_state(params, optimizer, key=KEY, carry=carry)


def assert_same(a, b):
    """Equal bit for bit, keys included."""
    raw = lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.extended) else x
    chex.assert_trees_all_equal(jax.tree.map(raw, a), jax.tree.map(raw, b), strict=True)


# Clipping.


def clipped(grads, max_norm) -> Any:
    return jax.jit(clip_by_global_norm(max_norm).update)(grads, optax.EmptyState())[0]


def vector(tree):
    return np.concatenate([np.ravel(leaf).astype(np.float64) for leaf in jax.tree.leaves(tree)])


@pytest.mark.parametrize("max_norm", [0.0, 1e-3, 1.0, 5.0, 1e6])
def test_clipping_keeps_the_direction_and_bounds_the_norm(max_norm):
    grads = {"a": jnp.array([[1.0, -2.0], [0.5, 4.0]]), "b": (jnp.array(2.0), jnp.zeros(3))}
    before, after = vector(grads), vector(clipped(grads, max_norm))
    norm = np.linalg.norm(before)
    np.testing.assert_allclose(global_norm(grads), norm, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(after), min(norm, max_norm), rtol=1e-6)
    if max_norm:
        cosine = before @ after / (norm * np.linalg.norm(after))
        np.testing.assert_allclose(cosine, 1, rtol=1e-6)
    if max_norm > norm:
        np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("max_norm", [0.0, 1.0])
def test_zero_gradient_stays_zero(max_norm):
    zeros = jnp.zeros(3)
    np.testing.assert_array_equal(clipped(zeros, max_norm), 0)
    derivative = jax.jit(jax.grad(lambda g: clipped(g, max_norm).sum()))
    assert np.all(np.isfinite(derivative(zeros)))  # and through the clipping, too


def test_equals_optax_where_optax_is_right():
    grads = {"w": jnp.array([3.0, -4.0]), "b": jnp.array([12.0])}
    for max_norm in (1.0, 100.0):
        theirs = optax.clip_by_global_norm(max_norm)
        expected, _ = theirs.update(grads, theirs.init(grads))
        chex.assert_trees_all_close(clipped(grads, max_norm), expected, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e25])
def test_norm_neither_overflows_nor_vanishes(scale):
    grads = jnp.full(4, scale)
    np.testing.assert_allclose(global_norm(grads), 2 * scale, rtol=1e-6)
    np.testing.assert_allclose(clipped(grads, scale), scale / 2, rtol=1e-6)


def test_norm_of_mixed_half_complex_and_no_leaves():
    grads = {
        "bf16": jnp.full(4096, 1.0, jnp.bfloat16),
        "f16": jnp.full(2, 6e4, jnp.float16),
        "c": jnp.array([3 + 4j], jnp.complex64),
        "none": None,
        "empty": jnp.zeros((0, 3)),
    }
    np.testing.assert_allclose(global_norm(grads), np.sqrt(4096 + 2 * 6e4**2 + 25), rtol=1e-3)
    chex.assert_trees_all_equal_shapes_and_dtypes(clipped(grads, 1.0), grads)
    assert global_norm({}) == 0 and global_norm({"empty": jnp.zeros((0, 3))}) == 0
    ones = {"w": jnp.ones(4096, jnp.bfloat16)}  # summed in bfloat16 this would be 16
    np.testing.assert_allclose(global_norm(ones), 64, rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_clipping_passes_on_what_is_not_finite(bad):
    grads = {"w": jnp.array([1.0, bad]), "b": jnp.array([5.0])}
    assert not np.isfinite(global_norm(grads))
    chex.assert_trees_all_equal(clipped(grads, 1.0), grads)


def test_norm_keeps_float64(x64):
    grads = {"w": jnp.array([1.0, 1e-9]), "b": jnp.zeros(1, jnp.float32)}
    norm = global_norm(grads)
    assert norm.dtype == jnp.float64
    np.testing.assert_allclose(jax.grad(global_norm)(grads)["w"], grads["w"] / norm, rtol=1e-12)


# The step.


def test_one_batch_overfits_and_the_same_seed_gives_the_same_curve():
    optimizer = optax.adam(0.1)

    # Rows that begin alike cannot be told apart at once, and no model could reach 0.
    batch = tokens().at[:, 0].set(jnp.arange(B))

    def carry_free(params, carry, batch, key):
        return loss_fn(params, None, batch, key)[0], carry

    train_step = make_train_step(carry_free, optimizer, max_norm=1.0)

    def curve():
        state = init_train_state(language_model(), optimizer, key=KEY)
        losses = []
        for _ in range(120):
            state, metrics = train_step(state, batch)
            losses.append(metrics.loss)
        return np.array(losses), state

    losses, state = curve()
    assert losses[0] > 1.2 and losses[-1] < 0.05
    assert state.step == 120 and state.skipped == 0
    again, other = curve()
    np.testing.assert_array_equal(losses, again)
    assert_same(state, other)


def test_windows_with_a_carry_equal_one_long_pass(x64):
    params, text = language_model(jnp.float64), tokens(2 * T + 1)
    optimizer = remember_gradient()
    train_step = make_train_step(sum_loss_fn, optimizer)
    state = start(params, optimizer)
    total, gradients = 0.0, []
    for k in range(2):
        state, metrics = train_step(state, text[:, k * T : (k + 1) * T + 1])
        total += metrics.loss
        gradients.append(jax.tree.map(jnp.copy, state.opt_state))

    def long_losses(params, truncate):
        carry, logits = logits_of(params, None, text[:, :-1], truncate=truncate)
        losses = token_losses(logits, text[:, 1:]).sum(axis=0)
        return losses.reshape(2, T).sum(axis=1), carry  # one sum a window

    jacobian = jax.jit(jax.jacrev(long_losses, has_aux=True), static_argnums=1)
    expected, carry = jacobian(params, T)
    np.testing.assert_allclose(total, long_losses(params, None)[0].sum(), rtol=1e-12)
    chex.assert_trees_all_close(state.carry, carry, rtol=1e-12)
    for k in range(2):
        window = jax.tree.map(lambda x, k=k: x[k], expected)
        chex.assert_trees_all_close(gradients[k], window, rtol=1e-9, atol=1e-12)
    full = jax.tree.map(lambda x: x.sum(axis=0), jacobian(params, None)[0])
    both = jax.tree.map(jnp.add, *gradients)
    assert np.abs(vector(both) - vector(full)).max() > 1e-3  # the boundary did cut something


@pytest.mark.parametrize("where", ["loss", "gradient", "update", "carry"])
def test_what_is_not_finite_is_skipped_and_counted(where):
    def fragile(params, carry, batch, key):
        del key
        loss = jnp.sum(params["w"] * batch)
        if where == "gradient":  # a finite loss whose derivative is inf
            loss = loss + jnp.sum(jnp.sqrt(jnp.where(batch > 9, 0.0, 1.0) * params["w"]))
        poison = jnp.where(batch[0] > 9, jnp.nan, 0.0)
        new_carry = {
            "h": carry["h"] + 1 + (poison if where == "carry" else 0.0),
            "m": carry["m"],  # a running maximum starts at -inf: inf in a carry is no fault
            "key": jax.vmap(jax.random.split)(carry["key"])[:, 0],
        }
        return loss + (poison if where == "loss" else 0.0), new_carry

    optimizer = optax.adam(0.1)
    if where == "update":

        def overflow(updates, state, params=None):
            big = lambda g: jnp.where(g > 9, jnp.inf, g)
            return jax.tree.map(big, updates), state

        optimizer = optax.GradientTransformation(optimizer.init, overflow)
    train_step = make_train_step(fragile, optimizer, max_norm=1e3, donate=False)
    carry = {"h": jnp.zeros(1), "m": jnp.full(1, -jnp.inf), "key": jax.random.split(KEY, 1)}
    state = init_train_state({"w": jnp.ones(2)}, optimizer, key=KEY, carry=carry)
    good, bad = jnp.array([1.0, 2.0]), jnp.array([10.0, 2.0])
    once, metrics = train_step(state, good)
    assert not metrics.skipped and once.carry["h"] == 1
    after, metrics = train_step(once, bad)
    assert metrics.skipped and after.skipped == 1 and after.step == 2
    for field in ("params", "opt_state", "carry", "key"):
        assert_same(getattr(after, field), getattr(once, field))
    later, metrics = train_step(after, good)
    assert not metrics.skipped and later.skipped == 1 and later.carry["h"] == 2


def test_grad_norm_is_the_one_before_clipping_and_moments_see_the_clipped():
    optimizer = remember_gradient()
    train_step = make_train_step(quadratic, optimizer, max_norm=0.5)
    state = init_train_state({"w": jnp.zeros(2)}, optimizer, key=KEY)
    state, metrics = train_step(state, jnp.array([3.0, 4.0]))
    np.testing.assert_allclose(metrics.grad_norm, 10, rtol=1e-6)
    np.testing.assert_allclose(state.opt_state["w"], [-0.3, -0.4], rtol=1e-6)


def test_one_compilation_and_donated_buffers():
    optimizer = optax.chain(optax.scale_by_adam(), optax.scale_by_learning_rate(1e-2))
    traced = Traced(loss_fn)
    train_step = make_train_step(traced, optimizer, max_norm=1.0)
    params = language_model()
    state = start(params, optimizer)
    for seed in range(3):
        previous = state
        state, _ = train_step(state, tokens(seed=seed))
        gone = [leaf.is_deleted() for leaf in jax.tree.leaves(previous)]
        assert all(gone), gone
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(params))
    assert not KEY.is_deleted() and traced.count == 1


def test_each_step_has_a_key_of_its_own_and_resuming_finds_it():
    def draw(params, carry, batch, key):
        noise = jax.random.normal(key)
        return jnp.sum(params["w"] * batch) + noise, noise

    optimizer = optax.sgd(0.0)
    train_step = make_train_step(draw, optimizer, donate=False)
    state = init_train_state({"w": jnp.ones(2)}, optimizer, key=KEY, carry=jnp.zeros(()))
    draws = []
    for n in range(3):
        expected = jax.random.normal(jax.random.fold_in(KEY, n))
        state, _ = train_step(state, jnp.ones(2))
        assert state.carry == expected
        draws.append(float(expected))
    assert len(set(draws)) == 3
    assert_same(state.key, KEY)


@pytest.mark.parametrize("name", ["adam", "plateau", "line_search", "schedule_free", "multi_steps"])
def test_any_optax_transformation(name):
    optimizer = {
        "adam": lambda: optax.adam(0.3),
        # takes value=
        "plateau": lambda: optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau()),
        # takes value=, grad=, value_fn=
        "line_search": lambda: optax.chain(
            optax.sgd(1.0), optax.scale_by_backtracking_linesearch(max_backtracking_steps=5)
        ),
        # its state holds a copy of the parameters, which donation must not see twice
        "schedule_free": lambda: optax.contrib.schedule_free_sgd(0.3),
        "multi_steps": lambda: optax.MultiSteps(
            optax.chain(clip_by_global_norm(10.0), optax.sgd(0.3)), every_k_schedule=2
        ),
    }[name]()
    traced = Traced(quadratic)
    train_step = make_train_step(traced, optimizer)
    state = init_train_state({"w": jnp.zeros(2), "none": None}, optimizer, key=KEY)
    losses, traces = [], set()
    for _ in range(5):
        state, metrics = train_step(state, jnp.array([1.0, -1.0]))
        losses.append(float(metrics.loss))
        traces.add(traced.count)
    assert losses[-1] < 0.7 * losses[0] and state.skipped == 0
    assert len(traces) == 1


def test_bfloat16_params_keep_their_form():
    optimizer = optax.adamw(1e-2)
    train_step = make_train_step(loss_fn, optimizer, max_norm=1.0)
    state = start(language_model(jnp.bfloat16), optimizer)
    form = jax.eval_shape(lambda: state)
    state, _ = train_step(state, tokens())
    state, metrics = train_step(state, tokens())
    chex.assert_trees_all_equal_shapes_and_dtypes(jax.eval_shape(lambda: state), form)
    assert state.params["out"].dtype == jnp.bfloat16 and np.isfinite(metrics.loss)


def test_noise_in_the_carry_goes_on_across_windows():
    cell = sj.Stack((sj.LSTM(3), sj.Dropout(0.5)))
    optimizer = optax.sgd(0.1)

    def noisy(params, carry, batch, key):
        del key
        carry, ys = sj.unroll(cell, params, batch, carry=carry)
        return jnp.mean(ys**2), carry

    params = cell.init(KEY, 2)
    carry = cell.initial_carry(params, B, key=jax.random.key(3))
    train_step = make_train_step(noisy, optimizer)
    state = init_train_state(params, optimizer, key=KEY, carry=carry)
    state, _ = train_step(state, jnp.ones((B, 4, 2)))
    state, metrics = train_step(state, jnp.ones((B, 4, 2)))
    assert np.isfinite(metrics.loss) and state.skipped == 0


def test_errors():
    sgd = optax.sgd(0.1)
    bad: Any
    for bad in (-1.0, np.inf, np.nan, "1"):
        with pytest.raises(ValueError, match="max_norm is"):
            clip_by_global_norm(bad)
        with pytest.raises(ValueError, match="max_norm is"):
            make_train_step(quadratic, sgd, max_norm=bad)
    with pytest.raises(ValueError, match=r"optimizer is <function .* expected an optax"):
        bad = optax.sgd
        make_train_step(quadratic, bad)
    for bad in (jax.random.PRNGKey(0), jax.random.split(KEY, 2), 3):
        with pytest.raises(ValueError, match=r"key (is|has) .*; expected (a typed|one) key"):
            init_train_state({}, sgd, key=bad)
    state = init_train_state({"w": jnp.ones(2)}, sgd, key=KEY, carry=jnp.zeros(2))
    vector_loss = make_train_step(lambda p, c, b, k: (p["w"], c), sgd)
    with pytest.raises(ValueError, match=r"loss of shape \(2,\) and dtype float32; expected one"):
        vector_loss(state, None)
    grows = make_train_step(lambda p, c, b, k: (p["w"].sum(), jnp.append(c, 1.0)), sgd)
    with pytest.raises(ValueError, match=r"given a carry of \(\(2,\), .* returned one of \(\(3,\)"):
        grows(state, None)
    assert not state.params["w"].is_deleted()


def test_integers_are_not_learned():
    """JAX said that grad requires real- or complex-valued inputs, and not which."""
    with pytest.raises(
        ValueError, match=r"params\['n'\] is int32; expected floats only\. Let loss"
    ):
        init_train_state({"w": jnp.ones(2), "n": jnp.arange(3)}, optax.sgd(0.1), key=KEY)


def test_integers_have_no_norm():
    with pytest.raises(ValueError, match="tree has a leaf of dtype int32; expected floating-point"):
        sj.training.global_norm({"w": jnp.ones(2), "n": jnp.arange(3)})


@pytest.mark.parametrize(
    ("loss_fn", "message"),
    [
        (
            lambda p, c, b: (0.0, c),
            r"loss_fn takes \(p, c, b\); expected \(params, carry, batch, k",
        ),
        (lambda p, c, b, k, n: (0.0, c), r"loss_fn takes \(p, c, b, k, n\); expected \(params, "),
        (3, "loss_fn is 3; expected a function"),
    ],
    ids=["few", "many", "none"],
)
def test_a_loss_function_takes_four_arguments(loss_fn, message):
    """Refused where it is passed, not in the trace of the first step."""
    with pytest.raises(ValueError, match=message):
        make_train_step(loss_fn, optax.sgd(0.1))
    with pytest.raises(ValueError, match=message):
        sj.truncated_value_and_grad(loss_fn, 2)
    windows = jnp.ones((3, 2))
    with pytest.raises(ValueError, match=message):
        sj.training.dynamic_evaluation(loss_fn, optax.sgd(0.1), jnp.ones(2), (), windows)
    with pytest.raises(ValueError, match=message):
        sj.training.mean_squared_gradients(loss_fn, jnp.ones(2), (), windows)


@pytest.mark.parametrize(
    ("results", "came"),
    [
        (lambda loss, carry: loss, "one array"),
        (lambda loss, carry: [loss, carry], "a list"),
        (lambda loss, carry: (loss, carry, (), ()), "4 results"),
        (lambda loss, carry: None, "a NoneType"),
    ],
    ids=["loss", "list", "four", "none"],
)
def test_a_loss_function_returns_two_or_three_results(results, came):
    """These were "iteration over a 0-d array" and "too many values to unpack"."""
    expected = rf"loss_fn returned {came}; expected \(loss, carry\), with carry=\(\)"
    loss_fn = lambda params, carry, batch, key: results(jnp.sum(params * batch.mean()), carry)
    state = init_train_state(jnp.ones(2), optax.sgd(0.1), key=KEY)
    with pytest.raises(ValueError, match=expected):
        make_train_step(loss_fn, optax.sgd(0.1))(state, jnp.ones((2, 4)))
    with pytest.raises(ValueError, match=expected):
        sj.truncated_value_and_grad(loss_fn, 2)(jnp.ones(2), (), jnp.ones((2, 4)))
    with pytest.raises(ValueError, match=expected):
        sj.training.dynamic_evaluation(loss_fn, optax.sgd(0.1), jnp.ones(2), (), jnp.ones((3, 2)))


def test_a_third_result_is_measured():
    """As a pytree in `Metrics`, whether or not the window is skipped; it has no gradient."""

    def with_aux(w, carry, batch, key):
        error = w - batch
        return jnp.sum(error**2), carry + 1, {"largest": jnp.max(jnp.abs(error)), "n": batch.size}

    optimizer = optax.sgd(0.5)
    train_step = make_train_step(with_aux, optimizer)
    state = init_train_state(jnp.zeros(2), optimizer, key=KEY, carry=jnp.zeros(3))
    state, metrics = train_step(state, jnp.array([3.0, -4.0]))
    assert metrics.aux["largest"] == 4 and metrics.aux["n"] == 2
    np.testing.assert_array_equal(state.params, [3, -4])
    state, metrics = train_step(state, jnp.array([jnp.inf, 0.0]))
    assert metrics.skipped and metrics.aux["largest"] == jnp.inf
    without = make_train_step(lambda *args: with_aux(*args)[:2], optimizer)
    state = init_train_state(jnp.zeros(2), optimizer, key=KEY, carry=jnp.zeros(3))
    _, metrics = without(state, jnp.ones(2))
    assert metrics.aux == ()


def test_a_donated_state_is_gone_and_one_kept_is_not():
    optimizer = optax.sgd(0.1)
    params = {"w": jnp.ones(2)}
    state = init_train_state(params, optimizer, key=KEY)
    keep = make_train_step(quadratic, optimizer, donate=False)
    for _ in range(2):
        keep(state, jnp.ones(2))
    train_step: Any = make_train_step(quadratic, optimizer)
    train_step(state, jnp.ones(2))
    assert state.params["w"].is_deleted() and not params["w"].is_deleted()
    with pytest.raises(ValueError, match="state was given to an earlier step, .* donate=False"):
        train_step(state, jnp.ones(2))
    fresh = init_train_state(params, optimizer, key=KEY)
    assert train_step.lower(fresh, jnp.ones(2)).compile() is not None

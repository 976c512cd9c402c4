"""Proof, in one line, that a cell keeps the contract: `check_cell(MyCell(8))`.

It compares by plain NumPy assertions, so it needs no package that seqjax does not need itself.
"""

import functools
import pickle
from collections.abc import Hashable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import attention, cells, core, initializers, linear
from seqjax._internal import checks, specs, trees
from seqjax.core.cell import is_encoder
from seqjax.core.noise import has_noise, is_noise
from seqjax.core.unroll import unroll


def check_cell(
    cell: Any, *, input_size: int = 3, batch_size: int = 3, length: int = 6, seed: int = 0
) -> None:
    """Checks that a cell keeps seqjax's contract, on random data.

    Holds it to: a hashable, picklable spec that equals its copy; an `init` for any input size, by
    which params of another cell are refused; a carry whose leaves lead with the batch axis and keep
    structure, shape and dtype, in float32 and bfloat16; `unroll` equal to a Python loop of `step`
    over each row, under masks and resets; zeros and a held carry at padding, where NaN and inf
    reach neither value nor gradient; independence of batch mates; a sequence in two parts equal to
    the whole; jit equal to eager and vmap over params to a loop; gradients for params, inputs and
    carry equal to finite differences in float64; one compilation for equal specs. A stochastic cell
    is checked with and without a key, an encoder without the parts that need a step.

    Args:
      cell: any cell or encoder with inputs [B, T, input_size].
      input_size: D.
      batch_size: B, at least 2.
      length: T, even.
      seed: of the random params, inputs, masks and resets.

    Raises:
      AssertionError: naming the property that does not hold.
      ValueError: if a size is not usable.

    Example:
      >>> import seqjax as sj
      >>> check_cell(sj.Elman(4), length=4)
    """
    checks.require(batch_size >= 2, f"batch_size is {batch_size}; expected at least 2.")
    checks.require(
        length >= 2 and length % 2 == 0, f"length is {length}; expected an even number of steps."
    )
    _check_spec(cell)
    for dtype in (jnp.float32, jnp.bfloat16):
        _check_types(cell, input_size, batch_size, dtype)
    with jax.enable_x64(True):
        case = _make_case(cell, input_size, batch_size, length, seed, noisy=False)
        properties = [_check_row_by_row, _check_padding, _check_batch, _check_transformations]
        properties += [_check_gradients, _check_traces]
        if not is_encoder(cell):
            properties.append(_check_split)
        for check in properties:
            check(case)
        noisy = _make_case(cell, input_size, batch_size, length, seed, noisy=True)
        if has_noise(noisy.carry):
            stepped = () if is_encoder(cell) else (_check_row_by_row, _check_split)
            for check in (_check_padding, _check_batch, _check_gradients, *stepped):
                check(noisy)


class _Case(NamedTuple):
    """Random data for one cell: xs [B, T, D], mask and reset [B, T]."""

    cell: Any
    params: Any
    carry: Any
    initial: Any
    xs: jax.Array
    mask: jax.Array
    reset: jax.Array


def _make_case(cell, input_size, batch_size, length, seed, noisy) -> _Case:
    random = np.random.default_rng(seed)  # NumPy's draws need no compilation
    normal = lambda a: jnp.asarray(random.normal(size=a.shape), a.dtype)
    jitter = lambda a: a + 0.3 * normal(a) if checks.is_float(a) else a
    params = jax.tree.map(jitter, cell.init(jax.random.key(seed % 2**31), input_size))
    initial = cell.initial_carry(params, batch_size, key=jax.random.key(1) if noisy else None)
    mask = random.random((batch_size, length)) < 0.7
    mask[0] = True
    return _Case(
        cell=cell,
        params=params,
        carry=jax.tree.map(jitter, initial),
        initial=initial,
        xs=jnp.asarray(random.normal(size=(batch_size, length, input_size))),
        mask=jnp.asarray(mask),
        reset=jnp.asarray(random.random((batch_size, length)) < 0.25),
    )


@functools.partial(jax.jit, static_argnames="cell")
def _run(cell, params, carry, xs, mask, reset):
    return unroll(cell, params, xs, carry=carry, mask=mask, reset=reset)


@functools.partial(jax.jit, static_argnames="cell")
def _step(cell, params, carry, x):
    return cell.step(params, carry, x)


def _run_case(case: _Case, **changes):
    case = case._replace(**changes)
    return _run(case.cell, case.params, case.carry, case.xs, case.mask, case.reset)


def _check_spec(cell) -> None:
    copy = pickle.loads(pickle.dumps(cell))
    _hold("the spec equals its pickled copy (make it a frozen dataclass)", copy == cell)
    _hold("the spec is hashable (make it a frozen dataclass)", isinstance(cell, Hashable))
    _hold("equal specs hash equally", hash(copy) == hash(cell))
    _hold("foreign params are refused (let init take any size)", specs.tells_its_params(cell))
    rooms = attention, cells, core, initializers, linear
    names = {name: value for room in rooms for name, value in vars(room).items()}
    names[type(cell).__name__] = type(cell)
    try:
        rebuilt = eval(repr(cell), names)
    except (NameError, SyntaxError) as error:
        raise AssertionError(f"eval(repr(cell)) == cell: {repr(cell)} gave {error!r}") from error
    _hold("eval(repr(cell)) == cell", rebuilt == cell)


def _check_types(cell, input_size, batch_size, dtype) -> None:
    """The carry keeps structure, shape and dtype over a step, and leads with the batch axis."""

    def run(key):
        params = cell.init(key, input_size)
        cast = lambda a: a.astype(dtype) if checks.is_float(a) else a
        params = jax.tree.map(cast, params)
        carry = cell.initial_carry(params, batch_size, key=key)
        xs = jnp.ones((batch_size, 2, input_size), dtype)
        after, ys = unroll(cell, params, xs, carry=carry)
        if not is_encoder(cell):
            after, y = cell.step(params, carry, xs[:, 0])
            ys = {"unroll": ys, "step": y}
        return carry, after, ys

    carry, after, ys = jax.eval_shape(run, jax.random.key(0))
    for leaf in jax.tree.leaves(carry):
        _hold("carry leads with the batch axis", leaf.shape[:1] == (batch_size,))
    form = lambda tree: jax.tree.map(lambda a: (a.shape, a.dtype), tree)
    same = form(carry) == form(after)
    _hold(f"carry keeps structure, shape and dtype in {dtype.__name__}", same)
    for leaf in jax.tree.leaves((after, ys)):
        _hold("no weak types", not getattr(leaf, "weak_type", False))


def _check_row_by_row(case: _Case) -> None:
    """Equals a Python loop over each row; an encoder, each row's segments run alone."""
    carry, ys = _run_case(case)
    if is_encoder(case.cell):
        alone = _segments_alone(case)
        ys = _run_case(case, carry=case.initial)[1]
        _close("unroll equals each segment run alone", ys, alone)
        return
    for row in range(case.xs.shape[0]):
        take = functools.partial(jax.tree.map, lambda a: a[row : row + 1])  # noqa: B023
        now, initial, outputs = take(case.carry), take(case.initial), []
        for t in range(case.xs.shape[1]):
            if case.reset[row, t]:
                now = _restarted(initial, now)
            if case.mask[row, t]:
                now, y = _step(case.cell, case.params, now, case.xs[row : row + 1, t])
                outputs.append(y)
            else:
                outputs.append(None)
        zero = jax.tree.map(lambda a: jnp.zeros_like(a[:1, 0]), ys)
        outputs = [zero if y is None else y for y in outputs]
        loop = jax.tree.map(lambda *steps: jnp.stack(steps, axis=1), *outputs)
        _close("unroll equals a loop of step", take(ys), loop)
        _close("the final carry is that of the last real step", take(carry), now)


def _restarted(initial, now):
    one = lambda a, b: b._replace(start=b.step) if is_noise(b) else a
    return jax.tree.map(one, initial, now, is_leaf=is_noise)


def _segments_alone(case: _Case):
    """What an encoder puts out when each row's segment between resets is a batch of its own."""
    batch_size, length = case.mask.shape
    result = jax.tree.map(lambda a: np.zeros(a.shape), _run_case(case)[1])
    none = jnp.zeros((batch_size, length), bool)
    for row in range(batch_size):
        starts = np.cumsum(np.asarray(case.reset)[row])
        for segment in np.unique(starts):
            steps = np.flatnonzero((starts == segment) & np.asarray(case.mask[row]))
            xs = jnp.zeros_like(case.xs).at[row, : len(steps)].set(case.xs[row, steps])
            mask = jnp.broadcast_to(jnp.arange(length) < len(steps), none.shape)
            ys = _run_case(case, carry=case.initial, xs=xs, mask=mask, reset=_no_resets(case))[1]
            result[row, steps] = ys[row, : len(steps)]
    return result


def _check_padding(case: _Case) -> None:
    carry, ys = _run_case(case)
    for xs in _dirty(case):
        dirty = _run_case(case, xs=xs)
        _close("NaN or inf in padding changes nothing", dirty, (carry, ys), exact=True)
    for leaf in jax.tree.leaves(ys):
        _hold("outputs are 0 at padding", not np.asarray(leaf)[~np.asarray(case.mask)].any())
    empty = case.mask.at[1].set(False)
    held, _ = _run_case(case, mask=empty, reset=_no_resets(case))
    row = lambda tree: jax.tree.map(lambda a: a[1], tree)
    _close("a row of length 0 holds its carry", row(held), row(case.carry), exact=True)


def _dirty(case: _Case) -> list[jax.Array]:
    """The inputs with NaN, and with inf, at padding."""
    return [jnp.where(case.mask[..., None], case.xs, bad) for bad in (jnp.nan, jnp.inf)]


def _no_resets(case: _Case):
    return jnp.zeros_like(case.reset)


def _check_batch(case: _Case) -> None:
    order = np.roll(np.arange(case.xs.shape[0]), 1)
    permute = functools.partial(jax.tree.map, lambda a: a[order])
    carry, ys = _run_case(case)
    moved = case._replace(
        **{name: permute(getattr(case, name)) for name in ("carry", "xs", "mask", "reset")}
    )
    _close("permuting the batch permutes the result", _run_case(moved), permute((carry, ys)))


def _check_split(case: _Case) -> None:
    half = case.xs.shape[1] // 2
    arrays = {"xs": case.xs, "mask": case.mask, "reset": case.reset}
    part = lambda s: jax.tree.map(lambda a: a[:, s], arrays)
    carry, first = _run_case(case, **part(slice(None, half)))
    carry, second = _run_case(case, carry=carry, **part(slice(half, None)))
    joined = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), first, second)
    _close("a sequence in two parts equals the whole", (carry, joined), _run_case(case))


def _check_transformations(case: _Case) -> None:
    eager = unroll(case.cell, case.params, case.xs, carry=case.carry)
    full = jnp.ones_like(case.mask)
    _close("jit equals eager", _run_case(case, mask=full, reset=_no_resets(case)), eager)
    twice = jax.tree.map(lambda a: jnp.stack([a, a * 0.5]), case.params)
    mapped = jax.vmap(lambda params: _run_case(case, params=params), axis_size=2)(twice)
    for index in range(2):
        pick = functools.partial(jax.tree.map, lambda a: a[index])  # noqa: B023
        _close("vmap over params equals a loop", pick(mapped), _run_case(case, params=pick(twice)))


@functools.partial(jax.jit, static_argnames="cell")
def _loss(cell, point, carry, mask, reset):
    """A number in which all counts; point is (params, xs, what of carry can have a gradient)."""
    params, xs, part = point
    carry = trees.with_inexact(carry, part)
    carry, ys = unroll(cell, params, xs, carry=carry, mask=mask, reset=reset)
    floats = [leaf for leaf in jax.tree.leaves((carry, ys)) if checks.is_float(leaf)]
    return sum(jnp.sum(jnp.sin(1.0 + leaf)) for leaf in floats)


_grad = jax.jit(jax.grad(_loss, argnums=1), static_argnames="cell")


def _check_gradients(case: _Case) -> None:
    rest = (case.carry, case.mask, case.reset)
    point = (case.params, case.xs, trees.inexact(case.carry))
    grads = _grad(case.cell, point, *rest)
    at_padding = np.asarray(grads[1])[~np.asarray(case.mask)]
    _hold("inputs at padding have gradient 0", not at_padding.any())
    for xs in _dirty(case):
        dirty = _grad(case.cell, (point[0], xs, point[2]), *rest)
        _close("NaN or inf in padding reaches no gradient", dirty, grads, exact=True)
    random = np.random.default_rng(0)
    along = jax.tree.map(lambda a: jnp.asarray(random.normal(size=a.shape), a.dtype), point)
    size = 1e-6 if jnp.result_type(*jax.tree.leaves(point)) == jnp.float64 else 1e-2
    shift = lambda s: jax.tree.map(lambda a, d: a + s * d, point, along)
    upper, lower = (_loss(case.cell, shift(s), *rest) for s in (size, -size))
    products = jax.tree.map(lambda g, d: jnp.sum(g * d), grads, along)
    expected = (upper - lower) / (2 * size)
    _close("gradient equals finite differences", sum(jax.tree.leaves(products)), expected, 1e-5)


def _check_traces(case: _Case) -> None:
    traces = []

    @functools.partial(jax.jit, static_argnames="cell")
    def run(cell, params, xs):
        traces.append(cell)
        return unroll(cell, params, xs)

    for cell in (case.cell, pickle.loads(pickle.dumps(case.cell))):
        run(cell, case.params, case.xs)
    _hold("equal specs share one compilation", len(traces) == 1)


def _hold(name: str, condition: Any) -> None:
    if not condition:
        raise AssertionError(f"{name}: does not hold")


def _close(name: str, got: Any, expected: Any, rtol: float | None = None, exact=False) -> None:
    """Compares two trees, typed keys by their data."""
    got_leaves, expected_leaves = map(_comparable, (got, expected))
    _hold(name, len(got_leaves) == len(expected_leaves))
    for a, b in zip(got_leaves, expected_leaves, strict=True):
        loose = rtol or (1e-9 if b.dtype in (np.float64, np.int32) else 1e-4)
        if exact:
            np.testing.assert_array_equal(a, b, err_msg=name)
        else:
            np.testing.assert_allclose(a, b, rtol=loose, atol=loose, err_msg=name)


def _comparable(tree: Any) -> list[np.ndarray]:
    is_key = lambda a: jnp.issubdtype(a.dtype, jax.dtypes.prng_key)
    data = lambda a: np.asarray(jax.random.key_data(a) if is_key(a) else a)
    return [data(leaf) for leaf in jax.tree.leaves(tree)]

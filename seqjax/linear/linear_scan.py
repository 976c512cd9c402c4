"""Linear recurrences over time."""

import functools
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from seqjax._internal import checks, trees
from seqjax.core.products import accumulator
from seqjax.core.scan import check_flags
from seqjax.core.steps import where_rows, zero_rows
from seqjax.linear.methods import How, run_linear, take
from seqjax.linear.pairs import Complex, add, conjugate, multiply, ones_like

Method = Literal["auto", "sequential", "associative", "chunked"]
METHODS = ("auto", "sequential", "associative", "chunked")


def linear_scan(
    a: Any,
    b: Any,
    h0: Any = None,
    *,
    reverse: bool = False,
    mask: ArrayLike | None = None,
    reset: ArrayLike | None = None,
    initial: Any = None,
    method: Method = "auto",
    chunk_size: int | None = None,
) -> tuple[Any, Any]:
    """The linear recurrence with a diagonal matrix, one number a unit.

        hₜ = aₜ ⊙ hₜ₋₁ + bₜ   where mask[t];   hₜ = hₜ₋₁   elsewhere

    Blelloch 1990, section 1.4; Martin and Cundy 2018. All methods are equal up to rounding: the
    parallel ones multiply in another order. The derivative is that of a linear solve, whose
    transpose is the same recurrence backward: gradients cost one more scan and keep a and hs
    alone, and forward mode, reverse mode and both together work to any order.

    Args:
      a: floats that broadcast to b: [B, T, H], a number a head [B, T, H, 1], the same at all
        steps [H]. |a| <= 1 keeps the state bounded; nothing holds it there.
      b: floats [B, T, ...], or a `Complex` of two; a may then be one too.
      h0: the state before the first step, [B, ...] as b without T; None means 0.
      reverse: runs from the last step to the first: hₜ = aₜ ⊙ hₜ₊₁ + bₜ.
      mask: [B, T] bool, True = real; what stands in a and b elsewhere, NaN included, is not read.
      reset: [B, T] bool. Where True, the state before step t is 0; it acts at masked steps too.
        In reverse the boundaries are the same, between t - 1 and t, and a flag at step 0 bounds
        nothing.
      initial: the state that a reset returns to, [B, ...] as h0; None means 0.
      method: "sequential", a loop over T that writes in place; "associative",
        `lax.associative_scan`; "chunked", two levels: chunks of time side by side. "auto" is
        "sequential" on a CPU, where it is the fastest at every size measured
        (`python -m benchmarks.linear`), and "associative" elsewhere, where nothing was measured.
      chunk_size: steps of a chunk, for "chunked" alone; None means √(T / 2), which makes the
        loops of both levels shortest.

    Returns:
      The state after the last step, and all of them, [B, T, ...], held where masked; in at least
      float32, whatever a and b are.

    Raises:
      ValueError: if a, b or h0 is not floating (a complex dtype is refused: pass a `Complex`), a
        does not broadcast to b, h0 is not [B, ...], mask or reset is not [B, T] bool, method is
        none of these, or chunk_size is no positive integer or has no use.

    Example:
      >>> a, b = jnp.full((1, 4, 2), 0.5), jnp.ones((1, 4, 2))
      >>> h, hs = linear_scan(a, b, reset=jnp.array([[False, False, True, False]]))
      >>> print(hs[0, :, 0], h[0, 0])
      [1.  1.5 1.  1.5] 1.5
    """
    a, b, h0, initial = _check_arrays(a, b, h0, initial)
    rows, steps = jax.tree.leaves(b)[0].shape[:2]
    how = How(method, _chunk_size(method, chunk_size, steps), reverse)
    real = check_flags("mask", mask, rows, steps)
    flags = check_flags("reset", reset, rows, steps)
    if steps == 0:
        return h0, b
    everything = (a, b, h0, initial, real, flags)
    a, b, h0, initial, real, flags = trees.vary_like(everything, everything)
    cut = flags  # the steps that do not see their neighbour; backward those before a boundary
    if flags is not None and reverse:
        cut = _before(True, flags)
    if real is not None:
        a, b = where_rows(real, a, ones_like(a)), zero_rows(real, b)
    if initial is not None and cut is not None:
        b = add(b, multiply(zero_rows(cut, a), jax.tree.map(lambda x: x[:, None], initial)))
    hs = _solve(how, a, _begun(reverse, a, b, h0, cut), cut)
    return jax.tree.map(lambda x: x[:, 0 if reverse else -1], hs), hs


def _begun(reverse: bool, a: Any, b: Any, h0: Any, cut: Any) -> Any:
    """b [B, T, ...] with what the state h0 before the first step adds to it."""
    steps = jax.tree.leaves(b)[0].shape[1]
    first = steps - 1 if reverse else 0
    start = h0 if cut is None else zero_rows(~cut[:, first], h0)
    start = jax.tree.map(lambda x: x[:, None], multiply(take(a, first), start))
    edge = [(0, 0, 0), (first, steps - 1 - first, 0)]
    one = lambda x, y: x + jax.lax.pad(y, jnp.zeros((), x.dtype), edge + [(0, 0, 0)] * (x.ndim - 2))
    return jax.tree.map(one, b, start)


def _solve(how: How, a: Any, b: Any, cut: Any) -> Any:
    """All states [B, T, ...] from a start at 0, as the solution of hₜ - aₜ hₜ₋₁ = bₜ."""

    def equations(hs):
        before = _before(how.reverse, hs)
        if cut is not None:
            before = zero_rows(~cut, before)
        return _joined(jax.tree.map(jnp.subtract, hs, multiply(a, before)))

    def solve(_, b):
        return _run(how, a, b, cut)

    def solve_transposed(_, b):
        backward = how._replace(reverse=not how.reverse, adjoint=True)
        return _run(backward, conjugate(a), b, cut)

    return jax.lax.custom_linear_solve(equations, _joined(b), solve, solve_transposed)


def _joined(tree: Any) -> Any:
    """The tree, of whose leaves all have a tangent where one has.

    `custom_linear_solve` is not transposed for a part of its leaves.
    """
    return jax.lax.optimization_barrier(tree) if isinstance(tree, Complex) else tree


def _run(how: How, a: Any, b: Any, cut: Any) -> Any:
    """`run_linear`, by the method of the platform that the program is compiled for."""
    if how.method != "auto":
        return run_linear(how, a, b, cut)
    by = lambda method: functools.partial(run_linear, how._replace(method=method))
    return jax.lax.platform_dependent(a, b, cut, cpu=by("sequential"), default=by("associative"))


def _before(reverse: bool, hs: Any) -> Any:
    """What stands one step earlier in a run's order: hs [B, T, ...] moved on behind a 0."""
    move = [(0, 0, 0), (-1, 1, 0) if reverse else (1, -1, 0)]
    one = lambda x: jax.lax.pad(x, jnp.zeros((), x.dtype), move + [(0, 0, 0)] * (x.ndim - 2))
    return jax.tree.map(one, hs)


def _chunk_size(method: str, chunk_size: int | None, steps: int) -> int:
    checks.one_of("method", method, METHODS)
    if chunk_size is None:
        return max(round(math.sqrt(steps / 2)), 1)
    checks.require(
        method == "chunked",
        f"chunk_size is {chunk_size!r} but method is {method!r}; pass method='chunked'.",
    )
    return checks.positive_int("chunk_size", chunk_size)


def _check_arrays(a: Any, b: Any, h0: Any, initial: Any) -> tuple[Any, Any, Any, Any]:
    """All of them in one dtype of at least float32; a with as many axes as b."""
    a, b = _as_floats("a", a), _as_floats("b", b)
    shape = _shape("b", b)
    checks.require(
        len(shape) >= 2, f"b has shape {shape}; expected [B, T, ...] with a batch and a time axis."
    )
    _check_factor(a, b, shape)
    if h0 is None:
        h0 = jax.tree.map(lambda x: jnp.zeros((shape[0], *shape[2:]), x.dtype), b)
    h0, initial = _check_state("h0", h0, b), _check_state("initial", initial, b)
    dtype = accumulator(jnp.result_type(*jax.tree.leaves((a, b, h0))))
    a, b, h0, initial = jax.tree.map(lambda x: x.astype(dtype), (a, b, h0, initial))
    a = jax.tree.map(lambda x: x.reshape((1,) * (len(shape) - x.ndim) + x.shape), a)
    return a, b, h0, initial


def _check_state(name: str, state: Any, b: Any) -> Any:
    """A state [B, ...] as floats of b's kind; None stays None."""
    if state is None:
        return None
    state, shape = _as_floats(name, state), _shape("b", b)
    checks.require(
        isinstance(state, Complex) == isinstance(b, Complex),
        f"{name} is {_kind(state)} but b is {_kind(b)}; expected the same kind, "
        f"Complex({name}, zeros) for a real state.",
    )
    expected = (shape[0], *shape[2:])
    checks.require(
        _shape(name, state) == expected,
        f"{name} has shape {_shape(name, state)}; expected {expected}, that of b {shape} without "
        "time.",
    )
    return state


def _check_factor(a: Any, b: Any, shape: tuple[int, ...]) -> None:
    """Raises ValueError unless a is of a kind and shape that goes with b."""
    checks.require(
        isinstance(b, Complex) or not isinstance(a, Complex),
        "a is Complex but b is real; expected both of a kind. Pass Complex(b, zeros) as b.",
    )
    size = _shape("a", a)
    matrix = len(size) >= 2 and size[-2:] == shape[-1:] * 2 and len(size) == len(shape) + 1
    checks.require(
        not matrix,
        f"a has shape {size}, a matrix a step, but b has {shape}; expected the diagonal, one "
        "number a unit. Change to a basis in which a is diagonal, or scan a step function.",
    )
    fits = len(size) <= len(shape) and all(
        n in (1, m) for n, m in zip(reversed(size), reversed(shape), strict=False)
    )
    checks.require(
        fits,
        f"a has shape {size}; expected one that broadcasts to that of b, {shape}: [B, T, ...] "
        "with axes of size 1 where it is the same.",
    )


def _as_floats(name: str, value: Any) -> Any:
    """An array, or a `Complex` of two, of floats."""
    parts = jax.tree.map(jnp.asarray, value)
    for part in jax.tree.leaves(parts):
        checks.require(
            not jnp.issubdtype(part.dtype, jnp.complexfloating),
            f"{name} has dtype {part.dtype}; expected two real arrays for complex numbers. Pass "
            f"Complex({name}.real, {name}.imag).",
        )
        checks.require(
            checks.is_float(part), f"{name} has dtype {part.dtype}; expected floating point."
        )
    return parts


def _shape(name: str, value: Any) -> tuple[int, ...]:
    shapes = {part.shape for part in jax.tree.leaves(value)}
    checks.require(
        len(shapes) == 1 and isinstance(value, (jax.Array, Complex)),
        f"{name} has parts of shapes {checks.describe(value)}; expected one array, or a Complex "
        "of two of one shape.",
    )
    return shapes.pop()


def _kind(value: Any) -> str:
    return "Complex" if isinstance(value, Complex) else "real"

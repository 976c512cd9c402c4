"""A recurrence over time whose weights get their gradients in one product after the loop.

Differentiating a scan adds one outer product to every weight's gradient at every step. Here the
backward loop carries the cotangents of the products alone and stacks them; each weight's gradient
is then one product over all rows and steps. Appleyard, Kočiský and Blunsom 2016.

For hₜ = tanh(affine(hₜ₋₁, w, zₜ)) the forward loop stores hₜ and the product uₜ = hₜ₋₁ w + zₜ; the
backward loop computes dhₜ₋₁ = duₜ wᵀ and stacks duₜ; after it dw = Σₜ hₜ₋₁ᵀ duₜ is one product.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from seqjax._internal import checks, trees
from seqjax._internal.jaxprs import depend_on
from seqjax.core.products import Affine, affine
from seqjax.core.scan import strong
from seqjax.core.steps import Steps

Recur = Callable[[Any, Any, Any, Affine], Any]


def recur_over_time(
    recur: Recur, params: Any, carry: Any, zs: Any, steps: Steps, offset: jax.Array | None = None
) -> tuple[Any, Any]:
    """Runs hₜ = recur(params, hₜ₋₁, zₜ, affine) over time-major inputs.

    Args:
      recur: (params, carry, z, affine) -> carry. The weights of what goes through `affine` have
        their gradients deferred; gradients by other uses of params are added up in the loop.
      params: pytree.
      carry: leaves [B, ...]; those that are not floats have no gradient.
      zs: pytree, leaves [T, B, ...].
      steps: which steps are real, and where the state begins again.
      offset: [N], to be added to zs [T, B, N] in the loop, where it costs nothing; None adds none.

    Returns:
      The last carry, and all of them, leaves [T, B, ...].

    Raises:
      ValueError: if weights given to `affine` depend on more than params.
    """
    carry, initial = strong(carry), strong(steps.initial)
    if offset is not None:
        offset = offset.astype(zs.dtype)
    if jax.tree.leaves(zs)[0].shape[0] == 0:
        return carry, jax.tree.map(lambda a: jnp.zeros((0, *a.shape), a.dtype), carry)
    _check_weights(recur, params, carry, zs)

    @jax.custom_vjp
    def run(*arguments):
        last, (carries, _) = _forward(recur, *arguments)
        return last, carries

    def forward(*arguments):
        last, tape = _forward(recur, *arguments)
        return (last, tape[0]), (arguments, tape)

    def backward(kept, cotangents):
        with jax.numpy_rank_promotion("allow"):  # as where a `Spec` was called
            return _backward(recur, *kept, *cotangents)

    run.defvjp(forward, backward)
    return run(params, carry, zs, offset, initial, steps.flags())


def _step(recur, now: Steps, params, carry, z, offset, affine: Affine):
    """One step as `Steps` has it; everything in it but `affine` is differentiated as it stands."""
    carry = now.restart(carry)
    return now.hold(recur(params, carry, z if offset is None else z + offset, affine), carry)


def _forward(recur, params, carry, zs, offset, initial, flags):
    """The last carry, and the tape: all carries and the results of all products, [T, B, ...]."""
    weights, steps = _weights(recur, params, carry, zs), Steps(initial=initial)

    def body(carry, inputs):
        z, flags = inputs
        recorder = _Recorder(weights)
        new = _step(recur, steps.at(flags), params, carry, z, offset, recorder)
        return new, (new, recorder.products)

    return jax.lax.scan(body, carry, (zs, flags))


def _backward(recur, arguments, tape, d_last, d_carries):
    """Cotangents of the arguments, none of the flags.

    From the last step to the first, each is computed again from its tape and pulled back, all but
    its products with weights: their inputs and cotangents are stacked, [T, B, ...], and give the
    gradient of each weight in one product after the loop.
    """
    params, first, zs, offset, initial, flags = arguments
    carries, products = tape
    floats, refill = trees.inexact, trees.with_inexact
    weights, pull_weights = jax.vjp(
        lambda p: _weights(recur, refill(params, p), first, zs), floats(params)
    )

    def body(state, inputs):
        d_carry, d_initial, d_params, d_zs = state
        t, d_out, z, products, flags = inputs
        before = _carry_before(t, carries, first)

        def replay(p, c, start, z_floats, probes):
            replayer = _Replayer(weights, products, probes)
            now = Steps(initial=refill(initial, start)).at(flags)
            whole = refill(params, p), refill(before, c), refill(z, z_floats)
            new = _step(recur, now, *whole, offset, replayer)
            return floats(new), replayer.inputs

        primals = (params, before, initial, z)
        probes = jax.tree.map(jnp.zeros_like, products)
        _, pull, read = jax.vjp(replay, *map(floats, primals), probes, has_aux=True)
        d_params_t, d_carry, d_initial_t, d_z, d_products = pull(_add(d_carry, d_out))
        d_zs = trees.set_index(d_zs, d_z, t)
        sums = _add(d_initial, d_initial_t), _add(d_params, d_params_t)
        own = [_own_or_same(d, jax.tree.leaves(d_z)) for d in d_products]
        return (d_carry, *sums, d_zs), (own, read)

    count = jax.tree.leaves(zs)[0].shape[0]
    inputs = (jnp.arange(count), floats(d_carries), zs, products, flags)
    zeros = jax.tree.map(jnp.zeros_like, (floats(initial), floats(params)))
    # Every d_zs[t] is written once, so that the buffer of zs, read for the last time, can be it.
    start = (floats(d_last), *zeros, floats(zs))
    state, (own, read) = jax.lax.scan(body, start, inputs, reverse=True)
    d_carry, d_initial, d_params, d_zs = state
    of_zs = jax.tree.leaves(d_zs)
    d_products = [of_zs[d.index] if isinstance(d, _SameAs) else d for d in own]
    d_weights = [_pull_weights(*each) for each in zip(read, weights, d_products, strict=True)]
    d_params = _add(d_params, pull_weights(d_weights)[0])
    d_offset = None if offset is None else jnp.sum(d_zs, axis=(0, 1))
    return d_params, d_carry, d_zs, d_offset, d_initial, None


@jax.tree_util.register_static
@dataclass(frozen=True)
class _SameAs:
    """In place of a product's cotangent: that of float `index` of z, which is stacked already."""

    index: int


def _own_or_same(cotangent: jax.Array, of_z: list[jax.Array]) -> Any:
    """A product's cotangent, unless it is one of z's: of affine(h, w, z) and nothing else of z.

    Both are then one array of the traced step. Not stacking it twice saves a quarter of what the
    gradient of an LSTM needs (19.8 instead of 26.3 MB at B = 32, T = 100, D = 64, H = 128, by
    `compiled.memory_analysis()`).
    """
    return next((_SameAs(j) for j, d in enumerate(of_z) if d is cotangent), cotangent)


class _Recorder:
    """An `affine` for one call of `recur`, which keeps what it returned.

    Weights come from `_weights`, not from the step, so that none is made again at every step.
    """

    def __init__(self, weights: list[tuple]):
        self.weights, self.products = weights, []

    def __call__(self, x, w, b=None):
        w, bias = self.weights[len(self.products)]
        self.products.append(affine(x, w, b if bias is None else bias))
        return self.products[-1]


class _Replayer:
    """An `affine` for one call of `recur`, which returns the products of the tape.

    It keeps its inputs, and passes the cotangent of a product to its probe and to its inputs, none
    to weights and biases.
    """

    def __init__(self, weights: list[tuple], products: list, probes: list):
        self.weights, self.products, self.probes, self.inputs = weights, products, probes, []

    def __call__(self, x, w, b=None):
        at = len(self.inputs)
        (w, bias), product = self.weights[at], self.products[at]
        self.inputs.append(x)
        rows = None if b is None or bias is not None else jnp.broadcast_to(b, product.shape)
        return _replayed(x, w, rows, self.probes[at], product)


@jax.custom_vjp
def _replayed(x, w, b, probe, product):
    return product


def _replayed_backward(kept, g):
    x, w, b = kept
    (d_x,) = jax.linear_transpose(lambda x: affine(x, w), x)(g)
    return d_x, None, None if b is None else g.astype(b.dtype), g, None


_replayed.defvjp(lambda x, w, b, _, product: (product, (x, w, b)), _replayed_backward)


def _pull_weights(read: jax.Array, weights: tuple, g: jax.Array) -> tuple:
    """Gradients of (w, bias) from inputs [T, B, ..., N] and cotangents [T, B, ..., M]."""
    rows = read.reshape(-1, read.shape[-1])
    pull = jax.linear_transpose(lambda weights: affine(rows, *weights), weights)
    return pull(g.reshape(-1, g.shape[-1]))[0]


def _weights(recur: Recur, params: Any, carry: Any, zs: Any) -> list[tuple]:
    """What a step gives to `affine`, in order: w, and b where it is one [M] for all rows."""
    found: list = []

    def record(x, w, b=None):
        found.append((w, b if b is not None and b.ndim == 1 else None))
        return affine(x, w, b)

    recur(params, carry, jax.tree.map(lambda a: jnp.zeros(a.shape[1:], a.dtype), zs), record)
    return found


def _check_weights(recur: Recur, params: Any, carry: Any, zs: Any) -> None:
    """Raises ValueError if weights depend on the carry or on inputs."""
    traced = jax.make_jaxpr(lambda carry, zs: _weights(recur, params, carry, zs))(carry, zs).jaxpr
    checks.require(
        not any(depend_on(traced, traced.invars)),
        "affine was given weights, or a bias [M], that depend on the carry or the input; expected "
        "them to be made from params alone. Use jnp.matmul for other products.",
    )


def _carry_before(t: jax.Array, carries: Any, first: Any) -> Any:
    def one(stack, start):
        before = jax.lax.dynamic_index_in_dim(stack, jnp.maximum(t - 1, 0), keepdims=False)
        return jnp.where(t == 0, start, before)

    return jax.tree.map(one, carries, first)


def _add(a: Any, b: Any) -> Any:
    return jax.tree.map(jnp.add, a, b)

"""A recurrence over time whose weights get their gradients in one product after the loop.

Differentiating a scan adds one outer product to every weight's gradient at every step. Here the
backward loop carries the cotangents of the products alone and stacks them; each weight's gradient
is then one product over all rows and steps. Appleyard, Kočiský and Blunsom 2016.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seqjax._internal import checks, trees
from seqjax._internal.jaxprs import depend_on
from seqjax.core.products import Affine, affine
from seqjax.core.scan import restart_rows, strong, where_rows

Recur = Callable[[Any, Any, Any, Affine], Any]


def recur_over_time(
    recur: Recur,
    params: Any,
    carry: Any,
    zs: Any,
    mask: Any,
    flags: Any,
    initial: Any,
    offset: jax.Array | None = None,
) -> tuple[Any, Any]:
    """Runs hₜ = recur(params, hₜ₋₁, zₜ, affine) over time-major inputs.

    Args:
      recur: (params, carry, z, affine) -> carry. The weights of what goes through `affine` have
        their gradients deferred; gradients by other uses of params are added up in the loop.
      params: pytree.
      carry: leaves [B, ...]; those that are not floats have no gradient.
      zs: pytree, leaves [T, B, ...].
      mask: [T, B] bool or None; where False the carry is held.
      flags: [T, B] bool or None; where True the carry before the step is `initial`.
      initial: a carry.
      offset: [N], to be added to zs [T, B, N] in the loop, where it costs nothing; None adds none.

    Returns:
      The last carry, and all of them, leaves [T, B, ...].

    Raises:
      ValueError: if weights given to `affine` depend on more than params.
    """
    carry, initial = strong(carry), strong(initial)
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
    return run(params, carry, zs, offset, initial, mask, flags)


def _forward(recur, params, carry, zs, offset, initial, mask, flags):
    """The last carry, and the tape: all carries and the results of all products, [T, B, ...]."""
    weights = _weights(recur, params, carry, zs)

    def body(carry, inputs):
        z, real, restart = inputs
        z = z if offset is None else z + offset
        if restart is not None:
            carry = restart_rows(restart, initial, carry)
        products = []

        def record(x, w, b=None):
            w, bias = weights[len(products)]
            products.append(affine(x, w, b if bias is None else bias))
            return products[-1]

        new = recur(params, carry, z, record)
        new = new if real is None else where_rows(real, new, carry)
        return new, (new, products)

    return jax.lax.scan(body, carry, (zs, mask, flags))


def _backward(recur, arguments, tape, d_last, d_carries):
    """Cotangents of the arguments, none of mask and flags."""
    params, first, zs, offset, initial, mask, flags = arguments
    carries, products = tape
    floats, refill = trees.inexact, trees.with_inexact
    weights, pull_weights = jax.vjp(
        lambda p: _weights(recur, refill(params, p), first, zs), floats(params)
    )
    shared: list = []  # for each product, the float of z whose cotangent is its own as well

    def body(state, inputs):
        d_carry, d_initial, d_params, d_zs = state
        t, d_out, z, products, real, restart = inputs
        z = z if offset is None else z + offset
        before = _carry_before(t, carries, first)
        if restart is not None:
            before = restart_rows(restart, initial, before)
        d_new, d_held = _add(d_carry, d_out), None
        if real is not None:
            d_new, d_held = _divide(real, d_new)

        def replay(p, c, z_floats, probes):
            read, call = _replayer(weights, products, probes)
            new = recur(refill(params, p), refill(before, c), refill(z, z_floats), call)
            return floats(new), read

        primals = (floats(params), floats(before), floats(z), _zeros(products))
        _, pull, read = jax.vjp(replay, *primals, has_aux=True)
        d_here, d_carry, d_z, d_products = pull(d_new)
        d_carry = d_carry if d_held is None else _add(d_carry, d_held)
        if restart is not None:
            d_begun, d_carry = _divide(restart, d_carry)
            d_initial = _add(d_initial, d_begun)
        d_zs = trees.set_index(d_zs, d_z, t)
        d_z = jax.tree.leaves(d_z)
        shared[:] = [next((j for j, d in enumerate(d_z) if d is g), None) for g in d_products]
        own = [g for g, j in zip(d_products, shared, strict=True) if j is None]
        return (d_carry, d_initial, _add(d_params, d_here), d_zs), (own, read)

    inputs = (jnp.arange(jax.tree.leaves(zs)[0].shape[0]), floats(d_carries), zs, products)
    # Every d_zs[t] is written once, so that the buffer of zs, read for the last time, can be it.
    start = (floats(d_last), _zeros(floats(first)), _zeros(floats(params)), floats(zs))
    state, (own, read) = jax.lax.scan(body, start, (*inputs, mask, flags), reverse=True)
    d_carry, d_initial, d_params, d_zs = state
    of_zs, rest = jax.tree.leaves(d_zs), iter(own)
    d_products = [next(rest) if j is None else of_zs[j] for j in shared]
    d_weights = [_pull_weights(*each) for each in zip(read, weights, d_products, strict=True)]
    d_params = _add(d_params, pull_weights(d_weights)[0])
    d_offset = None if offset is None else jnp.sum(d_zs, axis=(0, 1))
    return d_params, d_carry, d_zs, d_offset, d_initial, None, None


def _replayer(weights: list, products: list, probes: list) -> tuple[list, Callable]:
    """An `affine` that gives the products of the tape, and the list of what it was given.

    It passes the cotangent of a product to its probe, and none to the weights and biases.
    """
    read: list = []

    def call(x, w, b=None):
        (w, bias), product, probe = weights[len(read)], products[len(read)], probes[len(read)]
        read.append(x)
        rows = None if b is None or bias is not None else jnp.broadcast_to(b, product.shape)
        return _replayed(x, w, rows, probe, product)

    return read, call


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


def _divide(flags: jax.Array, tree: Any) -> tuple[Any, Any]:
    """The rows where flags [B] are True, and those where they are False; zeros elsewhere."""
    return where_rows(flags, tree, _zeros(tree)), where_rows(flags, _zeros(tree), tree)


def _zeros(tree: Any) -> Any:
    return jax.tree.map(jnp.zeros_like, tree)


def _add(a: Any, b: Any) -> Any:
    return jax.tree.map(jnp.add, a, b)

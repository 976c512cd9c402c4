"""Bad calls of linear recurrences, and the exact text of their errors."""

import jax
import jax.numpy as jnp
import pytest

import seqjax as sj

key = jax.random.key(0)
a, b = jnp.ones((2, 5, 3)), jnp.ones((2, 5, 3))
pair = sj.linear.Complex(b, b)
BAD = {
    "matrix": (
        lambda: sj.linear_scan(jnp.ones((2, 5, 3, 3)), b),
        "a has shape (2, 5, 3, 3), a matrix a step, but b has (2, 5, 3); expected the diagonal, one number a unit. "
        "Change to a basis in which a is diagonal, or scan a step function.",
    ),
    "shape": (
        lambda: sj.linear_scan(jnp.ones((2, 4, 3)), b),
        "a has shape (2, 4, 3); expected one that broadcasts to that of b, (2, 5, 3): [B, T, ...] with axes of size 1 "
        "where it is the same.",
    ),
    "axes": (
        lambda: sj.linear_scan(a, b[0, 0]),
        "b has shape (3,); expected [B, T, ...] with a batch and a time axis.",
    ),
    "complex": (
        lambda: sj.linear_scan(a, jax.lax.complex(b, b)),
        "b has dtype complex64; expected two real arrays for complex numbers. Pass Complex(b.real, b.imag).",
    ),
    "complex a": (
        lambda: sj.linear_scan(pair, b),
        "a is Complex but b is real; expected both of a kind. Pass Complex(b, zeros) as b.",
    ),
    "real h0": (
        lambda: sj.linear_scan(a, pair, jnp.ones((2, 3))),
        "h0 is real but b is Complex; expected the same kind, Complex(h0, zeros) for a real state.",
    ),
    "parts": (
        lambda: sj.linear_scan(a, sj.linear.Complex(b, b[:1])),
        "b has parts of shapes (2, 5, 3), (1, 5, 3); expected one array, or a Complex of two of one shape.",
    ),
    "integers": (
        lambda: sj.linear_scan(a, b.astype(int)),
        "b has dtype int32; expected floating point.",
    ),
    "h0": (
        lambda: sj.linear_scan(a, b, jnp.ones(3)),
        "h0 has shape (3,); expected (2, 3), that of b (2, 5, 3) without time.",
    ),
    "initial": (
        lambda: sj.linear_scan(a, b, reset=jnp.zeros((2, 5), bool), initial=jnp.ones((2, 4))),
        "initial has shape (2, 4); expected (2, 3), that of b (2, 5, 3) without time.",
    ),
    "mask": (
        lambda: sj.linear_scan(a, b, mask=jnp.ones((5, 2), bool)),
        "mask has shape (5, 2); expected [B, T] = (2, 5). Is it time-major? seqjax is batch-major.",
    ),
    "reset": (
        lambda: sj.linear_scan(a, b, reset=jnp.zeros((2, 5))),
        "reset has dtype float32; expected bool [B, T]. Write reset > 0 or reset != 0, whichever you mean.",
    ),
    "method": (
        lambda: sj.linear_scan(a, b, method="parallel"),
        "method is 'parallel'; expected one of 'auto', 'sequential', 'associative', 'chunked'.",
    ),
    "chunk size": (
        lambda: sj.linear_scan(a, b, method="chunked", chunk_size=0),
        "chunk_size is 0; expected an integer of at least 1.",
    ),
    "idle chunk size": (
        lambda: sj.linear_scan(a, b, chunk_size=4),
        "chunk_size is 4 but method is 'auto'; pass method='chunked'.",
    ),
    "size": (lambda: sj.linear.MinGRU(0), "hidden_size is 0; expected an integer of at least 1."),
    "candidate": (
        lambda: sj.linear.MinLSTM(3, candidate="log"),
        "candidate is 'log'; expected one of 'linear', 'positive'.",
    ),
    "method of a cell": (
        lambda: sj.linear.SRU(3, method="newton"),
        "method is 'newton'; expected one of 'auto', 'sequential', 'associative', 'chunked'.",
    ),
    "method of a convolved cell": (
        lambda: sj.linear.QRNN(3, method="fft"),
        "method is 'fft'; expected one of 'auto', 'sequential', 'associative', 'chunked'.",
    ),
    "kernel": (
        lambda: sj.linear.QRNN(3, kernel_size=0),
        "kernel_size is 0; expected an integer of at least 1.",
    ),
    "activation": (
        lambda: sj.linear.SRU(3, activation="tan"),
        "activation is 'tan'; expected a name in jax.nn such as 'tanh', 'relu' or 'sigmoid', or "
        "an elementwise function.",
    ),
    "forget bias": (
        lambda: sj.linear.MinLSTM(3, forget_bias=float("inf")),
        "forget_bias is inf; expected a finite number.",
    ),
    "ring": (
        lambda: sj.linear.LRU(3, min_radius=0.9, max_radius=0.5),
        "min_radius is 0.9 and max_radius 0.5; expected 0 <= min_radius < max_radius <= 1.",
    ),
    "unstable ring": (
        lambda: sj.linear.RGLRU(3, max_radius=1.1),
        "min_radius is 0.9 and max_radius 1.1; expected 0 <= min_radius < max_radius <= 1.",
    ),
    "phase": (
        lambda: sj.linear.LRU(3, max_phase=360),
        "max_phase is 360.0; expected an angle in (0, 2π], in radians.",
    ),
    "spectrum": (
        lambda: sj.linear.S5(3, spectrum="lin"),
        "spectrum is 'lin'; expected one of 'hippo', 'linear'.",
    ),
    "steps": (
        lambda: sj.linear.S5(3, min_step=0.1, max_step=0.01),
        "min_step is 0.1 and max_step 0.01; expected 0 < min_step <= max_step.",
    ),
    "zero step": (
        lambda: sj.linear.Mamba(3, min_step=0.0),
        "min_step is 0.0 and max_step 0.1; expected 0 < min_step <= max_step.",
    ),
    "remat": (
        lambda: sj.linear.Mamba(3, remat=0),
        "remat is 0; expected an integer of at least 1.",
    ),
    "tokens": (
        lambda: sj.unroll(
            sj.linear.QRNN(3), sj.linear.QRNN(3).init(key, 2), jnp.ones((1, 4, 2), int)
        ),
        "xs is int32[1, 4, 2]; expected floats [..., 2], the size that these params were "
        "initialised for. Embed or one-hot tokens first.",
    ),
    "width": (
        lambda: sj.unroll(sj.linear.RGLRU(), sj.linear.RGLRU().init(key, 2), jnp.ones((1, 4, 3))),
        "xs has width 3 but meets weights [2, 4]; expected width 2, the size that these params "
        "were initialised for.",
    ),
    "complex carry": (
        lambda: sj.unroll(
            sj.linear.LRU(3),
            sj.linear.LRU(3).init(key, 2),
            jnp.ones((1, 4, 2)),
            carry=jnp.ones((1, 3), complex),
        ),
        "carry has structure PyTreeDef(*); expected PyTreeDef(CustomNode(namedtuple[Complex], "
        "[*, *])), as LRU.initial_carry(params, B) makes it.",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_call_says_what_is_wrong(name):
    call, text = BAD[name]
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value) == text

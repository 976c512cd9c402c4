"""Activation functions, held by name where they have one."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from seqjax._internal import checks

Activation = str | Callable[[jax.Array], jax.Array]


def named_activation(activation: Activation, argument: str = "activation") -> Activation:
    """Turns a function of `jax.nn` into its name, so that the spec's repr evaluates.

    Raises:
      ValueError: if a name is not in `jax.nn`, or what came is neither name nor function.
    """
    if isinstance(activation, str):
        known = callable(getattr(jax.nn, activation, None))
        checks.require(
            known,
            f"{argument} is {activation!r}; expected a name in jax.nn such as 'tanh', 'relu' or "
            "'sigmoid', or an elementwise function.",
        )
        return activation
    checks.require(
        callable(activation),
        f"{argument} is {activation!r}; expected a name in jax.nn or an elementwise function.",
    )
    name = getattr(activation, "__name__", "")
    same = activation in (getattr(jax.nn, name, None), getattr(jnp, name, None))
    return name if same and hasattr(jax.nn, name) else activation


def activation_function(activation: Activation) -> Callable[[jax.Array], jax.Array]:
    """The function that a name in `jax.nn` stands for."""
    return getattr(jax.nn, activation) if isinstance(activation, str) else activation


# The quotient of polynomials by which Eigen and XLA compute tanh in float32, highest power first
# (Eigen, generic_fast_tanh_float), and where it reaches 1.
TANH_NUMERATOR = (
    -2.76076847742355e-16,
    2.00018790482477e-13,
    -8.60467152213735e-11,
    5.12229709037114e-08,
    1.48572235717979e-05,
    6.37261928875436e-04,
    4.89352455891786e-03,
)
TANH_DENOMINATOR = (
    1.19825839466702e-06,
    1.18534705686654e-04,
    2.26843463243900e-03,
    4.89352518554385e-03,
)
TANH_BOUND = 7.90531110763549805


@jax.custom_jvp
def tanh(a: jax.Array) -> jax.Array:
    """tanh(a); on a CPU in float32 spelled out, with an absolute error of at most 4e-7.

    For a tanh of a tanh, as in `GRU`: XLA's CPU compiler leaves the loop that computes both from
    its own tanh without vector instructions (measured: 45 us a step for [32, 128], these
    polynomials 1 us).
    """
    if a.dtype != jnp.float32:
        return jnp.tanh(a)
    return jax.lax.platform_dependent(a, cpu=_tanh_by_polynomials, default=jnp.tanh)


def _tanh_by_polynomials(a: jax.Array) -> jax.Array:
    x = jnp.clip(a, -TANH_BOUND, TANH_BOUND)
    square = x * x
    return x * _horner(TANH_NUMERATOR, square) / _horner(TANH_DENOMINATOR, square)


@tanh.defjvp
def _tanh_jvp(primals, tangents):
    y = tanh(*primals)
    return y, (1 - y * y) * tangents[0]


def _horner(coefficients: tuple[float, ...], x: jax.Array) -> jax.Array:
    total = jnp.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        total = total * x + coefficient
    return total


def sigmoid(a: jax.Array) -> jax.Array:
    """σ(a) = (1 + tanh(a / 2)) / 2, several times cheaper on a CPU than by an exponential."""
    return 0.5 * jnp.tanh(0.5 * a) + 0.5


GATE = "gate "  # what the names of gates begin with in a traced step


def name_gate(gate: jax.Array, name: str) -> jax.Array:
    """A gate's values [..., H] as they are, marked for `gate_values` and `gate_saturation`.

    A cell of your own writes `f = sj.cells.name_gate(jax.nn.sigmoid(a), "f")`. The mark compiles
    to nothing; see `jax.ad_checkpoint.checkpoint_name`. For how to read such values, see Karpathy,
    Johnson and Fei-Fei 2016.

    Args:
      gate: [..., H] in 0..1.
      name: a word, such as "f".

    Returns:
      gate.

    Raises:
      ValueError: if name is not a word.

    Example:
      >>> class Leaky:
      ...     def init(self, key, input_size):
      ...         return jnp.zeros(input_size)
      ...     def initial_carry(self, params, batch_size, key=None):
      ...         return jnp.zeros((batch_size, *params.shape))
      ...     def step(self, params, carry, x):
      ...         f = name_gate(jax.nn.sigmoid(params + x), "f")
      ...         return f * carry + (1 - f) * x, carry
      >>> import seqjax as sj
      >>> gates = sj.diagnostics.gate_values(Leaky(), jnp.zeros(1), jnp.zeros((1, 2, 1)))
      >>> print(gates["f"][0, :, 0])
      [0.5 0.5]
    """
    ok = isinstance(name, str) and name != "" and name == "".join(name.split())
    checks.require(ok, f"name is {name!r}; expected a word, such as 'f'.")
    return checkpoint_name(gate, GATE + name)


def squash(a: jax.Array, kinds: str, names: str) -> list[jax.Array]:
    """The gates in a [..., N H], N = len(kinds): "s" for σ, "t" for tanh; one tanh over all.

    Those of σ are named by `name_gate`, by a letter each.
    """
    halves = np.repeat([0.5 if kind == "s" else 1.0 for kind in kinds], a.shape[-1] // len(kinds))
    blocks = jnp.split(jnp.tanh(a * halves.astype(a.dtype)), len(kinds), axis=-1)
    return [
        name_gate(0.5 * block + 0.5, name) if kind == "s" else block
        for kind, name, block in zip(kinds, names, blocks, strict=True)
    ]

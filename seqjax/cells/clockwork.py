"""The recurrent network whose modules run at different speeds."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np

from seqjax._internal import checks
from seqjax.cells.activations import Activation, activation_function, named_activation
from seqjax.core.products import Affine
from seqjax.core.recurrent import RecurrentCell
from seqjax.initializers.weights import GlorotUniform, Initializer, Orthogonal


class ClockworkParams(NamedTuple):
    """The params of `ClockworkRNN`.

    Fields:
      w_x: [D, H] of the inputs.
      w_h: [H, H] of the state, from the unit of the row to that of the column. What a faster
        module would send to a slower one is not read: it starts at 0, and its gradient stays 0.
      b: [H].
    """

    w_x: jax.Array
    w_h: jax.Array
    b: jax.Array


class ClockworkCarry(NamedTuple):
    """The state of a `ClockworkRNN`.

    Fields:
      h: [B, H] hidden state, in the dtype of the params.
      step: [B] int32, steps taken since the row's sequence began.
    """

    h: jax.Array
    step: jax.Array


@final
@dataclass(frozen=True)
class ClockworkRNN(RecurrentCell):
    """Modules that update every so many steps; slower ones feed faster ones. Koutník et al. 2014.

        h̃ₜ = act(xₜ w_x + hₜ₋₁ (w_h ⊙ M) + b)
        hₜ = h̃ₜ in modules whose period divides t, hₜ₋₁ elsewhere;   yₜ = hₜ,   t = 0, 1, ...

    M[j, i] is 1 where the period of unit j is at least that of unit i. The paper's matrix, for
    columns, is block upper triangular; this one, for rows, is its transpose. Every module updates
    at the first step. Units that keep their state are computed all the same, so the cell saves no
    time.

    The carry is `ClockworkCarry`: h [B, H] and the row's own count of steps. It restarts at a
    reset and stands still at padding.

    Attributes:
      hidden_size: H, shared equally among the modules, in the order of the periods.
      periods: a module each, in steps, increasing.
      activation: a function of `jax.nn` by name, or any elementwise function.
      w_x_init: initialiser of w_x [D, H].
      w_h_init: initialiser of w_h [H, H]; entries that M leaves out are set to 0.

    Raises:
      ValueError: if hidden_size, a period, or input_size in `init`, is not a positive integer,
        periods is empty, does not increase or ends beyond int32, hidden_size is no multiple of
        their number, activation is unknown, or in a step if inputs are not floats [..., D].

    Example:
      >>> cell = ClockworkRNN(hidden_size=6, periods=(1, 2, 4))
      >>> params = cell.init(jax.random.key(0), input_size=2)
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params, 3), jnp.ones((3, 5, 2)))
      >>> ys.shape, carry.step.tolist()
      ((3, 5, 6), [5, 5, 5])
    """

    hidden_size: int
    _: KW_ONLY
    periods: Sequence[int] = (1, 2, 4, 8)
    activation: Activation = "tanh"
    w_x_init: Initializer = GlorotUniform()
    w_h_init: Initializer = Orthogonal()

    def __post_init__(self):
        checks.hold_ints(self, "hidden_size")
        object.__setattr__(self, "activation", named_activation(self.activation))
        checks.require(
            isinstance(self.periods, (tuple, list)) and len(self.periods) > 0,
            f"periods is {self.periods!r}; expected a tuple of at least one number of steps.",
        )
        each = enumerate(self.periods)
        periods = tuple(checks.positive_int(f"periods[{i}]", period) for i, period in each)
        checks.require(
            all(a < b for a, b in zip(periods[:-1], periods[1:], strict=True)),
            f"periods is {self.periods!r}; expected them to increase, the fastest module first.",
        )
        checks.require(
            periods[-1] < 2**31,
            f"periods is {self.periods!r}; expected numbers of steps that fit an int32.",
        )
        checks.require(
            self.hidden_size % len(periods) == 0,
            f"hidden_size is {self.hidden_size} for {len(periods)} periods; expected a multiple of "
            f"{len(periods)}, as all modules are equally large.",
        )
        object.__setattr__(self, "periods", periods)

    def init(self, key: jax.Array, input_size: int) -> ClockworkParams:
        """Draws `ClockworkParams` for inputs [..., D]; b is 0."""
        checks.positive_int("input_size", input_size)
        size = self.hidden_size
        key_x, key_h = jax.random.split(key)
        w_h = self.w_h_init(key_h, (size, size))
        return ClockworkParams(
            w_x=self.w_x_init(key_x, (input_size, size)),
            w_h=w_h * self._allowed(w_h.dtype),
            b=jnp.zeros(size),
        )

    def initial_carry(self, params: ClockworkParams, batch_size: int, key=None) -> ClockworkCarry:
        """h = 0 [B, H], step = 0 [B]."""
        h = jnp.zeros((batch_size, params.w_h.shape[0]), params.w_h.dtype)
        return ClockworkCarry(h, jnp.zeros(batch_size, jnp.int32))

    def recur(
        self, params: ClockworkParams, carry: ClockworkCarry, z: jax.Array, affine: Affine
    ) -> ClockworkCarry:
        """The next h [B, H] and step [B], given z [B, H]."""
        act = activation_function(self.activation)
        new = act(affine(carry.h, params.w_h * self._allowed(params.w_h.dtype), z))
        due = carry.step[:, None] % jnp.asarray(self._unit_periods(), jnp.int32) == 0
        h = jnp.where(due, new.astype(carry.h.dtype), carry.h)
        return ClockworkCarry(h, carry.step + jnp.ones((), jnp.int32))

    def output(self, params: ClockworkParams, carry: ClockworkCarry) -> jax.Array:
        """h [B, H], the output."""
        return carry.h

    def _unit_periods(self) -> np.ndarray:
        """The period of each unit, [H]."""
        return np.repeat(self.periods, self.hidden_size // len(self.periods))

    def _allowed(self, dtype) -> jax.Array:
        """M [H, H]: 1 where the row's unit may feed the column's, else 0."""
        periods = self._unit_periods()
        return jnp.asarray(periods[:, None] >= periods, dtype)

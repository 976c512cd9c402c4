"""How fast scheduled sampling leaves the truth: ε, the probability of a true input, by step.

Each is a function of the step as optax's schedules are, and a value: equal ones are equal. In the
paper's terms i is the number of updates done; it is saved with the training state (`step`).
"""

from dataclasses import dataclass
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np

from seqjax._internal import checks


@final
@dataclass(frozen=True)
class LinearDecay:
    """ε falls by the same amount each step, to a floor.

        εᵢ = max(ε, k - c i),   at most 1

    Bengio, Vinyals, Jaitly and Shazeer 2015, section 2.4.

    Attributes:
      offset: k, in [0, 1].
      slope: c, at least 0, probability a step.
      floor: ε, in [0, offset], the truth that the model is given to the end.

    Raises:
      ValueError: if a number is out of range; when called, for a step < 0 whose value is known.
        Under `jit` such a step counts as 0.

    Example:
      >>> epsilon = LinearDecay(1.0, slope=0.01, floor=0.25)
      >>> print(epsilon(jnp.array([0, 50, 1000])))  # any shape [...]
      [1.   0.5  0.25]
    """

    offset: float = 1.0
    slope: float = 1e-3
    floor: float = 0.0

    def __post_init__(self):
        checks.hold_numbers(self, "offset", "slope", "floor")
        checks.require(
            0 <= self.floor <= self.offset <= 1,
            f"floor is {self.floor!r} and offset {self.offset!r}; expected probabilities with "
            "0 <= floor <= offset <= 1.",
        )
        checks.require(
            self.slope >= 0, f"slope is {self.slope!r}; expected a number of at least 0."
        )

    def __call__(self, step: Any) -> jax.Array:
        """ε at steps [...], float32."""
        return jnp.maximum(self.floor, self.offset - self.slope * check_step_number(step))


@final
@dataclass(frozen=True)
class ExponentialDecay:
    """ε falls by the same factor each step.

        εᵢ = kⁱ

    Bengio, Vinyals, Jaitly and Shazeer 2015, section 2.4.

    Attributes:
      base: k, in (0, 1).

    Raises:
      ValueError: if base is out of range; when called, for a step < 0 whose value is known. Under
        `jit` such a step counts as 0.

    Example:
      >>> epsilon = ExponentialDecay(0.99)(jnp.array([0, 100]))  # any shape [...]
      >>> [round(float(e), 3) for e in epsilon]
      [1.0, 0.366]
    """

    base: float

    def __post_init__(self):
        checks.hold_numbers(self, "base")
        checks.require(
            0 < self.base < 1, f"base is {self.base!r}; expected a number with 0 < base < 1."
        )

    def __call__(self, step: Any) -> jax.Array:
        """ε at steps [...], float32."""
        return jnp.exp(check_step_number(step) * float(np.log(self.base)))


@final
@dataclass(frozen=True)
class InverseSigmoidDecay:
    """ε stays near 1, then falls like a logistic function.

        εᵢ = k / (k + exp(i / k)) = σ(log k - i / k),   1/2 at i = k log k

    Bengio, Vinyals, Jaitly and Shazeer 2015, section 2.4.

    Attributes:
      k: at least 1, in steps: how late and how slowly it falls.

    Raises:
      ValueError: if k is below 1; when called, for a step < 0 whose value is known. Under `jit`
        such a step counts as 0.

    Example:
      >>> epsilon = InverseSigmoidDecay(100.0)(jnp.array([0, 461, 1000]))  # any shape [...]
      >>> [round(float(e), 3) for e in epsilon]
      [0.99, 0.499, 0.005]
    """

    k: float

    def __post_init__(self):
        checks.hold_numbers(self, "k")
        checks.require(self.k >= 1, f"k is {self.k!r}; expected a number of steps of at least 1.")

    def __call__(self, step: Any) -> jax.Array:
        """ε at steps [...], float32."""
        return jax.nn.sigmoid(float(np.log(self.k)) - check_step_number(step) / self.k)


def check_step_number(step: Any) -> jax.Array:
    """Steps [...] as float32, those below 0 refused where they are known, else taken for 0."""
    known = checks.concrete(step)
    checks.require(
        known is None or bool(np.all(known >= 0)),
        f"step is {step!r}; expected a number of steps of at least 0.",
    )
    return jnp.maximum(jnp.asarray(step, jnp.float32), 0)

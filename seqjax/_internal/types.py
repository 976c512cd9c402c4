"""What signatures take and give, by name: a pytree's type cannot say more than `Any`."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax

Tree: TypeAlias = Any  # any pytree of arrays
Params: TypeAlias = Any  # a pytree of arrays, as `init` draws it
Carry: TypeAlias = Any  # a pytree whose leaves lead with the batch axis
Tokens: TypeAlias = jax.Array  # integer ids, [B] or [B, T]
Logits: TypeAlias = jax.Array  # floats, [..., V]
Step: TypeAlias = Callable[[Carry, Any], tuple[Carry, Any]]  # (carry, x) -> (carry, y)

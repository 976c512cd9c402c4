"""Broadcasting inside of public functions, whatever a caller forbids in its own code."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax

Args = ParamSpec("Args")
Result = TypeVar("Result")


def own_ranks(function: Callable[Args, Result]) -> Callable[Args, Result]:
    """Lets a function broadcast as it likes: `jax_numpy_rank_promotion` is for callers' code."""

    @functools.wraps(function)
    def allowed(*args: Args.args, **kwargs: Args.kwargs) -> Result:
        with jax.numpy_rank_promotion("allow"):
            return function(*args, **kwargs)

    return allowed

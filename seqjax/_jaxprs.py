"""What depends on what in a traced program."""

from collections.abc import Iterable
from typing import Any


def depend_on(jaxpr: Any, variables: Iterable[Any]) -> list[bool]:
    """Whether each result of a jaxpr depends on one of its variables."""
    found = {id(var) for var in variables}  # constants in place of variables cannot be hashed
    for equation in jaxpr.eqns:
        if any(id(var) in found for var in equation.invars):
            found |= {id(var) for var in equation.outvars}
    return [id(var) in found for var in jaxpr.outvars]

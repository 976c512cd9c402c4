"""What depends on what in a traced program, and what stands in it under a name."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
from jax.extend.core import Literal

# Primitives that do what the program inside of them does.
CALLS = {"jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "checkpoint", "remat2"}


def depend_on(jaxpr: Any, variables: Iterable[Any]) -> list[bool]:
    """Whether each result of a jaxpr depends on one of its variables."""
    found = {id(var) for var in variables}  # constants in place of variables cannot be hashed
    for equation in jaxpr.eqns:
        if any(id(var) in found for var in equation.invars):
            found |= {id(var) for var in equation.outvars}
    return [id(var) in found for var in jaxpr.outvars]


def named_values(function: Callable, prefix: str) -> Callable:
    """The function, with what it named by `checkpoint_name` as a second result.

    That is a dict of the values whose names begin with the prefix, which is cut off; of equal names
    the second is "name 2". Calls are looked into, loops and branches are not.
    """

    def run(*args):
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*args)
        found: dict[str, Any] = {}

        def keep(name, value):
            if name.startswith(prefix):
                name = name.removeprefix(prefix)
                others = sum(other.partition(" ")[0] == name for other in found)
                found[f"{name} {others + 1}" if others else name] = value

        results = _evaluate(closed.jaxpr, closed.consts, jax.tree.leaves(args), keep)
        return jax.tree.unflatten(jax.tree.structure(shape), results), found

    return run


def _evaluate(jaxpr: Any, consts: Any, args: Any, keep: Callable) -> list[Any]:
    """The results of a jaxpr; every named value is shown to keep(name, value)."""
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))
    read = lambda var: var.val if isinstance(var, Literal) else values[var]
    for equation in jaxpr.eqns:
        inputs = [read(var) for var in equation.invars]
        inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
        if equation.primitive.name in CALLS and inner is not None:
            jaxpr_of = getattr(inner, "jaxpr", inner)
            results = _evaluate(jaxpr_of, getattr(inner, "consts", ()), inputs, keep)
        else:
            bound = equation.primitive.get_bind_params(equation.params)
            functions, params = bound if isinstance(bound, tuple) else ((), bound)
            results = equation.primitive.bind(*functions, *inputs, **params)
            results = results if equation.primitive.multiple_results else [results]
        if equation.primitive.name == "name":
            keep(equation.params["name"], results[0])
        values.update(zip(equation.outvars, results, strict=True))
    return [read(var) for var in jaxpr.outvars]

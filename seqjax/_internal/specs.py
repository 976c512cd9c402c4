"""What all specs with params share: settings by name, and params checked at the door."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqjax._internal import checks

DOORS = ("initial_carry", "step", "unroll")
SIZES = (1009, 1013, 1019, 1021)  # sizes of inputs that no layer has by chance


class Spec:
    """The base of a frozen dataclass that draws params in `init` and takes them elsewhere.

    It refuses calls that would compute something other than what was meant. A second positional
    argument: other libraries put the size of the input there. Params that this spec's `init`
    cannot have drawn: each method named in `doors` compares their structure and shapes with what
    `init` draws for any size of input. Only shapes are looked at, and the answer is remembered, so
    that a compiled program does not pay and a loop of steps pays microseconds. And in `init` keys
    without a type, as everywhere else.

    Its methods broadcast as they like: `jax_numpy_rank_promotion` is for the caller's own code.

    A subclass names its doors, methods whose first argument is params:

        class AdaptiveSoftmax(Spec, doors=("log_probs", "losses")): ...

    Raises:
      TypeError: for more positional arguments than the spec takes.
      ValueError: from a door, for params of another spec; from `init`, for a key without a type;
        from `step`, for a carry of other rows than the inputs'.
    """

    def __new__(cls, *args: Any, **kwargs: Any):
        """Refuses positional arguments behind the first ones."""
        if args:
            _check_positional(cls, args)
        return super().__new__(cls)

    def __init_subclass__(cls, doors: tuple[str, ...] = DOORS, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        if "init" in vars(cls):
            cls.init = _keyed(vars(cls)["init"])
        for name in doors:
            if inspect.isfunction(vars(cls).get(name)):
                door = _stepped if name == "step" else _checked
                setattr(cls, name, door(vars(cls)[name]))


def _check_positional(cls: type, args: tuple) -> None:
    kinds = [p for p in inspect.signature(cls.__init__).parameters.values()][1:]
    names = [p.name for p in kinds if p.kind is p.POSITIONAL_OR_KEYWORD]
    if len(args) <= len(names) or any(p.kind is p.VAR_POSITIONAL for p in kinds):
        return
    shown, kept = ", ".join(map(_brief, args)), " and ".join(names) or "none"
    if any(checks.is_positive_int(arg) for arg in args[len(names) :]):
        where = f"init(key, {', '.join(_sizes(cls))})"
        remedy = f"The size of the inputs is no part of a spec: it goes to {where}."
    elif names == ["cells"]:
        remedy = f"Write {cls.__name__}((a, b))."
    else:
        others = [p.name for p in kinds if p.kind is p.KEYWORD_ONLY]
        remedy = f"Those are {', '.join(others)}." if others else "There are no others."
    raise TypeError(
        f"{cls.__name__}({shown}) was given {len(args)} arguments by position; expected {kept}, "
        f"and the rest by name. {remedy}"
    )


def _sizes(spec: Any) -> list[str]:
    """The names of the sizes that an `init` takes after its key."""
    names = inspect.signature(spec.init).parameters
    return [name for name in names if name not in ("self", "key")]


def _keyed(init: Callable) -> Callable:
    @functools.wraps(init)
    def keyed(self, key, *args, **kwargs):
        checks.key(key)
        with jax.numpy_rank_promotion("allow"):
            return init(self, key, *args, **kwargs)

    return keyed


def _checked(method: Callable) -> Callable:
    @functools.wraps(method)
    def checked(self, params, *args, **kwargs):
        check_params(self, params)
        with jax.numpy_rank_promotion("allow"):
            return method(self, params, *args, **kwargs)

    return checked


def _stepped(method: Callable) -> Callable:
    checked = _checked(method)

    @functools.wraps(method)
    def stepped(self, params, carry, x):
        _check_rows(carry, x)
        return checked(self, params, carry, x)

    return stepped


def _check_rows(carry: Any, x: Any) -> None:
    """Raises ValueError where a carry and inputs [B, ...] differ in B, and would be broadcast."""
    sizes = {jnp.shape(leaf)[0] for leaf in jax.tree.leaves(x) if jnp.ndim(leaf) > 1}
    for path, leaf in jax.tree_util.tree_leaves_with_path(carry) if len(sizes) == 1 else ():
        shape = jnp.shape(leaf)
        checks.require(
            shape[:1] in ((), tuple(sizes)),
            f"carry{jax.tree_util.keystr(path)} has {next(iter(shape), None)} rows but x has "
            f"{min(sizes)}; expected as many. Start it by initial_carry(params, {min(sizes)}).",
        )


def check_params(spec: Any, params: Any) -> None:
    """Raises ValueError unless params have the form that `spec.init` gives them.

    Structure, shapes and the kind of number must agree, for some size of inputs; dtypes and values
    are free. Where `init` does not tell, because it fails for inputs of another size than its own,
    everything passes.
    """
    leaves, structure = jax.tree.flatten(params)
    try:
        hash(spec)
    except TypeError:
        return  # there is nothing to remember the answer by
    message = _misfit(spec, structure, tuple(map(_form, leaves)))
    checks.require(message is None, message or "")


def tells_its_params(spec: Any) -> bool:
    """Whether `init` takes any sizes of input, so that `check_params` can compare."""
    return _pattern(spec) is not None


@dataclasses.dataclass(frozen=True)
class _Form:
    """The form of an array; a size of None is one that depends on the inputs."""

    shape: tuple[int | None, ...]
    dtype: Any


def _form(leaf: Any) -> _Form:
    if hasattr(leaf, "shape") and hasattr(leaf, "dtype"):
        return _Form(tuple(leaf.shape), leaf.dtype)
    return _Form(np.shape(leaf), np.asarray(leaf).dtype)


@functools.lru_cache(maxsize=1024)
def _misfit(spec: Any, structure: Any, forms: tuple[_Form, ...]) -> str | None:
    """What is wrong with params of this form, or None."""
    params, pattern = jax.tree.unflatten(structure, forms), _pattern(spec)
    found = None if pattern is None else _difference("params", params, pattern)
    if found is None:
        return None
    # Some draw other params where inputs are as wide as the state.
    for size in {size for form in forms for size in form.shape}:
        drawn = _drawn(spec, (size,) * len(_sizes(spec)))
        if drawn is not None and _difference("params", params, drawn) is None:
            return None
    if isinstance(params, _Form) and not isinstance(pattern, _Form):
        remedy = "Is it another argument? params come first of a method's, and second of unroll's."
    else:
        remedy = (
            "Pass the params that this spec's own init drew, or run these with the spec that they "
            "were drawn by."
        )
    return f"{found}, as {_brief(spec)}.init draws it. {remedy}"


def _pattern(spec: Any) -> Any:
    """The params of a spec as `_Form`s, None where `init` does not tell."""
    count = len(_sizes(spec))
    each = (SIZES[:count], SIZES[-count:]), ((SIZES[0],) * count, (SIZES[-1],) * count)
    for one, other in each:  # of different sizes, or of equal ones where it takes no others
        drawn = _drawn(spec, one), _drawn(spec, other)
        if None not in drawn and jax.tree.structure(drawn[0]) == jax.tree.structure(drawn[1]):
            return jax.tree.map(_common, *drawn)
    return None


def _common(one: _Form, other: _Form) -> _Form:
    pairs = zip(one.shape, other.shape, strict=True)
    return _Form(tuple(a if a == b else None for a, b in pairs), one.dtype)


@functools.lru_cache(maxsize=1024)
def _drawn(spec: Any, sizes: tuple[int, ...]) -> Any:
    """What `init` draws for inputs of these sizes, as `_Form`s; nothing is computed."""
    try:
        return jax.tree.map(_form, jax.eval_shape(lambda: spec.init(jax.random.key(0), *sizes)))
    except Exception:  # what a spec of one's own says to sizes that it was not made for
        return None


def _difference(where: str, got: Any, want: Any) -> str | None:
    """The first place where params differ from what was drawn, in words."""
    if isinstance(got, _Form) and isinstance(want, _Form):
        return _array_difference(where, got, want)
    if got is None and want is None:
        return None
    parts, own = _children(got), _children(want)
    if type(got) is not type(want) or [path for path, _ in parts] != [path for path, _ in own]:
        return f"{where} is {_named(got)}; expected {_named(want)}"
    pairs = zip(parts, own, strict=True)
    found = (_difference(where + path, a, b) for (path, a), (_, b) in pairs)
    return next((text for text in found if text is not None), None)


def _array_difference(where: str, got: _Form, want: _Form) -> str | None:
    if jnp.issubdtype(want.dtype, jnp.inexact) and not jnp.issubdtype(got.dtype, jnp.inexact):
        return f"{where} has dtype {got.dtype}; expected floating point"
    pairs = zip(got.shape, want.shape, strict=False)
    if len(got.shape) == len(want.shape) and all(size in (None, own) for own, size in pairs):
        return None
    return f"{where} has shape {_shown(got)}; expected {_shown(want)}"


def _children(node: Any) -> list[tuple[str, Any]]:
    """The children of a node of a tree, by path."""
    children, _ = jax.tree_util.tree_flatten_with_path(node, is_leaf=lambda x: x is not node)
    return [(jax.tree_util.keystr(path), child) for path, child in children]


def _named(node: Any) -> str:
    """What stands at a place of params, in words."""
    if node is None:
        return "None"
    if isinstance(node, _Form):
        return f"an array {_shown(node)}"
    name = type(node).__name__
    return f"a {name} of {len(node)}" if type(node) in (tuple, list, dict) else name


def _shown(form: _Form) -> str:
    return f"[{', '.join('any' if size is None else str(size) for size in form.shape)}]"


def _brief(value: Any) -> str:
    """The repr of a spec without the settings that are the usual ones."""
    if isinstance(value, tuple):
        return f"({', '.join(map(_brief, value))})"
    if not (isinstance(value, Spec) and dataclasses.is_dataclass(value)):
        return repr(value)
    fields = [(field, getattr(value, field.name)) for field in dataclasses.fields(value)]
    shown = [f"{field.name}={_brief(own)}" for field, own in fields if own != field.default]
    return f"{type(value).__name__}({', '.join(shown)})"

"""What makes two values the same: the checksum of an array, the fields of a spec."""

import dataclasses
import enum
import functools
import hashlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqjax._internal import checks

_PLAIN = {type(None), bool, int, float, complex, str, bytes}


def array_checksum(array: np.ndarray) -> str:
    """The SHA-256 of an array's dtype, shape and bytes, in hexadecimal."""
    checksum = hashlib.sha256(f"{array.dtype}{array.shape}".encode())
    checksum.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return checksum.hexdigest()


def spec_fields(spec: Any) -> dict[str, str]:
    """A text for each value in a spec by its path, such as `spec.cells[0].hidden_size`.

    Two specs have equal texts only if they have equal content: a number's text is exact, and an
    array's has its checksum. A dataclass is known by its name without the module, so that it may
    move. Fields that a dataclass does not compare are left out.

    Raises:
      ValueError: if another process cannot recognise a value, such as a lambda.
    """
    return dict(_fields("spec", spec))


def first_difference(saved: dict[str, str], expected: dict[str, str]) -> str:
    """A clause about the first path whose texts differ, empty where none does."""
    for path in {**expected, **saved}:
        there, here = saved.get(path, "nothing"), expected.get(path, "nothing")
        if there != here:
            return f"{path}: saved {there}, expected {here}"
    return ""


def _fields(path: str, value: Any) -> Iterator[tuple[str, str]]:
    parts = _parts(path, value)
    yield path, _text(path, value) if parts is None else type(value).__qualname__
    for step, part in (parts or {}).items():
        yield from _fields(path + step, part)


def _parts(path: str, value: Any) -> dict[str, Any] | None:
    """What a value is made of, None where it is made of nothing."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value) if field.compare]
        return {f".{name}": getattr(value, name) for name in names}
    if isinstance(value, functools.partial):
        return {".func": value.func, ".args": value.args, ".keywords": value.keywords}
    names = getattr(value, "_fields", None)
    if isinstance(value, tuple) and names is not None:
        return {f".{name}": part for name, part in zip(names, value, strict=True)}
    if isinstance(value, (set, frozenset)):
        value = sorted(value, key=lambda part: list(_fields(path, part)))
    if isinstance(value, (tuple, list)):
        return {f"[{i}]": part for i, part in enumerate(value)}
    if isinstance(value, Mapping) and all(type(key) in _PLAIN for key in value):
        return {f"[{key!r}]": part for key, part in value.items()}
    return None


def _text(path: str, value: Any) -> str:
    if type(value) in _PLAIN:
        return repr(value)
    if isinstance(value, enum.Enum):
        return f"{type(value).__qualname__}.{value.name}"
    if isinstance(value, np.dtype):
        return f"dtype {value}"
    if isinstance(value, np.generic):
        return f"{value.dtype} {value.item()!r}"
    if isinstance(value, (np.ndarray, jax.Array)):
        is_key = jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
        array = np.asarray(jax.random.key_data(value) if is_key else value)
        if not array.dtype.hasobject:
            return f"{value.dtype}{list(value.shape)} sha256 {array_checksum(array)}"
    module = str(getattr(value, "__module__", None))
    name = str(getattr(value, "__qualname__", None) or getattr(value, "__name__", None))
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    checks.require(
        found is value,
        f"{path} is {value!r}, which another process cannot recognise; expected numbers, strings, "
        "arrays, functions and classes that can be imported, or dataclasses, lists and dicts of "
        "those. Declare a field that does not matter with dataclasses.field(compare=False).",
    )
    return f"{module}.{name}"

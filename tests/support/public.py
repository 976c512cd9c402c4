"""The public names of every room: what the docstrings promise and what belongs to the contract."""

import inspect
from types import ModuleType
from typing import Any

import seqjax as sj


def rooms() -> dict[str, ModuleType]:
    """The public rooms by name."""
    found = {name: getattr(sj, name) for name in sj.__all__}
    return {name: value for name, value in found.items() if inspect.ismodule(value)}


def public_names(room: ModuleType) -> dict[str, Any]:
    """What a room publishes: its `__all__`, or what its `__init__` imports from its files."""
    names = getattr(room, "__all__", [name for name in vars(room) if not name.startswith("_")])
    found = {name: getattr(room, name) for name in names}
    return {name: value for name, value in found.items() if not inspect.ismodule(value)}

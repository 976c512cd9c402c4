"""Imports run one way: what lies lower never imports what lies higher."""

import ast
from pathlib import Path

from support.public import public_names, rooms

import seqjax

ROOT = Path(seqjax.__file__).parent
FLOORS = [
    {"_internal"},
    {"core", "data", "initializers"},
    {"attention", "cells", "losses", "newton", "training"},
    {"decoding", "gradients", "linear", "metrics"},
    {"objectives"},
    {"diagnostics"},
    {"testing"},
]
SHELVES = [  # of decoding, by the same rule
    {"automata", "engine"},
    {"lattices", "processors", "steps"},
    {"beam", "particles", "sampling"},
    {"selection"},
]


def floor(module: str, floors: list[set[str]] = FLOORS, package: str = "seqjax") -> int:
    """The floor of `package.NAME...`; the package itself stands above all."""
    rest = module.removeprefix(package).split(".")
    if len(rest) == 1:
        return len(floors)
    return next(i for i, names in enumerate(floors) if rest[1] in names)


def imports(path: Path) -> set[str]:
    """The modules of seqjax that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module == "seqjax":
            found |= {f"seqjax.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return {name for name in found if name.split(".")[0] in ("seqjax", "experiments")}


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    names = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        names[".".join(parts).removesuffix(".__init__")] = path
    return names


def test_every_module_has_a_floor():
    for name in modules():
        floor(name)
        if name.startswith("seqjax.decoding"):
            floor(name, SHELVES, "seqjax.decoding")


def test_no_import_points_upwards():
    for name, path in modules().items():
        for target in imports(path):
            assert target.startswith("seqjax"), f"{name} imports {target}"
            if name != "seqjax" and target in modules():
                assert floor(target) <= floor(name), f"{name} imports {target}"


def test_no_import_points_upwards_between_the_shelves_of_decoding():
    inside = {n: p for n, p in modules().items() if n.startswith("seqjax.decoding.")}
    for name, path in inside.items():
        for target in imports(path) & set(inside):
            assert floor(target, SHELVES, "seqjax.decoding") <= floor(
                name, SHELVES, "seqjax.decoding"
            ), f"{name} imports {target}"


def test_rooms_of_one_floor_do_not_import_each_other_in_a_circle():
    room = lambda module: ".".join(module.split(".")[: 3 if "decoding." in module else 2])
    graph: dict[str, set[str]] = {}
    for name, path in modules().items():
        targets = {room(target) for target in imports(path) & set(modules())} - {"seqjax"}
        graph.setdefault(room(name), set()).update(targets - {room(name)})
    for start in graph:
        seen, waiting = set(), [start]
        while waiting:
            for target in graph.get(waiting.pop(), set()) - seen:
                assert target != start or start in ("seqjax", "seqjax.decoding"), (
                    f"a circle at {start}"
                )
                seen.add(target)
                waiting.append(target)


def test_the_top_has_the_rooms_and_what_a_first_program_needs():
    assert len(seqjax.__all__) <= 46 and len(set(seqjax.__all__)) == len(seqjax.__all__)
    rooms = {name for floor in FLOORS for name in floor} - {"_internal", "testing"}
    assert set(seqjax.__all__[: len(rooms)]) == rooms
    assert {name for name in dir(seqjax) if not name.startswith("__")} == set(seqjax.__all__)


def test_a_name_has_one_home():
    """Each public name of a room is in no other room; the top repeats some of them."""
    homes: dict[str, list[str]] = {}
    for room, module in rooms().items():
        for name in public_names(module):
            homes.setdefault(name, []).append(room)
    twice = {name: found for name, found in homes.items() if len(found) > 1}
    assert twice == {"unroll": ["core", "newton"]}  # the same, step by step and by Newton's method


def test_no_file_name_stands_for_two_ideas():
    stems = [path.stem for path in modules().values() if path.stem != "__init__"]
    twice = {stem for stem in stems if stems.count(stem) > 1}
    assert twice == {"unroll"}


def test_no_import_cycle():
    graph = {name: imports(path) & set(modules()) for name, path in modules().items()}
    # A package's __init__ re-exports its modules; they never import it back.
    done: set[str] = set()

    def visit(name, trail):
        assert name not in trail, " -> ".join([*trail, name])
        if name not in done:
            for target in graph[name]:
                visit(target, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_files_stay_readable():
    for name, path in modules().items():
        lines = len(path.read_text().splitlines())
        assert lines <= 330, f"{name} has {lines} lines; is there a seam?"

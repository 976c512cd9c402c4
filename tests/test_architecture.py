"""Imports run one way: what lies lower never imports what lies higher."""

import ast
from pathlib import Path

import seqjax

ROOT = Path(seqjax.__file__).parent
ORDER = [
    {"_checks", "_jaxprs", "_trees"},
    {"noise", "initializers", "schedules"},
    {"scan"},
    {"reverse"},
    {"cells"},
    {"remat", "windows"},
    {"linear"},
    {"unroll"},
    {
        "adaptation",
        "attention",
        "averaging",
        "chrono",
        "corpus",
        "decoding",
        "diagnostics",
        "distances",
        "losses",
        "memory",
        "newton",
        "objectives",
        "regularizers",
        "saving",
        "tags",
        "times",
        "training",
    },
    {"truncation"},
    {"online"},
    {"testing"},
]


def level(module: str) -> int:
    """The layer of `seqjax.NAME...`; the package itself stands above all."""
    parts = module.split(".")
    if len(parts) == 1:
        return len(ORDER)
    return next(i for i, layer in enumerate(ORDER) if parts[1] in layer)


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


def test_every_module_has_a_layer():
    for name in modules():
        level(name)


def test_no_import_points_upwards():
    for name, path in modules().items():
        for target in imports(path):
            assert target.startswith("seqjax"), f"{name} imports {target}"
            if name.startswith("seqjax.") and target in modules() and name != "seqjax.testing":
                assert level(target) <= level(name), f"{name} imports {target}"


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

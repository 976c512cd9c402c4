"""Test-wide settings: a compiler that hurries, strict dtypes, a shared compilation cache, no GPU.

Set before JAX is imported, so that the processes which tests start inherit it; flags from outside
win, and `make test-all` compiles as users do (docs/decisions/0018-quick-compiler.md).
"""

import itertools
import os
from importlib.metadata import version
from pathlib import Path

QUICK = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
if version("jaxlib").startswith("0.10."):  # later releases have no other emitters
    QUICK += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("XLA_FLAGS", QUICK)

import jax  # noqa: E402
import pytest  # noqa: E402
from support import budget, examples  # noqa: E402, F401

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parents[1] / ".cache" / "jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


@pytest.fixture
def x64():
    """Runs a test in float64, the precision in which gradients are compared."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def users_compiler():
    """Options for `jax.jit` with which a test compiles as users do, where rounding matters."""
    options = {"xla_backend_optimization_level": 3}
    if "emitters" in QUICK:
        options["xla_cpu_use_fusion_emitters"] = True
    return options


@pytest.fixture(autouse=True, scope="module")
def forget_programs():
    """Drops a file's compiled programs: a process that holds those of all files may crash."""
    yield
    jax.clear_caches()


def pytest_collection_modifyitems(items):
    """Skips tests marked `gpu` where there is none."""
    if jax.default_backend() == "gpu":
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs a GPU"))


def pytest_terminal_summary(terminalreporter):
    """Says where the time went."""
    reports = itertools.chain.from_iterable(terminalreporter.stats.values())
    terminalreporter.section("time by file", sep="-")
    for line in budget.lines(reports):
        terminalreporter.write_line(line)

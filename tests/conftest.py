"""Test-wide settings: strict dtypes, a shared compilation cache, GPU tests skipped without one."""

from pathlib import Path

import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parents[1] / ".cache" / "jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


@pytest.fixture
def x64():
    """Runs a test in float64, the precision in which gradients are compared."""
    with jax.enable_x64(True):
        yield


def pytest_collection_modifyitems(items):
    """Skips tests marked `gpu` where there is none."""
    if jax.default_backend() == "gpu":
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs a GPU"))

"""Settings of the whole suite: JAX in float64 on the CPU, Hypothesis without chance or clock."""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
from collections.abc import Iterator

import hypothesis
import pytest

hypothesis.settings.register_profile(
    "suite", derandomize=True, deadline=None, database=None, max_examples=60
)
hypothesis.settings.load_profile("suite")

# Programs that make reference numbers, to be run by hand: no modules to be searched for doctests.
collect_ignore_glob = ["references/*.py"]


def pytest_configure(config: pytest.Config) -> None:
    """Set up JAX. Compiling takes most of the suite's time: pytest's cache keeps the results."""
    if not importlib.util.find_spec("jax"):
        return
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
    import jax

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_disable_most_optimizations", True)
    cache = getattr(config, "cache", None)  # absent under -p no:cacheprovider
    if cache is not None:
        jax.config.update("jax_compilation_cache_dir", str(cache.mkdir("jax")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def pytest_collection_finish() -> None:
    """Take what was collected out of the garbage collector's way: some 100 000 objects."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def forget_compiled_programs() -> Iterator[None]:
    """Drop JAX's compiled programs at the end of a module: thousands of them slow JAX down."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()

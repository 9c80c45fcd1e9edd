"""Settings of the whole suite: JAX in float64 on the CPU, Hypothesis without chance or clock."""

from __future__ import annotations

import importlib.util
import os

import hypothesis

os.environ.setdefault("JAX_PLATFORMS", "cpu")

if importlib.util.find_spec("jax"):
    import jax

    jax.config.update("jax_enable_x64", True)

hypothesis.settings.register_profile(
    "suite", derandomize=True, deadline=None, database=None, max_examples=60
)
hypothesis.settings.load_profile("suite")

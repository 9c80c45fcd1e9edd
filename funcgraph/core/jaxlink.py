"""The one place where the core looks up names of JAX. Imports nothing of funcgraph.

JAX is never imported for its own sake: its arrays exist only when the user has loaded it, so the
functions below are reached only then.
"""

from __future__ import annotations

import importlib
import sys
from functools import cache
from typing import Any

__all__ = ["is_jax_type", "jax_name"]


def is_jax_type(cls: type) -> bool:
    """Return whether `cls` is a JAX array or a JAX tracer."""
    jax = sys.modules.get("jax")
    if jax is None or not hasattr(jax, "Array"):  # not loaded, or only partly so far
        return False
    return issubclass(cls, (jax.Array, jax.core.Tracer))


@cache
def jax_name(dotted: str) -> Any:
    """Resolve a dotted name such as `jax.numpy.sin`; raise AttributeError if JAX lacks it."""
    module, _, name = dotted.rpartition(".")
    if not module:
        return importlib.import_module(name)
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError:
        return getattr(jax_name(module), name)

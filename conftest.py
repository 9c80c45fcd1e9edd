"""Leaves out modules whose examples need JAX, where it is not installed."""

import importlib.util

collect_ignore = []
if not importlib.util.find_spec("jax"):
    collect_ignore += ["funcgraph/engines/xla.py", "funcgraph/transforms/interop.py"]

"""Leaves out modules whose examples need JAX, SciPy or scikit-learn, where that is missing."""

import importlib.util

collect_ignore = []
if not importlib.util.find_spec("jax"):
    collect_ignore += ["funcgraph/engines/xla.py", "funcgraph/transforms/interop.py"]
if not importlib.util.find_spec("scipy"):
    collect_ignore += ["funcgraph/sparse", "funcgraph/optim/scipy_minimize.py"]
if not importlib.util.find_spec("optax"):
    collect_ignore += ["funcgraph/optim/interop.py"]
if not importlib.util.find_spec("sklearn"):
    collect_ignore += ["funcgraph/estimators"]

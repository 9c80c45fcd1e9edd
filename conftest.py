"""Leaves out modules whose examples need JAX, SciPy or scikit-learn, where that is missing.

Each process of the suite has a core of its own, where threads of the BLAS would be in the way.
"""

import importlib.util
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is imported

collect_ignore = []
if not importlib.util.find_spec("jax"):
    collect_ignore += ["funcgraph/engines/xla.py", "funcgraph/transforms/interop.py"]
    collect_ignore += ["funcgraph/check/testing.py"]
if not importlib.util.find_spec("scipy"):
    collect_ignore += ["funcgraph/sparse", "funcgraph/optim/scipy_minimize.py"]
if not importlib.util.find_spec("optax"):
    collect_ignore += ["funcgraph/optim/interop.py"]
if not importlib.util.find_spec("sklearn"):
    collect_ignore += ["funcgraph/estimators"]

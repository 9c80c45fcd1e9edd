"""funcgraph: composable derivatives of pure functions over plain NumPy.

>>> import numpy as np
>>> import funcgraph as fg
>>> fg.grad(lambda x: np.sum(np.sin(x) ** 2))(np.array([0.0, 1.0]))
array([0.        , 0.90929743])
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from funcgraph import errors, numpy, tree
from funcgraph.control.associative import associative_scan
from funcgraph.control.branches import cond, select, switch
from funcgraph.control.checkpoint import (
    checkpoint,
    checkpoint_policies,
    remat,
    saved_residuals,
)
from funcgraph.control.custom import custom_gradient, custom_jvp, custom_vjp
from funcgraph.control.implicit import closure_convert, custom_linear_solve, custom_root
from funcgraph.control.loops import fori_loop, map, scan, while_loop
from funcgraph.core.allocator import keep_memory
from funcgraph.core.aval import Aval as ShapeDtype
from funcgraph.core.graph import Equation, Graph, Var
from funcgraph.core.origin import named_scope
from funcgraph.numpy._register import concrete
from funcgraph.ops import operators as _operators  # noqa: F401  (installs them)
from funcgraph.ops.updates import at
from funcgraph.transforms.collectives import all_gather, axis_index, pmax, pmean, pmin, psum
from funcgraph.transforms.gradient import grad, value_and_grad, vjp
from funcgraph.transforms.interop import from_jax, to_jax
from funcgraph.transforms.jacobian import hessian, hvp, jacfwd, jacobian, jacrev
from funcgraph.transforms.jit import clear_caches, jit
from funcgraph.transforms.linear import jvp, linearize, stop_gradient
from funcgraph.transforms.nans import debug_nans
from funcgraph.transforms.ravel import ravel_pytree
from funcgraph.transforms.stage import eval_shape, make_graph
from funcgraph.transforms.transposition import linear_transpose
from funcgraph.transforms.vmap import vmap

if TYPE_CHECKING:
    from funcgraph import io, losses, nn, optim, plots, random, train
    from funcgraph.check import assert_matches_jax, check_grads, compare
    from funcgraph.io import load, save
    from funcgraph.optim import minimize
    from funcgraph.pictures.drawing import draw
    from funcgraph.pictures.explain import explain
    from funcgraph.pictures.view import view
    from funcgraph.sparse import (
        hessian_sparsity,
        jacobian_sparsity,
        sparse_hessian,
        sparse_jacobian,
    )
    from funcgraph.train.data import batches
    from funcgraph.train.fit import fit
    from funcgraph.train.partition import combine, partition
    from funcgraph.train.step import train_step
    from funcgraph.transforms.source import grad_source, source

__version__ = "0.1.0"

__all__ = [
    "Equation",
    "Graph",
    "ShapeDtype",
    "Var",
    "all_gather",
    "assert_matches_jax",
    "associative_scan",
    "at",
    "axis_index",
    "batches",
    "check_grads",
    "checkpoint",
    "checkpoint_policies",
    "clear_caches",
    "closure_convert",
    "combine",
    "compare",
    "concrete",
    "cond",
    "custom_gradient",
    "custom_jvp",
    "custom_linear_solve",
    "custom_root",
    "custom_vjp",
    "debug_nans",
    "draw",
    "errors",
    "eval_shape",
    "explain",
    "fit",
    "fori_loop",
    "from_jax",
    "grad",
    "grad_source",
    "hessian",
    "hessian_sparsity",
    "hvp",
    "io",
    "jacfwd",
    "jacobian",
    "jacobian_sparsity",
    "jacrev",
    "jit",
    "jvp",
    "keep_memory",
    "linear_transpose",
    "linearize",
    "load",
    "losses",
    "make_graph",
    "map",
    "minimize",
    "named_scope",
    "nn",
    "numpy",
    "optim",
    "partition",
    "plots",
    "pmax",
    "pmean",
    "pmin",
    "psum",
    "random",
    "ravel_pytree",
    "remat",
    "save",
    "saved_residuals",
    "scan",
    "select",
    "source",
    "sparse_hessian",
    "sparse_jacobian",
    "stop_gradient",
    "switch",
    "to_jax",
    "train",
    "train_step",
    "tree",
    "value_and_grad",
    "view",
    "vjp",
    "vmap",
    "while_loop",
]

# What not every program needs, by module: `import funcgraph` takes hardly longer than NumPy.
_MODULES = {
    **dict.fromkeys(["check", "io", "losses", "nn", "optim", "plots", "random", "sparse", "train"]),
    **dict.fromkeys(["assert_matches_jax", "check_grads", "compare"], "check"),
    **dict.fromkeys(["load", "save"], "io"),
    "minimize": "optim",
    "draw": "pictures.drawing",
    "explain": "pictures.explain",
    "view": "pictures.view",
    **dict.fromkeys(
        ["hessian_sparsity", "jacobian_sparsity", "sparse_hessian", "sparse_jacobian"], "sparse"
    ),
    **dict.fromkeys(["grad_source", "source"], "transforms.source"),
    **dict.fromkeys(["batches", "combine", "fit", "partition", "train_step"], "train"),
}


def __getattr__(name: str) -> Any:
    """Return what is imported when it is first asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module 'funcgraph' has no attribute {name!r}")
    module = importlib.import_module(f"funcgraph.{_MODULES[name] or name}")
    value = globals()[name] = getattr(module, name) if _MODULES[name] else module
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})

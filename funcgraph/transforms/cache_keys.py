"""What tells the programs of a compiled function apart: shapes and dtypes of the arguments.

May import `core`, `transforms.arguments`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval, aval_of
from funcgraph.core.trace import JAX, KIND, NUMPY
from funcgraph.errors import StaticArgumentError
from funcgraph.transforms.arguments import name_of

__all__ = ["difference", "leaf_aval", "leaf_key"]


def leaf_key(x: Any, fun: Any) -> Any:
    """Return shape and dtype of a leaf; for a Python number its type, because it is weak."""
    cls = type(x)
    if cls is np.ndarray or cls is np.float64:
        return x.shape, x.dtype
    if cls is float or cls is int or cls is complex:
        return cls
    kind = KIND[cls]
    if kind == JAX:
        return _weak(x) or (x.shape, x.dtype)
    if kind == NUMPY and not isinstance(x, (np.ndarray, np.generic, bool)):
        raise StaticArgumentError(
            f"an argument of {name_of(fun)} is a {cls.__name__}, which is no array. Mark it as "
            "static: jit(f, static_argnums=...) or static_argnames=..."
        )
    aval = aval_of(x)
    return aval.weak if aval.weak is not None else (aval.shape, aval.dtype)


def leaf_aval(x: Any) -> Aval:
    """Return the aval of a leaf: one for each key."""
    weak = _weak(x) if KIND[type(x)] == JAX else None
    aval = aval_of(x if weak is None else weak(0))
    return aval if aval.dtype.isnative else replace(aval, dtype=aval.dtype.newbyteorder("="))


def _weak(x: Any) -> type | None:
    """Return the type of Python's numbers for which an array of JAX stands: its dtype is weak.

    To JAX it is as good as the number: they share a program.
    """
    if x.shape or not x.weak_type:
        return None
    return next((cls for cls in (int, float, complex) if x.dtype == np.dtype(cls)), None)


def difference(old: Any, new: Any) -> str:
    """Say in what a signature differs from the one before."""
    if old[0] != new[0]:
        return f"the arguments have another structure: {new[0]}, before {old[0]}"
    if old[3] != new[3]:
        return "a derivative was not finite: with strong zeros"
    if old[2] != new[2]:
        return f"static arguments {dict(new[2].values)}, before {dict(old[2].values)}"
    if old[5] != new[5]:
        return f"static fields or keys of other types, or -0.0: {new[0]}, before {old[0]}"
    if old[4] != new[4]:
        return f"under vmap with the named axes {dict(new[4])}, before {dict(old[4])}"
    changed = [
        f"leaf {k}: {_show(b)}, before {_show(a)}"
        for k, (a, b) in enumerate(zip(old[1], new[1], strict=True))
        if a != b
    ]
    return "; ".join(changed) or "closes over traced values, which differ from call to call"


def _show(key: Any) -> str:
    return f"a Python {key.__name__}" if isinstance(key, type) else f"{key[1]}{list(key[0])}"

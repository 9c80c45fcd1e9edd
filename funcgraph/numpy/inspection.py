"""Questions about shapes and dtypes, answered without looking at the numbers.

May import `core`, `numpy._register`, `numpy.creation`.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from funcgraph.core.aval import dtype_of, ndim_of, shape_of
from funcgraph.core.trace import KIND, TRACER
from funcgraph.numpy._register import NON_DIFFERENTIABLE, function
from funcgraph.numpy.creation import as_array

__all__ = [
    "can_cast",
    "common_type",
    "iscomplexobj",
    "isrealobj",
    "min_scalar_type",
    "ndim",
    "result_type",
    "shape",
    "size",
]


@function(np.shape)
def shape(a: Any) -> tuple[int, ...]:
    """Return the lengths of the axes."""
    return tuple(shape_of(as_array(a)))


@function(np.ndim)
def ndim(a: Any) -> int:
    """Return the number of axes."""
    return ndim_of(as_array(a))


@function(np.size)
def size(a: Any, axis: Any = None) -> int:
    """Return the number of elements, in all or along some axes."""
    lengths = shape(a)
    if axis is None:
        return prod(lengths)
    axes = np.lib.array_utils.normalize_axis_tuple(axis, len(lengths))
    return prod(lengths[k] for k in axes)


@function(np.iscomplexobj)
def iscomplexobj(x: Any) -> bool:
    """Return whether the dtype is complex."""
    return dtype_of(as_array(x)).kind == "c"


@function(np.isrealobj)
def isrealobj(x: Any) -> bool:
    """Return whether the dtype is not complex."""
    return not iscomplexobj(x)


def _typed(x: Any) -> Any:
    return x.dtype if KIND[type(x)] == TRACER else x


@function(np.result_type)
def result_type(*arrays_and_dtypes: Any) -> Any:
    """Return the dtype that a combination of arrays, scalars and dtypes has."""
    return np.result_type(*map(_typed, arrays_and_dtypes))


@function(np.can_cast)
def can_cast(from_: Any, to: Any, casting: str = "safe") -> bool:
    """Return whether one dtype can be cast to another by a rule."""
    return np.can_cast(_typed(from_), to, casting)  # type: ignore[arg-type]


@function(np.common_type)
def common_type(*arrays: Any) -> Any:
    """Return the floating-point type that holds all arrays."""
    return np.common_type(*(np.empty(0, dtype_of(as_array(a))) for a in arrays))


@function(np.min_scalar_type)
def min_scalar_type(a: Any, /) -> Any:
    """Return the dtype of an array."""
    return dtype_of(as_array(a))


NON_DIFFERENTIABLE.update(
    [
        np.shape,
        np.ndim,
        np.size,
        np.iscomplexobj,
        np.isrealobj,
        np.result_type,
        np.can_cast,
        np.common_type,
        np.min_scalar_type,
    ]
)

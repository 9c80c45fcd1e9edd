"""Abstract values: what is known of an array without its numbers. May import NumPy only.

Shapes and dtypes are read from any array-like (NumPy arrays and scalars, Python scalars, JAX
arrays, tracers, avals) by the functions of this module; Python scalars are weak, as in NEP 50.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = [
    "Aval",
    "aval_of",
    "broadcast_shapes",
    "dtype_of",
    "is_inexact",
    "ndim_of",
    "promote",
    "shape_of",
]


@dataclass(frozen=True, slots=True)
class Aval:
    """The shape and dtype of an array; `weak` is the Python type of a Python scalar, or None.

    Public as `funcgraph.ShapeDtype`: stands for an array where only these two matter.

    Args:
      shape: Lengths of the axes.
      dtype: Type of the elements.

    Example:
      >>> import numpy as np
      >>> print(Aval((2, 3), np.dtype(np.float32)))
      float32[2,3]
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    weak: type | None = None

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


_WEAK = {
    bool: Aval((), np.dtype(bool)),
    int: Aval((), np.dtype(int), int),
    float: Aval((), np.dtype(float), float),
    complex: Aval((), np.dtype(complex), complex),
}


def shape_of(x: Any) -> tuple[int, ...]:
    """Return the shape of any array-like."""
    try:
        return x.shape  # type: ignore[no-any-return]
    except AttributeError:
        return () if type(x) in _WEAK else np.shape(x)


def ndim_of(x: Any) -> int:
    """Return the number of axes of any array-like."""
    return len(shape_of(x))


def dtype_of(x: Any) -> np.dtype[Any]:
    """Return the dtype of any array-like; of a Python scalar, the one NumPy gives it."""
    try:
        return x.dtype  # type: ignore[no-any-return]
    except AttributeError:
        weak = _WEAK.get(type(x))
        return np.asarray(x).dtype if weak is None else weak.dtype


def aval_of(x: Any) -> Aval:
    """Return the aval of any array-like."""
    known: Aval | None = getattr(x, "aval", None) or _WEAK.get(type(x))
    if type(known) is Aval:
        return known
    if isinstance(x, (np.ndarray, np.generic)):
        return Aval(x.shape, x.dtype)
    if isinstance(x, Aval):
        return x
    value = x
    while hasattr(value, "value") and hasattr(value, "_trace"):
        value = value.value  # a tracer of a Python scalar is as weak as the scalar
    known = _WEAK.get(type(value)) or getattr(value, "aval", None)
    if type(known) is Aval and known.weak is not None:
        return known
    return Aval(tuple(shape_of(x)), np.dtype(dtype_of(x)))


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of arrays of these shapes together: NumPy's function, which is slow.

    Most arrays have one shape, or are numbers.
    """
    different = {*shapes}
    if len(different) == 2:
        different.discard(())
    return different.pop() if len(different) == 1 else np.broadcast_shapes(*shapes)


def promote(*avals: Aval) -> np.dtype[Any]:
    """Return the dtype that NumPy (NEP 50) gives to a combination of these avals."""
    return np.result_type(*[a.dtype if a.weak is None else a.weak(0) for a in avals])


def is_inexact(dtype: Any) -> bool:
    """Return whether a dtype is real or complex floating point."""
    return dtype.kind in "fc"

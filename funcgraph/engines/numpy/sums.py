"""Sums as products with ones, by the BLAS. May import `core`, `engines.numpy`."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval
from funcgraph.core.graph import Equation
from funcgraph.engines.numpy.blocks import TERMS

__all__ = ["sum_by_product"]

Bind = Callable[[Any], str]
_SMALL = 1 << 14  # bytes, below which the start of a sum is what counts
_FEW = 1024  # numbers of such a sum that a product with ones adds up one after the other
_LARGE_SUM = 1024  # elements for which a call of the BLAS is worth it


def sum_by_product(e: Equation, x: str, bind: Bind) -> str | None:
    """Return a sum over one axis, or over all but the last, as a product with ones: by BLAS."""
    aval, axes = e.inputs[0].aval, e.attrs["axes"]  # type: ignore[union-attr]
    if aval.dtype not in (np.float32, np.float64):
        return None
    if prod(aval.shape) * aval.dtype.itemsize < _SMALL:
        return _by_dot(aval, axes, x, bind)
    *others, last = range(len(aval.shape))
    n = prod(aval.shape[k] for k in axes)
    if axes == (last,) and others and n <= TERMS:
        return f"np.matmul({x}, {bind(np.ones(n, aval.dtype))})"
    if len(others) > 1 and n <= TERMS and axes in ((0,), (last - 1,)):
        ones = bind(np.ones(n, aval.dtype))
        if axes == (0,):
            rest = aval.shape[1:]
            return f"np.matmul({ones}, {x}.reshape({n}, -1)).reshape({rest})"
        return f"np.matmul({ones}, {x})" if n * aval.shape[last] >= _LARGE_SUM else None
    if not others or axes != tuple(others):
        return None
    parts = next((k for k in range(-(-n // TERMS), n // 64 + 1) if n % k == 0), 0)
    if not parts:
        return None
    rows = f"{x}.reshape({parts}, {n // parts}, {aval.shape[last]})"
    sums = f"np.matmul({bind(np.ones((1, n // parts), aval.dtype))}, {rows})"
    return f"np.add.reduce({sums}, axis=(0, 1))"


def _by_dot(aval: Aval, axes: tuple[int, ...], x: str, bind: Bind) -> str | None:
    """Return a sum over the first axes, or the last ones, as a product with ones: by the BLAS.

    It starts in half the time of a reduction.

    Args:
      aval: The shape and dtype of what is added up.
      axes: The axes.
      x: The text of the array.
      bind: Returns the name of an array.
    """
    shape = aval.shape
    n, first = prod(shape[k] for k in axes), axes == tuple(range(len(axes)))
    rest = shape[len(axes) :] if first else shape[: -len(axes)]
    last = axes == tuple(range(len(rest), len(shape)))
    if not axes or not (first or last) or not 1 <= n <= _FEW or 0 in rest:
        return None
    ones = bind(np.ones(n, aval.dtype))
    if not rest:
        return f"{x if len(shape) == 1 else f'{x}.reshape({n})'}.dot({ones})"
    rows = x if len(shape) == 2 else f"{x}.reshape({(n, -1) if first else (-1, n)})"
    total = f"{ones}.dot({rows})" if first else f"{rows}.dot({ones})"
    return total if len(rest) == 1 else f"{total}.reshape({rest})"

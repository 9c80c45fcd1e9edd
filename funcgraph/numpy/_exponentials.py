"""Weighted sums of exponentials, as logarithms. May import `core`, `ops`, `numpy`, `transforms`."""

from __future__ import annotations

from typing import Any

import numpy as np

from funcgraph.core.aval import dtype_of
from funcgraph.numpy import reductions as red
from funcgraph.numpy.creation import as_array, as_floats
from funcgraph.numpy.elementwise import real
from funcgraph.ops import elementwise as ew
from funcgraph.ops.elementwise import absolute, equal, exp, log
from funcgraph.ops.structural import where
from funcgraph.transforms.linear import stop_gradient

__all__ = ["largest", "maximum_of", "weighted_sum"]


def maximum_of(x: Any, axis: Any) -> Any:
    """Return the maximum along axes as a constant, -inf of nothing; axes are kept."""
    least = {} if np.size(x) else {"initial": -np.inf}
    return stop_gradient(red.max(real(x), axis=axis, keepdims=True, **least))


def largest(x: Any, axis: Any) -> Any:
    """Return the maximum along axes as a constant, 0 where it is infinite; axes are kept."""
    most = maximum_of(x, axis)
    return where(ew.isfinite(most), most, dtype_of(most).type(0))


def _limited(a: Any, b: Any, axis: Any) -> tuple[Any, Any]:
    """Return the largest a of weight other than 0, and a, limited where the weight is 0.

    There a may be anything, also infinite, and does not count; but the derivative by the weight,
    exp(a), is right as long as it does not overflow.
    """
    zero, dtype = equal(b, 0), dtype_of(a)
    shift = largest(where(zero, dtype.type(-np.inf), a), axis)
    if ew.is_complex(a):
        return shift, where(zero, dtype.type(-np.inf), a)
    margin = float(np.log(np.finfo(dtype).max)) / 2
    return shift, where(zero, ew.fmin(a, shift + margin), a)


def weighted_sum(a: Any, axis: Any, b: Any, keepdims: bool, return_sign: bool) -> Any:
    """Return log Σ b exp(a) along axes, or log |Σ| and the sum's sign: as `scipy`'s logsumexp."""
    a = as_floats(a)
    if b is None:
        shift = largest(a, axis)
        terms = exp(a - shift)
    else:
        b = as_array(b)
        shift, a = _limited(a, b, axis)
        terms = b * exp(a - shift)
    total = red.sum(terms, axis=axis, keepdims=keepdims)
    if not keepdims:
        shift = red.sum(shift, axis=axis)  # of one element: drops the axes
    if not return_sign:
        return log(total) + shift
    size = absolute(total)
    sign = total / where(equal(size, 0), 1, size) if ew.is_complex(total) else ew.sign(total)
    return log(size) + shift, sign

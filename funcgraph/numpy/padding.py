"""np.pad, in every mode. May import `core`, `ops`, `numpy._register`, `numpy.creation`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcgraph.core.aval import dtype_of, is_inexact, ndim_of, shape_of
from funcgraph.core.trace import FUNCTIONS, unsupported
from funcgraph.numpy._register import function
from funcgraph.numpy.creation import as_array, as_dtype
from funcgraph.numpy.manipulation import along
from funcgraph.ops import elementwise as ew
from funcgraph.ops import structural as st
from funcgraph.ops.indexing import index

__all__ = ["pad"]

KEYWORDS: dict[str, tuple[str, ...]] = {
    "constant": ("constant_values",),
    "edge": (),
    "empty": (),
    "linear_ramp": ("end_values",),
    "maximum": ("stat_length",),
    "mean": ("stat_length",),
    "median": ("stat_length",),
    "minimum": ("stat_length",),
    "reflect": ("reflect_type",),
    "symmetric": ("reflect_type",),
    "wrap": (),
}
STATISTICS = {"maximum": np.max, "mean": np.mean, "median": np.median, "minimum": np.min}


def _pairs(widths: Any, ndim: int) -> Any:
    """Return pad widths, given as NumPy allows, as ((before, after), ...) for each axis."""
    if isinstance(widths, dict):
        pairs: list[Any] = [(0, 0)] * ndim
        for axis, width in widths.items():
            pairs[axis] = (width, width) if np.ndim(width) == 0 else tuple(width)
        widths = pairs
    widths = np.asarray(widths)
    if widths.dtype.kind not in "iu":
        raise TypeError("`pad_width` must be of integral type.")
    if widths.size and widths.min() < 0:
        raise ValueError("index can't contain negative values")
    return np.broadcast_to(widths, (ndim, 2)).tolist()


def _sides(value: Any, x: Any) -> Any:
    """Return a keyword's values, one for each side of each axis, (ndim, 2), in the dtype of x."""
    return as_dtype(st.broadcast_to(as_array(value), (ndim_of(x), 2)), dtype_of(x))


def _filled(x: Any, axis: int, width: int, value: Any) -> Any:
    shape = (*shape_of(x)[:axis], width, *shape_of(x)[axis + 1 :])
    return st.broadcast_to(value, shape)


def _constant(x: Any, axis: int, widths: Any, constant_values: Any) -> Any:
    before, after = (_filled(x, axis, widths[k], constant_values[axis, k]) for k in (0, 1))
    return st.concatenate(before, x, after, axis=axis)


def _linear_ramp(x: Any, axis: int, widths: Any, end_values: Any) -> Any:
    """Join ramps that lead from the end value, outside, to the edge, exclusive."""

    def ramp(k: int) -> Any:
        edge = index(x, along(axis, slice(0, 1) if k == 0 else slice(-1, None)))
        steps = np.arange(widths[k]) / max(widths[k], 1)
        shape = [1] * ndim_of(x)
        shape[axis] = -1
        t = (steps if k == 0 else steps[::-1]).reshape(shape).astype(dtype_of(x))
        end = end_values[axis, k]
        return end + (edge - end) * t

    def counted(k: int) -> Any:
        """Return a ramp of integers or bools, as np.linspace rounds it."""
        width, dtype = widths[k], dtype_of(x)
        edge = as_dtype(index(x, along(axis, slice(0, 1) if k == 0 else slice(-1, None))), float)
        end = as_dtype(end_values[axis, k], float)
        shape = [1] * ndim_of(x)
        shape[axis] = -1
        steps = np.arange(float(width))[:: 1 if k == 0 else -1].reshape(shape)
        y = steps * ((edge - end) / max(width, 1)) + end
        return as_dtype(y if dtype.kind == "b" else ew.floor(y), dtype)

    ramp = ramp if is_inexact(dtype_of(x)) else counted

    return st.concatenate(ramp(0), x, ramp(1), axis=axis)


def _statistic(name: str) -> Callable[..., Any]:
    def pad_axis(x: Any, axis: int, widths: Any, stat_length: Any) -> Any:
        n = shape_of(x)[axis]

        def side(k: int) -> Any:
            length = n if stat_length[axis][k] is None else min(stat_length[axis][k], n)
            if length == 0 and name in ("maximum", "minimum"):
                raise ValueError("stat_length of 0 yields no value for padding")
            chunk = index(x, along(axis, slice(0, length) if k == 0 else slice(n - length, n)))
            value = FUNCTIONS[STATISTICS[name]](chunk, axis=axis, keepdims=True)
            value = ew.rint(value) if dtype_of(x).kind in "iu" else value
            return _filled(x, axis, widths[k], as_dtype(value, dtype_of(x)))

        return st.concatenate(side(0), x, side(1), axis=axis)

    return pad_axis


def _gathered(mode: str) -> Callable[..., Any]:
    """Return the padding of a mode that repeats elements: NumPy pads their positions."""

    def pad_axis(x: Any, axis: int, widths: Any, **keywords: Any) -> Any:
        n = shape_of(x)[axis]
        y = index(x, along(axis, np.pad(np.arange(n), widths, mode)))  # type: ignore[call-overload]
        odd = keywords.get("reflect_type", "even") == "odd" and n > 1
        return _odd(x, y, axis, widths, mode) if odd else y

    return pad_axis


def _odd(x: Any, y: Any, axis: int, widths: Any, mode: str) -> Any:
    """Turn an even reflection y into an odd one, 2 edge - y, reflected as often as needed.

    An odd reflection is s x[j] + a x[0] + b x[-1] with s + a + b = 1, where x[j] is the even one;
    padding unit vectors tells a and b. At j = 0 and j = -1 they are the whole coefficient.
    """
    n = shape_of(x)[axis]

    def padded(v: Any) -> Any:
        return np.pad(v, widths, mode, reflect_type="odd")  # type: ignore[call-overload]

    first, last = np.zeros((2, n))
    first[0] = last[-1] = 1
    a, b = padded(first), padded(last)
    positions = np.pad(np.arange(n), widths, mode)  # type: ignore[call-overload]
    s = np.where((positions == 0) | (positions == n - 1), 0, 1 - a - b)
    shape = [1] * ndim_of(x)
    shape[axis] = -1
    s, a, b = (v.reshape(shape).astype(dtype_of(x)) for v in (s, a, b))
    left, right = (index(x, along(axis, part)) for part in (slice(0, 1), slice(-1, None)))
    return s * y + a * left + b * right


_AXIS: dict[str, Callable[..., Any]] = {
    "constant": _constant,
    "linear_ramp": _linear_ramp,
    **{name: _statistic(name) for name in STATISTICS},
    **{name: _gathered(name) for name in ("edge", "reflect", "symmetric", "wrap")},
}


@function(np.pad)
def pad(array: Any, pad_width: Any, mode: Any = "constant", **kwargs: Any) -> Any:
    """Pad an array on both sides of each axis, in one of NumPy's modes; "empty" pads zeros."""
    x = as_array(array)
    widths = _pairs(pad_width, ndim_of(x))
    if callable(mode):
        unsupported(np.pad, "with a function as mode writes into plain arrays")
    if mode not in KEYWORDS:
        raise ValueError(f"mode {mode!r} is not supported")
    unknown = set(kwargs) - set(KEYWORDS[mode])
    if unknown:
        raise ValueError(f"unsupported keyword arguments for mode {mode!r}: {unknown}")
    if ndim_of(x) == 0:
        return st.copy(x)
    if mode == "empty" or (mode == "constant" and not kwargs):
        return st.pad_zeros(x, widths=tuple(map(tuple, widths)))
    for name in ("constant_values", "end_values"):
        if name in KEYWORDS[mode]:
            kwargs[name] = _sides(kwargs.get(name, 0), x)
    if mode in STATISTICS:
        length = np.asarray(kwargs.get("stat_length"), object)
        kwargs["stat_length"] = np.broadcast_to(length, (ndim_of(x), 2)).tolist()
    for axis, pair in enumerate(widths):
        if any(pair):
            x = _AXIS[mode](x, axis, pair, **kwargs)
    return x

"""Windows along one axis reduced to their maximum or sum; several axes are pooled one by one.

    window_max(x), window_sum(x)   one number for each window along `axis`
    window_argmax(x, y)            which tap of the window first has the maximum y
    window_take(x, taps)           the element of each window at a tap; its transpose is window_put
    window_take(x, taps, y)        the same, where it is known to be y unless y is nan
    window_put(g, taps)            each element of g added to the element that its tap meets
    window_spread(g)               each element of g added to all its window: transposes window_sum

Attributes: `axis`, `window`, `stride`, `pad` = (low, high), and `length`, that of the axis, where the
result has it. Padding is never a maximum and adds zero. On NumPy and on JAX alike a loop over the
taps, on strided slices. May import `core`, `ops`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval, shape_of
from funcgraph.core.primitive import General, Linear, Primitive, Zero
from funcgraph.ops.columns import ends
from funcgraph.ops.structural import shifted
from funcgraph.ops.threads import in_parallel
from funcgraph.ops.windows import output_length, valid

__all__ = [
    "window_argmax",
    "window_max",
    "window_put",
    "window_spread",
    "window_sum",
    "window_take",
]

Pad = tuple[int, int]


def _at(axis: int, part: Any) -> tuple[Any, ...]:
    return (*(slice(None),) * axis, part)


def _resized(shape: tuple[int, ...], axis: int, n: int) -> tuple[int, ...]:
    return (*shape[:axis], n, *shape[axis + 1 :])


def _outputs(x: Any, axis: int, window: int, stride: int, pad: Pad) -> tuple[int, ...]:
    shape = shape_of(x)
    return _resized(shape, axis, output_length(shape[axis], window, stride, pad))


def _taps(length: int, outputs: int, axis: int, window: int, stride: int, pad: Pad) -> Any:
    """Yield each tap with the outputs at which it meets an element, and these elements."""
    for k in range(window):
        some, elements = valid(k, length, outputs, stride, pad[0])
        yield k, _at(axis, some), _at(axis, elements)


def lowest(dtype: Any) -> Any:
    """Return the number that is never greater than another."""
    if dtype.kind in "fV":
        return dtype.type(-np.inf)
    return dtype.type(0) if dtype.kind == "b" else dtype.type(np.iinfo(dtype).min)


def _index_dtype(window: int) -> Any:
    return np.dtype(np.int8 if window <= 127 else np.int32)


# --- values on NumPy (`out`: memory for the result, contiguous) -----------------------------------

_BLOCK = 1 << 19  # bytes of the largest array at a time: what stays in the cache
_FEWEST = 4  # blocks that are worth another thread
_RUNS = 8  # into which they are collected


def _memory(out: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    return np.empty(shape, dtype) if out is None else out


def _by_blocks(write: Callable[..., None], out: Any, *arrays: Any, axis: int, **attrs: Any) -> Any:
    """Call write(out, *arrays) on blocks (rest, the axis, rest) of all arrays, on threads; return out."""
    flat = [
        a.reshape(prod(a.shape[:axis]), a.shape[axis], prod(a.shape[axis + 1 :]))
        for a in (out, *arrays)
    ]
    before, _, after = flat[0].shape
    size = max(1, *(a.shape[1] * a.itemsize for a in flat))
    columns = max(1, min(after, max(1024, _BLOCK // size)))
    rows = max(1, _BLOCK // (size * columns))
    parts = [
        (slice(i, i + rows), slice(j, j + columns))
        for i in range(0, before, rows)
        for j in range(0, after, columns)
    ]

    def some(run: Any) -> None:
        for row, column in run:
            write(*[a[row, :, column] for a in flat], **attrs)

    cuts = ends(len(parts), _RUNS if len(parts) >= _FEWEST else 1)
    in_parallel(some, [parts[a:b] for a, b in pairwise(cuts)])
    return out


def _fold(operation: Any, start: Callable[[Any], Any]) -> Callable[..., Any]:
    """Return the function that reduces windows by a ufunc, whose neutral element is start(dtype)."""

    def write(y: Any, x: Any, window: int, stride: int, pad: Pad) -> None:
        taps = list(_taps(x.shape[1], y.shape[1], 1, window, stride, pad))
        full = _at(1, slice(0, y.shape[1]))
        if window > 1 and taps[0][1] == taps[1][1] == full:
            operation(x[taps[0][2]], x[taps[1][2]], out=y)
            del taps[:2]
        else:
            y[...] = start(x.dtype)
        for _, some, elements in taps:
            operation(y[some], x[elements], out=y[some])

    def numpy(x: Any, out: Any = None, **attrs: Any) -> Any:
        return _by_blocks(write, _memory(out, _outputs(x, **attrs), x.dtype), x, **attrs)

    return numpy


def _np_argmax(x: Any, y: Any, out: Any = None, **attrs: Any) -> Any:
    def write(taps: Any, x: Any, y: Any, window: int, stride: int, pad: Pad) -> None:
        taps[...] = 0
        missed = np.ones(y.shape, bool)
        for k, some, elements in _taps(x.shape[1], y.shape[1], 1, window, stride, pad):
            if k == 0:
                np.not_equal(x[elements], y[some], out=missed[some])
            elif k < window - 1:
                missed[some] &= x[elements] != y[some]
            if k < window - 1:
                taps += missed

    return _by_blocks(write, _memory(out, y.shape, _index_dtype(attrs["window"])), x, y, **attrs)


def _kept(g: Any, mask: Any) -> Any:
    """Return g where the mask is true, else zero: by its bits, as fast as a product, inf included."""
    if g.dtype.kind == "c" or g.itemsize not in (2, 4, 8):
        return np.where(mask, g, g.dtype.type(0))
    bits = np.dtype(f"i{g.itemsize}")
    return (g.view(bits) & -mask.view(np.int8)).view(g.dtype)


def _np_take(x: Any, taps: Any, known: Any = None, out: Any = None, **attrs: Any) -> Any:
    if known is not None and not np.isnan(known).any():
        out = _memory(out, taps.shape, x.dtype)
        out[...] = known
        return out

    def write(y: Any, x: Any, taps: Any, window: int, stride: int, pad: Pad) -> None:
        y[...] = 0
        for k, some, elements in _taps(x.shape[1], y.shape[1], 1, window, stride, pad):
            y[some] += _kept(x[elements], taps[some] == k)

    return _by_blocks(write, _memory(out, taps.shape, x.dtype), x, taps, **attrs)


def _np_sum_at(x: Any, elements: Any, values: Any, apart: bool) -> None:
    """Add values to elements; write them, where no two windows meet."""
    if apart:
        x[elements] = values
    else:
        x[elements] += values


def _is_tiled(length: int, outputs: int, window: int, stride: int, pad: Pad) -> bool:
    """Return whether each element is in one window."""
    return stride == window and length == outputs * window and pad[0] == 0


def _np_put(g: Any, taps: Any, length: int, out: Any = None, **attrs: Any) -> Any:
    def write(x: Any, g: Any, taps: Any, window: int, stride: int, pad: Pad) -> None:
        if not _is_tiled(x.shape[1], g.shape[1], window, stride, pad):
            x[...] = 0
        for k, some, elements in _taps(x.shape[1], g.shape[1], 1, window, stride, pad):
            _np_sum_at(x, elements, _kept(g[some], taps[some] == k), stride >= window)

    x = _memory(out, _resized(g.shape, attrs["axis"], length), g.dtype)
    return _by_blocks(write, x, g, taps, **attrs)


def _np_spread(g: Any, length: int, out: Any = None, **attrs: Any) -> Any:
    def write(x: Any, g: Any, window: int, stride: int, pad: Pad) -> None:
        if not _is_tiled(x.shape[1], g.shape[1], window, stride, pad):
            x[...] = 0
        for _, some, elements in _taps(x.shape[1], g.shape[1], 1, window, stride, pad):
            _np_sum_at(x, elements, g[some], stride >= window)

    x = _memory(out, _resized(g.shape, attrs["axis"], length), g.dtype)
    return _by_blocks(write, x, g, **attrs)


# --- values on JAX --------------------------------------------------------------------------------

_FEW = 4  # elements of a window, whose slices become part of a loop


def _first_max(jax: Any, x: Any, y: Any) -> Any:
    """Return the larger of two; of equals JAX's own derivatives take the first, as ours do."""
    return jax.numpy.where((x >= y) | (x != x), x, y)


def _jax_max(jax: Any, x: Any, **attrs: Any) -> Any:
    return _reduced(jax, x, lowest(x.dtype), jax.lax.max, _first_max, **attrs)


def _jax_sum(jax: Any, x: Any, **attrs: Any) -> Any:
    return _reduced(jax, x, x.dtype.type(0), jax.lax.add, lambda _, x, y: x + y, **attrs)


def _reduced(
    jax: Any,
    x: Any,
    start: Any,
    operation: Any,
    joined: Any,
    axis: int,
    window: int,
    stride: int,
    pad: Pad,
) -> Any:
    """Return windows reduced by an operation of JAX's; by ours, where few taps stand side by side."""
    outputs = _outputs(x, axis, window, stride, pad)
    if window <= _FEW and _is_tiled(x.shape[axis], outputs[axis], window, stride, pad):
        taps = (x[_at(axis, slice(k, None, stride))] for k in range(window))
        return functools.reduce(functools.partial(joined, jax), taps)
    return jax.lax.reduce_window(
        x,
        start,
        operation,
        _resized((1,) * x.ndim, axis, window),
        _resized((1,) * x.ndim, axis, stride),
        [pad if k == axis else (0, 0) for k in range(x.ndim)],
    )


def _placed(jax: Any, x: Any, part: tuple[Any, ...], axis: int, length: int, fill: Any) -> Any:
    """Return an array of one value but for a part along the axis: padded, so that nothing scatters.

    Where arrays are written into, XLA keeps each of them in memory; padding becomes part of loops.
    """
    at = part[axis]
    if x.shape[axis] == length:
        return x
    pads = [(0, 0, 0)] * x.ndim
    pads[axis] = (at.start, length - at.stop, (at.step or 1) - 1)
    return jax.lax.pad(x, x.dtype.type(fill), pads)


def _jax_argmax(jax: Any, x: Any, y: Any, axis: int, window: int, stride: int, pad: Pad) -> Any:
    n = y.shape[axis]
    taps = jax.numpy.zeros(y.shape, _index_dtype(window))
    missed = jax.numpy.ones(y.shape, bool)
    for k, some, elements in _taps(x.shape[axis], n, axis, window, stride, pad):
        if k < window - 1:
            missed &= _placed(jax, x[elements] != y[some], some, axis, n, True)
            taps += missed
    return taps


def _jax_take(
    jax: Any, x: Any, taps: Any, *known: Any, axis: int, window: int, stride: int, pad: Pad
) -> Any:
    n = taps.shape[axis]
    y = jax.numpy.zeros(taps.shape, x.dtype)
    for k, some, elements in _taps(x.shape[axis], n, axis, window, stride, pad):
        kept = jax.numpy.where(taps[some] == k, x[elements], x.dtype.type(0))
        y += _placed(jax, kept, some, axis, n, 0)
    return y


def _tiled(jax: Any, g: Any, axis: int, window: int) -> Any:
    """Return each element of g beside itself, `window` times, on an axis of its own."""
    shape = (*g.shape[: axis + 1], window, *g.shape[axis + 1 :])
    return jax.numpy.broadcast_to(jax.numpy.expand_dims(g, axis + 1), shape)


def _jax_put(
    jax: Any, g: Any, taps: Any, axis: int, window: int, stride: int, pad: Pad, length: int
) -> Any:
    if _is_tiled(length, g.shape[axis], window, stride, pad):
        whole = _resized(g.shape, axis, length)
        g, taps = (_tiled(jax, a, axis, window) for a in (g, taps))
        here = jax.lax.broadcasted_iota(taps.dtype, taps.shape, axis + 1)
        return jax.numpy.where(taps == here, g, g.dtype.type(0)).reshape(whole)
    x = jax.numpy.zeros(_resized(g.shape, axis, length), g.dtype)
    for k, some, elements in _taps(length, g.shape[axis], axis, window, stride, pad):
        kept = jax.numpy.where(taps[some] == k, g[some], g.dtype.type(0))
        x += _placed(jax, kept, elements, axis, length, 0)
    return x


def _jax_spread(
    jax: Any, g: Any, axis: int, window: int, stride: int, pad: Pad, length: int
) -> Any:
    if _is_tiled(length, g.shape[axis], window, stride, pad):
        return _tiled(jax, g, axis, window).reshape(_resized(g.shape, axis, length))
    x = jax.numpy.zeros(_resized(g.shape, axis, length), g.dtype)
    for _, some, elements in _taps(length, g.shape[axis], axis, window, stride, pad):
        x += _placed(jax, g[some], elements, axis, length, 0)
    return x


# --- primitives -----------------------------------------------------------------------------------


def _aval_reduced(x: Aval, *taps: Aval, **attrs: Any) -> Aval:
    return Aval(_outputs(x, **attrs), x.dtype)


def _aval_back(g: Aval, *taps: Aval, axis: int, length: int, **attrs: Any) -> Aval:
    return Aval(_resized(g.shape, axis, length), g.dtype)


def _length(x: Any, axis: int) -> int:
    return int(shape_of(x)[axis])


window_argmax = Primitive(
    "window_argmax",
    _np_argmax,
    _jax_argmax,
    lambda x, y, window, **attrs: Aval(y.shape, _index_dtype(window)),
    Zero(),
    shifted,
)

window_take = Primitive(
    "window_take",
    _np_take,
    _jax_take,
    _aval_reduced,
    Linear(
        lambda g, x, taps, *known, **attrs: window_put(
            g, taps, length=_length(x, attrs["axis"]), **attrs
        )
    ),
    shifted,
)

window_put = Primitive(
    "window_put",
    _np_put,
    _jax_put,
    _aval_back,
    Linear(lambda x, g, taps, length, **attrs: window_take(x, taps, **attrs)),
    shifted,
)


def _max_vjp(g: Any, y: Any, x: Any, **attrs: Any) -> Any:
    taps = window_argmax(x, y, **attrs)
    return (window_put(g, taps, length=_length(x, attrs["axis"]), **attrs),)


# At ties the first of a window has the derivative, as in JAX.
window_max = Primitive(
    "window_max",
    _fold(np.maximum, lowest),
    _jax_max,
    _aval_reduced,
    General(
        lambda t, y, x, **attrs: window_take(t[0], window_argmax(x, y, **attrs), **attrs), _max_vjp
    ),
    shifted,
)

window_sum = Primitive(
    "window_sum",
    _fold(np.add, lambda dtype: dtype.type(0)),
    _jax_sum,
    _aval_reduced,
    Linear(lambda g, x, **attrs: window_spread(g, length=_length(x, attrs["axis"]), **attrs)),
    shifted,
)

window_spread = Primitive(
    "window_spread",
    _np_spread,
    _jax_spread,
    _aval_back,
    Linear(lambda x, g, length, **attrs: window_sum(x, **attrs)),
    shifted,
)

"""Convolutions, and their transposes, on NumPy arrays. May import `ops.windows`.

Columns (im2col) and one matrix product, in pieces whose columns stay in the cache; a 1 x 1 kernel
needs no columns, and groups of few channels sum shifted slices instead. Arrays are (N, *spatial, C),
kernels (*taps, C / groups, O), as in `ops.conv`, which says what is computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import gcd, prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from funcgraph.ops.windows import Ints, Pairs, output_length, used

__all__ = ["by_input", "by_kernel", "forward"]

# Bytes of the columns, and of the slices of a sum, at a time: what stays in the cache. Elements of
# one run of copying below which columns are better laid out channels first.
_COLUMNS, _SLICES, _RUN = 1 << 20, 1 << 18, 24


def _work(*arrays: Any) -> tuple[Any, Any]:
    """Return the dtype of a product, and the one to compute in: half precision sums in single."""
    dtype = np.result_type(*arrays)
    return dtype, np.dtype(np.float32) if dtype.kind in "fV" and dtype.itemsize == 2 else dtype


def _padded(x: Any, low: Ints, lengths: Ints) -> Any:
    """Return x with `low` zeros before each spatial axis, cut or filled to the lengths."""
    shape = x.shape[1:-1]
    source = [
        slice(max(0, -a), max(0, -a, min(n, p - a)))
        for a, n, p in zip(low, shape, lengths, strict=True)
    ]
    part = x[(slice(None), *source)]
    if part.shape[1:-1] == lengths:
        return part
    out = np.zeros((x.shape[0], *lengths, x.shape[-1]), x.dtype)
    target = [slice(s.start + a, s.stop + a) for s, a in zip(source, low, strict=True)]
    if part.size:
        out[(slice(None), *target)] = part
    return out


def _views(x: Any, outputs: Ints, taps: Ints, strides: Ints, dilation: Ints) -> tuple[Any, Any]:
    """Return all windows of x: (N, *outputs, *taps, C), and (*taps, C, N, *outputs)."""
    n, c = x.shape[0], x.shape[-1]
    step = x.strides[1:-1]
    at = tuple(a * b for a, b in zip(step, strides, strict=True))
    tap = tuple(a * b for a, b in zip(step, dilation, strict=True))
    first, last = x.strides[0], x.strides[-1]
    rows = ((n, *outputs, *taps, c), (first, *at, *tap, last))
    columns = ((*taps, c, n, *outputs), (*tap, last, first, *at))
    return rows, columns


def _pieces(n: int, length: int, size: int, limit: int) -> Iterator[tuple[slice, slice]]:
    """Yield slices of the batch and of the first output axis; `size`: bytes of one entry of both."""
    if length * size <= limit:
        step = max(1, limit // max(1, length * size))
        for a in range(0, n, step):
            yield slice(a, min(n, a + step)), slice(0, length)
        return
    step = max(1, limit // size)
    for k in range(n):
        for a in range(0, length, step):
            yield slice(k, k + 1), slice(a, min(length, a + step))


class _Columns:
    """The columns of an array, piece by piece, in one buffer.

    Iteration yields (piece, matrix): the matrix has a row for each output of the piece, and a column
    for each tap and channel.
    """

    def __init__(self, x: Any, outputs: Ints, taps: Ints, strides: Ints, dilation: Ints) -> None:
        self.few = taps[-1] * x.shape[-1] < _RUN  # columns channels first: long runs along the rows
        if self.few and x.shape[-1] > 1:
            x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, -1, 0)), 0, -1)
        views = _views(x, outputs, taps, strides, dilation)
        self.windows = as_strided(x, *views[self.few], writeable=False)
        self.width = prod(taps) * x.shape[-1]
        self.batch, self.outputs, self.dtype = x.shape[0], outputs, x.dtype

    def __iter__(self) -> Iterator[tuple[tuple[slice, slice], Any]]:
        row = prod(self.outputs[1:]) * self.width * self.dtype.itemsize
        buffer = None
        for piece in _pieces(self.batch, self.outputs[0], row, _COLUMNS):
            skipped = (slice(None),) * (self.windows.ndim - 1 - len(self.outputs))
            view = self.windows[(*skipped, *piece) if self.few else piece]
            if buffer is None:  # the first piece is the largest
                buffer = np.empty(view.size, self.dtype)
            block = buffer[: view.size].reshape(view.shape)
            block[...] = view
            yield (
                piece,
                block.reshape(self.width, -1).T if self.few else block.reshape(-1, self.width),
            )


def _groups(groups: int, *channels: int) -> Iterator[tuple[slice, ...]]:
    """Yield for each group its slices of the channels."""
    for g in range(groups):
        yield tuple(slice(g * n, (g + 1) * n) for n in channels)


def _strided(x: Any, outputs: Ints, strides: Ints, start: Ints) -> Any:
    """Return the elements of x that one tap meets."""
    spans = zip(outputs, strides, start, strict=True)
    return x[(slice(None), *(slice(a, a + (n - 1) * s + 1, s) for n, s, a in spans))]


def _is_thin(groups: int, c: int, o: int) -> bool:
    return groups > 1 and c * o <= 4


# --- value ----------------------------------------------------------------------------------------


def forward(x: Any, w: Any, strides: Ints, padding: Pairs, dilation: Ints, groups: int) -> Any:
    """Return the convolution of x with w."""
    lengths = tuple(map(output_length, x.shape[1:-1], w.shape[:-2], strides, padding, dilation))
    return _correlate(x, w, tuple(p[0] for p in padding), lengths, strides, dilation, groups)


def _correlate(
    x: Any, w: Any, low: Ints, outputs: Ints, strides: Ints, dilation: Ints, groups: int
) -> Any:
    """Return the first `outputs` of a convolution, whatever lies beyond the end of x."""
    taps, (c, o) = w.shape[:-2], w.shape[-2:]
    dtype, work = _work(x, w)
    shape = (x.shape[0], *outputs, o)
    if 0 in shape or not x.size or not w.size:
        return np.zeros(shape, dtype)
    x, w = x.astype(work, copy=False), w.astype(work, copy=False)
    x = _padded(x, low, tuple(map(used, outputs, taps, strides, dilation)))
    out = np.empty(shape, work)
    if _is_thin(groups, c, o // groups):
        _sum_of_slices(x, w, out, strides, dilation, groups)
    else:
        rows = out.reshape(-1, o)
        for xs, os in _groups(groups, c, o // groups):
            _product(x[..., xs], w[..., os], rows[:, os], outputs, strides, dilation)
    return out.astype(dtype, copy=False)


def _product(x: Any, w: Any, out: Any, outputs: Ints, strides: Ints, dilation: Ints) -> None:
    """Write the convolution of one group into `out`, a matrix with a row for each output."""
    taps = w.shape[:-2]
    w = w.reshape(-1, w.shape[-1])
    if prod(taps) == 1:
        np.matmul(_strided(x, outputs, strides, (0,) * len(taps)).reshape(-1, len(w)), w, out=out)
        return
    start = 0
    for _, columns in _Columns(x, outputs, taps, strides, dilation):
        np.matmul(columns, w, out=out[start : start + len(columns)])
        start += len(columns)


def _sum_of_slices(x: Any, w: Any, out: Any, strides: Ints, dilation: Ints, groups: int) -> None:
    """Write a convolution of groups of few channels: a sum over taps of slices times numbers."""
    c, o = w.shape[-2], w.shape[-1] // groups
    outputs = out.shape[1:-1]
    # Repeated along the last axis, so that NumPy's inner loop runs over it and the channels.
    w = np.repeat(w[..., None, :], outputs[-1], axis=-2)
    products = np.empty(0, x.dtype)
    for tap, a, b, piece, values in _slices(x, outputs, w.shape[:-3], strides, dilation, c, o):
        target = out[(*piece, ..., slice(b, None, o))]
        numbers = w[(*tap, a, slice(values.shape[-2]), slice(b, None, o))]
        if not any(tap) and a == 0:
            np.multiply(values, numbers, out=target)
        else:
            if products.shape != target.shape:
                products = np.empty(target.shape, x.dtype)
            target += np.multiply(values, numbers, out=products)


def _slices(
    x: Any, outputs: Ints, taps: Ints, strides: Ints, dilation: Ints, c: int, o: int
) -> Iterator[tuple[Ints, int, int, tuple[slice, slice], Any]]:
    """Yield (tap, input of its group, output of its group, piece, elements of x that meet there)."""
    row = prod(outputs[1:]) * (x.shape[-1] // c) * x.itemsize
    starts = [tuple(k * d for k, d in zip(t, dilation, strict=True)) for t in np.ndindex(*taps)]
    views = [_strided(x, outputs, strides, s) for s in starts]
    for piece in _pieces(x.shape[0], outputs[0], row, _SLICES):
        for b, a in product(range(o), range(c)):
            for tap, view in zip(np.ndindex(*taps), views, strict=True):
                yield tap, a, b, piece, view[(*piece, ..., slice(a, None, c))]


# --- transpose by the kernel ----------------------------------------------------------------------


def by_kernel(
    x: Any, g: Any, strides: Ints, padding: Pairs, dilation: Ints, groups: int, shape: Ints
) -> Any:
    """Return the kernel, with `shape` taps, that correlates x with g."""
    c, o = x.shape[-1] // groups, g.shape[-1] // groups
    outputs = g.shape[1:-1]
    dtype, work = _work(x, g)
    out = np.zeros((*shape, c, o * groups), work)
    if not x.size or not g.size:
        return out.astype(dtype, copy=False)
    x, g = x.astype(work, copy=False), g.astype(work, copy=False)
    low = tuple(p[0] for p in padding)
    x = _padded(x, low, tuple(map(used, outputs, shape, strides, dilation)))
    if _is_thin(groups, c, o):
        _kernel_by_slices(x, g, out, strides, dilation, c, o)
    else:
        rows = g.reshape(-1, o * groups)
        matrix = out.reshape(-1, o * groups)
        for xs, os in _groups(groups, c, o):
            _kernel_product(
                x[..., xs], rows[:, os], matrix[:, os], outputs, shape, strides, dilation
            )
    return out.astype(dtype, copy=False)


def _kernel_product(
    x: Any, g: Any, out: Any, outputs: Ints, taps: Ints, strides: Ints, dilation: Ints
) -> None:
    """Write the kernel of one group, a matrix with a row for each tap and channel."""
    if prod(taps) == 1:
        x = _strided(x, outputs, strides, (0,) * len(taps)).reshape(-1, x.shape[-1])
        np.matmul(x.T, g, out=out)
        return
    start = 0
    for _, columns in _Columns(x, outputs, taps, strides, dilation):
        out += columns.T @ g[start : start + len(columns)]
        start += len(columns)


def _kernel_by_slices(
    x: Any, g: Any, out: Any, strides: Ints, dilation: Ints, c: int, o: int
) -> None:
    ones = np.ones(0, x.dtype)
    taps = out.shape[:-2]
    for tap, a, b, piece, values in _slices(x, g.shape[1:-1], taps, strides, dilation, c, o):
        terms = (values * g[(*piece, ..., slice(b, None, o))]).reshape(-1, x.shape[-1] // c)
        if len(ones) != len(terms):
            ones = np.ones(len(terms), x.dtype)
        out[(*tap, a, slice(b, None, o))] += ones @ terms


# --- transpose by the input -----------------------------------------------------------------------


def by_input(
    g: Any, w: Any, strides: Ints, padding: Pairs, dilation: Ints, groups: int, shape: Ints
) -> Any:
    """Return the input, of spatial `shape`, to which g flows back through w."""
    taps, (c, o) = w.shape[:-2], (w.shape[-2], w.shape[-1] // groups)
    low = tuple(p[0] for p in padding)
    if 8 * c <= o and prod(taps) > 1:
        return _by_columns(g, w, strides, low, dilation, groups, shape)
    w = np.flip(w, range(len(taps))).reshape(*taps, c, groups, o)
    w = np.swapaxes(w, -1, -3).reshape(*taps, o, groups * c)
    if all(s == 1 for s in strides):
        low = tuple((k - 1) * d - p for k, d, p in zip(taps, dilation, low, strict=True))
        return _correlate(g, w, low, shape, strides, dilation, groups)
    # Elements that share a remainder by the stride meet every q-th tap only: each such set is a
    # convolution of g, of stride 1, with these taps in reverse order.
    out = np.zeros((g.shape[0], *shape, groups * c), _work(g, w)[0])
    axes = zip(taps, strides, dilation, low, shape, strict=True)
    for phase in product(*[_phases(*axis) for axis in axes]):
        elements, some, before, outputs, steps = zip(*phase, strict=True)
        ones = (1,) * len(taps)
        part = _correlate(g, w[some], before, outputs, ones, steps, groups)
        out[(slice(None), *elements)] = part
    return out


def _by_columns(
    g: Any, w: Any, strides: Ints, low: Ints, dilation: Ints, groups: int, shape: Ints
) -> Any:
    """Return the same by a product that gives columns, and a sum of slices over the taps (col2im).

    It pays where the input has far fewer channels than the output.
    """
    taps, (c, o) = w.shape[:-2], (w.shape[-2], w.shape[-1] // groups)
    dtype, work = _work(g, w)
    g, w = g.astype(work, copy=False), w.astype(work, copy=False)
    lengths = tuple(map(used, g.shape[1:-1], taps, strides, dilation))
    few = taps[-1] * c < _RUN
    if few:
        x = np.moveaxis(np.zeros((groups * c, g.shape[0], *lengths), work), 0, -1)
    else:
        x = np.zeros((g.shape[0], *lengths, groups * c), work)
    for xs, os in _groups(groups, c, o) if g.size else ():
        _add_columns(x[..., xs], g[..., os], w[..., os], strides, dilation, few)
    x = _padded(x, tuple(-n for n in low), shape)
    return np.ascontiguousarray(x, dtype)


def _add_columns(x: Any, g: Any, w: Any, strides: Ints, dilation: Ints, few: bool) -> None:
    """Add to x, which has all elements that the windows reach, what g of one group gives."""
    outputs, taps, c = g.shape[1:-1], w.shape[:-2], w.shape[-2]
    w = w.reshape(-1, w.shape[-1])
    n = len(taps)
    for batch, first in _pieces(
        len(x), outputs[0], prod(outputs[1:]) * len(w) * x.itemsize, _COLUMNS
    ):
        rows = g[batch, first]
        size = rows.shape[:-1]
        rows = rows.reshape(-1, w.shape[-1])
        if few:
            columns = np.moveaxis((w @ rows.T).reshape(*taps, c, *size), n, -1)
        else:
            columns = np.moveaxis(
                (rows @ w.T).reshape(*size, *taps, c), range(n + 1), range(n, 2 * n + 1)
            )
        for tap in np.ndindex(*taps):
            start = [k * d for k, d in zip(tap, dilation, strict=True)]
            start[0] += first.start * strides[0]
            target = _strided(x[batch], size[1:], strides, tuple(start))
            target += columns[tap]


def _phases(
    taps: int, stride: int, dilation: int, low: int, length: int
) -> Iterator[tuple[slice, slice, int, int, int]]:
    """Yield for each set: its elements, its taps of the reversed kernel, and a convolution.

    Tap k meets element o * stride + k * dilation - low. Taps r, r + q, r + 2 q, ... with
    q = stride / gcd(stride, dilation) meet the same elements, dilation / gcd outputs apart.
    The convolution is given by its padding, the number of its outputs, and its dilation.
    """
    common = gcd(stride, dilation)
    q = stride // common
    for r in range(min(q, taps)):
        count = -(-(taps - r) // q)
        first = (r * dilation - low) % stride
        outputs = -(-(length - first) // stride)
        if outputs > 0:
            shift = (first + low - r * dilation) // stride
            some = slice(taps - 1 - r - q * (count - 1), None, q)
            before = (count - 1) * (dilation // common) - shift
            yield slice(first, None, stride), some, before, outputs, dilation // common

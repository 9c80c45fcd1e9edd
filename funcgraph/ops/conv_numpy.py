"""Convolutions, and their transposes, on NumPy arrays. May import `ops`.

Columns (im2col) and one matrix product, in pieces whose columns stay in the cache; a 1 x 1 kernel
needs no columns, groups of few channels sum shifted slices instead, and large kernels are multiplied
as Fourier transforms. Arrays are (N, *spatial, C), kernels (*taps, C / groups, O), as in `ops.conv`,
which says what is computed. `out`: memory for the result, contiguous and of its dtype, where this is
the dtype in which sums are taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import gcd, prod
from typing import Any

import numpy as np

from funcgraph.ops import columns, conv_fft
from funcgraph.ops.columns import (
    columns_of,
    padded,
    pieces,
    put_back,
    scratch,
    strided,
    windows,
)
from funcgraph.ops.conv_lines import spread_lines, write_lines
from funcgraph.ops.lines import Lines, reach_back
from funcgraph.ops.threads import in_parallel
from funcgraph.ops.windows import Ints, Pairs, output_length, used

__all__ = ["by_input", "by_kernel", "forward"]

_GROUPS = 8  # whose kernels are products of one batch
_FEWEST = 4  # batches, for threads
_MANY = 64  # channels of input times output, for products of cotangents with all taps of a line
_TAPS = 100  # more sums of slices than that take longer than columns of the cotangent
_SLICES = 1 << 18  # bytes of the slices of a sum at a time: what stays in the cache


def _work(*arrays: Any) -> tuple[Any, Any]:
    """Return the dtype of a product, and the one to compute in: half precision sums in single."""
    dtype = np.result_type(*arrays)
    return dtype, np.dtype(np.float32) if dtype.kind in "fV" and dtype.itemsize == 2 else dtype


def _groups(groups: int, *channels: int) -> Iterator[tuple[slice, ...]]:
    """Yield for each group its slices of the channels."""
    for g in range(groups):
        yield tuple(slice(g * n, (g + 1) * n) for n in channels)


def _is_thin(groups: int, c: int, o: int) -> bool:
    return groups > 1 and c * o <= 4


# --- value ----------------------------------------------------------------------------------------


def forward(
    x: Any,
    w: Any,
    strides: Ints,
    padding: Pairs,
    dilation: Ints,
    groups: int,
    out: Any = None,
) -> Any:
    """Return the convolution of x with w."""
    lengths = tuple(map(output_length, x.shape[1:-1], w.shape[:-2], strides, padding, dilation))
    low = tuple(p[0] for p in padding)
    return _correlate(x, w, low, lengths, strides, dilation, groups, out)


def _correlate(
    x: Any,
    w: Any,
    low: Ints,
    outputs: Ints,
    strides: Ints,
    dilation: Ints,
    groups: int,
    out: Any = None,
) -> Any:
    """Return the first `outputs` of a convolution, whatever lies beyond the end of x."""
    taps, (c, o) = w.shape[:-2], w.shape[-2:]
    dtype, work = _work(x, w)
    shape = (x.shape[0], *outputs, o)
    out = np.empty(shape, work) if out is None else out
    if 0 in shape or not x.size or not w.size:
        out[...] = 0
        return out.astype(dtype, copy=False)
    x, w = x.astype(work, copy=False), w.astype(work, copy=False)
    window = low, outputs, strides, dilation
    thin = _is_thin(groups, c, o // groups)
    if conv_fft.pays(work, x.shape, w.shape, *window, groups, thin) and conv_fft.correlate(
        *(_grouped(x, groups), np.swapaxes(_grouped(w, groups), -3, -2)),
        *(low, outputs, dilation, _grouped(out, groups)),
    ):
        pass
    elif thin:
        x = padded(x, low, tuple(map(used, outputs, taps, strides, dilation)))
        _sum_of_slices(x, w, out, strides, dilation, groups)
    else:
        rows = out.reshape(-1, o)
        for xs, os in _groups(groups, c, o // groups):
            _product(x[..., xs], w[..., os], rows[:, os], *window)
    return out.astype(dtype, copy=False)


def _grouped(x: Any, groups: int) -> Any:
    """Return x with its groups of channels in an axis of their own."""
    return x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)


def _product(
    x: Any, w: Any, out: Any, low: Ints, outputs: Ints, strides: Ints, dilation: Ints
) -> None:
    """Write the convolution of one group into `out`, a matrix with a row for each output."""
    taps = w.shape[:-2]
    w = np.ascontiguousarray(w.reshape(-1, w.shape[-1]))  # the BLAS takes no negative steps
    found = columns_of(x, low, outputs, taps, strides, dilation)

    def write(run: Any) -> None:
        for rows, matrix in found.blocks(run):
            np.matmul(matrix, w, out=out[rows])

    in_parallel(write, found.runs)


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
    views = [strided(x, outputs, strides, s) for s in starts]
    for piece in pieces(x.shape[0], outputs[0], row, _SLICES):
        for b, a in product(range(o), range(c)):
            for tap, view in zip(np.ndindex(*taps), views, strict=True):
                yield tap, a, b, piece, view[(*piece, ..., slice(a, None, c))]


# --- transpose by the kernel ----------------------------------------------------------------------


def by_kernel(
    x: Any,
    g: Any,
    strides: Ints,
    padding: Pairs,
    dilation: Ints,
    groups: int,
    shape: Ints,
    out: Any = None,
) -> Any:
    """Return the kernel, with `shape` taps, that correlates x with g."""
    c, o = x.shape[-1] // groups, g.shape[-1] // groups
    outputs = g.shape[1:-1]
    dtype, work = _work(x, g)
    out = np.empty((*shape, c, o * groups), work) if out is None else out
    if not x.size or not g.size:
        out[...] = 0
        return out.astype(dtype, copy=False)
    x, g = x.astype(work, copy=False), g.astype(work, copy=False)
    low = tuple(p[0] for p in padding)
    thin = _is_thin(groups, c, o)
    if _kernel_by_transforms(x, g, out, low, strides, dilation, groups, thin):
        pass
    elif thin:
        x = padded(x, low, tuple(map(used, outputs, shape, strides, dilation)))
        out[...] = 0
        _kernel_by_slices(x, g, out, strides, dilation, c, o)
    else:
        rows, matrix = g.reshape(-1, o * groups), out.reshape(-1, o * groups)
        window = low, outputs, shape, strides, dilation
        if groups >= _GROUPS and rows.shape[0] * len(matrix) * x.itemsize <= columns.COLUMNS:
            _kernel_products(x, rows, matrix, groups, *window)
            return out.astype(dtype, copy=False)
        for xs, os in _groups(groups, c, o):
            _kernel_product(x[..., xs], rows[:, os], matrix[:, os], *window)
    return out.astype(dtype, copy=False)


def _kernel_by_transforms(
    x: Any, g: Any, out: Any, low: Ints, strides: Ints, dilation: Ints, groups: int, thin: bool
) -> bool:
    """Write the kernel by Fourier transforms, where that is faster and exact enough.

    It is a convolution of x, whose images are its channels, with g, and sums over the batch.
    """
    n, taps = len(x), out.shape[:-2]
    images = (x.shape[-1] // groups, *x.shape[1:-1], groups * n)
    kernel = (*g.shape[1:-1], n, g.shape[-1])
    if not conv_fft.pays(x.dtype, images, kernel, low, taps, dilation, strides, groups, thin):
        return False
    x, g, out = (_grouped(a, groups) for a in (x, g, out))
    x, g, out = np.moveaxis(x, (-1, 0), (0, -1)), np.moveaxis(g, 0, -2), np.moveaxis(out, -3, 0)
    return conv_fft.correlate(x, g, low, taps, strides, out)


def _kernel_products(
    x: Any, g: Any, out: Any, groups: int,
    low: Ints, outputs: Ints, taps: Ints, strides: Ints, dilation: Ints,
) -> None:  # fmt: skip
    """Write the kernels of many groups: the products of as many at a time as the cache has room for.

    Groups by the dozen are the examples of a batch, each of which wants a gradient of its own.
    """
    n, k, c, width = len(x), len(taps), x.shape[-1] // groups, len(out)
    x = np.moveaxis(x.reshape(*x.shape[:-1], groups, c), -2, 0)
    g, target = (np.moveaxis(a.reshape(len(a), groups, -1), 1, 0) for a in (g, out))
    few = taps[-1] * c < columns.RUN

    def write(some: slice) -> None:
        part = np.ascontiguousarray(x[some])
        count = len(part)
        part = part.reshape(count * n, *part.shape[2:])
        view = windows(part, low, outputs, taps, strides, dilation)
        view = view.reshape(count, n, *view.shape[1:])
        if few:  # the outputs last: long runs
            view = view.transpose(0, *range(2 + k, 3 + 2 * k), 1, *range(2, 2 + k))
        block = scratch(view.size, part.dtype)
        block.reshape(view.shape)[...] = view
        matrices = block.reshape(count, width, -1) if few else block.reshape(count, -1, width).mT
        target[some] = np.matmul(matrices, np.ascontiguousarray(g[some]))
        put_back(block)

    step = max(1, columns.COLUMNS // (g.shape[1] * width * x.itemsize))
    step = min(step, -(-groups // _FEWEST))
    in_parallel(write, [slice(k, k + step) for k in range(0, groups, step)])


def _kernel_product(
    x: Any, g: Any, out: Any, low: Ints, outputs: Ints, taps: Ints, strides: Ints, dilation: Ints
) -> None:
    """Write the kernel of one group, a matrix with a row for each tap and channel."""
    found = columns_of(x, low, outputs, taps, strides, dilation)

    def part(numbered: tuple[int, Any]) -> Any:
        number, run = numbered
        total = term = None
        for rows, matrix in found.blocks(run):
            if total is None:  # the first run's is the result's memory
                total = np.matmul(matrix.T, g[rows], out=None if number else out)
            else:
                term = np.matmul(matrix.T, g[rows], out=term)
                total += term
        return total

    for total in in_parallel(part, list(enumerate(found.runs)))[1:]:
        out += total


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
    g: Any,
    w: Any,
    strides: Ints,
    padding: Pairs,
    dilation: Ints,
    groups: int,
    shape: Ints,
    out: Any = None,
) -> Any:
    """Return the input, of spatial `shape`, to which g flows back through w."""
    taps, (c, o) = w.shape[:-2], (w.shape[-2], w.shape[-1] // groups)
    if out is None:
        out = np.empty((g.shape[0], *shape, groups * c), _work(g, w)[0])
    low = tuple(p[0] for p in padding)
    before = tuple((k - 1) * d - p for k, d, p in zip(taps, dilation, low, strict=True))
    work, kernel = _work(g, w)[1], (*taps, o, groups * c)
    thin = _is_thin(groups, c, o)
    if conv_fft.pays(work, g.shape, kernel, before, shape, strides, dilation, groups, thin):
        pass  # below
    elif 8 * c <= o and 1 < prod(taps) <= _TAPS * prod(strides):
        return _by_columns(g, w, strides, low, dilation, groups, shape, out)
    elif not thin and prod(taps) > 1 and g.size and w.size:
        spreads = c * o >= _MANY and _is_better_spread(g.shape[-2], strides[-1], shape[-1])
        if len(shape) == 1 and spreads:  # a first axis to cut lines from
            two = (1, *strides), (0, *low), (1, *dilation), groups, spreads, out[:, None]
            _by_lines(g[:, None], w[None], *two)
            return out
        if len(shape) > 1 and (spreads or _are_better_lines(g.shape, strides)):
            _by_lines(g, w, strides, low, dilation, groups, spreads, out)
            return out
    w = np.flip(w, range(len(taps))).reshape(*taps, c, groups, o)
    w = np.swapaxes(w, -1, -3).reshape(*taps, o, groups * c)
    if all(s == 1 for s in strides):
        memory = out if out.dtype == work else None
        return _correlate(g, w, before, shape, strides, dilation, groups, memory)
    # Elements that share a remainder by the stride meet every q-th tap only: each such set is a
    # convolution of g, of stride 1, with these taps in reverse order.
    out[...] = 0
    axes = zip(taps, strides, dilation, low, shape, strict=True)
    ones = (1,) * len(taps)

    def write(phase: Any) -> None:
        elements, some, before, outputs, steps = zip(*phase, strict=True)
        part = _correlate(g, w[some], before, outputs, ones, steps, groups)
        out[(slice(None), *elements)] = part

    in_parallel(write, list(product(*[_phases(*axis) for axis in axes])))
    return out


def _is_better_spread(outputs: int, stride: int, length: int) -> bool:
    """Return whether sums over the last axis' taps beat a convolution of g, given lengths of that axis.

    The convolution multiplies elements of g by all taps that reach into its padding too; the other
    does not, but sums over the taps in passes of its own. Milliseconds in float32, on one thread:

    | input          | kernel        | stride | convolution | spread  |
    |----------------|---------------|--------|-------------|---------|
    | 64, 12, 12, 32 | 5, 5, 32, 64  | 1      | 13.6        | 7.5     |
    | 64, 14, 14, 6  | 5, 5, 6, 16   | 1      | 3.2         | 1.9     |
    | 8, 14, 14, 256 | 3, 3, 256,256 | 1 SAME | 19.5        | 18.5    |
    | 32, 32, 32, 32 | 3, 3, 32, 32  | 1 SAME | 10.7        | 11.9    |
    | 8, 56, 56, 64  | 3, 3, 64, 64  | 1 SAME | 21.7        | 27.4    |
    | 32, 32, 32, 32 | 3, 3, 32, 64  | 2 SAME | 6.5         | 6.8     |
    """
    return 5 * length >= 6 * stride * outputs


def _are_better_lines(outputs: Ints, strides: Ints) -> bool:
    """Return whether a convolution of g, (N, *outputs, O), for the input is faster line by line.

    Not without strides, nor where products for one line have few rows. Milliseconds as above (the third
    row on two threads: 3.6 and 3.3):

    | input           | kernel         | stride | at once | line by line |
    |-----------------|----------------|--------|---------|--------------|
    | 128, 32, 32, 32 | 3, 3, 32, 64   | 2 SAME | 30.7    | 25.6         |
    | 128, 16, 16, 64 | 3, 3, 64, 128  | 2 SAME | 21.2    | 18.6         |
    | 32, 16, 16, 64  | 3, 3, 64, 128  | 2 SAME | 4.3     | 4.4          |
    | 8, 32, 32, 32   | 3, 3, 32, 64   | 2 SAME | 1.9     | 2.2          |
    | 8, 56, 56, 64   | 3, 3, 64, 64   | 1 SAME | 25.9    | 28.8         |
    """
    return any(s > 1 for s in strides) and outputs[0] * prod(outputs[2:-1]) >= 256


def _by_lines(
    g: Any,
    w: Any,
    strides: Ints,
    low: Ints,
    dilation: Ints,
    groups: int,
    spreads: bool,
    out: Any,
) -> None:
    """Write the same line by line, for each set of elements of the other axes.

    Along the last axis g is convolved too, or, if `spreads`, multiplied by all taps, and the products
    are added to what they meet.
    """
    work = _work(g, w)[1]
    g, w = g.astype(work, copy=False), w.astype(work, copy=False)
    n, shape, taps, c = w.ndim - 2, out.shape[1:-1], w.shape[:-2], w.shape[-2]
    inner = n - 1 if spreads else n  # the axes before this one, but the first, are convolved
    lines, step = reach_back(shape[0], taps[0], strides[0], dilation[0], low[0], g.shape[1])
    w = np.swapaxes(np.flip(w, range(1, inner)), -1, -2)
    axes = list(zip(taps, strides, dilation, low, shape, strict=True))[1:inner]
    reached = used(g.shape[-2], taps[-1], strides[-1], dilation[-1])
    if any(min(s // gcd(s, d), k) < s for k, s, d, *_ in axes) or (
        spreads and not 0 <= low[-1] <= reached - shape[-1]
    ):
        out[...] = 0  # some elements are met by nothing
    for phase in product(*[_phases(*axis) for axis in axes]):
        elements, some, before, outputs, steps = zip(*phase, strict=True) if phase else ((),) * 5
        kernels = _kernels(w, strides[0] // gcd(strides[0], dilation[0]), some)
        ones = (1,) * (n - 1)
        if spreads:
            before, outputs, steps = (*before, 0), (*outputs, g.shape[-2]), (*steps, 1)
        counts = kernels[0].shape[1:inner] + ones[: n - inner]
        window = lines, step, before, outputs, counts, ones, steps
        part = out[(slice(None), slice(None), *elements)]
        last = (strides[-1], dilation[-1], low[-1]) if spreads else ()
        for xs, os in _groups(groups, c, g.shape[-1] // groups):
            _write_group(g[..., os], [k[..., os, :] for k in kernels], window, last, part[..., xs])


def _write_group(g: Any, kernels: list[Any], window: Any, last: Ints, out: Any) -> None:
    """Write the elements of one group; `last`: stride, dilation and padding of the axis to spread on."""
    found = Lines(g, *window)
    if last:
        kernels = [np.ascontiguousarray(np.moveaxis(k, -3, -2)) for k in kernels]
        spread_lines(found, kernels, out, *last)
    else:
        write_lines(found, [np.ascontiguousarray(k) for k in kernels], out)


def _kernels(w: Any, q: int, some: tuple[slice, ...]) -> list[Any]:
    """Return the kernels of `reach_back`, with some taps of the next axes."""
    return [w[r::q][::-1][(slice(None), *some)] for r in range(min(q, len(w)))]


def _by_columns(
    g: Any, w: Any, strides: Ints, low: Ints, dilation: Ints, groups: int, shape: Ints, out: Any
) -> Any:
    """Write and return the same by a product that gives columns, and a sum of slices over the taps (col2im).

    It pays where the input has far fewer channels than the output.
    """
    taps, (c, o) = w.shape[:-2], (w.shape[-2], w.shape[-1] // groups)
    work = _work(g, w)[1]
    g, w = g.astype(work, copy=False), w.astype(work, copy=False)
    lengths = tuple(map(used, g.shape[1:-1], taps, strides, dilation))
    few = taps[-1] * c < columns.RUN
    if few:
        x = np.moveaxis(np.zeros((groups * c, g.shape[0], *lengths), work), 0, -1)
    else:
        x = np.zeros((g.shape[0], *lengths, groups * c), work)
    for xs, os in _groups(groups, c, o) if g.size else ():
        _add_columns(x[..., xs], g[..., os], w[..., os], strides, dilation, few)
    out[...] = padded(x, tuple(-n for n in low), shape)
    return out


def _add_columns(x: Any, g: Any, w: Any, strides: Ints, dilation: Ints, few: bool) -> None:
    """Add to x, which has all elements that the windows reach, what g of one group gives."""
    outputs, taps, c = g.shape[1:-1], w.shape[:-2], w.shape[-2]
    w = w.reshape(-1, w.shape[-1])
    n = len(taps)
    row = prod(outputs[1:]) * len(w) * x.itemsize
    for batch, first in pieces(len(x), outputs[0], row, columns.COLUMNS):
        rows = g[batch, first]
        size = rows.shape[:-1]
        rows = rows.reshape(-1, w.shape[-1])
        if few:
            terms = np.moveaxis((w @ rows.T).reshape(*taps, c, *size), n, -1)
        else:
            terms = np.moveaxis(
                (rows @ w.T).reshape(*size, *taps, c), range(n + 1), range(n, 2 * n + 1)
            )
        for tap in np.ndindex(*taps):
            start = [k * d for k, d in zip(tap, dilation, strict=True)]
            start[0] += first.start * strides[0]
            target = strided(x[batch], size[1:], strides, tuple(start))
            target += terms[tap]


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

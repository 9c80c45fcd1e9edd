"""Columns of arrays (im2col), piece by piece, in memory that stays in the cache.

A convolution is a product of its columns and its kernel. May import `ops.windows`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from funcgraph.ops.windows import Ints, used

__all__ = [
    "COLUMNS",
    "RUN",
    "Columns",
    "Rows",
    "columns_of",
    "ends",
    "padded",
    "pieces",
    "put_back",
    "scratch",
    "shares",
    "strided",
    "windows",
]

COLUMNS = 1 << 21  # bytes of columns at a time: what stays in the cache
RUN = 24  # elements of one run of copying below which columns are better laid out channels first
_PIECE = 1 << 20  # bytes of columns that are worth a piece of their own
_RUNS = 4  # into which pieces are collected, for threads
# Memory of columns, kept for the next call: new pages of the system cost as much as writing to them.
_spare: deque[Any] = deque(maxlen=4)
_KEPT = 1 << 22  # bytes of the largest that is kept


def strided(x: Any, outputs: Ints, strides: Ints, start: Ints) -> Any:
    """Return the elements of x that one tap meets."""
    spans = zip(outputs, strides, start, strict=True)
    return x[(slice(None), *(slice(a, a + (n - 1) * s + 1, s) for n, s, a in spans))]


def padded(x: Any, low: Ints, lengths: Ints) -> Any:
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


def windows(x: Any, low: Ints, outputs: Ints, taps: Ints, strides: Ints, dilation: Ints) -> Any:
    """Return all windows of x as a view, (N, *outputs, *taps, C), of x or of a padded copy."""
    x = padded(x, low, tuple(map(used, outputs, taps, strides, dilation)))
    return as_strided(x, *_views(x, outputs, taps, strides, dilation)[0], writeable=False)


def pieces(n: int, length: int, size: int, limit: int) -> Iterator[tuple[slice, slice]]:
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


def shares(n: int, length: int, size: int) -> list[tuple[slice, slice]]:
    """Return pieces as large as the cache allows, as many as two or four threads can share."""
    limit = max(_PIECE, min(n * length * size // _RUNS, COLUMNS))
    if length * size > limit:
        return list(pieces(n, length, size, limit))
    count = -(-n // (limit // max(1, length * size)))
    cuts = ends(n, count if count < 3 else -(-count // _RUNS) * _RUNS)
    return [(slice(a, b), slice(0, length)) for a, b in pairwise(cuts)]


def scratch(size: int, dtype: Any) -> Any:
    """Return an array of one axis, for `put_back` when it is not needed any more."""
    need = size * dtype.itemsize
    try:
        memory = _spare.pop()
    except IndexError:
        memory = None
    if memory is None or len(memory) < need:
        memory = np.empty(need, np.uint8)
    return memory[:need].view(dtype)


def put_back(array: Any) -> None:
    """Keep the memory of an array from `scratch` for the next one."""
    memory = array.base
    if len(memory) <= _KEPT:
        _spare.append(memory)


class Columns:
    """The columns of an array, piece by piece, and the pieces in runs that may go to threads.

    `low`: how many zeros are added before each spatial axis. Padding, like the columns, is made for
    the images of one piece at a time.
    """

    def __init__(
        self, x: Any, low: Ints, outputs: Ints, taps: Ints, strides: Ints, dilation: Ints
    ) -> None:
        self.x, self.low, self.outputs = x, low, outputs
        self.window = taps, strides, dilation
        self.lengths = tuple(map(used, outputs, taps, strides, dilation))
        self.few = taps[-1] * x.shape[-1] < RUN  # columns channels first: long runs along the rows
        self.width = prod(taps) * x.shape[-1]
        row = prod(outputs[1:]) * self.width * x.itemsize
        parts = shares(len(x), outputs[0], row)
        self.runs = [parts[a:b] for a, b in pairwise(ends(len(parts), _RUNS))]
        self.rows = max([(a.stop - a.start) * (b.stop - b.start) for a, b in parts], default=0)
        self.rows *= prod(outputs[1:])  # of the largest matrix

    def blocks(self, run: list[tuple[slice, slice]]) -> Iterator[tuple[slice, Any]]:
        """Yield for each piece its outputs, numbered through, and the matrix of its columns.

        The matrix has a row for each output and a column for each tap and channel. It is valid until
        the next one is asked for.
        """
        before = None
        after = (slice(None),) * (len(self.outputs) - 1)
        buffer = scratch(self.rows * self.width, self.x.dtype)
        for images, lines in run:
            if images != before:
                windows, before = self._windows(self.x[images]), images
            view = windows[(..., lines, *after)] if self.few else windows[:, lines]
            block = buffer[: view.size].reshape(view.shape)
            block[...] = view
            shape = (self.width, -1) if self.few else (-1, self.width)
            matrix = block.reshape(shape).T if self.few else block.reshape(shape)
            start = images.start * self.outputs[0] + lines.start
            start *= prod(self.outputs[1:])
            yield slice(start, start + len(matrix)), matrix
        put_back(buffer)

    def _windows(self, x: Any) -> Any:
        """Return all windows of some images."""
        x = padded(x, self.low, self.lengths)
        if self.few:
            x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, -1, 0)), 0, -1)
        return as_strided(x, *_views(x, self.outputs, *self.window)[self.few], writeable=False)


class Rows:
    """The columns of a kernel of one tap: the elements of x that it meets."""

    def __init__(self, x: Any, low: Ints, outputs: Ints, strides: Ints) -> None:
        ones = (1,) * len(low)
        x = padded(x, low, tuple(map(used, outputs, ones, strides)))
        self.matrix = strided(x, outputs, strides, (0,) * len(low)).reshape(-1, x.shape[-1])
        n = len(self.matrix)
        cuts = ends(n, _RUNS if self.matrix.nbytes >= COLUMNS else 1)
        self.runs = [slice(a, b) for a, b in pairwise(cuts)]

    def blocks(self, run: slice) -> Iterator[tuple[slice, Any]]:
        """Yield the outputs of a run, and their matrix."""
        yield run, self.matrix[run]


def columns_of(
    x: Any, low: Ints, outputs: Ints, taps: Ints, strides: Ints, dilation: Ints
) -> Columns | Rows:
    """Return the columns of x for a kernel with these taps."""
    if prod(taps) == 1:
        return Rows(x, low, outputs, strides)
    return Columns(x, low, outputs, taps, strides, dilation)


def ends(n: int, count: int) -> list[int]:
    """Return where n things are cut into some runs of almost the same length."""
    count = min(n, count)
    return [k * n // count for k in range(count + 1)] if n else []

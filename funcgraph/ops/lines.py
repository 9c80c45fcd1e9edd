"""Columns of an array along all spatial axes but the first, line by line of that axis.

The windows along the other axes are copied once; those along the first are slices of the copy, since
the lines of one image lie behind each other there. So a kernel of 5 x 5 needs 5 copies of the array,
not 25, and taps that fall into the padding before and after the lines cost nothing.
May import `ops.columns`, `ops.windows`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import gcd, prod
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from funcgraph.ops.columns import ends, padded, put_back, scratch
from funcgraph.ops.windows import Ints, used

__all__ = ["Line", "Lines", "reach", "reach_back"]

_BLOCK = 1 << 21  # bytes of columns at a time
_ROWS = 32  # of a matrix, at least: every product reads its kernel again
_FEWEST = 2  # pieces that a batch is cut into at least, for threads
_RUNS = 8  # into which pieces are collected


class Line(NamedTuple):
    """A line of a result: which lines of an array meet which taps of which kernel there.

    Lines first, first + step, ... meet the taps from `tap` on; all lines have the same step.
    """

    target: int
    first: int
    size: int
    tap: int
    kernel: int


class Group(NamedTuple):
    """Lines of a piece that meet the same taps, those of `line`, and the stack of their matrices."""

    numbers: slice
    line: Line
    matrices: Any


def reach(outputs: int, taps: int, stride: int, dilation: int, low: int, length: int) -> list[Line]:
    """Return for each output the elements of an axis, without its padding, that its window meets."""
    found = []
    for o in range(outputs):
        start = o * stride - low
        tap = max(0, -(start // dilation))
        stop = min(taps, (length - 1 - start) // dilation + 1)
        found.append(Line(o, start + tap * dilation, max(0, stop - tap), tap, 0))
    return found


def reach_back(
    length: int, taps: int, stride: int, dilation: int, low: int, outputs: int
) -> tuple[list[Line], int]:
    """Return for each element of an axis the outputs whose windows meet it, and their step.

    Kernel r has the taps r, r + q, r + 2 q, ... in reverse order, q = stride / gcd(stride, dilation):
    they meet the same elements.
    """
    common = gcd(stride, dilation)
    q, step = stride // common, dilation // common
    found = []
    for element in range(length):
        places = [(element + low - r * dilation, r) for r in range(min(q, taps))]
        start, r = next(((a // stride, r) for a, r in places if a % stride == 0), (0, taps))
        count = -(-(taps - r) // q)  # of the taps; the k-th meets output start - k * step
        last = min(count, start // step + 1)
        first = max(0, -((outputs - 1 - start) // step))
        some = max(0, last - first)
        found.append(Line(element, start - (last - 1) * step, some, count - last, r if some else 0))
    return found, step


class Lines:
    """The columns of an array, piece by piece, and the pieces in runs that may go to threads.

    Args:
      x: The array, (N, *spatial, C).
      lines: The lines of the result, in the order of their targets, which are all there.
      step: Between the lines of x that neighbouring taps meet.
      low: How many zeros are added before each spatial axis but the first.
      window: Outputs, taps, strides and dilations of the same axes.
    """

    def __init__(self, x: Any, lines: list[Line], step: int, low: Ints, *window: Ints) -> None:
        self.x, self.step, self.low, self.window = x, step, low, window
        self.outputs, taps, strides, dilation = window
        self.lengths = tuple(map(used, *window))
        self.every = (slice(None),) * (1 + len(self.outputs))
        last = reach(self.outputs[-1], taps[-1], strides[-1], dilation[-1], low[-1], x.shape[-2])
        self.last = _together(last, taps[-1])
        self.width = prod(taps) * x.shape[-1]
        images, targets = self._piece_size(len(lines))
        parts = [
            (slice(k, min(k + images, len(x))), lines[a : a + targets])
            for k in range(0, len(x), images)
            for a in range(0, len(lines), targets)
        ]
        self.runs = [parts[a:b] for a, b in pairwise(ends(len(parts), _RUNS))]

    def _piece_size(self, count: int) -> tuple[int, int]:
        """Return how many images, and how many of the lines, there are in a piece."""
        n = len(self.x)
        image = prod(self.outputs) * self.width * self.x.itemsize * self.x.shape[1]
        least = -(-_ROWS // prod(self.outputs))
        if image * least > 2 * _BLOCK:
            return least, -(-count // -(-image * least // _BLOCK))
        pieces = max(-(-n * image // _BLOCK), _FEWEST)
        return max(-(-n // pieces), least), count

    def blocks(self, run: Any) -> Iterator[tuple[slice, list[Line], list[Group]]]:
        """Yield for each piece its images, its lines, and the matrices of their columns.

        A matrix has a row for each image and output of the other axes, and a column for each line,
        tap of the other axes, and channel. They are valid until the next piece is asked for.
        """
        for images, lines in run:
            block, places = self._block(images, lines)
            rows = (images.stop - images.start) * prod(self.outputs)
            block = block.reshape(rows, -1, self.width)
            yield images, lines, [self._group(block, *some) for some in _alike(lines, places)]
            put_back(block)

    def _group(self, block: Any, numbers: slice, line: Line, place: int, step: int) -> Group:
        """Return the matrices of lines that meet the same taps."""
        row, between, last = block.strides
        count = len(range(numbers.start, numbers.stop, numbers.step))
        shape = (count, len(block), line.size * self.width)
        at, strides = place * between, (step * between, row, last)
        return Group(numbers, line, np.ndarray(shape, block.dtype, block, at, strides))

    def _block(self, images: slice, lines: list[Line]) -> tuple[Any, list[int]]:
        """Return columns, (images, *outputs, lines, *taps, C), and at which line each window starts.

        The lines are in the order of their remainders by the step: those of a window are together.
        """
        step, (outputs, taps, *_) = self.step, self.window
        met = [line for line in lines if line.size]
        low = min([line.first for line in met], default=0)
        high = max([line.first + (line.size - 1) * step + 1 for line in met], default=0)
        x = self.x[images, low:high]
        x = padded(x, (0, *self.low[:-1], 0), (high - low, *self.lengths[:-1], x.shape[-2]))
        shape = (len(x), *outputs, high - low, *taps, x.shape[-1])
        block = scratch(prod(shape), x.dtype).reshape(shape)
        starts = [0]
        for k in range(step):
            starts.append(starts[-1] + len(range(k, high - low, step)))
            self._copy(block[(*self.every, slice(starts[-2], starts[-1]))], x[:, k::step])
        places = [line.first - low if line.size else 0 for line in lines]
        return block, [starts[p % step] + p // step for p in places]

    def _copy(self, block: Any, x: Any) -> None:
        """Copy all windows along the axes of the columns."""
        _, taps, strides, dilation = self.window
        for some, first, met in self.last:
            part = block[(*self.every[:-1], some)]
            if met != slice(0, taps[-1]):
                part[...] = 0
                part = part[..., met, :]
            source = x[..., first:, :]
            start, line, *rest, channel = source.strides
            at = (a * b for a, b in zip(rest, strides, strict=True))
            tap = (a * b for a, b in zip(rest, dilation, strict=True))
            if part.size:
                part[...] = as_strided(
                    source, part.shape, (start, *at, line, *tap, channel), writeable=False
                )


def _together(lines: list[Line], taps: int) -> list[tuple[slice, int, slice]]:
    """Return outputs, the first element that they meet, and their taps; those in one that meet all."""
    found = []
    inner = [line.target for line in lines if line.size == taps]
    for line in lines:
        whole = line.size == taps
        stop = inner[-1] if whole else line.target
        if not whole or line.target == inner[0]:
            some = slice(line.tap, line.tap + line.size)
            found.append((slice(line.target, stop + 1), line.first if line.size else 0, some))
    return found


def _alike(lines: list[Line], places: list[int]) -> Iterator[tuple[slice, Line, int, int]]:
    """Yield the numbers of lines that meet the same taps, one of them, and the step of their places."""
    found: dict[Any, list[int]] = {}
    for k, line in enumerate(lines):
        found.setdefault((line.size, line.tap, line.kernel), []).append(k)
    for same in found.values():
        gaps = {(b - a, places[b] - places[a]) for a, b in pairwise(same)}
        for some in [same] if len(gaps) < 2 else [[k] for k in same]:
            gap, step = next(iter(gaps)) if len(some) > 1 else (1, 0)
            yield slice(some[0], some[-1] + 1, gap), lines[some[0]], places[some[0]], step

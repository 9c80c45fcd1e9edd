"""Convolutions of NumPy arrays, and their transposes, as one product for each line of the result.

The columns are those of `ops.lines`. Each function here writes one group of channels. May import
`ops.columns`, `ops.lines`, `ops.threads`, `ops.windows`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from funcgraph.ops.columns import put_back, scratch
from funcgraph.ops.lines import Line, Lines
from funcgraph.ops.threads import in_parallel
from funcgraph.ops.windows import used

__all__ = ["spread_lines", "write_lines"]

_ROWS = 128  # of a product: with fewer, one large one is faster than several


def write_lines(found: Lines, kernels: Sequence[Any], out: Any) -> None:
    """Write a convolution, the lines of `found` times kernels, to out, (N, *outputs, O).

    Kernels are (*taps, C, O), in memory of their own.
    """
    width, dtype = out.shape[-1], found.x.dtype

    def write(run: Any) -> None:
        for images, lines, groups in found.blocks(run):
            target = out[images, lines[0].target : lines[-1].target + 1]
            direct = len(target) == 1 and target.flags.c_contiguous and out.dtype == dtype
            terms = target if direct else scratch(target.size, dtype)
            terms = terms.reshape(len(lines), -1, width)
            for some, line, matrices in groups:
                if line.size:
                    kernel = _taps(kernels, line).reshape(-1, width)
                    np.matmul(matrices, kernel, out=terms[some])
                else:
                    terms[some] = 0
            if not direct:
                shape = (len(lines), len(target), *target.shape[2:])
                target[...] = np.swapaxes(terms.reshape(shape), 0, 1)
                put_back(terms)

    in_parallel(write, found.runs)


def _taps(kernels: Sequence[Any], line: Line) -> Any:
    """Return the part of a kernel that a line meets."""
    return kernels[line.kernel][line.tap : line.tap + line.size]


def spread_lines(
    found: Lines, kernels: Sequence[Any], out: Any, stride: int, dilation: int, low: int
) -> None:
    """Write to out, (N, *spatial, C), what each element of g adds along the last axis.

    The columns are those of g, with one tap along the last axis. Kernels are (*taps, O, C) with the
    taps of the last axis behind O: a product for each of these gives what it adds, or, if it has few
    rows, one product for all, whose sums are in shorter runs.
    """
    width = found.outputs[-1]
    count, c = kernels[0].shape[-2:]
    dtype = found.x.dtype
    reached = used(width, count, stride, dilation)
    start, stop = max(0, low), min(reached, low + out.shape[-2])

    def write(run: Any) -> None:
        for images, lines, groups in found.blocks(run):
            rows = (images.stop - images.start) * prod(found.outputs)
            few = rows < _ROWS
            memory = scratch(len(lines) * rows * count * c, dtype)
            shape = (len(lines), *((rows, count) if few else (count, rows)), c)
            terms = np.swapaxes(memory.reshape(shape), 1, 2) if few else memory.reshape(shape)
            for some, line, matrices in groups:
                if not line.size:
                    terms[some] = 0
                    continue
                kernel = _taps(kernels, line).reshape(-1, count, c)
                if few:
                    target = memory.reshape(len(lines), rows, count * c)[some]
                    np.matmul(matrices, kernel.reshape(-1, count * c), out=target)
                else:
                    np.matmul(matrices[:, None], np.swapaxes(kernel, 0, 1), out=terms[some])
            sums = scratch(len(lines) * (rows // width) * reached * c, dtype)
            sums = sums.reshape(len(lines), rows // width, reached, c)
            sums[...] = 0
            for k in range(count):
                first = k * dilation
                part = sums[:, :, first : first + (width - 1) * stride + 1 : stride]
                part += terms[:, k].reshape(part.shape)
            place = slice(start - low, max(start, stop) - low)
            target = out[images, lines[0].target : lines[-1].target + 1, ..., place, :]
            shape = (len(lines), len(target), *target.shape[2:])
            target[...] = np.swapaxes(sums[:, :, start:stop].reshape(shape), 0, 1)
            put_back(memory)
            put_back(sums)

    in_parallel(write, found.runs)

"""Slices of arrays that the taps of a convolution meet, and convolutions as sums over taps, in JAX.

For a CPU: see `ops.conv_xla`, whose formulas are made of these. One channel in each group is a sum
over taps of a shifted slice times a row of the kernel: one loop, or a loop over the taps where these
are many, since XLA compiles each slice. May import `ops.windows`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

from funcgraph.ops.windows import Ints, Pairs, used

__all__ = [
    "TAPS",
    "Steps",
    "depthwise",
    "depthwise_by_input",
    "depthwise_by_kernel",
    "each_tap",
    "extended",
    "padded",
    "placed",
    "reached",
    "reversed_taps",
    "turned_steps",
]

TAPS = 128  # slices that are compiled one by one


class Steps(NamedTuple):
    """How windows move, for each axis."""

    strides: Ints
    padding: Pairs
    dilation: Ints


# --- slices ---------------------------------------------------------------------------------------


def padded(jax: Any, x: Any, padding: Any) -> Any:
    """Return x with `padding` (low, high) at its spatial axes, negative numbers cutting off."""
    pads = [(0, 0, 0), *((low, high, 0) for low, high in padding), (0, 0, 0)]
    return jax.lax.pad(x, x.dtype.type(0), pads)


def extended(jax: Any, x: Any, outputs: Ints, taps: Ints, steps: Steps) -> Any:
    """Return x padded so that the windows reach exactly to the end of each axis."""
    ends = map(used, outputs, taps, steps.strides, steps.dilation)
    lows = [low for low, _ in steps.padding]
    pads = [(low, end - n - low) for n, end, low in zip(x.shape[1:-1], ends, lows, strict=True)]
    return padded(jax, x, pads)


def reached(x: Any, first: int, tap: Ints, outputs: Ints, strides: Ints, dilation: Ints) -> Any:
    """Return the elements that meet a tap at each output, along axes from `first` on."""
    parts = [
        slice(k * d, k * d + (n - 1) * s + 1, s)
        for k, n, s, d in zip(tap, outputs, strides, dilation, strict=True)
    ]
    return x[(*(slice(None),) * first, *parts)]


def placed(jax: Any, x: Any, tap: Ints, lengths: Ints, steps: Steps) -> Any:
    """Return the transpose of `reached` and of the padding: zeros, but what meets a tap."""
    pads = [(0, 0, 0)]
    for k, o, n, s, (low, _), d in zip(tap, x.shape[1:-1], lengths, *steps, strict=True):
        start = k * d - low
        pads.append((start, n - start - (o - 1) * s - 1, s - 1))
    return jax.lax.pad(x, x.dtype.type(0), [*pads, (0, 0, 0)])


def each_tap(taps: Ints) -> Iterator[Ints]:
    """Return the taps of a kernel, row by row."""
    return itertools.product(*map(range, taps))


def turned_steps(w: Ints, g: Ints, shape: Ints, steps: Steps) -> Steps:
    """Return how the windows of the kernel in reverse order move over the cotangent."""
    ends = [(k - 1) * d for k, d in zip(w, steps.dilation, strict=False)]
    pads = [
        (end - low, length - o + low)
        for end, (low, _), length, o in zip(ends, steps.padding, shape, g[1:-1], strict=True)
    ]
    return Steps((1,) * len(shape), tuple(pads), steps.dilation)


def reversed_taps(w: Any, n: int) -> Any:
    """Return w with its first n axes in reverse order."""
    return w[(slice(None, None, -1),) * n]


# --- one channel in each group: taps ---------------------------------------------------------------


def _rows(w: Any, groups: int) -> Any:
    """Return the kernel of shape (*taps, 1, O) as (*taps, groups, O / groups)."""
    return w.reshape(*w.shape[:-2], groups, w.shape[-1] // groups)


def depthwise(jax: Any, x: Any, w: Any, outputs: Ints, steps: Steps, groups: int) -> Any:
    """Return conv(x, w) of one channel in each group."""
    rows = _rows(w, groups)
    term = lambda some, row: (some[..., None] * row).reshape(*some.shape[:-1], -1)
    x = extended(jax, x, outputs, w.shape[:-2], steps)
    return _sum_of_taps(jax, x, rows, term, outputs, steps)


def depthwise_by_input(jax: Any, g: Any, w: Any, shape: Ints, steps: Steps, groups: int) -> Any:
    """Return conv_input(g, w) of one channel in each group."""
    n, rows = len(shape), _rows(w, groups)
    if max(steps.strides) == 1:
        each = range(rows.shape[-1])
        term = lambda some, row: sum(some[..., k :: len(each)] * row[:, k] for k in each)
        steps = turned_steps(w.shape, g.shape, shape, steps)
        g = extended(jax, g, shape, w.shape[:-2], steps)
        return _sum_of_taps(jax, g, reversed_taps(rows, n), term, shape, steps)
    g = g.reshape(*g.shape[:-1], *rows.shape[-2:])
    return sum(
        placed(jax, (g * rows[tap]).sum(-1), tap, shape, steps) for tap in each_tap(w.shape[:-2])
    )


def _sum_of_taps(jax: Any, x: Any, rows: Any, term: Any, outputs: Ints, steps: Steps) -> Any:
    """Return the sum over taps of a term of what they meet and their row of the kernel."""
    strides, _, dilation = steps
    taps = rows.shape[:-2]
    if prod(taps) <= TAPS:  # one loop for all of them
        return sum(
            term(reached(x, 1, tap, outputs, strides, dilation), rows[tap])
            for tap in each_tap(taps)
        )
    found = _starts(jax, 1, taps, dilation), rows.reshape(-1, *rows.shape[-2:])
    meet = lambda start, row: term(_reached_from(jax, x, start, outputs, strides), row)
    first = jax.eval_shape(meet, *(a[0] for a in found))
    add = lambda total, tap: (total + meet(*tap), None)
    return jax.lax.scan(add, jax.numpy.zeros(first.shape, first.dtype), found)[0]


def _starts(jax: Any, first: int, taps: Ints, dilation: Ints) -> Any:
    """Return the first element that each tap meets, along axes from `first` on: (taps, all axes)."""
    before = (0,) * first
    starts = [
        (*before, *(k * d for k, d in zip(tap, dilation, strict=True)), 0) for tap in each_tap(taps)
    ]
    return jax.numpy.asarray(starts, "int32")


def _reached_from(jax: Any, x: Any, start: Any, outputs: Ints, strides: Ints) -> Any:
    """Return the same as `reached`, for a start that is known when the program runs."""
    first = x.ndim - 1 - len(outputs)
    sizes = [(n - 1) * s + 1 for n, s in zip(outputs, strides, strict=True)]
    some = jax.lax.dynamic_slice(x, start, (*x.shape[:first], *sizes, x.shape[-1]))
    return some[(*(slice(None),) * first, *(slice(None, None, s) for s in strides))]


def depthwise_by_kernel(jax: Any, x: Any, g: Any, shape: Ints, steps: Steps, groups: int) -> Any:
    """Sum example by example, tap by tap, as products with ones: XLA's own sums do not vectorise."""
    outputs, over = g.shape[1:-1], prod(g.shape[1:-1])
    x, each = extended(jax, x, outputs, shape, steps), g.shape[-1] // groups
    ones, starts = jax.numpy.ones(over, g.dtype), _starts(jax, 0, shape, steps.dilation)

    def term(some: Any, g: Any) -> Any:
        if each > 1:
            g = (some[..., None] * g.reshape(*some.shape, each)).reshape(g.shape)
        else:  # with an axis of length 1 XLA would copy the arrays
            g = some * g
        return g.reshape(over, -1)

    def example(total: Any, operands: Any) -> Any:
        x, g = operands
        tap = lambda start: ones @ term(_reached_from(jax, x, start, outputs, steps.strides), g)
        return total + jax.lax.map(tap, starts), None

    start = jax.numpy.zeros((prod(shape), g.shape[-1]), g.dtype)
    total = jax.lax.scan(example, start, (x, g))[0]
    return total.reshape(*shape, 1, -1)

"""Windows that slide over axes: their lengths, and what their arguments mean.

Along one axis of length L, output o and tap k of a window meet element `o * stride + k * dilation -
low`, where `low` and `high` elements are added at the ends (taken away, where negative).
May import `core`, `errors`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from funcgraph.errors import WindowError

__all__ = ["Ints", "Pairs", "extent", "output_length", "pads", "per_axis", "used", "valid"]

Ints = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]


def extent(window: int, dilation: int = 1) -> int:
    """Return how many elements a window spans."""
    return (window - 1) * dilation + 1


def output_length(
    length: int, window: int, stride: int, pad: tuple[int, int], dilation: int = 1
) -> int:
    """Return how many windows fit; less than 1 if none does."""
    return (length + sum(pad) - extent(window, dilation)) // stride + 1


def used(outputs: int, window: int, stride: int, dilation: int = 1) -> int:
    """Return how many elements, of the padded axis, the windows reach."""
    return (outputs - 1) * stride + extent(window, dilation)


def valid(tap: int, length: int, outputs: int, stride: int, low: int) -> tuple[slice, slice]:
    """Return the outputs at which a tap (of dilation 1) meets an element, and these elements."""
    first = max(0, -((tap - low) // stride))
    last = min(outputs, (length - 1 - tap + low) // stride + 1)
    if last <= first:
        return slice(0, 0), slice(0, 0)
    start = first * stride + tap - low
    return slice(first, last), slice(start, start + (last - first - 1) * stride + 1, stride)


def per_axis(value: Any, count: int, name: str) -> tuple[int, ...]:
    """Return a positive int, or one for each of `count` axes, as a tuple.

    Raises:
      WindowError: It is neither.
    """
    values = value if isinstance(value, Sequence | np.ndarray) else (value,) * count
    whole = all(hasattr(v, "__index__") and not isinstance(v, bool) for v in values)
    if len(values) != count or not whole or any(int(v) < 1 for v in values):
        raise WindowError(
            f"{name} is a positive int, or one for each of the {count} spatial axes, got {value!r}."
        )
    return tuple(int(v) for v in values)


def pads(
    padding: Any, lengths: Sequence[int], window: Sequence[int], strides: Sequence[int],
    dilation: Sequence[int] | None = None,
) -> Pairs:  # fmt: skip
    """Return a padding as pairs (low, high), one for each spatial axis.

    Args:
      padding: "VALID" (none), "SAME" (outputs = ceil(length / stride), the odd one at the end), an
        int (for both ends of all axes), or a sequence with an int or a pair for each axis.
      lengths: Lengths of the spatial axes.
      window: Lengths of the window.
      strides: Its steps.
      dilation: Distances of its taps; default 1.

    Raises:
      WindowError: The padding is none of these.
    """
    count = len(lengths)
    if isinstance(padding, str):
        if padding.upper() == "VALID":
            return ((0, 0),) * count
        if padding.upper() == "SAME":
            spans = map(extent, window, dilation or (1,) * count)
            sums = [
                max((-(-n // s) - 1) * s + e - n, 0)
                for n, e, s in zip(lengths, spans, strides, strict=True)
            ]
            return tuple((total // 2, total - total // 2) for total in sums)
    elif hasattr(padding, "__index__"):
        return ((int(padding), int(padding)),) * count
    elif isinstance(padding, Sequence | np.ndarray) and len(padding) == count:
        pairs = [(p, p) if hasattr(p, "__index__") else tuple(p) for p in padding]
        if all(len(p) == 2 and all(hasattr(v, "__index__") for v in p) for p in pairs):
            return tuple((int(a), int(b)) for a, b in pairs)
    raise WindowError(
        "padding is 'SAME', 'VALID', an int, or an int or a pair (low, high) for each of the "
        f"{count} spatial axes, got {padding!r}."
    )

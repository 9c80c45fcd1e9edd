"""Sums of arrays in places of a larger one, faster than one by one.

May import `core`, `ops.indexing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from funcgraph.core.graph import Equation, Var
from funcgraph.ops.indexing import ARRAY

__all__ = ["add_rows", "are_rows_repeated", "coverage"]

_OFTEN = 8  # times that each place is named, on average
_WIDE = 16  # elements of a row


def coverage(shape: tuple[int, ...], templates: Sequence[Any]) -> tuple[bool, bool]:
    """Return whether no element of an array is in two of some places, and whether all are in one.

    Args:
      shape: That of the array.
      templates: The places, as indices of numbers and slices.
    """
    count = np.zeros(shape, np.uint8)
    for template in templates:
        count[template] = np.minimum(count[template], 1) + 1
    return bool(count.max(initial=0) < 2), bool(count.min(initial=1))


def are_rows_repeated(e: Equation) -> bool:
    """Return whether an equation adds so many rows to so few that it pays to sort them."""
    if e.primitive.name != "index_add":
        return False
    template = e.attrs["template"]
    if len(template) != 1 or template[0] is not ARRAY:  # a mask has no truth of its own
        return False
    x, v, index = e.inputs
    if not (isinstance(x, Var) and isinstance(v, Var) and isinstance(index, Var)):
        return False
    if index.aval.dtype.kind not in "iu" or v.aval.dtype != x.aval.dtype:
        return False
    (n, *row), places = x.aval.shape, index.aval.shape
    wide = x.aval.dtype.kind == "f" and prod(row) >= _WIDE
    return wide and v.aval.shape == (*places, *row) and prod(places) >= _OFTEN * n > 0


def add_rows(x: Any, rows: Any, index: Any) -> Any:
    """Return x with rows added at an index: those of one place are added up first."""
    out = np.array(x)
    index = index.reshape(-1)
    if index.min() < -len(x) or index.max() >= len(x):
        out[index]  # raises IndexError
    index = np.where(index < 0, index + len(x), index)
    order = np.argsort(index, kind="stable")
    places = index[order]
    starts = np.flatnonzero(np.concatenate(([True], places[1:] != places[:-1])))
    out[places[starts]] += np.add.reduceat(rows.reshape(-1, *x.shape[1:])[order], starts, axis=0)
    return out

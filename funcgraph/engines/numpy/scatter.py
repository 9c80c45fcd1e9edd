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

__all__ = ["add_rows", "are_rows_sorted", "coverage"]

_WIDE = 8  # elements of a row
_MANY = 1 << 13  # elements of all rows


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


def are_rows_sorted(e: Equation) -> bool:
    """Return whether an equation adds rows of which there are so many that it pays to sort them."""
    if e.primitive.name != "index_add":
        return False
    template = e.attrs["template"]
    if len(template) != 1 or template[0] is not ARRAY:  # a mask has no truth of its own
        return False
    (_, v, index), (out,) = e.inputs, e.outputs
    if not (isinstance(v, Var) and isinstance(index, Var)):
        return False
    if index.aval.dtype.kind not in "iu" or v.aval.dtype != out.aval.dtype:
        return False
    (n, *row), places = out.aval.shape, index.aval.shape
    wide = out.aval.dtype.kind == "f" and prod(row) >= _WIDE and n > 0
    return wide and v.aval.shape == (*places, *row) and prod(v.aval.shape) >= _MANY


def add_rows(out: Any, rows: Any, index: Any) -> None:
    """Add rows to those of an array at an index.

    np.add.at takes 1.5 us for each row. Here rows that share a place are sorted and added up in
    pairs, until one is left; then all places differ.
    """
    index = index.reshape(-1)
    if index.min() < -len(out) or index.max() >= len(out):
        out[index]  # raises IndexError
    index = np.where(index < 0, index + len(out), index)
    rows = rows.reshape(-1, *out.shape[1:])
    order = np.argsort(index, kind="stable")
    places = index[order]
    border = np.concatenate(([True], places[1:] != places[:-1], [True]))
    alone = border[1:] & border[:-1]
    out[places[alone]] += rows.take(order[alone], axis=0)
    places, rows = places[~alone], rows.take(order[~alone], axis=0)
    at = np.arange(len(places))
    while True:
        number = np.arange(len(places))
        first = np.concatenate(([True], places[1:] != places[:-1]))[: len(places)]
        odd = (number - np.maximum.accumulate(np.where(first, number, 0))) % 2 == 1
        if not odd.any():
            break
        (second,) = np.nonzero(odd)
        rows[at[second - 1]] += rows[at[second]]
        at, places = at[~odd], places[~odd]
    out[places] += rows[at]

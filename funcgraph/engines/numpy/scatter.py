"""Sums of arrays in places of a larger one, faster than one by one.

May import `core`, `ops.indexing`, `engines.numpy.expressions`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from funcgraph.core.graph import Equation, Var
from funcgraph.engines.numpy.expressions import index_text
from funcgraph.ops.indexing import ARRAY

__all__ = ["add_rows", "are_rows_sorted", "put_back"]

_WIDE = 8  # elements of a row
_MANY = 1 << 13  # elements of all rows


def put_back(
    place: str,
    shape: tuple[int, ...],
    templates: Sequence[Any],
    args: Sequence[str],
    bind: Callable[[Any], str],
) -> tuple[bool, list[str]]:
    """Return the lines that write arrays into their places, and add where something is already.

    Args:
      place: The text of the array, of zeros, into which they go.
      shape: That of the array.
      templates: The places, as indices of numbers and slices.
      args: The texts of the arrays.
      bind: Returns the name of an array.

    Returns:
      Whether all elements are written first, so that no zeros need be there; and the lines.
    """
    seen, whole, lines = np.zeros(shape, bool), True, []
    for template, text in zip(templates, args, strict=True):
        here = seen[template]
        whole = whole and bool(np.all(here) or not np.any(here))
        sign = "+=" if np.any(here) else "="
        lines.append(f"{place}[{index_text(template, [], bind)}] {sign} {text}")
        seen[template] = True
    return whole and bool(seen.all()), lines


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

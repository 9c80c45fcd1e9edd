"""How a large product of matrices is asked of the BLAS.

May import `core`, `ops`.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval
from funcgraph.core.graph import Equation, Var
from funcgraph.ops.columns import ends
from funcgraph.ops.threads import in_parallel

__all__ = ["is_better_turned", "is_for_threads", "product", "with_rows_joined"]

# Products of so few rows with a transpose of so many rows and columns are turned.
_FEW_ROWS, _MANY_COLUMNS = 32, 256
_LONG = 1 << 22  # multiplications that are worth another thread
_PIECES = 4


def _avals(e: Equation) -> list[Aval]:
    return [v.aval for v in (*e.inputs, *e.outputs) if isinstance(v, Var)]


def is_better_turned(e: Equation, turned: Collection[Var]) -> bool:
    """Return whether few rows are multiplied by the transpose of a large matrix.

    The BLAS copies b.T into another order for a @ b.T, but not b for b @ a.T.

    Args:
      e: A product of matrices.
      turned: Transposes.
    """
    avals = _avals(e)
    if [len(a.shape) for a in avals] != [2, 2, 2] or e.inputs[1] not in turned:
        return False
    (m, k), n = avals[0].shape, avals[1].shape[1]
    same = len({a.dtype for a in avals}) == 1
    return same and m <= _FEW_ROWS and min(k, n) >= _MANY_COLUMNS


def with_rows_joined(
    e: Equation, args: list[str], place: str, strided: Collection[Var]
) -> tuple[list[str], str]:
    """Return arguments and place of a product, for one product of all rows instead of several.

    NumPy computes a stack (..., m, k) times a matrix (k, n) matrix by matrix: each is too small for
    the threads of the BLAS, and packs the other factor once more.

    Args:
      e: A product of matrices.
      args: The text of its arguments.
      place: The text of contiguous memory for its result.
      strided: Views whose elements do not lie side by side.
    """
    shapes = [a.shape for a in _avals(e)]
    if len(shapes) < 3 or len(shapes[0]) < 3 or len(shapes[1]) != 2 or e.inputs[0] in strided:
        return args, place
    k, n = shapes[1]
    if not k:
        return args, place
    return [f"{args[0]}.reshape(-1, {k})", args[1]], f"{place}.reshape(-1, {n})"


def is_for_threads(e: Equation) -> bool:
    """Return whether a product of two matrices is large enough for `product`."""
    shapes = [a.shape for a in _avals(e)]
    return [len(s) for s in shapes] == [2, 2, 2] and prod(shapes[0]) * shapes[1][1] >= _LONG


def product(a: Any, b: Any, out: Any) -> None:
    """Write a @ b into out, in pieces of its longer side, on threads."""
    if len(out) < out.shape[1]:
        a, b, out = b.T, a.T, out.T

    def write(rows: slice) -> None:
        np.matmul(a[rows], b, out=out[rows])

    in_parallel(write, [slice(*s) for s in pairwise(ends(len(out), _PIECES))])

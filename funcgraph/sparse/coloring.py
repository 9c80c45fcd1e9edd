"""Colourings: which columns of a sparse matrix one product can compute together.

Rows, columns and neighbours are gone through once each; sets of colours are the bits of integers.
Imports NumPy only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["color_columns", "color_symmetric"]

NONE = -1  # the colour of a column without entries: no product is needed for it


def _lowest_free(taken: int) -> int:
    """Return the lowest bit that is not set, as a number with this bit only."""
    return ~taken & (taken + 1)


def color_columns(pattern: Any) -> Any:
    """Return colours of the columns, such that two with an entry in the same row differ.

    Greedy, columns with many neighbours first.

    Args:
      pattern: Sparse matrix of shape (m, n).

    Returns:
      Integers of shape (n,), from 0; -1 for a column without entries.

    Example:
      >>> import numpy as np, scipy.sparse
      >>> band = np.tri(7, k=1) * np.tri(7, k=1).T
      >>> color_columns(scipy.sparse.csr_array(band))
      array([1, 2, 0, 1, 2, 0, 1])

    Source:
      Gebremedhin, Manne and Pothen, "What color is your Jacobian?", SIAM Review 47, 2005
      (greedy partial distance-2 colouring).
    """
    matrix = pattern.tocsc()
    m, n = matrix.shape
    in_row = np.bincount(matrix.indices, minlength=m)
    used = np.diff(matrix.indptr) > 0
    colors = np.full(n, NONE)
    if in_row.max(initial=0) == np.count_nonzero(used):  # a full row: no two columns can be joined
        colors[used] = np.arange(np.count_nonzero(used))
        return colors
    starts = np.repeat(np.arange(n), np.diff(matrix.indptr))
    neighbours = np.bincount(starts, in_row[matrix.indices], n)
    pointers, rows = matrix.indptr.tolist(), matrix.indices.tolist()
    in_use = [0] * m  # the colours in each row
    for j in np.argsort(-neighbours, kind="stable").tolist():
        column = rows[pointers[j] : pointers[j + 1]]
        if column:
            taken = 0
            for i in column:
                taken |= in_use[i]
            color = _lowest_free(taken)
            for i in column:
                in_use[i] |= color
            colors[j] = color.bit_length() - 1
    return colors


def color_symmetric(pattern: Any) -> Any:
    """Return a star colouring: each entry of a symmetric matrix can be read from one product.

    Neighbours differ, and no path of four vertices has two colours only. So of two elements (i, j)
    and (j, i) at least one is alone in its row among the columns of its colour. Greedy, vertices
    with many neighbours first.

    Args:
      pattern: Symmetric sparse matrix of shape (n, n).

    Returns:
      Integers of shape (n,), from 0; -1 for a column without entries.

    Example:
      >>> import numpy as np, scipy.sparse
      >>> arrow = np.eye(6, dtype=bool)
      >>> arrow[0] = arrow[:, 0] = True
      >>> color_symmetric(scipy.sparse.csr_array(arrow))
      array([0, 1, 1, 1, 1, 1])

    Source:
      Gebremedhin, Manne and Pothen, "What color is your Jacobian?", SIAM Review 47, 2005;
      Gebremedhin, Tarafdar, Manne and Pothen, SIAM J. Sci. Comput. 29, 2007.
    """
    matrix = pattern.tocsr()
    n = matrix.shape[0]
    degrees = np.diff(matrix.indptr)
    if matrix.nnz == n * n:
        return np.arange(n)
    pointers, indices = matrix.indptr.tolist(), matrix.indices.tolist()
    stars = _Stars(n)
    for v in np.argsort(-degrees, kind="stable").tolist():
        row = indices[pointers[v] : pointers[v + 1]]
        if row:
            stars.add(v, [w for w in row if w != v])
    return np.array([c.bit_length() - 1 for c in stars.colors], int)


class _Stars:
    """A star colouring that grows by one vertex at a time; colours are bits.

    Attributes:
      colors: Of each vertex; 0: it has none yet.
      near: The colours of the neighbours of each vertex.
      beyond: The colours c of paths (w, c, w's colour): they are forbidden to neighbours of w.
      first: One neighbour of a vertex that has a colour, by vertex and colour.
    """

    def __init__(self, n: int) -> None:
        self.colors = [0] * n
        self.near = [0] * n
        self.beyond = [0] * n
        self.first: dict[tuple[int, int], int] = {}

    def add(self, v: int, neighbours: list[int]) -> None:
        """Give a vertex the lowest colour that is free for it."""
        groups: dict[int, list[int]] = {}
        taken = 0
        for w in neighbours:
            if self.colors[w]:
                groups.setdefault(self.colors[w], []).append(w)
                taken |= self.colors[w] | self.beyond[w]
        pairs = [ws for ws in groups.values() if len(ws) > 1]
        for ws in pairs:  # v is between two vertices of one colour
            for w in ws:
                taken |= self.near[w]
        color = self.colors[v] = _lowest_free(taken)
        for ws in pairs:
            for w in ws:
                self.beyond[w] |= color
        for other, ws in groups.items():
            self.near[v] |= other
            self.first[v, other] = ws[0]
            for w in ws:
                self.near[w] |= color
                twin = self.first.setdefault((w, color), v)
                if twin != v:  # w is between v and another vertex of v's colour
                    self.beyond[v] |= other
                    self.beyond[twin] |= other

"""The plan of a sparse matrix of derivatives: its sparsity, and the products that compute it.

May import `errors`, `sparse`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from funcgraph.errors import NonDifferentiableError
from funcgraph.sparse.coloring import color_columns, color_symmetric

__all__ = ["Plan", "plan_columns", "plan_symmetric"]


@dataclass(frozen=True, eq=False)
class Plan:
    """How a sparse matrix is computed: by products with sums of unit vectors, one for each colour.

    Attributes:
      sparsity: Boolean CSR array: where the matrix can be nonzero.
      mode: "fwd": products of the matrix with vectors; "rev": of its transpose.
      colors: The product that computes each column ("fwd") or row ("rev"); -1 for empty ones.
      products: How many there are.
    """

    sparsity: Any
    mode: str
    colors: Any
    products: int
    # Where each entry is read, in the order of the products: number of the entry, product, element.
    _entries: Any
    _lanes: Any
    _places: Any

    def __repr__(self) -> str:
        rows, columns = self.sparsity.shape
        return (
            f"Plan({rows} x {columns}, {self.sparsity.nnz} entries, mode={self.mode!r}, "
            f"products={self.products})"
        )

    def seeds(self, start: int, stop: int, dtype: Any) -> Any:
        """Return the vectors of some of the products, as rows."""
        out = np.zeros((stop - start, self.colors.size), dtype)
        chosen = np.flatnonzero((self.colors >= start) & (self.colors < stop))
        out[self.colors[chosen] - start, chosen] = 1
        return out

    def read(self, data: Any, start: int, stop: int, products: Any) -> None:
        """Write the entries that some of the products give (as rows) into the matrix's data."""
        first, last = np.searchsorted(self._lanes, [start, stop])
        part = slice(first, last)
        data[self._entries[part]] = products[self._lanes[part] - start, self._places[part]]

    def matrix(self, data: Any) -> Any:
        """Return the CSR array with these entries; its index arrays are its own."""
        pattern = self.sparsity
        parts = data, pattern.indices.copy(), pattern.indptr.copy()
        return type(pattern)(parts, shape=pattern.shape)


def _plan(pattern: Any, mode: str, colors: Any, lanes: Any, places: Any) -> Plan:
    order = np.argsort(lanes, kind="stable")
    products = int(colors.max(initial=-1)) + 1
    return Plan(pattern, mode, colors, products, order, lanes[order], places[order])


def _positions(pattern: Any) -> tuple[Any, Any]:
    """Return the row and the column of each entry."""
    return np.repeat(np.arange(pattern.shape[0]), np.diff(pattern.indptr)), pattern.indices


def plan_columns(pattern: Any, modes: set[str]) -> Plan:
    """Return the plan with the fewest products by columns ("fwd") or rows ("rev").

    Args:
      pattern: Boolean CSR array.
      modes: The modes to choose from; of equal ones, forward mode.
    """
    rows, columns = _positions(pattern)
    plans = []
    if "fwd" in modes:
        colors = color_columns(pattern)
        plans.append(_plan(pattern, "fwd", colors, colors[columns], rows))
    fullest = np.bincount(columns, minlength=1).max()
    if "rev" in modes and (not plans or fullest < plans[0].products):  # it may need fewer
        colors = color_columns(pattern.T)
        plans.append(_plan(pattern, "rev", colors, colors[rows], columns))
    if not plans:
        raise NonDifferentiableError(
            "the function contains a custom_vjp, which forward mode cannot pass, and a while_loop "
            "in a jit, which reverse mode cannot pass. Give the first a rule for forward mode, or "
            "the second max_steps=."
        )
    return min(plans, key=lambda plan: plan.products)


def plan_symmetric(pattern: Any) -> Plan:
    """Return the plan of a symmetric matrix: of two elements (i, j), (j, i) one may be read.

    Where that takes more products than to read all of them, all are read.

    Args:
      pattern: Symmetric boolean CSR array.
    """
    rows, columns = _positions(pattern)
    colors = color_symmetric(pattern)
    key = rows * (colors.max(initial=0) + 1) + colors[columns]
    _, inverse, counts = np.unique(key, return_inverse=True, return_counts=True)
    alone = counts[inverse] == 1
    lanes = np.where(alone, colors[columns], colors[rows])
    places = np.where(alone, rows, columns)
    plan = _plan(pattern, "fwd", colors, lanes, places)
    if np.diff(pattern.indptr).max(initial=0) < plan.products:
        plan = min(plan, plan_columns(pattern, {"fwd"}), key=lambda p: p.products)
    return plan

"""`associative_scan`: all prefixes of an associative operation, in O(log n) calls.

May import `core`, `ops`, `tree`, `transforms.arguments`, `control.types`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from funcgraph import tree
from funcgraph.control.types import common_length
from funcgraph.core.aval import ndim_of, shape_of
from funcgraph.ops.indexing import index
from funcgraph.ops.structural import concatenate, moved, normalize_axis, reshape, stack
from funcgraph.transforms.arguments import run, snapshot

__all__ = ["associative_scan"]

Leaves = list[Any]


def associative_scan(
    fn: Callable[[Any, Any], Any], elems: Any, reverse: bool = False, axis: int = 0
) -> Any:
    """Return all prefixes of an associative operation along an axis.

    y_0 = x_0, y_i = fn(y_{i-1}, x_i), by O(n) work in O(log n) calls of fn.

    Args:
      fn: An associative operation on pytrees of arrays; it works on many rows at once (axis 0 of
        what it is given is the axis of the scan).
      elems: Pytree of arrays with n elements along the axis.
      reverse: Whether to combine from the end: y_i = fn(y_{i+1}, x_i), as in JAX.
      axis: The axis.

    Returns:
      Pytree of arrays of the same shapes.

    Raises:
      ValueError: The lengths along the axis differ.

    Example:
      >>> import numpy as np
      >>> associative_scan(np.add, np.arange(5))
      array([ 0,  1,  3,  6, 10])

    Source:
      Blelloch, "Prefix sums and their applications", 1990; jax.lax.associative_scan.
    """
    leaves, structure = tree.flatten(snapshot(elems))
    axes = [normalize_axis(axis, ndim_of(x)) for x in leaves]
    rows = [moved(x, a, 0) if a else x for x, a in zip(leaves, axes, strict=True)]
    common_length("associative_scan", rows, None)
    back = slice(None, None, -1)

    def combine(a: Leaves, b: Leaves) -> Leaves:
        pair = (tree.unflatten(structure, a), tree.unflatten(structure, b))
        return tree.leaves(run(fn, pair, {}))

    if reverse:
        rows = [index(x, back) for x in rows]
    out = _prefixes(combine, rows)
    if reverse:
        out = [index(x, back) for x in out]
    return tree.unflatten(
        structure, [moved(x, 0, a) if a else x for x, a in zip(out, axes, strict=True)]
    )


def _prefixes(combine: Callable[[Leaves, Leaves], Leaves], rows: Leaves) -> Leaves:
    """Odd prefixes by recursion on pairs of neighbours, even ones from these."""
    n = shape_of(rows[0])[0]
    if n < 2:
        return rows
    pairs = combine(
        [index(x, slice(0, n - 1, 2)) for x in rows], [index(x, slice(1, None, 2)) for x in rows]
    )
    odd = _prefixes(combine, pairs)
    if n == 2:
        later: Leaves = [index(x, slice(0, 0)) for x in rows]
    else:
        before = [index(x, slice(0, (n - 1) // 2)) for x in odd]
        later = combine(before, [index(x, slice(2, None, 2)) for x in rows])
    even = [concatenate(index(x, slice(0, 1)), y, axis=0) for x, y in zip(rows, later, strict=True)]
    return [_interleave(a, b) for a, b in zip(even, odd, strict=True)]


def _interleave(even: Any, odd: Any) -> Any:
    n, rest = shape_of(odd)[0], shape_of(odd)[1:]
    both = reshape(stack(index(even, slice(0, n)), odd, axis=1), shape=(2 * n, *rest))
    if shape_of(even)[0] == n:
        return both
    return concatenate(both, index(even, slice(n, None)), axis=0)

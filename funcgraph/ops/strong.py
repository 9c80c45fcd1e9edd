"""Products in which an exact zero wins: 0 * inf = 0 * nan = 0.

The derivative of a branch that was not taken, or of sqrt(x) followed by a factor that vanishes, is
a product of an exact zero with something infinite. The usual rules give nan there; the functions
below give what the usual rules give wherever that is finite, and zero where one factor is an exact
zero. They cost more, hence run only after a non-finite derivative has appeared.

May import `core`, `ops.elementwise`, `ops.structural`.
"""

from __future__ import annotations

from typing import Any

from funcgraph.core.aval import Aval, dtype_of, ndim_of
from funcgraph.ops.elementwise import equal, isfinite, logical_or, not_equal
from funcgraph.ops.reductions import reduce_any
from funcgraph.ops.structural import cast, where

__all__ = ["strong_bilinear", "strong_elementwise", "strong_general"]


def _clean(mask: Any, x: Any) -> Any:
    return where(mask, x, dtype_of(x).type(0))


def _flag(condition: Any, like: Any) -> Any:
    return cast(condition, dtype_of(like))


def _not(condition: Any) -> Any:
    return equal(condition, False)


def _all_of(*conditions: Any) -> Any:
    result = True
    for c in conditions:
        result = where(c, result, False)
    return result


def strong_elementwise(rule: Any, g: Any, y: Any, args: Any, attrs: dict[str, Any]) -> Any:
    """Apply an elementwise rule; where that is not finite and g or dy/dx is zero, return zero."""
    ct = rule(g, y, *args, **attrs)
    slope = rule(dtype_of(g).type(1), y, *args, **attrs)
    product_with_zero = where(equal(g, 0), True, equal(slope, 0))
    return _clean(_not(_all_of(_not(isfinite(ct)), product_with_zero)), ct)


def strong_bilinear(product: Any, g: Any, x: Any) -> Any:
    """Return product(g, x), bilinear in both, where terms with an exact zero factor are zero."""
    if isinstance(x, Aval):  # only its shape is read
        return product(g, x)
    finite_g, finite_x = isfinite(g), isfinite(x)
    clean = product(_clean(finite_g, g), _clean(finite_x, x))
    # A term is truly not finite if one factor is not and the other is not zero.
    hits = product(_flag(not_equal(g, 0), g), _flag(_not(finite_x), x))
    hits = hits + product(_flag(_not(finite_g), g), _flag(not_equal(x, 0), x))
    return where(equal(hits, 0), clean, product(g, x))


def strong_general(ct: Any, gs: tuple[Any, ...]) -> Any:
    """Return ct, with zeros where it is not finite although every cotangent gs is zero."""
    keep = isfinite(ct)
    for g in gs:
        keep = logical_or(keep, reduce_any(not_equal(g, 0), axes=tuple(range(ndim_of(g)))))
    return _clean(keep, ct)

"""Arrays whose last axis is short, such as points in space: computed column by column.

NumPy's inner loop goes along the last axis, and takes 10 to 50 ns to begin, wherever an argument is
broadcast or an axis is reduced. Columns are long. May import `core`.
"""

from __future__ import annotations

from math import prod
from typing import Any

from funcgraph.core.graph import Equation, Var

__all__ = ["by_columns", "is_by_columns", "reduce_columns"]

_FEW, _FEW_REDUCED = 4, 16  # columns: beyond, reading the memory as often costs more
_MANY = 256  # rows


def _rows(shape: tuple[int, ...], most: int) -> int:
    """Return how many rows an array has; 0 if these are not short."""
    return prod(shape[:-1]) if shape and 2 <= shape[-1] <= most else 0


def is_by_columns(e: Equation) -> bool:
    """Return whether an elementwise equation, or a reduction, is computed column by column."""
    if e.primitive.name in ("reduce_max", "reduce_min"):
        x = e.inputs[0]
        shape = x.aval.shape if isinstance(x, Var) else ()
        last = len(shape) - 1
        return e.attrs["axes"] == (last,) and _rows(shape, _FEW_REDUCED) >= _MANY
    if not e.primitive.is_elementwise or len(e.outputs) != 1:
        return False
    shape = e.outputs[0].aval.shape
    shapes = [v.aval.shape for v in e.inputs if isinstance(v, Var)]
    broadcast = any(s not in ((), shape) for s in shapes)
    return broadcast and _rows(shape, _FEW) >= _MANY


def by_columns(e: Equation, ufunc: str, args: list[str], place: str) -> str:
    """Return the line of an elementwise operation."""

    def column(atom: Any, text: str) -> str:
        shape = atom.aval.shape if isinstance(atom, Var) else ()
        return f"{text}[..., {0 if shape[-1] == 1 else 'j'}]" if shape else text

    columns = [column(a, t) for a, t in zip(e.inputs, args, strict=True)]
    count = e.outputs[0].aval.shape[-1]
    return f"for j in range({count}): {ufunc}({', '.join(columns)}, out={place}[..., j])"


def reduce_columns(ufunc: Any, x: Any) -> Any:
    """Return the reduction of an array along its last axis."""
    out = ufunc(x[..., 0], x[..., 1])
    for k in range(2, x.shape[-1]):
        ufunc(out, x[..., k], out=out)
    return out

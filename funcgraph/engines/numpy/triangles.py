"""Systems with one triangular matrix: it is inverted once, and solutions are products.

The derivatives of a factorisation solve with the same triangle up to four times. A solution by
NumPy, which knows no triangles, costs a factorisation; that of many columns, more than the inverse.
May import `core`, `ops`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from funcgraph.core.graph import Equation, Graph, Var
from funcgraph.ops.triangular import inverse_triangle

__all__ = ["Triangles"]

_SMALL = 128  # rows of a triangle that is inverted for two columns, too


class Triangles:
    """The triangular matrices of a program with which more than one system is solved."""

    def __init__(self, graph: Graph) -> None:
        self._turned = {
            e.outputs[0]: e.inputs[0]
            for e in graph.equations
            if e.primitive.name == "transpose" and _is_turn(e.attrs["axes"])
        }
        columns: dict[Any, list[int]] = {}
        for e in graph.equations:
            if (key := self._key(e)) is not None:
                axis = -2 if e.attrs.get("right") else -1
                columns.setdefault(key, []).append(e.outputs[0].aval.shape[axis])
        self._shared = {
            key
            for key, widths in columns.items()
            if len(widths) > 1 and key[0].aval.shape[-1] <= max(_SMALL, 2 * sum(widths))
        }
        self._names: dict[Any, str] = {}

    def _key(self, e: Equation) -> tuple[Any, bool] | None:
        """Return the matrix and whether its lower triangle is meant; None: no system of that."""
        a = e.inputs[0] if e.primitive.name == "solve_triangular" else None
        if not isinstance(a, Var) or a.aval.dtype != e.outputs[0].aval.dtype:
            return None
        source, lower = self._turned.get(a), bool(e.attrs["lower"])
        return (a, lower) if source is None else (source, not lower)

    def lines(
        self, e: Equation, args: list[str], out: str, bind: Callable[[Any], str]
    ) -> list[str] | None:
        """Return the lines of a solution as a product; None if the matrix is not shared.

        Args:
          e: The equation.
          args: The text of its arguments.
          out: The name of the result.
          bind: Returns the name of a value.
        """
        key = self._key(e)
        if key not in self._shared or key is None:
            return None
        source, lower = key
        turned = source is not e.inputs[0]
        found = []
        if key not in self._names:
            self._names[key] = name = f"inverse_{len(self._names)}"
            matrix = f"{args[0]}.mT" if turned else args[0]
            found.append(f"{name} = {bind(inverse_triangle)}({matrix}, {lower})")
        inverse = self._names[key] + (".mT" if turned != e.attrs.get("turned", False) else "")
        factors = [args[1], inverse] if e.attrs.get("right") else [inverse, args[1]]
        return [*found, f"{out} = np.matmul({', '.join(factors)})"]


def _is_turn(axes: tuple[int, ...]) -> bool:
    """Return whether the last two axes are exchanged, and no others."""
    n = len(axes)
    return axes == (*range(n - 2), n - 1, n - 2)

"""The printed form of graphs, which `core.parse` reads back.

    graph(a: float64[3], b: float) {
      c: float64[2] = constant [0.0, 1.0]
      d: float64[2] = getitem[template=(:2,)] a
      e: float64[], f: float64[2] = scan[carries=1, rows=1, length=2, reverse=False, unroll=1] b d
        body = graph(a: float64[], b: float64[]) {
          c: float64[] = add a b
          return c, b
        }
      return e, 2.0
    }

A type is dtype[shape], or int, float, complex for what is a Python number. May import `core`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval, aval_of
from funcgraph.core.graph import Atom, Equation, Graph, Var, names_of
from funcgraph.core.trace import Tracer

__all__ = ["ARRAY", "call_text", "has_text", "text_of"]

_FEW = 16  # elements of an array that str(graph) shows


class _Array:
    """Stands in the static part of an index for an integer array that is an argument."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "ARRAY"


ARRAY = _Array()


def text_of(graph: Graph, abbreviate: bool = False, lines: bool = False) -> str:
    """Return the text of a graph.

    Args:
      graph: The graph.
      abbreviate: Show the types of arrays of more than 16 elements only.
      lines: Append the user's line to every equation.
    """
    return "\n".join(_graph(graph, "", "", abbreviate, lines))


def _graph(graph: Graph, before: str, indent: str, short: bool, lines: bool) -> Iterator[str]:
    names = names_of(graph)

    def text(atom: Atom) -> str:
        return names[atom] if isinstance(atom, Var) else repr(atom)

    def typed(v: Var) -> str:
        return f"{names[v]}: {_type(v.aval)}"

    yield f"{indent}{before}graph({', '.join(map(typed, graph.inputs))}) {{"
    for v, value in graph.constants.items():
        yield f"{indent}  {typed(v)} = constant {_elements(value, short)}"
    for e in graph.equations:
        left = ", ".join(map(typed, e.outputs))
        comment = f"  # {e.line}" if lines and e.line else ""
        yield f"{indent}  {left} = {call_text(e, text, short)}{comment}"
        for name, sub in e.named_subgraphs.items():
            yield from _graph(sub, f"{name} = ", indent + "    ", short, lines)
    yield f"{indent}  return {', '.join(map(text, graph.outputs))}".rstrip()
    yield f"{indent}}}"


def call_text(e: Equation, text: Callable[[Atom], str], short: bool) -> str:
    """Return the right side of an equation: operation, attributes but for graphs, arguments.

    Args:
      e: The equation.
      text: Gives the name of a variable, the text of a number.
      short: Show the types of larger arrays only.
    """
    nested = {name.partition("[")[0] for name in e.named_subgraphs}
    attrs = [f"{k}={_literal(v, short)}" for k, v in e.attrs.items() if k not in nested]
    name = e.primitive.name + (f"[{', '.join(attrs)}]" if attrs else "")
    return " ".join([name, *map(text, e.inputs)])


def _type(aval: Aval) -> str:
    return str(aval) if aval.weak is None else aval.weak.__name__


def has_text(dtype: np.dtype[Any]) -> bool:
    """Return whether numbers of this type are written exactly: long double, text, ... are not."""
    return dtype.kind in "biufc" and dtype.char not in "gG"


def _elements(value: Any, short: bool) -> str:
    """Return the elements of an array as nested lists; its type stands elsewhere."""
    if isinstance(value, Tracer):  # the graph closes over what another transformation traces
        return f"<{aval_of(value)}>"
    array = np.asarray(value)
    if not has_text(array.dtype) or (short and array.size > _FEW):
        return f"<{aval_of(array)}>"
    return repr(array.tolist())


def _literal(value: Any, short: bool) -> str:
    """Return the text of an attribute."""
    if type(value) in (tuple, list):
        inner = ", ".join(_literal(v, short) for v in value)
        comma = "," if len(value) == 1 else ""
        return f"[{inner}]" if type(value) is list else f"({inner}{comma})"
    if type(value) is slice:
        parts = [value.start, value.stop] + ([] if value.step is None else [value.step])
        return ":".join("" if p is None else _literal(p, short) for p in parts)
    if value is Ellipsis:
        return "..."
    if value is None or value is ARRAY or type(value) in (bool, int, float, complex, str):
        return repr(value)
    if isinstance(value, np.dtype) and has_text(value):
        return value.name if value.isnative else f"dtype({value.str!r})"
    if isinstance(value, np.generic) and has_text(value.dtype):
        return f"{value.dtype.name}({value.item()!r})"
    if type(value) is np.ndarray and has_text(value.dtype) and value.dtype.isnative:
        shape = "" if value.size else f", {value.shape}"
        text = _elements(value, short)
        return text if text[0] == "<" else f"array({text}, {value.dtype.name!r}{shape})"
    return f"<{_described(value)}>"


def _described(value: Any) -> str:
    """Return a few words for what has no text: never an address, which differs from run to run."""
    if isinstance(value, np.ndarray):
        return str(aval_of(value))
    name = getattr(value, "__name__", None) or getattr(value, "name", None)
    words = type(value).__name__ + (f" {name}" if isinstance(name, str) else "")
    return words.replace("<", "").replace(">", "")

"""Whether a graph is well formed. May import `core`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from funcgraph.core.aval import Aval, aval_of
from funcgraph.core.calls import calls_of
from funcgraph.core.graph import Equation, Graph, Var, names_of
from funcgraph.errors import GraphError

__all__ = ["check"]

_NUMBERS = (bool, int, float, complex)


def _types(avals: Iterable[Aval]) -> str:
    return ", ".join(map(str, avals)) or "nothing"


def _alike(first: Sequence[Aval], second: Sequence[Aval]) -> bool:
    return [(a.shape, a.dtype) for a in first] == [(a.shape, a.dtype) for a in second]


def check(graph: Graph) -> None:
    """Raise GraphError unless the graph and its sub-graphs are well formed."""
    _check(graph, "")


def _check(graph: Graph, inside: str) -> None:
    names = names_of(graph)
    known = {*graph.inputs, *graph.constants}
    if len(known) != len(graph.inputs) + len(graph.constants):
        raise GraphError(f"{inside}a variable stands twice among the inputs and constants.")
    for v, value in graph.constants.items():
        if not _alike([found := aval_of(value)], [v.aval]):
            raise GraphError(
                f"{inside}the constant {names[v]} has the value of a {found}, but the type "
                f"{v.aval}."
            )
    for k, e in enumerate(graph.equations):
        line = f" at {e.line}" if e.line else ""
        where = f"{inside}equation {k} ({e.primitive.name}{line})"
        for x in e.inputs:
            _check_atom(x, where + " reads", known, names)
        _check_types(e, where)
        if known & set(e.outputs) or len(set(e.outputs)) != len(e.outputs):
            raise GraphError(f"{where} assigns a variable a second time.")
        known.update(e.outputs)
        _check_calls(e, where)
    for k, x in enumerate(graph.outputs):
        _check_atom(x, f"{inside}output {k} is", known, names)


def _check_atom(x: Any, where: str, known: set[Var], names: dict[Var, str]) -> None:
    if isinstance(x, Var):
        if x not in known:
            name = f"{names[x]} ({x.aval})" if x in names else f"a variable ({x.aval})"
            raise GraphError(f"{where} {name}, which is not assigned before.")
    elif type(x) not in _NUMBERS:
        raise GraphError(
            f"{where} a {type(x).__name__}: only variables and Python numbers stand there; an "
            "array has to be a constant."
        )


def _check_types(e: Equation, where: str) -> None:
    avals = [v.aval if isinstance(v, Var) else aval_of(v) for v in e.inputs]
    try:
        found = e.primitive.aval(*avals, **e.attrs)
    except Exception as error:  # whatever a shape rule says to arguments that do not fit
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise GraphError(f"{where} does not take {_types(avals)}: {reason}.") from error
    found = tuple(found) if e.primitive.many else (found,)
    typed = [v.aval for v in e.outputs]
    if not _alike(found, typed):
        raise GraphError(f"{where} gives {_types(found)}, but its variables are {_types(typed)}.")


def _check_calls(e: Equation, where: str) -> None:
    called = calls_of(e)
    for name, graph, inputs, outputs, *_ in called:
        takes = [v.aval for v in graph.inputs]
        if not _alike(inputs, takes):
            raise GraphError(
                f"{where}: {name} takes {_types(takes)}, but the equation gives it "
                f"{_types(inputs)}."
            )
        if not _alike(graph.output_avals, outputs):
            raise GraphError(
                f"{where}: {name} returns {_types(graph.output_avals)}, but the equation needs "
                f"{_types(outputs)}."
            )
        _check(graph, f"{where}, {name}: ")

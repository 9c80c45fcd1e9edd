"""Graphs: programs as data, in static single assignment form.

A `Graph` is a list of equations between typed variables: what staging a Python function produces,
and what pictures, generated source, costs and both engines start from. May import `core`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval, aval_of
from funcgraph.core.primitive import Primitive
from funcgraph.errors import GraphError

__all__ = ["Atom", "Equation", "Graph", "Var", "names_of"]


class Var:
    """A typed variable, assigned once: an input, a constant, or a result of an equation."""

    __slots__ = ("aval",)

    def __init__(self, aval: Aval) -> None:
        self.aval = aval

    def __repr__(self) -> str:
        return f"<{self.aval}>"


# What an equation reads: a variable, or a Python number that stands for itself.
Atom = Var | bool | int | float | complex


@dataclass(frozen=True, slots=True, eq=False)
class Equation:
    """outputs = primitive(*inputs, **attrs), written by the user at `line` (file:line)."""

    primitive: Primitive
    inputs: tuple[Atom, ...]
    outputs: tuple[Var, ...]
    attrs: dict[str, Any]
    line: str = ""

    @property
    def subgraphs(self) -> list[Graph]:
        """The graphs among the attributes: bodies of loops, branches, compiled functions."""
        flat = itertools.chain.from_iterable(
            v if isinstance(v, tuple) else (v,) for v in self.attrs.values()
        )
        return [v for v in flat if isinstance(v, Graph)]


@dataclass(slots=True, eq=False, weakref_slot=True)
class Graph:
    """A program: inputs, constants and equations that lead to outputs.

    Args:
      inputs: Variables given at each evaluation.
      equations: In an order in which every variable is assigned before it is read.
      outputs: Variables or numbers.
      constants: Variables with values that belong to the graph.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> graph = fg.make_graph(lambda x: np.sin(x) * 2.0)(np.zeros(3))
      >>> print(graph)
      graph(a: float64[3]) {
        b: float64[3] = sin a
        c: float64[3] = multiply b 2.0
        return c
      }
      >>> graph.evaluate(np.array([0.0, 0.5 * np.pi, np.pi])).round(3)
      array([0., 2., 0.])
    """

    inputs: tuple[Var, ...]
    equations: tuple[Equation, ...]
    outputs: tuple[Atom, ...]
    constants: dict[Var, Any] = field(default_factory=dict)

    @property
    def output_avals(self) -> tuple[Aval, ...]:
        """Shapes and dtypes of the outputs."""
        return tuple(o.aval if isinstance(o, Var) else aval_of(o) for o in self.outputs)

    def run(self, *args: Any) -> list[Any]:
        """Return the list of outputs for arrays of any kind, tracers included."""
        if len(args) != len(self.inputs):
            raise GraphError(
                f"this graph has {len(self.inputs)} inputs, but {len(args)} arguments were passed."
            )
        env: dict[Any, Any] = dict(self.constants)
        env.update(zip(self.inputs, args, strict=True))
        last = self.last_uses()
        for k, equation in enumerate(self.equations):
            values = [env[v] if type(v) is Var else v for v in equation.inputs]
            out = equation.primitive(*values, **equation.attrs)
            env.update(
                zip(equation.outputs, out if equation.primitive.many else (out,), strict=True)
            )
            for v in last[k]:
                del env[v]
        return [env[v] if type(v) is Var else v for v in self.outputs]

    def evaluate(self, *args: Any) -> Any:
        """Return the output (several: a tuple) for arrays of any kind, tracers included.

        Args:
          *args: One array for each input.

        Raises:
          GraphError: The number of arguments is wrong.
        """
        out = self.run(*args)
        return out[0] if len(out) == 1 else tuple(out)

    def last_uses(self) -> list[list[Var]]:
        """Return for each equation the variables that nothing reads after it."""
        seen = {v for v in self.outputs if isinstance(v, Var)} | set(self.inputs)
        seen |= set(self.constants)
        out: list[list[Var]] = []
        for equation in reversed(self.equations):
            ends = []
            for v in (*equation.inputs, *equation.outputs):
                if isinstance(v, Var) and v not in seen:
                    seen.add(v)
                    ends.append(v)
            out.append(ends)
        return out[::-1]

    def check(self) -> None:
        """Raise GraphError unless every variable is assigned once, before it is read, as typed."""
        known = {*self.inputs, *self.constants}
        if len(known) != len(self.inputs) + len(self.constants):
            raise GraphError("a variable stands twice among the inputs and constants.")
        for k, e in enumerate(self.equations):
            where = f"equation {k} ({e.primitive.name}{' at ' + e.line if e.line else ''})"
            if missing := [v for v in e.inputs if isinstance(v, Var) and v not in known]:
                raise GraphError(f"{where} reads {len(missing)} variables that are not assigned.")
            avals = [v.aval if isinstance(v, Var) else aval_of(v) for v in e.inputs]
            found = e.primitive.aval(*avals, **e.attrs)
            found = tuple(found) if e.primitive.many else (found,)
            if [(a.shape, a.dtype) for a in found] != [
                (v.aval.shape, v.aval.dtype) for v in e.outputs
            ]:
                raise GraphError(
                    f"{where} gives {', '.join(map(str, found))}, but its variables are "
                    f"{', '.join(str(v.aval) for v in e.outputs)}."
                )
            if known & set(e.outputs) or len(set(e.outputs)) != len(e.outputs):
                raise GraphError(f"{where} assigns a variable a second time.")
            known.update(e.outputs)
            for graph in e.subgraphs:
                graph.check()
        if [v for v in self.outputs if isinstance(v, Var) and v not in known]:
            raise GraphError("an output is not assigned.")

    def __str__(self) -> str:
        return "\n".join(_lines(self, ""))


def _letters() -> Iterator[str]:
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    for size in itertools.count(1):
        for letters in itertools.product(alphabet, repeat=size):
            name = "".join(letters)
            if name not in ("as", "if", "in", "is", "or", "and", "for", "not"):
                yield name


def names_of(graph: Graph) -> dict[Var, str]:
    """Return a name for every variable: a, b, c ... in order of assignment."""
    results = itertools.chain.from_iterable(e.outputs for e in graph.equations)
    return dict(zip((*graph.inputs, *graph.constants, *results), _letters(), strict=False))


def _lines(graph: Graph, indent: str) -> Iterator[str]:
    names = names_of(graph)

    def text(atom: Any) -> str:
        return names[atom] if isinstance(atom, Var) else repr(atom)

    def typed(v: Var) -> str:
        return f"{names[v]}: {v.aval}"

    yield f"{indent}graph({', '.join(map(typed, graph.inputs))}) {{"
    for v, value in graph.constants.items():
        yield f"{indent}  {typed(v)} = constant {_literal(value)}"
    for e in graph.equations:
        attrs = {k: v for k, v in e.attrs.items() if not _is_nested(v)}
        shown = ", ".join(f"{k}={_literal(v)}" for k, v in attrs.items())
        call = " ".join([e.primitive.name + (f"[{shown}]" if shown else ""), *map(text, e.inputs)])
        yield f"{indent}  {', '.join(map(typed, e.outputs))} = {call}"
        for sub in e.subgraphs:
            yield from _lines(sub, indent + "    ")
    yield f"{indent}  return {', '.join(map(text, graph.outputs))}"
    yield f"{indent}}}"


def _is_nested(v: Any) -> bool:
    return isinstance(v, Graph) or (isinstance(v, tuple) and any(map(_is_nested, v)))


def _literal(value: Any) -> str:
    if isinstance(value, np.ndarray | np.generic):
        if value.size > 16:
            return f"<{aval_of(value)}>"
        return f"array({value.tolist()!r}, {value.dtype.name!r})"
    return repr(value)

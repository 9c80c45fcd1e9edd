"""What a function did at one point: its operations with their values.

Staging hides values, so that a function that branches on them cannot be staged. Here they are
known: what is written down is the straight line that the function took at this point, which is all
that a derivative there depends on. Compiled functions and custom rules are written as what they
do; calls of custom rules are noted. May import `core`, `transforms`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from funcgraph.core.aval import aval_of
from funcgraph.core.graph import Atom, Equation, Graph, Var
from funcgraph.core.primitive import Elementwise, Primitive
from funcgraph.core.trace import Trace, ValueTracer
from funcgraph.errors import user_line
from funcgraph.transforms.arguments import run

__all__ = ["CustomCall", "Point", "Step", "point_of"]


@dataclass(frozen=True)
class CustomCall:
    """A call of a function with rules of its own.

    Attributes:
      rules: The rules.
      arguments: The arguments.
      line: The user's line.
      hides: Whether the function itself has no derivative to be compared with, because it calls
        stop_gradient: what `custom_root` and `custom_linear_solve` do with the solver.
    """

    rules: Any
    arguments: tuple[Any, ...]
    line: str
    hides: bool


@dataclass(frozen=True)
class Step:
    """An equation with the values that it read and gave."""

    equation: Equation
    arguments: tuple[Any, ...]
    value: Any


@dataclass
class Point:
    """The straight line that a function took.

    Attributes:
      graph: The operations; they hold near the point alone if the function looked at values.
      outputs: The values of the outputs.
      steps: The operations with what they read and gave.
      calls: The calls of functions with rules of their own.
      cuts: Lines of stop_gradient, outside of those calls.
      looked: Whether the function looked at values, to branch on them, say.
    """

    graph: Graph
    outputs: tuple[Any, ...]
    steps: list[Step] = field(repr=False)
    calls: list[CustomCall] = field(repr=False)
    cuts: list[str]
    looked: bool

    @property
    def names(self) -> set[str]:
        """Names of the primitives."""
        return {s.equation.primitive.name for s in self.steps}

    def line_of(self, name: str) -> str:
        """Return the user's line of the first equation of a primitive."""
        return next(s.equation.line for s in self.steps if s.equation.primitive.name == name)

    def singular(self) -> list[tuple[str, str]]:
        """Return (primitive, line) of operations whose own derivative is not finite here."""
        return [(s.equation.primitive.name, s.equation.line) for s in self.steps if _is_singular(s)]


class _PointTracer(ValueTracer):
    """A value with its variable."""

    __slots__ = ("variable",)

    variable: Var

    def concrete(self) -> Any:
        """Return the value, and note that the function looked at it."""
        assert isinstance(self._trace, _PointTrace)
        self._trace.looked = True
        return super().concrete()


class _PointTrace(Trace):
    """The trace that computes and writes equations."""

    __slots__ = ("calls", "constants", "cuts", "depth", "kept", "line", "looked", "steps")

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.calls: list[CustomCall] = []
        self.constants: dict[Var, Any] = {}
        self.kept: dict[int, tuple[Any, Var]] = {}
        self.cuts: list[str] = []
        self.depth = 0  # of calls of custom rules
        self.line = ""  # of the equation of a compiled function; "": the user's frame says
        self.looked = False

    def tracer(self, value: Any) -> _PointTracer:
        out = _PointTracer()
        out.value, out.variable, out._trace = value, Var(aval_of(value)), self
        return out

    def atom(self, x: Any) -> Atom:
        if type(x) is _PointTracer and x._trace is self:
            return x.variable
        if type(x) in (bool, int, float, complex):
            return x  # type: ignore[no-any-return]
        if id(x) not in self.kept:
            var = Var(aval_of(x))
            self.constants[var] = x
            self.kept[id(x)] = x, var
        return self.kept[id(x)][1]

    def process(self, primitive: Primitive, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """Compute the value and write the equation."""
        values = tuple(a.value if type(a) is _PointTracer and a._trace is self else a for a in args)
        if primitive.name == "custom_call":
            return self._call(attrs["rules"], args, values)
        if primitive.name == "stop_gradient" and not self.depth:
            self.cuts.append(self._line())
        if primitive.name == "jit_call":
            return self._inline(attrs["graph"], args)
        with np.errstate(all="ignore"):
            value = primitive(*values, **attrs)
        outs = [self.tracer(v) for v in (value if primitive.many else (value,))]
        inputs, results = tuple(map(self.atom, args)), tuple(t.variable for t in outs)
        equation = Equation(primitive, inputs, results, attrs, self._line())
        self.steps.append(Step(equation, values, value))
        return tuple(outs) if primitive.many else outs[0]

    def _line(self) -> str:
        return self.line or user_line()

    def _inline(self, graph: Graph, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Write what a compiled function does, with the lines that it was written in."""
        env: dict[Any, Any] = {**graph.constants, **dict(zip(graph.inputs, args, strict=True))}
        outer = self.line
        for e in graph.equations:
            self.line = e.line
            values = [env[v] if isinstance(v, Var) else v for v in e.inputs]
            out = e.primitive(*values, **e.attrs)
            env.update(zip(e.outputs, out if e.primitive.many else (out,), strict=True))
        self.line = outer
        return tuple(env[v] if isinstance(v, Var) else v for v in graph.outputs)

    def _call(self, rules: Any, args: tuple[Any, ...], values: tuple[Any, ...]) -> tuple[Any, ...]:
        """Note the call of a custom rule, and write what its function does."""
        place, line = len(self.steps), self._line()
        self.depth += 1
        outs = tuple(rules.fun(*args))
        self.depth -= 1
        hides = any(s.equation.primitive.name == "stop_gradient" for s in self.steps[place:])
        self.calls.append(CustomCall(rules, values, line, hides))
        return outs


def point_of(fun: Callable[..., Sequence[Any]], leaves: Sequence[Any]) -> Point:
    """Run a function of flat leaves and return what it did."""
    trace = _PointTrace()
    tracers = [trace.tracer(x) for x in leaves]
    outs = run(fun, tracers, {})
    outputs = tuple(map(trace.atom, outs))
    equations = tuple(s.equation for s in trace.steps)
    graph = Graph(tuple(t.variable for t in tracers), equations, outputs, trace.constants)
    values = tuple(y.value if type(y) is _PointTracer else y for y in outs)
    return Point(graph, values, trace.steps, trace.calls, trace.cuts, trace.looked)


def _is_singular(step: Step) -> bool:
    derivative, value = step.equation.primitive.derivative, step.value
    if not isinstance(derivative, Elementwise):
        return False
    one = np.ones_like(value)
    with np.errstate(all="ignore"):
        for rule in derivative.rules:
            if rule is None:
                continue
            slope = rule(one, value, *step.arguments, **step.equation.attrs)
            if not np.all(np.isfinite(slope)):
                return True
    return False

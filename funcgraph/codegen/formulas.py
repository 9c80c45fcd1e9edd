"""Graphs as formulas: one closed expression where that is short, otherwise step by step.

May import `core`, `codegen`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from funcgraph.codegen import formula as fm
from funcgraph.codegen.formula import Expr
from funcgraph.codegen.latex import latex, latex_name
from funcgraph.codegen.names import Names
from funcgraph.codegen.tidy import tidy
from funcgraph.core.graph import Equation, Graph, Var
from funcgraph.errors import NoSourceError

__all__ = ["Formulas", "formulas_of", "latex_text", "symbols_of"]

_SHORT, _CLOSED = 60, 160  # letters of the longest closed expression, with and without steps
_ENTRIES = 6  # entries of the longest vector that is written entry by entry
_UNNAMED = "u_1"  # the first value that has no name
_DEEPEST = 50  # operations inside each other; then the value gets a name
_INSIDE = 40  # letters of what is written again at every use, if it has no name


class Formulas(NamedTuple):
    """What a program computes.

    Attributes:
      steps: Named formulas, each of which may use those before.
      results: A formula for each output.
    """

    steps: list[tuple[str, Expr]]
    results: list[Expr]


def formulas_of(graph: Graph, inputs: Sequence[str]) -> Formulas:
    """Return the formulas of a graph whose inputs have these names.

    Raises:
      NoSourceError: An operation has no notation.
    """
    graph = tidy(graph)
    if len(graph.equations) > _CLOSED:
        return _Reader(graph, inputs, stepwise=True).read()
    closed = _Reader(graph, inputs, stepwise=False).read()
    size = max(len(latex(x)) for x in closed.results)
    if size <= _SHORT:
        return closed
    steps = _Reader(graph, inputs, stepwise=True).read()
    unnamed = all(name.startswith(_UNNAMED) for name, _ in steps.steps)
    return closed if unnamed and size <= _CLOSED else steps


class _Reader:
    """Goes through the equations of a graph, in order."""

    def __init__(self, graph: Graph, inputs: Sequence[str], stepwise: bool) -> None:
        self.graph = graph
        self.stepwise = stepwise
        self.names = Names(inputs)
        self.made: dict[Var, Equation] = {v: e for e in graph.equations for v in e.outputs}
        self.found: dict[Var, Expr] = {
            v: fm.symbol(name, v.aval.ndim) for v, name in zip(graph.inputs, inputs, strict=True)
        }
        self.steps: list[tuple[str, Expr]] = []
        self.depths: dict[Any, int] = {}  # of what has no name
        self.uses = Counter(a for e in graph.equations for a in e.inputs)

    def read(self) -> Formulas:
        for e in self.graph.equations:
            rule = _RULES.get(e.primitive.name)
            value = None if rule is None else rule(self, e, [self.formula(a, e) for a in e.inputs])
            if value is None:
                shapes = ", ".join(str(a.aval) for a in e.inputs if isinstance(a, Var))
                raise NoSourceError(
                    f"the operation {e.primitive.name} (of {shapes}) has no notation as a formula. "
                    "Formulas are for elementary functions of numbers, and of vectors and matrices "
                    'without broadcasting; style="numpy" writes any program.',
                    e.line,
                )
            self.found[e.outputs[0]] = self.named(e.outputs[0], value)
        results = [self.formula(x, None) for x in self.graph.outputs]
        return Formulas(_needed(self.steps, results), results)

    def named(self, v: Var, value: Expr) -> Expr:
        """Return a formula, or, step by step, the name it gets."""
        if not self.stepwise or value.op in ("number", "symbol") or v in self.graph.outputs:
            return value
        depth = 1 + max((self.depths.get(a, 0) for a in self.made[v].inputs), default=0)
        long = self.uses[v] > 1 and len(latex(value)) > _INSIDE
        if not v.name and not long and depth <= _DEEPEST:
            self.depths[v] = depth
            return value
        name = self.names.fresh(v.name or _UNNAMED)
        self.steps.append((name, value))
        return fm.symbol(name, v.aval.ndim)

    def formula(self, atom: Any, e: Equation | None) -> Expr:
        """Return the formula of what an equation reads."""
        if not isinstance(atom, Var):
            value = atom
        elif atom in self.found:
            return self.found[atom]
        else:
            value = self.graph.constants[atom]
            if atom.name and atom.aval.dtype.kind == "f" and atom.aval.shape:
                name = self.names.fresh(atom.name)
                self.found[atom] = fm.symbol(name, atom.aval.ndim)
                return self.found[atom]
        array = np.asarray(value)
        if array.ndim == 0 and array.dtype.kind in "biuf":
            return fm.constant(array.item()) if np.isfinite(array) else self._refuse(array, e)
        if array.size and np.all(array == array.flat[0]):
            ones = fm.apply("ones", fm.symbol("1", array.ndim))
            return fm.multiply(fm.number(array.flat[0].item()), ones)
        return self._refuse(array, e)

    def _refuse(self, array: Any, e: Equation | None) -> Expr:
        raise NoSourceError(
            f"a constant array of shape {array.shape} and dtype {array.dtype} has no name in a "
            "formula: make it an argument of the function.",
            e.line if e is not None else None,
        )

    def shape(self, atom: Any) -> tuple[int, ...]:
        return atom.aval.shape if isinstance(atom, Var) else ()


def _needed(steps: list[tuple[str, Expr]], results: Sequence[Expr]) -> list[tuple[str, Expr]]:
    """Return the steps that the results depend on."""
    wanted = set().union(*map(fm.symbols, results))
    kept = []
    for name, value in reversed(steps):
        if name in wanted:
            wanted |= fm.symbols(value)
            kept.append((name, value))
    return kept[::-1]


# --- rules: the reader, the equation, its arguments -> the formula; None: there is none -----------

Args = Sequence[Expr]
Rule = Callable[[_Reader, Equation, Args], Expr | None]


def _alike(rule: Callable[..., Expr]) -> Rule:
    """Return the rule of an elementwise operation: arrays must be of one shape, but for sums."""

    def apply(reader: _Reader, e: Equation, args: Args) -> Expr | None:
        shapes = {reader.shape(a) for a in e.inputs} - {()}
        return rule(*args) if len(shapes) <= 1 else None

    return apply


def _plus(sign: int) -> Rule:
    """A vector may be added to each row of a matrix, as biases are."""

    def apply(reader: _Reader, e: Equation, args: Args) -> Expr | None:
        shapes = {reader.shape(a) for a in e.inputs} - {()}
        last = {s[-1] for s in shapes}
        ndims = {len(s) for s in shapes}
        if len(shapes) > 1 and (len(last) > 1 or ndims != {1, 2}):
            return None
        return fm.add(args[0], fm.multiply(fm.number(sign), args[1]))

    return apply


def _times(reader: _Reader, e: Equation, args: Args) -> Expr | None:
    shapes = [reader.shape(a) for a in e.inputs]
    if len({*shapes} - {()}) <= 1:
        return fm.multiply(*args)
    column, row = sorted(zip(shapes, args, strict=True), key=lambda pair: pair[0][-1:])
    if column[0] == (e.outputs[0].aval.shape[0], 1) and row[0] == (1, row[0][-1]):
        return fm.product(_vector(column[1]), fm.transpose(_vector(row[1])), 2)
    return None


def _vector(x: Expr) -> Expr:
    return x.args[0] if x.op in ("column", "row") else x


def _matmul(reader: _Reader, e: Equation, args: Args) -> Expr | None:
    a, b = args
    na, nb = (len(reader.shape(x)) for x in e.inputs)
    if max(na, nb) > 2:
        return None
    if na == 1 and nb == 2:  # vectors are columns: x @ A is the transpose of A times x
        return fm.product(fm.transpose(b), a, 1)
    left = fm.transpose(a) if na == 1 else a
    out = fm.product(left, _vector(b), e.outputs[0].aval.ndim)
    return fm.apply("column", out, ndim=2) if b.op == "column" else out


def _reshape(reader: _Reader, e: Equation, args: Args) -> Expr | None:
    old, new = reader.shape(e.inputs[0]), e.attrs["shape"]
    if len(old) == 1 and new == (*old, 1):
        return fm.apply("column", args[0], ndim=2)
    if len(old) == 1 and new == (1, *old):
        return fm.apply("row", args[0], ndim=2)
    return args[0].args[0] if args[0].op in ("column", "row") and len(new) == 1 else None


def _getitem(reader: _Reader, e: Equation, args: Args) -> Expr | None:
    x = args[0]
    if x.op == "column" and e.attrs["template"] in ((Ellipsis, 0), (slice(None), 0)):
        return x.args[0]
    index = e.attrs["template"]
    one = len(index) == x.ndim and all(type(i) is int and i >= 0 for i in index)
    return fm.entry(x, index) if one and x.op in ("symbol", "entries") else None


def _read_back(reader: _Reader, e: Equation, args: Args) -> Expr | None:
    """Of numbers that go to single places of a short vector: its entries."""
    shape, templates = e.attrs["shape"], e.attrs["templates"]
    numbers = [t[0] for t in templates if len(t) == 1 and type(t[0]) is int]
    if len(shape) != 1 or shape[0] > _ENTRIES or len(numbers) != len(templates):
        return None
    found = [fm.ZERO] * shape[0]
    for k, x in zip(numbers, args, strict=True):
        found[k] = fm.add(found[k], x)
    return fm.apply("entries", *found, ndim=1)


def _stack(reader: _Reader, e: Equation, args: Args) -> Expr | None:
    if len(args) > _ENTRIES or any(map(reader.shape, e.inputs)):
        return None
    return fm.apply("entries", *args, ndim=1)


def _transposed(reader: _Reader, e: Equation, args: Args) -> Expr | None:
    if len(reader.shape(e.inputs[0])) > 2:
        return None
    return args[0] if args[0].ndim < 2 else fm.transpose(args[0])


def _reduced(reader: _Reader, e: Equation, args: Args) -> Expr | None:
    x, axes, shape = args[0], e.attrs["axes"], reader.shape(e.inputs[0])
    if len(shape) > 2 or not axes:
        return None
    if len(axes) == len(shape):
        scalars, rest = fm.apart(x)
        return fm.multiply(*scalars, fm.apply("total", rest, ndim=0))
    return fm.apply("columns" if axes == (0,) else "rows", x, ndim=1)


def _where(reader: _Reader, e: Equation, args: Args) -> Expr | None:
    """Of what holds at single points only, nothing is said."""
    condition, a, b = args
    if condition.op in ("equal", "both"):
        return b
    return fm.apply("cases", condition, a, b) if condition.op in _RELATIONS else None


def _both(reader: _Reader, e: Equation, args: Args) -> Expr | None:
    found = any(a.op in ("equal", "both") for a in args)
    return fm.apply("both", *args) if found else None


def _broadcast(reader: _Reader, e: Equation, args: Args) -> Expr | None:
    if reader.shape(e.inputs[0]):
        return None
    ones = fm.apply("ones", fm.symbol("1", len(e.attrs["shape"])))
    return fm.multiply(args[0], ones)


def _same(reader: _Reader, e: Equation, args: Args) -> Expr | None:
    return args[0] if e.outputs[0].aval.dtype.kind == "f" else None


def _functions(*names: str) -> dict[str, Rule]:
    return {name: _alike(lambda *xs, name=name: fm.apply(name, *xs)) for name in names}


_RELATIONS = ("equal", "less", "less_equal", "greater", "greater_equal")
_HALF = fm.number(0.5)
_RULES: dict[str, Rule] = {
    "add": _plus(1),
    "subtract": _plus(-1),
    "multiply": _times,
    "divide": _alike(fm.divide),
    "negative": _alike(fm.negative),
    "positive": _same,
    "power": _alike(fm.power),
    "float_power": _alike(fm.power),
    "square": _alike(lambda x: fm.power(x, fm.number(2))),
    "sqrt": _alike(lambda x: fm.power(x, _HALF)),
    "reciprocal": _alike(lambda x: fm.power(x, fm.number(-1))),
    "absolute": _alike(lambda x: fm.apply("abs", x)),
    "log1p": _alike(lambda x: fm.apply("log", fm.add(fm.ONE, x))),
    "expm1": _alike(lambda x: fm.add(fm.apply("exp", x), fm.number(-1))),
    "exp2": _alike(lambda x: fm.power(fm.number(2), x)),
    "softplus": _alike(lambda x: fm.apply("log", fm.add(fm.ONE, fm.apply("exp", x)))),
    "logaddexp": _alike(
        lambda a, b: fm.apply("log", fm.add(fm.apply("exp", a), fm.apply("exp", b)))
    ),
    "relu": _alike(lambda x: fm.apply("max", fm.ZERO, x)),
    "maximum": _alike(lambda a, b: fm.apply("max", a, b)),
    "minimum": _alike(lambda a, b: fm.apply("min", a, b)),
    **_functions("sin", "cos", "tan", "sinh", "cosh", "tanh", "arcsin", "arccos", "arctan"),
    **_functions("arcsinh", "arccosh", "arctanh", "arctan2", "exp", "log", "log2", "log10"),
    **_functions("sign", "floor", "ceil", "cbrt", "sigmoid", "erf", *_RELATIONS),
    "matmul": _matmul,
    "transpose": _transposed,
    "reshape": _reshape,
    "getitem": _getitem,
    "index_sum": _read_back,
    "stack": _stack,
    "reduce_sum": _reduced,
    "broadcast": _broadcast,
    "where": _where,
    "logical_and": _both,
    "convert": _same,
    "truncate_dtype": _same,
    "copy": _same,
    "class_numbers": _same,
    "stop_gradient": _same,
}


# --- names and text -------------------------------------------------------------------------------


def symbols_of(inputs: Sequence[str]) -> list[str]:
    """Return a name for each input: w for params['w'], if no other input is called w."""
    words = [re.findall(r"\w+", name) for name in inputs]

    def ends(k: int) -> list[str]:
        sizes = range(1, len(words[k]) + 1)
        return ["_".join(words[k][-n:]) for n in sizes if not words[k][-n][0].isdecimal()]

    every = [end for k in range(len(words)) for end in ends(k)]
    return [next(end for end in ends(k) if every.count(end) == 1) for k in range(len(words))]


def latex_text(found: Formulas, labels: Sequence[str]) -> str:
    """Return formulas as LaTeX: one line, or lines that are aligned at their equals signs.

    Args:
      found: The formulas.
      labels: What stands to the left of each result.
    """
    lines = [(latex_name(name), value) for name, value in found.steps]
    lines += zip(labels, found.results, strict=True)
    if len(lines) == 1:
        return f"{lines[0][0]} = {latex(lines[0][1])}"
    rows = [f"{label} &= {latex(value)}" for label, value in lines]
    return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"

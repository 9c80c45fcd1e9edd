"""Equations in the words of people: names of values, `x * sin(y)`, local derivatives as formulas.

A formula is not looked up: the operation's rule of derivation is staged on symbols and simplified,
and what remains is written, where it is short. May import all layers below `pictures`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from funcgraph.core.graph import Equation, Graph, Var, names_of
from funcgraph.core.primitive import Bilinear, Elementwise, General, Linear, Zero
from funcgraph.engines.numpy.expressions import expression
from funcgraph.errors import FuncgraphError
from funcgraph.pictures.steps import Inner, Recording
from funcgraph.pictures.summary import number, value_text
from funcgraph.transforms.stage import stage

__all__ = [
    "Names",
    "call_text",
    "local_formula",
    "title_of",
]

# How tightly operations bind, as in Python; a call or a name binds tightest.
_BINARY = {
    "add": ("+", 4), "subtract": ("-", 4), "multiply": ("*", 5), "divide": ("/", 5),
    "matmul": ("@", 5), "power": ("**", 7), "remainder": ("%", 5), "floor_divide": ("//", 5),
    "less": ("<", 3), "less_equal": ("<=", 3), "greater": (">", 3), "greater_equal": (">=", 3),
    "equal": ("==", 3), "not_equal": ("!=", 3),
}  # fmt: skip
_COMPARISON, _ATOM = 3, 9


def title_of(recording: Recording) -> str:
    """Return the call of a function and its result: `f(x, y) = 0.909297`."""
    roots = (re.split(r"[.\[]", leaf.path)[0] for leaf in recording.leaves)
    results = ", ".join(map(value_text, recording.run.outputs))
    return f"{recording.name}({', '.join(dict.fromkeys(roots))}) = {results}"


# --- names ----------------------------------------------------------------------------------------


class Names:
    """What the values of a graph are called: as in the user's program, else a letter, each once.

    A variable that the program assigns again is called h, h_2, h_3 ...

    Attributes:
      cotangent: What formulas call the cotangent of a result: no value has this name.

    Args:
      graph: The graph.
      inputs: Names of its inputs; "" or missing: as the variables say.
    """

    def __init__(self, graph: Graph, inputs: Sequence[str] = ()) -> None:
        self._constants = graph.constants
        self._names = {v: name for v, name in zip(graph.inputs, inputs, strict=False) if name}
        letters = names_of(graph)
        given = {v: v.name for v in letters if v.name and v not in self._names}
        taken = {*self._names.values(), *given.values()}
        self.cotangent = "ct" if "g" in taken else "g"
        free = _unused({*taken, self.cotangent}, letters.values())
        counts = dict.fromkeys(self._names.values(), 1)
        for v in letters:
            if v in given:
                n = counts[given[v]] = counts.get(given[v], 0) + 1
                self._names[v] = given[v] if n == 1 else f"{given[v]}_{n}"
            elif v not in self._names and not self._is_number(v):
                self._names[v] = next(free)

    def _is_number(self, v: Var) -> bool:
        return v in self._constants and v.aval.shape == () and v.aval.dtype.kind in "biufc"

    def inside(self, inner: Inner) -> Names:
        """Return the names in a graph that an operation ran: what it is given keeps its name."""
        pairs = zip(inner.run.graph.inputs, inner.given, strict=True)
        known = [v.name or (self[a] if a in self._names else "") for v, a in pairs]
        return Names(inner.run.graph, known)

    def __getitem__(self, atom: Any) -> str:
        """Return the name of a variable, or the text of a number."""
        if isinstance(atom, Var):
            return self._names[atom] if atom in self._names else number(self._constants[atom])
        return number(atom)


def _unused(taken: set[str], letters: Any) -> Iterator[str]:
    """Yield letters, and words of letters, that are not among the names."""
    yield from (name for name in letters if name not in taken)
    yield from (f"value_{k}" for k in range(1, 1 << 62))


# --- expressions ----------------------------------------------------------------------------------


def call_text(e: Equation, text: Callable[[Any], str]) -> str:
    """Return an equation's right side: `x * y`, `sin(a)`, `sum(h, axis=0)`."""
    return _text(e, [_leaf(text(a)) for a in e.inputs])[0]


Text = tuple[str, int]  # an expression and how tightly its outermost operation binds


def _leaf(text: str) -> Text:
    return text, 6 if text.startswith("-") else _ATOM


def _enclosed(part: Text, level: int) -> str:
    return part[0] if part[1] >= level else f"({part[0]})"


def _text(e: Equation, args: list[Text]) -> Text:
    name = e.primitive.name
    if name in _BINARY and len(args) == 2:
        return _infix(name, *args)
    if name == "negative":
        return f"-{_enclosed(args[0], 6)}", 6
    if name == "square":
        return f"{_enclosed(args[0], 8)}**2", 7
    if name == "convert":
        return f"{_enclosed(args[0], 8)}.astype({e.attrs['dtype']})", 8
    if name == "transpose" and tuple(e.attrs["axes"]) == tuple(range(len(e.attrs["axes"])))[::-1]:
        return f"{_enclosed(args[0], 8)}.T", 8
    inner = [_enclosed(a, 8 if name == "getitem" else 1) for a in args]
    try:
        found = expression(e, inner, lambda _: "...")
    except FuncgraphError:
        found = None
    if found is None:
        found = f"{_called(e)}({', '.join(inner)})"
    found = re.sub(r"\b(np|scipy)\.([a-z]+\.)?|asarray(?=\()", "", found)
    return found.replace(",),", "),"), 8


def _infix(name: str, a: Text, b: Text) -> Text:
    symbol, level = _BINARY[name]
    if name == "power":  # from the right
        return f"{_enclosed(a, level + 1)}{symbol}{_enclosed(b, level)}", level
    left = _enclosed(a, level + (level == _COMPARISON))  # a < b == c would be a chain
    return f"{left} {symbol} {_enclosed(b, level + 1)}", level


def _called(e: Equation) -> str:
    rules = e.attrs.get("rules")
    return getattr(rules, "name", None) or e.primitive.name


# --- formulas -------------------------------------------------------------------------------------


def local_formula(e: Equation, place: int, names: Names, limit: int) -> str:
    """Return a formula of the derivative of a result by an argument; "" if none is short.

    Of an elementwise operation it is the factor, as `cos(a)`; of another it is what becomes of the
    cotangent g of the result, as `g @ w.T`.

    Args:
      e: The operation.
      place: Which of its arguments.
      names: Of its variables.
      limit: The longest text.
    """
    derivative = e.primitive.derivative
    if e.primitive.many or isinstance(derivative, General | Zero):
        return ""
    if isinstance(derivative, Elementwise) and derivative.rules[place] is None:
        return ""
    try:
        graph, symbols = _staged_rule(e, place, names)
        return _shortened(graph, symbols, limit)
    except (FuncgraphError, TypeError, ValueError, ArithmeticError):
        return ""  # a rule that looks at numbers


def _abbreviated(name: str, args: list[Text]) -> Text | None:
    """Return what people write for 1 * x, -1 * x, x * x, x + x; None for anything else."""
    texts = [text for text, _ in args]
    if name == "multiply" and texts[0] in ("1", "-1"):
        args, texts = args[::-1], texts[::-1]
    if name in ("multiply", "divide") and texts[1] == "1":
        return args[0]
    if name in ("multiply", "divide") and texts[1] == "-1":
        return f"-{_enclosed(args[0], 6)}", 6
    if name == "multiply" and texts[0] == texts[1]:
        return f"{_enclosed(args[0], 8)}**2", 7
    if name == "add" and texts[0] == texts[1]:
        return f"2 * {_enclosed(args[0], 5)}", 5
    return None


def _staged_rule(e: Equation, place: int, names: Names) -> tuple[Graph, dict[Var, str]]:
    derivative, y = e.primitive.derivative, e.outputs[0]
    places = [k for k, a in enumerate(e.inputs) if isinstance(a, Var)]
    elementwise = isinstance(derivative, Elementwise)

    def fun(g: Any, out: Any, *values: Any) -> list[Any]:
        args = list(e.inputs)
        for k, x in zip(places, values, strict=True):
            args[k] = x
        return [_pulled(derivative, place, 1.0 if elementwise else g, out, args, e.attrs)]

    avals = [y.aval, y.aval, *(a.aval for a in e.inputs if isinstance(a, Var))]
    graph = stage(fun, avals).simplify()
    words = [names.cotangent, names[y], *(names[e.inputs[k]] for k in places)]
    return graph, dict(zip(graph.inputs, words, strict=True))


def _pulled(derivative: Any, place: int, g: Any, y: Any, args: list[Any], attrs: Any) -> Any:
    if isinstance(derivative, Elementwise):
        rule = derivative.rules[place]
        assert rule is not None
        return rule(g, y, *args, **attrs)
    if isinstance(derivative, Bilinear):
        return derivative.transposes[place](g, *args, **attrs)
    assert isinstance(derivative, Linear)
    found = derivative.transpose(g, *args, **attrs)
    return found if derivative.count == 1 else found[place]


def _shortened(graph: Graph, symbols: dict[Var, str], limit: int) -> str:
    """Return a graph's output as one expression, if that is short."""
    texts: dict[Any, Text] = {v: _leaf(name) for v, name in symbols.items()}
    for v, value in graph.constants.items():
        texts[v] = _leaf(number(value) if np.ndim(value) == 0 else "...")
    for e in graph.equations:
        args = [texts[a] if isinstance(a, Var) else _leaf(number(a)) for a in e.inputs]
        if any(len(t) > limit for t, _ in args) or e.primitive.many:
            return ""
        texts[e.outputs[0]] = _abbreviated(e.primitive.name, args) or _text(e, args)
    (out,) = graph.outputs
    text = texts[out][0] if isinstance(out, Var) else number(out)
    return text if len(text) <= limit and "..." not in text else ""

"""What the pullback of one operation computes, as a textbook writes it: g × (1 − y²).

Nothing is known here of any operation: the pullback is staged, simplified and printed, with the
names g for the cotangent of the result, y for the result, and the user's or general names for the
arguments. May import `core`, `transforms`, `pictures.labels`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from funcgraph.core.graph import Atom, Equation, Graph, Var
from funcgraph.core.primitive import Linear
from funcgraph.core.simplify import prune, simplify
from funcgraph.pictures.labels import index_text, number_text
from funcgraph.transforms.gradient import vjp
from funcgraph.transforms.stage import stage

__all__ = ["Formulas", "Rule", "rule_of"]

_LONG = 30  # characters of a rule that is written out
_ATOM, _POWER, _SIGN, _TIMES, _PLUS, _LOWEST = 9, 5, 4, 3, 2, 0

_INFIX = {
    "add": ("+", _PLUS), "subtract": ("−", _PLUS), "multiply": ("×", _TIMES),
    "divide": ("/", _TIMES), "matmul": ("@", _TIMES), "greater": (">", 1), "less": ("<", 1),
    "greater_equal": ("≥", 1), "less_equal": ("≤", 1), "equal": ("=", 1), "not_equal": ("≠", 1),
    "logical_and": ("and", _LOWEST), "logical_or": ("or", _LOWEST),
}  # fmt: skip
_WORDS = {
    "reduce_sum": "sum", "reduce_max": "max", "reduce_min": "min", "absolute": "abs",
    "index_sum": "put back", "index_add": "put back", "pad_zeros": "pad",
    "einsum_pair": "einsum", "sqrt": "√",
    "index_set": "set", "window_put": "put back", "reduce_prod": "product",
}  # fmt: skip
_SILENT = {"convert", "copy", "barrier", "class_numbers", "stop_gradient", "positive"}


class Rule(NamedTuple):
    """The pullback of an operation.

    Attributes:
      lines: One for each argument that gets a cotangent, or one if that is the same for all.
      kept: The values of the forward pass that it reads, by the names in the lines.
      whole: The lines as they are even where they are too long.
    """

    lines: tuple[str, ...]
    kept: tuple[str, ...]
    whole: tuple[str, ...] = ()


def rule_of(
    e: Equation, names: Sequence[str], active: Sequence[bool], taken: Collection[str] = ()
) -> Rule:
    """Return what the pullback of an equation computes.

    Args:
      e: The equation; it has one result.
      names: Of its arguments, "" for those that have none; for a constant, its number.
      active: Which arguments are to get a cotangent.
      taken: Names of other values, which are not given to arguments that have none.
    """
    graph = _staged(e, active)
    *names, result = _distinct(e, names, taken)
    formulas = Formulas(graph, _named(graph, e, names, result))
    texts = [formulas.text(out) for out in graph.outputs]
    called = dict(zip(e.inputs, names, strict=True))
    wanted = [called[v] for v in _chosen(e, active)]
    read = [name for name in dict.fromkeys((*names, result)) if name in formulas.read]
    kept = tuple(name for name in read if name.isidentifier())
    if len(set(texts)) == 1:
        lines = texts[:1]
    else:
        lines = [f"{name}: {text}" for name, text in zip(wanted, texts, strict=True)]
    if max(map(len, lines)) > _LONG:
        return Rule((f"pullback of {e.primitive.name}",), kept, tuple(lines))
    return Rule(tuple(lines), kept, tuple(lines))


def _distinct(e: Equation, names: Sequence[str], taken: Collection[str]) -> list[str]:
    """Return different names for all arguments that are variables, and for the result."""
    single = len({v for v in e.inputs if isinstance(v, Var)}) == 1
    free = [c for c in ("xuvtz" if single else "abcdpq") if c not in taken]
    free += [f"x{k}" for k in range(len(names))]
    found: dict[Atom, str] = {}
    for v, name in zip(e.inputs, names, strict=True):
        if isinstance(v, Var) and v not in found and name and not name.isidentifier():
            found[v] = name  # a number
        elif isinstance(v, Var) and v not in found:
            known = {*found.values(), "g"}
            own = name and name not in known
            found[v] = name if own else next(c for c in free if c not in known)
    known = {*found.values(), "g"}
    options = [c for c in ("y", "z", "r", "s") if c not in taken]
    result = next(c for c in (e.outputs[0].name, *options, "result") if c and c not in known)
    return [*(found.get(v, "") for v in e.inputs), result]


def _staged(e: Equation, active: Sequence[bool]) -> Graph:
    """Return the graph (inputs that are variables, cotangent) -> cotangents of the active ones."""
    fixed = [k for k, v in enumerate(e.inputs) if isinstance(v, Var)]

    def pullback(*args: Any) -> list[Any]:
        full: list[Any] = list(e.inputs)
        for k, x in zip(fixed, args, strict=False):
            full[k] = x

        def operation(*xs: Any) -> Any:
            new = dict(zip(chosen, xs, strict=True))
            given = [new.get(v, x) for v, x in zip(e.inputs, full, strict=True)]
            return e.primitive(*given, **e.attrs)

        primals = [full[e.inputs.index(v)] for v in chosen]
        return list(vjp(operation, *primals)[1](args[-1]))

    chosen = _chosen(e, active)
    avals = [e.inputs[k].aval for k in fixed] + [v.aval for v in e.outputs]  # type: ignore[union-attr]
    return prune(simplify(stage(pullback, avals)))


def _chosen(e: Equation, active: Sequence[bool]) -> list[Atom]:
    """Return the variables that are to get a cotangent, each once."""
    return list(dict.fromkeys(v for v, a in zip(e.inputs, active, strict=True) if a))


def _named(graph: Graph, e: Equation, names: Sequence[str], result: str) -> dict[Var, str]:
    """Return the names of arguments, cotangent and result in the graph of a pullback."""
    variables = [n for n, v in zip(names, e.inputs, strict=True) if isinstance(v, Var)]
    found = dict(zip(graph.inputs, [*variables, "g"], strict=True))
    mine = [n if isinstance(v, Var) else v for n, v in zip(names, e.inputs, strict=True)]
    for inner in graph.equations:
        reads = [found.get(v) if isinstance(v, Var) else v for v in inner.inputs]
        same = inner.attrs.keys() == e.attrs.keys() and all(
            inner.attrs[k] is x for k, x in e.attrs.items()
        )
        if inner.primitive is e.primitive and reads == mine and same:
            found[inner.outputs[0]] = result
    return found


class Formulas:
    """Writes the equations of a small graph into each other.

    Args:
      graph: The graph.
      names: Of the variables that have one: all inputs, at least.
    """

    def __init__(self, graph: Graph, names: dict[Var, str]) -> None:
        self.graph = graph
        self.names = names
        self.made = {v: e for e in graph.equations for v in e.outputs}
        self.read: set[str] = set()  # names that were written

    def text(self, v: Atom) -> str:
        """Return the formula of a value."""
        return self.atom(v, _LOWEST)

    def atom(self, v: Atom, level: int) -> str:
        """Return the text of a value, in brackets if it binds less tightly than `level`."""
        if not isinstance(v, Var):
            return number_text(v)
        if v in self.names:
            self.read.add(self.names[v])
            return self.names[v]
        if v in self.graph.constants:
            return _constant(self.graph.constants[v])
        e = self.made[v]
        if e.primitive.name in _SILENT:
            return self.atom(e.inputs[0], level)
        text, own = self.call(e)
        return text if own >= level else f"({text})"

    def operand(self, name: str, v: Atom, level: int) -> str:
        """Return the text of an operand; products of matrices and of elements are kept apart."""
        inner = self.made[v].primitive.name if isinstance(v, Var) and v in self.made else ""
        mixed = "matmul" in (name, inner) and name != inner
        return self.atom(v, max(level, _SIGN) if mixed else level)

    def call(self, e: Equation) -> tuple[str, int]:
        """Return the text of an operation, and how tightly it binds."""
        name, args = e.primitive.name, e.inputs
        if name == "add" and args[0] is args[1]:
            return f"2 × {self.atom(args[0], _TIMES)}", _TIMES
        if name in _INFIX and len(args) == 2:
            sign, level = _INFIX[name]
            right = level + (name not in ("add", "multiply"))
            texts = [self.operand(name, a, n) for a, n in zip(args, (level, right), strict=True)]
            return f" {sign} ".join(texts), level
        write = _SPECIAL.get(name)
        if write is not None:
            return write(self, e)
        inner = ", ".join(self.atom(a, _LOWEST) for a in args)
        if name in _WORDS or isinstance(e.primitive.derivative, Linear):
            return f"{_WORDS.get(name, name)}({inner})", _ATOM
        attrs = ", ".join(f"{key}={value}" for key, value in e.attrs.items())
        return f"{name}[{attrs}]({inner})" if attrs else f"{name}({inner})", _ATOM


def _constant(value: Any) -> str:
    """Return the number that a constant is, or of which it is full."""
    array = np.asarray(value)
    if array.size and array.dtype.kind in "biufc" and np.all(array == array.flat[0]):
        return number_text(array.flat[0].item())
    return "constant"


def _square(p: Formulas, e: Equation) -> tuple[str, int]:
    return f"{p.atom(e.inputs[0], _ATOM)}²", _POWER


def _power(p: Formulas, e: Equation) -> tuple[str, int]:
    if e.inputs[1] == 2:
        return _square(p, e)
    return f"{p.atom(e.inputs[0], _ATOM)} ^ {p.atom(e.inputs[1], _ATOM)}", _POWER


def _negative(p: Formulas, e: Equation) -> tuple[str, int]:
    return f"−{p.atom(e.inputs[0], _SIGN)}", _SIGN


def _reciprocal(p: Formulas, e: Equation) -> tuple[str, int]:
    return f"1 / {p.atom(e.inputs[0], _POWER)}", _TIMES


def _transpose(p: Formulas, e: Equation) -> tuple[str, int]:
    return f"{p.atom(e.inputs[0], _ATOM)}ᵀ", _ATOM


def _getitem(p: Formulas, e: Equation) -> tuple[str, int]:
    return f"{p.atom(e.inputs[0], _ATOM)}{index_text(e)}", _ATOM


_SPECIAL: dict[str, Callable[[Formulas, Equation], tuple[str, int]]] = {
    "getitem": _getitem,
    "square": _square,
    "power": _power,
    "negative": _negative,
    "reciprocal": _reciprocal,
    "transpose": _transpose,
}

"""Graphs of a few numbers as arithmetic of Python's floats: 20 ns an operation instead of 300.

The graph runs once on NumPy arrays of objects that write down the arithmetic they are asked for; so
shapes cost nothing at run time. Only float64 is a float of Python. Where Python raises an exception
and NumPy gives inf or nan, the program over arrays is run instead. May import `core`.
"""

from __future__ import annotations

import functools
import math
import operator
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval
from funcgraph.core.graph import Equation, Graph, Var

__all__ = ["ELEMENTWISE", "FUNCTIONS", "TRUTHS", "Body", "UnsupportedError", "not_finite"]

FUNCTIONS = {
    "sin": math.sin, "cos": math.cos, "tan": math.tan, "exp": math.exp, "log": math.log,
    "sqrt": math.sqrt, "tanh": math.tanh, "sinh": math.sinh, "cosh": math.cosh,
    "arctan": math.atan, "expm1": math.expm1, "log1p": math.log1p,
}  # fmt: skip
# Computed by the primitive's own function, on arrays of objects.
_OWN = frozenset([
    "add", "subtract", "multiply", "divide", "negative", "square", "power", "matmul", "reshape",
    "transpose", "broadcast", "copy", "getitem", "stack", "concatenate", "reduce_sum", "index_sum",
    "index_add", "stop_gradient", *FUNCTIONS,
])  # fmt: skip
# Of these, arrays may be larger: elements are put together and read, which costs nothing.
_PLACED = frozenset(["getitem", "stack", "concatenate", "reshape", "transpose", "copy"])
_PLACES = 256  # elements of such an array
_COUNTED = 1 << 31  # what may be added to an integer, which has to stay
_FAR = 1 << 62  # far from where NumPy's integers wrap around
_DEEPEST = 20  # parentheses in parentheses
_NAMES = re.compile(r"\b(t\d+)\b")
# Of single numbers, without the way through NumPy.
_ARITHMETIC: dict[str, Callable[..., Any]] = {
    "add": operator.add, "subtract": operator.sub, "multiply": operator.mul,
    "divide": operator.truediv, "power": operator.pow, "negative": operator.neg,
    "square": lambda x: x * x, **{name: operator.methodcaller(name) for name in FUNCTIONS},
}  # fmt: skip
# Of bools, NumPy's + is "or", Python's is not.
_SUMS = frozenset(["add", "matmul", "index_sum", "index_add"])
_MOST = {"getitem": 1, "index_add": 2}  # arguments: without arrays of indices
_TEXTS = {
    "greater": "{0} > {1}", "greater_equal": "{0} >= {1}", "less": "{0} < {1}",
    "less_equal": "{0} <= {1}", "equal": "{0} == {1}", "not_equal": "{0} != {1}",
    "logical_and": "bool({0} and {1})", "logical_or": "bool({0} or {1})",
    "logical_not": "not {0}", "where": "{1} if {0} else {2}", "absolute": "abs({0})",
    "maximum": "{0} if {0} >= {1} or {0} != {0} else {1}",
    "minimum": "{0} if {0} <= {1} or {0} != {0} else {1}",
}  # fmt: skip

# Reductions that combine two elements at a time.
_FOLDS = {
    "reduce_max": "maximum", "reduce_min": "minimum", "reduce_any": "logical_or",
    "reduce_all": "logical_and",
}  # fmt: skip

# Element by element; and those of them that give truths (`where`: if it chooses between such).
ELEMENTWISE = frozenset([*_ARITHMETIC, *_TEXTS])
TRUTHS = frozenset(_TEXTS) - {"absolute", "maximum", "minimum"}


class UnsupportedError(Exception):
    """The body has an operation that is not written for floats."""


class _Number:
    """A float of the program: arithmetic with it is written down, and gives another one.

    Args:
      text: Its name, or a number.
      body: Where the lines go.
      value: The number, if it is known.
    """

    __slots__ = ("_text", "body", "value")

    def __init__(self, text: str, body: Body, value: float | None = None) -> None:
        self._text = text
        self.body = body
        self.value = value

    @property
    def text(self) -> str:
        """Its name, or a number."""
        return self._text

    def new(self, expression: str) -> _Number:
        """Write a line; return the number it assigns."""
        lines = self.body.lines
        lines.append(expression)
        return _Number(f"t{len(lines) - 1}", self.body)

    def _binary(self, symbol: str, a: Any, b: Any) -> Any:
        if type(a) is type(b) is _Number and a.value is b.value is None and symbol != "power":
            return self.new(f"{a.text} {symbol} {b.text}")
        x, y = _known(a), _known(b)
        if x is not None and y is not None:
            value = _OPERATORS[symbol](x, y)
            return _Number(_text(value), self.body, value)
        if symbol == "*" and (_is_zero(a) or _is_zero(b)):
            factors = [n for n in (a, b) if not _is_zero(n) or isinstance(n, _Zero)]
            if all(_known(n) is None for n in factors):
                return _Zero(self.body, factors, lambda: f"{_text(a)} * {_text(b)}")
        if symbol in "+-" and isinstance(b, _Zero):
            b.leave_out()
            return a
        if symbol == "+" and isinstance(a, _Zero):
            a.leave_out()
            return b
        if symbol in "+-" and _adds_nothing(y if symbol == "-" else -y if y is not None else y):
            return a
        if symbol == "+" and x is not None and _adds_nothing(-x):
            return b
        if (symbol == "*" and x == 1) or (symbol in "*/" and y == 1):
            return b if x == 1 else a
        if symbol == "power":
            return self.new(f"power({_text(a)}, {_text(b)})")
        return self.new(f"{_text(a)} {symbol} {_text(b)}")

    def __add__(self, other: Any) -> Any:
        return self._binary("+", self, other)

    def __radd__(self, other: Any) -> Any:
        return self._binary("+", other, self)

    def __sub__(self, other: Any) -> Any:
        return self._binary("-", self, other)

    def __rsub__(self, other: Any) -> Any:
        return self._binary("-", other, self)

    def __mul__(self, other: Any) -> Any:
        return self._binary("*", self, other)

    def __rmul__(self, other: Any) -> Any:
        return self._binary("*", other, self)

    def __truediv__(self, other: Any) -> Any:
        return self._binary("/", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return self._binary("/", other, self)

    def __pow__(self, other: Any) -> Any:
        return self._binary("power", self, other)

    def __rpow__(self, other: Any) -> Any:
        return self._binary("power", other, self)

    def __neg__(self) -> Any:
        if self.value is not None:
            return _Number(_text(-self.value), self.body, -self.value)
        if isinstance(self, _Zero):
            return _Zero(self.body, [self], lambda: f"-{self.text}")
        return self.new(f"-{self.text}")

    def __bool__(self) -> bool:
        raise UnsupportedError

    def __getattr__(self, name: str) -> Callable[[], _Number]:
        """Return a method for each function: np.sin of an array of objects calls x.sin()."""
        if name not in FUNCTIONS:
            raise AttributeError(name)
        return lambda: self.new(f"{name}({self.text})")


class _Zero(_Number):
    """A product with a zero that is known: zero, if the other factors are finite.

    It is written down where its sign counts. Where it is added to another number it is left out,
    and the program looks whether the factors are finite.
    """

    __slots__ = ("_expression", "_factors")

    def __init__(self, body: Body, factors: list[Any], expression: Callable[[], str]) -> None:
        super().__init__("", body)
        self._factors = factors
        self._expression = expression

    @property
    def text(self) -> str:
        """Its name."""
        if not self._text:
            self._text = self.new(self._expression()).text
        return self._text

    def leave_out(self) -> None:
        """Note what has to be finite, since this number is not computed."""
        for factor in self._factors:
            if isinstance(factor, _Zero):
                factor.leave_out()
            else:
                self.body.finite[_text(factor)] = None


def _is_zero(x: Any) -> bool:
    return isinstance(x, _Zero) or _known(x) == 0


def _adds_nothing(y: Any) -> bool:
    """Return whether x - y is x for all x: for 0.0, and for the 0 from which sums start."""
    return y is not None and y == 0 and (type(y) is int or math.copysign(1, y) > 0)


_OPERATORS: dict[str, Callable[[Any, Any], float]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
    "power": math.pow,
}  # fmt: skip


def _known(x: Any) -> Any:
    return x.value if isinstance(x, _Number) else x


def _text(x: Any) -> str:
    if isinstance(x, _Number):
        return x.text
    x = x.item() if isinstance(x, np.generic) else x
    if type(x) not in (bool, int, float):
        raise UnsupportedError
    return repr(x) if math.isfinite(x) else f"float({str(x)!r})"


def _array(value: Any, shape: tuple[int, ...]) -> Any:
    out = np.empty(shape, object)
    out[...] = value
    return out


def _is_number(aval: Aval, kinds: str) -> bool:
    return aval.dtype == np.float64 or (aval.dtype.kind in kinds and aval.dtype in (bool, np.int64))


def _counts(e: Equation) -> bool:
    """Return whether an equation adds a known number, not too large, to an integer."""
    if e.primitive.name not in ("add", "subtract") or e.outputs[0].aval.dtype != np.int64:
        return False
    return any(type(x) is int and abs(x) < _COUNTED for x in e.inputs)


def _check(graph: Graph, largest: int) -> None:
    """Raise UnsupportedError if an array has other elements than floats, or too many of them."""
    for v in (*graph.inputs, *graph.constants):
        if not _is_number(v.aval, "fbi") or math.prod(v.aval.shape) > _PLACES:
            raise UnsupportedError
    for e in graph.equations:
        most = _PLACES if e.primitive.name in _PLACED else largest
        kinds = "fbi" if _counts(e) else "fb"
        if not all(_is_number(v.aval, kinds) for v in e.outputs):
            raise UnsupportedError
        if any(math.prod(v.aval.shape) > most for v in (*e.inputs, *e.outputs) if type(v) is Var):
            raise UnsupportedError


class Body:
    """The lines of a graph, and the numbers it starts from and ends with.

    Args:
      graph: The graph.
      largest: How many elements an array may have.
      longest: How many lines there may be.
    """

    def __init__(self, graph: Graph, largest: int, longest: int) -> None:
        _check(graph, largest)
        self.lines: list[str] = []  # what is assigned to t0, t1, ...
        self.finite: dict[str, None] = {}  # what has to be so
        self.counts: dict[
            str, None
        ] = {}  # integers that were added up: Python's do not wrap around
        self.env: dict[Var, Any] = {}
        self.inputs: list[list[str]] = []
        for v in graph.inputs:
            names = [f"a{len(self.inputs)}_{k}" for k in range(math.prod(v.aval.shape))]
            self.inputs.append(names)
            self.env[v] = self._numbers([_Number(t, self) for t in names], v.aval.shape)
        for v, value in graph.constants.items():
            known = [x.item() for x in np.asarray(value).reshape(-1)]
            numbers = [_Number(_text(x), self, x) for x in known]
            self.env[v] = self._numbers(numbers, v.aval.shape)
        for e in graph.equations:
            self._equation(e)
            if len(self.lines) > longest:
                raise UnsupportedError
        self.outputs = [[_text(x) for x in np.ravel(self._value(v))] for v in graph.outputs]

    def _numbers(self, numbers: list[_Number], shape: tuple[int, ...]) -> Any:
        if not shape:
            return numbers[0]
        out = np.empty(len(numbers), object)
        out[:] = numbers
        return out.reshape(shape)

    def nested(self) -> list[str]:
        """Return the lines, in which what is read once is written where it is read."""
        results = {*self.finite, *self.counts, *(text for texts in self.outputs for text in texts)}
        lines = _nested(self.lines, results)
        if self.counts:
            near = " and ".join(f"-{_FAR} < {text} < {_FAR}" for text in self.counts)
            lines.append(f"if not ({near}): raise ArithmeticError")
        if self.finite:
            lines.append(f"if {not_finite(self.finite)}: raise ArithmeticError")
        return lines

    def _value(self, atom: Any) -> Any:
        return self.env[atom] if type(atom) is Var else atom

    def _equation(self, e: Any) -> None:
        name, (out, *more) = e.primitive.name, e.outputs
        if more or (name in _SUMS and out.aval.dtype == bool):
            raise UnsupportedError
        values = [self._value(a) for a in e.inputs]
        if name in _TEXTS:
            result = self._elementwise(_TEXTS[name], values, out.aval)
        elif name in _FOLDS:
            result = self._folded(_TEXTS[_FOLDS[name]], values[0], e.attrs["axes"], out.aval)
        elif name == "convert" and e.inputs[0].aval.dtype == np.float64:
            result = values[0]
        elif not out.aval.shape and name in _ARITHMETIC:
            result = _ARITHMETIC[name](*values)
        elif name in _OWN and len(values) <= _MOST.get(name, len(values)):
            values = [_array(v, ()) if isinstance(v, _Number) else v for v in values]
            attrs = {**e.attrs, "dtype": object} if "dtype" in e.attrs else e.attrs
            result = e.primitive.numpy(*values, **attrs)
        else:
            raise UnsupportedError
        if out.aval.dtype == np.int64:
            self.counts.update((_text(x), None) for x in np.ravel(result))
        if out.aval.shape:
            result = _array(result, out.aval.shape)
        self.env[out] = result[()] if isinstance(result, np.ndarray) else result

    def _folded(self, text: str, value: Any, axes: tuple[int, ...], aval: Aval) -> Any:
        array = _array(value, np.shape(value))
        rows = np.moveaxis(array, axes, range(len(axes))).reshape(-1, *aval.shape)
        if not len(rows):  # NumPy says what is wrong
            raise UnsupportedError
        return functools.reduce(lambda a, b: self._elementwise(text, [a, b], aval), rows)

    def _elementwise(self, text: str, values: Any, aval: Aval) -> Any:
        shape, one = aval.shape, _Number("", self)
        if aval.dtype == np.float64:  # it chooses between numbers, which are floats then
            values = [float(v) if type(v) is int else v for v in values]
        if not shape:
            return one.new(text.format(*map(_text, values)))
        out = np.empty(shape, object)
        columns = [np.broadcast_to(_array(v, np.shape(v)), shape) for v in values]
        for at in np.ndindex(shape):
            out[at] = one.new(text.format(*[_text(c[at]) for c in columns]))
        return out


def not_finite(texts: Iterable[str]) -> str:
    """Return the text that asks whether one of some numbers is inf or nan."""
    return " + ".join(f"{t} * 0.0" for t in texts) + " != 0.0"


def _nested(lines: list[str], results: Collection[str]) -> list[str]:
    """Return assignments to t0, t1, ...; what is read once, in another line, is written there."""
    parts = [_NAMES.split(text) for text in lines]  # every other part is a name
    count = Counter(name for line in parts for name in line[1::2])
    inner: dict[str, tuple[str, int]] = {}
    out = []
    for k, line in enumerate(parts):
        name, depth = f"t{k}", 1
        for place in range(1, len(line), 2):
            if line[place] in inner:
                line[place], below = inner[line[place]]
                depth = max(depth, below + 1)
        text = "".join(line)
        if count[name] == 1 and name not in results and depth < _DEEPEST:
            inner[name] = f"({text})", depth
        else:
            out.append(f"{name} = {text}")
    return out

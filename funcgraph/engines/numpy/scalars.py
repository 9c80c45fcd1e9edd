"""Loops over a few numbers, as Python loops over floats: an operation takes 20 ns instead of 300.

The body runs once on NumPy arrays of objects that write down the arithmetic they are asked for; so
shapes cost nothing at run time. Only float64 is a float of Python. Where Python raises an exception
and NumPy gives inf or nan, the loop over arrays is run instead. May import `core`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval
from funcgraph.core.graph import Graph, Var

__all__ = ["float_loop"]

_LARGEST = 16  # elements of an array
_LONGEST = 3000  # lines of a body
_FUNCTIONS = {
    "sin": math.sin, "cos": math.cos, "tan": math.tan, "exp": math.exp, "log": math.log,
    "sqrt": math.sqrt, "tanh": math.tanh, "sinh": math.sinh, "cosh": math.cosh,
    "arctan": math.atan, "expm1": math.expm1, "log1p": math.log1p,
}  # fmt: skip
# Computed by the primitive's own function, on arrays of objects.
_OWN = frozenset([
    "add", "subtract", "multiply", "divide", "negative", "square", "power", "matmul", "reshape",
    "transpose", "broadcast", "copy", "getitem", "stack", "concatenate", "reduce_sum", "index_sum",
    "index_add", "stop_gradient", *_FUNCTIONS,
])  # fmt: skip
_DEEPEST = 20  # parentheses in parentheses
_NAMES = re.compile(r"\bt\d+\b")
_MOST = {"getitem": 1, "index_add": 2}  # arguments: without arrays of indices
_TEXTS = {
    "greater": "{0} > {1}", "greater_equal": "{0} >= {1}", "less": "{0} < {1}",
    "less_equal": "{0} <= {1}", "equal": "{0} == {1}", "not_equal": "{0} != {1}",
    "logical_and": "bool({0} and {1})", "logical_or": "bool({0} or {1})",
    "logical_not": "not {0}", "where": "{1} if {0} else {2}", "absolute": "abs({0})",
    "maximum": "{0} if {0} >= {1} or {0} != {0} else {1}",
    "minimum": "{0} if {0} <= {1} or {0} != {0} else {1}",
}  # fmt: skip


class _UnsupportedError(Exception):
    """The body has an operation that is not written for floats."""


class _Number:
    """A float of the program: arithmetic with it is written down, and gives another one."""

    __slots__ = ("lines", "text")

    def __init__(self, text: str, lines: list[str]) -> None:
        self.text = text
        self.lines = lines

    def new(self, expression: str) -> _Number:
        """Write a line; return the number it assigns."""
        if len(self.lines) > _LONGEST:
            raise _UnsupportedError
        name = f"t{len(self.lines)}"
        self.lines.append(f"{name} = {expression}")
        return _Number(name, self.lines)

    def __add__(self, other: Any) -> _Number:
        return self.new(f"{self.text} + {_text(other)}")

    def __radd__(self, other: Any) -> _Number:
        return self.new(f"{_text(other)} + {self.text}")

    def __sub__(self, other: Any) -> _Number:
        return self.new(f"{self.text} - {_text(other)}")

    def __rsub__(self, other: Any) -> _Number:
        return self.new(f"{_text(other)} - {self.text}")

    def __mul__(self, other: Any) -> _Number:
        return self.new(f"{self.text} * {_text(other)}")

    def __rmul__(self, other: Any) -> _Number:
        return self.new(f"{_text(other)} * {self.text}")

    def __truediv__(self, other: Any) -> _Number:
        return self.new(f"{self.text} / {_text(other)}")

    def __rtruediv__(self, other: Any) -> _Number:
        return self.new(f"{_text(other)} / {self.text}")

    def __pow__(self, other: Any) -> _Number:
        return self.new(f"power({self.text}, {_text(other)})")

    def __rpow__(self, other: Any) -> _Number:
        return self.new(f"power({_text(other)}, {self.text})")

    def __neg__(self) -> _Number:
        return self.new(f"-{self.text}")

    def __bool__(self) -> bool:
        raise _UnsupportedError

    def __getattr__(self, name: str) -> Callable[[], _Number]:
        """Return a method for each function: np.sin of an array of objects calls x.sin()."""
        if name not in _FUNCTIONS:
            raise AttributeError(name)
        return lambda: self.new(f"{name}({self.text})")


def _text(x: Any) -> str:
    if isinstance(x, _Number):
        return x.text
    x = x.item() if isinstance(x, np.generic) else x
    if type(x) not in (bool, int, float):
        raise _UnsupportedError
    return repr(x) if math.isfinite(x) else f"float({str(x)!r})"


def _array(value: Any, shape: tuple[int, ...]) -> Any:
    out = np.empty(shape, object)
    out[...] = value
    return out


def _fits(aval: Aval, kinds: str) -> bool:
    known = aval.dtype == np.float64 or (
        aval.dtype.kind in kinds and aval.dtype in (bool, np.int64)
    )
    return known and math.prod(aval.shape) <= _LARGEST


class _Body:
    """The lines of a loop's body, and the numbers it starts from and ends with."""

    def __init__(self, graph: Graph) -> None:
        self.lines: list[str] = []
        self.env: dict[Var, Any] = {}
        self.inputs: list[list[str]] = []
        for v in graph.inputs:
            if not _fits(v.aval, "fbi"):
                raise _UnsupportedError
            names = [f"a{len(self.inputs)}_{k}" for k in range(math.prod(v.aval.shape))]
            self.inputs.append(names)
            self.env[v] = self._numbers(names, v.aval.shape)
        for v, value in graph.constants.items():
            if not _fits(v.aval, "fbi"):
                raise _UnsupportedError
            texts = [_text(x) for x in np.asarray(value).reshape(-1)]
            self.env[v] = self._numbers(texts, v.aval.shape)
        for e in graph.equations:
            self._equation(e)
        self.outputs = [[_text(x) for x in np.ravel(self._value(v))] for v in graph.outputs]

    def _numbers(self, texts: list[str], shape: tuple[int, ...]) -> Any:
        out = np.empty(len(texts), object)
        out[:] = [_Number(t, self.lines) for t in texts]
        return out.reshape(shape)

    def _value(self, atom: Any) -> Any:
        return self.env[atom] if isinstance(atom, Var) else atom

    def _equation(self, e: Any) -> None:
        name, (out, *more) = e.primitive.name, e.outputs
        if more or not _fits(out.aval, "fb"):
            raise _UnsupportedError
        values = [self._value(a) for a in e.inputs]
        if name in _TEXTS:
            result = self._elementwise(_TEXTS[name], values, out.aval)
        elif name == "convert" and e.inputs[0].aval.dtype == np.float64:
            result = values[0]
        elif name in _OWN and len(values) <= _MOST.get(name, len(values)):
            attrs = {**e.attrs, "dtype": object} if "dtype" in e.attrs else e.attrs
            result = e.primitive.numpy(*values, **attrs)
        else:
            raise _UnsupportedError
        self.env[out] = _array(result, out.aval.shape)

    def _elementwise(self, text: str, values: Any, aval: Aval) -> Any:
        shape = aval.shape
        if aval.dtype == np.float64:  # it chooses between numbers, which are floats then
            values = [float(v) if type(v) is int else v for v in values]
        out = np.empty(shape, object)
        columns = [np.broadcast_to(_array(v, np.shape(v)), shape) for v in values]
        one = _Number("", self.lines)
        for at in np.ndindex(shape):
            out[at] = one.new(text.format(*[_text(c[at]) for c in columns]))
        return out


def _tuple(names: list[str]) -> str:
    return f"({', '.join(names)},)" if names else "()"


def _row(names: list[str]) -> str:
    """Return the text of a row: a number, or a tuple of them."""
    return names[0] if len(names) == 1 else _tuple(names)


def _nested(lines: list[str], results: list[str]) -> list[str]:
    """Return the lines with those that are read once, in another line, written there."""
    count = Counter(name for text in lines for name in _NAMES.findall(text))
    inner: dict[str, tuple[str, int]] = {}
    out = []
    for line in lines:
        name, _, text = line.partition(" = ")
        parts = [inner[n] for n in _NAMES.findall(text) if n in inner]
        depth = 1 + max((d for _, d in parts), default=0)
        text = _NAMES.sub(lambda m: f"({inner[m[0]][0]})" if m[0] in inner else m[0], text)
        if count[name] == 2 and name not in results and depth < _DEEPEST:
            inner[name] = text, depth
        else:
            out.append(f"{name} = {text}")
    return out


def float_loop(
    graph: Graph, carries: int, rows: int, length: int, reverse: bool
) -> Callable[..., tuple[Any, ...]] | None:
    """Return a function that runs a scan over floats; None if its body is not made of these.

    The function raises ArithmeticError or ValueError where Python does and NumPy does not.
    """
    try:
        body = _Body(graph)
    except (_UnsupportedError, TypeError, AttributeError):
        return None
    carry, xs, constants = _parts(body.inputs, carries, rows)
    end, ys = body.outputs[:carries], body.outputs[carries:]
    flat = [n for part in carry for n in part]
    lines = [f"{_tuple(flat)} = carry", f"{_tuple([n for c in constants for n in c])} = constants"]
    lines += [f"y{k} = []" for k in range(len(ys))]
    row = [_row(x) for x in xs]
    lines.append(f"for {_tuple(row)} in zip(*rows):" if rows else "for _ in range(length):")
    inner = _nested(body.lines, [n for part in body.outputs for n in part])
    inner += [f"y{k}.append({_row(y)})" for k, y in enumerate(ys)]
    if flat:
        inner.append(f"{_tuple(flat)} = {_tuple([t for part in end for t in part])}")
    lines += ["    " + line for line in inner or ["pass"]]
    lines.append(f"return {_tuple(flat)}, {_tuple([f'y{k}' for k in range(len(ys))])}")
    text = "def loop(carry, rows, constants, length):\n    " + "\n    ".join(lines) + "\n"
    space: dict[str, Any] = {**_FUNCTIONS, "power": math.pow}
    exec(compile(text, "<funcgraph loop>", "exec"), space)
    return _runner(space["loop"], graph, (carries, rows, length), reverse)


def _parts(values: Any, carries: int, rows: int) -> tuple[Any, Any, Any]:
    return values[:carries], values[carries : carries + rows], values[carries + rows :]


def _column(x: Any, length: int) -> list[Any]:
    """Return the rows of an array: numbers, or lists of them."""
    x = np.asarray(x)
    return x.reshape(-1 if x.size == length else (length, -1)).tolist()  # type: ignore[no-any-return]


def _runner(
    loop: Callable[..., Any], graph: Graph, sizes: tuple[int, int, int], reverse: bool
) -> Callable[..., tuple[Any, ...]]:
    carries, rows, length = sizes
    step = -1 if reverse else 1
    outputs = graph.output_avals

    dtypes = [v.aval.dtype for v in graph.inputs]

    def numbers(values: Any, dtypes: Any) -> list[Any]:
        pairs = zip(values, dtypes, strict=False)
        return [n for x, dtype in pairs for n in np.asarray(x, dtype).reshape(-1).tolist()]

    def run(*args: Any) -> tuple[Any, ...]:
        carry, xs, constants = _parts(args, carries, rows)
        columns = [_column(x, length)[::step] for x in xs]
        first, last = numbers(carry, dtypes), numbers(constants, dtypes[carries + rows :])
        end, ys = loop(first, columns, last, length)
        out: list[Any] = []
        start = 0
        for a in outputs[:carries]:
            n = math.prod(a.shape)
            out.append(np.array(end[start : start + n], a.dtype).reshape(a.shape)[()])
            start += n
        for y, a in zip(ys, outputs[carries:], strict=True):
            out.append(np.array(y[::step], a.dtype).reshape((length, *a.shape)))
        return tuple(out)

    return run

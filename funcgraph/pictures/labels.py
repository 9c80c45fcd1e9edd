"""Texts of a picture: operations as a textbook writes them, shapes, and what a pointer shows.

May import `core`, `pictures.scene`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval, is_inexact
from funcgraph.core.graph import Atom, Equation, Graph, Var
from funcgraph.core.origin import place_of, source_of
from funcgraph.core.text import ARRAY

__all__ = [
    "ANY_LENGTH",
    "flops_of",
    "index_text",
    "number_text",
    "operation_text",
    "place_text",
    "shape_text",
    "short",
]

# A batch axis of unknown length is traced with this one, a prime, and shown as n.
ANY_LENGTH = 10_007

_INFIX = {
    "add": "+", "subtract": "−", "multiply": "×", "divide": "÷", "power": "^", "matmul": "@",
    "greater": ">", "greater_equal": "≥", "less": "<", "less_equal": "≤", "equal": "=",
    "not_equal": "≠", "remainder": "mod", "floor_divide": "//", "logical_and": "and",
    "logical_or": "or", "bitwise_and": "&", "bitwise_or": "|", "bitwise_xor": "xor",
}  # fmt: skip
_NAMES = {
    "reduce_sum": "sum", "reduce_prod": "product", "reduce_max": "max", "reduce_min": "min",
    "reduce_all": "all", "reduce_any": "any", "absolute": "abs", "negative": "negate",
    "window_max": "max of windows", "window_sum": "sum of windows", "index_set": "set",
    "index_add": "add at", "index_sum": "put back", "conv_input": "conv, transposed",
    "conv_kernel": "conv of gradients", "pad_zeros": "pad", "einsum_pair": "einsum",
    "getitem": "", "jit_call": "jit", "jax_call": "JAX", "custom_call": "custom",
    "eager_call": "loop",
}  # fmt: skip
_COMMUTES = {"add", "multiply", "equal", "not_equal", "maximum", "minimum"}
_LONG = 24  # characters of a line


def short(text: str, limit: int = _LONG) -> str:
    """Return a text, cut in the middle if it is too long for a node."""
    if len(text) <= limit:
        return text
    half = (limit - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


def number_text(x: Any) -> str:
    """Return a number as a label shows it, to four digits."""
    if isinstance(x, bool | np.bool_ | int | np.integer):
        return str(x)
    return f"{x:.4g}".replace("-", "−")


def shape_text(aval: Aval, usual: np.dtype[Any]) -> str:
    """Return what an edge shows of its value: 5×3; the dtype only where it is not the usual one."""
    shape = "×".join(map(_length, aval.shape))
    if aval.dtype == usual or aval.weak is not None:
        return shape
    return f"{aval.dtype.name}[{shape}]" if shape else aval.dtype.name


def _length(n: int) -> str:
    """Return the length of an axis; multiples of the length that stands for any as such."""
    if n % ANY_LENGTH or not n:
        return str(n)
    return "n" if n == ANY_LENGTH else f"{n // ANY_LENGTH}n"


def usual_dtype(graph: Graph) -> np.dtype[Any]:
    """Return the dtype that most values have."""
    found: Counter[np.dtype[Any]] = Counter()
    stack = [graph]
    while stack:
        g = stack.pop()
        for v in (*g.inputs, *(v for e in g.equations for v in e.outputs)):
            if is_inexact(v.aval.dtype):
                found[v.aval.dtype] += 1
        stack += [s for e in g.equations for s in e.subgraphs]
    return found.most_common(1)[0][0] if found else np.dtype(float)


def operation_text(e: Equation, operands: Sequence[str]) -> str:
    """Return the first line of the node of an equation.

    Args:
      e: The equation.
      operands: What its inputs are called; "" where there is nothing short to call them by.
    """
    name = e.primitive.name
    if name in _INFIX and len(operands) == 2:
        return _infix(name, e.inputs, operands)
    if name == "square":
        return "square"
    word = _NAMES.get(name, name)
    detail = _DETAILS[name](e) if name in _DETAILS else _axes(e)
    pairs = zip(e.inputs, operands, strict=False)
    numbers = [text for a, text in pairs if not isinstance(a, Var)]
    if numbers and name not in _DETAILS and not e.subgraphs:
        detail = ", ".join([*numbers, *filter(None, [detail])])
    return short(f"{word} {detail}".strip())


def _infix(name: str, inputs: Sequence[Atom], operands: Sequence[str]) -> str:
    symbol = _INFIX[name]
    a, b = (short(x, 10) for x in operands)
    literal = [not isinstance(x, Var) for x in inputs]
    if name == "power" and literal[1]:
        return f"{a or '·'} ^ {b}"
    if any(literal):
        return f"{a if literal[0] else '·'} {symbol} {b if literal[1] else '·'}"
    if inputs[0] is inputs[1]:
        return f"{a} {symbol} {b}" if a else f"· {symbol} ·"
    if name in _COMMUTES or not (a and b):
        return "matmul" if name == "matmul" else symbol
    return f"{a} {symbol} {b}"


def _axes(e: Equation) -> str:
    """Return over which axes an operation goes, unless over all of them."""
    axes = e.attrs.get("axes", e.attrs.get("axis"))
    first = e.inputs[0] if e.inputs else None
    rank = first.aval.ndim if isinstance(first, Var) else 0
    if axes is None or (isinstance(axes, tuple) and len(axes) == rank):
        return ""
    numbers = axes if isinstance(axes, tuple) else (axes,)
    return f"axis {', '.join(map(str, numbers))}" if numbers else ""


def index_text(e: Equation) -> str:
    """Return the index of an indexing operation as it is written: [:, 0]."""
    parts = []
    for part in e.attrs["template"]:
        if isinstance(part, slice):
            ends = ["" if n is None else str(n) for n in (part.start, part.stop, part.step)]
            parts.append(":".join(ends[:2] if part.step is None else ends))
        elif part is Ellipsis or part is None:
            parts.append("..." if part is Ellipsis else "None")
        elif part is ARRAY or isinstance(part, np.ndarray):
            parts.append("i")
        else:
            parts.append(str(part))
    return f"[{', '.join(parts)}]"


def _transposed(e: Equation) -> str:
    axes = e.attrs.get("axes")
    return "" if axes is None or len(axes) <= 2 else f"({', '.join(map(str, axes))})"


def _kernel(e: Equation) -> str:
    kernel = e.inputs[1]
    return "×".join(map(str, kernel.aval.shape[:-2])) if isinstance(kernel, Var) else ""


def _result(e: Equation) -> str:
    return e.outputs[0].aval.dtype.name


_DETAILS: dict[str, Callable[[Equation], str]] = {
    "getitem": index_text,
    "index_set": index_text,
    "index_add": index_text,
    "transpose": _transposed,
    "conv": _kernel,
    "convert": lambda e: f"to {_result(e)}",
    "einsum_pair": lambda e: str(e.attrs["spec"]),
    "custom_call": lambda e: str(getattr(e.attrs["rules"], "name", "")),
    "reshape": lambda e: "",
    "broadcast": lambda e: "",
    "pad_zeros": lambda e: "",
}


def place_text(line: str) -> str:
    """Return `file:line: text` of a line of the user's program; "" if it is not known."""
    return ": ".join(filter(None, (place_of(line), source_of(line))))


def flops_of(e: Equation) -> int:
    """Return the arithmetic operations of an equation, with those of the graphs it holds.

    Where an axis may have any length, they are those for one of its elements.
    """
    flops = Graph((), (e,), ()).flops()
    variables = [v for v in (*e.inputs, *e.outputs) if isinstance(v, Var)]
    unknown = any(n and n % ANY_LENGTH == 0 for v in variables for n in v.aval.shape)
    return flops // ANY_LENGTH if unknown else flops

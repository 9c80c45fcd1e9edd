"""Shorter ways through NumPy, which count where arrays are small.

May import `core`, `engines.numpy`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import prod
from operator import attrgetter
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval
from funcgraph.core.graph import Equation, Var
from funcgraph.engines.numpy.literals import made_text
from funcgraph.engines.numpy.scatter import put_back

__all__ = [
    "as_arrays",
    "is_by_dot",
    "is_of_one_float",
    "put_together",
    "with_names",
]

_FACTOR = 1 << 16  # bytes of a factor
# With an array of these, a number of Python may as well be an array without axes.
_ARITHMETIC = frozenset([
    "add", "subtract", "multiply", "divide", "maximum", "minimum", "greater", "greater_equal",
    "less", "less_equal",
])  # fmt: skip


def is_of_one_float(e: Equation) -> bool:
    """Return whether all numbers but indices are single, or all double precision."""
    dtypes = {v.aval.dtype for v in (*e.inputs, *e.outputs) if isinstance(v, Var)}
    floats = {d for d in dtypes if d.kind != "i"}
    return len(floats) == 1 and floats <= {np.dtype(np.float32), np.dtype(np.float64)}


def is_by_dot(e: Equation) -> bool:
    """Return whether x.dot(y) computes a product of matrices: it starts earlier than matmul.

    The function np.dot takes 0.25 us more to find that method.
    """
    if e.primitive.name != "matmul" or not all(isinstance(v, Var) for v in e.inputs):
        return False
    parts = [v.aval for v in (*e.inputs, *e.outputs) if isinstance(v, Var)]
    few = all(len(a.shape) <= 2 and prod(a.shape) * a.dtype.itemsize < _FACTOR for a in parts)
    return few and is_of_one_float(e)


def as_arrays(
    e: Equation,
    args: list[str],
    number: Callable[[float, Any], str],
    box: Callable[[Var], str] | None = None,
) -> list[str]:
    """Return arguments of a ufunc with numbers as arrays, which it reads 0.2 us faster.

    Args:
      e: The equation.
      args: The text of its arguments.
      number: Returns the name of an array that is a number, of a dtype.
      box: Returns the text of an array that has the value of a number of NumPy's; None: there is
        no memory for it.
    """
    if e.primitive.name not in _ARITHMETIC or all(
        type(x) is Var and x.aval.shape for x in e.inputs
    ):
        return args
    dtypes = {v.aval.dtype for v in e.inputs if isinstance(v, Var) and v.aval.shape}
    if [d.kind for d in dtypes] != ["f"]:
        return args
    single = Aval((), dtypes.pop())
    if prod(e.outputs[0].aval.shape) * single.dtype.itemsize > _FACTOR:
        box = None

    def text(x: Any, given: str) -> str:
        if isinstance(x, Var):
            return box(x) if box and x.aval == single else given
        return number(x, single.dtype) if type(x) in (int, float) else given

    return [text(x, given) for x, given in zip(e.inputs, args, strict=True)]


_NAME = re.compile(r"\bnp\.([A-Za-z_][\w.]*)")


def with_names(text: str, space: dict[str, Any]) -> str:
    """Return a program with names for NumPy's functions: each look-up in `np` takes 0.05 us.

    Args:
      text: The program.
      space: What its names stand for; is added to.
    """

    def name(found: re.Match[str]) -> str:
        short = f"np_{found[1].replace('.', '_')}"
        if short not in space:
            space[short] = attrgetter(found[1])(np)
        return short

    return _NAME.sub(name, text)


def put_together(
    e: Equation, args: list[str], out: str, bind: Callable[[Any], str]
) -> list[str] | None:
    """Return the lines that write arrays into their places of a new one; None if e does not.

    Args:
      e: The equation.
      args: The text of its arguments.
      out: The name of the result.
      bind: Returns the name of an array.
    """
    name, attrs = e.primitive.name, e.attrs
    if name == "index_sum":
        templates = attrs["templates"]
    elif name == "stack" and _are_arrays_like(e.inputs, e.outputs[0]):
        axis = attrs["axis"] % len(e.outputs[0].aval.shape)
        templates = [(*[slice(None)] * axis, k) for k in range(len(args))]
    else:
        return None
    aval = e.outputs[0].aval
    whole, lines = put_back(out, aval.shape, templates, args, bind)
    new = "empty" if whole else "zeros"
    return [f"{out} = {made_text(new, aval.shape, aval.dtype)}", *lines]


def _are_arrays_like(inputs: Any, out: Var) -> bool:
    arrays = [v.aval for v in inputs if isinstance(v, Var) and v.aval.shape]
    return len(arrays) == len(inputs) and all(a.dtype == out.aval.dtype for a in arrays)

"""Equations as NumPy text: one line of a table for each primitive that is a call of NumPy.

May import `core`, `ops.indexing`, `engines.numpy.literals`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from funcgraph.core.aval import aval_of
from funcgraph.core.graph import Equation, Var
from funcgraph.core.primitive import OPERATORS
from funcgraph.engines.numpy.literals import dtype_text, made_text, value_text
from funcgraph.ops.indexing import ARRAY

__all__ = ["expression", "index_text", "is_strong", "statements"]

Bind = Callable[[Any], str]

# {0}, {1} are the arguments, {all} all of them, {axes} and the like the attributes.
_TEXTS = {
    "reshape": "np.reshape({0}, {shape})",
    "transpose": "np.transpose({0}, {axes})",
    "broadcast": "np.broadcast_to({0}, {shape})",
    "copy": "np.array({0})",
    "stop_gradient": "{0}",
    "barrier": "{0}",
    "concatenate": "np.concatenate(({all},), axis={axis})",
    "stack": "np.stack(({all},), axis={axis})",
    "pad_zeros": "np.pad({0}, {widths})",
    "where": "np.where({0}, {1}, {2})",
    "real": "np.real({0})",
    "imag": "np.imag({0})",
    "fraction": "np.modf({0})[0]",
    "mantissa": "np.frexp({0})[0]",
    "exponent": "np.frexp({0})[1]",
    "round": "np.round({0}, {decimals})",
    "reduce_sum": "np.sum({0}, axis={axes})",
    "reduce_prod": "np.prod({0}, axis={axes})",
    "reduce_max": "np.max({0}, axis={axes})",
    "reduce_min": "np.min({0}, axis={axes})",
    "reduce_all": "np.all({0}, axis={axes})",
    "reduce_any": "np.any({0}, axis={axes})",
    "count_nonzero": "np.count_nonzero({0}, axis={axes})",
    "cumsum": "np.add.accumulate({0}, axis={axis})",
    "cumsum_back": "np.flip(np.add.accumulate(np.flip({0}, {axis}), axis={axis}), {axis})",
    "cumprod": "np.multiply.accumulate({0}, axis={axis})",
    "cummax": "np.maximum.accumulate({0}, axis={axis})",
    "cummin": "np.minimum.accumulate({0}, axis={axis})",
    "argsort": "np.argsort({0}, axis={axis}, stable=True)",
    "argpartition": "np.argpartition({0}, {kth}, axis={axis})",
    "lexsort": "np.lexsort(({all},), axis={axis})",
    "permute_along": "np.take_along_axis({0}, {1}, axis={axis})",
    "argmax": "np.argmax({0}, axis={axis})",
    "argmin": "np.argmin({0}, axis={axis})",
    "nanargmax": "np.nanargmax({0}, axis={axis})",
    "nanargmin": "np.nanargmin({0}, axis={axis})",
    "searchsorted": "np.searchsorted({0}, {1}, {side})",
    "digitize": "np.digitize({0}, {1}, {right})",
    "convolve": "np.convolve({0}, {1}, {mode})",
    "bessel_i0": "np.i0({0})[()]",
    "fft": "np.fft.fft({0}, axis={axis}, norm={norm})",
    "ifft": "np.fft.ifft({0}, axis={axis}, norm={norm})",
    "rfft": "np.fft.rfft({0}, axis={axis}, norm={norm})",
    "irfft": "np.fft.irfft({0}, {n}, axis={axis}, norm={norm})",
    "solve": "np.linalg.solve({0}, {1})",
    "inv": "np.linalg.inv({0})",
    "det": "np.linalg.det({0})",
    "slogdet": "np.linalg.slogdet({0})",
    "pinv": "np.linalg.pinv({0}, {rcond}, {hermitian})",
    "cholesky": "np.linalg.cholesky({half})",
    "eigh": "np.linalg.eigh({half})",
    "qr": "np.linalg.qr({0})",
    "svd": "np.linalg.svd({0}, full_matrices=False)",
    "sph_harm_y": "scipy.special.sph_harm_y({all})",
    "expm": "scipy.linalg.expm({0})",
    "zeta": "scipy.special.zeta({0}, {1})",
    "riemann_zeta": "scipy.special.zeta({0})",
}
_UPDATES = {
    "index_add": "add", "index_mul": "multiply", "index_min": "minimum", "index_max": "maximum",
}  # fmt: skip
_SYMBOLS = {
    "add": "+", "subtract": "-", "multiply": "*", "divide": "/", "less": "<", "less_equal": "<=",
    "greater": ">", "greater_equal": ">=", "equal": "==", "not_equal": "!=",
}  # fmt: skip


def is_strong(atom: Any) -> bool:
    """Return whether an argument is an array or scalar of NumPy, not a number of Python."""
    return isinstance(atom, Var) and atom.aval.weak is None


def index_text(template: Any, arrays: list[str], bind: Bind) -> str:
    """Return the index between the brackets of x[...]."""
    rest = iter(arrays)

    def part(p: Any) -> str:
        if p is ARRAY:
            return next(rest)
        if not isinstance(p, slice):
            return value_text(p, bind)
        ends = ["" if v is None else value_text(v, bind) for v in (p.start, p.stop)]
        return ":".join(ends) + ("" if p.step is None else f":{value_text(p.step, bind)}")

    return ", ".join(part(p) for p in template) or "()"


def _attribute(value: Any, bind: Bind) -> str:
    single = isinstance(value, tuple) and len(value) == 1
    return value_text(value[0] if single else value, bind)


def _ufunc_text(e: Equation, args: list[str]) -> str:
    ufunc = e.primitive.numpy
    symbol = _SYMBOLS.get(e.primitive.name)
    if symbol and ufunc in OPERATORS and any(map(is_strong, e.inputs)):
        return f"{args[0]} {symbol} {args[1]}"
    if ufunc is np.matmul:
        return f"{args[0]} @ {args[1]}"
    name = ufunc.__name__
    home = "np" if getattr(np, name, None) is ufunc else "scipy.special"
    return f"{home}.{name}({', '.join(args)})"


def _convert_text(e: Equation, x: str) -> str:
    dtype = e.attrs["dtype"]
    aval = _aval(e.inputs[0])
    if aval.dtype.kind == "c" and dtype.kind != "c":
        x = f"np.real({x})"
    as_array = x if aval.weak is None else f"np.asarray({x})"
    tail = "" if aval.weak is None else "[()]"
    return f"{as_array}.astype({dtype_text(dtype)}){tail}"


def _aval(atom: Any) -> Any:
    return atom.aval if isinstance(atom, Var) else aval_of(atom)


def expression(e: Equation, args: list[str], bind: Bind) -> str | None:
    """Return the value of an equation as one NumPy expression; None if there is none.

    Args:
      e: The equation.
      args: The text of its arguments: names, or numbers.
      bind: Returns the name of an array among the attributes.
    """
    name, attrs = e.primitive.name, e.attrs
    if name in _TEXTS:
        turned = "np.swapaxes({0}, -1, -2)"
        conjugate = f"np.conj({turned})" if _aval(e.inputs[0]).dtype.kind == "c" else turned
        half = f"({{0}} + {conjugate}) * 0.5"
        texts = {k: value_text(v, bind) for k, v in attrs.items()}
        if "axes" in attrs:
            texts["axes"] = _attribute(attrs["axes"], bind)
        # x.T of one axis: a bare number is no permutation.
        if name == "transpose":
            texts["axes"] = value_text(attrs["axes"], bind)
        return _TEXTS[name].format(*args, all=", ".join(args), half=half.format(*args), **texts)
    if isinstance(e.primitive.numpy, np.ufunc):
        return _ufunc_text(e, args)
    if name in ("convert", "truncate_dtype"):
        return _convert_text(e, args[0])
    if name == "getitem":
        x = args[0] if is_strong(e.inputs[0]) else f"np.asarray({args[0]})"
        return f"{x}[{index_text(attrs['template'], args[1:], bind)}]"
    if name == "einsum_pair":
        big = sum(prod(_aval(a).shape) for a in e.inputs) > 4096
        return f"np.einsum({attrs['spec']!r}, {args[0]}, {args[1]}, optimize={big})"
    return None


def statements(e: Equation, out: str, args: list[str], bind: Bind) -> list[str] | None:
    """Return the lines that write into elements of an array named `out`; None if e does not."""
    name, attrs = e.primitive.name, e.attrs
    if name == "index_sum":
        lines = [f"{out} = {made_text('zeros', attrs['shape'], attrs['dtype'])}"]
        pairs = zip(args, attrs["templates"], strict=True)
        return lines + [f"{out}[{index_text(t, [], bind)}] += {g}" for g, t in pairs]
    ufunc = _UPDATES.get(name)
    if ufunc is None and name != "index_set":
        return None
    (x, v, *arrays), template = args, attrs["template"]
    lines = [f"{out} = np.array({x}, {dtype_text(e.outputs[0].aval.dtype)})"]
    index = index_text(template, arrays, bind)
    if name == "index_set":
        return [*lines, f"{out}[{index}] = {v}"]
    if arrays or name != "index_add":  # an element may be named more than once
        return [*lines, f"np.{ufunc}.at({out}, np.s_[{index}], {v})"]
    return [*lines, f"{out}[{index}] += {v}"]

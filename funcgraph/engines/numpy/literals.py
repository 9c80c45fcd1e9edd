"""Values as Python text that evaluates to them: numbers, dtypes, indices, arrays.

May import NumPy only.
"""

from __future__ import annotations

import base64
import math
import textwrap
from typing import Any

import numpy as np

__all__ = ["array_text", "dtype_text", "made_text", "number_text", "value_text"]

_READABLE = 32  # longest array written number by number


def _float_text(x: float) -> str:
    if math.isfinite(x):
        return repr(x)
    return "np.nan" if math.isnan(x) else "np.inf" if x > 0 else "-np.inf"


def number_text(x: Any) -> str:
    """Return a Python number, exactly, as text that may stand in any expression."""
    if type(x) is complex:
        return f"complex({_float_text(x.real)}, {_float_text(x.imag)})"
    text = _float_text(x) if type(x) is float else repr(x)
    return f"({text})" if text.startswith("-") else text


def dtype_text(dtype: Any) -> str:
    """Return a dtype as text, such as np.float32."""
    dtype = np.dtype(dtype)
    plain = dtype.isnative and getattr(getattr(np, dtype.name, None), "__name__", "") == dtype.name
    return f"np.{dtype.name}" if plain else f"np.dtype({dtype.str!r})"


def value_text(value: Any, bind: Any) -> str:
    """Return text for what may stand among the attributes of an equation.

    Args:
      value: Numbers, strings, None, Ellipsis, dtypes, slices, and tuples of these; arrays.
      bind: Returns the name of an array.
    """
    if isinstance(value, np.dtype):
        return f"np.dtype({(value.name if value.isnative else value.str)!r})"
    if isinstance(value, tuple):
        inner = ", ".join(value_text(v, bind) for v in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, list):
        return f"[{', '.join(value_text(v, bind) for v in value)}]"
    if isinstance(value, slice):
        parts = (value.start, value.stop, value.step)
        return f"slice({', '.join(value_text(p, bind) for p in parts)})"
    if isinstance(value, np.ndarray | np.generic):
        return str(bind(value))
    if value is Ellipsis:
        return "..."
    if type(value) is float or type(value) is complex:
        return number_text(value)
    return repr(value)


# --- arrays --------------------------------------------------------------------------------------


def array_text(value: Any) -> str:
    """Return an array or scalar of NumPy, exactly: numbers where they are few, else bytes."""
    x = np.asarray(value)
    if x.dtype.kind == "V":  # float0: there are no numbers
        return f"np.zeros({x.shape}, dtype={x.dtype.descr!r})"
    dtype = dtype_text(x.dtype)
    plain = x.dtype.kind in "biufc" and x.dtype not in (np.longdouble, np.clongdouble)
    if x.ndim == 0 and plain:
        scalar = f"{dtype}({number_text(x.item())})"
        return scalar if isinstance(value, np.generic) else f"np.array({scalar})"
    flat = np.ascontiguousarray(x).reshape(-1)
    if x.size > 1 and flat.tobytes() == flat[:1].tobytes() * x.size and plain:
        return _uniform(x, flat[0])
    if plain and _is_eye(x):
        return made_text("eye", x.shape[:1], x.dtype)
    if x.dtype.kind in "iu" and x.ndim == 1 and x.size > 2:
        steps = np.arange(x.size, dtype=x.dtype)
        if np.array_equal(x, steps):
            return f"np.arange({x.size}, dtype={dtype})"
    if plain and x.size <= _READABLE and x.dtype.kind != "c" and np.isfinite(x).all():
        return f"np.array({x.tolist()!r}, dtype={dtype})" + (
            "" if x.size else f".reshape({x.shape})"
        )
    return _bytes_text(flat, x.shape)


def _is_eye(x: Any) -> bool:
    return bool(x.ndim == 2 and x.shape[0] == x.shape[1] > 1 and np.array_equal(x, np.eye(len(x))))


def _uniform(x: Any, element: Any) -> str:
    for name in ("zeros", "ones"):
        if getattr(np, name)((), x.dtype).tobytes() == element.tobytes():
            return made_text(name, x.shape, x.dtype)
    return made_text("full", x.shape, x.dtype, number_text(element.item()))


def made_text(name: str, shape: tuple[int, ...], dtype: Any, *values: str) -> str:
    """Return the call of np.zeros, np.ones, np.empty or np.full."""
    parts = [str(shape[0] if len(shape) == 1 else shape), *values]
    parts += [] if dtype == np.float64 else [f"dtype={dtype_text(dtype)}"]
    return f"np.{name}({', '.join(parts)})"


def _bytes_text(flat: Any, shape: tuple[int, ...]) -> str:
    data = base64.b64encode(flat.tobytes()).decode()
    lines = "\n".join(f'    "{line}"' for line in textwrap.wrap(data, 92)) or '    ""'
    return (
        f"np.frombuffer(base64.b64decode(\n{lines}\n), dtype={flat.dtype.str!r}).reshape({shape})"
    )

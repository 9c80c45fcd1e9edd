"""Arrays in a few numbers: statistics, a histogram, and the elements where they are few.

May import NumPy only.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["norm_text", "number", "summary", "value_text"]

_FEW = 64  # elements of an array that is shown whole
_FIRST = 8  # elements shown of a larger one
_BINS = 20


def number(x: Any, digits: int = 6) -> str:
    """Return a number with few digits."""
    x = x.item() if isinstance(x, np.generic | np.ndarray) else x
    if isinstance(x, bool | int | str):
        return str(x)
    if isinstance(x, complex):
        return f"{x.real:.{digits}g}{x.imag:+.{digits}g}j"
    return f"{x:.{digits}g}"


def _norm(array: Any) -> float:
    """Return the Euclidean norm, which neither overflows nor underflows before its time."""
    size = np.abs(array.astype(np.result_type(array.dtype, np.float64)))
    largest = float(size.max(initial=0.0))
    if not 0.0 < largest < math.inf:
        return largest
    return largest * float(np.linalg.norm((size / largest).ravel()))


def norm_text(x: Any, few: int = 3, digits: int = 4) -> str:
    """Return the text of a number, of a vector of a few numbers, or of an array's norm: ‖x‖."""
    array = np.asarray(x)
    if array.dtype.kind not in "biufc":
        return str(array.dtype)
    if array.ndim == 0:
        return number(x)
    if array.ndim == 1 and 0 < array.size <= few:
        return f"[{', '.join(number(v, 4) for v in array)}]"
    return f"‖{number(_norm(array), digits)}‖"


def value_text(x: Any) -> str:
    """Return the text of a number, of a short vector, or of an array's shape and norm."""
    text = norm_text(x)
    return f"[{','.join(map(str, np.shape(x)))}] {text}" if text.startswith("‖") else text


def _plain(x: float) -> float | str:
    """Return a number of six digits; what JSON has no numbers for becomes text."""
    return float(f"{x:.6g}") if math.isfinite(x) else str(x)


def summary(x: Any) -> dict[str, Any]:
    """Return what a page shows of an array, with numbers and texts that are good JSON.

    Of complex numbers the statistics are those of the moduli. They leave out what is not finite.

    Args:
      x: An array or number.

    Returns:
      `shape`, `dtype`, `text` (a number, short vector or norm), `label` (a number or norm); of
      numbers `min`, `max`, `mean`, `std`, `norm`, `zeros` (their share), `bad` (how many are not
      finite), `hist` (counts from min to max), and `values`, the elements of a small array as
      nested lists of text, or `first`, some of a larger one.
    """
    array = np.asarray(x)
    out: dict[str, Any] = {
        "shape": list(array.shape),
        "dtype": type(x).__name__ if type(x) in (int, float, complex, bool) else str(array.dtype),
        "text": norm_text(array),
        "label": norm_text(array) if array.size == 1 else norm_text(array, few=0, digits=3),
    }
    if array.dtype.kind not in "biufc":
        return out
    if array.size <= _FEW:
        out["values"] = _texts(array) if array.ndim else number(array)
    else:
        out["first"] = [number(v, 4) for v in array.flat[:_FIRST]]
    if array.size > 1:
        out.update(_statistics(array))
    return out


def _texts(array: Any) -> Any:
    return number(array, 4) if array.ndim == 0 else [_texts(row) for row in array]


def _statistics(array: Any) -> dict[str, Any]:
    sizes = np.abs(array) if array.dtype.kind == "c" else array
    sizes = sizes.astype(np.float64).ravel()
    good = sizes[np.isfinite(sizes)]
    out: dict[str, Any] = {
        "norm": _plain(_norm(array)),
        "zeros": _plain(float(np.mean(array == 0))),
        "bad": int(array.size - good.size),
    }
    if not good.size:
        return out
    low, high = float(good.min()), float(good.max())
    with np.errstate(over="ignore"):
        mean, std = float(good.mean()), float(good.std())
    out |= {"min": _plain(low), "max": _plain(high), "mean": _plain(mean), "std": _plain(std)}
    if low < high < math.inf and math.isfinite(high - low):
        places = (good / (high - low) - low / (high - low)) * _BINS
        counts = np.bincount(np.minimum(places.astype(np.int64), _BINS - 1), minlength=_BINS)
        out["hist"] = counts.tolist()
    return out

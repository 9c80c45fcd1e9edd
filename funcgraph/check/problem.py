"""What is compared: a call, seen as a function of its floating-point leaves.

May import `core`, `tree`, `transforms`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from funcgraph import tree
from funcgraph.check.point import Point, point_of
from funcgraph.core.aval import dtype_of, is_inexact, shape_of
from funcgraph.errors import GradientDtypeError, NonScalarOutputError
from funcgraph.transforms.arguments import name_of, positions

__all__ = ["Arrays", "Problem", "pairing", "single", "widened"]

Arrays = tuple[Any, ...]


@dataclass(frozen=True)
class Problem:
    """A function of flat leaves, which returns the tuple of its floating-point outputs.

    Attributes:
      fun: Takes the leaves.
      name: Of the user's function.
      leaves: The point at which derivatives are compared.
      paths: What the leaves are called.
      held: What the leaves are called that stay as they are: integers, keys, strings.
      point: What the function does at the point.
      wide: The same function where every argument has 64 bits; None if they have already.
    """

    fun: Callable[..., Arrays]
    name: str
    leaves: Arrays
    paths: tuple[str, ...]
    point: Point = field(repr=False)
    held: tuple[str, ...] = ()
    wide: Problem | None = field(default=None, repr=False)

    @classmethod
    def of_call(
        cls, fun: Callable[..., Any], args: Sequence[Any], argnums: Any, has_aux: bool
    ) -> Problem:
        """Return the problem of a call of the user's function."""
        numbers = positions(argnums, len(args))
        names = _parameters(fun, len(args))
        narrow = _flat(fun, args, numbers, names, has_aux)
        widest = tuple(tree.map(widened, x) for x in args)
        if all(dtype_of(x) == dtype_of(widened(x)) for x in narrow.leaves):
            return narrow
        return replace(narrow, wide=_flat(fun, widest, numbers, names, has_aux))

    @functools.cached_property
    def precision(self) -> Any:
        """The dtype of the lowest precision in which the function computes."""
        found = [dtype_of(x) for x in self.leaves]
        for step in self.point.steps:
            found += map(dtype_of, step.value if type(step.value) is tuple else (step.value,))
        return max(filter(is_inexact, found), key=lambda d: np.finfo(d).eps)

    @property
    def eps(self) -> float:
        """The unit of rounding of that precision."""
        return float(np.finfo(self.precision).eps)

    @property
    def output(self) -> Arrays:
        """The value at the point."""
        return self.point.outputs


def _flat(
    fun: Callable[..., Any],
    args: Sequence[Any],
    numbers: tuple[int, ...],
    names: list[str],
    has_aux: bool,
) -> Problem:
    chosen = [args[n] for n in numbers]
    found, structure = tree.flatten(chosen)
    keys = [path for path, _ in tree.leaves_with_path(chosen)]
    paths = [names[numbers[k[0].idx]] + tree.keystr(k[1:]) for k in keys]
    moving = [k for k, x in enumerate(found) if _varies(x) and np.size(x)]
    if not moving:
        kinds = ", ".join(f"{p} ({_kind(x)})" for p, x in zip(paths, found, strict=True))
        raise GradientDtypeError(
            f"there is nothing to differentiate {name_of(fun)} by: the chosen arguments have "
            f"no floating-point leaf with elements{': ' + kinds if kinds else ''}. Choose others "
            "by argnums=, or pass floats."
        )

    def flat(*leaves: Any) -> Arrays:
        full = list(found)
        for k, x in zip(moving, leaves, strict=True):
            full[k] = x
        call = list(args)
        for n, x in zip(numbers, tree.unflatten(structure, full), strict=True):
            call[n] = x
        out = fun(*call)
        return tuple(y for y in tree.leaves(out[0] if has_aux else out) if _varies(y))

    leaves = tuple(found[k] if type(found[k]) in (float, complex) else np.asarray(found[k])[()]
                   for k in moving)  # fmt: skip
    held = tuple(p for k, p in enumerate(paths) if k not in moving)
    point = point_of(flat, leaves)
    if not point.outputs:
        raise NonScalarOutputError(
            f"{name_of(fun)} returned nothing of floating-point dtype, so there is no derivative "
            "to compare."
        )
    return Problem(flat, _name(fun), leaves, tuple(paths[k] for k in moving), point, held)


def _name(fun: Any) -> str:
    while isinstance(fun, functools.partial):
        fun = fun.func
    return name_of(fun)


def _varies(x: Any) -> bool:
    if isinstance(x, (str, bytes)) or callable(x):
        return False
    return hasattr(dtype_of(x), "kind") and is_inexact(dtype_of(x))


def _kind(x: Any) -> str:
    return str(x.dtype) if hasattr(x, "dtype") else type(x).__name__


def _parameters(fun: Callable[..., Any], count: int) -> list[str]:
    """Return what the positional arguments are called."""
    try:
        parameters = list(inspect.signature(fun).parameters.values())
    except (TypeError, ValueError):  # a ufunc, before NumPy 2.4
        parameters = []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in parameters if p.kind in kinds][:count]
    rest = next((p.name for p in parameters if p.kind is inspect.Parameter.VAR_POSITIONAL), "args")
    start = len(names) if parameters else 0
    return names + [f"{rest}[{k - start}]" for k in range(len(names), count)]


def widened(x: Any) -> Any:
    """Return a floating-point leaf with 64 bits (complex: 128); anything else as it is."""
    if not isinstance(x, (np.ndarray, np.generic)) or not is_inexact(x.dtype):
        return x
    wide = np.dtype(complex if x.dtype.kind == "c" else float)
    return x if x.dtype.itemsize >= wide.itemsize else x.astype(wide)


def single(x: Any) -> np.ndarray[Any, Any]:
    """Return a number or array of any kind as a NumPy array."""
    return np.asarray(x)


def pairing(cts: Sequence[Any], tangents: Sequence[Any]) -> float:
    """Return the real pairing of cotangents and tangents, Re Σ ct t, in 64 bits."""
    total = 0.0
    for ct, t in zip(cts, tangents, strict=True):
        a, b = widened(single(ct)).reshape(-1), widened(single(t)).reshape(-1)
        assert shape_of(a) == shape_of(b)
        total += float(np.real(a @ b))
    return total

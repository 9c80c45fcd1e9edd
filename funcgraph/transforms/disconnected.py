"""Gradients that are zero because operations without derivative cut every path to the output.

A sweep that ends without any cotangent for a leaf says nothing of the reason. The function is then
run once more, on tracers that know which leaves they depend on, and by which operation a leaf was
cut off. May import `core`, `transforms.arguments`, `transforms.inspection`.
"""

from __future__ import annotations

import functools
import inspect
import sys
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from funcgraph.core.aval import dtype_of, is_inexact
from funcgraph.core.primitive import Primitive
from funcgraph.errors import DisconnectedGradientError, GradientDisconnected, is_library
from funcgraph.transforms.inspection import (
    Inspected,
    Inspection,
    Inspector,
    inspection,
    phase,
    place,
)

__all__ = ["report"]

# Leaves of which it is known why they have no gradient, by the code of the function.
_known: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()


class _Paths(NamedTuple):
    """How a value depends on the leaves, which are numbered."""

    open: frozenset[int]  # with derivatives all the way
    cut: dict[int, str]  # only without: by which operation, asked for where


class _Cuts(Inspector):
    """Follows the leaves through the operations."""

    __slots__ = ()

    def look(self, primitive: Primitive, args: Any, values: Any, outs: Any) -> list[Any]:
        """Return results that know on which leaves they depend."""
        paths = [a.note for a in args if self.owns(a)]
        reached = frozenset().union(*(p.open for p in paths))
        cut = {k: text for p in paths for k, text in p.cut.items()}
        if (cut or primitive.zero) and not phase():
            # Where a derivative is piecewise constant, a cut of it is the truth: relu, twice.
            ends, cut = _Paths(frozenset(), {}), {}
        elif primitive.zero:
            text = f"{_named(primitive, outs[0])} at {place().line}"
            ends = _Paths(frozenset(), {**dict.fromkeys(reached, text), **cut})
        else:
            ends = _Paths(frozenset(), cut)
        goes_on = _Paths(reached, cut)
        moves = [not primitive.zero and is_inexact(dtype_of(y)) for y in outs]
        return [
            self.tracer(y, goes_on if moving else ends)
            for y, moving in zip(outs, moves, strict=True)
        ]


def _named(primitive: Primitive, out: Any) -> str:
    if primitive.name == "truncate_dtype":
        return f"the conversion to {dtype_of(out)}"
    return primitive.name


def _paths(run_again: Callable[[list[Any]], Any], leaves: list[Any]) -> _Paths | None:
    """Return how the output depends on the leaves; None if the function could not be followed."""
    cuts = _Cuts()
    traced = [
        cuts.tracer(x, _Paths(frozenset([k]), {})) if is_inexact(dtype_of(x)) else x
        for k, x in enumerate(leaves)
    ]
    token = inspection.set(Inspection(cuts, True))
    try:
        out = run_again(traced)
    except Exception:  # it did with a value what only plain arrays can do
        return None
    finally:
        inspection.reset(token)
    return out.note if isinstance(out, Inspected) else _Paths(frozenset(), {})


def _memory(fun: Any) -> set[str]:
    """Return the leaves of a function that were reported: of all functions of the same code."""
    fun = inspect.unwrap(fun)
    while isinstance(fun, functools.partial):
        fun = inspect.unwrap(fun.func)
    try:
        return _known.setdefault(getattr(fun, "__code__", fun), set())
    except TypeError:  # it has no hash, or no weak references
        return set()


def report(
    fun: Any,
    run_again: Callable[[list[Any]], Any],
    leaves: list[Any],
    lost: list[int],
    where: Callable[[int], str],
    strict: bool,
) -> None:
    """Warn of leaves whose every path to the output is cut, once for each function and leaf.

    Args:
      fun: The user's function.
      run_again: Runs it on leaves of the arguments to differentiate.
      leaves: These.
      lost: Which of them no cotangent has reached.
      where: Names a leaf.
      strict: Whether to raise, for leaves that are not used as well.

    Raises:
      DisconnectedGradientError: strict, and there is such a leaf.
    """
    now = inspection.get()
    if now is not None and isinstance(now.inspector, _Cuts):
        return
    known = set() if strict else _memory(fun)
    names = {k: where(k) for k in lost}
    if known.issuperset(names.values()):
        return
    paths = _paths(run_again, leaves)
    for k, name in names.items():
        cut = None if paths is None or k in paths.open else paths.cut.get(k)
        if strict:
            unused = paths is not None and k not in paths.open
            raise DisconnectedGradientError(_strict_message(name, cut, unused))
        if cut is not None and name not in known:
            warnings.warn(_message(name, cut), GradientDisconnected, stacklevel=_level())
    known.update(names.values())


def _message(name: str, cut: str) -> str:
    return (
        f"the gradient with respect to {name} is zero, because every path to the output is cut: "
        f"by {cut}, which has no derivative. Keep this leaf out of the differentiated arguments "
        "(argnums=, funcgraph.partition), give the operation a derivative "
        "(funcgraph.custom_vjp), or ignore funcgraph.errors.GradientDisconnected.\n"
        "  help: python -m funcgraph help GradientDisconnected"
    )


def _strict_message(name: str, cut: str | None, unused: bool) -> str:
    if cut is not None:
        return (
            f"strict=True: every path from {name} to the output is cut, by {cut}, which has no "
            "derivative. Give it one (funcgraph.custom_vjp), or keep this leaf out of the "
            "differentiated arguments (argnums=, funcgraph.partition)."
        )
    why = "no derivative reaches it"
    if unused:
        why = "the output does not depend on it, unless by plain numbers and Python control flow"
    return (
        f"strict=True: {name} has no gradient: {why}. Keep this leaf out of the differentiated "
        "arguments (argnums=, funcgraph.partition), or leave strict out to get zeros."
    )


def _level() -> int:
    """Return the stacklevel, as seen from the caller, of the innermost frame of the user's."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and is_library(frame.f_code.co_filename):
        level, frame = level + 1, frame.f_back
    return level

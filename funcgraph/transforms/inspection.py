"""Inspection: a computation evaluated operation by operation, each of which is looked at.

An `Inspector` is the trace of a transformation that changes nothing. Its tracers lie beneath those
of all other transformations, so it sees the operations on values: of the forward pass, of rules of
derivation, of all lanes of a vmap. While one is at work, compiled functions and checkpoints call
the user's function itself. `debug_nans` and the search for what cuts a gradient are inspectors.
May import `core`, `tree`, `transforms.forward`, `transforms.tape`.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from contextvars import ContextVar
from types import CodeType
from typing import Any, NamedTuple

import numpy as np

from funcgraph import tree
from funcgraph.core.aval import dtype_of, is_inexact
from funcgraph.core.origin import origin
from funcgraph.core.primitive import Primitive
from funcgraph.core.trace import JAX, KIND, NUMPY, Trace, Tracer, ValueTracer
from funcgraph.transforms.forward import push
from funcgraph.transforms.tape import Tape, backward

__all__ = [
    "DESCENTS",
    "FRAMES",
    "PHASES",
    "Inspected",
    "Inspection",
    "Inspector",
    "Place",
    "beneath",
    "inspection",
    "is_number",
    "phase",
    "place",
]


class Inspection(NamedTuple):
    """Who inspects what is computed now.

    Attributes:
      inspector: The trace.
      inside: Whether a transformation is running already, whose values are tracers of it.
    """

    inspector: Inspector
    inside: bool


# Read once by every transformation that is called; operations never ask.
inspection: ContextVar[Inspection | None] = ContextVar("inspection", default=None)

# How an operation that holds functions or graphs is evaluated on tracers, by the primitive's name;
# it may return None: not on these arguments.
DESCENTS: dict[str, Callable[..., Any]] = {}

# What a running function of ours says about the place, from its local variables: the step that a
# loop is at, or the place of the operation that a sweep is at.
FRAMES: dict[CodeType, Callable[[dict[str, Any]], str | Place | None]] = {}


# Code that applies rules of derivation, and what its part of a computation is called; "": these
# rules are not looked into, because what they give on the way need not be meant.
PHASES: dict[CodeType, str] = {backward.__code__: "", push.__code__: ""}


# --- where ---------------------------------------------------------------------------------------


class Place(NamedTuple):
    """Where an operation was asked for.

    Attributes:
      line: The user's `file:line`.
      scope: The layers around it, as a path; "" outside of all.
      steps: The steps of the loops around it, the innermost first: "step 3 of scan".
    """

    line: str
    scope: str
    steps: tuple[str, ...]


def place() -> Place:
    """Return where the operation that is being evaluated was asked for."""
    steps = []
    frame = sys._getframe(1)
    while frame is not None:
        tell = FRAMES.get(frame.f_code)
        told = None if tell is None else tell(frame.f_locals)
        if isinstance(told, Place):
            return told
        if told is not None:
            steps.append(told)
        frame = frame.f_back  # type: ignore[assignment]
    return Place(*origin(), tuple(steps))


def phase() -> str:
    """Return what part of a computation is at work; "" inside a rule that is not looked into."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code in PHASES:
            return PHASES[frame.f_code]
        frame = frame.f_back  # type: ignore[assignment]
    return "the forward pass"


def beneath(x: Any) -> Any:
    """Return the array beneath all tracers (under vmap: of all lanes), or None: not known."""
    while isinstance(x, Tracer):
        x = x.read() if hasattr(x, "read") else getattr(x, "value", None)
    if KIND[type(x)] != JAX:
        return x
    return None if isinstance(x, sys.modules["jax"].core.Tracer) else np.asarray(x)


# --- tracers -------------------------------------------------------------------------------------


class Inspected(ValueTracer):
    """A value under inspection, which can be had as a plain one: there is no derivative to lose."""

    __slots__ = ("note",)

    note: Any  # the inspector's

    def like(self, primal: Any, convert: Callable[[Any, Any], Any]) -> Inspected:
        """Return this value converted to what belongs to a primal."""
        x = primal.value if isinstance(primal, Inspected) else primal
        trace: Any = self._trace
        return trace.tracer(convert(x, self.value), self.note)  # type: ignore[no-any-return]

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array(self.concrete(), dtype)

    def __float__(self) -> float:  # type: ignore[override]
        return float(self.concrete())

    def __int__(self) -> int:  # type: ignore[override]
        return int(self.concrete())

    def __complex__(self) -> complex:  # type: ignore[override]
        return complex(self.concrete())

    def __index__(self) -> int:  # type: ignore[override]
        return self.concrete().__index__()  # type: ignore[no-any-return]

    def __format__(self, spec: str) -> str:
        return format(self.concrete(), spec)

    def item(self, *args: Any) -> Any:
        """Return an element as a Python number."""
        return np.asarray(self).item(*args)

    def tolist(self) -> Any:
        """Return the elements as nested lists."""
        return np.asarray(self).tolist()


class Inspector(Trace):
    """The trace of an inspection."""

    __slots__ = ()

    def tracer(self, value: Any, note: Any) -> Inspected:
        """Return a tracer for a value."""
        out = Inspected()
        out.value = value
        out.note = note
        out._trace = self
        return out

    def owns(self, x: Any) -> bool:
        """Return whether x is a tracer of this inspection."""
        return type(x) is Inspected and x._trace is self

    def tape(self) -> Tape:
        """Return a new tape for reverse mode."""
        return Tape()

    def enter(self, x: Any, name: Callable[[], str]) -> Any:
        """Return a leaf of the arguments of a transformation as it is computed with."""
        return x

    def leave(self, x: Any) -> Any:
        """Return a pytree without the tracers of this inspection."""
        return tree.map(lambda v: v.value if self.owns(v) else v, x)

    def call(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a transformed function under inspection; return plain values."""
        token = inspection.set(Inspection(self, True))
        try:
            return self.leave(fun(*args, **kwargs))
        finally:
            inspection.reset(token)

    def bound(self, fun: Callable[..., Any]) -> Callable[..., Any]:
        """Return a pullback or pushforward that is inspected wherever it is called."""

        @functools.wraps(fun)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            now = inspection.get()
            inside = now is not None and now.inside
            return fun(*args, **kwargs) if inside else self.call(fun, *args, **kwargs)

        return wrapped

    def process(self, primitive: Primitive, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """Evaluate an operation and look at it."""
        values = tuple(a.value if self.owns(a) else a for a in args)
        with np.errstate(all="ignore"):
            out = primitive(*values, **attrs)
        outs = out if primitive.many else (out,)
        traced = self.look(primitive, args, values, outs)
        return tuple(traced) if primitive.many else traced[0]

    def look(self, primitive: Primitive, args: Any, values: Any, outs: Any) -> list[Any]:
        """Return the results of an operation as they are computed with.

        Args:
          primitive: The operation.
          args: Its arguments, some of them tracers of this inspection.
          values: The arguments without these tracers.
          outs: Its results.
        """
        raise NotImplementedError


def is_number(x: Any) -> bool:
    """Return whether a leaf is a plain array, or a number, of floating-point dtype."""
    if KIND[type(x)] == NUMPY and not isinstance(x, np.ndarray | np.generic | float | complex):
        return False
    return not isinstance(x, Tracer) and is_inexact(dtype_of(x))

"""Tapes that name cotangents: `d_h` is the cotangent of the value that the user calls h.

What the sweep back stages has the line of the operation that it goes back over, and a scope inside
of "backward". Only while a function is staged for people to read (`naming`); otherwise tapes know
nothing of names. May import `core`, `tree`, `transforms.stage`, `transforms.tape`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from funcgraph import tree
from funcgraph.core.graph import Var
from funcgraph.core.origin import BACKWARD, WEAK, Origin, named, origin, pulled
from funcgraph.core.primitive import Primitive
from funcgraph.core.trace import KIND, TRACER
from funcgraph.transforms.stage import StageTracer
from funcgraph.transforms.tape import Tape, TapeTracer

__all__ = ["label", "new_tape", "variable_of"]


def new_tape() -> Tape:
    """Return a tape, which names cotangents if names are asked for."""
    names = named.get()
    return Tape() if names is None or not names.whole else NamedTape()


def variable_of(x: Any) -> Var | None:
    """Return the staged variable beneath the tracers of all transformations."""
    while KIND[type(x)] == TRACER:
        if type(x) is StageTracer:
            return x.variable
        x = x._value if hasattr(x, "_value") else getattr(x, "value", None)
    return None


def label(x: Any, name: str) -> None:
    """Name the staged values of a pytree after a layer, unless the user has a name for them."""
    names = named.get()
    if names is None or not names.whole:
        return
    for leaf in tree.leaves(x):
        var = variable_of(leaf)
        if var is not None and (not var.name or names.depths.get(var, 0) > WEAK):
            var.name, names.depths[var] = name, WEAK


class _Entries(list[Any]):
    """The entries of a tape, and of each slot the variable and the origin."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: dict[int, tuple[Var | None, Origin]] = {}

    @contextlib.contextmanager
    def cotangents(self) -> Iterator[list[Any]]:
        """Yield a list of cotangents, one for each slot, which get names as they are taken."""
        slots = _Slots([None] * len(self))
        slots.sources = self.sources
        before = pulled.get()
        try:
            yield slots
        finally:
            pulled.set(before)
        for k in range(len(slots)):
            slots.name(k)


class _Slots(list[Any]):
    """Cotangents; the sweep sets one to None when it goes on to the operation of its slot."""

    sources: dict[int, tuple[Var | None, Origin]]

    def __setitem__(self, key: Any, value: Any) -> None:
        if value is None:
            self._take(key)
        elif type(key) is slice:
            for k in range(*key.indices(len(self))):
                self._take(k)
        super().__setitem__(key, value)

    def _take(self, k: int) -> None:
        self.name(k)
        if k in self.sources:
            line, scope = self.sources[k][1]
            pulled.set(Origin(line, f"{BACKWARD}/{scope}" if scope else BACKWARD))

    def name(self, k: int) -> None:
        """Name the cotangent of a slot after the value it belongs to."""
        var, primal = variable_of(self[k]), self.sources.get(k, (None,))[0]
        if var is not None and not var.name and primal is not None and primal.name:
            var.name = f"d_{primal.name}"


class NamedTape(Tape):
    """A tape that remembers the variable and the origin of each slot."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        self.entries = _Entries()
        self.append = self.entries.append

    def _note(self, out: Any) -> Any:
        for y in out if type(out) is tuple else (out,):
            if type(y) is TapeTracer and y._trace is self:
                self.entries.sources[y.index] = variable_of(y.value), origin()  # type: ignore[attr-defined]
        return out

    def watch(self, value: Any) -> TapeTracer:
        """Return a tracer for an input of the differentiated function."""
        return self._note(super().watch(value))  # type: ignore[no-any-return]

    def unary(self, primitive: Primitive, x: TapeTracer) -> Any:
        """Apply a primitive of one argument and record it."""
        return self._note(super().unary(primitive, x))

    def binary(self, primitive: Primitive, x: Any, y: Any) -> Any:
        """Apply a primitive of two arguments and record it."""
        return self._note(super().binary(primitive, x, y))

    def process(self, primitive: Primitive, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """Apply any primitive and record it."""
        return self._note(super().process(primitive, args, attrs))

"""`debug_nans`: the first number that is not finite, with the operation and the line it is from.

`Checks` looks at the results of operations. Rules of derivation may give what is not finite on
the way to a derivative that is; they are looked into only where a derivative is not finite.
May import `core`, `ops`, `tree`, `transforms.arguments`, `transforms.forward`,
`transforms.inspection`, `transforms.tape`.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from contextvars import Token
from typing import Any, NamedTuple

import numpy as np

from funcgraph import tree
from funcgraph.core.aval import Aval, aval_of, dtype_of, is_inexact
from funcgraph.core.origin import source_of
from funcgraph.core.primitive import Elementwise, Primitive
from funcgraph.errors import NonFiniteError
from funcgraph.transforms.arguments import all_finite, name_of, run
from funcgraph.transforms.forward import Forward, ForwardTracer
from funcgraph.transforms.inspection import (
    DESCENTS,
    FRAMES,
    PHASES,
    Inspected,
    Inspection,
    Inspector,
    Place,
    beneath,
    inspection,
    is_number,
    phase,
    place,
)
from funcgraph.transforms.tape import Cotangents, Tape, pull, sweep, unpack

__all__ = [
    "Checks",
    "debug_nans",
    "explain_cotangents",
    "explain_replayed",
    "watched_forward",
]


class debug_nans:  # noqa: N801  (a context manager, named as JAX's option)
    """Raise where the first number that is not finite comes up, in a block or in a function.

    Inside the block `grad`, `value_and_grad`, `vjp`, `jvp`, `linearize`, `vmap`, `jit` and what is
    made of them look at every result. The first NaN raises, and so does the first infinity that an
    operation makes of finite numbers (log(0), an overflow); infinities that are given, such as a
    mask of -inf, may pass. Compiled functions run operation by operation, their loops and branches
    too. Outside of the block nothing is looked at, and nothing is slower.

    Plain NumPy on plain arrays is never seen. As a decorator, `@debug_nans()`, it is a block around
    every call of the function, and what the function does to its arguments is seen as well.

    Raises:
      NonFiniteError: On the way out of the block; it names the operation, the line that asked for
        it, the index, and the numbers there.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> with debug_nans():
      ...     fg.grad(lambda x: np.sum(x * np.log(x)))(np.array([1.0, 0.0]))
      Traceback (most recent call last):
      ...
      funcgraph.errors.NonFiniteError: log gave -inf at index (1,), in the forward pass...

    Source:
      jax.debug_nans.
    """

    def __init__(self) -> None:
        self._tokens: list[Token[Inspection | None]] = []

    def __enter__(self) -> None:
        now = inspection.get()
        watched = now is not None and isinstance(now.inspector, Checks)
        self._tokens.append(inspection.set(now if watched else Inspection(Checks(), False)))

    def __exit__(self, *_: object) -> None:
        inspection.reset(self._tokens.pop())

    def __call__(self, fun: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with a block around every call."""

        @functools.wraps(fun)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with debug_nans():
                now = inspection.get()
                assert now is not None
                checks = now.inspector
                if not now.inside:
                    return checks.call(wrapped, *args, **kwargs)
                leaves, structure = tree.flatten((args, kwargs))
                paths = [path for path, _ in tree.leaves_with_path((args, kwargs))]
                for k, (x, path) in enumerate(zip(leaves, paths, strict=True)):
                    name = f"argument {tree.keystr(path[1:])} of {name_of(fun)}"
                    leaves[k] = checks.enter(x, functools.partial(str, name))
                return run(fun, *tree.unflatten(structure, leaves))

        return wrapped


# --- values --------------------------------------------------------------------------------------


class Checks(Inspector):
    """Looks at results, and raises at the first that is not finite."""

    __slots__ = ()

    def tape(self) -> Tape:
        """Return a tape that notes where its operations were asked for."""
        return _PlacedTape()

    def enter(self, x: Any, name: Callable[[], str]) -> Any:
        """Return a leaf as a tracer, which knows the name of the leaf."""
        return self.tracer(x, name) if is_number(x) else x

    def process(self, primitive: Primitive, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """Evaluate an operation and check its results; what it holds, operation by operation."""
        descent = DESCENTS.get(primitive.name)
        out = None if descent is None else descent(*args, **attrs)
        return super().process(primitive, args, attrs) if out is None else out

    def look(self, primitive: Primitive, args: Any, values: Any, outs: Any) -> list[Any]:
        """Raise NonFiniteError if a result is not finite, unless a rule of derivation made it."""
        for out in outs:
            index = _first(primitive, values, out)
            if index is not None and (part := phase()):
                report = _Report(primitive.name, part, place(), out, index)
                raise report.error(_operands(primitive, args, out, index))
        return [self.tracer(y, None) if is_inexact(dtype_of(y)) else y for y in outs]


def _first(primitive: Primitive | None, values: Any, out: Any) -> tuple[int, ...] | None:
    """Return the index of the first NaN, or of the first infinity made of finite numbers."""
    y = beneath(out)
    if y is None or not is_number(y) or np.isfinite(y).all():
        return None
    bad = np.isnan(y)
    if not bad.any():
        bad = np.isinf(y)
        for x in values:
            given = beneath(x)
            if is_number(given):
                finite = np.isfinite(given)
                alike = primitive is not None and isinstance(primitive.derivative, Elementwise)
                bad = bad & (finite if alike and _broadcasts(finite, bad) else finite.all())
    return tuple(map(int, np.argwhere(bad)[0])) if bad.any() else None


def _broadcasts(x: Any, y: Any) -> bool:
    try:
        return bool(np.broadcast_shapes(x.shape, y.shape) == y.shape)
    except ValueError:
        return False


# --- the message ---------------------------------------------------------------------------------


class _Report(NamedTuple):
    """What is said of a result that is not finite."""

    what: str  # the operation
    phase: str
    place: Place
    value: Any
    at: tuple[int, ...]

    def error(self, details: list[str]) -> NonFiniteError:
        """Return the error."""
        y = np.asarray(beneath(self.value))
        at = f" at index {self.at}" if self.at else ""
        around = "".join(f", {step}" for step in self.place.steps)
        layer = f", layer {self.place.scope}" if self.place.scope else ""
        count = int(y.size - np.isfinite(y).sum())
        lines = [
            f"{self.what} gave {y[self.at]}{at}, in {self.phase}{around}{layer}.",
            f"result: {aval_of(y)}" + (f", {count} of them not finite" if count > 1 else ""),
            *details,
        ]
        text = source_of(self.place.line)
        lines += [f"in: {text}"] if text else []
        error = NonFiniteError("\n  ".join(lines), self.place.line)
        error.operation, error.index = self.what, self.at
        return error


def _operands(
    primitive: Primitive, args: Any, out: Any, index: tuple[int, ...], hint: bool = True
) -> list[str]:
    """Return a line for each operand, with its number at the index where the operation has one."""
    elementwise = isinstance(primitive.derivative, Elementwise)
    details, given = [], False
    for k, arg in enumerate(args):
        x = beneath(arg)
        if isinstance(x, Aval) or x is None:
            details.append(f"operand {k}: {'' if x is None else x} (not kept)")
            continue
        x = np.asarray(x)
        text = f"operand {k}{_name(arg)}: {aval_of(x)}"
        if elementwise and _broadcasts(x, beneath(out)):
            picked = np.broadcast_to(x, beneath(out).shape)[index]
            text += f", {picked} there"
        elif x.size == 1:
            text += f", {x.reshape(-1)[0]}"
        if is_number(x) and not np.isfinite(x).all():
            given = True
            text += f"; it had {int(x.size - np.isfinite(x).sum())} not finite before"
        details.append(text)
    if hint and not given:
        details.append(
            "If np.where does not take this value, keep its operand away from here as well: "
            "np.where(ok, f(np.where(ok, x, 1.0)), y)."
        )
    return details


def _name(arg: Any) -> str:
    """Return what is known of where an operand is from."""
    if isinstance(arg, Inspected):
        return f", {arg.note()}" if arg.note is not None else ""
    return "" if not isinstance(arg, np.ndarray) else ", a constant"


# --- derivatives ---------------------------------------------------------------------------------


class _Entries(list[Any]):
    """The entries of a tape, and the place of each."""

    __slots__ = ("places",)

    def __init__(self) -> None:
        super().__init__()
        self.places: dict[int, Place] = {}

    def cotangents(self) -> contextlib.AbstractContextManager[list[Any]]:
        """Return a context with a list of cotangents, one for each slot."""
        return contextlib.nullcontext([None] * len(self))


class _PlacedTape(Tape):
    """A tape that notes where each of its operations was asked for."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        self.entries = _Entries()
        self.append = self.entries.append

    def unary(self, primitive: Primitive, x: Any) -> Any:
        """Apply a primitive of one argument and record it."""
        return self.process(primitive, (x,), {})

    def binary(self, primitive: Primitive, x: Any, y: Any) -> Any:
        """Apply a primitive of two arguments and record it."""
        return self.process(primitive, (x, y), {})

    def process(self, primitive: Primitive, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """Apply any primitive and record it."""
        index = len(self.entries)
        out = super().process(primitive, args, attrs)
        if len(self.entries) > index:
            self.entries.places[index] = place()  # type: ignore[attr-defined]
        return out


class _Watched(Cotangents):
    """Cotangents of a sweep that ends at the first one that is not finite."""

    __slots__ = ("entries", "given", "now")

    def __init__(self, entries: Any) -> None:
        super().__init__([None] * len(entries))
        self.entries = entries
        self.now: int | None = None
        self.given: list[Any] = []

    def pull(self, i: int) -> None:
        """Send the cotangent of an entry to its arguments."""
        entry = unpack(self.entries[i])
        self.now, self.given = i, self.slots[i : i + (len(entry[1]) if entry[0].many else 1)]
        pull(self, i, entry, True)
        self.now = None

    def add(self, slot: int, ct: Any) -> None:
        """Add ct to the cotangent of a slot, or raise."""
        index = _first(None, (), ct)
        if index is not None and self.now is not None:
            self._blame(self.now, slot, ct, index)
        super().add(slot, ct)
        total = self.slots[slot]
        index = _first(None, (), total)
        if index is not None:
            where = self.entries.places.get(slot) or place()
            raise _Report("a sum of cotangents", "the backward pass", where, total, index).error([])

    def _blame(self, i: int, slot: int, ct: Any, index: tuple[int, ...]) -> None:
        primitive, _, args, parents, _ = unpack(self.entries[i])
        if primitive.name == "custom_call":
            _look_into(i, self.entries, self.given)
        what = f"the derivative of {primitive.name} by operand {list(parents).index(slot)}"
        given = [g for g in self.given if g is not None]
        details = [f"cotangent that came in: {_shown(g, index)}" for g in given]
        details += _operands(primitive, args, ct, index, hint=False)
        where = self.entries.places[i]
        raise _Report(what, "the backward pass", where, ct, index).error(details)


def _shown(g: Any, index: tuple[int, ...]) -> str:
    x = np.asarray(beneath(g))
    same = len(index) == x.ndim and all(k < n for k, n in zip(index, x.shape, strict=True))
    return f"{x[index]}" + (" there" if index else "") if same else f"{aval_of(x)}"


def _look_into(i: int, entries: Any, given: list[Any]) -> None:
    """Pull back through an operation once more, while what its rule does is looked at."""
    cts = Cotangents([None] * len(entries))
    cts.slots[i : i + len(given)] = given
    pull(cts, i, unpack(entries[i]), True)


def explain_cotangents(entries: Any, seeds: list[tuple[int, Any]], cts: list[Any]) -> None:
    """Raise if cotangents are not finite, at the operation whose pullback made the first of them.

    Args:
      entries: The tape.
      seeds: Pairs (slot, cotangent) of the outputs.
      cts: Those of the inputs, after a sweep with strong zeros.
    """
    if not all_finite(cts) and _explaining():
        _watched_sweep(entries, seeds, len(cts))


def _watched_sweep(entries: Any, seeds: list[tuple[int, Any]], count: int) -> None:
    """Sweep back over a tape until a cotangent is not finite."""
    watched = _Watched(entries)
    for slot, ct in seeds:
        watched.add(slot, ct)
    for i in range(len(entries) - 1, count - 1, -1):
        if i in watched.reads:
            watched.settle(i)
        if entries[i] is not None:
            watched.pull(i)


def explain_replayed(entries: Any, dots: list[Any], every: list[Any]) -> None:
    """Raise if tangents that were moved along a tape are not finite, at the first of them.

    Args:
      entries: The tape.
      dots: The tangents of the outputs.
      every: Those of all slots.
    """
    if all_finite(dots) or not _explaining():
        return
    for i, t in enumerate(every):
        index = _first(None, (), t)
        if index is not None:
            primitive, _, args, _, _ = unpack(entries[i])
            raise _tangent_error(primitive, args, t, index, entries.places[i])


class _WatchedForward(Forward):
    """Forward mode, with strong zeros, that ends at the first tangent that is not finite."""

    __slots__ = ()

    def process(self, primitive: Primitive, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """Apply a primitive to primals and move the tangents on."""
        out = super().process(primitive, args, attrs)
        for y in out if primitive.many else (out,):
            if isinstance(y, ForwardTracer) and y._trace is self:
                index = _first(None, (), y.tangent)
                if index is not None:
                    values = [a.value if isinstance(a, ForwardTracer) else a for a in args]
                    raise _tangent_error(primitive, values, y.tangent, index, place())
        return out


def _tangent_error(
    primitive: Primitive, args: Any, t: Any, index: tuple[int, ...], where: Place
) -> NonFiniteError:
    report = _Report(f"the derivative of {primitive.name}", "forward mode", where, t, index)
    return report.error(_operands(primitive, args, t, index, hint=False))


def watched_forward(dots: list[Any]) -> Forward | None:
    """Return the trace to run a function on again whose tangents are not finite, or None."""
    return None if all_finite(dots) or not _explaining() else _WatchedForward(True)


def _explaining() -> bool:
    """Return whether derivatives that are not finite are to be explained here."""
    now = inspection.get()
    return now is not None and isinstance(now.inspector, Checks) and bool(phase())


PHASES[_watched_sweep.__code__] = ""
PHASES[_look_into.__code__] = "the backward pass"


def _swept(local: dict[str, Any]) -> Place | None:
    """Return the place of the operation that a sweep is at."""
    places = getattr(local["entries"], "places", {})
    return places.get(local.get("i"))


FRAMES[sweep.__code__] = _swept

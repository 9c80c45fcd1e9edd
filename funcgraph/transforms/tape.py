"""Reverse mode: a tape of operations in execution order, and the sweep back over it.

The tape is a plain list; its reverse is a topological order, so the backward sweep needs neither
sorting nor recursion. An entry is `(primitive, value, arguments, parents, attrs)`, where parents
are the slots of the arguments (None: not traced). Where no cotangent can need `fit`, because value
and arguments are alike in type, shape and dtype, unary and binary operations have shorter entries,
which `unpack` brings to the general form. Nothing refers back to the tape but tracers, so there
are no cycles.

May import `core`, `ops`.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval, dtype_of, shape_of
from funcgraph.core.primitive import Bilinear, Elementwise, General, Linear, Primitive
from funcgraph.core.trace import (
    KIND,
    NUMPY,
    TRACER,
    Trace,
    Tracer,
    ValueTracer,
    leaked,
    refuse_closures,
)
from funcgraph.ops.indexing import index_sum
from funcgraph.ops.strong import (
    nothing,
    strong_bilinear,
    strong_elementwise,
    strong_fit,
    strong_general,
    strong_linear,
)
from funcgraph.ops.structural import fit, zeros
from funcgraph.transforms.held import SMALL, Held, hold

__all__ = ["Cotangents", "Tape", "TapeTracer", "backward", "pull", "sweep", "unpack"]

_ndarray = np.ndarray
_float64 = np.float64


class TapeTracer(ValueTracer):
    """A value on a tape: the plain (or outer-level) value and its slot."""

    __slots__ = ("index",)

    index: int


def _tracer(value: Any, trace: Tape, index: int) -> TapeTracer:
    tracer = TapeTracer()  # attributes set from outside: an __init__ would double the time
    tracer.value = value
    tracer._trace = trace
    tracer.index = index
    return tracer


def _stand_in(x: Any) -> Any:
    """Return what a transpose needs of x (shape, dtype) without keeping a large array alive."""
    if type(x) is _ndarray and x.nbytes > SMALL:
        return Aval(x.shape, x.dtype)
    return x


def _alike(x: Any, y: Any) -> bool:
    """Return whether two values, also of other transformations, have one shape and dtype."""
    while type(x) is type(y) and isinstance(x, Tracer):
        if x._trace is not y._trace:
            return False
        if not hasattr(x, "value"):  # of a graph: the results of most operations share an aval
            return x.aval is y.aval  # type: ignore[attr-defined]
        x, y = x.value, y.value
    if type(x) is type(y) is _float64:
        return True
    return type(x) is type(y) is _ndarray and x.dtype is y.dtype and x.shape == y.shape


class Tape(Trace):
    """The trace of reverse mode.

    `unary` and `binary` are written out where a helper would be shorter: half of the time of a
    small operation would be spent calling it.
    """

    __slots__ = ("append", "entries", "held")

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[Any] = []
        self.append = self.entries.append
        self.held: Held = []

    def watch(self, value: Any) -> TapeTracer:
        """Return a tracer for an input of the differentiated function."""
        self.append(None)
        return _tracer(value, self, len(self.entries) - 1)

    def end(self) -> list[Any]:
        """Stop recording and return the entries; later use of a tracer raises."""
        entries = self.entries
        self.alive, self.append = False, functools.partial(leaked, self.level)
        self.entries = []
        return entries

    def unary(self, primitive: Primitive, x: TapeTracer) -> Any:
        """Apply a primitive of one argument and record it."""
        v = x.value
        y = primitive.numpy(v) if KIND[type(v)] == NUMPY else primitive(v)
        if primitive.zero:
            return y
        out = TapeTracer()
        out.value = y
        out._trace = self
        out.index = len(self.entries)
        kept = y if primitive.reads_output else None
        saved = v if primitive.reads_arguments else _stand_in(v)
        cls = type(v)
        if cls is type(y) and (cls is _float64 or v.dtype is y.dtype):
            self.append((primitive, kept, saved, x.index))
        else:
            self.append((primitive, kept, (saved,), (x.index,), {}))
        return out

    def binary(self, primitive: Primitive, x: Any, y: Any) -> Any:
        """Apply a primitive of two arguments and record it."""
        if type(x) is TapeTracer and x._trace is self:
            a, pa = x.value, x.index
        else:
            a, pa = x, None
        if type(y) is TapeTracer and y._trace is self:
            b, pb = y.value, y.index
        else:
            b, pb = y, None
        ta, tb = type(a), type(b)
        if ta is tb is _ndarray:
            v = primitive.operator(a, b)
            fits = a.dtype is b.dtype is v.dtype and (
                a.shape == b.shape
                or (pb is None and a.shape == v.shape)
                or (pa is None and b.shape == v.shape)
            )
        elif ta is tb is _float64:
            v = primitive.operator(a, b)
            fits = True
        elif (tb is float or tb is int) and (ta is _ndarray or ta is _float64):
            v = primitive.operator(a, b)
            fits = pb is None and (ta is _float64 or a.dtype is v.dtype)
        elif (ta is float or ta is int) and (tb is _ndarray or tb is _float64):
            v = primitive.operator(a, b)
            fits = pa is None and (tb is _float64 or b.dtype is v.dtype)
        elif KIND[ta] == NUMPY == KIND[tb]:
            v = primitive.numpy(a, b)
            fits = False
        else:
            for other in (a, b):
                if KIND[type(other)] == TRACER and other._trace.level > self.level:
                    return other._trace.binary(primitive, x, y)
            v = primitive(a, b)
            fits = (pa is None or _alike(a, v)) and (pb is None or _alike(b, v))
        if primitive.zero:
            return v
        out = TapeTracer()
        out.value = v
        out._trace = self
        out.index = len(self.entries)
        kept = v if primitive.reads_output else None
        if not primitive.reads_arguments:
            if v.nbytes > SMALL:
                a, b = _stand_in(a), _stand_in(b)
        elif pb is None:
            if tb is _ndarray and KIND[ta] == NUMPY:
                b = hold(b, self.held)
        elif pa is None and ta is _ndarray and KIND[tb] == NUMPY:
            a = hold(a, self.held)
        self.append(
            (primitive, kept, a, b, pa, pb) if fits else (primitive, kept, (a, b), (pa, pb), {})
        )
        return out

    def process(self, primitive: Primitive, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """Apply any primitive and record it."""
        values: list[Any] = []
        parents: list[int | None] = []
        plain = True
        for a in args:
            if type(a) is TapeTracer and a._trace is self:
                parents.append(a.index)
                a = a.value
            else:
                parents.append(None)
            values.append(a)
            plain = plain and KIND[type(a)] == NUMPY
        if primitive.augment is None:
            y = (primitive.numpy if plain else primitive)(*values, **attrs)
            if primitive.zero:
                return y
        else:
            varying = tuple(p is not None for p in parents)
            y, residuals, attrs = primitive.augment(tuple(values), attrs, varying)
            refuse_closures(self, primitive, attrs, y)
            values += residuals
            parents += [None] * len(residuals)
        index = len(self.entries)
        kept, saved = _kept(primitive, y, values, parents)
        if plain:
            for k in range(len(args)):
                if parents[k] is None and type(saved[k]) is _ndarray:
                    saved[k] = hold(saved[k], self.held)
        self.append((primitive, kept, saved, parents, attrs))
        if not primitive.many:
            return _tracer(y, self, index)
        for _ in y[1:]:
            self.append(None)  # a slot for the cotangent of each further output
        return tuple(_tracer(v, self, index + k) for k, v in enumerate(y))


def unpack(entry: Any) -> Any:
    """Return an entry in the general form (primitive, value, arguments, parents, attrs)."""
    if len(entry) == 4:
        primitive, y, x, slot = entry
        return primitive, y, (x,), (slot,), {}
    if len(entry) == 6:
        primitive, y, a, b, slot_a, slot_b = entry
        return primitive, y, (a, b), (slot_a, slot_b), {}
    return entry


def _kept(
    primitive: Primitive, y: Any, values: list[Any], parents: list[int | None]
) -> tuple[Any, list[Any]]:
    """Return what the entry keeps of output and arguments, by the kind of the derivative."""
    derivative: Any = primitive.derivative
    kind = type(derivative)
    if kind is Linear:
        for k in range(len(values) if derivative.count is None else derivative.count):
            values[k] = _stand_in(values[k])
        return None, values
    if kind is Bilinear:
        a, b = values
        return None, [
            a if parents[1] is not None else _stand_in(a),
            b if parents[0] is not None else _stand_in(b),
        ]
    return y, values


class Cotangents:
    """The cotangents of the slots.

    Sums are made in place in arrays that belong to the sweep (`owned`). Cotangents of reads
    `x[index]` are added into one array, or, while they are traced by an outer transformation,
    collected in `reads` and summed by one operation when the slot is reached.
    """

    __slots__ = ("owned", "reads", "slots")

    def __init__(self, slots: list[Any]) -> None:
        self.slots = slots
        self.owned: set[int] = set()
        self.reads: dict[int, tuple[Any, list[Any], list[Any]]] = {}

    def add(self, slot: int, ct: Any) -> None:
        """Add ct to the cotangent of a slot."""
        slots = self.slots
        previous = slots[slot]
        if previous is None:
            slots[slot] = ct
        elif slot in self.owned and type(ct) is _ndarray:
            np.add(previous, ct, out=previous)
        else:
            total = slots[slot] = previous + ct
            if type(total) is _ndarray:
                self.owned.add(slot)
            else:  # a sum of arrays without axes is a number
                self.owned.discard(slot)

    def add_read(self, slot: int, entry: Any, ct: Any, safe: bool) -> bool:
        """Add the cotangent of an indexing operation; return False if it must be made dense."""
        primitive, _, args, _, attrs = entry
        x = args[0]
        if KIND[type(ct)] != NUMPY:
            if len(args) > 1 or safe:  # their sum does not mark its zeros
                return False
            _, cts, templates = self.reads.setdefault(slot, (x, [], []))
            cts.append(ct)
            templates.append(attrs["template"])
            return True
        if any(KIND[type(a)] != NUMPY for a in args[1:]):
            return False
        slots = self.slots
        if slot not in self.owned:
            previous = slots[slot]
            if previous is None:
                slots[slot] = np.full(shape_of(x), -0.0 if safe else 0.0, dtype_of(x))
            elif type(previous) is _ndarray:
                slots[slot] = previous.copy()
            else:
                return False
            self.owned.add(slot)
        primitive.add_into(slots[slot], ct, *args, **attrs)
        return True

    def settle(self, slot: int) -> None:
        """Turn the collected reads of a slot into its cotangent."""
        x, cts, templates = self.reads.pop(slot)
        total = index_sum(*cts, shape=shape_of(x), dtype=dtype_of(x), templates=tuple(templates))
        self.owned.discard(slot)
        self.add(slot, total)


def backward(entries: Any, seeds: list[tuple[int, Any]], count: int, safe: bool) -> list[Any]:
    """Sweep back over a tape and return the cotangents of its first `count` slots (None: zero).

    Args:
      entries: The tape; it is not changed.
      seeds: Pairs (slot, cotangent) of the outputs.
      count: Number of inputs.
      safe: Whether zeros are strong (slower): those of the seeds and of the results are marked, as
        `ops.strong` says.
    """
    if type(entries) is list:
        return sweep(entries, Cotangents([None] * len(entries)), seeds, count, safe)
    with entries.cotangents() as slots:  # of a tape that names them
        return sweep(entries, Cotangents(slots), seeds, count, safe)


def sweep(
    entries: list[Any], cts: Cotangents, seeds: list[tuple[int, Any]], count: int, safe: bool
) -> list[Any]:
    """Sweep back over a tape, into these cotangents: see `backward`."""
    for slot, ct in seeds:
        cts.add(slot, ct)
    slots, owned, reads = cts.slots, cts.owned, cts.reads
    for i in range(len(entries) - 1, count - 1, -1):
        if reads and i in reads:
            cts.settle(i)
        entry = entries[i]
        if entry is None:
            continue
        rules = entry[0].rules
        n = len(entry)
        if n == 5 or rules is None or safe:
            pull(cts, i, unpack(entry), safe)
            continue
        g = slots[i]
        if g is None:
            continue
        slots[i] = None
        if n == 4:
            _, y, x, slot = entry
            ct = rules[0](g, y, x)
        else:
            _, y, a, b, first, slot = entry
            if first is not None and (rule := rules[0]) is not None:
                ct = rule(g, y, a, b)  # added as below: a call would cost a tenth of the operation
                previous = slots[first]
                if previous is None:
                    slots[first] = ct
                elif first in owned or (type(ct) is _ndarray and ct.nbytes > SMALL):
                    cts.add(first, ct)
                else:
                    slots[first] = previous + ct
            if slot is None or (rule := rules[1]) is None:
                continue
            ct = rule(g, y, a, b)
        previous = slots[slot]
        if previous is None:
            slots[slot] = ct
        elif slot in owned or (type(ct) is _ndarray and ct.nbytes > SMALL):
            cts.add(slot, ct)
        else:
            slots[slot] = previous + ct
    for slot in list(reads):
        cts.settle(slot)
    return slots[:count]


def pull(cts: Cotangents, i: int, entry: Any, safe: bool) -> None:
    """Send the cotangent of slot i, any operation's, to the arguments."""
    primitive, y, args, parents, attrs = entry
    slots = cts.slots
    g = slots[i]
    if primitive.many:
        g = slots[i : i + len(y)]
        if all(ct is None for ct in g):
            return
        slots[i : i + len(y)] = [None] * len(y)
    elif g is None:
        return
    else:
        slots[i] = None
    if primitive.add_into is not None and cts.add_read(parents[0], entry, g, safe):
        return
    results = _pulled(primitive, g, y, args, parents, attrs, safe)
    for slot, ct, x in zip(parents, results, args, strict=False):
        if slot is not None and ct is not None:
            cts.add(slot, strong_fit(ct, x) if safe else fit(ct, x))


def _pulled(
    primitive: Primitive, g: Any, y: Any, args: Any, parents: Any, attrs: Any, safe: bool
) -> Any:
    """Return the cotangents of the arguments (None: zero), by the kind of the derivative."""
    derivative: Any = primitive.derivative
    kind = type(derivative)
    if kind is Elementwise:
        return _pull_elementwise(derivative, g, y, args, parents, attrs, safe)
    if kind is Bilinear:
        return _pull_bilinear(derivative, g, args, parents, attrs, safe)
    if kind is General:
        return _pull_general(primitive, g, y, args, parents, attrs, safe)
    cts = (
        strong_linear(lambda g: derivative.transpose(g, *args, **attrs), g)
        if safe
        else derivative.transpose(g, *args, **attrs)
    )
    return (cts,) if derivative.count == 1 else cts


def _pull_elementwise(
    derivative: Elementwise, g: Any, y: Any, args: Any, parents: Any, attrs: Any, safe: bool
) -> list[Any]:
    out: list[Any] = []
    for k, (rule, slot) in enumerate(zip(derivative.rules, parents, strict=False)):
        if slot is None or rule is None:
            out.append(None)
        elif safe:
            alone = sum(p is not None for p in parents) == 1
            out.append(strong_elementwise(derivative, k, g, y, args, attrs, alone, back=True))
        else:
            if k in derivative.summed and shape_of(args[k]) != shape_of(g):
                rule = derivative.summed[k]
            out.append(rule(g, y, *args, **attrs))
    return out


def _pull_general(
    primitive: Primitive, g: Any, y: Any, args: Any, parents: Any, attrs: Any, safe: bool
) -> Any:
    derivative: Any = primitive.derivative
    if derivative.vjp is None:
        return _transposed(derivative, g, y, args, parents, attrs, safe)
    if primitive.many:
        none = nothing if safe else zeros
        g = tuple(none(v) if c is None else c for c, v in zip(g, y, strict=True))
    if primitive.augment is not None:  # it has passes of its own, with strong zeros or without
        return derivative.vjp(g, y, *args, **attrs, safe=safe)

    def rule(g: Any) -> Any:
        return derivative.vjp(g, y, *args, **attrs)

    return strong_general(rule, g) if safe else rule(g)


def _transposed(
    derivative: General, g: Any, y: Any, args: Any, parents: Any, attrs: Any, safe: bool
) -> list[Any]:
    """Transpose the linear function jvp: run it on a tape of its own and sweep back."""
    tape = Tape()
    tangents = tuple(
        None if slot is None else tape.watch(zeros(a))
        for slot, a in zip(parents, args, strict=True)
    )
    dots = derivative.jvp(tangents, y, *args, **attrs)
    pairs = zip(dots, g, strict=True) if type(y) is tuple else [(dots, g)]
    own = [p for p in pairs if type(p[0]) is TapeTracer and p[0]._trace is tape]
    fitted = strong_fit if safe else fit
    seeds = [(t.index, fitted(ct, t)) for t, ct in own if ct is not None]
    cts = iter(backward(tape.end(), seeds, sum(t is not None for t in tangents), safe=safe))
    return [None if t is None else next(cts) for t in tangents]


def _pull_bilinear(
    derivative: Bilinear, g: Any, args: Any, parents: Any, attrs: dict[str, Any], safe: bool
) -> tuple[Any, Any]:
    a, b = args
    first, second = derivative.transposes
    varies = None not in parents
    ct_a = ct_b = None
    if parents[0] is not None:
        ct_a = (
            strong_bilinear(lambda ct, v: first(ct, a, v, **attrs), g, b, varies, back=True)
            if safe
            else first(g, a, b, **attrs)
        )
    if parents[1] is not None:
        ct_b = (
            strong_bilinear(lambda ct, v: second(ct, v, b, **attrs), g, a, varies, back=True)
            if safe
            else second(g, a, b, **attrs)
        )
    return ct_a, ct_b

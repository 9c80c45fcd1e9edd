"""Reverse mode: a tape of operations in execution order, and the sweep back over it.

The tape is a plain list; its reverse is a topological order, so the backward sweep needs neither
sorting nor recursion. An entry is `(primitive, value, arguments, parents, attrs)`, where parents
are the slots of the arguments (None: not traced). Nothing refers back to the tape but tracers,
so there are no cycles.

May import `core`, `ops`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from funcgraph.core.aval import Aval, dtype_of, shape_of
from funcgraph.core.primitive import Bilinear, General, Linear, Primitive
from funcgraph.core.trace import KIND, NUMPY, Trace, ValueTracer, leaked
from funcgraph.ops.indexing import index_sum
from funcgraph.ops.strong import strong_bilinear, strong_elementwise, strong_general
from funcgraph.ops.structural import fit, zeros

__all__ = ["Tape", "TapeTracer", "backward"]

_ndarray = np.ndarray
_float64 = np.float64
# Values below this size are kept on the tape as they are: a stand-in would cost more than it frees.
_SMALL = 4096


class TapeTracer(ValueTracer):
    """A value on a tape: the plain (or outer-level) value and its slot."""

    __slots__ = ("index",)

    def __init__(self, value: Any, trace: Tape, index: int) -> None:
        self.value = value
        self._trace = trace
        self.index = index


def _stand_in(x: Any) -> Any:
    """Return what a transpose needs of x (shape, dtype) without keeping a large array alive."""
    if type(x) is _ndarray and x.nbytes > _SMALL:
        return Aval(x.shape, x.dtype)
    return x


class Tape(Trace):
    """The trace of reverse mode."""

    __slots__ = ("append", "entries")

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[Any] = []
        self.append = self.entries.append

    def watch(self, value: Any) -> TapeTracer:
        """Return a tracer for an input of the differentiated function."""
        self.append(None)
        return TapeTracer(value, self, len(self.entries) - 1)

    def end(self) -> list[Any]:
        """Stop recording and return the entries; later use of a tracer raises."""
        entries = self.entries
        self.append = leaked
        self.entries = []
        return entries

    def unary(self, primitive: Primitive, x: TapeTracer) -> Any:
        """Apply a primitive of one argument and record it."""
        v = x.value
        y = primitive.numpy(v) if KIND[type(v)] == NUMPY else primitive(v)
        if primitive.zero:
            return y
        entries = self.entries
        keep = primitive.keep
        if keep == "xy":
            self.append((primitive, y, (v,), (x.index,), None))
        else:
            self.append(
                (
                    primitive,
                    y if keep == "y" else None,
                    (v if keep == "x" else _stand_in(v),),
                    (x.index,),
                    None,
                )
            )
        return TapeTracer(y, self, len(entries) - 1)

    def binary(self, primitive: Primitive, x: Any, y: Any) -> Any:
        """Apply a primitive of two arguments and record it."""
        if type(x) is TapeTracer and x._trace is self:
            px = x.index
            x = x.value
        else:
            px = None
        if type(y) is TapeTracer and y._trace is self:
            py = y.index
            y = y.value
        else:
            py = None
        if KIND[type(x)] == NUMPY == KIND[type(y)]:
            out = primitive.numpy(x, y)
        else:
            out = primitive(x, y)
        if primitive.zero:
            return out
        keep = primitive.keep
        if keep == "":
            args = (_stand_in(x), _stand_in(y))
        else:
            args = (x, y)
        self.append((primitive, out if keep == "xy" else None, args, (px, py), None))
        return TapeTracer(out, self, len(self.entries) - 1)

    def process(self, primitive: Primitive, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """Apply any primitive and record it."""
        values: list[Any] = []
        parents: list[int | None] = []
        for a in args:
            if type(a) is TapeTracer and a._trace is self:
                values.append(a.value)
                parents.append(a.index)
            else:
                values.append(a)
                parents.append(None)
        y = primitive(*values, **attrs)
        if primitive.zero:
            return y
        index = len(self.entries)
        kept, saved = _kept(primitive, y, values, parents)
        self.append((primitive, kept, saved, parents, attrs))
        if not primitive.many:
            return TapeTracer(y, self, index)
        for _ in y[1:]:
            self.append(None)  # a slot for the cotangent of each further output
        return tuple(TapeTracer(v, self, index + k) for k, v in enumerate(y))


def _kept(primitive: Primitive, y: Any, values: list[Any], parents: list[int | None]) -> Any:
    """Return what the entry keeps of output and arguments, by the kind of the derivative."""
    derivative = primitive.derivative
    if isinstance(derivative, Linear):
        n = derivative.count
        stand_ins = [_stand_in(v) if n is None or i < n else v for i, v in enumerate(values)]
        return None, stand_ins
    if isinstance(derivative, Bilinear):
        a, b = values
        return None, (
            a if parents[1] is not None else _stand_in(a),
            b if parents[0] is not None else _stand_in(b),
        )
    return y, values


class _Cotangents:
    """The cotangents of the slots.

    Sums are made in place in arrays that belong to the sweep (`owned`). Cotangents of reads
    `x[index]` are added into one array, or, while they are traced by an outer transformation,
    collected in `reads` and summed by one operation when the slot is reached.
    """

    __slots__ = ("owned", "reads", "slots")

    def __init__(self, count: int) -> None:
        self.slots: list[Any] = [None] * count
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

    def add_read(self, slot: int, entry: Any, ct: Any) -> bool:
        """Add the cotangent of an indexing operation; return False if it must be made dense."""
        primitive, _, args, _, attrs = entry
        x = args[0]
        if KIND[type(ct)] != NUMPY:
            if len(args) > 1:
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
                slots[slot] = np.zeros(shape_of(x), dtype_of(x))
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


def backward(entries: list[Any], seeds: list[tuple[int, Any]], count: int, safe: bool) -> list[Any]:
    """Sweep back over a tape and return the cotangents of its first `count` slots (None: zero).

    Args:
      entries: The tape; it is not changed.
      seeds: Pairs (slot, cotangent) of the outputs.
      count: Number of inputs.
      safe: Whether a product with an exact zero is zero, whatever the other factor (slower).
    """
    cts = _Cotangents(len(entries))
    for slot, ct in seeds:
        cts.add(slot, ct)
    slots, reads = cts.slots, cts.reads
    for i in range(len(entries) - 1, count - 1, -1):
        if reads and i in reads:
            cts.settle(i)
        entry = entries[i]
        if entry is None:
            continue
        primitive, y, args, parents, attrs = entry
        if primitive.many:
            n = len(y)
            g: Any = tuple(slots[i : i + n])
            if all(c is None for c in g):
                continue
            slots[i : i + n] = [None] * n
        else:
            g = slots[i]
            if g is None:
                continue
            slots[i] = None
        rules = primitive.rules
        if rules is None:
            _pull(cts, entry, g, safe)
        elif safe:
            _pull_strong(cts, entry, g)
        elif len(rules) == 1:
            slot = parents[0]
            ct = rules[0](g, y, args[0]) if attrs is None else rules[0](g, y, args[0], **attrs)
            if slots[slot] is None:
                slots[slot] = ct
            else:
                cts.add(slot, ct)
        else:
            _pull_elementwise(cts, entry, g)
    for slot in list(reads):
        cts.settle(slot)
    return slots[:count]


def _pull_elementwise(cts: _Cotangents, entry: Any, g: Any) -> None:
    primitive, y, args, parents, attrs = entry
    slots = cts.slots
    for rule, slot, x in zip(primitive.rules, parents, args, strict=False):
        if slot is None or rule is None:
            continue
        ct = rule(g, y, *args) if attrs is None else rule(g, y, *args, **attrs)
        tx = type(x)
        if tx is not type(ct) or (
            tx is not _float64
            and (tx is not _ndarray or ct.shape != x.shape or ct.dtype is not x.dtype)
        ):
            ct = fit(ct, x)
        if slots[slot] is None:
            slots[slot] = ct
        else:
            cts.add(slot, ct)


def _pull_strong(cts: _Cotangents, entry: Any, g: Any) -> None:
    primitive, y, args, parents, attrs = entry
    for rule, slot, x in zip(primitive.rules, parents, args, strict=False):
        if slot is not None and rule is not None:
            cts.add(slot, fit(strong_elementwise(rule, g, y, args, attrs or {}), x))


def _pull(cts: _Cotangents, entry: Any, g: Any, safe: bool) -> None:
    """Send the cotangent of a linear, bilinear or general operation to its arguments."""
    primitive, y, args, parents, attrs = entry
    attrs = attrs or {}
    derivative = primitive.derivative
    if isinstance(derivative, Linear):
        if primitive.add_into is not None and cts.add_read(parents[0], entry, g):
            return
        results = derivative.transpose(g, *args, **attrs)
        if derivative.count == 1:
            results = (results,)
    elif isinstance(derivative, Bilinear):
        results = _pull_bilinear(derivative, g, args, parents, attrs, safe)
    else:
        if primitive.many:
            g = tuple(zeros(v) if c is None else c for c, v in zip(g, y, strict=True))
        if derivative.vjp is None:
            results = _transposed(derivative, g, y, args, parents, attrs, safe)
        else:
            results = derivative.vjp(g, y, *args, **attrs)
        if safe:
            gs = g if primitive.many else (g,)
            results = [None if r is None else strong_general(r, gs) for r in results]
    for slot, ct, x in zip(parents, results, args, strict=False):
        if slot is not None and ct is not None:
            cts.add(slot, fit(ct, x))


def _transposed(
    derivative: General, g: Any, y: Any, args: Any, parents: Any, attrs: dict[str, Any], safe: bool
) -> list[Any]:
    """Transpose the linear function jvp: run it on a tape of its own and sweep back."""
    tape = Tape()
    tangents = tuple(
        None if slot is None else tape.watch(zeros(a))
        for slot, a in zip(parents, args, strict=True)
    )
    dots = derivative.jvp(tangents, y, *args, **attrs)
    pairs = zip(dots, g, strict=True) if type(y) is tuple else [(dots, g)]
    seeds = [(t.index, fit(ct, t)) for t, ct in pairs if type(t) is TapeTracer and t._trace is tape]
    count = sum(t is not None for t in tangents)
    cts = iter(backward(tape.end(), seeds, count, safe))
    return [None if t is None else next(cts) for t in tangents]


def _pull_bilinear(
    derivative: Bilinear, g: Any, args: Any, parents: Any, attrs: dict[str, Any], safe: bool
) -> tuple[Any, Any]:
    a, b = args
    first, second = derivative.transposes
    ct_a = ct_b = None
    if parents[0] is not None:
        ct_a = (
            strong_bilinear(lambda ct, v: first(ct, a, v, **attrs), g, b)
            if safe
            else first(g, a, b, **attrs)
        )
    if parents[1] is not None:
        ct_b = (
            strong_bilinear(lambda ct, v: second(ct, v, b, **attrs), g, a)
            if safe
            else second(g, a, b, **attrs)
        )
    return ct_a, ct_b

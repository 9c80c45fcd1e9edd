"""The parts of a program as a picture shows them: operations, groups by scope, repetitions.

A group is what stands together in the program and belongs to one scope (layer): the layers of a
model are groups in each other. What stands there three times or more in a row, each time reading
what the time before made, is a group that knows its copies: a loop that was unrolled, a stack of
equal layers. May import `core`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from funcgraph.core.graph import Atom, Equation, Graph, Var
from funcgraph.core.text import text_of
from funcgraph.pictures.scene import Path

__all__ = ["Group", "Op", "Part", "operations", "outline"]

_TIMES = 3  # copies that are drawn once
_LONGEST = 200  # operations of a copy


@dataclass(frozen=True, slots=True, eq=False)
class Op:
    """One equation, with its place in the program."""

    path: Path
    equation: Equation


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Parts that belong together, and further copies of them.

    Attributes:
      label: The scope; "" for a repetition outside of one.
      parts: What is in it.
      copies: The parts of the second, third ... copy.
    """

    label: str
    parts: tuple[Part, ...]
    copies: tuple[tuple[Part, ...], ...] = ()


Part = Op | Group


def operations(parts: Sequence[Part], copies: bool = False) -> Iterator[Op]:
    """Yield the operations of parts, those of copies only if asked for."""
    for part in parts:
        if isinstance(part, Op):
            yield part
            continue
        for inner in (part.parts, *(part.copies if copies else ())):
            yield from operations(inner, copies)


def outline(graph: Graph, prefix: Path = (), fold: bool = True) -> tuple[Part, ...]:
    """Return the parts of a graph, whose paths begin with `prefix`; `fold` finds repetitions."""
    ops = [Op((*prefix, k), e) for k, e in enumerate(graph.equations)]
    return _grouped(ops, (), {*graph.inputs, *graph.constants} if fold else None)


def _grouped(ops: Sequence[Op], scope: tuple[str, ...], given: set[Var] | None) -> tuple[Part, ...]:
    """Return the parts of operations that all belong to a scope."""
    parts: list[Part] = []
    run: list[Op] = []
    before: str | None = None
    for op in (*ops, None):
        names = op.equation.scope.split("/") if op is not None and op.equation.scope else []
        name = names[len(scope)] if len(names) > len(scope) else None
        if run and (op is None or name != before):
            if before is None:
                parts += run
            else:
                parts.append(_named(before, _grouped(run, (*scope, before), given)))
            run = []
        before = name
        if op is not None:
            run.append(op)
    return tuple(parts) if given is None else _repeated(parts, given)


def _named(label: str, parts: tuple[Part, ...]) -> Group:
    """Return a group; one that only frames another group is one with it."""
    inner = parts[0]
    if len(parts) == 1 and isinstance(inner, Group) and inner.label:
        return Group(f"{label}/{inner.label}", inner.parts, inner.copies)
    return Group(label, parts)


# --- repetitions ----------------------------------------------------------------------------------


def _repeated(parts: list[Part], given: set[Var]) -> tuple[Part, ...]:
    """Return the parts with the repetitions among them as groups."""
    numbers: dict[Any, int] = {}
    forms = [numbers.setdefault(_form(part), len(numbers)) for part in parts]
    out: list[Part] = []
    k = 0
    while k < len(parts):
        found = _repetition(parts, forms, k, given)
        if found is None:
            out.append(parts[k])
            k += 1
            continue
        period, count = found
        copies = [tuple(parts[k + n * period : k + (n + 1) * period]) for n in range(count)]
        k += period * count
        if period == 1 and isinstance(copies[0][0], Group):
            rest = [copy[0].parts for copy in copies[1:] if isinstance(copy[0], Group)]
            out.append(Group(copies[0][0].label, copies[0][0].parts, tuple(rest)))
        else:
            out.append(Group("", copies[0], tuple(copies[1:])))
    return tuple(out)


def _repetition(
    parts: list[Part], forms: list[int], k: int, given: set[Var]
) -> tuple[int, int] | None:
    """Return length and number of the copies that begin at k, or None."""
    for period in range(1, min(_LONGEST, (len(parts) - k) // _TIMES) + 1):
        if forms[k] != forms[k + period]:
            continue
        block = forms[k : k + period]
        count = 1
        while forms[k + count * period : k + (count + 1) * period] == block:
            count += 1
        if count < _TIMES or (period == 1 and isinstance(parts[k], Op)):
            continue
        copies = [
            list(operations(parts[k + n * period : k + (n + 1) * period], copies=True))
            for n in range(count)
        ]
        chained = _chained(copies, given)
        if chained >= _TIMES:
            return period, chained
    return None


def _form(part: Part) -> Any:
    """Return what parts have in common that do the same with arrays of the same types."""
    if isinstance(part, Group):
        number = len(part.copies)
        return re.sub(r"_?\d+", "", part.label), number, tuple(map(_form, part.parts))
    e = part.equation
    nested = tuple(map(text_of, e.subgraphs))
    names = set() if e.primitive.name == "getitem" else {*e.attrs}
    attrs = tuple(repr(e.attrs[k]) for k in sorted(names) if not nested)
    types = tuple(str(v.aval) if isinstance(v, Var) else repr(v) for v in e.inputs)
    return e.primitive.name, attrs, nested, types, tuple(str(v.aval) for v in e.outputs)


def _chained(copies: list[list[Op]], given: set[Var]) -> int:
    """Return how many of the copies, from the first on, read alike and each from the one before."""
    reads = [_reads(ops) for ops in copies]
    plain = [not op.equation.subgraphs for op in copies[0] for _ in op.equation.inputs]
    carried: dict[int, int] = {}  # arguments that come from the copy before, and from where in it
    for n in range(1, len(copies)):
        made = [_made(ops) for ops in copies[n - 1 : n + 1]]
        if len(reads[n]) != len(reads[0]):
            return n
        linked = False
        for k, (a, b) in enumerate(zip(reads[n - 1], reads[n], strict=True)):
            inside = [_place(v, m) for v, m in ((a, made[0]), (b, made[1]))]
            if inside[0] is not None or inside[1] is not None:
                if inside[0] != inside[1]:
                    return n
            elif isinstance(b, Var) and b in made[0]:
                linked = True
                if not plain[k]:
                    return n  # it is not seen which part of a loop or call reads it
                if carried.setdefault(k, made[0][b]) != made[0][b]:
                    return n
            elif a is not b and a != b and not (b in given and a in given):
                return n
        if not linked:
            return n
    return len(copies) if _handed_on(copies[0], carried) else 0


def _handed_on(ops: list[Op], carried: dict[int, int]) -> bool:
    """Return whether what a copy hands to the next depends on what it was given itself."""
    reached: set[Var] = set()
    outputs = [v for op in ops for v in op.equation.outputs]
    k = 0
    for op in ops:
        numbers = range(k, k + len(op.equation.inputs))
        k = numbers.stop
        if any(n in carried for n in numbers) or not reached.isdisjoint(op.equation.inputs):
            reached.update(op.equation.outputs)
    return all(outputs[place] in reached for place in carried.values())


def _reads(ops: list[Op]) -> list[Atom]:
    return [v for op in ops for v in op.equation.inputs]


def _made(ops: list[Op]) -> dict[Var, int]:
    outputs = [v for op in ops for v in op.equation.outputs]
    return {v: k for k, v in enumerate(outputs)}


def _place(v: Atom, made: dict[Var, int]) -> int | None:
    return made.get(v) if isinstance(v, Var) else None

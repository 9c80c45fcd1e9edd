"""Budgets of memory: how they are written, and what was done to stay within one.

May import `core`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from funcgraph.core.costs import flops_of
from funcgraph.core.graph import Graph, Var
from funcgraph.core.remat import Options, Rematerialized, rematerialize
from funcgraph.errors import MemoryBudgetError

__all__ = ["Alive", "MemoryReport", "Recomputed", "bytes_of", "planned", "refusal"]

_UNITS = {
    "B": 1,
    **{f"{c}B": 1000**k for k, c in enumerate("KMGT", 1)},
    **{f"{c}IB": 1024**k for k, c in enumerate("KMGT", 1)},
}
_SHOWN = 8  # rows of a table that is printed


def bytes_of(budget: Any) -> int:
    """Return a budget in bytes.

    Raises:
      ValueError: It is neither a positive int nor a number with a unit.

    Example:
      >>> bytes_of("200MB"), bytes_of("1.5 GiB"), bytes_of(4096)
      (200000000, 1610612736, 4096)
    """
    found = None
    if isinstance(budget, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-zA-Z]+)\s*", budget)
        if match and match[2].upper() in _UNITS:
            found = int(float(match[1]) * _UNITS[match[2].upper()])
    elif isinstance(budget, int) and not isinstance(budget, bool):
        found = budget
    if found is None or found <= 0:
        raise ValueError(
            f"memory_budget must be a positive number of bytes (an int), or a string with a unit "
            f"such as '200MB' (10**6 bytes each) or '1.5GiB' (2**30); got {budget!r}."
        )
    return found


def _text(size: int) -> str:
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"


@dataclass(frozen=True, slots=True)
class Recomputed:
    """What one operation at one line of the user's program computes again."""

    operation: str
    count: int
    bytes: int  # of the results
    flops: int
    line: str


@dataclass(frozen=True, slots=True)
class Alive:
    """A value that is alive where most is."""

    operation: str
    type: str
    bytes: int
    line: str


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """How much memory a compiled program needs; `print` shows it.

    Bytes are those of values that are alive at one time: arguments, constants, results and what
    lies between. An engine may need less (what XLA fuses is never there as a whole).

    Attributes:
      budget: What was allowed, or None.
      before: The peak without a budget.
      peak: The peak of the program that runs.
      arguments: Bytes of arguments and constants.
      results: Bytes of results that are not in the memory of donated arguments.
      flops: Arithmetic operations without a budget.
      extra_flops: Those that are done again.
      recomputed: What is computed again, the largest first.
      alive: Results that are alive at the peak, the largest first.
      graph: The program that runs.
      measured: With a budget under XLA: the bytes that its compiled program needs, as it says.
    """

    budget: int | None
    before: int
    peak: int
    arguments: int
    results: int
    flops: int
    extra_flops: int
    recomputed: tuple[Recomputed, ...]
    alive: tuple[Alive, ...]
    graph: Graph
    measured: int | None = None

    @property
    def overhead(self) -> float:
        """The operations that are done again, as a part of those without a budget."""
        return self.extra_flops / max(1, self.flops)

    def __str__(self) -> str:
        lines = [f"peak {_text(self.peak)}"]
        if self.budget is not None:
            lines[0] += f", budget {_text(self.budget)}, without budget {_text(self.before)}"
        if self.measured is not None:
            lines[0] += f"; XLA's program needs {_text(self.measured)}"
        lines.append(
            f"of it arguments {_text(self.arguments)}, results {_text(self.results)} at the end"
        )
        if self.recomputed:
            count = sum(row.count for row in self.recomputed)
            more = f"{100 * self.overhead:.1f} % more FLOPs"
            lines.append(f"computed again: {count} operations, {more}")
            rows = [
                (r.operation, f"{r.count:,}", f"{r.bytes:,}", f"{r.flops:,}", r.line)
                for r in self.recomputed
            ]
            lines += _table(("operation", "count", "bytes", "FLOPs", "line"), rows)
        lines.append("largest at the peak:")
        alive = [(v.operation, v.type, f"{v.bytes:,}", v.line) for v in self.alive]
        return "\n".join([*lines, *_table(("operation", "type", "bytes", "line"), alive)])


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    shown = [head, *rows[:_SHOWN]]
    widths = [max(len(row[k]) for row in shown) for k in range(len(head))]
    left = (0, len(head) - 1, *([1] if head[1] == "type" else []))
    lines = [
        "  ".join(
            c.ljust(w) if k in left else c.rjust(w)
            for k, (c, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in shown
    ]
    more = len(rows) - _SHOWN
    return [f"  {line}".rstrip() for line in lines] + [f"  and {more} more"] * (more > 0)


def planned(
    graph: Graph, aim: int | None, options: Options, budget: int | None = None
) -> MemoryReport:
    """Return the program that stays within a budget, and what it costs.

    Args:
      graph: The program without a budget, as an engine would run it.
      aim: Bytes that may be alive at one time; None: as many as it takes.
      options: What else it has to heed.
      budget: What the user allows, if that is more.

    Raises:
      MemoryBudgetError: No such program was found.
    """
    before = Rematerialized(graph, options.lifetimes(graph))
    found = before
    if aim is not None and before.peak > aim:
        found = rematerialize(graph, aim, options)
    report = _report(before, found, aim if budget is None else budget)
    if aim is not None and found.peak > aim:
        raise MemoryBudgetError(refusal(report))
    return report


def _report(before: Rematerialized, found: Rematerialized, budget: int | None) -> MemoryReport:
    graph, lives = found.graph, found.lives
    results = {lives.of(v) for v in graph.outputs if isinstance(v, Var)} - lives.free
    alive = []
    for v in lives.alive(int(lives.bytes.argmax())):
        e = graph.equations[lives.born[v]]
        alive.append(Alive(e.primitive.name, str(v.aval), lives.size(v), e.line))
    flops = before.graph.flops()
    return MemoryReport(
        budget,
        before.peak,
        found.peak,
        lives.given,
        sum(map(lives.size, results)),
        flops,
        graph.flops() - flops,
        _recomputed(before, found),
        tuple(alive),
        graph,
    )


def _recomputed(before: Rematerialized, found: Rematerialized) -> tuple[Recomputed, ...]:
    """Return by how much more often the second program does things than the first one."""
    sums: dict[tuple[str, str], list[int]] = {}
    for sign, program in ((1, found), (-1, before)):
        for e in program.graph.equations:
            made = [v for v in e.outputs if v in program.lives.born]
            if made:  # not a view
                numbers = (1, sum(map(program.lives.size, made)), flops_of(e))
                total = sums.setdefault((e.primitive.name, e.line), [0, 0, 0])
                total[:] = [a + sign * b for a, b in zip(total, numbers, strict=True)]
    rows = [
        Recomputed(name, count, size, flops, line)
        for (name, line), (count, size, flops) in sums.items()
        if count > 0
    ]
    return tuple(sorted(rows, key=lambda row: (-row.bytes, -row.flops)))


def refusal(report: MemoryReport) -> str:
    """Return the message that says why there is no program within the budget."""
    assert report.budget is not None
    largest = [f"{_text(v.bytes)} {v.operation} {v.type} at {v.line}" for v in report.alive[:3]]
    xla = f", for which XLA needs {_text(report.measured)}" if report.measured else ""
    return (
        f"the program needs {_text(report.before)}, and the lowest peak that was found by "
        f"computing values again is {_text(report.peak)} ({report.peak} bytes{xla}; "
        f"{100 * report.overhead:.0f} % more FLOPs), but memory_budget is "
        f"{_text(report.budget)}. Arguments take {_text(report.arguments)} of that, results "
        f"{_text(report.results)}; the largest other values are: {'; '.join(largest)}. Raise the "
        f"budget, make the batch smaller, donate arguments (donate_argnums), or loop with "
        f"scan(..., checkpoint_every=)."
    )

"""The result of a comparison: rows, and how they are written as text, HTML and JSON.

May import `funcgraph.errors` and NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from funcgraph.check.subjects import Cost
from funcgraph.errors import StorageError

__all__ = ["FAILING", "Gap", "Report", "Row", "Worst"]

# From bad to good. Noise is named with its dtype: "float32 noise".
FAILING = ("error", "differ")
_ORDER = ("error", "differ", "noise", "known convention", "kink", "not compared", "agree")


@dataclass(frozen=True)
class Gap:
    """How far our numbers are from those of a reference.

    Attributes:
      absolute: Largest difference.
      relative: Largest difference, relative to the larger of the two numbers.
      ulps: Largest difference, in units of the last place of the larger number, in the leaf's
        dtype.
      cosine: Of the angle between the two (nan: one is zero or not finite).
      count: How many numbers were compared.
      bound: Of differences: the estimate of their own error where the gap is largest.
    """

    absolute: float
    relative: float
    ulps: float
    cosine: float
    count: int
    bound: float | None = None


@dataclass(frozen=True)
class Worst:
    """Where a row differs most, and everyone's number there (None: it has none)."""

    where: str
    ours: Any
    jax: Any = None
    numeric: Any = None
    bound: float | None = None

    def __str__(self) -> str:
        text = f"{self.where}: ours {_number(self.ours)}"
        if self.jax is not None:
            text += f", jax {_number(self.jax)}"
        if self.numeric is not None and self.bound is not None:
            known = self.bound - self.bound == 0  # not inf
            text += f", numeric {_number(self.numeric)} ± {self.bound:.1g}" if known else ""
        return text


@dataclass(frozen=True)
class Row:
    """One leaf, order and mode.

    Attributes:
      leaf: Key path.
      dtype: Of the leaf.
      shape: Of the leaf.
      order: 1 or 2.
      mode: "rev" or "fwd"; of order 2, the outer mode first ("fwd-rev").
      verdict: "agree", "differ", "kink", "known convention", "float32 noise" (or another dtype),
        "not compared" (there was no reference) or "error" (our derivative failed).
      jax: The gap to JAX.
      numeric: The gap to finite differences.
      worst: Where it is largest.
      note: Why the verdict is not "agree".
    """

    leaf: str
    dtype: str
    shape: tuple[int, ...]
    order: int
    mode: str
    verdict: str
    jax: Gap | None = None
    numeric: Gap | None = None
    worst: Worst | None = None
    note: str = ""

    @property
    def failed(self) -> bool:
        """Whether the verdict is bad."""
        return self.verdict in FAILING


@dataclass(frozen=True)
class Report:
    """What `compare` found; true if nothing differs. Prints as a table.

    Attributes:
      function: Name of the function.
      rows: One for each leaf, order and mode.
      references: What was compared with, and its version or kind.
      costs: {"1 rev": {"funcgraph": Cost, "jax": Cost}, ...}: time and memory of one product.
      notes: What is left out, and what to know of the numbers.
      rules: Custom rules that are wrong on their own, and where.
    """

    function: str
    rows: tuple[Row, ...]
    references: dict[str, str]
    costs: dict[str, dict[str, Cost]]
    notes: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether something was compared, and nothing differs."""
        compared = any(r.jax or r.numeric for r in self.rows)
        return compared and not any(r.failed for r in self.rows)

    def __bool__(self) -> bool:
        return self.ok

    @property
    def failing(self) -> tuple[Row, ...]:
        """The rows that differ."""
        return tuple(r for r in self.rows if r.failed)

    @property
    def verdicts(self) -> dict[str, str]:
        """The worst verdict of each leaf, by key path."""
        found: dict[str, str] = {}
        for row in self.rows:
            found[row.leaf] = min(found.get(row.leaf, row.verdict), row.verdict, key=_rank)
        return found

    def __str__(self) -> str:
        return "\n".join([self.headline, "", *_table(self.rows), *self._after(self.rows), "",
                          *_cost_table(self.costs), *self.notes])  # fmt: skip

    @property
    def headline(self) -> str:
        """One line that says what was compared, and with what result."""
        against = " and ".join(f"{name} ({what})" for name, what in self.references.items())
        result = "ok" if self.ok else "NOT OK"
        return f"Derivatives of {self.function}, compared with {against}: {result}"

    def _after(self, rows: Sequence[Row]) -> list[str]:
        """Return what is to say about rows that do not plainly agree."""
        lines = []
        for r in rows:
            if r.verdict != "agree" and (r.worst or r.note):
                lines.append(f"{r.verdict}: {r.leaf}, order {r.order} {r.mode}")
                lines += [f"  {line}" for line in (str(r.worst or ""), r.note) if line]
        return ["", *lines, *self.rules] if lines or self.rules else []

    def failures(self) -> str:
        """Return the rows that differ, as text."""
        return "\n".join([self.headline, "", *_table(self.failing), *self._after(self.failing)])

    def to_json(self, indent: int | None = None) -> str:
        """Return everything as JSON; numbers that JSON lacks are strings: "nan", "inf"."""
        import json

        found = {"ok": self.ok, "verdicts": self.verdicts, **asdict(self)}
        return json.dumps(_plain(found), indent=indent, allow_nan=False)

    def to_html(self) -> str:
        """Return the report as an HTML page that stands for itself."""
        from funcgraph.check.page import page

        return page(self)

    def _repr_html_(self) -> str:
        from funcgraph.check.page import fragment

        return fragment(self)

    def save(self, path: str | Path) -> None:
        """Write the report to a file: .html, .json or .txt.

        Raises:
          StorageError: The name has another suffix.
        """
        path = Path(path)
        writers: dict[str, Callable[[], str]] = {
            ".html": self.to_html,
            ".json": lambda: self.to_json(2),
            ".txt": lambda: f"{self}\n",
        }
        if path.suffix not in writers:
            raise StorageError(
                f"a report is saved as one of {', '.join(writers)}, got {str(path)!r}."
            )
        path.write_text(writers[path.suffix](), "utf-8")


def _rank(verdict: str) -> int:
    return _ORDER.index("noise" if verdict.endswith(" noise") else verdict)


def _number(x: Any) -> str:
    if isinstance(x, complex):
        return f"{x:.9g}"
    return f"{float(x):.9g}"


def _plain(x: Any) -> Any:
    """Return what JSON can hold."""
    if isinstance(x, dict):
        return {k: _plain(v) for k, v in x.items()}
    if isinstance(x, (tuple, list)):
        return [_plain(v) for v in x]
    if isinstance(x, complex) and not isinstance(x, float):
        return [_plain(x.real), _plain(x.imag)]
    if isinstance(x, float):
        return float(x) if x - x == 0 else str(float(x))
    return x


HEAD = ("leaf", "type", "order", "|ours-jax|", "relative", "ulp", "cosine",
        "|ours-numeric|", "±", "verdict")  # fmt: skip


def cells(row: Row) -> tuple[str, ...]:
    """Return the cells of a row of the table."""

    def short(x: float | None) -> str:
        return "-" if x is None else "0" if x == 0 else f"{x:.1e}"

    j, n = row.jax, row.numeric
    gap = j or n
    return (
        row.leaf,
        f"{row.dtype}[{','.join(map(str, row.shape))}]",
        f"{row.order} {row.mode}",
        short(None if j is None else j.absolute),
        short(None if j is None else j.relative),
        "-" if j is None else f"{j.ulps:.3g}",
        "-" if gap is None else f"{gap.cosine:.6g}",
        short(None if n is None else n.absolute),
        short(None if n is None else n.bound),
        row.verdict,
    )


def aligned(lines: Sequence[Sequence[str]], left: Sequence[int]) -> list[str]:
    """Return cells as lines of text with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            c.ljust(w) if k in left else c.rjust(w)
            for k, (c, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def _table(rows: Sequence[Row]) -> list[str]:
    return aligned([HEAD, *map(cells, rows)], left=(0, 1, 2, 9))


def cost_cells(costs: dict[str, dict[str, Cost]]) -> list[tuple[str, ...]]:
    """Return the table of times and memory, its head first."""
    subjects = list(dict.fromkeys(s for row in costs.values() for s in row))
    head = ("order", *(f"{s} {what}" for s in subjects for what in ("ms", "MB")))
    lines = []
    for kind, row in costs.items():
        line = [kind]
        for s in subjects:
            cost = row.get(s)
            line.append("-" if cost is None else f"{1e3 * cost.seconds:.3g}")
            known = cost is not None and cost.bytes is not None
            line.append(f"{cost.bytes / 1e6:.3g}" if known else "-")  # type: ignore[union-attr, operator]
        lines.append(tuple(line))
    return [head, *lines]


def _cost_table(costs: dict[str, dict[str, Cost]]) -> list[str]:
    return [*aligned(cost_cells(costs), left=(0,)), ""] if costs else []

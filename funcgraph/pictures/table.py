"""Rows of cells under headings, as text and as HTML. May import the standard library only."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Row", "html_table", "text_table"]

_NARROW = 8  # no column becomes narrower than this


class Row(NamedTuple):
    """A row of a table: cells, or, if there are none, a heading over all columns.

    Attributes:
      cells: One text for each column; the first stands to the right, the others to the left.
      heading: The text of a row without cells.
      depth: How far the row is indented: 1 in the body of a loop, 2 in a loop in it ...
    """

    cells: tuple[str, ...] = ()
    heading: str = ""
    depth: int = 0


def _cut(text: str, width: int) -> str:
    """Return a text that is not longer than `width`; what follows the last " = " is kept."""
    if len(text) <= width:
        return text
    left, sign, right = text.rpartition(" = ")
    room = width - len(sign + right) - 1
    return f"{left[:room]}…{sign}{right}" if sign and room > 0 else f"{text[: width - 1]}…"


def text_table(columns: Sequence[str], rows: Sequence[Row], width: int) -> str:
    """Return a table as lines of text.

    Args:
      columns: Their headings.
      rows: The rows; what would make the table wider than asked for ends with "…".
      width: The most characters of a line.
    """
    table = [
        [c if k != 1 else "  " * row.depth + c for k, c in enumerate(row.cells)]
        for row in [Row(tuple(columns)), *rows]
    ]
    widths = [max(len(cells[k]) for cells in table if cells) for k in range(len(columns))]
    while sum(widths) + 2 * (len(widths) - 1) > width and max(widths) > _NARROW:
        widths[widths.index(max(widths))] -= 1
    lines = []
    for row, cells in zip([Row(), *rows], table, strict=True):
        if cells:
            first, *rest = map(_cut, cells, widths)
            padded = [first.rjust(widths[0])]
            padded += [c.ljust(w) for c, w in zip(rest, widths[1:], strict=True)]
            lines.append("  ".join(padded).rstrip())
        else:
            indent = " " * (widths[0] + 2 + 2 * row.depth)
            lines.append(_cut(f"{indent}{row.heading}".rstrip(), width))
    return "\n".join(lines)


def html_table(columns: Sequence[str], rows: Sequence[Row]) -> str:
    """Return a table as HTML, in the colours of what is around it.

    Args:
      columns: Their headings.
      rows: The rows.
    """
    line = "border-bottom:1px solid rgba(128,128,128,.35);padding:2px 10px;text-align:left"
    out = ['<table style="border-collapse:collapse;font:13px/1.5 ui-monospace,monospace">', "<tr>"]
    out += [f'<th style="{line}">{html.escape(c)}</th>' for c in columns] + ["</tr>"]
    cell = "padding:1px 10px;text-align:left;white-space:pre"
    for row in rows:
        indent = f"padding-left:{10 + 16 * row.depth}px"
        if row.cells:
            styles = [f"{cell};opacity:.6", f"{cell};{indent}", *[cell] * (len(columns) - 2)]
            pairs = zip(styles, row.cells, strict=True)
            tds = "".join(f'<td style="{s}">{html.escape(c)}</td>' for s, c in pairs)
        else:
            style = f"{cell};{indent};padding-top:8px;opacity:.7"
            text = html.escape(row.heading)
            tds = f'<td></td><td style="{style}" colspan="{len(columns) - 1}">{text}</td>'
        out.append(f"<tr>{tds}</tr>")
    return "\n".join([*out, "</table>"])

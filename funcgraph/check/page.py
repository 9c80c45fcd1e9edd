"""Reports as HTML: a fragment for notebooks, and a page on its own. Imports `check.report`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from funcgraph.check.report import HEAD, Report, cells, cost_cells

__all__ = ["fragment", "page"]

_STYLE = """
.funcgraph-report table { border-collapse: collapse; margin: 0.8em 0; font-size: 90%; }
.funcgraph-report th, .funcgraph-report td { padding: 0.2em 0.7em; text-align: left;
  border-bottom: 1px solid #8886; font-variant-numeric: tabular-nums; }
.funcgraph-report .bad { color: #b00020; font-weight: bold; }
.funcgraph-report .good { color: #1b7f3b; }
.funcgraph-report .so { color: #8a5a00; }
"""


def _class_of(verdict: str) -> str:
    return "bad" if verdict in ("differ", "error") else "good" if verdict == "agree" else "so"


def _html_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(tag: str, row: Sequence[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{c}</{tag}>" for c in row) + "</tr>"

    body = "\n".join(line("td", row) for row in rows)
    return f"<table>\n{line('th', list(map(escape, head)))}\n{body}\n</table>"


def fragment(report: Report) -> str:
    """Return a report as a piece of HTML."""
    rows = []
    for row in report.rows:
        *texts, verdict = map(escape, cells(row))
        details = "<br>".join(escape(t) for t in (str(row.worst or ""), row.note) if t)
        shown = f"{verdict}<br><small>{details}</small>" if row.verdict != "agree" else verdict
        rows.append([*texts, f'<span class="{_class_of(row.verdict)}">{shown}</span>'])
    costs = cost_cells(report.costs)
    notes = "\n".join(f"<li>{escape(n)}</li>" for n in (*report.rules, *report.notes))
    return (
        f'<div class="funcgraph-report"><style>{_STYLE}</style>\n'
        f"<p>{escape(report.headline)}</p>\n{_html_table(HEAD, rows)}\n"
        f"{_html_table(costs[0], [list(map(escape, c)) for c in costs[1:]])}\n"
        f"<ul>{notes}</ul></div>"
    )


def page(report: Report) -> str:
    """Return a report as an HTML page."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>Derivatives of {escape(report.function)}</title></head>\n"
        f'<body style="font-family: sans-serif; max-width: 75em; margin: 2em auto;">\n'
        f"{fragment(report)}\n</body></html>\n"
    )

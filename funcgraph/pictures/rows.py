"""The rows of the table of backpropagation: steps with their arguments, sums that are gradients.

May import all layers below `pictures`.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence

import numpy as np

from funcgraph.core.origin import place_of, source_of
from funcgraph.core.primitive import Elementwise
from funcgraph.pictures.steps import Arrival, Inner, Leaf, Recording, Run, Step
from funcgraph.pictures.summary import norm_text, number, value_text
from funcgraph.pictures.table import Row, html_table, text_table
from funcgraph.pictures.words import (
    Names,
    call_text,
    local_formula,
    title_of,
)

__all__ = ["recording_html", "recording_text"]

_COLUMNS = ("step", "operation", "value ↓", "by", "local derivative", "cotangent ↑", "contribution")
_WIDTHS = 100, 140  # of the table: of numbers, of arrays
_FORMULA = 24  # the longest formula of a local derivative
_FIRST = 2  # steps of a loop that are shown before the last


def _row(step: str = "", operation: str = "", **cells: str) -> Row:
    """Return a row by the names of its columns, most of which are empty."""
    names = ("value", "by", "local", "cotangent", "contribution")
    return Row((step, operation, *(cells.get(name, "") for name in names)))


# --- steps ----------------------------------------------------------------------------------------


def _rows(run: Run, names: Names, depth: int = 0, prefix: str = "") -> Iterator[Row]:
    """Yield the rows of a run's steps, under the lines of the user's program."""
    before = ("", "")
    for step in run.steps:
        e = step.equation
        if (e.line, e.scope) != before and e.line:
            before = e.line, e.scope
            words = [place_of(e.line), f"in {e.scope}" if e.scope else "", source_of(e.line)]
            yield Row(heading="  ".join(filter(None, words)), depth=depth)
        where = f"{prefix}{step.number}"
        yield from (row._replace(depth=depth) for row in _step_rows(run, step, names, where))
        for inner in _shown(step.inner):
            if isinstance(inner, str):
                yield Row(heading=inner, depth=depth + 1)
                continue
            turn = "" if inner.iteration is None else f", iteration {inner.iteration}"
            yield Row(heading=f"{inner.name} of step {where}{turn}", depth=depth + 1)
            yield from _rows(inner.run, names.inside(inner), depth + 1, f"{where}.")


def _shown(inner: Sequence[Inner]) -> Iterator[Inner | str]:
    """Yield the runs of a loop that are shown: the first iterations and the last."""
    numbers = list(dict.fromkeys(i.iteration for i in inner if i.name != "cond"))
    left_out = numbers[_FIRST:-1]
    told = False
    for i in inner:
        if i.iteration not in left_out:
            yield i
        elif not told:
            told = True
            yield f"... {len(left_out)} more iteration{'s' * (len(left_out) > 1)} ..."


def _step_rows(run: Run, step: Step, names: Names, where: str) -> Iterator[Row]:
    """Yield a step's rows: the operation with its results, beside one row for each argument."""
    e = step.equation
    outs = [names[v] for v in e.outputs]
    labels = [f"{name}: " for name in outs] if len(outs) > 1 else [""] * len(outs)
    args = [
        (names[a], _local(step, k, names), "" if ct is None else norm_text(ct))
        for k, (a, ct) in enumerate(zip(e.inputs, step.contributions, strict=True))
        if run.varies(a)
    ]
    args = [arg for arg in args if arg[1] or arg[2]]
    pairs = zip(labels, step.cotangents, strict=True)
    back = [label + norm_text(ct) for label, ct in pairs if ct is not None]
    columns = (
        [where],
        [f"{', '.join(outs)} = {call_text(e, names.__getitem__)}"],
        [label + value_text(y) for label, y in zip(labels, step.outputs, strict=True)],
        [name for name, _, _ in args],
        [local for _, local, _ in args],
        back,
        [sent for _, _, sent in args],
    )
    for k in range(max(map(len, columns))):
        yield Row(tuple(c[k] if k < len(c) else "" for c in columns))


def _local(step: Step, place: int, names: Names) -> str:
    """Return the local derivative by an argument: the formula, and the number or norm."""
    formula = local_formula(step.equation, place, names, _FORMULA)
    value = step.local_derivative(place)
    if value is None:
        return formula
    if not isinstance(step.equation.primitive.derivative, Elementwise):
        return norm_text(value)
    array = np.asarray(value)
    if array.size and formula == number(array.flat[0]) and np.all(array == array.flat[0]):
        return formula
    return f"{formula} = {norm_text(value)}" if formula else norm_text(value)


# --- gradient -------------------------------------------------------------------------------------


def _gradient_rows(leaf: Leaf, arrivals: Sequence[Arrival]) -> Iterator[Row]:
    """Yield how the gradient of an input comes together: a column of contributions, their sum."""
    if leaf.gradient is None:
        yield _row("", leaf.name, value=f"{np.asarray(leaf.value).dtype}: no gradient")
        return
    sources = [f"step {a.step.number}" if a.step else "the result itself" for a in arrivals]
    total = f"= {value_text(leaf.gradient)}"
    if len(arrivals) < 2:
        source = f"from {sources[0]}" if sources else "the result does not depend on it"
        yield _row("", leaf.name, local=source, contribution=total)
        return
    for k, (a, source) in enumerate(zip(arrivals, sources, strict=True)):
        name, sign = ("", "+") if k else (leaf.name, " ")
        sent = f"{sign} {norm_text(a.value)}"
        yield _row("", name, local=f"from {source}", contribution=sent)
    yield _row(contribution=total)


# --- the table ------------------------------------------------------------------------------------


def _table(recording: Recording) -> list[Row]:
    run, leaves = recording.run, recording.leaves
    names = Names(run.graph, [leaf.name for leaf in leaves])
    rows = [_row("", leaf.name, value=value_text(leaf.value)) for leaf in leaves]
    rows += [Row(), *_rows(run, names), Row()]
    rows.append(Row(heading="gradient: what reaches each input on the way back, added up"))
    for leaf in leaves:
        rows += _gradient_rows(leaf, run.arrivals.get(leaf.var, []))
    return rows


def recording_text(recording: Recording) -> str:
    """Return the table of a run as text."""
    arrays = any(np.ndim(x) for x in recording.run.values.values())
    return f"{title_of(recording)}\n\n{text_table(_COLUMNS, _table(recording), _WIDTHS[arrays])}"


def recording_html(recording: Recording) -> str:
    """Return the table of a run as HTML."""
    title = html.escape(title_of(recording))
    return f"<p><b>{title}</b></p>\n{html_table(_COLUMNS, _table(recording))}"

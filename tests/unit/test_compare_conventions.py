"""`compare` at the points of docs/conventions.md: every row has the verdict that it should have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.check import conventions
from tests.unit import test_conventions as table  # needs JAX

ROOT = Path(__file__).parents[2]


def at(row: table.Row) -> Any:
    return np.asarray(row.at) if isinstance(row.at, list) else row.at


def function_of(row: table.Row) -> Any:
    return eval(f"lambda x: {row.code}", {"np": np, "nn": fg.nn})


# Steps from which no slope can be told, and functions that are smooth in spite of the name.
UNDECIDED = (
    *("np.sign", "round", "heaviside", "remainder(6", "remainder(1", "fmod(-6", "fmod(1"),
    *("sqrt", "log", "real", "imag", "prod", "median", "**", "hypot(x, 3"),
)


@pytest.mark.parametrize("row", table.KINKS, ids=lambda r: f"{r.code} at {r.at}")
def test_kinks(row) -> None:
    report = fg.compare(function_of(row), at(row), order=1, against="numeric")
    expected = "agree" if any(name in row.code for name in UNDECIDED) else "kink"
    assert report and report.verdicts == {"x": expected}, report


@pytest.mark.parametrize("row", table.FINITE[:-1], ids=lambda r: f"{r.code} at {r.at}")
def test_finite_where_jax_is_not(row) -> None:
    report = fg.compare(function_of(row), at(row), order=1, modes="rev")
    assert report and report.verdicts == {"x": "known convention"}, report
    note = report.rows[0].note
    assert note.startswith("docs/conventions.md#finite-where-jax-is-not, row `")


def test_different_from_jax() -> None:
    jax = pytest.importorskip("jax")
    row = table.DIFFERENT[0]
    report = fg.compare(function_of(row), row.at, order=1, modes="rev")
    if tuple(map(int, jax.__version__.split(".")[:2])) <= row.last:
        assert report.verdicts == {"x": "known convention"}
        assert f"docs/conventions.md#different-from-jax, row `{row.code}`" in str(report)
    else:  # JAX has mended it
        assert report.verdicts == {"x": "agree"}
    right = fg.compare(function_of(row), 2 + 1j, order=1, modes="rev", against="jax")
    assert right.verdicts == {"x": "agree"}


def test_the_rows_that_notes_name_are_in_the_document() -> None:
    text = (ROOT / conventions.PAGE).read_text("utf-8")
    named = (conventions.FINITE, conventions.UNTAKEN, conventions.DIFFERENT)
    for row in {code for rows in named for code in rows.values()}:
        assert f"| `{row}` |" in text, row
    assert "## Finite where JAX is not" in text and "## Different from JAX" in text

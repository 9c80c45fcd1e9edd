"""Programs of the NumPy engine: every primitive and public function, on some of its samples.

The readable text (`jit(f).source(...)`), and the program whose results go to planned memory, which
otherwise large arrays alone do.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.core.primitive import REGISTRY
from funcgraph.engines.numpy import program
from tests.conformance import compiled, text
from tests.conformance import test_functions as functions
from tests.conformance import test_primitives as primitives
from tests.conformance.cases import CASES
from tests.conformance.samples import SAMPLES

BY_VALUE = {*functions.SHAPE_BY_VALUE, *functions.DTYPE_BY_VALUE}


def spread(items: list[Any], most: int) -> list[Any]:
    return items[:: -(-len(items) // most)]


def chosen_cases() -> Iterator[Any]:
    for name, group in groupby(sorted(CASES, key=functions.name_of), functions.name_of):
        if name not in BY_VALUE:
            for k, case in enumerate(spread(list(group), 3)):
                yield pytest.param(case, id=f"{name}-{k}")


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_primitive(name: str) -> None:
    primitive = REGISTRY[name]
    for sample in spread(SAMPLES[name], 5):
        p = primitives.problem(primitive, sample)
        if p.positions:
            text.check(p)
            continue
        f = fg.jit(lambda *args, attrs=sample.attrs: primitive(*args, **attrs))
        got = text.load(f.source(*sample.args), "function")(*sample.args)
        with np.errstate(all="ignore"):
            text.same(got, f(*sample.args), 0)


@pytest.mark.parametrize("case", list(chosen_cases()))
def test_function(case: Any) -> None:
    text.check(functions.problem(case))


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_planned_memory(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "_SMALL", 1)
    for sample in spread(SAMPLES[name], 5):
        p = primitives.problem(REGISTRY[name], sample)
        if p.positions:
            compiled.check(p, "numpy")

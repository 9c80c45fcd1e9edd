"""A walk over the public functions of NumPy: none is forgotten, and each is what we say it is."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.core.trace import UFUNCS, Tracer
from funcgraph.errors import FuncgraphError
from funcgraph.ops.buffers import frozen
from tests.conformance import oracle
from tests.conformance.cases import CASES
from tests.conformance.samples import SAMPLES
from tests.conformance.spec import Case
from tests.conformance.test_functions import name_of, problem
from tools.numpy_coverage import (
    DERIVATIVE,
    DOCUMENT,
    PLAIN,
    REFUSED,
    Entry,
    document,
    entries,
    version,
)

ENTRIES = list(entries())
X = np.array([0.5, 1.5])


def with_status(*statuses: str) -> Any:
    chosen = [e for e in ENTRIES if e.status in statuses]
    return pytest.mark.parametrize("entry", chosen, ids=[f"{e.namespace}.{e.name}" for e in chosen])


def test_each_function_has_one_status() -> None:
    names = [(e.namespace, e.name) for e in ENTRIES]
    assert len(names) == len(set(names)) > 400


@with_status(DERIVATIVE)
def test_differentiable_functions_are_checked(entry: Entry) -> None:
    """A primitive has samples; any other function has a case whose outputs are traced."""
    primitive = UFUNCS.get(entry.function)
    if getattr(primitive, "name", None) in SAMPLES:
        return
    cases = [c for c in CASES if c.function is entry.function or name_of(c) == entry.name]
    assert cases, f"{entry.name} has no Case and no Sample"
    assert any(is_traced(c) for c in cases), f"{entry.name}: the outputs of no case are traced"


def is_traced(case: Case) -> bool:
    p, seen = problem(case), []

    def f(*xs: Any) -> Any:
        ys = p.f(*xs)
        seen.extend(isinstance(y, Tracer) for y in ys)
        return ys

    fg.vjp(f, *p.xs)
    return any(seen)


@with_status(DERIVATIVE)
def test_differentiable_functions_are_in_our_namespace(entry: Entry) -> None:
    ours = importlib.import_module(entry.namespace.replace("numpy", "funcgraph.numpy", 1))
    assert entry.name in ours.__all__ and callable(getattr(ours, entry.name))


def attempts(x: Any) -> list[tuple[Any, ...]]:
    """Return argument lists that fit one or the other function."""
    m = np.stack([x, x * x + 1.0])
    return [
        *[(x,), (m,), (x, x), (x, 1), (m, 1), (1, x), ((x, x),), (x, x, x), (x, x, 1), (x > 0, x)],
        *[([0, 0], x), ("name", x), (x, 1, x), (X, 0, x), (X, [0], x, 0), (x, [0]), (x, "D")],
        *[(2, 3, x), ([[x, x], [X, x]],)],
    ]


def results(function: Any) -> list[Any]:
    """Return what a function makes of traced arguments: values, or errors that are ours."""
    found: list[Any] = []
    fg.vjp(lambda x: (found.extend(tried(function, x)), x)[1], X)
    return found


def tried(function: Any, x: Any) -> list[Any]:
    found: list[Any] = []
    for args in attempts(x):
        if isinstance(function, np.ufunc) and len(args) != function.nin:
            continue  # the others would be outputs
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
                found.extend(oracle.parts(frozen(function(*args))))
        except FuncgraphError as error:
            found.append(error)
        except Exception:  # the arguments did not fit
            pass
    return found


@with_status(PLAIN)
def test_other_functions_give_plain_values(entry: Entry) -> None:
    found = results(entry.function)
    assert not any(isinstance(v, Tracer) for v in found), f"{entry.name} has a derivative"
    if tried(entry.function, X):  # what works for plain numbers of these types works for traced
        assert not all(isinstance(v, FuncgraphError) for v in found), f"it never works: {found}"


@with_status(REFUSED)
def test_refused_functions_say_so(entry: Entry) -> None:
    found = results(entry.function)
    errors = [v for v in found if isinstance(v, FuncgraphError)]
    assert errors, f"{entry.name} did not refuse a traced array: {found}"
    assert not any(isinstance(v, Tracer) for v in found), f"it works: {found}"
    # A function that NumPy does not hand to us fails at its first conversion to a plain array.
    dispatched = hasattr(entry.function, "_implementation") or isinstance(entry.function, np.ufunc)
    name = entry.function.__name__ if dispatched else ""
    named = [str(e) for e in errors if name in str(e)]
    assert named, f"{name} is not named: {errors[0]}"
    remedies = ("funcgraph.", "np.stack", "np.where", "np.linspace")
    assert any(word in e for e in named for word in remedies), f"no remedy is given: {named[0]}"


@with_status(DERIVATIVE, PLAIN, REFUSED)
def test_object_arrays_are_never_made(entry: Entry) -> None:
    assert not any(getattr(v, "dtype", None) == np.dtype(object) for v in results(entry.function))


def test_document_is_up_to_date() -> None:
    written = DOCUMENT.read_text("utf-8")
    if f"NumPy {version()} " not in written:
        pytest.skip("docs/numpy_coverage.md was generated with another NumPy")
    assert written == document(), "run: python3 tools/run.py exec python tools/numpy_coverage.py"

"""Every case of a public NumPy or SciPy function × every check."""

from __future__ import annotations

import importlib
import importlib.util
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
import funcgraph.numpy as fnp
from funcgraph.core.aval import dtype_of, shape_of
from funcgraph.errors import ConcretizationError
from tests.conformance import compiled, lanes, oracle, staged
from tests.conformance.cases import CASES
from tests.conformance.oracle import Problem
from tests.conformance.spec import Case

# Where a plain function, its differentiable form and JAX's are found under one name.
HOMES = [
    ("numpy", "funcgraph.numpy", "jax.numpy"),
    ("numpy.linalg", "funcgraph.numpy.linalg", "jax.numpy.linalg"),
    ("numpy.fft", "funcgraph.numpy.fft", "jax.numpy.fft"),
    ("scipy.special", "funcgraph.scipy.special", "jax.scipy.special"),
    ("scipy.linalg", "funcgraph.scipy.linalg", "jax.scipy.linalg"),
]
JAX_CASES = 2  # of each function, in the usual run


def name_of(case: Case) -> str:
    return getattr(case.function, "__name__", "anonymous").strip("<>")


def counterpart(case: Case, column: int) -> Callable[..., Any] | None:
    """Return the function of the same name in another column of HOMES, if the case's has one."""
    name = name_of(case)
    for row in HOMES:
        try:
            home, other = importlib.import_module(row[0]), importlib.import_module(row[column])
        except ImportError:
            continue
        if getattr(home, name, None) is case.function:
            return getattr(other, name, None)
    return None


def ours(case: Case) -> Callable[..., Any]:
    """Return the function of funcgraph that the case is about; a lambda stands for itself."""
    return case.fnp or counterpart(case, 1) or case.function


def jax_call(case: Case) -> Callable[..., Any] | None:
    """Return JAX's function, None if there is none to compare with."""
    if case.jax is False or not importlib.util.find_spec("jax"):
        return None
    if isinstance(case.jax, str):
        module, _, name = case.jax.rpartition(".")
        return getattr(importlib.import_module(module), name)
    return counterpart(case, 2) or case.fnp


def positions(case: Case) -> tuple[int, ...]:
    if case.diff is not None:
        return case.diff
    kinds = [{dtype_of(v).kind for v in oracle.parts(a)} for a in case.args]
    return tuple(k for k, kind in enumerate(kinds) if kind and kind <= {"f", "c"})


def problem(case: Case, call: Callable[..., Any] | None = None) -> Problem:
    return Problem(call or ours(case), case.args, positions(case), case.kwargs, case.tol)


def plain(case: Case) -> None:
    """On plain arrays funcgraph.numpy is NumPy."""
    actual, expected = [f(*case.args, **case.kwargs) for f in (ours(case), case.function)]
    assert type(actual) is type(expected)
    for a, e in zip(oracle.parts(actual), oracle.parts(expected), strict=True):
        assert dtype_of(a) == dtype_of(e)
        # Not exactly: some loops of NumPy sum in an order that depends on the memory's alignment.
        np.testing.assert_allclose(a, e, rtol=1e-14, atol=1e-15)


def value(case: Case) -> None:
    """Traced, the function of funcgraph and NumPy's own give NumPy's value, shape and dtype."""
    expected = problem(case, case.function).f(*problem(case).xs)
    for call in (ours(case), case.function):
        p = problem(case, call)
        actual = fg.vjp(p.f, *p.xs)[0]
        for a, e in zip(actual, expected, strict=True):
            assert (shape_of(a), dtype_of(a)) == (shape_of(e), dtype_of(e))
            np.testing.assert_allclose(a, e, rtol=1e-11, atol=1e-12)


# The shape of their result, or whether it is complex, depends on values, which vmap hides.
SHAPE_BY_VALUE = [
    "intersect1d",
    "setdiff1d",
    "setxor1d",
    "union1d",
    "unique",
    "unique_all",
    "unique_counts",
    "unique_inverse",
    "unique_values",
    "trim_zeros",
]
DTYPE_BY_VALUE = [
    "eig",
    "eigvals",
    "poly",
    "roots",
    "rebuilt_eig",
    "real_if_close",
    "polydiv",
    "polymul",
]


def batched(case: Case) -> None:
    """vmap gives the values and derivatives of each lane, or says why it cannot."""
    p = problem(case)
    if name_of(case) in SHAPE_BY_VALUE:
        with pytest.raises(ConcretizationError, match="another value in every lane"):
            lanes.batch_derivative(p)
    elif name_of(case) in DTYPE_BY_VALUE:
        lanes.batch_value(p)
    else:
        lanes.batch_derivative(p)


def in_graph(case: Case) -> None:
    """Values and derivatives can be staged, or the error says why not."""
    p = problem(case)
    if name_of(case) in SHAPE_BY_VALUE:
        with pytest.raises(ConcretizationError, match="no value yet"):
            staged.values(p)
    elif name_of(case) not in DTYPE_BY_VALUE:
        staged.values(p)
        staged.derivatives(p)
        compiled.check(p, "numpy")


CHECKS = {
    "plain": plain,
    "value": value,
    "forward": lambda case: oracle.check_forward(problem(case)),
    "adjoint": lambda case: oracle.check_adjoint(problem(case)),
    "second": lambda case: oracle.check_second(problem(case)),
    "single": lambda case: oracle.check_precision(problem(case), "single"),
    "lanes": lambda case: batched(case),
    "staged": lambda case: in_graph(case),
    "jax": lambda case: oracle.check_jax(problem(case), jax_call(case)),
}


@cache
def table() -> list[Any]:
    """Return one parameter set per case and check, with readable, stable names.

    JAX compiles for a tenth of a second or more in each case: where a function has many cases,
    only some, spread over them, are compared with it unless the slow checks are asked for.
    """
    total, seen = Counter(map(name_of, CASES)), Counter[str]()
    rows = []
    for case in CASES:
        name = name_of(case)
        number, seen[name] = seen[name], seen[name] + 1
        slow = number % -(-total[name] // JAX_CASES) != 0
        for check in CHECKS:
            if check == "second" and case.order < 2:
                continue
            if check == "jax" and jax_call(case) is None:
                continue
            marks = [pytest.mark.slow] if slow and check == "jax" else []
            rows.append(pytest.param(case, check, id=f"{name}-{number}-{check}", marks=marks))
    return rows


@pytest.mark.parametrize(("case", "check"), table())
def test_function(case: Case, check: str) -> None:
    CHECKS[check](case)


def test_namespaces_are_numpys() -> None:
    """funcgraph.numpy has a function for each name it exports, as NumPy calls it."""
    for home, ours_, _ in HOMES[:3]:
        theirs, mine = importlib.import_module(home), importlib.import_module(ours_)
        unknown = {n for n in mine.__all__ if not hasattr(theirs, n)}
        assert not unknown, f"{ours_} exports names that {home} has not: {unknown}"
    assert fnp.linalg is importlib.import_module("funcgraph.numpy.linalg")

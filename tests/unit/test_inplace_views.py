"""Views of arrays that are written: of every NumPy function, and in random programs."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import funcgraph as fg
import funcgraph.numpy as fnp
from funcgraph.errors import (
    InPlaceWriteError,
)
from funcgraph.ops.buffers import Buffer, Mutable, frozen
from tests.conformance import cases
from tests.conformance.collect import tables

X = np.array([0.3, -0.4, 0.5, 0.9])

# --- every NumPy function: what shares memory there, shares contents here -------------------------

CASES = [c for table in tables("tests.conformance.cases", cases.__path__, "CASES") for c in table]


def arrays_in(x: Any) -> list[Any]:
    if isinstance(x, np.ndarray):
        return [x]
    return [a for v in x for a in arrays_in(v)] if isinstance(x, list | tuple) else []


@pytest.mark.parametrize("traced", [True, False])
def test_results_share_memory_where_those_of_numpy_do(traced: bool) -> None:
    wrong: list[Any] = []

    def check(z: Any, case: Any, plain: Any) -> None:
        made: list[Any] = []

        def writable(x: Any) -> Any:
            if isinstance(x, np.ndarray) and x.dtype.kind in "fc":
                made.append(fnp.copy(x + 0 * z if traced else x))
                return made[-1]
            return type(x)(map(writable, x)) if type(x) in (list, tuple) else x

        ours = case.function(*writable(case.args), **case.kwargs)
        given = arrays_in(case.args)
        for p, y in zip(fg.tree.leaves(plain), fg.tree.leaves(ours), strict=True):
            shares = any(np.may_share_memory(p, a) for a in given) or np.size(p) == 0
            own = isinstance(y, Buffer) and not any(y is b for b in made)
            if shares and np.size(p) and (own or not isinstance(y, Mutable)):
                wrong.append((case.function.__name__, "NumPy gives a view"))
            # (reshape and ravel copy or not by the layout in memory, of which we know nothing.)
            by_layout = case.function.__name__ in ("reshape", "ravel")
            if not shares and not own and isinstance(y, Mutable) and not by_layout:
                wrong.append((case.function.__name__, "NumPy gives a copy"))

    def run(z: Any) -> Any:
        for case, plain in zip(CASES, results, strict=True):
            check(z, case, plain)
        return z

    with warnings.catch_warnings(action="ignore"):
        results = [case.function(*case.args, **case.kwargs) for case in CASES]
        fg.vjp(run, 1.0)
    assert not wrong


# --- random programs ------------------------------------------------------------------------------

SHAPE = (3, 4)
INDICES: list[Any] = [
    0, -1, (1, 2), slice(1, None), slice(None, None, -1), (slice(None), 1),
    (slice(0, 2), slice(1, 3)), (..., 0), None, (slice(None), None), ..., [0, 0],
    (np.array([0, 1]), np.array([1, 1])), True, np.array(1),
]  # fmt: skip
OTHER_VIEWS = {
    "T": lambda v: v.T,
    "ravel": lambda v: v.reshape(-1),
    "flip": np.flip,
    "copy": lambda v: v.copy(),
    "flatten": lambda v: v.flatten(),
    "double": lambda v: v * 2,
    "roll": lambda v: np.roll(v, 0, 0) if v.ndim else v,
    "diagonal": lambda v: np.diagonal(v) if v.ndim == 2 else v,
    "asarray": lambda v: fnp.asarray(v),
    "sum": lambda v: np.sum(v, axis=0) if v.ndim else v,
}
OPERATORS = {
    "+=": operator.iadd,
    "-=": operator.isub,
    "*=": operator.imul,
    "/=": lambda a, b: operator.itruediv(a, np.abs(b) + 1),
}
NEW = {
    "+=": operator.add,
    "-=": operator.sub,
    "*=": operator.mul,
    "/=": lambda a, b: a / (np.abs(b) + 1),
}
STEP = st.one_of(
    st.tuples(st.just("view"), st.integers(0, 9), st.integers(0, len(INDICES) - 1)),
    st.tuples(st.just("other"), st.integers(0, 9), st.sampled_from(list(OTHER_VIEWS))),
    st.tuples(
        st.just("set"), st.integers(0, 9), st.integers(0, len(INDICES) - 1), st.integers(0, 9)
    ),
    st.tuples(
        st.just("op"), st.integers(0, 9), st.sampled_from(list(OPERATORS)), st.integers(0, 9)
    ),
    st.tuples(
        st.just("part op"),
        st.integers(0, 9),
        st.integers(0, len(INDICES) - 1),
        st.sampled_from(list(OPERATORS)),
        st.integers(0, 3),
    ),
    st.tuples(st.just("ufunc"), st.integers(0, 9), st.integers(0, 9)),
    st.tuples(st.just("sort"), st.integers(0, 9)),
)


def perform(x: Any, steps: list[Any], make: Callable[[Any], Any]) -> Any:
    """Run a random program; a step that NumPy refuses is left out.

    Results of operations are no arrays that can be written: `y += v` gives them a new value.
    """
    names = [make(x)]
    results = {0: False}

    def name(k: int) -> Any:
        return names[k % len(names)]

    def keep(v: Any, is_result: bool) -> None:
        results[len(names)] = is_result
        names.append(v)

    for what, k, *rest in steps:
        v, result = name(k), results[k % len(names)]
        try:
            if what == "view":
                keep(v[INDICES[rest[0]]], result)
            elif what == "other":
                copied = rest[0] in ("copy", "flatten")
                computed = rest[0] in ("double", "roll", "sum")
                keep(OTHER_VIEWS[rest[0]](v), computed or (result and not copied))
            elif what == "set":
                v[INDICES[rest[0]]] = name(rest[1]) if rest[1] > 3 else x[rest[1]] * 2
            elif what == "op":
                w = name(rest[1]) if rest[1] > 3 else x[rest[1]]
                names[k % len(names)] = (NEW if result else OPERATORS)[rest[0]](v, w)
            elif what == "part op":
                v[INDICES[rest[0]]] = OPERATORS[rest[1]](v[INDICES[rest[0]]], x[rest[2]])
            elif what == "ufunc":
                np.add(v, np.sin(name(rest[0])), out=v)
            elif what == "sort":
                v.sort()
        except InPlaceWriteError:
            raise
        except (ValueError, IndexError, TypeError, AttributeError):
            continue
    return sum(np.sum(v * (k + 1.5)) for k, v in enumerate(names))


def differences(f: Any, x: np.ndarray, h: float = 1e-6) -> np.ndarray:
    return np.stack([(f(x + h * e) - f(x - h * e)) / (2 * h) for e in np.eye(x.size)], axis=-1)


@given(st.lists(STEP, max_size=7))
def test_random_programs_give_numpys_numbers_or_an_error(steps: list[Any]) -> None:
    shift = np.arange(12.0).reshape(SHAPE) * 0.37
    plain = lambda x: perform(x, steps, lambda x: np.sin(x[0] * shift + x[1]))
    traced = lambda x: perform(x, steps, lambda x: fnp.copy(np.sin(x[0] * shift + x[1])))
    with np.errstate(all="ignore"):
        expected = plain(X)
        try:
            value, gradient = fg.value_and_grad(traced)(X)
        except InPlaceWriteError:
            return
        np.testing.assert_allclose(value, expected, rtol=1e-10, atol=1e-10)
        if np.isfinite(expected) and abs(expected) < 1e4:
            near, far = differences(plain, X, 1e-6), differences(plain, X, 2e-6)
            if np.allclose(near, far, rtol=1e-5, atol=1e-5):  # away from kinks of sort
                np.testing.assert_allclose(gradient, near, rtol=1e-3, atol=1e-4)
    assert frozen(value) is value


@pytest.mark.parametrize("part", [np.s_[::-1], np.s_[::2], np.s_[1:]])
def test_a_part_that_is_ravelled_is_not_written(part: Any) -> None:
    """NumPy gives a copy or a view, by how the part lies in memory."""

    def f(x: Any) -> Any:
        b = x.copy()
        np.ravel(b[part])[0] = 5.0
        return b

    assert fg.jit(lambda x: x.copy()[part].ravel())(np.arange(4.0)).tolist() == list(
        np.arange(4.0)[part]
    )
    with pytest.raises(InPlaceWriteError, match="Write into the array itself"):
        fg.jit(f)(np.arange(4.0))

"""Shorter ways through NumPy for small arrays: when they are taken, and that the numbers stay."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.core.hoist import hoist
from funcgraph.core.simplify import simplify
from funcgraph.engines.numpy.around import around
from funcgraph.engines.numpy.program import Program
from funcgraph.engines.numpy.small import with_names

RNG = np.random.default_rng(0)


def text(f: Any, *args: Any) -> str:
    return Program(simplify(fg.make_graph(f)(*args))).text


AXES = [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2), (0, 1, 2)]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("axes", AXES)
def test_sums_are_products_with_ones(axes: tuple[int, ...], dtype: Any) -> None:
    x = RNG.standard_normal((4, 5, 6)).astype(dtype)
    f = lambda x: np.sum(x, axes)
    assert (".dot(" in text(f, x)) == (axes not in ((1,), (0, 2)))
    for g in (f, lambda x: f(np.sin(x).transpose(2, 0, 1)), lambda x: f(x[:, ::-2])):
        got, wanted = fg.jit(g)(x), g(x)
        assert got.dtype == dtype
        np.testing.assert_allclose(got, wanted, atol=1e-13 if dtype == np.float64 else 1e-5)


@pytest.mark.parametrize("shape", [(3,), (0,), (4, 0), (0, 4), (2000,)])
def test_sums_of_few_of_none_and_of_many(shape: tuple[int, ...]) -> None:
    x = RNG.standard_normal(shape)
    for axis in (None, 0, -1):
        f = lambda x, axis=axis: np.sum(x, axis)
        np.testing.assert_allclose(fg.jit(f)(x), f(x), rtol=1e-13, atol=1e-13)
    assert (".dot(" in text(np.sum, x)) == (shape == (3,))


def test_sums_of_what_is_not_finite() -> None:
    x = np.array([[1.0, np.inf, 2.0], [np.nan, 1.0, 0.0], [np.inf, -np.inf, 3.0]])
    for axis in (0, 1):
        f = lambda x, axis=axis: np.sum(x, axis)
        with np.errstate(invalid="ignore"):
            np.testing.assert_array_equal(fg.jit(f)(x), f(x))


def test_names_of_functions() -> None:
    space: dict[str, Any] = {}
    found = with_names("a = np.add.reduce(np.exp(np_x), axis=0)", space)
    assert found == "a = np_add_reduce(np_exp(np_x), axis=0)"
    assert space["np_exp"] is np.exp
    assert space["np_add_reduce"](np.arange(3)) == 3


def test_numbers_are_arrays_for_ufuncs() -> None:
    """A number that NumPy has computed is copied once to an array without axes."""

    def f(x: Any, y: Any, s: Any) -> Any:
        total = np.sum(x)
        return x / total + y * total, total * s, s - x, (x > total) * 1.0

    x, y = RNG.standard_normal((2, 7))
    found = text(f, x, y, np.float64(2.0))
    assert found.count("[()] = ") == 2
    for dtype in (np.float64, np.float32):
        args = x.astype(dtype), y.astype(dtype), dtype(2.0)
        for got, wanted in zip(fg.jit(f)(*args), f(*args), strict=True):
            assert got.dtype == wanted.dtype
            assert got.shape == wanted.shape
            np.testing.assert_allclose(got, wanted, rtol=1e-12 if dtype == np.float64 else 1e-4)
    mixed = x.astype(np.float32), y, np.float64(2.0)
    assert [z.dtype for z in fg.jit(f)(*mixed)] == [z.dtype for z in f(*mixed)]


def test_numbers_of_steps_are_arrays_for_ufuncs() -> None:
    """Collected numbers are those of each step, and signs go to what is known before the loop."""

    def f(w: Any, xs: Any) -> Any:
        def step(h: Any, row: Any) -> Any:
            h = (h @ w) * row
            total = np.sum(h)
            return h / total, total

        h, totals = fg.scan(step, np.ones(20), xs)
        return np.sum(h * np.arange(20)) - np.sum(np.log(totals))

    w, xs = np.abs(RNG.standard_normal((20, 20))), np.abs(RNG.standard_normal((30, 20)))
    g = fg.value_and_grad(f, (0, 1))
    value, wanted = g(w, xs)
    graph = around(hoist(simplify(fg.make_graph(g)(w, xs))))
    loops = [e.attrs["body"] for e in graph.equations if e.primitive.name == "scan"]
    assert len(loops) == 2
    assert all(e.primitive.name != "negative" for loop in loops for e in loop.equations)
    for compiled in [fg.jit(g)] * 2:
        got, grads = compiled(w, xs)
        np.testing.assert_allclose(got, value, rtol=1e-12)
        for a, b in zip(grads, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_sums_over_no_axes() -> None:
    x = RNG.standard_normal((3, 4))
    f = lambda x: np.exp(np.sum(np.sin(x), axis=()))
    np.testing.assert_allclose(fg.jit(f)(x), f(x), rtol=1e-14)


# --- results that are written where they are read -------------------------------------------------


def test_tiny_results_are_written_where_they_are_read() -> None:
    """Once, by another ufunc: the others, outputs among them, have names."""

    def f(x: Any) -> Any:
        y = np.sin(x) * x + 0.5
        z = np.maximum(y * y - x, 0.5 - x / y)
        return z, np.sum(np.exp(z) * 2), np.exp(x) @ (x - 1)

    x = RNG.standard_normal(10)
    found = text(f, x)
    assert "(np.sin(v_a) * v_a) + k_" in found
    assert found.count(" = ") == 8  # x; y; z; exp(z) * 2, its sum; exp(x), x - 1, product
    for got, wanted in zip(fg.jit(f)(x), f(x), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-14)
    assert "(np.sin" not in text(lambda x: np.sin(x) * x + 0.5, np.ones(1000))


def test_how_deep_results_are_written_into_each_other() -> None:
    def f(x: Any) -> Any:
        for _ in range(150):
            x = 1.0 - x * 0.5
        return x

    x = RNG.standard_normal(10)
    assert 10 < text(f, x).count("\n") < 30
    np.testing.assert_array_equal(fg.jit(f)(x), f(x))


def test_what_is_computed_later_reads_what_it_would_have_read() -> None:
    """Rows are added to a table in the memory of a donated one, which was read before."""

    def f(table: Any, rows: Any, x: Any) -> Any:
        y = np.exp(table)  # read behind the addition
        z = fg.at(table)[np.array([0, 2, 2, 1] * 3)].add(rows)
        return z, (y + z[0, 0]) * x

    table, rows, x = (RNG.standard_normal(s) for s in ((3, 4), (12, 4), (3, 4)))
    wanted = f(table, rows, x)
    step = fg.jit(f, donate_argnums=0)
    for _ in range(3):
        for got, right in zip(step(table.copy(), rows, x), wanted, strict=True):
            np.testing.assert_allclose(got, right, rtol=1e-14)


def test_numbers_have_one_array_each() -> None:
    f = lambda x: (x + 0.5) * np.cos(x + 0.5 * x) * (x - 0.0) + (x * -0.0 + 1)
    x = RNG.standard_normal(10)
    found = text(f, x)
    assert len(set(re.findall(r"\bk_\d+", found))) == 3  # 0.5, -0.0 and 1
    np.testing.assert_allclose(fg.jit(f)(x), f(x), rtol=1e-14)

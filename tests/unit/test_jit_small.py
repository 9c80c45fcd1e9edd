"""Shorter ways through NumPy for small arrays: when they are taken, and that the numbers stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.core.simplify import simplify
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

"""Large products of matrices in programs of NumPy: one call of the BLAS for all rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.core.simplify import simplify
from funcgraph.engines.numpy.program import Program

RNG = np.random.default_rng(0)


def text(f: Any, *args: Any) -> str:
    return Program(simplify(fg.make_graph(f)(*args))).text


def turned(x: Any, w: Any) -> Any:
    return np.transpose(x, (1, 0, 2)) @ w


@pytest.mark.parametrize("shape", [(8, 40, 30), (2, 4, 40, 30), (8, 40, 0), (0, 40, 30)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rows_of_stacks_are_joined(shape: tuple[int, ...], dtype: Any) -> None:
    x, w = RNG.standard_normal(shape).astype(dtype), RNG.standard_normal((shape[-1], 50))
    f = lambda x, w: np.exp(x @ w)
    for args in ((x, w.astype(dtype)), (x, w)):
        assert (".reshape(-1, 30)" in text(f, *args)) == (0 not in shape)
        got, wanted = fg.jit(f)(*args), f(*args)
        assert got.dtype == wanted.dtype
        np.testing.assert_allclose(got, wanted, rtol=1e-4 if dtype == np.float32 else 1e-12)


def test_products_that_stay() -> None:
    x, w, stack = (RNG.standard_normal(s) for s in ((8, 40, 30), (30, 50), (8, 30, 50)))
    for f, b in ((turned, w), (np.matmul, stack), (lambda x, w: x[0] @ w, w)):
        assert "reshape(-1, 30)" not in text(f, x, b)
        np.testing.assert_allclose(fg.jit(f)(x, b), f(x, b), rtol=1e-12)


def test_arguments_whose_elements_do_not_lie_side_by_side() -> None:
    x = RNG.standard_normal((40, 8, 60)).transpose(1, 0, 2)[:, :, ::2]
    w = RNG.standard_normal((50, 30)).T
    np.testing.assert_allclose(fg.jit(np.matmul)(x, w), x @ w, rtol=1e-12)
    g = fg.value_and_grad(lambda x, w: np.sum(np.tanh(x @ w) ** 2), (0, 1))
    for a, b in zip(fg.tree.leaves(fg.jit(g)(x, w)), fg.tree.leaves(g(x, w)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)

"""Arrays with a short last axis, whose axes are put in another order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.core.simplify import simplify
from funcgraph.engines.numpy.program import Program

RNG = np.random.default_rng(0)


def shapes(f: Any, *args: Any) -> set[tuple[int, ...]]:
    """Return the shapes of all that a program computes."""
    graph = Program(simplify(fg.make_graph(f)(*args))).graph
    return {v.aval.shape for e in graph.equations for v in e.outputs}


def energy(x: Any, masses: Any) -> Any:
    difference = x[:, None] - x[None]
    squares = np.sum(difference * difference, axis=-1) + 0.1
    return np.sum(masses[:, None] * masses / np.sqrt(squares))


def turned(x: Any, y: Any) -> Any:
    """Scale by a vector, a matrix and a number; the sums are over each axis, and some."""
    z = np.exp(-((x[:, None] * y - 2 * x) ** 2)) * np.sum(x, 1)[:, None]
    return [np.sum(z, axis) for axis in (0, 1, 2, (0, 1), (0, 2), (1, 2), None)]


@pytest.mark.parametrize("n", [9, 40, 150])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_pairs_of_points(n: int, dtype: Any) -> None:
    x, masses = RNG.standard_normal((n, 3)).astype(dtype), np.ones(n, dtype)
    tolerance = 1e-10 if dtype == np.float64 else 2e-3
    for f in (energy, fg.value_and_grad(energy, (0, 1))):
        found = shapes(f, x, masses)
        assert (n, n, 3) not in found
        assert ((3, n, n) if n < 100 else (n, 3, n)) in found
        compiled, wanted = fg.jit(f), fg.tree.leaves(f(x, masses))
        for got in (compiled(x, masses), compiled(x, masses)):
            for a, b in zip(fg.tree.leaves(got), wanted, strict=True):
                assert np.asarray(a).dtype == dtype
                np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("n", [8, 200])
def test_sums_over_every_axis(n: int) -> None:
    x, y = RNG.standard_normal((n, 4)), RNG.standard_normal(4)
    f = lambda x, y: turned(x[:, :] * 0.1, y)
    assert (n, n, 4) not in shapes(f, x, y)
    for got, wanted in zip(fg.jit(f)(x, y), f(x, y), strict=True):
        assert np.shape(got) == np.shape(wanted)
        np.testing.assert_allclose(got, wanted, rtol=1e-10, atol=1e-12)


def test_more_axes() -> None:
    """Stacks of sets of points."""
    x = RNG.standard_normal((2, 12, 2))
    g = fg.grad(lambda x: np.sum(np.sum((x[:, :, None] - x[:, None]) ** 2, -1) ** 2))
    assert (2, 2, 12, 12) in shapes(g, x)
    np.testing.assert_allclose(fg.jit(g)(x), g(x), rtol=1e-10)
    batched = fg.vmap(fg.grad(lambda x: energy(x, np.ones(12))))
    np.testing.assert_allclose(fg.jit(batched)(x), batched(x), rtol=1e-10)


def test_what_stays() -> None:
    """Arrays that are handed out, that are arguments, or that others read."""
    x = RNG.standard_normal((20, 3))
    whole = RNG.standard_normal((20, 20, 3))
    stay = {
        "result": lambda x: x[:, None] - x[None],
        "argument": lambda x: np.sum((x[:, None] - whole) ** 2, -1),
        "read": lambda x: np.sort(np.exp(x[:, None] - x[None]), 0)[0],
    }
    for f in stay.values():
        assert (20, 20, 3) in shapes(f, x)
        np.testing.assert_allclose(fg.jit(f)(x), f(x), rtol=1e-12, atol=1e-12)

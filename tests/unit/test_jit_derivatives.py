"""Compiled derivatives that are not finite: where programs look, and what they write after that."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.engines.numpy.compile import compile_graph
from funcgraph.transforms.arguments import all_finite

BIG = np.linspace(0.0, 1.0, 40_000).reshape(200, 200)  # its first element is singular for root


def root(x: Any) -> Any:
    return np.sum(np.where(x > 0, np.sqrt(x), 0.0))


def adam(state: Any, x: Any) -> Any:
    w, m, v, count = state
    value, g = fg.value_and_grad(lambda w: root(w * x))(w)
    m, v, count = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * (g * g), count + 1
    return (w - 0.1 * m / (np.sqrt(v / (1 - 0.99**count)) + 1e-8), m, v, count), value


def state() -> Any:
    return BIG + 0, BIG + 1, BIG + 2, np.float64(3.0)


def same(got: Any, wanted: Any) -> None:
    for g, w in zip(fg.tree.leaves(got), fg.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-12, atol=1e-12)


PROGRAMS: dict[str, Any] = {
    "gradient is the argument": lambda x: fg.grad(lambda x: 0.5 * np.sum(x * x))(x),
    "gradient turned and turned back": lambda x: fg.grad(lambda y: root(y.T))(x.T).T,
    "in a loop": lambda x: fg.fori_loop(0, 2, lambda _, x: x + fg.grad(root)(x), x),
    "in a branch": lambda x: fg.cond(x[1, 1] > 0, fg.grad(root), lambda x: x, x),
    "in a batch": fg.vmap(fg.grad(root)),
    "forward": lambda x: fg.jvp(root, (x,), (np.ones_like(x),))[1],
    "linearized": lambda x: fg.linearize(root, x)[1](np.ones_like(x)),
    "checkpoint": fg.grad(fg.checkpoint(root)),
    "second": lambda x: fg.jvp(fg.grad(lambda x: root(x) ** 2), (x,), (0 * x,))[1],
    "one of two": lambda x: fg.grad(lambda x, y: root(x) + np.sum(y), (0, 1))(x, x)[1],
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_they_are_finite_where_eager_ones_are(name: str) -> None:
    wanted = PROGRAMS[name](BIG)
    assert np.isfinite(wanted).all()
    same(fg.jit(PROGRAMS[name])(BIG), wanted)


def test_what_is_donated_is_not_written_before() -> None:
    step = fg.jit(adam, donate_argnums=0)
    same(step(state(), BIG), adam(state(), BIG))  # its second run starts from the same state
    assert step.cache_info().misses == 2
    same(step(state(), BIG + 1), adam(state(), BIG + 1))
    assert step.cache_info().misses == 2


def test_all_of_an_optimizer_is_updated_in_place() -> None:
    step = fg.jit(adam, donate_argnums=0)
    given = (*(a + 1 for a in state()[:3]), np.float64(3.0))
    wanted = adam(given, BIG + 1)
    got = step(given, BIG + 1)
    same(got, wanted)
    for a, b in zip(got[0][:3], given[:3], strict=True):
        assert np.shares_memory(a, b)


def test_what_nobody_reads_is_not_computed_to_be_looked_at() -> None:
    def f(w: Any, x: Any) -> Any:
        return fg.grad(lambda w, x: np.sum(np.sqrt(x @ w)), (0, 1))(w, x)[0]

    compiled = fg.jit(f)
    x = np.array([[0.0, 0.0], [1.0, 2.0]])  # the derivative by the first row of x is infinite
    assert str(compiled.graph(np.ones(2), x)).count("matmul") == 2
    compiled(np.ones(2), x + 1)
    assert compiled.cache_info().misses == 1


def test_infinities_that_are_no_derivatives_are_not_looked_at() -> None:
    step = fg.jit(lambda x: (fg.grad(lambda x: np.sum(x * x))(x), 1 / x))
    np.testing.assert_array_equal(step(np.zeros(3))[1], np.full(3, np.inf))
    assert step.cache_info().misses == 1


@pytest.mark.parametrize("budget", [None, 10**9])
def test_what_is_looked_at_is_not_written_over_before(budget: int | None) -> None:
    """In a chain, programs look at its end."""

    def f(x: Any, y: Any) -> Any:
        v = np.where(x > 0, x, y)
        return np.where(x < 1, v, 0.0)

    x, y = np.full((2, 70_000), 2.0), np.ones((2, 70_000))
    graph = fg.make_graph(f)(x, y)
    v = next(e.outputs[0] for e in graph.equations if e.primitive.name == "where")
    program = compile_graph(
        graph, finite=all_finite, derivatives=(v, *graph.outputs), memory_budget=budget
    )
    assert program(x, y) is not None
    x[0, 0] = np.inf  # in v, but not in the result
    assert program(x, y) is None

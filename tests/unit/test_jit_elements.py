"""Long elementwise programs of a few numbers: a loop over the elements, on Python's floats."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.check import compare
from funcgraph.core.graph import Graph
from funcgraph.engines.numpy.elements import by_elements

RNG = np.random.default_rng(0)


def chain(x: Any, y: Any = 0.5, times: int = 10) -> Any:
    for _ in range(times):
        x = np.tanh(x * np.sin(x) + y) - np.maximum(x, 0.1) / 3
        x = np.where(np.logical_and(x > 0.2, x != 1), np.abs(x), x * (x < -0.1) + 0.3)
    return x


def total(x: Any, y: Any = 0.5) -> Any:
    return np.sum(chain(x, y) * chain(y * x, 1.0))


def mixed(x: Any, y: Any) -> Any:
    """Sums in between, of which the second chain is made; a number, and an array, from outside."""
    z = chain(x, y[0])
    return np.sum(z) * np.sum(chain(z * np.mean(z), x) + y)


def loops(graph: Graph) -> list[Any]:
    return [e for e in by_elements(graph.simplify()).equations if e.primitive.name == "scan"]


@pytest.mark.parametrize("n", [2, 10])
@pytest.mark.parametrize("f", [total, mixed])
def test_values_and_derivatives(f: Any, n: int) -> None:
    x, y = RNG.standard_normal((2, n))
    transforms = (
        lambda f: f,
        lambda f: fg.value_and_grad(f, (0, 1)),
        lambda f: fg.grad(lambda x, y: np.sum(fg.grad(f)(x, y) * np.cos(x))),
        lambda f: lambda x, y: fg.jvp(f, (x, y), (y, x)),
        lambda f: lambda x, y: fg.vmap(f)(np.stack([x, y]), np.stack([y, x])),
    )
    for transform in transforms:
        g = transform(f)
        compiled = fg.jit(g)
        wanted = fg.tree.leaves(g(x, y))
        for _ in range(4):
            for a, b in zip(fg.tree.leaves(compiled(x, y)), wanted, strict=True):
                assert (a.dtype, np.shape(a)) == (b.dtype, np.shape(b))
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_against_jax_and_differences() -> None:
    x, y = RNG.standard_normal((2, 4))
    compare(fg.jit(lambda x, y: total(x, y)), x, y, argnums=(0, 1), order=1)


def test_where_it_pays() -> None:
    graph = fg.make_graph(fg.value_and_grad(total))(np.ones(10))
    (loop,) = loops(graph)
    assert loop.attrs["length"] == 10
    assert len(loop.attrs["body"].equations) > 300
    by_elements(graph.simplify()).check()
    for x in (np.ones(16), np.ones(1), np.ones((5, 2)), np.ones(10, np.float32), np.ones(10) + 0j):
        if x.dtype.kind != "c":
            assert not loops(fg.make_graph(total)(x))
    assert not loops(fg.make_graph(lambda x: np.sum(chain(x, times=3)))(np.ones(10)))


def test_what_reads_a_sum_of_the_loop_comes_behind_it() -> None:
    graph = by_elements(fg.make_graph(mixed)(np.ones(8), np.ones(8)).simplify())
    graph.check()
    names = [e.primitive.name for e in graph.equations]
    assert names.count("scan") == 1
    assert names.index("scan") < names.index("reduce_sum")


def test_what_python_refuses_is_computed_over_arrays() -> None:
    """Division by zero, overflow, roots of negative numbers; then finite numbers again."""

    def f(x: Any) -> Any:
        for _ in range(40):
            x = np.sqrt(x) / x + np.exp(x) - np.log(x)
        return x

    compiled, gradient = fg.jit(f), fg.jit(fg.grad(lambda x: np.sum(f(x))))
    bad = np.array([1.0, 0.0, -1.0, np.inf, np.nan, 800.0])
    for x in (bad, np.linspace(0.2, 0.7, 6), bad):
        with np.errstate(all="ignore"):
            np.testing.assert_allclose(compiled(x), f(x), rtol=1e-12)
            wanted = fg.grad(lambda x: np.sum(f(x)))(x)
            np.testing.assert_allclose(gradient(x), wanted, rtol=1e-9)


def test_results_are_new_and_donated_arguments_may_be_taken() -> None:
    step = fg.jit(lambda p, g: (chain(p, g), chain(g, p)), donate_argnums=0)
    p, g = RNG.standard_normal((2, 6))
    wanted = chain(p, g), chain(g, p)
    first = step(p.copy(), g)
    second = step(p.copy(), g)
    for a, b, c in zip(first, second, wanted, strict=True):
        assert not np.shares_memory(a, b)
        np.testing.assert_allclose(a, c, rtol=1e-12)
        np.testing.assert_array_equal(a, b)

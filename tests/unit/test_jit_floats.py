"""Programs of few numbers on the NumPy engine: over floats of Python, and when over arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.engines.numpy import compile
from funcgraph.engines.numpy.floats import float_program
from funcgraph.engines.numpy.loops import only_rows
from funcgraph.engines.numpy.rewrite import rewrite

X = np.array([0.3, -1.2, 0.0, 2.5])


def rosenbrock(x: Any) -> Any:
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def mixed(x: Any, n: Any, flag: Any) -> Any:
    """Results of all kinds: arrays of numbers and of truth values, of two axes and of none."""
    y = np.where(flag, np.tanh(x) * n, np.abs(x) ** 1.5) + np.maximum(x, 0) / (n * 0.5 + 4)
    table = np.stack([y, -y, y * y])
    return table, table.T, y > 0.1, y[0], y[1] < n, 3, table @ x, n, x[:0]


PROGRAMS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "number": (fg.value_and_grad(lambda x: np.sin(x) * np.exp(-x)), (np.array(0.7),)),
    "Python's number": (fg.value_and_grad(lambda x: np.sin(x) * 2.0), (0.7,)),
    "gradient": (fg.value_and_grad(rosenbrock), (X,)),
    "Hessian": (fg.hessian(rosenbrock), (X,)),
    "mixed": (mixed, (X, 3, True)),
    "mixed, other types": (mixed, (X[::-1], np.int64(-2), np.array(False))),
    "parameters": (
        lambda p, y: {"w": p["w"] - 0.1 * fg.grad(lambda p: np.sum(p["w"] * y) ** 2)(p)["w"]},
        ({"w": X}, np.arange(4.0)),
    ),
}


def same(got: Any, wanted: Any) -> None:
    got, wanted = fg.tree.leaves(got), fg.tree.leaves(wanted)
    for g, w in zip(got, wanted, strict=True):
        assert type(g) is type(w)
        assert (np.shape(g), np.asarray(g).dtype) == (np.shape(w), np.asarray(w).dtype)
        np.testing.assert_allclose(g, w, rtol=1e-14, atol=1e-15)


def on_floats(f: Any, *args: Any) -> bool:
    return float_program(rewrite(fg.jit(f).graph(*args)), 0) is not None


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The results, down to their types, are those of the program over arrays."""
    f, args = PROGRAMS[name]
    assert on_floats(f, *args)
    got = fg.jit(f)(*args)
    monkeypatch.setattr(compile, "float_program", lambda *_: None)
    same(got, fg.jit(f)(*args))


def test_which_programs_run_on_floats() -> None:
    f = lambda x: np.sum(np.sin(x) * x + 1)
    assert on_floats(f, X)
    assert not on_floats(f, X.astype(np.float32))
    assert not on_floats(f, X.astype(complex))
    assert not on_floats(f, np.ones(100))  # a few operations on arrays are faster
    assert not on_floats(lambda x: x[:, None] * x @ np.outer(x, x), np.ones(15))
    assert not on_floats(lambda x: np.sort(x) * 2, X)


def test_results_are_the_callers() -> None:
    f = fg.jit(lambda x: (2 * x, 2 * x, x[:2] + 0))
    first, second, third = f(X)
    first[:] = 0
    np.testing.assert_array_equal(second, 2 * X)
    np.testing.assert_array_equal(third, X[:2])
    np.testing.assert_array_equal(f(X)[0], 2 * X)
    assert all(y.flags.owndata and y.flags.writeable for y in (first, second, third))


@pytest.mark.parametrize("x", [0.0, -1.0, 1000.0, math.inf, math.nan])
def test_what_python_refuses(x: float) -> None:
    """Where Python raises an exception, the results are NumPy's."""
    for f in (
        lambda x: np.log(x) + np.sqrt(x) * 2,
        lambda x: np.exp(x) / x - np.exp(-x * x),
        lambda x: np.sin(x) * x + 1 / (x * x),
    ):
        compiled = fg.jit(f)
        with np.errstate(all="ignore"):
            for value in (2.0, x, 3.0):
                same(compiled(np.float64(value)), f(np.float64(value)))


@pytest.mark.parametrize("n", [3, 2**63 - 1, 2**62, -(2**63)])
def test_integers_wrap_around_as_numpys(n: int) -> None:
    """Python's own do not: near the largest the program over arrays runs."""
    f = lambda n, x: (np.where(n + 1 > 0, x, -x) * 2.0, np.where(n - 2 < 0, 1.0, x) + x)
    assert on_floats(f, np.int64(3), 0.5)
    loop = lambda n: fg.while_loop(
        lambda c: np.logical_and(c[0] > 0, c[1] < 5.0), lambda c: (c[0] + 1, c[1] + 1.0), (n, 0.0)
    )
    with np.errstate(all="ignore"):
        same(fg.jit(f)(np.int64(n), np.float64(0.5)), f(np.int64(n), np.float64(0.5)))
        same(fg.jit(loop)(np.int64(n - (n > 3))), loop(np.int64(n - (n > 3))))


def test_known_zeros() -> None:
    """A product with a zero that is known is zero, unless the other factor is not finite."""
    weights = np.array([0.0, 1.0, 0.0, 2.0])
    f = lambda x: np.sum(weights * x * x) + weights
    assert on_floats(f, X)
    for x in (X, np.array([1.0, math.inf, 2.0, 3.0]), np.array([math.inf, 1.0, 2.0, 3.0])):
        with np.errstate(all="ignore"):
            same(fg.jit(f)(x), f(x))


def test_derivatives_that_are_not_finite() -> None:
    """The program is run again with strong zeros, as over arrays."""
    norm = lambda x: np.where(x > 0, np.sqrt(np.where(x > 0, x, 1.0)), x * x) * 3.0
    root = lambda x: np.sqrt(x * x)
    for x in (0.0, 4.0, -3.0):
        for f in (norm, root):
            same(fg.jit(fg.grad(f))(np.float64(x)), fg.grad(f)(np.float64(x)))


def test_a_program_that_gives_up_writes_nothing() -> None:
    step = fg.jit(lambda w: w - 0.1 * fg.grad(lambda w: np.sum(np.log(w)))(w), donate_argnums=0)
    w = np.array([1.0, 0.0, 2.0])
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(step(w.copy()), w - 0.1 / w)


def test_signs_of_zeros() -> None:
    """They may decide whether a derivative that is not finite is zero: see ops.strong."""
    zero = np.array([0.0, -0.0, 1.0, 0.0])
    f = lambda x: (0 * x, zero * x, x * -0.0, zero + x * 0.0, x + zero, -(0 * x), (0 * x) * x)
    x = np.array([-1.0, -2.0, -0.0, 0.0])
    assert on_floats(f, x)
    for g, w in zip(fg.jit(f)(x), f(x), strict=True):
        np.testing.assert_array_equal(np.signbit(g), np.signbit(w))


def test_rows_from_loop_to_loop() -> None:
    """Residuals stay lists, unless a loop is left for the one over arrays."""

    def loss(x: Any) -> Any:
        def step(c: Any, k: Any) -> Any:
            c = np.sqrt(np.abs(c * x)) + c.T * k
            return c, np.sum(c * c)

        return np.sum(fg.scan(step, x, np.arange(3.0))[1])

    compiled = fg.jit(fg.value_and_grad(loss))
    for x in (np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[0.0, 2.0], [3.0, 0.0]])):
        with np.errstate(all="ignore"):
            for got, wanted in zip(compiled(x), fg.value_and_grad(loss)(x), strict=True):
                np.testing.assert_allclose(got, wanted, rtol=1e-12)


def test_rows_that_somebody_looks_at_are_no_lists() -> None:
    """Of results that only another scan reads, those that have to be finite are arrays as well."""

    def f(x: Any, rows: Any) -> Any:
        _, ys = fg.scan(lambda c, r: (c * r, np.sin(c)), x, rows)
        return fg.scan(lambda c, y: (c + y * y, None), 0.0, ys)[0]

    graph = fg.make_graph(f)(0.5, np.arange(1.0, 5.0))
    scan = next(e for e in graph.equations if e.primitive.name == "scan")
    rows = scan.outputs[1]
    assert only_rows(scan, graph, ()) == {1}
    assert only_rows(scan, graph, {rows}) == frozenset()

"""Triangular systems: blocks of rows, both triangles, what is read, errors, gradients."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.core.simplify import simplify
from funcgraph.engines.numpy.program import Program
from funcgraph.errors import ShapeError
from funcgraph.ops.triangular import inverse_triangle, solve_triangular

RNG = np.random.default_rng(0)


def matrices(n: int, *batch: int, dtype: Any = np.float64) -> Any:
    return (RNG.standard_normal((*batch, n, n)) / n + 2 * np.eye(n)).astype(dtype)


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("columns", [1, 31, 32, 150])
@pytest.mark.parametrize("n", [1, 64, 65, 128, 150])
def test_solutions(n: int, columns: int, lower: bool) -> None:
    a, b = matrices(n), RNG.standard_normal((n, columns))
    triangle = np.tril(a) if lower else np.triu(a)
    a[~(np.tri(n, dtype=bool) if lower else np.tri(n, dtype=bool).T)] = np.nan  # is not read
    for matrix in (a, np.asfortranarray(a)):
        x = solve_triangular(matrix, b, lower=lower)
        np.testing.assert_allclose(triangle @ x, b, rtol=1e-11, atol=1e-11)


def test_stacks_and_dtypes() -> None:
    a, b = matrices(100, 2, 1), RNG.standard_normal((3, 100, 40))
    np.testing.assert_allclose(
        solve_triangular(a, b, lower=True), np.linalg.solve(np.tril(a), b), rtol=1e-10, atol=1e-11
    )
    single, z = matrices(100, dtype=np.float32), b[0] + 1j * b[1]
    assert solve_triangular(single, b[0].astype(np.float32), lower=True).dtype == np.float32
    assert solve_triangular(single, b[0], lower=False).dtype == np.float64
    got = solve_triangular(a[0, 0], z, lower=False)
    np.testing.assert_allclose(got, np.linalg.solve(np.triu(a[0, 0]), z), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("n", [3, 100])
@pytest.mark.parametrize("columns", [1, 50])
def test_errors(n: int, columns: int) -> None:
    a, b = matrices(n), np.ones((n, columns))
    a[1, 1] = 0
    with pytest.raises(np.linalg.LinAlgError, match=r"[Ss]ingular"):
        solve_triangular(a, b, lower=True)
    with pytest.raises(ShapeError, match="solve_triangular"):
        fg.jit(lambda a, b: solve_triangular(a, b, lower=True))(a, np.ones((n + 1, 2)))


@pytest.mark.parametrize("n", [20, 150])
def test_gradients_of_factorisations(n: int) -> None:
    """Of the Cholesky factor and the QR decomposition: along a direction, by differences."""
    x, direction = RNG.standard_normal((2, n, n))
    weights = RNG.standard_normal((n, n))

    def by_cholesky(x: Any) -> Any:
        factor = np.linalg.cholesky(x @ x.T / n + np.eye(n))
        return np.sum(weights * factor) + np.sum(solve_triangular(factor, x, lower=True) ** 2)

    def by_qr(x: Any) -> Any:
        q, r = np.linalg.qr(x + 3 * np.sqrt(n) * np.eye(n))
        return np.sum(weights * q) + np.sum(weights * r) / n

    for f in (by_cholesky, by_qr):
        step = 1e-5
        wanted = (f(x + step * direction) - f(x - step * direction)) / (2 * step)
        for gradient in (fg.grad(f), fg.jit(fg.grad(f))):
            np.testing.assert_allclose(np.sum(gradient(x) * direction), wanted, rtol=1e-6)
        np.testing.assert_allclose(fg.jvp(f, (x,), (direction,))[1], wanted, rtol=1e-6)


@pytest.mark.parametrize("name", ["cholesky", "qr"])
def test_no_matrix_is_transposed_for_a_solution(name: str) -> None:
    """Under XLA each transposition beside a solution is a copy."""
    factor = lambda x: np.linalg.qr(x)[1].T if name == "qr" else np.linalg.cholesky(x)
    f = lambda x: np.sum(np.sin(factor(x)))
    graph = simplify(fg.make_graph(fg.grad(f))(matrices(6) @ matrices(6).T))
    turned = {e.outputs[0] for e in graph.equations if e.primitive.name == "transpose"}
    solutions = [e for e in graph.equations if e.primitive.name == "solve_triangular"]
    assert solutions
    assert all(turned.isdisjoint(e.inputs) for e in solutions)


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (64, 64), (65, 65), (2, 3, 150, 150)])
def test_inverses(shape: tuple[int, ...], lower: bool) -> None:
    a = matrices(shape[-1], *shape[:-2])
    triangle = np.tril(a) if lower else np.triu(a)
    a[..., ~np.tri(shape[-1], dtype=bool) if lower else ~np.tri(shape[-1], dtype=bool).T] = np.nan
    for matrix in (a, a.mT.copy().mT):
        x = inverse_triangle(matrix, lower)
        np.testing.assert_allclose(
            x @ triangle, np.broadcast_to(np.eye(shape[-1]), shape), atol=1e-12
        )


@pytest.mark.parametrize("batch", [(), (3,)])
@pytest.mark.parametrize("n", [1, 6, 70, 200])
def test_a_triangle_that_is_shared_is_inverted_once(n: int, batch: tuple[int, ...]) -> None:
    """By solutions with it and with its transpose, where that is less work."""
    a, b = matrices(n, *batch), RNG.standard_normal((*batch, n, 2))

    def f(a: Any, b: Any) -> Any:
        x = solve_triangular(a, b, lower=True)
        y = solve_triangular(np.swapaxes(a, -1, -2), np.sin(x), lower=False)
        return y, solve_triangular(a, y, lower=False)

    text = Program(simplify(fg.make_graph(f)(a, b))).text
    assert text.count("inverse_0 =") == (n <= 128)
    assert "inverse_1" not in text
    for got, wanted in zip(fg.jit(f)(a, b), f(a, b), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-10, atol=1e-11)
    value = lambda x: np.sum(np.log(np.diagonal(np.linalg.cholesky(x @ x.mT), axis1=-2, axis2=-1)))
    for g in (fg.grad(value), fg.hessian(value)) if n == 6 else (fg.grad(value),):
        np.testing.assert_allclose(fg.jit(g)(a), g(a), rtol=1e-9, atol=1e-10)


def test_compiled_solutions_do_without_scipy() -> None:
    """Its import takes longer than to compile the program; only plain arrays go to SciPy."""
    code = """
import sys
import numpy as np
import funcgraph as fg
from funcgraph.scipy import linalg
a, b = np.tri(3) + np.eye(3), np.arange(3.0)
f = lambda a: np.sum(linalg.solve_triangular(linalg.cholesky(a, lower=True), b, lower=True))
gradient = fg.jit(fg.grad(f))(a @ a.T)
print("scipy" in sys.modules, np.array_equal(linalg.cholesky(a @ a.T, lower=True), a))
try:
    fg.grad(lambda a: linalg.qr(a, pivoting=True))(a)
except fg.errors.UnsupportedFunctionError as error:
    print(error.message.split(" with")[0])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["False True", "scipy.linalg.qr"]

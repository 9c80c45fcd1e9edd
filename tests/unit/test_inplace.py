"""Arrays written in place inside transformations: NumPy's numbers, and right derivatives."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
import funcgraph.numpy as fnp
from funcgraph.errors import (
    TracerConversionError,
)
from funcgraph.ops.buffers import Buffer
from funcgraph.transforms.arguments import float0

X = np.array([0.3, -0.4, 0.5, 0.9])
M = np.arange(12.0).reshape(3, 4) / 7


def several_views(b: Any, x: Any) -> None:
    first, rows = b[0], b[1:]
    first[1:3] = x[:2]
    rows += x
    rows[0][::2] *= 3.0
    for k, row in enumerate(b):
        row[k] = x[k] * row[0]
    b[..., 0] = first[:3]


def by_masks(b: Any, x: Any) -> None:
    b[b > 0.5] = x[0]
    b[[0, 2], [1, 1]] += x[1]
    b[np.array([1, 1])] = np.stack([x, 2 * x])  # of two writes the last one stays


def by_functions(b: Any, x: Any) -> None:
    np.copyto(b[0], x)
    np.copyto(b, 2 * x, where=np.array([[True], [False], [True]]))
    np.putmask(b, b > 1.05, x[:3])
    np.put(b, [0, -1, 5], x[:2])
    np.place(b, b > 1.2, x[2:])
    np.fill_diagonal(b[:, 1:], x[:3])
    np.put_along_axis(b, np.array([[0], [2], [1]]), x[:3, None], 1)


def by_ufuncs(b: Any, x: Any) -> None:
    np.multiply(b, x, out=b)
    np.sin(b[1], out=b[0])
    np.add(x, 1.0, out=b, where=b > 0.1)
    np.add.at(b, [0, 0, 2], x)
    np.multiply.at(b, (np.array([1, 1]), np.array([2, 2])), x[:2])
    np.subtract.at(b[0], np.array([1, 1]), x[0])
    np.maximum.at(b, 1, x)
    np.negative.at(b, [2, 2, 0])
    np.divide.at(b[2], [0, 0], x[:2] + 2)
    np.cumsum(b[::-1], axis=0, out=b)
    np.add.reduce(b, axis=0, out=b[1])


def by_methods(b: Any, x: Any) -> None:
    b[1] = x
    b[1].sort()
    b[2].fill(x[3])
    b.put([1, 2], x)
    b.cumsum(0, out=b)
    b[0].partition(2)
    b.clip(0.0, 2.0, out=b)
    np.sum(b, axis=1, out=b[:, 0])
    np.nan_to_num(b, copy=False)
    c = b.copy()
    c[...] = 7.0 * x
    b[0] += c[0]
    d = b.flatten()
    d[:4] = x
    b[1] -= d[:4]


def by_operators(b: Any, x: Any) -> None:
    b += x
    b -= 0.5
    b *= x
    b /= x + 2
    b **= 2
    b %= 3.0
    b[:, :3] @= np.diag([1.0, 2.0, 3.0])
    b[0] //= 0.0137
    b[1:] += b[:-1]
    b[:, 1:] = b[:, :-1]
    b[0], b[1] = b[1] * 2, b[0] + 0.0


def by_lists(b: Any, x: Any) -> None:
    b[0, :2] = [x[0] * 2, x[1]]
    b[1:] = [[x[3]], [1.0]]
    b[2] = (1, 2, x[0], 4)
    b[:] = b[None]  # leading axes of length 1 are dropped
    b[()] = b * x[0]


PROGRAMS: list[Callable[[Any, Any], None]] = [
    several_views,
    by_masks,
    by_functions,
    by_ufuncs,
    by_methods,
    by_operators,
    by_lists,
]


def function(program: Callable[[Any, Any], None], make: Callable[[Any], Any]) -> Any:
    def f(x: Any) -> Any:
        b = make(x)
        program(b, x)
        return b

    return f


def plain_make(x: Any) -> Any:
    return M.copy()


def traced_make(x: Any) -> Any:
    return fnp.copy(M)


def differences(f: Any, x: np.ndarray, h: float = 1e-6) -> np.ndarray:
    return np.stack([(f(x + h * e) - f(x - h * e)) / (2 * h) for e in np.eye(x.size)], axis=-1)


@pytest.mark.parametrize("program", PROGRAMS)
def test_values_and_derivatives_in_every_mode(program: Any) -> None:
    f, plain = function(program, traced_make), function(program, plain_make)
    y, slope = plain(X), differences(plain, X)
    weights = np.cos(np.arange(12.0)).reshape(3, 4)
    close = lambda a, b, tol=1e-12: np.testing.assert_allclose(a, b, rtol=tol, atol=tol)
    value, _ = fg.vjp(f, X)
    assert type(value) is np.ndarray
    close(value, y)
    close(fg.jacrev(f)(X), slope, 1e-7)
    close(fg.jacfwd(f)(X), fg.jacrev(f)(X), 1e-10)
    close(fg.jvp(f, (X,), (np.ones(4),))[1], slope.sum(-1), 1e-7)
    loss = lambda x: np.sum(f(x) ** 2 * weights)
    gradient = fg.grad(loss)(X)
    close(gradient, np.sum(2 * y * weights * np.moveaxis(slope, -1, 0), (1, 2)), 1e-7)
    close(fg.hessian(loss)(X), fg.jacrev(fg.grad(loss))(X), 1e-9)
    close(fg.linearize(f, X)[1](np.ones(4)), slope.sum(-1), 1e-7)
    if program in (by_masks, by_functions):
        return  # which elements are written depends on values
    close(fg.jit(f)(X), y)
    close(fg.jit(fg.grad(loss))(X), gradient, 1e-10)
    close(fg.grad(fg.jit(loss))(X), gradient, 1e-10)
    many = np.stack([X, 2 * X + 0.05])
    close(fg.vmap(f)(many), np.stack([plain(x) for x in many]))
    close(fg.vmap(fg.grad(loss))(many), np.stack([fg.grad(loss)(x) for x in many]), 1e-10)
    close(fg.make_graph(f)(X).evaluate(X), y)


@pytest.mark.parametrize("program", [several_views, by_ufuncs, by_methods, by_operators, by_lists])
def test_values_and_gradients_with_jax(program: Any) -> None:
    jax = pytest.importorskip("jax")
    f, plain = function(program, traced_make), function(program, plain_make)
    loss = lambda x: np.sum(f(x) ** 2)
    gradient = fg.grad(loss)(X)
    np.testing.assert_allclose(fg.jit(f, backend="xla")(X), plain(X), rtol=1e-10)
    got = fg.jit(fg.grad(loss), backend="xla")(X)
    np.testing.assert_allclose(got, gradient, rtol=1e-9, atol=1e-12)
    if program is by_ufuncs:
        return  # jax.grad knows no products at repeated indices
    with jax.enable_x64(True):
        got = jax.jit(jax.grad(fg.to_jax(loss)))(X)
    np.testing.assert_allclose(got, gradient, rtol=1e-9, atol=1e-12)


def test_gradient_is_that_of_jax_for_the_functional_form() -> None:
    jax = pytest.importorskip("jax")

    def ours(x: Any) -> Any:
        b = np.zeros_like(x)
        b[1:] = x[:-1] ** 2
        b[[0, 0, 3]] = x[:3]
        b *= x
        return np.sum(np.sin(b))

    def theirs(x: Any) -> Any:
        b = jax.numpy.zeros_like(x).at[1:].set(x[:-1] ** 2)
        b = b.at[0].set(x[1]).at[3].set(x[2])
        return jax.numpy.sum(jax.numpy.sin(b * x))

    with jax.enable_x64(True):
        wanted = jax.jit(lambda x: (jax.grad(theirs)(x), jax.hessian(theirs)(x)))(X)
    np.testing.assert_allclose(fg.grad(ours)(X), wanted[0], rtol=1e-10)
    np.testing.assert_allclose(fg.hessian(ours)(X), wanted[1], rtol=1e-10, atol=1e-12)


# --- arrays that can be written -------------------------------------------------------------------

BORN: dict[str, Callable[[Any], Any]] = {
    "np.zeros_like(x)": np.zeros_like,
    "np.ones_like(x)": np.ones_like,
    "np.empty_like(x)": np.empty_like,
    "np.full_like(x, 2)": lambda x: np.full_like(x, 2.0),
    "np.full_like(x, x[0])": lambda x: np.full_like(x, x[0]),
    "x.copy()": lambda x: x.copy(),
    "np.copy(x)": np.copy,
    "copy.copy(x)": copy.copy,
    "copy.deepcopy(x)": copy.deepcopy,
    "np.array([...], like=x)": lambda x: fnp.array([x[0], 1.0, x[1], 2.0]),
    "fnp.array(x)": fnp.array,
    "fnp.array(plain)": lambda x: fnp.array([1.0, 2.0, 3.0, 4.0]),
    "fnp.copy(plain)": lambda x: fnp.copy(X),
    "fnp.zeros": lambda x: fnp.zeros(4),
    "fnp.ones": lambda x: fnp.ones(4),
    "fnp.empty": lambda x: fnp.empty(4),
    "fnp.full": lambda x: fnp.full(4, 3.0),
    "fnp.full, traced": lambda x: fnp.full(4, x[2]),
    "fnp.zeros_like(plain)": lambda x: fnp.zeros_like(X),
    "b.astype(float)": lambda x: np.zeros_like(x, int).astype(float),
    "b[[...]]": lambda x: x.copy()[[0, 1, 2, 3]],
}


@pytest.mark.parametrize("name", BORN)
def test_born_writable(name: str) -> None:
    make = BORN[name]

    def f(x: Any) -> Any:
        b = make(x)
        assert isinstance(b, Buffer)
        b[...] = x
        b[0] += x[1]
        return b

    value, pullback = fg.vjp(f, X)
    np.testing.assert_allclose(value, X + np.array([X[1], 0, 0, 0]))
    np.testing.assert_allclose(pullback(np.ones(4))[0], [1, 2, 1, 1])
    assert type(make(X)) is np.ndarray  # outside of transformations: NumPy's own


def test_jax_code_gets_plain_arrays() -> None:
    jax = pytest.importorskip("jax")
    assert jax.jit(lambda x: fnp.zeros(3) + x)(1.0).tolist() == [1.0] * 3


def test_dtypes_are_those_of_numpy() -> None:
    def f(x: Any) -> Any:
        whole, single = np.zeros_like(x, dtype=int), np.zeros_like(x, dtype=np.float32)
        whole[:2] = x[:2] * 10  # truncated, as in NumPy: no derivative
        single += x
        single[0] = x[0]
        assert (whole.dtype, single.dtype) == (int, np.float32)
        return whole, single

    (whole, single), pullback = fg.vjp(f, X)
    assert whole.tolist() == [3, -4, 0, 0] and single.dtype == np.float32
    ct = (np.zeros(4, float0), np.ones(4, np.float32))
    np.testing.assert_allclose(pullback(ct)[0], np.ones(4))


def test_plain_contents_behave_as_a_plain_array() -> None:
    def f(x: Any) -> Any:
        b = np.arange(4.0) + np.zeros_like(x, shape=4)
        b = fnp.copy(b)
        b[1] = 2.5
        assert float(b[1]) == 2.5 and int(b[:2][1]) == 2 and complex(b[1:2].reshape(())) == 2.5
        assert bool(b[3] > 2) and b[1].item() == 2.5 and b.item(1) == 2.5
        assert b.tolist() == [0.0, 2.5, 2.0, 3.0] and 2.5 in b and len(b) == 4
        assert [10, 20, 30][np.zeros_like(x, dtype=int, shape=())] == 10
        taken = np.asarray(b)
        taken[0] = 100.0  # a copy
        assert type(taken) is np.ndarray and b[0] == 0 and np.array(b, int).tolist() == [0, 2, 2, 3]
        assert "2.5" in repr(b)
        a = np.ones(4)
        a += b  # a plain array takes plain contents
        assert a.tolist() == [1.0, 3.5, 3.0, 4.0]
        b[0] = x[0]
        for refused in (lambda: float(b[0]), lambda: np.asarray(b), b.tolist):
            with pytest.raises(TracerConversionError, match="cut the gradient"):
                refused()
        return b

    fg.vjp(f, X)

"""The methods and properties of ndarray on traced arrays: as NumPy's, or refused with a remedy."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
import funcgraph.numpy as fnp
from funcgraph.core.trace import Tracer
from funcgraph.errors import InPlaceWriteError, TracerConversionError
from tests.conformance import oracle

RNG = np.random.default_rng(5)
M = RNG.standard_normal((3, 4))
C = M + 1j * RNG.standard_normal((3, 4))
Q = RNG.standard_normal((4, 4))
MASK = np.array([True, False, True])

# Written once, run on plain arrays and on tracers: values, forward and reverse mode must agree.
DIFFERENTIABLE: list[Callable[[Any], Any]] = [
    lambda x: x.T,
    lambda x: x.mT,
    lambda x: x[None].mT,
    lambda x: x.real,
    lambda x: x.imag,
    lambda x: x.flat[3],
    lambda x: x.flat[::2],
    lambda x: np.stack(list(x.flat)),
    lambda x: x.conj(),
    lambda x: x.conjugate(),
    lambda x: x.copy(),
    lambda x: copy.copy(x),
    lambda x: copy.deepcopy(x),
    lambda x: x.astype(complex),
    lambda x: x.astype("c16", copy=False),
    lambda x: x.reshape(-1),
    lambda x: x.reshape(2, 6),
    lambda x: x.reshape((2, -1)),
    lambda x: x.reshape([4, 3]),
    lambda x: x.reshape((2, 6), order="F"),
    lambda x: x.reshape(4, 3, order="F"),
    lambda x: x[:1, :1].reshape(()),
    lambda x: x.ravel(),
    lambda x: x.ravel("F"),
    lambda x: x.flatten(),
    lambda x: x.flatten("F"),
    lambda x: x[:, None].squeeze(),
    lambda x: x[:, None].squeeze(1),
    lambda x: x.transpose(),
    lambda x: x.transpose(1, 0),
    lambda x: x.transpose((1, 0)),
    lambda x: x.transpose(None),
    lambda x: x.swapaxes(0, -1),
    lambda x: x.repeat(2),
    lambda x: x.repeat([1, 0, 2], axis=0),
    lambda x: x.take([0, 5, 5]),
    lambda x: x.take([1, 1], axis=1),
    lambda x: x.take([7, -9], 0, mode="wrap"),
    lambda x: x.compress(MASK, axis=0),
    lambda x: x.compress([0, 1, 1]),
    lambda x: x.diagonal(),
    lambda x: x.diagonal(1),
    lambda x: x.trace(),
    lambda x: x.trace(offset=-1),
    lambda x: x.sum(),
    lambda x: x.sum(0),
    lambda x: x.sum(axis=(0, 1), keepdims=True),
    lambda x: x.sum(-1, where=MASK[:, None]),
    lambda x: x.mean(),
    lambda x: x.mean(1, keepdims=True),
    lambda x: x.std(),
    lambda x: x.std(0, ddof=1),
    lambda x: x.var(axis=1),
    lambda x: x.prod(),
    lambda x: x.prod(axis=1),
    lambda x: x.cumsum(),
    lambda x: x.cumsum(1),
    lambda x: x.cumprod(axis=0),
    lambda x: x.dot(Q),
    lambda x: x.dot(2.0),
    lambda x: np.stack([row * 2 for row in x]),
    lambda x: (lambda a, b, c: a * b - c)(*x),
    lambda x: np.stack(list(reversed(x))),
]
REAL: list[Callable[[Any], Any]] = [
    lambda x: x.max(),
    lambda x: x.max(0),
    lambda x: x.min(axis=1, keepdims=True),
    lambda x: x.clip(-0.5, 0.5),
    lambda x: x.clip(min=0.1),
    lambda x: x.clip(max=np.array([0.1, 0.2, 0.3, 0.4])),
    lambda x: x[x.argsort(axis=None) // 4],
    lambda x: x[np.arange(3), x.argmax(1)],
]


def points() -> list[Any]:
    cases = [(f, M) for f in DIFFERENTIABLE + REAL] + [(f, C) for f in DIFFERENTIABLE]
    return [pytest.param(f, x, id=f"{k}-{x.dtype}") for k, (f, x) in enumerate(cases)]


@pytest.mark.parametrize(("f", "x"), points())
def test_method_is_ndarrays(f: Callable[[Any], Any], x: Any) -> None:
    expected = f(x)

    def traced(x: Any) -> Any:
        y = f(x)
        assert isinstance(y, Tracer), "the derivative was lost"
        assert (y.shape, y.dtype) == (expected.shape, expected.dtype)
        return y

    np.testing.assert_allclose(fg.vjp(traced, x)[0], expected, rtol=1e-12)
    np.testing.assert_allclose(fg.jit(traced)(x), expected, rtol=1e-12)
    problem = oracle.Problem(f, (x,), (0,))
    oracle.check_forward(problem)
    oracle.check_adjoint(problem)


PLAIN: list[Callable[[Any], Any]] = [
    lambda x: x.argmax(),
    lambda x: x.argmin(1),
    lambda x: x.argsort(axis=0),
    lambda x: x.argpartition(1),
    lambda x: (x > 0).any(axis=0),
    lambda x: x.any(),
    lambda x: x.all(1),
    lambda x: x.nonzero(),
    lambda x: x.ravel().cumsum().searchsorted([0.5, 1.0], side="right"),
    lambda x: x.astype(int),
    lambda x: x.astype(bool).sum(),
    lambda x: (x > 0).astype(int).choose([np.zeros(4), np.ones(4)]),
    lambda x: x[0, 0] in x,
    lambda x: 77.0 in x,
    lambda x: len(x),
    lambda x: x.device,
    lambda x: (*x.shape, x.ndim, x.size, x.itemsize, x.nbytes),
]


@pytest.mark.parametrize("f", PLAIN)
def test_method_without_derivative(f: Callable[[Any], Any]) -> None:
    seen: list[Any] = []
    fg.grad(lambda x: (seen.append(f(x)), x.sum())[1])(M)
    for value in oracle.parts(seen[0]):
        assert not isinstance(value, Tracer)
    np.testing.assert_array_equal(seen[0], f(M))


def test_rounding_has_a_zero_derivative() -> None:
    for f in (lambda x: x.round(1), lambda x: round(x, 1), lambda x: x.round(decimals=1)):
        np.testing.assert_array_equal(fg.vjp(f, M)[0], M.round(1))
        np.testing.assert_array_equal(fg.grad(lambda x, f=f: (f(x) + x).sum())(M), np.ones((3, 4)))


IN_PLACE: dict[str, tuple[Callable[[Any], Any], str]] = {
    "sort": (lambda x: x.sort(), r"np\.sort\(x, axis\)"),
    "partition": (lambda x: x.partition(1), r"np\.partition"),
    "fill": (lambda x: x.fill(0.0), r"np\.full_like"),
    "put": (lambda x: x.put([0], 1.0), r"funcgraph\.at\(x\)"),
    "resize": (lambda x: x.resize(2, 2), r"np\.resize"),
    "setflags": (lambda x: x.setflags(write=True), "funcgraph.concrete"),
    "itemset": (lambda x: x.itemset(0, 1.0), r"funcgraph\.at"),
    "np.put": (lambda x: np.put(x, [0], 1.0), "inplace=False"),
    "np.put into plain": (lambda x: np.put(M.copy(), [0], x[0]), "inplace=False"),
    "np.place": (lambda x: np.place(x, M > 0, 1.0), "inplace=False"),
    "np.putmask": (lambda x: np.putmask(x, M > 0, 1.0), r"np\.where"),
    "np.copyto": (lambda x: np.copyto(M.copy(), x), r"np\.where"),
    "np.fill_diagonal": (lambda x: np.fill_diagonal(x, 1.0), "inplace=False"),
    "np.put_along_axis": (lambda x: np.put_along_axis(x, M.argsort(), 1.0, 1), "inplace=False"),
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_is_refused(name: str) -> None:
    f, remedy = IN_PLACE[name]
    with pytest.raises(InPlaceWriteError, match=remedy) as caught:
        fg.grad(lambda x: (f(x), x.sum())[1])(M)
    assert __file__ in str(caught.value)


@pytest.mark.parametrize("name", ["view", "tobytes", "tofile", "dump", "dumps", "getfield"])
def test_bytes_are_refused(name: str) -> None:
    with pytest.raises(TracerConversionError, match=f"x.{name}") as caught:
        fg.grad(lambda x: (getattr(x, name)(), x.sum())[1])(M)
    assert __file__ in str(caught.value)


def test_errors_are_ndarrays() -> None:
    def fails(f: Callable[[Any], Any], error: type[Exception], match: str, x: Any = M) -> None:
        for run in (f, lambda x: fg.vjp(f, x)):
            with pytest.raises(error, match=match):
                run(x)

    fails(lambda x: x.reshape(5, -1), ValueError, "cannot reshape array of size 12")
    fails(lambda x: x.reshape(-1, -1), ValueError, "can only specify one unknown dimension")
    fails(lambda x: x.transpose(0), ValueError, "axes don't match array")
    fails(lambda x: x.squeeze(0), ValueError, "cannot select an axis to squeeze")
    fails(lambda x: x.swapaxes(0, 2), np.exceptions.AxisError, "axis 2 is out of bounds")
    fails(lambda x: x[0].mT, ValueError, "matrix transpose")
    fails(lambda x: list(x.sum()), TypeError, "iteration over a 0-d array|not iterable")
    fails(lambda x: x.astype(np.int8, casting="safe"), TypeError, "Cannot cast")
    fails(lambda x: x.to_device("gpu"), ValueError, "gpu|Unsupported device")
    fails(lambda x: x.take([9], 0), IndexError, "out of bounds")
    fails(lambda x: x.diagonal(0, 1, 1), ValueError, "axis1 and axis2 cannot be the same")
    fails(lambda x: x.ravel("Z"), ValueError, "order must be one of")


def test_array_api() -> None:
    def f(x: Any) -> Any:
        namespace = x.__array_namespace__()
        assert namespace is fnp and x.__array_namespace__(api_version="2022.12") is fnp
        return namespace.sum(x.to_device("cpu"))

    np.testing.assert_array_equal(fg.grad(f)(M), np.ones((3, 4)))


def test_values_are_shown_in_text() -> None:
    seen: list[str] = []
    fg.grad(lambda x: (seen.extend([f"{x:.2f}", f"{x}"]), x * x)[1])(1.2345)
    assert seen[0] == "1.23" and "1.2345" in seen[1]


@pytest.mark.parametrize("order", ["A", "K"])
def test_orders_that_look_at_memory(order: str) -> None:
    """The layout is that of the plain value beneath."""
    for x in (M, np.asfortranarray(M), np.arange(24.0).reshape(2, 3, 4).transpose(1, 2, 0)):
        weights = RNG.standard_normal(x.size)
        y, pullback = fg.vjp(lambda x: x.ravel(order), x)
        np.testing.assert_array_equal(y, x.ravel(order))
        positions = np.arange(x.size).reshape(x.shape)
        places = np.lib.stride_tricks.as_strided(positions, x.shape, positions.strides)
        like = np.empty_like(x, dtype=int)  # in the layout of x
        like[...] = places
        expected = np.zeros(x.size)
        expected[like.ravel(order)] = weights
        np.testing.assert_array_equal(pullback(weights)[0].ravel(), expected)


def test_a_traced_array_cannot_be_hashed_but_compared() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        fg.grad(lambda x: hash(x))(M)
    fg.grad(lambda x: x.sum() if (x == x).all() else None)(M)

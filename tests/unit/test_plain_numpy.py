"""Plain `import numpy as np` on traced arrays: it works, or the error names the remedy."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.core.trace import Tracer
from funcgraph.errors import (
    InPlaceWriteError,
    LeakedTracerError,
    TracerBoolError,
    TracerConversionError,
    UnsupportedFunctionError,
)

A = np.array([[2.0, 1.0], [0.5, 3.0]])
X = np.array([0.3, -0.7])


def derivative(f: Callable[[Any], Any], x: Any = X) -> Any:
    """Return the pullback of ones; every value on the way must stay traced."""

    def checked(x: Any) -> Any:
        y = f(x)
        assert isinstance(y, Tracer), f"the derivative was lost: {y!r}"
        return y

    y, pullback = fg.vjp(checked, x)
    assert np.asarray(y).dtype != object
    return pullback(np.ones_like(y))[0]


# --- what works ----------------------------------------------------------------------------------

WORKS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "np.float64 * x": (lambda x: np.float64(2) * x, [2, 2]),
    "np.float32 + x": (lambda x: np.float32(2) + x, [1, 1]),
    "array * x": (lambda x: A * x, A.sum(0)),
    "array - x": (lambda x: X - x, [-1, -1]),
    "array / x": (lambda x: np.ones(2) / x, -1 / X**2),
    "array ** x": (lambda x: np.array([2.0, 4.0]) ** x, np.log([2, 4]) * np.array([2.0, 4.0]) ** X),
    "0-d array * x": (lambda x: np.array(3.0) * x, [3, 3]),
    "A @ x": (lambda x: A @ x, A.sum(0)),
    "x @ A": (lambda x: x @ A, A.sum(1)),
    "x @ x": (lambda x: x @ x, 2 * X),
    "list * x": (lambda x: [2.0, 3.0] * x, [2, 3]),
    "x + list": (
        lambda x: x + [2.0, 3.0],  # noqa: RUF005
        [1, 1],
    ),
    "int ** x": (lambda x: 2**x, np.log(2) * 2**X),
    "x // 1 + x": (lambda x: x // 1.0 + x, [1, 1]),
    "x % 1": (lambda x: x % 1.0, [1, 1]),
    "divmod": (lambda x: divmod(x, 0.4)[1], [1, 1]),
    "abs": (lambda x: abs(x), [1, -1]),
    "round": (lambda x: round(x[0], 1) + x, [1, 1]),
    "+=": (lambda x: operator.iadd(x * 1, x), [2, 2]),
    "np.multiply(A, x)": (lambda x: np.multiply(A, x), A.sum(0)),
    "np.dot(A, x)": (lambda x: np.dot(A, x), A.sum(0)),
    "np.matmul(A, x)": (lambda x: np.matmul(A, x), A.sum(0)),
    "np.sin(x)": (lambda x: np.sin(x), np.cos(X)),
    "ufunc where=": (lambda x: np.where(X > 0, np.sqrt(np.abs(x)), x), [0.5 / np.sqrt(0.3), 1]),
    "np.add.reduce": (lambda x: np.add.reduce(x), [1, 1]),
    "np.multiply.reduce": (lambda x: np.multiply.reduce(x), X[::-1]),
    "np.add.accumulate": (lambda x: np.add.accumulate(x), [2, 1]),
    "np.multiply.outer": (lambda x: np.multiply.outer(x, A), [A.sum()] * 2),
    "np.stack": (lambda x: np.stack([x[0], x[1], 1.0]), [1, 1]),
    "np.concatenate": (lambda x: np.concatenate([x, X, x]), [2, 2]),
    "np.vstack": (lambda x: np.vstack([x, X]), [1, 1]),
    "np.block": (lambda x: np.block([[x, X], [X, x]]), [2, 2]),
    "np.column_stack": (lambda x: np.column_stack((x, X)), [1, 1]),
    "np.einsum": (lambda x: np.einsum("ij,j->i", A, x), A.sum(0)),
    "np.where": (lambda x: np.where(X > 0, x, 0), [1, 0]),
    "np.linalg.norm": (lambda x: np.linalg.norm(x), X / np.linalg.norm(X)),
    "np.linalg.solve": (lambda x: np.linalg.solve(A, x), np.linalg.inv(A).sum(0)),
    "np.fft": (lambda x: np.fft.irfft(np.fft.rfft(x)), [1, 1]),
    "keyword": (lambda x: np.sum(a=x, axis=0), [1, 1]),
    "method of the first argument": (lambda x: x.sum(), [1, 1]),
    "x.T.mT": (lambda x: (A * x).T.mT, A.sum(0)),
    "indexing": (lambda x: x[::-1][np.array([0, 0, 1])], [1, 2]),
    "boolean mask": (lambda x: x[x > 0], [1, 0]),
    "np.newaxis": (lambda x: x[None, :, np.newaxis], [1, 1]),
    "iteration": (lambda x: sum(2.0 * v for v in x), [2, 2]),
    "unpacking": (lambda x: (lambda a, b: a - b)(*x), [1, -1]),
    "astype": (lambda x: x.astype(np.float32), [1, 1]),
    "copy": (lambda x: np.copy(x), [1, 1]),
    "methods": (lambda x: x.reshape(1, -1).mean() + x.std() + x.clip(0, 1).max() + x.dot(x), None),
    "like": (lambda x: np.zeros_like(x) + np.ones_like(x) * x, [1, 1]),
}


@pytest.mark.parametrize("form", WORKS)
def test_works(form: str) -> None:
    f, expected = WORKS[form]
    got = derivative(f)
    assert got.dtype == X.dtype
    step = 1e-6
    slopes = [np.sum(f(X + step * e) - f(X - step * e)) / (2 * step) for e in np.eye(2)]
    if form != "astype":  # float32 is too coarse for differences
        np.testing.assert_allclose(got, slopes, rtol=1e-6, atol=1e-6)
    if expected is not None:
        np.testing.assert_allclose(got, expected)


@pytest.mark.parametrize("compare", [operator.lt, operator.le, operator.gt, operator.eq])
def test_comparisons_are_plain(compare: Callable[..., Any]) -> None:
    def f(x: Any) -> Any:
        for value in (compare(x, 0.0), compare(X, x)):
            assert type(value) is np.ndarray and value.dtype == bool
        return x.sum()

    np.testing.assert_array_equal(fg.grad(f)(X), [1, 1])


def test_shapes_and_dtypes_are_read_as_from_an_array() -> None:
    def f(x: Any) -> Any:
        y = A * x
        assert (y.shape, y.ndim, y.size, y.dtype, len(y)) == ((2, 2), 2, 4, np.float64, 2)
        assert (np.shape(y), np.ndim(y), np.size(y)) == ((2, 2), 2, 4)
        assert np.result_type(y, np.float32) == np.float64
        assert not np.iscomplexobj(y)
        return y.sum()

    fg.grad(f)(X)


# --- what is refused -----------------------------------------------------------------------------

REFUSED: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    "A.dot(x)": (lambda x: A.dot(x), TracerConversionError, "A @ x|np.dot|np.stack"),
    "np.array([x0, x1])": (lambda x: np.array([x[0], x[1]]), TracerConversionError, "np.stack"),
    "np.array(x)": (lambda x: np.array(x), TracerConversionError, "funcgraph.concrete"),
    "np.asarray(x)": (lambda x: np.asarray(x), TracerConversionError, "np.asarray"),
    "np.sum of a list": (lambda x: np.sum([x[0], x[1]]), TracerConversionError, "np.stack"),
    "np.max of a list": (lambda x: np.max([x, x]), TracerConversionError, "funcgraph.numpy"),
    "buffer[i] = x": (lambda x: np.zeros(2).__setitem__(0, x[0]), InPlaceWriteError, "np.stack"),
    "np.copyto": (lambda x: np.copyto(np.zeros(2), x), InPlaceWriteError, "copyto"),
    "buffer[:] = x": (lambda x: A.copy().__setitem__(..., x), TracerConversionError, "np.stack"),
    "x[i] = 1": (lambda x: x.__setitem__(0, 1.0), InPlaceWriteError, r"at\(x\)"),
    "A += x": (lambda x: operator.iadd(A.copy(), x), InPlaceWriteError, r"a = a \+ x"),
    "A *= x": (lambda x: operator.imul(A.copy(), x), InPlaceWriteError, "np.multiply"),
    "out= of a ufunc": (lambda x: np.sin(x, out=np.zeros(2)), InPlaceWriteError, "out="),
    "out= of a function": (lambda x: np.sum(x, out=np.zeros(())), InPlaceWriteError, "out="),
    "ufunc.at": (lambda x: np.add.at(np.zeros(2), [0], x[0]), InPlaceWriteError, "funcgraph.at"),
    "float(x)": (lambda x: float(x[0]), TracerConversionError, r"float\(x\).*np.sin"),
    "int(x)": (lambda x: int(x[0]), TracerConversionError, r"int\(x\)"),
    "complex(x)": (lambda x: complex(x[0]), TracerConversionError, r"complex\(x\)"),
    "range(x)": (lambda x: range(x[0]), TracerConversionError, "static_argnums"),
    "x.item()": (lambda x: x[0].item(), TracerConversionError, "item"),
    "x.tolist()": (lambda x: x.tolist(), TracerConversionError, "tolist"),
    "if x:": (lambda x: 1 if x else 2, TracerBoolError, "ambiguous"),
    "list[x]": (lambda x: [1, 2][x[0]], TracerConversionError, "index"),
    "A[x]": (lambda x: A[x], (TracerConversionError, IndexError), "."),
    "x[x]": (lambda x: x[x], TracerConversionError, "integer"),
    "np.save": (lambda x: np.save("never-written.npy", x), UnsupportedFunctionError, "numpy.save"),
}


@pytest.mark.parametrize("form", REFUSED)
def test_is_refused(form: str) -> None:
    f, error, message = REFUSED[form]
    with pytest.raises(error, match=message) as caught:
        fg.grad(f)(X)
    assert __file__ in str(caught.value), "the message does not name the user's line"


def test_hash_and_contains_are_ndarrays() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        fg.grad(lambda x: hash(x))(X)


def test_an_unknown_ufunc_is_named() -> None:
    mine = np.frompyfunc(lambda v: v * v, 1, 1)
    with pytest.raises(UnsupportedFunctionError, match=r"funcgraph\.numpy"):
        fg.grad(lambda x: mine(x))(X)


def test_an_unknown_function_is_named() -> None:
    with pytest.raises(UnsupportedFunctionError, match=r"numpy\.savez .*Primitive"):
        fg.grad(lambda x: np.savez("never-written.npz", x))(X)


def test_a_leaked_tracer_is_refused_by_numpy_too() -> None:
    kept: list[Any] = []
    fg.grad(lambda x: (kept.append(x), x.sum())[1])(X)
    for use in (np.sin, np.sum, lambda x: x + 1, lambda x: x.reshape(1, 2), lambda x: A @ x):
        with pytest.raises(LeakedTracerError, match="had ended"):
            use(kept[0])

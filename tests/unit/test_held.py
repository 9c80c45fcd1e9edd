"""Plain arrays that the user writes while a tape holds them, and Python numbers on tapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgraph as fg
import funcgraph.numpy as fnp
from funcgraph.transforms.held import SMALL

OPERATIONS = {
    "multiply": lambda x, b: x * b,
    "multiply, reflected": lambda x, b: b * x,
    "divide": lambda x, b: x / b,
    "maximum": lambda x, b: np.maximum(x, b),
    "matmul": lambda x, b: x @ b,
    "matmul, reflected": lambda x, b: b @ x,
    "where": lambda x, b: np.where(b > 2, x, b),
    "index": lambda x, b: x[b.astype(int) % len(b)],
    "einsum": lambda x, b: np.einsum("i,i->", x, b),
}


def _loop(operation: Any, rows: Any, copy: bool) -> Any:
    """Return a function that reads every row through one buffer, or through a copy of it."""
    buffer = np.empty(rows.shape[1])

    def f(x: Any) -> Any:
        total = 0.0
        for row in rows:
            buffer[:] = row
            total = total + np.sum(operation(x, buffer.copy() if copy else buffer))
        return total

    return f


@pytest.mark.parametrize("name", OPERATIONS)
def test_small_buffer_that_is_refilled_gives_the_right_gradient(name: str) -> None:
    x, rows = np.linspace(1.0, 2.0, 5), np.arange(1.0, 16.0).reshape(3, 5)
    got = fg.value_and_grad(_loop(OPERATIONS[name], rows, copy=False))(x)
    want = fg.value_and_grad(_loop(OPERATIONS[name], rows, copy=True))(x)
    assert got[0] == want[0]
    np.testing.assert_array_equal(got[1], want[1])


def test_large_buffer_that_is_refilled_raises() -> None:
    n = SMALL // 8 + 1
    x, rows = np.linspace(1.0, 2.0, n), np.arange(3.0 * n).reshape(3, n)
    with pytest.raises(fg.errors.StaleArrayError, match=rf"shape \({n},\).*buffer.copy\(\)"):
        fg.grad(_loop(lambda x, b: x * b, rows, copy=False))(x)
    gradient = fg.grad(_loop(lambda x, b: x * b, rows, copy=True))(x)
    np.testing.assert_array_equal(gradient, rows.sum(0))


@pytest.mark.parametrize("shape", [(3, 300), (700,), (10, 10, 20)])
@pytest.mark.parametrize("order", ["C", "F", "step"])
def test_large_constant_of_any_layout_is_noticed(shape: Any, order: str) -> None:
    wide = np.ones((*shape, 2), order="F" if order == "F" else "C")
    constant = wide[..., 0] if order == "step" else np.ones(shape, order=order)  # type: ignore[call-overload]

    def f(x: Any, write: bool) -> Any:
        y = x * constant
        if write:
            constant[...] += 1.0
        return np.sum(y * y)

    fg.grad(f)(np.ones(shape), False)
    with pytest.raises(fg.errors.StaleArrayError):
        fg.grad(f)(np.ones(shape), True)


def test_what_no_derivative_reads_may_be_written() -> None:
    n = SMALL
    buffer = np.zeros(n)

    def f(x: Any) -> Any:
        y = x + buffer
        buffer[:] = 7.0
        return np.sum(y * y)

    x = np.linspace(0.0, 1.0, n)
    np.testing.assert_array_equal(fg.grad(f)(x), 2 * x)


@pytest.mark.parametrize("n", [3, SMALL])
def test_primals_written_before_the_pullback_runs(n: int) -> None:
    x, constant = np.ones(n), np.full(n, 2.0)
    y, pullback = fg.vjp(lambda v: v * v * constant, x)
    np.testing.assert_array_equal(pullback(y)[0], np.full(n, 8.0))
    _, pushforward = fg.linearize(lambda v: v * v, x)
    np.testing.assert_array_equal(pushforward(y), np.full(n, 4.0))
    x += 1.0
    with pytest.raises(fg.errors.StaleArrayError):
        pullback(y)
    with pytest.raises(fg.errors.StaleArrayError):
        pushforward(y)


def test_the_error_of_the_function_is_not_hidden() -> None:
    constant = np.ones(SMALL)

    def f(x: Any) -> Any:
        y = x * constant
        constant[:] = 2.0
        raise KeyError("mine", y)

    with pytest.raises(KeyError, match="mine"):
        fg.grad(f)(np.ones(SMALL))


# --- Python numbers, scalars and arrays on either side --------------------------------------------

NUMBERS = [2, 2.0, np.float64(2.0), np.float32(2.0), np.array(2.0), np.int64(2), True]
BINARY = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "power": lambda a, b: a**b,
    "arctan2": lambda a, b: fnp.arctan2(a, b),
    "logaddexp": lambda a, b: fnp.logaddexp(a, b),
    "float_power": lambda a, b: fnp.float_power(a, b),
    "hypot": lambda a, b: fnp.hypot(a, b),
}
ARRAYS = [
    1.5,
    np.float64(1.5),
    np.float32(1.5),
    np.array(1.5),
    np.array([0.5, 1.5]),
    np.array([0.5, 1.5], np.float32),
    np.array([[0.5], [1.5]]),
]


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("number", NUMBERS, ids=lambda n: type(n).__name__)
def test_gradients_with_numbers_have_type_and_value_in_every_mode(name: str, number: Any) -> None:
    operation = BINARY[name]
    for x in ARRAYS:
        for f in (lambda v: operation(v, number), lambda v: operation(number, v)):
            y, pullback = fg.vjp(f, x)
            (got,) = pullback(np.ones_like(y))
            assert type(got) is type(x) or isinstance(x, float)
            assert np.shape(got) == np.shape(x)
            assert np.asarray(got).dtype == np.asarray(x).dtype
            value, tangent = fg.jvp(f, (x,), (x * 0 + 1,))
            plain = f(x)
            assert np.asarray(value).dtype == np.asarray(plain).dtype == np.asarray(tangent).dtype
            np.testing.assert_array_equal(value, plain)
            step = 1e-6
            low, high = (np.asarray(f(np.float64(x) + s), float) for s in (-step, step))
            tolerance = 1e-6 if np.asarray(x).dtype == float else 1e-5
            slope = (high - low) / (2 * step)
            np.testing.assert_allclose(tangent, slope, rtol=tolerance, atol=tolerance)
            np.testing.assert_allclose(got, slope.reshape(np.shape(x)), rtol=tolerance, atol=1e-5)
            if np.ndim(x):
                np.testing.assert_array_equal(fg.vmap(f)(x), plain)
                each = fg.vmap(lambda v: fg.vjp(f, v)[1](np.ones_like(f(v)))[0])(x)  # noqa: B023
                np.testing.assert_allclose(each, got, rtol=1e-6)


@pytest.mark.parametrize("name", BINARY)
def test_broadcasting_constants_and_variables(name: str) -> None:
    operation = BINARY[name]
    shapes: list[Any] = [(), (1,), (3,), (2, 1), (2, 3), (1, 2, 3)]
    rng = np.random.default_rng(0)
    for a_shape in shapes:
        for b_shape in shapes:
            a, b = 1 + rng.random(a_shape), 1 + rng.random(b_shape)
            y, pullback = fg.vjp(operation, a, b)
            g = rng.random(np.shape(y))
            both = pullback(g)
            (first,) = fg.vjp(lambda v: operation(v, b), a)[1](g)  # noqa: B023
            (second,) = fg.vjp(lambda v: operation(a, v), b)[1](g)  # noqa: B023
            ta, tb = rng.random(a_shape), rng.random(b_shape)
            _, tangent = fg.jvp(operation, (a, b), (ta, tb))
            assert np.shape(tangent) == np.shape(y)
            for got, one, x in zip(both, (first, second), (a, b), strict=True):
                assert got.shape == x.shape
                np.testing.assert_allclose(got, one, rtol=1e-14)
            inner = np.sum(both[0] * ta) + np.sum(both[1] * tb)
            np.testing.assert_allclose(np.sum(g * tangent), inner, rtol=1e-12)

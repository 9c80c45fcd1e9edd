"""Derivatives at singular points: the true one, a subgradient, or not finite; never another number.

`test_conventions` has the rows of the documentation; here functions are put together.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import funcgraph as fg

pytestmark = [
    pytest.mark.filterwarnings("ignore::funcgraph.errors.GradientDisconnected"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]
F = Callable[[Any], Any]

# (outer, inner, point, least derivative, greatest derivative) of outer(inner(x)) near the point.
PAIRS: dict[str, tuple[F, F, float, float, float]] = {
    "square of sqrt": (lambda y: y**2, np.sqrt, 0.0, 1.0, 1.0),
    "product of sqrt": (lambda y: y * y, np.sqrt, 0.0, 1.0, 1.0),
    "power of power": (lambda y: y**4, lambda x: x**0.25, 0.0, 1.0, 1.0),
    "minus square of sqrt": (lambda y: -np.square(y), np.sqrt, 0.0, -1.0, -1.0),
    "log of exp": (np.log, np.exp, 1000.0, 1.0, 1.0),
    "log of exp below": (np.log, np.exp, -1000.0, 1.0, 1.0),
    "exp of log": (np.exp, np.log, 0.0, 1.0, 1.0),
    "expm1 of log1p": (np.expm1, np.log1p, -1.0, 1.0, 1.0),
    "one over one over": (lambda y: 1 / y, lambda x: 1 / x, 0.0, 1.0, 1.0),
    "reciprocal twice": (np.reciprocal, np.reciprocal, 0.0, 1.0, 1.0),
    "power -1 twice": (lambda y: y**-1.0, lambda x: x**-1.0, 0.0, 1.0, 1.0),
    "sin of arcsin": (np.sin, np.arcsin, 1.0, 1.0, 1.0),
    "cos of arccos": (np.cos, np.arccos, 1.0, 1.0, 1.0),
    "cosh of arccosh": (np.cosh, np.arccosh, 1.0, 1.0, 1.0),
    "tanh of arctanh": (np.tanh, np.arctanh, 1.0, 1.0, 1.0),
    "cube of cbrt": (lambda y: y * y * y, np.cbrt, 0.0, 1.0, 1.0),
    "cbrt of cube": (np.cbrt, lambda x: x**3, 0.0, 1.0, 1.0),
    "cancels to the square": (lambda y: y + y**2 - y, np.sqrt, 0.0, 1.0, 1.0),
    "pole of a cube": (lambda y: 1 / y, lambda x: x**3, 0.0, np.inf, np.inf),
    "power of a cube": (lambda y: y**-1.0, lambda x: x**3, 0.0, np.inf, np.inf),
    "sqrt of square": (np.sqrt, np.square, 0.0, -1.0, 1.0),
    "arccos of cos": (np.arccos, np.cos, 0.0, -1.0, 1.0),
    "power of square": (lambda y: y**0.5, lambda x: x * x, 0.0, -1.0, 1.0),
}


def _loop(y: Any) -> Any:
    return fg.scan(lambda c, _: (c, None), y, None, length=2)[0]


def _while(y: Any) -> Any:
    return fg.while_loop(lambda s: s[0] < 2, lambda s: (s[0] + 1, s[1] * 1.0), (0, y))[1]


@fg.custom_jvp
def _own(y: Any) -> Any:
    return y


_own.defjvp(lambda primals, tangents: (primals[0], tangents[0]))

# Functions that return their argument, in the middle.
BETWEEN: dict[str, F] = {
    "nothing": lambda y: y,
    "read": lambda y: np.stack([y, 2 * y])[0],
    "matrix": lambda y: np.dot(np.array([[1.0, 0.0]]), np.stack([y, y]))[0],
    "cumsum": lambda y: np.cumsum(np.stack([y, y]))[0],
    "mean": lambda y: np.mean(np.broadcast_to(y, (2, 2))),
    "max": lambda y: np.max(np.stack([y, y])),
    "sort": lambda y: np.sort(np.stack([y]))[0],
    "where": lambda y: np.where(np.array([True, False]), y, 0.0)[0],
    "maximum": lambda y: np.maximum(y, -np.inf),
    "prod": lambda y: np.prod(np.stack([y, 1.0])),
    "halves": lambda y: y.astype(np.float32).astype(np.float64) if y.ndim else np.real(y),
    "jit": fg.jit(lambda y: y * 1.0),
    "checkpoint": fg.checkpoint(lambda y: y * 1.0),
    "own rule": lambda y: _own(y),
    "scan": _loop,
    "while": _while,
    "cond": lambda y: fg.cond(True, lambda y: y * 1.0, lambda y: y * 0.0, y),
}


def _pushed(f: F) -> F:
    return lambda x: fg.jvp(f, (x,), (np.ones_like(x),))[1]


def _in_scan(f: F) -> F:
    return lambda x: fg.scan(lambda c, _: (fg.grad(f)(x), None), x, None, length=1)[0]


MODES: dict[str, Callable[[F], F]] = {
    "grad": fg.grad,
    "jvp": _pushed,
    "linearize": lambda f: lambda x: fg.linearize(f, x)[1](np.ones_like(x)),
    "jacrev": fg.jacrev,
    "jacfwd": fg.jacfwd,
    "vmap of grad": lambda f: lambda x: fg.vmap(fg.grad(f))(np.stack([x, x + 0.5]))[0],
    "grad of jit": lambda f: fg.grad(fg.jit(f)),
    "jvp of jit": lambda f: _pushed(fg.jit(f)),
    "grad of scan": lambda f: fg.grad(
        lambda x: fg.scan(lambda c, _: (f(c), None), x, None, length=1)[0]
    ),
    "grad of checkpoint": lambda f: fg.grad(fg.checkpoint(f)),
    "pullbacks by hand": lambda f: lambda x: fg.vjp(f, x)[1](np.ones_like(x))[0],
    "jit of grad": lambda f: fg.jit(fg.grad(f)),
    "jit of jvp": lambda f: fg.jit(_pushed(f)),
    "jit of vmap of grad": lambda f: lambda x: fg.jit(fg.vmap(fg.grad(f)))(np.stack([x, x]))[0],
    "grad in scan": lambda f: fg.jit(_in_scan(f)),
}
EAGER = ["grad", "jvp"]


def _check(mode: str, f: F, pair: str) -> None:
    _, _, x, least, greatest = PAIRS[pair]
    with np.errstate(all="ignore"):
        found = MODES[mode](f)(np.float64(x))
    assert not np.isfinite(found) or least <= found <= greatest, found


@pytest.mark.parametrize("pair", PAIRS)
def test_no_wrong_number_in_any_mode(pair):
    outer, inner = PAIRS[pair][:2]
    for mode in MODES:
        _check(mode, lambda x: outer(inner(x)), pair)


@pytest.mark.parametrize("between", BETWEEN)
def test_no_wrong_number_whatever_is_between(between):
    middle = BETWEEN[between]
    for pair, mode in itertools.product(PAIRS, EAGER):
        outer, inner = PAIRS[pair][:2]
        _check(mode, lambda x, o=outer, i=inner: o(middle(i(x))), pair)


@pytest.mark.parametrize("mode", MODES)
def test_a_stationary_argument_at_a_border_gives_zero(mode):
    for f in (lambda x: np.sqrt(x * x), lambda x: np.linalg.norm(np.stack([x, 2 * x])) ** 2):
        assert MODES[mode](f)(np.float64(0)) == 0


SELECTIONS: dict[str, F] = {
    "where": lambda v: np.where(np.array([True, False]), 1.0, v)[0],
    "read": lambda v: np.stack([1.0, v])[0],
    "max": lambda v: np.max(np.stack([5.0, v])),
    "sort": lambda v: np.sort(np.stack([5.0, v]))[1],
    "maximum": lambda v: np.maximum(5.0, v),
    "clip": lambda v: np.clip(v, 5.0, 6.0),
    "relu": lambda v: fg.nn.relu(v - 5.0),
    "mask": lambda v: np.array([1.0, 0.0])[1] * v,
    "dot": lambda v: np.dot(np.array([1.0, 0.0]), np.stack([1.0, v])),
    "conv": lambda v: np.convolve(np.stack([1.0, v]), np.array([0.0, 1.0]), "valid")[0] * 0.0,
    "cond": lambda v: fg.cond(True, lambda v: 1.0 + 0.0 * v, lambda v: v, v),
    "stop": lambda v: fg.stop_gradient(v),
    "jit": lambda v: np.where(np.array([True, False]), 1.0, fg.jit(np.sqrt)(v))[0],
    "scan": lambda v: np.where(np.array([True, False]), 1.0, _loop(v))[0],
    "while": lambda v: np.where(np.array([True, False]), 1.0, _while(v))[0],
    "checkpoint": lambda v: np.where(np.array([True, False]), 1.0, fg.checkpoint(np.sqrt)(v))[0],
}


@pytest.mark.parametrize("select", SELECTIONS)
def test_what_is_not_chosen_has_no_derivative(select):
    for mode in MODES:
        with np.errstate(all="ignore"):
            found = MODES[mode](lambda x: SELECTIONS[select](np.sqrt(x)) + x)(np.float64(0))
        assert found == 1, mode


def test_elements_stay_apart():
    def f(x):
        y = np.where(x > 0, np.sqrt(x), 0.0)
        return np.sum(
            fg.scan(lambda c, r: (c * r, c + r), np.ones(3), np.stack([y, y]))[1] * [1, 1, 0]
        )

    x = np.array([0.0, 4.0, 0.0])
    expected = fg.grad(lambda x: f(np.stack([0.0, x, 0.0])))(4.0)
    np.testing.assert_allclose(fg.grad(f)(x)[1], expected)
    assert not fg.grad(f)(x)[[0, 2]].any()
    np.testing.assert_allclose(fg.jit(fg.grad(f))(x), fg.grad(f)(x))


def test_a_wrong_number_does_not_come_from_a_chain_by_hand():
    y, first = fg.vjp(np.sqrt, 0.0)
    _, second = fg.vjp(lambda y: -(y**2), y)
    assert np.isnan(first(second(1.0)[0])[0])


def test_rows_of_a_jacobian_stay_apart():
    for jacobian in (fg.jacrev, fg.jacfwd):
        found = jacobian(lambda x: 1 / x)(np.array([0.0, 2.0]))
        np.testing.assert_array_equal(found, [[-np.inf, 0], [0, -0.25]])
        assert not np.signbit(found[0, 1])


def test_zeros_of_a_gradient_are_positive():
    g = fg.grad(lambda x: np.sum(np.where(x > 0, np.sqrt(x), 0.0)))(np.zeros(2))
    assert not np.signbit(g).any()


def test_what_is_constant_in_a_pullback_has_a_derivative_outside():
    # d/dm of d/dx (m sqrt(x)) at m = 0, next to an element that makes the sweep a strong one
    def inner(m):
        x = np.array([4.0, 0.0])
        return fg.grad(lambda x: np.sum(m * np.where(x > 0, np.sqrt(x), 0.0)))(x)[0]

    assert fg.grad(inner)(0.0) == fg.jvp(inner, (np.float64(0),), (1.0,))[1] == 0.25
    assert fg.jit(fg.grad(inner))(0.0) == 0.25


def test_second_derivatives_that_are_infinite_stay_so():
    for f in (np.log, np.sqrt):
        assert fg.grad(fg.grad(f))(0.0) == fg.hessian(f)(0.0) == -np.inf
    assert not np.isfinite(fg.grad(fg.grad(lambda x: np.sqrt(x) ** 4))(0.0))


def test_complex_numbers():
    def f(z):
        return np.sum(np.real(np.where(np.abs(z) > 0, np.sqrt(z) * np.log(z), 0.0)))

    g = fg.grad(f)(np.array([0j, 1.0]))
    np.testing.assert_allclose(g, [0, 1])
    assert not np.isfinite(fg.grad(lambda z: np.real(np.sqrt(z) ** 2))(0j))


def test_programs_of_xla():
    pytest.importorskip("jax")
    xla = fg.jit(np.sqrt, backend="xla")
    assert not np.isfinite(fg.grad(lambda x: xla(x) ** 2)(0.0))
    assert not np.isfinite(fg.grad(fg.jit(lambda x: -(np.sqrt(x) ** 2), backend="xla"))(0.0))
    assert fg.grad(lambda x: np.where(np.array([True, False]), x, xla(x))[0])(0.0) == 1

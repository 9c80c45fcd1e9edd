"""Transformations inside transformations: levels must not be mixed up, and orders must agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
import funcgraph.numpy as fnp


def forward(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return the derivative of a scalar function of a scalar, in forward mode."""
    return lambda x: fg.jvp(f, (x,), (1.0,))[1]


def pulled(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return the same by a pullback."""
    return lambda x: fg.vjp(f, x)[1](1.0)[0]


def pushed(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return the same by a linearisation."""
    return lambda x: fg.linearize(f, x)[1](1.0)


MODES = {"grad": fg.grad, "jvp": forward, "vjp": pulled, "linearize": pushed}
mode = pytest.mark.parametrize("d", MODES.values(), ids=MODES)
two_modes = [
    pytest.mark.parametrize("outer", MODES.values(), ids=[f"outer_{m}" for m in MODES]),
    pytest.mark.parametrize("inner", MODES.values(), ids=[f"inner_{m}" for m in MODES]),
]


def pairs(test: Any) -> Any:
    """Run a test for each outer and each inner mode."""
    return two_modes[0](two_modes[1](test))


# --- perturbation confusion ----------------------------------------------------------------------
# Siskind and Pearlmutter, "Perturbation confusion and referential transparency: correct functional
# implementation of forward-mode AD", 2005; Manzyuk et al., "Perturbation confusion in forward
# automatic differentiation of higher-order functions", 2019.


@pairs
def test_inner_derivative_is_a_constant_to_the_outer(outer: Any, inner: Any) -> None:
    # d/dx [x · d/dy (x + y)] = d/dx [x · 1] = 1; confusion gives 2
    assert outer(lambda x: x * inner(lambda y: x + y)(1.0))(1.0) == 1.0


@pairs
def test_inner_derivative_depends_on_the_outer(outer: Any, inner: Any) -> None:
    # d/dx [x · d/dy (x·y)] = d/dx x² = 2x
    assert outer(lambda x: x * inner(lambda y: x * y)(2.0))(3.0) == 6.0
    # d/dx [x · d/dy (x·y²) at y = x] = d/dx 2x³ = 6x²
    assert outer(lambda x: x * inner(lambda y: x * y * y)(x))(3.0) == 54.0


@pairs
def test_inner_function_ignores_its_argument(outer: Any, inner: Any) -> None:
    assert outer(lambda x: x * inner(lambda y: x)(2.0))(3.0) == 0.0
    assert outer(lambda x: x + inner(lambda y: 5.0 * x * x)(x))(3.0) == 1.0


@pairs
def test_outer_value_used_as_a_constant_inside(outer: Any, inner: Any) -> None:
    # the inner point is a constant of the outer derivative
    assert outer(lambda x: inner(lambda y: y**3 * x)(2.0))(5.0) == pytest.approx(12.0)


@mode
def test_the_derivative_operator_returned_by_a_function(d: Any) -> None:
    # Manzyuk et al., section 2: s(u)(f)(x) = f(x + u); d/du s(u) = d, so that applying the result
    # twice must give the second derivative. A curried function is written as a pair of calls here.
    def shift(u: Any) -> Callable[..., Any]:
        return lambda f: lambda x: f(x + u)

    def derive(f: Any) -> Any:
        return lambda x: d(lambda u: shift(u)(f)(x))(0.0)

    assert derive(derive(np.exp))(1.0) == pytest.approx(np.e)
    assert derive(derive(derive(lambda x: x**4)))(2.0) == pytest.approx(48.0)


@pairs
def test_three_levels_that_share_closures(outer: Any, inner: Any) -> None:
    def f(x: Any) -> Any:
        def g(y: Any) -> Any:
            return inner(lambda z: x * y * z * z)(y) * x  # 2x²y²

        return outer(g)(x) * x  # 4x³·x = 4x⁴

    assert outer(f)(2.0) == pytest.approx(16.0 * 8.0)


# --- higher order --------------------------------------------------------------------------------


@pytest.mark.parametrize("first", MODES.values(), ids=MODES)
@pytest.mark.parametrize("second", MODES.values(), ids=MODES)
@pytest.mark.parametrize("third", MODES.values(), ids=MODES)
def test_third_derivative_in_any_order_of_modes(first: Any, second: Any, third: Any) -> None:
    got = third(second(first(lambda x: np.sin(x) * np.exp(2.0 * x))))(0.3)
    expected = np.exp(0.6) * (2.0 * np.sin(0.3) + 11.0 * np.cos(0.3))
    assert got == pytest.approx(expected, rel=1e-13)


def test_tenth_derivative() -> None:
    f: Any = lambda x: np.sin(2.0 * x)
    for _ in range(6):
        f = fg.grad(f)
    assert f(0.7) == pytest.approx(-64.0 * np.sin(1.4))
    for _ in range(4):
        f = forward(f)
    assert f(0.7) == pytest.approx(-1024.0 * np.sin(1.4))


# --- vectors, against JAX ------------------------------------------------------------------------


def rosenbrock(x: Any, np: Any) -> Any:
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


X = np.array([0.5, -1.2, 0.8, 1.1])
V = np.array([1.0, -2.0, 0.5, 3.0])
W = np.array([0.3, 0.7, -1.0, 2.0])

HESSIAN_PRODUCTS = {
    "jvp of grad": lambda m, f: m.jvp(m.grad(f), (X,), (V,))[1],
    "grad of jvp": lambda m, f: m.grad(lambda x: m.jvp(f, (x,), (V,))[1])(X),
    "grad of <grad, v>": lambda m, f: m.grad(lambda x: (m.grad(f)(x) * V).sum())(X),
    "grad of linearize": lambda m, f: m.grad(lambda x: m.linearize(f, x)[1](V))(X),
    "vjp of grad": lambda m, f: m.vjp(m.grad(f), X)[1](V)[0],
    "vjp of vjp": lambda m, f: m.vjp(lambda x: m.vjp(f, x)[1](1.0)[0], X)[1](V)[0],
    "jvp of vjp": lambda m, f: m.jvp(lambda x: m.vjp(f, x)[1](1.0)[0], (X,), (V,))[1],
    "vjp of jvp": lambda m, f: m.vjp(lambda x: m.jvp(f, (x,), (V,))[1], X)[1](1.0)[0],
    "linearize of grad": lambda m, f: m.linearize(m.grad(f), X)[1](V),
    "linearize of linearize": lambda m, f: m.grad(
        lambda w: m.linearize(lambda x: m.linearize(f, x)[1](w), X)[1](V)
    )(W),
    "third, mixed": lambda m, f: m.grad(
        lambda x: m.jvp(lambda y: (m.grad(f)(y) * W * x).sum(), (x,), (V,))[1]
    )(X),
}


@pytest.mark.parametrize("how", HESSIAN_PRODUCTS)
def test_second_order_equals_jax(how: str) -> None:
    jax = pytest.importorskip("jax")
    ours = HESSIAN_PRODUCTS[how](fg, lambda x: rosenbrock(x, np))
    theirs = HESSIAN_PRODUCTS[how](jax, lambda x: rosenbrock(x, jax.numpy))
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_all_hessian_products_agree() -> None:
    products = list(HESSIAN_PRODUCTS)[:-1]
    results = [HESSIAN_PRODUCTS[how](fg, lambda x: rosenbrock(x, np)) for how in products]
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], rtol=1e-12)


# --- mixtures ------------------------------------------------------------------------------------


def test_pullback_called_within_an_outer_transformation() -> None:
    # the inner vjp is taken at a constant; its pullback is linear in the outer variable
    pullback = fg.vjp(np.sin, 0.3)[1]
    assert fg.grad(lambda ct: pullback(ct)[0] ** 2)(2.0) == pytest.approx(4.0 * np.cos(0.3) ** 2)
    pushforward = fg.linearize(np.sin, 0.3)[1]
    assert fg.grad(lambda t: pushforward(t) ** 2)(2.0) == pytest.approx(4.0 * np.cos(0.3) ** 2)


@mode
def test_tangent_of_an_outer_level(d: Any) -> None:
    # d/dx of the directional derivative along a direction that depends on x: d/dx (x·cos 1) = cos 1
    assert d(lambda x: fg.jvp(np.sin, (1.0,), (x,))[1])(0.2) == pytest.approx(np.cos(1.0))
    assert d(lambda x: fg.vjp(np.sin, 1.0)[1](x)[0])(0.2) == pytest.approx(np.cos(1.0))


@mode
def test_stop_gradient_at_each_level(d: Any) -> None:
    assert d(lambda x: x * fg.stop_gradient(x))(3.0) == 3.0
    assert d(d(lambda x: x**2 * fg.stop_gradient(x)))(3.0) == pytest.approx(6.0)
    assert d(lambda x: fg.stop_gradient(d(lambda y: y**3)(x)) * x)(2.0) == pytest.approx(12.0)


@mode
def test_gradient_descent_step_is_differentiable(d: Any) -> None:
    # w(lr) after k steps on w²: w0·(1 - 2·lr)^k
    def unrolled(lr: Any) -> Any:
        w: Any = 1.5
        for _ in range(5):
            w = w - lr * fg.grad(lambda w: w * w)(w)
        return w

    assert d(unrolled)(0.1) == pytest.approx(1.5 * 5 * (1 - 0.2) ** 4 * -2.0)


def test_containers_and_closures_over_outer_tracers() -> None:
    def loss(params: Any) -> Any:
        inner = fg.grad(lambda b: np.sum((params["a"] * b["x"]) ** 2 + b["y"] * params["c"]))
        g = inner({"x": params["a"], "y": params["c"]})
        return np.sum(g["x"] * params["a"]) + np.sum(g["y"] ** 2)

    a, c = np.array([1.0, 2.0]), np.array([3.0, -1.0])
    got = fg.grad(loss)({"a": a, "c": c})  # Σ 2a⁴ + Σ c²
    np.testing.assert_allclose(got["a"], 8.0 * a**3)
    np.testing.assert_allclose(got["c"], 2.0 * c)


def test_value_of_python_control_flow_at_every_level() -> None:
    def f(x: Any) -> Any:
        while np.abs(x) < 10.0:
            x = x * x if x > 1.0 else x + 1.0
        return x

    # 1.5 → 2.25 → 5.06 → 25.6 = x⁸
    assert fg.grad(f)(1.5) == pytest.approx(8 * 1.5**7)
    assert fg.grad(fg.grad(f))(1.5) == pytest.approx(56 * 1.5**6)
    assert forward(fg.grad(f))(1.5) == pytest.approx(56 * 1.5**6)


@mode
def test_lists_of_tracers_of_different_levels(d: Any) -> None:
    # d/dx Σ d/dy (x·y², y·x², y)₀,₁,₂ at y = 2: Σ (4x + x² + 1) → 4 + 2x
    def f(x: Any) -> Any:
        return d(lambda y: fnp.sum(fnp.stack([x * y * y, y * x * x, y])))(2.0)

    assert d(f)(3.0) == pytest.approx(10.0)


def test_an_exception_at_an_inner_level_leaves_the_outer_usable() -> None:
    def fails(y: Any) -> Any:
        raise KeyError("inner")

    def f(x: Any) -> Any:
        for transform in MODES.values():
            with pytest.raises(KeyError, match="inner"):
                transform(fails)(x)
        return x**3

    assert fg.grad(f)(2.0) == pytest.approx(12.0)
    assert fg.grad(fg.grad(f))(2.0) == pytest.approx(12.0)


def test_has_aux_of_an_inner_level_carries_the_outer_derivative() -> None:
    def f(x: Any) -> Any:
        g, aux = fg.grad(lambda y: (x * y * y, x * y), has_aux=True)(3.0)
        return g + aux  # 6x + 3x

    assert fg.grad(f)(2.0) == 9.0
    assert forward(f)(2.0) == 9.0

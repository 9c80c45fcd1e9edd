"""Every ufunc of NumPy on tracers: called with keywords, by its methods, as an operator."""

from __future__ import annotations

import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgraph as fg
import funcgraph.numpy as fnp
from funcgraph.core.trace import UFUNCS, Tracer
from funcgraph.errors import InPlaceWriteError, NonDifferentiableError, UnsupportedFunctionError

X = np.array([0.3, -0.7, 1.9])
M = np.array([[0.4, 1.3, -2.0], [2.2, 0.6, 1.1]])
P = np.abs(M)

NUMPY_UFUNCS = {n: f for n in dir(np) if isinstance(f := getattr(np, n), np.ufunc)}


def check(f: Any, x: Any, tol: float = 1e-6) -> None:
    """The traced value is NumPy's, and both derivatives are those of differences."""
    expected = f(x)
    y, pullback = fg.vjp(f, x)
    assert (y.dtype, y.shape) == (expected.dtype, expected.shape)
    np.testing.assert_allclose(y, expected, rtol=1e-13)
    rng = np.random.default_rng(0)
    t, ct = rng.standard_normal(x.shape), rng.standard_normal(y.shape)
    slope = (f(x + 1e-6 * t) - f(x - 1e-6 * t)) / 2e-6
    np.testing.assert_allclose(fg.jvp(f, (x,), (t,))[1], slope, rtol=tol, atol=tol)
    np.testing.assert_allclose(np.sum(pullback(ct)[0] * t), np.sum(ct * slope), rtol=tol, atol=tol)


@pytest.mark.parametrize("name", sorted(NUMPY_UFUNCS.keys() - {"isnat"}))  # dates are never traced
def test_every_ufunc_is_known(name: str) -> None:
    assert NUMPY_UFUNCS[name] in UFUNCS
    assert name in fnp.__all__


# --- quotients by what is broadcast: sums come before the division -------------------------------


@pytest.mark.parametrize("by", [(), (1,), (3,), (2, 1), (1, 3), (1, 1, 1), (4, 2, 3)], ids=repr)
def test_quotients_by_what_is_broadcast(by: tuple[int, ...]) -> None:
    """As differences and JAX have it in every mode, twice too, whatever sums the cotangent up."""
    rng = np.random.default_rng(0)
    a, w = rng.standard_normal((2, 4, 2, 3))
    a, b = a[:, : by[-2] if len(by) > 1 else 2], rng.uniform(0.5, 2, by)
    check(lambda x: a / x, b)

    def loss(b: Any, m: Any = np) -> Any:
        return m.sum(w * m.tanh(a / b))

    expected = jax.grad(lambda b: loss(b, jnp))(b)
    twice = jax.hessian(lambda b: loss(b, jnp))(b)
    grads = fg.grad(loss), fg.jit(fg.grad(loss)), fg.jit(fg.grad(loss), backend="xla")
    for grad in grads:
        np.testing.assert_allclose(grad(b), expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(fg.hessian(loss)(b), twice, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(fg.jit(fg.hessian(loss))(b), twice, rtol=1e-10, atol=1e-12)
    lanes = np.stack([b, 2 * b])
    several = np.stack([expected, jax.grad(lambda b: loss(b, jnp))(2 * b)])
    np.testing.assert_allclose(fg.vmap(fg.grad(loss))(lanes), several, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("types", ["df", "fd", "Dd", "dD", "ef"])
def test_types_of_quotients_by_what_is_broadcast(types: str) -> None:
    rng = np.random.default_rng(0)
    real, imag = rng.uniform(0.5, 2, (2, 5, 3))
    x = [real + 1j * imag if t == "D" else real.astype(t) for t in types]
    a, b = x[0][:4], x[1][4]
    g = fg.grad(lambda b: np.sum(np.square(np.abs(a / b))))(b)
    wanted = np.sum(-2 * np.square(np.abs(a)), 0) / (np.square(np.abs(b)) * b)
    assert g.dtype == b.dtype
    np.testing.assert_allclose(g, wanted, rtol=1e-2 if "e" in types else 1e-5)


@pytest.mark.parametrize("b", [0.0, -0.0, np.inf, np.nan])
@pytest.mark.parametrize("a", [[0.0, 1.0], [1.0, 2.0], [0.0, 0.0], [np.inf, 1.0], [1.0, -1.0]])
def test_quotients_at_borders_by_what_is_broadcast(a: list[float], b: float) -> None:
    """What is not finite is what JAX gives."""
    grad = fg.grad(lambda b: np.sum(np.array(a) / b))
    wanted = np.asarray(jax.grad(lambda b: jnp.sum(jnp.array(a) / b))(b))
    with np.errstate(all="ignore"):
        for f in (grad, fg.jit(grad), fg.jit(grad, backend="xla")):
            np.testing.assert_array_equal(f(b), wanted)


def test_cotangents_of_what_is_broadcast_are_divided_once_summed() -> None:
    a, b = np.ones((4, 3)), np.ones(3)
    graph = fg.make_graph(fg.grad(lambda b: np.sum(np.sin(a / b))))(b)
    sizes = [e.outputs[0].aval.shape for e in graph.equations if e.primitive.name == "divide"]
    assert sizes == [(4, 3), (3,)]


# --- reduce, accumulate, reduceat, outer ---------------------------------------------------------

# Not power: along the last axis NumPy 2.4 gives x[0] ** x[-1], whatever lies between.
REDUCED = "add multiply maximum minimum fmax fmin hypot logaddexp logaddexp2 subtract divide"


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("name", REDUCED.split())
def test_reduce(name: str, axis: int) -> None:
    ufunc = getattr(np, name)
    check(lambda x: ufunc.reduce(x, axis=axis), P)
    check(lambda x: ufunc.reduce(x, axis=axis, keepdims=True), P)
    check(lambda x: ufunc.reduce(x, axis=axis, initial=1.5), P)


@pytest.mark.parametrize("name", ["add", "multiply", "maximum", "fmin", "hypot", "logaddexp"])
def test_reduce_over_several_axes_and_with_a_mask(name: str) -> None:
    ufunc, mask = getattr(np, name), M > 0.5
    check(lambda x: ufunc.reduce(x, axis=None), P)
    check(lambda x: ufunc.reduce(x, axis=(0, 1), keepdims=True), P)
    check(lambda x: ufunc.reduce(x, axis=1, where=mask, initial=0.2), P)


def test_reduce_of_truth_values_has_no_derivative() -> None:
    def f(x: Any) -> Any:
        for ufunc in (np.logical_and, np.logical_or, np.logical_xor):
            assert np.array_equal(ufunc.reduce(x > 0), ufunc.reduce(X > 0))
            assert np.array_equal(ufunc.reduce(x), ufunc.reduce(X))
        return np.sum(x)

    fg.grad(f)(X)


def test_reduce_of_nothing() -> None:
    empty = np.zeros((0, 2))
    assert np.array_equal(fg.vjp(np.hypot.reduce, empty)[0], [0.0, 0.0])
    assert np.array_equal(fg.vjp(np.logaddexp.reduce, empty)[0], [-np.inf, -np.inf])
    with pytest.raises(ValueError, match="no identity"):
        fg.vjp(np.fmax.reduce, empty)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("name", REDUCED.split())
def test_accumulate(name: str, axis: int) -> None:
    check(lambda x: getattr(np, name).accumulate(x, axis=axis), P)


@pytest.mark.parametrize("name", ["add", "multiply", "hypot", "subtract"])
def test_reduceat(name: str) -> None:
    check(lambda x: getattr(np, name).reduceat(x, [0, 2, 1], axis=1), P)


@pytest.mark.parametrize("name", ["add", "multiply", "arctan2", "power"])
def test_outer(name: str) -> None:
    ufunc = getattr(np, name)
    check(lambda x: ufunc.outer(x, P), P[0])
    check(lambda x: ufunc.outer(P, x), P[0])
    check(lambda x: ufunc.outer(x, 2.0), P)


def test_reductions_that_numpy_refuses() -> None:
    with pytest.raises(ValueError, match="binary"):
        fg.vjp(np.sin.reduce, X)
    with pytest.raises(ValueError, match="reorderable"):
        fg.vjp(lambda x: np.subtract.reduce(x, axis=(0, 1)), M)
    with pytest.raises(UnsupportedFunctionError, match="where="):
        fg.vjp(lambda x: np.subtract.reduce(x, where=M > 0, initial=1.0), M)


# --- keywords ------------------------------------------------------------------------------------


def test_where_leaves_elements_out() -> None:
    mask = X > 0
    y, pullback = fg.vjp(lambda x: np.exp(x, where=mask), X)
    np.testing.assert_allclose(y[mask], np.exp(X[mask]))
    np.testing.assert_allclose(pullback(np.ones(3))[0], np.where(mask, np.exp(X), 0))


def test_dtype_names_the_loop() -> None:
    y, pullback = fg.vjp(lambda x: np.add(x, 1, dtype=np.float32, casting="same_kind"), X)
    assert y.dtype == np.float32
    assert pullback(np.ones(3, np.float32))[0].dtype == np.float64
    assert fg.vjp(lambda x: np.sqrt(x, dtype=complex), X)[0].dtype == complex
    with pytest.raises(TypeError):
        fg.vjp(lambda x: np.add(x, 1, dtype=np.float32, casting="safe"), X)


def test_out_is_refused() -> None:
    for f in (lambda x: np.sin(x, out=np.zeros(3)), lambda x: np.add.reduce(x, out=np.zeros(()))):
        with pytest.raises(InPlaceWriteError, match="out="):
            fg.vjp(f, X)


@pytest.mark.parametrize("ufunc", [np.modf, np.frexp])
def test_two_results(ufunc: Any) -> None:
    def f(x: Any) -> Any:
        first, second = ufunc(x)
        expected = ufunc(X)
        assert second.dtype == expected[1].dtype
        np.testing.assert_array_equal(np.asarray(fg.concrete(second)), expected[1])
        return first

    check(f, X) if ufunc is np.sin else fg.vjp(f, X)


def test_divmod() -> None:
    def f(x: Any) -> Any:
        quotient, rest = divmod(x, 0.4)
        again = np.divmod(x, 0.4)
        assert np.array_equal(fg.concrete(quotient), X // 0.4)
        return rest + 2.0 * again[1]

    np.testing.assert_allclose(fg.vjp(f, X)[1](np.ones(3))[0], 3)
    np.testing.assert_allclose(
        fg.vjp(lambda x: divmod(5.0, x)[1], X)[1](np.ones(3))[0], -(5.0 // X)
    )


# --- operators -----------------------------------------------------------------------------------

BINARY = [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow, operator.mod]


@pytest.mark.parametrize("op", BINARY, ids=lambda op: op.__name__)
@pytest.mark.parametrize("other", [2, 1.7, np.float64(1.3), np.array([0.95, 1.2, 2.1])], ids=repr)
def test_operators_and_their_reflections(op: Any, other: Any) -> None:
    x = np.array([0.45, 1.25, 0.8])
    check(lambda x: op(x, other), x)
    check(lambda x: op(other, x), x)


@pytest.mark.parametrize("op", [operator.neg, operator.pos, operator.abs, round], ids=repr)
def test_unary_operators(op: Any) -> None:
    if op is round:
        assert fg.grad(lambda x: round(x) * x)(2.3) == 2.0
        assert fg.grad(lambda x: round(x, 1) * x)(2.34) == 2.3
    else:
        check(op, X)


def test_comparisons_and_bits_are_plain() -> None:
    def f(x: Any) -> Any:
        for op in (operator.lt, operator.le, operator.eq, operator.ne, operator.ge, operator.gt):
            assert np.array_equal(op(x, 0.3), op(X, 0.3))
            assert np.array_equal(op(0.3, x), op(0.3, X))
        assert not isinstance(x // 0.5, Tracer)
        assert np.array_equal((x > 0) & ~(x > 1) | (x < -5) ^ (x > 7), [True, False, False])
        assert (x == "text") is False and (x != "text") is True
        return np.sum(x)

    fg.grad(f)(X)


def test_operators_on_the_left_make_new_values() -> None:
    def f(x: Any) -> Any:
        y = x
        y += 1.0
        y *= x
        y -= 0.5
        y /= 2.0
        y **= 2
        assert y is not x
        return np.sum(y)

    np.testing.assert_allclose(fg.grad(f)(X), ((X + 1) * X - 0.5) / 2 * (2 * X + 1))


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, -1, 0.0, 0.5, 1.0, 2.0, 2.5])
def test_power_by_a_constant(exponent: float) -> None:
    x = np.array([0.45, 1.25, 0.8])
    check(lambda x: x**exponent, x)
    check(lambda x: fg.vjp(lambda x: x**exponent, x)[1](np.ones(3))[0], x)


def test_derivatives_of_powers_at_zero() -> None:
    for n, slopes in {0: (0, 0, 0), 1: (1, 0, 0), 2: (0, 2, 0), 3: (0, 0, 6)}.items():
        for exponent in (n, float(n), np.array(float(n))):
            f: Any = lambda x: np.power(x, exponent)  # noqa: B023
            for slope in slopes:
                f = fg.grad(f)
                assert f(0.0) == slope, (exponent, slope)


# --- smooth points at which a guard must not show ------------------------------------------------


def test_second_derivatives_at_guarded_points() -> None:
    def second(f: Any, x: float) -> float:
        return float(fg.grad(fg.grad(f))(x))

    assert second(lambda x: np.logaddexp(x, 0.0), 0.0) == pytest.approx(0.25)
    assert second(np.sinc, 0.0) == pytest.approx(-(np.pi**2) / 3)
    assert second(np.i0, 0.0) == pytest.approx(0.5)
    mixed = fg.grad(lambda p: fg.grad(lambda x: x**p)(2.0))(0.0)  # d/dp (p 2^(p-1))
    assert mixed == pytest.approx(0.5)


# --- scipy.special -------------------------------------------------------------------------------


def test_ufuncs_of_scipy_on_tracers() -> None:
    ss = pytest.importorskip("scipy.special")
    check(ss.erf, X)
    check(lambda x: ss.zeta(3.0, x), P)
    check(lambda x: ss.fresnel(x)[0], X)
    check(ss.expm1, X)
    with pytest.raises(UnsupportedFunctionError, match="struve"):
        fg.vjp(lambda x: ss.struve(1.0, x), X)
    with pytest.raises(NonDifferentiableError, match=r"jv .*by v"):
        fg.grad(lambda v: ss.jv(v, 1.0))(0.5)


def test_smooth_points_of_special_functions() -> None:
    pytest.importorskip("scipy.special")
    import funcgraph.scipy.special as fss

    def slopes(f: Any, x: float) -> list[float]:
        return [float(fg.grad(f)(x)), float(fg.grad(fg.grad(f))(x))]

    assert slopes(fss.spence, 1.0) == pytest.approx([-1.0, 0.5])
    assert slopes(fss.exprel, 0.0) == pytest.approx([1 / 2, 1 / 3])
    assert slopes(lambda p: fss.boxcox(2.0, p), 0.0) == pytest.approx(
        [np.log(2) ** 2 / 2, np.log(2) ** 3 / 3]
    )
    assert slopes(fss.i0, 0.0) == pytest.approx([0.0, 0.5])
    assert fg.grad(lambda y: fss.xlogy(0.0, y))(0.0) == 0.0
    weight = fg.grad(lambda b: fss.logsumexp(X, b=b))(np.array([1.0, 0.0, 2.0]))
    np.testing.assert_allclose(weight, np.exp(X) / (np.exp(X[0]) + 2 * np.exp(X[2])))
    assert fg.grad(lambda a: fss.logsumexp(a, b=np.array([0.0, 1.0])))(
        np.array([np.inf, 1.0])
    ).tolist() == [0.0, 1.0]


def test_functions_of_scipy_that_are_not_ufuncs_are_refused() -> None:
    ss = pytest.importorskip("scipy.special")
    for f in (ss.logsumexp, ss.softmax, lambda x: ss.polygamma(1, x)):
        with pytest.raises(fg.errors.TracerConversionError):
            fg.vjp(f, X)

"""What samples and cases cannot say: kinks against JAX, errors, costs, long arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgraph as fg
import funcgraph.numpy as fnp
from funcgraph.transforms.tape import Tape

jax = pytest.importorskip("jax")
jnp = jax.numpy

RNG = np.random.default_rng(51)


def assert_like_jax(f: Any, x: np.ndarray, finite: bool = True) -> None:
    """Compare gradient and Hessian-vector product of f(namespace, x) with JAX's."""
    g = fg.grad(lambda v: f(np, v))(x)
    expected = np.asarray(jax.jit(jax.grad(lambda v: f(jnp, v)))(x))
    assert np.isfinite(expected).all() or not finite
    np.testing.assert_allclose(g, expected, rtol=1e-12, atol=1e-14)
    t = np.cos(np.arange(x.size)).reshape(x.shape)
    h = fg.jvp(fg.grad(lambda v: f(np, v)), (x,), (t,))[1]
    expected = np.asarray(
        jax.jit(lambda x: jax.jvp(jax.grad(lambda v: f(jnp, v)), (x,), (t,))[1])(x)
    )
    np.testing.assert_allclose(h, expected, rtol=1e-11, atol=1e-13)


# --- products with zeros -------------------------------------------------------------------------


@pytest.mark.parametrize("zeros", [(), (1,), (1, 3), (0, 1, 2), (0, 1, 2, 3, 4)])
@pytest.mark.parametrize("name", ["prod", "cumprod", "nanprod", "nancumprod"])
def test_products_of_zeros(name: str, zeros: tuple[int, ...]) -> None:
    x = RNG.standard_normal(5) + 2.0
    x[list(zeros)] = 0.0
    w = np.arange(1.0, 6.0)
    assert_like_jax(lambda m, v: m.sum(w * getattr(m, name)(m.sin(v) + v * v)), x)


# --- ties ----------------------------------------------------------------------------------------

TIED = [
    np.array([1.0, 1.0]),
    np.array([2.0, 1.0, 2.0, 1.0, 2.0]),
    np.zeros(7),
    np.array([1.0, 3.0, 3.0, 2.0, 3.0, 1.0, 1.0, 1.0]),
]


@pytest.mark.parametrize("x", TIED, ids=len)
@pytest.mark.parametrize("name", ["max", "min", "ptp", "nanmax", "nanmin", "median"])
def test_ties_of_reductions(name: str, x: np.ndarray) -> None:
    assert_like_jax(lambda m, v: getattr(m, name)(v) ** 2 + getattr(m, name)(v * v), x)


@pytest.mark.parametrize("name", ["max", "min"])
def test_the_gradient_of_nan_is_nan(name: str) -> None:
    x = np.array([[1.0, np.nan, 3.0], [2.0, 2.0, np.inf]])
    wanted = jax.grad(lambda x: jnp.sum(getattr(jnp, name)(x, 1)))(x)
    f = fg.grad(lambda x: np.sum(getattr(np, name)(x, 1)))
    np.testing.assert_array_equal(f(x), wanted)
    np.testing.assert_array_equal(fg.jit(f)(x), wanted)


@pytest.mark.parametrize("x", TIED, ids=len)
@pytest.mark.parametrize("name", ["sort", "quantile", "percentile"])
def test_ties_of_sorted_values(name: str, x: np.ndarray) -> None:
    w = np.arange(x.size) + 1.0
    calls = {
        "sort": lambda m, v: m.sum(w * m.sort(v) ** 2),
        "quantile": lambda m, v: m.quantile(v, 0.37) ** 2,
        "percentile": lambda m, v: m.percentile(v, 63.0) ** 2,
    }
    assert_like_jax(calls[name], x)


@pytest.mark.parametrize("x", TIED, ids=len)
@pytest.mark.parametrize(("ufunc", "name"), [(np.maximum, "cummax"), (np.minimum, "cummin")])
def test_ties_of_running_extremes(ufunc: Any, name: str, x: np.ndarray) -> None:
    w = np.arange(x.size) + 1.0
    g = fg.grad(lambda v: np.sum(w * ufunc.accumulate(v) ** 2))(x)
    expected = jax.jit(jax.grad(lambda v: jnp.sum(w * getattr(jax.lax, name)(v) ** 2)))(x)
    np.testing.assert_allclose(g, expected, rtol=1e-13)


def test_running_maximum_of_distinct_values_reads_one_element() -> None:
    x = np.array([1.0, 3.0, 2.0, 5.0, 4.0])
    g = fg.grad(lambda v: np.sum(np.maximum.accumulate(v)))(x)
    np.testing.assert_array_equal(g, [1, 2, 0, 2, 0])


# --- quantiles -----------------------------------------------------------------------------------


def test_quantile_by_its_level_at_an_element_is_constant_as_in_jax() -> None:
    x = np.array([4.0, 1.0, 3.0, 2.0, 5.0])
    for q in (0.25, 0.5):
        assert fg.grad(lambda q: np.quantile(x, q))(q) == jax.grad(lambda q: jnp.quantile(x, q))(q)
    np.testing.assert_allclose(fg.grad(lambda q: np.quantile(x, q))(0.3), 4.0)


@pytest.mark.parametrize("f", [np.quantile, np.nanquantile])
def test_quantiles_of_infinite_values(f: Any) -> None:
    x = np.array([1.0, 2.0, np.inf])
    y, g = fg.value_and_grad(lambda v: f(v, 0.5))(x)
    assert y == 2.0
    np.testing.assert_array_equal(g, [0, 1, 0])


def test_quantile_of_an_array_with_nan_has_no_derivative() -> None:
    x = np.array([1.0, np.nan, 2.0])
    y, g = fg.value_and_grad(np.median)(x)
    assert np.isnan(y)
    np.testing.assert_array_equal(g, [0, 0, 0])


@pytest.mark.parametrize("f", [np.quantile, np.nanquantile, np.percentile])
def test_refused_quantiles(f: Any) -> None:
    x = RNG.standard_normal(4)
    with pytest.raises(ValueError, match="'inverted_cdf' supports weights"):
        fg.grad(lambda v: f(v, 0.5, weights=x))(x)
    with pytest.raises(ValueError, match=r"weights of shape \(3,\)"):
        fg.grad(lambda v: f(v, 0.5, axis=0, weights=x[:3], method="inverted_cdf"))(x)
    with pytest.raises(TypeError, match="Axis must be specified"):
        fg.grad(lambda v: f(v, 0.5, weights=x[:3], method="inverted_cdf"))(x)
    with pytest.raises(ValueError, match=r"must be in the range \[0, 1"):
        fg.grad(lambda v: f(v, 101.0))(x)
    with pytest.raises(ValueError, match="not a valid method"):
        fg.grad(lambda v: f(v, 0.5, method="best"))(x)


@pytest.mark.parametrize("n", [1, 2, 9, 40])
def test_partition_stands_as_numpys(n: int) -> None:
    x = RNG.integers(0, 9, n).astype(float)
    for kth in {0, n // 2, n - 1}:
        y, g = fg.value_and_grad(lambda v: np.sum(np.arange(n) * np.partition(v, kth)))(x)  # noqa: B023
        assert y == np.sum(np.arange(n) * np.partition(x, kth))
        assert sorted(g) == list(range(n))


# --- moments -------------------------------------------------------------------------------------


@pytest.mark.parametrize("f", [np.std, np.nanstd])
@pytest.mark.parametrize("axis", [None, 0])
def test_standard_deviation_of_constants_is_stationary(f: Any, axis: Any) -> None:
    x = np.full((3, 2), 0.7)
    np.testing.assert_array_equal(fg.grad(lambda v: np.sum(f(v, axis=axis)))(x), 0 * x)


def test_half_precision_is_summed_as_in_numpy() -> None:
    x = np.full(3000, 100.0, np.float16)
    y, g = fg.value_and_grad(np.mean)(x)
    assert y == np.float16(100.0) and y.dtype == g.dtype == np.float16
    np.testing.assert_allclose(g, 1 / 3000, rtol=1e-3)


def test_covariance_is_in_double_precision_and_its_gradient_in_that_of_the_argument() -> None:
    x = RNG.standard_normal((2, 5)).astype(np.float32)
    y, pullback = fg.vjp(np.cov, x)
    assert y.dtype == np.cov(x).dtype == np.float64
    assert pullback(y)[0].dtype == np.float32


# --- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sum", "mean", "max", "prod", "var"])
def test_bad_axes(name: str) -> None:
    f = getattr(np, name)
    x = RNG.standard_normal((2, 3))
    for axis, error in ((2, np.exceptions.AxisError), (-3, np.exceptions.AxisError)):
        with pytest.raises(error):
            fg.vjp(lambda v: f(v, axis=axis), x)  # noqa: B023
    with pytest.raises(ValueError, match="axis"):
        fg.vjp(lambda v: f(v, axis=(0, 0)), x)


def test_maximum_where_needs_an_initial_value() -> None:
    x = RNG.standard_normal(3)
    with pytest.raises(ValueError, match="'maximum' does not have an identity"):
        fg.grad(lambda v: np.max(v, where=x > 0))(x)
    with pytest.raises(ValueError, match="zero-size"):
        fg.grad(lambda v: np.max(v[:0]))(x)


def test_initial_values_are_differentiable() -> None:
    x = np.array([2.0, 3.0])
    assert fg.grad(lambda s: fnp.sum(x, initial=s) * 2)(1.0) == 2.0
    assert fg.grad(lambda s: fnp.sum(s * x, initial=s))(1.0) == 6.0
    assert fg.grad(lambda s: fnp.prod(s * x, initial=s))(1.0) == 18.0
    assert fg.grad(lambda s: fnp.max(0 * s * x, initial=s))(1.0) == 1.0


@pytest.mark.parametrize(
    "f", [np.argmax, np.argmin, np.argsort, np.any, np.all, np.count_nonzero, np.nanargmax]
)
def test_positions_and_truth_are_plain(f: Any) -> None:
    x = RNG.standard_normal((2, 3))
    seen = []
    fg.grad(lambda v: (seen.append(f(v, axis=1)), np.sum(v))[1])(x)
    np.testing.assert_array_equal(seen[0], f(x, axis=1))
    assert isinstance(seen[0], np.ndarray)


# --- polynomials look at values ------------------------------------------------------------------


def test_leading_zeros_are_cut_off_as_in_numpy() -> None:
    a, b = np.array([0.0, 0.0, 1.5, -2.0]), np.array([1.0, 3.0])
    y, pullback = fg.vjp(np.polymul, a, b)
    np.testing.assert_array_equal(y, np.polymul(a, b))
    np.testing.assert_array_equal(pullback(np.ones(3))[0], [0, 0, 4, 4])


def test_roots_of_a_polynomial_with_leading_and_trailing_zeros() -> None:
    p = np.array([0.0, 1.0, -3.0, 2.0, 0.0])
    y, t = fg.jvp(np.roots, (p,), (np.array([0.0, 0.0, 1.0, 0.0, 0.0]),))
    np.testing.assert_allclose(y, np.roots(p))
    # Where p(z) = 0, a change of the coefficient of z² moves z by -z² / p'(z).
    np.testing.assert_allclose(t, np.where(y == 0, 0, -(y**2) / (3 * y**2 - 6 * y + 2)), atol=1e-12)


# --- costs ---------------------------------------------------------------------------------------


def operations(f: Any, x: Any) -> list[str]:
    """Return the names of the primitives that f records."""
    tape = Tape()
    f(tape.watch(x))
    return [entry[0].name for entry in tape.end() if entry is not None]


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (np.sum, ["reduce_sum"]),
        (np.mean, ["reduce_sum", "divide"]),
        (np.max, ["reduce_max"]),
        (np.prod, ["reduce_prod"]),
        (np.cumsum, ["cumsum"]),
        (np.sort, ["permute_along"]),
        (lambda x: np.sum(x, axis=0), ["reduce_sum"]),
        (lambda x: x.sum(axis=-1, keepdims=True), ["reduce_sum", "reshape"]),
        (lambda x: np.convolve(x, x), ["convolve"]),
        (np.fft.fft, ["fft"]),
    ],
)
def test_number_of_operations(f: Any, expected: list[str]) -> None:
    assert operations(f, RNG.standard_normal(6)) == expected


def test_long_convolution_needs_no_matrix() -> None:
    a, v = RNG.standard_normal(20000), RNG.standard_normal(2000)
    y, pullback = fg.vjp(np.convolve, a, v)
    ga, gv = pullback(np.ones_like(y))
    np.testing.assert_allclose(ga, np.full(a.size, v.sum()), rtol=1e-9)
    np.testing.assert_allclose(gv, np.full(v.size, a.sum()), rtol=1e-9)


@pytest.mark.parametrize(
    "options", [{"axis": -1}, {"axis": -1, "where": [False, True]}, {"axis": ()}]
)
@pytest.mark.parametrize("f", [np.nanmax, np.nanmin])
def test_of_nothing_but_nan_there_is_the_initial_value(f: Any, options: Any) -> None:
    x = np.array([[np.nan, np.nan], [1.0, np.nan]])
    g = lambda x: f(x, initial=2.0, **options)
    assert np.array_equal(fg.jit(g)(x), g(x))

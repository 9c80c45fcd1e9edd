"""Gamma, normal and counting families: golden values, jax.random's numbers, and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph import random
from funcgraph.errors import NonDifferentiableError, RandomKeyError

KEY = random.key(3)
D = np.float64
A = np.linspace(0.3, 6, 12)
B = A[::-1].copy()
P = np.linspace(0.05, 0.95, 12)
COV = np.array([[2.0, 0.5, 0.1], [0.5, 1.0, 0.2], [0.1, 0.2, 0.7]])
MEAN = np.array([1.0, -2.0, 3.0])
W = np.cos(np.arange(12.0))

# name: (call of a module, a key, a dtype and parameters; parameters)
DIFFERENTIABLE: dict[str, Any] = {
    "gamma": (lambda m, k, d, a: m.gamma(k, a, dtype=d), (A,)),
    "loggamma": (lambda m, k, d, a: m.loggamma(k, a, dtype=d), (A,)),
    "beta": (lambda m, k, d, a, b: m.beta(k, a, b, dtype=d), (A, B)),
    "dirichlet": (lambda m, k, d, a: m.dirichlet(k, a, dtype=d), (A,)),
    "chisquare": (lambda m, k, d, a: m.chisquare(k, a, dtype=d), (A,)),
    "f": (lambda m, k, d, a, b: m.f(k, a, b, dtype=d), (A, B)),
    "t": (lambda m, k, d, a: m.t(k, a, dtype=d), (A,)),
    "generalized_normal": (lambda m, k, d, p: m.generalized_normal(k, p, (12,), d), (1.5,)),
    "ball": (lambda m, k, d, p: m.ball(k, 3, p, (4,), d).reshape(12), (1.5,)),
    "multivariate_normal": (
        lambda m, k, d, a, b: m.multivariate_normal(k, a, b, (4,), d).reshape(12),
        (MEAN, COV),
    ),
    "multivariate_normal eigh": (
        lambda m, k, d, a, b: m.multivariate_normal(k, a, b, (4,), d, "eigh").reshape(12),
        (MEAN, COV),
    ),
    "double_sided_maxwell": (
        lambda m, k, d, a, b: m.double_sided_maxwell(k, a, b, (2,), d).sum(0),
        (A, B),
    ),
    "lognormal": (lambda m, k, d, a: m.lognormal(k, a, dtype=d), (A,)),
    "wald": (lambda m, k, d, a: m.wald(k, a, dtype=d), (A,)),
    "pareto": (lambda m, k, d, a: m.pareto(k, a, dtype=d), (A,)),
    "rayleigh": (lambda m, k, d, a: m.rayleigh(k, a, dtype=d), (A,)),
    "weibull_min": (lambda m, k, d, a, b: m.weibull_min(k, a, b, (12,), d), (A, B)),
    "triangular": (lambda m, k, d, a, b, c: m.triangular(k, a, b, c, dtype=d), (-A, A * 0.1, A)),
}
OTHERS: dict[str, Any] = {
    "maxwell": lambda m, k, d: m.maxwell(k, (30,), d),
    "double_sided_maxwell twice": lambda m, k, d: m.double_sided_maxwell(k, A.astype(d), 2, (), d),
    "multivariate_normal svd": lambda m, k, d: m.multivariate_normal(
        k, MEAN.astype(d), COV.astype(d), (2,), d, "svd"
    ),
    "orthogonal": lambda m, k, d: m.orthogonal(k, 4, (2,), d),
    "orthogonal wide": lambda m, k, d: m.orthogonal(k, 3, (), d, m=5),
    "orthogonal tall": lambda m, k, d: m.orthogonal(k, 5, (), d, m=3),
    "unitary": lambda m, k, d: m.orthogonal(k, 3, (), np.result_type(d, np.complex64)),
    "complex": lambda m, k, d: m.normal(k, (9,), np.result_type(d, np.complex64)),
    "geometric": lambda m, k, d: m.geometric(k, P.astype(d), dtype=np.int32),
    "poisson": lambda m, k, d: m.poisson(k, A.astype(np.float32), (5, 12), np.int32),
    "poisson medium": lambda m, k, d: m.poisson(
        k, A.astype(np.float32) * 4 + 10, (5, 12), np.int32
    ),
    "poisson large": lambda m, k, d: m.poisson(k, np.float32(250), (500,), np.int32),
    "poisson edges": lambda m, k, d: m.poisson(k, EDGES.astype(np.float32), dtype=np.int32),
    "binomial": lambda m, k, d: m.binomial(k, 12.0, P.astype(d), dtype=d),
    "binomial large": lambda m, k, d: m.binomial(k, 500.0, P.astype(d), (40, 12), d),
    "binomial edges": lambda m, k, d: m.binomial(k, EDGES.astype(d), d(0.3), dtype=d),
    "binomial certain": lambda m, k, d: m.binomial(k, 9, np.array([0, 1, 1.5, -1], d), dtype=d),
    "multinomial": lambda m, k, d: m.multinomial(k, 60.0, P.astype(d).reshape(4, 3), dtype=d),
    "multinomial shape": lambda m, k, d: (
        m.multinomial(k, 60.0, P.astype(d), shape=(3,))
        if m is random  # before 0.12 JAX's shape was another
        else m.multinomial(k, 60.0, np.broadcast_to(P.astype(d), (3, 12)))
    ),
}
EDGES = np.array([0.0, -1.0, np.nan, 3.0, 40.0])


# Made of gamma variates as others are, which take XLA seconds to compile.
MADE_OF_GAMMA = {"ball", "chisquare", "f", "generalized_normal", "loggamma", "t"}
BY_COST = [
    pytest.param(name, marks=pytest.mark.slow) if name in MADE_OF_GAMMA else name
    for name in DIFFERENTIABLE
]


@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [*BY_COST, *OTHERS])
def test_same_numbers_as_jax(name: str, dtype: Any) -> None:
    jax = pytest.importorskip("jax")
    if name in OTHERS:
        call = OTHERS[name]
    else:
        f, parameters = DIFFERENTIABLE[name]
        call = lambda m, k, d: f(m, k, d, *(d(v) for v in parameters))
    with jax.enable_x64(dtype == np.float64):
        wanted = np.asarray(jax.jit(lambda k: call(jax.random, k, dtype))(jax.random.key(3)))
        own = jax.jit(lambda k: call(random, k, dtype))(jax.random.key(3))
        assert isinstance(own, jax.Array)
        np.testing.assert_allclose(np.asarray(own), wanted, rtol=1e-5, atol=1e-5)
    got = call(random, KEY, dtype)
    assert isinstance(got, np.ndarray)
    assert (got.dtype.kind, got.shape) == (wanted.dtype.kind, wanted.shape)
    tol = 2e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(got, wanted, rtol=tol, atol=tol)


@pytest.mark.parametrize("name", BY_COST)
def test_gradients_lanes_and_engines(name: str) -> None:
    f, parameters = DIFFERENTIABLE[name]
    where = tuple(range(1, 1 + len(parameters)))
    loss = lambda k, *ps: (W * f(random, k, D, *ps)).sum()
    got = fg.grad(loss, where)(KEY, *parameters)
    keys = random.split(KEY, 3)
    lanes = fg.vmap(loss, (0, *[None] * len(parameters)))(keys, *parameters)
    np.testing.assert_allclose(lanes, [loss(k, *parameters) for k in keys], rtol=1e-12)
    tangents = tuple(np.ones_like(p) for p in parameters)
    moved = fg.jvp(lambda *ps: loss(KEY, *ps), parameters, tangents)[1]
    np.testing.assert_allclose(moved, sum(np.sum(g) for g in got), rtol=1e-10)
    compiled = fg.jit(fg.grad(loss, where), backend="numpy")(KEY, *parameters)
    for a, b in zip(compiled, got, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        theirs = lambda k, *ps: (W * f(jax.random, k, D, *ps)).sum()
        wanted = jax.jit(jax.grad(theirs, where))(jax.random.key(3), *parameters)
    compiled = fg.jit(fg.grad(loss, where), backend="xla")(KEY, *parameters)
    for a, b, c in zip(got, wanted, compiled, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(c, a, rtol=1e-9, atol=1e-11)


# --- the implicit derivative ---------------------------------------------------------------------


@pytest.mark.parametrize("a", [0.3, 0.7, 1.0, 2.5, 30.0, 5000.0])
def test_gamma_moves_along_its_quantile(a: float) -> None:
    special = pytest.importorskip("scipy.special")
    draw = lambda a: random.gamma(KEY, a, (40,), D)
    x, slope = fg.jvp(draw, (a,), (1.0,))
    p, q = special.gammainc(a, x), special.gammaincc(a, x)
    quantile = lambda a: np.where(p < 0.5, special.gammaincinv(a, p), special.gammainccinv(a, q))
    h = 1e-3 * a
    steps = [quantile(a + j * h) for j in (-2, -1, 1, 2)]
    wanted = (steps[0] - 8 * steps[1] + 8 * steps[2] - steps[3]) / (12 * h)
    np.testing.assert_allclose(slope, wanted, rtol=2e-7, atol=1e-200)
    curve = fg.jvp(lambda a: fg.jvp(draw, (a,), (1.0,))[1], (a,), (1.0,))[1]
    bends = -steps[0] + 16 * steps[1] - 30 * x + 16 * steps[2] - steps[3]
    np.testing.assert_allclose(curve, bends / (12 * h * h), rtol=1e-3, atol=1e-5 * np.max(x) / a**2)


def test_loggamma_does_not_underflow() -> None:
    y, slope = fg.jvp(lambda a: random.loggamma(KEY, a, (50,), D), (1e-4,), (1.0,))
    assert y.min() < -1000  # its exponential is 0
    np.testing.assert_allclose(slope, (-np.euler_gamma - y) / 1e-4, rtol=1e-3)
    x, slope = fg.jvp(lambda a: random.gamma(KEY, a, (50,), D), (1e-4,), (1.0,))
    assert (x == 0).any() and np.isfinite(slope).all() and (slope[x == 0] == 0).all()


def test_shapes_that_are_none() -> None:
    assert np.isnan(random.gamma(KEY, -1.5)) and np.isnan(random.loggamma(KEY, np.nan))
    assert random.gamma(KEY, 0.0) == 0 and random.loggamma(KEY, 0.0) == -np.inf
    assert random.poisson(KEY, np.inf) == -1 and random.binomial(KEY, np.inf, 0.5) == np.inf
    assert random.gamma(KEY, np.zeros((0, 3))).shape == (0, 3)
    assert random.gamma(KEY, 2.0, (4,), None).dtype == np.float32
    assert random.poisson(KEY, 2.0, (4,), None).dtype == np.int32


def test_third_derivative_is_refused() -> None:
    f = lambda a: random.gamma(KEY, a, (), D)
    with pytest.raises(NonDifferentiableError, match="differentiated twice"):
        fg.grad(fg.grad(fg.grad(f)))(1.5)


def test_lanes_have_their_own_parameters() -> None:
    keys = random.split(KEY, 4)
    rates = np.array([0.5, 9.0, 30.0, 300.0], np.float32)
    f = lambda k, r: (
        random.poisson(k, r, (6,)),
        random.gamma(k, r, (2,)),
        random.binomial(k, r, 0.3, (5,)),
    )
    wanted = [f(k, r) for k, r in zip(keys, rates, strict=True)]
    for a, b in zip(fg.vmap(f)(keys, rates), zip(*wanted, strict=True), strict=True):
        np.testing.assert_array_equal(a, np.stack(b))
    shared = fg.vmap(f, (None, 0))(KEY, rates)
    for a, b in zip(shared, zip(*[f(KEY, r) for r in rates], strict=True), strict=True):
        np.testing.assert_array_equal(a, np.stack(b))


# --- golden values and distributions -------------------------------------------------------------


def test_golden_values() -> None:
    for name, wanted in GOLDEN.items():
        np.testing.assert_allclose(GOLDEN_CALLS[name](random), wanted, rtol=2e-6, err_msg=name)


GOLDEN_CALLS: dict[str, Any] = {
    "gamma": lambda m: m.gamma(KEY, np.float32([0.5, 2.0, 20.0])),
    "beta": lambda m: m.beta(KEY, np.float32([0.5, 2.0, 20.0]), np.float32(2.0)),
    "dirichlet": lambda m: m.dirichlet(KEY, np.float32([0.5, 2.0, 20.0])),
    "t": lambda m: m.t(KEY, np.float32([0.5, 2.0, 20.0])),
    "wald": lambda m: m.wald(KEY, np.float32([0.5, 2.0, 20.0])),
    "maxwell": lambda m: m.maxwell(KEY, (3,)),
    "orthogonal": lambda m: m.orthogonal(KEY, 2),
    "poisson": lambda m: m.poisson(KEY, np.float32([0.5, 5.0, 20.0, 500.0])),
    "binomial": lambda m: m.binomial(KEY, 100, np.float32([0.01, 0.3, 0.5, 0.9])),
    "geometric": lambda m: m.geometric(KEY, np.float32([0.1, 0.3, 0.5, 0.01])),
}
GOLDEN: dict[str, Any] = {
    "gamma": [0.1346607506275177, 0.8083616495132446, 30.009265899658203],
    "beta": [0.004061745945364237, 0.5295345783233643, 0.9237055778503418],
    "dirichlet": [0.004350591916590929, 0.026116380468010902, 0.9695330262184143],
    "t": [-3.0336225032806396, -1.7899737358093262, -0.5024715065956116],
    "wald": [0.10842704772949219, 0.2600102424621582, 2.9941530227661133],
    "maxwell": [2.1465470790863037, 2.0670928955078125, 1.5122445821762085],
    "orthogonal": [
        [-0.9667590856552124, 0.2556886076927185],
        [0.2556886076927185, 0.966759204864502],
    ],
    "poisson": [0, 9, 14, 487],
    "binomial": [0.0, 30.0, 56.0, 92.0],
    "geometric": [25, 1, 1, 3],
}


@pytest.mark.parametrize(
    ("name", "parameters", "distribution", "its"),
    [
        ("gamma", (0.3,), "gamma", (0.3,)),
        ("gamma", (7.0,), "gamma", (7.0,)),
        ("beta", (0.5, 3.0), "beta", (0.5, 3.0)),
        ("chisquare", (3.0,), "chi2", (3.0,)),
        ("f", (5.0, 7.0), "f", (5.0, 7.0)),
        ("t", (4.0,), "t", (4.0,)),
        ("pareto", (3.0,), "pareto", (3.0,)),
        ("rayleigh", (1.0,), "rayleigh", ()),
        ("lognormal", (0.5,), "lognorm", (0.5,)),
        ("wald", (1.0,), "invgauss", (1.0,)),
        ("triangular", (0.0, 0.25, 1.0), "triang", (0.25,)),
        ("weibull_min", (1.0, 1.5), "weibull_min", (1.5,)),
        ("generalized_normal", (1.5,), "gennorm", (1.5,)),
        ("maxwell", (), "maxwell", ()),
    ],
)
def test_continuous_distributions(name: str, parameters: Any, distribution: str, its: Any) -> None:
    stats = pytest.importorskip("scipy.stats")
    x = getattr(random, name)(KEY, *parameters, shape=(20_000,), dtype=D)
    assert stats.kstest(x, distribution, its).pvalue > 1e-3


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("poisson", (3.0,)),
        ("poisson", (50.0,)),
        ("binom", (20, 0.3)),
        ("binom", (200, 0.6)),
        ("geom", (0.2,)),
    ],
)
def test_counts(name: str, parameters: Any) -> None:
    stats = pytest.importorskip("scipy.stats")
    ours = {"binom": "binomial", "geom": "geometric"}.get(name, name)
    x = np.asarray(getattr(random, ours)(KEY, *parameters, shape=(50_000,)), int)
    law = getattr(stats, name)(*parameters)
    edges = np.unique(law.ppf(np.linspace(0.02, 0.98, 12)))
    below = [np.mean(x <= e) for e in edges]
    np.testing.assert_allclose(below, law.cdf(edges), atol=4 * 0.5 / np.sqrt(x.size))


# --- keys, and errors ----------------------------------------------------------------------------


def test_names_of_keys() -> None:
    for f in (random.PRNGKey, random.key):
        np.testing.assert_array_equal(f(42), np.array([0, 42], np.uint32))
    keys = random.split(KEY, (2, 3))
    assert random.wrap_key_data(random.key_data(keys)) is keys and random.clone(KEY) is KEY
    jax = pytest.importorskip("jax")
    np.testing.assert_array_equal(np.asarray(random.key_data(jax.random.key(42))), [0, 42])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: random.key_data(np.zeros(3)), RandomKeyError, r"float64\[3\]"),
        (lambda: random.gamma(42, 1.0), RandomKeyError, r"random.key\(seed\)"),
        (lambda: random.gamma(KEY, A, (3,)), ValueError, r"\(12,\)"),
        (lambda: random.gamma(KEY, 1.0, (), np.int32), TypeError, "int32"),
        (lambda: random.dirichlet(KEY, 1.0), ValueError, r"shape \(..., n\)"),
        (lambda: random.multivariate_normal(KEY, MEAN, COV[:2]), ValueError, r"float64\[2,3\]"),
        (lambda: random.multivariate_normal(KEY, MEAN, COV, method="lu"), ValueError, "'lu'"),
        (
            lambda: random.multivariate_normal(KEY, np.ones((4, 3)), COV, (2,)),
            ValueError,
            r"\(4,\).*\(2,\)",
        ),
        (lambda: random.poisson(KEY, 1.0, dtype=np.float32), TypeError, "integer dtype"),
        (lambda: random.multinomial(KEY, 3, 0.5), ValueError, r"shape \(..., k\)"),
    ],
)
def test_errors(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("run", [lambda f: f, fg.jit], ids=["eager", "jit"])
def test_counts_at_the_borders(run: Any) -> None:
    """As jax.random: the largest integer for what is beyond it, 0 for nan (it was the least)."""
    p = np.float32([0.0, 1.0, np.inf, -np.inf, np.nan, -1.0, 2.0, 1e-30])
    for dtype in (np.int32, np.int8, np.uint16):
        most = np.iinfo(dtype).max
        with np.errstate(all="ignore"):
            got = run(lambda p, d=dtype: random.geometric(KEY, p, dtype=d))(p)
            many = run(lambda x, d=dtype: random.poisson(KEY, x, dtype=d))(np.float32([1e30, 0.0]))
        np.testing.assert_array_equal(got, [most, 1, 0, 1, 0, 0, 0, most])
        np.testing.assert_array_equal(many, [most, 0])
        assert got.dtype == many.dtype == dtype
    with np.errstate(all="ignore"):
        assert random.geometric(KEY, np.float16(0)) == 2**31 - 1

"""Activation functions against jax.nn: values, both derivatives, special values, layers."""

from __future__ import annotations

import inspect
from functools import partial
from importlib import import_module

import numpy as np
import pytest

import funcgraph as fg
from funcgraph import nn
from funcgraph.errors import ShapeError

jax = pytest.importorskip("jax")

X = np.array([-40.0, -3.0, -1.0, -0.3, 0.0, 0.4, 1.0, 2.0, 3.0, 6.0, 50.0])
ELEMENTWISE = [
    "celu", "elu", "gelu", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu", "log_sigmoid",
    "mish", "relu", "relu6", "selu", "sigmoid", "silu", "soft_sign", "softplus", "tanh",
]  # fmt: skip


def close(a, b, tol=1e-10):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=tol, atol=tol)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_as_in_jax(name):
    ours, theirs = getattr(nn, name), getattr(jax.nn, name)
    close(ours(X), theirs(X))
    each = fg.vmap(fg.grad(ours))(X)
    close(each, jax.jit(jax.vmap(jax.grad(theirs)))(X))
    close(fg.vmap(fg.grad(fg.grad(ours)))(X), jax.jit(jax.vmap(jax.grad(jax.grad(theirs))))(X))
    close(fg.jvp(ours, (X,), (np.ones_like(X),))[1], each)
    for backend in ("numpy", "xla"):
        close(fg.jit(ours, backend=backend)(X), theirs(X))
    single = X.astype(np.float32)
    assert ours(single).dtype == np.float32
    assert fg.grad(lambda x: np.sum(ours(x)))(single).dtype == np.float32
    special = np.array([np.nan, np.inf, -np.inf])
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(np.isnan(ours(special)), np.isnan(theirs(special)))


def test_gelu_exact():
    pytest.importorskip("scipy")
    theirs = lambda x: jax.nn.gelu(x, approximate=False)
    ours = lambda x: nn.gelu(x, approximate=False)
    close(ours(X), theirs(X))
    close(fg.vmap(fg.grad(ours))(X), jax.jit(jax.vmap(jax.grad(theirs)))(X))


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("axis", [0, -1])
def test_softmax(name, axis):
    x = np.random.default_rng(0).normal(size=(3, 4)) * 10
    mask = np.ones((3, 4), bool)
    mask[0, 1] = mask[2, 0] = False
    ours, theirs = getattr(nn, name), getattr(jax.nn, name)
    close(ours(x, axis), theirs(x, axis))
    found, wanted = np.asarray(ours(x, axis, mask)), np.asarray(theirs(x, axis, mask))
    close(found[mask], wanted[mask])
    weights = np.random.default_rng(1).normal(size=(3, 4))
    scalar = lambda f: lambda x: (f(x, axis) ** 2 * weights).sum()
    close(fg.grad(scalar(ours))(x), jax.jit(jax.grad(scalar(theirs)))(x))
    close(fg.hessian(scalar(ours))(x), jax.jit(jax.hessian(scalar(theirs)))(x), 1e-9)
    masked = lambda x: np.sum(np.where(mask, ours(x, axis, mask), 0) * weights)
    wanted = jax.grad(lambda x: (jax.numpy.where(mask, theirs(x, axis, mask), 0) * weights).sum())(
        x
    )
    close(fg.grad(masked)(x), wanted)


def test_logsumexp():
    x = np.array([[1e3, 1e3 - 1], [-np.inf, 2.0]])
    for axis in (None, 0, 1, -1, (0, 1)):
        close(nn.logsumexp(x, axis), jax.nn.logsumexp(x, axis))
        close(nn.logsumexp(x, axis, keepdims=True), jax.nn.logsumexp(x, axis, keepdims=True))
    close(fg.grad(nn.logsumexp)(x[0]), jax.jit(jax.grad(jax.nn.logsumexp))(x[0]))
    assert nn.logsumexp(np.full(2, -np.inf)) == -np.inf


SUMS = {
    "weights": lambda m, a, b: m.logsumexp(a, 1, b),
    "all": lambda m, a, b: m.logsumexp(a, None, b, True),
    "sign": lambda m, a, b: m.logsumexp(a, 0, b - 1, True, True),
    "sign alone": lambda m, a, b: m.logsumexp(a, (0, 1), return_sign=True),
    "where": lambda m, a, b: m.logsumexp(a, 1, b, where=MASK),
    "where alone": lambda m, a, b: m.logsumexp(a, -1, None, False, False, MASK) + b.sum(),
    "a row of weights": lambda m, a, b: m.logsumexp(a, axis=0, b=b[0]),
    "negative": lambda m, a, b: m.logsumexp(a, 1, -b, return_sign=True)[0],
}
MASK = np.array([[True, False, True], [True, True, False]])


RARE = ("all", "where", "a row of weights", "negative")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in RARE)) for n in SUMS]
)
def test_logsumexp_takes_what_jax_s_does(name):
    a, b = np.random.default_rng(2).normal(size=(2, 2, 3))
    b, f = abs(b) + 0.1, SUMS[name]
    ours, theirs = (lambda a, b, m=m: f(m, a, b) for m in (nn, jax.nn))
    first = lambda f: lambda *x: jax.tree.leaves(f(*x))[0].sum()
    for each in (
        lambda m, f: f,
        lambda m, f: m.grad(first(f), (0, 1)),
        lambda m, f: lambda a, b: m.jvp(first(f), (a, b), (b, a))[1],
        lambda m, f: m.jacfwd(m.grad(first(f), (0, 1)), (0, 1)),
        lambda m, f: lambda a, b: m.vmap(f, (0, None))(a * np.ones((2, 1, 1)), b),
    ):
        wanted = jax.tree.leaves(jax.jit(each(jax, theirs))(a, b))
        for run in (lambda f: f, fg.jit, partial(fg.jit, backend="xla")):
            for y, z in zip(fg.tree.leaves(run(each(fg, ours))(a, b)), wanted, strict=True):
                close(y, z, 1e-9)


def test_logsumexp_of_other_numbers():
    for x, b in ((np.arange(3), None), (np.array([1 + 2j, 2.0]), None), (np.arange(3), 2)):
        close(nn.logsumexp(x, b=b), jax.nn.logsumexp(x, b=b))
    with np.errstate(invalid="ignore"):
        assert np.isnan(nn.logsumexp(np.ones(2), b=-np.ones(2)))
    row = np.array([1.0, np.nan, np.inf])
    close(nn.logsumexp(row, b=row, where=[True, False, False]), 1.0)


def test_gates():
    x = np.random.default_rng(0).normal(size=(3, 4))
    close(nn.glu(x), jax.nn.glu(x))
    close(nn.swiglu(x), jax.nn.silu(x[:, :2]) * x[:, 2:])
    close(nn.swiglu(np.swapaxes(x, 0, 1), 0).T, nn.swiglu(x))
    with pytest.raises(ShapeError, match=r"even length .* length 3 along axis 0"):
        nn.glu(x, 0)


def test_one_hot():
    x = np.array([[0, 2], [7, -1]])
    close(nn.one_hot(x, 3), jax.nn.one_hot(x, 3))
    close(nn.one_hot(x, 3, axis=0), jax.nn.one_hot(x, 3, axis=0))
    assert nn.one_hot(1, 3).dtype == np.float32
    close(fg.jit(lambda x: nn.one_hot(x, 3))(x), jax.nn.one_hot(x, 3))


def test_functions_are_layers():
    model = nn.serial(nn.Dense(4), nn.relu, nn.Swiglu(), nn.LeakyRelu(negative_slope=0.5))
    shape, _ = model.init(fg.random.key(0), (-1, 3))
    assert shape == (-1, 2)
    assert model.nodes == ("dense", "relu", "swiglu", "leaky_relu")


@pytest.mark.parametrize(
    ("module", "theirs"),
    [
        ("funcgraph.nn", "jax.nn"),
        ("funcgraph.nn.initializers", "jax.nn.initializers"),
        ("funcgraph.random", "jax.random"),
        ("funcgraph.losses", "optax.losses"),
        ("funcgraph.optim", "optax"),
    ],
)
def test_no_place_of_an_argument_means_something_else_than_in_jax(module, theirs):
    ours, theirs = import_module(module), import_module(theirs)
    names = [n for n in ours.__all__ if callable(getattr(theirs, n, None))]
    assert len(names) > 4
    for name in names:
        f, g = getattr(ours, name), getattr(theirs, name)
        if isinstance(f, type) or isinstance(g, type):
            continue
        pairs = zip(inspect.signature(f).parameters, inspect.signature(g).parameters, strict=False)
        both = {*inspect.signature(f).parameters} & {*inspect.signature(g).parameters}
        assert all(a == b for a, b in pairs if a in both or b in both), name


@pytest.mark.parametrize("run", [lambda f: f, fg.jit], ids=["eager", "jit"])
def test_sums_of_no_exponentials(run) -> None:
    """As in jax.nn; NumPy has no maximum of nothing."""
    x = np.zeros((2, 0), np.float32)
    for f in (nn.softmax, nn.log_softmax):
        for y in (run(f)(x), run(fg.grad(lambda x, f=f: np.sum(f(x))))(x)):
            assert y.shape == x.shape
            assert y.dtype == x.dtype
    for weights in (None, 2.0):
        with np.errstate(divide="ignore"):
            y = run(lambda x, b=weights: nn.logsumexp(x, -1, b))(x)
        np.testing.assert_array_equal(y, [-np.inf, -np.inf])

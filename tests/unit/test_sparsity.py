"""Where Jacobians can be nonzero: tight, for all values, and never too little."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.core.aval import aval_of
from funcgraph.core.primitive import REGISTRY
from funcgraph.errors import (
    NonDifferentiableError,
)
from funcgraph.ops.strong import constant_seeds
from funcgraph.ops.triangular import solve_triangular
from funcgraph.sparse import (
    jacobian_sparsity,
    sparse_jacobian,
)
from tests.conformance.oracle import Problem, inexact
from tests.conformance.samples import SAMPLES

ss = pytest.importorskip("scipy.sparse")
importlib.import_module("funcgraph.scipy.linalg")  # has primitives of its own
importlib.import_module("funcgraph.scipy.special")

RNG = np.random.default_rng(0)
X = RNG.uniform(0.2, 1.0, 6)
BAND = np.tri(6, k=1) - np.tri(6, k=-2)


def flat(x: Any) -> Any:
    return np.concatenate([np.ravel(v) for v in fg.tree.leaves(x)])


def dense(f: Any, x: Any) -> Any:
    y = f(x)
    return fg.jacobian(lambda x: flat(f(x)))(x).reshape(flat(y).size, np.size(x))


def pattern(f: Any, x: Any = X) -> Any:
    """Return the sparsity of f at x, after comparing the sparse with the dense Jacobian."""
    found = jacobian_sparsity(f)(x)
    wanted = dense(f, x)
    assert found.dtype == bool and found.has_canonical_format
    assert not np.any((wanted != 0) & ~found.toarray())
    for mode in ("auto", "fwd", "rev"):
        jacobian = sparse_jacobian(f, mode=mode)(x)
        assert isinstance(jacobian, ss.csr_array) and jacobian.dtype == x.dtype
        np.testing.assert_allclose(jacobian.toarray(), wanted, rtol=1e-10, atol=1e-12)
    return found.toarray().astype(int)


# --- sparsity -------------------------------------------------------------------------------------

# The sparsity of each of these is exactly where the dense Jacobian at X is not zero.
M23 = RNG.uniform(0.5, 1.0, (2, 3))
TIGHT = {
    "elementwise": lambda x: np.sin(x) * np.exp(x) + 2.0 / x,
    "broadcasting": lambda x: x[:3, None] * x[None, 3:],
    "scalar": lambda x: x[0] * x,
    "constant factor": lambda x: x * np.array([0.0, 1.0, 2.0, 0.0, 1.0, 1.0]),
    "where with a constant mask": lambda x: np.where(np.arange(6) < 2, x, x[::-1]),
    "piecewise constant": lambda x: np.floor(x) + np.sign(x) + (x > 0.5) * 1.0 + 0 * x,
    "stop_gradient": lambda x: x * fg.stop_gradient(x[::-1]),
    "sum": lambda x: np.sum(x.reshape(2, 3), axis=0),
    "prod": lambda x: np.prod(x.reshape(2, 3), axis=1),
    "mean": lambda x: np.mean(x.reshape(3, 2), axis=1, keepdims=True),
    "reshape and transpose": lambda x: x.reshape(2, 3).T,
    "getitem": lambda x: (x[1:4], x[[0, 0, 5]], x[np.arange(6) % 2 == 0], x[..., None, 2]),
    "join": lambda x: (np.concatenate([x[:2], x[4:]]), np.stack([x, x[::-1]], axis=1)),
    "pad": lambda x: (np.pad(x, 2), np.pad(x, 1, mode="wrap"), np.pad(x, 2, mode="reflect")),
    "flip and roll": lambda x: np.roll(np.flip(x), 2),
    "tile and repeat": lambda x: (np.tile(x, 2), np.repeat(x, 2)),
    "at.add": lambda x: fg.at(x)[np.array([1, 1, 2])].add(x[3:] ** 2),
    "at.set": lambda x: fg.at(x)[2:4].set(x[0]),
    "at.set twice": lambda x: fg.at(x)[np.array([1, 1])].set(x[4:]),
    "cumsum": lambda x: np.cumsum(x.reshape(2, 3), axis=1),
    "cumprod": lambda x: np.cumprod(x),
    "diff": lambda x: np.diff(x, 2),
    "matmul with a band": lambda x: BAND @ x,
    "matmul with a matrix": lambda x: x.reshape(2, 3) @ M23.T,
    "matmul of two": lambda x: x[:4].reshape(2, 2) @ x[4:],
    "matmul of stacks": lambda x: x.reshape(3, 1, 2) @ np.ones((3, 2, 2)),
    "matmul broadcast": lambda x: x.reshape(1, 3, 2) @ np.ones((4, 2, 1)),
    "einsum": lambda x: np.einsum("ij,jk->ki", x.reshape(2, 3), BAND[:3, :4]),
    "einsum elementwise": lambda x: np.einsum("ij,i->ij", x.reshape(2, 3), x[:2]),
    "outer and trace": lambda x: (np.outer(x[:2], x[2:4]), np.trace(x[:4].reshape(2, 2))),
    "diagonal": lambda x: np.diag(x),
    "convolve": lambda x: (np.convolve(x, [1.0, 0.0, 2.0]), np.convolve(x, [1.0, 2.0], "valid")),
    "convolve itself": lambda x: np.convolve(x[:4], x[4:], "same"),
    "fft": lambda x: np.abs(np.fft.fft(x.reshape(2, 3), axis=0)),
    "stack of inverses": lambda x: np.linalg.inv(x[:2].reshape(2, 1, 1) * (1 + np.eye(2))),
    "solve": lambda x: np.linalg.solve(BAND[:2, :2] + np.eye(2), x.reshape(2, 3)),
    "interpolation weights": lambda x: np.interp(np.array([0.5, 2.5]), np.arange(6.0), x),
    "jit": lambda x: fg.jit(lambda x: np.roll(x, 1) * x)(x),
    "vmap": lambda x: fg.vmap(lambda row: row * np.sum(row))(x.reshape(2, 3)),
    "grad inside": lambda x: fg.grad(lambda x: np.sum(x[1:] * x[:-1]))(x),
    "map": lambda x: fg.map(lambda v: v**2, x),
    "checkpoint": lambda x: fg.checkpoint(lambda x: np.sin(x[1:]) * x[:-1])(x),
    "associative scan": lambda x: fg.associative_scan(np.multiply, x),
}  # fmt: skip


@pytest.mark.parametrize("name", TIGHT)
def test_sparsity_is_tight(name: str) -> None:
    f = TIGHT[name]
    wanted = (dense(f, X) != 0).astype(int)
    assert (pattern(f) == wanted).all()


HALVES = np.kron(np.eye(2), np.ones((1, 3)))
CROSS = np.eye(6) + np.eye(6)[::-1]

# Here the sparsity holds for all values, of which the dense Jacobian shows one case.
GLOBAL = {
    "max": (lambda x: np.max(x.reshape(2, 3), axis=1), HALVES),
    "maximum": (lambda x: np.maximum(x[:3], x[3:]), np.tile(np.eye(3), 2)),
    "where": (lambda x: np.where(x > 0.5, x, x[::-1]), CROSS),
    "cummax": (lambda x: np.maximum.accumulate(x), np.tri(6)),
    "sort": (lambda x: np.sort(x.reshape(2, 3)), np.kron(np.eye(2), np.ones((3, 3)))),
    "triangle on the right": (
        lambda x: solve_triangular(np.tri(3), x.reshape(2, 3), lower=True, right=True),
        np.kron(np.eye(2), np.ones((3, 3))),
    ),
    "traced index": (lambda x: x.reshape(2, 3)[:, np.argmax(x[:3])], HALVES),
    "traced row": (
        lambda x: np.take_along_axis(x.reshape(2, 3), np.argsort(x.reshape(2, 3))[:, :1], axis=1),
        HALVES,
    ),
    "traced add": (
        lambda x: fg.at(np.zeros(2))[np.argsort(x[:2])].add(x[4:]),
        [[0, 0, 0, 0, 1, 1]] * 2,
    ),
    "traced set": (
        lambda x: fg.at(x[:2])[np.argsort(x[:2])].set(x[4:]),
        [[1, 0, 0, 0, 1, 1], [0, 1, 0, 0, 1, 1]],
    ),
    "norm": (lambda x: np.linalg.norm(x), np.ones((1, 6))),
    "det": (lambda x: np.linalg.det(x[:4].reshape(2, 2)), [[1, 1, 1, 1, 0, 0]]),
    "svd": (lambda x: np.linalg.svd(x[:4].reshape(2, 2))[1], [[1, 1, 1, 1, 0, 0]] * 2),
    "cond": (lambda x: fg.cond(x[0] > 9, lambda x: 1.0 * x, lambda x: x[::-1], x), CROSS),
    "switch": (
        lambda x: fg.switch((x[0] > 0).astype(int), [np.sin, lambda x: 1.0 * x], x),
        np.eye(6),
    ),
}


@pytest.mark.parametrize("name", GLOBAL)
def test_sparsity_holds_for_all_values(name: str) -> None:
    f, wanted = GLOBAL[name]
    assert (pattern(f) == (np.asarray(wanted) != 0)).all()


def recurrence(x: Any) -> Any:
    return fg.scan(lambda c, v: (0.5 * c + v, c * v), x[0], x[1:])


def test_loops() -> None:
    assert (pattern(recurrence) == (dense(recurrence, X) != 0)).all()
    backward = lambda x: fg.scan(lambda c, v: (c + v, c**2), x[0], x[1:], reverse=True)
    assert (pattern(backward) == (dense(backward, X) != 0)).all()
    stencil = lambda x: fg.jit(lambda x: fg.fori_loop(0, 2, lambda i, x: x * np.roll(x, 1), x))(x)
    assert (pattern(stencil).sum(1) == 3).all()
    index = lambda x: fg.jit(
        lambda x: fg.scan(lambda c, i: (c, x[i] * x[0]), 0.0, np.arange(6))[1]
    )(x)
    assert (pattern(index) == (dense(index, X) != 0)).all()


def test_long_loops_hold_for_all_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("funcgraph.sparse.detection._MAX_EQUATIONS", 0)
    found = pattern(recurrence)
    assert (found >= (dense(recurrence, X) != 0)).all()
    separate = lambda x: fg.scan(lambda c, v: (c * x[:2], v * 2), x[:2], x[2:])[0]
    assert (pattern(separate) == np.eye(2, 6)).all()  # the carry alone


@pytest.mark.parametrize("rounds", [30, 1])
def test_while_loops(rounds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("funcgraph.sparse.detection._MAX_ROUNDS", rounds)

    def f(x: Any) -> Any:
        def step(state: Any) -> Any:
            i, y = state
            return i + 1, fg.at(y)[1:3].set(y[:2])

        return fg.while_loop(lambda s: s[0] < 1, step, (0, x))[1]

    inside = fg.jit(f)
    found = jacobian_sparsity(inside)(X).toarray()
    shift = np.zeros((6, 6), bool)
    shift[1, 0] = shift[2, 1] = shift[2, 0] = True
    if rounds == 30:
        assert (found == shift | np.eye(6, dtype=bool)).all()
    else:
        assert found.all()
    jacobian = sparse_jacobian(inside)  # reverse mode cannot pass
    assert jacobian.plan(X).mode == "fwd"
    columns = [fg.jvp(inside, (X,), (v,))[1] for v in np.eye(6)]
    np.testing.assert_array_equal(jacobian(X).toarray(), np.stack(columns, axis=1))


def test_custom_rules_say_what_the_derivative_is() -> None:
    @fg.custom_vjp
    def straight(x: Any, shift: Any) -> Any:
        return np.round(x) + shift

    straight.defvjp(lambda x, s: (straight(x, s), None), lambda _, g: (2 * g, np.sum(g)))
    f = lambda x: straight(x[:4], x[5])
    wanted = np.hstack([2 * np.eye(4, 5), np.ones((4, 1))])
    assert (jacobian_sparsity(f)(X).toarray() == (wanted != 0)).all()
    jacobian = sparse_jacobian(f)  # forward mode has no rule
    assert jacobian.plan(X).mode == "rev"
    np.testing.assert_array_equal(jacobian(X).toarray(), wanted)

    @fg.custom_jvp
    def rounded(x: Any) -> Any:
        return np.round(x), x.astype(int)

    rounded.defjvp(lambda p, t: (rounded(*p), (3 * t[0][::-1], np.zeros(t[0].shape, int))))
    assert (pattern(lambda x: rounded(x)[0]) == np.eye(6)[::-1]).all()


def test_impossible_in_both_modes() -> None:
    @fg.custom_vjp
    def only_backward(x: Any) -> Any:
        return 2 * x

    only_backward.defvjp(lambda x: (2 * x, None), lambda _, g: (2 * g,))
    loop = fg.jit(lambda x: fg.while_loop(lambda x: x[0] < 1, lambda x: x * 2, x))
    with pytest.raises(NonDifferentiableError, match=r"custom_vjp.*while_loop"):
        sparse_jacobian(lambda x: only_backward(loop(x)))(X)


def test_functions_of_jax_are_dense() -> None:
    jax = pytest.importorskip("jax")
    f = fg.from_jax(lambda x: jax.numpy.sin(x))
    assert pattern(f).all()
    x = jax.numpy.asarray(X, np.float32)
    import funcgraph.numpy as fnp

    got = sparse_jacobian(lambda x: fnp.sin(x) * fnp.asarray(BAND[0], np.float32))(x)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got.toarray(), np.diag(np.cos(X) * BAND[0]), rtol=1e-6)


def test_other_arguments_have_no_known_values() -> None:
    f = lambda x, i, scale: x[i] * scale
    jacobian = sparse_jacobian(f)
    assert jacobian.plan(X, np.array([1, 2]), 2.0).sparsity.toarray().all()
    got = jacobian(X, np.array([1, 2]), scale=2.0).toarray()
    np.testing.assert_array_equal(got, 2 * np.eye(6)[[1, 2]])


# --- every primitive ------------------------------------------------------------------------------


def tangent_pattern(f: Any, xs: tuple[Any, ...]) -> Any:
    """Return where the derivative at xs is not zero, column by column."""
    columns = []
    push = fg.linearize(f, *xs)[1]
    for k, x in enumerate(xs):
        for i in range(np.size(x)):
            ts = [np.zeros(np.shape(v), aval_of(v).dtype) for v in xs]
            ts[k].reshape(-1)[i] = 1
            with np.errstate(all="ignore"), constant_seeds():  # as a Jacobian does
                changes = push(*ts)
            columns.append(np.concatenate([np.ravel(t) for t in changes]) != 0)
    rows = sum(np.size(y) for y in f(*xs))
    return np.stack(columns, axis=1) if columns else np.zeros((rows, 0), bool)


@pytest.mark.parametrize(
    "name", sorted(n for n, s in SAMPLES.items() if any(x.positions for x in s))
)
def test_sparsity_of_every_primitive_covers_its_derivative(name: str) -> None:
    for sample in SAMPLES[name]:
        chosen = {sample.positions, *((k,) for k in sample.positions)} - {()}
        for positions in chosen:
            problem = Problem(REGISTRY[name], sample.args, positions, sample.attrs)
            wanted = tangent_pattern(problem.f, problem.xs)
            found = jacobian_sparsity(problem.f, tuple(range(len(positions))))(*problem.xs)
            assert not np.any(wanted & ~found.toarray())  # what is fixed is known
            call = lambda *args, sample=sample: inexact(REGISTRY[name](*args, **sample.attrs))
            found = jacobian_sparsity(call, positions)(*sample.args)
            assert not np.any(wanted & ~found.toarray())  # it is not known

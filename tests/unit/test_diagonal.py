"""Products with diagonal matrices become scalings, on both engines; all else stays as it is."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.core.diagonal import scaled
from funcgraph.core.simplify import simplify

RNG = np.random.default_rng(0)
N = 5
EYE = np.eye(N)
A, B, V = RNG.standard_normal((N, N)), RNG.standard_normal((N, 3)), RNG.standard_normal(N)
ROW, COLUMN = RNG.standard_normal((1, N)), RNG.standard_normal((N, 1))
DIAGONAL = np.diag(np.arange(1.0, N + 1)).astype(np.float32)


def products(graph: Any) -> int:
    return sum(e.primitive.name == "matmul" for e in graph.equations)


def check(f: Callable[..., Any], args: tuple[Any, ...], left: int) -> None:
    """The same numbers, on both engines and by the graph itself, with so many products left."""
    graph = simplify(fg.make_graph(f)(*args))
    new = scaled(graph)
    assert products(new) == left and (new is graph or left < products(graph))
    wanted = f(*args)
    dtypes = [np.asarray(y).dtype for y in fg.tree.leaves(wanted)]
    results = [fg.tree.unflatten(fg.tree.structure(wanted), new.run(*args))]
    results.append(fg.jit(f)(*args))
    if has_jax:
        results.append(fg.jit(f, backend="xla")(*args))
    for got in results:
        for g, w, dtype in zip(fg.tree.leaves(got), fg.tree.leaves(wanted), dtypes, strict=True):
            assert np.shape(g) == np.shape(w) and g.dtype == dtype
            np.testing.assert_allclose(np.asarray(g), w, rtol=1e-6, atol=1e-12)


try:
    import jax  # noqa: F401
except ImportError:
    has_jax = False
else:
    has_jax = True


@pytest.mark.parametrize(
    ("f", "args"),
    [
        (lambda b: EYE @ b, (B,)),
        (lambda b: b.T @ EYE, (B,)),
        (lambda v: EYE @ v, (V,)),
        (lambda b: DIAGONAL @ b, (B,)),
        (lambda v, b: (EYE * v) @ b, (V, B)),
        (lambda v, b: (v * EYE).T @ b, (COLUMN, B)),
        (lambda v, b: (EYE - EYE * v * v) @ b, (V, B)),
        (lambda v, b: -(EYE / v + 2.0 * EYE) @ b, (ROW, B)),
        (lambda s, b: (EYE * s) @ b, (np.array(2.5), B)),
        (lambda v, b: ((EYE * v).reshape(N, 1, N) * v).reshape(N, N) @ b, (V, B)),
        (lambda v, b: (EYE @ (EYE * v)) @ b, (V, B)),
        (lambda v, b: np.reshape((EYE * v)[:, None] * ROW, (N, N)) @ b, (V, B)),
    ],
)
def test_products_that_are_scalings(f: Callable[..., Any], args: tuple[Any, ...]) -> None:
    check(f, args, 0)


@pytest.mark.parametrize(
    ("f", "args"),
    [
        (lambda a, b: a @ b, (A, B)),
        (lambda b: np.ones((N, N)) @ b, (B,)),
        (lambda a, b: (EYE * a) @ b, (A, B)),  # its diagonal would have to be taken out
        (lambda v, b: (EYE + v) @ b, (V, B)),
        (lambda v, b: (v / EYE.clip(1)) @ b, (V, B)),
        (lambda b: np.roll(EYE, 1, 0) @ b, (B,)),
        (lambda b: np.eye(N)[:3] @ b, (B,)),
        (lambda b: np.ones((1, 1)) @ b[:1], (B,)),
        (lambda b: np.exp(EYE * b[0, 0]) @ b, (B,)),
    ],
)
def test_other_products_stay(f: Callable[..., Any], args: tuple[Any, ...]) -> None:
    check(f, args, 1)


def test_stacks_and_integers_stay() -> None:
    check(lambda b: np.eye(N, dtype=int) @ b, (np.arange(2 * N).reshape(N, 2),), 1)
    check(lambda b: np.stack([EYE, EYE]) @ b, (B,), 1)
    check(lambda b: EYE @ b, (np.stack([B, B]),), 1)


def test_the_first_product_of_a_jacobian_is_a_scaling() -> None:
    f = lambda x, a: np.tanh(A @ np.tanh(a @ x))
    jacobian = fg.jacobian(f)
    check(jacobian, (V, A), 3)  # two forward, one back
    check(fg.hessian(lambda x, a: np.sum(np.tanh(a @ x) ** 2 + np.sin(x) * x)), (V, A), 2)


@pytest.mark.parametrize("backend", ["numpy", "xla"])
def test_zeros_of_the_basis_win(backend: str) -> None:
    """A row of the Jacobian depends on its own factor, not on infinite ones of other rows."""
    pytest.importorskip("jax")
    f = lambda x, a: a @ x
    a = A.copy()
    a[1, 2] = np.inf
    got = fg.jit(fg.jacobian(f), backend=backend)(V, a)
    assert np.asarray(got).tolist() == a.tolist()


# --- products with vectors -----------------------------------------------------------------------


@pytest.mark.parametrize("f", [lambda x, v: x @ v, lambda x, v: v @ x, lambda x, v: x.T @ (x @ v)])
def test_xla_transposes_no_matrix_for_a_vector(f: Callable[..., Any]) -> None:
    """It would copy the matrix, and take forty times as long for one of 1500 x 1500."""
    jax = pytest.importorskip("jax")
    rng = np.random.default_rng(0)
    x, v = rng.standard_normal((40, 40)), rng.standard_normal(40)
    step = fg.jit(fg.grad(lambda v, x: np.sum(np.sin(f(x, v)))), backend="xla")
    assert "transpose" not in step.lower(v, x).as_text()
    with jax.enable_x64(True):
        wanted = jax.grad(lambda v, x: jax.numpy.sum(jax.numpy.sin(f(x, v))))(v, x)
    np.testing.assert_allclose(step(v, x), wanted, rtol=1e-12, atol=1e-11)


def written(n: int, m: int, dtype: Any) -> bool:
    """Return whether x.T, of the gradient of x @ w, is written to memory for the product."""
    pytest.importorskip("jax")
    x, w = (RNG.standard_normal(shape).astype(dtype) for shape in ((128, n), (n, m)))
    step = fg.jit(fg.grad(lambda w, x: np.sum(np.sin(x @ w))), backend="xla")
    wanted = x.T.astype(float) @ np.cos(x.astype(float) @ w)
    np.testing.assert_allclose(step(w, x), wanted, rtol=1e-3, atol=1e-3)
    return "optimization_barrier" in step.lower(w, x).as_text()


def test_xla_gets_large_transposed_matrices_as_matrices() -> None:
    """It reads them across their rows otherwise: the product takes up to three times as long."""
    assert written(128, 32, np.float32)
    assert not written(128, 32, np.float64)
    assert not written(160, 256, np.float32)
    assert not written(64, 2, np.float32)
    scanned = lambda w, x: fg.scan(lambda c, _: (c @ w, c), x, None, 2)[0].sum()
    args = (RNG.standard_normal((128, 128)).astype(np.float32) for _ in range(2))
    lowered = fg.jit(fg.grad(scanned), backend="xla").lower(*args)
    assert "optimization_barrier" in lowered.as_text()


def test_xla_may_compute_what_is_transposed_in_the_order_in_which_it_is_read() -> None:
    pytest.importorskip("jax")
    for rule in (np.tanh, fg.nn.relu, lambda x: np.where(x > 0, x, 1).reshape(64, 256)):
        loss = lambda w, x, rule=rule: np.sum(np.sin(rule(x) @ w))
        args = (RNG.standard_normal(shape).astype(np.float32) for shape in ((256, 64), (64, 256)))
        text = fg.jit(fg.grad(loss), backend="xla").lower(*args).as_text()
        assert "optimization_barrier" not in text


# --- constants that XLA computes ------------------------------------------------------------------

SEEDS = np.eye(12)
TWICE = SEEDS.copy()
TWICE[0, 5] = 1
NEARLY = SEEDS.copy()
NEARLY[0, 5] = -0.0
COMPUTED = {
    "identity": SEEDS,
    "single": SEEDS.astype(np.float32),
    "complex": SEEDS * (1 - 2j),
    "a leaf": SEEDS[:, 3:9].reshape(12, 2, 3),
    "cut off": SEEDS[:10, 1:],
    "padded": np.pad(SEEDS, ((0, 0), (2, 1)))[:, None],
    "negative": -3.0 * SEEDS,
    "in columns": np.asfortranarray(SEEDS[:, 1:]),
    "permuted": SEEDS[:, ::-1],
    "some rows": np.repeat(SEEDS, 2, 0)[1:] * (np.arange(23) % 4 > 0)[:, None],
    "undefined": np.where(SEEDS == 1, np.nan, 2 * SEEDS),
}
EMBEDDED = {
    "two in a row": TWICE,
    "zeros of two signs": NEARLY,
    "unequal": SEEDS * np.arange(1.0, 13),
    "zeros": np.zeros((12, 12)),
    "integers": np.eye(12, dtype=int),
    "small": np.eye(3),
    "one row": np.eye(100)[70],
    "a view": np.broadcast_to(A[0, 0], (12, 12)),
}


@pytest.mark.parametrize("name", COMPUTED | EMBEDDED)
def test_constants_that_xla_computes(name: str) -> None:
    """The same bits; XLA's own folding does not put the constant back."""
    pytest.importorskip("jax")
    constant = (COMPUTED | EMBEDDED)[name]
    f = fg.jit(lambda x: np.copysign(1, np.real(constant)) * x + constant, backend="xla")
    lowered = fg.jit(lambda x: x * constant, backend="xla").lower(2.0)
    for text in (lowered.as_text(), lowered.compile().as_text()):
        assert ("iota" in text) == (name in COMPUTED)
    same = fg.jit(lambda x: (constant, x), backend="xla")(2.0)[0]
    assert np.asarray(same).tobytes() == np.ascontiguousarray(constant).tobytes()
    np.testing.assert_array_equal(f(2.0), np.copysign(1, np.real(constant)) * 2.0 + constant)


@pytest.mark.parametrize("mode", [fg.jacrev, fg.jacfwd, fg.hessian])
def test_jacobians_on_xla_embed_no_seeds(mode: Any) -> None:
    jax = pytest.importorskip("jax")
    theirs = {fg.jacrev: jax.jacrev, fg.jacfwd: jax.jacfwd, fg.hessian: jax.hessian}[mode]
    p = {"a": RNG.standard_normal((20, 3)), "b": RNG.standard_normal(40)}

    def f(p: Any) -> Any:
        rows = (p["b"][1:] - p["b"][:-1] ** 2) ** 2
        y = (p["a"] * rows[:3] + p["b"][::2, None]) ** 2
        return y.sum() if mode is fg.hessian else y

    compiled = fg.jit(mode(f), backend="xla")
    with jax.enable_x64(True):
        wanted = jax.jit(theirs(f))(p)
    for got, want in zip(fg.tree.leaves(compiled(p)), fg.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)
    constants = re.findall(r"f64\[[\d,]+\]\S* constant\(", compiled.lower(p).compile().as_text())
    assert not constants

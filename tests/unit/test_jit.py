"""jit on both engines: caching, composition, errors, memory."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import funcgraph as fg
import funcgraph.numpy as fnp
from funcgraph.errors import ConcretizationError, LeakedTracerError, StaticArgumentError, TreeError

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((3, 4)), RNG.standard_normal((4, 2))


@pytest.fixture(params=["numpy", "xla"])
def backend(request: pytest.FixtureRequest) -> str:
    if request.param == "xla":
        pytest.importorskip("jax")
    return str(request.param)


def same(got: Any, wanted: Any, tol: float = 1e-10) -> None:
    for g, w in zip(fg.tree.leaves(got), fg.tree.leaves(wanted), strict=True):
        assert np.shape(g) == np.shape(w)
        np.testing.assert_allclose(np.asarray(g), w, rtol=tol, atol=tol)


def loss(params: Any, x: Any) -> Any:
    h = np.tanh(x @ params["w"]) * params["s"] + params["b"][0]
    return np.sum(h**2) / x.shape[0]


PARAMS = {"w": Y, "s": 0.5, "b": [np.arange(2.0)]}


# --- composition ---------------------------------------------------------------------------------

TRANSFORMS = {
    "value": lambda f: f,
    "grad": fg.grad,
    "value_and_grad": fg.value_and_grad,
    "jvp": lambda f: lambda p, x: fg.jvp(f, (p, x), (p, x)),
    "vjp": lambda f: lambda p, x: fg.vjp(f, p, x)[1](np.float64(1.0)),
    "hvp": lambda f: lambda p, x: fg.jvp(fg.grad(f), (p, x), (p, x)),
    "hessian": lambda f: fg.hessian(f, 1),
    "jacfwd": lambda f: fg.jacfwd(f, (0, 1)),
    "vmap": lambda f: lambda p, x: fg.vmap(f, (None, 0))(p, np.stack([x, 2 * x])),
    "vmap_grad": lambda f: lambda p, x: fg.vmap(fg.grad(f), (None, 0))(p, np.stack([x, 2 * x])),
    "grad_vmap": lambda f: fg.grad(lambda p, x: fg.vmap(f, (None, 0))(p, x[:, None]).sum()),
    "third": lambda f: (
        lambda p, x: fg.grad(
            lambda s: fg.grad(lambda s: fg.grad(lambda s: f({**p, "s": s}, x))(s))(s)
        )(0.3)
    ),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_inside_and_outside(name: str, backend: str) -> None:
    transform = TRANSFORMS[name]
    wanted = transform(loss)(PARAMS, X)
    compiled = fg.jit(loss, backend=backend)
    same(transform(compiled)(PARAMS, X), wanted)
    same(fg.jit(transform(loss), backend=backend)(PARAMS, X), wanted)
    same(fg.jit(transform(compiled), backend=backend)(PARAMS, X), wanted)


def test_only_what_is_differentiated_is_computed() -> None:
    compiled = fg.jit(lambda w, x: np.sum(np.tanh(x @ w)))
    graph = fg.make_graph(fg.grad(compiled))(Y, X)
    (_, back) = [e for e in graph.equations if e.primitive.name == "jit_call"]
    assert len(back.outputs) == 1  # no cotangent of x
    assert sum(e.primitive.name == "matmul" for e in back.subgraphs[0].equations) == 1


def test_closures_over_traced_values(backend: str) -> None:
    def f(x: Any) -> Any:
        return np.sum(fg.jit(lambda y: x * np.sin(y), backend=backend)(x))

    same(fg.grad(f)(X), np.sin(X) + X * np.cos(X))
    same(fg.vmap(f)(X), np.sum(X * np.sin(X), 1))
    inner = fg.jit(lambda y: y * state[0], backend=backend)
    state = [2.0]
    same(inner(X), 2 * X)

    def g(x: Any) -> Any:
        state[0] = x
        return np.sum(inner(X.sum()))

    same(fg.grad(g)(3.0), X.sum())
    same(fg.grad(g)(4.0), X.sum())


# --- values --------------------------------------------------------------------------------------


def test_dtypes_are_those_of_numpy(backend: str) -> None:
    f = lambda x, s: (x * s, x.sum(), np.sqrt(x), x > 0, x.astype(np.int32))
    for dtype in (np.float16, np.float32, np.float64, np.complex64):
        x = np.linspace(0, 1, 5).astype(dtype)
        for s in (2.0, 2, np.float32(2)):
            got, wanted = fg.jit(f, backend=backend)(x, s), None
            with np.errstate(all="ignore"):
                wanted = f(x, s) if dtype != np.complex64 else None
            if wanted is not None:
                assert [np.asarray(g).dtype for g in got] == [w.dtype for w in wanted]


def test_xla_results_stay_on_the_device() -> None:
    jax = pytest.importorskip("jax")
    step = fg.jit(lambda x: x * 2, backend="xla")
    y = step(X)
    assert isinstance(y, jax.Array) and y.dtype == np.float64
    assert isinstance(step(y), jax.Array)
    assert "stablehlo" in step.lower(X).as_text()
    donating = fg.jit(lambda x: x + 1, backend="xla", donate_argnums=0)
    z = jax.numpy.asarray(X, np.float32)
    lowered = donating.lower(z)
    donating(z)
    assert z.is_deleted()
    assert lowered.compile().memory_analysis().alias_size_in_bytes == z.nbytes


class Pair(NamedTuple):
    a: Any
    b: Any


def test_repeated_calls_on_xla() -> None:
    """The way past taking arguments apart gives what the long way gives, and only to its like."""
    jax = pytest.importorskip("jax")
    traces = []

    def f(p: Any, s: Any) -> Any:
        traces.append(s)
        return {"z": Pair(p["w"] * s, None), "a": [p["b"].sum()]}

    step = fg.jit(f, backend="xla")
    w, b = jax.numpy.arange(3, dtype=np.float32), jax.numpy.ones((2, 2), np.float32)
    several = [
        ({"w": w, "b": b}, 2.0),
        ({"w": w, "b": b}, 2),
        ({"w": w, "b": b}, np.float32(2)),
        ({"w": w, "b": b}, np.array(2.0)),
        ({"w": w, "b": b[0]}, 2.0),
        ({"w": w.astype(np.int32), "b": b}, 2.0),
        ({"w": np.arange(4.0), "b": b}, 2.0),
        ({"w": w, "b": b, "c": None}, 2.0),
    ]
    for args in several * 3:
        for _ in range(3):
            got, wanted = step(*args), f(*fg.tree.map(np.asarray, args[:1]), args[1])
            assert list(got) == ["a", "z"] and isinstance(got["z"], Pair) and got["z"].b is None
            same(got["z"].a, wanted["z"].a)
            same(got["a"][0], wanted["a"][0])
            assert got["z"].a.dtype == np.asarray(wanted["z"].a).dtype
    count, calls = len(several), 9 * len(several)
    assert step.cache_info()[:2] == (calls - count, count)
    # Tracers of either library look like arrays.
    loss = lambda w: step({"w": w, "b": b}, 2.0)["z"].a.sum()
    assert jax.grad(loss)(w).tolist() == np.asarray(fg.grad(loss)(w)).tolist() == [2.0] * 3
    assert jax.jit(loss)(w) == loss(w) == 6
    step.clear_cache()
    traces.clear()
    step({"w": w, "b": b}, 2.0)
    assert len(traces) == 1


def test_first_call_on_xla_inside_jax() -> None:
    """What is learnt while JAX traces is not taken for an array."""
    pytest.importorskip("jax")
    code = (
        "import jax, funcgraph as fg\n"
        "f = fg.jit(lambda x: x * 2.0, backend='xla')\n"
        "g = lambda x: f(x) + f(jax.numpy.ones(2)) + f(x)\n"
        "x = jax.numpy.ones(2)\n"
        "assert jax.jit(g)(x).tolist() == g(x).tolist() == [6.0, 6.0]\n"
        "assert jax.vmap(g)(x[None])[0].tolist() == [6.0, 6.0]\n"
        "assert jax.grad(lambda x: g(x).sum())(x).tolist() == [4.0, 4.0]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_keys_without_an_order_are_refused_on_xla() -> None:
    pytest.importorskip("jax")
    f = fg.jit(lambda t: t["a"] * 2, backend="xla")
    f({"a": X})
    with pytest.raises(TreeError, match="must be sortable"):
        f({1: X, "a": X})


def test_outputs_are_the_callers_own() -> None:
    big = RNG.standard_normal((100, 100))
    f = fg.jit(lambda x: (np.sin(x) + 1, x, x.T, np.full((2,), 3.0), np.exp(np.cos(x)).T))
    first = f(big)
    kept = [np.array(v) for v in first]
    f(big + 1)
    same(first, kept, 0)
    for v in first:
        v[...] = 0
    assert big.any()
    same(f(big), kept, 0)


def test_a_buffer_is_read_as_it_is_when_it_is_used(backend: str) -> None:
    buffer = np.empty(3)

    def f(x: Any) -> Any:
        for factor in (1.0, 2.0, 2.0, 3.0, 0.0, -0.0):
            buffer[:] = factor
            x = x * buffer if factor else x + 1 / (buffer + x)
        return x

    compiled = fg.jit(f, backend=backend)
    wanted = f(np.ones(3))
    same(compiled(np.ones(3)), wanted)
    buffer[:] = 7.0  # what is written later does not change the program
    same(compiled(np.ones(3)), wanted)
    assert len(fg.make_graph(f)(np.ones(3)).constants) == 5


def test_recursion_and_threads() -> None:
    big = RNG.standard_normal((200, 100))
    f = fg.jit(lambda x: np.tanh(np.sin(x) * np.cos(x) + np.exp(-x * x)).sum(0))
    wanted = [f(big * k) for k in range(8)]
    got: list[Any] = [None] * 8

    def work(k: int) -> None:
        for _ in range(20):
            got[k] = f(big * k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    same(got, wanted, 0)


def test_pytrees_scalars_and_none(backend: str) -> None:
    f = lambda t, n=None: {"a": (t["x"] + 1, None), "b": [t["y"] * 2, 7]}
    got = fg.jit(f, backend=backend)({"x": 1.5, "y": X})
    same(got, {"a": (2.5, None), "b": [2 * X, 7]})


# --- cache ---------------------------------------------------------------------------------------


def test_a_signature_is_staged_once(backend: str) -> None:
    calls = []

    @fg.jit(backend=backend, static_argnames="n", static_argnums=(2,))
    def f(x: Any, n: int = 1, mode: str = "a") -> Any:
        """Document."""
        calls.append(1)
        return x * n if mode == "a" else x

    assert f.__name__ == "f" and f.__doc__ == "Document."
    for _ in range(3):
        same(f(X), X)
        same(f(X, n=2), 2 * X)
        same(f(X, 2), 2 * X)
        same(f(X, 2, "b"), X)
        f(X.astype(np.float32))
        f(2.0)
        f(3)
    assert len(calls) == f.cache_info().misses
    assert len(calls) == 7
    assert f.cache_info().hits == 14
    text = f.explain_recompiles()
    assert "first call" in text and "test_jit.py" in text
    assert "leaf 0: float32[3, 4], before float64[3, 4]" in text or "static arguments" in text
    fg.clear_caches()
    f(X)
    assert len(calls) == 8


def test_the_cache_is_bounded() -> None:
    f = fg.jit(lambda x: np.sin(x) + 1)
    for n in range(300):
        f(np.zeros(n))
    assert f.cache_info().currsize == 128
    gc.collect()


def test_programs_die_with_their_function() -> None:
    gc.collect()
    before = sum(isinstance(x, fg.Graph) for x in gc.get_objects())
    fg.grad(fg.jit(lambda x: np.sum(np.sin(x))))(X)
    gc.collect()
    assert sum(isinstance(x, fg.Graph) for x in gc.get_objects()) <= before


# --- errors --------------------------------------------------------------------------------------


def test_branching_on_a_value_is_refused(backend: str) -> None:
    def f(x: Any) -> Any:
        if x > 0:
            return x
        return -x

    with pytest.raises(ConcretizationError, match=r"funcgraph.cond") as error:
        fg.jit(f, backend=backend)(1.0)
    assert "test_jit.py" in str(error.value)
    with pytest.raises(ConcretizationError):
        fg.jit(lambda x: x[x > 0], backend=backend)(X)
    assert fg.jit(f, static_argnums=0, backend=backend)(2.0) == 2


def test_static_arguments_must_be_marked_and_hashable() -> None:
    with pytest.raises(StaticArgumentError, match="is a str"):
        fg.jit(lambda x, mode: x)(X, "fast")
    with pytest.raises(StaticArgumentError, match="ndarray, which has no hash"):
        fg.jit(lambda x: x, static_argnums=0)(X)
    with pytest.raises(ValueError, match="backend"):
        fg.jit(np.sin, backend="tpu")
    with pytest.raises(ValueError, match="no arguments"):
        fg.jit(lambda x: x, static_argnames="y")
    with pytest.raises(TypeError, match="needs a function"):
        fg.jit(3)


def test_leaks_are_refused() -> None:
    kept = []
    fg.jit(lambda x: kept.append(x) or x)(X)
    with pytest.raises(LeakedTracerError):
        kept[0] + 1


# --- graphs --------------------------------------------------------------------------------------


def test_graphs_are_simplified() -> None:
    f = fg.jit(lambda x: (np.sin(x) * 1.0 + np.sin(x)).T.T - 0 + (x * 2).sum() * 0)
    names = [e.primitive.name for e in f.graph(X).equations]
    assert names.count("sin") == 1 and "transpose" not in names


def test_equal_numbers_of_other_types_are_not_merged() -> None:
    same(fg.jit(lambda x: (x[1], x[True]))(X), (X[1], X[None]))
    same(fg.jit(lambda x: (x * 0.0, x * -0.0))(np.ones(1)), (np.zeros(1), -np.zeros(1)))
    got = fg.jit(lambda x: (np.copysign(1, x * 0.0), np.copysign(1, x * -0.0)))(np.ones(1))
    same(got, (np.ones(1), -np.ones(1)))


def test_fnp_functions_run_under_jax_too() -> None:
    jax = pytest.importorskip("jax")
    f = lambda x: fnp.sum(fg.jit(lambda y: fnp.sin(y) * 2)(x))
    same(jax.grad(f)(X), 2 * np.cos(X))
    same(jax.jit(fg.grad(f))(X), 2 * np.cos(X))


# --- finite where eager gradients are ------------------------------------------------------------

SINGULAR = {
    "where": (lambda x: np.sum(np.where(x > 0, np.sqrt(x), 0.0)), np.array([0.0, 4.0])),
    "norm": (np.linalg.norm, np.zeros(2)),
    "power": (lambda x: np.sum(x**0.0), np.zeros(2)),
    "scan": (
        lambda x: fg.scan(lambda c, v: (c + np.where(v > 0, np.sqrt(v), 0.0), None), 0.0, x)[0],
        np.array([0.0, 4.0]),
    ),
    "cond": (
        lambda x: fg.cond(x[0] < 1, lambda v: np.linalg.norm(v), lambda v: v.sum(), x),
        np.zeros(2),
    ),
}


@pytest.mark.parametrize("name", SINGULAR)
def test_gradients_are_finite_where_eager_ones_are(name: str) -> None:
    f, x = SINGULAR[name]
    wanted = fg.grad(f)(x)
    assert np.isfinite(wanted).all()
    same(fg.jit(fg.grad(f))(x), wanted)
    same(fg.grad(fg.jit(f))(x), wanted)
    same(fg.jit(fg.grad(fg.jit(f)))(x), wanted)
    same(fg.jit(lambda x: fg.jvp(f, (x,), (np.ones_like(x),))[1])(x), wanted.sum())
    if name == "power":
        return  # its rule needs no second sweep
    compiled = fg.jit(fg.grad(f))
    compiled(x + 1)
    assert compiled.cache_info().misses == 1  # what is not needed is not compiled
    compiled(x)
    assert compiled.cache_info().misses == 2
    assert "not finite" in compiled.explain_recompiles()


@pytest.mark.parametrize(("static", "donated"), [(0, 1), (-3, -2), ((), 1)])
def test_donated_arguments_are_counted_with_static_ones(static: Any, donated: int) -> None:
    """They were counted without: the argument behind the donated one was written to."""
    options = {"static_argnums": static} if static != () else {"static_argnames": "n"}
    f = lambda n, x, y: (n * (np.exp(x) + 1), 3 * (y + 1))
    x, y = np.ones((300, 300)), np.ones((300, 300))
    step = fg.jit(f, donate_argnums=donated, **options)
    results = step(2, x, y)
    assert any(np.shares_memory(r, x) for r in results)
    assert np.all(y == 1)
    assert step.memory_report(2, x, y).peak
    with pytest.raises(ValueError, match=r"donate_argnums=\(0,\).* of which \[0\] are static"):
        fg.jit(f, static_argnums=0, donate_argnums=0)(2, x, y)


def test_donated_arguments_that_are_not_there() -> None:
    with pytest.raises(ValueError, match=r"donate_argnums=\(3,\), but sin was called with 1"):
        fg.jit(np.sin, donate_argnums=3)(np.zeros(2))


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_gradients_of_det_of_singular_matrices(rank: int, dtype: Any) -> None:
    pytest.importorskip("jax")
    columns = np.array([[1.0, 2.0, 3.0], [0.0, 1.0, -1.0], [2.0, 0.5, 1.0]]).T
    x = np.stack([columns[:, :rank] @ columns[:rank], columns]).astype(dtype)
    gradient = fg.grad(lambda x: np.real(np.sum(np.linalg.det(x))))
    wanted = gradient(x)
    assert np.isfinite(wanted).all()
    for backend in ("numpy", "xla"):
        got = np.asarray(fg.jit(gradient, backend=backend)(x))
        np.testing.assert_allclose(got, wanted, rtol=1e-10, atol=1e-12)

"""vmap beyond single operations: axes, chunks, loops, names, nesting; against JAX and loops."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
import funcgraph.numpy as fnp
from funcgraph.errors import BatchAxisError, ConcretizationError, LeakedTracerError

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((3, 4)), RNG.standard_normal((4, 3))


def same(got: Any, wanted: Any, tol: float = 1e-12) -> None:
    leaves = zip(fg.tree.leaves(got), fg.tree.leaves(wanted), strict=True)
    for g, w in leaves:
        assert np.shape(g) == np.shape(w)
        np.testing.assert_allclose(g, w, rtol=tol, atol=tol)


# --- axes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_axes", [0, 1, -1, (0, None), (1, 0), [-2, None], (None, 1)])
@pytest.mark.parametrize("out_axes", [0, -1, 1])
def test_axes_are_those_of_jax(in_axes: Any, out_axes: int) -> None:
    jax = pytest.importorskip("jax")
    a = RNG.standard_normal((3, 3))
    f = lambda x, y: (fnp.outer(x, y), x * 2)
    out = (out_axes, 0)
    same(fg.vmap(f, in_axes, out)(a, a + 1), jax.vmap(f, in_axes, out)(a, a + 1))


def test_axes_of_pytrees() -> None:
    tree = {"a": X, "b": (Y, 2.0)}
    f = lambda t, k: {"s": t["a"] + t["b"][0] * t["b"][1], "k": k}
    in_axes = ({"a": 0, "b": (1, None)}, None)
    got = fg.vmap(f, in_axes, {"s": 1, "k": None})(tree, 7)
    same(got, {"s": (X + 2 * Y.T).T, "k": 7})
    same(fg.vmap(lambda x, *, y: x @ y)(X, y=Y.T), np.sum(X * Y.T, 1))


def test_outputs_that_do_not_depend_on_the_lane() -> None:
    got = fg.vmap(lambda x: (1.0, np.arange(2), None))(X)
    same(got, (np.ones(3), np.tile(np.arange(2), (3, 1)), None))
    got[1][0, 0] = 5  # a copy, not a view that repeats
    same(fg.vmap(lambda: np.ones(2), axis_size=4)(), np.ones((4, 2)))


def test_no_lanes() -> None:
    same(fg.vmap(lambda x: x.sum())(np.zeros((0, 4))), np.zeros(0))


def test_dtypes_stay() -> None:
    x = X.astype(np.float32)
    y = fg.vmap(lambda x: np.tanh(x) * 0.5 + 1)(x)
    assert y.dtype == np.float32
    assert fg.vmap(lambda x: x > 0)(X).dtype == bool


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fg.vmap(np.add)(X, Y), r"argument \[0\]: 3, argument \[1\]: 4"),
        (lambda: fg.vmap(np.sin)(1.0), r"argument \[0\] has shape \(\)"),
        (lambda: fg.vmap(np.sin, 2)(X), r"no axis 2"),
        (lambda: fg.vmap(np.sin, None)(X), "maps over no argument"),
        (lambda: fg.vmap(np.sin, (0, 0))(X), "2 entries"),
        (lambda: fg.vmap(np.sin, {"a": 0})(X), "in_axes does not match"),
        (lambda: fg.vmap(np.sin, ("x",))(X), "ints and None"),
        (lambda: fg.vmap(np.sin, out_axes=None)(X), "depends on the lane"),
        (lambda: fg.vmap(np.sin, out_axes=2)(X), "out_axes has 2"),
        (lambda: fg.vmap(np.sin, axis_size=5)(X), "axis_size=5"),
        (lambda: fg.vmap(lambda x: x)("text"), "no axis to map over"),
        (lambda: fg.psum(1.0, "i"), "no batch axis named 'i'"),
    ],
)
def test_errors_say_what_was_passed(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(BatchAxisError, match=message) as error:
        call()
    assert "test_vmap.py" in str(error.value)


def test_branching_on_a_lane_is_refused() -> None:
    with pytest.raises(ConcretizationError, match=r"funcgraph.cond, .* method='loop'"):
        fg.vmap(lambda x: x if x > 0 else -x)(np.array([1.0, -1.0]))
    with pytest.raises(ConcretizationError):
        fg.vmap(lambda x: x[x > 0])(X)
    with pytest.raises(ConcretizationError):
        fg.vmap(fg.grad(lambda x: x if x > 0 else -x))(np.array([1.0, -1.0]))


def test_leaked_lanes_are_refused() -> None:
    kept = []
    fg.vmap(kept.append)(X)
    with pytest.raises(LeakedTracerError):
        kept[0] + 1


# --- loop and chunks -----------------------------------------------------------------------------


def test_loop_returns_an_output_once_only_if_it_is_the_same_in_all_lanes() -> None:
    f = lambda x: (np.float64(2), x, np.full(2, np.nan))
    once = fg.vmap(f, out_axes=(None, 0, None), method="loop")(np.arange(3.0))
    same(once, fg.vmap(f, out_axes=(None, 0, None))(np.arange(3.0)))
    w, x = np.arange(2.0), np.arange(3.0)
    for g in (lambda x: x, lambda x: np.where(x > 1, 0.0, -0.0), lambda x: {"a": (1, x > 1)}):
        for method in ("batch", "loop"):
            with pytest.raises(BatchAxisError, match="out_axes is None for an output of shape"):
                fg.vmap(g, out_axes=None, method=method)(x)
    whole = lambda w: fg.vmap(lambda x: (w, x * w), out_axes=(None, 0), method="loop")(x)
    same(fg.jit(whole)(w), whole(w))
    for wrong in (lambda x: x - fg.stop_gradient(x), lambda x: 0 * x):  # of other derivatives
        with pytest.raises(BatchAxisError, match="or is traced"):
            fg.grad(fg.vmap(wrong, out_axes=None, method="loop"))(x)


def test_loop_calls_the_function_for_each_lane() -> None:
    f = lambda x: (x if x.sum() > 0 else -2 * x, {"n": 1})
    want = [f(x)[0] for x in X]
    same(fg.vmap(f, method="loop")(X), (np.stack(want), {"n": np.ones(3)}))
    same(fg.vmap(lambda x: x, 1, 1, method="loop")(X), X)
    g = fg.grad(
        lambda x: fg.vmap(lambda r: r[0] if r[0] > 0 else r[1] ** 2, method="loop")(x).sum()
    )
    jac = np.zeros_like(X)
    for i, r in enumerate(X):
        jac[i, 0 if r[0] > 0 else 1] = 1.0 if r[0] > 0 else 2 * r[1]
    same(g(X), jac)
    with pytest.raises(ValueError, match="method"):
        fg.vmap(np.sin, method="fast")


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_chunks_give_the_same(size: int) -> None:
    x = RNG.standard_normal((5, 4))
    seen = []

    def f(x: Any) -> Any:
        seen.append(x._trace.size)
        return np.outer(x, x), x.sum()

    same(fg.vmap(f, chunk_size=size, out_axes=(1, 0))(x), fg.vmap(f, out_axes=(1, 0))(x))
    assert max(seen[:-1]) == min(size, 5)


# --- names ---------------------------------------------------------------------------------------

COLLECTIVES = {
    "psum": lambda m, np: lambda x: np.tanh(x) * m.psum(x * x, "i"),
    "pmean": lambda m, np: lambda x: (x - m.pmean(x, "i")) ** 2,
    "index": lambda m, np: lambda x: x * m.axis_index("i"),
    "gather": lambda m, np: lambda x: np.sin(m.all_gather(x, "i")) * x,
    "gather1": lambda m, np: lambda x: np.sum(m.all_gather(x, "i", axis=1), 1) * x,
    "constant": lambda m, np: lambda x: x + m.psum(np.ones(4), "i"),
}


@pytest.mark.parametrize("name", COLLECTIVES)
def test_collectives_are_those_of_jax(name: str) -> None:
    jax = pytest.importorskip("jax")
    jnp = jax.numpy
    ours, theirs = COLLECTIVES[name](fg, np), COLLECTIVES[name](jax.lax, jnp)
    same(fg.vmap(ours, axis_name="i")(X), jax.vmap(theirs, axis_name="i")(X))

    def derivative(m: Any, f: Any) -> Any:
        inner = lambda x: m.vjp(f, x)[0]
        pulled = lambda x: m.vjp(f, x)[1](inner(x))[0]
        return m.vmap(pulled, axis_name="i")(X)

    same(derivative(fg, ours), derivative(jax, theirs), 1e-9)
    loss = lambda m, f: lambda x: (m.vmap(f, axis_name="i")(x) ** 2).sum()
    same(fg.grad(loss(fg, ours))(X), jax.grad(loss(jax, theirs))(X), 1e-9)
    jvp = lambda m, f: m.vmap(lambda x: m.jvp(f, (x,), (x,))[1], axis_name="i")(X)
    same(jvp(fg, ours), jvp(jax, theirs), 1e-9)


def test_extremes_over_lanes() -> None:
    f = lambda x: fg.pmax(x, "i") - 2 * fg.pmin(x, "i")
    same(fg.vmap(f, axis_name="i")(X), np.tile(X.max(0) - 2 * X.min(0), (3, 1)))
    g = fg.grad(lambda x: fg.vmap(f, axis_name="i", out_axes=None)(x).sum())(X)
    same(g, (X.max(0) == X) - 2.0 * (X.min(0) == X))


def test_nested_names() -> None:
    f = lambda x: fg.psum(x, "rows") + 10 * fg.psum(x, "columns")
    got = fg.vmap(fg.vmap(f, axis_name="columns"), axis_name="rows")(X)
    same(got, X.sum(0) + 10 * X.sum(1)[:, None])


SEVERAL: dict[str, Callable[[Any, Any, Any], Callable[[Any], Any]]] = {
    "psum": lambda m, np, names: lambda x: np.tanh(x) * m.psum(x * x, names),
    "pmean": lambda m, np, names: lambda x: x * m.pmean(np.sin(x), names),
    "size": lambda m, np, names: lambda x: x / m.psum(1.0, names),
    "gather": lambda m, np, names: lambda x: np.cumsum(m.all_gather(x, names) ** 2, 0)[2] * x,
    "gather1": lambda m, np, names: lambda x: m.all_gather(x, names, axis=1)[:, 1] * x,
    "number": lambda m, np, names: lambda x: x * m.axis_index(names),
    "mixed": lambda m, np, names: lambda x: m.psum(x, names) * m.psum(x, "i") / m.pmean(x, "j"),
}
CUBE = RNG.standard_normal((2, 3, 4)) + 3


def _twice(m: Any, f: Any) -> Any:
    return m.vmap(m.vmap(f, axis_name="j"), axis_name="i")


@pytest.mark.parametrize(
    "names", [("i", "j"), *(pytest.param(n, marks=pytest.mark.slow) for n in (("j", "i"), ("j",)))]
)
@pytest.mark.parametrize("name", SEVERAL)
def test_collectives_over_several_axes_are_those_of_jax(name: str, names: Any) -> None:
    jax = pytest.importorskip("jax")

    def gathered(x: Any, names: Any, axis: int = 0) -> Any:  # JAX's own fails for several
        for one in reversed(names):
            y = jax.lax.all_gather(x, one, axis=axis)
            x = y if one == names[-1] else y.reshape(*x.shape[:axis], -1, *x.shape[axis + 1 :])
        return x

    lax = SimpleNamespace(**{**vars(jax.lax), "all_gather": gathered})
    ours, theirs = SEVERAL[name](fg, np, names), SEVERAL[name](lax, jax.numpy, names)
    f, g = _twice(fg, ours), _twice(jax, theirs)
    weights = np.sin(np.arange(24.0)).reshape(2, 3, 4)
    modes: list[Callable[[Any, Any], Any]] = [
        lambda m, f: f,
        lambda m, f: m.grad(lambda x: (f(x) ** 2 * weights).sum()),
        lambda m, f: lambda x: m.jvp(f, (x,), (weights,))[1],
        lambda m, f: lambda x: m.jvp(m.grad(lambda x: (f(x) ** 2).sum()), (x,), (weights,))[1],
    ]
    for mode in modes:
        wanted = mode(jax, g)(CUBE)
        for run in (lambda f: f, fg.jit, lambda f: fg.jit(f, backend="xla")):
            same(run(mode(fg, f))(CUBE), wanted, 1e-9)
    inner = _twice(fg, fg.jit(ours))
    same(inner(CUBE), g(CUBE))
    inside = lambda m, f: _twice(m, lambda x: m.vjp(f, x)[1](x)[0])(CUBE)
    same(inside(fg, ours), inside(jax, theirs), 1e-9)


def test_extremes_over_several_axes() -> None:
    for names, axes in ((("i", "j"), (0, 1)), (("j",), (1,)), (["j", "i"], (0, 1))):
        f = _twice(fg, lambda x, names=names: fg.pmax(x, names) - 2 * fg.pmin(x, names))
        wanted = CUBE.max(axes, keepdims=True) - 2 * CUBE.min(axes, keepdims=True)
        same(f(CUBE), np.broadcast_to(wanted, CUBE.shape))


def test_names_of_several_axes_that_do_not_fit() -> None:
    same(fg.vmap(lambda x: fg.psum(x, ("a", 1)), axis_name=("a", 1))(X), np.tile(X.sum(0), (3, 1)))
    same(_twice(fg, lambda x: fg.psum(x, ()))(CUBE), CUBE)
    with pytest.raises(BatchAxisError, match=r"axis twice: \('i', 'i'\)"):
        _twice(fg, lambda x: fg.psum(x, ("i", "i")))(CUBE)
    with pytest.raises(BatchAxisError, match="no batch axis named 'k'"):
        _twice(fg, lambda x: fg.psum(x, ("i", "k")))(CUBE)


# --- nesting -------------------------------------------------------------------------------------


def test_per_example_gradients() -> None:
    w, x, y = RNG.standard_normal(4), RNG.standard_normal((6, 4)), RNG.standard_normal(6)
    loss = lambda w, x, y: np.tanh(x @ w - y) ** 2
    got = fg.vmap(fg.grad(loss), (None, 0, 0))(w, x, y)
    same(got, np.stack([fg.grad(loss)(w, a, b) for a, b in zip(x, y, strict=True)]))


def test_orders_of_nesting_agree() -> None:
    f = lambda x: np.sum(np.sin(x) * np.cumsum(x) / (1 + np.max(x) ** 2))
    one = fg.vmap(fg.grad(f))(X)
    two = fg.grad(lambda x: fg.vmap(f)(x).sum())(X)
    same(one, two)
    hvp = lambda x: fg.jvp(fg.grad(f), (x,), (x,))[1]
    same(fg.vmap(hvp)(X), np.stack([hvp(x) for x in X]))
    both = fg.vmap(fg.vmap(lambda a, b: a * b, (None, 0)), (0, None))(X[0], Y[0])
    same(both, np.outer(X[0], Y[0]))
    same(fg.jvp(fg.vmap(f), (X,), (X,))[1], np.stack([fg.jvp(f, (x,), (x,))[1] for x in X]))


def test_lanes_do_not_spoil_each_other() -> None:
    """A lane whose gradient needs strong zeros gets them; the others keep theirs."""
    x = np.array([[0.0, 0.0], [3.0, 4.0], [1.0, 0.0]])
    same(fg.vmap(fg.grad(np.linalg.norm))(x), np.array([[0, 0], [0.6, 0.8], [1, 0]]))
    f = lambda x: np.where(x > 0, np.sqrt(x), 0.0)
    same(fg.vmap(fg.grad(f))(np.array([0.0, 4.0])), np.array([0, 0.25]))


def test_closures_over_outer_lanes() -> None:
    f = lambda x: fg.vmap(lambda y: x @ y)(Y.T)
    same(fg.vmap(f)(X), X @ Y)
    g = lambda x: fg.grad(lambda y: (x * y).sum())(x) + x
    same(fg.vmap(g)(X), 2 * X)


def test_jax_arrays_stay() -> None:
    jax = pytest.importorskip("jax")
    x = jax.numpy.asarray(X)
    got = fg.vmap(lambda x: fnp.sum(x * 2, 0))(x)
    assert isinstance(got, jax.Array)
    same(got, X.sum(1) * 2)
    same(jax.jit(fg.vmap(fg.grad(lambda x: fnp.sum(fnp.sin(x)))))(x), np.cos(X))


def test_lanes_that_talk_run_at_once() -> None:
    """In chunks, psum would add up those of a chunk."""
    for options in ({"chunk_size": 2}, {"method": "loop"}):
        with pytest.raises(ValueError, match="all lanes at once"):
            fg.vmap(lambda x: fg.psum(x, "i"), axis_name="i", **options)
    inner = fg.vmap(lambda x: fg.psum(x, "i"), chunk_size=2)
    got = fg.vmap(inner, axis_name="i")(np.arange(12.0).reshape(3, 4))
    np.testing.assert_array_equal(got, [[12, 15, 18, 21]] * 3)


def test_outputs_of_chunks_go_where_those_of_a_batch_go() -> None:
    x = np.arange(5.0)
    f = lambda x: {"same": 3.0, "own": np.stack([x, 2 * x, 3 * x])}
    axes = {"same": None, "own": -1}
    got, wanted = (fg.vmap(f, 0, axes, chunk_size=n)(x) for n in (2, None))
    assert got["same"] == wanted["same"] == 3.0
    np.testing.assert_array_equal(got["own"], wanted["own"])
    with pytest.raises(BatchAxisError, match="depends on the lane"):
        fg.vmap(lambda x: x, out_axes=None, chunk_size=2)(x)
    for options in ({}, {"chunk_size": 2}, {"method": "loop"}):
        with pytest.raises(BatchAxisError, match="out_axes has 3 for an output with 2 axes"):
            fg.vmap(np.atleast_1d, out_axes=3, **options)(x)


IN_LANES: dict[str, Callable[[Any], Any]] = {
    "size": lambda x: x / fg.psum(1.0, "i"),
    "mean": lambda x: x - fg.pmean(x, "i"),
    "number": lambda x: x * fg.axis_index("i"),
    "gather": lambda x: np.sum(fg.all_gather(x, "i") ** 2) * x,
    "scan": lambda x: fg.scan(lambda c, _: (c + fg.pmax(c * x, "i"), fg.pmin(c, "i")), x, None, 3),
}


@pytest.mark.parametrize("backend", ["numpy", "xla"])
@pytest.mark.parametrize("name", IN_LANES)
def test_compiled_functions_know_the_axis_they_are_called_in(name: str, backend: str) -> None:
    if backend == "xla":
        pytest.importorskip("jax")
    f = IN_LANES[name]
    inner = fg.jit(f, backend=backend)
    outer = fg.jit(fg.vmap(f, axis_name="i"), backend=backend)
    for n in (3, 4, 3, 3, 3, 2):
        x = np.arange(1.0, n + 1)
        wanted = fg.vmap(f, axis_name="i")(x)
        same(fg.vmap(inner, axis_name="i")(x), wanted)
        same(outer(x), wanted)
    total = lambda g: lambda x: np.sum(fg.tree.leaves(fg.vmap(g, axis_name="i")(x))[0] ** 2)
    same(fg.grad(total(inner))(x), fg.grad(total(f))(x))


@pytest.mark.parametrize("backend", ["numpy", "xla"])
def test_programs_with_an_axis_size_are_not_taken_for_another(backend: str) -> None:
    """The argument is the same for all lanes, so it is an array, not a tracer."""
    if backend == "xla":
        pytest.importorskip("jax")
    inner = fg.jit(lambda x: x * fg.psum(1.0, "i"), backend=backend)
    for n in (3, 4, 3, 3, 3, 4):
        got = fg.vmap(lambda y: y + inner(np.ones(2)), axis_name="i")(np.zeros(n))
        np.testing.assert_array_equal(got, np.full((n, 2), float(n)))
    with pytest.raises(BatchAxisError, match="there is no batch axis named 'i'"):
        inner(np.ones(2))

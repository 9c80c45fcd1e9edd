"""Control flow against JAX: values, both modes, second order, batches, both engines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
import funcgraph.numpy as fnp
from funcgraph.errors import CarryTypeError

jax = pytest.importorskip("jax")
lax = jax.lax

RNG = np.random.default_rng(0)
W = RNG.standard_normal((3, 3)) * 0.5
XS = RNG.standard_normal((4, 3))
H = np.ones(3)


def same(got: Any, wanted: Any, tol: float = 1e-9) -> None:
    for g, w in zip(fg.tree.leaves(got), fg.tree.leaves(wanted), strict=True):
        assert np.shape(g) == np.shape(w)
        np.testing.assert_allclose(np.asarray(g), np.asarray(w), rtol=tol, atol=tol)


def rnn(m: Any, reverse: bool = False) -> Callable[..., Any]:
    def f(w: Any, h: Any, xs: Any) -> Any:
        def step(carry: Any, x: Any) -> Any:
            h, i = carry
            h = fnp.tanh(w @ h + x["x"] * fnp.sin(h)) * x["k"]
            return (h, i + 1), (h * i, {"i": i})

        rows = {"x": xs, "k": np.linspace(0.5, 1, len(xs))}
        (h, i), (ys, _) = m.scan(step, (h, 0), rows, reverse=reverse)
        return fnp.sum(ys**2) + fnp.sum(h) * i

    return f


def nested(m: Any) -> Callable[..., Any]:
    def f(w: Any, h: Any, xs: Any) -> Any:
        def inner(h: Any, x: Any) -> Any:
            go = lambda h: fnp.tanh(w @ h) + x
            stay = lambda h: h * fnp.cos(x)
            return m.cond(fnp.sum(h) > 0, go, stay, h), fnp.sum(h)

        def outer(h: Any, x: Any) -> Any:
            h, s = m.scan(inner, h, xs * x[0])
            return m.fori_loop(0, 2, lambda i, h: h * 0.9 + i, h), fnp.sum(s)

        h, s = m.scan(outer, h, xs)
        return fnp.sum(h) + fnp.sum(s**2)

    return f


def choosing(m: Any) -> Callable[..., Any]:
    def f(w: Any, h: Any, xs: Any) -> Any:
        number = fnp.argmax(h)
        branches = [lambda x: w @ x, lambda x: fnp.sin(x) * h, lambda x: x * 2.0]
        y = m.switch(number, branches, xs[0])
        z = m.cond(h[0] > 0.5, lambda a, b: a * b, lambda a, b: a - b, y, h)
        return fnp.sum(z**2)

    return f


def prefixes(m: Any) -> Callable[..., Any]:
    def f(w: Any, h: Any, xs: Any) -> Any:
        combine = lambda a, b: (a[0] * b[0], a[1] * b[0] + b[1])
        a, b = m.associative_scan(combine, (fnp.sin(xs), xs * h))
        c = m.associative_scan(fnp.add, xs @ w, reverse=True, axis=1)
        return fnp.sum(a * b) + fnp.sum(c**2)

    return f


def counting(m: Any) -> Callable[..., Any]:
    bounded = {"max_steps": 10} if m is fg else {}

    def f(w: Any, h: Any, xs: Any) -> Any:
        going = lambda s: s[0] < 3
        step = lambda s: (s[0] + 1, fnp.tanh(w @ s[1]) + xs[0])
        return fnp.sum(m.while_loop(going, step, (0, h), **bounded)[1] ** 2)

    def reference(w: Any, h: Any, xs: Any) -> Any:  # JAX has no reverse mode through while_loop
        for _ in range(3):
            h = fnp.tanh(w @ h) + xs[0]
        return fnp.sum(h**2)

    return f if m is fg else reference


PROGRAMS = {
    "scan": rnn,
    "scan reverse": lambda m: rnn(m, True),
    "nested": nested,
    "choosing": choosing,
    "prefixes": prefixes,
    "counting": counting,
}
ALL = (0, 1, 2)
STACKED = (np.stack([W, 2 * W]), np.stack([H, 0.2 * H]), np.stack([XS, -XS]))
MODES = {
    "value": (lambda m, f: f, (W, H, XS)),
    "grad": (lambda m, f: m.grad(f, ALL), (W, H, XS)),
    "jvp": (lambda m, f: lambda *a: m.jvp(f, a, a), (W, H, XS)),
    "hvp": (lambda m, f: lambda *a: m.jvp(m.grad(f, ALL), a, a), (W, H, XS)),
    "vmap": (lambda m, f: m.vmap(f), STACKED),
    "vmap some": (lambda m, f: m.vmap(f, (None, 0, None)), (W, STACKED[1], XS)),
    "vmap grad": (lambda m, f: m.vmap(m.grad(f, ALL), (None, 0, 0)), (W, *STACKED[1:])),
    "grad vmap": (
        lambda m, f: m.grad(lambda *a: m.vmap(f)(*a).sum(), ALL),
        STACKED,
    ),
}


class _Jax:
    """The names of funcgraph's top level, from JAX."""

    def __getattr__(self, name: str) -> Any:
        return getattr(jax if hasattr(jax, name) else lax, name)


JAX = _Jax()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("backend", ["numpy", pytest.param("xla", marks=pytest.mark.slow)])
def test_transformations_of_compiled_programs(backend: str, name: str, mode: str) -> None:
    transform, args = MODES[mode]
    ours = PROGRAMS[name](fg)
    wanted = transform(fg, ours)(*args)
    same(transform(fg, fg.jit(ours, backend=backend))(*args), wanted)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name: str, mode: str) -> None:
    transform, args = MODES[mode]
    ours = PROGRAMS[name](fg)
    wanted = jax.jit(transform(JAX, PROGRAMS[name](lax)))(*args)
    same(transform(fg, ours)(*args), wanted)
    for backend in ("numpy", "xla"):
        same(fg.jit(transform(fg, ours), backend=backend)(*args), wanted)


def test_loops_inside_jit_are_one_equation() -> None:
    graph = fg.make_graph(rnn(fg))(W, H, XS)
    names = [e.primitive.name for e in graph.equations]
    assert names.count("scan") == 1 and len(names) < 12
    long = fg.make_graph(rnn(fg))(W, H, np.zeros((1000, 3)))
    assert len(long.equations) == len(names)
    assert "graph(" in str(graph).split("scan", 1)[1]  # the body is shown
    graph.check()


# --- scan and map --------------------------------------------------------------------------------


def test_scan_without_rows() -> None:
    f = lambda c, _: (c * 2, c)
    same(fg.scan(f, 1.0, None, 3), (8.0, np.array([1.0, 2.0, 4.0])))
    same(fg.jit(lambda c: fg.scan(f, c, length=3))(1.0), (8.0, np.array([1.0, 2.0, 4.0])))
    end, ys = fg.scan(lambda c, x: (c + x[0], x), 0.0, np.zeros((0, 2)))
    assert end == 0 and ys.shape == (0, 2)


def test_carries_keep_their_types() -> None:
    end, ys = fg.scan(lambda c, x: (c + x, c), np.float32(0), np.ones(3, np.float32))
    assert end.dtype == ys.dtype == np.float32
    for run in (lambda f: f(), lambda f: fg.jit(f)()):
        with pytest.raises(CarryTypeError, match=r"\['a'\]\[0\].*float32\[2\].*float64\[2\]") as e:
            init = {"a": [np.ones(2, np.float32)]}
            step = lambda c, x: ({"a": [c["a"][0] * np.float64(2)]}, x)
            run(lambda init=init, step=step: fg.scan(step, init, np.ones(3)))
        assert "test_control.py" in str(e.value)
        with pytest.raises(CarryTypeError, match="structure"):
            run(lambda: fg.scan(lambda c, x: ((c, c), x), 0.0, np.ones(3)))
        with pytest.raises(CarryTypeError, match="while_loop"):
            run(
                lambda: (
                    fg.while_loop(lambda c: c[0] < 9, lambda c: c + 1, np.zeros(1, np.int8))
                    if False
                    else fg.while_loop(lambda c: c.sum() < 9, lambda c: c[None], np.zeros(1))
                )
            )
    with pytest.raises(ValueError, match="lengths differ"):
        fg.scan(lambda c, x: (c, x), 0, (np.ones(3), np.ones(4)))
    with pytest.raises(ValueError, match="needs xs or length"):
        fg.scan(lambda c, x: (c, x), 0)
    with pytest.raises(ValueError, match="no axis"):
        fg.scan(lambda c, x: (c, x), 0, 1.0)
    with pytest.raises(TypeError, match="must return"):
        fg.scan(lambda c, x: c, 0, np.ones(3))


def test_map_needs_a_batch_size() -> None:
    for size in (0, -1, 2.5):
        with pytest.raises(ValueError, match=rf"batch_size must be a positive int, got {size}"):
            fg.map(np.sin, np.ones(5), batch_size=size)


@pytest.mark.parametrize("batch_size", [None, 1, 2, 4, 9])
def test_map(batch_size: int | None) -> None:
    f = lambda x: {"y": fnp.sin(x) @ x}
    wanted = {"y": np.sum(np.sin(XS) * XS, 1)}
    same(fg.map(f, XS, batch_size=batch_size), wanted)
    same(fg.jit(lambda xs: fg.map(f, xs, batch_size=batch_size))(XS), wanted)


def test_fori_loop() -> None:
    body = lambda i, x: x * 0.5 + i
    for lower, upper in ((0, 4), (2, 5), (3, 3), (5, 2)):
        wanted = lax.fori_loop(lower, upper, body, 1.0)
        same(fg.fori_loop(lower, upper, body, 1.0), wanted)
        same(fg.jit(lambda n, lower=lower: fg.fori_loop(lower, n, body, 1.0))(upper), wanted)
    same(
        fg.vmap(lambda n: fg.fori_loop(0, n, body, 1.0))(np.arange(4)),
        jax.vmap(lambda n: lax.fori_loop(0, n, body, 1.0))(np.arange(4)),
    )


# --- branches ------------------------------------------------------------------------------------


def test_a_known_choice_runs_one_function() -> None:
    def never(x: Any) -> Any:
        raise AssertionError

    assert fg.cond(True, lambda x: x + 1, never, 1) == 2
    assert fg.grad(lambda x: fg.cond(x > 0, lambda x: x * x, never, x))(3.0) == 6
    assert fg.switch(5, [never, lambda: "last"]) == "last"
    assert fg.switch(-1, [lambda: "first", never]) == "first"


def test_lanes_run_only_their_own_branch() -> None:
    x = np.array([4.0, -1.0, 9.0])
    seen: list[Any] = []

    def root(x: Any) -> Any:
        return fnp.sqrt(x)

    f = lambda x: fg.cond(x > 0, root, lambda x: x * 0.0, x)
    with np.errstate(all="raise"):  # sqrt never sees the negative lane
        same(fg.vmap(f)(x), np.array([2.0, 0.0, 3.0]))
    same(fg.vmap(fg.grad(f))(x), np.array([0.25, 0.0, 1 / 6]))
    assert fg.vmap(f)(np.zeros(0)).shape == (0,)
    assert not seen


def test_branches_must_agree() -> None:
    f = lambda x: fg.cond(x > 0, lambda: (x, x), lambda: x)
    with pytest.raises(CarryTypeError, match=r"one structure: false_fun"):
        fg.jit(f)(1.0)
    f = lambda x: fg.cond(x > 0, lambda: np.float32(1), lambda: x)
    with pytest.raises(CarryTypeError, match=r"float64\[\].*float32\[\]"):
        fg.jit(f)(np.float64(1))
    with pytest.raises(TypeError, match=r"shape \(\)"):
        fg.cond(np.ones(2) > 0, lambda: 1, lambda: 2)
    with pytest.raises(TypeError, match="integer"):
        fg.switch(1.0, [lambda: 1])
    with pytest.raises(ValueError, match="at least one"):
        fg.switch(0, [])
    with pytest.raises(CarryTypeError, match="select"):
        fg.select(True, np.ones(2), np.ones(3))


def test_select() -> None:
    p = np.array([True, False, True])
    same(fg.select(p, H, 2 * H), np.where(p, 1, 2))
    same(fg.grad(lambda x: fg.select(p, x, 2 * x).sum())(H), np.where(p, 1, 2))


@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 8])
@pytest.mark.parametrize("reverse", [False, True])
def test_associative_scan_lengths(n: int, reverse: bool) -> None:
    x = RNG.standard_normal((2, n))
    wanted = np.cumsum(x[:, ::-1] if reverse else x, 1)
    same(fg.associative_scan(np.add, x, reverse, axis=-1), wanted[:, ::-1] if reverse else wanted)


@pytest.mark.parametrize("backend", [None, "numpy", "xla"])
def test_reverse_associative_scan_has_the_order_of_jax(backend: str | None) -> None:
    jax = pytest.importorskip("jax")
    xs = np.random.default_rng(0).standard_normal((2, 5, 3))
    affine = lambda a, b: (a[0] * b[0], a[1] * b[0] + b[1])
    f = lambda a, b: fg.associative_scan(affine, (a, b), reverse=True)
    got = (fg.jit(f, backend=backend) if backend else f)(*xs)
    with jax.enable_x64(True):
        wanted = jax.lax.associative_scan(affine, tuple(map(jax.numpy.asarray, xs)), reverse=True)
    for g, w in zip(got, wanted, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-12)

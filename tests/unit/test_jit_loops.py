"""Loops on the NumPy engine: over floats, over arrays, and from one to the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.core.simplify import simplify
from funcgraph.engines.numpy import loops
from funcgraph.engines.numpy.floats import float_loop, float_while
from funcgraph.engines.numpy.unroll import unrolled

RNG = np.random.default_rng(0)
XS = RNG.standard_normal((9, 3))


def rk4(p: Any, y: Any) -> Any:
    def field(y: Any) -> Any:
        a, b = y[0], y[1]
        return np.stack([p[0] * a - p[1] * a * b, p[2] * a * b - p[3] * b])

    def step(y: Any, _: Any) -> Any:
        k1 = field(y)
        k2 = field(y + 0.05 * k1)
        return y + 0.05 * (k1 + k2), y

    return fg.scan(step, y, None, 50)


def kinds(c: Any, x: Any) -> Any:
    """Every sort of operation that is written for floats."""
    y = np.where(x > 0, np.sin(x), np.maximum(c[0], 0)) + np.abs(x) ** 1.5 - np.minimum(x, c[1])
    z = np.concatenate([y[1:], y[:1]]) @ np.array([0.5, 0.25, 0.125])
    going = np.logical_and(z > -1, np.logical_not(x[0] > 2))
    new = np.stack([np.tanh(z), np.exp(-(x[0] * x[0])), np.sqrt(np.abs(z) + 1)])
    return np.where(going, new, c), (z, going, new.reshape(1, 3).T, -y, 3)


def newton(a: Any) -> Any:
    small = lambda x: np.abs(x * x - a) > 1e-10
    return fg.while_loop(small, lambda x: 0.5 * (x + a / x), a, max_steps=60)


def loops_in_loops(q: Any, rows: Any, reverse: bool = False) -> Any:
    """Leapfrog steps between random kicks: the inner loop has rows, results and a constant."""

    def kick(q: Any, row: Any) -> Any:
        def leap(c: Any, h: Any) -> Any:
            q, p = c
            p = p - h * np.sin(q) * row[0]
            return (q + h * p, p), (q, 0.5 * (p @ p))

        steps = np.array([0.1, 0.2, 0.05])
        (q, p), (path, energy) = fg.scan(leap, (q, row), steps, reverse=reverse)
        return np.where(energy[-1] > 0.4, q, -p), (path, energy)

    return fg.scan(kick, q, rows, reverse=reverse)


def cube_root(a: Any) -> Any:
    """Newton's method, with a number of steps, until the largest error is small."""
    wrong = lambda x: np.abs(x * x * x - a)
    going = lambda c: np.logical_or(np.max(wrong(c[0])) > 1e-12, np.any(c[0] < 0.0))
    step = lambda c: (c[0] - (c[0] * c[0] * c[0] - a) / (3.0 * c[0] * c[0]), c[1] + 1)
    return fg.while_loop(going, step, (np.ones(3), 0))


PROGRAMS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "rk4": (rk4, (np.array([1.5, 1.0, 1.0, 3.0]), np.array([1.0, 1.0]))),
    "rk4 gradient": (
        fg.grad(lambda p, y: np.sum(rk4(p, y)[1])),
        (np.array([1.5, 1.0, 1.0, 3.0]), np.array([1.0, 1.0])),
    ),
    "kinds": (lambda c, xs: fg.scan(kinds, c, xs), (np.ones(3), XS)),
    "kinds reversed": (lambda c, xs: fg.scan(kinds, c, xs, reverse=True), (np.ones(3), XS)),
    "kinds gradient": (
        fg.grad(lambda c, xs: np.sum(fg.scan(kinds, c, xs)[1][0]), (0, 1)),
        (np.ones(3), XS),
    ),
    "newton": (fg.grad(newton), (7.0,)),
    "cube root": (cube_root, (np.array([2.0, 5.0, 9.0]),)),
    "cube root, tangents": (
        lambda a: fg.jvp(lambda a: cube_root(a)[0], (a,), (np.ones(3),)),
        (np.array([2.0, 5.0, 9.0]),),
    ),
    "cube root of none": (lambda a: fg.while_loop(lambda x: x > a, lambda x: x / a, 1.0), (2.0,)),
    "loops in loops": (loops_in_loops, (XS[0], XS)),
    "loops in loops, reversed": (lambda q, x: loops_in_loops(q, x, True), (XS[0], XS)),
    "loops in loops, gradient": (
        fg.grad(lambda q, x: np.sum(loops_in_loops(q, x)[1][0] ** 2), (0, 1)),
        (XS[0], XS),
    ),
    "numbered": (lambda x: fg.fori_loop(0, 6, lambda i, c: c * 0.5 + i * x, x), (1.5,)),
    "constant": (lambda x: fg.scan(lambda c, _: (c * x, -0.0), 1.0, None, 4), (2.0,)),
    "no steps": (lambda c, xs: fg.scan(kinds, c, xs[:0]), (np.ones(3), XS)),
}


@pytest.mark.parametrize("floats", [True, False])
@pytest.mark.parametrize("name", PROGRAMS)
def test_loops(name: str, floats: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    f, args = PROGRAMS[name]
    wanted = fg.tree.leaves(f(*args))
    if not floats:
        monkeypatch.setattr(loops, "float_loop", lambda *_: None)
        monkeypatch.setattr(loops, "float_while", lambda *_: None)
    got = fg.tree.leaves(fg.jit(f)(*args))
    for g, w in zip(got, wanted, strict=True):
        assert (np.shape(g), np.asarray(g).dtype) == (np.shape(w), np.asarray(w).dtype)
        np.testing.assert_allclose(g, w, rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(np.signbit(g), np.signbit(w))


def loop_of(f: Any, *args: Any) -> Any:
    equations = fg.jit(f).graph(*args).equations
    (e,) = (e for e in equations if e.primitive.name in ("scan", "while"))
    return e


def in_floats(f: Any, *args: Any) -> bool:
    a = loop_of(f, *args).attrs
    if "cond" in a:
        return float_while(a["cond"], a["body"], a["carries"]) is not None
    loop = float_loop(a["body"], a["carries"], a["rows"], a["length"], a["reverse"])
    return loop is not None


def test_which_loops_run_on_floats() -> None:
    assert in_floats(*PROGRAMS["kinds"][:1], *PROGRAMS["kinds"][1])
    assert in_floats(rk4, *PROGRAMS["rk4"][1])
    assert in_floats(loops_in_loops, XS[0], XS)
    assert in_floats(cube_root, np.ones(3))
    assert not in_floats(lambda x: fg.while_loop(lambda c: c < 5, lambda c: c * c, x), 2)
    cumulate = lambda c, x: (c + x, c)
    assert not in_floats(lambda x: fg.scan(cumulate, x[0], x), np.ones((3, 17)))  # too large
    assert not in_floats(lambda x: fg.scan(cumulate, x[0], x), np.ones(3, np.float32))
    assert not in_floats(lambda x: fg.scan(cumulate, x[0], x), np.ones(3, complex))
    assert not in_floats(lambda x: fg.scan(cumulate, x[0], x), np.arange(3))
    assert not in_floats(lambda x: fg.scan(lambda c, i: (c + x[i], c), 0.0, np.arange(3)), XS[0])


def test_long_expressions_are_cut() -> None:
    def step(c: Any, x: Any) -> Any:
        for k in range(300):  # more than Python reads in parentheses
            c = c * 0.5 + x if k % 2 else np.sin(x - c)
        return c, c

    loop = lambda x: fg.scan(step, 0.5, x)
    assert in_floats(loop, XS[0])
    for g, w in zip(fg.jit(loop)(XS[0]), loop(XS[0]), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-12)


def test_inf_and_nan_are_numpys() -> None:
    """Python raises an exception: the loop over arrays gives the result."""
    for f in (
        lambda c, x: (np.exp(c * x), c),
        lambda c, x: (c / x, np.log(x)),
        lambda c, x: (np.sqrt(c - x), c**x),
        lambda c, x: (c * x * 1e200, np.sin(c)),
    ):
        for x in (np.array([0.0, 900.0, -1.0, 1e200, 3.0]), np.array([1.0, 2.0])):
            compiled = fg.jit(lambda x, f=f: fg.scan(f, 1.0, x))
            with np.errstate(all="ignore"):
                wanted = fg.scan(f, 1.0, x)
            for _ in range(2):
                for g, w in zip(fg.tree.leaves(compiled(x)), fg.tree.leaves(wanted), strict=True):
                    np.testing.assert_allclose(g, w, rtol=1e-12)


def test_while_loops_that_python_refuses() -> None:
    """There is an exception in some step, or in the last condition: the loop over arrays runs."""

    def f(x: Any) -> Any:
        going = lambda c: np.logical_and(np.log(c[0]) < 3.0, c[1] < 9)
        return fg.while_loop(going, lambda c: (np.exp(c[0]) / (c[0] - 2.0), c[1] + 1), (x, 0))

    compiled = fg.jit(f)
    assert in_floats(f, 1.0)
    for x in (1.0, 2.0, 0.0, -1.0, 800.0, np.nan, 3.0):
        with np.errstate(all="ignore"):
            wanted = f(np.float64(x))
        for g, w in zip(compiled(np.float64(x)), wanted, strict=True):
            assert type(g) is type(np.asarray(w)[()])
            np.testing.assert_allclose(g, w, rtol=1e-12)


def test_short_loops_are_written_out() -> None:
    graph = simplify(fg.make_graph(loops_in_loops)(XS[0], XS))
    flat = unrolled(graph, 1000)
    flat.check()
    assert "scan" not in [e.primitive.name for e in flat.equations]
    for g, w in zip(flat.run(XS[0], XS), graph.run(XS[0], XS), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-14)  # one of them by functions of `math`
    assert unrolled(graph, 100) is graph
    assert unrolled(flat, 10) is flat


def test_large_states_of_a_loop_do_not_mix() -> None:
    """Buffers of the carry alternate, rows are written in place, results are the caller's."""
    big = RNG.standard_normal((60, 80))

    def f(x: Any) -> Any:
        def step(c: Any, row: Any) -> Any:
            a, b = c
            new = np.tanh(a + row)
            return (b * 0.5 + new, a.T.T * 1.0), (new, a, (new * 2).T)

        return fg.scan(step, (x, x + 1), np.stack([x, x * 2, x * 3]))

    compiled = fg.jit(f)
    wanted = [fg.tree.leaves(f(big * k)) for k in range(4)]
    got = [fg.tree.leaves(compiled(big * k)) for k in range(4)]
    for g, w in zip(got, wanted, strict=True):
        for a, b in zip(g, w, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    arrays = [v for out in got for v in out]
    for k, v in enumerate(arrays):
        assert not any(np.may_share_memory(v, other) for other in arrays[:k])


def test_a_loop_hands_out_no_argument() -> None:
    big = RNG.standard_normal((60, 80))
    for f in (
        lambda x: fg.while_loop(lambda c: c[0, 0] > 1e9, lambda c: c * 2, x),
        lambda x: fg.while_loop(lambda c: c[0][0, 0] > -1e9, lambda c: (c[0] - 1e9, c[1]), (x, x)),
        lambda x: fg.scan(lambda c, _: (c, None), x, None, 3)[0],
        lambda x: fg.scan(lambda c, _: ((c[1], c[0]), c[0]), (x, x), None, 3),
    ):
        for out in fg.tree.leaves(fg.jit(f)(big)):
            assert not np.may_share_memory(out, big)
            out[...] = 0
    assert big.any()


def test_what_a_loop_keeps_for_its_derivative() -> None:
    """x (1 - x), the slope of a sigmoid x, is not kept beside x: it is computed again."""

    def step(h: Any, x: Any) -> Any:
        h = fg.nn.sigmoid(h + x)
        return h, h * h

    f = lambda h, xs: np.sum(fg.scan(step, h, xs)[1])
    graph = simplify(fg.make_graph(fg.grad(f))(np.ones(3), np.ones((4, 3))))
    forward, backward = [e for e in graph.equations if e.primitive.name == "scan"]
    assert [v.aval.shape for v in forward.outputs] == [(3,), (4, 3), (4, 3)]  # h, h * h, and h
    assert "subtract" in [e.primitive.name for e in backward.attrs["body"].equations]


@pytest.mark.parametrize("length", [0, 1, 255, 256, 257, 700])
@pytest.mark.parametrize("reverse", [False, True])
def test_long_loops_over_floats_are_run_in_pieces(length: int, reverse: bool) -> None:
    def f(x: Any, rows: Any) -> Any:
        def step(c: Any, row: Any) -> Any:
            c = np.tanh(0.9 * c + row[0])
            return c, (c, row * c[1], c[0] > 0.0)

        return fg.scan(step, x, rows, reverse=reverse)

    x, rows = np.array([0.5, -0.2]), np.sin(np.arange(3.0 * length)).reshape(length, 3)
    got, wanted = fg.jit(f)(x, rows), f(x, rows)
    for a, b in zip(fg.tree.leaves(got), fg.tree.leaves(wanted), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [2, 20])
def test_carries_that_are_passed_on(dtype: str, n: int) -> None:
    """A carry may be read three steps later, at another place: its memory is not written."""

    def delays(c: Any, xs: Any) -> Any:
        def step(c: Any, x: Any) -> Any:
            new = np.tanh(c[3] + x * c[0])
            return (new, c[0][::-1], c[1], c[2]), (c[3][::-1], np.sum(c[2]))

        return fg.scan(step, (c, 2 * c, 3 * c, 4 * c), xs)

    def total(c: Any, xs: Any) -> Any:
        return sum(np.sum(np.sin(x)) for x in fg.tree.leaves(delays(c, xs)))

    c, xs = np.linspace(-1, 1, n).astype(dtype), np.linspace(0.5, 1.5, 9).astype(dtype)
    rtol = 1e-4 if dtype == "float32" else 1e-12
    for f in (delays, fg.grad(total, (0, 1)), lambda c, xs: fg.jvp(delays, (c, xs), (c, xs))):
        got, wanted = fg.jit(f)(c, xs), f(c, xs)
        for a, b in zip(fg.tree.leaves(got), fg.tree.leaves(wanted), strict=True):
            np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


def test_numbers_that_are_views_of_a_carry() -> None:
    f = lambda c, xs: fg.scan(lambda c, x: (c * x + 1, np.reshape(c[:1], ())), c, xs)
    xs = np.arange(1.0, 6.0)
    np.testing.assert_array_equal(fg.jit(f)(np.ones(20), xs)[1], [1, 2, 5, 16, 65])


def test_a_constant_that_a_loop_ends_with_is_not_handed_out() -> None:
    known = np.arange(20.0)
    f = fg.jit(lambda c, xs: fg.scan(lambda c, x: ((c[0] * x, np.sin(known)), None), (c, c), xs)[0])
    f(np.ones(20), np.ones(3))[1][:] = 7
    np.testing.assert_array_equal(f(np.ones(20), np.ones(3))[1], np.sin(known))

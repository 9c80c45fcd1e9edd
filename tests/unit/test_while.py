"""Loops whose number of steps depends on the data, against loops of Python under jax.grad."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
import funcgraph.numpy as fnp
from funcgraph.control.eager import Pullback, Tangents, eager_call
from funcgraph.control.while_ import Loop
from funcgraph.core.simplify import simplify
from funcgraph.errors import NonDifferentiableError

jax = pytest.importorskip("jax")
lax = jax.lax

RNG = np.random.default_rng(0)
W = RNG.standard_normal((3, 3))
X = np.array([0.3, -0.2, 0.5])
XS = np.stack([X, 4 * X, 0.3 * X, -X[::-1]])  # lanes with other numbers of steps


def same(got: Any, wanted: Any, tol: float = 1e-10) -> None:
    for g, w in zip(fg.tree.leaves(got), fg.tree.leaves(wanted), strict=True):
        assert np.shape(g) == np.shape(w)
        scale = np.abs(w).max(initial=1.0)
        np.testing.assert_allclose(np.asarray(g) / scale, np.asarray(w) / scale, atol=tol, rtol=0)


class _Python:
    """Loops and branches of Python: what jax.grad goes through outside of jax.jit."""

    @staticmethod
    def while_loop(cond_fun: Any, body_fun: Any, value: Any) -> Any:
        while cond_fun(value):
            value = body_fun(value)
        return value

    @staticmethod
    def fori_loop(lower: Any, upper: Any, body_fun: Any, value: Any) -> Any:
        for i in range(int(lower), int(upper)):
            value = body_fun(i, value)
        return value

    @staticmethod
    def cond(pred: Any, true_fun: Any, false_fun: Any, *operands: Any) -> Any:
        return (true_fun if pred else false_fun)(*operands)

    scan = staticmethod(lax.scan)


def growing(m: Any) -> Callable[..., Any]:
    """Return a loop with an integer in the carry, and constants of condition and body."""

    def f(w: Any, x: Any) -> Any:
        limit = 3.0 + fnp.sum(x) ** 2
        go = lambda s: fnp.sum(s[1] ** 2) < limit
        step = lambda s: (s[0] + 1, fnp.sin(w @ s[1]) + 1.3 * s[1] + 0.1 * x)
        n, y = m.while_loop(go, step, (0, x))
        return fnp.sum(y**3) * (n + 1)

    return f


def counted(m: Any) -> Callable[..., Any]:
    """Return a loop over integers up to one that depends on the data."""

    def f(w: Any, x: Any) -> Any:
        n = fnp.sum((fnp.abs(x) * 5).astype(np.int64))
        y = m.fori_loop(1, n, lambda i, y: fnp.tanh(w @ y) * y[0] + y / i, x)
        return fnp.sum(y**2)

    return f


def while_in_scan(m: Any) -> Callable[..., Any]:
    def f(w: Any, x: Any) -> Any:
        def step(y: Any, row: Any) -> Any:
            y = m.while_loop(
                lambda y: fnp.sum(y**2) < 2.0, lambda y: 1.5 * y + row * 0.1 + fnp.sin(w @ y), y
            )
            return y * 0.3, fnp.sum(y * row)

        def pythonic(y: Any, rows: Any) -> Any:
            out = []
            for row in rows:
                y, z = step(y, row)
                out.append(z)
            return y, fnp.stack(out)

        rows = fnp.stack([x, x**2, fnp.cos(x)])
        y, ys = pythonic(x, rows) if m is _Python else m.scan(step, x, rows)
        return fnp.sum(y**2) + fnp.sum(ys)

    return f


def scan_in_while(m: Any) -> Callable[..., Any]:
    def f(w: Any, x: Any) -> Any:
        def step(y: Any) -> Any:
            end, ys = m.scan(lambda c, r: (c * 1.1 + r, fnp.sin(c) * r), y, w)
            return end + fnp.sum(ys, 0) * 0.1

        return fnp.sum(m.while_loop(lambda y: fnp.sum(fnp.abs(y)) < 9.0, step, x) ** 2)

    return f


def while_in_while(m: Any) -> Callable[..., Any]:
    def f(w: Any, x: Any) -> Any:
        def step(y: Any) -> Any:
            half = lambda z: z * 0.5 * fnp.cos(z)
            small = m.while_loop(lambda z: fnp.sum(z**2) > 0.5, half, y)
            return y * 1.7 + small * fnp.sin(w @ y)

        return fnp.sum(m.while_loop(lambda y: fnp.sum(y**2) < 8.0, step, x) ** 2)

    return f


def cond_in_while(m: Any) -> Callable[..., Any]:
    def f(w: Any, x: Any) -> Any:
        def step(y: Any) -> Any:
            one = lambda y: w @ y + y
            return 1.2 * m.cond(fnp.sum(y) > 0.0, one, lambda y: y * y + 0.5 * x, y)

        end = m.while_loop(lambda y: fnp.sum(y**2) < 5.0, step, x)
        return fnp.sum(end**2)

    return f


PROGRAMS = [growing, counted, while_in_scan, scan_in_while, while_in_while, cond_in_while]
BOTH = (0, 1)
MODES: dict[str, Callable[[Any, Any], Any]] = {
    "value": lambda m, f: f,
    "grad": lambda m, f: m.grad(f, BOTH),
    "jvp": lambda m, f: lambda w, x: m.jvp(f, (w, x), (w * w, fnp.cos(x))),
    "jvp of grad": lambda m, f: lambda w, x: m.jvp(m.grad(f, BOTH), (w, x), (w * w, x)),
    "hessian": lambda m, f: m.hessian(f, 1),
    "grad of grad": lambda m, f: m.grad(
        lambda w, x: fnp.sum(m.grad(f)(w, x) ** 2) + fnp.sum(m.grad(f, 1)(w, x) ** 3), BOTH
    ),
}
FORWARD = ("value", "jvp")


# JAX takes long to compile the last.
BY_COST = [pytest.param(m, marks=[pytest.mark.slow] * (m == "grad of grad")) for m in MODES]


@pytest.mark.parametrize("mode", BY_COST)
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
def test_programs(program: Any, mode: str) -> None:
    ours = program(fg)
    wanted = MODES[mode](jax, program(_Python))(W, X)
    same(MODES[mode](fg, ours)(W, X), wanted)
    same(fg.jit(MODES[mode](fg, ours))(W, X), wanted)
    same(MODES[mode](fg, fg.jit(ours))(W, X), wanted)
    if mode in FORWARD:
        same(fg.jit(MODES[mode](fg, ours), backend="xla")(W, X), wanted)


@pytest.mark.slow
@pytest.mark.parametrize("mode", FORWARD)
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
def test_transformations_of_programs_on_xla(program: Any, mode: str) -> None:
    ours = program(fg)
    compiled = fg.jit(ours, backend="xla")
    same(MODES[mode](fg, compiled)(W, X), MODES[mode](fg, ours)(W, X))


LANE_MODES = [
    (program, mode)
    for program in PROGRAMS
    for mode in ("value", "grad", "jvp", "jvp of grad", "grad of grad")
    # Second derivatives of loops in loops, staged for each number of lanes, take too long.
    if mode != "grad of grad" or program in (growing, cond_in_while)
]


@pytest.mark.parametrize(("program", "mode"), LANE_MODES)
def test_lanes(program: Any, mode: str) -> None:
    lane = MODES[mode](jax, program(_Python))
    wanted = jax.tree.map(lambda *ys: np.stack(ys), *[lane(W, x) for x in XS])
    ours = fg.vmap(MODES[mode](fg, program(fg)), (None, 0))
    same(ours(W, XS), wanted)
    same(fg.jit(ours)(W, XS), wanted)
    if mode in FORWARD or program in (growing, cond_in_while):
        nested = fg.jit(fg.vmap(ours, (None, 0)))(W, XS.reshape(2, 2, 3))
        same(nested, jax.tree.map(lambda y: y.reshape(2, 2, *y.shape[1:]), wanted))
    if mode in FORWARD:
        same(fg.jit(ours, backend="xla")(W, XS), wanted)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
def test_gradient_of_lanes(program: Any) -> None:
    lane = program(_Python)
    both = lambda w, xs: sum(lane(w, x) ** 2 for x in xs)
    ours = lambda w, xs: fnp.sum(fg.vmap(program(fg), (None, 0))(w, xs) ** 2)
    wanted = jax.grad(both, BOTH)(W, XS)
    same(fg.grad(ours, BOTH)(W, XS), wanted)
    same(fg.jit(fg.grad(ours, BOTH))(W, XS), wanted)
    same(fg.grad(fg.jit(ours), BOTH)(W, XS), wanted)
    turn = lambda m, f: lambda w, xs: m.jvp(m.grad(f, BOTH), (w, xs), (w, xs))
    same(fg.jit(turn(fg, ours))(W, XS), turn(jax, both)(W, XS))


# --- reverse mode --------------------------------------------------------------------------------

powers = lambda x: fg.while_loop(lambda s: s < 100.0, lambda s: s * x, x)


def test_reverse_mode_through_any_number_of_steps() -> None:
    for run in (lambda f: f, fg.jit):
        assert run(fg.grad(powers))(2.0) == 7 * 2.0**6
        assert run(fg.grad(fg.grad(powers)))(2.0) == 42 * 2.0**5
        assert run(fg.grad(fg.grad(fg.grad(powers))))(2.0) == 210 * 2.0**4
        assert run(fg.grad(powers))(200.0) == 1.0  # no steps


def test_xla_needs_a_bound() -> None:
    derivatives = [fg.grad(powers), fg.grad(fg.grad(powers)), lambda x: fg.vmap(fg.grad(powers))(x)]
    for f, x in zip(derivatives, (2.0, 2.0, np.ones(2) * 2), strict=True):
        compiled = fg.jit(f, backend="xla")
        assert compiled.graph(x).equations  # staging is fine
        with pytest.raises(NonDifferentiableError, match=r"max_steps= to while_loop.*numpy"):
            compiled(x)
        with pytest.raises(NonDifferentiableError, match="max_steps"):
            compiled.lower(x)
    bounded = lambda x: fg.while_loop(lambda s: s < 100.0, lambda s: s * x, x, max_steps=9)
    for backend in ("numpy", "xla"):
        same(fg.jit(fg.grad(bounded), backend=backend)(2.0), 448.0)
    x = np.array([2.0, 3.0, 200.0])
    same(fg.vmap(fg.grad(bounded))(x), np.array([7 * 2.0**6, 5 * 3.0**4, 1.0]))


def test_steps_after_the_end_do_not_spoil_the_gradient() -> None:
    f = lambda x: fg.while_loop(lambda s: s > 0.5, lambda s: fnp.sqrt(s - 0.5) * x, x, max_steps=8)
    assert np.isfinite(fg.jit(fg.grad(f))(0.9))


def test_jax_arrays_and_jax_tracers() -> None:
    x = jax.numpy.asarray(2.0)
    same(jax.jit(powers)(x), 128.0)
    same(jax.vmap(powers)(jax.numpy.asarray([2.0, 3.0])), np.array([128.0, 243.0]))
    same(jax.jit(fg.vmap(powers))(jax.numpy.asarray([2.0, 3.0])), np.array([128.0, 243.0]))
    got = fg.vmap(fg.grad(powers))(jax.numpy.asarray([2.0, 3.0]))
    assert isinstance(got, jax.Array)
    same(got, np.array([448.0, 405.0]))
    choose = lambda x: fg.cond(x > 0, fnp.sin, fnp.cos, x)
    same(jax.jit(choose)(x), np.sin(2.0))
    same(jax.jit(fg.grad(choose))(x), np.cos(2.0))
    same(jax.jit(fg.vmap(fg.grad(choose)))(jax.numpy.asarray([2.0, -1.0])),
         np.array([np.cos(2.0), np.sin(1.0)]))  # fmt: skip


def test_custom_rules_keep_their_meaning() -> None:
    @fg.custom_vjp
    def clipped(x: Any) -> Any:
        return 3.0 * x

    clipped.defvjp(lambda x: (3.0 * x, ()), lambda res, g: (fnp.clip(g, -2.0, 2.0),))
    f = lambda x: fg.while_loop(lambda s: s < 20.0, lambda s: clipped(s) + x * x, x)
    wanted = fg.grad(f)(1.0)  # on the tape of Python's loop
    same(fg.jit(fg.grad(f))(1.0), wanted)
    second = fg.grad(fg.grad(f))
    same(fg.jit(second)(1.0), second(1.0))
    same(fg.jit(fg.vmap(second))(np.array([1.0, 2.0])), np.array([second(1.0), second(2.0)]))


def test_dtypes() -> None:
    x = X.astype(np.float32)
    f = lambda x: fnp.sum(fg.while_loop(lambda s: fnp.sum(s * s) < 9, lambda s: s * 1.5 + x, x))
    got = fg.jit(fg.grad(f))(x)
    assert got.dtype == np.float32
    same(got, fg.grad(f)(x), 1e-6)
    z = x.astype(np.complex128) * (1 + 2j)
    f = lambda z: fnp.sum(
        fnp.abs(fg.while_loop(lambda s: fnp.sum(fnp.abs(s)) < 9, lambda s: s * z + z, z)) ** 2
    )
    same(fg.jit(fg.grad(f))(z), fg.grad(f)(z))
    n, y = fg.jit(
        lambda z: fg.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] * z), (0, z))
    )(z)
    assert n.dtype == np.int64 and y.dtype == z.dtype


def test_results_have_memory_of_their_own() -> None:
    x = np.ones(3)
    same_again = fg.jit(lambda x: fg.while_loop(lambda s: s[0] > 5.0, lambda s: s * 0.5, x))
    assert not np.shares_memory(same_again(x), x)
    assert not np.shares_memory(fg.jit(lambda x: fg.scan(lambda c, _: (c, c), x, None, 0)[0])(x), x)
    lanes = fg.jit(fg.vmap(lambda x: fg.while_loop(lambda s: s > 5.0, lambda s: s * 0.5, x)))
    assert not np.shares_memory(lanes(x), x)
    big = np.full(1 << 15, 2.0)  # large enough for planned buffers
    f = fg.jit(lambda x: fg.while_loop(lambda s: s[0] > 9.0, lambda s: s * 0.5, x * 2.0 + 1.0))
    first = f(big)
    f(big * 0.0)
    assert (first == 5.0).all()


def test_memory_is_the_residuals_alone() -> None:
    n, size = 200, 10_000
    constant = np.linspace(0.9, 1.1, size)

    def f(x: Any) -> Any:
        step = lambda s: (s[0] + 1, fnp.sin(s[1]) * constant)
        return fnp.sum(fg.while_loop(lambda s: s[0] < n, step, (0, x))[1])

    gradient = fg.jit(fg.grad(f))
    gradient(np.ones(size))
    tracemalloc.start()
    gradient(np.ones(size))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.1 * n * size * 8 + 20 * size * 8  # one array for each step


def test_threads() -> None:
    gradient = fg.jit(fg.vmap(fg.grad(powers)))
    found: dict[int, Any] = {}

    def work(k: int) -> None:
        found[k] = gradient(np.array([2.0, 3.0 + k, 200.0]))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for k, got in found.items():
        same(got, np.array([fg.grad(powers)(v) for v in (2.0, 3.0 + k, 200.0)]))


def test_conditions_are_scalar_bools() -> None:
    with pytest.raises(TypeError, match="bool of shape"):
        fg.while_loop(lambda s: s, lambda s: s, 1.0)
    with pytest.raises(TypeError, match="bool of shape"):
        fg.jit(lambda x: fg.while_loop(lambda s: s > 0, lambda s: s, x))(np.ones(2))


# --- operations across lanes ---------------------------------------------------------------------


def across(m: Any, psum: Any, steps: Any, cond: Any = None) -> Callable[..., Any]:
    """Return sums over the lanes of the inner of two vmaps, in a loop, and perhaps in a branch."""

    def lane(w: Any, x: Any) -> Any:
        step = lambda s: s * 1.5 + 0.1 * psum(s, "i") + fnp.sum(w)
        y = steps(lambda s: s < 4.0, step, x)
        return y if cond is None else cond(x > 0.5, lambda y: y / psum(y, "i"), lambda y: y * y, y)

    both = m.vmap(m.vmap(lane, (None, 0), axis_name="i"), (None, 0))
    return lambda w, x: fnp.sum(both(w, x) ** 3)


def masked(cond_fun: Any, body_fun: Any, x: Any) -> Any:
    step = lambda s, _: (fnp.where(cond_fun(s), body_fun(s), s), None)
    return lax.scan(step, x, None, 12)[0]


def bounded(cond_fun: Any, body_fun: Any, x: Any) -> Any:
    return fg.while_loop(cond_fun, body_fun, x, max_steps=12)


LANES = np.array([[0.3, 0.9, 5.0], [1.0, 0.2, 0.7]])


@pytest.mark.parametrize("mode", ["value", "grad", "jvp of grad"])
def test_all_lanes_take_part_in_operations_across_lanes(mode: str) -> None:
    w = W * 0.1
    wanted = MODES[mode](jax, across(jax, lax.psum, masked))(w, LANES)
    for steps in (fg.while_loop, bounded):
        ours = MODES[mode](fg, across(fg, fg.psum, steps))
        same(ours(w, LANES), wanted)
        same(fg.jit(ours)(w, LANES), wanted)
        if mode == "value" or steps is bounded:
            same(fg.jit(ours, backend="xla")(w, LANES), wanted)


def test_branches_with_operations_across_lanes() -> None:
    w = W * 0.1
    wanted = across(jax, lax.psum, masked, lax.cond)
    ours = across(fg, fg.psum, fg.while_loop, fg.cond)
    same(ours(w, LANES), wanted(w, LANES))
    same(fg.jit(ours)(w, LANES), wanted(w, LANES))
    change = 1e-6 * np.cos(LANES)  # jax.grad is not the derivative here
    slope = (wanted(w, LANES + change) - wanted(w, LANES - change)) / 2e-6
    for run in (lambda f: f, fg.jit):
        same(np.sum(run(fg.grad(ours, 1))(w, LANES) * np.cos(LANES)), slope, 1e-7)
        forward = run(lambda x: fg.jvp(lambda x: ours(w, x), (x,), (fnp.cos(x),))[1])
        same(forward(LANES), slope, 1e-7)


def test_functions_at_run_time_are_told_apart() -> None:
    graph = fg.make_graph(powers)(2.0)
    loop = Loop.of(graph.equations[-1].attrs)
    kinds = [Tangents(loop, (True, True), False), Pullback(loop, (True, True), False)]
    both = fg.make_graph(lambda x, t: [eager_call(x, x, t, t, fun=k)[-1] for k in kinds])(2.0, 1.0)
    assert len(simplify(both).equations) == 2


def test_graphs_of_lanes() -> None:
    f = lambda w, x: fg.while_loop(lambda s: s < 9.0, lambda s: s * w, x)
    g = lambda w, x: fg.cond(x > w, fnp.sin, lambda x: x * 2, f(w, x))
    lanes = fg.vmap(fg.vmap(g, (None, 0)), (0, 0))
    args = (np.array([2.0, 3.0]), np.arange(1.0, 7.0).reshape(2, 3))
    graph = fg.make_graph(lanes)(*args)
    graph.check()
    assert "lanes=((2, 3), (" in str(graph) and "eager_call" not in str(graph)
    same(graph.evaluate(*args), lanes(*args))
    backward = fg.make_graph(fg.grad(lambda w, x: fnp.sum(lanes(w, x))))(*args)
    backward.check()
    assert "eager_call" in str(backward)
    same(backward.evaluate(*args), fg.grad(lambda w, x: fnp.sum(lanes(w, x)))(*args))

"""Roots, linear systems and converted closures: every mode and nesting, against JAX."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgraph as fg
import funcgraph.numpy as fnp
from funcgraph.control.implicit import closure_convert, custom_linear_solve, custom_root
from funcgraph.errors import ConcretizationError, CustomRuleError, TreeError

RNG = np.random.default_rng(0)
X = RNG.uniform(1.0, 2.0, 3)
XS = RNG.uniform(1.0, 2.0, (4, 3))


def same(got: Any, wanted: Any, tol: float = 1e-7) -> None:
    for g, w in zip(fg.tree.leaves(got), fg.tree.leaves(wanted), strict=True):
        assert np.shape(g) == np.shape(w)
        np.testing.assert_allclose(np.asarray(g), np.asarray(w), rtol=tol, atol=tol)


class Ours:
    """The names that the programs below use, of both libraries."""

    custom_root, custom_linear_solve = staticmethod(custom_root), staticmethod(custom_linear_solve)
    fori_loop, grad, stop_gradient = fg.fori_loop, fg.grad, fg.stop_gradient
    solve, inv, eye = staticmethod(fnp.linalg.solve), staticmethod(fnp.linalg.inv), fnp.eye
    jacobian = fg.jacfwd


def theirs() -> Any:
    jax = pytest.importorskip("jax")

    class Theirs:
        custom_root, custom_linear_solve = jax.lax.custom_root, jax.lax.custom_linear_solve
        fori_loop, grad, stop_gradient = jax.lax.fori_loop, jax.grad, jax.lax.stop_gradient
        solve, inv, eye = jax.numpy.linalg.solve, jax.numpy.linalg.inv, jax.numpy.eye
        jacobian = jax.jacfwd

    return Theirs


def scalar_root(m: Any) -> Any:
    """The cube root, by Newton's iteration."""

    def newton(f: Any, x: Any) -> Any:
        return m.fori_loop(0, 30, lambda _, x: x - f(x) / m.grad(f)(x), x)

    def loss(p: Any) -> Any:
        root = m.custom_root(lambda x: x**3 - p[0] * p[1], 1.5, newton, lambda g, y: y / g(1.0))
        return root * p[2]

    return loss


def fixed_point(m: Any) -> Any:
    """The equilibrium z = tanh(W z + x) of a layer, with aux."""

    def solve(f: Any, start: Any) -> Any:
        return m.fori_loop(0, 80, lambda _, z: {"z": z["z"] + f(z)["z"]}, start), {"steps": 80.0}

    def tangent_solve(g: Any, y: Any) -> Any:
        return {"z": m.solve(m.jacobian(lambda z: g({"z": z})["z"])(0 * y["z"]), y["z"])}

    def loss(x: Any) -> Any:
        w = 0.1 * fnp.outer(x, x)
        f = lambda z: {"z": fnp.tanh(w @ z["z"] + x) - z["z"]}
        root, aux = m.custom_root(f, {"z": 0 * x}, solve, tangent_solve, has_aux=True)
        return fnp.sum(root["z"] ** 2) * aux["steps"]

    return loss


def linear(m: Any) -> Any:
    """A system whose solvers close over a matrix made beforehand, as over a factorisation."""

    def loss(x: Any) -> Any:
        a = fnp.outer(x, x) + 2 * m.eye(3) + fnp.diag(x[:2], 1)
        inverse = m.inv(m.stop_gradient(a))
        y = m.custom_linear_solve(
            lambda v: a @ v,
            fnp.sin(x),
            lambda _, b: inverse @ b,
            lambda _, b: inverse.T @ b,
        )
        return fnp.sum(y**2)

    return loss


def symmetric(m: Any) -> Any:
    """Richardson's iteration through matvec itself, on a pytree, with aux."""

    def solve(matvec: Any, b: Any) -> Any:
        def step(_: Any, x: Any) -> Any:
            ax = matvec(x)
            return {k: x[k] + (b[k] - ax[k]) / 4 for k in b}

        return m.fori_loop(0, 100, step, b), 1.0

    def loss(x: Any) -> Any:
        matvec = lambda v: {"a": 3 * v["a"] + x * v["b"] / 4, "b": x * v["a"] / 4 + 2 * v["b"]}
        y, _ = m.custom_linear_solve(
            matvec, {"a": x**2, "b": fnp.sin(x)}, solve, symmetric=True, has_aux=True
        )
        return fnp.sum(y["a"] ** 2 + y["b"])

    return loss


PROGRAMS = [scalar_root, fixed_point, linear, symmetric]
MODES = {
    "value": lambda m, f: f,
    "grad": lambda m, f: m.grad(f),
    "jvp": lambda m, f: lambda x: m.jvp(f, (x,), (x,)),
    "hessian": lambda m, f: m.hessian(f),
    "grad grad": lambda m, f: m.grad(lambda x: fnp.sum(m.grad(f)(x) ** 2)),
    "grad jvp": lambda m, f: m.grad(lambda x: m.jvp(f, (x,), (x,))[1]),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("program", PROGRAMS)
def test_every_nesting(program: Any, mode: str) -> None:
    jax = pytest.importorskip("jax")
    ours = MODES[mode](fg, program(Ours))
    reference = jax.jit(MODES[mode](jax, program(theirs())))
    wanted = reference(X)
    same(ours(X), wanted)
    same(fg.vmap(ours)(XS), [np.stack(c) for c in _columns(reference)])
    batched = MODES[mode](fg, lambda x: fg.vmap(program(Ours))(fnp.stack([x, x])).sum())
    double = MODES[mode](fg, lambda x: 2 * program(Ours)(x))
    same(batched(X), double(X))
    same(fg.jit(ours)(X), wanted)
    same(MODES[mode](fg, fg.jit(program(Ours)))(X), wanted)


def _columns(reference: Any) -> Any:
    return zip(*(map(np.asarray, fg.tree.leaves(reference(x))) for x in XS), strict=True)


@pytest.mark.parametrize("program", PROGRAMS)
def test_on_xla(program: Any) -> None:
    pytest.importorskip("jax")
    ours = fg.grad(program(Ours))
    same(fg.jit(ours, backend="xla")(X), ours(X))


def newton(f: Any, x: Any) -> Any:
    """In plain Python, stopping by a tolerance."""
    for _ in range(50):
        step = f(x) / fg.grad(f)(x)
        x = x - step
        if abs(step) < 1e-12:
            break
    return x


def divide(g: Any, y: Any) -> Any:
    return y / g(1.0)


def test_solvers_may_branch_on_values() -> None:
    sqrt = lambda p: custom_root(lambda x: x * x - p, 1.0, newton, divide)
    assert sqrt(4.0) == 2
    same(fg.grad(sqrt)(4.0), 0.25)
    same(fg.grad(fg.grad(sqrt))(4.0), -1 / 32)
    same(fg.jvp(fg.grad(sqrt), (4.0,), (1.0,)), (0.25, -1 / 32))
    assert fg.linearize(sqrt, 4.0)[1](1.0) == 0.25
    same(fg.jacrev(fg.jacfwd(sqrt))(4.0), -1 / 32)
    with pytest.raises(ConcretizationError):
        fg.vmap(sqrt)(X)
    same(fg.vmap(sqrt, method="loop")(X), X**0.5)


def _cube_root(p: Any) -> Any:
    """p, as the cube root of p**3: all three functions close over p."""

    def newton(f: Any, x: Any) -> Any:
        return fg.fori_loop(0, 30, lambda _, x: x - f(x) / fg.grad(f)(x) * p / p, x)

    slope = 3.0 * p**2
    return custom_root(lambda x: x**3 - p**3, 1.0, newton, lambda g, y: y / slope)


def _scaled_system(p: Any) -> Any:
    """1 / p, as the solution of p x = 1: the solvers do not look at matvec."""
    solver = lambda _, b: b / p
    return custom_linear_solve(lambda x: p * x, 1.0 + 0.0 * p, solver, solver)


def _directional(f: Any) -> Any:
    return lambda x: fg.jvp(f, (x,), (1.0,))[1]


def _sum_of_lanes(f: Any) -> Any:
    return lambda x: fnp.sum(fg.vmap(f)(x * np.ones(2))) / 2


WRAPPERS = {
    "g": fg.grad,
    "f": _directional,
    "l": lambda f: lambda x: fg.linearize(f, x)[1](1.0),
    "v": _sum_of_lanes,
    "J": fg.jit,
    "s": lambda f: lambda x: fg.scan(lambda c, _: (c, f(c)), x, None, length=2)[1][0],
}


@pytest.mark.parametrize("mode", ["g", "f", "l", "gf", "fg", "gg", "gvf", "Jgf", "fgJ", "gsf"])
def test_solvers_close_over_traced_values(mode: str) -> None:
    for f, derivatives in ((_cube_root, (1.0, 0.0)), (_scaled_system, (-0.25, 0.25))):
        got = f
        for letter in mode:
            got = WRAPPERS[letter](got)
        order = sum(letter in "gfl" for letter in mode)
        same(got(2.0), derivatives[order - 1])


def test_a_closure_that_a_rule_cannot_see_is_refused() -> None:
    def f(p: Any) -> Any:
        slope = 3.0 * p**2
        solve = lambda g, y: y / slope if g(1.0) > 0.0 else y
        return custom_root(lambda x: x**3 - p**3, 1.0, lambda *_: fg.stop_gradient(p), solve)

    same(fg.grad(f)(2.0), 1.0)
    with pytest.raises(CustomRuleError, match="custom_root reads a traced value"):
        fg.jvp(f, (2.0,), (1.0,))


def test_the_solver_is_not_differentiated() -> None:
    calls: list[Any] = []

    def solve(f: Any, x: Any) -> Any:
        calls.append(x)
        assert isinstance(f(x), float)  # no tracers
        return newton(f, x)

    same(fg.grad(lambda p: custom_root(lambda x: x * x - p, p, solve, divide))(4.0), 0.25)
    assert len(calls) == 1
    # Nor what it closes over: the derivative is that of the root, which does not depend on it.
    scaled = lambda p: custom_root(
        lambda x: x * x - p, 1.0, lambda f, x: newton(f, x * p), lambda g, y: y / g(1.0)
    )
    same(fg.grad(scaled)(4.0), 0.25)


def test_levels_of_closures() -> None:
    root = lambda p, q: custom_root(lambda x: x * x * q - p, 1.0, newton, divide)
    mixed = fg.grad(lambda p: fg.grad(lambda q: root(p, q))(2.0))(3.0)
    same(mixed, -0.25 / (3.0**0.5 * 2.0**1.5))
    batched = fg.vmap(lambda q: fg.grad(lambda p: _loop_root(p, q))(3.0))(X)
    same(batched, 0.5 / (3 * X) ** 0.5)


def _loop_root(p: Any, q: Any) -> Any:
    step = lambda f: lambda _, x: x - f(x) / fg.grad(f)(x)
    solve = lambda f, x: fg.fori_loop(0, 30, step(f), x)
    return custom_root(lambda x: x * x * q - p, 1.0, solve, divide)


def test_integers_are_carried_along() -> None:
    def f(p: Any, n: Any) -> Any:
        return custom_root(lambda x: x * x - p * n, 1.0, newton, divide)

    same(fg.grad(f)(2.0, 8), 1.0)
    same(fg.jit(fg.grad(_loop_root))(2.0, 8), 0.125)
    same(fg.vmap(fg.grad(_loop_root), (None, 0))(2.0, np.array([8, 2])), np.array([0.125, 0.25]))


def test_transposed_and_missing_solvers() -> None:
    a = RNG.standard_normal((3, 3)) + 4 * np.eye(3)
    solve = lambda m, b: np.linalg.solve(a, b)
    forward_only = lambda b: custom_linear_solve(lambda x: a @ x, b, solve)
    same(forward_only(X), np.linalg.solve(a, X))
    same(fg.jvp(forward_only, (X,), (X,))[1], np.linalg.solve(a, X))
    with pytest.raises(CustomRuleError, match="transpose_solve="):
        fg.grad(lambda b: forward_only(b).sum())(X)
    # A solver that finds the matrix by itself: vecmat is the transpose of matvec.
    dense = lambda m, b: fnp.linalg.solve(fg.jacfwd(m)(0 * b), b)
    both = lambda a, b: custom_linear_solve(lambda x: a @ x, b, dense, dense)
    wanted = lambda a, b: fnp.linalg.solve(a, b)
    for argnum in (0, 1):
        loss = lambda f: fg.grad(lambda *ab: fnp.sum(f(*ab) ** 3), argnum)  # noqa: B023
        same(loss(both)(a, X), loss(wanted)(a, X))
    jacobians = [fg.jacrev(fg.jacrev(f))(a, X) for f in (both, wanted)]
    same(*jacobians)


def test_wrong_shapes_are_named() -> None:
    root = lambda f, solve, back: (
        lambda p: custom_root(lambda x: f(x, p), {"x": np.ones(2)}, solve, back)
    )
    zero = lambda x, p: {"x": x["x"] - p}
    start = lambda f, x: x
    with pytest.raises(CustomRuleError, match=r"what f returns must have the structure of initial"):
        root(lambda x, p: x["x"], start, None)(1.0)
    with pytest.raises(
        CustomRuleError, match=r"f returns\['x'\] is float64\[\], but initial_guess"
    ):
        root(lambda x, p: {"x": fnp.sum(x["x"])}, start, None)(1.0)
    with pytest.raises(CustomRuleError, match=r"solve returns\['x'\] is float64\[3\]"):
        root(zero, lambda f, x: {"x": np.ones(3)}, None)(1.0)
    with pytest.raises(CustomRuleError, match=r"tangent_solve returns must have the structure"):
        fg.grad(lambda p: root(zero, start, lambda g, y: y["x"])(p)["x"].sum())(1.0)
    with pytest.raises(
        CustomRuleError, match=r"matvec returns is float64\[\], but b is float64\[3"
    ):
        custom_linear_solve(fnp.sum, X, lambda m, b: b)
    with pytest.raises(CustomRuleError, match="solve returns is"):
        custom_linear_solve(lambda x: 2 * x, X, lambda m, b: b[:2])
    with pytest.raises(ConcretizationError):
        custom_root(lambda x: x if x > 0 else -x, 1.0, newton, divide)


def test_closure_convert_as_jax() -> None:
    def program(m: Any, convert: Any) -> Any:
        def minimum(objective: Any, x: Any, *params: Any) -> Any:
            return x - objective(x, *params)

        wrapped = m.custom_vjp(minimum, nondiff_argnums=(0,))
        wrapped.defvjp(
            lambda f, x, *params: (minimum(f, x, *params), (x, params)),
            lambda f, res, g: (7.0 * g, *(3.0 * g * p for p in res[1])),  # wrong on purpose
        )

        def solve(p: Any, x: Any) -> Any:
            converted, hoisted = convert(lambda x: x * p["w"] + p["c"], x)
            return wrapped(converted, x, *hoisted)

        return lambda p, x: solve(p, x) ** 2

    ours = program(fg, closure_convert)
    p = {"w": 2.0, "c": 3.0}
    jax = pytest.importorskip("jax")
    reference = program(jax, jax.closure_convert)
    same(fg.grad(ours, (0, 1))(p, 5.0), jax.jit(jax.grad(reference, (0, 1)))(p, 5.0))
    same(
        fg.vmap(fg.grad(ours), (None, 0))(p, X),
        jax.jit(jax.vmap(jax.grad(reference), (None, 0)))(p, X),
    )
    same(fg.jit(fg.grad(ours))(p, 5.0), jax.jit(jax.grad(reference))(p, 5.0))


def test_closure_convert_of_pytrees() -> None:
    def f(p: Any) -> Any:
        converted, hoisted = closure_convert(lambda x: {"y": x["a"] * p + 1, "z": X}, {"a": p})
        assert len(hoisted) == 1
        with pytest.raises(TreeError, match="was converted for"):
            converted(2.0, *hoisted)
        out = converted({"a": 10.0}, 2 * hoisted[0])
        return out["y"] + out["z"].sum()

    same(fg.value_and_grad(f)(3.0), (61.0 + X.sum(), 20.0))
    converted, hoisted = closure_convert(np.sin, fg.ShapeDtype((3,), np.dtype(float)))
    assert hoisted == []
    same(converted(X), np.sin(X))


# --- under JAX's transformations ------------------------------------------------------------------


def _columns_solved(apply: Any, b: Any) -> Any:
    return fnp.linalg.solve(fnp.stack([apply(e) for e in np.eye(2)]).T, b)


def _implicit_root(p: Any) -> Any:
    step = lambda f: lambda _, x: x - f(x) / fg.grad(f)(x)
    solve = lambda f, x: fg.fori_loop(0, 20, step(f), x)
    return custom_root(lambda x: x**2 - p, p, solve, lambda g, y: y / g(1.0))


def _implicit_system(t: Any) -> Any:
    matrix, b = np.array([[3.0, 1.0], [0.5, 2.0]]), np.array([1.0, 2.0])
    solve = lambda apply, b: _columns_solved(apply, b)
    return fnp.sum(custom_linear_solve(lambda x: matrix @ x * t, b * t**2, solve, solve) ** 2)


@pytest.mark.parametrize("f", [_implicit_root, _implicit_system])
def test_jax_uses_the_rules(f: Any) -> None:
    """The solver alone has no derivative: JAX would find zero, and say nothing."""
    jax = pytest.importorskip("jax")
    first, second = fg.grad(f), fg.grad(fg.grad(f))
    for g in (f, fg.to_jax(f), fg.to_jax(f, derivative="ours"), jax.jit(f)):
        found = jax.jit(lambda x, g=g: (jax.grad(g)(x), jax.grad(jax.grad(g))(x)))(4.0)
        same(found, (first(4.0), second(4.0)))
        same(jax.vmap(jax.grad(g))(XS[0] ** 2 + 1), fg.vmap(first)(XS[0] ** 2 + 1))
        same(jax.jvp(g, (4.0,), (1.0,))[1], first(4.0))

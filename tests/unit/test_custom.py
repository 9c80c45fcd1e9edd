"""Custom rules and checkpoints: every mode and nesting, against JAX; wrong rules are named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgraph as fg
import funcgraph.numpy as fnp
from funcgraph.errors import CustomRuleError

RNG = np.random.default_rng(0)
X = RNG.standard_normal(4)
XS = RNG.standard_normal((3, 4))


def same(got: Any, wanted: Any, tol: float = 1e-10) -> None:
    for g, w in zip(fg.tree.leaves(got), fg.tree.leaves(wanted), strict=True):
        assert np.shape(g) == np.shape(w)
        np.testing.assert_allclose(np.asarray(g), np.asarray(w), rtol=tol, atol=tol)


def with_vjp(m: Any) -> Any:
    """A deliberately wrong rule, so that it shows whether it is used."""

    def f(t: Any, k: Any) -> Any:
        return {"y": fnp.sin(t["a"]) * k, "z": t["a"] * t["b"]}

    def fwd(t: Any, k: Any) -> Any:
        return f(t, k), (fnp.cos(t["a"]), t["b"], k)

    def bwd(res: Any, ct: Any) -> Any:
        c, b, k = res
        return {"a": 3.0 * ct["y"] * c * k + ct["z"] * b, "b": fnp.sum(ct["z"])}, fnp.sum(ct["y"])

    g = m.custom_vjp(f)
    g.defvjp(fwd, bwd)

    def loss(x: Any) -> Any:
        out = g({"a": x, "b": 2.0}, x[0])
        return fnp.sum(out["y"] ** 2) + fnp.sum(out["z"])

    return loss


def with_jvp(m: Any) -> Any:
    def f(x: Any, y: Any) -> Any:
        return fnp.sin(x) * y, 2.0 * y

    def jvp(primals: Any, tangents: Any) -> Any:
        (x, y), (tx, ty) = primals, tangents
        return f(x, y), (5.0 * fnp.cos(x) * y * tx + fnp.sin(x) * ty, 2.0 * ty)

    g = m.custom_jvp(f)
    g.defjvp(jvp)

    def loss(x: Any) -> Any:
        a, b = g(x, x * x)
        return fnp.sum(a**2) + fnp.sum(b)

    return loss


def with_defjvps(m: Any) -> Any:
    g = m.custom_jvp(lambda x, y: x * y)
    g.defjvps(lambda t, out, x, y: 7.0 * t * y, None)
    return lambda x: fnp.sum(g(x, fnp.sin(x)))


def with_checkpoint(m: Any) -> Any:
    def loss(x: Any) -> Any:
        layer = m.checkpoint(lambda h: fnp.tanh(h * x) + fnp.sin(h))  # closes over x
        return fnp.sum(layer(layer(x)) ** 2)

    return loss


REVERSE = {
    "value": lambda m, f: f,
    "grad": lambda m, f: m.grad(f),
    "grad grad": lambda m, f: m.grad(lambda x: fnp.sum(m.grad(f)(x) ** 2)),
    "jacrev": lambda m, f: m.jacrev(m.grad(f)),
}
FORWARD = {
    "jvp": lambda m, f: lambda x: m.jvp(f, (x,), (x,)),
    "hessian": lambda m, f: m.hessian(f),
    "jvp jvp": lambda m, f: lambda x: m.jvp(lambda x: m.jvp(f, (x,), (x,))[1], (x,), (x,)),
    "grad jvp": lambda m, f: m.grad(lambda x: m.jvp(f, (x,), (x,))[1]),
}
PROGRAMS = [
    *[(with_vjp, mode) for mode in REVERSE],
    *[(p, mode) for p in (with_jvp, with_checkpoint) for mode in REVERSE | FORWARD],
    *[(with_defjvps, mode) for mode in ("grad", "jvp")],
    *[
        pytest.param(with_defjvps, mode, marks=pytest.mark.slow)
        for mode in REVERSE | FORWARD
        if mode not in ("grad", "jvp")
    ],
]


@pytest.mark.parametrize(("program", "mode"), PROGRAMS)
def test_rules_are_used_in_every_nesting(program: Any, mode: str) -> None:
    jax = pytest.importorskip("jax")
    transform = (REVERSE | FORWARD)[mode]
    ours, theirs = transform(fg, program(fg)), jax.jit(transform(jax, program(jax)))
    wanted = theirs(X)
    same(ours(X), wanted)
    same(fg.vmap(ours)(XS), jax.vmap(theirs)(XS))
    batched = transform(fg, lambda x: fg.vmap(program(fg))(fnp.stack([x, 2 * x])).sum())
    reference = transform(jax, lambda x: jax.vmap(program(jax))(fnp.stack([x, 2 * x])).sum())
    same(batched(X), jax.jit(reference)(X))
    for backend in ("numpy", "xla"):
        same(fg.jit(ours, backend=backend)(X), wanted)
    same(transform(fg, fg.jit(program(fg)))(X), wanted)


def test_both_rules_on_one_function() -> None:
    for decorate in (fg.custom_vjp, fg.custom_jvp):
        f = decorate(lambda x: x * x)
        f.defvjp(lambda x: (x * x, x), lambda x, ct: (10.0 * ct * x,))
        f.defjvp(lambda p, t: (p[0] ** 2, 20.0 * p[0] * t[0]))
        assert fg.grad(f)(3.0) == 30
        assert fg.jvp(f, (3.0,), (1.0,))[1] == 60


def test_nondiff_arguments() -> None:
    def f(h: Any, x: Any, n: int) -> Any:
        return h(x) * n

    g = fg.custom_vjp(f, nondiff_argnums=(0, 2))
    g.defvjp(lambda h, x, n: (f(h, x, n), x), lambda h, n, x, ct: (ct * n * 100.0,))
    assert fg.grad(lambda x: g(np.sin, x, n=3))(1.0) == 300
    g = fg.custom_vjp(lambda k, x: k * x, nondiff_argnames="k")
    g.defvjp(lambda k, x: (k * x, None), lambda k, _, ct: (ct * k,))
    same(fg.grad(lambda x: np.sum(g(np.arange(4.0), x)))(X), np.arange(4.0))  # an array
    same(fg.vmap(lambda k: fg.grad(lambda x: np.sum(g(k, x)))(X))(XS), XS)  # a traced one


def test_methods_and_defaults() -> None:
    class Model:
        @fg.custom_jvp
        def f(self, x: Any, k: Any = 2.0) -> Any:
            return x * k

        scale = 3.0

    Model.f.defjvp(lambda p, t: (p[1] * p[2], t[1] * 50.0))
    g = fg.custom_jvp(lambda x, k=2.0: x * k)
    g.defjvp(lambda p, t: (p[0] * p[1], t[0] * 50.0))
    assert fg.grad(g)(1.0) == 50 and fg.grad(lambda x: g(x, k=4.0))(1.0) == 50
    assert g.__name__ == "<lambda>"


def test_none_is_a_zero_cotangent() -> None:
    f = fg.custom_vjp(lambda x, y: x * y["a"])
    f.defvjp(lambda x, y: (x * y["a"], y), lambda y, ct: (ct * y["a"], None))
    same(fg.grad(lambda x, y: np.sum(f(x, y)), (0, 1))(X, {"a": X}), (X, {"a": 0 * X}))


def test_custom_gradient() -> None:
    f = fg.custom_gradient(lambda x, y: (x * y, lambda g: (g * 2.0, g * x)))
    same(fg.grad(f, (0, 1))(3.0, 4.0), (2.0, 3.0))
    assert fg.grad(fg.custom_gradient(lambda x: (np.sin(x), lambda g: g * 7.0)))(1.0) == 7


@pytest.mark.parametrize(
    ("bwd", "message"),
    [
        (lambda res, ct: (ct,), r"2 cotangents, for weights, x"),
        (lambda res, ct: ({"w": np.ones(3)}, ct), r"weights\['w'\].*float64\[3\].*float64\[4\]"),
        (lambda res, ct: (np.ones(4), ct), r"cotangent of weights .* structure"),
        (lambda res, ct: ct, "must return a tuple"),
    ],
)
def test_wrong_cotangents_are_named(bwd: Any, message: str) -> None:
    f = fg.custom_vjp(lambda weights, x: weights["w"] * x)
    f.defvjp(lambda weights, x: (weights["w"] * x, None), bwd)
    with pytest.raises(CustomRuleError, match=message) as error:
        fg.grad(lambda w: np.sum(f(w, 2.0)))({"w": X})
    assert "test_custom.py" in str(error.value)


def test_missing_rules_and_closures_are_refused() -> None:
    with pytest.raises(CustomRuleError, match="has none"):
        fg.custom_vjp(np.tanh)(1.0)
    f = fg.custom_vjp(lambda x: x * x)
    f.defvjp(lambda x: (x * x, x), lambda x, ct: (2 * ct * x,))
    with pytest.raises(CustomRuleError, match="defjvp"):
        fg.jvp(f, (1.0,), (1.0,))
    with pytest.raises(CustomRuleError, match="keyword-only"):
        g = fg.custom_jvp(lambda x, *, k: x)
        g.defjvp(lambda p, t: (p[0], t[0]))
        g(1.0, k=2)

    def closing(y: Any) -> Any:
        g = fg.custom_vjp(lambda x: x * y)
        g.defvjp(lambda x: (x * y, None), lambda _, ct: (ct,))
        return g(y)

    with pytest.raises(CustomRuleError, match="closure"):
        fg.grad(closing)(2.0)
    # An outer transformation's values are no problem: its own tape records them.
    inner = lambda y: fg.grad(lambda x: _scaled(x, y))(3.0)
    assert fg.grad(inner)(2.0) == 1.0


def _scaled(x: Any, y: Any) -> Any:
    f = fg.custom_vjp(lambda x: x * y)
    f.defvjp(lambda x: (x * y, None), lambda _, ct: (ct * y,))
    return f(x)


def test_a_checkpoint_keeps_its_arguments_only() -> None:
    from funcgraph.transforms.tape import Tape

    big = RNG.standard_normal(10_000)
    layer = lambda x: np.tanh(np.sin(x) * np.cos(x) + np.exp(-x * x))

    def kept(f: Any) -> int:
        tape = Tape()
        f(tape.watch(big))
        arrays: dict[int, int] = {}

        def visit(x: Any) -> None:
            if isinstance(x, np.ndarray):
                arrays[id(x)] = x.nbytes
            elif isinstance(x, tuple | list):
                for v in x:
                    visit(v)

        visit(tape.end())
        return sum(arrays.values())

    assert kept(layer) >= 6 * big.nbytes
    assert kept(fg.checkpoint(layer)) <= 2 * big.nbytes  # the argument and the result
    wanted = fg.grad(lambda x: layer(layer(x)).sum())(big)
    again = fg.checkpoint(layer)
    same(fg.grad(lambda x: again(again(x)).sum())(big), wanted)


def test_checkpoints_may_branch_on_values() -> None:
    f = fg.checkpoint(lambda x, n: {"y": x * x if x > 0 else -x, "n": n})
    assert fg.grad(lambda x: f(x, 3)["y"])(3.0) == 6
    assert fg.grad(lambda x: f(x, 3)["y"])(-3.0) == -1
    assert f(2.0, 1) == {"y": 4.0, "n": 1}


def test_classic_rules() -> None:
    """A gradient that is clipped, and log(1 + exp(x)) without overflow."""
    clip = fg.custom_vjp(lambda x, limit: x)
    clip.defvjp(lambda x, b: (x, b), lambda b, ct: (fnp.clip(ct, -b, b), None))
    f = lambda x: 10 * clip(np.sin(x), 0.5)
    same(fg.vmap(fg.grad(f))(X), 0.5 * np.cos(X))
    same(fg.grad(lambda x: fg.vmap(f)(x).sum())(X), 0.5 * np.cos(X))

    @fg.custom_jvp
    def log1pexp(x: Any) -> Any:
        return np.log1p(np.exp(x))

    log1pexp.defjvps(lambda t, y, x: t * (1 - 1 / (1 + np.exp(x))))
    x = np.array([-800.0, 0.0, 1.0, 20.0])
    sigmoid = 1 / (1 + np.exp(-x.clip(-100)))
    same(fg.vmap(fg.grad(log1pexp))(x), sigmoid)
    same(fg.vmap(fg.grad(fg.grad(log1pexp)))(x), sigmoid * (1 - sigmoid))
    with np.errstate(over="ignore"):
        assert fg.grad(log1pexp)(800.0) == 1


def test_a_rule_that_reads_the_output_is_used_for_its_derivative() -> None:
    jax = pytest.importorskip("jax")

    def second(m: Any) -> Any:
        f = m.custom_jvp(lambda x: x * x)
        f.defjvps(lambda t, out, x: 3.0 * t * out)
        return m.grad(m.grad(f))

    same(second(fg)(2.0), second(jax)(2.0))
    with pytest.raises(CustomRuleError, match="use defjvp"):
        fg.custom_jvp(lambda x, n: x, nondiff_argnums=1).defjvps(None)


def test_linearize_uses_the_forward_rule_beside_residuals() -> None:
    f = fg.custom_vjp(lambda x: x * x)
    f.defvjp(lambda x: (x * x, (x, {"a": x})), lambda res, ct: (10.0 * ct * res[0],))
    f.defjvp(lambda p, t: (p[0] ** 2, 20.0 * p[0] * t[0]))
    assert fg.linearize(f, 3.0)[1](1.0) == 60
    same(fg.linearize(fg.vmap(f), X)[1](np.ones(4)), 20 * X)
    assert fg.jit(lambda x: fg.linearize(f, x)[1](1.0))(3.0) == 60


def _offset(decorate: Any) -> Any:
    f = decorate(lambda x, k, h: h(x) * k["k"], nondiff_argnums=(1, 2))
    f.defvjp(lambda x, k, h: (h(x) * k["k"], x), lambda k, h, x, ct: (ct * k["k"] * 50.0,))
    f.defjvp(lambda k, h, p, t: (h(p[0]) * k["k"], t[0] * k["k"] * 50.0))
    return lambda x, k: f(x, {"k": k}, np.sin)


@pytest.mark.parametrize("decorate", [fg.custom_vjp, fg.custom_jvp])
def test_nondiff_arguments_may_be_traced(decorate: Any) -> None:
    f = _offset(decorate)
    for transform in (fg.grad, lambda f: lambda x, k: fg.jvp(lambda x: f(x, k), (x,), (1.0,))[1]):
        slope = transform(f)
        same(slope(2.0, 3.0), 150.0)
        same(fg.vmap(slope)(X, 2 * X), 100 * X)
        same(fg.vmap(slope, (None, 0))(2.0, X), 50 * X)
        same(fg.jit(slope)(2.0, 3.0), 150.0)
        same(fg.grad(slope, 1)(2.0, 3.0), 50.0)  # an outer derivative, of the rule
    same(fg.vmap(f)(X, X), np.sin(X) * X)
    for both in (fg.grad(f, (0, 1)), lambda x, k: fg.jvp(f, (x, k), (x, k))):
        with pytest.raises(CustomRuleError, match="named in nondiff_argnums"):
            both(2.0, 3.0)


def _closing(y: Any) -> Any:
    g = fg.custom_jvp(lambda x: x * y)
    g.defvjp(lambda x: (x * y, None), lambda _, ct: (ct * y,))
    g.defjvp(lambda p, t: (p[0] * y, t[0] * y))
    return g


@pytest.mark.parametrize(
    "program",
    [
        lambda: fg.grad(lambda y: _closing(y)(y))(2.0),
        lambda: fg.jvp(lambda y: _closing(y)(y), (2.0,), (1.0,)),
        lambda: fg.vmap(lambda y: _closing(y)(y))(X),
        lambda: fg.jit(lambda y: _closing(y)(y))(2.0),
        lambda: fg.grad(lambda y: fg.jit(lambda x: _closing(y)(x))(3.0))(2.0),
        lambda: fg.grad(lambda x: fg.grad(lambda y: _closing(y)(x))(2.0))(3.0),
        lambda: fg.vmap(lambda x: fg.vmap(lambda y: _closing(y)(x))(X))(X),
        lambda: fg.grad(lambda x: fg.vmap(lambda y: _closing(y)(x))(X).sum())(3.0),
    ],
)
def test_closures_over_the_same_or_inner_levels_are_refused(program: Any) -> None:
    with pytest.raises(CustomRuleError, match="closure"):
        program()


def test_closures_over_outer_levels_are_batched() -> None:
    same(fg.vmap(lambda y: fg.grad(lambda x: _closing(y)(x))(3.0))(X), X)
    same(fg.vmap(lambda y: fg.vmap(lambda x: _closing(y)(x))(X))(XS[0]), np.outer(XS[0], X))


def test_wrong_tangents_are_named() -> None:
    f = fg.custom_jvp(lambda x: {"a": x})
    f.defjvp(lambda p, t: ({"a": p[0]}, {"a": np.ones(3)}))
    with pytest.raises(CustomRuleError, match=r"tangent of the output\['a'\].*float64\[3\]"):
        fg.jvp(f, (2.0,), (1.0,))
    f.defjvp(lambda p, t: p[0])
    with pytest.raises(CustomRuleError, match=r"must return \(output, tangent\)"):
        fg.jvp(f, (2.0,), (1.0,))

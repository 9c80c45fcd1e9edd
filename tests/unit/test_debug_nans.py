"""debug_nans: which operation, line, index, step and layer the first non-finite number is from."""

from __future__ import annotations

import re

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.errors import NonFiniteError

X = np.array([1.0, 0.0])


def logs(x):
    y = np.log(x)
    return np.sum(y)


def roots(x):
    y = np.sqrt(x)
    return np.sum(y)


def line(fun, offset):
    """Return file:line of a line of a function."""
    return f"{__file__}:{fun.__code__.co_firstlineno + offset}"


def found(fun, *args):
    """Return the error that a call raises in a block."""
    with pytest.raises(NonFiniteError) as info, fg.debug_nans():
        fun(*args)
    return info.value


def test_message_of_the_forward_pass():
    error = found(fg.grad(logs), X)
    assert isinstance(error, FloatingPointError)
    assert (error.operation, error.index, error.line) == ("log", (1,), line(logs, 1))
    assert str(error) == (
        "log gave -inf at index (1,), in the forward pass.\n"
        "  result: float64[2]\n"
        "  operand 0, the argument of grad of logs: float64[2], 0.0 there\n"
        "  If np.where does not take this value, keep its operand away from here as well: "
        "np.where(ok, f(np.where(ok, x, 1.0)), y).\n"
        "  in: y = np.log(x)\n"
        f"  at {line(logs, 1)}\n"
        "  help: python -m funcgraph help NonFiniteError"
    )


def test_message_of_the_backward_pass():
    error = found(fg.value_and_grad(lambda p: 3 * roots(p["w"])), {"w": X})
    assert str(error) == (
        "the derivative of sqrt by operand 0 gave inf at index (1,), in the backward pass.\n"
        "  result: float64[2]\n"
        "  cotangent that came in: 3.0 there\n"
        "  operand 0, the argument of grad of <lambda> at ['w']: float64[2], 0.0 there\n"
        "  in: y = np.sqrt(x)\n"
        f"  at {line(roots, 1)}\n"
        "  help: python -m funcgraph help NonFiniteError"
    )


def test_a_leaf_that_is_not_finite_is_named():
    error = found(fg.grad(lambda p: logs(p["w"][1])), {"w": [X + 1, np.array([1.0, np.nan])]})
    assert "operand 0, the argument of grad of <lambda> at ['w'][1]: float64[2]" in str(error)
    assert "; it had 1 not finite before" in str(error) and "np.where" not in str(error)


@pytest.mark.parametrize("backend", ["numpy", "xla"])
def test_compiled(backend):
    if backend == "xla":
        pytest.importorskip("jax")
    error = found(fg.jit(logs, backend=backend), X)
    assert error.line == line(logs, 1) and "argument [0] of logs: float64[2], 0.0" in str(error)
    error = found(fg.jit(fg.grad(roots), backend=backend), X)
    assert error.line == line(roots, 1) and "backward pass" in str(error)
    error = found(fg.grad(fg.jit(roots, backend=backend)), X)
    assert error.line == line(roots, 1) and "backward pass" in str(error)


def test_static_arguments_and_results_of_compiled_functions():
    f = fg.jit(lambda x, n, scale: {"y": x * scale, "n": n}, static_argnames="n")
    with fg.debug_nans():
        out = f(X.astype(np.float32), n=3, scale=2.0)
        assert fg.jit(lambda x: x)(X) is not X  # results are the caller's own
    assert out["y"].dtype == np.float32 and type(out["y"]) is np.ndarray and out["n"] == 3
    with pytest.raises(fg.errors.StaticArgumentError), fg.debug_nans():
        f("text", n=3, scale=2.0)


def body(c, x):
    return c - x, np.log(c)


def scanned(c, **options):
    return np.sum(fg.scan(body, c, np.ones(4), **options)[1])


@pytest.mark.parametrize(
    ("run", "x"),
    [
        (fg.grad(scanned), 2.0),
        (fg.jit(scanned), 2.0),
        (fg.jit(fg.grad(scanned)), 2.0),
        (fg.vmap(scanned), np.array([2.0])),
    ],
)
def test_steps_of_scan(run, x):
    error = found(run, x)
    assert error.line == line(body, 1)
    assert "in the forward pass, step 2 of scan" in str(error)


def test_steps_of_scan_backwards_and_with_checkpoints():
    assert "step 1 of scan" in str(found(fg.grad(lambda c: scanned(c, reverse=True)), 2.0))
    error = found(fg.jit(fg.grad(lambda c: scanned(c, checkpoint_every=2))), 2.0)
    assert error.line == line(body, 1) and "step 2 of scan" in str(error)


def test_steps_in_the_backward_pass():
    def step(c, x):
        return c - x, np.sqrt(c)

    def f(c):
        return np.sum(fg.scan(step, c, np.ones(3))[1])

    error = found(fg.jit(fg.grad(f)), 2.0)
    assert error.line == line(step, 1)
    assert "derivative of sqrt by operand 0 gave inf, in the backward pass, step 2 of scan" in str(
        error
    )


def test_steps_of_other_loops():
    error = found(fg.jit(lambda x: fg.fori_loop(3, 6, lambda i, c: np.log(c), x)), 2.0)
    assert "log gave nan, in the forward pass, step 5 of fori_loop" in str(error)
    loop = lambda x: fg.while_loop(lambda c: c[1] < 9, lambda c: (np.log(c[0]), c[1] + 1), (x, 0))
    error = found(fg.jit(loop), 2.0)
    assert "log gave nan, in the forward pass, step 2 of while_loop" in str(error)
    error = found(lambda x: fg.vmap(lambda x: fg.while_loop(lambda c: c < 1, np.log, x))(x), -X)
    assert error.operation == "log"


def test_branches():
    def low(x):
        return x * 2

    def high(x):
        return np.log(x - 5)

    def f(x):
        return fg.cond(np.sum(x) > 3, high, low, x)

    with fg.debug_nans():
        np.testing.assert_array_equal(fg.jit(f)(X), 2 * X)
    assert found(fg.jit(f), X + 2).line == line(high, 1)
    assert found(fg.vmap(f), X * 4).line == line(high, 1)


def test_lanes():
    error = found(fg.vmap(logs), np.array([[1.0, 1.0], [1.0, 0.0]]))
    assert error.index == (1, 1) and "result: float64[2,2]" in str(error)
    assert found(fg.vmap(fg.grad(roots)), np.ones((3, 2)) * X).line == line(roots, 1)
    assert found(fg.grad(lambda x: np.sum(fg.vmap(np.sqrt)(x))), X).operation == (
        "the derivative of sqrt by operand 0"
    )


def test_forward_mode():
    error = found(lambda x: fg.jvp(roots, (x,), (np.ones(2),)), X)
    assert str(error).startswith("the derivative of sqrt gave inf at index (1,), in forward mode.")
    assert error.line == line(roots, 1)
    error = found(lambda x: fg.linearize(roots, x)[1](np.ones(2)), X)
    assert error.line == line(roots, 1) and error.index == (1,)
    assert found(fg.jacfwd(roots), X).line == line(roots, 1)


def power(x):
    y = np.abs(x) ** 1.5
    return np.sum(y)


@pytest.mark.parametrize(
    "run",
    [
        fg.grad(lambda x: np.sum(fg.grad(power)(x))),
        fg.hessian(power),
        lambda x: fg.hvp(power, (x,), (np.ones(2),)),
        lambda x: fg.jvp(fg.grad(power), (x,), (np.ones(2),)),
        fg.jit(fg.hessian(power)),
    ],
)
def test_second_order_names_the_forward_line(run):
    error = found(run, X)
    assert error.line == line(power, 1) and "the derivative of power" in error.operation


def test_custom_rules():
    @fg.custom_vjp
    def f(x):
        return np.log(x)

    def fwd(x):
        return np.log(x + 1), x

    def bwd(x, ct):
        scale = 1.0 / x
        return (ct * scale,)

    f.defvjp(fwd, bwd)
    total = lambda x: np.sum(f(x))
    error = found(fg.grad(total), X)
    assert (error.operation, error.line) == ("divide", line(bwd, 1))
    assert "in the backward pass" in str(error)
    assert found(fg.grad(total), -np.ones(2)).line == line(fwd, 1)
    assert found(fg.jit(f), X).line == line(f.__wrapped__, 2)


def test_checkpoints_are_transparent():
    inner = fg.checkpoint(roots)
    for run in (fg.grad(inner), fg.jit(fg.grad(inner))):
        error = found(run, X)
        assert error.line == line(roots, 1) and "backward pass" in str(error)


def test_loops_of_lanes_on_both_engines():
    def f(x):
        return fg.while_loop(lambda c: c < 1, lambda c: np.log(c - 0.5), x)

    with fg.debug_nans():
        assert np.all(fg.vmap(f)(np.array([1.0, 2.0])) == [1.0, 2.0])
    for backend in ("numpy", "xla"):
        if backend == "xla":
            pytest.importorskip("jax")
        assert "nan" in str(found(fg.jit(fg.vmap(f), backend=backend), np.array([0.2, 2.0])))


def test_layers_are_named():
    def f(x):
        with fg.named_scope("encoder"):
            return np.sum(np.log(x))

    assert "in the forward pass, layer encoder." in str(found(fg.grad(f), X))


def test_infinities_that_are_given_may_pass():
    mask = np.array([True, False])
    with fg.debug_nans():
        masked = fg.jit(lambda x: fg.nn.softmax(np.where(mask, x, -np.inf)))(X)
        np.testing.assert_array_equal(masked, [1.0, 0.0])
        assert fg.jit(np.max)(np.array([1.0, np.inf])) == np.inf
    error = found(fg.jit(lambda x: np.where(mask, x, -np.inf) - np.inf + np.inf), X)
    assert error.operation == "add" and "gave nan" in str(error)
    error = found(fg.jit(np.log), np.array([-np.inf, 0.0])[::-1].copy())
    assert "log gave nan at index (1,)" in str(error)
    assert found(fg.jit(np.log), np.array([np.inf, 0.0])).index == (1,)
    assert found(fg.jit(np.exp), 1000.0).index == ()


def test_derivatives_that_come_out_finite_raise_nothing():
    with fg.debug_nans():
        g = fg.grad(lambda x: np.sum(np.where(x > 0, np.sqrt(x), 0.0)))(X)
        np.testing.assert_array_equal(g, [0.5, 0.0])
        assert fg.grad(lambda x: np.sqrt(x**2))(0.0) == 0.0
        assert fg.jvp(lambda x: np.sqrt(x**2), (0.0,), (1.0,))[1] == 0.0
    error = found(fg.grad(lambda x: np.sum(np.where(x > 0, np.log(x), 0.0))), X)
    assert "np.where(ok, f(np.where(ok, x, 1.0)), y)" in str(error)
    with fg.debug_nans():
        fg.grad(lambda x: np.sum(np.where(x > 0, np.log(np.where(x > 0, x, 1.0)), 0.0)))(X)


def test_what_is_not_finite_may_be_replaced():
    x = np.array([1.0, np.nan, np.inf])
    with fg.debug_nans():
        assert fg.jit(np.nansum)(x[:2]) == 1.0
        assert np.isfinite(fg.grad(lambda x: np.sum(np.nan_to_num(x)))(x)).all()


def test_sums_and_seeds_of_cotangents():
    error = found(fg.grad(lambda x: 1e308 * x + 1e308 * x), 0.5)
    assert str(error).startswith("a sum of cotangents gave inf, in the backward pass.")
    with fg.debug_nans():
        pullback = fg.vjp(lambda x: 2 * x, X)[1]
        pushforward = fg.linearize(roots, X)[1]
        scalar = fg.vjp(lambda x: 2 * x, 1.0)[1]
        assert type(pullback(X)[0]) is np.ndarray
    with pytest.raises(NonFiniteError):
        pullback(np.array([1.0, np.nan]))
    with pytest.raises(NonFiniteError, match="a sum of cotangents gave nan"):
        scalar(np.nan)
    with pytest.raises(NonFiniteError, match="the derivative of sqrt"):
        pushforward(np.ones(2))


def test_decorator_traces_the_call():
    @fg.debug_nans()
    def f(params, scale=1.0):
        assert float(params["n"]) == 2.0 and f"{params['n']:.1f}" == "2.0"
        assert [1, 2, 3][np.argmax(params["w"])] == 1 and params["w"].tolist() == [1.0, 0.0]
        return {"y": np.log(params["w"] + scale), "n": int(params["n"])}

    out = f({"w": X, "n": 2.0})
    assert type(out["y"]) is np.ndarray and out["n"] == 2
    with pytest.raises(NonFiniteError, match=re.escape("operand 0: float64[2], 0.0 there")):
        f({"w": X, "n": 2.0}, scale=0.0)
    error = found(fg.debug_nans()(lambda x, n: np.log(x["w"])), {"w": X}, 3)
    assert "operand 0, argument [0]['w'] of <lambda>: float64[2]" in str(error)
    np.log(X + 1)  # plain NumPy outside of the call


def test_results_are_as_without():
    cases = [
        (fg.grad(lambda x: x**2), 3.0),
        (fg.grad(lambda x: x**2), 3),
        (fg.value_and_grad(power), X + 1),
        (fg.value_and_grad(lambda p: np.sum(p["w"] ** 2) * p["s"]), {"w": X, "s": 2.0}),
        (fg.jit(fg.value_and_grad(power)), (X + 1).astype(np.float32)),
        (fg.vmap(np.sin), X),
        (fg.jit(fg.vmap(fg.hessian(power))), np.ones((2, 2))),
        (lambda x: fg.jvp(np.sin, (x,), (x,)), 0.5),
        (lambda x: fg.linear_transpose(lambda x: 3 * x, x)(x), X),
    ]
    for run, x in cases:
        expected = fg.tree.leaves(run(x))
        with fg.debug_nans():
            leaves = fg.tree.leaves(run(x))
        assert list(map(type, leaves)) == list(map(type, expected))
        for a, b in zip(leaves, expected, strict=True):
            np.testing.assert_array_equal(a, b)
            assert np.asarray(a).dtype == np.asarray(b).dtype


def test_arrays_of_jax():
    jax = pytest.importorskip("jax")
    f = fg.jit(fg.grad(power), backend="xla")
    with fg.debug_nans():
        out = f(X)
        under_jax = jax.jit(fg.grad(lambda x: fg.numpy.sum(fg.numpy.log(x))))(jax.numpy.asarray(X))
    assert isinstance(out, jax.Array) and out.dtype == np.float64
    assert not np.isfinite(under_jax[1])  # JAX's tracers have no values to look at


def test_the_block_ends():
    block = fg.debug_nans()
    for _ in range(2):
        with pytest.raises(NonFiniteError), block:
            fg.jit(np.log)(0.0)
    with np.errstate(divide="ignore"):
        assert fg.grad(roots)(X)[1] == np.inf and fg.jit(np.log)(0.0) == -np.inf
    with fg.debug_nans():
        with fg.debug_nans():
            assert fg.jit(np.sin)(0.0) == 0.0
        with pytest.raises(NonFiniteError):
            fg.jit(np.log)(0.0)


def test_nothing_is_left_in_graphs_and_caches():
    compiled = fg.jit(lambda x: np.sqrt(x) * fg.grad(lambda c: c**2)(3.0))
    with fg.debug_nans():
        graph = fg.make_graph(compiled)(X)
        compiled(X)
    assert compiled.cache_info().currsize <= 1
    np.testing.assert_array_equal(graph.evaluate(X), compiled(X))


def test_training_steps():
    params = {"w": np.ones((2, 1)), "b": np.zeros(1)}
    loss = lambda p, x, y: np.mean((x @ p["w"] + p["b"] - y) ** 2)
    step = fg.train_step(loss, fg.optim.adam(0.1))
    state = step.init(params)
    batch = (np.ones((3, 2)), np.array([[1.0], [np.nan], [2.0]]))
    error = found(step, state, *batch)
    assert (error.operation, error.index) == ("subtract", (1, 0))

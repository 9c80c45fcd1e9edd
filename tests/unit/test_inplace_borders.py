"""Arrays that can be written: they never leave, saved values never change, and refusals."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
import funcgraph.numpy as fnp
from funcgraph.core.trace import Tracer
from funcgraph.errors import (
    ConcretizationError,
    InPlaceWriteError,
    ShapeError,
)
from funcgraph.ops.buffers import Mutable

X = np.array([0.3, -0.4, 0.5, 0.9])
M = np.arange(12.0).reshape(3, 4) / 7


# --- it never leaves, and saved values never change -----------------------------------------------


def scaled(b: Any, x: Any) -> Any:
    """Write after b went into something, so that a value kept by reference would be wrong."""
    b[...] = 100.0
    return b * x


TAKES: dict[str, Callable[[Any, Any], Any]] = {
    "grad": lambda b, x: fg.grad(lambda c: np.sum(c**3))(b),
    "value_and_grad": lambda b, x: fg.value_and_grad(lambda c: np.sum(c**3))(b)[1],
    "grad, other argument": lambda b, x: fg.grad(lambda y, c: np.sum(c**3 * y))(x, b),
    "jvp": lambda b, x: fg.jvp(lambda c: c**3, (b,), (x,))[1],
    "jvp, tangent": lambda b, x: fg.jvp(lambda c: c**3, (x,), (b,))[1],
    "vjp": lambda b, x: fg.vjp(lambda c: c**3, b)[1](x)[0],
    "vjp, cotangent": lambda b, x: fg.vjp(lambda c: c**3, x)[1](b)[0],
    "linearize": lambda b, x: fg.linearize(lambda c: c**3, b)[1](x),
    "vmap": lambda b, x: fg.vmap(lambda c: c**3)(b),
    "vmap, loop": lambda b, x: fg.vmap(lambda c: c**3, method="loop")(b),
    "jacrev": lambda b, x: fg.jacrev(lambda c: c**3)(b),
    "hessian": lambda b, x: fg.hessian(lambda c: np.sum(c**3))(b),
    "jit": lambda b, x: fg.jit(lambda c, x: c**3 * x)(b, x),
    "make_graph": lambda b, x: fg.make_graph(lambda c: c**3)(b).evaluate(b),
    "scan, rows": lambda b, x: fg.scan(lambda c, r: (c + r**2, c), x[0], b)[1],
    "scan, carry": lambda b, x: fg.scan(lambda c, r: (c * r, c[0]), b, x)[0],
    "map": lambda b, x: fg.map(lambda r: r**2, b),
    "fori_loop": lambda b, x: fg.fori_loop(0, 2, lambda i, c: c * x, b),
    "fori_loop of no steps": lambda b, x: fg.fori_loop(0, 0, lambda i, c: c * x, b),
    "while_loop": lambda b, x: fg.while_loop(lambda c: c[0] < 50, lambda c: c * 3, b),
    "cond": lambda b, x: fg.cond(True, lambda c: c, lambda c: -c, b),
    "switch": lambda b, x: fg.switch(1, [lambda c: c, lambda c: c**2], b),
    "select": lambda b, x: fg.select(x > 0, b, x),
    "associative_scan": lambda b, x: fg.associative_scan(np.add, b),
    "checkpoint": lambda b, x: fg.checkpoint(lambda c: c**3)(b),
    "checkpoint, closure": lambda b, x: fg.checkpoint(lambda x: b**3 * x)(x),
    "stop_gradient": lambda b, x: fg.stop_gradient(b) * x,
    "concrete": lambda b, x: fg.concrete(b[1]) * x,
    "at": lambda b, x: fg.at(b)[1:].multiply(x[0]),
    "jit, closure": lambda b, x: fg.jit(lambda x: b * x)(x),
    "grad, closure": lambda b, x: fg.grad(lambda x: np.sum(b * x**2))(x),
    "custom_vjp": lambda b, x: cubed(b),
}


@fg.custom_vjp
def cubed(c: Any) -> Any:
    out = np.empty_like(c)
    out[:] = c**3
    return out


def _cubed_back(c: Any, ct: Any) -> tuple[Any]:
    out = np.zeros_like(c)
    out += 3 * c**2 * ct
    return (out,)


cubed.defvjp(lambda c: (cubed(c), c), _cubed_back)


@pytest.mark.parametrize("plain", [False, True], ids=["traced", "plain"])
@pytest.mark.parametrize("name", TAKES)
def test_what_was_taken_does_not_change(name: str, plain: bool) -> None:
    take = TAKES[name]

    def written(x: Any) -> Any:
        b = x.copy() * 1.0
        b = fnp.copy(X if plain else x)
        b[1] = 0.7
        y = take(b, x)
        assert not any(isinstance(v, Mutable) for v in fg.tree.leaves(y)) or name == "cond"
        b[...] = 100.0
        return y * 1.0

    def functional(x: Any) -> Any:
        b = np.where(np.arange(4) == 1, 0.7, X if plain else x)
        return take(b, x) * 1.0

    want, pull = fg.vjp(functional, X)
    got, pullback = fg.vjp(written, X)
    np.testing.assert_allclose(got, want, rtol=1e-12)
    ct = np.cos(np.arange(np.size(want))).reshape(np.shape(want))[()]
    np.testing.assert_allclose(pullback(ct)[0], pull(ct)[0], rtol=1e-10, atol=1e-12)
    if name in ("while_loop", "concrete"):
        return  # Python looks at the values
    np.testing.assert_allclose(fg.jit(written)(X), want, rtol=1e-12)
    np.testing.assert_allclose(
        fg.vmap(written)(np.stack([X, X])), np.stack([want, want]), rtol=1e-12
    )


def filled(x: Any) -> Any:
    b = np.zeros_like(x)
    b += x
    return b


LEAVES: dict[str, Callable[[Any], Any]] = {
    "grad, aux": lambda x: fg.grad(lambda x: (np.sum(x), [filled(x)]), has_aux=True)(x)[1],
    "vjp": lambda x: fg.vjp(filled, x)[0],
    "pullback": lambda x: fg.vjp(filled, x)[1](x),
    "jvp": lambda x: fg.jvp(filled, (x,), (x,)),
    "vmap": lambda x: fg.vmap(filled)(x),
    "vmap, loop": lambda x: fg.vmap(filled, method="loop")(x),
    "vmap of a constant": lambda x: fg.vmap(lambda r: fnp.zeros(2))(x),
    "jit": lambda x: fg.jit(filled)(x),
    "scan": lambda x: fg.scan(lambda c, r: (filled(c), filled(r)), filled(x), x),
    "cond": lambda x: fg.cond(True, filled, filled, x),
    "while_loop": lambda x: fg.while_loop(lambda c: c[0] < 1, lambda c: filled(c + 1), x),
    "checkpoint": lambda x: fg.checkpoint(filled)(x),
    "custom_vjp": lambda x: cubed(x),
    "associative_scan": lambda x: fg.associative_scan(lambda a, b: filled(a + b), x),
    "a constant": lambda x: fg.vjp(lambda x: np.zeros_like(x), x)[0],
    "nothing made": lambda x: fg.vjp(lambda x: x * 2, x)[0],
}


@pytest.mark.parametrize("name", LEAVES)
def test_it_never_leaves(name: str) -> None:
    leave = LEAVES[name]
    for x in fg.tree.leaves(leave(X)):
        assert not isinstance(x, Tracer)
        if isinstance(x, np.ndarray):
            assert x.flags.writeable
    inside: list[Any] = []
    fg.vjp(lambda x: (inside.extend(fg.tree.leaves(leave(x))), x)[1], X)
    assert name == "checkpoint" or not any(isinstance(x, Mutable) for x in inside)
    out = fg.vjp(lambda x: x * 1.0 if (b := filled(x)) is None else {"b": b, "v": b[1:]}, X)[0]
    assert type(out["b"]) is type(out["v"]) is np.ndarray


def test_inside_loops_and_branches_when_staged() -> None:
    def body(c: Any, r: Any) -> Any:
        b = np.zeros_like(c)
        b[0] = r
        b[1:] += c[:-1]
        return b, fnp.zeros(2) + b[:2]

    def f(x: Any) -> Any:
        last, rows = fg.scan(body, x, x)
        picked = fg.cond(x[0] > 0, filled, lambda x: filled(-x), last)
        done = fg.while_loop(lambda c: c[1] < 3, lambda c: filled(c + 1), picked, max_steps=9)
        return np.sum(rows**2) + np.sum(done**3)

    wanted = fg.grad(f)(X)
    np.testing.assert_allclose(wanted, fg.jacfwd(f)(X), rtol=1e-12)
    np.testing.assert_allclose(fg.jit(fg.grad(f))(X), wanted, rtol=1e-12)
    np.testing.assert_allclose(fg.vmap(fg.grad(f))(np.stack([X, X])), [wanted] * 2, rtol=1e-12)


def test_a_traced_integer_gives_a_view() -> None:
    def f(x: Any, i: Any) -> Any:
        b = np.zeros_like(x, shape=(3, 4))
        row = b[i]
        row[1:] = x[1:]
        b[i, 0] = 5.0
        return row * 1.0 + b[1]

    for run in (f, fg.jit(f)):
        np.testing.assert_allclose(run(X, 1), [10, *(2 * X[1:])])
    grown = lambda n, x: fg.fori_loop(0, 3, lambda i, b: set_row(b, i, x), np.zeros((3, 4)))
    np.testing.assert_allclose(fg.jit(grown, static_argnums=0)(3, X), np.outer([0, 1, 2], X))


def set_row(b: Any, i: Any, x: Any) -> Any:
    b = fnp.copy(b)
    b[i] = x * i
    return b


def test_a_compiled_function_sees_later_writes() -> None:
    def f(x: Any) -> Any:
        b = fnp.zeros(4)
        step = fg.jit(lambda y: fg.jit(lambda y: y + b)(y))
        first = step(x)
        b[0] = 10.0
        return first, step(x)

    first, second = fg.vjp(f, X)[0]
    np.testing.assert_allclose(second - first, [10, 0, 0, 0], atol=1e-12)


# --- refusals -------------------------------------------------------------------------------------


def outer(write: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    """Return a function that writes into b inside an inner transformation."""

    def f(x: Any) -> Any:
        b = np.zeros_like(x)
        write(b, x)
        return b

    return f


def set_first(b: Any, v: Any) -> Any:
    b[0] = v
    return v


OUTSIDE: dict[str, Callable[[Any, Any], Any]] = {
    "grad": lambda b, x: fg.grad(lambda y: set_first(b, y))(x[0]),
    "vmap": lambda b, x: fg.vmap(lambda y: set_first(b, y))(x),
    "jit": lambda b, x: fg.jit(lambda y: set_first(b, y))(x[0]),
    "scan": lambda b, x: fg.scan(lambda c, y: (set_first(b, y), None), 0.0, x),
    "cond": lambda b, x: fg.cond(True, lambda y: set_first(b, y), lambda y: y, x[0]),
    "while_loop": lambda b, x: fg.while_loop(
        lambda c: c < 1, lambda c: c + 1 + 0 * set_first(b, 1.0), 0.0
    ),
    "view": lambda b, x: fg.jit(lambda y: set_first(b[1:], y))(x[0]),
    "+=": lambda b, x: fg.jit(lambda y: operator.iadd(b, y))(x),
    "out=": lambda b, x: fg.jit(lambda y: np.sin(y, out=b))(x),
    "np.add.at": lambda b, x: fg.jit(lambda y: (np.add.at(b, [0], y[0]), y)[1])(x),
    "np.copyto": lambda b, x: fg.jit(lambda y: (np.copyto(b, y), y)[1])(x),
    "sort": lambda b, x: fg.jit(lambda y: (b.sort(), y)[1])(x),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_arrays_made_outside_are_not_written(name: str) -> None:
    with pytest.raises(InPlaceWriteError, match=r"made outside of it.*Return the new value") as e:
        fg.vjp(outer(OUTSIDE[name]), X)
    assert "test_inplace_borders.py" in str(e.value)


REFUSED: dict[str, tuple[Callable[[Any, Any], Any], type[Exception], str]] = {
    "transposed view, written": (
        lambda b, x: b.T.__setitem__(0, x[0]), InPlaceWriteError, "was written, which in NumPy"),
    "reshaped view += ": (
        lambda b, x: operator.iadd(b.reshape(2, 6), 1.0), InPlaceWriteError, "into a copy"),
    "stale view": (
        lambda b, x: (v := b.ravel(), b.fill(1.0), v * 2), InPlaceWriteError,
        "Take the view after the writes"),
    "part of a stale view": (
        lambda b, x: (v := b.T[0], b.fill(1.0), v + x[:3]), InPlaceWriteError, "after the writes"),
    "shape": (lambda b, x: b.__setitem__(0, x[:3]), ShapeError,
        r"could not broadcast input array from shape \(3,\) into shape \(4,\)"),
    "shape of +=": (lambda b, x: operator.iadd(b[0], np.ones((2, 1)) * x), ShapeError,
        r"non-broadcastable output operand with shape \(4,\) doesn't match .* shape \(2, 4\)"),
    "shape of out=": (lambda b, x: np.sum(b, axis=1, out=b[0]), ShapeError, "out= of sum"),
    "complex values": (
        lambda b, x: b.__setitem__(0, 1j * x), InPlaceWriteError, "discard the imaginary part"),
    "dtype of +=": (
        lambda b, x: operator.iadd(np.zeros_like(x, int), x), InPlaceWriteError,
        r"x \+= y: cannot cast the result from float64 to int64"),
    "dtype of out=": (
        lambda b, x: np.sin(x, out=np.zeros_like(x, int)), InPlaceWriteError, "np.sin with out="),
    "dtype of at": (
        lambda b, x: np.add.at(np.zeros_like(x, int), [0], x[0]), InPlaceWriteError, "np.add.at"),
    "dtype of copyto": (
        lambda b, x: np.copyto(np.zeros_like(x, int), x), InPlaceWriteError, "np.copyto"),
    "index": (lambda b, x: b.__setitem__(3, x), IndexError, "out of bounds"),
    "input": (lambda b, x: x.__setitem__(0, 1.0), InPlaceWriteError, r"`x = x.copy\(\)`"),
    "result": (lambda b, x: (x * 2).__setitem__(0, 1.0), InPlaceWriteError, r"x.copy\(\)"),
    "out= an input": (lambda b, x: np.sin(b[0], out=x), InPlaceWriteError, "x.copy"),
    "out= of a function, an input": (
        lambda b, x: np.cumsum(b[0], out=x), InPlaceWriteError, "np.zeros_like"),
    "np.add.at of an input": (lambda b, x: np.add.at(x, [0], 1), InPlaceWriteError, "np.add.at"),
    "np.copyto into an input": (lambda b, x: np.copyto(x, 1), InPlaceWriteError, "x.copy"),
    "np.putmask of an input": (
        lambda b, x: np.putmask(x, x > 0, 1), InPlaceWriteError, "x.copy"),
    "x.sort()": (lambda b, x: x.sort(), InPlaceWriteError, r"x.copy\(\)"),
    "a plain array": (lambda b, x: np.zeros(2).__setitem__(0, x[0]), InPlaceWriteError,
        r"np.zeros_like\(x\).*funcgraph.numpy.zeros"),
    "a plain array +=": (
        lambda b, x: operator.iadd(np.zeros(4), x), InPlaceWriteError, "funcgraph.numpy.zeros"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_say_what_to_do(name: str) -> None:
    program, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        fg.vjp(lambda x: (program(fnp.copy(M), x), x)[1], X)


@pytest.mark.parametrize("value", [1.5, 2, np.float32(2), [1.0, 2.0, 3.0], np.array(0.5)], ids=repr)
def test_ufunc_at_with_numbers(value: Any) -> None:
    def f(x: Any) -> Any:
        b = np.zeros_like(x)
        np.add.at(b, np.array([0, 0, 1]), value)
        return np.sum(b * x)

    wanted = np.zeros(4)
    np.add.at(wanted, np.array([0, 0, 1]), value)
    np.testing.assert_array_equal(fg.grad(f)(np.ones(4)), wanted)
    np.testing.assert_array_equal(fg.jit(fg.grad(f))(np.ones(4)), wanted)


def test_ufunc_at_with_traced_indices() -> None:
    def f(x: Any, i: Any, ufunc: Any = np.add) -> Any:
        b = np.zeros_like(x)
        ufunc.at(b, i, x[:2])
        return b

    i = np.array([1, 1])
    np.testing.assert_allclose(fg.jit(f)(X, i), [0, X[0] + X[1], 0, 0])
    with pytest.raises(InPlaceWriteError, match="as often as an index comes"):
        fg.jit(lambda x, i: f(x, i, np.subtract))(X, i)


def test_masks_under_vmap_say_what_to_use() -> None:
    def f(x: Any) -> Any:
        b = np.zeros_like(x)
        b[x > 0] = 1.0
        return b

    with pytest.raises(ConcretizationError, match=r"np\.where"):
        fg.vmap(f)(np.stack([X, X]))

"""Loops over small arrays on the NumPy engine: what is done around them, and where results go."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.core.hoist import hoist
from funcgraph.core.simplify import simplify
from funcgraph.engines.numpy import compile, program
from funcgraph.engines.numpy.around import around

RNG = np.random.default_rng(0)
XS, W, B = RNG.standard_normal((7, 4, 5)), RNG.standard_normal((5, 5)) / 3, RNG.standard_normal(5)


def rnn(w: Any, b: Any, xs: Any, reverse: bool = False) -> Any:
    def step(h: Any, x: Any) -> Any:
        h = np.tanh(x + h @ w + b)
        return h, h

    return fg.scan(step, xs[0] * 0, xs, reverse=reverse)


def lstm(w: Any, b: Any, xs: Any) -> Any:
    def step(carry: Any, x: Any) -> Any:
        h, c = carry
        z = x + h @ w + b
        c = fg.nn.sigmoid(z) * c + fg.nn.sigmoid(z[:, ::-1]) * np.tanh(z)
        h = fg.nn.sigmoid(-z) * np.tanh(c)
        return (h, c), h * 2

    return fg.scan(step, (xs[0] * 0, xs[0]), xs)


def forward(w: Any, b: Any, xs: Any) -> Any:
    """Of a hidden Markov model: vectors, sums of products, outer products."""
    w, rows = np.exp(w), np.exp(xs[:, 0])

    def step(a: Any, row: Any) -> Any:
        a = (a @ w) * row
        total = np.sum(a)
        return a / total, (total, np.log(total), total)

    return fg.scan(step, np.exp(b), rows)


def collected(w: Any, b: Any, xs: Any) -> Any:
    """Rows, constants, the same twice, the carry before and after, what nobody reads."""

    def step(c: Any, x: Any) -> Any:
        y = x * x - b
        new = {"a": c["a"] + y, "b": c["a"].T, "n": c["n"] * 0.5}
        outs = (x, y, y, c["a"], new["a"], new["a"], c["b"], b, 2.0, 1 - y, new["n"], y[0] > 0)
        return new, (*outs, np.where(y > 0, c["a"], 1.0) * y)

    return fg.scan(step, {"a": xs[0], "b": xs[1].T, "n": np.float64(3)}, xs)


def summed(f: Any) -> Any:
    """Return the gradient of a number made of all results."""

    def loss(*args: Any) -> Any:
        leaves = fg.tree.leaves(f(*args))
        return sum(np.sum(np.sin(x * (k + 1))) for k, x in enumerate(leaves))

    return fg.grad(loss, (0, 1, 2))


LOOPS = {
    "rnn": rnn,
    "rnn reversed": lambda *args: rnn(*args, reverse=True),
    "lstm": lstm,
    "forward": forward,
    "collected": collected,
    "no steps": lambda w, b, xs: rnn(w, b, xs[:0] if len(xs) > 9 else xs[:1]),
    "in a loop": lambda w, b, xs: fg.scan(
        lambda c, k: (c + rnn(w, c, xs * k)[0][0], rnn(w, c * k, xs)[1]), b, xs[0, 0, :3]
    ),
    "batched": lambda w, b, xs: fg.vmap(rnn, (None, 0, None))(w, np.stack([b, 2 * b]), xs),
}


def same(got: Any, wanted: Any, tol: float) -> None:
    for g, w in zip(fg.tree.leaves(got), fg.tree.leaves(wanted), strict=True):
        assert (np.shape(g), np.asarray(g).dtype) == (np.shape(w), np.asarray(w).dtype)
        np.testing.assert_allclose(g, w, rtol=tol, atol=tol)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", LOOPS)
def test_loops(name: str, dtype: Any) -> None:
    """Values, gradients and gradients of gradients are those of the loop in Python."""
    f, args = LOOPS[name], [x.astype(dtype) for x in (W, B, XS)]
    tol = 1e-11 if dtype == np.float64 else 2e-3
    compiled = fg.jit(f)
    for _ in range(2):
        same(compiled(*args), f(*args), tol)
    same(fg.jit(summed(f))(*args), summed(f)(*args), tol)
    if dtype == np.float64:
        same(fg.jit(summed(summed(f)))(*args), summed(summed(f))(*args), 1e-9)


def test_an_infinite_carry_does_what_its_steps_do() -> None:
    def f(x: Any, rows: Any) -> Any:
        return fg.scan(lambda c, r: (c - c * r, c), x, rows)

    x, rows = np.tile([np.inf, -np.inf, 1.0], 6), np.full((3, 18), 0.5)
    with np.errstate(invalid="ignore"):
        wanted = f(x, rows)[0]
    np.testing.assert_array_equal(fg.jit(f)(x, rows)[0], wanted)


def test_results_share_no_memory() -> None:
    results = fg.tree.leaves(fg.jit(collected)(W, B, XS))
    arrays = [x for x in results if isinstance(x, np.ndarray)]
    for k, x in enumerate(arrays):
        assert x.flags.writeable
        assert not any(np.shares_memory(x, y) for y in (*arrays[:k], W, B, XS))


def loops_of(f: Any, *args: Any) -> list[Any]:
    graph = around(simplify(hoist(simplify(fg.jit(f).graph(*args)))))
    return [e for e in graph.equations if e.primitive.name == "scan"]


def names(loop: Any) -> list[str]:
    return sorted(e.primitive.name for e in loop.attrs["body"].equations)


def test_what_is_left_in_the_loops() -> None:
    ahead, back = loops_of(summed(rnn), W, B, XS)
    assert names(ahead) == ["add", "matmul", "tanh"]
    assert names(back).count("multiply") == 1  # by the slope, which is made of rows
    assert "subtract" not in names(back)
    ahead, back = loops_of(summed(forward), W, B, XS)
    assert names(ahead) == ["divide", "matmul", "multiply", "reduce_sum"]
    assert "reshape" not in names(back)  # outer products are summed behind the loop
    assert back.attrs["carries"] == 1


def test_large_arrays_stay_in_the_loop() -> None:
    xs = np.ones((4, 2000))
    (loop,) = loops_of(lambda xs: fg.scan(lambda c, x: (c * (x * x), c), xs[0], xs), xs)
    assert names(loop) == ["multiply", "multiply"]
    (loop,) = loops_of(lambda xs: fg.scan(lambda c, x: (c * (x * x), c), xs[0], xs), xs[:, :20])
    assert names(loop) == ["multiply"]


def test_rows_are_written_in_place() -> None:
    graph = simplify(hoist(simplify(fg.jit(summed(rnn)).graph(W, B, XS))))
    texts = []
    original = program.Program.__init__

    def noted(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        texts.append(self.text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program.Program, "__init__", noted)
        compile.compile_graph(graph)(W, B, XS)
    _, ahead, _ = texts
    assert "np.tanh(" in ahead
    assert ", n0)" in ahead  # the carry, in its row
    assert "[...] =" not in ahead


def test_parts_are_put_together() -> None:
    """Written where nothing is yet, added elsewhere; of small arrays, without zeros before."""

    def f(x: Any) -> Any:
        y, z = np.stack([x[0], x[1] * 2, x[2]], axis=1), np.stack([x, -x], axis=-1)
        return np.sum(np.sin(y)) + np.sum(z[..., 0] * z[..., 1]) + np.sum(x[1:] * x[:-1])

    x = RNG.standard_normal((6, 20))
    text = program.Program(simplify(fg.jit(fg.grad(f)).graph(x))).text
    assert "np.stack" not in text
    for g in (f, fg.grad(f), lambda x: fg.grad(lambda x: np.sum(x[2] ** 2) + np.sum(x[4]))(x)):
        same(fg.jit(g)(x), g(x), 1e-12)
    overlap = fg.grad(lambda x: np.sum(x[:3] ** 3) + np.sum(np.sin(x[2:5])) + np.sum(x[4:] ** 2))
    same(fg.jit(overlap)(x), overlap(x), 1e-12)


def test_signs() -> None:
    """Negations end in sums and differences; the results have the same bits, and signs of zeros."""

    def f(x: Any, y: Any) -> Any:
        a, b = -x, -(y * y)
        return a * y + b, b - a * x, (a * b) / y, np.stack([x - (-y), -x - y, -a]), -x * y, a * 0

    x, y = RNG.standard_normal((2, 40))
    x[:3], y[1:4] = 0.0, [-0.0, np.inf, 1.0]
    with np.errstate(all="ignore"):
        wanted = f(x, y)
    for got, want in zip(fg.jit(f)(x, y), wanted, strict=True):
        np.testing.assert_array_equal(got, want)
        np.testing.assert_array_equal(np.signbit(got), np.signbit(want))
    text = program.Program(simplify(fg.jit(lambda x, y: y * -x + y * y).graph(x, y))).text
    assert "negative" not in text
    bytes_ = np.arange(3, dtype=np.uint8)
    np.testing.assert_array_equal(fg.jit(lambda n: n.astype(int) + -n)(bytes_), [0, 256, 256])

"""Chains of elementwise operations in blocks: bit by bit what they are one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph import nn
from funcgraph.core.simplify import simplify
from funcgraph.engines.numpy import blocks, chains
from funcgraph.engines.numpy.program import Program
from funcgraph.ops import threads

RNG = np.random.default_rng(0)
X = RNG.standard_normal((70, 70)).astype(np.float32)
Y = RNG.standard_normal((70, 70)).astype(np.float32)
ROW = RNG.standard_normal(70).astype(np.float32)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 15 rows of 70 numbers, the last of 10, on arrays above the size of new memory."""
    for module in (blocks, chains):
        monkeypatch.setattr(module, "BLOCK", 1100)
    monkeypatch.setattr(chains, "_LARGE", 4000)


def gelu(x: Any) -> Any:
    return 0.5 * x * (1 + np.tanh(0.8 * (x + 0.04 * x**3)))


def adam(p: Any, m: Any, v: Any, g: Any) -> Any:
    new = {k: (0.9 * m[k] + 0.1 * g[k], 0.99 * v[k] + 0.01 * g[k] * g[k]) for k in p}
    return {k: (p[k] - 0.1 * m / (np.sqrt(v) + 1e-8), m, v) for k, (m, v) in new.items()}


def state(k: int) -> dict[str, Any]:
    return {"w": np.abs(X) + np.float32(k), "b": np.abs(Y.T) + np.float32(k), "s": np.ones(3) * k}


PROGRAMS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "gelu": (lambda x: np.sum(gelu(x)), (X,)),
    "gelu gradient": (fg.grad(lambda x: np.sum(gelu(x))), (X,)),
    "relu layers": (
        fg.value_and_grad(lambda w, x: np.sum(nn.relu(np.maximum(x @ w + ROW, 0) @ w))),
        (X, Y),
    ),
    "choices": (lambda x, y: np.where(x > 0, np.sin(x) * y, 0) + np.where(x < 0, y, x), (X, Y)),
    "repeated": (
        lambda x, y: (x - y) * ROW[:5] + x * y[:1] * y[0],
        (X.reshape(20, 49, 5), X[:49, :5].reshape(1, 49, 5)),
    ),
    "broadcasts": (lambda x: (x - x[0]) * x[:, :1] + (x * x[:1]) * ROW, (X,)),
    "transposes": (lambda x: (x * 2 + 1) + (x * 2).T * x.T, (X,)),
    "one of three axes": (
        lambda x: np.exp(-(x * x)) * x.sum(2, keepdims=True),
        (X.reshape(14, 5, 70),),
    ),
    "dtypes": (lambda x: (x > 0.5) * (x * np.float64(2)) + (x * 3).astype(np.int64) * 2, (X,)),
    "sigmoid": (lambda x: nn.sigmoid(x) * nn.sigmoid(x - ROW), (X,)),
    "adam": (adam, (state(1), state(2), state(3), state(4))),
    "scalars": (lambda x, a: (x * a + 1) * (a - 2) / np.float32(3), (X, 2.5)),
    "read between": (lambda x: ((x * 2 + 1) @ x) * (x * 2 + 1) + np.cos(x * 2), (X,)),
    "two that meet": (lambda x, y: (x * 2, y * 3, (x * 2 + 1) * (y * 3 - 1)), (X, Y)),
}


def equal(got: Any, wanted: Any) -> None:
    for g, w in zip(fg.tree.leaves(got), fg.tree.leaves(wanted), strict=True):
        assert g.dtype == w.dtype
        np.testing.assert_array_equal(g, w)


@pytest.fixture(params=[False, True], ids=["loops", "threads"])
def on_threads(request: Any, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether chains run on two threads, and what is broadcast is repeated."""
    if request.param:
        monkeypatch.setattr(blocks, "_LONG", 1)
        monkeypatch.setattr(threads, "_blas", lambda: (lambda: 2, lambda count: None))
    return request.param


@pytest.mark.parametrize("donate", [False, True])
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_same_bits(
    name: str, donate: bool, on_threads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    f, args = PROGRAMS[name]
    numbers = tuple(range(len(args))) if donate else ()
    fresh = lambda: fg.tree.map(np.copy, args)
    blocked = fg.jit(f, donate_argnums=numbers)
    got = [fg.tree.map(np.copy, blocked(*fresh())) for _ in range(3)]  # with memory used again
    text = Program(simplify(blocked.graph(*args))).text
    assert "for s, t in" in text and ("def chain(run)" in text) == on_threads
    monkeypatch.setattr(chains, "_LARGE", 1 << 40)
    wanted = fg.jit(f, donate_argnums=numbers)(*fresh())
    for result in got:
        equal(result, wanted)


def test_an_optimizer_is_one_chain_for_each_array() -> None:
    f, args = PROGRAMS["adam"]
    text = Program(simplify(fg.make_graph(f)(*args))).text
    assert text.count("for s, t in") == 2
    inner = [line for line in text.splitlines() if line.startswith("        np.")]
    assert all("w[" not in line for line in inner)
    assert len([line for line in inner if "out=" in line]) == 2 * 12


def test_blocks_that_nobody_reads_any_more_are_written_over() -> None:
    """The last result goes into the memory of the product, which is read two steps before."""
    f = lambda x, w: np.maximum(np.exp((x @ w + ROW) * 2), 1) @ w
    program = Program(simplify(fg.make_graph(f)(X, Y)))
    whole = [a for a in program.workspaces._slots if a.shape == X.shape]
    assert len(whole) == 1
    compiled = fg.jit(f)
    for k in (1, 2):
        np.testing.assert_allclose(compiled(X * k, Y / 9), f(X * k, Y / 9), rtol=1e-5)


def test_blocks_cover_the_rows_once() -> None:
    rows = np.zeros(70, int)
    for s, t in blocks.blocks_of((70, 70), 15):
        rows[s] += 1
        assert np.zeros(15)[t].shape == rows[s].shape
    np.testing.assert_array_equal(rows, 1)
    assert len(blocks.blocks_of((70, 70), 15)) == 5


def test_chains_end_where_products_read_them() -> None:
    f, args = PROGRAMS["read between"]
    order = [e.primitive.name for e in Program(simplify(fg.make_graph(f)(*args))).graph.equations]
    assert order.index("matmul") < order.index("cos")


def normalised(x: Any, scale: Any) -> Any:
    centred = x - np.mean(x, axis=(0, 1), keepdims=True)
    y = centred / np.sqrt(np.mean(centred * centred, axis=(0, 1), keepdims=True) + 1e-3)
    return np.sum(np.tanh(y * scale + ROW) ** 2)


def test_sums_of_rows_are_taken_in_the_blocks(on_threads: bool) -> None:
    """What reads such a sum comes behind the loop; nothing is written that only a sum reads."""
    x, f = X.reshape(14, 5, 70), fg.value_and_grad(normalised, (0, 1))
    text = Program(simplify(fg.make_graph(f)(x, ROW))).text
    assert text.count(".append(np.matmul(ones") >= 4
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "TERMS", 1)
        assert "s_0" not in Program(simplify(fg.make_graph(f)(x, ROW))).text
    compiled = fg.jit(f)
    for k in (1, 2, 3):
        wanted = f(x * np.float64(k), ROW)
        got = compiled(x * np.float32(k), ROW)
        for a, b in zip(fg.tree.leaves(got), fg.tree.leaves(wanted), strict=True):
            assert a.dtype == np.float32
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4)


def test_a_sum_and_its_terms() -> None:
    """Both are results; the sum is read with the terms, and alone."""
    rows = lambda x, y: x * y + 1

    def f(x: Any, y: Any) -> Any:
        z = rows(x, y)
        total = np.sum(z, axis=0)
        return z, total, z - total, np.sum(z * z, axis=0)

    z = rows(X.astype(float), Y)
    wanted = z, z.sum(0), z - z.sum(0), (z * z).sum(0)
    for a, b in zip(fg.jit(f)(X, Y), wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_one_text_for_one_program() -> None:
    """Wherever its variables lie in memory, with several sums that have to be finite."""

    def f(x: Any, y: Any) -> Any:
        z, w = np.sin(x) * y, np.cos(y) * x
        return z * w, *(np.sum(t, axis=0) for t in (z, w, z * z, w * w, z * w)), np.exp(w - z)

    graphs = [fg.make_graph(f)(X, Y) for _ in range(10)]
    texts = {Program(g, finite=lambda _: True, derivatives=6).text for g in graphs}
    assert len(texts) == 1
    assert "if not k_" in texts.pop()

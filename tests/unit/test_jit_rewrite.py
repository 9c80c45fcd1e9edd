"""Graphs rewritten for NumPy: when they are, and that the numbers stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph import nn
from funcgraph.core.simplify import simplify
from funcgraph.engines.numpy.program import Program
from funcgraph.ops.pooling import window_max

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 120))


def program(f: Any, *args: Any) -> Program:
    return Program(simplify(fg.make_graph(f)(*args)))


def operations(f: Any, *args: Any) -> list[str]:
    return [e.primitive.name for e in program(f, *args).graph.equations]


def slices(*parts: Any) -> Any:
    """Return the gradient of a function of some slices."""
    return fg.grad(lambda x: sum(np.sum(np.sin(x[p] * (k + 1))) for k, p in enumerate(parts)))


WHOLE = {
    "columns": slices(np.s_[:, 40:100], np.s_[:, :40], np.s_[:, 100:]),
    "rows": slices(np.s_[:10], np.s_[10:30], np.s_[30:]),
    "from the end": slices(np.s_[:, :-20], np.s_[:, -20:]),
}
NOT_WHOLE = {
    "overlap": slices(np.s_[:, :60], np.s_[:, 50:]),
    "gap": slices(np.s_[:, :60], np.s_[:, 70:]),
    "twice": slices(np.s_[:, :60], np.s_[:, :60], np.s_[:, 60:]),
    "steps": slices(np.s_[:, ::2], np.s_[:, 1::2]),
    "numbers": slices(np.s_[0], np.s_[1:]),
    "blocks": slices(np.s_[:20, :60], np.s_[:20, 60:], np.s_[20:]),
    "reversed": slices(np.s_[:, 59::-1], np.s_[:, 60:]),
}


@pytest.mark.parametrize("name", [*WHOLE, *NOT_WHOLE])
def test_cotangents_of_slices_are_put_side_by_side(name: str) -> None:
    f = {**WHOLE, **NOT_WHOLE}[name]
    assert ("concatenate" in operations(f, X)) == (name in WHOLE)
    np.testing.assert_allclose(fg.jit(f)(X), f(X), rtol=1e-12)


@pytest.mark.parametrize("rows", [16, 32, 33])
def test_products_with_few_columns_are_products(rows: int) -> None:
    a, b = RNG.standard_normal((30, rows, 16)), RNG.standard_normal((16, 3))
    f = lambda a, b: np.tanh(a @ b) * 2
    np.testing.assert_allclose(fg.jit(f)(a, b), f(a, b), rtol=1e-12)


@pytest.mark.parametrize("rows", [16, 32, 33])
def test_products_of_few_rows_with_a_transpose_are_turned(rows: int) -> None:
    a, w = RNG.standard_normal((rows, 300)), RNG.standard_normal((256, 300))
    f = lambda a, w: np.tanh(a @ w.T) + 1.0
    assert ("np.copyto" in program(f, a, w).text) == (rows < 33)
    for _ in range(2):
        np.testing.assert_allclose(fg.jit(f)(a, w), f(a, w), rtol=1e-12)


def test_products_of_two_dtypes_are_not() -> None:
    a, w = RNG.standard_normal((8, 300)), RNG.standard_normal((256, 300)).astype(np.float32)
    assert "np.copyto" not in program(lambda a, w: a @ w.T, a, w).text
    np.testing.assert_allclose(fg.jit(lambda a, w: a @ w.T)(a, w), a @ w.T, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-5, 2000])
def test_products_in_half_precision_are_scaled_behind(scale: float) -> None:
    """A factor times the number would overflow, or lose its digits."""
    a = (RNG.uniform(1, 2, (64, 4)) * 100).astype(np.float16)
    b = (RNG.uniform(1, 2, (4, 64)) * 1e-3).astype(np.float16)
    for x, y in ((a, b), (b.T, a.T)):
        f = lambda x, y: np.float16(scale) * (x @ y)
        np.testing.assert_array_equal(fg.jit(f)(x, y), f(x, y))


def test_a_scaled_transpose_is_scaled_before() -> None:
    a, b = RNG.standard_normal((9, 200)), RNG.standard_normal((9, 250))
    f = lambda a, b: 0.5 * (a.T @ b)
    assert operations(f, a, b) == ["multiply", "transpose", "matmul"]
    np.testing.assert_allclose(fg.jit(f)(a, b), f(a, b), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_activations_written_out_are_the_same_bits(dtype: Any) -> None:
    x = np.array([0.0, -0.0, 1e-5, -88.0, 800.0, -800.0, np.inf, -np.inf, np.nan, 0.3], dtype)
    x = np.resize(x, (100, 100))
    for f in (nn.relu, nn.sigmoid):
        with np.errstate(all="ignore"):
            wanted = f(x)
        got = fg.jit(f)(x)
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, wanted)
        known = ~np.isnan(wanted)  # the sign of nan means nothing
        np.testing.assert_array_equal(np.signbit(got[known]), np.signbit(wanted[known]))
    assert "sigmoid" not in operations(nn.sigmoid, x)
    np.testing.assert_array_equal(fg.jit(nn.relu)(np.arange(-2, 3)), [0, 0, 0, 1, 2])
    assert fg.jit(nn.sigmoid)(np.arange(3)).dtype == np.float64


@pytest.mark.parametrize("n", [9, 700, 20_000])
@pytest.mark.parametrize("shape", [(1000,), (50, 20)])
def test_many_rows_are_sorted_before_they_are_added(shape: tuple[int, ...], n: int) -> None:
    table = RNG.standard_normal((n, 4, 5))
    index = RNG.integers(-n, n, shape)
    rows = RNG.standard_normal((*shape, 4, 5))
    f = lambda x, v, i: fg.at(x)[i].add(v)
    assert "add_rows" in program(f, table, rows, index).text
    got, wanted = fg.jit(f)(table, rows, index), f(table, rows, index)
    np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-13)
    rows[0] = np.nan  # only where it is added
    got, wanted = fg.jit(f)(table, rows, index), f(table, rows, index)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
    for wrong in (n, -n - 1):
        with pytest.raises(IndexError):
            fg.jit(f)(table, rows, np.full(shape, wrong))


def test_which_rows_are_not_sorted() -> None:
    add = lambda x, v, i: fg.at(x)[i].add(v)
    index = RNG.integers(0, 9, 200)
    cases = [
        (np.ones((9, 20)), np.ones((200, 20)), index),  # too few
        (np.ones((9, 3)), np.ones((8000, 3)), np.tile(index, 40)),  # too narrow
    ]
    for case in cases:
        assert "add_rows" not in program(add, *case).text
        np.testing.assert_allclose(fg.jit(add)(*case), add(*case), rtol=1e-6)


@pytest.mark.parametrize("places", ["apart", "one", "few"])
def test_gradients_of_tables_need_no_zeros(places: str) -> None:
    table, weights = RNG.standard_normal((3000, 16)), RNG.standard_normal((16, 4))
    index = {
        "apart": RNG.permutation(3000)[:1100],
        "one": np.full(1100, -5),
        "few": RNG.integers(-3, 5, 1100),
    }[places]
    f = fg.value_and_grad(lambda t, i: np.sum(np.tanh(t[i] @ weights)))
    text = program(f, table, index).text
    assert ".fill(0)" in text
    assert "np.copyto" not in text
    constants = program(f, table, index).graph.constants.values()
    assert not any(np.shape(x) == table.shape for x in constants)
    compiled = fg.jit(f)
    for k in (1, 2, 3):
        for got, wanted in zip(compiled(table * k, index), f(table * k, index), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-12)
    few = fg.jit(fg.grad(lambda t, v, i: np.sum(fg.at(t)[i].add(v) ** 3), (0, 1)))
    rows = RNG.standard_normal((1100, 16))
    wanted = table.copy()
    np.add.at(wanted, index, rows)
    for got, right in zip(few(table, rows, index), (wanted**2, wanted[index] ** 2), strict=True):
        np.testing.assert_allclose(got, 3 * right, rtol=1e-10, atol=1e-10)


def test_an_infinite_row_is_seen_before_it_is_added() -> None:
    """What is looked at is the rows, not the table: then the gradient of a strong zero is found."""
    table, index = np.zeros((3000, 16)), np.arange(1100) % 7
    f = fg.grad(lambda t: np.sum(np.where(t[index] > 0, np.sqrt(t[index]), 0.0)))
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(fg.jit(f)(table), f(table))
        np.testing.assert_array_equal(fg.jit(f)(table), 0)


@pytest.mark.parametrize("axes", [(2,), (0, 1), (1,), (0, 2), (0,), (1, 2), (0, 1, 2)])
def test_sums_by_products_with_ones(axes: tuple[int, ...]) -> None:
    x = RNG.standard_normal((20, 30, 40))
    for f in (lambda x: np.sum(x, axes), lambda x: np.sum(np.sin(x).transpose(2, 0, 1), axes)):
        np.testing.assert_allclose(fg.jit(f)(x), f(x), rtol=1e-12, atol=1e-12)
    text = program(lambda x: np.sum(x, axes), x).text
    assert ("np.matmul" in text) == (axes in ((0,), (1,), (2,), (0, 1)))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax_is_written_out(axis: int, dtype: Any) -> None:
    x = RNG.standard_normal((30, 40, 50)).astype(dtype) * 10
    x[3, 4, 5], x[6, 7, 8] = -np.inf, 1e4
    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    for f in (nn.softmax, nn.log_softmax):
        value = lambda x, f=f: f(x, axis)
        gradient = fg.grad(lambda x, f=f: np.sum(f(x, axis)[:2] ** 2))
        assert f.__name__ not in operations(value, x)
        for g in (value, gradient):
            got, wanted = fg.jit(g)(x), g(x)
            assert got.dtype == wanted.dtype == dtype
            np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)
    x[3, 4, 5], x[6, 7, 8] = np.nan, np.inf
    with np.errstate(invalid="ignore"):
        wanted = nn.softmax(x, axis)
    got = fg.jit(lambda x: nn.softmax(x, axis))(x)
    np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)


def test_softmax_of_integers_and_of_few_axes() -> None:
    for x in (np.arange(6).reshape(2, 3), np.arange(4.0), np.arange(3)):
        got, wanted = fg.jit(nn.softmax)(x), nn.softmax(x)
        assert got.dtype == wanted.dtype
        np.testing.assert_allclose(got, wanted, rtol=1e-12)


def test_products_of_columns_and_rows_are_arithmetic() -> None:
    a, b = RNG.standard_normal((5, 90, 1)), RNG.standard_normal((5, 1, 80))
    cases = {
        "a stack": (a, b),
        "one row": (a, b[0]),
        "stacks of different axes": (a[:, None], b),
        "matrices": (a[0], b[1]),
        "integers": (np.arange(90)[:, None], np.arange(80)[None]),
    }
    for name, (a, b) in cases.items():
        f = lambda a, b: np.matmul(a, b) + 1
        assert operations(f, a, b) == ["multiply", "add"], name
        np.testing.assert_allclose(fg.jit(f)(a, b), a @ b + 1, rtol=1e-12)
    assert "matmul" in operations(lambda a, b: a @ b, np.ones((90, 1)), np.ones(1))
    assert "matmul" in operations(lambda a, b: a @ b, np.ones((90, 2)), np.ones((2, 80)))


def test_gradients_of_examples_are_outer_products() -> None:
    w, x = RNG.standard_normal((120, 30)), RNG.standard_normal((7, 120))
    f = fg.vmap(fg.grad(lambda w, x: np.sum(np.tanh(x @ w) ** 2)), (None, 0))
    assert operations(f, w, x).count("matmul") == 1
    np.testing.assert_allclose(fg.jit(f)(w, x), f(w, x), rtol=1e-12)


PARTS = {
    "all, apart": (np.s_[:, :, 0], np.s_[:, :, 1], np.s_[:, :, 2]),
    "steps": (np.s_[::2], np.s_[1::2]),
    "a gap": (np.s_[:, :, 0], np.s_[:, :, 2]),
    "an overlap": (np.s_[:, :20], np.s_[:, 10:], np.s_[:5]),
    "all over, twice": (np.s_[:20], np.s_[20:], np.s_[:]),
    "numbers": (np.s_[0], np.s_[0], np.s_[-1]),
}


@pytest.mark.parametrize("name", PARTS)
def test_cotangents_are_put_back_into_memory_that_is_there(name: str) -> None:
    x = RNG.standard_normal((40, 60, 3))
    f = lambda x: slices(*PARTS[name])(x) * 2 + 1
    text = program(f, x).text
    assert "np.zeros" not in text
    assert (".fill(0)" in text) == (name not in ("all, apart", "steps", "all over, twice"))
    assert ("] += " in text) == (name not in ("all, apart", "steps", "a gap"))
    compiled = fg.jit(f)
    for k in (1, 2, 3):
        np.testing.assert_allclose(compiled(x * k), f(x * k), rtol=1e-12)


def test_sums_of_negatives_are_negative_sums() -> None:
    x = RNG.standard_normal((40, 60))
    f = lambda x: np.sum(-(x * x), axis=1) * 2
    assert operations(f, x) == ["multiply", "reduce_sum", "negative", "multiply"]
    np.testing.assert_allclose(fg.jit(f)(x), f(x), rtol=1e-12)
    g = lambda x: (np.sum(-x), -x)  # the terms are read elsewhere too
    for got, wanted in zip(fg.jit(g)(x), g(x), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-12)


def test_what_is_turned_and_reshaped_is_copied_once() -> None:
    x, w = RNG.standard_normal((8, 40, 5, 6)), RNG.standard_normal((30, 7))

    def f(x: Any, w: Any) -> Any:
        y = (x * 2).transpose(0, 2, 1, 3)
        rows = y.transpose(0, 2, 1, 3)[:, ::-1].transpose(0, 1, 3, 2)
        return (y.reshape(8, 5, 240) + 1, y.reshape(40, -1) * 2, rows.reshape(320, 30) @ w)

    assert operations(f, x, w).count("copy") == 2
    compiled = fg.jit(f)
    for k in (1, 2, 3):
        for got, wanted in zip(compiled(x * k, w), f(x * k, w), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-12)
    views = lambda x: x.transpose(1, 0, 2).reshape(40, 5, 6, 8) + 1  # the last two axes in order
    assert "copy" not in operations(views, x.reshape(5, 40, 48))
    assert "copy" not in operations(lambda x: x.transpose(1, 0).reshape(-1) + 1, x[0, 0])


SHORT: dict[str, Any] = {
    "differences": lambda x, r: (x[:, None] - x[None]) * 2,
    "a row": lambda x, r: (x[:, None] * x[None]) * r[:3] + 1,
    "a column": lambda x, r: np.exp(x) * r[:, None],
    "one number": lambda x, r: x[:, None] * (r[:1] * x[None]) - r[0],
    "over an argument": lambda x, r: np.sin(np.cos(x) - x[:1]) / r[:, None],
    "over itself": lambda x, r: np.sin(x) - np.sin(x)[:, :1],
    "choices": lambda x, r: np.where(x > 0, x, r[:, None]) * x[0],
    "largest": lambda x, r: np.max(x[:, None] * r[:, None], axis=2),
    "smallest": lambda x, r: np.min(np.concatenate([x, x[:, :1] - 1], axis=1), axis=1),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", SHORT)
def test_short_rows_are_computed_by_columns(name: str, dtype: Any) -> None:
    x = RNG.standard_normal((2000, 3)).astype(dtype)
    x[::7] = 0.0
    if name in ("differences", "one number", "a row"):
        x = x[:60]
    r = RNG.standard_normal(len(x)).astype(dtype)
    f = SHORT[name]
    assert ("columns" in program(f, x, r).text) or "in range(3)" in program(f, x, r).text
    x[3, 1] = np.nan
    compiled = fg.jit(f)
    for k in (1, 2, 3):
        np.testing.assert_array_equal(compiled(x * dtype(k), r), f(x * dtype(k), r))


# --- pooling -------------------------------------------------------------------------------------

POOLS: dict[str, Any] = {
    "tiles": lambda x: nn.max_pool(x, 2),
    "overlapping": lambda x: nn.max_pool(x, 3, 2),
    "gaps": lambda x: nn.max_pool(x, 2, 3),
    "padded": lambda x: nn.max_pool(x, 3, 2, 1),
    "twice": lambda x: nn.max_pool(nn.relu(nn.max_pool(x, 2) - 0.5), 2),
    "one axis": lambda x: nn.max_pool(x, (1, 4)),
}


def pooled(pool: Any) -> Any:
    """Return the gradient of a function of relu and pooling, by the input and a bias."""
    loss = lambda x, b: np.sum(np.sin(pool(nn.relu(x + b))) * 3)
    return fg.value_and_grad(loss, (0, 1))


def weighted(pool: Any) -> Any:
    """Return the same of a sum, whose cotangents are finite beside nan."""

    def loss(x: Any, b: Any) -> Any:
        y = pool(nn.relu(x + b))
        return np.sum(y * np.arange(1.0, y.size + 1).reshape(y.shape))

    return fg.grad(loss, (0, 1))


def images(kind: str) -> Any:
    x = RNG.standard_normal((6, 13, 12, 4))
    if kind == "ties":
        return np.round(x)
    if kind == "infinite":
        x[0, 3:5] = np.inf
        x[1, 2:7] = -np.inf
        x[2] = np.nan
    if kind == "some nan":
        x[RNG.random(x.shape) < 0.15] = np.nan
    return x


@pytest.mark.parametrize("kind", ["ordinary", "ties", "infinite", "some nan"])
@pytest.mark.parametrize("name", POOLS)
def test_relu_is_undone_at_the_maxima(name: str, kind: str) -> None:
    x, b = images(kind), np.array([0.0, 0.5, -1.0, 2.0])
    for f in (pooled(POOLS[name]), weighted(POOLS[name])):
        with np.errstate(invalid="ignore"):
            wanted = fg.tree.leaves(f(x, b))
        for got, value in zip(fg.tree.leaves(fg.jit(f)(x, b)), wanted, strict=True):
            np.testing.assert_allclose(got, value, rtol=1e-12, atol=1e-12)


def test_nothing_of_the_size_of_what_was_pooled_is_kept() -> None:
    f, x = pooled(POOLS["tiles"]), images("ordinary")
    equations = program(f, x, np.zeros(4)).graph.equations
    names = [e.primitive.name for e in equations]
    last = max(k for k, name in enumerate(names) if name == "window_max")
    indices = [k for k, name in enumerate(names) if name == "window_argmax"]
    assert len(indices) == 2 and max(indices) == last + 1
    assert all(
        e.outputs[0].aval.shape != x.shape for e in equations if e.primitive.name == "greater"
    )
    sums = [e.inputs[0] for e in equations if e.outputs[0].aval.shape == (4,)]
    assert sums and all(v.aval.shape == (6, 6, 6, 4) for v in sums)


def test_windows_of_padding_alone_count_for_no_sum() -> None:
    def f(x: Any) -> Any:
        return np.sum(window_max(x, axis=1, window=2, stride=2, pad=(2, 2)))

    def with_sum(x: Any) -> Any:
        return np.sum(fg.grad(f)(x), axis=(0, 1))

    x = RNG.standard_normal((3, 6, 4))
    np.testing.assert_allclose(fg.jit(with_sum)(x), with_sum(x), rtol=1e-12)


def test_indices_stay_behind_what_was_computed_again() -> None:
    """Under checkpoint the elements come later than the maxima that are kept."""
    part = fg.checkpoint(
        lambda x: POOLS["twice"](nn.relu(x)), policy=lambda p: p.name == "window_max"
    )
    g = fg.value_and_grad(lambda x, b: np.sum(part(np.sin(x + b)) ** 2), (0, 1))
    args = images("ordinary"), np.zeros(4)
    for got, value in zip(fg.tree.leaves(fg.jit(g)(*args)), fg.tree.leaves(g(*args)), strict=True):
        np.testing.assert_allclose(got, value, rtol=1e-12, atol=1e-12)

"""x[index] for every index NumPy takes, and `at(x)[index]`, against plain NumPy."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import funcgraph as fg
import funcgraph.numpy as fnp
from funcgraph.errors import TracerConversionError

X = np.arange(24.0).reshape(2, 3, 4)


def check_read(x: np.ndarray, idx: Any) -> None:
    """The value is x[idx], the tangent t[idx], the cotangent the sum over the places read."""
    y = x[idx]
    value, pullback = fg.vjp(lambda x: x[idx], x)
    assert np.shape(value) == np.shape(y)
    np.testing.assert_array_equal(value, y)
    ct = np.asarray(np.random.default_rng(0).standard_normal(np.shape(y)))
    expected = np.zeros_like(x)
    np.add.at(expected, idx, ct)
    np.testing.assert_allclose(pullback(ct[()])[0], expected, atol=1e-12)
    t = np.cos(x)
    np.testing.assert_array_equal(fg.jvp(lambda x: x[idx], (x,), (t,))[1], t[idx])
    # The second derivative of Σ x[idx]³, one mode over the other: reads that are traced themselves.
    counts = np.zeros_like(x)
    np.add.at(counts, idx, np.ones(np.shape(y)))
    slope = fg.grad(lambda x: fnp.sum(x[idx] ** 3))
    np.testing.assert_allclose(slope(x), 3 * counts * x**2, atol=1e-9)
    np.testing.assert_allclose(fg.jvp(slope, (x,), (t,))[1], 6 * counts * x * t, atol=1e-9)
    twice = fg.grad(lambda x: fnp.sum(slope(x) * t))
    np.testing.assert_allclose(twice(x), 6 * counts * x * t, atol=1e-9)


SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


def arrays(shape: tuple[int, ...]) -> np.ndarray:
    return np.sin(np.arange(1.0, 1.0 + np.prod(shape, dtype=int))).reshape(shape)


@given(st.data())
def test_basic_indices(data: Any) -> None:
    shape = data.draw(SHAPES)
    check_read(arrays(shape), data.draw(hnp.basic_indices(shape, allow_newaxis=True)))


@given(st.data())
def test_integer_arrays(data: Any) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=4))
    dtype = data.draw(st.sampled_from([np.int64, np.int8, np.uint16]))
    check_read(arrays(shape), data.draw(hnp.integer_array_indices(shape, dtype=dtype)))


@given(st.data())
def test_boolean_masks(data: Any) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4))
    ndim = data.draw(st.integers(0, len(shape)))
    check_read(arrays(shape), data.draw(hnp.arrays(bool, shape[:ndim])))


@given(st.data())
def test_mixed_indices(data: Any) -> None:
    """Any sequence of ints, slices, None, integer arrays and masks, and perhaps one Ellipsis."""
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=4))
    common = data.draw(st.sampled_from([(2,), (1,), (2, 3)]))
    parts: list[Any] = []
    axis = 0
    masks = 0
    while axis < len(shape):
        n = shape[axis]
        kind = data.draw(st.sampled_from(["int", "slice", "none", "array", "mask", "stop"]))
        if kind == "stop":
            break
        if kind == "int":
            parts.append(data.draw(st.sampled_from([-n, n - 1, np.int64(0), np.array(0)])))
        elif kind == "slice":
            step = data.draw(st.sampled_from([None, 1, -1, 2, -3]))
            ends = st.one_of(st.none(), st.integers(-n - 1, n + 1))
            parts.append(slice(data.draw(ends), data.draw(ends), step))
        elif kind == "none":
            parts.append(None)
            axis -= 1
        elif kind == "array" or masks:
            lengths = data.draw(st.sampled_from([common, common[-1:], (1,)]))
            values = data.draw(hnp.arrays(np.int64, lengths, elements=st.integers(-n, n - 1)))
            parts.append(data.draw(st.sampled_from([values, values.tolist()])))
        else:  # one mask with as many hits as integer arrays are long, or one
            masks += 1
            mask = np.zeros(n, bool)
            mask[: min(n, common[-1]) if n >= common[-1] else 1] = True
            parts.append(mask)
        axis += 1
        if len(parts) > 6:
            break
    if data.draw(st.booleans()):
        parts.insert(data.draw(st.integers(0, len(parts))), ...)
    idx = tuple(parts)
    try:
        arrays(shape)[idx]
    except IndexError:  # the Ellipsis has moved a part to a shorter axis
        assume(False)
    check_read(arrays(shape), idx)


@pytest.mark.parametrize(
    "idx",
    [
        True,
        False,
        np.True_,
        np.array(False),
        (True, 1),
        (1, False, ..., None),
        [],
        [[], []],
        (slice(None), []),
        ([1, 0], slice(None), [2, 2]),
        (0, slice(None), [1, 1]),
        ([[0], [1]], None, [0, 2]),
        [True, False],
        (..., np.array([0, 0, 3], np.uint8)),
        (np.ones((2, 3), bool), [1] * 6),
        np.zeros((2, 3, 4), bool),
        range(2),
    ],
    ids=str,
)
def test_odd_indices(idx: Any) -> None:
    check_read(X, idx)


@pytest.mark.parametrize("idx", [(), ..., None, (None, ...), True, False, np.array(True)], ids=str)
@pytest.mark.parametrize("x", [np.array(2.5), np.float64(2.5)], ids=["array", "scalar"])
def test_indices_of_a_number(x: Any, idx: Any) -> None:
    check_read(x, idx)


@pytest.mark.parametrize("idx", [(), ..., None], ids=str)
def test_indices_of_a_python_number(idx: Any) -> None:
    assert fg.grad(lambda x: fnp.sum(x[idx] ** 2))(1.5) == 3.0


@pytest.mark.parametrize(
    "idx", [7, (0, 0, 0, 0), 1.5, "a", [9], (..., ...), np.ones(3, bool)], ids=str
)
def test_errors_are_numpys(idx: Any) -> None:
    with pytest.raises(IndexError) as plain:
        X[idx]
    with pytest.raises(IndexError) as traced:
        fg.grad(lambda x: x[idx].sum())(X)
    assert str(traced.value) == str(plain.value)


@pytest.mark.parametrize("x", [2.0, np.float32(2), np.array(2.0)])
def test_numbers_that_are_read_and_used(x: Any) -> None:
    """Their cotangents are numbers and arrays without axes, in every order."""
    uses = [lambda x: x[()], lambda x: x * 2.0, lambda x: np.sum(np.broadcast_to(x, (3,)))]
    slopes = [1, 2, 3]
    for order in itertools.product(range(3), repeat=3):
        got = fg.grad(lambda x, order=order: sum(uses[k](fnp.asarray(x)) for k in order))(x)
        assert got == sum(slopes[k] for k in order) and type(got) is type(x)


def test_a_traced_float_is_no_index() -> None:
    with pytest.raises(TracerConversionError, match="traced array"):
        fg.grad(lambda x: X[0, 0][x])(1.0)
    with pytest.raises(TracerConversionError, match="index"):
        fg.grad(lambda x: x[x[0, 0, 0]].sum())(X)
    with pytest.raises(TracerConversionError, match=r"np\.round"):
        fg.grad(lambda x: x[x].sum())(X)


# --- updates -------------------------------------------------------------------------------------

UPDATES: list[Any] = [
    1,
    (slice(None), -1),
    (..., slice(None, None, -2)),
    None,
    [1, 0],
    ([0, 1], [2, 0]),
    (slice(None), [2, 2, 0]),
    (0, ..., [1, 1, 3]),
    X > 11,
    (X[:, :, 0] > 3),
    (slice(None), np.array([True, False, True])),
    [],
    False,
    (),
]


@pytest.mark.parametrize("idx", UPDATES, ids=str)
@pytest.mark.parametrize("name", ["set", "add"])
@pytest.mark.parametrize("scalar", [True, False], ids=["scalar", "array"])
def test_updates(idx: Any, name: str, scalar: bool) -> None:
    rng = np.random.default_rng(1)
    v = np.float64(0.5) if scalar else rng.standard_normal(np.shape(X[idx]))

    def ours(x: Any, v: Any) -> Any:
        return getattr(fg.at(x)[idx], name)(v)

    def plain(x: Any, v: Any) -> Any:
        x = x.copy()
        if name == "set":
            x[idx] = v
        else:
            np.add.at(x, idx, v)
        return x

    value, pullback = fg.vjp(ours, X, v)
    np.testing.assert_array_equal(value, plain(X, v))
    ct, tx, tv = rng.standard_normal(X.shape), rng.standard_normal(X.shape), rng.standard_normal()
    tv = tv * np.ones_like(v)
    tangent = fg.jvp(ours, (X, v), (tx, tv))[1]
    np.testing.assert_allclose(tangent, plain(tx, tv), atol=1e-12)
    cx, cv = pullback(ct)
    np.testing.assert_allclose(np.sum(ct * tangent), np.sum(cx * tx) + np.sum(cv * tv))


def test_updates_keep_the_dtype_and_the_array() -> None:
    x = np.zeros(3, np.float32)
    y = fg.at(x)[1].set(np.float64(2.0))
    assert y.dtype == np.float32 and x[1] == 0 and fg.at(y)[1].get() == 2
    np.testing.assert_array_equal(fg.at(np.arange(3))[[0, 0]].add(2), [4, 1, 2])


# --- cost ----------------------------------------------------------------------------------------


def test_reading_each_element_costs_a_constant(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradient of a loop over the elements is one array, not one per element."""
    x = np.linspace(0.0, 1.0, 1000)
    cleared = 0
    zeros = np.zeros

    def count(shape: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal cleared
        out = zeros(shape, *args, **kwargs)
        cleared += out.size
        return out

    def f(x: Any) -> Any:
        total = 0.0
        for v in x:
            total = total + v * v
        return total

    monkeypatch.setattr(np, "zeros", count)
    np.testing.assert_allclose(fg.grad(f)(x), 2 * x)
    np.testing.assert_allclose(fg.jvp(fg.grad(f), (x,), (x,))[1], 2 * x)
    assert x.size <= cleared <= 10 * x.size  # 1000 * x.size with an array for each element


# --- functions that read by value -----------------------------------------------------------------


def test_the_gradient_of_a_read_keeps_no_table_of_zeros() -> None:
    """A graph's constants are copies, and XLA compiles them into its program."""
    gradient = fg.grad(lambda t, rows: np.sum(np.sin(t[rows])))
    graph = fg.make_graph(gradient)(np.ones((1000, 8)), np.array([3, 3, 1]))
    assert all(not any(x.strides) or x.nbytes < 1000 for x in graph.constants.values())


def test_trim_zeros() -> None:
    x = np.array([0.0, 0.0, 1.5, 0.0, 2.0, 0.0])
    for trim in ("fb", "f", "b", "BF"):
        y, pullback = fg.vjp(lambda x, trim=trim: np.trim_zeros(x, trim), x)
        np.testing.assert_array_equal(y, np.trim_zeros(x, trim))
        assert pullback(np.ones_like(y))[0].sum() == y.size
    assert fg.vjp(np.trim_zeros, np.zeros(3))[0].shape == (0,)


def test_pad_empty_is_zeros() -> None:
    y, pullback = fg.vjp(lambda x: np.pad(x, 1, "empty"), X)
    np.testing.assert_array_equal(y, np.pad(X, 1))
    np.testing.assert_array_equal(pullback(np.ones_like(y))[0], np.ones_like(X))


def test_pad_with_traced_values() -> None:
    def f(v: Any, mode: str, name: str) -> Any:
        return fnp.sum(fnp.pad(X[0], ((1, 2), (3, 0)), mode, **{name: v}))

    assert fg.grad(lambda v: f(v, "constant", "constant_values"))(2.0) == 6 * 7 - 12
    slope = (f(3.0, "linear_ramp", "end_values") - f(1.0, "linear_ramp", "end_values")) / 2
    np.testing.assert_allclose(fg.grad(lambda v: f(v, "linear_ramp", "end_values"))(2.0), slope)


@pytest.mark.parametrize("call", [
    lambda x: np.pad(x, 1, "constant", end_values=3),
    lambda x: np.pad(x, 1, "no such mode"),
    lambda x: np.pad(x, -1),
    lambda x: np.pad(x, 1.5),
    lambda x: np.pad(x, 1, "maximum", stat_length=0),
    lambda x: np.take(x, [0], mode="no such mode"),
    lambda x: np.choose([0, 7], x[:2, 0, :2]),
    lambda x: np.compress([[True]], x),
    lambda x: np.take_along_axis(x, np.array([0]), 1),
    lambda x: np.select([], []),
    lambda x: np.select([x > 0], [x, x]),
    lambda x: np.select([np.ones(4)], [x]),
    lambda x: np.where(x > 0, x),
    lambda x: np.piecewise(x, [x > 0], [1, 2, 3]),
    lambda x: np.concatenate([]),
    lambda x: np.concatenate([x, np.float64(1)]),
    lambda x: np.stack([x, x[0]]),
    lambda x: np.split(x, 5, axis=1),
    lambda x: np.array_split(x, 0),
    lambda x: np.hsplit(x[0, 0, 0], 1),
    lambda x: np.vsplit(x[0, 0], 1),
    lambda x: np.dsplit(x[0], 1),
    lambda x: np.unstack(x[0, 0, 0]),
    lambda x: np.moveaxis(x, [0, 1], [0]),
    lambda x: np.moveaxis(x, 0, 3),
    lambda x: np.transpose(x, (0, 0, 1)),
    lambda x: np.expand_dims(x, 4),
    lambda x: np.flip(x, 3),
    lambda x: np.rot90(x, axes=(0, 0)),
    lambda x: np.fliplr(x[0, 0]),
    lambda x: np.roll(x, 1, 3),
    lambda x: np.delete(x, 24),
    lambda x: np.insert(x, 25, 1.0),
    lambda x: np.resize(x, -1),
    lambda x: np.repeat(x, -1),
    lambda x: np.broadcast_to(x, (3, 4, 5)),
    lambda x: np.diag(x),
    lambda x: np.vander(x),
    lambda x: np.diagonal(x[0, 0]),
    lambda x: np.meshgrid(x, indexing="no"),
    lambda x: np.block([[x], x]),
    lambda x: np.block([x, []]),
    lambda x: np.linspace(x, x, -1),
    lambda x: np.bincount([0, 1], x[0, 0]),
    lambda x: np.histogram(x, 3, weights=x[0]),
    lambda x: np.tril_indices_from(x),
    lambda x: np.ix_(x),
])  # fmt: skip
def test_functions_fail_as_numpys(call: Any) -> None:
    with pytest.raises(Exception) as plain:
        call(X)
    with pytest.raises(plain.type):
        fg.vjp(call, X)


def test_gradients_of_permutations_scatter_nothing_on_xla() -> None:
    """They read the cotangent by the inverse, if the order is known when the program is made."""
    pytest.importorskip("jax")
    x = np.random.default_rng(0).standard_normal((3, 5))
    order = np.array([2, -5, 4, 1, 3])
    for f, scatters in [
        (lambda x: np.sum(x[:, order] ** 2 * np.arange(5)), False),
        (lambda x: np.sum(x.T[order] ** 2 * np.arange(3)), False),
        (lambda x: np.sum(x[:, order[:4]] ** 2), True),
        (lambda x: np.sum(x[:, order * 0] ** 2), True),
    ]:
        gradient = fg.jit(fg.grad(f), backend="xla")
        assert ("scatter" in gradient.lower(x).as_text()) == scatters
        np.testing.assert_allclose(gradient(x), fg.grad(f)(x), atol=1e-12)


ROWS, COLUMNS = np.array([True, False]), np.array([True, False, True])


@pytest.mark.parametrize(
    "idx",
    [
        ROWS,
        (ROWS, 1),
        (1, COLUMNS),
        (slice(None), COLUMNS, None),
        np.outer(ROWS, COLUMNS),
        (0, True),
    ],
    ids=str,
)
def test_second_derivatives_through_masks(idx: Any) -> None:
    """Lanes of lanes took the positions of a mask for a mask: of x[[True, False]] they were 0."""
    f = lambda x: np.sum(x.reshape(2, 3)[idx] ** 3)
    x = np.arange(1.0, 7.0)
    wanted = np.diag(6 * x * fg.grad(lambda x: np.sum(x.reshape(2, 3)[idx]))(x))
    for hessian in (fg.hessian(f), fg.jit(fg.hessian(f)), fg.jacrev(fg.jacrev(f))):
        assert np.array_equal(hessian(x), wanted)

"""What NumPy refuses because of shapes is refused while a function is staged, too."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.core.aval import aval_of, broadcast_shapes
from funcgraph.errors import ShapeError

A, B = np.zeros((2, 3)), np.zeros((2, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a, b: a @ b, r"shapes \(2, 3\) and \(2, 2\)"),
        (lambda a, b: a[0] @ b[0], r"shapes \(3,\) and \(2,\)"),
        (lambda a, b: np.matmul(a[0, 0], b), r"shapes \(\) and \(2, 2\)"),
        (np.dot, r"shapes \(2, 3\) and \(2, 2\)"),
        (lambda a, b: np.einsum("ij,jk->ik", a, b), "label 'j' .* lengths 3 and 2"),
        (lambda a, b: np.einsum("ii->i", a), "label 'i' .* lengths 2 and 3"),
        (lambda a, b: np.concatenate([a, b], 0), r"shapes \(2, 3\), \(2, 2\)"),
        (lambda a, b: np.concatenate([a, b[0]], 0), r"shapes \(2, 3\), \(2,\)"),
        (lambda a, b: a.reshape(4), "has 6 elements"),
        (lambda a, b: a.reshape(4, -1), "size 6"),
        (lambda a, b: np.broadcast_to(a, (3, 4)), r"broadcast"),
        (lambda a, b: np.linalg.solve(a[:, :2], b[:1]), r"shape \(2, 2\) .* shape \(1, 2\)"),
        (lambda a, b: fg.at(a)[0].set(b), r"shape \(2, 2\) cannot be broadcast to \(3,\)"),
        (lambda a, b: fg.at(a)[:1].add(b), r"shape \(2, 2\) cannot be broadcast to \(1, 3\)"),
    ],
)
def test_shapes_that_do_not_fit(call, message):
    with pytest.raises(ValueError):
        call(A, B)
    with pytest.raises(ValueError, match=message):
        fg.eval_shape(call, A, B)


def test_a_diagonal_of_axes_that_differ_is_refused_in_every_mode():
    with pytest.raises(ShapeError, match="lengths 2 and 3"):
        fg.grad(lambda a: np.sum(np.einsum("ii->i", a)))(A)


def test_leading_axes_of_length_1_may_be_written():
    found = fg.eval_shape(lambda a: fg.at(a)[0].set(np.ones((1, 3))), A)
    assert found.shape == fg.at(A)[0].set(np.ones((1, 3))).shape


@pytest.mark.parametrize(
    "shapes",
    [
        [()], [(), ()], [(2, 3), (2, 3)], [(), (3,)], [(3,), ()], [(1, 3), (2, 1)], [(0,), (1,)],
        [(3,), (2, 3)], [(), (1,), (4,)], [(4,), (), (4,)], [(2, 1, 3), (5, 1), ()],
    ],
)  # fmt: skip
def test_shapes_broadcast_as_in_numpy(shapes):
    assert broadcast_shapes(*shapes) == np.broadcast_shapes(*shapes)


def test_dtypes_are_resolved_as_in_numpy():
    """Also when the same ufunc is asked again, and with numbers of Python, which are weak."""
    values = [
        True, 2, 2.5, 1j, np.float32(2), np.float64(2), np.ones(3, np.float32), np.ones(3),
        np.ones((2, 1), np.int8), np.ones(3, bool),
    ]  # fmt: skip
    for ufunc, x, y in itertools.product((np.add, np.divide, np.equal) * 2, values, values):
        found, wanted = fg.eval_shape(ufunc, x, y), np.asarray(ufunc(x, y))
        assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)


def test_what_is_known_of_values_under_transformations():
    seen = []

    def f(x):
        seen.append(aval_of(x))
        return x * 2.0

    fg.jit(fg.vmap(f))(np.ones((4, 3), np.float32))
    fg.jit(fg.grad(f))(1.0)
    fg.make_graph(f)(1.0)
    assert [(a.shape, a.dtype, a.weak) for a in seen] == [
        ((3,), np.float32, None), ((), np.float64, float), ((), np.float64, float),
    ]  # fmt: skip

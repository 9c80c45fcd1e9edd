"""What NumPy refuses because of shapes is refused while a function is staged, too."""

from __future__ import annotations

import numpy as np
import pytest

import funcgraph as fg
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

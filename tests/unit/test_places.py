"""Cotangents put back to where they were read: parts of a whole are joined, few are padded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.ops.indexing import index_sum
from funcgraph.ops.places import side_by_side

pytest.importorskip("jax")
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("templates", "shape", "wanted"),
    [
        ([(slice(2, 4),), (slice(0, 2),)], (4, 3), (0, [1, 0])),
        ([(Ellipsis, slice(None, 1)), (Ellipsis, slice(1, None))], (4, 3), (1, [0, 1])),
        ([(slice(None), 1), (slice(None), 0), (slice(None), -1)], (4, 3), (1, [1, 0, 2])),
        ([(None, 0), (1,)], (2, 3), (0, [0, 1])),
        ([(slice(0, 2),), (slice(1, 4),)], (4, 3), None),
        ([(slice(0, 2),), (slice(3, 4),)], (4, 3), None),
        ([(slice(0, 2), 0), (slice(2, 4),)], (4, 3), None),
        ([(slice(None, None, 2),), (slice(1, None, 2),)], (4, 3), None),
        ([(slice(None, None, -1),)], (4, 3), None),
        ([(np.array([True, False]),), (1,)], (2,), None),
        ([()], (), None),
    ],
)
def test_side_by_side(templates: Any, shape: Any, wanted: Any) -> None:
    assert side_by_side(templates, shape) == wanted


TEMPLATES = [
    [(slice(2, 4),), (slice(0, 2),)],
    [(slice(None), 2), (slice(None), 0), (slice(None), 1)],
    [(slice(1, None),), (slice(None, -1),)],
    [(slice(None, None, 2), slice(1, 3)), (slice(1, 4, 2), None, 0)],
    [(0, 0), (3, -1), (-4,), (slice(1, 1),)],
    [(slice(None, None, -1), 0), (1, slice(0, 2))],
    [(slice(2, 0, -2), slice(None, None, -1)), (slice(None, None, -1),), (slice(0, 2, -1),)],
    [(k % 4, k % 3) for k in range(7)],
    [(np.array([True, False, False, True]),), (Ellipsis, 0)],
    [(Ellipsis, None)],
]


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
@pytest.mark.parametrize("templates", TEMPLATES)
def test_values_are_those_of_numpy_in_every_mode(templates: Any, dtype: Any) -> None:
    shape = (4, 3)
    gs = [RNG.standard_normal(np.empty(shape)[t].shape).astype(dtype) for t in templates]
    f = lambda *gs: index_sum(*gs, shape=shape, dtype=np.dtype(dtype), templates=tuple(templates))
    wanted = np.zeros(shape, dtype)
    for g, t in zip(gs, templates, strict=True):
        wanted[t] += g
    weights = RNG.standard_normal(shape)
    loss = lambda *gs: np.sum(np.real(f(*gs) ** 2) * weights)
    numbers = tuple(range(len(gs)))

    def everything(*gs: Any) -> Any:
        lanes = fg.vmap(f)(*[np.stack([g, 2 * g]) for g in gs])
        return f(*gs), fg.jvp(f, gs, gs)[1], lanes[1] / 2, fg.grad(loss, numbers)(*gs)

    eager = everything(*gs)
    for k, backend in ((0, "numpy"), (1, "xla")):
        *values, gradients = fg.jit(everything, backend=backend)(*gs)
        for got in (*values, *eager[: 3 * k]):
            assert got.dtype == dtype
            np.testing.assert_allclose(np.asarray(got), wanted, rtol=1e-6, atol=1e-7)
        for got, other in zip(gradients, eager[3], strict=True):
            np.testing.assert_allclose(np.asarray(got), other, rtol=1e-5, atol=1e-6)


def test_what_is_read_backwards_is_turned_not_scattered() -> None:
    """The kernel of a transposed convolution, for one."""
    f = lambda x: np.sum(np.sin(x[::-1, 2:0:-1]))
    text = fg.jit(fg.grad(f), backend="xla").lower(RNG.standard_normal((4, 5))).as_text()
    assert "scatter" not in text
    assert "reverse" in text

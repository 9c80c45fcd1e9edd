"""Batches of loops and branches: what runs, and for which lanes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
import funcgraph.numpy as fnp
from funcgraph.core.aval import Aval
from funcgraph.core.primitive import REGISTRY, Linear, Primitive

jax = pytest.importorskip("jax")
lax = jax.lax

BOTH = (0, 1)


def same(got: Any, wanted: Any) -> None:
    for g, w in zip(fg.tree.leaves(got), fg.tree.leaves(wanted), strict=True):
        assert np.shape(g) == np.shape(w)
        np.testing.assert_allclose(np.asarray(g), np.asarray(w), rtol=1e-10, atol=1e-10)


class Rows:
    """Counts the rows that an operation (x -> 2 x) sees at run time."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []
        name = f"test_rows_{id(self)}"

        def batch(primitive: Any, size: int, args: Any, batched: Any, attrs: Any) -> Any:
            return primitive(*args)

        self.operation = Primitive(
            name, self.run, lambda jax, x: 2 * x, lambda x: Aval(x.shape, x.dtype),
            Linear(lambda g, x: 2.0 * g), batch,
        )  # fmt: skip

    def run(self, x: Any) -> Any:
        self.seen.append(np.array(x, ndmin=1))
        return 2 * x

    def count(self) -> int:
        rows = sum(len(x) for x in self.seen)
        self.seen.clear()
        return rows


@pytest.fixture
def rows() -> Iterator[Rows]:
    before = set(REGISTRY)
    yield Rows()
    for name in set(REGISTRY) - before:
        del REGISTRY[name]


def test_the_body_runs_for_the_lanes_that_go_on(rows: Rows) -> None:
    f = lambda x: fg.while_loop(lambda s: s < 16.0, lambda s: rows.operation(s), x)
    x = np.array([1.0, 8.0, 20.0, 2.0])
    wanted = np.array([16.0, 16.0, 20.0, 16.0])
    for run in (fg.vmap(f), fg.jit(fg.vmap(f))):
        run(x)
        rows.count()
        same(run(x), wanted)
        assert all((seen < 16.0).all() for seen in rows.seen)
        assert rows.count() == 4 + 1 + 0 + 3
    gradient = np.array([16.0, 2.0, 1.0, 8.0])
    for run in (fg.vmap(fg.grad(f)), fg.jit(fg.vmap(fg.grad(f)))):
        same(run(x), gradient)
        assert rows.count() in (8, 16)  # once, or once more to come back
    nested = fg.jit(fg.vmap(fg.vmap(f)))
    same(nested(x.reshape(2, 2)), wanted.reshape(2, 2))
    rows.count()
    nested(x.reshape(2, 2))
    assert rows.count() == 8
    assert fg.jit(fg.vmap(f))(np.zeros(0)).shape == (0,)


def test_lanes_that_ended_are_harmless() -> None:
    f = lambda x: fg.while_loop(lambda s: s > 1.5, lambda s: fnp.sqrt(s - 1.0), x)
    x = np.array([1.0, 40.0, 3.0, -2.0, 1.2])  # 1 and -2 would give inf and nan
    with np.errstate(all="raise"):
        for run in (lambda f: f, fg.jit):
            wanted = np.array([f(v) for v in x])
            same(run(fg.vmap(f))(x), wanted)
            gradient = np.array([fg.grad(f)(v) for v in x])
            assert np.isfinite(gradient).all()
            same(run(fg.vmap(fg.grad(f)))(x), gradient)
            same(run(fg.grad(lambda x: fg.vmap(f)(x).sum()))(x), gradient)
            second = np.array([fg.grad(fg.grad(f))(v) for v in x])
            same(run(fg.vmap(fg.grad(fg.grad(f))))(x), second)


def test_lanes_run_only_their_own_branch(rows: Rows) -> None:
    def spin(x: Any) -> Any:  # for negative x it would never end
        return fg.while_loop(lambda s: s < 4.0, lambda s: rows.operation(s), x)

    def fails(x: Any) -> Any:
        return fnp.sqrt(x) / (x > 0)

    x = np.array([1.0, -1.0, 3.0, -4.0])
    for branch in (spin, fails):
        f = lambda x, branch=branch: fg.cond(x > 0, branch, lambda x: x * 0.5, x)
        wanted = np.array([f(v) for v in x])
        gradient = np.array([fg.grad(f)(v) for v in x])
        lanes = lambda x, f=f: fg.vmap(f)(x)
        with np.errstate(all="raise"):
            for run in (lambda f: f, fg.jit):
                same(run(lanes)(x), wanted)
                same(run(fg.vmap(fg.grad(f)))(x), gradient)
                same(run(fg.grad(lambda x, lanes=lanes: lanes(x).sum()))(x), gradient)
                twice = fg.vmap(fg.grad(fg.grad(f)))
                same(run(twice)(x), np.array([fg.grad(fg.grad(f))(v) for v in x]))
                same(run(fg.vmap(lanes))(x.reshape(2, 2)), wanted.reshape(2, 2))
        assert all((seen > 0).all() for seen in rows.seen)


def test_every_branch_counts_its_lanes(rows: Rows) -> None:
    branches = [lambda x, w: rows.operation(x) * w, lambda x, w: x - w, lambda x, w: x * x]
    f = lambda i, x, w: fg.switch(i, branches, x, w)
    numbers, x = np.array([0, 2, 1, 0, 9]), np.arange(5.0)
    lanes = fg.jit(fg.vmap(f, (0, 0, None)))
    wanted = jax.vmap(
        lambda i, x, w: lax.switch(
            i, [lambda x, w: 2 * x * w, lambda x, w: x - w, lambda x, w: x * x], x, w
        ),
        (0, 0, None),
    )(numbers, x, 3.0)
    same(lanes(numbers, x, 3.0), wanted)
    rows.count()
    lanes(numbers, x, 3.0)
    assert rows.count() == 2
    same(fg.jit(fg.vmap(f, (0, 0, None)), backend="xla")(numbers, x, 3.0), wanted)
    total = lambda w, x: fnp.sum(fg.vmap(f, (0, 0, None))(numbers, x, w) ** 2)
    same(fg.jit(fg.grad(total, BOTH))(3.0, x), fg.grad(total, BOTH)(3.0, x))
    same(fg.jit(fg.grad(total, BOTH), backend="xla")(3.0, x), fg.grad(total, BOTH)(3.0, x))
    assert fg.jit(fg.vmap(f, (0, 0, None)))(numbers[:0], x[:0], 3.0).shape == (0,)

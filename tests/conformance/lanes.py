"""The reference for batching: a loop over the lanes, for every choice of batched arguments."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, combinations
from typing import Any

import numpy as np

import funcgraph as fg
from funcgraph.core.aval import dtype_of
from funcgraph.core.primitive import Primitive
from tests.conformance import oracle
from tests.conformance.spec import Sample


def lanes_of(x: Any, size: int) -> Any:
    """Return `size` variants of an argument, stacked: each lane has other numbers."""
    x = np.asarray(x)
    if x.dtype.kind in "fc":
        variants = [x * x.dtype.type(1 - 0.01 * i) for i in range(size)]
    else:
        variants = [np.flip(x) if i % 2 else x for i in range(size)]
    return np.stack(variants) if variants else np.empty((0, *x.shape), x.dtype)


def choices(args: tuple[Any, ...]) -> Iterator[tuple[int, ...]]:
    """Yield every choice of arguments to batch (at most three of many)."""
    arrays = [k for k, a in enumerate(args) if isinstance(a, np.ndarray | np.generic | float)]
    sizes = range(1, min(len(arrays), 3) + 1)
    return chain.from_iterable(combinations(arrays, n) for n in sizes)


def batch(primitive: Primitive, sample: Sample) -> None:
    """The value of a batch is that of its lanes, for every choice of batched arguments."""
    for chosen in choices(sample.args):
        for size in (3, 1, 0):
            _compare(primitive, sample, chosen, size)


def _compare(primitive: Primitive, sample: Sample, chosen: tuple[int, ...], size: int) -> None:
    f = lambda *xs: oracle.parts(primitive(*xs, **sample.attrs))
    in_axes = tuple(0 if k in chosen else None for k in range(len(sample.args)))
    args = tuple(lanes_of(a, size) if k in chosen else a for k, a in enumerate(sample.args))
    lanes = [tuple(a[i] if k in chosen else a for k, a in enumerate(args)) for i in range(size)]
    with np.errstate(all="ignore"):
        got = fg.vmap(f, in_axes)(*args)
        wanted = [f(*lane) for lane in lanes]
        one = wanted[0] if size else f(*sample.args)
    for k, y in enumerate(got):
        assert (y.dtype, y.shape) == (dtype_of(one[k]), (size, *np.shape(one[k]))), chosen
        for i in range(size):
            np.testing.assert_allclose(y[i], wanted[i][k], rtol=1e-11, atol=1e-11)


def batch_value(p: oracle.Problem) -> None:
    """The values of a batch are those of its lanes; leading zeros may stay."""
    xs = fg.tree.map(lambda x: lanes_of(x, 3), p.xs)
    got = fg.vmap(p.f)(*xs)
    for i in range(3):
        for y, one in zip(got, p.f(*fg.tree.map(lambda x, i=i: x[i], xs)), strict=True):
            missing = y[i].shape[0] - one.shape[0]
            assert not np.any(y[i][:missing] > 1e-12)
            np.testing.assert_allclose(y[i][missing:], one, rtol=1e-9, atol=1e-9)


def batch_derivative(p: oracle.Problem) -> None:
    """Values, pullbacks and tangents of a batch are those of its lanes."""
    xs = fg.tree.map(lambda x: lanes_of(x, 3), p.xs)
    lanes = [fg.tree.map(lambda x, i=i: x[i], xs) for i in range(3)]
    with np.errstate(all="ignore"):
        wanted = [p.f(*lane) for lane in lanes]
        cts = oracle.random_like(wanted[0], 1)

        def derivatives(*xs: Any) -> Any:
            ones = fg.tree.map(lambda x: np.ones(x.shape, x.dtype), xs)
            y, pullback = fg.vjp(p.f, *xs)
            return y, pullback(cts), fg.jvp(p.f, xs, ones)[1]

        got = fg.tree.leaves(fg.vmap(derivatives)(*xs))
        wanted = [fg.tree.leaves(derivatives(*lane)) for lane in lanes]
    for k, y in enumerate(got):
        for i in range(3):
            np.testing.assert_allclose(y[i], wanted[i][k], rtol=1e-8, atol=1e-8)

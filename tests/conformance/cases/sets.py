"""Cases of NumPy's set routines and histograms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

import funcgraph.numpy as fnp
from tests.conformance.spec import Case

RNG = np.random.default_rng(24)
# Distinct numbers, far enough apart for differences, some of them equal.
X = np.array([[3.0, 1.5, -2.0], [0.25, 4.0, 7.5]])
Y = np.array([4.0, -1.0, 1.5, 9.0])
ROWS = np.array([[2.0, 1.0], [0.5, 3.0], [1.0, -1.0]])
NUMBERS = np.array([0, 3, 1, 1, 3, 6])
WEIGHTS = RNG.standard_normal(6)
DATA = RNG.uniform(0, 4, 6)
EDGES = np.array([0.0, 0.5, 1.75, 2.5, 4.0])
POINTS = RNG.uniform(0, 2, (6, 2))
RANGE = [(0.0, 2.0), (0.0, 2.0)]


def intersect1d(x: Any, **kwargs: Any) -> Any:
    """Intersect arrays that stay equal when x varies."""
    return np.intersect1d(x, np.concatenate([x[::-2], 100.0 * x]), **kwargs)


def sums(f: Callable[..., Any], ours: Callable[..., Any], *args: Any, **kwargs: Any) -> Case:
    """Return a case of f(data, weights): NumPy and JAX have the weights at different places."""

    def call(*xs: Any) -> Any:
        return f(*xs[:-1], weights=xs[-1], **kwargs)

    def traced(*xs: Any) -> Any:
        return ours(*xs[:-1], weights=xs[-1], **kwargs)

    call.__name__ = f.__name__
    return Case(call, args, fnp=traced)


def added(f: Callable[..., Any]) -> Callable[..., Any]:
    """Return np.histogram or ours without the edges."""

    def histogram(*args: Any, **kwargs: Any) -> Any:
        return f(*args, **kwargs)[0]

    return histogram


CASES = [
    Case(np.unique, (X,), jax=False),  # JAX's has no derivative
    Case(np.unique, (X, True, True, True), jax=False),
    Case(np.unique, (ROWS,), {"axis": 0, "return_counts": True}, jax=False),
    Case(np.unique, (X * (1 + 2j),), {"return_index": True}, jax=False),
    Case(np.unique_all, (X,), jax=False),
    Case(np.unique_counts, (X,), jax=False),
    Case(np.unique_inverse, (X,), jax=False),
    Case(np.unique_values, (np.array([2.0]),), jax=False),
    Case(np.union1d, (X, Y + 0.1), jax=False),
    Case(intersect1d, (Y,), jax=False),
    Case(intersect1d, (ROWS[:, 0],), {"return_indices": True}, jax=False),
    Case(np.setdiff1d, (X, Y + 0.1), jax=False),
    Case(np.setdiff1d, (X, Y + 0.1), {"assume_unique": True}, jax=False),
    Case(np.setxor1d, (X, Y + 0.1), jax=False),
    Case(np.setxor1d, (X, Y + 0.1), {"assume_unique": True}, jax=False),
    Case(np.bincount, (NUMBERS, WEIGHTS)),
    Case(np.bincount, (NUMBERS, WEIGHTS, 9)),
    sums(np.histogram, fnp.histogram, DATA, WEIGHTS, bins=EDGES),
    sums(np.histogram, fnp.histogram, DATA, WEIGHTS, bins=EDGES, density=True),
    sums(np.histogram, fnp.histogram, DATA, WEIGHTS, bins=4),
    sums(np.histogram, fnp.histogram, DATA, WEIGHTS, bins=4, density=True),
    sums(np.histogram, fnp.histogram, DATA, WEIGHTS, bins=3, range=(1.0, 3.0)),
    # JAX returns complex edges for complex weights, NumPy real ones.
    replace(sums(np.histogram, fnp.histogram, DATA, WEIGHTS * (1 + 1j), bins=EDGES), jax=False),
    sums(added(np.histogram), added(fnp.histogram), DATA, WEIGHTS * (1 + 1j), bins=EDGES),
    Case(np.histogram, (DATA, 4), {"density": True}),
    Case(np.histogram_bin_edges, (DATA, 5)),
    Case(np.histogram_bin_edges, (DATA, EDGES)),
    Case(np.histogram_bin_edges, (np.array([2.0, 2.0]), 2), order=1, tol=np.inf),
    sums(np.histogram2d, fnp.histogram2d, *POINTS.T, WEIGHTS, bins=3, range=RANGE),
    sums(np.histogram2d, fnp.histogram2d, *POINTS.T, WEIGHTS, bins=3, density=True),
    sums(np.histogram2d, fnp.histogram2d, *POINTS.T, WEIGHTS, bins=EDGES, density=True),
    sums(np.histogramdd, fnp.histogramdd, POINTS, WEIGHTS, bins=3, range=RANGE),
    sums(np.histogramdd, fnp.histogramdd, POINTS, WEIGHTS, bins=(3, EDGES), density=True),
    sums(np.histogramdd, fnp.histogramdd, POINTS, WEIGHTS, bins=2),
]

"""Cases of NumPy's set routines and histograms."""

from __future__ import annotations

import numpy as np

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

CASES = [
    Case(np.unique, (X,)),
    Case(np.unique, (X, True, True, True)),
    Case(np.unique, (ROWS,), {"axis": 0, "return_counts": True}, jax=False),
    Case(np.unique, (X * (1 + 2j),), {"return_index": True}),
    Case(np.unique_all, (X,)),
    Case(np.unique_counts, (X,)),
    Case(np.unique_inverse, (X,)),
    Case(np.unique_values, (np.array([2.0]),)),
    Case(np.union1d, (X, Y + 0.1)),
    Case(np.intersect1d, (X, Y), diff=(), jax=False),
    Case(np.setdiff1d, (X, Y + 0.1)),
    Case(np.setdiff1d, (X, Y + 0.1), {"assume_unique": True}),
    Case(np.setxor1d, (X, Y + 0.1)),
    Case(np.setxor1d, (X, Y + 0.1), {"assume_unique": True}, jax=False),
    Case(np.bincount, (NUMBERS, WEIGHTS)),
    Case(np.bincount, (NUMBERS,), {"weights": WEIGHTS, "minlength": 9}, diff=()),
    Case(np.bincount, (NUMBERS, WEIGHTS, 9)),
    Case(np.histogram, (DATA, EDGES, None, None, WEIGHTS), diff=(4,)),
    Case(np.histogram, (DATA, EDGES, None, True, WEIGHTS), diff=(1, 4)),
    Case(np.histogram, (DATA, 4, None, None, WEIGHTS)),
    Case(np.histogram, (DATA, 4, None, True, WEIGHTS)),
    Case(np.histogram, (DATA, 3, (1.0, 3.0), None, WEIGHTS), diff=(0, 4)),
    Case(np.histogram, (DATA, 4), {"density": True}),
    Case(np.histogram, (DATA, 4, None, None, WEIGHTS * (1 + 1j)), diff=(4,)),
    Case(np.histogram_bin_edges, (DATA, 5)),
    Case(np.histogram_bin_edges, (DATA, EDGES)),
    Case(np.histogram_bin_edges, (np.array([2.0, 2.0]), 2), order=1, tol=np.inf),
    Case(np.histogram2d, (POINTS[:, 0], POINTS[:, 1], 3, RANGE, None, WEIGHTS), diff=(5,)),
    Case(np.histogram2d, (POINTS[:, 0], POINTS[:, 1], 3, None, True, WEIGHTS), diff=(0, 1, 5)),
    Case(np.histogram2d, (POINTS[:, 0], POINTS[:, 1], EDGES, None, True, WEIGHTS), diff=(5,)),
    Case(np.histogramdd, (POINTS, 3, RANGE, None, WEIGHTS), diff=(4,), jax=False),
    Case(np.histogramdd, (POINTS, (3, EDGES), None, True, WEIGHTS), diff=(0, 4), jax=False),
    Case(np.histogramdd, ([POINTS[:, 0], POINTS[:, 1]], 2, None, None, WEIGHTS), jax=False),
]

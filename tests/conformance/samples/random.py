"""Samples of the primitives of random numbers."""

from __future__ import annotations

import numpy as np

import funcgraph.random  # noqa: F401  (declares them)
from tests.conformance.spec import Sample

KEY = np.array([3, 42], np.uint32)
BITS = np.arange(12, dtype=np.uint32).reshape(3, 4) * np.uint32(350_000_011)
SHAPES = np.array([[0.2, 0.9, 1.0], [1.7, 4.0, 60.0]])
RATES = np.array([[0.0, 0.5, 3.0], [9.0, 12.0, 40.0]], np.float32)
TRIALS = np.array([[0.0, 5.0, 20.0], [50.0, 100.0, 400.0]])
CHANCES = np.array([[0.5, 0.3, 0.9], [0.5, 0.4, 0.01]])

SAMPLES = {
    "random_bits": [
        Sample((KEY,), {"shape": (3, 2), "width": 32}),
        Sample((KEY,), {"shape": (), "width": 8}),
        Sample((KEY,), {"shape": (0, 2), "width": 16}),
        Sample((KEY,), {"shape": (5,), "width": 64}),
        Sample((KEY,), {"shape": (5,), "width": 0}),
    ],
    "random_fold_in": [
        Sample((KEY, np.uint32(7))),
        Sample((KEY, np.arange(3, dtype=np.uint32))),
    ],
    "bits_to_unit": [
        Sample((BITS,), {"dtype": np.dtype(np.float32)}),
        Sample((BITS[0, 1].astype(np.uint64) << np.uint64(30),), {"dtype": np.dtype(np.float64)}),
    ],
    "random_normal": [
        Sample((KEY,), {"shape": (3, 2), "dtype": np.dtype(np.float64)}),
        Sample((KEY,), {"shape": (), "dtype": np.dtype(np.float64)}),
    ],
    # At a fixed key a variate is no smooth function of its shape, so its implicit derivative is not
    # that of the differences: tests/unit/test_random_families.py compares it with the quantiles.
    "random_gamma": [
        Sample((KEY, SHAPES), {"log": False}, tol=np.inf),
        Sample((KEY, SHAPES[0]), {"log": True}, tol=np.inf),
        Sample((KEY, np.float64(1.5)), {"log": True}, tol=np.inf),
        Sample((KEY, np.empty((0, 2))), {"log": False}),
    ],
    "gamma_slope": [
        Sample((SHAPES, np.log(SHAPES) - 0.3), {"part": "value"}, order=1),
        Sample((SHAPES[0], np.float64(1.5)), {"part": "value"}, order=1),
        Sample((np.float64(30.0), np.float64(3.5)), {"part": "value"}, order=1),
        Sample((SHAPES, np.log(SHAPES)), {"part": "a"}, diff=()),
        Sample((SHAPES, np.log(SHAPES)), {"part": "y"}, diff=()),
    ],
    "random_poisson": [
        Sample((KEY, RATES), {"dtype": np.dtype(np.int32)}, diff=()),
        Sample((KEY, RATES[1, 2]), {"dtype": np.dtype(np.int64)}, diff=()),
    ],
    "random_binomial": [
        Sample((KEY, TRIALS, CHANCES), {"dtype": np.dtype(np.float64)}, diff=()),
        Sample((KEY, TRIALS[1, 0], CHANCES[1, 0]), {"dtype": np.dtype(np.float64)}, diff=()),
    ],
    "erf_inv": [
        Sample((np.array([-0.9999, -0.9, -0.3, 0.0, 0.5, 0.99]),), tol=1e-5),
        Sample((np.float64(0.25),)),
    ],
}

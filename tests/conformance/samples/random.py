"""Samples of the primitives of random numbers."""

from __future__ import annotations

import numpy as np

import funcgraph.random  # noqa: F401  (declares them)
from tests.conformance.spec import Sample

KEY = np.array([3, 42], np.uint32)
BITS = np.arange(12, dtype=np.uint32).reshape(3, 4) * np.uint32(350_000_011)

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
    "erf_inv": [
        Sample((np.array([-0.9999, -0.9, -0.3, 0.0, 0.5, 0.99]),), tol=1e-5),
        Sample((np.float64(0.25),)),
    ],
}

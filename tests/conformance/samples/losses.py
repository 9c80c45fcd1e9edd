"""Samples of the primitives of losses."""

from __future__ import annotations

import numpy as np

import funcgraph.ops.cross_entropy
from tests.conformance.spec import Sample

X = np.array([[0.3, -1.2, 2.5], [1.1, 0.0, -0.7]])
G = np.array([0.4, -1.3])
N = np.array([2, 0])
DEEP = np.linspace(-2, 3, 24).reshape(2, 3, 4)

SAMPLES: dict[str, list[Sample]] = {
    "class_numbers": [
        Sample((N,), {"classes": 3, "name": "f"}),
        Sample((np.array([[0, 3], [2, 2]], np.uint8),), {"classes": 4, "name": "f"}),
    ],
    "cross_entropy": [
        Sample((X, N)),
        Sample((X[0], np.int32(1))),
        Sample((DEEP, np.array([[0, 3, 1], [2, 2, 3]]))),
    ],
    "cross_entropy_slope": [
        Sample((G, X, N)),
        Sample((G[0], X[0], np.int32(1))),
        Sample((DEEP[..., 0], DEEP, np.array([[0, 3, 1], [2, 2, 3]]))),
    ],
}
assert funcgraph.ops.cross_entropy

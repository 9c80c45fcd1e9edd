"""Samples of the primitives of activation functions."""

from __future__ import annotations

import numpy as np

from tests.conformance.spec import Sample

X = np.array([[0.3, -1.2, 2.5], [4.0, -30.0, 0.7]])
FAR = np.array([-40.0, 1.0, 800.0])

SAMPLES: dict[str, list[Sample]] = {
    "relu": [Sample((X,)), Sample((X[0, 1],))],
    "sigmoid": [Sample((X,)), Sample((FAR,)), Sample((X[0, 0],))],
    "softplus": [Sample((X,)), Sample((FAR,)), Sample((X[0, 0],))],
    "softmax": [Sample((X,), {"axis": 1}), Sample((X / 5,), {"axis": 0})],
    "log_softmax": [
        Sample((X,), {"axis": 1}),
        Sample((X,), {"axis": 0}),
        Sample((FAR,), {"axis": 0}),
    ],
}  # fmt: skip

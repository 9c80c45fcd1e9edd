"""Samples of the primitives of funcgraph.transforms."""

from __future__ import annotations

import numpy as np

from tests.conformance.spec import Sample

# It has no derivative by design, though its value varies: value and shape rule only.
SAMPLES = {"stop_gradient": [Sample((np.array([0.5, -2.0]),), diff=()), Sample((1.5,), diff=())]}

"""Samples of reductions, accumulations and positions."""

from __future__ import annotations

import numpy as np

from tests.conformance.spec import Sample

RNG = np.random.default_rng(31)
M, A, V = RNG.standard_normal((3, 4)), RNG.standard_normal((2, 3, 4)), RNG.standard_normal(5)
C = M + 1j * RNG.standard_normal((3, 4))
ZEROS = np.array([[0.0, 2.0, 0.0, 3.0], [0.0, 1.5, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0]])
TIES = np.array([[1.0, 2.0, 2.0, 0.0], [3.0, 3.0, 3.0, 3.0], [1.0, 0.0, 2.0, 1.0]])

OVER_AXES = [
    Sample((x,), {"axes": axes})
    for x, axes in [(M, (0,)), (M, (1,)), (M, (0, 1)), (A, (0, 2)), (A, (1,)), (M, ())]
]
TIED = [Sample((TIES,), {"axes": (1,)}, tol=np.inf, order=1), Sample((V[:1],), {"axes": (0,)})]
ALONG_AXIS = [Sample((x,), {"axis": k}) for x, k in [(M, 0), (M, 1), (A, 1), (V, 0)]]
TRUTH = [
    Sample((x,), {"axes": axes}, diff=())
    for x, axes in [(TIES, (0,)), (TIES, (0, 1)), (TIES > 1, (1,))]
]
POSITIONS = [Sample((x,), {"axis": k}, diff=()) for x, k in [(M, 0), (M, 1), (TIES, 1), (A, 2)]]

SAMPLES = {
    "reduce_prod": [
        *OVER_AXES,
        Sample((ZEROS,), {"axes": (1,)}),
        Sample((ZEROS,), {"axes": (0, 1)}),
        Sample((C,), {"axes": (1,)}),
        Sample((np.zeros((2, 0)),), {"axes": (1,)}),
    ],
    "reduce_max": [*OVER_AXES, *TIED],
    "reduce_min": [*OVER_AXES, *TIED],
    "cumsum": [*ALONG_AXIS, Sample((C,), {"axis": 1})],
    "cumprod": [*ALONG_AXIS, Sample((ZEROS,), {"axis": 1}), Sample((C,), {"axis": 0})],
    "cummax": [*ALONG_AXIS],
    "cummin": [*ALONG_AXIS],
    "cummax_position": POSITIONS,
    "cummin_position": POSITIONS,
    "argmax": POSITIONS,
    "argmin": POSITIONS,
    "argsort": POSITIONS,
    "reduce_all": TRUTH,
    "reduce_any": TRUTH,
    "count_nonzero": TRUTH,
}

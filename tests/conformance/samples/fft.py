"""Samples of the discrete Fourier transforms."""

from __future__ import annotations

import numpy as np

from tests.conformance.spec import Sample

RNG = np.random.default_rng(32)
M = RNG.standard_normal((3, 4))
C = M + 1j * RNG.standard_normal((3, 4))
NORMS = ["backward", "ortho", "forward"]

COMPLEX = [Sample((C,), {"axis": k, "norm": norm}) for k in (0, 1) for norm in NORMS]
REAL = [Sample((M,), {"axis": k, "norm": norm}) for k in (0, 1) for norm in NORMS]

SAMPLES = {
    "fft": [*COMPLEX, *REAL],
    "ifft": [*COMPLEX, *REAL],
    "rfft": REAL,
    "irfft": [
        Sample((C,), {"n": n, "axis": k, "norm": norm})
        for n, k in ((4, 0), (5, 0), (6, 1), (7, 1))
        for norm in NORMS
    ],
}

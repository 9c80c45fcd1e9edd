"""Samples of ops.fft and ops.signal: even and odd lengths, every norm, both modes."""

from __future__ import annotations

import numpy as np

from tests.conformance.spec import Sample

RNG = np.random.default_rng(32)
NORMS = ("backward", "ortho", "forward")


def real(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def cplx(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)


def transforms(make: object) -> list[Sample]:
    return [
        *[Sample((make(5),), {"axis": 0, "norm": norm}) for norm in NORMS],
        Sample((make(1),), {"axis": 0, "norm": "ortho"}),
        Sample((make(3, 4),), {"axis": 0, "norm": "backward"}),
        Sample((make(2, 6, 3),), {"axis": 1, "norm": "forward"}),
    ]


def convolutions(mode: str) -> list[Sample]:
    pairs = [
        (real(6), real(3)),
        (real(4), real(4)),
        (cplx(5), real(2)),
        (cplx(5), cplx(3)),
        (real(5), real(1)),
    ]
    if mode == "full":
        pairs.append((real(3), real(6)))
    return [Sample(pair, {"mode": mode}) for pair in pairs]


SAMPLES = {
    "fft": [*transforms(cplx), *transforms(real)],
    "ifft": [*transforms(cplx), *transforms(real)],
    "rfft": [*transforms(real), Sample((real(2, 6),), {"axis": 1, "norm": "ortho"})],
    "irfft": [
        *[Sample((cplx(4),), {"n": n, "axis": 0, "norm": m}) for n in (6, 7) for m in NORMS],
        Sample((cplx(1),), {"n": 1, "axis": 0, "norm": "backward"}),
        Sample((cplx(2, 3, 4),), {"n": 4, "axis": 1, "norm": "ortho"}),
        Sample((real(3, 4),), {"n": 5, "axis": 0, "norm": "backward"}),
    ],
    "convolve": [*convolutions("full"), *convolutions("valid")],
}

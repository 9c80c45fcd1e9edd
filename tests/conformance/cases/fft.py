"""Cases of numpy.fft: every function, cut and padded lengths, axes and norms."""

from __future__ import annotations

import numpy as np

from tests.conformance.spec import Case

RNG = np.random.default_rng(43)


def real(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def cplx(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)


M, C, A, Z = real(4, 5), cplx(4, 5), real(2, 3, 4), cplx(2, 3, 4)
NORMS = (None, "backward", "ortho", "forward")

ONE = [
    Case(f, (x,), {"n": n, "norm": norm})
    for f, x in (
        (np.fft.fft, C),
        (np.fft.ifft, C),
        (np.fft.fft, M),
        (np.fft.ifft, M),
        (np.fft.rfft, M),
        (np.fft.irfft, C),
        (np.fft.hfft, C),
        (np.fft.ihfft, M),
    )
    for n, norm in ((None, None), (3, "ortho"), (4, "forward"), (8, "backward"), (9, None))
]
OTHER_AXIS = [
    Case(f, (x, None, 0), {"norm": "ortho"})
    for f, x in (
        (np.fft.fft, C),
        (np.fft.ifft, C),
        (np.fft.rfft, M),
        (np.fft.irfft, C),
        (np.fft.hfft, C),
        (np.fft.ihfft, M),
    )
]
SEVERAL = [
    Case(f, (x,), options)
    for f, x in (
        (np.fft.fftn, Z),
        (np.fft.ifftn, Z),
        (np.fft.rfftn, A),
        (np.fft.irfftn, Z),
        (np.fft.fft2, Z),
        (np.fft.ifft2, Z),
        (np.fft.rfft2, A),
        (np.fft.irfft2, Z),
    )
    for options in (
        {},
        {"axes": (0, 1)},
        {"axes": (2, 0), "norm": "ortho"},
        {"s": (2, 6), "axes": (1, 2), "norm": "forward"},
        {"s": (4, 3), "axes": (-1, 1)},
    )
] + [
    Case(np.fft.fftn, (A,), {"s": (-1, 5), "axes": (1, 2)}, jax=False),
    Case(np.fft.irfftn, (Z,), {"s": (3, -1), "axes": (1, 2)}, jax=False),
]
SHIFTS = [
    Case(f, (x,), {"axes": axes})
    for f in (np.fft.fftshift, np.fft.ifftshift)
    for x in (M, Z)
    for axes in (None, 0, (0, 1))
]

CASES = [*ONE, *OTHER_AXIS, *SEVERAL, *SHIFTS]

"""Samples of products, solutions and factorisations of matrices."""

from __future__ import annotations

import numpy as np

from tests.conformance.spec import Sample

RNG = np.random.default_rng(30)


def real(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def cplx(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)


def regular(x: np.ndarray) -> np.ndarray:
    return x + 3 * np.eye(x.shape[-1])


def spd(x: np.ndarray) -> np.ndarray:
    return x @ np.conj(np.swapaxes(x, -1, -2)) + np.eye(x.shape[-1])


M, B, Z = regular(real(3, 3)), regular(real(2, 3, 3)), regular(cplx(3, 3))
SINGULAR = M.copy()
SINGULAR[2] = SINGULAR[0] + SINGULAR[1]
# Real eigenvalues well apart, so that differences keep order and phase.
SKEWED = np.array([[1.0, 0.3, -0.2], [0.1, 3.0, 0.4], [0.2, -0.3, 6.0]])


def pair(spec: str, x: np.ndarray, y: np.ndarray) -> Sample:
    return Sample((x, y), {"spec": spec})


SAMPLES = {
    "matmul": [
        Sample((real(3, 4), real(4, 2))),
        Sample((real(4), real(4))),
        Sample((real(3, 4), real(4))),
        Sample((real(4), real(4, 2))),
        Sample((real(2, 3, 4), real(4, 2))),
        Sample((real(3, 4), real(2, 4, 2))),
        Sample((real(2, 3, 4), real(4))),
        Sample((real(4), real(2, 4, 2))),
        Sample((real(5, 1, 3, 4), real(2, 4, 2))),
        Sample((cplx(3, 4), cplx(4, 2))),
        Sample((real(3, 4), cplx(4))),
        Sample((real(0, 4), real(4, 2))),
    ],
    "einsum_pair": [
        pair("ij,jk->ik", real(2, 3), real(3, 4)),
        pair("ij,kl->likj", real(2, 3), real(3, 4)),
        pair("bij,bj->bi", real(2, 3, 4), real(2, 4)),
        pair("ij,ij->", cplx(2, 3), cplx(2, 3)),
        pair("ij,j->ij", real(2, 3), real(3)),
    ],
    "solve": [
        Sample((M, real(3, 2))),
        Sample((B, real(2, 3, 2))),
        Sample((Z, cplx(3, 2))),
        Sample((B, real(3, 2))),
    ],
    "solve_triangular": [
        Sample((a, b), {"lower": lower})
        for lower in (True, False)
        for a, b in (
            (M, real(3, 2)),
            (M.T, real(2, 3).T),
            (B, real(2, 3, 2)),
            (Z, cplx(3, 2)),
            (B, real(3, 2)),
            (M, cplx(3, 1)),
        )
    ]
    + [
        Sample((a, b), {"lower": lower, "turned": turned, "right": right})
        for lower, turned, right in ((True, True, False), (True, False, True), (False, True, True))
        for a, b in ((M, real(3, 3)), (B, real(2, 3, 3)), (Z, cplx(3, 3)), (B, real(3, 3)))
    ],
    "inv": [Sample((M,)), Sample((B,)), Sample((Z,))],
    "det": [Sample((M,)), Sample((B,)), Sample((Z,)), Sample((SINGULAR,), order=1, jax=False)],
    "cofactor": [Sample((M,)), Sample((B,)), Sample((Z,))],
    "slogdet": [Sample((M,)), Sample((B,)), Sample((Z,)), Sample((-M,))],
    "pinv": [
        Sample((x,), {"rcond": 1e-15, "hermitian": False})
        for x in (real(4, 3), real(3, 4), real(2, 4, 3), cplx(3, 2), M)
    ],
    "cholesky": [Sample((spd(x),)) for x in (real(3, 3), real(2, 3, 3), cplx(3, 3))],
    "eigh": [Sample((spd(real(3, 3)),)), Sample((spd(real(2, 3, 3)),), jax=False)],
    "eig": [Sample((SKEWED,), jax=False)],
    "qr": [Sample((x,)) for x in (real(4, 3), real(3, 3), real(2, 4, 2), cplx(4, 3))],
    "svd": [Sample((x,), tol=1e-5) for x in (real(4, 3), real(3, 4), real(2, 3, 2), real(3, 3))],
}

# Primitives of the extra `scipy`.
SAMPLES["expm"] = [Sample((real(3, 3),)), Sample((0.5 * real(2, 2, 2),)), Sample((cplx(2, 2),))]
SAMPLES["lu"] = [Sample((M,)), Sample((Z,))]

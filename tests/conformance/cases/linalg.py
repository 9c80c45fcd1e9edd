"""Cases of numpy.linalg and of NumPy's products."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.conformance.spec import Case

RNG = np.random.default_rng(33)


def real(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def cplx(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)


def spd(x: np.ndarray) -> np.ndarray:
    return x @ np.conj(np.swapaxes(x, -1, -2)) + np.eye(x.shape[-1])


M, N, V, W = real(3, 3) + 2 * np.eye(3), real(3, 3), real(4), real(4)
B, Z, T, U = real(2, 3, 3) + 2 * np.eye(3), cplx(3, 3) + 2 * np.eye(3), real(4, 3), real(3, 4)
SPD, SPD2, HPD = spd(real(3, 3)), spd(real(2, 3, 3)), spd(cplx(3, 3))
SKEWED = np.array([[1.0, 0.3, -0.2], [0.1, 3.0, 0.4], [0.2, -0.3, 6.0]])
LA = np.linalg


def hermitian(x: Any) -> Any:
    """The Hermitian part: NumPy reads one triangle, the derivative (as JAX's) both."""
    return (x + np.conj(x.mT)) / 2


def cholesky(x: Any, upper: bool = False) -> Any:
    """The factor of the Hermitian part."""
    return LA.cholesky(hermitian(x), upper=upper)


def eigvalsh(x: Any) -> Any:
    """The eigenvalues of the Hermitian part."""
    return LA.eigvalsh(hermitian(x))


def rebuilt_svd(x: Any) -> Any:
    """A function of U, S and Vh that does not depend on the choice of basis."""
    u, s, vh = LA.svd(x, full_matrices=False)
    return (u * np.sin(s)[..., None, :]) @ vh


def rebuilt_eigh(x: Any) -> Any:
    """A function of eigenvalues and eigenvectors that does not depend on their phase."""
    w, v = LA.eigh(hermitian(x))
    return (v * np.sin(w)[..., None, :]) @ np.conj(v.mT)


def rebuilt_eig(x: Any) -> Any:
    """A function of eigenvalues and eigenvectors that does not depend on their phase."""
    w, v = LA.eig(x)
    return np.real((v * np.sin(w)[..., None, :]) @ LA.inv(v))


PRODUCTS = [
    *[Case(f, (V, W)) for f in (np.dot, np.inner, np.outer, np.vdot, np.kron, np.matmul)],
    *[Case(f, (M, N)) for f in (np.dot, np.inner, np.outer, np.vdot, np.kron, np.matmul)],
    *[Case(f, (cplx(3), cplx(3))) for f in (np.dot, np.inner, np.outer, np.vdot, np.kron)],
    Case(np.dot, (B, B)),
    Case(np.dot, (2.0, V)),
    Case(np.dot, (M, V[:3])),
    Case(np.inner, (U, real(2, 4))),
    Case(np.inner, (V, 3.0)),
    Case(np.tensordot, (real(2, 3, 4), real(4, 3, 2)), {"axes": ([1, 2], [1, 0])}),
    Case(np.tensordot, (B, N), {"axes": 1}),
    Case(np.tensordot, (V, W), {"axes": 0}),
    Case(np.kron, (U, V)),
    Case(np.cross, (M, N)),
    Case(np.cross, (M, N), {"axis": 0}),
    Case(np.cross, (V[:3], N)),
    Case(np.trace, (M,)),
    Case(np.trace, (B,), {"offset": 1, "axis1": 1, "axis2": 2}),
    Case(np.vecdot, (cplx(2, 3), cplx(2, 3))),
    Case(np.vecdot, (M, N), {"axis": 0}),
    *(
        [Case(np.matvec, (B, V[:3])), Case(np.vecmat, (cplx(3), Z))]
        if hasattr(np, "matvec")
        else []
    ),
]

EINSUMS = [
    *[
        Case(np.einsum, (s, M), diff=(1,))
        for s in ("ij->ji", "ij->i", "ij->", "ii->i", "ii", "...")
    ],
    *[
        Case(np.einsum, (s, M, N), diff=(1, 2))
        for s in ("ij,jk", "ij,jk->ki", "ij,ij->", "ij,kl->ijkl", "ii,ij->j", "ij,ij->ij", "ij,jj")
    ],
    Case(np.einsum, ("...ij,...jk->...ik", B, N), diff=(1, 2)),
    Case(np.einsum, ("i...,i...", M, N), diff=(1, 2)),
    Case(np.einsum, ("ij,jk,kl->il", M, N, U), diff=(1, 2, 3)),
    Case(np.einsum, ("ij,jk,kl->il", M, N, U), {"optimize": True}, diff=(1, 2, 3)),
    Case(np.einsum, (M, [0, 1], N, [1, 2], [0, 2]), diff=(0, 2)),
    Case(np.einsum, (M, [0, 1], N, [1, 2]), diff=(0, 2)),
    Case(np.einsum, ("ij,j->i", cplx(2, 3), cplx(3)), diff=(1, 2)),
    Case(np.einsum, ("ij,j->ij", real(2, 1), real(3)), diff=(1, 2), jax=False),
]

SOLVING = [
    Case(LA.solve, (M, N)),
    Case(LA.solve, (M, V[:3])),
    Case(LA.solve, (B, real(2, 3, 2))),
    Case(LA.solve, (Z, cplx(3))),
    *[Case(LA.inv, (x,)) for x in (M, B, Z)],
    *[Case(LA.det, (x,)) for x in (M, B, Z)],
    *[Case(LA.slogdet, (x,)) for x in (M, B, Z)],
    *[Case(LA.pinv, (x,)) for x in (T, U, cplx(3, 2))],
    Case(LA.pinv, (T,), {"rcond": 1e-10}),
    Case(LA.lstsq, (T, V), {"rcond": None}),
    Case(LA.lstsq, (T, real(4, 2)), {"rcond": None}),
    Case(LA.lstsq, (U, V[:3]), {"rcond": None}, jax=False),
    *[Case(LA.matrix_power, (M, n)) for n in (0, 1, 2, 5, -2)],
    Case(LA.multi_dot, ([V, U.T, M, V[:3]],)),
    Case(LA.multi_dot, ([M, N, U],)),
    Case(LA.tensorinv, (real(4, 2, 2),), {"ind": 1}),
    Case(LA.tensorsolve, (real(2, 2, 4), real(2, 2))),
    Case(LA.tensorsolve, (real(4, 2, 2), real(2, 2)), {"axes": (0,)}),
]

FACTORISATIONS = [
    *[Case(cholesky, (x,), jax=False) for x in (SPD, SPD2, HPD)],
    Case(cholesky, (SPD,), {"upper": True}, jax=False),
    *[Case(eigvalsh, (x,), jax=False) for x in (SPD, SPD2, HPD)],
    # Differences see one triangle only, so they are compared by shape.
    *[Case(f, (SPD,), jax=False, tol=np.inf) for f in (LA.cholesky, LA.eigh, LA.eigvalsh)],
    *[Case(rebuilt_eigh, (x,), jax=False) for x in (SPD, SPD2, HPD)],
    Case(LA.eigvals, (SKEWED,), jax=False),
    Case(LA.eig, (SKEWED,), jax=False),
    *[Case(rebuilt_eig, (x,), jax=False) for x in (SKEWED, M, B)],
    *[Case(LA.qr, (x,)) for x in (T, M, cplx(4, 3))],
    Case(LA.qr, (U,), jax=False),
    Case(LA.qr, (T,), {"mode": "r"}),
    *[Case(LA.svdvals, (x,)) for x in (T, U, B, cplx(3, 2))],
    Case(LA.svd, (T,), {"full_matrices": False}),
    Case(LA.svd, (M,)),
    Case(LA.svd, (T,), {"compute_uv": False}),
    *[Case(rebuilt_svd, (x,), jax=False) for x in (T, U, B, cplx(3, 2), cplx(2, 3))],
]

NORMS = [
    *[
        Case(LA.norm, (M, o), diff=(0,))
        for o in (None, "fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf)
    ],
    *[Case(LA.norm, (V, o), diff=(0,)) for o in (None, 1, 2, 3, 0.5, -1, np.inf, -np.inf, 0)],
    *[Case(LA.norm, (B, o), {"axis": (1, 2)}, diff=(0,)) for o in (None, "nuc", 1, 2)],
    Case(LA.norm, (B, 2), {"axis": (2, 0), "keepdims": True}),
    Case(LA.norm, (B,), {"axis": 1, "keepdims": True}),
    Case(LA.norm, (B,)),
    *[Case(LA.norm, (Z, o), diff=(0,)) for o in (None, "nuc", 1, 2)],
    Case(LA.norm, (Z, 3), {"axis": 0}),
    Case(LA.vector_norm, (B,)),
    Case(LA.vector_norm, (B,), {"axis": (0, 2), "ord": 3, "keepdims": True}),
    Case(LA.matrix_norm, (B,), {"ord": 1}),
    Case(LA.matrix_norm, (B,)),
    *[Case(LA.cond, (M, p), diff=(0,)) for p in (None, 2, -2, 1, "fro", np.inf)],
]

ALIASES = [
    Case(LA.cross, (M, N)),
    Case(LA.outer, (V, W)),
    Case(LA.tensordot, (M, N)),
    Case(LA.vecdot, (M, N)),
    Case(LA.matmul, (M, N)),
    Case(LA.diagonal, (B,), {"offset": 1}),
    Case(LA.trace, (B,)),
    Case(LA.matrix_transpose, (B,)),
]

CASES = [*PRODUCTS, *EINSUMS, *SOLVING, *FACTORISATIONS, *NORMS, *ALIASES]

"""Samples of the primitives of scipy.special."""

from __future__ import annotations

import numpy as np

import funcgraph.scipy.special
from tests.conformance.spec import Sample

X = np.array([0.3, -1.2, 2.5])
P = np.array([0.4, 1.3, 2.7])  # positive
Q = np.array([[0.8], [1.6]])
U = np.array([0.15, 0.5, 0.93])  # inside (0, 1)
Z = np.array([0.6 - 0.3j, 1.1 + 0.4j])
N = np.array([1, 2, 4])


def real(*arrays: np.ndarray, jax: bool = True) -> list[Sample]:
    return [Sample((x,), jax=jax) for x in (*arrays, arrays[0][0])]


def both(*arrays: np.ndarray, jax: bool = True, order: int = 2) -> list[Sample]:
    """Return samples of a function of real and complex numbers; JAX's are often real only."""
    return [*real(*arrays, jax=jax), Sample((Z,), order=order, jax=False)]


def pairs(a: np.ndarray, b: np.ndarray, jax: bool = True) -> list[Sample]:
    return [Sample((a, b), jax=jax), Sample((a[0], b), jax=jax)]


def order(
    n: object, x: np.ndarray, jax: bool = True, position: int = 1, z: bool = False
) -> list[Sample]:
    """Return samples of a function with an order by which there is no derivative."""
    arguments = [x, Z] if z else [x]
    return [Sample((n, v), diff=(position,), jax=jax) for v in arguments]


SAMPLES: dict[str, list[Sample]] = {
    "erf": both(X),
    "erfc": both(X),
    "erfcx": both(X),
    "erfi": both(X),
    "dawsn": both(X),
    "wofz": [Sample((Z,)), Sample((X,))],
    "erfinv": real(U, -U),
    "erfcinv": real(U, 2 - U),
    "ndtr": both(X, np.array([-6.0, 0.0])),
    "ndtri": real(U),
    "log_ndtr": real(X, np.array([-30.0, -6.0, 9.0])),
    "owens_t": pairs(X, Q),
    "fresnel": both(X),
    "expit": real(X, 20 * X),
    "log_expit": real(X, 20 * X),
    "logit": real(U),
    "entr": real(P),
    "xlogy": [*pairs(X, Q), Sample((np.array([0.0, 2.0]), P[:2]))],
    "xlog1py": [*pairs(X, Q), Sample((np.array([0.0, 2.0]), P[:2]))],
    "rel_entr": pairs(P, Q),
    "kl_div": pairs(P, Q),
    "gamma": both(P, np.array([-0.4, -1.7]), order=1),
    "rgamma": both(P, order=1),
    "gammaln": real(P, np.array([-0.4, -1.7])),
    "loggamma": both(P, order=1),
    "gammasgn": [Sample((X,), diff=())],
    "psi": real(P, np.array([-0.4, -1.7])),
    "beta": pairs(P, Q),
    "betaln": pairs(P, Q),
    "poch": pairs(P, Q),
    "binom": pairs(P + 2, Q),
    "zeta": [
        Sample((P + 1.1, Q), tol=1e-5, jax=False),
        Sample((P + 1.1, Q), order=1),
        Sample((2, P), diff=(1,)),
    ],
    "riemann_zeta": real(P + 1.1, jax=False),
    "gammainc": [
        Sample((P, Q), order=1),
        Sample((np.array([0.2, 6.0, 30.0]), np.array([0.7, 5.0, 41.0])), order=1),
        Sample((P, Q), diff=(1,)),
    ],
    "gammaincc": [Sample((P, Q), order=1), Sample((P, Q), diff=(1,))],
    "gammaincinv": order(P, U, jax=False),
    "betainc": [Sample((P, Q, 0.3), diff=(2,)), Sample((2.0, 1.5, U), diff=(2,))],
    "betaincinv": [Sample((2.0, 1.5, U), diff=(2,), jax=False)],
    "gammainc_slope": [Sample((P, Q), diff=(1,), jax=False)],
    "exp1": both(P),
    "expi": both(X, jax=True),
    "expn": [*order(2, P), *order(N, P), *order(0, P, jax=False)],
    "exprel": real(X, np.array([0.0, 1e-5, -4.0])),
    "sici": both(P, jax=False),
    "spence": [*real(P, np.array([0.02, 7.0])), Sample((np.array([1.0, 1.0001]),), jax=False)],
    "boxcox": [*pairs(P, Q), Sample((P, np.array([0.0, 1e-6, -1.0])), jax=False)],
    "boxcox1p": [*pairs(P, Q), Sample((P, np.array([0.0, 1e-6, -1.0])), jax=False)],
    "inv_boxcox": pairs(P, Q, jax=False),
    "inv_boxcox1p": pairs(P, Q, jax=False),
    "huber": pairs(P, Q + 0.5, jax=False),
    "pseudo_huber": pairs(P, Q, jax=False),
    "hyper_slope": [
        *(Sample((P, 1.7, X), {"which": k}, diff=(2,), jax=False) for k in range(2)),
        *(Sample((P, 1.7, 0.8, U), {"which": k}, diff=(3,), jax=False) for k in range(3)),
    ],
    "hyp1f1": [
        Sample((P, 1.7, X), order=1),
        Sample((P, 1.7, X), diff=(2,)),
        Sample((P, Q, X), order=1),
        Sample((P, 1.7, Z[0]), diff=(2,), jax=False),
    ],
    "hyp2f1": [
        Sample((P, 1.7, 0.8, 0.5 * U), order=1),
        Sample((P, 1.7, 0.8, U), diff=(3,)),
        Sample((P, 1.7, 0.8, -3 * U), diff=(3,), jax=False),
    ],
    "ellipk": real(U, -3 * U, np.array([0.0]), jax=False),
    "ellipe": real(U, -3 * U, np.array([0.0]), jax=False),
    "i0": [*real(X), Sample((np.array([0.0, 9.0]),), jax=False)],
    "i1": real(X, np.array([0.0, 9.0])),
    "i0e": real(X, 9 * X),
    "i1e": real(X, 9 * X),
    "j0": real(X, jax=False),
    "j1": real(X, jax=False),
    "y0": real(P, jax=False),
    "y1": real(P, jax=False),
    "k0": real(P, jax=False),
    "k1": real(P, jax=False),
    "k0e": real(P, jax=False),
    "k1e": real(P, jax=False),
    "jv": [*order(1.5, P, jax=False, z=True), *order(N, X, jax=False)],
    "yv": order(1.5, P, jax=False, z=True),
    "yn": order(2, P, jax=False),
    "iv": [*order(1.5, P, jax=False, z=True), *order(2, X, jax=False)],
    "kv": order(1.5, P, jax=False, z=True),
    "kn": order(2, P, jax=False),
    "airy": both(X, jax=False),
    "cosm1": real(X),
    "exp10": real(X),
    "sph_harm_y": [Sample((3, m, P[:2], X[:2]), diff=(2, 3), jax=False) for m in (-3, -1, 0, 2)],
}
assert funcgraph.scipy.special

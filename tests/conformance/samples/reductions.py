"""Samples of ops.reductions: zeros in products, ties, every axis."""

from __future__ import annotations

import numpy as np

from tests.conformance.spec import Sample

RNG = np.random.default_rng(31)


def real(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def cplx(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)


M, C, V, A = real(3, 4), cplx(3, 4), real(5), real(2, 3, 4)
ONE_ZERO = M * (np.arange(12).reshape(3, 4) != 5)
ZEROS = M * (np.arange(12).reshape(3, 4) % 5 != 0)
TIES = np.array([[1.0, 3.0, 3.0, 2.0], [3.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
ORDER = np.argsort(real(3, 4), axis=1)


def reductions(x: np.ndarray, **options: object) -> list[Sample]:
    return [Sample((x,), {"axes": axes}, **options) for axes in ((0,), (1,), (0, 1))]


def running(x: np.ndarray, **options: object) -> list[Sample]:
    return [Sample((x,), {"axis": axis}, **options) for axis in (0, 1)]


def constant(x: np.ndarray, **attrs: object) -> Sample:
    return Sample((x,), attrs, diff=())


# At a tie differences see a kink: values, both modes against each other, and JAX are compared.
KINK = {"tol": np.inf, "order": 1}

PRODUCTS = [
    *reductions(M),
    *reductions(C),
    *reductions(ONE_ZERO),
    *reductions(ZEROS, tol=1e-5),
    Sample((A,), {"axes": (0, 2)}),
    Sample((A,), {"axes": (2, 0)}),
    Sample((M,), {"axes": ()}),
    Sample((np.array(2.0),), {"axes": ()}),
    Sample((real(1),), {"axes": (0,)}),
    Sample((real(2),), {"axes": (0,)}),
    Sample((np.zeros((0, 3)),), {"axes": (0,)}),
    Sample((np.zeros((0, 3)),), {"axes": (1,)}),
    Sample((np.arange(1, 4),), {"axes": (0,)}),
]
EXTREMES = [
    *reductions(M),
    *reductions(TIES, **KINK),
    Sample((A,), {"axes": (0, 2)}),
    Sample((A,), {"axes": (2, 0)}),
    Sample((C,), {"axes": (0,)}, jax=False),
    Sample((M,), {"axes": ()}),
    Sample((np.array(2.0),), {"axes": ()}),
    Sample((np.arange(3),), {"axes": (0,)}),
]
RUNNING = [
    *running(M),
    *running(TIES, **KINK),
    *running(TIES[:, ::-1].copy(), **KINK),
    Sample((A,), {"axis": 1}),
    Sample((real(7),), {"axis": 0}),
    Sample((real(1),), {"axis": 0}),
    Sample((np.zeros((0, 3)),), {"axis": 0}, jax=False),
]
# JAX has no rule for the positions of complex numbers, which NumPy orders.
COMPLEX = [
    constant(np.array([[1 + 2j, 1 - 7j, 3 - 1j], [3 + 1j, 0.0, 3 + 1j]]), axis=axis)
    for axis in (0, 1)
]
POSITIONS = [constant(V, axis=0), *[constant(TIES, axis=k) for k in (0, 1)], constant(A, axis=1)]
TRUTH = [constant(TIES, axes=axes) for axes in ((0,), (1,), (0, 1), ())]

SAMPLES = {
    "reduce_prod": PRODUCTS,
    "reduce_max": EXTREMES,
    "reduce_min": EXTREMES,
    "cumsum_back": [*running(M), Sample((A,), {"axis": 1}), Sample((V,), {"axis": 0})],
    "cumsum": [*running(M), *running(C), Sample((A,), {"axis": 1}), Sample((V,), {"axis": 0})],
    "cumprod": [
        *running(M),
        *running(C),
        *running(ONE_ZERO),
        *running(ZEROS),
        *[Sample((real(n),), {"axis": 0}) for n in (1, 2, 5, 8)],
        Sample((np.zeros((0, 3)),), {"axis": 0}),
    ],
    "cummax": RUNNING,
    "cummin": RUNNING,
    "permute_along": [
        Sample((M, ORDER), {"axis": 1}),
        Sample((C, ORDER), {"axis": 1}),
        Sample((V, np.array([3, 1, 0, 4, 2])), {"axis": 0}),
        Sample((A, np.argsort(real(2, 3, 4), axis=0)), {"axis": 0}),
    ],
    "argsort": POSITIONS,
    "argpartition": [constant(V[:3], kth=1, axis=0), constant(np.array([2.0, 1.0]), kth=0, axis=0)],
    "partition_order": [Sample((V,), {"kth": 2, "axis": 0}, diff=(), jax=False)],
    "lexsort": [
        Sample((V, real(5)), {"axis": 0}, diff=()),
        Sample((TIES, M), {"axis": 1}, diff=()),
    ],
    "argmax": [*POSITIONS, *COMPLEX],
    "argmin": [*POSITIONS, *COMPLEX],
    "nanargmax": [*POSITIONS, *COMPLEX, constant(np.array([[1.0, np.nan, 2.0]]), axis=1)],
    "nanargmin": [*POSITIONS, *COMPLEX, constant(np.array([[1.0, np.nan, 2.0]]), axis=1)],
    "reduce_all": TRUTH,
    "reduce_any": TRUTH,
    "count_nonzero": TRUTH,
}

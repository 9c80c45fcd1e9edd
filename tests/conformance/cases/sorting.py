"""Cases of sorted arrays and of order statistics: every method of quantiles, nan, ties."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.conformance.spec import Case

RNG = np.random.default_rng(42)


def real(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def cplx(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)


M, C, V, A = real(3, 4), cplx(3, 4), real(7), real(2, 3, 4)
NAN = np.where(RNG.random((3, 4)) < 0.3, np.nan, M)
NAN[:, 0] = [0.5, -0.2, 0.1]
TIES = np.array([[1.0, 3.0, 3.0, 1.0], [3.0, 1.0, 1.0, 1.0]])
Q, QS = np.array(0.37), np.array([0.12, 0.45, 0.83])
KINK = {"tol": np.inf, "order": 1}

IN_JAX = ("linear", "lower", "higher", "midpoint", "nearest", "inverted_cdf")
ONLY_IN_NUMPY = (
    "averaged_inverted_cdf",
    "closest_observation",
    "interpolated_inverted_cdf",
    "hazen",
    "weibull",
    "median_unbiased",
    "normal_unbiased",
)

SORTS = [
    *[Case(np.sort, (x,), {"axis": axis}) for x in (M, A, C) for axis in (0, -1, None)],
    Case(np.sort, (V,)),
    Case(np.sort, (NAN,)),
    Case(np.sort, (TIES,), **KINK),
    Case(np.sort, (M,), {"stable": True}),
    *[Case(np.partition, (x, 1), {"axis": k}, jax=False) for x in (M, A) for k in (0, -1, None)],
    Case(np.partition, (V, (1, 4)), jax=False),
    Case(np.partition, (np.array([3.0, 1.0, 2.0]), 1)),
    Case(np.sort_complex, (V,)),
    Case(np.sort_complex, (C,)),
]


WEIGHTS = np.abs(real(3, 4)) + 0.1


def weighted(f: Any, x: np.ndarray, top: float) -> list[Case]:
    options: list[dict[str, Any]] = [
        {"axis": None, "weights": WEIGHTS},
        {"axis": 1, "weights": WEIGHTS, "keepdims": True},
        {"axis": (1, 0), "weights": WEIGHTS.T},
    ]
    if f in (np.quantile, np.percentile):  # NumPy's nan-functions fail for weights of one axis
        options.append({"axis": 0, "weights": np.array([0.0, 2.0, 1.0])})
    return [
        Case(f, (x, q * top), {"method": "inverted_cdf", **o}, diff=(0,), jax=False)
        for o in options
        for q in (Q, QS, np.array([0.0, 1.0]))
    ]


def quantiles(f: Any, x: np.ndarray, top: float, methods: tuple[str, ...], jax: Any) -> list[Case]:
    return [
        Case(f, (x, q * top), {"axis": axis, "method": m}, diff=(0,), jax=jax)
        for m in methods
        for q in (Q, QS)
        for axis in (None, 0)
    ]


def variants(f: Any, x: np.ndarray, top: float) -> list[Case]:
    return [
        Case(f, (x, Q * top)),
        Case(f, (x, QS * top, 1)),
        Case(f, (x, 0.5 * top), {"axis": (0, 1)}, diff=(0,)),
        Case(f, (x, 0.25 * top), {"axis": -1, "keepdims": True}, diff=(0,)),
        Case(f, (x, np.array([0.0, top])), {"axis": (-1, 0), "keepdims": True}, diff=(0,)),
        Case(f, (x, QS * top, 0), {"keepdims": True}, diff=(0,)),
    ]


QUANTILES = [
    *quantiles(np.quantile, M, 1, IN_JAX, None),
    *quantiles(np.quantile, M, 1, ONLY_IN_NUMPY, False),
    *quantiles(np.percentile, A, 100, ("linear", "midpoint"), None),
    *quantiles(np.nanquantile, NAN, 1, IN_JAX[:4], None),
    *quantiles(np.nanquantile, NAN, 1, ("nearest", "inverted_cdf", *ONLY_IN_NUMPY), False),
    *quantiles(np.nanpercentile, NAN, 100, ("linear", "lower"), None),
    *variants(np.quantile, M, 1),
    *variants(np.percentile, M, 100),
    *variants(np.nanquantile, NAN, 1),
    *variants(np.nanpercentile, NAN, 100),
    *weighted(np.quantile, M, 1),
    *weighted(np.percentile, M, 100),
    *weighted(np.nanquantile, NAN, 1),
    *weighted(np.nanpercentile, NAN, 100),
    Case(np.quantile, (A, QS, (0, 2)), diff=(0,)),
    Case(np.quantile, (M, np.array([[0.1, 0.2], [0.3, 0.4]]), 0), jax=False),
    Case(np.quantile, (M, np.array([0.1, 0.2, 0.3, 0.4]), 0)),
    Case(np.nanquantile, (NAN, np.array([0.1, 0.2, 0.3, 0.4]), 0)),
    Case(np.quantile, (M, Q), {"method": "hazen"}, jax=False),
    Case(np.quantile, (TIES, 0.5, 1), diff=(0,), **KINK),
    Case(np.quantile, (NAN, 0.3, 0), diff=(0,)),
    Case(np.quantile, (V, [0.25, 0.5]), diff=(0,), jax=False),
]

MEDIANS = [
    Case(f, (x,), options)
    for f in (np.median, np.nanmedian)
    for x in (M, A, NAN)
    for options in (
        {},
        {"axis": 0},
        {"axis": -1, "keepdims": True},
        {"axis": (0, 1)},
        {"keepdims": True},
    )
] + [
    Case(np.median, (V,)),
    Case(np.nanmedian, (V,)),
    Case(np.median, (TIES,), {"axis": 1}, **KINK),
    Case(np.median, (TIES,), {"axis": 0}, **KINK),
]

CASES = [*SORTS, *QUANTILES, *MEDIANS]

"""Cases of sums, products, extremes, moments, accumulations and order statistics."""

from __future__ import annotations

import numpy as np

from tests.conformance.spec import Case

RNG = np.random.default_rng(34)


def real(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


M, A, V = real(3, 4), real(2, 3, 4), real(5)
C = M + 1j * real(3, 4)
MASK = np.array([[True, False, True, True], [False, True, True, False], [True, True, False, True]])
HOLES = np.where(MASK, M, np.nan)
ZEROS = M * MASK
WEIGHTS = np.abs(real(3, 4)) + 0.1

AXES = [{}, {"axis": 0}, {"axis": -1, "keepdims": True}, {"axis": (0, 1)}]
REDUCE = [np.sum, np.prod, np.mean, np.var, np.std, np.max, np.min, np.amax, np.amin, np.ptp]
NAN = [np.nansum, np.nanprod, np.nanmean, np.nanvar, np.nanstd, np.nanmax, np.nanmin]

REDUCTIONS = [
    *[Case(f, (M,), kwargs) for f in REDUCE for kwargs in AXES],
    *[Case(f, (HOLES,), kwargs) for f in NAN for kwargs in AXES],
    *[Case(f, (A,), {"axis": (0, -1)}) for f in REDUCE],
    *[Case(f, (C,), {"axis": 1}) for f in (np.sum, np.prod, np.mean, np.var, np.std)],
    *[
        Case(f, (M,), {"axis": 1, "where": MASK})
        for f in (np.sum, np.prod, np.mean, np.std, np.var)
    ],
    *[Case(f, (M,), {"axis": 0, "initial": 0.5}) for f in (np.sum, np.prod, np.max, np.min)],
    *[Case(f, (M,), {"where": MASK, "initial": 0.1}) for f in (np.max, np.min, np.sum)],
    *[Case(f, (M,), {"axis": 0, "ddof": 1}) for f in (np.var, np.std, np.nanvar, np.nanstd)],
    Case(np.var, (M,), {"axis": 1, "correction": 1}),
    Case(np.std, (M,), {"axis": 1, "mean": np.full((3, 1), 0.3)}, jax=False),
    Case(np.prod, (ZEROS,), {"axis": 1}),
    Case(np.average, (M,)),
    Case(np.average, (M,), {"axis": 1}),
    Case(np.average, (M, 1, WEIGHTS), diff=(0, 2)),
    Case(np.average, (M, 0, WEIGHTS[:, 0]), diff=(0, 2)),
    Case(np.average, (M, None, WEIGHTS), {"returned": True}, diff=(0, 2)),
    Case(np.average, (M, 0, WEIGHTS), {"keepdims": True}, diff=(0, 2)),
]

ACCUMULATIONS = [
    *[
        Case(f, (x,), kwargs)
        for f in (np.cumsum, np.cumprod, np.nancumsum, np.nancumprod)
        for x, kwargs in ((M, {}), (M, {"axis": 0}), (A, {"axis": 1}))
    ],
    Case(np.cumprod, (ZEROS,), {"axis": 1}),
    Case(np.cumsum, (C,), {"axis": 1}),
    Case(np.nancumsum, (HOLES,), {"axis": 1}),
    Case(np.cumulative_sum, (V,)),
    Case(np.cumulative_sum, (M,), {"axis": 1, "include_initial": True}),
    Case(np.cumulative_prod, (V,)),
    Case(np.cumulative_prod, (M,), {"axis": 0, "include_initial": True}),
]

ORDER = [
    *[Case(f, (M,), kwargs) for f in (np.median, np.nanmedian) for kwargs in AXES],
    Case(np.median, (V,)),
    Case(np.nanmedian, (HOLES,), {"axis": 1}),
    *[
        Case(f, (M, q), {"axis": 1, "method": method}, diff=(0,))
        for f, q in ((np.quantile, 0.3), (np.percentile, 70.0))
        for method in ("linear", "lower", "higher", "midpoint", "nearest")
    ],
    *[
        Case(np.quantile, (V, 0.3), {"method": method}, diff=(0,), jax=False)
        for method in (
            "hazen",
            "weibull",
            "median_unbiased",
            "normal_unbiased",
            "interpolated_inverted_cdf",
        )
    ],  # fmt: skip
    Case(np.quantile, (M, np.array([0.1, 0.7])), {"axis": 0}, diff=(0,)),
    Case(np.quantile, (M, np.array([0.12, 0.71])), {"axis": 0, "keepdims": True}),
    Case(np.nanquantile, (HOLES, 0.4), {"axis": 1}, diff=(0,)),
    Case(np.nanpercentile, (HOLES, 40.0), {"axis": (0, 1)}, diff=(0,)),
]

SORTING = [
    *[Case(np.sort, (M,), {"axis": k}) for k in (-1, 0)],
    Case(np.sort, (M,), {"axis": None}),
    Case(np.sort, (C,), {"axis": 1}),
    Case(np.partition, (V, 2), jax=False),
    Case(np.sort_complex, (C[0],)),
    Case(np.sort_complex, (V,), jax=False),
]

CASES = [*REDUCTIONS, *ACCUMULATIONS, *ORDER, *SORTING]

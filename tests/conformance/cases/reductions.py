"""Cases of sums, products, extremes, moments and running totals; the same skipping nan."""

from __future__ import annotations

from typing import Any

import numpy as np

import funcgraph.numpy as fnp
from tests.conformance.spec import Case

RNG = np.random.default_rng(41)


def real(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def cplx(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)


M, C, V, A, S = real(3, 4), cplx(3, 4), real(4), real(2, 3, 4), np.array(0.7)
W = np.abs(real(3, 4)) + 0.1
MASK = np.array([[1, 0, 1, 1], [1, 1, 0, 1], [0, 1, 1, 1]], dtype=bool)
ROW = np.array([True, False, True, True])
NAN = np.where(MASK, M, np.nan)
CNAN = np.where(MASK, C, np.nan)
TIES = np.array([[1.0, 3.0, 3.0], [3.0, 1.0, 1.0]])
ZEROS = M * MASK

AXES: list[dict[str, Any]] = [
    {},
    {"axis": 0},
    {"axis": -1},
    {"axis": (0, 1)},
    {"axis": (-1, 0), "keepdims": True},
    {"axis": 1, "keepdims": True},
    {"keepdims": True},
    {"axis": ()},
]
FEW_AXES = [AXES[k] for k in (0, 1, 4, 5)]
KINK = {"tol": np.inf, "order": 1}


def over_axes(f: Any, x: np.ndarray, **more: Any) -> list[Case]:
    return [Case(f, (x,), {**axes, **more}) for axes in AXES]


def over_few_axes(f: Any, x: np.ndarray, **more: Any) -> list[Case]:
    return [Case(f, (x,), {**axes, **more}) for axes in FEW_AXES]


def of_list(name: str) -> Case:
    """Return a case of a list of arrays, which plain NumPy does not hand to tracers."""
    f = getattr(fnp, name)
    call = lambda x, y: f([x, y, x], axis=0)
    call.__name__ = f"{name} of a list"
    return Case(call, (V, M[0]), jax=False)


SUMS = [
    *over_axes(np.sum, M),
    *over_few_axes(np.sum, M, where=MASK),
    *over_axes(np.prod, M),
    *over_few_axes(np.prod, M, where=MASK),
    *[Case(f, (C,), {"axis": 1}) for f in (np.sum, np.prod)],
    *[Case(f, (A,), {"axis": (0, 2)}) for f in (np.sum, np.prod)],
    *[Case(f, (M,), {"axis": 0, "initial": 2.5}) for f in (np.sum, np.prod)],
    *[Case(f, (M,), {"where": ROW, "axis": 1, "initial": 2.0}) for f in (np.sum, np.prod)],
    *[Case(f, (M,), {"dtype": np.complex128}) for f in (np.sum, np.prod)],
    *[Case(f, (M, None, np.dtype(np.float64)), diff=(0,)) for f in (np.sum, np.prod)],
    *[Case(f, (np.zeros((0, 3)),), {"axis": 0}) for f in (np.sum, np.prod)],
    *[Case(f, (S,)) for f in (np.sum, np.prod)],
    *[of_list(name) for name in ("sum", "prod", "mean", "max", "std")],
    Case(np.prod, (ZEROS,), {"axis": 0}),
    Case(np.prod, (ZEROS,), {"axis": 1}),
    Case(np.prod, (ZEROS,)),
]

EXTREMES = [
    *[case for f in (np.max, np.min, np.ptp) for case in over_axes(f, M)],
    *[
        case
        for f in (np.max, np.min, np.amax, np.amin)
        for case in (
            Case(f, (A,), {"axis": (0, 2)}),
            Case(f, (M,), {"initial": 0.1, "axis": 0}),
            Case(f, (M,), {"initial": -0.1, "where": MASK, "axis": 1}),
            Case(f, (TIES,), {"axis": 0, "initial": 3.0}, **KINK),
            Case(f, (TIES,), **KINK),
            Case(f, (TIES,), {"axis": 1}, **KINK),
            Case(f, (np.zeros((0, 2)),), {"axis": 0, "initial": 1.0, "keepdims": True}),
            Case(f, (S,)),
        )
    ],
    Case(np.max, (C,), jax=False),
    Case(np.min, (C, 0), jax=False),
    Case(np.ptp, (TIES,), {"axis": 1}, **KINK),
]

MOMENTS = [
    *[case for f in (np.mean, np.var, np.std) for case in over_axes(f, M)[:-1]],
    *[case for f in (np.mean, np.var, np.std) for case in over_few_axes(f, M, where=MASK)],
    *[Case(f, (C,), {"axis": 0}) for f in (np.mean, np.var, np.std)],
    *[Case(f, (A,), {"axis": (0, 2)}) for f in (np.mean, np.var, np.std)],
    *[Case(f, (M,), {"dtype": np.float64}) for f in (np.mean, np.var, np.std)],
    Case(np.mean, (M,), {"dtype": np.complex128}),
    Case(np.mean, (S,)),
    *[Case(f, (M,), {"ddof": 1}) for f in (np.var, np.std)],
    *[Case(f, (C, 1), {"ddof": 1, "keepdims": True}) for f in (np.var, np.std)],
    *[Case(f, (M,), {"axis": 0, "correction": 1}) for f in (np.var, np.std)],
    *[Case(f, (M,), {"axis": 1, "where": MASK, "ddof": 1}) for f in (np.var, np.std)],
    *[
        Case(f, (M,), {"axis": 1, "mean": real(3, 1)}, jax="jax.numpy." + f.__name__)
        for f in (np.var, np.std)
    ],
    Case(np.average, (M,)),
    Case(np.average, (M, 0)),
    Case(np.average, (M, (0, 1)), {"keepdims": True}),
    Case(np.average, (M, None, W)),
    Case(np.average, (M, 1, W)),
    Case(np.average, (M, 0, W[:, 0])),
    Case(np.average, (M, 1, W[0]), {"keepdims": True}),
    Case(np.average, (C, -1, W[0])),
    Case(np.average, (A, (2, 0), np.abs(real(4, 2)) + 0.1), jax=False),
    Case(np.average, (M, 1, W[0], True)),
    Case(np.average, (M, 0, None, True)),
    Case(np.average, (np.arange(4), 0, W[0]), diff=(2,)),
]

RUNNING = [
    *[
        Case(f, (x,), {"axis": axis})
        for f in (np.cumsum, np.cumprod)
        for x in (M, C)
        for axis in (None, 0, -1)
    ],
    *[Case(np.cumprod, (ZEROS,), {"axis": axis}) for axis in (None, 0, 1)],
    *[Case(f, (M, 1), {"dtype": np.complex128}) for f in (np.cumsum, np.cumprod)],
    *[
        Case(f, (x,), options)
        for f in (np.cumulative_sum, np.cumulative_prod)
        for x, options in (
            (V, {}),
            (V, {"include_initial": True}),
            (M, {"axis": 0, "include_initial": True}),
            (C, {"axis": -1}),
            (V, {"dtype": np.complex128}),
        )
    ],
]

SKIPPING = [
    *[
        case
        for f in (np.nansum, np.nanprod, np.nanmax, np.nanmin, np.nanmean, np.nanvar, np.nanstd)
        for case in over_few_axes(f, NAN)
    ],
    *[Case(f, (M,), {"axis": 0}) for f in (np.nansum, np.nanprod, np.nanmean, np.nanvar)],
    *[Case(f, (CNAN,), {"axis": 0}) for f in (np.nansum, np.nanprod, np.nanmean, np.nanvar)],
    *[Case(f, (NAN,), {"axis": 1, "where": ROW}) for f in (np.nansum, np.nanprod, np.nanmean)],
    *[Case(f, (NAN,), {"initial": 1.5, "axis": 0}) for f in (np.nansum, np.nanprod)],
    *[Case(f, (NAN,), {"initial": 0.1, "axis": 0}) for f in (np.nanmax, np.nanmin)],
    *[Case(f, (NAN,), {"initial": 0.1, "where": ROW, "axis": 1}) for f in (np.nanmax, np.nanmin)],
    *[Case(f, (NAN,), {"ddof": 1, "axis": 0}) for f in (np.nanvar, np.nanstd)],
    *[Case(f, (NAN,), {"correction": 1, "axis": 1}, jax=False) for f in (np.nanvar, np.nanstd)],
    *[Case(f, (NAN,), {"where": ROW, "axis": 1}) for f in (np.nanvar, np.nanstd)],
    *[Case(f, (NAN,), {"axis": k}) for f in (np.nancumsum, np.nancumprod) for k in (None, 0, 1)],
]

CASES = [*SUMS, *EXTREMES, *MOMENTS, *RUNNING, *SKIPPING]

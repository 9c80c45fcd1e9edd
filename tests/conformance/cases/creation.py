"""Cases of NumPy's chapter "Array creation": from data, filled arrays, ranges, matrices, blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import funcgraph.numpy as fnp
from tests.conformance.spec import Case

RNG = np.random.default_rng(21)


def real(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def cplx(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)


M, N, C, V, W = real(3, 4), real(3, 4), cplx(3, 4), real(4), real(4)
S, T = np.array(0.7), np.array(2.5)


def built(name: str, f: Callable[..., Any], *args: Any) -> Case:
    """Return a case of a function that plain NumPy does not hand to tracers: fnp has it alone."""
    f.__name__ = name
    return Case(f, args, jax=False)


CASES = [
    # from data
    built("array of scalars", lambda x, y: fnp.array([x, y, 1.0]), S, T),
    built("array of lists", lambda x, y: fnp.array([[x, y], [y, 2]]), S, T),
    built("array of arrays", lambda x, y: fnp.array([(x, y), (y, V)]), V, W),
    built("array, dtype", lambda x: fnp.array([x], dtype=complex), V),
    built("array, ndmin", lambda x: fnp.array(x, ndmin=3), V),
    built("asarray", lambda x: fnp.asarray([x[0], x[1] * 2]), C),
    built("asarray, dtype", lambda x: fnp.asarray(x, dtype=complex), V),
    built("asanyarray", lambda x: fnp.asanyarray(x), V),
    built("ascontiguousarray", lambda x: fnp.ascontiguousarray(x), S),
    built("asfortranarray", lambda x: fnp.asfortranarray([x, x]), V),
    built("asarray_chkfinite", lambda x: fnp.asarray_chkfinite([x, x]), V),
    built("require", lambda x: fnp.require([x, x]), V),
    built("full", lambda x: fnp.full((2, 3, 4), x), V),
    built("full, dtype", lambda x: fnp.full(3, x, complex), S),
    Case(np.astype, (V, np.complex128), diff=(0,)),
    Case(np.astype, (V, np.float64), diff=(0,)),
    Case(np.copy, (M,)),
    Case(np.copy, (C,)),
    # filled
    built("full_like a constant", lambda x: fnp.full_like(M, x), S),
    built("full_like, dtype", lambda x: fnp.full_like(C, x, float, shape=(2, 2)), S),
    Case(np.full_like, (M, V), diff=(0, 1)),
    # ranges
    Case(np.linspace, (S, T, 5)),
    Case(np.linspace, (S, T), {"num": 5, "endpoint": False}),
    Case(np.linspace, (S, T, 1)),
    Case(np.linspace, (S, T, 0)),
    Case(np.linspace, (S, T, 4), {"retstep": True}),
    Case(np.linspace, (S, T, 1), {"retstep": True, "endpoint": False}),
    Case(np.linspace, (V, W, 5)),
    Case(np.linspace, (M, V, 3), {"axis": -1}),
    Case(np.linspace, (M, V, 3), {"axis": 1, "endpoint": False}),
    Case(np.linspace, (C, M, 3), jax=False),
    Case(np.linspace, (0, T, 4)),
    Case(np.linspace, (V, 1.0, 4)),
    Case(np.logspace, (S, T, 5)),
    Case(np.logspace, (S, T), {"num": 4, "endpoint": False, "base": 2.0}),
    Case(np.logspace, (S, T, 3, True, np.array(3.0)), diff=(0, 1, 4)),
    Case(np.logspace, (V, W, 3), {"axis": 1}),
    Case(np.logspace, (S, T, 3, True, np.array([2.0, 3.0]), None, -1), diff=(0, 1, 4), jax=False),
    Case(np.geomspace, (S, T, 5)),
    Case(np.geomspace, (S, T), {"num": 4, "endpoint": False}),
    Case(np.geomspace, (-S, -T, 4)),
    Case(np.geomspace, (S, T, 1)),
    Case(np.geomspace, (np.abs(M), np.abs(V), 3), {"axis": 1}),
    Case(np.geomspace, (np.array(1 + 2j), np.array(3 - 1j), 4), jax=False),
    # matrices
    Case(np.diag, (V,)),
    Case(np.diag, (V, 2)),
    Case(np.diag, (C[0], -1)),
    Case(np.diag, (M,)),
    Case(np.diag, (C, 1)),
    Case(np.diag, (M, -2)),
    Case(np.diag, (M, 5), jax=False),
    Case(np.diagflat, (M,)),
    Case(np.diagflat, (V, -2)),
    built("diagflat of a list", lambda x, y: fnp.diagflat([x, y], 1), V, W),
    Case(np.diagonal, (M,)),
    Case(np.diagonal, (M, 1)),
    Case(np.diagonal, (C, -2)),
    Case(np.diagonal, (real(2, 3, 4), -1, 2, 0)),
    Case(np.diagonal, (real(2, 3, 4), 1), {"axis1": -1, "axis2": 1}),
    Case(np.diagonal, (M, 4), jax=False),
    Case(np.tril, (M,)),
    Case(np.tril, (real(2, 3, 3), -1)),
    Case(np.tril, (V, 1), jax=False),
    Case(np.triu, (C,)),
    Case(np.triu, (real(2, 4, 3),), {"k": 1}),
    Case(np.triu, (M, -1)),
    Case(np.vander, (V,)),
    Case(np.vander, (C[0], 3)),
    Case(np.vander, (V, 5), {"increasing": True}),
    Case(np.vander, (V, 1)),
    Case(np.vander, (np.array([0.0, 1.0]), 4)),
    # grids and blocks
    Case(np.meshgrid, (V, real(3))),
    Case(np.meshgrid, (V, real(3), real(2)), {"indexing": "ij"}),
    Case(np.meshgrid, (V, real(3), real(2))),
    Case(np.meshgrid, (V, C[0]), {"sparse": True}),
    Case(np.meshgrid, (V,)),
    Case(np.block, ([V, W],)),
    Case(np.block, ([[M, N], [N, M]],)),
    Case(np.block, ([[real(2, 2), real(2, 1)], [real(1, 3)]],)),
    Case(np.block, (M,)),
    Case(np.block, ([[[M]], [[C]]],)),
]

"""Cases of NumPy's chapter "Array manipulation": shapes, axes, joining, splitting, padding."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.conformance.spec import Case

RNG = np.random.default_rng(22)


def real(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def cplx(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)


M, N, C, V, W = real(3, 4), real(3, 4), cplx(3, 4), real(4), real(4)
S, A = np.array(0.7), real(2, 3, 4)


def pads(mode: str, width: Any = 2, x: Any = None, **kwargs: Any) -> Case:
    jax = kwargs.pop("jax", None)
    return Case(np.pad, (real(3) if x is None else x, width, mode), kwargs, diff=(0,), jax=jax)


SHAPES = [
    Case(np.reshape, (M, (4, 3))),
    Case(np.reshape, (C, -1)),
    Case(np.reshape, (M, (2, -1)), {"order": "F"}),
    Case(np.reshape, (A, (3, 8), "F")),
    Case(np.reshape, (M, (2, 6), "A"), jax=False),
    Case(np.reshape, (M, (3, 4)), {"copy": True}),
    Case(np.reshape, (S, (1, 1))),
    Case(np.ravel, (M,)),
    Case(np.ravel, (C, "F")),
    Case(np.expand_dims, (M, 1)),
    Case(np.expand_dims, (C, (0, -1))),
    Case(np.expand_dims, (S, (1, 0))),
    Case(np.squeeze, (real(1, 3, 1, 2),)),
    Case(np.squeeze, (cplx(1, 3, 1), 0)),
    Case(np.squeeze, (real(1, 3, 1), (-1, 0))),
    Case(np.atleast_1d, (S,)),
    Case(np.atleast_1d, (S, M)),
    Case(np.atleast_2d, (V,)),
    Case(np.atleast_2d, (S, V, A)),
    Case(np.atleast_3d, (V,)),
    Case(np.atleast_3d, (S, C, A)),
    Case(np.broadcast_to, (V, (2, 3, 4))),
    Case(np.broadcast_to, (S, 3)),
    Case(np.broadcast_arrays, (real(3, 1), V, S)),
    Case(np.broadcast_arrays, (M, C)),
]

AXES = [
    Case(np.transpose, (M,)),
    Case(np.transpose, (cplx(2, 3, 4), (1, -1, 0))),
    Case(np.transpose, (A,), {"axes": [2, 0, 1]}),
    Case(np.permute_dims, (A, (2, 0, 1)), jax="jax.numpy.permute_dims"),
    Case(np.matrix_transpose, (A,)),
    Case(np.swapaxes, (A, 0, -1)),
    Case(np.swapaxes, (C, 1, 1)),
    Case(np.moveaxis, (A, 0, -1)),
    Case(np.moveaxis, (cplx(2, 3, 4), (0, 2), (-1, 0))),
    Case(np.rollaxis, (A, 2)),
    Case(np.rollaxis, (A, 0, 3)),
    Case(np.rollaxis, (A, 1, -1)),
    Case(np.rollaxis, (A, 1, 1)),
]

JOINING = [
    Case(np.concatenate, ([M, N],)),
    Case(np.concatenate, ((M, C, M), -1)),
    Case(np.concatenate, ([M, V, S.reshape(1)], None)),
    Case(np.concatenate, ([V, W],), {"dtype": complex}, jax=False),
    Case(np.concatenate, (A,), {"axis": 1}),
    Case(np.concat, ([M, N],), {"axis": 1}, jax="jax.numpy.concat"),
    Case(np.stack, ([M, N],)),
    Case(np.stack, ([M, C, M], -1)),
    Case(np.stack, ([S, S, np.array(2.0)],)),
    Case(np.stack, (M,), {"axis": 1}),
    Case(np.vstack, ([V, M, W],)),
    Case(np.vstack, ([S, S],)),
    Case(np.hstack, ([V, real(2), S],)),
    Case(np.hstack, ([M, C],)),
    Case(np.dstack, ([M, N],)),
    Case(np.dstack, ([V, W],)),
    Case(np.column_stack, ([V, real(4, 2), W],)),
    Case(np.append, (M, V)),
    Case(np.append, (M, C), {"axis": 0}),
    Case(np.append, (V, S)),
]

SPLITTING = [
    Case(np.split, (V, 2)),
    Case(np.split, (M, [1, 3], 1)),
    Case(np.split, (C, [2, 1], -1), jax=False),
    Case(np.array_split, (real(7), 3)),
    Case(np.array_split, (M, 3, -1)),
    Case(np.array_split, (M, (1,))),
    Case(np.hsplit, (V, 2)),
    Case(np.hsplit, (C, [3])),
    Case(np.vsplit, (M, 3)),
    Case(np.dsplit, (A, 2)),
    Case(np.unstack, (M,)),
    Case(np.unstack, (A,), {"axis": -1}),
]

REPEATING = [
    Case(np.tile, (M, 2)),
    Case(np.tile, (V, (2, 1, 3))),
    Case(np.tile, (cplx(2, 3, 1), (1, 2))),
    Case(np.tile, (S, 3)),
    Case(np.tile, (M, (0, 2))),
    Case(np.repeat, (M, 3)),
    Case(np.repeat, (C, 2, 0)),
    Case(np.repeat, (A, 2, -1)),
    Case(np.repeat, (M, np.array([1, 0, 2]), 0)),
    Case(np.repeat, (V, np.array([2, 0, 1, 3]))),
    Case(np.repeat, (V, np.array([2]))),
    Case(np.repeat, (S, 3)),
    Case(np.resize, (M, (2, 3))),
    Case(np.resize, (V, (3, 3))),
    Case(np.resize, (C, 30)),
    Case(np.resize, (V, ())),
]

REARRANGING = [
    Case(np.flip, (M,)),
    Case(np.flip, (A, 1)),
    Case(np.flip, (cplx(2, 3, 4), (0, -1))),
    Case(np.fliplr, (M,)),
    Case(np.flipud, (A,)),
    *[Case(np.rot90, (M, k)) for k in (-1, 0, 1, 2, 3, 5)],
    Case(np.rot90, (cplx(2, 3, 4),), {"k": 1, "axes": (2, 0)}),
    Case(np.rot90, (A,), {"k": 3, "axes": (-2, -1)}),
    Case(np.roll, (V, 1)),
    Case(np.roll, (M, -3)),
    Case(np.roll, (C, 5, 1)),
    Case(np.roll, (A, (1, -1), (0, 2))),
    Case(np.roll, (A, 1, (1, 2))),
    Case(np.roll, (V, (1, 2), 0)),
    Case(np.delete, (V, 1)),
    Case(np.delete, (M, np.array([0, -1]), 1)),
    Case(np.delete, (M, slice(0, 2), 0)),
    Case(np.delete, (C, 3)),
    Case(np.delete, (V, np.array([True, False, False, True])), jax=False),
    Case(np.insert, (V, 1, S)),
    Case(np.insert, (V, np.array([0, 2, 4]), np.array([1.0, 2.0, 3.0]))),
    Case(np.insert, (V, np.array([2, 2]), real(2))),
    Case(np.insert, (V, 2, real(3))),
    Case(np.insert, (M, 1, V, 0)),
    Case(np.insert, (M, -1, real(3), 1)),
    Case(np.insert, (M, [1], real(3, 2), 1), jax=False),
    Case(np.insert, (C, np.array([1, 3]), cplx(3, 2), 1)),
    Case(np.insert, (M, slice(0, 3, 2), S, 0)),
    Case(np.insert, (M, 3, real(2))),
    Case(np.trim_zeros, (V,), jax=False),
]

PADDING = [
    pads("constant"),
    pads("constant", ((1, 0), (2, 3)), C),
    pads("constant", (1, 2), M, constant_values=2.5),
    pads("constant", 1, M, constant_values=((1.0, 2.0), (3.0, 4.0))),
    *[pads(mode) for mode in ("edge", "linear_ramp", "reflect", "symmetric", "wrap")],
    *[pads(mode) for mode in ("maximum", "mean", "median", "minimum")],
    *[pads(mode, 7) for mode in ("reflect", "symmetric", "wrap")],
    *[pads(mode, ((1, 2), (0, 3)), M) for mode in ("edge", "reflect", "symmetric", "wrap")],
    *[pads(mode, ((1, 2), (0, 3)), C) for mode in ("edge", "reflect", "linear_ramp", "mean")],
    *[pads(mode, ((1, 2), (0, 3)), M) for mode in ("maximum", "mean", "median", "minimum")],
    *[pads(mode, ((2, 1), (1, 0)), M, stat_length=2) for mode in ("maximum", "mean", "median")],
    pads("minimum", 1, M, stat_length=((1, 2), (3, 9))),
    pads("linear_ramp", ((1, 2), (0, 3)), M, end_values=((1.0, -1.0), (5.0, 2.0))),
    pads("reflect", 2, V, reflect_type="odd"),
    pads("reflect", (8, 5), real(3), reflect_type="odd"),
    pads("symmetric", ((1, 3), (9, 0)), M, reflect_type="odd"),
    pads("reflect", 3, real(1), reflect_type="odd", jax=False),
    pads("reflect", ((2, 1), (0, 0)), real(2, 2), reflect_type="odd"),
    Case(np.pad, (S, 1)),
]

CASES = [*SHAPES, *AXES, *JOINING, *SPLITTING, *REPEATING, *REARRANGING, *PADDING]

"""Cases of NumPy's chapter "Indexing routines": take and its kin, where, choose, select."""

from __future__ import annotations

from typing import Any

import numpy as np

import funcgraph.numpy as fnp
from tests.conformance.spec import Case

RNG = np.random.default_rng(23)


def real(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def cplx(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)


M, N, C, V = real(3, 4), real(3, 4), cplx(3, 4), real(5)
S, A = np.array(0.7), real(2, 3, 4)
MASK = np.array([[True, False, True, True], [False] * 4, [True, False, False, True]])
AT = np.array([[0, 2], [-1, 2]])
FAR = np.array([-7, -1, 4, 9])
ORDER = np.argsort(M, axis=1)


def read(x: Any, index: Any) -> Case:
    """Return a case of x[index]."""

    def getitem(x: Any) -> Any:
        return x[index]

    return Case(getitem, (x,), jax=False)


def scaled(x: Any, by: float, p: int = 1) -> Any:
    return by * x**p


def pure(name: str, *args: Any, diff: tuple[int, ...]) -> Case:
    """Return a case of the form that returns a new array of a function NumPy has only in place."""

    def call(*args: Any) -> Any:
        return getattr(fnp, name)(*args, inplace=False)

    call.__name__ = name
    return Case(call, args, diff=diff, jax=False)


READING = [
    Case(np.take, (V, 2)),
    Case(np.take, (M, AT)),
    Case(np.take, (M, np.array([3, 3, 0]), 1)),
    Case(np.take, (C, AT, 0)),
    Case(np.take, (A, AT), {"axis": -2}),
    Case(np.take, (V, FAR), {"mode": "wrap"}),
    Case(np.take, (M, FAR, 1), {"mode": "clip"}),
    Case(np.take, (V, np.zeros(0, int))),
    Case(np.take, (S, np.array([0, 0]))),
    Case(np.take_along_axis, (M, ORDER, 1)),
    Case(np.take_along_axis, (C, np.array([[2, 0, 0, -1]]), 0)),
    Case(np.take_along_axis, (real(3, 1), np.array([[0, 2, 1, 1], [0] * 4]), 0)),
    Case(np.take_along_axis, (M, np.array([0, 11, -1, 0]), None)),
    Case(np.take_along_axis, (A, np.argmax(A, axis=1, keepdims=True), 1)),
    Case(np.compress, (np.array([True, False, True]), M, 0), diff=(1,)),
    Case(np.compress, ([0, 1, 1], C, 1), diff=(1,), jax=False),
    Case(np.compress, (np.array([True, False, True]), M), diff=(1,)),
    Case(np.extract, (MASK, M), diff=(1,)),
    Case(np.extract, (M > 0, C), diff=(1,)),
    Case(np.ix_, (V, real(3))),
]

CHOOSING = [
    Case(np.where, (MASK, M, N)),
    Case(np.where, (MASK, M, 0.0), diff=(1,)),
    Case(np.where, (MASK[:, :1], C, S)),
    Case(np.where, (True, M, real(4)), diff=(1, 2)),
    Case(np.where, (np.array([0, 2, 0, 1]), real(3, 1), V[:4]), diff=(1, 2)),
    Case(np.where, (M > 0, np.sqrt(np.abs(M)), M)),
    Case(np.choose, (np.array([[0, 1, 1, 2]] * 3), (M, C, N)), diff=(1,)),
    Case(np.choose, (np.array([2, 0, 1, 0]), M), diff=(1,), jax=False),
    Case(np.choose, (np.array([5, -1, 1, 0]), (V[:4], S)), {"mode": "wrap"}, diff=(1,)),
    Case(np.choose, (np.array([5, -1, 1, 0]), (V[:4], S)), {"mode": "clip"}, diff=(1,)),
    Case(np.choose, (1, (M, N)), diff=(1,), jax=False),
    Case(np.select, ([MASK, M > 0], [M, N], 2.5), diff=(1,)),
    Case(np.select, ([MASK, M > 0], [M, C]), diff=(1,)),
    Case(np.select, ([V > 0, V < 0], [V, V * 2], S), diff=(1, 2)),
    Case(np.select, ([MASK], [S], M), diff=(1, 2)),
    Case(np.piecewise, (V, [V < 0, V >= 0], [np.exp, np.sin]), diff=(0,), jax=False),
    Case(np.piecewise, (M, [M < 0], [np.square, lambda x: 3 * x]), diff=(0,), jax=False),
    Case(np.piecewise, (C, [MASK, ~MASK], [np.exp, 1.5]), diff=(0,), jax=False),
    Case(np.piecewise, (V, V < 0, [scaled, scaled], 2.0), {"p": 3}, diff=(0,), jax=False),
    Case(np.piecewise, (S, [S > 0, S < 0], [np.sqrt, np.exp]), diff=(0,), jax=False),
]

BASIC = [
    *[read(M, i) for i in (0, -1, (1, 2), ..., (), None, slice(None, None, -1), slice(4, 0, -2))],
    *[
        read(M, i)
        for i in ((..., 1), (None, 1, None), (slice(1), ..., None), (..., slice(-2, None)))
    ],
    *[read(A, i) for i in ((0, ..., 1), (slice(None), 1), (1, slice(None, None, 2), -1), slice(9))],
    *[read(M, i) for i in (np.int64(1), (np.uint8(2), -1), np.array(1), (np.intp(0), slice(2)))],
    *[read(M, i) for i in (slice(2, 2), slice(2, None, -1), (slice(0), slice(None)))],
    *[read(C, i) for i in (1, (slice(None), slice(None, None, -1)), (..., None))],
    *[read(S, i) for i in ((), ..., None, (None, ...))],
]

ADVANCED = [
    *[read(M, i) for i in ([0, 2, 2], [[0], [1]], AT, (AT, 1), (slice(None), AT), [], ([], []))],
    *[read(M, i) for i in (([0, 1], [2, 2]), ([[0], [2]], [1, 3]), (slice(1, None), [0, 0]))],
    *[
        read(A, i)
        for i in ((0, slice(None), [1, 1]), ([0, 1], slice(None), [1, 1]), ([1], ..., [0]))
    ],
    *[read(A, i) for i in ((None, [1, 0], 2), (slice(None), None, [0, 0]), (..., [0, 3], None))],
    *[read(A, i) for i in ((slice(None), [0, 1], [1, 1]), (slice(None, None, -1), [[0, 1]], 1))],
    *[read(M, i) for i in (MASK, MASK[:, 0], (slice(None), MASK[0]))],
    *[read(M, i) for i in ((MASK[:, 0], [1, 1]), (MASK[:, 0], 1), (MASK[:, 0], slice(1, 3)))],
    *[read(M, i) for i in (True, False, np.True_, np.array(False), (True, 1), M > 0, ~(M < 9))],
    *[read(A, i) for i in (A[:, :, 0] > 0, (slice(None), MASK), (0, MASK), (..., MASK[0], None))],
    *[read(C, i) for i in (MASK, AT, ([0, -1], [0, -1]), np.array([1, 0], np.uint16))],
    *[read(S, i) for i in (True, False, np.array(True))],
    *[read(V, i) for i in ([True, False, True, False, True], np.arange(5) % 2, range(0, 5, 2))],
]

WRITING = [
    pure("put", V, np.array([0, 3]), real(2), diff=(0, 2)),
    pure("put", M, np.array([0, 3, -1]), S, diff=(0, 2)),
    pure("put", M, np.array([13, -14]), S, "wrap", diff=(0, 2)),
    pure("place", M, MASK, real(2), diff=(0, 2)),
    pure("put_along_axis", M, ORDER[:, :2], real(3, 2), 1, diff=(0, 2)),
    pure("put_along_axis", M, np.array([[0, 2, 1, 0]]), S, 0, diff=(0, 2)),
    pure("put_along_axis", C, np.array([1, 7]), cplx(2), None, diff=(0, 2)),
    pure("fill_diagonal", M, real(3), diff=(0, 1)),
    pure("fill_diagonal", real(7, 3), S, True, diff=(0, 1)),
    pure("fill_diagonal", real(7, 3), S, diff=(0, 1)),
    pure("fill_diagonal", real(3, 3, 3), real(2), diff=(0, 1)),
]

CASES = [*READING, *CHOOSING, *BASIC, *ADVANCED, *WRITING]

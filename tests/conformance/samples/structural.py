"""Samples of the primitives that move, join, cast, sum, index and look up elements."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from funcgraph.ops.indexing import ARRAY
from tests.conformance.spec import Sample

RNG = np.random.default_rng(20)


def real(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def cplx(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)


M, C, V = real(3, 4), cplx(3, 4), real(5)
MASK = np.array([[True, False, True, True], [False] * 4, [True, False, False, True]])
ALL = slice(None)


def read(x: np.ndarray, *template: object, arrays: tuple[np.ndarray, ...] = ()) -> Sample:
    return Sample((x, *arrays), {"template": template})


def write(x: np.ndarray, v: np.ndarray, *template: object, arrays: tuple = ()) -> Sample:
    return Sample((x, v, *arrays), {"template": template})


ROWS = np.array([0, 2, 2, -1])
COLUMNS = np.array([[1], [3]])

READS = [
    read(M, 1),
    read(M, -1, 2),
    read(M, ...),
    read(M, None, slice(2), None),
    read(M, slice(None, None, -1), slice(3, 0, -2)),
    read(M, slice(1, 1)),
    read(C, ..., 0),
    read(M, ARRAY, arrays=(ROWS,)),
    read(C, ALL, ARRAY, arrays=(np.array([[3, 3], [0, -2]]),)),
    read(M, ARRAY, ARRAY, arrays=(np.array([0, 2, 0]), np.array([1, 1, 1]))),
    read(M, ARRAY, ARRAY, arrays=(np.array([0, 1, 2]), COLUMNS)),
    read(M, None, ARRAY, slice(0, 2), arrays=(ROWS,)),
    read(real(2, 3, 4), ARRAY, ALL, ARRAY, arrays=(np.array([0, 1, 1]), np.array([3, 0, 0]))),
    read(real(2, 3, 4), 1, ALL, ARRAY, arrays=(ROWS[:2],)),
    read(M, ARRAY, arrays=(np.zeros(0, int),)),
    read(V, ARRAY, arrays=(np.array([1, 1, 1], np.uint8),)),
    read(M, MASK),
    read(C, MASK[:, 0]),
    read(M, ALL, MASK[0]),
    read(M, MASK[:, 0], ARRAY, arrays=(np.array([2, 2]),)),
    read(M, True),
    read(M, np.array(False)),
    read(M, np.zeros_like(MASK)),
    read(np.array(2.5), None, ...),
    read(np.array(2.5), ...),
]

ADDS = [
    write(M, real(4), 1),
    write(M, real(3, 1), ALL, slice(0, 2)),
    write(M, np.array(2.0), ..., slice(None, None, -2)),
    write(M, real(4, 4), ARRAY, arrays=(ROWS,)),
    write(C, cplx(4), ARRAY, arrays=(ROWS,)),
    write(V, real(2, 3), ARRAY, arrays=(np.array([[0, 1, 1], [1, -1, 0]]),)),
    write(V, np.array(0.5), ARRAY, arrays=(np.array([1, 1, 2]),)),
    write(M, real(MASK.sum()), MASK),
    write(M, real(1), MASK),
    write(M, real(2, 1, 4), None, ARRAY, arrays=(np.array([[1], [0]]),)),
    write(C, real(4), 2),
]

SETS = [
    write(M, real(4), 1),
    write(M, real(3, 1), ALL, slice(0, 2)),
    write(M, np.array(2.0), ..., slice(None, None, -2)),
    write(C, cplx(3, 4), ARRAY, arrays=(np.array([2, 0, 1]),)),
    write(V, real(2), ARRAY, arrays=(np.array([3, -4]),)),
    write(V, np.array(0.5), ARRAY, arrays=(np.array([1, 2]),)),
    write(M, real(MASK.sum()), MASK),
    write(M, real(1), MASK),
    write(C, real(4), 2),
]
# Where positions repeat, NumPy keeps the last value; JAX does not say which.
REPEATED = [
    Sample((V, real(4), np.array([1, 0, 1, 1])), {"template": (ARRAY,)}, jax=False),
    Sample((V, real(1), np.array([1, 0, 1, 1])), {"template": (ARRAY,)}, jax=False),
    Sample((V, np.array(2.0), np.array([1, 1])), {"template": (ARRAY,)}, jax=False),
    Sample((M, real(4, 4), ROWS), {"template": (ARRAY,)}, jax=False),
]

# Products and extremes at an index: also zeros among repeated factors, and ties.
# (JAX has the derivative of products by slices alone: see tests/unit/test_at.py for the rest.)
MULS = [
    write(M, real(4), 1),
    write(M, real(3, 1), ALL, slice(0, 2)),
    *(
        replace(sample, jax=False)
        for sample in [
            write(C, cplx(3, 4), ARRAY, arrays=(np.array([2, 0, 1]),)),
            write(M, real(MASK.sum()), MASK),
            write(V, np.array(0.5), ARRAY, arrays=(np.array([1, 2]),)),
            write(V, real(5), ARRAY, arrays=(np.array([1, 0, 1, 1, 3]),)),
            write(V, np.array([0.0, 2.0, 0.0, 0.0]), ARRAY, arrays=(np.array([1, 0, 1, 0]),)),
            write(M, real(4, 1), ARRAY, arrays=(ROWS,)),
            write(
                C, cplx(4), ARRAY, ARRAY, arrays=(np.array([0, 2, 0, 0]), np.array([1, 1, 1, 2]))
            ),
        ]
    ),
]
EXTREMES = [
    write(M, real(4), 1),
    write(M, real(3, 1), ALL, slice(0, 2)),
    write(M, real(4, 4), ARRAY, arrays=(ROWS,)),
    write(V, real(2, 3), ARRAY, arrays=(np.array([[0, 1, 1], [1, -1, 0]]),)),
    write(M, real(MASK.sum()), MASK),
    write(V, np.array(0.25), ARRAY, arrays=(np.array([1, 3]),)),
]

SORTED = np.array([-1.0, 0.0, 0.0, 2.0, 5.0])
AT = np.array([[-2.0, 0.0], [1.0, 5.0]])


def lookup(a: np.ndarray, b: np.ndarray, **attrs: object) -> Sample:
    return Sample((a, b), attrs, diff=())


SAMPLES: dict[str, list[Sample]] = {
    "convert": [
        Sample((M,), {"dtype": np.dtype(np.float64)}),
        Sample((M,), {"dtype": np.dtype(np.complex128)}),
        Sample((C,), {"dtype": np.dtype(np.float64)}),
        Sample((np.array(1.5),), {"dtype": np.dtype(np.complex128)}),
        Sample((M,), {"dtype": np.dtype(np.float32)}, diff=()),
        Sample((np.arange(3),), {"dtype": np.dtype(np.float64)}),
        Sample((MASK,), {"dtype": np.dtype(np.float32)}),
    ],
    "truncate_dtype": [
        Sample((M,), {"dtype": np.dtype(int)}, diff=()),
        Sample((M,), {"dtype": np.dtype(bool)}, diff=()),
        Sample((np.arange(3),), {"dtype": np.dtype(np.int8)}),
    ],
    "reshape": [
        Sample((M,), {"shape": (2, 6)}),
        Sample((C,), {"shape": (12,)}),
        Sample((M,), {"shape": (3, 1, 4)}),
        Sample((np.array(2.0),), {"shape": (1, 1)}),
        Sample((real(1),), {"shape": ()}),
        Sample((np.zeros((0, 3)),), {"shape": (3, 0, 2)}),
    ],
    "transpose": [
        Sample((M,), {"axes": (1, 0)}),
        Sample((cplx(2, 3, 4),), {"axes": (1, 2, 0)}),
        Sample((real(2, 3, 4, 1),), {"axes": (3, 0, 2, 1)}),
        Sample((np.array(2.0),), {"axes": ()}),
    ],
    "broadcast": [
        Sample((M,), {"shape": (2, 3, 4)}),
        Sample((cplx(3, 1),), {"shape": (2, 3, 4)}),
        Sample((np.array(2.0),), {"shape": (2, 0)}),
        Sample((real(1, 1),), {"shape": (1, 3)}),
        Sample((V,), {"shape": (5,)}),
    ],
    "copy": [Sample((M,)), Sample((C,)), Sample((np.array(2.0),))],
    "reduce_sum": [
        Sample((M,), {"axes": (0,)}),
        Sample((C,), {"axes": (0, 1)}),
        Sample((real(2, 3, 4),), {"axes": (0, 2)}),
        Sample((M,), {"axes": ()}),
        Sample((np.zeros((0, 3)),), {"axes": (0,)}),
        Sample((np.arange(3, dtype=np.int64),), {"axes": (0,)}),
        Sample((MASK,), {"axes": (0,)}),
    ],
    "concatenate": [
        Sample((M, real(1, 4)), {"axis": 0}),
        Sample((M, C, np.zeros((3, 0))), {"axis": 1}),
        Sample((V,), {"axis": 0}),
        Sample((V, np.arange(3)), {"axis": 0}, diff=(0,)),
    ],
    "stack": [
        Sample((M, real(3, 4)), {"axis": 0}),
        Sample((M, C), {"axis": 2}),
        Sample((np.array(1.0), np.array(2.0), np.array(3.0)), {"axis": 0}),
        Sample((V, np.arange(5)), {"axis": 1}, diff=(0,)),
    ],
    "pad_zeros": [
        Sample((M,), {"widths": ((1, 0), (2, 3))}),
        Sample((C,), {"widths": ((0, 0), (0, 1))}),
    ],
    "where": [
        Sample((MASK, M, real(3, 4))),
        Sample((MASK, C, np.array(2.0))),
        Sample((MASK, M, C)),
        Sample((MASK[:, :1], real(4), real(1, 4))),
        Sample((np.array(True), M, real(4))),
    ],
    "getitem": READS,
    "index_add": ADDS,
    "index_max": EXTREMES,
    "index_min": EXTREMES,
    "index_mul": MULS,
    "index_set": SETS + REPEATED,
    "index_sum": [
        Sample(
            (real(4), np.array(2.0), real(2, 4), real(2)),
            {
                "shape": (3, 4),
                "dtype": np.dtype(np.float64),
                "templates": ((1,), (1, 2), (slice(0, 2),), (slice(1, None), -1)),
            },
        ),
        Sample(
            (cplx(2), cplx(MASK.sum())),
            {"shape": (3, 4), "dtype": C.dtype, "templates": ((0, slice(2)), (MASK,))},
        ),
    ],
    "searchsorted": [
        lookup(SORTED, AT, side="left"),
        lookup(SORTED, AT, side="right"),
        lookup(SORTED, np.array(0.5), side="left"),
    ],
    "digitize": [
        lookup(AT, SORTED, right=False),
        lookup(AT, SORTED, right=True),
        lookup(AT, SORTED[::-1], right=False),
    ],
}

"""Cases of NumPy's elementwise functions that are not ufuncs, and of ufuncs with two results."""

from __future__ import annotations

import numpy as np

from tests.conformance.spec import Case

X = np.array([0.3, -1.2, 2.5])
A = np.array([[0.4, -2.3], [1.6, 3.7]])
Z = np.array([0.6 - 0.3j, -1.1 + 0.4j])
NUMPY = tuple(map(int, np.__version__.split(".")[:2]))
WILD = np.array([0.5, np.nan, np.inf, -np.inf, -2.0])

CASES = [
    Case(np.real, (Z,)),
    Case(np.real, (X,)),
    Case(np.imag, (Z,)),
    Case(np.imag, (X,)),
    Case(np.angle, (Z,)),
    Case(np.angle, (Z,), {"deg": True}),
    Case(np.angle, (X,)),
    Case(np.real_if_close, (Z,)),
    Case(np.real_if_close, (X,)),
    Case(np.sinc, (np.array([0.0, 1e-9, 0.4, -1.0, 2.6]),)),
    Case(np.sinc, (Z,)),
    Case(np.i0, (X,)),
    Case(np.i0, (A,)),
    Case(np.clip, (X, -1.0, 1.0)),
    Case(np.clip, (X, None, 1.0)),
    Case(np.clip, (X, 0.1, None)),
    Case(np.clip, (X,), {"min": np.array([0.4, -2.0, 0.0])}),
    Case(np.clip, (X, A[:, :1], 3.0)),
    Case(np.clip, (X,)),
    Case(np.clip, (X, 2.0, 1.0)),
    Case(np.nan_to_num, (X,)),
    Case(np.nan_to_num, (WILD,), {"nan": 1.0, "posinf": 2.0, "neginf": -3.0}, tol=np.inf),
    Case(np.nan_to_num, (WILD,), tol=np.inf),
    Case(np.nan_to_num, (Z,)),
    Case(np.round, (A,)),
    Case(np.round, (X, 1)),
    Case(np.round, (10 * A, -1)),
    Case(np.around, (X, 2)),
    *[Case(np.fix, (X,)) for _ in range(NUMPY < (2, 5))],  # deprecated from then on
    Case(np.modf, (X,)),
    Case(np.frexp, (X,)),
    Case(np.divmod, (X, np.array([[0.7], [-1.6]]))),
    Case(np.isclose, (X, X + 1e-9), diff=(0, 1)),
    Case(np.isclose, (WILD, 0.5), {"equal_nan": True}),
    Case(np.isreal, (Z,)),
    Case(np.iscomplex, (Z,)),
    Case(np.isposinf, (WILD,)),
    Case(np.isneginf, (WILD,)),
]

"""Both engines: a compiled function and its compiled derivatives give the same numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.core.aval import dtype_of, shape_of
from tests.conformance import oracle


def check(p: oracle.Problem, backend: str) -> None:
    if backend == "xla":
        pytest.importorskip("jax")
    with np.errstate(all="ignore"):
        wanted = p.f(*p.xs)
        cts = oracle.random_like(wanted, 1)
        ts = oracle.random_like(p.xs, 2)

        def everything(*xs: Any) -> Any:
            y, pullback = fg.vjp(p.f, *xs)
            return y, pullback(cts), fg.jvp(p.f, xs, ts)[1]

        got = fg.jit(everything, backend=backend)(*p.xs)
        leaves = zip(fg.tree.leaves(got), fg.tree.leaves(everything(*p.xs)), strict=True)
    for g, w in leaves:
        assert (dtype_of(g), shape_of(g)) == (dtype_of(w), shape_of(w))
        # nan: compiled derivatives do not look at values, and so do not start again.
        finite = np.isfinite(np.asarray(g)) | ~np.isfinite(w)
        tol = 1e-12 if backend == "numpy" else 1e-8
        np.testing.assert_allclose(
            np.where(finite, np.asarray(g), 0), np.where(finite, w, 0), rtol=tol, atol=tol
        )

"""Generated programs: standalone text gives the numbers of the compiled function."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import funcgraph as fg
from funcgraph.core.aval import dtype_of, shape_of
from tests.conformance import oracle


def load(text: str, name: str) -> Callable[..., Any]:
    """Return a function of a generated program, which must import NumPy and SciPy alone."""
    imported = set(re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE))
    assert imported <= {"numpy", "scipy", *sys.stdlib_module_names}, imported
    assert "funcgraph" not in text.split("\n", 1)[1]
    scope: dict[str, Any] = {}
    exec(compile(text, "<text>", "exec"), scope)
    return scope[name]  # type: ignore[no-any-return]


def same(got: Any, wanted: Any, tol: float = 1e-12) -> None:
    for g, w in zip(fg.tree.leaves(got), fg.tree.leaves(wanted), strict=True):
        assert (dtype_of(g), shape_of(g)) == (dtype_of(w), shape_of(w))
        np.testing.assert_allclose(g, w, rtol=tol, atol=tol)


def check(p: oracle.Problem) -> None:
    """Value, pullback and tangents of a problem, as text."""
    with np.errstate(all="ignore"):
        cts, ts = oracle.random_like(p.f(*p.xs), 1), oracle.random_like(p.xs, 2)

    def everything(*xs: Any) -> Any:
        y, pullback = fg.vjp(p.f, *xs)
        return y, pullback(cts), fg.jvp(p.f, xs, ts)[1]

    compiled = fg.jit(everything)
    got = load(compiled.source(*p.xs), "everything")(*p.xs)
    with np.errstate(all="ignore"):
        wanted = compiled.graph(*p.xs).run(*fg.tree.leaves(p.xs))
    same(got, wanted)

"""minimize: every method of SciPy's, on pytrees."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.errors import GradientDtypeError, MissingPackageError, TreeError
from funcgraph.optim import minimize

pytest.importorskip("scipy")

START = {"x": np.array([-1.0, 1.5]), "y": [0.5, np.array(0.3)], "none": None}


def bowl(p: Any) -> Any:
    """Return a convex function with its minimum at x = (1, 2), y = 3, 4."""
    errors = np.stack([p["x"][0] - 1, p["x"][1] - 2, p["y"][0] - 3, p["y"][1] - 4])
    return np.sum(errors**2 * np.array([1.0, 2.0, 3.0, 4.0])) + np.sum(errors) ** 2


METHODS = ["Nelder-Mead", "Powell", "CG", "BFGS", "L-BFGS-B", "TNC", "COBYLA", "SLSQP", "Newton-CG",
           "trust-ncg", "trust-krylov", "trust-constr", "dogleg", "trust-exact"]  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_the_minimum(method: str) -> None:
    options = {"maxiter": 5000} if method in ("Nelder-Mead", "COBYLA") else None
    found = minimize(bowl, START, method=method, tol=1e-10, options=options)
    np.testing.assert_allclose(found.params["x"], [1, 2], atol=1e-3)
    np.testing.assert_allclose(found.params["y"], [3, 4], atol=1e-3)
    assert type(found.params["y"][0]) is float and type(found.params["y"][1]) is np.ndarray
    assert found.params["none"] is None and type(found.fun) is float and found.nfev > 0
    assert isinstance(found.success, bool) and found.message
    if method in ("Nelder-Mead", "Powell", "COBYLA"):
        assert found.grad is None
    else:
        assert fg.tree.structure(found.grad) == fg.tree.structure(START)
        assert max(np.max(np.abs(g)) for g in fg.tree.leaves(found.grad)) < 1e-3
        assert found.nit > 0


def test_one_evaluation_for_value_and_gradient() -> None:
    calls = [0]

    def f(p: Any) -> Any:
        calls[0] += 1
        return bowl(p)

    found = minimize(f, START)
    assert found.success and calls[0] == found.nfev


def test_float64_inside_and_the_types_outside() -> None:
    seen = set()

    def f(p: Any, target: Any) -> Any:
        seen.add(fg.concrete(p["w"]).dtype)
        return np.sum((p["w"] - target) ** 2) + p["n"] ** 2

    start = {"w": np.zeros(2, np.float32), "n": 3}
    for method in ("BFGS", "Newton-CG", "Powell"):
        found = minimize(f, start, (np.array([1.0, 2.0]),), method=method)
        assert seen == {np.dtype(np.float64)}
        assert found.params["w"].dtype == np.float32 and type(found.params["n"]) is float
        np.testing.assert_allclose(found.params["w"], [1, 2], atol=1e-4)
    assert start["w"].tolist() == [0, 0] and start["n"] == 3
    jax = pytest.importorskip("jax")
    found = minimize(lambda x: ((x - 1.0) ** 2).sum(), jax.numpy.zeros(2))
    assert isinstance(found.params, jax.Array) and found.params.dtype == jax.numpy.zeros(2).dtype


def test_compiled_functions() -> None:
    found = minimize(fg.jit(bowl), START, method="trust-ncg")
    np.testing.assert_allclose(found.params["x"], [1, 2], atol=1e-4)


@pytest.mark.parametrize("method", ["L-BFGS-B", "SLSQP", "trust-constr", "Nelder-Mead"])
def test_bounds(method: str) -> None:
    lower = {"x": -2.0, "y": [None, 0.0], "none": None}
    upper = {"x": np.array([0.5, 5.0]), "y": [10.0, None], "none": None}
    separable = lambda p: np.sum((p["x"] - 2) ** 2) + (p["y"][0] - 3) ** 2 + (p["y"][1] + 4) ** 2
    found = minimize(separable, START, method=method, bounds=(lower, upper), tol=1e-8)
    np.testing.assert_allclose(found.params["x"], [0.5, 2], atol=1e-3)
    np.testing.assert_allclose(found.params["y"], [3, 0], atol=1e-3)
    half = minimize(separable, START, bounds=(None, {"x": 1.0, "y": None, "none": None}))
    np.testing.assert_allclose(half.params["x"], [1, 1], atol=1e-5)
    assert minimize(separable, START, bounds=(0.0, 1.0)).params["y"][0] == 1.0


@pytest.mark.parametrize("method", ["L-BFGS-B", "BFGS", "trust-constr", "Nelder-Mead"])
def test_callback(method: str) -> None:
    seen: list[Any] = []

    def callback(p: Any) -> None:
        seen.append(p)
        if len(seen) == 3:
            raise StopIteration

    found = minimize(bowl, START, method=method, callback=callback, options={"maxiter": 50})
    assert len(seen) == 3 and type(seen[0]["y"][0]) is float
    assert not found.success or found.nit <= 3


def test_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GradientDtypeError, match=r"params\['n'\] has dtype int64.*real"):
        minimize(bowl, {"n": np.array([1, 2])})
    with pytest.raises(GradientDtypeError, match=r"params has dtype complex128"):
        minimize(bowl, 1j)
    with pytest.raises(TreeError, match=r"pair \(lower, upper\)"):
        minimize(bowl, START, bounds=[(0, 1)] * 4)
    with pytest.raises(TreeError, match=r"bound has shape \(3,\), but its parameter \(2,\)"):
        minimize(np.sum, np.ones(2), bounds=(np.zeros(3), None))
    with pytest.raises(TreeError, match="missing"):
        minimize(bowl, START, bounds=({"x": 1.0}, None))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"funcgraph\[scipy\]"):
        minimize(bowl, START)

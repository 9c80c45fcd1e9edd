"""Calls of compiled functions that go straight to their program on NumPy; those that may not."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np
import pytest

import funcgraph as fg


class Pair(NamedTuple):
    """A container whose structure shortcuts know."""

    a: Any
    b: Any


def test_shortcuts_see_what_differs() -> None:
    """From the third call on a call is compared with those before; every difference counts."""

    @fg.jit
    def f(p: Any, *rest: Any, scale: Any = 1.0) -> Any:
        total = sum(np.sum(x) for x in fg.tree.leaves((p, rest)))
        return {"total": total * scale, "pair": Pair([total], (None, np.shape(p["x"])))}

    x = np.arange(3.0)
    calls: list[tuple[Any, dict[str, Any]]] = [
        (({"x": x}, 2.0), {}),
        (({"x": x}, 2), {}),
        (({"x": x}, np.float64(2)), {}),
        (({"x": x}, True), {}),
        (({"x": x[:2]}, 2.0), {}),
        (({"x": x.astype(np.float32)}, 2.0), {}),
        (({"x": x.astype(">f8")}, 2.0), {}),
        (({"x": x, "y": x}, 2.0), {}),
        (({"x": x}, 2.0, 3.0), {}),
        (({"x": x},), {}),
        (({"x": x}, 2.0), {"scale": 2.0}),
        (({"x": x}, [2.0]), {}),
        (({"x": x}, (2.0,)), {}),
        (({"x": x}, Pair(2.0, None)), {}),
        (({"x": x}, None), {}),
        (({"x": x}, x), {}),
        ((OrderedDict(x=x), 2.0), {}),
    ]
    for _ in range(5):
        for args, kwargs in calls:
            got = f(*args, **kwargs)
            wanted = f.__wrapped__(*args, **kwargs)
            assert fg.tree.structure(got) == fg.tree.structure(wanted)
            assert list(got) == sorted(wanted)
            for g, w in zip(fg.tree.leaves(got), fg.tree.leaves(wanted), strict=True):
                assert np.asarray(g).dtype == np.asarray(w).dtype
                np.testing.assert_allclose(g, w)
    info = f.cache_info()
    assert info.misses == len(calls)
    assert info.hits == 5 * len(calls) - info.misses
    with pytest.raises(KeyError):
        f({"y": x}, 2.0)


def test_shortcuts_of_derivatives_inside_and_outside() -> None:
    f = fg.jit(lambda x, y: np.sum(x * x) * y)
    x = np.arange(3.0)
    for _ in range(5):
        f(x, 2.0)
        np.testing.assert_allclose(fg.grad(f)(x, 2.0), 4 * x)
        np.testing.assert_allclose(fg.vmap(f, (0, None))(np.stack([x, x]), 2.0), [10.0, 10.0])
        np.testing.assert_allclose(fg.jit(lambda x: f(x, 2.0) + 1)(x), 11.0)
    f.clear_cache()
    assert f.cache_info().currsize == 0
    np.testing.assert_allclose(f(x, 2.0), 10.0)
    assert f.cache_info().misses == 1


def test_shortcuts_where_a_derivative_is_not_finite() -> None:
    f = fg.jit(fg.grad(lambda x: np.sqrt(x * x)))
    for _ in range(5):
        assert f(2.0) == 1.0
        assert np.isnan(f(0.0)) == np.isnan(fg.grad(lambda x: np.sqrt(x * x))(0.0))

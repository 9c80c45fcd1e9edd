"""Integers and bools: the results of compiled functions are NumPy's, dtypes included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.scipy import special as fss

DTYPES = [np.bool_, np.int8, np.uint8, np.int16, np.int32, np.int64]

REDUCTIONS: dict[str, Callable[[Any], Any]] = {
    "median": lambda x: np.median(x[:3]),
    "nanmedian": lambda x: np.nanmedian(x),
    "nanmean": lambda x: np.nanmean(x),
    "var": lambda x: x.var(),
    "norm 1": lambda x: np.linalg.norm(x, 1),
    "norm inf": lambda x: np.linalg.norm(x, np.inf),
    "norm 0": lambda x: np.linalg.norm(x, 0),
    "norm 1 of a matrix": lambda x: np.linalg.norm(x.reshape(2, 2), 1),
    "eigvalsh": lambda x: np.linalg.eigvalsh(x.reshape(2, 2)),
    "solve": lambda x: np.linalg.solve(x.reshape(2, 2), x[:2]),
    "inv": lambda x: np.linalg.inv(x.reshape(2, 2)),
    "matrix_power": lambda x: np.linalg.matrix_power(x.reshape(2, 2), 3),
    "fft": lambda x: np.fft.fft(x),
    "rfft": lambda x: np.fft.rfft(x),
    "sinc": lambda x: np.sinc(x),
    "power 2": lambda x: (x + x) ** 2.0,
    "power 0.5": lambda x: x**0.5,
}
LEVELS: dict[str, Callable[[Any], Any]] = {
    "quantile": lambda x: np.quantile(x, 0.3),
    "quantiles": lambda x: np.percentile(x, [30, 60]),
    "nearest": lambda x: np.quantile(x, 0.3, method="nearest"),
    "gradient": lambda x: np.gradient(x),
    "power 2": lambda x: x**2.0,
}


def assert_like_numpy(f: Callable[[Any], Any], x: Any) -> None:
    wanted = np.asarray(f(x))
    modes = {"jit": fg.jit(f)(x), "vmap": fg.vmap(f)(x[None])[0]}
    if x.dtype in (np.uint8, np.int32):
        modes["xla"] = fg.jit(f, backend="xla")(x)
    for name, got in modes.items():
        assert np.asarray(got).dtype == wanted.dtype, name
        np.testing.assert_allclose(np.asarray(got), wanted, rtol=1e-6, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_results_are_numpys(name: str, dtype: Any) -> None:
    pytest.importorskip("jax")
    assert_like_numpy(REDUCTIONS[name], np.array([1, 1, 1, 0]).astype(dtype))


@pytest.mark.parametrize("dtype", DTYPES[1:])
@pytest.mark.parametrize("name", LEVELS)
def test_quantiles_of_small_integers_are_numpys(name: str, dtype: Any) -> None:
    pytest.importorskip("jax")
    assert_like_numpy(LEVELS[name], np.array([100, 3, 126, 7]).astype(dtype))


SUMS: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda x, b: (b + b) * x,
    "comparisons": lambda x, b: ((x > 0) + (x > 1)) * x,
    "product": lambda x, b: ((x > 0) * (x > 1)) * x,
    "dot": lambda x, b: (b @ b) * x,
    "write": lambda x, b: fg.at(x > 0)[0].add(x[1] > 0) * x,
    "loop": lambda x, b: fg.scan(lambda c, v: (((c > 0) + (c > -1)) * v, c), x[0], x)[1],
}


@pytest.mark.parametrize("name", SUMS)
def test_a_sum_of_bools_is_their_or_in_programs_of_few_numbers(name: str) -> None:
    f, x, b = SUMS[name], np.array([1.5, 2.0, -3.0, 0.5]), np.array([True, True, False, True])
    np.testing.assert_array_equal(fg.jit(f)(x, b), f(x, b))


MIXED: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda i, x: i + x,
    "multiply": lambda i, x: x * i,
    "a number": lambda i, x: i / 255.0,
    "quotient": lambda i, x: i / i[::-1],
    "power": lambda i, x: i**0.5,
    "two results": lambda i, x: np.stack(fss.fresnel(i)),
    "arctan": lambda i, x: np.arctan(i),
    "float_power": lambda i, x: np.float_power(x, 2),
    "constants": lambda i, x: np.arange(4) * x,
    "concatenate": lambda i, x: np.concatenate([i, x]),
    "stack": lambda i, x: np.stack([i, x]),
    "where": lambda i, x: np.where(x > 0, x, i),
    "cumprod": lambda i, x: np.cumprod(i),
    "matmul": lambda i, x: i @ x,
    "loop": lambda i, x: fg.scan(lambda c, row: (c + row[0] * row[1], row[0] / 3), 0.0, (i, x))[1],
    "mapped": lambda i, x: fg.vmap(
        lambda i, x: fg.cond(x > 0, lambda i: i * x, lambda i: i - x, i)
    )(i, x),
}


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
@pytest.mark.parametrize("name", MIXED)
def test_integers_beside_floats_under_xla(name: str, dtype: Any) -> None:
    pytest.importorskip("jax")
    i, x = np.array([100, 3, 27, 7]).astype(dtype), np.float32([0.5, -1.0, 2.0, 0.1])
    wanted = MIXED[name](i, x)
    got = np.asarray(fg.jit(MIXED[name], backend="xla")(i, x))
    assert got.dtype == wanted.dtype
    eps = {"float16": 1e-3, "float32": 1e-6}.get(wanted.dtype.name, 1e-14)
    np.testing.assert_allclose(got, wanted, rtol=eps)

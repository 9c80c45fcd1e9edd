"""Traced and compiled, NumPy's functions do at the borders what they do on plain arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.errors import CarryTypeError

BACKENDS = ["numpy", "xla"]


def same(got: Any, wanted: Any) -> None:
    got = np.asarray(got)
    assert got.dtype == wanted.dtype
    np.testing.assert_allclose(got, wanted, rtol=1e-12)


def compiled(f: Callable[..., Any], backend: str) -> Any:
    if backend == "xla":
        pytest.importorskip("jax")
    return fg.jit(f, backend=backend)


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "vecdot": lambda x: np.vecdot(np.stack([x, x]), x),
    "pad mean": lambda x: np.pad(x, 2, mode="mean"),
    "pad median": lambda x: np.pad(x, (1, 3), mode="median", stat_length=2),
    "pad ramp": lambda x: np.pad(x, (5, 3), mode="linear_ramp", end_values=(1, 0)),
    "diff": np.diff,
    "second diff": lambda x: np.diff(x, 2, prepend=x[:1]),
    "isclose": lambda x: np.isclose(x, x[::-1]),
    "round": np.round,
    "around": np.around,
    "convolve": lambda x: np.convolve(x, x[:3]),
    "correlate": lambda x: np.correlate(x[:2], x),
    "unwrap": np.unwrap,
    "at add": lambda x: fg.at(x)[np.array([0, 0, 1])].add(x[0]),
    "at multiply": lambda x: fg.at(x)[np.array([0, 0, 2])].multiply(x[1]),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.int32])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_small_integers_and_bools(name: str, dtype: Any, backend: str) -> None:
    f, x = FUNCTIONS[name], np.array([100, 0, 7, 90, 3]).astype(dtype)
    same(compiled(f, backend)(x), f(x))


@pytest.mark.parametrize("backend", BACKENDS)
def test_half_precision_is_transformed(backend: str) -> None:
    x = np.arange(4, dtype=np.float16)
    for f in (np.fft.fft, np.fft.rfft, np.fft.irfft):
        same(compiled(f, backend)(x), f(x))


def test_medians_of_complex_numbers() -> None:
    z = np.array([1 + 2j, 3 - 1j, 2, 0.5j])
    for x in (z, z[:3]):
        for backend in BACKENDS:
            same(compiled(np.median, backend)(x), np.median(x))
    slope = fg.grad(lambda z: np.real(np.median(z) * (3 + 1j)))(z)
    np.testing.assert_allclose(slope, [1.5 + 0.5j, 0, 1.5 + 0.5j, 0])
    with pytest.raises(TypeError, match="real numbers"):
        fg.jit(lambda z: np.quantile(z, 0.5))(z)


def test_what_numpy_refuses() -> None:
    for f in (np.mean, np.var, np.std, np.median, np.average):
        with pytest.raises(np.exceptions.AxisError):
            fg.jit(lambda x, f=f: f(x, axis=0))(np.float64(3))
    for f in (np.argmax, np.argmin):
        with pytest.raises(ValueError, match="of an empty sequence"):
            fg.jit(fg.grad(lambda x, f=f: np.sum(x) + f(x)))(np.zeros(0))


@pytest.mark.parametrize("backend", BACKENDS)
def test_arrays_in_another_byte_order(backend: str) -> None:
    x = np.arange(3.0)
    swapped = x.astype(x.dtype.newbyteorder())
    f = compiled(lambda d: d["x"] * 2 + swapped, backend)
    for _ in range(3):
        np.testing.assert_array_equal(f({"x": swapped}), 3 * x)
        np.testing.assert_array_equal(f({"x": x}), 3 * x)
    square = compiled(lambda x: np.sum(x**2), backend)
    np.testing.assert_array_equal(fg.grad(square)(swapped), 2 * x)
    np.testing.assert_array_equal(compiled(lambda x: x, backend)(swapped), x)
    same(compiled(lambda i: i + 1, backend)(np.arange(3, dtype=">i4")), np.int32([1, 2, 3]))


def test_static_arguments_that_are_not_there() -> None:
    for k in (2, -3, (0, 5)):
        with pytest.raises(ValueError, match=r"takes 2 positional argument"):
            fg.jit(lambda x, y: x, static_argnums=k)
    for k in ("x", 1.5, (0, "x")):
        with pytest.raises(TypeError, match="static_argnums must be"):
            fg.jit(lambda x, y: x, static_argnums=k)
    assert fg.jit(lambda *xs: xs[0], static_argnums=5)(1.0) == 1


def test_errors_of_branches_name_the_functions() -> None:
    with pytest.raises(CarryTypeError, match=r"false_fun returned f.*true_fun returned f"):
        fg.jit(lambda x: fg.cond(x > 0, lambda: np.stack([x, x]), lambda: x))(1.0)
    with pytest.raises(CarryTypeError, match=r"branch 0 returned .*branch 2 returned"):
        fg.jit(lambda k, x: fg.switch(k, [lambda: x, lambda: x, lambda: (x, x)]))(1, 1.0)
    with pytest.raises(CarryTypeError, match=r"on_true is float64.*on_false is int64"):
        fg.select(np.array([True, False]), np.ones(2), np.arange(2))


def test_switch_clamps_numbers_of_any_size() -> None:
    for dtype in (np.int8, np.uint8, np.uint32, np.int64, np.uint64):
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        numbers = np.array([low, 0, 1, 2, high, high // 2 + 1], dtype)
        f = lambda i: fg.switch(i, [lambda: 0.0, lambda: 1.0, lambda: 2.0])
        wanted = [f(i) for i in numbers]
        assert wanted == [0, 0, 1, 2, 2, 2]
        np.testing.assert_array_equal(fg.vmap(f)(numbers), wanted)
        for backend in BACKENDS:
            same(np.stack([compiled(f, backend)(i) for i in numbers]), np.array(wanted))


@pytest.mark.parametrize("backend", BACKENDS)
def test_static_arguments_that_are_equal_but_of_other_types(backend: str) -> None:
    if backend == "xla":
        pytest.importorskip("jax")
    f = fg.jit(lambda x, n: x * n[0], static_argnums=1, backend=backend)
    i = np.arange(3, dtype=np.int32)
    for n in (2, 2.0, np.float32(2), 1, True, 1.0, 2):
        same(f(i, (n,)), i * n)
    assert f.cache_info().misses == 6

"""Traced and compiled, NumPy's functions do at the borders what they do on plain arrays."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
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


def jit_of(f: Callable[..., Any], backend: str, **options: Any) -> Any:
    if backend == "xla":
        pytest.importorskip("jax")
    return fg.jit(f, backend=backend, **options)


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
    same(jit_of(f, backend)(x), f(x))


@pytest.mark.parametrize("backend", BACKENDS)
def test_half_precision_is_transformed(backend: str) -> None:
    x = np.arange(4, dtype=np.float16)
    for f in (np.fft.fft, np.fft.rfft, np.fft.irfft):
        same(jit_of(f, backend)(x), f(x))


def test_medians_of_complex_numbers() -> None:
    z = np.array([1 + 2j, 3 - 1j, 2, 0.5j])
    for x in (z, z[:3]):
        for backend in BACKENDS:
            same(jit_of(np.median, backend)(x), np.median(x))
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
    f = jit_of(lambda d: d["x"] * 2 + swapped, backend)
    for _ in range(3):
        np.testing.assert_array_equal(f({"x": swapped}), 3 * x)
        np.testing.assert_array_equal(f({"x": x}), 3 * x)
    square = jit_of(lambda x: np.sum(x**2), backend)
    np.testing.assert_array_equal(fg.grad(square)(swapped), 2 * x)
    np.testing.assert_array_equal(jit_of(lambda x: x, backend)(swapped), x)
    same(jit_of(lambda i: i + 1, backend)(np.arange(3, dtype=">i4")), np.int32([1, 2, 3]))


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
            same(np.stack([jit_of(f, backend)(i) for i in numbers]), np.array(wanted))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["argmax", "argmin", "nanargmax", "nanargmin"])
def test_positions_of_complex_numbers(name: str, backend: str) -> None:
    order = np.random.default_rng(0)
    parts = np.array([0.0, 1.0, 2.0, np.nan, np.inf, -np.inf])
    z = order.choice(parts, (30, 8)).view(complex)
    z[:, 0] = 1
    run = jit_of(lambda z: getattr(np, name)(z, axis=1), backend)
    np.testing.assert_array_equal(run(z), getattr(np, name)(z, axis=1))


@pytest.mark.parametrize("backend", BACKENDS)
def test_static_arguments_that_are_equal_but_of_other_types(backend: str) -> None:
    f = jit_of(lambda x, n: x * n[0], backend, static_argnums=1)
    i = np.arange(3, dtype=np.int32)
    for n in (2, 2.0, np.float32(2), 1, True, 1.0, 2):
        same(f(i, (n,)), i * n)
    assert f.cache_info().misses == 6
    for n in (0.0, -0.0, complex(0, 0.0), complex(0, -0.0)):
        assert str(f(1.0, (n,))) == str(np.asarray(1.0 * n)[()])


@dataclasses.dataclass(frozen=True)
class Power:
    n: Any


@fg.tree.register_dataclass
@dataclasses.dataclass
class Scaled:
    x: Any
    by: Any = dataclasses.field(metadata={"static": True})


class Pair(tuple[Any, Any]):
    """A container whose auxiliary data is one bare number."""


fg.tree.register_pytree_node(Pair, lambda p: ((p[0],), p[1]), lambda n, x: Pair((x[0], n)))

EQUAL: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Any], Any]]] = {
    "static field": (Scaled, lambda s: s.x * s.by),
    "part of a static field": (
        lambda x, n: Scaled(x, (Power(n), frozenset([n]))),
        lambda s: s.x * s.by[0].n + s.x * next(iter(s.by[1])),
    ),
    "auxiliary data": (lambda x, n: Pair((x, n)), lambda s: s[0] * s[1]),
    "key of a dict": (lambda x, n: {n: x}, lambda d: next(k * x for k, x in d.items())),
    "key of an ordered dict": (
        lambda x, n: [OrderedDict({n: x})], lambda d: next(k * x for k, x in d[0].items())
    ),
}  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", EQUAL)
def test_structures_that_are_equal_but_hold_other_types(name: str, backend: str) -> None:
    make, f = EQUAL[name]
    run = jit_of(f, backend)
    i = np.arange(3, dtype=np.int32)
    for n in (1, True, 1.0, np.float32(1), 1, 0, False, 0.0, -0.0, 0) * 3:  # shortcuts, too
        wanted = f(make(i, n))
        same(run(make(i, n)), wanted)
        np.testing.assert_array_equal(np.signbit(run(make(i, n))), np.signbit(wanted))
    assert run.cache_info().misses == 8
    assert "static fields or keys of other types" in run.explain_recompiles()


@pytest.mark.parametrize("backend", BACKENDS)
def test_static_arguments_with_fields_that_are_equal_but_of_other_types(backend: str) -> None:
    run = jit_of(lambda x, p: x * p.n, backend, static_argnums=1)
    i = np.arange(3, dtype=np.int32)
    for n in (2, 2.0, np.float32(2), 1, True, 1.0, 2):
        same(run(i, Power(n)), i * n)


def test_structures_of_jax_that_are_equal_but_hold_other_types() -> None:
    jax = pytest.importorskip("jax")

    @dataclasses.dataclass
    class Theirs:
        x: Any
        by: Any

    jax.tree_util.register_dataclass(Theirs, ["x"], ["by"])
    i = np.arange(3, dtype=np.int32)
    for backend in BACKENDS:
        run = fg.jit(lambda s: s.x * s.by, backend=backend)
        for n in (2, 2.0, 1, True, 2) * 3:
            same(run(Theirs(i, n)), i * n)

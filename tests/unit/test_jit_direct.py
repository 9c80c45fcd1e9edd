"""jit on XLA: the arguments go to JAX's own dispatch as they are, and only where that is right."""

from __future__ import annotations

import gc
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.errors import ShapeError, StaticArgumentError

jax = pytest.importorskip("jax")


@pytest.fixture(params=[False, True], ids=["x32", "x64"])
def flag(request: pytest.FixtureRequest) -> Iterator[bool]:
    """JAX's x64 flag, as the user has it."""
    with jax.enable_x64(request.param):
        yield request.param


def twice(x: Any) -> Any:
    return x * 2.0


def test_results_keep_numpys_dtypes(flag: bool) -> None:
    f = fg.jit(twice, backend="xla")
    for dtype in (np.float32, np.float64, np.float32):
        for _ in range(2):
            assert f(np.ones(2, dtype)).dtype == dtype
            assert f(jax.numpy.ones(2, np.float32)).dtype == np.float32
    assert f(1.0).dtype == np.float64 and f(1).dtype == np.float64 and f(True).dtype == np.float64


@pytest.mark.parametrize("array_first", [False, True])
def test_weak_arrays_of_jax_are_numbers(flag: bool, array_first: bool) -> None:
    """To JAX they have the signature of Python's numbers, so they share a program with them."""
    f = fg.jit(lambda x, s: x * s, backend="xla")
    x, weak = np.ones(2, np.float32), jax.numpy.asarray(3.0)
    assert weak.weak_type
    several = [weak, 3.0] if array_first else [3.0, weak]
    for s in several * 2:
        y = f(x, s)
        assert y.dtype == np.float32 and y.tolist() == [3.0, 3.0]
    assert f(x, np.float64(3)).dtype == np.float64
    assert f(x, jax.numpy.asarray(3.0, np.float32)).dtype == np.float32


def test_the_flag_may_change_between_calls() -> None:
    for flags in ([True, False, True], [False, True, False]):
        f = fg.jit(twice, backend="xla")
        for wide in flags * 2:
            with jax.enable_x64(wide):
                assert f(np.ones(2)).dtype == np.float64
                assert f(np.ones(3, np.float32)).dtype == np.float32


def test_functions_of_jax_keep_the_users_flag(flag: bool) -> None:
    """What the function makes with JAX has the dtype that it has outside, for every shape."""
    f = fg.jit(lambda x: (x, jax.numpy.ones(2)), backend="xla")
    for n in (1, 2, 3):
        made = f(np.ones(n, np.float32))[1]
        assert made.dtype == (np.float64 if flag else np.float32)
    assert not isinstance(made, jax.core.Tracer)


def test_new_shapes_are_staged_once(flag: bool) -> None:
    calls = []

    def f(p: Any, s: Any) -> Any:
        calls.append(p["b"].shape)
        return {"y": p["a"].sum() * s + p["b"]}

    step = fg.jit(f, backend="xla")
    for n in (2, 3, 4, 3, 2, 4):
        for _ in range(2):
            assert step({"b": np.ones(n), "a": np.ones(3)}, True)["y"].tolist() == [4.0] * n
    assert calls == [(2,), (3,), (4,)]
    assert step.cache_info()[:2] == (9, 3)
    lines = step.explain_recompiles().splitlines()
    assert all(line.startswith(__file__) for line in lines)
    assert "leaf 1: float64[3], before float64[2]" in lines[1]


def test_tracers_take_the_long_way(flag: bool) -> None:
    f = fg.jit(lambda x: (x * x).sum(), backend="xla")
    x = np.arange(3.0)
    y = jax.numpy.asarray(x)
    for _ in range(3):
        assert float(f(x)) == 5
        assert fg.grad(f)(x).tolist() == [0, 2, 4]
        assert fg.vmap(f)(np.stack([x, x])).tolist() == [5, 5]
        assert fg.hessian(f)(x).tolist() == (2 * np.eye(3)).tolist()
        assert jax.grad(f)(y).tolist() == [0, 2, 4] and jax.grad(f)(y).dtype == y.dtype
        assert jax.vmap(f)(y[None]).tolist() == [5] and jax.vmap(f)(y[None]).dtype == y.dtype
        assert jax.jit(lambda x: f(x) + f(y))(y).tolist() == 10
    assert float(f(np.ones(7))) == 7


def test_programs_that_close_over_tracers_are_not_kept(flag: bool) -> None:
    held: list[Any] = [np.array(2.0)]
    f = fg.jit(lambda x: (x * held[0]).sum(), backend="xla")

    def g(w: Any, n: int) -> Any:
        held[0] = w
        return f(np.ones(n))

    assert [float(fg.grad(g)(w, 2)) for w in (3.0, 5.0)] == [2, 2]
    held[0] = np.array(7.0)
    assert float(f(np.ones(2))) == 14 and float(f(np.ones(2))) == 14
    assert [float(fg.grad(g)(w, 4)) for w in (3.0, 5.0)] == [4, 4]
    held[0] = np.array(1.0)
    assert float(f(np.ones(4))) == 4 and float(f(np.ones(2))) == 14


def test_errors_are_the_functions_own(flag: bool) -> None:
    f = fg.jit(lambda x: np.reshape(x, (2, 3)), backend="xla")
    assert f(np.ones(6)).shape == (2, 3)
    with pytest.raises(ShapeError) as found:
        f(np.ones(5))
    assert found.value.__context__ is None or "jax" not in repr(found.value.__context__)
    with pytest.raises(StaticArgumentError, match="is a str"):
        f("six")
    assert f(np.ones((3, 2))).shape == (2, 3)


def test_structures_that_jax_takes_apart_otherwise(flag: bool) -> None:
    f = fg.jit(lambda d: OrderedDict((k, 2 * v) for k, v in d.items()), backend="xla")
    for _ in range(3):
        got = f(OrderedDict(b=1.0, a=np.ones(2)))
        assert list(got) == ["b", "a"] and type(got) is OrderedDict
        assert float(got["b"]) == 2 and got["a"].tolist() == [2, 2]


def test_donated_arguments(flag: bool) -> None:
    f = fg.jit(lambda p, x: p["w"] + x, backend="xla", donate_argnums=0)
    for _ in range(3):
        w, x = jax.numpy.ones(3, np.float32), jax.numpy.ones(3, np.float32)
        assert f({"w": w}, x).tolist() == [2, 2, 2]
        assert w.is_deleted() and not x.is_deleted()


def test_functions_that_were_forgotten_are_compiled_again(flag: bool) -> None:
    calls = []
    f = fg.jit(lambda x: calls.append(None) or x * 2.0, backend="xla")
    for n in (1, 2):
        assert [f(np.ones(1)).tolist() for _ in range(3)] == [[2.0]] * 3
        assert f.cache_info()[:2] == (2, 1) and len(calls) == n
        with fg.debug_nans():
            assert f(np.ones(1)).tolist() == [2.0]
        assert len(calls) == n + 1
        calls.pop()
        f.clear_cache()


def test_a_function_that_is_gone_is_forgotten(flag: bool) -> None:
    def f(x: Any) -> Any:
        return x + 1

    gone = weakref.ref(f)
    jitted = fg.jit(f, backend="xla")
    jitted(np.ones(2))
    jitted(np.ones(2))
    del f, jitted
    gc.collect()
    assert gone() is None

"""What a transformation leaves behind and what it costs: threads, memory, cycles, long tapes."""

from __future__ import annotations

import gc
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.ops.indexing import index_add

X = np.linspace(0.1, 1.3, 7)
MEGABYTE = 1 << 20


def loss(x: Any) -> Any:
    return np.sum(np.sin(x) * x / (1.0 + x * x))


def nested(x: Any) -> Any:
    return np.sum(fg.grad(loss)(x) * fg.jvp(fg.grad(loss), (x,), (X,))[1])


TRANSFORMATIONS: dict[str, Callable[[], Any]] = {
    "grad": lambda: fg.grad(loss)(X),
    "value_and_grad": lambda: fg.value_and_grad(loss)(X),
    "vjp": lambda: fg.vjp(np.sin, X)[1](X),
    "jvp": lambda: fg.jvp(loss, (X,), (X,)),
    "linearize": lambda: fg.linearize(np.sin, X)[1](X),
    "jvp of grad": lambda: fg.jvp(fg.grad(loss), (X,), (X,)),
    "grad of grad": lambda: fg.grad(nested)(X),
    "pytree": lambda: fg.grad(lambda p: loss(p["a"][0]) * loss(p["b"]))({"a": [X], "b": X}),
    "has_aux": lambda: fg.grad(lambda x: (loss(x), {"x": x}), has_aux=True)(X),
    "exception": lambda: fails(),
}
each = pytest.mark.parametrize("run", TRANSFORMATIONS.values(), ids=TRANSFORMATIONS)


def fails() -> None:
    def f(x: Any) -> Any:
        y = np.sin(x)
        if x.shape:
            raise KeyError("inside")
        return y

    try:
        fg.grad(lambda x: fg.grad(f)(x))(X)
    except KeyError:
        return
    raise AssertionError("the exception did not come out")


# --- threads -------------------------------------------------------------------------------------


@pytest.fixture
def eager_switching() -> Iterator[None]:
    """Let threads alternate after every few bytecodes."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("eager_switching")
def test_eight_threads_give_the_results_of_one() -> None:
    points = [np.linspace(0.1, 1.0 + k, 7) for k in range(8)]
    work = [fg.grad(nested), fg.grad(loss), lambda x: fg.jvp(nested, (x,), (X,))[1]]
    expected = [[f(x) for f in work] for x in points]
    barrier = threading.Barrier(8)

    def run(x: Any) -> list[list[Any]]:
        barrier.wait(timeout=30)
        return [[f(x) for f in work] for _ in range(20)]

    with ThreadPoolExecutor(8) as pool:
        for results, reference in zip(pool.map(run, points), expected, strict=True):
            for result in results:
                for a, b in zip(result, reference, strict=True):
                    np.testing.assert_array_equal(a, b)


def test_a_traced_value_may_be_closed_over_by_threads() -> None:
    def f(x: Any) -> Any:
        with ThreadPoolExecutor(4) as pool:
            parts = list(pool.map(lambda k: fg.grad(lambda y: y * y * x)(float(k)), range(4)))
        return sum(parts[1:], parts[0])  # Σ 2k·x

    assert fg.grad(f)(3.0) == 12.0


# --- memory --------------------------------------------------------------------------------------


@contextmanager
def traced_memory() -> Iterator[None]:
    """Count the bytes that Python and NumPy allocate."""
    gc.collect()
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


@contextmanager
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@each
def test_no_reference_cycles(run: Callable[[], Any]) -> None:
    run()
    gc.collect()  # what tests before this one have left
    with no_collector():
        for _ in range(100):
            run()
        assert gc.collect() < 100  # what other threads leave behind is less than one per run


@pytest.mark.parametrize(
    "collector", [pytest.param(True, marks=pytest.mark.slow), False], ids=["gc", "no gc"]
)
def test_ten_thousand_gradients_leave_memory_flat(collector: bool) -> None:
    gradient = fg.grad(loss)
    with nullcontext() if collector else no_collector(), traced_memory():
        for _ in range(5_000):  # fills Python's free lists, which hold some thousand tuples
            gradient(X)
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(10_000):
            gradient(X)
        assert tracemalloc.get_traced_memory()[0] - before < 10_000  # less than a byte per call


def peak(f: Callable[[], Any]) -> int:
    """Return the most bytes that were allocated at once during a call."""
    f()
    with traced_memory():
        f()
        return tracemalloc.get_traced_memory()[1]


def test_values_that_no_rule_reads_are_not_kept() -> None:
    x = np.zeros(MEGABYTE // 8)

    def f(x: Any) -> Any:
        y = x
        for _ in range(50):
            y = -(y + 1.0)
        return np.sum(y)

    assert peak(lambda: fg.grad(f)(x)) < 8 * MEGABYTE


def test_cotangents_are_released_during_the_sweep() -> None:
    x = np.ones(MEGABYTE // 8)

    def f(x: Any) -> Any:
        y = x
        for _ in range(50):
            y = np.sin(y)
        return np.sum(y)

    assert peak(lambda: fg.grad(f)(x)) < 58 * MEGABYTE  # 50 residuals, and a handful beside them


# --- long programs -------------------------------------------------------------------------------


def test_a_million_operations() -> None:
    def f(x: Any) -> Any:
        y = x
        for _ in range(500_000):
            y = y * 1.000001 + 0.5
        return y

    assert fg.grad(f)(2.0) == pytest.approx(1.000001**500_000)


def test_a_long_chain_at_second_order() -> None:
    def f(x: Any) -> Any:
        y = x
        for _ in range(20_000):
            y = np.sin(y) * 0.5 + y * 0.5
        return y

    second = fg.jvp(fg.grad(f), (0.5,), (1.0,))[1]
    assert second == pytest.approx(fg.grad(fg.grad(f))(0.5))


# --- cost of reading element by element ----------------------------------------------------------


def loop(x: Any) -> Any:
    total = 0.0
    for i in range(x.shape[0]):
        total = total + x[i] * x[i]
    return total


def elements_cleared_or_copied(n: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return how many elements the gradient of `loop` gets from np.zeros and copies to add to."""
    count = 0

    def counting(f: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            result = f(*args, **kwargs)
            count += result.size
            return result

        return counted

    x = np.arange(float(n))
    with monkeypatch.context() as patch:
        patch.setattr(np, "zeros", counting(np.zeros))
        patch.setattr(index_add, "numpy", counting(index_add.numpy))
        gradient = fg.grad(loop)(x)
    np.testing.assert_array_equal(gradient, 2.0 * x)
    return count


def test_reading_each_element_costs_linear_time(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = [elements_cleared_or_copied(n, monkeypatch) for n in (500, 2000)]
    assert large <= 6 * small  # 16 times, if every read made an array of its own
    assert large <= 10 * 2000


def test_reading_each_element_costs_linear_memory() -> None:
    small, large = [peak(lambda n=n: fg.grad(loop)(np.arange(float(n)))) for n in (500, 2000)]
    assert large <= 6 * small


# --- exceptions ----------------------------------------------------------------------------------


def test_an_exception_leaves_no_state_behind() -> None:
    expected = fg.grad(nested)(X)
    for _ in range(3):
        fails()
        np.testing.assert_array_equal(fg.grad(nested)(X), expected)


def test_a_tracer_kept_from_a_failed_run_is_dead() -> None:
    kept: list[Any] = []

    def f(x: Any) -> Any:
        kept.append(x)
        raise KeyError("inside")

    for run in (lambda: fg.grad(f)(1.0), lambda: fg.jvp(f, (1.0,), (1.0,))):
        with pytest.raises(KeyError):
            run()
        with pytest.raises(fg.errors.LeakedTracerError, match="had ended"):
            kept.pop() + 1.0

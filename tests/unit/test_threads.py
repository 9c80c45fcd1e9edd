"""Pieces of work on threads: results, failures, the number of BLAS threads, forks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import weakref
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.nn import functional_conv as nn
from funcgraph.ops import columns, conv_numpy, threads
from funcgraph.ops.conv import conv_input, conv_kernel
from funcgraph.ops.threads import in_parallel


class Blas:
    """A BLAS with some threads, which notes what it is told."""

    def __init__(self, count: int) -> None:
        self.count, self.told = count, []

    def put(self, count: int) -> None:
        self.count = count
        self.told.append(count)


@pytest.fixture
def blas(monkeypatch: pytest.MonkeyPatch) -> Blas:
    found = Blas(3)
    monkeypatch.setattr(threads, "_blas", lambda: (lambda: found.count, found.put))
    return found


def test_results_are_in_order_and_the_blas_is_restored(blas: Blas) -> None:
    seen, wait = set(), threading.Barrier(3, timeout=10)

    def work(k: int) -> int:
        seen.add(threading.get_ident())
        if k < 3:
            wait.wait()  # three threads at once, or never
        assert blas.count == 1
        return k * k

    assert in_parallel(work, range(9)) == [k * k for k in range(9)]
    assert len(seen) == 3 and blas.told == [1, 3]


def test_one_item_and_one_blas_thread_start_nothing(blas: Blas) -> None:
    me = [threading.get_ident()]
    assert in_parallel(lambda _: threading.get_ident(), range(1)) == me
    blas.count, blas.told = 1, []
    assert set(in_parallel(lambda _: threading.get_ident(), range(9))) == set(me)
    assert not blas.told
    assert in_parallel(lambda k: k, []) == []


def test_failures_are_raised(blas: Blas) -> None:
    done = []

    def work(k: int) -> None:
        if k == 1:
            raise KeyError("one")
        done.append(k)

    with pytest.raises(KeyError, match="one"):
        in_parallel(work, range(1000))
    assert len(done) < 999 and blas.count == 3


def test_error_states_are_the_callers(blas: Blas) -> None:
    x = np.full(4, np.inf)
    with np.errstate(invalid="ignore"):
        assert np.isnan(in_parallel(lambda _: (x - x).sum(), range(9))).all()
    with np.errstate(invalid="raise"), pytest.raises(FloatingPointError):
        in_parallel(lambda _: x - x, range(9))


def test_second_callers_work_alone(blas: Blas) -> None:
    """Somebody who comes in meanwhile starts no thread; the last one out restores the BLAS."""

    def work(k: int) -> Any:
        return in_parallel(lambda _: threading.get_ident(), range(9)) if k == 0 else None

    assert len(set(in_parallel(work, range(9))[0])) == 1
    assert blas.told == [1, 3]


def test_functions_on_own_threads(blas: Blas) -> None:
    """The BLAS has one thread from begin to end; each call within has all threads, one by one."""

    def pieces() -> set[int]:
        gate = threading.Barrier(3, timeout=10)
        return {k for _, k in in_parallel(lambda _: (gate.wait(), threading.get_ident()), range(3))}

    def work(count: int) -> list[set[int]]:
        assert blas.count == 1
        return [pieces() for _ in range(count)]

    assert [len(used) for used in threads.on_own_threads(work)(2)] == [3, 3]
    assert blas.told == [1, 3]
    with pytest.raises(KeyError):
        threads.on_own_threads({}.__getitem__)("missing")
    assert blas.count == 3


def test_what_is_set_meanwhile_stays(blas: Blas) -> None:
    in_parallel(lambda _: blas.put(2), [0])
    assert blas.count == 2


def test_no_thread_to_be_had(blas: Blas, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    assert in_parallel(lambda k: k, range(5)) == list(range(5))


def test_threads_wait_for_the_next_call(blas: Blas) -> None:
    """The second call finds the threads of the first, which keep nothing of it."""
    gate = threading.Barrier(3, timeout=10)

    def work(x: Any) -> int:
        gate.wait()
        return threading.get_ident()

    first = set(in_parallel(work, range(3)))
    items = [np.ones(3) for _ in range(3)]
    refs = [weakref.ref(x) for x in items]
    assert set(in_parallel(work, items)) == first and len(first) == 3
    del items
    pause = threading.Event()  # a thread drops a call after it has said that it is done
    assert any(all(ref() is None for ref in refs) or pause.wait(0.01) for _ in range(1000))


def test_nobody_waits_for_a_thread_that_has_not_begun(
    blas: Blas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where all cores are busy, the caller does everything; who comes late finds nothing to do."""
    late: list[Any] = []
    monkeypatch.setattr(threads._pool, "submit", late.extend)
    done: list[int] = []
    in_parallel(done.append, range(5))
    assert done == list(range(5)) and len(late) == 2
    for call in late:
        call()
    assert len(done) == 5


def test_another_blas_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_blas", lambda: None)
    idents = in_parallel(lambda _: threading.get_ident(), range(9))
    assert set(idents) == {threading.get_ident()}


def test_forked_processes_work_alone() -> None:
    """A child of a process that computes at the time of the fork is not caught in its locks."""
    program = """
import os, threading
from funcgraph.ops import threads
threads._blas = lambda: ((lambda: 4), (lambda n: None))
def work(k):
    if k:
        return None
    pid = os.fork()
    if pid == 0:
        alone = set(threads.in_parallel(lambda _: threading.get_ident(), range(9)))
        os._exit(0 if alone == {threading.get_ident()} else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(threads.in_parallel(work, range(3))[0])
"""
    if sys.platform == "win32":
        return
    command = [sys.executable, "-W", "ignore", "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.stdout == "0\n", result.stderr


def test_forks_find_no_threads() -> None:
    """Python does not warn of a fork, and the parent's threads are there again afterwards."""
    program = """
import os, threading
from funcgraph.ops import threads
threads._blas = lambda: ((lambda: 4), (lambda n: None))
for _ in range(2):
    gate = threading.Barrier(4, timeout=10)
    threads.in_parallel(lambda _: gate.wait(), range(4))
    pid = os.fork()
    if pid == 0:
        os._exit(threading.active_count() - 1)
    assert os.waitpid(pid, 0)[1] == 0
print("ok")
"""
    if sys.platform == "win32":
        return
    command = [sys.executable, "-W", "error", "-c", program]
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, env=env)
    assert result.stdout == "ok\n", result.stderr


def test_numpys_own_blas() -> None:
    """Where it is OpenBLAS, its number of threads is found, and is restored."""
    found = threads._blas()
    if found is None:
        return
    get, put = found
    before = get()
    put(2)
    try:
        assert in_parallel(lambda _: get(), range(9)) == [1] * 9
        assert get() == 2
    finally:
        put(before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_convolutions_are_the_same_on_all_threads(
    blas: Blas, monkeypatch: pytest.MonkeyPatch, dtype: Any
) -> None:
    """To the last bit, on one and three, with all three products and both ways by the input."""
    monkeypatch.setattr(columns, "_PIECE", 3000)
    monkeypatch.setattr(conv_numpy, "_are_better_lines", lambda *shapes: True)
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(s).astype(dtype) for s in [(6, 12, 11, 6), (3, 3, 6, 8)])

    def run() -> list[Any]:
        found = []
        for strides, padding in [((1, 1), ((0, 0), (0, 0))), ((1, 2), ((1, 1), (2, 0)))]:
            attrs = {"strides": strides, "padding": padding, "dilation": (1, 1), "groups": 1}
            y = nn.conv(x, w, strides, padding)
            found += [
                y,
                conv_input(y, w, shape=x.shape[1:-1], **attrs),
                conv_kernel(x, y, shape=(3, 3), **attrs),
            ]
        return found

    several = run()
    assert 1 in blas.told
    blas.count = 1
    for a, b in zip(several, run(), strict=True):
        assert a.tobytes() == b.tobytes()


def test_programs_with_convolutions_are_on_own_threads(blas: Blas) -> None:
    """Products too: the same to the last bit on one and three threads, and as eagerly."""
    rng = np.random.default_rng(0)
    shapes = {"k": (3, 3, 1, 8), "v": (392, 128), "w": (128, 300)}
    params = {n: rng.standard_normal(s).astype(np.float32) / 9 for n, s in shapes.items()}
    x = rng.standard_normal((96, 16, 16, 1)).astype(np.float32)

    def loss(p: Any) -> Any:
        y = nn.max_pool(nn.conv(x, p["k"], (1, 1), ((0, 0), (0, 0))), (2, 2), (2, 2), "VALID")
        y = np.tanh(np.reshape(y, (96, 392)) @ p["v"])
        return np.sum(np.square(y @ p["w"]))

    f = fg.jit(fg.value_and_grad(loss))
    f(params)
    blas.told.clear()
    several, grads = f(params)
    assert blas.told == [1, 3]  # once for the whole program
    blas.count = 1
    alone, others = f(params)
    assert several == alone
    value, expected = fg.value_and_grad(loss)(params)
    np.testing.assert_allclose(several, value, rtol=1e-5)
    for name, g in grads.items():
        assert g.tobytes() == others[name].tobytes()
        np.testing.assert_allclose(g, expected[name], rtol=1e-4, atol=1e-4)

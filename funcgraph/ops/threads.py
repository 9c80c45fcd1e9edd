"""Pieces of one operation on as many threads as the BLAS has. May import nothing of the package.

OpenBLAS, NumPy's own, splits every product over its threads, and loses on small ones what it gains
on large ones. Where an operation is many small products, `in_parallel` does better: for as long as it
runs, the BLAS works on one thread, and the pieces on as many as it had. So OPENBLAS_NUM_THREADS and
threadpoolctl's limits hold here too, and with one thread nothing is started.

After a product the BLAS's own threads look out for the next one for 26 ms, each of them on a core of its own,
where pieces that come in the meantime find none. So programs of both work `on_own_threads` from
begin to end.

The threads wait for the next call, until the process ends or forks: to start one takes 0.2 ms, to wake
one 0.02. The number of BLAS threads is the whole process's: products that other threads of the user's ask for
in the meantime run on one thread too, and a limit of one that somebody sets in the meantime is lifted
at the end. A second caller at the same time, and a process that was forked, work on their own thread
only. With another BLAS than OpenBLAS on POSIX threads nothing is changed, and nothing is started.
Results are the same to the last bit on any number of threads.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from functools import cache, partial, wraps
from itertools import product
from queue import SimpleQueue
from typing import Any

__all__ = ["in_parallel", "on_own_threads"]


@cache
def _blas() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """Return the functions of NumPy's BLAS that get and set its number of threads."""
    module = sys.modules.get("numpy._core._multiarray_umath")
    try:
        library = ctypes.CDLL(module.__file__)  # type: ignore[union-attr, arg-type]
    except (AttributeError, OSError):
        return None
    for prefix, suffix in product(("scipy_", ""), ("64_", "")):
        name = f"{prefix}openblas_{{}}{suffix}"
        try:
            get, put, kind = (
                getattr(library, name.format(s))
                for s in ("get_num_threads", "set_num_threads", "get_parallel")
            )
        except AttributeError:
            continue
        return (get, put) if kind() == 1 else None  # 1: its own threads; 2: OpenMP's
    return None


class _Limit:
    """The one thread that the BLAS has while somebody is in here."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.callers = 0
        self.before = 1
        self.is_taken = False  # by somebody's pieces
        self.forked = False

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Let the BLAS work on one thread."""
        blas = _blas()
        if blas is None:
            yield
            return
        get, put = blas
        with self.lock:
            self.callers += 1
            if self.callers == 1:
                self.before = get()
                if self.before > 1:
                    put(1)
        try:
            yield
        finally:
            with self.lock:
                self.callers -= 1
                if not self.callers and self.before > 1 and get() == 1:
                    put(self.before)

    @contextmanager
    def count(self) -> Iterator[int]:
        """Do the same; give how many threads the caller may use: one while somebody else has them."""
        with self():
            with self.lock:
                alone, self.is_taken = not self.is_taken, True
            try:
                yield self.before if alone and _blas() and not self.forked else 1
            finally:
                if alone:
                    self.is_taken = False

    def after_fork(self) -> None:
        """Start anew in a child: of the threads of its parent it has one."""
        self.__init__()  # type: ignore[misc]
        self.forked = True


class _Pool:
    """Threads that wait for calls."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.threads: list[threading.Thread] = []

    def submit(self, calls: list[Callable[[], None]]) -> None:
        """Let each call be made by a thread; some are dropped if there are no threads to be had."""
        with self.lock:
            while len(self.threads) < len(calls):
                thread = threading.Thread(target=_serve, args=(self.calls,), daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # no more threads, or the interpreter is about to end
                    break
                self.threads.append(thread)
            for call in calls[: len(self.threads)]:
                self.calls.put(call)

    def stop(self) -> None:
        """Let the threads end; the next call starts others."""
        with self.lock:
            threads, self.threads = self.threads, []
            for _ in threads:
                self.calls.put(None)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join()


def _serve(calls: SimpleQueue[Callable[[], None] | None]) -> None:
    while (call := calls.get()) is not None:
        call()
        call = None  # the arrays of a call are not kept until the next one


_limit = _Limit()
_pool = _Pool()


def _after_fork() -> None:
    _limit.after_fork()
    _pool.__init__()  # type: ignore[misc]


if hasattr(os, "register_at_fork"):
    # A process forks without other threads: else Python warns, and a child would wait for them.
    os.register_at_fork(before=_pool.stop, after_in_child=_after_fork)


class _Run:
    """The items of one call, and what came of them."""

    def __init__(self, work: Callable[[Any], Any], items: Sequence[Any]) -> None:
        self.work = work
        self.left = deque(enumerate(items))
        self.results: list[Any] = [None] * len(items)
        self.failure: BaseException | None = None
        self.ended: SimpleQueue[None] = SimpleQueue()
        self.lock = threading.Lock()
        self.helpers = 0
        self.is_over = False

    def help(self) -> None:
        """Work beside the caller, unless there is nothing left to do by the time a core is free."""
        with self.lock:
            if self.is_over:
                return
            self.helpers += 1
        self.go_on()
        self.ended.put(None)

    def go_on(self) -> None:
        """Work until no item is left, or one has failed."""
        try:
            for k, item in iter(self.next, None):
                self.results[k] = self.work(item)
        except BaseException as error:
            self.fail(error)

    def next(self) -> tuple[int, Any] | None:
        """Take an item, with its number; None: nothing is left."""
        try:
            return self.left.popleft()
        except IndexError:
            return None

    def fail(self, error: BaseException) -> None:
        """Begin no other item."""
        self.failure = error
        self.left.clear()

    def wait(self) -> None:
        """Wait for all who have begun, come what may: they write into arrays."""
        with self.lock:
            self.is_over = True
        while self.helpers:
            try:
                self.ended.get()
                self.helpers -= 1
            except BaseException as error:  # KeyboardInterrupt
                self.fail(error)


def on_own_threads(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function, during which the BLAS works on one thread, and `in_parallel` as ever."""

    @wraps(function)
    def limited(*args: Any) -> Any:
        with _limit():
            return function(*args)

    return limited


def in_parallel(work: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """Return work(item) for each item; `work` must stand to be called by several threads at once.

    NumPy's error states and other context variables are the caller's. If an item fails, no other is
    begun, and the exception is raised here.
    """
    run = _Run(work, items)
    with _limit.count() as count:
        others = max(0, min(count, len(items)) - 1)
        _pool.submit([partial(copy_context().run, run.help) for _ in range(others)])
        run.go_on()
        run.wait()
    if run.failure is not None:
        raise run.failure
    return run.results

"""Pieces of one operation on as many threads as the BLAS has. May import nothing of the package.

OpenBLAS, NumPy's own, splits every product over its threads, and loses on small ones what it gains
on large ones. Where an operation is many small products, `in_parallel` does better: for as long as it
runs, the BLAS works on one thread, and the pieces on as many as it had. So OPENBLAS_NUM_THREADS and
threadpoolctl's limits hold here too, and with one thread nothing is started.

The number of BLAS threads is the whole process's: products that other threads of the user's ask for
in the meantime run on one thread too, and a limit of one that somebody sets in the meantime is lifted
at the end. A second caller at the same time, and a process that was forked, work on their own thread
only. With another BLAS than OpenBLAS on POSIX threads nothing is changed, and nothing is started.
Results are the same to the last bit on any number of threads.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from itertools import product
from typing import Any

__all__ = ["in_parallel"]

_FEWEST = 4  # items for which a thread is started: it takes 0.1 ms, an item of a convolution 0.3 ms


@functools.cache
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
        self.forked = False

    @contextmanager
    def __call__(self) -> Iterator[int]:
        """Let the BLAS work on one thread; give how many the caller may use."""
        blas = _blas()
        if blas is None:
            yield 1
            return
        get, put = blas
        with self.lock:
            self.callers += 1
            if self.callers == 1:
                self.before = get()
                if self.before > 1:
                    put(1)
            count = 1 if self.callers > 1 or self.forked else self.before
        try:
            yield count
        finally:
            with self.lock:
                self.callers -= 1
                if not self.callers and self.before > 1 and get() == 1:
                    put(self.before)

    def after_fork(self) -> None:
        """Start anew in a child: of the threads of its parent it has one."""
        self.__init__()  # type: ignore[misc]
        self.forked = True


_limit = _Limit()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_limit.after_fork)


class _Run:
    """The items of one call, and what came of them."""

    def __init__(self, work: Callable[[Any], Any], items: Sequence[Any]) -> None:
        self.work = work
        self.left = deque(enumerate(items))
        self.results: list[Any] = [None] * len(items)
        self.failure: BaseException | None = None

    def __call__(self) -> None:
        """Work until no item is left, or one has failed."""
        while True:
            try:
                k, item = self.left.popleft()
            except IndexError:
                return
            try:
                self.results[k] = self.work(item)
            except BaseException as error:
                self.failure = error
                self.left.clear()


def in_parallel(work: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """Return work(item) for each item; `work` must stand to be called by several threads at once.

    NumPy's error states and other context variables are the caller's. If an item fails, no other is
    begun, and the exception is raised here.
    """
    run = _Run(work, items)
    with _limit() as count:
        threads: list[threading.Thread] = []
        try:
            for _ in range(min(count, len(items)) - 1 if len(items) >= _FEWEST else 0):
                thread = threading.Thread(target=copy_context().run, args=(run,), daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # no more threads, or the interpreter is about to end
                    break
                threads.append(thread)
            run()
        finally:
            for thread in threads:
                thread.join()
    if run.failure is not None:
        raise run.failure
    return run.results

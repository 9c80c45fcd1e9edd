"""Memory that compiled programs keep from call to call, within one limit for all of them.

A page that the system hands out anew costs more than the arithmetic on it; so workspaces are kept,
and the buffers of results are used again once the caller has dropped them. May import `core`.
"""

from __future__ import annotations

import sys
import threading
import weakref
from bisect import bisect_left
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import prod
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from funcgraph.core.aval import Aval
from funcgraph.engines.numpy.plan import Output

__all__ = ["LIMIT", "Buffers", "Workspaces", "free_to_overwrite", "kept_bytes"]

LIMIT = 256 << 20  # bytes kept by all programs together; what is in use is not counted
_POOLED = 1 << 16  # smaller results come from malloc without a new page
_PER_OUTPUT = 2  # a training step needs two: one is read while the other is written

_kept: OrderedDict[int, tuple[weakref.ref[Any], int]] = OrderedDict()  # oldest first
_lock = threading.Lock()


def kept_bytes() -> int:
    """Return how many bytes all programs together may keep."""
    return sum(size for _, size in list(_kept.values()))


def _keep(owner: Any, size: int) -> None:
    """Count what an owner keeps; owners that have not been heard of for long forget theirs."""
    with _lock:
        key = id(owner)
        _kept[key] = weakref.ref(owner, lambda _: _kept.pop(key, None)), size
        _kept.move_to_end(key)
        total = sum(size for _, size in list(_kept.values()))
        while total > LIMIT and _kept:
            _, (ref, size) = _kept.popitem(last=False)
            total -= size
            if (old := ref()) is not None:
                old.forget()


def _bytes(avals: Sequence[Aval]) -> int:
    return sum(prod(a.shape) * a.dtype.itemsize for a in avals)


class Workspaces:
    """Sets of buffers for the intermediate values of one program: one for each running call."""

    __slots__ = ("__weakref__", "_free", "_slots")

    def __init__(self, slots: Sequence[Aval]) -> None:
        self._slots = tuple(slots)
        self._free: list[list[Any]] = []

    def take(self) -> list[Any]:
        """Return a set that no other call is using."""
        if not self._slots:
            return []
        try:
            return self._free.pop()
        except IndexError:
            _keep(self, _bytes(self._slots))
            return [np.empty(a.shape, a.dtype) for a in self._slots]

    def give(self, workspace: list[Any]) -> None:
        """Take a set back."""
        if workspace and id(self) in _kept:
            self._free.append(workspace)

    def forget(self) -> None:
        """Drop the sets that no call is using."""
        self._free.clear()


# The count of a buffer that nobody but a local variable refers to.
def _count_alone() -> int:
    pool = [np.empty(1)]
    buffer = pool.pop()
    return sys.getrefcount(buffer)


_COUNTS = hasattr(sys, "getrefcount") and getattr(sys, "_is_gil_enabled", lambda: True)()
_ALONE = _count_alone() if _COUNTS else 0


class Buffers:
    """Memory for the results of one program.

    What was handed to the caller is never written again while anything refers to it: a buffer is
    used a second time only if the reference counts say that the caller has dropped the result and
    all views of it.
    """

    __slots__ = ("__weakref__", "_donors", "_outputs", "_pools")

    def __init__(self, outputs: Sequence[Output]) -> None:
        self._outputs = tuple(outputs)
        self._donors = [o.donor for o in outputs if o.donor is not None]
        self._pools: list[list[Any] | None] = [
            [] if _COUNTS and _POOLED <= _bytes([o.aval]) <= LIMIT // 8 else None for o in outputs
        ]

    def take(self, inputs: Sequence[Any]) -> list[Any]:
        """Return a buffer for each output: a donated input, an old buffer, or a new one."""
        out = []
        free = free_to_overwrite(self._donors, inputs) if self._donors else set()
        for output, pool in zip(self._outputs, self._pools, strict=True):
            if output.donor is not None and output.donor in free:
                out.append(inputs[output.donor])
            elif pool is None:
                out.append(np.empty(output.aval.shape, output.aval.dtype))
            else:
                out.append(self._from_pool(pool, output.aval))
        return out

    def _from_pool(self, pool: list[Any], aval: Aval) -> Any:
        for _ in range(len(pool)):
            try:
                buffer = pool.pop(0)
            except IndexError:  # another thread was here
                break
            alone = sys.getrefcount(buffer) == _ALONE and not weakref.getweakrefcount(buffer)
            if alone and _is_as_new(buffer, aval):
                pool.append(buffer)
                return buffer
            pool.append(buffer)
        buffer = np.empty(aval.shape, aval.dtype)
        pool.append(buffer)
        if len(pool) > _PER_OUTPUT:
            del pool[0]
        _keep(self, sum(b.nbytes for p in self._pools if p for b in p))
        return buffer

    def forget(self) -> None:
        """Drop the buffers."""
        for pool in self._pools:
            if pool:
                pool.clear()


def _is_as_new(buffer: Any, aval: Aval) -> bool:
    """Return whether the caller has left an array in the form in which it was handed out."""
    flags = buffer.flags
    same = buffer.shape == aval.shape and buffer.dtype == aval.dtype
    return bool(same and flags.c_contiguous and flags.writeable and flags.owndata)


def free_to_overwrite(donated: Iterable[int], inputs: Sequence[Any]) -> set[int]:
    """Return which of the donated inputs may be written: arrays that own their memory, alone."""
    flags = {k: inputs[k].flags for k in owners_alone(donated, inputs)}
    return {k for k, f in flags.items() if f.writeable and f.c_contiguous and f.aligned}


def owners_alone(donated: Iterable[int], inputs: Sequence[Any]) -> set[int]:
    """Return which of the donated inputs own their memory, and share it with no other input."""
    times = Counter(map(id, inputs))
    owners = {}
    for k in donated:
        x = inputs[k]
        if type(x) is np.ndarray and times[id(x)] == 1 and x.flags.owndata:
            owners[k] = x
    others = [x for x in inputs if isinstance(x, np.ndarray) and not x.flags.owndata and x.size]
    if not others:  # different owners have different memory
        return set(owners)
    spans = sorted(map(byte_bounds, others))
    starts, reach = [a for a, _ in spans], list(accumulate((b for _, b in spans), max))

    def is_alone(x: Any) -> bool:
        start = x.ctypes.data
        before = bisect_left(starts, start + x.nbytes)  # of the others, that begin before its end
        return not before or reach[before - 1] <= start

    return {k for k, x in owners.items() if is_alone(x)}

"""What tells values apart that are equal: 1, 1.0 and True, 0.0 and -0.0. May import NumPy."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

__all__ = ["exact", "fixed"]


def exact(v: Any) -> Any:
    """Return what is equal only for values that are the same: 1, True and 1.0 differ, 0. and -0.

    Example:
      >>> exact((1, 0.0)) == exact((1, 0.0)), exact((1, 0.0)) == exact((True, -0.0))
      (True, False)
    """
    cls = type(v)
    if isinstance(v, tuple):  # of its class, too: functions of eager_call are named tuples
        return (cls, *map(exact, v))
    if cls is float or cls is complex:
        return cls, repr(v)
    if cls is slice:  # has no hash before Python 3.12
        return cls, exact((v.start, v.stop, v.step))
    if cls is np.ndarray or isinstance(v, np.generic):
        return v.dtype, v.shape, v.tobytes()
    if cls is frozenset:
        return cls, frozenset(map(exact, v))
    if dataclasses.is_dataclass(cls) and cls.__eq__ is not object.__eq__:
        fields = [getattr(v, f.name, None) for f in dataclasses.fields(v) if f.compare]
        return (cls, v, *map(exact, fields))
    return cls, v


def fixed(spec: Any) -> tuple[Any, ...]:
    """Return what a structure holds beside leaves, exactly, other than names of a dict's entries.

    Args:
      spec: Of a TreeDef. Those with equal specs and equal results are the same.
    """
    found: list[Any] = []
    if spec is not None:
        _collect(spec, found)
    return tuple(found)


def _collect(spec: Any, found: list[Any]) -> None:
    _, meta, children = spec
    if meta is not None:
        if hasattr(meta, "node_data"):  # of a type that is registered with JAX
            meta = meta.node_data()[1]
        for x in meta if type(meta) is tuple else (meta,):
            if type(x) is not str:
                found.append(exact(x))
    for child in children:
        if child is not None:
            _collect(child, found)

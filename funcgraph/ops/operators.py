"""Installs Python's operators on tracers. May import `core`, `ops`."""

from __future__ import annotations

from typing import Any

from funcgraph.core.trace import Tracer
from funcgraph.ops import elementwise as ew
from funcgraph.ops.indexing import index


def _operator(primitive: Any) -> Any:
    return lambda self, other: primitive(self, other)


def _reflected(primitive: Any) -> Any:
    return lambda self, other: primitive(other, self)


def install() -> None:
    """Give Tracer the operators of ndarray."""
    both = {
        "add": ew.add,
        "sub": ew.subtract,
        "mul": ew.multiply,
        "truediv": ew.divide,
    }
    for name, primitive in both.items():
        setattr(Tracer, f"__{name}__", _operator(primitive))
        setattr(Tracer, f"__r{name}__", _reflected(primitive))
    comparisons = {
        "lt": ew.less,
        "le": ew.less_equal,
        "gt": ew.greater,
        "ge": ew.greater_equal,
        "eq": ew.equal,
        "ne": ew.not_equal,
    }
    for name, primitive in comparisons.items():
        setattr(Tracer, f"__{name}__", _operator(primitive))
    Tracer.__neg__ = lambda self: ew.negative(self)  # type: ignore[attr-defined]
    Tracer.__pos__ = lambda self: ew.positive(self)  # type: ignore[attr-defined]
    Tracer.__getitem__ = index  # type: ignore[attr-defined]


install()

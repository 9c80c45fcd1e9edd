"""Batching: tracers that stand for one lane of a batch, and the trace that moves batches on.

A tracer holds the values of all lanes, the batch axis in front; it shows the shape of one lane.
May import `core`, `ops`.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from funcgraph.core.aval import dtype_of, ndim_of, shape_of
from funcgraph.core.primitive import Primitive, aligned
from funcgraph.core.trace import Trace, Tracer, refuse_leak
from funcgraph.errors import ConcretizationError
from funcgraph.ops.structural import broadcast_to

__all__ = ["Batch", "BatchTracer", "Replicated"]


_NUMBERS = {float, int, np.float64}


class Replicated:
    """What a batching rule returns whose value is the same for all lanes: it has no batch axis."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class BatchTracer(Tracer):
    """One lane of a batch; `value` holds them all, the batch axis in front."""

    __slots__ = ("value",)

    value: Any

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """Lengths of the axes of one lane."""
        return shape_of(self.value)[1:]

    @property
    def dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        """Type of the elements."""
        return dtype_of(self.value)

    def concrete(self) -> NoReturn:
        """Refuse: each lane has a value of its own."""
        raise ConcretizationError(
            f"under vmap an array of shape {self.shape} and dtype {self.dtype} has another value "
            "in every lane, so Python cannot branch on it, and no shape can depend on it. Use "
            "np.where, funcgraph.cond, funcgraph.while_loop, or vmap(..., method='loop'), which "
            "calls the function once for each lane."
        )


class Batch(Trace):
    """The trace of vmap: `size` lanes, perhaps with a name for collective operations."""

    __slots__ = ("size",)

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def tracer(self, value: Any) -> BatchTracer:
        """Return the tracer of a batch whose batch axis is in front."""
        out = BatchTracer()
        out.value = value
        out._trace = self
        return out

    def owns(self, x: Any) -> bool:
        """Return whether x is a tracer of this trace."""
        return type(x) is BatchTracer and x._trace is self

    def batch_of(self, x: Any) -> Any:
        """Return the values of all lanes, repeated where x is the same for all."""
        return x.value if self.owns(x) else broadcast_to(x, (self.size, *shape_of(x)))

    def unary(self, primitive: Primitive, x: Any) -> Any:
        """Apply a primitive of one argument, if elementwise: to all lanes at once."""
        if primitive.batch is not aligned or not self.alive:
            return self.process(primitive, (x,), {})
        return self.tracer(primitive(x.value))

    def binary(self, primitive: Primitive, x: Any, y: Any) -> Any:
        """Apply a primitive of two arguments, if elementwise and without axes to align."""
        a = x.value if type(x) is BatchTracer and x._trace is self else x
        b = y.value if type(y) is BatchTracer and y._trace is self else y
        if type(a) in _NUMBERS or type(b) in _NUMBERS:
            direct = True
        else:
            direct = a is not x and b is not y and ndim_of(a) == ndim_of(b)
        if not direct or primitive.batch is not aligned or not self.alive:
            return super().binary(primitive, x, y)
        return self.tracer(primitive(a, b))

    def process(self, primitive: Primitive, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """Apply a primitive's batching rule."""
        if not self.alive:
            refuse_leak()
        batched = tuple(self.owns(a) for a in args)
        values = tuple(a.value if b else a for a, b in zip(args, batched, strict=True))
        assert primitive.batch is not None  # checked where it was declared
        out = primitive.batch(primitive, self.size, values, batched, attrs)
        if type(out) is Replicated:
            return out.value
        return tuple(map(self.tracer, out)) if primitive.many else self.tracer(out)

"""Operations across the lanes of a named vmap: sums, means, extremes, gathers.

Each takes, beside its argument, the lane numbers: a tracer of the vmap that the name belongs to. So
the dispatch finds that vmap by itself, whatever transformations are in between.
May import `core`, `ops`, `numpy`, `transforms.batching`.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from math import prod
from typing import Any

from funcgraph.core.aval import Aval, shape_of
from funcgraph.core.primitive import Linear, Primitive
from funcgraph.errors import BatchAxisError
from funcgraph.ops.indexing import index
from funcgraph.ops.reductions import reduce_max, reduce_min
from funcgraph.ops.structural import moved, reduce_sum, reshape, spread
from funcgraph.transforms.batching import BatchTracer, Replicated

__all__ = [
    "COLLECTIVES",
    "all_gather",
    "axis_index",
    "axis_sizes",
    "named_axis",
    "pmax",
    "pmean",
    "pmin",
    "psum",
]

_axes: contextvars.ContextVar[dict[Any, BatchTracer]] = contextvars.ContextVar("axes")


@contextlib.contextmanager
def named_axis(name: Any, lanes: BatchTracer) -> Iterator[None]:
    """Give the lanes of a vmap a name while its function runs."""
    token = _axes.set({**_axes.get({}), name: lanes})
    try:
        yield
    finally:
        _axes.reset(token)


def axis_sizes() -> tuple[tuple[Any, int], ...]:
    """Return names and sizes of the axes that a function called now can refer to.

    A program that is staged now may hold them as numbers: psum(1.0, name) is one.
    """
    known = _axes.get(None)
    return tuple([(n, t._trace.size) for n, t in known.items()]) if known else ()  # type: ignore[attr-defined]


def _lanes(name: Any) -> BatchTracer:
    axes = _axes.get({})
    if name not in axes:
        known = ", ".join(map(repr, axes)) or "none"
        raise BatchAxisError(
            f"there is no batch axis named {name!r} here (known: {known}). Name it in the vmap "
            f"around this function: vmap(f, axis_name={name!r})."
        )
    return axes[name]


def _all_lanes(names: Any) -> list[BatchTracer]:
    """Return the lanes of one axis, or of each of several, the first of which runs slowest."""
    if not isinstance(names, tuple | list) or (type(names) is tuple and names in _axes.get({})):
        return [_lanes(names)]
    found = [_lanes(name) for name in names]
    if len({id(lanes) for lanes in found}) < len(found):
        raise BatchAxisError(f"a collective operation got an axis twice: {names!r}.")
    return found


def _unreachable(*_: Any, **__: Any) -> Any:
    raise BatchAxisError("a collective operation was used outside its vmap.")


def _batch_sum(primitive: Any, size: int, args: Any, batched: Any, attrs: Any) -> Any:
    x, lanes = args
    if batched[1]:
        return Replicated(reduce_sum(x, axes=(0,)) if batched[0] else x * size)
    return primitive(x, lanes)


def _batch_gather(primitive: Any, size: int, args: Any, batched: Any, attrs: Any) -> Any:
    x, lanes = args
    if batched[1]:
        return Replicated(spread(x, size, batched[0]))
    return moved(primitive(x, lanes, **attrs), 1, 0)


_sum: Primitive = Primitive(
    "psum",
    _unreachable,
    _unreachable,
    lambda x, lanes: Aval(x.shape, x.dtype),
    Linear(lambda g, x, lanes: _sum(g, lanes)),
    _batch_sum,
)

_all_gather = Primitive(
    "all_gather",
    _unreachable,
    _unreachable,
    lambda x, lanes, size: Aval((size, *x.shape), x.dtype),
    Linear(lambda g, x, lanes, size: index(_sum(g, lanes), lanes)),
    _batch_gather,
)


def _size(lanes: BatchTracer) -> int:
    return lanes._trace.size  # type: ignore[attr-defined,no-any-return]


def _total(x: Any, axis_name: Any) -> Any:
    for lanes in _all_lanes(axis_name):
        x = _sum(x, lanes)
    return x


def _gather(x: Any, axis_name: Any) -> Any:
    """Return x of all lanes along a new leading axis."""
    shape, several = shape_of(x), _all_lanes(axis_name)
    for lanes in reversed(several):
        x = _all_gather(x, lanes, size=_size(lanes))
    return x if len(several) == 1 else reshape(x, (prod(map(_size, several)), *shape))


COLLECTIVES = (_sum, _all_gather)


def psum(x: Any, axis_name: Any) -> Any:
    """Return the sum of x over the lanes of a named batch axis: the same in every lane.

    y = Σ_i x_i.

    Args:
      x: Array; one lane.
      axis_name: As given to vmap; or a tuple of names: all lanes of these axes.

    Returns:
      Array of x's shape.

    Raises:
      BatchAxisError: There is no such axis, or it is named twice.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> fg.vmap(lambda x: x / fg.psum(x, "i"), axis_name="i")(np.array([1.0, 3.0]))
      array([0.25, 0.75])
    """
    return _total(x, axis_name)


def pmean(x: Any, axis_name: Any) -> Any:
    """Return the mean of x over the lanes of a named batch axis.

    Args:
      x: Array; one lane.
      axis_name: As given to vmap; or a tuple of names: all lanes of these axes.

    Returns:
      Array of x's shape.

    Raises:
      BatchAxisError: There is no such axis, or it is named twice.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> fg.vmap(lambda x: x - fg.pmean(x, "i"), axis_name="i")(np.array([1.0, 3.0]))
      array([-1.,  1.])
    """
    return _total(x, axis_name) / prod(map(_size, _all_lanes(axis_name)))


def pmax(x: Any, axis_name: Any) -> Any:
    """Return the largest x of all lanes, element by element; ties share the gradient.

    Args:
      x: Array; one lane.
      axis_name: As given to vmap; or a tuple of names: all lanes of these axes.

    Returns:
      Array of x's shape.

    Raises:
      BatchAxisError: There is no such axis, or it is named twice.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> fg.vmap(lambda x: x - fg.pmax(x, "i"), axis_name="i")(np.array([1.0, 3.0]))
      array([-2.,  0.])
    """
    return reduce_max(_gather(x, axis_name), axes=(0,))


def pmin(x: Any, axis_name: Any) -> Any:
    """Return the smallest x of all lanes, element by element; ties share the gradient.

    Args:
      x: Array; one lane.
      axis_name: As given to vmap; or a tuple of names: all lanes of these axes.

    Returns:
      Array of x's shape.

    Raises:
      BatchAxisError: There is no such axis, or it is named twice.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> fg.vmap(lambda x: x - fg.pmin(x, "i"), axis_name="i")(np.array([1.0, 3.0]))
      array([0., 2.])
    """
    return reduce_min(_gather(x, axis_name), axes=(0,))


def all_gather(x: Any, axis_name: Any, *, axis: int = 0) -> Any:
    """Return the x of all lanes, stacked along a new axis: the same in every lane.

    Args:
      x: Array of shape s; one lane.
      axis_name: As given to vmap; or a tuple of names: all lanes of these axes.
      axis: Where the new axis of length n (the number of lanes) goes. Lanes of several axes stand
        in it one after the other, those of the last name side by side.

    Returns:
      Array of shape (n, *s) for axis 0.

    Raises:
      BatchAxisError: There is no such axis, or it is named twice.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> fg.vmap(lambda x: fg.all_gather(x, "i"), axis_name="i")(np.array([1.0, 3.0]))
      array([[1., 3.],
             [1., 3.]])
    """
    stacked = _gather(x, axis_name)
    ndim = len(shape_of(stacked))
    return moved(stacked, 0, axis % ndim) if axis % ndim else stacked


def axis_index(axis_name: Any) -> Any:
    """Return the number of this lane, 0 ... n-1, along a named batch axis.

    Args:
      axis_name: As given to vmap; or a tuple of names: all lanes of these axes are counted, those
        of the last name first.

    Returns:
      Integer of shape ().

    Raises:
      BatchAxisError: There is no such axis, or it is named twice.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> fg.vmap(lambda x: x * fg.axis_index("i"), axis_name="i")(np.ones(3))
      array([0., 1., 2.])
    """
    place: Any = 0
    for lanes in _all_lanes(axis_name):
        place = place * _size(lanes) + lanes
    return place

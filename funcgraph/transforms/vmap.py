"""Vectorisation for users: `vmap`.

May import `core`, `ops`, `tree`, `transforms.batching`, `transforms.collectives`,
`transforms.arguments`.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from funcgraph import tree
from funcgraph.core.aval import shape_of
from funcgraph.core.trace import KIND, NUMPY
from funcgraph.errors import BatchAxisError, TreeError
from funcgraph.ops.indexing import index
from funcgraph.ops.structural import concatenate, moved, stack
from funcgraph.transforms.arguments import name_of, run, snapshot
from funcgraph.transforms.batching import Batch
from funcgraph.transforms.collectives import named_axis
from funcgraph.transforms.inspection import inspection

__all__ = ["vmap"]


def vmap(
    fun: Callable[..., Any],
    in_axes: Any = 0,
    out_axes: Any = 0,
    axis_name: Any = None,
    axis_size: int | None = None,
    *,
    chunk_size: int | None = None,
    method: str = "batch",
) -> Callable[..., Any]:
    """Return a function that applies `fun` to every lane of a batch at once.

    y_i = f(x_i): each operation of fun runs once, on all lanes.

    Args:
      fun: A function of arrays (pytrees); it is written for one lane.
      in_axes: For each positional argument the axis that holds the lanes; None: the argument is
        the same for all lanes. An int for all arguments, or a tuple or list with an entry for each,
        which may be a pytree that matches the first levels of the argument. Negative counts from
        the end. Keyword arguments are mapped over axis 0.
      out_axes: Where the lanes go in the outputs, likewise; None: an output that does not depend on
        the lane is returned once. The loop compares the results of all lanes.
      axis_name: A name for psum, pmean, pmax, pmin, all_gather and axis_index inside fun. All lanes
        run at once then: neither in chunks nor in a loop.
      axis_size: The number of lanes; needed if no argument is mapped.
      chunk_size: At most so many lanes at a time, which bounds the memory.
      method: "batch", or "loop": calls fun once for each lane, in Python, and stacks the results;
        the way for functions whose Python control flow depends on values.

    Returns:
      A function of the same arguments with lanes, which returns outputs with lanes.

    Raises:
      BatchAxisError: An axis is missing, the arguments do not agree on the number of lanes, or an
        output with out_axes=None depends on the lane.
      ConcretizationError: Python control flow in fun depends on the values of a lane.
      ValueError: A name for the lanes, and yet they are not to run at once.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> fg.vmap(np.dot, in_axes=(0, None))(np.arange(6.0).reshape(3, 2), np.array([1.0, 10.0]))
      array([10., 32., 54.])
      >>> fg.vmap(fg.grad(lambda x: x**3))(np.array([1.0, 2.0]))
      array([ 3., 12.])
    """
    if method not in ("batch", "loop"):
        raise ValueError(f"method of vmap must be 'batch' or 'loop', got {method!r}")
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size of vmap must be positive, got {chunk_size}")
    if axis_name is not None and (chunk_size is not None or method == "loop"):
        raise ValueError(
            f"vmap with axis_name={axis_name!r} runs all lanes at once, as psum and the like need "
            "them together: leave out chunk_size and method='loop'."
        )

    @functools.wraps(fun)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        now = inspection.get()
        if now is not None and not now.inside:
            # Not `wrapped`, which would refer to itself: a cycle for each function that is made.
            again = vmap(
                fun, in_axes, out_axes, axis_name, axis_size, chunk_size=chunk_size, method=method
            )
            return now.inspector.call(again, *args, **kwargs)
        lanes = _Lanes(fun, in_axes, axis_size, args, kwargs)
        if method == "loop":
            parts = [lanes.call(lanes.lane(i)) for i in range(lanes.size)]
            _check_same(parts, out_axes, f"vmap of {name_of(fun)}")
            return _stacked(parts, out_axes, stack)
        if chunk_size is None or lanes.size <= chunk_size:
            return _batched(lanes, lanes.leaves, lanes.size, out_axes, axis_name)
        parts = []
        in_front = tree.map(lambda a: None if a is None else 0, out_axes, is_leaf=_is_none)
        for start in range(0, lanes.size, chunk_size):
            stop = min(start + chunk_size, lanes.size)
            parts.append(_batched(lanes, lanes.chunk(start, stop), stop - start, in_front, None))
        return _stacked(parts, out_axes, concatenate)

    return wrapped


class _Lanes:
    """The arguments of one call, flat, with the batch axis of every mapped leaf in front."""

    def __init__(
        self, fun: Any, in_axes: Any, axis_size: int | None, args: tuple[Any, ...], kwargs: Any
    ) -> None:
        self.fun = fun
        name = f"vmap of {name_of(fun)}"
        if isinstance(in_axes, list):
            in_axes = tuple(in_axes)
        if isinstance(in_axes, tuple) and len(in_axes) != len(args):
            raise BatchAxisError(
                f"{name}: in_axes has {len(in_axes)} entries, but {len(args)} positional arguments "
                "were passed."
            )
        args, kwargs = snapshot((args, kwargs))
        leaves, self.structure = tree.flatten((args, kwargs))
        self.axes = _spread_axes(in_axes, args, name, "in_axes")
        self.axes += [0] * (len(leaves) - len(self.axes))

        def where(k: int) -> str:
            return "argument " + tree.keystr(tree.leaves_with_path((args, kwargs))[k][0][1:])

        self.name = where
        self.leaves = [
            x if a is None else _to_front(x, a, name, functools.partial(where, k))
            for k, (x, a) in enumerate(zip(leaves, self.axes, strict=True))
        ]
        mapped = [k for k, a in enumerate(self.axes) if a is not None]
        sizes = {k: shape_of(self.leaves[k])[0] for k in mapped}
        if axis_size is None and not sizes:
            raise BatchAxisError(
                f"{name} maps over no argument: give at least one an axis in in_axes, or pass "
                "axis_size."
            )
        self.size = next(iter(sizes.values())) if axis_size is None else int(axis_size)
        if any(n != self.size for n in sizes.values()):
            listed = ", ".join(f"{where(k)}: {n}" for k, n in sizes.items())
            raise BatchAxisError(
                f"{name}: the arguments differ in the number of lanes ({listed})"
                + ("." if axis_size is None else f"; axis_size={axis_size}.")
            )

    def lane(self, i: int) -> list[Any]:
        """Return the leaves of one lane."""
        return [
            x if a is None else index(x, i) for x, a in zip(self.leaves, self.axes, strict=True)
        ]

    def chunk(self, start: int, stop: int) -> list[Any]:
        """Return the leaves of some of the lanes."""
        part = slice(start, stop)
        return [
            x if a is None else index(x, part) for x, a in zip(self.leaves, self.axes, strict=True)
        ]

    def call(self, leaves: list[Any]) -> Any:
        """Call the function on leaves of its arguments."""
        args, kwargs = tree.unflatten(self.structure, leaves)
        return run(self.fun, args, kwargs)


def _is_none(x: Any) -> bool:
    return x is None


def _spread_axes(axes: Any, full: Any, name: str, what: str) -> list[int | None]:
    """Return the axis of every leaf of `full`; `axes` matches its first levels."""
    out: list[int | None] = []

    def add(axis: Any, part: Any) -> None:
        if axis is not None and (isinstance(axis, bool) or not hasattr(axis, "__index__")):
            raise BatchAxisError(f"{name}: {what} must hold ints and None, got {axis!r}.")
        out.extend([axis] * len(tree.leaves(part)))

    try:
        tree.map(add, axes, full, is_leaf=_is_none)
    except TreeError as error:
        raise BatchAxisError(f"{name}: {what} does not match: {error.message}") from None
    return out


def _to_front(x: Any, axis: int, name: str, where: Callable[[], str]) -> Any:
    if KIND[type(x)] == NUMPY and not isinstance(x, np.ndarray):
        if not isinstance(x, (np.generic, float, int, complex)):
            raise BatchAxisError(
                f"{name}: {where()} is a {type(x).__name__}, which has no axis to map over. Give "
                "it the axis None in in_axes."
            )
        x = np.asarray(x)
    ndim = len(shape_of(x))
    if not -ndim <= axis < ndim:
        raise BatchAxisError(
            f"{name}: {where()} has shape {shape_of(x)}, so it has no axis {axis} to map over. "
            "Give it the axis None in in_axes if it is the same for all lanes."
        )
    axis %= ndim
    return moved(x, axis, 0) if axis else x


def _batched(lanes: _Lanes, leaves: list[Any], size: int, out_axes: Any, axis_name: Any) -> Any:
    """Run the function once, on tracers that stand for all lanes."""
    trace = Batch(size)
    if (now := inspection.get()) is not None:
        names = [functools.partial(lanes.name, k) for k in range(len(leaves))]
        leaves = list(map(now.inspector.enter, leaves, names))
    traced = [x if a is None else trace.tracer(x) for x, a in zip(leaves, lanes.axes, strict=True)]
    context: Any = contextlib.nullcontext()
    if axis_name is not None:
        context = named_axis(axis_name, trace.tracer(np.arange(size)))
    try:
        with context:
            out = lanes.call(traced)
    finally:
        trace.alive = False
    outs, structure = tree.flatten(out)
    name = f"vmap of {name_of(lanes.fun)}"
    axes = _spread_axes(out_axes, out, name, "out_axes")
    moved_back = [_from_front(trace, x, a, name) for x, a in zip(outs, axes, strict=True)]
    return tree.unflatten(structure, moved_back)


def _from_front(trace: Batch, x: Any, axis: int | None, name: str) -> Any:
    if axis is None:
        if trace.owns(x):
            raise BatchAxisError(
                f"{name}: out_axes is None for an output of shape {x.shape} that depends on the "
                "lane. Give it an axis."
            )
        return x
    owned = trace.owns(x)
    x = trace.batch_of(x)
    if not owned and type(x) is np.ndarray:
        x = x.copy()  # of the read-only view that repeats it
    return _placed(x, axis, name)


def _placed(x: Any, axis: int, name: str) -> Any:
    """Move the axis of the lanes from the front to where it goes."""
    ndim = len(shape_of(x))
    if not -ndim <= axis < ndim:
        raise BatchAxisError(f"{name}: out_axes has {axis} for an output with {ndim} axes.")
    axis %= ndim
    return moved(x, 0, axis) if axis else x


def _check_same(parts: list[Any], out_axes: Any, name: str) -> None:
    """Raise BatchAxisError if an output with out_axes=None is not the same in all lanes of a loop.

    Of tracers that cannot be seen, unless they are one object: equal values may have derivatives
    that differ.
    """
    axes = _spread_axes(out_axes, parts[0], name, "out_axes") if parts else []
    for column, axis in zip(zip(*map(tree.leaves, parts), strict=True), axes, strict=True):
        if axis is None and not all(_is_same(x, column[0]) for x in column):
            raise BatchAxisError(
                f"{name}: out_axes is None for an output of shape {shape_of(column[0])} that "
                "depends on the lane, or is traced, so that this cannot be told. Give it an axis."
            )


def _is_same(x: Any, y: Any) -> bool:
    if x is y:
        return True
    try:
        a, b = np.asarray(x), np.asarray(y)
    except TypeError:  # a tracer, ours or JAX's
        return False
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _stacked(parts: list[Any], out_axes: Any, join: Any) -> Any:
    """Join the results of lanes (stack) or chunks (concatenate, lanes in front)."""
    if not parts:
        raise BatchAxisError("vmap over no lanes needs method='batch' to know the output's shape.")
    structure = tree.structure(parts[0])
    columns = zip(*(tree.leaves(p) for p in parts), strict=True)
    axes = _spread_axes(out_axes, parts[0], "vmap", "out_axes")
    out = []
    for column, axis in zip(columns, axes, strict=True):
        if axis is None:
            out.append(column[0])
            continue
        out.append(_placed(join(*column, axis=0), axis, "vmap"))
    return tree.unflatten(structure, out)

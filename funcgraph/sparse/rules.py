"""How dependencies go through one operation: the rules, by primitive, or by kind of derivative.

A rule takes the operation, what is known of its arguments, and returns the dependency of each
output. It must hold for all values that are not known; where nothing better is written here, every
output depends on all that is differentiated. May import `core`, `ops`, `sparse.dependencies`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from funcgraph.core.aval import Aval, is_inexact
from funcgraph.core.primitive import Elementwise, Linear, Primitive, Zero
from funcgraph.ops.indexing import ARRAY, getitem
from funcgraph.sparse.dependencies import (
    Shape,
    along,
    broadcast,
    cumulative,
    everything,
    grouped,
    numbers,
    relate,
    size_of,
    union,
)

__all__ = ["UNKNOWN", "Info", "Operation", "dependencies"]

UNKNOWN = object()  # the value of what depends on arguments

# So many pairs of elements may be written down for a product with a constant that has zeros.
_MAX_PAIRS = 10**7


class Info(NamedTuple):
    """What is known of an array: its dependency, and its value, if the same for all arguments."""

    dep: Any
    value: Any = UNKNOWN


class Operation(NamedTuple):
    """One operation: what is known of its arguments, and the avals around it."""

    primitive: Primitive
    args: list[Info]
    avals: list[Aval]
    outs: list[Aval]
    attrs: dict[str, Any]


def dependencies(op: Operation) -> list[Any]:
    """Return the dependency of each output of an operation."""
    if isinstance(op.primitive.derivative, Zero) or all(a.dep is None for a in op.args):
        return [None] * len(op.outs)
    rule = _RULES.get(op.primitive.name)
    if rule is None:
        is_elementwise = isinstance(op.primitive.derivative, Elementwise)
        rule = _elementwise if is_elementwise else _dense
    found = rule(op)
    deps = found if isinstance(found, list) else [found]
    return [d if is_inexact(a.dtype) else None for d, a in zip(deps, op.outs, strict=True)]


def _linear_count(op: Operation) -> int:
    """Return how many arguments have derivatives: in a linear operation the first ones only."""
    derivative = op.primitive.derivative
    if isinstance(derivative, Linear) and derivative.count is not None:
        return derivative.count
    return len(op.args)


def _dense(op: Operation) -> list[Any]:
    deps = [a.dep for a in op.args[: _linear_count(op)]]
    return [everything(deps, size_of(out.shape)) for out in op.outs]


# --- elementwise ----------------------------------------------------------------------------------


def _elementwise(op: Operation) -> list[Any]:
    count = len(op.args)
    rules = (op.primitive.rules or (True,) * count)[:count]
    deps = [
        broadcast(arg.dep, aval.shape, op.outs[0].shape)
        for rule, arg, aval in zip(rules, op.args, op.avals, strict=True)
        if rule is not None
    ]
    return [union(deps)] * len(op.outs)


def _where(op: Operation) -> Any:
    (condition, *args), shape = op.args, op.outs[0].shape
    if condition.value is UNKNOWN:
        return _elementwise(op)
    masks = np.asarray(condition.value, bool), ~np.asarray(condition.value, bool)
    parts = zip(args, op.avals[1:], masks, strict=True)
    return union([broadcast(x.dep, aval.shape, shape, mask) for x, aval, mask in parts])


def _mask(other: Info) -> Any:
    """Return where a factor is not zero, None if that is not known or everywhere."""
    if other.value is UNKNOWN:
        return None
    mask = np.asarray(other.value) != 0
    return None if mask.all() else mask


def _multiply(op: Operation) -> Any:
    parts = zip(op.args, op.avals, reversed(op.args), strict=True)
    shape = op.outs[0].shape
    return union([broadcast(x.dep, a.shape, shape, _mask(other)) for x, a, other in parts])


# --- elements moved -------------------------------------------------------------------------------


def _moved(op: Operation) -> Any:
    """Run the operation on the positions of the elements, counted from 1: 0 is no element."""
    count = _linear_count(op)
    others = [a.value for a in op.args[count:]]
    if any(v is UNKNOWN for v in others):
        return _dense(op)
    attrs = {**op.attrs, "dtype": np.dtype(int)} if "dtype" in op.attrs else op.attrs
    empty = [np.zeros(a.shape, int) for a in op.avals[:count]]
    deps = []
    for k, x in enumerate(op.args[:count]):
        if x.dep is not None:
            probe = [*empty[:k], numbers(op.avals[k].shape) + 1, *empty[k + 1 :]]
            source = np.ravel(op.primitive.numpy(*probe, *others, **attrs))
            rows = np.flatnonzero(source)
            deps.append(relate(x.dep, rows, source[rows] - 1, source.size))
    return union(deps)


def _array_axes(template: tuple[Any, ...], ndim: int) -> list[int]:
    """Return the axis that each integer array of an index reads."""
    widths = [_width(part) for part in template]
    axes, axis = [], 0
    for part, width in zip(template, widths, strict=True):
        if part is ARRAY:
            axes.append(axis)
        axis += ndim - sum(widths) if part is ... else width
    return axes


def _width(part: Any) -> int:
    """Return how many axes a part of an index reads."""
    if isinstance(part, bool | np.bool_ | np.ndarray):
        return np.ndim(part)
    return 0 if part is None or part is ... else 1


def _getitem(op: Operation) -> Any:
    """Where a position is not known, it may be any along its axis."""
    x, *arrays = op.args
    shape = op.avals[0].shape
    axes = _array_axes(op.attrs["template"], len(shape))
    unknown = [axis for axis, a in zip(axes, arrays, strict=True) if a.value is UNKNOWN]
    if not unknown or 0 in shape:
        return _moved(op)
    mixed = along(x.dep, shape, unknown, shape)
    known = [
        Info(None, np.zeros(aval.shape, int)) if a.value is UNKNOWN else a
        for a, aval in zip(arrays, op.avals[1:], strict=True)
    ]
    return _moved(op._replace(args=[Info(mixed), *known]))


def _permute_along(op: Operation) -> Any:
    if op.args[1].value is not UNKNOWN:
        return _moved(op)
    shape = op.outs[0].shape
    return along(op.args[0].dep, shape, (op.attrs["axis"],), shape)


def _index_add(op: Operation) -> Any:
    x, v, *arrays = op.args
    size = size_of(op.outs[0].shape)
    if any(a.value is UNKNOWN for a in arrays):
        return union([x.dep, everything([v.dep], size)])
    positions = [a.value for a in arrays]
    rows = getitem.numpy(numbers(op.avals[0].shape), *positions, **op.attrs)
    columns = np.broadcast_to(numbers(op.avals[1].shape), np.shape(rows))
    return union([x.dep, relate(v.dep, rows, columns, size)])


def _index_set(op: Operation) -> Any:
    x, v, *arrays = op.args
    if any(a.value is UNKNOWN for a in arrays):  # an element may stay as it was
        return union([x.dep, everything([v.dep], size_of(op.outs[0].shape))])
    return _moved(op)


# --- elements combined ----------------------------------------------------------------------------


def _same(op: Operation) -> Any:
    return op.args[0].dep


def _reduced(op: Operation) -> Any:
    return along(op.args[0].dep, op.avals[0].shape, op.attrs["axes"], op.outs[0].shape)


def _cumulative(op: Operation) -> Any:
    return cumulative(op.args[0].dep, op.avals[0].shape, op.attrs["axis"])


def _cumulative_back(op: Operation) -> Any:
    return cumulative(op.args[0].dep, op.avals[0].shape, op.attrs["axis"], back=True)


def _along_axis(op: Operation) -> Any:
    return along(op.args[0].dep, op.avals[0].shape, (op.attrs["axis"],), op.outs[0].shape)


def _by_matrix(op: Operation) -> list[Any]:
    """Each matrix of a stack gives its own results."""
    shape = op.avals[0].shape
    stack = shape[:-2]
    groups = np.broadcast_to(numbers((*stack, 1, 1)), shape)
    dep = grouped(op.args[0].dep, groups, size_of(stack))
    deps = []
    for out in op.outs:
        ones = (1,) * (len(out.shape) - len(stack))
        deps.append(broadcast(dep, (*stack, *ones), out.shape))
    return deps


def _solve(op: Operation) -> Any:
    """Each column of a solution depends on its matrix and its column of the right-hand side.

    Each row, where the matrix is on the right.
    """
    shape = op.outs[0].shape
    axis = len(shape) - (1 if op.attrs.get("right") else 2)
    (a, b), n = op.args, shape[axis]
    square, ones = (*shape[:-2], n, n), (*shape[:-2], 1, 1)
    matrices = broadcast(a.dep, op.avals[0].shape, square)
    groups = np.broadcast_to(numbers(ones), square)
    per_matrix = grouped(matrices, groups, size_of(ones))
    columns = broadcast(b.dep, op.avals[1].shape, shape)
    return union([broadcast(per_matrix, ones, shape), along(columns, shape, (axis,), shape)])


# --- products -------------------------------------------------------------------------------------

Labels = list[Any]


def _drop_ones(labels: Labels, shape: Shape, sizes: dict[Any, int]) -> Labels:
    """Return the labels without axes of length 1 that are broadcast against longer ones."""
    return [k for k, n in zip(labels, shape, strict=True) if n == sizes[k]]


def _matmul(op: Operation) -> Any:
    ranks = [len(a.shape) for a in op.avals]
    batch: Labels = list(range(max(*ranks, 2) - 2))
    tails = [["row", "inner"][-ranks[0] :], ["inner", "column"][: ranks[1]]]
    terms = []
    for rank, tail in zip(ranks, tails, strict=True):
        terms.append([*batch[len(batch) - max(rank - 2, 0) :], *tail])
    out = [*batch, *(k for tail in tails for k in tail if k != "inner")]
    sizes = dict(zip(out, op.outs[0].shape, strict=True)) | {"inner": op.avals[0].shape[-1]}
    return _contracted(op, terms, out, sizes)


def _einsum_pair(op: Operation) -> Any:
    terms, out = op.attrs["spec"].split("->")
    labels = [list(term) for term in terms.split(",")]
    sizes: dict[Any, int] = {}
    for term, aval in zip(labels, op.avals, strict=True):
        sizes.update(zip(term, aval.shape, strict=True))
    return _contracted(op, labels, list(out), sizes)


def _contracted(op: Operation, terms: list[Labels], out: Labels, sizes: dict[Any, int]) -> Any:
    """Return the dependency of the sums of products of two arrays whose axes carry labels."""
    terms = [_drop_ones(t, a.shape, sizes) for t, a in zip(terms, op.avals, strict=True)]
    deps = []
    for k, x in enumerate(op.args):
        mine, other = terms[k], terms[1 - k]
        mask = _mask(op.args[1 - k])
        free = size_of(tuple(sizes[label] for label in mine if label not in other))
        if x.dep is None:
            continue
        if mask is None or np.count_nonzero(mask) * free > _MAX_PAIRS:
            deps.append(_all_products(x.dep, mine, out, sizes))
        else:
            mask = mask.reshape([sizes[label] for label in other])
            deps.append(_some_products(x.dep, mine, other, mask, out, sizes))
    return union(deps)


def _all_products(dep: Any, mine: Labels, out: Labels, sizes: dict[Any, int]) -> Any:
    shape = tuple(sizes[label] for label in mine)
    lost = [k for k, label in enumerate(mine) if label not in out]
    kept = [label for label in mine if label in out]
    reduced = along(dep, shape, lost, tuple(sizes[label] for label in kept))
    order = sorted(range(len(kept)), key=lambda k: out.index(kept[k]))
    columns = numbers(tuple(sizes[label] for label in kept)).transpose(order)
    columns = columns.reshape([sizes[label] if label in kept else 1 for label in out])
    to = tuple(sizes[label] for label in out)
    return relate(reduced, np.arange(size_of(to)), np.broadcast_to(columns, to), size_of(to))


def _some_products(
    dep: Any, mine: Labels, other: Labels, mask: Any, out: Labels, sizes: dict[Any, int]
) -> Any:
    """Go through the elements of the other factor that are not zero."""
    free = [label for label in mine if label not in other]
    lengths = tuple(sizes[label] for label in free)
    grid = np.unravel_index(np.arange(size_of(lengths)), lengths) if free else ()
    places: dict[Any, Any] = {k: v[:, None] for k, v in zip(other, np.nonzero(mask), strict=True)}
    places |= {k: v[None, :] for k, v in zip(free, grid, strict=True)}

    def position(labels: Labels) -> Any:
        total: Any = np.zeros((1, 1), int)
        for label in labels:
            total = total * sizes[label] + places[label]
        return total

    rows, columns = np.broadcast_arrays(position(out), position(mine))
    return relate(dep, rows, columns, size_of(tuple(sizes[label] for label in out)))


def _convolve(op: Operation) -> Any:
    sizes = [a.shape[0] for a in op.avals]
    if sizes[0] * sizes[1] > _MAX_PAIRS:
        return _dense(op)
    count = op.outs[0].shape[0]
    first = sizes[1] - 1 if op.attrs["mode"] == "valid" else 0
    deps = []
    for k, x in enumerate(op.args):
        mask = _mask(op.args[1 - k])
        taken = np.arange(sizes[1 - k]) if mask is None else np.flatnonzero(mask)
        rows, columns = np.broadcast_arrays(
            np.arange(sizes[k])[:, None] + taken - first, np.arange(sizes[k])[:, None]
        )
        inside = (rows >= 0) & (rows < count)
        deps.append(relate(x.dep, rows[inside], columns[inside], count))
    return union(deps)


# --- the table ------------------------------------------------------------------------------------


def _table(*pairs: tuple[Callable[[Operation], Any], str]) -> dict[str, Any]:
    return {name: rule for rule, names in pairs for name in names.split()}


_RULES = _table(
    (_where, "where"),
    (_multiply, "multiply"),
    (_elementwise, "fresnel sici airy"),
    (_same, "convert copy real imag conjugate"),
    (_moved, "reshape transpose broadcast concatenate stack pad_zeros index_sum"),
    (_getitem, "getitem"),
    (_permute_along, "permute_along"),
    (_index_add, "index_add index_max index_min index_mul"),
    (_index_set, "index_set"),
    (_reduced, "reduce_sum reduce_prod reduce_max reduce_min"),
    (_cumulative, "cumsum cumprod cummax cummin"),
    (_cumulative_back, "cumsum_back"),
    (_along_axis, "fft ifft rfft irfft"),
    (_by_matrix, "inv cofactor det slogdet pinv cholesky eigh eig qr svd expm lu"),
    (_solve, "solve solve_triangular"),
    (_matmul, "matmul"),
    (_einsum_pair, "einsum_pair"),
    (_convolve, "convolve"),
)

"""Indexing primitives: read (`getitem`), add to (`index_add`) and write (`index_set`) elements.

The index is split into a static template (ints, slices, None, Ellipsis, boolean masks) kept in
`attrs`, and integer arrays kept as arguments, so that these may be traced by other transformations.
May import `core`, `ops.places`, `ops.structural`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from funcgraph.core.aval import Aval, dtype_of, ndim_of, shape_of
from funcgraph.core.primitive import Linear, Primitive
from funcgraph.core.text import ARRAY
from funcgraph.core.trace import KIND, NUMPY, Tracer
from funcgraph.errors import ShapeError, TracerConversionError
from funcgraph.ops.places import jax_index_sum
from funcgraph.ops.structural import (
    blank,
    expand_dims,
    inverse,
    reshape,
    spread,
    transpose,
    where,
)

__all__ = [
    "ARRAY",
    "aval_update",
    "batch_update",
    "getitem",
    "index",
    "index_add",
    "index_set",
    "index_sum",
    "is_basic",
    "join_index",
    "split_index",
]


Template = tuple[Any, ...]
Axes = tuple[int, ...]


def split_index(idx: Any) -> tuple[Template, tuple[Any, ...]]:
    """Split an index as written by the user into a static template and integer arrays."""
    if type(idx) is not tuple:
        idx = (idx,)
    template: list[Any] = []
    arrays: list[Any] = []
    for part in idx:
        cls = type(part)
        if cls is int or cls is slice or part is None or part is Ellipsis:
            template.append(part)
        elif cls in (list, tuple, range) or isinstance(part, (np.ndarray, np.generic)):
            part = np.asarray(part)
            if part.dtype == bool:
                template.append(part)
            elif part.ndim == 0:
                template.append(int(part))
            else:
                template.append(ARRAY)
                arrays.append(part if part.size else part.astype(np.intp))
        elif isinstance(part, Tracer) and part.dtype.kind not in "iub":
            raise TracerConversionError(
                f"an index must be an integer, but a traced array of dtype {part.dtype} was used. "
                "Round it first (np.round(x).astype(int)); an index has no derivative."
            )
        elif isinstance(part, Tracer) and part.dtype.kind == "b":
            template.append(part.concrete())  # how many elements it reads depends on its values
        elif KIND[cls] != NUMPY:
            template.append(ARRAY)
            arrays.append(part)
        else:
            template.append(part)
    return tuple(template), tuple(arrays)


def join_index(template: Template, arrays: tuple[Any, ...]) -> Template:
    """Return the index as NumPy takes it, from template and integer arrays."""
    if not arrays:
        return template
    rest = iter(arrays)
    return tuple(next(rest) if part is ARRAY else part for part in template)


def is_basic(template: Template) -> bool:
    """Return whether an index selects each element at most once, as a view."""
    return not any(part is ARRAY or isinstance(part, np.ndarray) for part in template)


def _aval_getitem(x: Aval, *arrays: Aval, template: Template) -> Aval:
    dummies = tuple(np.broadcast_to(np.intp(0), a.shape) for a in arrays)
    probe = np.broadcast_to(np.zeros((), np.bool_), x.shape)
    return Aval(probe[join_index(template, dummies)].shape, x.dtype)


def _transpose_getitem(g: Any, x: Any, *arrays: Any, template: Template) -> Any:
    return index_add(blank(x), g, *arrays, template=template)


def _add_into(buffer: Any, g: Any, x: Any, *arrays: Any, template: Template) -> None:
    idx = join_index(template, arrays)
    if is_basic(template) or not arrays:  # views and masks: each element at most once
        buffer[idx] += g
    else:
        np.add.at(buffer, idx, g)


def _np_getitem(x: Any, *arrays: Any, template: Template) -> Any:
    x = x if hasattr(x, "dtype") else np.asarray(x)  # a Python number has no axes to index
    return x[join_index(template, arrays)]


# --- batching -------------------------------------------------------------------------------------


def _items(template: Template, arrays: Any, batched: Any, ndim: int) -> tuple[list[Any], Axes]:
    """Return an index of an array with `ndim` axes, one entry for each axis or new axis.

    An entry is a slice, None, or a pair (integer array, whether it has a batch axis). Masks become
    the positions of their true elements; beside arrays, an integer is an array of no axes. A single
    bool reads an axis of length 1; the second result says where these have to be inserted first.
    """
    joined = iter(zip(arrays, batched, strict=True))
    out: list[Any] = []
    advanced = not is_basic(template)
    for part in template:
        if part is ARRAY:
            out.append(next(joined))
        elif isinstance(part, np.ndarray) and part.dtype != bool:  # a mask that was batched before
            out.append((part, False))
        elif isinstance(part, np.ndarray) and part.ndim:
            out += [(k, False) for k in np.nonzero(part)]
        elif isinstance(part, (bool, np.bool_, np.ndarray)):
            out.append((np.arange(int(part)), False, "new"))
        elif isinstance(part, (int, np.integer)) and advanced:
            out.append((np.intp(part), False))
        else:
            out.append(part)
    new = [part for part in out if type(part) is tuple and len(part) == 3]
    missing = ndim + len(new) - sum(part is not None and part is not Ellipsis for part in out)
    k = next((k for k, part in enumerate(out) if part is Ellipsis), len(out))
    out = [*out[:k], *[slice(None)] * missing, *out[k + 1 :]]
    axes = [part for part in out if part is not None]
    inserted = tuple(k for k, part in enumerate(axes) if type(part) is tuple and len(part) == 3)
    return [part[:2] if type(part) is tuple else part for part in out], inserted


def batched_index(
    template: Template, arrays: Any, size: int, ndim: int, whole: bool, batched: Any
) -> tuple[Template, tuple[Any, ...], Axes, Axes]:
    """Return the index that reads (or writes) a whole batch.

    Args:
      template: The index of one lane.
      arrays: Its integer arrays.
      size: The number of lanes.
      ndim: The number of axes of the indexed array, without the batch axis.
      whole: Whether the indexed array has a batch axis in front.
      batched: For each array, whether it has one.

    Returns:
      Template and arrays of the index; the order in which to transpose what it reads so that the
      batch axis is in front, followed by the axes of one lane; and the axes of length 1 to insert
      into the indexed array first.
    """
    items, inserted = _items(template, arrays, batched, ndim)
    places = [k for k, part in enumerate(items) if type(part) is tuple]
    ranks = [ndim_of(items[k][0]) - items[k][1] for k in places]
    r = max(ranks, default=0)
    adjacent = not places or places == list(range(places[0], places[-1] + 1))
    before = places[0] if places and adjacent else 0  # axes of the result before those of arrays
    plain = sum(part is None or type(part) is slice for part in items)
    rank = r + plain
    found: list[Any] = []
    for k, n in zip(places, ranks, strict=True):
        a, b = items[k]
        found.append(a[(slice(None), *(None,) * (r - n))] if b and n < r else a)
        items[k] = ARRAY
    order = tuple(range(rank + 1))
    if not any(batched):  # the batch axis of x stays where it is, unless arrays go before it
        items.insert(0, slice(None))
        if not adjacent:
            order = (r, *range(r), *range(r + 1, rank + 1))
    elif whole:
        items.insert(0, ARRAY)
        found.insert(0, np.arange(size).reshape((size,) + (1,) * r))
        if before:
            rest = range(r + 1, rank + 1)
            order = (0, *rest[:before], *range(1, r + 1), *rest[before:])
    else:
        order = (before, *range(before), *range(before + 1, rank + 1))
    return tuple(items), tuple(found), order, tuple(k + whole for k in inserted)


def _ordered(x: Any, order: tuple[int, ...]) -> Any:
    return x if order == tuple(range(len(order))) else transpose(x, axes=order)


def _batch_getitem(primitive: Any, size: int, args: Any, batched: Any, attrs: Any) -> Any:
    x, *arrays = args
    template, found, order, inserted = batched_index(
        attrs["template"], arrays, size, ndim_of(x) - batched[0], batched[0], batched[1:]
    )
    x = expand_dims(x, inserted) if inserted else x
    return _ordered(getitem(x, *found, template=template), order)


def batch_update(primitive: Any, size: int, args: Any, batched: Any, attrs: Any) -> Any:
    """Batch an operation (x, v, *arrays, template=) that brings v into x at an index."""
    x, v, *arrays = args
    x = spread(x, size, batched[0])
    shape = shape_of(x)
    template, found, order, inserted = batched_index(
        attrs["template"], arrays, size, len(shape) - 1, True, batched[2:]
    )
    x = expand_dims(x, inserted) if inserted else x
    v = v if batched[1] else expand_dims(v, (0,))
    missing = len(order) - ndim_of(v)
    v = expand_dims(v, tuple(range(1, missing + 1))) if missing else v
    v = _ordered(v, inverse(order))
    return reshape(primitive(x, v, *found, template=template), shape=shape)


def _batch_index_sum(primitive: Any, size: int, gs: Any, batched: Any, attrs: Any) -> Any:
    cts, templates = [], []
    shape = (size, *attrs["shape"])
    rest = np.zeros(shape, attrs["dtype"])
    for g, b, template in zip(gs, batched, attrs["templates"], strict=True):
        joined, found, order, inserted = batched_index(template, (), size, len(shape) - 1, True, ())
        if inserted:
            rest = batch_update(index_add, size, (rest, g), (True, b), {"template": template})
            continue
        templates.append(join_index(joined, found))
        cts.append(_ordered(spread(g, size, b), inverse(order)))
    total = index_sum(*cts, shape=shape, dtype=attrs["dtype"], templates=tuple(templates))
    return rest + total if len(cts) < len(gs) else total


# --- primitives -----------------------------------------------------------------------------------

getitem = Primitive(
    "getitem",
    _np_getitem,
    lambda jax, x, *arrays, template: jax.numpy.asarray(x)[join_index(template, arrays)],
    _aval_getitem,
    Linear(_transpose_getitem, add_into=_add_into),
    _batch_getitem,
)


def index(x: Any, idx: Any) -> Any:
    """Return x[idx] for any NumPy index."""
    template, arrays = split_index(idx)
    return getitem(x, *arrays, template=template)


def _np_index_add(x: Any, v: Any, *arrays: Any, template: Template) -> Any:
    out = np.array(x, np.result_type(x, v))
    _add_into(out, v, None, *arrays, template=template)
    return out


def _np_index_set(x: Any, v: Any, *arrays: Any, template: Template) -> Any:
    out = np.array(x, np.result_type(x, v))
    out[join_index(template, arrays)] = v
    return out


def aval_update(x: Aval, v: Aval, *arrays: Aval, template: Template) -> Aval:
    """Return the aval of x after v was brought into it."""
    target = _aval_getitem(x, *arrays, template=template).shape
    extra = max(len(v.shape) - len(target), 0)  # leading axes of length 1 do no harm
    rest = zip(v.shape[::-1], target[::-1], strict=False)
    if set(v.shape[:extra]) - {1} or any(n not in (1, m) for n, m in rest):
        raise ShapeError(
            f"a value of shape {v.shape} cannot be broadcast to {target}, the shape of what the "
            f"index selects of an array of shape {x.shape}."
        )
    return Aval(x.shape, np.result_type(x.dtype, v.dtype if v.weak is None else v.weak(0)))


def _read_back(g: Any, v: Any, arrays: Any, template: Template) -> Any:
    return getitem(g, *arrays, template=template)


def _permuted_axis(shape: Axes, arrays: Any, template: Template) -> int | None:
    """Return the axis whose elements an index takes once each, if it is known to do just that."""
    before, last = template[:-1], template[-1:]
    whole = all(type(part) is slice and part == slice(None) for part in before)
    if not (last and last[0] is ARRAY and whole and type(arrays[0]) is np.ndarray):
        return None
    axis, order = len(before), arrays[0]
    n = shape[axis]
    places = np.where(order < 0, order + n, order)
    return axis if order.ndim == 1 and np.array_equal(np.sort(places), np.arange(n)) else None


def _jax_index_add(jax: Any, x: Any, v: Any, *arrays: Any, template: Template) -> Any:
    """Add v to x; what a permutation puts in place is read through its inverse, not scattered."""
    x, v = jax.numpy.asarray(x), jax.numpy.asarray(v)
    if x.dtype == bool:  # a sum of bools is their or
        return x.at[join_index(template, arrays)].max(v)
    axis = _permuted_axis(x.shape, arrays, template) if v.shape == x.shape else None
    if axis is None:
        return x.at[join_index(template, arrays)].add(v)
    inverse = np.argsort(np.where(arrays[0] < 0, arrays[0] + x.shape[axis], arrays[0]))
    return x + jax.numpy.take(v.astype(x.dtype), inverse, axis)


index_add = Primitive(
    "index_add",
    _np_index_add,
    _jax_index_add,
    aval_update,
    Linear(
        lambda g, x, v, *arrays, template: (g, _read_back(g, v, arrays, template)),
        count=2,
    ),
    batch_update,
)


def _transpose_set(g: Any, x: Any, v: Any, *arrays: Any, template: Template) -> tuple[Any, Any]:
    gx = index_set(g, dtype_of(g).type(0), *arrays, template=template)
    gv = _read_back(g, v, arrays, template)
    if arrays:  # of several writes to one element only the last one counts
        order = np.arange(np.prod(shape_of(gv), dtype=int)).reshape(shape_of(gv))
        last = index_set(np.zeros(shape_of(x), order.dtype), order, *arrays, template=template)
        first = getitem(last, *arrays, template=template)
        gv = where(first == order, gv, dtype_of(g).type(0))
    return gx, gv


index_set = Primitive(
    "index_set",
    _np_index_set,
    lambda jax, x, v, *arrays, template: (
        jax.numpy.asarray(x).at[join_index(template, arrays)].set(v)
    ),
    aval_update,
    Linear(_transpose_set, count=2),
    batch_update,
)


def _np_index_sum(*gs: Any, shape: Any, dtype: Any, templates: tuple[Template, ...]) -> Any:
    out = np.zeros(shape, dtype)
    for g, template in zip(gs, templates, strict=True):
        out[template] += g
    return out


# The sum of the cotangents of many reads x[template]: one array, whatever their number, so that
# the derivative of a loop over the elements of x costs O(n) in every order.
index_sum = Primitive(
    "index_sum",
    _np_index_sum,
    jax_index_sum,
    lambda *gs, shape, dtype, templates: Aval(shape, dtype),
    Linear(
        lambda g, *gs, shape, dtype, templates: tuple(getitem(g, template=t) for t in templates),
        count=None,
    ),
    _batch_index_sum,
)

"""Updates at an index beyond `index_add` and `index_set`, and `at`, which gives them JAX's names.

Where an index repeats, every update counts: products multiply on, extremes take the extreme of all.
May import `core`, `ops.elementwise`, `ops.indexing`, `ops.reductions`, `ops.structural`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from funcgraph.core.aval import dtype_of, is_inexact, ndim_of, shape_of
from funcgraph.core.primitive import General, Primitive
from funcgraph.core.trace import KIND, NUMPY
from funcgraph.errors import ConcretizationError
from funcgraph.ops.elementwise import divide, equal, maximum, negative, power
from funcgraph.ops.indexing import (
    aval_update,
    batch_update,
    getitem,
    index_add,
    index_set,
    join_index,
    split_index,
)
from funcgraph.ops.reductions import reduce_prod
from funcgraph.ops.structural import (
    blank,
    broadcast_to,
    cast,
    concatenate,
    ones,
    reshape,
    where,
    zeros,
)

__all__ = ["at", "index_max", "index_min", "index_mul", "occurrences", "places"]


def places(shape: tuple[int, ...], arrays: Any, template: Any) -> Any:
    """Return the flat positions, in an array of this shape, of the elements an index selects."""
    numbers = np.arange(prod(shape)).reshape(shape)
    return getitem(numbers, *arrays, template=template)


def _are_plain(arrays: Any) -> bool:
    return all(KIND[type(a)] == NUMPY for a in arrays)


# --- products ------------------------------------------------------------------------------------


def _others(numbers: Any) -> Any:
    """Return for each update the updates of the same element: (m,) -> (m, k), padded with m."""
    numbers = np.asarray(numbers)
    m = numbers.size
    order = np.argsort(numbers, kind="stable")
    _, starts, counts = np.unique(numbers[order], return_index=True, return_counts=True)
    most = int(counts.max(initial=1))
    group = np.repeat(np.arange(counts.size), counts)
    rank = np.arange(m) - starts[group]
    member = np.full((counts.size, most), m)
    member[group, rank] = order
    rows = member[group]
    keep = np.arange(most) != rank[:, None]
    out = np.empty((m, most - 1), int)
    out[order] = rows[keep].reshape(m, most - 1)
    return out


def _product_of_others(v: Any, shape: tuple[int, ...], arrays: Any, template: Any) -> Any:
    """Return for each update the product of the other updates of the same element (None: 1).

    Where the indices are known this costs as much as the update that repeats most often; else it
    compares each with each.
    """
    if not any(ndim_of(a) for a in arrays):
        return None
    numbers = places(shape, arrays, template)
    flat = reshape(v, shape=(-1,))
    m = shape_of(flat)[0]
    numbers = reshape(numbers, shape=(m,))
    one = dtype_of(v).type(1)
    if _are_plain(arrays):
        others = _others(numbers)
        if others.shape[1] == 0:
            return None
        padded = concatenate(flat, np.ones(1, dtype_of(v)), axis=0)
        factors = padded[others]
    else:
        same = equal(numbers[:, None], numbers[None, :])
        factors = where(np.eye(m, dtype=bool), one, where(same, flat[None, :], one))
    return reshape(reduce_prod(factors, axes=(1,)), shape=shape_of(v))


def _mul_jvp(tangents: Any, y: Any, x: Any, v: Any, *arrays: Any, template: Any) -> Any:
    tx, tv = tangents[:2]
    parts = []
    if tx is not None:
        # Not index_mul(tx, v, ...): the rule must be made of operations that can be transposed.
        parts.append(tx * index_mul(ones(x), v, *arrays, template=template))
    if tv is not None:
        shape = shape_of(places(shape_of(x), arrays, template))
        others = _product_of_others(broadcast_to(v, shape), shape_of(x), arrays, template)
        change = broadcast_to(tv, shape) if others is None else tv * others
        parts.append(x * index_add(blank(x), change, *arrays, template=template))
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]


# --- extremes ------------------------------------------------------------------------------------


def _extreme_jvp(tangents: Any, y: Any, x: Any, v: Any, *arrays: Any, template: Any) -> Any:
    """Share the derivative among all that attain the extreme, the old element included."""
    tx, tv = tangents[:2]
    dtype = dtype_of(y)
    old = cast(equal(x, y), dtype)
    new = cast(equal(v, getitem(y, *arrays, template=template)), dtype)
    count = maximum(index_add(old, new, *arrays, template=template), dtype.type(1))
    total = zeros(y) if tx is None else tx * old
    if tv is not None:
        total = index_add(total, tv * new, *arrays, template=template)
    return total / count


def _update(name: str, ufunc: Any, method: str, jvp: Any) -> Primitive:
    def numpy(x: Any, v: Any, *arrays: Any, template: Any) -> Any:
        out = np.array(x, np.result_type(x, v))
        ufunc.at(out, join_index(template, arrays), v)
        return out

    def jax(jax: Any, x: Any, v: Any, *arrays: Any, template: Any) -> Any:
        x = jax.numpy.asarray(x)
        place = x.at[join_index(template, arrays)]
        return getattr(place, "min" if x.dtype == bool and method == "multiply" else method)(v)

    return Primitive(name, numpy, jax, aval_update, General(jvp), batch_update)


index_mul = _update("index_mul", np.multiply, "multiply", _mul_jvp)
index_min = _update("index_min", np.minimum, "min", _extreme_jvp)
index_max = _update("index_max", np.maximum, "max", _extreme_jvp)

# --- at ------------------------------------------------------------------------------------------


def occurrences(numbers: Any) -> list[Any]:
    """Return which of the flat positions come for the first time, which for the second, and so on.

    Each entry is an array of indices into `numbers`, in which no position repeats.
    """
    numbers = np.asarray(numbers).reshape(-1)
    order = np.argsort(numbers, kind="stable")
    _, starts, counts = np.unique(numbers[order], return_index=True, return_counts=True)
    rank = np.empty(numbers.size, int)
    rank[order] = np.arange(numbers.size) - np.repeat(starts, counts)
    return [np.flatnonzero(rank == k) for k in range(counts.max(initial=0))]


class at:  # noqa: N801  (the name JAX users know)
    """Return updated copies of an array: `at(x)[index].set(v)`, `.add(v)`, `.get()` ...

    On a traced array also as `x.at[index]`. Where an index repeats, the updates follow each other:
    `add` adds all values, `multiply` multiplies by all, `min` and `max` take the extreme of all,
    `set` keeps the last. Values are cast to the dtype of x.

    Args:
      x: Any array, traced or not; it is not changed.

    Example:
      >>> import numpy as np
      >>> at(np.zeros(3))[1].set(5.0)
      array([0., 5., 0.])
      >>> at(np.ones(3))[np.array([0, 0, 2])].multiply(3.0)
      array([9., 1., 3.])

    Source:
      jax.numpy.ndarray.at.
    """

    __slots__ = ("_arrays", "_template", "_x")

    def __init__(self, x: Any) -> None:
        self._x = x
        self._template: Any = (...,)
        self._arrays: tuple[Any, ...] = ()

    def __getitem__(self, idx: Any) -> at:
        new = at(self._x)
        new._template, new._arrays = split_index(idx)
        return new

    def get(self) -> Any:
        """Return x[index]."""
        return getitem(self._x, *self._arrays, template=self._template)

    def set(self, value: Any) -> Any:
        """Return x with x[index] = value; where an index repeats, the last value stays."""
        return self._update(index_set, value)

    def add(self, value: Any) -> Any:
        """Return x with value added at index."""
        return self._update(index_add, value)

    def subtract(self, value: Any) -> Any:
        """Return x with value subtracted at index."""
        return self._update(index_add, negative(self._cast(value)))

    def multiply(self, value: Any) -> Any:
        """Return x multiplied by value at index."""
        return self._update(index_mul, value)

    mul = multiply

    def divide(self, value: Any) -> Any:
        """Return x divided by value at index; of integers, floating-point numbers."""
        dtype = dtype_of(self._x)
        dtype = dtype if is_inexact(dtype) else np.dtype(float)
        return divide(self._x, self._of(np.ones(shape_of(self._x), dtype)).multiply(value))

    def power(self, value: Any) -> Any:
        """Return x raised to the power of value at index."""
        return power(self._x, self._of(ones(self._x)).multiply(value))

    def min(self, value: Any) -> Any:
        """Return x with the minimum of x and value at index; among equals each has its share."""
        return self._update(index_min, value)

    def max(self, value: Any) -> Any:
        """Return x with the maximum of x and value at index; among equals each has its share."""
        return self._update(index_max, value)

    def apply(self, func: Callable[[Any], Any], *, unique_indices: bool = False) -> Any:
        """Return x with func applied to the elements at index.

        Args:
          func: A function of an array that works element by element.
          unique_indices: Promises that no index repeats. Else func is applied to an element as
            often as its index comes, which cannot be known of traced arrays of indices.

        Raises:
          ConcretizationError: The indices are traced, and unique_indices is False.
        """
        arrays = [a for a in self._arrays if ndim_of(a)]
        if unique_indices or not arrays:
            return self.set(func(self.get()))
        if not _are_plain(self._arrays):
            raise ConcretizationError(
                "at[index].apply(func) applies func to an element as often as its index comes, "
                "but the array of indices is traced and has no values yet. Pass "
                "unique_indices=True if no index repeats."
            )
        shape = shape_of(self._x)
        numbers = np.asarray(places(shape, self._arrays, self._template)).reshape(-1)
        flat = reshape(self._x, shape=(-1,))
        for chosen in occurrences(numbers):
            place = at(flat)[numbers[chosen]]
            flat = place.set(func(place.get()))
        return reshape(flat, shape=shape)

    def _of(self, x: Any) -> at:
        """Return the same place in another array."""
        new = at(x)
        new._template, new._arrays = self._template, self._arrays
        return new

    def _cast(self, value: Any) -> Any:
        dtype = dtype_of(self._x)
        return cast(value, dtype) if dtype_of(value) != dtype else value

    def _update(self, primitive: Primitive, value: Any) -> Any:
        return primitive(self._x, self._cast(value), *self._arrays, template=self._template)

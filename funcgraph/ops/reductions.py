"""Primitives that reduce or accumulate along axes, and positions of elements.

`reduce_sum` is in `ops.structural`. Products are differentiated by halving and running products by
a prefix scan, so they are exact also where factors are zero. May import `core`, `ops`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval, dtype_of, ndim_of, shape_of
from funcgraph.core.primitive import General, Linear, Primitive, Zero
from funcgraph.ops.elementwise import equal, isnan, maximum, minimum
from funcgraph.ops.indexing import index
from funcgraph.ops.structural import (
    cast,
    concatenate,
    expand_dims,
    inverse,
    moved,
    reduce_sum,
    reshape,
    shifted,
    stack,
    transpose,
    where,
)

__all__ = [
    "argmax",
    "argmin",
    "argpartition",
    "argsort",
    "count_nonzero",
    "cummax",
    "cummin",
    "cumprod",
    "cumsum",
    "joined",
    "lexsort",
    "nanargmax",
    "nanargmin",
    "partition_order",
    "permute_along",
    "reduce_all",
    "reduce_any",
    "reduce_max",
    "reduce_min",
    "reduce_prod",
    "take_along",
]

Axes = tuple[int, ...]


def _reduced(shape: tuple[int, ...], axes: Axes) -> tuple[int, ...]:
    return tuple(n for k, n in enumerate(shape) if k not in axes)


def _along(axis: int, part: Any) -> tuple[Any, ...]:
    return (*(slice(None),) * axis, part)


def _front(ndim: int, axes: Axes) -> Axes:
    """Return the order of axes in which the given ones come first."""
    return (*axes, *(k for k in range(ndim) if k not in axes))


def joined(x: Any, axes: Axes) -> Any:
    """Move the axes to the front and join them into one."""
    shape = shape_of(x)
    count = 1
    for k in axes:
        count *= shape[k]
    order = _front(len(shape), axes)
    x = x if order == tuple(range(len(shape))) else transpose(x, axes=order)
    return x if len(axes) == 1 else reshape(x, shape=(count, *_reduced(shape, axes)))


# --- product -------------------------------------------------------------------------------------


def _prod_jvp(t: Any, y: Any, x: Any, axes: Axes) -> Any:
    value, tangent = joined(x, axes), joined(t[0], axes)
    n = shape_of(value)[0]
    if n == 0:
        return None
    while n > 1:
        half = n // 2
        a, b, rest = slice(0, half), slice(half, 2 * half), slice(2 * half, n)
        products = value[a] * value[b]
        change = tangent[a] * value[b] + value[a] * tangent[b]
        value = concatenate(products, value[rest], axis=0) if n % 2 else products
        tangent = concatenate(change, tangent[rest], axis=0) if n % 2 else change
        n = half + n % 2
    return tangent[0]


def _others_before(x: Any) -> Any:
    """Return the products of all elements before each one, along axis 0."""
    one = np.ones((1, *shape_of(x)[1:]), dtype_of(x))
    return concatenate(one, cumprod(x[:-1], axis=0), axis=0)


def _prod_vjp(g: Any, y: Any, x: Any, axes: Axes) -> Any:
    value = joined(x, axes)
    if shape_of(value)[0] == 0:
        return (None,)
    others = _others_before(value) * _others_before(value[::-1])[::-1]
    shape, order = shape_of(x), _front(ndim_of(x), axes)
    ct = reshape(g * others, shape=tuple(shape[k] for k in order))
    return (transpose(ct, axes=inverse(order)),)


reduce_prod = Primitive(
    "reduce_prod",
    lambda x, axes: np.multiply.reduce(x, axis=axes),
    lambda jax, x, axes: jax.numpy.prod(x, axis=axes),
    lambda x, axes: Aval(_reduced(x.shape, axes), np.multiply.reduce(np.ones(1, x.dtype)).dtype),
    General(_prod_jvp, _prod_vjp),
    shifted,
)

# --- accumulations -------------------------------------------------------------------------------


def _aval_accumulate(ufunc: Any) -> Any:
    return lambda x, axis: Aval(x.shape, ufunc.accumulate(np.ones(1, x.dtype)).dtype)


def _jax_sums(reverse: bool) -> Any:
    """Return running sums on JAX.

    On a CPU, along other axes than the last, by a loop over rows: 3 to 12 times faster there.
    """

    def loop(jax: Any, x: Any, axis: int) -> Any:
        rows = jax.numpy.moveaxis(x, axis, 0)
        start = jax.numpy.zeros(rows.shape[1:], rows.dtype)
        sums = jax.lax.scan(lambda s, v: (s + v, s + v), start, rows, reverse=reverse)[1]
        return jax.numpy.moveaxis(sums, 0, axis)

    def value(jax: Any, x: Any, axis: int) -> Any:
        x = jax.numpy.asarray(x)
        x = x.astype(jax.dtypes.canonicalize_dtype(np.add.accumulate(np.ones(1, x.dtype)).dtype))
        own = functools.partial(jax.lax.cumsum, axis=axis % x.ndim, reverse=reverse)
        if axis % x.ndim == x.ndim - 1:
            return own(x)
        return jax.lax.platform_dependent(x, cpu=lambda x: loop(jax, x, axis), default=own)

    return value


cumsum = Primitive(
    "cumsum",
    lambda x, axis: np.add.accumulate(x, axis=axis),
    _jax_sums(reverse=False),
    _aval_accumulate(np.add),
    Linear(lambda g, x, axis: _cumsum_back(g, axis=axis)),
    shifted,
)


def _np_back(x: Any, axis: int) -> Any:
    back = _along(axis, slice(None, None, -1))
    return np.add.accumulate(x[back], axis=axis)[back]


# The sum of each element and all after it: the transpose of cumsum.
_cumsum_back = Primitive(
    "cumsum_back",
    _np_back,
    _jax_sums(reverse=True),
    _aval_accumulate(np.add),
    Linear(lambda g, x, axis: cumsum(g, axis=axis)),
    shifted,
)


def _interleave(even: Any, odd: Any) -> Any:
    n = shape_of(odd)[0]
    rest = shape_of(odd)[1:]
    both = reshape(stack(even[:n], odd, axis=1), shape=(2 * n, *rest))
    return both if shape_of(even)[0] == n else concatenate(both, even[n:], axis=0)


def _scan(combine: Callable[..., Any], value: Any, tangent: Any) -> tuple[Any, Any]:
    """Return all prefixes of an associative operation on (value, tangent), along axis 0.

    Odd prefixes by recursion on pairs of neighbours, even ones from these: O(n) operations in
    O(log n) calls (Blelloch 1990), in the order of jax.lax.associative_scan, so that ties share as
    in JAX.
    """
    n = shape_of(value)[0]
    if n < 2:
        return value, tangent
    pairs = combine(value[: n - 1 : 2], tangent[: n - 1 : 2], value[1::2], tangent[1::2])
    odd = _scan(combine, *pairs)
    before = [v[: (n - 1) // 2] for v in odd]
    later = combine(*before, value[2::2], tangent[2::2])
    even = [concatenate(x[:1], v, axis=0) for x, v in zip((value, tangent), later, strict=True)]
    return _interleave(even[0], odd[0]), _interleave(even[1], odd[1])


def _accumulate_jvp(combine: Callable[..., Any]) -> Callable[..., Any]:
    def jvp(t: Any, y: Any, x: Any, axis: int) -> Any:
        return moved(_scan(combine, moved(x, axis, 0), moved(t[0], axis, 0))[1], 0, axis)

    return jvp


def _product(a: Any, ta: Any, b: Any, tb: Any) -> tuple[Any, Any]:
    return a * b, ta * b + a * tb


def _larger(choose: Any) -> Callable[..., Any]:
    def combine(a: Any, ta: Any, b: Any, tb: Any) -> tuple[Any, Any]:
        y = choose(a, b)
        number = dtype_of(y).type
        first, second = where(equal(a, y), ta, number(0)), where(equal(b, y), tb, number(0))
        return y, (first + second) * where(equal(a, b), number(0.5), number(1))

    return combine


cumprod = Primitive(
    "cumprod",
    lambda x, axis: np.multiply.accumulate(x, axis=axis),
    lambda jax, x, axis: jax.numpy.cumprod(x, axis=axis),
    _aval_accumulate(np.multiply),
    General(_accumulate_jvp(_product)),
    shifted,
)


def _running(name: str, ufunc: Any, choose: Any) -> Primitive:
    return Primitive(
        name,
        lambda x, axis: ufunc.accumulate(x, axis=axis),
        lambda jax, x, axis: getattr(jax.lax, name)(x, axis=axis),
        lambda x, axis: Aval(x.shape, x.dtype),
        General(_accumulate_jvp(_larger(choose))),
        shifted,
    )


cummax = _running("cummax", np.maximum, maximum)
cummin = _running("cummin", np.minimum, minimum)

# --- extremes: ties share ------------------------------------------------------------------------


def _spread(y: Any, x: Any, axes: Axes) -> Any:
    """Return a reduced array in a shape that broadcasts with x."""
    return y if len(axes) == ndim_of(x) else expand_dims(y, axes)


def _ties(y: Any, x: Any, axes: Axes) -> tuple[Any, Any]:
    """Return where x has the extreme value, and how often."""
    mask = equal(x, _spread(y, x, axes))
    return mask, cast(count_nonzero(mask, axes=axes), dtype_of(y))


def _extreme_jvp(t: Any, y: Any, x: Any, axes: Axes) -> Any:
    mask, count = _ties(y, x, axes)
    return reduce_sum(where(mask, t[0], dtype_of(y).type(0)), axes=axes) / count


def _extreme_vjp(g: Any, y: Any, x: Any, axes: Axes) -> Any:
    mask, count = _ties(y, x, axes)
    rest = where(isnan(y), y, dtype_of(y).type(0))  # nan equals nothing, and has no derivative
    return (where(mask, _spread(g / count, x, axes), _spread(rest, x, axes)),)


def _extreme(name: str, ufunc: Any, jax_name: str) -> Primitive:
    return Primitive(
        name,
        lambda x, axes: ufunc.reduce(x, axis=axes),
        lambda jax, x, axes: getattr(jax.numpy, jax_name)(x, axis=axes),
        lambda x, axes: Aval(_reduced(x.shape, axes), x.dtype),
        General(_extreme_jvp, _extreme_vjp),
        shifted,
    )


reduce_max = _extreme("reduce_max", np.maximum, "max")
reduce_min = _extreme("reduce_min", np.minimum, "min")

# --- orders and gathers --------------------------------------------------------------------------


def _order(name: str, numpy: Any, jax: Any) -> Primitive:
    aval = lambda x, **_: Aval(x.shape, np.dtype(np.intp))
    return Primitive(name, numpy, jax, aval, Zero(), shifted)


argsort = _order(
    "argsort",
    lambda x, axis: np.argsort(x, axis=axis, stable=True),
    lambda jax, x, axis: jax.numpy.argsort(x, axis=axis, stable=True),
)

argpartition = _order(
    "argpartition",
    lambda x, kth, axis: np.argpartition(x, kth, axis=axis),
    lambda jax, x, kth, axis: jax.numpy.argpartition(x, kth, axis=axis).astype(np.intp),
)


def _np_partition_order(x: Any, kth: Any, axis: int) -> Any:
    rank = np.argsort(np.argsort(np.partition(x, kth, axis=axis), axis=axis), axis=axis)
    return np.take_along_axis(np.argsort(x, axis=axis), rank, axis=axis)


# Positions at which the elements of np.partition(x, kth) stood: np.argpartition may order the
# elements left and right of kth differently.
partition_order = _order(
    "partition_order",
    _np_partition_order,
    lambda jax, x, kth, axis: jax.numpy.argpartition(x, kth, axis=axis).astype(np.intp),
)

lexsort = Primitive(
    "lexsort",
    lambda *keys, axis: np.lexsort(keys, axis=axis),
    lambda jax, *keys, axis: jax.numpy.lexsort(keys, axis=axis),
    lambda *keys, axis: Aval(keys[0].shape, np.dtype(np.intp)),
    Zero(),
    shifted,
)

# The elements along an axis in another order: every position occurs once.
permute_along = Primitive(
    "permute_along",
    lambda x, order, axis: np.take_along_axis(x, order, axis=axis),
    lambda jax, x, order, axis: jax.numpy.take_along_axis(x, order, axis=axis),
    lambda x, order, axis: Aval(x.shape, x.dtype),
    Linear(lambda g, x, order, axis: permute_along(g, argsort(order, axis=axis), axis=axis)),
    shifted,
)


def take_along(x: Any, positions: Any, axis: int) -> Any:
    """Return x at positions along one axis; the other axes correspond, without broadcasting."""
    shape = shape_of(positions)
    grid: list[Any] = [
        np.arange(n).reshape((-1,) + (1,) * (len(shape) - k - 1)) for k, n in enumerate(shape)
    ]
    grid[axis] = positions
    return index(x, tuple(grid))


# --- positions and truth -------------------------------------------------------------------------


def _position(name: str) -> Primitive:
    function = getattr(np, name)
    return Primitive(
        name,
        lambda x, axis: function(x, axis=axis),
        lambda jax, x, axis: _jax_position(jax.numpy, name, jax.numpy.asarray(x), axis),
        lambda x, axis: _aval_position(name, x, axis),
        Zero(),
        shifted,
    )


def _jax_position(jnp: Any, name: str, x: Any, axis: int) -> Any:
    """Return the position as JAX does; of complex numbers, where it has none, in NumPy's order.

    They are compared by real parts, then by imaginary ones; the first nan is before them all.
    """
    if not jnp.iscomplexobj(x):
        return getattr(jnp, name)(x, axis=axis)
    extreme, least = (jnp.max, -np.inf) if name.endswith("max") else (jnp.min, np.inf)
    nan = jnp.isnan(x)
    if name.startswith("nan"):
        x, nan = jnp.where(nan, least, x), jnp.zeros_like(nan)
    here = x.real == extreme(x.real, axis=axis, keepdims=True)
    imag = jnp.where(here, x.imag, least)
    here &= imag == extreme(imag, axis=axis, keepdims=True)
    return jnp.argmax(jnp.where(jnp.any(nan, axis=axis, keepdims=True), nan, here), axis=axis)


def _aval_position(name: str, x: Aval, axis: int) -> Aval:
    if x.shape[axis] == 0:
        raise ValueError(f"attempt to get {name} of an empty sequence")
    return Aval(_reduced(x.shape, (axis,)), np.dtype(np.intp))


argmax, argmin = _position("argmax"), _position("argmin")
nanargmax, nanargmin = _position("nanargmax"), _position("nanargmin")


def _truth(name: str, function: Any, jax_name: str, dtype: Any) -> Primitive:
    return Primitive(
        name,
        lambda x, axes: function(x, axis=axes),
        lambda jax, x, axes: getattr(jax.numpy, jax_name)(x, axis=axes),
        lambda x, axes: Aval(_reduced(x.shape, axes), np.dtype(dtype)),
        Zero(),
        shifted,
    )


reduce_all = _truth("reduce_all", np.all, "all", bool)
reduce_any = _truth("reduce_any", np.any, "any", bool)
count_nonzero = _truth("count_nonzero", np.count_nonzero, "count_nonzero", np.intp)

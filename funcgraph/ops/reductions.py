"""Primitives that reduce or accumulate along axes, and positions of elements.

`reduce_sum` is in `ops.structural`. Products are differentiated by halving, which is exact also
where factors are zero. May import `core`, `ops`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from funcgraph.core.aval import Aval, dtype_of, ndim_of, shape_of
from funcgraph.core.primitive import General, Linear, Primitive, Zero
from funcgraph.ops.elementwise import equal
from funcgraph.ops.indexing import index
from funcgraph.ops.structural import (
    cast,
    concatenate,
    expand_dims,
    reduce_sum,
    reshape,
    transpose,
    where,
)

__all__ = [
    "argmax",
    "argmin",
    "argsort",
    "count_nonzero",
    "cummax",
    "cummin",
    "cumprod",
    "cumsum",
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


def _join_axes(x: Any, axes: Axes) -> Any:
    """Move the axes to the front and join them into one."""
    rest = [k for k in range(ndim_of(x)) if k not in axes]
    x = transpose(x, axes=(*axes, *rest))
    return reshape(x, shape=(-1 if 0 not in shape_of(x) else 0, *shape_of(x)[len(axes) :]))


# --- product -------------------------------------------------------------------------------------


def _prod_jvp(t: Any, y: Any, x: Any, axes: Axes) -> Any:
    value, tangent = _join_axes(x, axes), _join_axes(t[0], axes)
    n = shape_of(value)[0]
    if n == 0:
        return None
    while n > 1:
        half = n // 2
        a, b, c = slice(0, half), slice(half, 2 * half), slice(2 * half, n)
        products = value[a] * value[b]
        change = tangent[a] * value[b] + value[a] * tangent[b]
        value = concatenate(products, value[c], axis=0) if n % 2 else products
        tangent = concatenate(change, tangent[c], axis=0) if n % 2 else change
        n = half + n % 2
    return tangent[0]


reduce_prod = Primitive(
    "reduce_prod",
    lambda x, axes: np.multiply.reduce(x, axis=axes),
    lambda jax, x, axes: jax.numpy.prod(x, axis=axes),
    lambda x, axes: Aval(
        _reduced(x.shape, axes), np.multiply.reduce(np.ones(1, x.dtype)).dtype
    ),
    General(_prod_jvp),
)


def _cumprod_jvp(t: Any, y: Any, x: Any, axis: int) -> Any:
    value, tangent, step = x, t[0], 1
    while step < shape_of(x)[axis]:
        head, tail, before = (
            _along(axis, s) for s in (slice(0, step), slice(step, None), slice(0, -step))
        )
        change = tangent[tail] * value[before] + value[tail] * tangent[before]
        tangent = concatenate(tangent[head], change, axis=axis)
        value = concatenate(value[head], value[tail] * value[before], axis=axis)
        step *= 2
    return tangent


def _aval_accumulate(ufunc: Any) -> Any:
    def aval(x: Aval, axis: int) -> Aval:
        return Aval(x.shape, ufunc.accumulate(np.ones(1, x.dtype)).dtype)

    return aval


cumprod = Primitive(
    "cumprod",
    lambda x, axis: np.multiply.accumulate(x, axis=axis),
    lambda jax, x, axis: jax.numpy.cumprod(x, axis=axis),
    _aval_accumulate(np.multiply),
    General(_cumprod_jvp),
)


def _reverse_cumsum(g: Any, x: Any, axis: int) -> Any:
    back = _along(axis, slice(None, None, -1))
    return cumsum(g[back], axis=axis)[back]


cumsum = Primitive(
    "cumsum",
    lambda x, axis: np.add.accumulate(x, axis=axis),
    lambda jax, x, axis: jax.numpy.cumsum(x, axis=axis),
    _aval_accumulate(np.add),
    Linear(_reverse_cumsum),
)

# --- extremes: ties share ------------------------------------------------------------------------


def _ties(y: Any, x: Any, axes: Axes) -> tuple[Any, Any]:
    """Return where x has the extreme value, and how often."""
    mask = equal(x, expand_dims(y, axes))
    return mask, reduce_sum(cast(mask, dtype_of(y)), axes=axes)


def _extreme_jvp(t: Any, y: Any, x: Any, axes: Axes) -> Any:
    mask, count = _ties(y, x, axes)
    return reduce_sum(where(mask, t[0], dtype_of(y).type(0)), axes=axes) / count


def _extreme_vjp(g: Any, y: Any, x: Any, axes: Axes) -> Any:
    mask, count = _ties(y, x, axes)
    return (where(mask, expand_dims(g / count, axes), dtype_of(y).type(0)),)


def _extreme(name: str, ufunc: Any, jax_name: str) -> Primitive:
    return Primitive(
        name,
        lambda x, axes: ufunc.reduce(x, axis=axes),
        lambda jax, x, axes: getattr(jax.numpy, jax_name)(x, axis=axes),
        lambda x, axes: Aval(_reduced(x.shape, axes), x.dtype),
        General(_extreme_jvp, _extreme_vjp),
    )


reduce_max = _extreme("reduce_max", np.maximum, "max")
reduce_min = _extreme("reduce_min", np.minimum, "min")


def take_along(x: Any, positions: Any, axis: int) -> Any:
    """Return x at positions along one axis; the other axes correspond, without broadcasting."""
    shape = shape_of(positions)
    grid: list[Any] = [
        np.arange(n).reshape((-1,) + (1,) * (len(shape) - k - 1)) for k, n in enumerate(shape)
    ]
    grid[axis] = positions
    return index(x, tuple(grid))


def _running(ufunc: Any, better: Any) -> Any:
    def positions(x: Any, axis: int) -> Any:
        """Return the position of the first element equal to the running extreme."""
        run = ufunc.accumulate(x, axis=axis)
        n = x.shape[axis]
        count = np.arange(n).reshape((-1,) + (1,) * (x.ndim - axis - 1))
        before = np.concatenate([x[_along(axis, slice(0, 1))], run[_along(axis, slice(0, -1))]], axis)
        return np.maximum.accumulate(np.where(better(x, before), count, 0), axis=axis)

    return positions


def _accumulated(name: str, ufunc: Any, better: Any) -> Primitive:
    position = Primitive(
        f"{name}_position",
        _running(ufunc, better),
        lambda jax, x, axis: _jax_running(jax, name, x, axis),
        lambda x, axis: Aval(x.shape, np.dtype(np.intp)),
        Zero(),
    )
    return Primitive(
        name,
        lambda x, axis: ufunc.accumulate(x, axis=axis),
        lambda jax, x, axis: getattr(jax.lax, name)(x, axis=axis),
        lambda x, axis: Aval(x.shape, x.dtype),
        General(lambda t, y, x, axis: take_along(t[0], position(x, axis=axis), axis)),
    )


def _jax_running(jax: Any, name: str, x: Any, axis: int) -> Any:
    jnp = jax.numpy
    run = getattr(jax.lax, name)(x, axis=axis)
    before = jnp.concatenate(
        [x[_along(axis, slice(0, 1))], run[_along(axis, slice(0, -1))]], axis
    )
    better = x > before if name == "cummax" else x < before
    count = jnp.arange(x.shape[axis]).reshape((-1,) + (1,) * (x.ndim - axis - 1))
    return jax.lax.cummax(jnp.where(better, count, 0), axis=axis)


cummax = _accumulated("cummax", np.maximum, np.greater)
cummin = _accumulated("cummin", np.minimum, np.less)

# --- positions and truth -------------------------------------------------------------------------


def _position(name: str) -> Primitive:
    function = getattr(np, name)
    return Primitive(
        name,
        lambda x, axis: function(x, axis=axis),
        lambda jax, x, axis: getattr(jax.numpy, name)(x, axis=axis),
        lambda x, axis: Aval(_reduced(x.shape, (axis,)), np.dtype(np.intp)),
        Zero(),
    )


argmax, argmin = _position("argmax"), _position("argmin")

argsort = Primitive(
    "argsort",
    lambda x, axis: np.argsort(x, axis=axis, stable=True),
    lambda jax, x, axis: jax.numpy.argsort(x, axis=axis, stable=True),
    lambda x, axis: Aval(x.shape, np.dtype(np.intp)),
    Zero(),
)


def _truth(name: str, function: Any, jax_name: str, dtype: Any) -> Primitive:
    return Primitive(
        name,
        lambda x, axes: function(x, axis=axes),
        lambda jax, x, axes: getattr(jax.numpy, jax_name)(x, axis=axes),
        lambda x, axes: Aval(_reduced(x.shape, axes), np.dtype(dtype)),
        Zero(),
    )


reduce_all = _truth("reduce_all", np.all, "all", bool)
reduce_any = _truth("reduce_any", np.any, "any", bool)
count_nonzero = _truth("count_nonzero", np.count_nonzero, "count_nonzero", np.intp)

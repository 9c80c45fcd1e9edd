"""Convolutions over any number of spatial axes: three bilinear primitives, a closed family.

They are the three ways to sum the same products,

    Σ x[n, o * stride + k * dilation - low, c] * w[k, c, m] * g[n, o, m]

over n (batch), o (outputs), k (taps of the kernel), c and m (channels of one group):

    conv(x, w)           (N, *outputs, O): what is called convolution (no flip: a correlation)
    conv_input(g, w)     (N, *shape, C): the transpose of conv by x
    conv_kernel(x, g)    (*shape, C / groups, O): the transpose of conv by w

so that the transposes of each are the two others. x is (N, *spatial, C), w is (*taps, C / groups,
O), g is (N, *outputs, O). Attributes: `strides`, `padding` (pairs), `dilation`, `groups`; the last
two primitives take `shape`, the lengths of the spatial axes, or of the taps, of their result. The
values on NumPy are in `ops.conv_numpy`, those on JAX here. May import `core`, `ops`.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval, dtype_of, promote, shape_of
from funcgraph.core.primitive import Bilinear, Primitive
from funcgraph.errors import ShapeError, WindowError
from funcgraph.ops import conv_numpy, conv_xla
from funcgraph.ops.structural import reshape, transpose
from funcgraph.ops.windows import Ints, output_length

__all__ = ["check_channels", "conv", "conv_input", "conv_kernel", "conv_shape", "reversed_kernel"]


# --- shapes ---------------------------------------------------------------------------------------


def check_channels(x: Ints, w: Ints, groups: int, transposed: bool = False) -> None:
    """Raise unless the shapes of an input and of a kernel go together.

    The kernel is (*taps, C / groups, O), or, transposed, (*taps, O / groups, C).
    """
    form = "(*taps, O / groups, C)" if transposed else "(*taps, C / groups, O)"
    if len(x) != len(w) or len(x) < 3:
        raise ShapeError(
            f"a convolution is of an input (N, *spatial, C) and a kernel {form} with as many axes, "
            f"got shapes {x} and {w}. An input without a batch axis: x[None]."
        )
    if not hasattr(groups, "__index__") or groups < 1 or x[-1] % groups or w[-1] % groups:
        raise WindowError(
            "groups is an int that divides the channels of the input and the last axis of the "
            f"kernel, got {groups!r} for an input of shape {x} and a kernel of shape {w}."
        )
    channels = w[-1] if transposed else w[-2] * groups
    if x[-1] != channels:
        raise ShapeError(
            f"the input of shape {x} has {x[-1]} channels, but the kernel of shape {w} takes "
            f"{channels} in {groups} group(s): an input is (N, *spatial, C), a kernel {form}."
        )


def conv_shape(x: Ints, w: Ints, strides: Any, padding: Any, dilation: Any, groups: int) -> Ints:
    """Return the shape of a convolution; raise where input and kernel do not fit."""
    check_channels(x, w, groups)
    outputs = tuple(map(output_length, x[1:-1], w[:-2], strides, padding, dilation))
    if any(n < 1 for n in outputs):
        raise ShapeError(
            f"the kernel of shape {w} with dilation {dilation} is larger than the input of shape "
            f"{x} with padding {padding}: nothing is left. Pad more, or use a smaller kernel."
        )
    return (x[0], *outputs, w[-1])


def _aval_conv(x: Aval, w: Aval, **attrs: Any) -> Aval:
    return Aval(conv_shape(x.shape, w.shape, **attrs), promote(x, w))


def _aval_input(g: Aval, w: Aval, shape: Ints, groups: int, **attrs: Any) -> Aval:
    return Aval((g.shape[0], *shape, w.shape[-2] * groups), promote(g, w))


def _aval_kernel(x: Aval, g: Aval, shape: Ints, groups: int, **attrs: Any) -> Aval:
    return Aval((*shape, x.shape[-1] // groups, g.shape[-1]), promote(x, g))


def _spatial(x: Any) -> Ints:
    return tuple(shape_of(x)[1:-1])


def _taps(w: Any) -> Ints:
    return tuple(shape_of(w)[:-2])


def reversed_kernel(w: Any, groups: int) -> Any:
    """Return a kernel with its taps in reverse order, and inputs and outputs of each group swapped."""
    *taps, c, o = shape_of(w)
    n = len(taps)
    w = reshape(w[(slice(None, None, -1),) * n], shape=(*taps, c, groups, o // groups))
    w = transpose(w, axes=(*range(n), n + 2, n + 1, n))
    return reshape(w, shape=(*taps, o // groups, groups * c))


# --- batches --------------------------------------------------------------------------------------

# The axes of each operand: batch, spatial (one letter for all), group, channels of the group.
_INPUT, _KERNEL, _OUTPUT = "nsgc", "scgo", "nsgo"


def _split(shape: Ints, axes: str, groups: int) -> dict[str, Ints]:
    """Return the lengths of each letter's axes."""
    *rest, last = shape
    channels = {"g": (groups,), axes[-1]: (last // groups,)}
    if axes[0] == "n":
        return {"n": (rest[0],), "s": tuple(rest[1:]), **channels}
    return {"s": tuple(rest[:-1]), "c": (rest[-1],), **channels}


def _flat(axes: str, lengths: dict[str, Ints]) -> Ints:
    return tuple(n for letter in axes for n in lengths[letter])


def _apart(axes: str, lengths: dict[str, Ints], into: str) -> tuple[int, Ints]:
    """Return the place of an axis that a batch joins, and all lengths, without it if it is 1.

    Without axes of length 1 XLA sees that one transposition undoes another.
    """
    place, flat = len(_flat(axes[: axes.index(into)], lengths)), _flat(axes, lengths)
    return place, flat[:place] + flat[place + (flat[place] == 1) :]


def _merged(x: Any, axes: str, groups: int, into: str) -> Any:
    """Join the batch axis, in front, with another axis: it becomes the slower part of it."""
    size, *shape = shape_of(x)
    lengths = _split(tuple(shape), axes, groups)
    place, flat = _apart(axes, lengths, into)
    x = reshape(x, shape=(size, *flat))
    if place:
        x = transpose(x, axes=(*range(1, place + 1), 0, *range(place + 1, len(flat) + 1)))
    lengths[into] = (size * lengths[into][0],)
    return reshape(x, shape=_joined(axes, lengths))


def _joined(axes: str, lengths: dict[str, Ints]) -> Ints:
    *rest, group, channels = _flat(axes, lengths)
    return (*rest, group * channels)


def _unmerged(x: Any, axes: str, groups: int, into: str, size: int) -> Any:
    """Undo `_merged`; `groups` are those of one lane."""
    total = groups * size if into == "g" else groups
    lengths = _split(shape_of(x), axes, total)
    lengths[into] = (lengths[into][0] // size,)
    place, flat = _apart(axes, lengths, into)
    x = reshape(x, shape=(*flat[:place], size, *flat[place:]))
    if place:
        x = transpose(x, axes=(place, *range(place), *range(place + 1, len(flat) + 1)))
    return reshape(x, shape=(size, *_joined(axes, lengths)))


def _batch(first: str, second: str, result: str) -> Any:
    """Return the batching rule of a primitive whose operands and result have these axes.

    One operand alone has the batch axis: it joins an axis that the operand shares with the result
    only. Both have it: each lane is a group of its own.
    """

    def batch(primitive: Any, size: int, args: Any, batched: Any, attrs: Any) -> Any:
        x, y = args
        groups = attrs["groups"]
        if size == 0:
            shapes = [shape_of(a)[b:] for a, b in zip(args, batched, strict=True)]
            avals = [Aval(s, dtype_of(a)) for s, a in zip(shapes, args, strict=True)]
            lane = primitive.abstract(*avals, **attrs)
            return np.zeros((0, *lane.shape), lane.dtype)
        if all(batched):
            into = "g"
            attrs = {**attrs, "groups": groups * size}
        else:
            mine, other = (first, second) if batched[0] else (second, first)
            into = next(k for k in mine if k in result and k not in other)
        x = _merged(x, first, groups, into) if batched[0] else x
        y = _merged(y, second, groups, into) if batched[1] else y
        return _unmerged(primitive(x, y, **attrs), result, groups, into, size)

    return batch


# --- values on JAX --------------------------------------------------------------------------------


def _alike(jax: Any, x: Any, y: Any) -> Any:
    """Return two arrays on JAX with their common dtype: NumPy's, as far as JAX's flags allow."""
    x, y = jax.numpy.asarray(x), jax.numpy.asarray(y)
    dtype = jax.dtypes.canonicalize_dtype(np.result_type(x.dtype, y.dtype))
    return x.astype(dtype), y.astype(dtype)


def _jax_correlate(
    jax: Any,
    x: Any,
    w: Any,
    strides: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    spread: Any = None,
) -> Any:
    """Convolve x, with `spread - 1` zeros between its elements, with w, as XLA does."""
    n = x.ndim
    axes = (0, n - 1, *range(1, n - 1))
    return jax.lax.conv_general_dilated(
        x,
        w,
        strides,
        padding,
        lhs_dilation=spread,
        rhs_dilation=dilation,
        dimension_numbers=jax.lax.ConvDimensionNumbers(axes, (n - 1, n - 2, *range(n - 2)), axes),
        feature_group_count=groups,
    )


def _spread_input(
    jax: Any, g: Any, w: Any, strides: Any, padding: Any, dilation: Any, groups: int, shape: Ints
) -> Any:
    pairs = []
    for n, k, s, d, (p, _), length in zip(
        _spatial(g), _taps(w), strides, dilation, padding, shape, strict=True
    ):
        low = (k - 1) * d - p
        pairs.append((low, length - (n - 1) * s - 1 - low + (k - 1) * d))
    ones = (1,) * len(shape)
    return _jax_correlate(
        jax, g, reversed_kernel(w, groups), ones, pairs, dilation, groups, strides
    )


def _transposed_conv(jax: Any, x: Any, g: Any, shape: Ints, groups: int, **attrs: Any) -> Any:
    w = jax.ShapeDtypeStruct((*shape, x.shape[-1] // groups, g.shape[-1]), x.dtype)
    forward = lambda w: _jax_correlate(jax, x, w, groups=groups, **attrs)
    return jax.linear_transpose(forward, w)(g)[0]


_NATIVE = conv_xla.Native(_jax_correlate, _spread_input, _transposed_conv)


def _by_platform(on_cpu: Any, elsewhere: Any) -> Any:
    """Return the value on JAX: on a CPU by our choice of formulas, elsewhere by XLA's own.

    Which it is, is known when the program is compiled. The formulas for CPUs sum in several steps, so
    half precision is summed in single; there are no sums in empty arrays.
    """

    def value(jax: Any, x: Any, y: Any, **attrs: Any) -> Any:
        x, y = _alike(jax, x, y)
        if not (x.size and y.size):
            return elsewhere(jax, x, y, **attrs)
        half = x.dtype.kind in "fV" and x.dtype.itemsize == 2
        work = jax.numpy.float32 if half else x.dtype

        def ours(x: Any, y: Any) -> Any:
            found = on_cpu(jax, _NATIVE, x.astype(work), y.astype(work), **attrs)
            return found.astype(x.dtype)

        theirs = functools.partial(elsewhere, jax, **attrs)
        return jax.lax.platform_dependent(x, y, cpu=ours, default=theirs)

    return value


# --- primitives -----------------------------------------------------------------------------------


def _np_conv(x: Any, w: Any, **attrs: Any) -> Any:
    conv_shape(x.shape, w.shape, **attrs)
    return conv_numpy.forward(x, w, **attrs)


conv = Primitive(
    "conv",
    _np_conv,
    _by_platform(conv_xla.forward, _jax_correlate),
    _aval_conv,
    Bilinear(
        lambda g, x, w, **attrs: conv_input(g, w, shape=_spatial(x), **attrs),
        lambda g, x, w, **attrs: conv_kernel(x, g, shape=_taps(w), **attrs),
    ),
    _batch(_INPUT, _KERNEL, _OUTPUT),
)

conv_input = Primitive(
    "conv_input",
    conv_numpy.by_input,
    _by_platform(conv_xla.by_input, _spread_input),
    _aval_input,
    Bilinear(
        lambda x, g, w, shape, **attrs: conv(x, w, **attrs),
        lambda x, g, w, shape, **attrs: conv_kernel(x, g, shape=_taps(w), **attrs),
    ),
    _batch(_OUTPUT, _KERNEL, _INPUT),
)

conv_kernel = Primitive(
    "conv_kernel",
    conv_numpy.by_kernel,
    _by_platform(conv_xla.by_kernel, _transposed_conv),
    _aval_kernel,
    Bilinear(
        lambda w, x, g, shape, **attrs: conv_input(g, w, shape=_spatial(x), **attrs),
        lambda w, x, g, shape, **attrs: conv(x, w, **attrs),
    ),
    _batch(_INPUT, _OUTPUT, _KERNEL),
)

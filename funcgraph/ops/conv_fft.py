"""Convolutions of NumPy arrays by Fourier transforms, for large kernels.

May import `ops.columns`, `ops.threads`, `ops.windows`.

A product of transforms costs as much for a kernel of 31 x 31 as for one of 3 x 3. It also mixes all
elements of an image, and with them their rounding errors: a quiet place beside a loud one would drown,
zeros would not stay zeros, one nan would be everywhere. So arrays in single precision only are
transformed, in double precision, and each element is compared with a bound of its error: the few that
may be off by more than `_PART` of themselves are summed directly, and where there are many, all are.

Arrays have their groups in an axis of their own: x (N, *spatial, G, C), kernels (*taps, G, C, O),
results (N, *outputs, G, O).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import log2, prod
from typing import Any

import numpy as np

from funcgraph.ops.columns import padded
from funcgraph.ops.threads import in_parallel
from funcgraph.ops.windows import Ints

__all__ = ["correlate", "pays"]

_TAPS = 64  # with fewer they never pay
_PART = 2.0**-16  # of an element that its error may be
_FEW = 64  # elements that are summed directly
_BLOCK = 1 << 26  # bytes of a spectrum at a time
_PIECES = 4  # into which transforms are cut, for threads


def pays(
    dtype: Any,
    x: Ints,
    w: Ints,
    low: Ints,
    outputs: Ints,
    strides: Ints,
    dilation: Ints,
    groups: int,
    thin: bool,
) -> bool:
    """Return whether transforms are faster than `ops.conv_numpy`, given its shapes.

    In nanoseconds on two threads; docs/decisions/0018 has the cases to which they were fitted.
    `thin`: the other way would be sums of slices.
    """
    taps, c, o = w[:-2], w[-2], w[-1] // groups
    if dtype != np.float32 or prod(taps) < _TAPS or any(s != 1 for s in strides):
        return False
    n, windows = x[0], x[0] * prod(outputs) * prod(taps) * groups
    direct = 0.3 * windows * c * o if thin else (0.1 + 0.012 * o) * windows * c
    m = prod(_lengths(x[1:-1], taps, outputs, low, dilation)) * groups
    return m * (8 * (n * c + c * o + n * o) + 0.3 * n * c * o) < direct


def correlate(x: Any, w: Any, low: Ints, outputs: Ints, dilation: Ints, out: Any) -> bool:
    """Write to `out` the sums over taps k and channels of x[p + k * dilation - low] * w[k].

    Return False, with anything in `out`, where rounding errors would show in many elements.
    """
    (n, *spatial, groups, c), taps, o = x.shape, w.shape[:-3], w.shape[-1]
    lengths = tuple(map(_fast, _lengths(tuple(spatial), taps, outputs, low, dilation)))
    size = 16 * _half(lengths)  # bytes of the transform of one channel
    some = max(1, min(groups, _BLOCK // (size * c)))
    step = max(1, min(o, _BLOCK // (size * some * c)))
    images = max(1, min(n, _BLOCK // (size * some * max(c, step))))
    left = _FEW
    for gs, os in product(_slices(groups, some), _slices(o, step)):
        kernel = w[..., gs, :, os]
        transform = _of_kernel(kernel, lengths, dilation)
        for ns in _slices(n, images):
            part, target = x[ns, ..., gs, :], out[ns, ..., gs, os]
            least = _least(part, kernel, lengths)
            if not np.all(np.isfinite(least)):
                return False
            sums = _of_images(part, lengths, low), transform
            unsure = _write(sums, least, lengths, target)
            left -= len(unsure)
            if left < 0:
                return False
            for place in unsure:
                target[tuple(place)] = _sum(part, kernel, place, low, dilation)
    return True


def _slices(n: int, step: int) -> list[slice]:
    return [slice(k, min(n, k + step)) for k in range(0, n, step)]


# --- lengths --------------------------------------------------------------------------------------


def _lengths(spatial: Ints, taps: Ints, outputs: Ints, low: Ints, dilation: Ints) -> Ints:
    """Return the least lengths for which the windows that reach around meet zeros there."""
    found = []
    for s, k, p, a, d in zip(spatial, taps, outputs, low, dilation, strict=True):
        span = (k - 1) * d + 1
        reach = p + span - 1
        found.append(max(min(a + s, reach), reach - max(a, 0), span, p))
    return tuple(found)


def _fast(n: int) -> int:
    """Return the least product of 2, 3, 5 and 7 that is not less."""
    while True:
        rest = n
        for factor in (2, 3, 5, 7):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return n
        n += 1


def _half(lengths: Ints) -> int:
    """Return how many numbers the transform of real ones has."""
    return prod(lengths[:-1]) * (lengths[-1] // 2 + 1)


# --- transforms -----------------------------------------------------------------------------------


def _pieces(shape: Ints, axes: range) -> list[tuple[slice, ...]]:
    """Return indices that cut an array along the longest axis that is not among `axes`."""
    axis = max(set(range(len(shape))) - set(axes), key=lambda k: shape[k])
    step = -(-shape[axis] // _PIECES)
    return [(*(slice(None),) * axis, piece) for piece in _slices(shape[axis], step)]


def _transform(shape: Ints, axes: range, lengths: Ints, lines: Callable[[Any], Any]) -> Any:
    """Return the transform along `axes` of what `lines` gives for some index into `shape`."""
    shape = (*shape[: axes[0]], *lengths[:-1], lengths[-1] // 2 + 1, *shape[axes[-1] + 1 :])
    out = np.empty(shape, np.complex128)

    def write(piece: tuple[slice, ...]) -> None:
        out[piece] = np.fft.rfftn(lines(piece), axes=axes)

    in_parallel(write, _pieces(shape, axes))
    return out


def _of_images(x: Any, lengths: Ints, low: Ints) -> Any:
    """Return the transform of x with its padding, (N, *frequencies, G, C)."""

    def lines(piece: tuple[slice, ...]) -> Any:
        part = x[piece]
        return padded(part, (*low, 0), (*lengths, part.shape[-2])).astype(np.float64)

    return _transform(x.shape, range(1, 1 + len(low)), lengths, lines)


def _of_kernel(w: Any, lengths: Ints, dilation: Ints) -> Any:
    """Return the conjugate of the transform of a kernel, (*frequencies, G, C, O)."""
    place = tuple(slice(0, k * d, d) for k, d in zip(w.shape, dilation, strict=False))

    def lines(piece: tuple[slice, ...]) -> Any:
        part = w[piece]
        whole = np.zeros((*lengths, *part.shape[-3:]))
        whole[place] = part
        return whole

    found = _transform(w.shape, range(len(dilation)), lengths, lines)
    return np.conj(found, out=found)


def _write(transforms: tuple[Any, Any], least: Any, lengths: Ints, out: Any) -> Any:
    """Write the convolution with these transforms; return where elements are below `least`."""
    x, w = np.moveaxis(transforms[0], 0, -2), transforms[1]
    product = np.empty((*w.shape[:-2], x.shape[-2], w.shape[-1]), np.complex128)

    def multiply(piece: slice) -> None:
        (np.multiply if w.shape[-2] == 1 else np.matmul)(x[piece], w[piece], out=product[piece])

    in_parallel(multiply, _slices(len(w), -(-len(w) // _PIECES)))
    target = np.moveaxis(out, 0, -2)
    axes = range(len(lengths))
    first = tuple(slice(0, n) for n in target.shape[: len(lengths)])

    def invert(piece: tuple[slice, ...]) -> Any:
        sums = np.fft.irfftn(product[piece], lengths, axes)[first]
        target[piece] = sums
        return ~(np.abs(sums) >= least[piece[len(axes) :]])  # of nan too

    pieces = _pieces(product.shape, axes)
    unsure = np.zeros(target.shape, bool)
    for piece, some in zip(pieces, in_parallel(invert, pieces), strict=True):
        unsure[piece] = some
    return np.argwhere(np.moveaxis(unsure, -2, 0))


# --- errors ---------------------------------------------------------------------------------------


def _least(x: Any, w: Any, lengths: Ints) -> Any:
    """Return the least elements that are certain to a part of `_PART`, (G, N, O).

    The error of a transform is at most a small multiple of eps * log2(length) times the root of its
    sum of squares (N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., theorem 24.2),
    that of a product of transforms as much of the product of both roots.
    """
    n = x.ndim  # of w too
    sizes = _norms(x, [n - 2, 0])
    kernels = _norms(w, [n - 3, n - 1])
    bound = 8 * np.finfo(np.float64).eps * log2(2 * prod(lengths))
    return bound / _PART * sizes[:, :, None] * kernels[:, None, :]


def _norms(x: Any, axes: list[int]) -> Any:
    """Return the roots of the sums of squares over the other axes."""
    every = list(range(x.ndim))
    return np.sqrt(np.einsum(x, every, x, every, axes, dtype=np.float64))


def _sum(x: Any, w: Any, place: Ints, low: Ints, dilation: Ints) -> Any:
    """Return one element, (image, *output, group, channel), summed directly."""
    image, *at, group, channel = place
    elements, taps = [], []
    for p, a, d, n, k in zip(at, low, dilation, x.shape[1:], w.shape, strict=False):
        first = max(0, -((p - a) // d))
        stop = min(k, (n - 1 - p + a) // d + 1)
        taps.append(slice(first, max(first, stop)))
        elements.append(slice(p + first * d - a, max(0, p + (stop - 1) * d - a + 1), d))
    met = x[(image, *elements, group)].astype(np.float64)
    return np.sum(met * w[(*taps, group, slice(None), channel)])

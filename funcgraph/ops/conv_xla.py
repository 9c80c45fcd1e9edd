"""Convolutions as XLA compiles them to fast code on a CPU.

XLA's own convolution is fast on a CPU for one group and two spatial axes; its weight gradients, and
convolutions of other kinds, run through slow generic loops there (benchmarks/derivatives.py). The
same sums, written otherwise:

    taps        Σ over taps of a shifted slice times a row of the kernel: one channel a group; in one
                loop, or a loop over the taps where these are many: XLA compiles each slice
    products    columns of inputs, or outputs shifted by each tap; a product for each row of taps
    rows        the same for convolutions whose windows are wide for their image
    phases      each of the `stride` interleaved parts of an input gradient: a convolution of its own
    layers      a convolution over D axes as a sum of convolutions over D - 1
    groups      few groups: a convolution for each; many small ones: zeros between them; weight
                gradients of many groups: products of stacks of matrices

Where XLA's own is best, `forward`, `by_input` and `by_kernel` use that. Which formula serves which
shapes was measured; the functions that choose say it. All take jax, XLA's own convolutions, operands
of one dtype, and the attributes of `ops.conv`. May import `ops.conv_taps`, `ops.windows`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import Any, NamedTuple

from funcgraph.ops.conv_taps import (
    TAPS,
    Steps,
    depthwise,
    depthwise_by_input,
    depthwise_by_kernel,
    each_tap,
    extended,
    padded,
    placed,
    reached,
    reversed_taps,
    turned_steps,
)
from funcgraph.ops.windows import Ints, output_length, used

__all__ = ["Native", "by_input", "by_kernel", "forward"]

_BLOCK = 1 << 19  # elements of the columns of one block of the batch: 2 to 4 MB, which caches hold
_SPREAD = 1 << 22  # elements of outputs with zeros between them, which XLA writes to memory
_FEW_PRODUCTS = 10_000_000  # multiplications and additions of a weight gradient
_THIN = 8  # channels below which rows of inputs are too narrow for a product of matrices
_MANY_GROUPS = 8
_ROW_CHANNELS = 32  # of inputs, below which a product of rows is no faster than XLA's convolution
_SMALL_GROUPS = 16  # channels of a group, in and out together, that zeros between groups pay for


class Native(NamedTuple):
    """XLA's own: functions of (jax, two operands, strides, padding, dilation, groups)."""

    forward: Callable[..., Any]
    by_input: Callable[..., Any]  # and of `shape`
    by_kernel: Callable[..., Any]  # and of `shape`


# --- weight gradients as products ------------------------------------------------------------------


def _blocks(batch: int, elements: int) -> int:
    """Return into how many equal parts to cut a batch, with `elements` of work an example."""
    wanted = min(batch, -(-batch * elements // _BLOCK))
    return next((n for n in range(max(wanted, 1), batch + 1) if batch % n == 0), 1)


def _work(taps: Ints, elements: int) -> int:
    """Return the elements of the columns for a row of taps; a single one needs no columns."""
    return elements * taps[-1] if prod(taps) > 1 else 0


def _cut(n: int, a: Any) -> Any:
    """Return a batch in n equal parts; parts of one example have no batch axis.

    XLA takes the layout of an array with an axis of length 1 there for another one, and copies it.
    """
    return a if n == a.shape[0] else a.reshape(n, a.shape[0] // n, *a.shape[1:])


def _batched(ndim: int, *parts: Any) -> list[Any]:
    """Return parts, of `_cut`, with a batch axis."""
    return [a if a.ndim == ndim else a[None] for a in parts]


def _in_blocks(jax: Any, part: Any, elements: int, x: Any, g: Any) -> Any:
    """Return part(x, g), a sum over the batch, block by block: `elements` of work an example."""
    n = _blocks(x.shape[0], elements)
    if n == 1:
        return part(x, g)
    blocks = _cut(n, x), _cut(n, g)
    term = lambda b: part(*_batched(x.ndim, *b))
    first = jax.eval_shape(term, [a[0] for a in blocks])
    start = jax.numpy.zeros(first.shape, first.dtype)
    return jax.lax.scan(lambda total, b: (total + term(b), None), start, blocks)[0]


def _mapped(jax: Any, part: Any, elements: int, x: Any) -> Any:
    """Return part(x), of each example apart, block by block: `elements` of work an example."""
    n = _blocks(x.shape[0], elements)
    if n == 1:
        return part(x)
    y = jax.lax.map(lambda a: part(*_batched(x.ndim, a)), _cut(n, x))
    return y.reshape(x.shape[0], *y.shape[2:])


def _product(jax: Any, rows: Any, g: Any) -> Any:
    """Return rows^T g, (columns, outputs), of (..., columns) and (..., outputs)."""
    rows, g = (a.reshape(-1, a.shape[-1]) for a in (rows, g))
    return jax.lax.dot_general(rows, g, (((0,), (0,)), ((), ())))


def _rows_of_taps(jax: Any, x: Any, outputs: Ints, shape: Ints, steps: Steps) -> list[Any]:
    """Return the columns for each row of taps: what these meet, their channels beside each other.

    The columns of all taps of one channel are few, and stand beside each other too.
    """
    *over, width = outputs
    *outer, taps = shape
    strides, _, dilation = steps
    last = len(outputs)
    each = [reached(x, last, (k,), (width,), strides[-1:], dilation[-1:]) for k in range(taps)]
    columns = jax.numpy.concatenate(each, -1)
    rows = [
        reached(columns, 1, first, tuple(over), strides[:-1], dilation[:-1])
        for first in each_tap(tuple(outer))
    ]
    return rows if x.shape[-1] > 1 else [jax.numpy.concatenate(rows, -1)]


def _columns(jax: Any, x: Any, g: Any, shape: Ints, steps: Steps) -> Any:
    """Return the weight gradient: for each row of taps, columns of inputs times outputs."""
    outputs = g.shape[1:-1]

    def part(x: Any, g: Any) -> Any:
        x = extended(jax, x, outputs, shape, steps)  # of a block: of all, it would be kept
        rows = _rows_of_taps(jax, x, outputs, shape, steps)
        return jax.numpy.stack([_product(jax, some, g) for some in rows])

    total = _in_blocks(jax, part, _work(shape, prod(outputs) * x.shape[-1]), x, g)
    return total.reshape(*shape, x.shape[-1], g.shape[-1])


def _by_groups(jax: Any, x: Any, g: Any, shape: Ints, steps: Steps, groups: int) -> Any:
    """Return the weight gradient of many groups: as `_columns`, in products of stacks of matrices.

    The examples of a batch are groups, where the gradient of each is wanted. Groups come first, as
    the examples did: XLA turns nothing round twice. Milliseconds, and with groups last:

        128 groups  1x28x28 5x5  1->32  1.8   5.0       32 groups  8x28x28 3x3  4->4  4.6  5.6
        128 groups  1x12x12 5x5 32->64  8.8  11.9       16 groups  8x56x56 3x3/2  8->8  4.9  7.0
    """
    outputs, channels = g.shape[1:-1], x.shape[-1] // groups
    parts = (a.reshape(*a.shape[:-1], groups, a.shape[-1] // groups) for a in (x, g))
    x, g = (jax.numpy.moveaxis(a, -2, 0) for a in parts)
    x, g = x.reshape(-1, *x.shape[2:]), g.reshape(groups, -1, g.shape[-1])
    pairs = (((1,), (1,)), ((0,), (0,)))

    def part(operands: Any) -> Any:
        x, g = (a.reshape(-1, *whole) for a, whole in zip(operands, shapes, strict=True))
        x = extended(jax, x, outputs, shape, steps)
        rows = _rows_of_taps(jax, x, outputs, shape, steps)
        each = (some.reshape(*g.shape[:2], -1) for some in rows)
        return jax.numpy.concatenate([jax.lax.dot_general(some, g, pairs) for some in each], 1)

    shapes = x.shape[1:], g.shape[1:]
    n = _blocks(groups, _work(shape, prod(g.shape[1:-1]) * channels))
    total = part((x, g)) if n == 1 else jax.lax.map(part, (_cut(n, x), _cut(n, g)))
    total = total.reshape(groups, *shape, channels, g.shape[-1])
    return jax.numpy.moveaxis(total, 0, -2).reshape(*shape, channels, -1)


def _shifts(jax: Any, x: Any, g: Any, shape: Ints, steps: Steps) -> Any:
    """Return the weight gradient: rows of inputs times outputs, shifted by each tap of the row.

    The shifted outputs serve all rows of taps, while columns of inputs are copied for each.
    """
    *over, width = g.shape[1:-1]
    *outer, taps = shape
    step = steps.dilation[-1]
    length = used(width, taps, steps.strides[-1], step)
    none = [(0, 0, 0)] * (g.ndim - 2)

    def shifted(g: Any, k: int) -> Any:
        pads = [*none, (k * step, length - width - k * step, 0), (0, 0, 0)]
        return jax.lax.pad(g, g.dtype.type(0), pads)

    def part(x: Any, g: Any) -> Any:
        wide = jax.numpy.concatenate([shifted(g, k) for k in range(taps)], -1)
        x = extended(jax, x, g.shape[1:-1], shape, steps)
        rows = (
            reached(x, 1, first, tuple(over), steps.strides[:-1], steps.dilation[:-1])
            for first in each_tap(tuple(outer))
        )
        return jax.numpy.stack([_product(jax, some, wide) for some in rows])

    total = _in_blocks(jax, part, _work(shape, prod(over) * length * g.shape[-1]), x, g)
    return total.reshape(*outer, x.shape[-1], taps, g.shape[-1]).swapaxes(-2, -3)


# --- input gradients -------------------------------------------------------------------------------


def _by_taps(jax: Any, g: Any, w: Any, shape: Ints, steps: Steps) -> Any:
    """Return the input gradient for few input channels: one product, its columns put in place."""
    taps, channels = w.shape[:-2], w.shape[-2]
    columns = g @ w.reshape(-1, w.shape[-1]).T
    return sum(
        placed(jax, columns[..., k * channels : (k + 1) * channels], tap, shape, steps)
        for k, tap in enumerate(each_tap(taps))
    )


def _phases(jax: Any, native: Native, g: Any, w: Any, shape: Ints, steps: Steps) -> Any:
    """Return the input gradient of a convolution with strides, without dilation.

    Padded element q = s u + r meets tap r + s j at output u - j: for each phase r a convolution of g
    with the taps r, r + s, ..., in reverse order. One convolution does all phases, as channels.
    """
    n, taps, strides = len(shape), w.shape[:-2], steps.strides
    most = [-(-k // s) for k, s in zip(taps, strides, strict=True)]
    more = [(0, m * s - k) for m, s, k in zip(most, strides, taps, strict=True)]
    w = jax.numpy.pad(w, (*more, (0, 0), (0, 0)))
    w = w.reshape(*(v for pair in zip(most, strides, strict=True) for v in pair), *w.shape[-2:])
    w = w.transpose(*range(0, 2 * n, 2), 2 * n + 1, *range(1, 2 * n, 2), 2 * n)
    w = reversed_taps(w, n).reshape(*most, w.shape[n], -1)
    lows = [low for low, _ in steps.padding]
    counts = [-(-(length + low) // s) for length, low, s in zip(shape, lows, strides, strict=True)]
    pads = [(m - 1, u - o) for m, u, o in zip(most, counts, g.shape[1:-1], strict=True)]
    y = _correlate(jax, native, g, w, Steps((1,) * n, tuple(pads), (1,) * n), 1)
    y = y.reshape(y.shape[0], *counts, *strides, -1)
    y = y.transpose(0, *(v for k in range(n) for v in (1 + k, 1 + n + k)), 2 * n + 1)
    y = y.reshape(y.shape[0], *(u * s for u, s in zip(counts, strides, strict=True)), y.shape[-1])
    cut = [
        (-low, length + low - u * s)
        for length, low, u, s in zip(shape, lows, counts, strides, strict=True)
    ]
    return padded(jax, y, cut)


def _turned(jax: Any, native: Native, g: Any, w: Any, shape: Ints, steps: Steps) -> Any:
    """Return the input gradient without strides: a convolution with the kernel in reverse order."""
    turned = reversed_taps(w, len(shape)).swapaxes(-1, -2)
    steps = turned_steps(w.shape, g.shape, shape, steps)
    return _correlate(jax, native, g, turned, steps, 1)


# --- convolutions of convolutions ------------------------------------------------------------------


def _correlate(jax: Any, native: Native, x: Any, w: Any, steps: Steps, groups: int) -> Any:
    """Convolve by the fastest formula."""
    if groups == 1 and len(steps.strides) != 2:
        return _layers(jax, native, x, w, steps)
    if _is_dense(w.shape, groups):
        return native.forward(jax, x, _dense(jax, w, groups), *steps, 1)
    if groups == 1 and w.shape[-2] >= _ROW_CHANNELS and _is_wide(x.shape, w.shape[:-2], steps):
        return _by_rows(jax, x, w, steps)
    if 1 < groups <= _MANY_GROUPS:
        parts = _parts(jax, groups, x, w)
        return jax.numpy.concatenate(
            [_correlate(jax, native, a, b, steps, 1) for a, b in parts], -1
        )
    if groups == 1:
        x, w = _even(jax, x, w)
    return native.forward(jax, x, w, *steps, groups)


def _even(jax: Any, x: Any, w: Any) -> tuple[Any, Any]:
    """Return x and w with a channel of zeros more, where XLA is slow for an odd number of channels.

    Which is to 17 to 32 outputs (ms, as they are and with zeros, 32x32x32, 3x3): 3->32 1.7 and 0.43,
    3->24 5.1 and 0.49, 13->32 2.6 and 1.3; but 1->32 0.19 and 0.25, 3->16 0.62 and 0.71, 3->64 0.54
    and 0.74.
    """
    *_, channels, outputs = w.shape
    if channels % 2 == 0 or channels == 1 or not 16 < outputs <= 32:
        return x, w
    none, more = (0, 0, 0), (0, 1, 0)
    pads = [none] * (w.ndim - 2)
    zero = x.dtype.type(0)
    return jax.lax.pad(x, zero, [none, *pads, more]), jax.lax.pad(w, zero, [*pads, more, none])


def _by_rows(jax: Any, x: Any, w: Any, steps: Steps) -> Any:
    """Convolve over two axes: one product of columns of inputs, on all threads; XLA's own has one.

    Where there are about as many rows of outputs as of inputs, a column is a row of taps, and their
    products are shifted and added up: of zeros above and below the image nothing is multiplied.
    Elsewhere it is all taps. It takes 0.2 to 0.4 s longer to compile, and pays where windows are wide
    for their image (ms, XLA's own and ours, two cores; the last line is not by rows):

        3x3  64x7x7   64->128  6.6  4.0      5x5  64x12x12  32->64  valid     6.9  3.9
             64x8x8   64->64   4.3  2.7           64x8x8    64->32  full      6.2  4.4
             32x16x16 64->64   8.2  5.1           32x14x14  64->64           17.4 10.7
             32x32x32 32->32   8.5  7.2            8x28x28  32->32            4.2  3.0
    """
    outputs = tuple(map(output_length, x.shape[1:-1], w.shape, *steps))
    shifted = steps.strides[0] == 1 and 4 * x.shape[1] <= 5 * outputs[0]
    taps, across, channels = w.shape[0], w.shape[1], w.shape[-1]
    pads = ((0, 0), steps.padding[1]) if shifted else steps.padding
    along = [outputs[:1], steps.strides[:1], steps.dilation[:1]]
    aside = [outputs[1:], steps.strides[1:], steps.dilation[1:]]
    kernel = (w.transpose(1, 2, 0, 3) if shifted else w).reshape(-1, channels * taps**shifted)

    def part(x: Any) -> Any:
        x = padded(jax, x, pads)
        columns = jax.numpy.concatenate([reached(x, 2, (k,), *aside) for k in range(across)], -1)
        if not shifted:
            rows = [reached(columns, 1, (k,), *along) for k in range(taps)]
            return jax.numpy.concatenate(rows, -1) @ kernel
        y = jax.numpy.split(columns @ kernel, taps, -1)
        lows = [steps.padding[0][0] - k * steps.dilation[0] for k in range(taps)]
        ends = [((low, outputs[0] - x.shape[1] - low), (0, 0)) for low in lows]
        return sum(padded(jax, some, pair) for some, pair in zip(y, ends, strict=True))

    # What made x is computed once, not for each of the slices that it would be fused into.
    x = jax.lax.optimization_barrier(x)
    return _mapped(jax, part, x.shape[1] * outputs[1] * across * x.shape[3], x)


def _parts(jax: Any, groups: int, *arrays: Any) -> Iterator[Any]:
    """Return the channels of each group of several arrays."""
    return zip(*(jax.numpy.split(a, groups, -1) for a in arrays), strict=True)


def _is_dense(w: Ints, groups: int) -> bool:
    return groups > _MANY_GROUPS and w[-2] + w[-1] // groups <= _SMALL_GROUPS


def _dense(jax: Any, w: Any, groups: int) -> Any:
    """Return the kernel of one group that does the same: zeros between the groups."""
    rows = w.reshape(*w.shape[:-1], groups, w.shape[-1] // groups)
    eye = jax.numpy.eye(groups, dtype=w.dtype)
    full = jax.numpy.einsum("...cgo,hg->...hcgo", rows, eye)
    return full.reshape(*w.shape[:-2], w.shape[-2] * groups, w.shape[-1])


def _layers(jax: Any, native: Native, x: Any, w: Any, steps: Steps) -> Any:
    """Convolve over one axis as over two, and over D > 2 as a sum over the taps of the first."""
    strides, ((low, high), *rest), dilation = steps
    if len(strides) == 1:
        pads = ((0, 0), (low, high))
        y = native.forward(jax, x[:, None], w[None], (1, *strides), pads, (1, *dilation), 1)
        return y[:, 0]
    x = padded(jax, x, [(low, high)] + [(0, 0)] * len(rest))
    outputs = (x.shape[1] - (w.shape[0] - 1) * dilation[0] - 1) // strides[0] + 1
    inner = Steps(strides[1:], tuple(rest), dilation[1:])
    total: Any = None
    for k in range(w.shape[0]):
        some = reached(x, 1, (k,), (outputs,), strides[:1], dilation[:1])
        y = _correlate(jax, native, some.reshape(-1, *some.shape[2:]), w[k], inner, 1)
        total = y if total is None else total + y
    return total.reshape(x.shape[0], outputs, *total.shape[1:])


# --- the choice ------------------------------------------------------------------------------------


def _is_wide(x: Ints, taps: Ints, steps: Steps) -> bool:
    """Return whether the windows are wide for their image: much of what is padded with zeros is zero.

    From a quarter of a line on. Weight gradients by shifts and by columns, ms: 32x16x16 32->64 5x5
    6.5 and 5.4 (a third), 32x14x14 64->64 3x3 5.2 and 6.2 (a seventh).
    """
    return 4 * (taps[-1] - 1) * steps.dilation[-1] >= x[-2]


def _is_depthwise(channels: int, groups: int) -> bool:
    return groups > 1 and channels == 1


def forward(jax: Any, native: Native, x: Any, w: Any, groups: int, **attrs: Any) -> Any:
    """Return conv(x, w)."""
    steps = Steps(**attrs)
    if _is_depthwise(w.shape[-2], groups):
        lengths = zip(x.shape[1:-1], w.shape[:-2], *steps, strict=True)
        outputs = tuple(output_length(n, k, s, p, d) for n, k, s, p, d in lengths)
        return depthwise(jax, x, w, outputs, steps, groups)
    return _correlate(jax, native, x, w, steps, groups)


def by_input(
    jax: Any, native: Native, g: Any, w: Any, shape: Ints, groups: int, **attrs: Any
) -> Any:
    """Return conv_input(g, w)."""
    steps = Steps(**attrs)
    if _is_depthwise(w.shape[-2], groups):
        return depthwise_by_input(jax, g, w, shape, steps, groups)
    if 1 < groups <= _MANY_GROUPS:
        parts = _parts(jax, groups, g, w)
        found = [by_input(jax, native, a, b, shape, 1, **attrs) for a, b in parts]
        return jax.numpy.concatenate(found, -1)
    if _is_dense(w.shape, groups):
        return by_input(jax, native, g, _dense(jax, w, groups), shape, 1, **attrs)
    taps = prod(w.shape[:-2])
    if groups == 1 and (taps == 1 or (w.shape[-2] == 1 and taps <= TAPS)):
        return _by_taps(jax, g, w, shape, steps)
    if groups == 1 and max(steps.strides) == 1:
        return _turned(jax, native, g, w, shape, steps)
    if groups == 1 and _is_phased(w.shape[:-2], steps):
        return _phases(jax, native, g, w, shape, steps)
    spread = [(n - 1) * s + 1 for n, s in zip(g.shape[1:-1], steps.strides, strict=True)]
    own = lambda g: native.by_input(jax, g, w, shape=shape, groups=groups, **attrs)
    if g.shape[0] * prod(spread) * g.shape[-1] <= _SPREAD:
        return own(g)
    return _mapped(jax, own, prod(spread) * g.shape[-1], g)


def _is_phased(taps: Ints, steps: Steps) -> bool:
    """Return whether to compute an input gradient with strides phase by phase.

    On two axes where no tap is added to make the phases equal (4x4 with stride 2, 32->64: 3.9 ms
    against 8.8), else XLA's own is best (3x3 with stride 2, 64->128: 36 ms against 83).
    """
    if max(steps.dilation) > 1:
        return False
    return len(taps) != 2 or all(k % s == 0 for k, s in zip(taps, steps.strides, strict=True))


def by_kernel(
    jax: Any, native: Native, x: Any, g: Any, shape: Ints, groups: int, **attrs: Any
) -> Any:
    """Return conv_kernel(x, g)."""
    steps = Steps(**attrs)
    channels, outputs = (a.shape[-1] // groups for a in (x, g))
    alone = _is_depthwise(channels, groups)
    if alone and (outputs < _THIN or prod(shape) > TAPS):
        return depthwise_by_kernel(jax, x, g, shape, steps, groups)
    if alone or groups > _MANY_GROUPS:
        return _by_groups(jax, x, g, shape, steps, groups)
    if groups > 1:
        parts = _parts(jax, groups, x, g)
        found = [by_kernel(jax, native, a, b, shape, 1, **attrs) for a, b in parts]
        return jax.numpy.concatenate(found, -1)
    if _is_native(x.shape, g.shape, shape, steps):
        return native.by_kernel(jax, x, g, shape=shape, groups=1, **attrs)
    # What made x and g is computed once, not for each of the slices that it would be fused into.
    x, g = jax.lax.optimization_barrier((x, g))
    thin = x.shape[-1] < _THIN
    if thin or steps.strides[-1] > 1 or _is_wide(g.shape, shape, steps):
        return _columns(jax, x, g, shape, steps)
    return _shifts(jax, x, g, shape, steps)


def _is_native(x: Ints, g: Ints, shape: Ints, steps: Steps) -> bool:
    """Return whether XLA's own weight gradient is best: one axis, large kernels, and little gained.

    It compiles in 0.07 s, ours in 0.1 to 0.2 s. Milliseconds, XLA's
    and ours (batch, image, channels; read the ratios, lines with * are of a busy machine):

        3x3      32x 7x7    64->64     2.2   1.8     * 8x56x56   64->64     81    35
                  8x32x32    3->32     0.5   0.36    *32x32x32   32->32     26    12
                  8x32x32   32->32     4.3   2.1     * 8x28x28  128->128   136    31
                 32x32x32   16->16     5.5   4.0
                 32x32x32    8->8      2.0   1.55
        stride 2  8x16x16   32->64     0.46  0.36    * 8x56x56   64->128    72    20
                  8x32x32   32->64     1.7   1.1
                  8x16x16   64->128    1.3   0.9
                 32x28x28   16->32     2.5   1.4
        5x5       8x12x12   32->64     0.8   1.1     *64x14x14   32->64     68    31
                 *8x28x28   64->64    10.3  24.4
                  8x14x14  128->128   10.9  14.5
        7x7       8x56x56    8->8      4.9   6.0   * 8x56x56   16->16     11.5  13.4
        5         8x2000    32->32     1.9   2.3     8x2000    32->64     15    30    (16 taps)
        stride 4  8x2000    32->32     0.8   0.9     8x2000    32->64      2.2   6.2  (16 taps)
        dilated 2 8x2000    32->32    46     2.3     8x2000    32->64    298    16    (16 taps)
    """
    taps, channels = prod(shape), x[-1]
    if len(shape) == 1:
        return max(steps.dilation) == 1
    if len(shape) != 2 or channels == 1 or taps == 1:
        return False
    if taps >= 25:
        return x[0] * channels <= 1024
    return channels >= _THIN and prod(g) * taps * channels <= _FEW_PRODUCTS

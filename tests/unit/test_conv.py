"""Convolutions and pooling: against plain loops and JAX, at ties, in pieces; what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import funcgraph as fg
from funcgraph.errors import ShapeError, WindowError
from funcgraph.nn import functional_conv as nn
from funcgraph.ops import columns, conv_lines, conv_numpy, lines, pooling
from funcgraph.ops.conv import conv_input, conv_kernel
from funcgraph.ops.windows import output_length, pads

RNG = np.random.default_rng(7)


def normal(*shape: int, dtype: Any = np.float64) -> Any:
    return RNG.standard_normal(shape).astype(dtype)


def close(a: Any, b: Any, tol: float = 1e-10) -> None:
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape
    np.testing.assert_allclose(a, b, rtol=tol, atol=tol)


# --- against the definition -----------------------------------------------------------------------


def by_definition(x: Any, w: Any, strides: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """Return a convolution, product by product."""
    lengths = map(output_length, x.shape[1:-1], w.shape[:-2], strides, padding, dilation)
    out = np.zeros((len(x), *lengths, w.shape[-1]), np.result_type(x, w))
    c, m = w.shape[-2], w.shape[-1] // groups
    for o in np.ndindex(out.shape[1:-1]):
        for k in np.ndindex(w.shape[:-2]):
            at = [
                a * s + b * d - p
                for a, s, b, d, (p, _) in zip(o, strides, k, dilation, padding, strict=True)
            ]
            if all(0 <= i < n for i, n in zip(at, x.shape[1:-1], strict=True)):
                for g in range(groups):
                    part = x[(slice(None), *at, slice(g * c, g * c + c))]
                    some = slice(g * m, g * m + m)
                    out[(slice(None), *o, some)] += part @ w[(*k, slice(None), some)]
    return out


@st.composite
def convolutions(draw: Any) -> Any:
    n = draw(st.integers(1, 3))
    each = lambda low, high: tuple(draw(st.integers(low, high)) for _ in range(n))
    groups, c, m = draw(
        st.sampled_from(
            [(1, 1, 3), (1, 3, 2), (1, 1, 8), (2, 1, 8), (2, 3, 2), (3, 1, 1), (2, 1, 4), (2, 2, 1)]
        )
    )
    x = (draw(st.integers(0, 3)), *each(2, 7), groups * c)
    w = (*each(1, 4), c, groups * m)
    strides, dilation = each(1, 3), each(1, 3)
    padding = draw(st.sampled_from(["SAME", tuple(zip(each(-1, 4), each(-1, 4), strict=True))]))
    return x, w, strides, pads(padding, x[1:-1], w[:-2], strides, dilation), dilation, groups


@settings(max_examples=150, deadline=None)
@given(convolutions(), st.booleans(), st.sampled_from([(0, 0), (0, 1), (1, 1)]))
def test_convolution_and_transposes(case: Any, small_pieces: bool, ways: Any) -> None:
    """The value is the definition's; both transposes satisfy the adjoint identity.

    Whatever the sizes of pieces, and whichever way the input's cotangent takes.
    """
    xs, ws, strides, padding, dilation, groups = case
    attrs = {"strides": strides, "padding": padding, "dilation": dilation, "groups": groups}
    if min(map(output_length, xs[1:-1], ws[:-2], strides, padding, dilation)) < 1:
        with pytest.raises(ShapeError, match="nothing is left"):
            nn.conv(np.zeros(xs), np.zeros(ws), **attrs)
        return
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(xs), rng.standard_normal(ws)
    with pytest.MonkeyPatch.context() as patch:
        if small_pieces:  # less than one image, so that every loop over pieces is taken
            patch.setattr(columns, "COLUMNS", 700)
            patch.setattr(columns, "_PIECE", 700)
            patch.setattr(lines, "_BLOCK", 700)
            patch.setattr(lines, "_ROWS", 1)
            patch.setattr(conv_numpy, "_SLICES", 100)
            patch.setattr(conv_lines, "_ROWS", 1)
            patch.setattr(columns, "RUN", 2)
        patch.setattr(conv_numpy, "_GROUPS", 2)
        patch.setattr(conv_numpy, "_MANY", 1)
        patch.setattr(conv_numpy, "_is_better_spread", lambda *lengths: bool(ways[0]))
        patch.setattr(conv_numpy, "_are_better_lines", lambda *lengths: bool(ways[1]))
        y = nn.conv(x, w, **attrs)
        close(y, by_definition(x, w, **attrs))
        g = rng.standard_normal(y.shape)
        gx, gw = (
            conv_input(g, w, shape=xs[1:-1], **attrs),
            conv_kernel(x, g, shape=ws[:-2], **attrs),
        )
    assert (gx.shape, gw.shape) == (xs, ws)
    close(np.sum(gx * x), np.sum(g * y), 1e-9)
    close(np.sum(gw * w), np.sum(g * y), 1e-9)


def test_pieces_of_large_arrays() -> None:
    """Arrays of several pieces at the usual limits: columns, rows of one image, and slices."""
    for x, w, groups in [
        ((3, 70, 40, 16), (3, 3, 16, 24), 1),
        ((2, 90, 90, 2), (5, 5, 2, 16), 1),
        ((3, 3000, 32), (3, 1, 32), 32),
    ]:
        x, w = normal(*x), normal(*w)
        y = nn.conv(x, w, padding="SAME", groups=groups)
        g, some = normal(*y.shape), slice(1, 2)
        f = lambda x, w, groups=groups: nn.conv(x, w, padding="SAME", groups=groups)
        gx, gw = fg.vjp(f, x, w)[1](g)
        close(y[some], f(x[some], w))
        close(gx[some], fg.vjp(f, x[some], w)[1](g[some])[0])
        close(gw, sum(fg.vjp(f, x[i : i + 1], w)[1](g[i : i + 1])[1] for i in range(len(x))), 1e-9)
        close(np.sum(gw * w), np.sum(g * y), 1e-8)


# --- against JAX ----------------------------------------------------------------------------------

ROWS = [
    # x, w, strides, padding, dilation, groups
    ((2, 9, 3), (3, 3, 4), 2, "SAME", 1, 1),
    ((2, 7, 8, 4), (3, 2, 2, 6), (2, 1), "SAME", (1, 2), 2),
    ((1, 6, 6, 3), (3, 3, 1, 6), 1, ((2, 0), (1, 1)), 1, 3),
    ((2, 9, 8, 16), (3, 2, 2, 24), (1, 2), ((1, 0), (0, 2)), (2, 1), 8),
    ((40, 8, 26, 3), (3, 5, 3, 4), (2, 1), "VALID", 1, 1),
    ((64, 11, 17, 8), (3, 4, 8, 5), (3, 2), ((1, 2), (2, 1)), (1, 3), 1),
    ((0, 9, 12, 4), (3, 3, 4, 5), 2, "SAME", 1, 1),
    ((1, 3, 30, 40, 4), (2, 3, 3, 4, 6), (1, 2, 2), ((0, 0), (1, 1), (1, 0)), 1, 1),
    ((2, 4, 5, 4, 2), (2, 3, 2, 2, 3), (1, 2, 2), "VALID", 1, 1),
]


@pytest.mark.parametrize("row", ROWS, ids=[str(r[0]) for r in ROWS])
def test_conv_equals_jax(row: Any) -> None:
    """Values, both gradients and a second derivative are JAX's."""
    jax = pytest.importorskip("jax")
    xs, ws, strides, padding, dilation, groups = row
    n = len(xs) - 2
    whole = lambda v: v if isinstance(v, tuple) else (v,) * n
    spec = ("N", "DHW"[-n:], "C")
    dims = ("".join(spec), "DHW"[-n:] + "IO", "".join(spec))
    theirs = lambda x, w: jax.lax.conv_general_dilated(
        x, w, whole(strides), padding, rhs_dilation=whole(dilation), dimension_numbers=dims,
        feature_group_count=groups,
    )  # fmt: skip
    ours = lambda x, w: nn.conv(x, w, strides, padding, dilation, groups)
    x, w = normal(*xs), normal(*ws)
    value, pullback = fg.vjp(ours, x, w)
    expected, reference = jax.vjp(theirs, x, w)
    close(value, expected)
    g = normal(*value.shape)
    for a, b in zip(pullback(g), reference(g), strict=True):
        close(a, b)
    second = lambda m, f: m.grad(
        lambda x, w: (m.grad(lambda x: (f(x, w) ** 3).sum())(x) ** 2).sum(), (0, 1)
    )
    for a, b in zip(second(fg, ours)(x, w), second(jax, theirs)(x, w), strict=True):
        size = np.abs(b).max(initial=1)
        close(a / size, b / size)


@pytest.mark.parametrize("transpose_kernel", [False, True])
@pytest.mark.parametrize("padding", ["SAME", "VALID", [(2, 1), (0, 3)]])
def test_conv_transpose_equals_jax(padding: Any, transpose_kernel: bool) -> None:
    jax = pytest.importorskip("jax")
    x = normal(2, 4, 5, 3)
    for taps, strides, dilation in [((3, 2), (2, 3), (1, 1)), ((2, 4), (1, 2), (2, 1))]:
        w = normal(*taps, *((2, 3) if transpose_kernel else (3, 2)))
        close(
            nn.conv_transpose(x, w, strides, padding, dilation, 1, transpose_kernel),
            jax.lax.conv_transpose(
                x, w, strides, padding, dilation, ("NHWC", "HWIO", "NHWC"), transpose_kernel
            ),
        )


def test_conv_transpose_is_the_transpose() -> None:
    """With transpose_kernel it is the pullback of conv; groups are those of each part."""
    x, w = normal(2, 7, 4), normal(3, 2, 6)
    f = lambda x: nn.conv(x, w, 2, groups=2)
    g = normal(2, 3, 6)
    close(nn.conv_transpose(g, w, 2, groups=2, transpose_kernel=True), fg.vjp(f, x)[1](g)[0])
    w = normal(3, 2, 8)
    parts = [
        nn.conv_transpose(x[..., 2 * i :][..., :2], w[..., 4 * i :][..., :4], 2) for i in (0, 1)
    ]
    close(nn.conv_transpose(x, w, 2, groups=2), np.concatenate(parts, -1))


POOLS = [
    ((2, 9, 2), 2, 2, "VALID"),
    ((2, 7, 6, 2), (3, 2), (2, 1), "SAME"),
    ((1, 8, 8, 1), 3, 1, 1),
    ((1, 5, 4, 6, 2), 2, (2, 1, 2), "SAME"),
]


@pytest.mark.parametrize("row", POOLS, ids=[str(r[0]) for r in POOLS])
def test_pooling_equals_jax(row: Any) -> None:
    """Values and gradients, with many ties in overlapping windows, are those of reduce_window."""
    jax = pytest.importorskip("jax")
    shape, window, strides, padding = row
    n = len(shape) - 2
    whole = lambda v: (1, *(v if isinstance(v, tuple) else (v,) * n), 1)
    around = padding if isinstance(padding, str) else ((0, 0), *((padding, padding),) * n, (0, 0))
    reduced = lambda x, start, f: jax.lax.reduce_window(
        x, start, f, whole(window), whole(strides), around
    )
    size = np.prod(whole(window))
    pairs = [
        (nn.max_pool, lambda x: reduced(x, -np.inf, jax.lax.max)),
        (nn.min_pool, lambda x: -reduced(-x, -np.inf, jax.lax.max)),
        (nn.avg_pool, lambda x: reduced(x, 0.0, jax.lax.add) / size),
        (
            lambda *a: nn.avg_pool(*a, count_include_pad=False),
            lambda x: reduced(x, 0.0, jax.lax.add) / reduced(np.ones(shape), 0.0, jax.lax.add),
        ),
    ]
    x = RNG.integers(0, 3, shape).astype(float)
    for ours, theirs in pairs:
        f = lambda x, ours=ours: ours(x, window, strides, padding)
        value, pullback = fg.vjp(f, x)
        expected, reference = jax.vjp(theirs, x)
        close(value, expected)
        g = normal(*value.shape)
        close(pullback(g)[0], reference(g)[0])
    # Without ties: at ties of padded windows JAX's tangents are not the transpose of its pullback.
    ours, theirs = pairs[0]
    x, v = RNG.permutation(x.size).reshape(shape) / 7.0, normal(*shape)

    def second(m: Any, f: Any) -> Any:
        return m.grad(lambda x: (m.grad(lambda x: (f(x) ** 3).sum())(x) * v).sum())(x)

    close(second(fg, lambda x: ours(x, window, strides, padding)), second(jax, theirs), 1e-9)


def test_pooling_on_xla_scatters_nothing() -> None:
    """Scattered writes are one by one on a CPU, and atomic on a GPU."""
    pytest.importorskip("jax")
    for f in (nn.max_pool, nn.avg_pool):
        gradient = fg.jit(fg.grad(lambda x, f=f: np.sum(f(x, 3, 2, 1) ** 2)), backend="xla")
        assert "scatter" not in gradient.lower(normal(2, 8, 7, 3)).as_text()


@pytest.mark.parametrize("pool", [nn.max_pool, nn.avg_pool])
def test_windows_side_by_side_on_xla_are_parts_of_loops(pool: Any) -> None:
    """Slices and broadcasting: neither reduce_window nor padding, that XLA keeps in memory."""
    jax = pytest.importorskip("jax")
    x = RNG.integers(0, 3, (2, 6, 4, 3)).astype(float)
    x[0, 1, 2] = np.nan
    weights = normal(2, 2, 2, 3)
    f = fg.value_and_grad(lambda x: np.sum(weights * pool(x, (3, 2))))
    step = fg.jit(f, backend="xla")
    text = step.lower(x).as_text()
    assert "reduce_window" not in text
    assert "stablehlo.pad" not in text
    for got, wanted in zip(step(x), f(x), strict=True):
        close(np.asarray(got), wanted)
    whole = np.nan_to_num(x)
    with jax.enable_x64(True):  # by JAX's rules, at ties too
        close(np.asarray(jax.grad(lambda x: (weights * pool(x, (3, 2))).sum())(whole)), f(whole)[1])
    tangent = lambda x: fg.jvp(f, (x,), (np.cos(x),))[1]
    for got, wanted in zip(fg.jit(tangent, backend="xla")(x), tangent(x), strict=True):
        close(np.asarray(got), wanted)


def test_pooling_in_blocks() -> None:
    """Blocks of rows and of columns give what one block gives."""
    x = normal(3, 6, 5, 1300)
    f = lambda x: nn.avg_pool(nn.max_pool(x, 3, 2, 1), 2, 1)
    y, pullback = fg.vjp(f, x)
    wanted = y, pullback(y)[0], fg.jvp(f, (x,), (x,))[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pooling, "_BLOCK", 1 << 10)
        y, pullback = fg.vjp(f, x)
        for a, b in zip((y, pullback(y)[0], fg.jvp(f, (x,), (x,))[1]), wanted, strict=True):
            close(a, b)


# --- modes ----------------------------------------------------------------------------------------


def net(params: Any, x: Any) -> Any:
    w, v, u = params
    x = nn.max_pool(np.tanh(nn.conv(x, w, padding="SAME")), 2, 2)
    x = nn.avg_pool(nn.conv_transpose(x, v, 2, "SAME"), 3, 2, "SAME")
    return np.sum(nn.global_avg_pool(nn.conv(x, u, groups=2)) ** 2)


def arguments(dtype: Any = np.float64) -> Any:
    shapes = (3, 3, 2, 4), (2, 2, 4, 6), (2, 2, 3, 4)
    return [normal(*s, dtype=dtype) for s in shapes], normal(3, 8, 8, 2, dtype=dtype)


@pytest.mark.parametrize("backend", ["numpy", "xla"])
def test_networks_compile(backend: str) -> None:
    if backend == "xla":
        pytest.importorskip("jax")
    params, x = arguments()
    wanted = fg.grad(net)(params, x)
    for a, b in zip(fg.jit(fg.grad(net), backend=backend)(params, x), wanted, strict=True):
        close(a, b)


def test_compiled_results_are_not_written_again() -> None:
    """Convolutions and pooling write into planned memory: not into what the caller still has."""

    def f(x: Any, w: Any) -> Any:
        y = nn.conv(x, w, padding="SAME")
        p = nn.max_pool(y, 2)
        return y, p, np.exp(p / 8), fg.grad(lambda x: np.sum(nn.max_pool(nn.conv(x, w), 2) ** 2))(x)

    compiled = fg.jit(f)
    x, w = normal(8, 16, 16, 4, dtype=np.float32), normal(3, 3, 4, 8, dtype=np.float32)
    kept = [compiled(x * np.float32(k), w) for k in (1, 2, 3)]
    for k, results in zip((1, 2, 3), kept, strict=True):
        for a, b in zip(results, f(x * np.float32(k), w), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3)


def test_jax_arrays_and_transformations() -> None:
    """JAX's arrays stay JAX's, whatever its x64 flag; its grad and vmap see the same functions."""
    jax = pytest.importorskip("jax")
    params, x = arguments(np.float32)
    with jax.enable_x64(False):
        y = nn.conv(jax.numpy.asarray(x), params[0].astype(float))
        assert isinstance(y, jax.Array) and y.dtype == np.float32
        theirs = jax.grad(fg.to_jax(net))(params, x)
        lanes = jax.vmap(lambda x: nn.conv(x[None], params[0]))(x)
    for a, b in zip(theirs, fg.grad(net)(params, x), strict=True):
        close(a, b, 1e-3)
    close(lanes[:, 0], nn.conv(x, params[0]), 1e-4)


def test_costs() -> None:
    """Each gradient costs what the convolution does: 2 for each product."""
    x, w = normal(2, 8, 8, 4), normal(3, 3, 2, 6)
    f = lambda x, w: nn.conv(x, w, groups=2)
    flops = 2 * (2 * 6 * 6 * 6) * (9 * 2)
    assert fg.make_graph(f)(x, w).flops() == flops
    both = fg.make_graph(lambda x, w: fg.vjp(f, x, w)[1](np.ones((2, 6, 6, 6))))(x, w)
    assert both.flops() == 3 * flops  # the value, and a gradient for each argument
    assert fg.make_graph(lambda x: nn.max_pool(x, 2, 2))(x).flops() == 2 * (2 * 8 * 4 * 4 + 128)


def test_per_example_gradients() -> None:
    """Under vmap every lane gets what it would get alone, and no lane disturbs another."""
    params, x = arguments()
    x[1, 0, 0, 0] = np.inf
    with np.errstate(all="ignore"):
        got = fg.vmap(fg.grad(net), (None, 0))(params, x[:, None])
        for i in (0, 2):
            for a, b in zip(got, fg.grad(net)(params, x[i : i + 1]), strict=True):
                close(a[i], b)


def test_float32_stays_and_half_sums_in_single() -> None:
    params, x = arguments(np.float32)
    assert {g.dtype for g in fg.grad(net)(params, x)} == {np.dtype(np.float32)}
    x, w = normal(1, 6, 6, 64, dtype=np.float16), normal(3, 3, 64, 8, dtype=np.float16)
    y = nn.conv(x, w)
    assert y.dtype == np.float16
    close(y, nn.conv(x.astype(float), w.astype(float)).astype(np.float16), 2e-3)
    assert nn.conv(np.ones((1, 3, 1), int), np.ones((2, 1, 1), int)).tolist() == [[[2], [2]]]


def test_empty_batches() -> None:
    params, x = arguments()
    for g in fg.grad(net)(params, x[:1]):
        assert np.all(np.isfinite(g))
    f = lambda w: np.sum(nn.max_pool(nn.conv(x[:0], w), 2))
    assert not np.any(fg.grad(f)(params[0]))
    assert nn.adaptive_avg_pool(x[:0], 3).shape == (0, 3, 3, 2)


def test_infinite_cotangents_stay_where_they_are() -> None:
    x = np.arange(4.0).reshape(1, 4, 1)
    gx = fg.vjp(lambda x: nn.max_pool(x, 2, 2), x)[1](np.array([np.inf, 1.0]).reshape(1, 2, 1))[0]
    assert gx.ravel().tolist() == [0, np.inf, 0, 1]


# --- integers, adaptive pooling -------------------------------------------------------------------


def test_pooling_of_integers() -> None:
    x = np.array([0, 3, 255, 7], np.uint8).reshape(1, 4, 1)
    assert nn.max_pool(x, 2, 2, 1).ravel().tolist() == [0, 255, 7]
    assert nn.min_pool(x, 2, 2, 1).ravel().tolist() == [0, 3, 7]
    assert nn.avg_pool(x, 2, 2).ravel().tolist() == [1.5, 131]
    low = np.array([-128, 5], np.int8).reshape(1, 2, 1)
    assert nn.min_pool(low, 2).item() == -128


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 9, (2, 3), (None, 4)])
def test_adaptive_pooling(size: Any) -> None:
    """Bins are torch's: from floor(i L / n) to ceil((i + 1) L / n)."""
    x = normal(2, 7, 6, 3)
    pair = size if isinstance(size, tuple) else (size, size)
    bins = []
    for n, length in zip(pair, (7, 6), strict=True):
        n = n or length
        bins.append([slice(i * length // n, -(-(i + 1) * length // n)) for i in range(n)])
    for ours, f in ((nn.adaptive_max_pool, np.max), (nn.adaptive_avg_pool, np.mean)):
        by_bins = lambda x, f=f: np.stack(
            [np.stack([f(x[:, a, b], (1, 2)) for b in bins[1]], 1) for a in bins[0]], 1
        )
        value, pullback = fg.vjp(lambda x, ours=ours: ours(x, size), x)
        wanted, reference = fg.vjp(by_bins, x)
        close(value, wanted)
        g = normal(*value.shape)
        close(pullback(g)[0], reference(g)[0])


def test_global_pooling() -> None:
    x = normal(2, 3, 4, 5)
    close(nn.global_max_pool(x), x.max((1, 2)))
    close(nn.global_avg_pool(x, keepdims=True), x.mean((1, 2), keepdims=True))


# --- what is refused ------------------------------------------------------------------------------

X, W = np.zeros((2, 8, 8, 3)), np.zeros((3, 3, 3, 4))
REFUSED = [
    (lambda: nn.conv(X[0], W), ShapeError, r"as many axes, got shapes \(8, 8, 3\) and .*x\[None\]"),
    (lambda: nn.conv(X[..., :2], W), ShapeError, r"\(2, 8, 8, 2\) has 2 channels, but .* takes 3"),
    (lambda: nn.conv(X, W, groups=2), WindowError, "groups is an int that divides .* got 2"),
    (lambda: nn.conv(X, W, groups=0), WindowError, "got 0"),
    (lambda: nn.conv(X[:, :2], W), ShapeError, r"is larger than the input of shape \(2, 2, 8, 3\)"),
    (lambda: nn.conv(X, W, strides=0), WindowError, "strides is a positive int.*got 0"),
    (lambda: nn.conv(X, W, strides=(1, 2, 3)), WindowError, "each of the 2 spatial axes"),
    (lambda: nn.conv(X, W, dilation=1.5), WindowError, "dilation is a positive int.*got 1.5"),
    (lambda: nn.conv(X, W, padding="FULL"), WindowError, "'SAME', 'VALID'.*got 'FULL'"),
    (lambda: nn.conv(X, W, padding=[(1, 2)]), WindowError, "padding is"),
    (lambda: nn.conv(X, W, padding=[(1, 2, 3), 1]), WindowError, "padding is"),
    (lambda: nn.conv_transpose(X, W, padding=-6), ShapeError, "has no outputs"),
    (
        lambda: nn.conv_transpose(X, W, transpose_kernel=True),
        ShapeError,
        r"kernel of shape \(3, 3, 3, 4\) takes 4 .*\(\*taps, O / groups, C\)",
    ),
    (lambda: nn.max_pool(X, 9), ShapeError, r"the window \(9, 9\) is larger than the input"),
    (lambda: nn.max_pool(X[0, 0], 2), ShapeError, r"\(N, \*spatial, C\), got shape \(8, 3\)"),
    (lambda: nn.avg_pool(X, (2, 0)), WindowError, "window is a positive int"),
    (lambda: nn.global_max_pool(X[0, 0]), ShapeError, "spatial"),
    (lambda: nn.adaptive_max_pool(X, (2, 2, 2)), WindowError, "output_size is a positive int"),
    (lambda: nn.adaptive_avg_pool(X[:, :0], 2), ShapeError, "nothing to pool"),
]


@pytest.mark.parametrize("call, error, message", REFUSED)
def test_refused(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_refused_while_staging() -> None:
    with pytest.raises(ShapeError, match="3 channels, but the kernel"):
        fg.jit(nn.conv)(X, W[:, :, :2])

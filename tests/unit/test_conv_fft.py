"""Convolutions by Fourier transforms: equal to the direct ones, element by element."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.nn import functional_conv as nn
from funcgraph.ops import conv_fft, conv_numpy
from funcgraph.ops.windows import output_length

RNG = np.random.default_rng(5)
# x, w, padding, groups
LARGE = [
    ((2, 6000, 1), (601, 1, 2), "SAME", 1),
    ((2, 900, 4), (301, 4, 4), "VALID", 1),
    ((1, 40, 41, 4), (19, 17, 1, 4), "SAME", 4),
    ((1, 48, 49, 6), (25, 26, 3, 4), ((3, 12), (0, 4)), 2),
    ((1, 16, 16, 16, 2), (9, 9, 9, 2, 2), "SAME", 1),
]


def normal(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def both(f: Any) -> tuple[list[Any], list[Any], list[bool]]:
    """Return what f gives directly and by transforms, and which of these were exact enough."""
    used = []
    correlate = conv_fft.correlate
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conv_fft, "pays", lambda *shapes: False)
        direct = f()
        patch.setattr(conv_fft, "pays", lambda *a: all(s == 1 for s in a[5]))
        patch.setattr(conv_fft, "correlate", lambda *a: used.append(correlate(*a)) or used[-1])
        return direct, f(), used


def cases() -> Iterator[Any]:
    for trial in range(150):
        n = int(RNG.integers(1, 4))
        each = lambda low, high: tuple(map(int, RNG.integers(low, high, n)))  # noqa: B023
        c, o, groups = map(int, RNG.integers(1, 4, 3))
        x = (int(RNG.integers(1, 4)), *each(3, 11), groups * c)
        w = (*each(1, 6), c, groups * o)
        strides = each(1, 3) if trial % 2 else (1,) * n
        padding, dilation = tuple(zip(each(-2, 4), each(-2, 4), strict=True)), each(1, 3)
        outputs = tuple(map(output_length, x[1:-1], w[:-2], strides, padding, dilation))
        if min(outputs) > 0:
            yield x, w, outputs, (strides, padding, dilation, groups)


@pytest.mark.parametrize("block", [conv_fft._BLOCK, 1 << 13])
def test_value_and_transposes_are_the_direct_ones(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conv_fft, "_BLOCK", block)
    used: list[bool] = []
    for xs, ws, outputs, how in cases():
        x, w, g = normal(*xs), normal(*ws), normal(xs[0], *outputs, ws[-1])
        direct, found, some = both(
            lambda x=x, w=w, g=g, how=how: [
                conv_numpy.forward(x, w, *how),
                conv_numpy.by_kernel(x, g, *how, w.shape[:-2]),
                conv_numpy.by_input(g, w, *how, x.shape[1:-1]),
            ]
        )
        used += some
        for a, b in zip(direct, found, strict=True):
            assert a.dtype == b.dtype == np.float32
            np.testing.assert_allclose(b, a, rtol=2e-5, atol=2e-5)
    assert len(used) > 150 and sum(used) > len(used) / 2  # the others have windows of padding only


@pytest.mark.parametrize(("xs", "ws", "padding", "groups"), LARGE)
def test_where_they_pay_derivatives_are_jaxs(xs: Any, ws: Any, padding: Any, groups: int) -> None:
    jax = pytest.importorskip("jax")
    x, w = normal(*xs), normal(*ws)
    used = []
    correlate = conv_fft.correlate
    f = lambda x, w: (nn.conv(x, w, padding=padding, groups=groups) ** 2).sum() / x.size
    turn = lambda m, f: lambda x, w: m.jvp(m.grad(f, (0, 1)), (x, w), (w.sum() * x, w))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conv_fft, "correlate", lambda *a: used.append(correlate(*a)) or used[-1])
        got = [fg.value_and_grad(f, (0, 1))(x, w), turn(fg, f)(x, w)]
        eager = len(used)
        got += [fg.jit(fg.value_and_grad(f, (0, 1)), backend="numpy")(x, w)]
        lanes = fg.vmap(fg.grad(f, 1), (0, None))(np.stack([x, 2 * x]), w)
    assert eager >= 2 and len(used) > eager and all(used)
    letters = "".join("XYZ"[: x.ndim - 2])
    layout = f"N{letters}C", f"{letters}IO", f"N{letters}C"
    theirs = lambda x, w: jax.lax.conv_general_dilated(
        *(x, w, (1,) * (x.ndim - 2), padding),
        dimension_numbers=layout,
        feature_group_count=groups,
    )
    f = lambda x, w: (theirs(x, w) ** 2).sum() / x.size
    with jax.enable_x64(True):
        x, w = np.float64(x), np.float64(w)
        first = jax.jit(jax.value_and_grad(f, (0, 1)))(x, w)
        wanted = [first, jax.jit(turn(jax, f))(x, w), first]
    for a, b in zip(fg.tree.leaves(got), fg.tree.leaves(wanted), strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(b).max())
    np.testing.assert_allclose(lanes, np.stack([b := first[1][1], 4 * b]), rtol=1e-3, atol=1e-4)


def test_loud_places_do_not_drown_quiet_ones() -> None:
    x, w = normal(1, 3000, 1), normal(301, 1, 1)
    x[:, :1000] *= 1e-3
    direct, found, used = both(lambda: nn.conv(x, w))
    exact = nn.conv(x.astype(float), w.astype(float))
    np.testing.assert_allclose(found, exact, rtol=2e-5)  # of each element
    assert used == [True]
    x[:, :1000] *= 1e-12
    direct, found, used = both(lambda: nn.conv(x, w))
    assert used == [False]
    np.testing.assert_array_equal(found, direct)


def test_zeros_stay_zeros_and_nan_stays_where_it_is() -> None:
    x, w = normal(1, 3000, 1), normal(301, 1, 1)
    x[:, :1000] = 0
    found = both(lambda: nn.conv(x, w))[1]
    assert not np.any(found[:, :700]) and np.all(found[:, 1000:])
    x = normal(1, 3000, 1)
    for special in (np.nan, np.inf):
        x[:, 1000] = special
        direct, found, used = both(lambda: nn.conv(x, w))
        assert used == [False]
        np.testing.assert_array_equal(found, direct)
        assert np.isfinite(found).sum() == found.size - 301


def test_a_few_elements_are_summed_directly() -> None:
    """A constant piece meets a kernel whose sum is zero: 20 exact zeros among other numbers."""
    x = normal(1, 2000, 2)
    x[:, 900:1120] = 3
    w = normal(101, 1, 2)
    half = np.round(w[:50] * 64) / 64  # sums are exact
    w = np.concatenate([half, 0 * w[:1], -half[::-1]])
    _, _, used = both(lambda: nn.conv(x, w, padding=((7, 90),), groups=2))
    assert used == [False]  # 240 zeros
    x[:, 940:1080] = normal(140, 2)
    x[:, 940:1051, 1] = 3
    _, found, used = both(lambda: nn.conv(x, w, padding=((7, 90),), groups=2))
    assert used == [True]
    assert (found == 0).sum() > 20
    exact = nn.conv(x.astype(float), w.astype(float), padding=((7, 90),), groups=2)
    np.testing.assert_array_equal(found == 0, exact == 0)
    np.testing.assert_allclose(found, exact, rtol=2e-5)


def test_other_dtypes_go_the_direct_way() -> None:
    window = (8,), (90_000,), (1,), (1,), 1, False
    pays = lambda dtype: conv_fft.pays(np.dtype(dtype), (1, 10**5, 1), (10**4, 1, 1), *window)
    assert pays(np.float32)
    assert not any(map(pays, (np.float64, np.complex64, np.int32)))

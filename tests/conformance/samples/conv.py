"""Samples of ops.conv and ops.pooling: one to three spatial axes, every attribute, ties."""

from __future__ import annotations

from typing import Any

import numpy as np

from funcgraph.ops.conv import conv_shape
from funcgraph.ops.pooling import window_max, window_take
from tests.conformance.spec import Sample

RNG = np.random.default_rng(33)


def real(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def cplx(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)


def case(
    x: tuple[int, ...],
    w: tuple[int, ...],
    strides: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    make: Any = real,
) -> tuple[Any, Any, Any, dict[str, Any]]:
    """Return an input, a kernel, a cotangent of their convolution, and its attributes."""
    n = len(w) - 2
    whole = lambda v: v if isinstance(v, tuple) else (v,) * n
    pairs = tuple(p if isinstance(p, tuple) else (p, p) for p in whole(padding))
    attrs = {"strides": whole(strides), "padding": pairs, "dilation": whole(dilation)}
    attrs["groups"] = groups
    return make(*x), make(*w), make(*conv_shape(x, w, **attrs)), attrs


CONVOLUTIONS = [
    case((2, 5, 2), (3, 2, 3)),
    case((2, 9, 4), (2, 2, 6), strides=2, padding=((1, 0),), dilation=3, groups=2),
    case((2, 5, 6, 2), (3, 2, 2, 3), padding=((1, 1), (0, 1))),
    case((1, 6, 7, 3), (3, 3, 3, 2), strides=(2, 3), padding=1, dilation=(2, 1)),
    case((2, 5, 4, 3), (1, 1, 3, 2), strides=2),
    case((2, 4, 5, 3), (3, 2, 1, 6), padding=1, groups=3),
    case((1, 5, 5, 4), (2, 2, 2, 2), strides=2, padding=((-1, 2), (1, -1)), groups=2),
    case((1, 4, 4, 2), (2, 2, 2, 2), make=cplx),
    case((1, 6, 5, 2), (3, 2, 1, 16), strides=2, padding=1, groups=2),
    case((1, 4, 3, 4, 2), (2, 2, 3, 2, 2), strides=(1, 2, 1), padding=1),
]


def extremes(*shape: int) -> np.ndarray:
    """Return distinct numbers, so far apart that differences keep the order."""
    return RNG.permutation(int(np.prod(shape))).reshape(shape) / 7.0


WINDOWS = [
    {"axis": 1, "window": 2, "stride": 2, "pad": (0, 0)},
    {"axis": 1, "window": 3, "stride": 2, "pad": (1, 1)},
    {"axis": 2, "window": 3, "stride": 1, "pad": (0, 2)},
    {"axis": 2, "window": 2, "stride": 3, "pad": (1, 0)},
    {"axis": 1, "window": 5, "stride": 1, "pad": (2, 2)},
]


def outputs(x: np.ndarray, w: dict[str, Any]) -> tuple[int, ...]:
    return window_max.abstract(x, **w).shape


def placed(w: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return an array, one as long as its windows, and the number of a tap for each of these."""
    x = real(2, 6, 7, 2)
    y = real(*outputs(x, w))
    return x, y, RNG.integers(0, w["window"], y.shape).astype(np.int8)


def known(w: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return an array, numbers of taps, and the elements there, but one, which is nan."""
    x, _, taps = placed(w)
    y = window_take.numpy(x, taps, **w)
    y[0, 0, 0, 0] = np.nan
    return x, taps, y


SAMPLES = {
    "conv": [Sample((x, w), attrs) for x, w, _, attrs in CONVOLUTIONS],
    "conv_input": [
        Sample((g, w), {**attrs, "shape": x.shape[1:-1]}) for x, w, g, attrs in CONVOLUTIONS
    ],
    "conv_kernel": [
        Sample((x, g), {**attrs, "shape": w.shape[:-2]}) for x, w, g, attrs in CONVOLUTIONS
    ],
    "window_max": [
        *[Sample((extremes(2, 6, 7, 2),), w) for w in WINDOWS],
        Sample((np.array([1.0, 1.0, 0.0, 2.0, 2.0, 2.0])[None, :, None],), WINDOWS[0], tol=np.inf),
        Sample((np.array([1.0, 1.0, 0.0, 2.0, 2.0, 2.0])[None, :, None],), WINDOWS[4], tol=np.inf),
    ],
    "window_argmax": [
        Sample((x, np.zeros(outputs(x, w))), w, diff=())
        for w in WINDOWS
        for x in [extremes(2, 6, 7, 2)]
    ],
    "window_take": [
        *[Sample((placed(w)[0], placed(w)[2]), w) for w in WINDOWS],
        *[Sample(known(w), w, diff=(0,)) for w in WINDOWS],
    ],
    "window_put": [
        Sample(placed(w)[1:], {**w, "length": placed(w)[0].shape[w["axis"]]}) for w in WINDOWS
    ],
    "window_sum": [Sample((real(2, 6, 7, 2),), w) for w in WINDOWS],
    "window_spread": [
        Sample((placed(w)[1],), {**w, "length": placed(w)[0].shape[w["axis"]]}) for w in WINDOWS
    ],
}

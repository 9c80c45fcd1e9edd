"""Dtypes of few bits, and masks that broadcast, in layers, losses and metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
import funcgraph.scipy.special as fss
from funcgraph import losses, nn, optim

BYTES = np.array([[1, 200, 3], [250, 4, 255]], np.uint8)
SIGNED = np.array([[100, -100, 5], [-128, 127, 0]], np.int8)
HALF = (np.arange(24).reshape(4, 6) * 100).astype(np.float16)

ERRORS = ("squared_error", "absolute_error", "huber_loss", "mean_absolute_error", "r2_score")

FUNCTIONS: dict[str, tuple[Callable[..., Any], Any, Any]] = {
    **{
        f"{name} of {x.dtype}": (lambda m, x, name=name: getattr(m, name)(x, x[::-1]), losses, x)
        for x in (BYTES, SIGNED)
        for name in ERRORS
    },
    "nothing to compare with": (lambda m, x: m.l2_loss(x), losses, SIGNED),
    "softmax": (lambda m, x: m.softmax(x, axis=-1), nn, BYTES),
    "log_softmax": (lambda m, x: m.log_softmax(x, axis=-1), nn, SIGNED),
    "SciPy's softmax": (lambda m, x: m.softmax(x, axis=-1), fss, BYTES),
    "SciPy's log_softmax": (lambda m, x: m.log_softmax(x, axis=-1), fss, SIGNED),
    "logsumexp": (lambda m, x: m.logsumexp(x, axis=-1), fss, SIGNED),
    "attention": (lambda m, x: m.attention(x / 99, x / 99, x), nn, SIGNED[:, None]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_integers_do_not_wrap_around(name: str) -> None:
    f, module, x = FUNCTIONS[name]
    wanted = f(module, x.astype(np.float64))
    compiled = lambda m, v: fg.jit(lambda v: f(m, v))(v)
    for g in (compiled,) if module is fss else (f, compiled):  # SciPy's own wrap around
        np.testing.assert_allclose(g(module, x), wanted, rtol=1e-12)


@pytest.mark.parametrize(
    "f",
    [
        nn.layer_norm,
        nn.rms_norm,
        lambda x: nn.group_norm(x, 2),
        lambda x: nn.instance_norm(x[:, :, None]),
        lambda x: nn.BatchNorm().apply({}, STATE, x, train=True)[0],
    ],
)
def test_normalisation_in_half_precision_does_not_overflow(f: Any) -> None:
    got = fg.jit(f)(HALF)
    assert got.dtype == np.float16
    np.testing.assert_allclose(got, f(HALF.astype(np.float64)), rtol=2e-3, atol=1e-3)


STATE = {"mean": np.zeros(6, np.float32), "var": np.ones(6, np.float32)}


def test_dropout_and_hinge_refuse_what_they_cannot_scale() -> None:
    with pytest.raises(fg.errors.DtypeError, match="int64"):
        nn.dropout(fg.random.key(0), np.ones(3, np.int64), 0.3)
    with pytest.raises(fg.errors.DtypeError, match=r"bool.*np\.where"):
        losses.hinge_loss(np.ones(2), np.array([True, False]))


LOGITS, LABELS = np.eye(4)[[0, 1, 2, 0]], np.array([0, 1, 2, 3])


@pytest.mark.parametrize(
    ("metric", "wanted"),
    [
        (lambda w: losses.accuracy(LOGITS, LABELS, where=w), 0.75),
        (lambda w: losses.top_k_accuracy(LOGITS, LABELS, 1, where=w), 0.75),
        (lambda w: losses.mean_absolute_error(LABELS, 0, where=w), 1.5),
        (lambda w: np.trace(losses.confusion_matrix(LABELS, LABELS[[0, 1, 2, 0]], 4, where=w)), 3),
    ],
)
def test_masks_of_metrics_broadcast_to_the_labels(metric: Any, wanted: float) -> None:
    """They counted as fewer elements than they stand for: an accuracy of 3.0."""
    for where in (True, np.ones(1, bool), np.ones(4, bool)):
        assert metric(where) == wanted
    for where in (np.ones((4, 1), bool), np.ones(3, bool)):
        with pytest.raises(fg.errors.ShapeError, match=r"where.*\(4,\)"):
            metric(where)


def test_a_label_with_nan_is_not_among_the_first() -> None:
    logits = np.array([[np.nan, np.nan, np.nan], [0.0, 2.0, np.nan]])
    assert losses.top_k_accuracy(logits, np.array([0, 1]), 1) == 0
    assert losses.top_k_accuracy(logits, np.array([0, 1]), 2) == 0.5


def test_norms_of_small_dtypes_do_not_overflow() -> None:
    """Four numbers of 300, whose squares float16 does not hold: clipping made zeros of them."""
    g = {"a": np.full(4, 300, np.float16)}
    assert optim.global_norm(g) == 600
    assert optim.global_norm({"a": np.array([100, 100], np.int8)}) == np.sqrt(20000)
    clipped, _ = optim.clip_by_global_norm(60.0).update(g, optim.EmptyState())
    assert np.array_equal(clipped["a"], np.full(4, 30, np.float16))
    assert clipped["a"].dtype == np.float16


B = np.array([[True, True, False], [False, True, True]])


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (lambda x: np.einsum("ij->i", x), B),
        (lambda x: np.einsum(x, [0, 1], [1]), B),
        (lambda x: np.einsum("ij->i", x, dtype=np.float64), BYTES),
        (lambda x: np.einsum(x, [0, 1], x, [0, 1], [0], dtype=np.float64), BYTES),
        (lambda x: np.poly(x), np.arange(1, 4, dtype=np.uint8)),
        (lambda x: np.poly(x), np.arange(1, 4, dtype=np.float16)),
        (lambda x: np.polydiv(x, x[:2] + 1)[0], np.array([2, 200, 7], np.uint8)),
        (lambda x: np.gradient(x, x[1], edge_order=2), np.array([1, 2, 9, 4], np.uint8)),
    ],
)
def test_functions_that_convert_their_arguments(f: Any, x: Any) -> None:
    got, wanted = fg.jit(f)(x), f(x)
    assert got.dtype == wanted.dtype
    np.testing.assert_allclose(got, wanted, rtol=1e-12)

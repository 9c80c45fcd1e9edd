"""Differences: how good they are, and that they say so themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from funcgraph.check.numeric import imaginary_step, noise_of, slopes

EPS = float(np.finfo(float).eps)
SMOOTH: dict[str, tuple[Any, Any]] = {
    "polynomial": (lambda x: x**3 - 2 * x, lambda x: 3 * x**2 - 2),
    "sine": (np.sin, np.cos),
    "exponential": (lambda x: np.exp(20 * x), lambda x: 20 * np.exp(20 * x)),
    "fast": (lambda x: np.sin(1000 * x), lambda x: 1000 * np.cos(1000 * x)),
    "offset": (lambda x: 1e8 + x**2, lambda x: 2 * x),
    "small": (lambda x: 1e-30 * np.arctan(x), lambda x: 1e-30 / (1 + x**2)),
    "narrow": (lambda x: np.sqrt(x**2 + 1e-10), lambda x: x / np.sqrt(x**2 + 1e-10)),
    "pole": (lambda x: 1 / x, lambda x: -1 / x**2),
    "constant": (lambda x: 3.0 + 0 * x, lambda x: 0.0),
}


def derivative(f: Any, x: float, eps: float = EPS) -> Any:
    def curve(s: float) -> Any:
        return np.array([f(x + s)])

    center = curve(0.0)
    return slopes(curve, center, noise_of(curve, center, eps), abs(x) or 1.0, eps)


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("x", [0.7, -0.3, 1e-3, 5.0])
def test_the_error_is_within_its_estimate(name, x) -> None:
    f, slope = SMOOTH[name]
    s = derivative(f, x)
    true = slope(x)
    assert abs(s.value[0] - true) <= 2 * s.error[0]
    # The estimate is of use: it is small, but for what rounding makes of the values.
    assert s.error[0] <= 1e-5 * abs(true) + 1e4 * EPS * abs(f(x) / x)
    assert not s.kink[0]


@pytest.mark.parametrize("name", ["sine", "polynomial", "exponential"])
def test_smooth_functions_are_differentiated_precisely(name) -> None:
    f, slope = SMOOTH[name]
    assert derivative(f, 0.7).value[0] == pytest.approx(slope(0.7), rel=1e-9)


@pytest.mark.parametrize(
    ("f", "left", "right"),
    [
        (abs, -1, 1),
        (lambda x: max(x, 0.0), 0, 1),
        (lambda x: 3 * x - 2 * abs(x) + np.sin(x), 6, 2),
        (lambda x: abs(x) * np.exp(x), -1, 1),
    ],
)
def test_kinks_are_seen(f, left, right) -> None:
    s = derivative(f, 0.0)
    assert s.kink[0]
    assert (s.left[0], s.right[0]) == (
        pytest.approx(left, rel=1e-3),
        pytest.approx(right, rel=1e-3),
    )


@pytest.mark.parametrize("distance", [1e-2, 3e-4, 1e-5])
def test_kinks_nearby_do_not_count(distance) -> None:
    s = derivative(lambda x: abs(x - distance) + x, 0.0)
    assert not s.kink[0]
    assert abs(s.value[0]) <= 2 * s.error[0] < 1e-4


@pytest.mark.parametrize("f", [np.sqrt, np.log, np.cbrt, np.sign, lambda x: np.arctan2(x, 0.0)])
def test_where_there_is_no_slope_none_is_claimed(f) -> None:
    with np.errstate(all="ignore"):
        s = derivative(f, 0.0)
    assert s.error[0] == np.inf or s.error[0] > 0.1 * abs(s.value[0])


def test_noise_of_values() -> None:
    rng = np.random.default_rng(0)
    center = np.array([1.0, 1.0, 1.0])

    def curve(s: float) -> Any:
        noisy = 1e-8 * rng.standard_normal()
        single = float(np.float32(np.sin(1 + s)))
        return np.array([np.exp(s), np.cos(s) + noisy, single])

    smooth, noisy, single = noise_of(curve, center, EPS)
    assert smooth < 1e-14
    assert 2e-9 < noisy < 5e-8
    assert 1e-9 < single < 2e-7


def test_imaginary_steps_are_exact_to_rounding() -> None:
    s = imaginary_step(lambda h: np.array([np.sin(1 + h) * np.exp(1 + h)]), 1.0)
    true = np.exp(1) * (np.sin(1) + np.cos(1))
    assert s.value[0] == pytest.approx(true, rel=4e-16)
    assert abs(s.value[0] - true) <= s.error[0] < 1e-12

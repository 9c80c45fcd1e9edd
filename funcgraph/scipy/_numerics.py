"""Derivatives of special functions by parameters for which there is no closed form, on NumPy.

Quadrature and series in float64; the primitives made of them are in `_primitives`. Imports NumPy
and `scipy.special` only.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import special as ss

__all__ = ["gammainc_slope", "hyper_slope"]

# --- incomplete gamma function -------------------------------------------------------------------
# dP/da is the integral of t^(a-1) exp(-t) (log t - ψ(a)) / Γ(a) up to x; over all t it is 0, so
# beyond the maximum of the integrand the other side is taken. With t = x exp(-s) below and
# t = x + s above, both are integrals over s > 0 for the exp-sinh rule (H. Takahasi and M. Mori,
# Publ. RIMS 9 (1974) 721). The largest factor, x^a exp(-x) / Γ(a), stands before the integral.

_STEP = 1 / 24
_NODES = [
    (node := math.exp(math.pi / 2 * math.sinh(k * _STEP)),
     _STEP * math.pi / 2 * math.cosh(k * _STEP) * node)
    for k in range(-84, 73)
]  # fmt: skip


def gammainc_slope(a: Any, x: Any) -> Any:
    """Return the derivative of the regularised incomplete gamma function P(a, x) by a."""
    dtype = np.result_type(a, x, 1.0)
    a, x = np.broadcast_arrays(np.asarray(a, float), np.asarray(x, float))
    with np.errstate(all="ignore"):
        below = x <= a
        start = np.log(x) - ss.digamma(a)
        scale = np.where(below, 1 / (a - x + np.sqrt(a)), 1 / ((x - a) / x + 1 / np.sqrt(x + 1)))
        total = np.zeros(a.shape)
        for node, weight in _NODES:
            s = node * scale
            log_t = np.where(below, -s, np.log1p(s / x))
            exponent = np.where(below, -a * s - x * np.expm1(-s), (a - 1) * log_t - s)
            value = np.exp(exponent) * (start + log_t)
            total = total + weight * np.where(np.isfinite(value), value, 0)
        total = scale * np.where(below, total, -total / x)
        slope = total * np.exp(ss.xlogy(a, x) - x - ss.gammaln(a))
        slope = np.where((x == 0) | (x == np.inf), 0.0, slope)
    return np.where((a > 0) & (x >= 0), slope, np.nan).astype(dtype)[()]


# --- hypergeometric functions --------------------------------------------------------------------
# The terms of the series are products of (p + j) over numerator and denominator parameters p; the
# derivative by p multiplies each by the sum of 1/(p + j) (negative for a denominator).


def _series(upper: Any, lower: Any, x: Any, which: int) -> Any:
    """Return the derivative of the series by upper[which], or by lower[which - len(upper)]."""
    varied = (*upper, *lower)[which]
    sign = 1.0 if which < len(upper) else -1.0
    term = np.ones(np.broadcast_shapes(*map(np.shape, (*upper, *lower, x))))
    factor = total = np.zeros(term.shape)
    for k in range(5000):
        # A zero factor p + k ends the series, but not its derivative by p.
        product = x / (k + 1.0)
        for p in upper:
            product = product * (p + k if p is not varied else 1.0)
        for p in lower:
            product = product / (p + k if p is not varied else 1.0)
        own = varied + k if sign > 0 else 1 / (varied + k)
        slope = 1.0 if sign > 0 else -1 / (varied + k) ** 2
        factor = product * (factor * own + term * slope)
        term = product * (term * own)
        total = total + factor
        small = np.maximum(np.abs(factor), np.abs(term)) <= 1e-17 * np.abs(total)
        if np.all(small | ~np.isfinite(total)):
            break
    else:
        total = np.where(small, total, np.nan)
    return total


def hyper_slope(*args: Any, which: int) -> Any:
    """Return the derivative of 1F1(a, b, x), or 2F1(a, b, c, x), |x| < 1, by one parameter."""
    dtype = np.result_type(*args, 1.0)
    *p, x = (np.asarray(v, float) for v in args)
    with np.errstate(all="ignore"):
        if len(p) == 2:
            slope = _confluent_slope(p[0], p[1], x, which)
        else:
            inside = np.abs(x) < 1
            slope = _series(p[:2], p[2:], np.where(inside, x, 0), which)
            slope = np.where(inside, slope, np.nan)
    return slope.astype(dtype)[()]


def _confluent_slope(a: Any, b: Any, x: Any, which: int) -> Any:
    """For negative x by Kummer's M(a, b, x) = exp(x) M(b - a, b, -x), whose terms have one sign."""
    mirrored = x < 0
    upper, z = np.where(mirrored, b - a, a), np.abs(x)
    by_upper = _series((upper,), (b,), z, 0)
    if which == 0:
        return np.where(mirrored, -np.exp(x) * by_upper, by_upper)
    by_lower = _series((upper,), (b,), z, 1)
    return np.where(mirrored, np.exp(x) * (by_upper + by_lower), by_lower)

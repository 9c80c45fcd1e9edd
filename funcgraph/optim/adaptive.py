"""Transformations that divide updates by a measure of their size: Adam, RMSProp, Adagrad.

May import `numpy`, `tree`, `optim.base`, `optim.scaling`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import funcgraph.numpy as fnp
from funcgraph import tree
from funcgraph.core.aval import dtype_of
from funcgraph.optim.base import (
    GradientTransformation,
    increment,
    scalar,
    transformation,
    zero_count,
)
from funcgraph.optim.scaling import full, is_zero, mean_of, stored

__all__ = [
    "ScaleByAdamState",
    "ScaleByRmsState",
    "ScaleByRssState",
    "ScaleByStddevState",
    "scale_by_adam",
    "scale_by_rms",
    "scale_by_rss",
    "scale_by_stddev",
]


class ScaleByAdamState(NamedTuple):
    """The number of steps, and the running means of gradients and of their squares."""

    count: Any
    mu: Any
    nu: Any


class ScaleByRmsState(NamedTuple):
    """The number of steps, and the running mean of squares."""

    count: Any
    nu: Any


class ScaleByStddevState(NamedTuple):
    """The number of steps, and the running means of gradients and of their squares."""

    count: Any
    mu: Any
    nu: Any


class ScaleByRssState(NamedTuple):
    """The sum of the squares of all gradients so far."""

    sum_of_squares: Any


# --- leaves --------------------------------------------------------------------------------------


def _is_complex(x: Any) -> bool:
    return bool(dtype_of(x).kind == "c")


def _square(g: Any) -> Any:
    """Return |g|^2."""
    return fnp.square(fnp.real(g)) + fnp.square(fnp.imag(g)) if _is_complex(g) else g * g


def _mean_square(decay: Any, updates: Any, means: Any) -> Any:
    return mean_of(decay, tree.map(_square, updates), means)


def _plus(x: Any, s: Any) -> Any:
    """Return x + s, without a pass over memory where s is the number 0."""
    return x if is_zero(s) else x + scalar(s, x)


# --- transformations -----------------------------------------------------------------------------


def _real_like(params: Any, value: Any = 0.0) -> Any:
    """Return a tree of real arrays like params, filled with a value."""
    return tree.map(lambda p: full(fnp.real(p) if _is_complex(p) else p, value), params)


def scale_by_adam(
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    eps_root: Any = 0.0,
    mu_dtype: Any = None,
    *,
    nesterov: bool = False,
) -> GradientTransformation:
    """Divide the mean gradient by the root of the mean square: m̂ / (sqrt(v̂ + eps_root) + eps).

    m̂ = m / (1 - b1^t) and v̂ = v / (1 - b2^t) are running means without the bias to 0 at the start.

    Args:
      b1: Decay of the mean of gradients.
      b2: Decay of the mean of their squares.
      eps: Added to the root.
      eps_root: Added under the root: for derivatives through the update.
      mu_dtype: Dtype of the mean of gradients; default: the parameters'.
      nesterov: Whether to look one step ahead (Nadam): b1 m / (1 - b1^(t+1)) + (1 - b1) g /
        (1 - b1^t) in place of m̂.

    Example:
      >>> tx = scale_by_adam()
      >>> updates, state = tx.update({"w": 5.0}, tx.init({"w": 0.0}))
      >>> print(updates["w"].round(6), state.count)
      1.0 1

    Source:
      Kingma and Ba 2015, Adam: A Method for Stochastic Optimization; Dozat 2016, Incorporating
      Nesterov Momentum into Adam.
    """

    def init(params: Any) -> ScaleByAdamState:
        return ScaleByAdamState(zero_count(), full(params, dtype=mu_dtype), _real_like(params))

    def update(updates: Any, state: ScaleByAdamState, params: Any = None) -> Any:
        count = increment(state.count)
        mu = mean_of(b1, updates, state.mu)
        nu = _mean_square(b2, updates, state.nu)
        # m̂ / (sqrt(v̂ + r) + e), with numerator and denominator times s = sqrt(1 - b2^t).
        variance = 1 - b2**count
        s = fnp.sqrt(variance)
        root, end = _times(eps_root, variance), eps * s
        if nesterov:
            ahead, now = s * b1 / (1 - b1 ** (count + 1)), s * (1 - b1) / (1 - b1**count)
            means = tree.map(lambda m, g: scalar(ahead, m) * m + scalar(now, g) * g, mu, updates)
        else:
            factor = s / (1 - b1**count)
            means = tree.map(lambda m: scalar(factor, m) * m, mu)
        updates = tree.map(lambda m, v: m / (fnp.sqrt(_plus(v, root)) + scalar(end, v)), means, nu)
        new = ScaleByAdamState(count, stored(mu, state.mu), stored(nu, state.nu))
        return updates, new

    return transformation(init, update)


def _times(a: Any, b: Any) -> Any:
    return 0.0 if is_zero(a) else a * b


def _divided(eps: Any, eps_in_sqrt: bool, correction: Any) -> Callable[..., Any]:
    """Return (g, v) -> g / sqrt(v / correction + eps), or with eps outside of the root.

    Numerator and denominator are multiplied by the root of the correction (None: of 1), a scalar.
    """
    s = None if correction is None else fnp.sqrt(correction)
    end = eps if correction is None else eps * (correction if eps_in_sqrt else s)

    def divide(g: Any, v: Any) -> Any:
        if eps_in_sqrt:
            denominator = fnp.sqrt(_plus(v, end))
        else:
            denominator = _plus(fnp.sqrt(v), end)
        return g / denominator if s is None else scalar(s, g) * g / denominator

    return divide


def scale_by_rms(
    decay: Any = 0.9,
    eps: Any = 1e-8,
    initial_scale: Any = 0.0,
    eps_in_sqrt: bool = True,
    bias_correction: bool = False,
) -> GradientTransformation:
    """Divide updates by the root of their mean square: g / sqrt(v + eps).

    Args:
      decay: Decay of the mean of squares.
      eps: Added under the root, or to it.
      initial_scale: The mean at the start.
      eps_in_sqrt: Whether eps is added under the root.
      bias_correction: Whether to divide v by 1 - decay^t first.

    Example:
      >>> tx = scale_by_rms(decay=0.75)
      >>> print(tx.update({"w": 5.0}, tx.init({"w": 0.0}))[0]["w"].round(6))
      2.0

    Source:
      Tieleman and Hinton 2012, Lecture 6.5 - RMSProp.
    """

    def init(params: Any) -> ScaleByRmsState:
        return ScaleByRmsState(zero_count(), _real_like(params, initial_scale))

    def update(updates: Any, state: ScaleByRmsState, params: Any = None) -> Any:
        count = increment(state.count)
        nu = _mean_square(decay, updates, state.nu)
        divide = _divided(eps, eps_in_sqrt, 1 - decay**count if bias_correction else None)
        updates = tree.map(divide, updates, nu)
        return updates, ScaleByRmsState(count, stored(nu, state.nu))

    return transformation(init, update)


def scale_by_stddev(
    decay: Any = 0.9,
    eps: Any = 1e-8,
    initial_scale: Any = 0.0,
    eps_in_sqrt: bool = True,
    bias_correction: bool = False,
) -> GradientTransformation:
    """Divide updates by their standard deviation: g / sqrt(v - m^2 + eps), of running means.

    Args:
      decay: Decay of the means of gradients m and of their squares v.
      eps: Added under the root, or to it.
      initial_scale: The mean of squares at the start.
      eps_in_sqrt: Whether eps is added under the root.
      bias_correction: Whether to divide m and v by 1 - decay^t first.

    Example:
      >>> tx = scale_by_stddev(decay=0.5)
      >>> print(tx.update({"w": 5.0}, tx.init({"w": 0.0}))[0]["w"].round(6))
      2.0

    Source:
      Graves 2013, Generating Sequences With Recurrent Neural Networks, equations 38 to 41.
    """

    def init(params: Any) -> ScaleByStddevState:
        return ScaleByStddevState(zero_count(), full(params), _real_like(params, initial_scale))

    def update(updates: Any, state: ScaleByStddevState, params: Any = None) -> Any:
        count = increment(state.count)
        mu = mean_of(decay, updates, state.mu)
        nu = _mean_square(decay, updates, state.nu)
        correction = 1 - decay**count if bias_correction else None
        divide = _divided(eps, eps_in_sqrt, correction)

        def leaf(g: Any, m: Any, v: Any) -> Any:
            square = _square(m)
            variance = v - (square if correction is None else square / scalar(correction, m))
            return divide(g, fnp.maximum(variance, 0.0))  # rounding may leave it below 0

        new = ScaleByStddevState(count, stored(mu, state.mu), stored(nu, state.nu))
        return tree.map(leaf, updates, mu, nu), new

    return transformation(init, update)


def scale_by_rss(initial_accumulator_value: Any = 0.1, eps: Any = 1e-7) -> GradientTransformation:
    """Divide updates by the root of the sum of all squares so far: g / sqrt(sum + eps).

    Where the sum is 0 or nan, the update is 0 g: an element whose gradient was nan does not move.

    Args:
      initial_accumulator_value: The sum at the start.
      eps: Added under the root.

    Example:
      >>> tx = scale_by_rss(0.0)
      >>> print(tx.update({"w": 5.0}, tx.init({"w": 0.0}))[0]["w"].round(6))
      1.0

    Source:
      Duchi et al. 2011, Adaptive Subgradient Methods.
    """

    def init(params: Any) -> ScaleByRssState:
        return ScaleByRssState(_real_like(params, initial_accumulator_value))

    def leaf(g: Any, total: Any) -> Any:
        total = fnp.where(total > 0, total, dtype_of(total).type(math.inf))
        return g / fnp.sqrt(_plus(total, eps))

    def update(updates: Any, state: ScaleByRssState, params: Any = None) -> Any:
        sums = tree.map(lambda g, total: _square(g) + total, updates, state.sum_of_squares)
        updates = tree.map(leaf, updates, sums)
        return updates, ScaleByRssState(stored(sums, state.sum_of_squares))

    return transformation(init, update)

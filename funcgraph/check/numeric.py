"""Finite differences with estimates of their own error; differences along imaginary steps.

Central differences of steps h, h/2, h/4 are extrapolated to h = 0 (Richardson), at steps h that
shrink until the estimate is small: what extrapolation changed, plus what the noise of the function
makes of it. One-sided differences, of the same values, tell kinks. May import `core`.

Sources: Ridders, "Accurate computation of F'(x) and F'(x) F''(x)", Advances in Engineering
Software 4, 1982; Moré and Wild, "Estimating computational noise", SIAM J. Sci. Comput. 33, 2011;
Squire and Trapp, "Using complex variables to estimate derivatives of real functions", SIAM Rev. 40,
1998.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import factorial
from typing import Any

import numpy as np

__all__ = ["ANALYTIC", "Slopes", "imaginary_step", "noise_of", "slopes"]

Curve = Callable[[Any], Any]  # of the step along a direction; gives a flat array

_FIRST = 4e-3  # the first step, relative to the size of the leaf
_LEVELS = 6  # so many steps at most, each a tenth of the one before
_FROM_NOISE = 8  # what noise of the values makes of the derivative, times the step
_GOOD = 1e-10  # an estimate of the error that ends the search, relative to the largest slope

# Operations that are analytic functions, so that an imaginary step is exact to rounding.
ANALYTIC = frozenset([
    "add", "subtract", "multiply", "divide", "negative", "positive", "reciprocal", "square",
    "sqrt", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan",
    "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh",
    "power", "reshape", "transpose", "broadcast", "copy", "reduce_sum", "concatenate", "stack",
    "pad_zeros", "getitem", "cumsum", "cumsum_back", "matmul", "einsum_pair", "convolve",
    "index_add", "index_set", "reduce_prod", "cumprod", "solve", "inv", "det",
    "solve_triangular",
])  # fmt: skip


@dataclass
class Slopes:
    """Derivatives along one direction, for each of a flat array of values.

    Attributes:
      value: The derivative.
      error: An estimate of its error; inf where there is none.
      left: The slope to the left.
      right: The slope to the right.
      kink: Whether the two disagree however small the step, so that there is no derivative.
    """

    value: Any
    error: Any
    left: Any
    right: Any
    kink: Any

    def rows(self, numbers: list[int]) -> Slopes:
        """Return some of the rows."""
        parts = (self.value, self.error, self.left, self.right, self.kink)
        return Slopes(*(x[numbers] for x in parts))


def slopes(
    curve: Curve, center: Any, noise: Any, scale: float, eps: float, step: float | None = None
) -> Slopes:
    """Return the derivatives of a curve at 0.

    Args:
      curve: The function.
      center: Its value at 0.
      noise: The noise of its values.
      scale: How large the argument is: the steps are relative to it.
      eps: Of the precision of the function: smaller steps than its root say nothing.
      step: The one step to take, if it is given.
    """
    found: Slopes | None = None
    suspects = np.zeros(np.shape(center), bool)
    steps = [_FIRST * 10.0**-k for k in range(_LEVELS)]
    levels = [step] if step is not None else [scale * h for h in steps if h > eps**0.5]
    with np.errstate(all="ignore"):
        for h in levels:
            new, jump = _level(curve, center, noise, h)
            new.kink = jump & suspects  # at this step and at ten times of it
            suspects = jump
            found = new if found is None else _better(found, new)
            largest = np.max(np.abs(found.value), initial=0.0, where=np.isfinite(found.value))
            enough = np.maximum(_GOOD * largest, 3 * _FROM_NOISE * noise / h)
            if not jump.any() and np.all(found.error <= enough):
                break
    assert found is not None
    return _pooled(found)


def _pooled(s: Slopes) -> Slopes:
    """Return estimates of errors that no element has by chance much smaller than the others."""
    known = np.isfinite(s.error) & ~s.kink
    if np.count_nonzero(known) > 1:
        s.error = np.maximum(s.error, 4 * np.sqrt(np.mean(s.error[known] ** 2)))
    return s


def _level(curve: Curve, center: Any, noise: Any, h: float) -> tuple[Slopes, Any]:
    """Return the derivatives from steps h, h/2, h/4, and where one-sided slopes disagree."""
    steps = (h, h / 2, h / 4)
    above = [curve(s) for s in steps]
    below = [curve(-s) for s in steps]
    first, second, third = ((a - b) / (2 * s) for a, b, s in zip(above, below, steps, strict=True))
    once, twice = (4 * second - first) / 3, (4 * third - second) / 3
    value = (16 * twice - once) / 15
    from_noise = _FROM_NOISE * noise / h
    # Where halving the step does not quarter the error, as it should, extrapolation is no help:
    # the function may have a kink nearby.
    change, last = np.abs(first - second), np.abs(second - third)
    regular = ((change > 2.5 * last) & (change < 6 * last)) | (change <= from_noise)
    value = np.where(regular, value, third)
    error = np.where(regular, 2 * np.abs(twice - once), 4 * last) + from_noise
    diverging = (np.abs(third) > 1.1 * np.abs(second)) & (np.abs(second) > 1.1 * np.abs(first))
    error = np.where(np.isfinite(error) & np.isfinite(value) & ~diverging, error, np.inf)

    right = [(a - center) / s for a, s in zip(above[1:], steps[1:], strict=True)]
    left = [(center - b) / s for b, s in zip(below[1:], steps[1:], strict=True)]
    # Of a smooth function, right - left is proportional to the step.
    jump = 2 * (right[1] - left[1]) - (right[0] - left[0])
    threshold = 1e-3 * (np.abs(right[1]) + np.abs(left[1])) + 16 * from_noise
    at_left, at_right = (2 * side[1] - side[0] for side in (left, right))
    found = Slopes(value, error, at_left, at_right, np.zeros(np.shape(value), bool))
    return found, np.isfinite(jump) & (np.abs(jump) > threshold)


def _better(old: Slopes, new: Slopes) -> Slopes:
    """Return the estimates with the smaller error; where there is a kink, the newer."""
    take = new.kink | (~old.kink & (new.error < old.error))
    return Slopes(
        np.where(take, new.value, old.value),
        np.where(take, new.error, old.error),
        np.where(take, new.left, old.left),
        np.where(take, new.right, old.right),
        new.kink,
    )


def imaginary_step(curve: Curve, scale: float) -> Slopes:
    """Return the derivatives of an analytic curve: f'(0) = Im f(ih) / h, without a difference."""
    h = 1e-30 * scale
    value = np.imag(curve(1j * h)) / h
    error = np.where(np.isfinite(value), 64 * np.finfo(float).eps * np.abs(value), np.inf)
    return Slopes(value, error, value, value, np.zeros(np.shape(value), bool))


def noise_of(curve: Curve, center: Any, eps: float) -> Any:
    """Return the noise of the values of a curve near 0: the spread that rounding gives them.

    Differences of high order along a few close points: of a smooth function they vanish. If the
    values do not change at all, the points were too close.
    """
    noise = np.zeros(np.shape(center))
    pending = np.ones(np.shape(center), bool)
    with np.errstate(all="ignore"):
        for step in (1e-11, 1e-9, 3.7e-7):
            table = np.stack([curve(step * k) for k in range(7)])
            noise = np.where(pending, _spread(table), noise)
            pending = pending & np.any(np.diff(table, axis=0) == 0, axis=0)
            if not pending.any():
                break
    return np.maximum(2 * eps * np.abs(center), np.where(np.isfinite(noise), noise, 0.0))


def _spread(table: Any) -> Any:
    """Return the noise in rows of values at equal distances, by the table of their differences."""
    estimates = []
    for order in (4, 5, 6):
        differences = np.diff(table, n=order, axis=0)
        weight = factorial(order) ** 2 / factorial(2 * order)
        estimates.append(np.sqrt(weight * np.mean(np.abs(differences) ** 2, axis=0)))
    return np.max(estimates, axis=0)

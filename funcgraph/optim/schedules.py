"""Schedules: functions from the number of the step (the first is 0) to a value, as in optax.

A step may be a Python int, an array, or traced by any transformation. May import `numpy`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import funcgraph.numpy as fnp
from funcgraph.optim.base import Schedule

__all__ = [
    "constant_schedule",
    "cosine_decay_schedule",
    "exponential_decay",
    "join_schedules",
    "linear_schedule",
    "piecewise_constant_schedule",
    "polynomial_schedule",
    "warmup_constant_schedule",
    "warmup_cosine_decay_schedule",
    "warmup_exponential_decay_schedule",
]


def constant_schedule(value: Any) -> Schedule:
    """Return the schedule that always has one value.

    Example:
      >>> constant_schedule(0.1)(5)
      0.1

    Source:
      optax.constant_schedule, as every schedule here has its counterpart in optax.
    """
    return lambda count: value


def polynomial_schedule(
    init_value: Any, end_value: Any, power: Any, transition_steps: int, transition_begin: int = 0
) -> Schedule:
    """Go from init_value to end_value: end + (init - end) (1 - t)^power, t from 0 to 1.

    Args:
      init_value: Value up to step transition_begin.
      end_value: Value from step transition_begin + transition_steps on.
      power: Exponent.
      transition_steps: Steps in between; if not positive, the value stays init_value.
      transition_begin: The step at which the change begins.

    Example:
      >>> schedule = polynomial_schedule(1.0, 0.0, 2, transition_steps=10)
      >>> print(schedule(0), schedule(5), schedule(10))
      1.0 0.25 0.0
    """
    if transition_steps <= 0:
        return constant_schedule(init_value)
    begin, steps = max(transition_begin, 0), float(transition_steps)

    def schedule(count: Any) -> Any:
        rest = 1 - fnp.clip(count - begin, 0.0, steps) / steps
        return (init_value - end_value) * rest**power + end_value

    return schedule


def linear_schedule(
    init_value: Any, end_value: Any, transition_steps: int, transition_begin: int = 0
) -> Schedule:
    """Go from init_value to end_value along a straight line.

    Args:
      init_value: Value up to step transition_begin.
      end_value: Value from step transition_begin + transition_steps on.
      transition_steps: Steps in between; if not positive, the value stays init_value.
      transition_begin: The step at which the change begins.

    Example:
      >>> print(linear_schedule(0.0, 1.0, transition_steps=4)(3))
      0.75
    """
    return polynomial_schedule(init_value, end_value, 1, transition_steps, transition_begin)


def piecewise_constant_schedule(
    init_value: Any, boundaries_and_scales: dict[int, float] | None = None
) -> Schedule:
    """Multiply the value by a factor at each of some steps.

    Args:
      init_value: Value at the start.
      boundaries_and_scales: The factor, not negative, by which to multiply from a step on.

    Raises:
      ValueError: A factor is negative.

    Example:
      >>> schedule = piecewise_constant_schedule(1.0, {10: 0.5, 20: 0.1})
      >>> print(schedule(9), schedule(10), schedule(20))
      1.0 0.5 0.05
    """
    scales = sorted((boundaries_and_scales or {}).items())
    if any(scale < 0 for _, scale in scales):
        raise ValueError(
            f"piecewise_constant_schedule needs factors that are not negative, got {dict(scales)}."
        )

    def schedule(count: Any) -> Any:
        value = init_value
        for boundary, scale in scales:
            value = value * fnp.where(count < boundary, 1.0, scale)
        return value

    return schedule


def exponential_decay(
    init_value: Any,
    transition_steps: int,
    decay_rate: float,
    transition_begin: int = 0,
    staircase: bool = False,
    end_value: Any = None,
) -> Schedule:
    """Multiply the value by decay_rate every transition_steps: init decay_rate^(t / steps).

    Args:
      init_value: Value up to step transition_begin.
      transition_steps: Steps per factor; if not positive, the value stays init_value.
      decay_rate: The factor; if it is 0, the value stays init_value.
      transition_begin: The step at which the decay begins.
      staircase: Whether the value jumps every transition_steps instead of changing smoothly.
      end_value: Where the decay (or growth, if decay_rate > 1) ends; default: nowhere.

    Example:
      >>> schedule = exponential_decay(1.0, transition_steps=10, decay_rate=0.5)
      >>> print(schedule(0), schedule(10), schedule(20))
      1.0 0.5 0.25
    """
    if transition_steps <= 0 or decay_rate == 0:
        return constant_schedule(init_value)
    begin = max(transition_begin, 0)
    limit = fnp.maximum if decay_rate < 1 else fnp.minimum

    def schedule(count: Any) -> Any:
        exponent = fnp.maximum(count - begin, 0.0) / transition_steps
        exponent = fnp.floor(exponent) if staircase else exponent
        if end_value is None:
            return init_value * decay_rate**exponent
        with np.errstate(over="ignore"):  # growth beyond all bounds, up to end_value
            return limit(init_value * decay_rate**exponent, end_value)

    return schedule


def cosine_decay_schedule(
    init_value: Any, decay_steps: int, alpha: Any = 0.0, exponent: Any = 1.0
) -> Schedule:
    """Go from init_value to alpha init_value along half a period of a cosine.

    The factor is (1 - alpha) ((1 + cos(π t)) / 2)^exponent + alpha, with t from 0 to 1.

    Args:
      init_value: Value at step 0.
      decay_steps: The step from which on the value is alpha init_value.
      alpha: The factor at the end.
      exponent: Exponent of the cosine part.

    Raises:
      ValueError: decay_steps is not positive.

    Example:
      >>> schedule = cosine_decay_schedule(1.0, decay_steps=10)
      >>> print(schedule(0), schedule(5).round(3), schedule(10))
      1.0 0.5 0.0

    Source:
      Loshchilov and Hutter 2017, SGDR: Stochastic Gradient Descent with Warm Restarts.
    """
    if decay_steps <= 0:
        raise ValueError(f"a cosine decay needs decay_steps > 0, got {decay_steps}.")

    def schedule(count: Any) -> Any:
        t = fnp.minimum(count, float(decay_steps)) / decay_steps
        cosine = 0.5 * (1 + fnp.cos(math.pi * t))
        return init_value * ((1 - alpha) * cosine**exponent + alpha)

    return schedule


def join_schedules(schedules: Sequence[Schedule], boundaries: Sequence[int]) -> Schedule:
    """Use schedules one after the other; each counts its steps from its own beginning.

    Args:
      schedules: The schedules.
      boundaries: The steps at which the second, third ... begin.

    Raises:
      ValueError: The number of boundaries is not one less than the number of schedules.

    Example:
      >>> schedule = join_schedules([constant_schedule(1.0), constant_schedule(0.1)], [10])
      >>> print(schedule(9), schedule(10))
      1.0 0.1
    """
    if len(boundaries) != len(schedules) - 1:
        raise ValueError(
            f"join_schedules needs a boundary between any two schedules: {len(schedules)} "
            f"schedules and {len(boundaries)} boundaries were given."
        )

    def schedule(count: Any) -> Any:
        value = schedules[0](count)
        for boundary, following in zip(boundaries, schedules[1:], strict=True):
            value = fnp.where(count < boundary, value, following(count - boundary))
        return value

    return schedule


def warmup_constant_schedule(init_value: Any, peak_value: Any, warmup_steps: int) -> Schedule:
    """Go from init_value to peak_value along a straight line, and stay.

    Args:
      init_value: Value at step 0.
      peak_value: Value from step warmup_steps on.
      warmup_steps: Steps in between.

    Example:
      >>> schedule = warmup_constant_schedule(0.0, 1.0, warmup_steps=4)
      >>> print(schedule(1), schedule(100))
      0.25 1.0
    """
    return linear_schedule(init_value, peak_value, warmup_steps)


def warmup_cosine_decay_schedule(
    init_value: Any,
    peak_value: Any,
    warmup_steps: int,
    decay_steps: int,
    end_value: Any = 0.0,
    exponent: Any = 1.0,
) -> Schedule:
    """Go up from init_value to peak_value along a line, then down to end_value along a cosine.

    Args:
      init_value: Value at step 0.
      peak_value: Value at step warmup_steps.
      warmup_steps: Steps of the way up.
      decay_steps: Steps of both together; from there on the value is end_value.
      end_value: Value at the end.
      exponent: Exponent of the cosine part.

    Raises:
      ValueError: decay_steps is not greater than warmup_steps.

    Example:
      >>> schedule = warmup_cosine_decay_schedule(0.0, 1.0, warmup_steps=10, decay_steps=110)
      >>> print(schedule(0), schedule(10), schedule(60).round(3), schedule(110))
      0.0 1.0 0.5 0.0
    """
    if decay_steps <= warmup_steps:
        raise ValueError(
            f"decay_steps counts the steps of the way up, too: it must be above warmup_steps, got "
            f"decay_steps={decay_steps} and warmup_steps={warmup_steps}."
        )
    alpha = 0.0 if peak_value == 0.0 else end_value / peak_value
    up = linear_schedule(init_value, peak_value, warmup_steps)
    down = cosine_decay_schedule(peak_value, decay_steps - warmup_steps, alpha, exponent)
    return join_schedules([up, down], [warmup_steps])


def warmup_exponential_decay_schedule(
    init_value: Any,
    peak_value: Any,
    warmup_steps: int,
    transition_steps: int,
    decay_rate: float,
    transition_begin: int = 0,
    staircase: bool = False,
    end_value: Any = None,
) -> Schedule:
    """Go up from init_value to peak_value along a line, then decay exponentially.

    Args:
      init_value: Value at step 0.
      peak_value: Value at step warmup_steps.
      warmup_steps: Steps of the way up.
      transition_steps: See `exponential_decay`, as for the rest.
      decay_rate: The factor per transition_steps.
      transition_begin: The step, counted from the end of the way up, at which the decay begins.
      staircase: Whether the value jumps every transition_steps instead of changing smoothly.
      end_value: Where the decay ends.

    Example:
      >>> schedule = warmup_exponential_decay_schedule(0.0, 1.0, 10, 5, 0.5)
      >>> print(schedule(5), schedule(10), schedule(15))
      0.5 1.0 0.5
    """
    up = linear_schedule(init_value, peak_value, warmup_steps)
    down = exponential_decay(
        peak_value, transition_steps, decay_rate, transition_begin, staircase, end_value
    )
    return join_schedules([up, down], [warmup_steps])

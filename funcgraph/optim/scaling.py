"""Transformations that rescale updates: the parts of which optimisers are made, as in optax.

Formulas are arranged for few passes over memory: corrections that are the same for all elements
(bias, step size) are put into scalars first. May import `numpy`, `tree`, `optim.base`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import funcgraph.numpy as fnp
from funcgraph import tree
from funcgraph.core.aval import dtype_of, is_inexact, shape_of
from funcgraph.errors import OptimizerError
from funcgraph.optim.base import (
    EmptyState,
    GradientTransformation,
    Mask,
    ScalarOrSchedule,
    Schedule,
    as_dtype,
    empty_init,
    increment,
    masked,
    scalar,
    transformation,
    value_at,
    zero_count,
)

__all__ = [
    "ScaleByLionState",
    "ScaleByScheduleState",
    "TraceState",
    "WeightDecaySchedule",
    "add_decayed_weights",
    "scale",
    "scale_by_learning_rate",
    "scale_by_lion",
    "scale_by_schedule",
    "trace",
]


class ScaleByScheduleState(NamedTuple):
    """The number of steps taken."""

    count: Any  # int32 scalar


class WeightDecaySchedule(NamedTuple):
    """The number of steps taken."""

    count: Any


class TraceState(NamedTuple):
    """The momentum."""

    trace: Any  # as the parameters


class ScaleByLionState(NamedTuple):
    """The number of steps, and the running mean of gradients."""

    count: Any
    mu: Any


# --- leaves --------------------------------------------------------------------------------------


def full(params: Any, value: Any = 0.0, dtype: Any = None) -> Any:
    """Return a tree of arrays like params, filled with a value; floats for integers."""

    def leaf(p: Any) -> Any:
        own = dtype_of(p) if is_inexact(dtype_of(p)) else np.dtype(float)
        return np.full(shape_of(p), value, own if dtype is None else np.dtype(dtype))[()]

    return tree.map(leaf, params)


def mean_of(decay: Any, values: Any, means: Any) -> Any:
    """Return running means after one more value: decay m + (1 - decay) x."""

    def leaf(x: Any, m: Any) -> Any:
        d = scalar(decay, x)
        return d * m + (1 - d) * x

    return tree.map(leaf, values, means)


def stored(new: Any, old: Any) -> Any:
    """Return what goes into the state: in the dtype it had there."""
    return tree.map(lambda x, m: as_dtype(x, dtype_of(m)), new, old)


def is_zero(x: Any) -> bool:
    """Return whether a hyper-parameter is the number 0."""
    return type(x) in (float, int) and x == 0


# --- fixed factors -------------------------------------------------------------------------------


def scale(step_size: Any) -> GradientTransformation:
    """Multiply the updates by a number.

    Example:
      >>> scale(-0.5).update({"w": 3.0}, EmptyState())[0]
      {'w': -1.5}

    Source:
      optax.scale, as every transformation here has its counterpart in optax.
    """

    def update(updates: Any, state: EmptyState, params: Any = None) -> Any:
        return tree.map(lambda g: scalar(step_size, g) * g, updates), state

    return transformation(empty_init, update)


def scale_by_schedule(step_size_fn: Schedule) -> GradientTransformation:
    """Multiply the updates by the value of a schedule; the first step has the number 0.

    Example:
      >>> tx = scale_by_schedule(lambda count: 1.0 / (count + 1))
      >>> updates, state = tx.update({"w": 4.0}, tx.init({"w": 1.0}))
      >>> print(updates["w"], state.count)
      4.0 1
    """

    def init(params: Any) -> ScaleByScheduleState:
        return ScaleByScheduleState(zero_count())

    def update(updates: Any, state: ScaleByScheduleState, params: Any = None) -> Any:
        step_size = step_size_fn(state.count)
        updates = tree.map(lambda g: scalar(step_size, g) * g, updates)
        return updates, ScaleByScheduleState(increment(state.count))

    return transformation(init, update)


def scale_by_learning_rate(
    learning_rate: ScalarOrSchedule, *, flip_sign: bool = True
) -> GradientTransformation:
    """Multiply the updates by -learning_rate: what makes a direction of ascent a step down.

    Args:
      learning_rate: A number, or a schedule.
      flip_sign: False: multiply by +learning_rate.

    Example:
      >>> scale_by_learning_rate(0.1).update({"w": 2.0}, EmptyState())[0]
      {'w': -0.2}
    """
    sign = -1 if flip_sign else 1
    if callable(learning_rate):
        tx = scale_by_schedule(lambda count: sign * learning_rate(count))
    else:
        tx = scale(sign * learning_rate)
    return GradientTransformation(tx.init, tx.update, learning_rate)


def add_decayed_weights(
    weight_decay: ScalarOrSchedule = 0.0, mask: Mask | None = None
) -> GradientTransformation:
    """Add weight_decay times the parameters to the updates.

    Args:
      weight_decay: A number, or a schedule.
      mask: Where to do so (see `masked`); default: everywhere.

    Raises:
      OptimizerError: update was called without params.

    Example:
      >>> tx = add_decayed_weights(0.1, mask={"w": True, "bias": False})
      >>> params = {"w": 10.0, "bias": 10.0}
      >>> tx.update({"w": 0.0, "bias": 0.0}, tx.init(params), params)[0]
      {'bias': 0.0, 'w': 1.0}
    """
    scheduled = callable(weight_decay)

    def init(params: Any) -> Any:
        return WeightDecaySchedule(zero_count()) if scheduled else EmptyState()

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        if params is None:
            raise OptimizerError(
                "weight decay needs the parameters: call optimizer.update(grads, state, params)."
            )
        if is_zero(weight_decay):
            return updates, state
        rate = value_at(weight_decay, state.count if scheduled else None)
        updates = tree.map(lambda g, p: g + scalar(rate, p) * p, updates, params)
        return updates, WeightDecaySchedule(increment(state.count)) if scheduled else state

    tx = transformation(init, update)
    return tx if mask is None else masked(tx, mask)


# --- momentum ------------------------------------------------------------------------------------


def trace(
    decay: Any, nesterov: bool = False, accumulator_dtype: Any = None
) -> GradientTransformation:
    """Add up the updates, older ones less and less: t' = g + decay t.

    Args:
      decay: Factor of the sum so far.
      nesterov: Whether to return g + decay t' instead of t'.
      accumulator_dtype: Dtype of the sum in the state; default: the parameters'.

    Example:
      >>> tx = trace(0.5)
      >>> updates, state = tx.update({"w": 1.0}, tx.init({"w": 0.0}))
      >>> print(tx.update({"w": 1.0}, state)[0]["w"])
      1.5
    """

    def add(g: Any, t: Any) -> Any:
        return g + scalar(decay, g) * t

    def init(params: Any) -> TraceState:
        return TraceState(full(params, dtype=accumulator_dtype))

    def update(updates: Any, state: TraceState, params: Any = None) -> Any:
        new = tree.map(add, updates, state.trace)
        updates = tree.map(add, updates, new) if nesterov else new
        return updates, TraceState(stored(new, state.trace))

    return transformation(init, update)


def scale_by_lion(b1: Any = 0.9, b2: Any = 0.99, mu_dtype: Any = None) -> GradientTransformation:
    """Return the sign of b1 m + (1 - b1) g, where m is the running mean (b2) of gradients.

    Args:
      b1: Weight of the mean in the direction.
      b2: Decay of the mean.
      mu_dtype: Dtype of the mean; default: the parameters'.

    Example:
      >>> tx = scale_by_lion()
      >>> print(tx.update({"w": -3.0}, tx.init({"w": 0.0}))[0]["w"])
      -1.0

    Source:
      Chen et al. 2023, Symbolic Discovery of Optimization Algorithms.
    """

    def init(params: Any) -> ScaleByLionState:
        return ScaleByLionState(zero_count(), full(params, dtype=mu_dtype))

    def update(updates: Any, state: ScaleByLionState, params: Any = None) -> Any:
        direction = tree.map(fnp.sign, mean_of(b1, updates, state.mu))
        mu = stored(mean_of(b2, updates, state.mu), state.mu)
        return direction, ScaleByLionState(increment(state.count), mu)

    return transformation(init, update)

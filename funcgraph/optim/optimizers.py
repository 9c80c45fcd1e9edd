"""Optimisers: chains of parts, with optax's names of hyper-parameters.

`learning_rate` (and `weight_decay`) may be numbers or schedules. May import `optim`.
"""

from __future__ import annotations

import functools
from typing import Any

from funcgraph.optim.adaptive import (
    scale_by_adam,
    scale_by_rms,
    scale_by_rss,
    scale_by_stddev,
)
from funcgraph.optim.base import (
    GradientTransformation,
    Mask,
    ScalarOrSchedule,
    chain,
    identity,
)
from funcgraph.optim.scaling import (
    add_decayed_weights,
    scale_by_learning_rate,
    scale_by_lion,
    trace,
)

__all__ = ["adagrad", "adam", "adamw", "lion", "nadam", "nadamw", "rmsprop", "sgd"]


def sgd(
    learning_rate: ScalarOrSchedule,
    momentum: Any = None,
    nesterov: bool = False,
    accumulator_dtype: Any = None,
) -> GradientTransformation:
    """Step down the gradient, with or without momentum.

    Args:
      learning_rate: A number, or a schedule.
      momentum: Decay of the sum of gradients; None: none is kept.
      nesterov: Whether to look one step ahead (see `trace`).
      accumulator_dtype: Dtype of the sum; default: the parameters'.

    Example:
      >>> optimizer = sgd(0.1)
      >>> optimizer.update({"w": 2.0}, optimizer.init({"w": 1.0}))[0]
      {'w': -0.2}

    Source:
      optax.sgd, as every optimiser here has its counterpart in optax.
    """
    first = identity() if momentum is None else trace(momentum, nesterov, accumulator_dtype)
    return chain(first, scale_by_learning_rate(learning_rate))


def adam(
    learning_rate: ScalarOrSchedule,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    eps_root: Any = 0.0,
    mu_dtype: Any = None,
    *,
    nesterov: bool = False,
) -> GradientTransformation:
    """Adam: steps in units of the root mean square of the gradient, element by element.

    Args:
      learning_rate: A number, or a schedule.
      b1: Decay of the mean of gradients.
      b2: Decay of the mean of their squares.
      eps: Added to the root of the latter.
      eps_root: Added under that root.
      mu_dtype: Dtype of the mean of gradients; default: the parameters'.
      nesterov: Whether to look one step ahead.

    Example:
      >>> optimizer = adam(0.1)
      >>> updates, state = optimizer.update({"w": 2.0}, optimizer.init({"w": 1.0}))
      >>> print(updates["w"].round(6))
      -0.1

    Source:
      Kingma and Ba 2015, Adam: A Method for Stochastic Optimization.
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        scale_by_learning_rate(learning_rate),
    )


def adamw(
    learning_rate: ScalarOrSchedule,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    eps_root: Any = 0.0,
    mu_dtype: Any = None,
    weight_decay: ScalarOrSchedule = 1e-4,
    mask: Mask | None = None,
    *,
    nesterov: bool = False,
) -> GradientTransformation:
    """Adam with weight decay that is not rescaled; `update` needs the parameters.

    Args:
      learning_rate: A number, or a schedule.
      b1: Decay of the mean of gradients.
      b2: Decay of the mean of their squares.
      eps: Added to the root of the latter.
      eps_root: Added under that root.
      mu_dtype: Dtype of the mean of gradients; default: the parameters'.
      weight_decay: Times the learning rate and the parameters: what is taken off in each step.
      mask: Which parameters decay (see `masked`); default: all.
      nesterov: Whether to look one step ahead.

    Example:
      >>> optimizer = adamw(0.1, weight_decay=0.01, mask={"w": True, "bias": False})
      >>> params = {"w": 1.0, "bias": 1.0}
      >>> updates, _ = optimizer.update({"w": 2.0, "bias": 2.0}, optimizer.init(params), params)
      >>> print(updates["w"].round(6), updates["bias"].round(6))
      -0.101 -0.1

    Source:
      Loshchilov and Hutter 2019, Decoupled Weight Decay Regularization.
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


nadam = functools.partial(adam, nesterov=True)
nadamw = functools.partial(adamw, nesterov=True)


def rmsprop(
    learning_rate: ScalarOrSchedule,
    decay: Any = 0.9,
    eps: Any = 1e-8,
    initial_scale: Any = 0.0,
    eps_in_sqrt: bool = True,
    centered: bool = False,
    momentum: Any = None,
    nesterov: bool = False,
    bias_correction: bool = False,
) -> GradientTransformation:
    """RMSProp: the gradient divided by the root of its mean square.

    Args:
      learning_rate: A number, or a schedule.
      decay: Decay of the mean of squares.
      eps: Added under the root, or to it.
      initial_scale: The mean of squares at the start.
      eps_in_sqrt: Whether eps is added under the root.
      centered: Whether to take off the square of the mean: divide by the standard deviation.
      momentum: Decay of the sum of steps; None: none is kept.
      nesterov: Whether to look one step ahead (see `trace`).
      bias_correction: Whether to take the bias to 0 at the start out of the means.

    Example:
      >>> optimizer = rmsprop(0.1, decay=0.75)
      >>> print(optimizer.update({"w": 2.0}, optimizer.init({"w": 1.0}))[0]["w"].round(6))
      -0.2

    Source:
      Tieleman and Hinton 2012, Lecture 6.5 - RMSProp; Graves 2013 (centered).
    """
    scale_by = scale_by_stddev if centered else scale_by_rms
    return chain(
        scale_by(decay, eps, initial_scale, eps_in_sqrt, bias_correction),
        scale_by_learning_rate(learning_rate),
        identity() if momentum is None else trace(momentum, nesterov),
    )


def adagrad(
    learning_rate: ScalarOrSchedule, initial_accumulator_value: Any = 0.1, eps: Any = 1e-7
) -> GradientTransformation:
    """Adagrad: the gradient divided by the root of the sum of all squares so far.

    Args:
      learning_rate: A number, or a schedule.
      initial_accumulator_value: The sum at the start.
      eps: Added under the root.

    Example:
      >>> optimizer = adagrad(0.1, 0.0)
      >>> print(optimizer.update({"w": 2.0}, optimizer.init({"w": 1.0}))[0]["w"].round(6))
      -0.1

    Source:
      Duchi et al. 2011, Adaptive Subgradient Methods.
    """
    return chain(
        scale_by_rss(initial_accumulator_value, eps), scale_by_learning_rate(learning_rate)
    )


def lion(
    learning_rate: ScalarOrSchedule,
    b1: Any = 0.9,
    b2: Any = 0.99,
    mu_dtype: Any = None,
    weight_decay: ScalarOrSchedule = 1e-3,
    mask: Mask | None = None,
) -> GradientTransformation:
    """Lion: the sign of a mean gradient, with weight decay; `update` needs the parameters.

    Args:
      learning_rate: A number, or a schedule.
      b1: Weight of the mean in the direction.
      b2: Decay of the mean.
      mu_dtype: Dtype of the mean; default: the parameters'.
      weight_decay: Times the learning rate and the parameters: what is taken off in each step.
      mask: Which parameters decay (see `masked`); default: all.

    Example:
      >>> optimizer = lion(0.1, weight_decay=0.01)
      >>> params = {"w": 1.0}
      >>> print(optimizer.update({"w": 2.0}, optimizer.init(params), params)[0]["w"].round(6))
      -0.101

    Source:
      Chen et al. 2023, Symbolic Discovery of Optimization Algorithms.
    """
    return chain(
        scale_by_lion(b1, b2, mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )

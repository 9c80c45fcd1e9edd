"""Activation functions, as functions with the names of `jax.nn` and as layers.

A function is a layer already: `serial(Dense(8), relu)`; `Relu()` is the same under the name that
others give it. May import `core`, `ops`, `numpy`, `scipy`, `nn.layer`.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np

import funcgraph.numpy as fnp
from funcgraph.core.aval import dtype_of, is_inexact, ndim_of, shape_of
from funcgraph.core.trace import KIND, NUMPY
from funcgraph.errors import MissingPackageError, ShapeError
from funcgraph.nn.layer import Layer, fn
from funcgraph.numpy._exponentials import maximum_of, weighted_sum
from funcgraph.numpy.creation import as_floats
from funcgraph.ops import activations as rules
from funcgraph.ops.structural import cast, normalize_axis, where

__all__ = [
    "Celu", "Elu", "Gelu", "Glu", "HardSigmoid", "HardSilu", "HardTanh", "LeakyRelu", "LogSigmoid",
    "LogSoftmax", "Mish", "Relu", "Relu6", "Selu", "Sigmoid", "Silu", "SoftSign", "Softmax",
    "Softplus", "Swiglu", "Tanh", "celu", "elu", "gelu", "glu", "hard_sigmoid", "hard_silu",
    "hard_swish", "hard_tanh", "leaky_relu", "log_sigmoid", "log_softmax", "logsumexp", "mish",
    "one_hot", "relu", "relu6", "selu", "sigmoid", "silu", "soft_sign", "softmax", "softplus",
    "swiglu", "swish", "tanh",
]  # fmt: skip

# --- functions of one number ---------------------------------------------------------------------


def relu(x: Any) -> Any:
    """Return max(x, 0); its derivative at 0 is 0.

    Example:
      >>> import numpy as np
      >>> relu(np.array([-1.0, 2.0]))
      array([0., 2.])
    """
    return rules.relu(x)


def relu6(x: Any) -> Any:
    """Return min(max(x, 0), 6).

    Example:
      >>> import numpy as np
      >>> relu6(np.array([-1.0, 2.0, 9.0]))
      array([0., 2., 6.])
    """
    y = relu(x)
    return where(y >= 6, _same(6, x), y)


def _same(number: float, x: Any) -> Any:
    """Return a number in the dtype of x."""
    dtype = dtype_of(x)
    return dtype.type(number) if dtype.kind == "f" else number


def sigmoid(x: Any) -> Any:
    """Return 1 / (1 + exp(-x)), without overflow.

    Example:
      >>> import numpy as np
      >>> sigmoid(np.array([-1000.0, 0.0, 1000.0]))
      array([0. , 0.5, 1. ])
    """
    return rules.sigmoid(x)


def log_sigmoid(x: Any) -> Any:
    """Return log(sigmoid(x)) = -softplus(-x).

    Example:
      >>> import numpy as np
      >>> log_sigmoid(np.array([-1000.0, 0.0])).round(4)
      array([-1.000e+03, -6.931e-01])
    """
    return -rules.softplus(-x)


def softplus(x: Any) -> Any:
    """Return log(1 + exp(x)), without overflow.

    Example:
      >>> import numpy as np
      >>> softplus(np.array([-1000.0, 0.0, 10.0])).round(4)
      array([ 0.    ,  0.6931, 10.    ])
    """
    return rules.softplus(x)


def soft_sign(x: Any) -> Any:
    """Return x / (1 + |x|).

    Example:
      >>> float(soft_sign(1.0))
      0.5
    """
    return x / (1 + fnp.abs(x))


def silu(x: Any) -> Any:
    """Return x sigmoid(x), also called swish.

    Example:
      >>> float(silu(0.0))
      0.0

    Source:
      Elfwing, Uchibe and Doya, "Sigmoid-weighted linear units", 2018.
    """
    return x * rules.sigmoid(x)


swish = silu


def mish(x: Any) -> Any:
    """Return x tanh(softplus(x)).

    Example:
      >>> float(mish(0.0))
      0.0

    Source:
      Misra, "Mish: a self regularized non-monotonic activation function", 2019.
    """
    return x * fnp.tanh(rules.softplus(x))


def gelu(x: Any, approximate: bool = True) -> Any:
    """Return x Φ(x), Φ the normal distribution function.

    Approximately x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2, exactly x (1 + erf(x/√2)) / 2.

    Args:
      x: Array, floating point.
      approximate: Whether to use the formula with tanh. The exact one needs SciPy.

    Returns:
      Array of the shape and dtype of x.

    Raises:
      MissingPackageError: approximate=False without SciPy.

    Example:
      >>> import numpy as np
      >>> gelu(np.array([-1.0, 0.0, 1.0])).round(3)
      array([-0.159,  0.   ,  0.841])

    Source:
      Hendrycks and Gimpel, "Gaussian error linear units", 2016.
    """
    if approximate:
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))
        return x * (0.5 * (1 + fnp.tanh(inner)))
    try:
        special = importlib.import_module("funcgraph.scipy.special")
    except ImportError:
        raise MissingPackageError(
            "gelu(x, approximate=False) needs the error function of SciPy, which is not installed: "
            "pip install 'funcgraph[scipy]', or use approximate=True."
        ) from None
    return x * (0.5 * (1 + special.erf(x * math.sqrt(0.5))))


def elu(x: Any, alpha: Any = 1.0) -> Any:
    """Return x where x > 0, else alpha (exp(x) - 1).

    Example:
      >>> import numpy as np
      >>> elu(np.array([-1.0, 2.0])).round(3)
      array([-0.632,  2.   ])

    Source:
      Clevert, Unterthiner and Hochreiter, "Exponential linear units", 2016.
    """
    negative = x <= 0
    return where(negative, alpha * fnp.expm1(where(negative, x, _same(0, x))), x)


def celu(x: Any, alpha: Any = 1.0) -> Any:
    """Return x where x > 0, else alpha (exp(x / alpha) - 1).

    Example:
      >>> import numpy as np
      >>> celu(np.array([-1.0, 2.0])).round(3)
      array([-0.632,  2.   ])

    Source:
      Barron, "Continuously differentiable exponential linear units", 2017.
    """
    zero = _same(0, x)
    return fnp.maximum(x, zero) + alpha * fnp.expm1(fnp.minimum(x, zero) / alpha)


def selu(x: Any) -> Any:
    """Return 1.0507 elu(x, 1.6733), which keeps mean 0 and variance 1 from layer to layer.

    Example:
      >>> import numpy as np
      >>> selu(np.array([-1.0, 1.0])).round(3)
      array([-1.111,  1.051])

    Source:
      Klambauer et al., "Self-normalizing neural networks", 2017.
    """
    return 1.0507009873554804934193349852946 * elu(x, 1.6732632423543772848170429916717)


def leaky_relu(x: Any, negative_slope: Any = 1e-2) -> Any:
    """Return x where x >= 0, else negative_slope x.

    Example:
      >>> import numpy as np
      >>> leaky_relu(np.array([-1.0, 2.0]))
      array([-0.01,  2.  ])
    """
    return where(x >= 0, x, negative_slope * x)


def hard_tanh(x: Any) -> Any:
    """Return x limited to [-1, 1].

    Example:
      >>> import numpy as np
      >>> hard_tanh(np.array([-3.0, 0.5]))
      array([-1. ,  0.5])
    """
    return where(x > 1, _same(1, x), where(x < -1, _same(-1, x), x))


def hard_sigmoid(x: Any) -> Any:
    """Return min(max(x + 3, 0), 6) / 6.

    Example:
      >>> import numpy as np
      >>> hard_sigmoid(np.array([-3.0, 0.0, 3.0]))
      array([0. , 0.5, 1. ])
    """
    return relu6(x + 3.0) / 6.0


def hard_silu(x: Any) -> Any:
    """Return x hard_sigmoid(x), also called hard swish.

    Example:
      >>> import numpy as np
      >>> hard_silu(np.array([-3.0, 0.0, 3.0]))
      array([-0.,  0.,  3.])

    Source:
      Howard et al., "Searching for MobileNetV3", 2019.
    """
    return x * hard_sigmoid(x)


hard_swish = hard_silu


def tanh(x: Any) -> Any:
    """Return the hyperbolic tangent of x.

    Example:
      >>> float(tanh(0.0))
      0.0
    """
    return fnp.tanh(x)


# --- functions along an axis ---------------------------------------------------------------------


def _masked(x: Any, where_: Any) -> Any:
    """Return x with -inf where the mask is false."""
    return x if where_ is None else where(where_, x, _same(-math.inf, x))


def _axis(x: Any, axis: int) -> int:
    return normalize_axis(axis, ndim_of(x))


def softmax(x: Any, axis: int = -1, where: Any = None) -> Any:
    """Return exp(x_i) / Σ_j exp(x_j) along an axis, without overflow.

    Args:
      x: Array, floating point.
      axis: The axis of the sum.
      where: Bool array that broadcasts with x: where it is false, x_i does not count and the result
        is 0. None: everything counts.

    Returns:
      Array of the shape and dtype of x.

    Example:
      >>> import numpy as np
      >>> softmax(np.array([0.0, np.log(3.0), 9.0]), where=np.array([True, True, False]))
      array([0.25, 0.75, 0.  ])
    """
    return rules.softmax(_masked(as_floats(x), where), axis=_axis(x, axis))


def log_softmax(x: Any, axis: int = -1, where: Any = None) -> Any:
    """Return x_i - log Σ_j exp(x_j) along an axis, without overflow.

    Args:
      x: Array, floating point.
      axis: The axis of the sum.
      where: As of softmax; where it is false the result is -inf.

    Returns:
      Array of the shape and dtype of x.

    Example:
      >>> import numpy as np
      >>> log_softmax(np.array([1000.0, 1000.0])).round(4)
      array([-0.6931, -0.6931])
    """
    return rules.log_softmax(_masked(as_floats(x), where), axis=_axis(x, axis))


def logsumexp(
    a: Any,
    axis: Any = None,
    b: Any = None,
    keepdims: bool = False,
    return_sign: bool = False,
    where: Any = None,
) -> Any:
    """Return log Σ b exp(a) along axes, without overflow.

    Args:
      a: Array.
      axis: An axis, a tuple of axes, or None: all.
      b: Weights, of a shape that broadcasts with a. None: 1.
      keepdims: Whether the axes stay, with length 1.
      return_sign: Whether to return (log |Σ|, the sign of Σ). Otherwise a negative sum gives nan.
      where: Bool array that broadcasts with a: what counts. None: everything.

    Returns:
      Array of the floating dtype of a and b without the axes; two of them if `return_sign`.

    Example:
      >>> import numpy as np
      >>> logsumexp(np.array([1000.0, 1000.0])).round(4)
      np.float64(1000.6931)

    Source:
      jax.nn.logsumexp.
    """
    a = fnp.asarray(a)
    a = _masked(a if is_inexact(dtype_of(a)) else cast(a, np.float64), where)
    if b is not None or return_sign or dtype_of(a).kind == "c":
        b = b if b is None or where is None else _chosen(where, b)
        return weighted_sum(a, axis, b, keepdims, return_sign)
    largest = maximum_of(a, axis)
    total = fnp.sum(fnp.exp(a - _finite(largest)), axis=axis, keepdims=True)
    # The sum is at least 1, or 0 where all terms are -inf, as is the largest then.
    out = fnp.log(fnp.maximum(total, _same(0.5, total))) + largest
    return out if keepdims else fnp.squeeze(out, axis=axis)


def _chosen(where_: Any, b: Any) -> Any:
    """Return weights, 0 where the mask is false."""
    return where(where_, b, 0)


def _finite(x: Any) -> Any:
    return where(fnp.isfinite(x), x, _same(0, x))


def glu(x: Any, axis: int = -1) -> Any:
    """Return a sigmoid(b), where a and b are the halves of x along an axis.

    Raises:
      ShapeError: The axis has an odd length.

    Example:
      >>> import numpy as np
      >>> glu(np.array([2.0, 0.0]))
      array([1.])

    Source:
      Dauphin, Fan, Auli and Grangier, "Language modeling with gated convolutional networks", 2017.
    """
    a, b = _halves(x, axis, "glu")
    return a * rules.sigmoid(b)


def swiglu(x: Any, axis: int = -1) -> Any:
    """Return silu(a) b, where a and b are the halves of x along an axis.

    Raises:
      ShapeError: The axis has an odd length.

    Example:
      >>> import numpy as np
      >>> swiglu(np.array([0.0, 2.0]))
      array([0.])

    Source:
      Shazeer, "GLU variants improve Transformer", 2020.
    """
    a, b = _halves(x, axis, "swiglu")
    return silu(a) * b


def _halves(x: Any, axis: int, name: str) -> Any:
    n = shape_of(x)[axis]
    if n % 2:
        raise ShapeError(
            f"{name} needs an axis of even length to cut in halves, got length {n} along axis "
            f"{axis} of shape {shape_of(x)}."
        )
    return fnp.split(x, 2, axis=axis)


def one_hot(x: Any, num_classes: int, dtype: Any = np.float32, axis: int = -1) -> Any:
    """Return 1 at the position of each integer, 0 elsewhere, along a new axis.

    An integer outside of 0 ... num_classes - 1 gives zeros.

    Args:
      x: Integers of any shape.
      num_classes: Length of the new axis.
      dtype: Type of the elements.
      axis: Where the new axis goes.

    Returns:
      Array with one axis more than x.

    Example:
      >>> import numpy as np
      >>> one_hot(np.array([0, 2, 5]), 3)
      array([[1., 0., 0.],
             [0., 0., 1.],
             [0., 0., 0.]], dtype=float32)
    """
    x = np.asarray(x) if KIND[type(x)] == NUMPY else x
    axis = normalize_axis(axis, ndim_of(x) + 1)
    shape = [1] * (ndim_of(x) + 1)
    shape[axis] = num_classes
    numbers = np.arange(num_classes).reshape(shape)
    return (fnp.expand_dims(x, axis) == numbers).astype(np.dtype(dtype))


# --- as layers -----------------------------------------------------------------------------------


def _layer(f: Callable[..., Any]) -> Callable[..., Layer]:
    """Return the constructor of the layer of a function; keywords are the function's."""
    name = "".join(part.capitalize() for part in f.__name__.split("_"))

    def make(**options: Any) -> Layer:
        return fn((lambda x: f(x, **options)) if options else f, name)

    make.__name__ = make.__qualname__ = name
    make.__doc__ = f"Return the layer of `{f.__name__}`; keywords are passed on to it."
    return make


Relu, Relu6, Sigmoid, LogSigmoid = map(_layer, (relu, relu6, sigmoid, log_sigmoid))
Softplus, SoftSign, Silu, Mish = map(_layer, (softplus, soft_sign, silu, mish))
Gelu, Elu, Celu, Selu, LeakyRelu = map(_layer, (gelu, elu, celu, selu, leaky_relu))
HardTanh, HardSigmoid, HardSilu, Tanh = map(_layer, (hard_tanh, hard_sigmoid, hard_silu, tanh))
Softmax, LogSoftmax, Glu, Swiglu = map(_layer, (softmax, log_softmax, glu, swiglu))

"""Dropout. May import `core`, `random`, `ops`, `nn.layer`."""

from __future__ import annotations

from typing import Any

from funcgraph.core.aval import dtype_of, shape_of
from funcgraph.errors import DtypeError, RandomKeyError
from funcgraph.nn.layer import Layer, define
from funcgraph.ops.structural import where
from funcgraph.random.discrete import bernoulli

__all__ = ["Dropout", "dropout"]


def _check(rate: float) -> None:
    if not 0 <= rate < 1:
        raise ValueError(
            f"the rate of dropout is the fraction that is dropped, at least 0 and below 1, got "
            f"{rate}."
        )


def dropout(key: Any, x: Any, rate: float) -> Any:
    """Return x with elements dropped by chance, and the others scaled up.

    y = x / (1 - rate) with probability 1 - rate, else 0.

    Args:
      key: Random key.
      x: Array, floating point.
      rate: The fraction that is dropped, 0 <= rate < 1.

    Returns:
      Array of the shape and dtype of x.

    Raises:
      ValueError: The rate is not in [0, 1).
      DtypeError: x is not floating point.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> y = dropout(fg.random.key(0), np.ones(1000), 0.5)
      >>> sorted(set(y.tolist())), bool(abs(y.mean() - 1) < 0.1)
      ([0.0, 2.0], True)

    Source:
      Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout", 2014.
    """
    _check(rate)
    dtype = dtype_of(x)
    if dtype.kind not in "fc":
        raise DtypeError(f"dropout scales floating-point numbers, got dtype {dtype}.")
    kept = bernoulli(key, 1 - rate, shape_of(x))
    return x * where(kept, dtype.type(1 / (1 - rate)), dtype.type(0))


def Dropout(rate: float) -> Layer:  # noqa: N802
    """Return the layer that drops elements while it trains, and else returns its input.

    Args:
      rate: The fraction that is dropped, 0 <= rate < 1.

    Returns:
      A Layer; `apply` needs a key if `train` is true.

    Raises:
      RandomKeyError: There is no key in training.
      ValueError: The rate is not in [0, 1).

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> Dropout(0.5).apply({}, np.ones(3))
      array([1., 1., 1.])

    Source:
      Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout", 2014.
    """
    _check(rate)

    def apply(params: Any, x: Any, *, key: Any = None, train: bool = False) -> Any:
        if not train or rate == 0:
            return x
        if key is None:
            raise RandomKeyError(
                "Dropout needs a random key when it trains: pass one, "
                "apply(params, x, key=key, train=True), a new one for each step."
            )
        return dropout(key, x, rate)

    return define("Dropout", None, apply, random=True)

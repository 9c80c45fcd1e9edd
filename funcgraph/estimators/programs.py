"""What estimators share: layers of one form, compiled functions, checked weights.

May import `nn`, `transforms` and scikit-learn.
"""

from __future__ import annotations

import numbers
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import check_consistent_length

from funcgraph.nn.layer import StatefulLayer, as_layer
from funcgraph.transforms.jit import jit

__all__ = ["FLOATS", "as_stateful", "checked_weights", "in_batches", "program"]

FLOATS = [np.float64, np.float32]  # what is kept as it is; everything else becomes the first


def as_stateful(given: Any) -> StatefulLayer:
    """Return any layer as one with a state, which is {} where the layer has none."""
    layer = as_layer(given)

    def options(key: Any, train: bool) -> dict[str, Any]:
        values = {"key": key, "train": train}
        return {name: value for name, value in values.items() if name in layer.accepts}

    def init(key: Any, shape: Any) -> Any:
        found = layer.init(key, shape)
        return found if isinstance(layer, StatefulLayer) else (*found, {})

    def apply(params: Any, state: Any, x: Any, *, key: Any = None, train: bool = False) -> Any:
        if isinstance(layer, StatefulLayer):
            return layer.apply(params, state, x, **options(key, train))
        return layer.apply(params, x, **options(key, train)), state

    return StatefulLayer(init, apply, layer.kind, layer.random)


# Compiled functions cannot be pickled, and predicting must not change an estimator: they are kept
# here, with the settings that they were made for, as long as their estimator lives.
_PROGRAMS: weakref.WeakKeyDictionary[Any, tuple[Any, Any]] = weakref.WeakKeyDictionary()


def program(owner: Any, settings: tuple[Any, ...], build: Callable[[], StatefulLayer]) -> Any:
    """Return the compiled function (params, state, x) -> y of an estimator."""
    found = _PROGRAMS.get(owner)
    if found is None or found[0] != settings:
        layer = build()
        run = jit(lambda *args: layer.apply(*args)[0], backend=owner.backend)
        _PROGRAMS[owner] = found = (settings, run)
    return found[1]


def in_batches(run: Callable[[Any], Any], x: np.ndarray, size: int) -> np.ndarray:
    """Return what a function makes of rows, some at a time."""
    return np.concatenate([np.asarray(run(x[k : k + size])) for k in range(0, len(x), size)])


def checked_weights(given: Any, x: np.ndarray) -> np.ndarray:
    """Return the weights of the rows of x, in its dtype; None: ones."""
    if given is None or isinstance(given, numbers.Real):
        given = np.full(len(x), 1 if given is None else given)
    weights = check_array(given, ensure_2d=False, dtype=x.dtype, input_name="sample_weight")
    if weights.ndim != 1:
        raise ValueError(f"sample_weight must be 1D, got an array of shape {weights.shape}.")
    check_consistent_length(x, weights)
    if (weights < 0).any():
        raise ValueError("sample_weight has negative values.")
    if not weights.any():
        raise ValueError("all sample weights are zero: at least one must be positive.")
    return weights

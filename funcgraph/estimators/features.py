"""`FeatureExtractor`. May import `core`, `nn`, `tree`, `estimators.programs`."""

from __future__ import annotations

import copy
import numbers
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_scalar
from sklearn.utils.validation import validate_data

from funcgraph import tree
from funcgraph.core.aval import dtype_of
from funcgraph.errors import LayerError
from funcgraph.estimators.programs import FLOATS, as_stateful, in_batches, program
from funcgraph.nn.layer import Shape, StatefulLayer, as_layer, output_shape

__all__ = ["FeatureExtractor"]


class FeatureExtractor(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A transformer of scikit-learn: what a trained model makes of rows, as features.

    It learns nothing; transform works without fit.

    Args:
      model: A layer or model. Default: the features are X itself, the baseline of a search.
      params: Its parameters, all of them.
      state: Its state, if it has one.
      upto: Path of the node whose value is wanted (`model.upto`); default: the output.
      input_shape: Shape of an input of the model, without the batch axis: rows of X are flattened
        inputs. Default: (n_features,).
      batch_size: How many rows to compute at a time.
      backend: "numpy" or "xla", as of jit.

    Attributes:
      n_features_in_: Number of columns of X.
      feature_names_in_: Their names, if X had any.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> from funcgraph import nn
      >>> model = nn.serial(nn.Conv(4, 3), nn.relu, nn.GlobalAvgPool(), head=nn.Dense(10))
      >>> _, params = model.init(fg.random.key(0), (-1, 8, 8, 1))
      >>> late = FeatureExtractor(model, params, upto="global_avg_pool", input_shape=(8, 8, 1))
      >>> late.transform(np.ones((5, 64))).shape
      (5, 4)
    """

    def __init__(
        self,
        model: Any = None,
        params: Any = None,
        state: Any = None,
        *,
        upto: str | None = None,
        input_shape: tuple[int, ...] | None = None,
        batch_size: int = 200,
        backend: str = "numpy",
    ) -> None:
        self.model = model
        self.params = params
        self.state = state
        self.upto = upto
        self.input_shape = input_shape
        self.batch_size = batch_size
        self.backend = backend

    def __sklearn_clone__(self) -> FeatureExtractor:
        """Return an estimator with the same arrays: a large model is not copied for every fold."""
        shared = {id(x): x for x in tree.leaves((self.params, self.state))}
        new = copy.deepcopy(self, shared)
        for name in ("n_features_in_", "feature_names_in_", "_n_features_out"):
            new.__dict__.pop(name, None)
        return new

    def _accepted(self) -> Any:
        """Return the dtypes that X may have: with a model that of its parameters."""
        dtypes = [dtype_of(x) for x in tree.leaves(self.params)]
        dtypes = [dtype for dtype in dtypes if dtype.kind == "f"]
        return np.result_type(*dtypes) if dtypes else FLOATS

    def _checked(self, X: Any, reset: bool) -> np.ndarray:
        """Return X as the model takes it."""
        check_scalar(self.batch_size, "batch_size", numbers.Integral, min_val=1)
        x = validate_data(self, X, dtype=self._accepted(), reset=reset)
        if self.model is None and self.upto is not None:
            raise LayerError(f"upto={self.upto!r} is a node of a model, but there is no model.")
        if self.input_shape is None:
            return x  # type: ignore[no-any-return]
        shape = tuple(self.input_shape)
        if int(np.prod(shape)) != x.shape[1]:
            raise ValueError(
                f"input_shape={shape} has {int(np.prod(shape))} elements, but X has "
                f"{x.shape[1]} features."
            )
        return x.reshape(len(x), *shape)  # type: ignore[no-any-return]

    def _layer(self) -> StatefulLayer:
        layer: Any = as_layer(self.model)
        if self.upto is None:
            return as_stateful(layer)
        if not hasattr(layer, "upto"):
            raise LayerError(
                f"upto={self.upto!r} is a node of a model, but a {layer.kind} has no nodes."
            )
        return as_stateful(layer.upto(self.upto))

    def fit(self, X: Any, y: Any = None) -> FeatureExtractor:
        """Check that the model fits X.

        Args:
          X: Array (n, n_features).
          y: Is not used.

        Raises:
          ValueError: It does not fit.
        """
        x = self._checked(X, reset=True)
        self._n_features_out = self.n_features_in_
        if self.model is not None:
            shape = Shape((-1, *x.shape[1:]), x.dtype)
            out = output_shape(self._layer(), self.params, self.state, [shape])
            if not isinstance(out, Shape) or out[:1] != (-1,):
                raise LayerError(
                    f"the features must be one array with a row for each of X, got {out}: choose a "
                    "node by upto."
                )
            self._n_features_out = int(np.prod(out[1:]))
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the features, (n, n_features_out): the values of the node, flattened.

        Args:
          X: Array (n, n_features).
        """
        x = self._checked(X, reset=False)
        if self.model is None:
            return x.reshape(len(x), -1)
        run = program(self, (self.model, self.upto, self.backend), self._layer)
        features = in_batches(lambda part: run(self.params, self.state, part), x, self.batch_size)
        return features.reshape(len(x), -1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        accepted = self._accepted()
        kept = accepted if isinstance(accepted, list) else [accepted]
        tags.transformer_tags.preserves_dtype = [np.dtype(dtype).name for dtype in kept]
        return tags

"""`FuncgraphClassifier` and `FuncgraphRegressor`.

May import `losses`, `nn`, `numpy`, `estimators.network`, `estimators.programs`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

import funcgraph.numpy as fnp
from funcgraph import losses, nn
from funcgraph.estimators.network import Network
from funcgraph.estimators.programs import checked_weights

__all__ = ["FuncgraphClassifier", "FuncgraphRegressor"]


class FuncgraphClassifier(ClassifierMixin, Network):  # type: ignore[misc]
    """A classifier of scikit-learn that trains a network.

    The loss is the cross-entropy of softmax(outputs), with one output for each class.

    Args:
      model: A layer whose outputs have the shape (n, n_classes); or a function
        (n_features, n_outputs) that returns one. Default: fully connected layers, see hidden.
      hidden: Widths of the hidden layers, without a model.
      activation: Function behind each of them, or its name in `funcgraph.nn`.
      optimizer: From `funcgraph.optim`, or a function from learning_rate to one, such as
        `optim.sgd`, which can be pickled. Default: adam.
      learning_rate: A number or a schedule, for an optimizer that is made here.
      epochs: How often to run through the rows.
      batch_size: Rows of a batch, when training and when predicting.
      l2: Adds l2/2 times the sum of squares of all weights, those parameters with more than one
        axis, to the loss of training.
      validation_fraction: Part of the rows, chosen class by class, on which the loss is measured
        after each epoch, without training on them.
      patience: After how many more epochs without a lower loss (of validation, if there is one) to
        stop; the parameters of the best epoch are kept. Default: never.
      class_weight: Dict of weights by class; "balanced": inversely as frequent as the class.
      dtype: float32 or float64, in which all is computed; default: that of X, else float64.
      backend: "numpy" or "xla", as of jit.
      random_state: Seed, RandomState or None, for first parameters, order of rows and dropout.
      verbose: Whether to print the loss of each epoch.

    Attributes:
      classes_: The classes, sorted.
      params_: Parameters of the network: a pytree of arrays.
      state_: State of the network; {} if it has none.
      history_: What was measured in each epoch (`train.History`).
      loss_: Mean training loss of the epoch that params_ are from.
      n_iter_: How many epochs there were.
      n_features_in_: Number of columns of X.
      feature_names_in_: Their names, if X had any.
      dtype_: In which predictions are computed.

    Example:
      >>> from sklearn.datasets import load_iris
      >>> X, y = load_iris(return_X_y=True)
      >>> classifier = FuncgraphClassifier(random_state=0).fit(X, y)
      >>> bool(classifier.score(X, y) > 0.95)
      True
      >>> classifier.predict_proba(X[:2]).shape
      (2, 3)
    """

    def __init__(
        self,
        model: Any = None,
        *,
        hidden: tuple[int, ...] = (100,),
        activation: Any = "relu",
        optimizer: Any = None,
        learning_rate: Any = 0.003,
        epochs: int = 200,
        batch_size: int = 200,
        l2: float = 0.0,
        validation_fraction: float | None = None,
        patience: int | None = None,
        class_weight: Any = None,
        dtype: Any = None,
        backend: str = "numpy",
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            model,
            hidden=hidden,
            activation=activation,
            optimizer=optimizer,
            learning_rate=learning_rate,
            epochs=epochs,
            batch_size=batch_size,
            l2=l2,
            validation_fraction=validation_fraction,
            patience=patience,
            dtype=dtype,
            backend=backend,
            random_state=random_state,
            verbose=verbose,
        )
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> FuncgraphClassifier:
        """Train the network.

        Args:
          X: Array (n, n_features) of numbers.
          y: Array (n,) of classes: numbers or strings.
          sample_weight: Array (n,) of weights of the rows; default: 1.

        Raises:
          ValueError: An argument is not as described.
          TrainingError: Training diverged.
        """
        self._check_parameters()
        X, y = validate_data(self, X, y, dtype=self._accepted())
        check_classification_targets(y)
        weights = checked_weights(sample_weight, X)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if self.class_weight is not None:
            weights = weights * self._weights_of_classes(y, codes, weights)[codes].astype(X.dtype)
        self._train(X, codes.astype(np.int32), weights, len(self.classes_))
        return self

    def _weights_of_classes(self, y: Any, codes: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return class_weight as an array; "balanced" gives all classes the same total."""
        if isinstance(self.class_weight, str) and self.class_weight == "balanced":
            total = np.bincount(codes, weights)
            return weights.sum() / (len(total) * np.where(total > 0, total, 1))  # type: ignore[no-any-return]
        return compute_class_weight(self.class_weight, classes=self.classes_, y=y)  # type: ignore[no-any-return]

    def _error(self, outputs: Any, targets: Any) -> Any:
        return losses.softmax_cross_entropy_with_integer_labels(outputs, targets)

    def _logits(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return self._outputs(X, len(self.classes_))

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the outputs of the network, (n, n_classes); of two classes their difference, (n,).

        Args:
          X: Array (n, n_features).
        """
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each row, (n,).

        Args:
          X: Array (n, n_features).
        """
        logits = self._logits(X)
        return self.classes_[logits.argmax(axis=1)]  # type: ignore[no-any-return]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class, (n, n_classes).

        Args:
          X: Array (n, n_features).
        """
        return nn.softmax(self._logits(X))  # type: ignore[no-any-return]

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the logarithms of the probabilities, (n, n_classes).

        Args:
          X: Array (n, n_features).
        """
        return nn.log_softmax(self._logits(X))  # type: ignore[no-any-return]


class FuncgraphRegressor(RegressorMixin, Network):  # type: ignore[misc]
    """A regressor of scikit-learn that trains a network, for one target or several.

    The loss is the mean squared error. Targets far from zero or of very different sizes are learned
    slowly: scale them, for instance by sklearn.compose.TransformedTargetRegressor.

    Args:
      model: A layer whose outputs have the shape (n, n_targets), (n, 1) for one; or a function
        (n_features, n_outputs) that returns one. Default: fully connected layers, see hidden.

    The other arguments are those of FuncgraphClassifier, without class_weight; the attributes are
    its own, without classes_.

    Example:
      >>> import numpy as np
      >>> X = np.linspace(-1, 1, 100)[:, np.newaxis]
      >>> regressor = FuncgraphRegressor(activation=np.tanh, learning_rate=0.02, random_state=0)
      >>> regressor.fit(X, np.hstack([np.sin(3 * X), X])).predict(X).shape
      (100, 2)
      >>> bool(regressor.score(X, np.hstack([np.sin(3 * X), X])) > 0.95)
      True
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> FuncgraphRegressor:
        """Train the network.

        Args:
          X: Array (n, n_features) of numbers.
          y: Array (n,) of targets, or (n, n_targets).
          sample_weight: Array (n,) of weights of the rows; default: 1.

        Raises:
          ValueError: An argument is not as described.
          TrainingError: Training diverged.
        """
        self._check_parameters()
        X, y = validate_data(self, X, y, dtype=self._accepted(), multi_output=True, y_numeric=True)
        weights = checked_weights(sample_weight, X)
        targets = y.astype(X.dtype).reshape(len(y), -1)
        self._target_shape = y.shape[1:]
        self._train(X, targets, weights, targets.shape[1])
        return self

    def _error(self, outputs: Any, targets: Any) -> Any:
        return fnp.mean(losses.squared_error(outputs, targets), axis=-1)

    def predict(self, X: Any) -> np.ndarray:
        """Return the targets of each row, in the shape that y had: (n,) or (n, n_targets).

        Args:
          X: Array (n, n_features).
        """
        check_is_fitted(self)
        shape = self._target_shape
        return self._outputs(X, shape[0] if shape else 1).reshape(-1, *shape)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

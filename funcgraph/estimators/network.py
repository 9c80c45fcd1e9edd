"""What classifier and regressor share: `Network`.

May import `core`, `losses`, `nn`, `optim`, `random`, `train`, `tree`, `estimators.programs`.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, check_scalar
from sklearn.utils.validation import validate_data

import funcgraph.numpy as fnp
from funcgraph import losses, nn, random, train, tree
from funcgraph.core.aval import ndim_of
from funcgraph.errors import LayerError, TrainingError
from funcgraph.estimators.programs import FLOATS, as_stateful, in_batches, program
from funcgraph.nn.layer import Shape, StatefulLayer
from funcgraph.optim import adam

__all__ = ["Network"]


class Network(BaseEstimator):
    """What classifier and regressor share: the parameters, training, the outputs of the network."""

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
        dtype: Any = None,
        backend: str = "numpy",
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.model = model
        self.hidden = hidden
        self.activation = activation
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.l2 = l2
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.dtype = dtype
        self.backend = backend
        self.random_state = random_state
        self.verbose = verbose

    def _error(self, outputs: Any, targets: Any) -> Any:
        """Return the loss of each row."""
        raise NotImplementedError

    def _check_parameters(self) -> None:
        check_scalar(self.epochs, "epochs", numbers.Integral, min_val=1)
        check_scalar(self.batch_size, "batch_size", numbers.Integral, min_val=1)
        check_scalar(self.l2, "l2", numbers.Real, min_val=0)
        if self.patience is not None:
            check_scalar(self.patience, "patience", numbers.Integral, min_val=0)
        if self.validation_fraction is not None:
            name, bounds = "validation_fraction", {"min_val": 0, "max_val": 1}
            check_scalar(
                self.validation_fraction, name, numbers.Real, include_boundaries="neither", **bounds
            )
        if self.dtype is not None and np.dtype(self.dtype) not in map(np.dtype, FLOATS):
            raise ValueError(f"dtype must be None, float32 or float64, got {self.dtype!r}.")

    def _accepted(self) -> Any:
        """Return the dtypes that X may have; another one becomes the first of them."""
        return FLOATS if self.dtype is None else self.dtype

    def _layer(self, features: int, outputs: int) -> StatefulLayer:
        """Return the network."""
        if self.model is None:
            f = self._activation()
            body = [layer for width in self.hidden for layer in (nn.Dense(width), f)]
            return as_stateful(nn.serial(*body, head=nn.Dense(outputs)))
        if isinstance(self.model, tuple):  # a layer, or a pair (init, apply)
            return as_stateful(self.model)
        if callable(self.model):
            return as_stateful(self.model(features, outputs))
        raise LayerError(
            "model is a layer, or a function (n_features, n_outputs) that returns one, got "
            f"{self.model!r:.80}."
        )

    def _activation(self) -> Any:
        """Return the function behind each hidden layer."""
        if not isinstance(self.activation, str):
            return self.activation
        if self.activation not in nn.activations.__all__:
            raise LayerError(
                f"activation {self.activation!r} is not the name of a function of funcgraph.nn, "
                "such as 'relu' or 'tanh'."
            )
        return getattr(nn, self.activation)

    def _transformation(self) -> Any:
        """Return the optimiser; train_step refuses what is none."""
        optimizer = adam if self.optimizer is None else self.optimizer
        return optimizer(self.learning_rate) if callable(optimizer) else optimizer

    def _initialized(self, layer: Any, key: Any, x: np.ndarray, outputs: int) -> tuple[Any, Any]:
        """Return first parameters and state of the network, once its output has the right shape."""
        shape, params, state = layer.init(key, Shape((-1, x.shape[1]), x.dtype))
        if shape != (-1, outputs):
            raise LayerError(
                f"{type(self).__name__} needs a model with outputs of shape (-1, {outputs}) for "
                f"inputs of shape (-1, {x.shape[1]}), its outputs are {shape}. A function "
                "model(n_features, n_outputs) is told both."
            )
        return params, state

    def _loss(self, layer: StatefulLayer) -> Callable[..., Any]:
        """Return the loss of a batch, as train_step needs it."""

        def loss(
            params: Any, state: Any, x: Any, y: Any, weights: Any, *, key: Any, train: bool
        ) -> Any:
            outputs, state = layer.apply(params, state, x, key=key, train=train)
            value = fnp.mean(weights * self._error(outputs, y))
            if train and self.l2:
                weighted = tree.map(lambda p: ndim_of(p) > 1, params)
                value = value + self.l2 * losses.l2_penalty(params, weighted)
            return value, state

        return loss

    def _train(self, x: np.ndarray, y: np.ndarray, weights: np.ndarray, outputs: int) -> None:
        """Set what fitting sets."""
        rng = check_random_state(self.random_state)
        keys = random.split(random.key(rng.randint(np.iinfo(np.int32).max)), 3)
        layer = self._layer(x.shape[1], outputs)
        params, state = self._initialized(layer, keys[0], x, outputs)
        used = weights > 0  # a row without weight has no place in a batch
        rows, held_out = (x[used], y[used], weights[used]), None
        if self.validation_fraction is not None:
            kinds = rows[1] if isinstance(self, ClassifierMixin) else None
            split = train_test_split(
                *rows, test_size=self.validation_fraction, random_state=rng, stratify=kinds
            )
            rows = split[::2]
            held_out = train.batches(_normalized(split[1::2]), self.batch_size)
        step = train.train_step(self._loss(layer), self._transformation(), backend=self.backend)
        result = train.fit(
            step,
            step.init(params, state=state, key=keys[2]),
            train.batches(_normalized(rows), self.batch_size, key=keys[1]),
            epochs=self.epochs,
            validation=held_out,
            patience=self.patience,
            callbacks=[self._report] if self.verbose else [],
        )
        self._keep(result, x.dtype)
        if result.stopped == "interrupted":  # what was learned is kept, but a search ends
            raise KeyboardInterrupt

    def _keep(self, result: train.FitResult, dtype: np.dtype[Any]) -> None:
        if not all(np.isfinite(p).all() for p in tree.leaves(result.params)):
            raise TrainingError(
                "training diverged: the parameters are not finite. Use a smaller learning_rate, or "
                "scale X (and y), for instance by sklearn.preprocessing.StandardScaler."
            )
        self.params_ = tree.map(np.asarray, result.params)
        self.state_ = tree.map(np.asarray, result.state.state)
        self.dtype_ = dtype
        self.history_ = history = result.history
        self.n_iter_ = len(history.get("epoch", []))
        if self.n_iter_:
            watched = np.array(history.get("val_loss", history["loss"]))
            best = -1 if self.patience is None else np.argmin(np.nan_to_num(watched, nan=np.inf))
            self.loss_ = history["loss"][best]

    def _report(self, record: train.Record) -> None:
        names = [name for name in ("loss", "val_loss") if name in record.metrics]
        shown = ", ".join(f"{name} {record.metrics[name]:.6g}" for name in names)
        print(f"epoch {record.epoch}/{self.epochs}: {shown}")

    def _outputs(self, X: Any, outputs: int) -> np.ndarray:
        """Return what the network says about rows."""
        x = validate_data(self, X, dtype=self.dtype_, reset=False)
        features = self.n_features_in_
        hidden = tuple(self.hidden)
        settings = (self.model, hidden, self.activation, self.backend, features, outputs)
        run = program(self, settings, lambda: self._layer(features, outputs))
        return in_batches(lambda part: run(self.params_, self.state_, part), x, self.batch_size)


def _normalized(rows: Any) -> tuple[np.ndarray, ...]:
    """Return (x, y, weights) with weights of mean 1: then batches of any size have a fair share."""
    x, y, weights = rows
    return x, y, weights / weights.mean()

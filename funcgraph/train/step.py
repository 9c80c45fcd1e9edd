"""One step of training, compiled: forward, backward, update.

May import `core`, `numpy`, `nn`, `optim`, `random`, `transforms`, `control`, `train.partition`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import funcgraph.numpy as fnp
from funcgraph import tree
from funcgraph.control.loops import scan
from funcgraph.control.types import check_same
from funcgraph.core.aval import aval_of, dtype_of, shape_of
from funcgraph.core.origin import named_scope
from funcgraph.core.trace import KIND, TRACER
from funcgraph.errors import TrainingError
from funcgraph.nn.layer import keywords_of
from funcgraph.optim import GradientTransformation, apply_updates, global_norm
from funcgraph.random.keys import as_key, fold_in
from funcgraph.train.partition import Pattern, combine, partition
from funcgraph.transforms.arguments import name_of
from funcgraph.transforms.gradient import value_and_grad
from funcgraph.transforms.jit import jit
from funcgraph.transforms.source import Source

__all__ = ["Metrics", "TrainState", "TrainStep", "train_step"]


class TrainState(NamedTuple):
    """All that a step of training changes: a pytree of arrays.

    Attributes:
      params: The parameters, those that are frozen too.
      state: The state of the model (means of batch normalisation); None: it has none.
      opt_state: The state of the optimiser, for the parameters that are trained.
      key: The random key of the run; step n has the key fold_in(key, n).
      step: How many steps were taken, int32.
    """

    params: Any
    state: Any
    opt_state: Any
    key: Any
    step: Any


class Metrics(NamedTuple):
    """What a step of training measures.

    Attributes:
      loss: Before the update.
      grad_norm: Euclidean norm of the gradient by all parameters that are trained.
      learning_rate: Of this step; None if the optimiser does not tell.
      step: How many steps were taken, this one included.
      aux: What else the loss returned (has_aux).
    """

    loss: Any
    grad_norm: Any
    learning_rate: Any
    step: Any
    aux: Any


class _Loss:
    """The user's loss, called and read by the contract of `train_step`."""

    def __init__(self, fun: Callable[..., Any], has_aux: bool) -> None:
        self.name = name_of(fun)
        self._fun = fun
        self._has_aux = has_aux
        self._accepts = keywords_of(fun)
        self.random = "key" in self._accepts

    def __call__(self, params: Any, state: Any, batch: Any, key: Any, train: bool) -> Any:
        """Return (value, (state, aux))."""
        given = {"key": key, "train": train}
        keywords = {k: v for k, v in given.items() if k in self._accepts}
        first = (params,) if state is None else (params, state)
        out = self._fun(*first, *batch, **keywords)
        names = ["loss"] + ["state"] * (state is not None) + ["aux"] * self._has_aux
        got = f"{len(out)} values" if isinstance(out, tuple) else f"a {type(out).__name__}"
        if len(names) == 1:
            out = (out,)
        if not isinstance(out, tuple) or len(out) != len(names) or tree.structure(out[0]).spec:
            raise TrainingError(
                f"{self.name} must return {' and '.join(names)}, got {got}. A model's state comes "
                "back if init was given one (state=...); other values need has_aux=True."
            )
        values = dict(zip(names, out, strict=True))
        new = values.get("state")
        if state is not None:
            avals = [[aval_of(x) for x in tree.leaves(t)] for t in (state, new)]
            check_same(f"{self.name}: the state", state, new, *avals)
        return out[0], (new, values.get("aux"))


class TrainStep:
    """A compiled step of training: what `train_step` returns."""

    def __init__(
        self,
        loss: _Loss,
        optimizer: GradientTransformation,
        select: Callable[[Any], tuple[Any, Any]],
        accumulate: int,
        backend: str,
        donate: bool,
    ) -> None:
        """See train_step."""
        self._loss = loss
        self._optimizer = optimizer
        self._select = select
        self.accumulate = accumulate
        self._update = jit(self._step, backend=backend, donate_argnums=0 if donate else ())
        self._evaluate = jit(self._value, backend=backend)

    def init(self, params: Any, *, state: Any = None, key: Any = None) -> TrainState:
        """Return the state before the first step; it shares no memory with the arguments.

        Args:
          params: The parameters; Python numbers become arrays.
          state: The model's state. If there is one, the loss takes and returns it.
          key: Random key, for a loss that takes one.

        Raises:
          TrainingError: The loss takes a key and there is none, or no parameter is trained.
        """
        if self._loss.random and key is None:
            raise TrainingError(
                f"{self._loss.name} takes a key: pass one, step.init(params, "
                "key=fg.random.key(seed))."
            )
        params, state = tree.map(_own, params), tree.map(_own, state)
        trained, _ = self._select(params)
        if not tree.leaves(trained):
            raise TrainingError("no parameter is trained: there are none, or all are frozen.")
        key = None if key is None else as_key(key)
        first = TrainState(params, state, self._optimizer.init(trained), key, np.int32(0))
        return TrainState(*tree.map(_own, first))

    def __call__(self, state: TrainState, *batch: Any) -> tuple[TrainState, Metrics]:
        """Return the state after a step, and what was measured.

        Args:
          state: From init, or from the step before. Its memory is used for the new one: do not
            read it afterwards (train_step(..., donate=False) keeps it).
          *batch: What the loss takes behind params and state.
        """
        self._check(state)
        return self._update(state, *batch)  # type: ignore[no-any-return]

    def evaluate(self, state: TrainState, *batch: Any) -> Any:
        """Return the loss with train=False and no key; (loss, aux) with has_aux.

        Args:
          state: From init, or from a step.
          *batch: What the loss takes behind params and state.
        """
        self._check(state)
        return self._evaluate(state.params, state.state, *batch)

    def graph(self, state: TrainState, *batch: Any) -> Any:
        """Return the graph of the step for such arguments."""
        return self._update.graph(state, *batch)

    def source(self, state: TrainState, *batch: Any) -> Source:
        """Return the step for such arguments as a program that needs NumPy alone."""
        return self._update.source(state, *batch)  # type: ignore[no-any-return]

    def __source__(self, style: str, state: TrainState, *batch: Any) -> Any:
        """Write the step in a style of `source`."""
        return self._update.__source__(style, state, *batch)

    def _check(self, state: Any) -> None:
        if not isinstance(state, TrainState):
            raise TrainingError(
                f"a step takes a TrainState, got a {type(state).__name__}: begin with "
                "state = step.init(params)."
            )

    def _value(self, params: Any, state: Any, *batch: Any) -> Any:
        value, (_, aux) = self._loss(params, state, batch, None, False)
        return (value, aux) if self._loss._has_aux else value

    def _step(self, state: TrainState, *batch: Any) -> tuple[TrainState, Metrics]:
        trained, rest = self._select(state.params)
        key = fold_in(state.key, state.step) if self._loss.random else None
        value, inner, aux, grads = self._gradient(trained, rest, state.state, batch, key)
        with named_scope("update"):
            updates, opt_state = self._optimizer.update(grads, state.opt_state, trained)
            params = combine(apply_updates(trained, updates), rest)
        rate = self._optimizer.learning_rate
        rate = rate(state.step) if callable(rate) else rate
        new = TrainState(params, inner, opt_state, state.key, state.step + 1)
        return new, Metrics(value, global_norm(grads), rate, new.step, aux)

    def _gradient(self, trained: Any, rest: Any, state: Any, batch: Any, key: Any) -> Any:
        """Return loss, new state, aux and gradient: the means over micro-batches."""

        def one(state: Any, batch: Any, key: Any) -> Any:
            both = value_and_grad(
                lambda t: self._loss(combine(t, rest), state, batch, key, True), has_aux=True
            )
            (value, (new, aux)), grads = both(trained)
            return value, new, aux, tree.map(_descent, grads)

        n = self.accumulate
        if n == 1:
            return one(state, batch, key)

        def add(carry: Any, row: Any) -> Any:
            total, state = carry
            number, part = row
            value, state, aux, grads = one(
                state, part, None if key is None else fold_in(key, number)
            )
            return (tree.map(lambda t, g: t + g, total, grads), state), (value, aux)

        zero = tree.map(lambda p: np.zeros(shape_of(p), dtype_of(p)), trained)
        rows = (np.arange(n, dtype=np.int32), tree.map_with_path(self._split, batch))
        (total, state), (values, aux) = scan(add, (zero, state), rows)
        return fnp.mean(values), state, aux, tree.map(lambda t: t / n, total)

    def _split(self, path: Any, x: Any) -> Any:
        """Return an array of the batch with an axis of micro-batches in front."""
        shape, n = shape_of(x), self.accumulate
        if not shape or shape[0] % n:
            where = tree.keystr(path, simple=True, separator="/")
            raise TrainingError(
                f"accumulate={n} splits every array of a batch along its first axis, but array "
                f"{where} of the batch has shape {shape}: its length must be a multiple of {n}."
            )
        return fnp.reshape(x, (n, shape[0] // n, *shape[1:]))


def _own(x: Any) -> Any:
    """Return a copy of a leaf, as a NumPy array."""
    return x if KIND[type(x)] == TRACER else np.array(x)


def _descent(g: Any) -> Any:
    """Return the direction of steepest ascent: of a complex parameter the gradient's conjugate."""
    return fnp.conj(g) if dtype_of(g).kind == "c" else g


def train_step(
    loss: Callable[..., Any],
    optimizer: GradientTransformation,
    *,
    trainable: Pattern | None = None,
    freeze: Pattern | None = None,
    accumulate: int = 1,
    has_aux: bool = False,
    backend: str = "numpy",
    donate: bool = True,
) -> TrainStep:
    """Return a compiled step of training: forward, backward, update.

    The loss is called as

        loss(params, *batch)                 without a state, returns the loss
        loss(params, state, *batch)          if init was given a state; returns (loss, new state)

    and with `key=` and `train=True`, each if it has a parameter of that name. With has_aux it
    returns one more value, which is passed on in the metrics.

    Args:
      loss: A pure function that returns a scalar; the mean over the batch, if it is accumulated.
      optimizer: From funcgraph.optim.
      trainable: Which parameters are trained, as patterns of paths (see `partition`); default: all.
      freeze: Which are not. What is frozen costs no gradient, does not decay, and has no share in
        the gradient's norm, nor a place in the optimiser's state.
      accumulate: Into how many micro-batches each batch is split, one after the other, to save
        memory: the first axes of all its arrays. Losses and gradients are averaged, the state goes
        from one to the next, each has a key of its own, and aux is stacked.
      has_aux: Whether the loss returns one more value.
      backend: "numpy" or "xla", as of jit.
      donate: Whether a step uses the memory of the state it is given.

    Returns:
      A function: state, metrics = step(state, *batch), with the methods init, evaluate and graph.

    Raises:
      TrainingError: Both trainable and freeze are given, or accumulate is not positive.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> from funcgraph import optim
      >>> def loss(params, x, y):
      ...     return np.mean((x @ params["w"] + params["b"] - y) ** 2)
      >>> step = train_step(loss, optim.sgd(0.1), freeze="b")
      >>> state = step.init({"w": np.zeros(2), "b": np.ones(())})
      >>> x, y = np.eye(2), np.array([3.0, 5.0])
      >>> for _ in range(100):
      ...     state, metrics = step(state, x, y)
      >>> state.params["w"].round(3), state.params["b"]
      (array([2., 4.]), array(1.))
      >>> print(metrics.step, metrics.learning_rate, step.evaluate(state, x, y).round(3))
      100 0.1 0.0
    """
    if not callable(loss):
        raise TypeError(f"train_step needs a function, the loss, got a {type(loss).__name__}.")
    if not isinstance(optimizer, GradientTransformation):
        raise TrainingError(
            f"train_step needs an optimiser of funcgraph.optim, got {optimizer!r:.80}. One of "
            "optax's becomes one by optim.from_optax(optimizer)."
        )
    if trainable is not None and freeze is not None:
        raise TrainingError("train_step takes trainable= or freeze=, not both.")
    if isinstance(accumulate, bool) or not isinstance(accumulate, int) or accumulate < 1:
        raise TrainingError(f"accumulate is a positive number of parts, got {accumulate!r}.")

    def select(params: Any) -> tuple[Any, Any]:
        if freeze is not None:
            return partition(params, freeze)[::-1]
        return partition(params, (lambda *_: True) if trainable is None else trainable)

    return TrainStep(_Loss(loss, has_aux), optimizer, select, accumulate, backend, donate)

"""Epochs of training: `fit`. May import `io`, `train`."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from funcgraph import tree
from funcgraph.errors import TrainingError
from funcgraph.io.atomic import remove_leftovers
from funcgraph.io.storage import load, save
from funcgraph.train.data import Batches, arguments, epoch_of, rows_of
from funcgraph.train.history import History, Means, numbers_in, optional
from funcgraph.train.step import TrainState, TrainStep

__all__ = ["FitResult", "Record", "fit"]


class Record(NamedTuple):
    """What a callback gets at the end of an epoch.

    Attributes:
      epoch: Its number; the first one is 1.
      metrics: What was measured, by name: the new row of the history.
      state: A copy of the training state.
    """

    epoch: int
    metrics: dict[str, Any]
    state: TrainState


class FitResult(NamedTuple):
    """What training leaves.

    Attributes:
      state: The training state at the end; with patience, that of the best epoch.
      history: What was measured in each epoch.
      stopped: Why it ended: "epochs", "patience", "callback" or "interrupted".
    """

    state: TrainState
    history: History
    stopped: str

    @property
    def params(self) -> Any:
        """The parameters."""
        return self.state.params


class _Progress(NamedTuple):
    """Where a run is, beside its training state; numbers and lists only."""

    epoch: int = 0  # how many are complete
    batch: int = 0  # how many of the next one are
    sums: dict[str, list[float]] = {}  # noqa: RUF012  (of the next one; never changed in place)
    seconds: float = 0.0
    best: float = math.inf
    waited: int = 0  # epochs since the best one
    stopped: str = ""
    history: dict[str, list[Any]] = {}  # noqa: RUF012


class _Run:
    """A run of `fit`: the training state, where it is, and how it is kept in a file."""

    def __init__(self, step: TrainStep, state: TrainState, options: dict[str, Any]) -> None:
        self.step = step
        self.state = state
        self.data = options["data"]
        self.validation = options["validation"]
        self.patience = options["patience"]
        self.callbacks = options["callbacks"]
        self.path = options["checkpoint"]
        self.every = options["checkpoint_every"]
        self.best = None if self.patience is None else _copy(state)
        self.progress = _Progress()
        self.settings = {
            "data": _signature(self.data),
            "validation": self.validation is not None,
            "patience": self.patience is not None,
        }
        self.stepping = False

    # --- files

    def save(self) -> None:
        if self.path is not None:
            # A file keeps no other order of memory, and sums depend on it in their last bits.
            self.state = tree.map(_contiguous, self.state)
            text = json.dumps({"settings": self.settings, "progress": self.progress._asdict()})
            save(self.path, {"state": self.state, "best": self.best, "run": text})

    def resume(self) -> None:
        """Go on where the file says, if there is one."""
        if self.path is None:
            return
        remove_leftovers(self.path)
        if not self.path.exists():
            return
        found = load(self.path)
        if not isinstance(found, dict) or set(found) != {"state", "best", "run"}:
            raise TrainingError(f"{self.path} is no checkpoint of fit: pass another name.")
        run = json.loads(found["run"])
        if run["settings"] != self.settings:
            raise TrainingError(
                f"{self.path} is the checkpoint of another run: it was made with "
                f"{run['settings']}, now there is {self.settings}. Pass the same data and options, "
                "or another name."
            )
        like = {"state": self.state, "best": self.best, "run": ""}
        found = load(self.path, like)
        self.state, self.best = found["state"], found["best"]
        self.progress = _Progress(**run["progress"])

    # --- epochs

    def train(self, interrupted: list[int], bar: Any) -> None:
        """Run to the end of an epoch, unless it is interrupted."""
        p = self.progress
        means = Means({name: list(entry) for name, entry in p.sums.items()})
        begin, batch = time.perf_counter(), p.batch

        def mark() -> None:
            seconds = p.seconds + time.perf_counter() - begin
            self.progress = p._replace(batch=batch, sums=means.sums(), seconds=seconds)

        try:
            for given in epoch_of(self.data, p.epoch, p.batch):
                self.stepping = True
                self._one(given, means)
                batch += 1
                self.stepping = False
                if bar is not None:
                    bar.update(1)
                if self.every is not None and batch % self.every == 0:
                    mark()
                    self.save()
                if interrupted:
                    break
        except KeyboardInterrupt:
            if self.stepping:  # the step may have used up the memory of the state
                raise
            interrupted.append(1)
        mark()
        if not batch and not interrupted:
            raise TrainingError("the data have no batch.")
        if not interrupted:
            self._end_of_epoch(means.means(), bar)

    def _one(self, given: Any, means: Means) -> None:
        self.state, metrics = self.step(self.state, *arguments(given))
        measured = {"loss": metrics.loss, "grad_norm": metrics.grad_norm}
        if metrics.learning_rate is not None:
            measured["learning_rate"] = metrics.learning_rate
        measured |= numbers_in(metrics.aux, self.step.accumulate)
        means.add(measured, rows_of(given))

    def evaluate(self) -> dict[str, float]:
        """Return the means over the validation data."""
        means = Means()
        for given in epoch_of(self.validation, 0, 0):
            out = self.step.evaluate(self.state, *arguments(given))
            loss, aux = out if isinstance(out, tuple) else (out, None)
            means.add({"loss": loss, **numbers_in(aux)}, rows_of(given))
        found = means.means()
        if not found:
            raise TrainingError("validation has no batch.")
        return {f"val_{name}": value for name, value in found.items()}

    def _end_of_epoch(self, measured: dict[str, float], bar: Any) -> None:
        """Validate, call the callbacks, decide whether to go on; then the epoch is complete."""
        p = self.progress
        found = {} if self.validation is None else self.evaluate()
        metrics = {
            "epoch": p.epoch + 1,
            "step": int(self.state.step),
            "loss": measured["loss"],
            **found,
            **measured,
            "seconds": p.seconds,
        }
        watched = metrics.get("val_loss", metrics["loss"])
        better = watched < p.best
        waited = 0 if better else p.waited + 1
        stopped = "patience" if self.patience is not None and waited > self.patience else ""
        if bar is not None:
            bar.set_postfix(
                {k: v for k, v in metrics.items() if k in ("epoch", "loss", "val_loss")}
            )
        for callback in self.callbacks:
            if callback(Record(p.epoch + 1, dict(metrics), _copy(self.state))) is True:
                stopped = "callback"
        if better and self.best is not None:
            self.best = _copy(self.state)
        history = History({name: list(column) for name, column in p.history.items()})
        history.append(metrics)
        best = watched if better else p.best
        self.progress = _Progress(p.epoch + 1, 0, {}, 0.0, best, waited, stopped, history)
        self.save()

    def result(self, stopped: str) -> FitResult:
        """Return what the user gets."""
        p = self.progress
        # Without a finite loss no epoch was the best.
        chosen = self.state if self.best is None or p.best == math.inf else self.best
        return FitResult(chosen, History(p.history), stopped)


def _contiguous(x: Any) -> Any:
    ordered = not isinstance(x, np.ndarray) or x.flags.forc
    return x if ordered else np.ascontiguousarray(x)


def _copy(state: TrainState) -> TrainState:
    return tree.map(np.array, state)  # type: ignore[no-any-return]


def _signature(data: Any) -> Any:
    """Return what must be the same for the position in the data to have its meaning."""
    if not isinstance(data, Batches):
        return None
    key = None if data.key is None else data.key.tolist()
    return [data.length, data.size, data.drop_last, key]


@contextlib.contextmanager
def _deferred_interrupts() -> Iterator[list[int]]:
    """Give a list that has an element once Ctrl-C was pressed; a second time it raises at once.

    A step must not be cut: it may have used up the memory of the state it was given.
    """
    pressed: list[int] = []

    def handler(number: int, frame: Any) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)

    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        signal.signal(signal.SIGINT, handler)
    try:
        yield pressed
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _check_data(name: str, data: Any) -> None:
    """Refuse arrays themselves: a loop over them would give rows."""
    arrays = hasattr(data, "shape") or isinstance(data, dict)
    if arrays or (isinstance(data, tuple) and any(hasattr(x, "shape") for x in data)):
        raise TrainingError(
            f"{name} of fit are batches, got a {type(data).__name__} of arrays: pass "
            "batches((x, y), size), or a list of batches."
        )


def _bar(wanted: bool, data: Any, epochs: int, done: _Progress) -> Any:
    if not wanted:
        return contextlib.nullcontext()
    size = len(data) if hasattr(data, "__len__") else None
    first = done.epoch * (size or 0) + done.batch
    total = None if size is None else epochs * size
    return optional("tqdm", "fit(progress=True)").tqdm(total=total, initial=first, unit="step")


def fit(
    step: TrainStep,
    state: TrainState,
    data: Iterable[Any],
    *,
    epochs: int,
    validation: Iterable[Any] | None = None,
    patience: int | None = None,
    callbacks: Sequence[Callable[[Record], Any]] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    progress: bool = False,
) -> FitResult:
    """Train for some epochs.

    Ctrl-C ends training after the step in progress, and what there is so far is returned.

    Args:
      step: From train_step.
      state: From step.init; its memory is used (see train_step).
      data: Batches, or any iterable that can be run through in every epoch. A batch that is a tuple
        is several arguments of the loss.
      epochs: How many, those that are in the checkpoint included.
      validation: Batches on which the loss is evaluated after each epoch.
      patience: After how many more epochs without a lower loss (of validation, if there is one) to
        stop; the state of the best epoch is returned. Default: never, and the last one is.
      callbacks: Functions of a Record, called after each epoch; one that returns True ends
        training.
      checkpoint: Name of a file to which all is saved after each epoch, and from which training
        goes on if it exists: a run that was killed at any moment and is started again ends with
        the same parameters, bit by bit.
      checkpoint_every: After how many batches within an epoch to save, too.
      progress: Whether to show a progress bar (needs tqdm).

    Returns:
      FitResult(state, history, stopped), which has the parameters as `params`. The history has the
      means over the batches of each epoch, weighted by their rows: loss, grad_norm, learning_rate,
      numbers in aux, and the same of validation with the prefix val_.

    Raises:
      TrainingError: The data have no batch, or the checkpoint is of another run.
      StorageError: The checkpoint is damaged, or of another model or optimiser.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> from funcgraph import optim, train
      >>> def loss(w, x, y):
      ...     return np.mean((x @ w - y) ** 2)
      >>> x = np.asarray(fg.random.normal(fg.random.key(0), (64, 2)))
      >>> y = x @ np.array([1.0, -2.0], np.float32)
      >>> step = train.train_step(loss, optim.sgd(0.1))
      >>> data = train.batches((x, y), 16, key=fg.random.key(1))
      >>> result = train.fit(step, step.init(np.zeros(2, np.float32)), data, epochs=10)
      >>> result.params.round(2), result.stopped, len(result.history["loss"])
      (array([ 1., -2.], dtype=float32), 'epochs', 10)
    """
    _check_data("data", data)
    _check_data("validation", [] if validation is None else validation)
    if epochs > 1 and (iter(data) is data or iter(validation or []) is validation):
        raise TrainingError(
            "data and validation are run through in each epoch, but an iterator can be only once: "
            "pass batches(...), a list, or an object with __iter__."
        )
    options = {
        "data": data,
        "validation": validation,
        "patience": patience,
        "callbacks": callbacks,
        "checkpoint": None if checkpoint is None else Path(checkpoint),
        "checkpoint_every": checkpoint_every,
    }
    run = _Run(step, state, options)
    run.resume()
    with _deferred_interrupts() as interrupted, _bar(progress, data, epochs, run.progress) as bar:
        try:
            while not interrupted and not run.progress.stopped and run.progress.epoch < epochs:
                run.train(interrupted, bar)
        except KeyboardInterrupt:
            if run.stepping:
                raise
            interrupted.append(1)
        if interrupted:
            run.save()
    return run.result("interrupted" if interrupted else run.progress.stopped or "epochs")

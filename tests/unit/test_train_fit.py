"""Epochs of training: history, validation, early stopping, callbacks, interrupts, checkpoints."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import funcgraph as fg
from funcgraph import nn, optim, random, train
from funcgraph.errors import MissingPackageError, StorageError, TrainingError
from funcgraph.io import load, save
from funcgraph.train.history import Means

ROOT = Path(__file__).resolve().parents[2]
KEY = random.key(0)
X = np.asarray(random.normal(random.key(1), (40, 3)))
Y = X @ np.array([1.0, -2.0, 0.5], np.float32)
MODEL = nn.serial(nn.Dense(4, bias=False), nn.BatchNorm(), np.tanh, nn.Dropout(0.25), nn.Dense(1))


def loss(w, x, y):
    return np.mean((x @ w - y) ** 2)


def full_loss(params, state, x, y, *, key=None, train=False):
    out, state = MODEL.apply(params, state, x, key=key, train=train)
    return np.mean((out[:, 0] - y) ** 2), state


def data(size=16, **options):
    return train.batches((X, Y), size, key=random.key(2), **options)


def start(rate=0.1, **options):
    step = train.train_step(loss, optim.sgd(rate), **options)
    return step, step.init(np.zeros(3, np.float32))


@functools.cache
def full_step(backend):
    return train.train_step(full_loss, optim.adam(0.02), backend=backend)


def full(backend="numpy"):
    _, params, state = MODEL.init(KEY, (-1, 3))
    step = full_step(backend)
    return step, step.init(params, state=state, key=random.key(3))


def identical(a, b):
    fg.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture(params=["numpy", "xla"])
def backend(request):
    if request.param == "xla":
        pytest.importorskip("jax")
    return request.param


# --- epochs --------------------------------------------------------------------------------------


def test_a_fit_is_the_loop_one_would_write(backend):
    step, state = full(backend)
    losses = []
    for batch in data(epochs=3):
        state, metrics = step(state, *batch)
        losses.append((float(metrics.loss), len(batch[1])))
    result = train.fit(*full(backend), data(), epochs=3, validation=[(X, Y)])
    identical(result.state, state)
    identical(result.params, state.params)
    assert result.stopped == "epochs" and int(result.state.step) == 9
    history = result.history
    assert list(history) == [
        "epoch", "step", "loss", "val_loss", "grad_norm", "learning_rate", "seconds",
    ]  # fmt: skip
    assert history["epoch"] == [1, 2, 3] and history["step"] == [3, 6, 9]
    means = [
        sum(v * n for v, n in losses[k : k + 3]) / sum(n for _, n in losses[k : k + 3])
        for k in (0, 3, 6)
    ]
    np.testing.assert_allclose(history["loss"], means, rtol=1e-12)
    np.testing.assert_allclose(history["val_loss"][-1], step.evaluate(state, X, Y), rtol=1e-6)
    assert history["learning_rate"] == pytest.approx([0.02] * 3)


def test_engines_have_one_history():
    pytest.importorskip("jax")
    found = [
        train.fit(*full(b), data(), epochs=3, validation=data(7)).history for b in ("numpy", "xla")
    ]
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(found[0][name], found[1][name], rtol=1e-6)


def test_validation_is_the_mean_over_all_rows():
    step, state = start()
    whole = train.fit(step, state, data(), epochs=1, validation=[(X, Y)]).history["val_loss"]
    parts = train.fit(*start(), data(), epochs=1, validation=data(7)).history["val_loss"]
    np.testing.assert_allclose(whole, parts, rtol=1e-5)


def test_numbers_in_aux_are_measured(backend):
    def with_aux(w, x, y):
        error = x @ w - y
        return np.mean(error**2), {"bias": np.mean(error), "all": error, "name": {"x": error}}

    for accumulate in (1, 2):
        step, state = start(), None
        step = train.train_step(
            with_aux, optim.sgd(0.0), has_aux=True, accumulate=accumulate, backend=backend
        )
        state = step.init(np.zeros(3, np.float32))
        history = train.fit(step, state, data(10), epochs=1, validation=[(X, Y)]).history
        np.testing.assert_allclose(history["bias"], -Y.mean(), rtol=1e-5)
        np.testing.assert_allclose(history["val_bias"], -Y.mean(), rtol=1e-5)
        assert "all" not in history and "name" not in history


def test_batches_of_other_kinds():
    def dict_loss(w, batch):
        return loss(w, batch["x"], batch["y"])

    step = train.train_step(dict_loss, optim.sgd(0.1))
    result = train.fit(step, step.init(np.zeros(3)), [{"x": X, "y": Y}] * 2, epochs=2)
    assert int(result.state.step) == 4
    one_shot = iter([(X, Y)])
    assert len(train.fit(*start(), one_shot, epochs=1).history["loss"]) == 1
    for options in ({}, {"validation": iter([(X, Y)])}):
        given = data() if options else iter([(X, Y)])
        with pytest.raises(TrainingError, match="an iterator can be only once"):
            train.fit(*start(), given, epochs=2, **options)
    for arrays in ((X, Y), X, {"x": X}):
        with pytest.raises(TrainingError, match=r"data of fit are batches, got .*batches\("):
            train.fit(*start(), arrays, epochs=1)
        with pytest.raises(TrainingError, match="validation of fit are batches"):
            train.fit(*start(), data(), epochs=1, validation=arrays)
    for empty in ([], iter([])):
        with pytest.raises(TrainingError, match="have no batch"):
            train.fit(*start(), empty, epochs=1)
    with pytest.raises(TrainingError, match="validation has no batch"):
        train.fit(*start(), data(), epochs=1, validation=[])


# --- early stopping and callbacks ----------------------------------------------------------------


def test_early_stopping_restores_the_best(backend):
    # The rate grows until the steps are too large: the loss falls, then rises.
    rate = lambda step: 0.02 * 1.25**step
    step = train.train_step(loss, optim.sgd(rate), backend=backend)
    states = []

    def keep(record):
        states.append(record.state)

    result = train.fit(
        step, step.init(np.zeros(3, np.float32)), data(40), epochs=100, validation=[(X, Y)],
        patience=2, callbacks=[keep],
    )  # fmt: skip
    values = result.history["val_loss"]
    best = int(np.argmin(values))
    assert result.stopped == "patience" and 3 < len(values) == best + 1 + 3 < 100
    identical(result.state, states[best])
    np.testing.assert_allclose(step.evaluate(result.state, X, Y), values[best], rtol=1e-6)


def test_patience_without_validation_and_with_nan():
    result = train.fit(*start(), data(), epochs=3, patience=1)
    assert result.stopped == "epochs" and np.argmin(result.history["loss"]) == 2
    step = train.train_step(lambda w, x, y: loss(w, x, y) * np.nan, optim.sgd(0.1))
    result = train.fit(step, step.init(np.zeros(3)), data(), epochs=9, patience=1)
    assert result.stopped == "patience" and len(result.history["loss"]) == 2


def test_callbacks_get_records_and_can_stop():
    seen = []

    def watch(record):
        seen.append((record.epoch, record.metrics["val_loss"], record.state))
        return record.epoch == 3

    result = train.fit(*start(), data(), epochs=10, validation=[(X, Y)], callbacks=[watch])
    assert result.stopped == "callback" and [e for e, _, _ in seen] == [1, 2, 3]
    assert result.history["val_loss"] == [v for _, v, _ in seen]
    step, _ = start()
    for _, value, state in seen:  # the records are still what they were
        np.testing.assert_allclose(step.evaluate(state, X, Y), value, rtol=1e-6)


# --- interrupts ----------------------------------------------------------------------------------


@pytest.fixture
def interrupts():
    """Python's own handler of Ctrl-C: a suite that runs in the background has another one."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_after_the_step_in_progress(backend, tmp_path, interrupts):
    steps = []

    class Pressed:
        """Data during whose second epoch somebody presses Ctrl-C."""

        def __iter__(self):
            for batch in data():
                steps.append(1)
                if len(steps) == 5:
                    signal.raise_signal(signal.SIGINT)
                yield batch

    path = tmp_path / "run.npz"
    result = train.fit(*full(backend), Pressed(), epochs=3, checkpoint=path)
    assert result.stopped == "interrupted" and int(result.state.step) == 5
    assert len(result.history["loss"]) == 1
    assert signal.getsignal(signal.SIGINT) is interrupts
    steps.extend([1] * 10)
    resumed = train.fit(*full(backend), Pressed(), epochs=3, checkpoint=path)
    whole = train.fit(*full(backend), list(data()), epochs=3)
    assert resumed.stopped == "epochs"
    identical(resumed.state, whole.state)
    assert resumed.history["loss"] == whole.history["loss"]


@pytest.mark.parametrize("place", ["data", "callback", "validation"])
def test_interrupts_that_are_raised(tmp_path, place):
    raised = []

    def interrupt(*_):
        if not raised:
            raised.append(1)
            raise KeyboardInterrupt

    class Data:
        def __init__(self, name):
            self.name = name

        def __iter__(self):
            for k, batch in enumerate(list(data())):
                if self.name == place and k == 1:
                    interrupt()
                yield batch

    options = {"epochs": 2, "validation": Data("validation"), "checkpoint": tmp_path / "run.npz"}
    if place == "callback":
        options["callbacks"] = [interrupt]
    result = train.fit(*full(), Data("data"), **options)
    assert result.stopped == "interrupted"
    assert int(result.state.step) == (1 if place == "data" else 3)
    resumed = train.fit(*full(), Data("data"), **options)
    whole = train.fit(*full(), Data("data"), epochs=2, validation=Data("validation"))
    identical(resumed.state, whole.state)
    for name in ("epoch", "step", "loss", "val_loss"):
        assert resumed.history[name] == whole.history[name]


def test_an_interrupt_within_a_step_is_raised():
    def stop(w, x):
        raise KeyboardInterrupt

    step = train.train_step(stop, optim.sgd(0.1))
    with pytest.raises(KeyboardInterrupt):
        train.fit(step, step.init(np.zeros(3)), [X], epochs=1)


def test_other_threads_and_handlers_are_left_alone():
    results = []
    thread = threading.Thread(
        target=lambda: results.append(train.fit(*start(), data(), epochs=1).stopped)
    )
    thread.start()
    thread.join()
    assert results == ["epochs"]
    mine = lambda *_: None
    before = signal.signal(signal.SIGINT, mine)
    try:
        seen = []
        train.fit(
            *start(), data(), epochs=1,
            callbacks=[lambda record: seen.append(signal.getsignal(signal.SIGINT))],
        )  # fmt: skip
        assert seen == [mine]
    finally:
        signal.signal(signal.SIGINT, before)


# --- history and progress ------------------------------------------------------------------------


def test_history_prints_and_plots(tmp_path):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    history = train.fit(*start(), data(), epochs=3, validation=[(X, Y)]).history
    lines = str(history).splitlines()
    assert lines[0].split() == list(history) and len(lines) == 4
    axes = history.plot()
    assert [line.get_label() for line in axes.get_lines()] == ["loss", "val_loss"]
    assert axes.get_lines()[1].get_ydata().tolist() == history["val_loss"]
    assert history.plot("grad_norm", axes=axes) is axes
    with pytest.raises(KeyError):
        history.plot("accuracy")
    pyplot.close("all")
    assert str(train.History()) == ""


def test_optional_packages(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(MissingPackageError, match="tqdm, which is not installed"):
        train.fit(*start(), data(), epochs=1, progress=True)
    with pytest.raises(MissingPackageError, match="matplotlib, which is not installed"):
        train.History(epoch=[1], loss=[1.0]).plot()


def test_a_progress_bar(capsys):
    pytest.importorskip("tqdm")
    train.fit(*start(), data(), epochs=2, validation=[(X, Y)], progress=True)
    shown = capsys.readouterr().err
    assert "6/6" in shown and "val_loss=" in shown


def test_means_are_weighted_and_can_go_on():
    whole, first = Means(), Means()
    for k in range(200):
        (whole if k >= 100 else first).add({"a": np.float32(k)}, k % 3)
        if k < 100:
            whole.add({"a": np.float32(k)}, k % 3)
    sums = json.loads(json.dumps(first.sums()))
    resumed = Means(sums)
    for k in range(100, 200):
        resumed.add({"a": np.float32(k)}, k % 3)
    assert resumed.means() == whole.means()
    assert whole.means()["a"] == pytest.approx(
        np.average(np.arange(200), weights=np.arange(200) % 3)
    )


# --- checkpoints ---------------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("moment", range(1, 10))
def test_a_run_that_stops_anywhere_ends_the_same(tmp_path, moment, backend):
    path = tmp_path / "run.npz"
    options = {"epochs": 3, "validation": data(20), "patience": 5}
    whole = train.fit(*full(backend), data(), **options)
    step, state = full(backend)
    calls = []

    def dying(state, *batch):
        calls.append(1)
        if len(calls) == moment:
            raise Killed
        return train.TrainStep.__call__(step, state, *batch)

    class Dying(train.TrainStep):
        __call__ = staticmethod(dying)

    mortal = object.__new__(Dying)
    mortal.__dict__.update(step.__dict__)
    options |= {"checkpoint": path, "checkpoint_every": 2}
    with pytest.raises(Killed):
        train.fit(mortal, state, data(), **options)
    result = train.fit(*full(backend), data(), **options)
    identical(result.state, whole.state)
    for name in ("epoch", "step", "loss", "val_loss", "grad_norm"):
        assert result.history[name] == whole.history[name]
    again = train.fit(*full(backend), data(), **options)  # it is complete: nothing more is done
    identical(again.state, whole.state)
    assert again.history == result.history


def test_more_epochs_go_on_from_a_checkpoint(tmp_path):
    path = tmp_path / "run.npz"
    train.fit(*full(), data(), epochs=2, checkpoint=path)
    longer = train.fit(*full(), data(), epochs=5, checkpoint=path)
    whole = train.fit(*full(), data(), epochs=5)
    identical(longer.state, whole.state)
    assert longer.history["loss"] == whole.history["loss"]


def test_a_run_that_was_stopped_stays_stopped(tmp_path):
    path = tmp_path / "run.npz"
    options = {"epochs": 9, "checkpoint": path, "callbacks": [lambda r: r.epoch == 2]}
    first = train.fit(*start(), data(), **options)
    again = train.fit(*start(), data(), **options)
    assert first.stopped == again.stopped == "callback" and first.history == again.history


def test_checkpoints_of_other_runs_are_refused(tmp_path):
    path = tmp_path / "run.npz"
    train.fit(*start(), data(), epochs=1, checkpoint=path)
    with pytest.raises(TrainingError, match="checkpoint of another run"):
        train.fit(*start(), data(8), epochs=2, checkpoint=path)
    with pytest.raises(TrainingError, match="checkpoint of another run"):
        train.fit(*start(), data(), epochs=2, checkpoint=path, patience=1)
    step = train.train_step(loss, optim.adam(0.1))
    with pytest.raises(StorageError, match=r"state/opt_state/0/"):
        train.fit(step, step.init(np.zeros(3, np.float32)), data(), epochs=2, checkpoint=path)
    step, state = start()
    with pytest.raises(
        StorageError, match=r"state/params: the file has float32\[3\], expected .*4"
    ):
        wider = step.init(np.zeros(4, np.float32))
        train.fit(step, wider, data(), epochs=2, checkpoint=path)
    save(path, {"w": X})
    with pytest.raises(TrainingError, match="is no checkpoint of fit"):
        train.fit(step, state, data(), epochs=2, checkpoint=path)
    path.write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(StorageError, match="damaged"):
        train.fit(step, state, data(), epochs=2, checkpoint=path)


def test_leftovers_of_killed_saves_are_removed(tmp_path):
    path = tmp_path / "run.npz"
    (tmp_path / ".run.npz.0123.tmp").write_bytes(b"half")
    (tmp_path / ".other.npz.0123.tmp").write_bytes(b"another's")
    train.fit(*start(), data(), epochs=1, checkpoint=path)
    assert sorted(os.listdir(tmp_path)) == [".other.npz.0123.tmp", "run.npz"]


PROGRAM = """
import os, signal, sys, threading, time
import numpy as np
from funcgraph import nn, optim, random, train
from funcgraph.io import save
from tests.unit.test_train_fit import MODEL, full, X, Y

folder = sys.argv[1]

def run(path):
    data = train.batches((X, Y), 8, key=random.key(2))
    options = dict(epochs=4, validation=[(X, Y)], patience=20, checkpoint_every=1)
    result = train.fit(*full(), data, checkpoint=path, **options)
    return result.state, result.history["loss"]

def dying(module, name, count):
    "Let the process die in the middle of the count-th call."
    f, calls = getattr(module, name), []
    def wrapped(*args, **kwargs):
        calls.append(1)
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return f(*args, **kwargs)
    setattr(module, name, wrapped)

def killed(module, name, count):
    child = os.fork()
    if child == 0:
        if module is time:
            def kill():
                time.sleep(count)
                os.kill(os.getpid(), signal.SIGKILL)
            threading.Thread(target=kill, daemon=True).start()
        else:
            dying(module, name, count)
        run(folder + "/run.npz")
        os._exit(0)
    return os.waitpid(child, 0)[1] == signal.SIGKILL

deaths = [(np.lib.format, "write_array", 7), (np.lib.format, "write_array", 53)]
deaths += [(os, "fsync", 5), (os, "fsync", 2), (os, "replace", 1), (os, "replace", 3)]
rng = np.random.default_rng()  # other moments each time
deaths += [(time, "", t) for t in rng.uniform(0.0, 0.08, 6)]
rng.shuffle(deaths)
counted = [killed(*death) for death in deaths]
save(folder + "/end.npz", run(folder + "/run.npz"))
save(folder + "/whole.npz", run(None))
print(sum(counted))
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
def test_a_process_that_is_killed_and_started_again(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) >= 4
    identical(load(tmp_path / "end.npz"), load(tmp_path / "whole.npz"))

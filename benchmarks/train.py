"""Time of training steps with Adam, side by side with jax + optax and torch.

    python benchmarks/train.py [--repeats 7] [--only NAME] [--markdown]

Models (models.py): an MLP, a convolutional net, an LSTM over characters, a transformer; float32.
Subjects: funcgraph.nn and funcgraph.optim under fg.jit on both engines; the same model written by
hand for JAX, with optax, in one jax.jit; and eager torch, if it is installed. Every step goes on
from the one before, in donated memory where there is such a thing. Before anything is timed, losses
and parameters after two steps from the same weights are compared. First calls (staging and
compiling) are timed apart; a measurement is of several steps, as many as take about 50 ms; runs are
interleaved, and ratios are between minima of the same run. Where JAX has a GPU, it and torch run
there.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _measure import first_calls, interleaved, machine, show
from models import MODELS, Model, from_torch, to_torch

import funcgraph as fg
import funcgraph.numpy as fnp
from funcgraph import losses, optim

# An eps as large as gradients are: with 1e-8 the first step is their sign, which rounding decides
# where they are nearly zero, and parameters could not be compared.
RATE, EPS = 1e-3, 1e-3
BASE = "jax.jit"


class Training:
    """A run of training: each call takes one step and returns the loss before it."""

    def __init__(
        self, step: Callable[..., Any], state: Any, data: Any, wait: Callable[[Any], Any]
    ) -> None:
        """Start at a state (params, optimiser's state); step(state, *data) -> (state, loss)."""
        self._step, self._data, self._wait = step, data, wait
        self.state = state

    def __call__(self) -> Any:
        """Take a step and wait for it."""
        self.state, loss = self._step(self.state, *self._data)
        self._wait((self.state, loss))
        return loss

    def several(self, n: int) -> None:
        """Take n steps, and wait for the last."""
        for _ in range(n):
            self.state, loss = self._step(self.state, *self._data)
        self._wait((self.state, loss))

    def params(self) -> Any:
        """Return the parameters as NumPy arrays in funcgraph's layout."""
        return fg.tree.map(np.array, self.state[0])


# --- subjects ------------------------------------------------------------------------------------


def step_of_funcgraph(model: Model, backend: str) -> tuple[Any, Any]:
    """Return the compiled step, and the optimiser."""
    tx = optim.adam(RATE, eps=EPS)

    def loss(params: Any, x: Any, labels: Any) -> Any:
        logits = model.layer.apply(params, x)
        return fnp.mean(losses.softmax_cross_entropy_with_integer_labels(logits, labels))

    def step(state: Any, x: Any, labels: Any) -> Any:
        params, opt_state = state
        value, grads = fg.value_and_grad(loss)(params, x, labels)
        updates, opt_state = tx.update(grads, opt_state, params)
        return (optim.apply_updates(params, updates), opt_state), value

    return fg.jit(step, backend=backend, donate_argnums=0), tx


def step_of_jax(model: Model) -> tuple[Any, Any]:
    """Return the compiled step, and the optimiser."""
    tx = optax.adam(RATE, eps=EPS)

    def loss(params: Any, x: Any, labels: Any) -> Any:
        logits = model.by_jax(params, x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def step(state: Any, x: Any, labels: Any) -> Any:
        params, opt_state = state
        value, grads = jax.value_and_grad(loss)(params, x, labels)
        updates, opt_state = tx.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), value

    return jax.jit(step, donate_argnums=0), tx


class TorchTraining(Training):
    """The same in eager torch, whose optimiser writes into the parameters."""

    def __init__(self, torch: Any, model: Model, params: Any) -> None:
        """Start at NumPy's parameters, on JAX's kind of device."""
        gpu = jax.default_backend() == "gpu" and torch.cuda.is_available()
        device = torch.device("cuda" if gpu else "cpu")
        weights = to_torch(torch, params, device)
        adam = torch.optim.Adam(fg.tree.leaves(weights), lr=RATE, eps=EPS)
        x = torch.tensor(model.x, device=device)
        labels = torch.tensor(model.labels, dtype=torch.int64, device=device).reshape(-1)

        def step(state: Any, x: Any, labels: Any) -> Any:
            logits = model.by_torch(torch, weights, x)
            value = torch.nn.functional.cross_entropy(logits.flatten(0, -2), labels)
            adam.zero_grad()
            value.backward()
            adam.step()
            return state, value.detach()

        wait = (lambda _: torch.cuda.synchronize()) if gpu else (lambda _: None)
        super().__init__(step, (weights,), (x, labels), wait)

    def params(self) -> Any:
        """Return the parameters as NumPy arrays in funcgraph's layout."""
        return from_torch(self.state[0])


def subjects(model: Model, params: Any) -> dict[str, Training]:
    """Return all runs of training, from the same parameters."""
    data = (model.x, model.labels)

    def on_device(tx: Any) -> Any:
        return jax.tree.map(jnp.array, (params, tx.init(params)))

    runs = {}
    step, tx = step_of_jax(model)
    placed = jax.tree.map(jnp.asarray, data)
    runs[BASE] = Training(step, on_device(tx), placed, jax.block_until_ready)
    step, tx = step_of_funcgraph(model, "xla")
    runs["funcgraph, xla"] = Training(step, on_device(tx), placed, jax.block_until_ready)
    step, tx = step_of_funcgraph(model, "numpy")
    state = fg.tree.map(np.array, (params, tx.init(params)))
    runs["funcgraph, numpy"] = Training(step, state, data, lambda _: None)
    with contextlib.suppress(ImportError):
        import torch

        runs["torch"] = TorchTraining(torch, model, params)
    return runs


def check(runs: dict[str, Training], start: Any, first: dict[str, Any]) -> None:
    """Take a second step; raise AssertionError unless losses and updates agree with JAX's."""
    wanted: list[Any] = []
    for name, run in runs.items():
        values = np.array([float(first[name]), float(run())])
        ends = fg.tree.leaves(run.params())
        steps = [b - a for a, b in zip(fg.tree.leaves(start), ends, strict=True)]
        wanted = wanted or [values, *steps]
        for k, (got, want) in enumerate(zip([values, *steps], wanted, strict=True)):
            # Of all elements together: rounding decides which of two nearly equal ones is a
            # maximum, and so where single derivatives go. Some are nothing but rounding.
            rounding = 0 if k == 0 else 1e-2 * RATE * np.sqrt(want.size)
            error = np.linalg.norm(got - want) / (np.linalg.norm(want) + rounding)
            what = "losses" if k == 0 else fg.tree.keystr(fg.tree.leaves_with_path(start)[k - 1][0])
            assert error < (1e-4 if k == 0 else 1e-2), f"{name}: {what} are off by {error:.1e}"


# --- results -------------------------------------------------------------------------------------


def row(title: str, times: dict[str, list[float]], first: dict[str, float]) -> str:
    """Return a row of the table of results."""
    low = {name: min(seconds) for name, seconds in times.items()}
    others = ["funcgraph, xla", "funcgraph, numpy", "torch"]
    ratios = [f"{low[name] / low[BASE]:.2f}x" if name in low else "" for name in others]
    began = [f"{first[name] * 1e3:.0f}" for name in (BASE, *others[:2])]
    return "| " + " | ".join([title, f"{low[BASE] * 1e3:.2f}", *ratios, *began]) + " |"


def main() -> None:
    """Check, measure and print every model."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", default="", help="part of a model's name")
    parser.add_argument("--markdown", action="store_true", help="print a table of the results too")
    options = parser.parse_args()
    device = jax.devices()[0]
    print(machine("numpy", "jax", "optax", "torch") + f"; {device.platform}: {device.device_kind}")
    rows = []
    for title, make in MODELS.items():
        if options.only not in title:
            continue
        model = make()
        params = fg.tree.map(np.asarray, model.layer.init(fg.random.key(0), model.x)[1])
        runs = subjects(model, params)
        results, first = first_calls(runs)
        check(runs, params, results)
        steps = 1 + int(0.05 / min(first_calls({BASE: runs[BASE]})[1].values()))
        several = {name: functools.partial(run.several, steps) for name, run in runs.items()}
        times = {
            name: [t / steps for t in seconds]
            for name, seconds in interleaved(several, options.repeats).items()
        }
        show(f"{title} ({steps} steps at a time)", times, first, BASE)
        rows.append(row(title, times, first))
    if options.markdown:
        print(
            "\n| training step | jax.jit, ms | XLA engine | NumPy engine | torch "
            "| first: jax.jit, ms | XLA | NumPy |\n"
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n" + "\n".join(rows)
        )


if __name__ == "__main__":
    main()

"""Optimisers side by side, and what helps against overfitting.

The data are two half moons of 200 noisy points, a sixth of them with the wrong label; 500 more are
for validation, 2,000 are held out. Whoever knows the moons, but not which labels are wrong, has the
cross-entropy -1/6 log 1/6 - 5/6 log 5/6 = 0.45 on new points, or more. The program
  1. trains one small network with each optimiser of `funcgraph.optim`, from the same start, and
     prints the training loss after some steps,
  2. trains a network with far too many parameters plainly, with an L2 penalty and with dropout, and
     prints training and held-out loss at the end, and for the plain network also at the step with
     the lowest loss of validation: early stopping,
  3. saves the curves.

matplotlib is optional. The exit status is 1 if an optimiser does not bring the training loss below
0.45, or if a method against overfitting does not lower the held-out loss of the plain network.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # for small matrices threads cost more

import numpy as np
from _common import command_line, save_picture, status

import funcgraph as fg
from funcgraph import losses, nn, optim, random

OPTIMIZERS = {
    "sgd": optim.sgd(0.3),
    "momentum": optim.sgd(0.1, momentum=0.9),
    "nesterov": optim.sgd(0.1, momentum=0.9, nesterov=True),
    "adagrad": optim.adagrad(0.1),
    "rmsprop": optim.rmsprop(0.01),
    "adam": optim.adam(0.01),
    "lion": optim.lion(0.003),
}


def moons(rng, count, noise=0.2, wrong=1 / 6):
    """Return points of shape (count, 2) and labels 0 or 1; some labels are wrong."""
    labels = rng.integers(0, 2, count)
    angle = rng.uniform(0, np.pi, count)
    sign = 1 - 2 * labels
    x = np.stack([sign * np.cos(angle) + 0.5 * (1 - sign), sign * (np.sin(angle) - 0.25)], axis=1)
    flipped = rng.uniform(size=count) < wrong
    return x + rng.normal(0, noise, x.shape), np.where(flipped, 1 - labels, labels)


def network(width, dropout=0.0):
    """Return a network with two hidden layers, and dropout behind each if there is any."""
    layers = []
    for _ in range(2):
        layers += [nn.Dense(width), np.tanh] + [nn.Dropout(dropout)] * (dropout > 0)
    return nn.serial(*layers, nn.Dense(2))


def train(model, optimizer, data, steps, l2=0.0, others=(), seed=0):
    """Train on all data at once; return the losses of (data, *others) before every step.

    The penalty l2 · Σ w² is a part of what is minimised, but not of the losses returned.
    """
    _, params = model.init(random.key(seed), nn.Shape((-1, 2), np.float64))

    def loss(params, x, y, **mode):
        logits = model.apply(params, x, **mode)
        return np.mean(losses.softmax_cross_entropy_with_integer_labels(logits, y))

    def objective(params, key):
        value = loss(params, *data, key=key, train=True)
        return value + l2 * losses.l2_penalty(params) if l2 else value

    @fg.jit
    def step(params, state, key):
        key, now = random.split(key)
        gradient = fg.grad(objective)(params, now)
        updates, state = optimizer.update(gradient, state, params)
        return optim.apply_updates(params, updates), state, key

    measure = fg.jit(lambda params: [loss(params, *d) for d in (data, *others)])
    state, key, history = optimizer.init(params), random.key(seed + 1), []
    for _ in range(steps):
        history.append(measure(params))
        params, state, key = step(params, state, key)
    return np.array(history, dtype=float)


def compare_optimizers(data, steps):
    """Print a table of losses; return the curves by name."""
    shown = [0, steps // 20, steps // 4, steps - 1]
    print("Training loss after step" + "".join(f"{n:>8}" for n in shown))
    curves = {}
    for name, optimizer in OPTIMIZERS.items():
        curves[name] = train(network(16), optimizer, data, steps)[:, 0]
        print(f"{name:<24}" + "".join(f"{curves[name][n]:>8.3f}" for n in shown))
    return curves


def compare_methods(data, validation, held_out, steps, width):
    """Print a table of losses; return the curves by name, and held-out losses by method."""
    methods = {"plain": (0.0, 0.0), "L2": (2e-3, 0.0), "dropout": (0.0, 0.5)}
    curves, reached = {}, {}
    print(f"\n{'Loss':<16}training  held out  after step")
    for name, (l2, dropout) in methods.items():
        model, others = network(width, dropout), (validation, held_out)
        curves[name] = train(model, optim.adam(0.01), data, steps, l2=l2, others=others)
        rows = {name: steps - 1}
        if name == "plain":
            rows["early stopping"] = int(np.argmin(curves[name][:, 1]))
        for row, at in rows.items():
            training, _, reached[row] = curves[name][at]
            print(f"{row:<16}{training:>8.3f}{reached[row]:>10.3f}{at:>12}")
    return curves, reached


def draw(by_optimizer, by_method):
    """Return a function that draws the curves of both comparisons."""

    def on(left, right):
        for i, (name, curve) in enumerate(by_optimizer.items()):
            left.plot(curve, "--" if i % 2 else "-", label=name)
        left.set(xlabel="step", ylabel="training loss", ylim=(0.2, 0.7))
        for i, (name, curve) in enumerate(by_method.items()):
            right.plot(curve[:, 0], ":", c=f"C{i}")
            right.plot(curve[:, 2], c=f"C{i}", label=name)
        stop = np.argmin(by_method["plain"][:, 1])
        right.plot(stop, by_method["plain"][stop, 2], "ko", label="early stopping")
        right.set(xlabel="step", ylabel="loss (dotted: training, lines: held out)", ylim=(0, 1.5))
        for axes in (left, right):
            axes.legend(fontsize=8)

    return on


def main():
    """Run the program; return its exit status."""
    numbers = {"points": 200, "steps": 400, "overfit": 1000, "width": 64, "seed": 0}
    options = command_line(__doc__, "optimizers_regularization.png", **numbers)
    rng = np.random.default_rng(options.seed)
    data, validation, held_out = moons(rng, options.points), moons(rng, 500), moons(rng, 2000)
    by_optimizer = compare_optimizers(data, options.steps)
    by_method, reached = compare_methods(data, validation, held_out, options.overfit, options.width)
    save_picture(options.picture, draw(by_optimizer, by_method), shape=(1, 2), size=(9, 3.4))
    promises = {f"{n}: training loss below 0.45": c[-1] < 0.45 for n, c in by_optimizer.items()}
    plain = reached.pop("plain")
    promises |= {f"{n}: held-out loss below the plain one": r < plain for n, r in reached.items()}
    return status(promises)


if __name__ == "__main__":
    sys.exit(main())

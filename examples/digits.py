"""Train a small neural network on handwritten digits, with the gradients of funcgraph.

The data are scikit-learn's 1,797 pictures of 8 x 8 pixels. The program
  1. compares the gradient of the loss with `jax.grad` and with finite differences, leaf by leaf,
  2. trains by mini-batch gradient descent with momentum,
  3. prints the accuracy on held-out pictures and saves the curves as a picture.

Run it with `python examples/digits.py` or `python -m funcgraph demo`. JAX, matplotlib and tqdm are
optional: what is not installed is left out, and said.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import sys
import time

import numpy as np

import funcgraph as fg
import funcgraph.numpy as fnp

SIZES = (64, 128, 64, 10)  # pixels, hidden units, hidden units, classes
MOMENTUM = 0.9


def optional(name, purpose):
    """Import a package, or say what is left out without it and return None."""
    try:
        return importlib.import_module(name)
    except ImportError:
        print(f"{name} is not installed: {purpose} is left out (pip install 'funcgraph[all]').")
        return None


# ------------------------------------------------------------------------------ data and model


def load_digits(rng):
    """Return (images, labels) to train on and (images, labels) held out, a fifth of all.

    Images have shape (n, 64) with values from 0 to 1; labels (n, 10), one-hot, both float64.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        sys.exit("The digits come with scikit-learn: pip install 'funcgraph[examples]'")
    images, digits = load_digits(return_X_y=True)
    order = rng.permutation(len(images))
    images, labels = images[order] / 16, np.eye(10)[digits[order]]
    held_out = len(images) // 5
    return (images[held_out:], labels[held_out:]), (images[:held_out], labels[:held_out])


def initialize(rng):
    """Return the parameters: for each layer a dict of `weights` (in, out) and `bias` (out,)."""
    return [
        {"weights": rng.normal(0, n_in**-0.5, (n_in, n_out)), "bias": np.zeros(n_out)}
        for n_in, n_out in itertools.pairwise(SIZES)
    ]


def predict(params, images):
    """Return the logarithms of the class probabilities, shape (n, 10)."""
    hidden = images
    for layer in params[:-1]:
        hidden = fnp.tanh(hidden @ layer["weights"] + layer["bias"])
    logits = hidden @ params[-1]["weights"] + params[-1]["bias"]
    logits = logits - fnp.max(logits, axis=1, keepdims=True)
    return logits - fnp.log(fnp.sum(fnp.exp(logits), axis=1, keepdims=True))


def loss(params, images, labels):
    """Return the mean cross-entropy. funcgraph and JAX both differentiate this function."""
    return -fnp.mean(fnp.sum(labels * predict(params, images), axis=1))


def accuracy(params, images, labels):
    """Return the share of images whose most probable class is the labelled one."""
    return np.mean(np.argmax(predict(params, images), axis=1) == np.argmax(labels, axis=1))


# ---------------------------------------------------------------------- is the gradient right?


def differences(function, leaf, where, step=1e-5):
    """Return the central differences of `function()` for the entries `where` of `leaf`."""
    slopes = []
    for index in where:
        value = leaf.flat[index]
        leaf.flat[index] = value + step
        above = function()
        leaf.flat[index] = value - step
        below = function()
        leaf.flat[index] = value
        slopes.append((above - below) / (2 * step))
    return np.array(slopes)


def check_gradient(params, images, labels, rng, entries=100):
    """Print, leaf by leaf, how far our gradient is from the others; return whether all agree.

    Finite differences are taken for at most `entries` entries of each leaf, drawn at random.
    """
    ours = fg.tree.leaves_with_path(fg.grad(loss)(params, images, labels))
    leaves = fg.tree.leaves(params)
    jax = optional("jax", "the comparison with jax.grad")
    theirs = [None] * len(leaves)
    if jax:
        with jax.enable_x64(True):
            theirs = fg.tree.leaves(jax.grad(loss)(params, images, labels))

    print("\nThe gradient of the loss, largest difference in each leaf:")
    print(f"{'leaf':<14} {'shape':<10} {'jax.grad':>9} {'finite differences':>19}")
    all_agree = True
    for (path, gradient), leaf, other in zip(ours, leaves, theirs, strict=True):
        where = rng.choice(leaf.size, min(entries, leaf.size), replace=False)
        slopes = differences(lambda: loss(params, images, labels), leaf, where)
        from_jax = 0.0 if other is None else np.max(np.abs(gradient - np.asarray(other)))
        from_slopes = np.max(np.abs(gradient.flat[where] - slopes))
        agrees = from_jax < 1e-12 and from_slopes < 1e-8
        all_agree &= agrees
        jax_column = "-" if other is None else f"{from_jax:.1e}"
        name, verdict = fg.tree.keystr(path), "ok" if agrees else "WRONG"
        print(f"{name:<14} {leaf.shape!s:<10} {jax_column:>9} {from_slopes:>19.1e}  {verdict}")
    print()
    return all_agree


# -------------------------------------------------------------------------------------- training


def train(params, training, held_out, epochs, batch, rate, rng):
    """Train the parameters; return them and a row per epoch.

    A row is (training loss, training accuracy, held-out loss, held-out accuracy).
    """
    images, labels = training
    value_and_grad = fg.value_and_grad(loss)
    velocity = fg.tree.map(np.zeros_like, params)
    history = []
    tqdm = optional("tqdm", "the progress bar")
    progress = tqdm.tqdm(total=epochs, unit="epoch") if tqdm else None
    for epoch in range(epochs):
        step = rate * 0.5 * (1 + np.cos(np.pi * epoch / epochs))  # from `rate` down to 0

        def advance(speed, slope, step=step):
            return MOMENTUM * speed - step * slope

        order = rng.permutation(len(images))
        for start in range(0, len(order) - batch + 1, batch):
            rows = order[start : start + batch]
            _, gradient = value_and_grad(params, images[rows], labels[rows])
            velocity = fg.tree.map(advance, velocity, gradient)
            params = fg.tree.map(np.add, params, velocity)
        history.append(
            [f(params, *data) for data in (training, held_out) for f in (loss, accuracy)]
        )
        if progress:
            progress.set_postfix(loss=f"{history[-1][0]:.4f}", accuracy=f"{history[-1][3]:.1%}")
            progress.update()
    if progress:
        progress.close()
    return params, np.array(history)


def save_picture(history, path):
    """Save the curves of loss and accuracy; return whether matplotlib is there to do it."""
    if not optional("matplotlib", "the picture of the curves"):
        return False
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = np.arange(1, len(history) + 1)
    for axes, column, name in ((left, 0, "cross-entropy"), (right, 1, "accuracy")):
        axes.plot(epochs, history[:, column], label="training")
        axes.plot(epochs, history[:, column + 2], label="held out")
        axes.set(xlabel="epoch", ylabel=name)
        axes.grid(alpha=0.3)
        axes.legend()
    left.set_yscale("log")
    figure.suptitle("Handwritten digits, trained with funcgraph")
    figure.savefig(path, dpi=120)
    return True


def main(argv=None):
    """Run the program; return 0 where the gradient is right and the accuracy reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=40, help="passes over the data")
    parser.add_argument("--batch", type=int, default=32, help="pictures per step")
    parser.add_argument("--rate", type=float, default=0.1, help="first step size")
    parser.add_argument("--seed", type=int, default=0, help="of the data's order and the weights")
    parser.add_argument("--target", type=float, default=0.96, help="held-out accuracy to reach")
    parser.add_argument("--picture", default="digits.png", help="where to save the curves")
    options = parser.parse_args(argv)

    start = time.perf_counter()
    rng = np.random.default_rng(options.seed)
    training, held_out = load_digits(rng)
    params = initialize(rng)
    right = check_gradient(params, *(a[: options.batch] for a in training), rng)
    params, history = train(
        params, training, held_out, options.epochs, options.batch, options.rate, rng
    )
    if save_picture(history, options.picture):
        print(f"Curves saved to {options.picture}")
    reached = accuracy(params, *held_out)
    seconds = time.perf_counter() - start
    print(f"Held-out accuracy {reached:.2%} ({len(held_out[0])} pictures), {seconds:.0f} s in all")
    if not right:
        print("The gradient is wrong: see the table above.", file=sys.stderr)
    if reached < options.target:
        print(f"The accuracy is below {options.target:.0%}.", file=sys.stderr)
    return 0 if right and reached >= options.target else 1


if __name__ == "__main__":
    sys.exit(main())

"""Train a small neural network on handwritten digits, with the gradients of funcgraph.

The data are scikit-learn's 1,797 pictures of 8 x 8 pixels. The network is an acyclic graph: one
branch looks for strokes with small filters, another one at all pixels at once; both are joined, and
one goes around the last hidden layer, too. Its activation has a derivative written by hand.

The program
  1. prints the network as a table,
  2. compares the gradient of the loss with `jax.grad` and with finite differences, leaf by leaf,
  3. trains on the NumPy engine and on the XLA engine, and prints the time of a step on each,
  4. prints the accuracy on held-out pictures and saves the curves as a picture.

Run it with `python examples/digits.py` or `python -m funcgraph demo`. JAX, matplotlib and tqdm are
optional: what is not installed is left out, and said.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import sys
import time

import numpy as np

import funcgraph as fg
import funcgraph.numpy as fnp
from funcgraph import losses, nn, optim, train


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

    Images have shape (n, 8, 8, 1) with values from 0 to 1, float64; labels (n,), from 0 to 9.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        sys.exit("The digits come with scikit-learn: pip install 'funcgraph[examples]'")
    images, labels = load_digits(return_X_y=True)
    order = rng.permutation(len(images))
    images, labels = images[order].reshape(-1, 8, 8, 1) / 16, labels[order]
    held_out = len(images) // 5
    return (images[held_out:], labels[held_out:]), (images[:held_out], labels[:held_out])


@fg.custom_vjp
def bend(x):
    """Return x (1 + x / √(1 + x²)) / 2, a smooth function near 0 for x < 0 and near x for x > 0."""
    return x * (1 + x / fnp.sqrt(1 + x * x)) / 2


def bend_forward(x):
    """Return the value, and what the backward pass needs: the derivative (1 + s + s r²) / 2."""
    r = 1 / fnp.sqrt(1 + x * x)
    s = x * r
    return x * (1 + s) / 2, (1 + s + s * r * r) / 2


def bend_backward(slope, gradient):
    """Return the gradient by x, given what the forward pass left and the gradient by the value."""
    return (gradient * slope,)


bend.defvjp(bend_forward, bend_backward)


def nearly_largest(x):
    """Return log(mean(exp(4 x))) / 4 of each 2 x 2 pixels: a maximum that has a derivative."""
    return fnp.log(nn.avg_pool(fnp.exp(4 * x), 2)) / 4


MODEL = nn.graph(
    {
        "image": nn.Input(),
        # one branch: filters of 3 x 3 pixels, twice, and the best of each 2 x 2 places
        "strokes": (nn.Conv(16, 3, padding="SAME"), "image"),
        "strokes_act": (bend, "strokes"),
        "shapes": (nn.Conv(32, 3, padding="SAME"), "strokes_act"),
        "shapes_act": (bend, "shapes"),
        "best": (nearly_largest, "shapes_act"),
        "places": (nn.Flatten(), "best"),
        # another branch: all pixels at once
        "pixels": (nn.Flatten(), "image"),
        "whole": (nn.Dense(64), "pixels"),
        "whole_act": (bend, "whole"),
        # both together, and one of them once more
        "joined": (nn.concat(), "places", "whole_act"),
        "dropped": (nn.Dropout(0.5), "joined"),
        "hidden": (nn.Dense(64), "dropped"),
        "hidden_act": (bend, "hidden"),
        "skip": (nn.add, "hidden_act", "whole_act"),
        "scores": (nn.Dense(10), "skip"),
    }
)


def loss(params, images, labels, *, key=None, train=False):
    """Return the mean cross-entropy, and the accuracy. funcgraph and JAX both differentiate it."""
    scores = MODEL.apply(params, images, key=key, train=train)
    entropy = losses.softmax_cross_entropy_with_integer_labels(scores, labels)
    return fnp.mean(entropy), {"accuracy": losses.accuracy(scores, labels)}


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

    def value(params):
        return loss(params, images, labels)[0]

    ours = fg.tree.leaves_with_path(fg.grad(value)(params))
    leaves = fg.tree.leaves(params)
    theirs = [None] * len(leaves)
    if jax := optional("jax", "the comparison with jax.grad"):
        with jax.enable_x64(True):
            theirs = fg.tree.leaves(jax.grad(value)(params))

    print("\nThe gradient of the loss, largest difference in each leaf:")
    print(f"{'leaf':<16} {'shape':<15} {'jax.grad':>9} {'finite differences':>19}")
    all_agree = True
    for (path, gradient), leaf, other in zip(ours, leaves, theirs, strict=True):
        where = rng.choice(leaf.size, min(entries, leaf.size), replace=False)
        slopes = differences(lambda: value(params), leaf, where)
        from_jax = 0.0 if other is None else np.max(np.abs(gradient - np.asarray(other)))
        from_slopes = np.max(np.abs(gradient.flat[where] - slopes))
        agrees = from_jax < 1e-12 and from_slopes < 1e-8
        all_agree &= agrees
        jax_column = "-" if other is None else f"{from_jax:.1e}"
        name, verdict = fg.tree.keystr(path), "ok" if agrees else "WRONG"
        print(f"{name:<16} {leaf.shape!s:<15} {jax_column:>9} {from_slopes:>19.1e}  {verdict}")
    print()
    return all_agree


# -------------------------------------------------------------------------------------- training


def train_on(engine, params, training, held_out, options, progress):
    """Train the parameters by jitted steps; return them, and the history of the epochs."""
    key = fg.random.key(options.seed)
    batches = train.batches(training, options.batch, key=key, drop_last=True)  # of one shape
    rate = optim.cosine_decay_schedule(options.rate, options.epochs * len(batches))
    optimizer = optim.adamw(rate, weight_decay=0.01)
    step = train.train_step(loss, optimizer, has_aux=True, backend=engine)
    result = train.fit(
        step,
        step.init(params, key=key),
        batches,
        epochs=options.epochs,
        validation=train.batches(held_out, len(held_out[0])),
        progress=progress,
    )
    reached = result.history["val_accuracy"][-1]
    milliseconds = 1000 * step_time(step, step.init(params, key=key), next(iter(batches)))
    print(f"{engine:<6} {milliseconds:6.1f} ms per step, held-out accuracy {reached:.2%}")
    return result.params, result.history


def step_time(step, state, batch, repeats=20):
    """Return the median time of a step, in seconds."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        state, metrics = step(state, *batch)
        float(metrics.loss)  # waits for an engine that is still computing
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def save_picture(history, path):
    """Save the curves of loss and accuracy; return whether matplotlib is there to do it."""
    if not optional("matplotlib", "the picture of the curves"):
        return False
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, column, name in ((left, "loss", "cross-entropy"), (right, "accuracy", "accuracy")):
        axes.plot(history["epoch"], history[column], label="training")
        axes.plot(history["epoch"], history[f"val_{column}"], label="held out")
        axes.set(xlabel="epoch", ylabel=name)
        axes.grid(alpha=0.3)
        axes.legend()
    left.set_yscale("log")
    figure.suptitle("Handwritten digits, trained with funcgraph")
    figure.savefig(path, dpi=80)
    return True


def main(argv=None):
    """Run the program; return 0 where the gradient is right and the accuracy reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20, help="passes over the data")
    parser.add_argument("--batch", type=int, default=64, help="pictures per step")
    parser.add_argument("--rate", type=float, default=0.005, help="first step size")
    parser.add_argument("--seed", type=int, default=0, help="of the data's order and the weights")
    parser.add_argument("--target", type=float, default=0.98, help="held-out accuracy to reach")
    parser.add_argument("--picture", default="digits.png", help="where to save the curves")
    options = parser.parse_args(argv)

    start = time.perf_counter()
    rng = np.random.default_rng(options.seed)
    training, held_out = load_digits(rng)
    from threadpoolctl import threadpool_limits  # scikit-learn depends on it

    print(nn.summary(MODEL, (-1, 8, 8, 1)))
    _, params = MODEL.init(fg.random.key(options.seed), training[0])  # float64, as the images
    with threadpool_limits(1):  # the matrices are too small to share out
        right = check_gradient(params, *(a[:32] for a in training), rng)

    single = [(images.astype(np.float32), labels) for images, labels in (training, held_out)]
    params = fg.tree.map(np.float32, params)
    progress = optional("tqdm", "the progress bar") is not None
    engines = ["numpy", "xla"] if optional("jax", "the XLA engine") else ["numpy"]
    with threadpool_limits(1):
        runs = [train_on(engine, params, *single, options, progress) for engine in engines]
    params, history = runs[0]
    if save_picture(history, options.picture):
        print(f"Curves saved to {options.picture}")
    reached = history["val_accuracy"][-1]
    seconds = time.perf_counter() - start
    print(f"Held-out accuracy {reached:.2%} ({len(held_out[0])} pictures), {seconds:.0f} s in all")
    if not right:
        print("The gradient is wrong: see the table above.", file=sys.stderr)
    if reached < options.target:
        print(f"The accuracy is below {options.target:.0%}.", file=sys.stderr)
    return 0 if right and reached >= options.target else 1


if __name__ == "__main__":
    sys.exit(main())

"""Universal approximation: two layers with a sigmoid approximate any continuous function.

Cybenko (1989): for every continuous f on [0, 1]^d and every ε > 0 there are a width N and numbers
a_i, w_i, b_i, so that |f(x) - Σ_i a_i σ(w_i · x + b_i)| < ε for all x. The theorem says that they
exist. The program looks for them, for several f, and prints the ε reached for each width:

  steps     a staircase of steep sigmoids, written down without any training (one variable),
  random    w and b drawn at random, a by least squares,
  trained   from there w and b by L-BFGS-B, with gradients of funcgraph through least squares.

ε is the largest error on a grid finer than the one that is fitted. SciPy (for `trained`) and
matplotlib are optional. The exit status is 1 if some ε asked for is not reached.

Source: G. Cybenko, Approximation by superpositions of a sigmoidal function. Mathematics of Control,
Signals and Systems 2 (1989), 303-314.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # for small matrices threads cost more

import numpy as np
from _common import command_line, optional, save_picture, status

import funcgraph as fg
from funcgraph import nn, optim

FUNCTIONS = {  # of x with the shape (n, d): the formula, d
    "exp(-x) sin(2πx)": (lambda x: np.exp(-x[:, 0]) * np.sin(2 * np.pi * x[:, 0]), 1),
    "|x - 1/2|": (lambda x: np.abs(x[:, 0] - 0.5), 1),
    "√x": (lambda x: np.sqrt(x[:, 0]), 1),
    "sin(8πx)": (lambda x: np.sin(8 * np.pi * x[:, 0]), 1),
    "sin(3x) cos(4y)": (lambda x: np.sin(3 * x[:, 0]) * np.cos(4 * x[:, 1]), 2),
}
STEP_WIDTHS = (40, 400, 4000)
WIDTHS = (4, 8, 16, 32)


def network(params, x):
    """Return Σ_i a_i σ(w_i · x + b_i) for x of shape (n, d)."""
    return nn.sigmoid(x @ params["w"] + params["b"]) @ params["a"]


def grid(points, d):
    """Return about as many points of [0, 1]^d, shape (n, d), as a product of points of an axis.

    These are denser towards the ends, where a fit has neighbours on one side only.
    """
    axis = (1 - np.cos(np.linspace(0, np.pi, round(points ** (1 / d))))) / 2
    return np.stack(np.meshgrid(*[axis] * d, indexing="ij"), axis=-1).reshape(-1, d)


def epsilon(params, f, d, points):
    """Return the largest error on a grid that is 25 times as fine as the one that is fitted."""
    parts = np.array_split(grid(25 * points + 7, d), 10)
    return np.max([np.max(np.abs(network(params, x) - f(x))) for x in parts])


# ------------------------------------------------------------------- three ways to the numbers


def staircase(f, width):
    """Return the parameters of a staircase: up by f(x_i) - f(x_{i-1}) in the middle between them.

    σ(w (x - c)) is nearly 0 left of c and nearly 1 right of it. The first step, far to the left of
    the interval, is as high as f(0). A step is off by no more than f varies between two points x_i.
    """
    x = np.linspace(0, 1, width)
    values = f(x[:, None])
    heights = np.diff(values, prepend=0.0)
    centres = np.append(-1.0, (x[1:] + x[:-1]) / 2)
    steepness = 4.0 * width
    return {"w": np.full((1, width), steepness), "b": -steepness * centres, "a": heights}


def random_features(f, d, width, rng, points):
    """Return the best of a few draws of w and b, each with the a of least squares."""
    x, found = grid(points, d), []
    for scale in (5, 10, 20, 40, 80, 5 * 100 ** rng.uniform(size=width)):
        w = scale * rng.normal(size=(d, width))
        params = {"w": w, "b": -np.sum(w * rng.uniform(size=(d, width)), axis=0)}
        hidden = nn.sigmoid(x @ params["w"] + params["b"])
        params["a"] = np.linalg.lstsq(hidden, f(x), rcond=1e-9)[0]
        found.append((epsilon(params, f, d, points), params))
    return min(found, key=lambda pair: pair[0])[1]


def refined(params, f, d, points, steps):
    """Return the parameters after training w and b; a always is the one of least squares.

    The error of least squares is what is left of f orthogonal to the hidden layer, y - Q Qᵀ y. The
    mean of its squares goes down, then that of its 8th powers, in which the largest counts most.
    """
    x = grid(points, d)
    y = np.append(f(x), np.zeros(len(params["a"])))
    small = 1e-5 * np.eye(len(params["a"]))  # keeps the columns independent, and a small

    def error(inner):
        hidden = nn.sigmoid(x @ inner["w"] + inner["b"])
        q, _ = np.linalg.qr(np.concatenate([hidden, small]))
        return (y - q @ (q.T @ y))[: len(x)]

    inner, limits = {"w": params["w"], "b": params["b"]}, {"maxiter": steps, "maxfun": 2 * steps}
    for power in (2, 8):
        loss = fg.jit(lambda inner, p=power: np.log(np.mean(error(inner) ** p) + 1e-99) / p)
        inner = optim.minimize(loss, inner, method="L-BFGS-B", options=limits).params
    hidden = np.concatenate([nn.sigmoid(x @ inner["w"] + inner["b"]), small])
    return inner | {"a": np.linalg.lstsq(hidden, y, rcond=None)[0]}


# ------------------------------------------------------------------------------- the program


def draw(found):
    """Return a function that draws the networks found for two of the functions, and all ε."""

    def on(left, middle, right):
        x = grid(1000, 1)
        for axes, name, ways in (
            (left, "sin(8πx)", [("steps", 40), ("random", 8), ("trained", 8)]),
            (middle, "|x - 1/2|", [("steps", 40), ("trained", 4), ("trained", 8)]),
        ):
            f = FUNCTIONS[name][0]
            for way, width in ways:
                if (name, way, width) in found:
                    y = network(found[name, way, width][1], x) - (f(x) if axes is middle else 0)
                    axes.plot(x, y, lw=1, label=f"{way}, {width}")
            axes.set(xlabel="x", title=name if axes is left else f"error for {name}")
            axes.legend(fontsize=6)
        left.plot(x, FUNCTIONS["sin(8πx)"][0](x), "k", lw=3, alpha=0.2)
        for colour, name in enumerate(FUNCTIONS):
            for way, style in (("steps", "x:"), ("trained", "o-")):
                points = [(key[2], e) for key, (e, _) in found.items() if key[:2] == (name, way)]
                label = name if way == "trained" else None
                if points:
                    right.loglog(*zip(*points, strict=True), style, c=f"C{colour}", label=label)
        right.set(xlabel="width", title="ε (dotted: steps)")
        right.legend(fontsize=6)

    return on


def main():
    """Run the program; return its exit status."""
    numbers = {"epsilon": 1e-2, "width": 32, "steps": 200, "points": 400, "seed": 0}
    options = command_line(__doc__, "universal_approximation.png", **numbers)
    rng = np.random.default_rng(options.seed)
    ways = ["steps", "random"] + ["trained"] * bool(optional("scipy", "training"))
    widths = [width for width in WIDTHS if width <= options.width]
    columns = [(way, n) for way in ways for n in (STEP_WIDTHS if way == "steps" else widths)]
    print(f"{'width':<18}" + "".join(f"{n:>8}" for _, n in columns))
    print(f"{'ε of':<18}" + "".join(f"{way:>8}" for way, _ in columns))
    found = {}  # (name, way, width): (ε, parameters)
    for name, (f, d) in FUNCTIONS.items():
        for way, n in columns:
            if way == "steps" and d == 1:
                params = staircase(f, n)
            elif way == "random":
                params = random_features(f, d, n, rng, options.points)
            elif way == "trained":
                params = refined(found[name, "random", n][1], f, d, options.points, options.steps)
            else:
                continue
            found[name, way, n] = epsilon(params, f, d, options.points), params
        row = [found.get((name, *column)) for column in columns]
        print(f"{name:<18}" + "".join(f"{cell[0]:>8.0e}" if cell else f"{'-':>8}" for cell in row))
    save_picture(options.picture, draw(found), shape=(1, 3), size=(7.6, 2.5))
    best = {}
    for (name, way, _), (reached, _) in found.items():
        best[name, way] = min(reached, best.get((name, way), np.inf))
    return status(
        {
            f"{name} to {options.epsilon} by {way}": reached <= options.epsilon
            for (name, way), reached in best.items()
            if way != "random"
        }
    )


if __name__ == "__main__":
    sys.exit(main())

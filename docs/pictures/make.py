"""Draw the pictures of docs/pictures.md: `python docs/pictures/make.py` writes them here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import funcgraph as fg
from funcgraph import nn


def loss(w: Any, b: Any, x: Any, y: Any) -> Any:
    """Return the mean square of the errors of one layer."""
    hidden = np.tanh(x @ w + b)
    return np.mean((hidden - y) ** 2)


def shortcut() -> Any:
    """Return the model of the README: a graph of layers, with a shortcut."""
    x = nn.Input((2,), np.float64)
    h = nn.Dense(16)(np.tanh(nn.Dense(16)(x)))
    return nn.Model(x, nn.Dense(1)(np.tanh(nn.concat()(x, h))))


def recurrent(w: Any, u: Any, xs: Any) -> Any:
    """Return the sum of squares of the states of a recurrent net."""

    def step(h: Any, x: Any) -> Any:
        h = np.tanh(x @ w + h @ u)
        return h, h

    _, hs = fg.scan(step, np.zeros(4), xs)
    return np.sum(hs**2)


def newton(a: Any) -> Any:
    """Return the square root of a number."""

    def go_on(carry: Any) -> Any:
        guess, _ = carry
        return np.abs(guess**2 - a) > 1e-9

    def step(carry: Any) -> Any:
        guess, count = carry
        return 0.5 * (guess + a / guess), count + 1

    return fg.while_loop(go_on, step, (a, 0))[0]


def residual_net() -> Any:
    """Return a convolutional network with two residual blocks."""

    def block() -> Any:
        conv = nn.Conv(8, (3, 3), padding="SAME")
        return nn.residual(
            nn.serial(conv, nn.BatchNorm(), nn.relu, nn.Conv(8, (3, 3), padding="SAME"))
        )

    stem = nn.Conv(8, (3, 3), padding="SAME")
    return nn.serial(stem, block(), block(), block(), nn.GlobalAvgPool(), nn.Dense(10))


def pictures() -> dict[str, Any]:
    """Return the pictures by the names of their files."""
    ones = np.ones
    return {
        "loss": fg.draw(loss, argnums=(0, 1))(ones((3, 2)), ones(2), ones((5, 3)), ones((5, 2))),
        "shortcut": shortcut().draw((-1, 2)),
        "recurrent": fg.draw(recurrent, argnums=(0, 1))(ones((3, 4)), ones((4, 4)), ones((7, 3))),
        "newton": fg.draw(newton, backward=False)(np.float64(2.0)),
        "residual": residual_net().draw((-1, 28, 28, 1), depth=2),
    }


if __name__ == "__main__":
    for name, picture in pictures().items():
        picture.save(Path(__file__).with_name(f"{name}.svg"))

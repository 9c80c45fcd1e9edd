"""Workloads of the suite: chains, statistics, mechanics, ordinary differential equations.

A workload is a function of a `Library` (suite_libraries.py) that returns the function to be
differentiated, f(params, *data), and a function of its size that returns NumPy's arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Function = Callable[..., Any]
STEPS = 30  # of the chain, each of five operations


def random(*shape: int) -> Any:
    """Return standard normal numbers, the same ones at each call."""
    return np.random.default_rng(len(shape)).standard_normal(shape)


# --- a chain of operations -----------------------------------------------------------------------


def chain_of(np_like: Any, x: Any) -> Any:
    """Thirty times five elementwise operations."""
    for _ in range(STEPS):
        y = np_like.sin(x)
        x = x * y
        x = x + 0.5
        x = np_like.tanh(x)
        x = x - y
    return x


def chain(m: Any) -> Function:
    return lambda x: m.np.sum(chain_of(m.np, x))


def chain_arguments(n: int) -> Any:
    """One number of shape () for n = 0."""
    return (np.linspace(0.1, 1.0, n) if n else np.array(0.7),)


# --- statistics ----------------------------------------------------------------------------------


def logistic(m: Any) -> Function:
    """Mean negative log-likelihood of logistic regression; labels are -1 and 1."""

    def loss(p: Any, x: Any, y: Any) -> Any:
        return m.np.mean(m.np.log1p(m.np.exp(-y * (x @ p["w"] + p["b"]))))

    return loss


def logistic_arguments(n: int, d: int) -> Any:
    x = random(n, d)
    y = np.where(x[:, 0] + 0.5 * random(n) > 0, 1.0, -1.0)
    return {"w": random(d) / np.sqrt(d), "b": np.array(0.1)}, x, y


def gaussian_process(m: Any) -> Function:
    """Negative log marginal likelihood of regression with a squared-exponential kernel."""
    np_ = m.np

    def loss(p: Any, x: Any, y: Any, identity: Any) -> Any:
        difference = (x[:, None] - x[None]) * np_.exp(-p["length"])
        kernel = np_.exp(p["scale"] - 0.5 * np_.sum(difference * difference, axis=-1))
        factor = np_.linalg.cholesky(kernel + np_.exp(p["noise"]) * identity)
        z = m.solve_triangular(factor, y)
        return 0.5 * np_.sum(z * z) + np_.sum(np_.log(np_.diag(factor)))

    return loss


def gaussian_process_arguments(n: int) -> Any:
    x = random(n, 3)
    p = {"length": np.zeros(3), "scale": np.array(0.1), "noise": np.array(-2.0)}
    return p, x, np.sin(x.sum(1)) + 0.1 * random(n), np.eye(n)


def hidden_markov(m: Any) -> Function:
    """Negative log-likelihood of a hidden Markov model, by the forward algorithm, rescaled."""
    np_ = m.np

    def loss(p: Any, seen: Any) -> Any:
        transition = m.softmax(p["transition"])
        likelihoods = m.take(np_.swapaxes(m.softmax(p["emission"]), 0, 1), seen)

        def step(alpha: Any, likelihood: Any) -> Any:
            alpha = (alpha @ transition) * likelihood
            total = np_.sum(alpha)
            return alpha / total, total

        totals = m.scan(step, m.softmax(p["start"]), likelihoods)[1]
        return -np_.sum(np_.log(totals))

    return loss


def hidden_markov_arguments(steps: int, states: int) -> Any:
    p = {
        "start": random(states),
        "transition": random(states, states),
        "emission": random(states, 20),
    }
    return p, np.random.default_rng(0).integers(0, 20, steps).astype(np.int32)


# --- mechanics and equations ---------------------------------------------------------------------


def rosenbrock(m: Any) -> Function:
    return lambda x: m.np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def rosenbrock_arguments(n: int) -> Any:
    return (random(n),)


def bodies(m: Any) -> Function:
    """Gravitational energy of point masses, softened."""
    np_ = m.np

    def energy(x: Any, masses: Any) -> Any:
        difference = x[:, None] - x[None]
        squares = np_.sum(difference * difference, axis=-1) + 1e-2
        return -0.5 * np_.sum(masses[:, None] * masses / np_.sqrt(squares))

    return energy


def bodies_arguments(n: int) -> Any:
    return random(n, 3), 1 + np.abs(random(n))


def runge_kutta(field: Function, y: Any, dt: float) -> Any:
    """Return y after one step of the classical method; y: one array."""
    k1 = field(y)
    k2 = field(y + 0.5 * dt * k1)
    k3 = field(y + 0.5 * dt * k2)
    k4 = field(y + dt * k3)
    return y + (dt / 6) * (k1 + 2 * k2 + 2 * k3 + k4)


def lotka_volterra(m: Any) -> Function:
    """Predators and prey, two numbers, after steps of these lengths."""

    def field(p: Any, y: Any) -> Any:
        a, b = y[0], y[1]
        return m.np.stack([p[0] * a - p[1] * a * b, p[2] * a * b - p[3] * b])

    def loss(p: Any, y: Any, lengths: Any) -> Any:
        step = lambda y, dt: (runge_kutta(lambda y: field(p, y), y, dt), None)
        return m.np.sum(m.scan(step, y, lengths)[0])

    return loss


def lotka_volterra_arguments(steps: int) -> Any:
    return np.array([1.5, 1.0, 1.0, 3.0]), np.array([1.0, 1.0]), np.full(steps, 0.01)


# Opening and closing rates of the gates of Hodgkin and Huxley (1952), V in mV, time in ms.
HH_STEPS, HH_DT = 1000, 0.01


def hodgkin_huxley(m: Any) -> Function:
    """Mean square of the voltage of cells over 1000 steps, by conductances and currents."""
    np_ = m.np

    def field(p: Any, y: Any) -> Any:
        v, a, b, n = y[0], y[1], y[2], y[3]
        s, t = 0.1 * (v + 40), 0.1 * (v + 55)
        opening = s / (1 - np_.exp(-s)), 0.07 * np_.exp(-0.05 * (v + 65)), t / (1 - np_.exp(-t))
        closing = (
            4 * np_.exp((v + 65) * (-1 / 18)),
            1 / (1 + np_.exp(-0.1 * (v + 35))),
            0.125 * np_.exp(-0.0125 * (v + 65)),
        )
        current = p["current"] - p["g_na"] * a * a * a * b * (v - 50)
        current = current - p["g_k"] * n * n * n * n * (v + 77) - p["g_l"] * (v + 54.387)
        return np_.stack(
            [
                current,
                opening[0] * (1 - a) - closing[0] * a,
                opening[1] * (1 - b) - closing[1] * b,
                0.1 * opening[2] * (1 - n) - closing[2] * n,
            ]
        )

    def loss(p: Any, y: Any) -> Any:
        def step(y: Any, _: Any) -> Any:
            y = runge_kutta(lambda y: field(p, y), y, HH_DT)
            return y, y[0]

        voltages = m.scan(step, y, None, HH_STEPS)[1]
        return m.np.mean(voltages * voltages)

    return loss


def hodgkin_huxley_arguments(cells: int) -> Any:
    p = {"g_na": 120.0, "g_k": 36.0, "g_l": 0.3}
    start = np.array([[-65.0], [0.053], [0.596], [0.318]]) + np.zeros((4, cells))
    return {k: np.array(v) for k, v in p.items()} | {"current": np.linspace(5, 15, cells)}, start


# --- matrices of derivatives ---------------------------------------------------------------------


def two_layers(m: Any) -> Function:
    """A map from n numbers to n numbers, for Jacobians."""
    return lambda x, a, b: m.np.tanh(b @ m.np.tanh(a @ x))


def two_layers_arguments(n: int) -> Any:
    scale = 1 / np.sqrt(n)
    return random(n), random(n, n) * scale, random(n, n).T * scale


def curved(m: Any) -> Function:
    """A function of n parameters, for Hessians."""
    return lambda x, a: m.np.sum(m.np.tanh(a @ x) ** 2) + m.np.sum(m.np.sin(x) * x)


def curved_arguments(n: int) -> Any:
    return random(n), random(n, n) / np.sqrt(n)

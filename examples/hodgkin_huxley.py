"""Hodgkin-Huxley: conductances of a nerve cell from a noisy trace, by gradients through an ODE.

The voltage of the membrane and the gates m, h, n follow (Hodgkin and Huxley, 1952)

    C dV/dt = I - g_Na m³h (V - E_Na) - g_K n⁴ (V - E_K) - g_L (V - E_L)
      dx/dt = α_x(V) (1 - x) - β_x(V) x    for x = m, h, n.

The program
  1. solves them by Runge-Kutta's method of fourth order, as one `fg.scan`, for two currents I,
  2. compares the gradient of the mean square error through all steps with central differences,
  3. starts with conductances that are far off, and finds g_Na, g_K, g_L by L-BFGS-B,
  4. saves the traces before and after.

Needs SciPy; matplotlib is optional. The exit status is 1 if the gradient is further than a
millionth from differences, or if a conductance is not found to 5 %.

Source: A. L. Hodgkin and A. F. Huxley, A quantitative description of membrane current and its
application to conduction and excitation in nerve. Journal of Physiology 117 (1952), 500-544. The
rates are theirs, with the sign of today and a potential of rest at -65 mV.
"""

from __future__ import annotations

import sys

import numpy as np
from _common import command_line, optional, save_picture, status

import funcgraph as fg
from funcgraph import optim

TRUE = {"g_Na": 120.0, "g_K": 36.0, "g_L": 0.3}  # mS/cm²
START = {"g_Na": 80.0, "g_K": 50.0, "g_L": 0.5}
E_NA, E_K, E_L = 50.0, -77.0, -54.387  # mV
C = 1.0  # µF/cm²
REST = -65.0
CURRENTS = np.array([-4.0, 10.0])  # µA/cm²: one that holds the cell down, one that makes it fire


# ------------------------------------------------------------------------------ the equations


def linear_over_exp(x):
    """Return x / (1 - exp(-x)), which is 1 + x/2 + x²/12 near 0."""
    near = np.abs(x) < 1e-3
    safe = np.where(near, 1.0, x)  # so that the branch not taken has a derivative, too
    return np.where(near, 1 + x / 2 + x**2 / 12, safe / (1 - np.exp(-safe)))


def rates(v):
    """Return (α, β) of the gates m, h, n, in 1/ms, at the voltage v, in mV."""
    m = linear_over_exp((v + 40) / 10), 4 * np.exp(-(v + 65) / 18)
    h = 0.07 * np.exp(-(v + 65) / 20), 1 / (1 + np.exp(-(v + 35) / 10))
    n = 0.1 * linear_over_exp((v + 55) / 10), 0.125 * np.exp(-(v + 65) / 80)
    return m, h, n


def slope(g, state, current):
    """Return the derivatives of the state (V, m, h, n) by time."""
    v, m, h, n = state
    sodium = g["g_Na"] * m**3 * h * (v - E_NA)
    potassium = g["g_K"] * n**4 * (v - E_K)
    leak = g["g_L"] * (v - E_L)
    gates = [a * (1 - x) - b * x for x, (a, b) in zip((m, h, n), rates(v), strict=True)]
    return ((current - sodium - potassium - leak) / C, *gates)


def runge_kutta(f, y, dt):
    """Return y(t + dt) for dy/dt = f(y): the classical method of fourth order."""

    def ahead(step, k):
        return fg.tree.map(lambda a, b: a + step * b, y, k)

    k1 = f(y)
    k2 = f(ahead(dt / 2, k1))
    k3 = f(ahead(dt / 2, k2))
    k4 = f(ahead(dt, k3))
    return ahead(dt / 6, fg.tree.map(lambda a, b, c, d: a + 2 * b + 2 * c + d, k1, k2, k3, k4))


def simulate(g, currents, steps, dt):
    """Return the voltages after each step, shape (steps, currents)."""
    v = np.full(currents.shape, REST)
    gates = [a / (a + b) for a, b in rates(v)]  # where they stay at this voltage

    def step(state, _):
        state = runge_kutta(lambda s: slope(g, s, currents), state, dt)
        return state, state[0]

    _, voltages = fg.scan(step, (v, *gates), length=steps)
    return voltages


# --------------------------------------------------------------------------------- the fit


def conductances(logs):
    """Return the conductances: positive for any `logs`, and START for zeros."""
    return {name: START[name] * np.exp(logs[name]) for name in START}


def check_gradient(loss, logs, h=1e-4):
    """Print the gradient beside central differences; return the largest relative difference."""
    gradient, worst = fg.jit(fg.grad(loss))(logs), []
    print("dL/d(log g)     by funcgraph   by differences")
    for name in logs:
        above, below = (loss(logs | {name: logs[name] + s}) for s in (h, -h))
        difference = (above - below) / (2 * h)
        print(f"{name:<12} {gradient[name]:>15.6f} {difference:>16.6f}")
        worst.append(abs(gradient[name] - difference) / abs(difference))
    return np.max(worst)


def main():
    """Run the program; return its exit status."""
    numbers = {"milliseconds": 12.0, "dt": 0.03, "noise": 2.0, "seed": 0}
    options = command_line(__doc__, "hodgkin_huxley.png", **numbers)
    if not optional("scipy", "the fit"):
        return 1
    steps, dt = round(options.milliseconds / options.dt), options.dt
    solve = fg.jit(lambda g: simulate(g, CURRENTS, steps, dt))
    clean = solve(TRUE)
    data = clean + np.random.default_rng(options.seed).normal(0, options.noise, clean.shape)
    finer = simulate(TRUE, CURRENTS, 2 * steps, dt / 2)[1::2]
    error = np.max(np.abs(finer - clean))
    print(
        f"{steps} steps of {dt} ms; half the step changes the voltage by {error:.4f} mV at most\n"
    )

    @fg.jit
    def loss(logs):
        return np.mean((simulate(conductances(logs), CURRENTS, steps, dt) - data) ** 2)

    start = dict.fromkeys(START, 0.0)
    difference = check_gradient(loss, start)
    found = optim.minimize(loss, start, method="L-BFGS-B")
    fitted = conductances(found.params)
    print(f"\nMean square error {loss(start):.1f} -> {found.fun:.2f} mV²", end=" ")
    print(f"(the noise has {np.mean((data - clean) ** 2):.2f}) in {found.nfev} evaluations")
    print("mS/cm²     start     found      true  error")
    wrong = {name: abs(fitted[name] / TRUE[name] - 1) for name in TRUE}
    for name, true in TRUE.items():
        print(f"{name:<6}{START[name]:>10.2f}{fitted[name]:>10.3f}{true:>10.2f}{wrong[name]:>7.1%}")

    def draw(*both):
        time = dt * np.arange(1, steps + 1)
        for i, axes in enumerate(both):
            axes.plot(time, data[:, i], ".", c="lightgray", ms=3, label="data")
            axes.plot(time, solve(START)[:, i], "--", label="before")
            axes.plot(time, solve(fitted)[:, i], label="after")
            axes.set(xlabel="ms", ylabel="mV", title=f"{CURRENTS[i]:g} µA/cm²")
            axes.legend()

    save_picture(options.picture, draw, shape=(1, 2))
    return status(
        {
            "the gradient agrees with differences to a millionth": difference < 1e-6,
            "each conductance is found to 5 %": np.max(list(wrong.values())) < 0.05,
        }
    )


if __name__ == "__main__":
    sys.exit(main())

"""Workloads of the suite differentiated by hand, in NumPy and nothing else.

Each function takes a workload's arguments, allocates what it needs, and returns a function without
arguments that computes value and gradient once, in buffers that are used again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from suite_science import HH_DT, HH_STEPS, STEPS

__all__ = ["chain", "chain_by_hand", "hidden_markov", "hodgkin_huxley", "lstm", "mlp"]

Run = Callable[[], Any]


def chain(x: Any) -> Run:
    """The chain of elementwise operations."""
    if x.ndim == 0:
        return lambda: chain_by_hand(x[()])
    xs, ys, hs = (np.empty((STEPS, *x.shape)) for _ in range(3))
    end, g, gh, t = (np.empty(x.shape) for _ in range(4))

    def run() -> Any:
        now = x
        for k in range(STEPS):
            xs[k] = now
            np.sin(now, ys[k])
            np.multiply(now, ys[k], t)
            np.add(t, 0.5, t)
            np.tanh(t, hs[k])
            now = np.subtract(hs[k], ys[k], end)
        value = end.sum()
        g.fill(1)
        for k in reversed(range(STEPS)):
            np.multiply(hs[k], hs[k], gh)
            np.subtract(1, gh, gh)
            np.multiply(gh, g, gh)
            np.cos(xs[k], t)
            np.multiply(gh, xs[k], end)
            np.subtract(end, g, end)
            np.multiply(end, t, t)
            np.multiply(gh, ys[k], g)
            np.add(g, t, g)
        return value, g

    return run


def chain_by_hand(x: Any) -> Any:
    """Return value and gradient without buffers, which only cost time at shape ()."""
    saved = []
    for _ in range(STEPS):
        y = np.sin(x)
        h = np.tanh(x * y + 0.5)
        saved.append((x, y, h))
        x = h - y
    g = 1.0
    for x0, y, h in reversed(saved):
        gh = g * (1 - h * h)
        g = gh * y + (gh * x0 - g) * np.cos(x0)
    return x, g


def mlp(p: Any, x: Any, y: Any) -> Run:
    """The perceptron with two hidden layers."""
    h1, h2, g1, g2 = (np.empty((len(x), 512), np.float32) for _ in range(4))
    z, e = np.empty((len(x), 10), np.float32), np.empty((len(x), 10), np.float32)
    grads = {name: np.empty_like(value) for name, value in p.items()}
    ones = np.ones(len(x), np.float32)

    def run() -> Any:
        for h, before, w, b in ((h1, x, "w1", "b1"), (h2, h1, "w2", "b2")):
            np.matmul(before, p[w], h)
            np.add(h, p[b], h)
            np.maximum(h, 0, h)
        np.matmul(h2, p["w3"], z)
        np.add(z, p["b3"], z)
        np.subtract(z, z.max(1, keepdims=True), z)
        np.exp(z, e)
        total = e.sum(1, keepdims=True)
        value = (np.log(total).sum() - np.vdot(z, y)) / len(x)
        np.divide(e, total, z)
        np.subtract(z, y, z)
        np.divide(z, np.float32(len(x)), z)
        for g, h, k, below in ((z, h2, 3, g2), (g2, h1, 2, g1), (g1, x, 1, None)):
            np.matmul(h.T, g, grads[f"w{k}"])
            np.matmul(ones, g, grads[f"b{k}"])
            if below is not None:
                np.matmul(g, p[f"w{k}"].T, below)
                np.multiply(below, h > 0, below)
        return value, grads

    return run


def lstm(p: Any, xs: Any, zero: Any) -> Run:
    """The LSTM; products with inputs, and those for the weights, are outside of the loops."""
    steps, batch, _ = xs.shape
    size = zero.shape[1]
    gates, g_gates = (np.empty((steps, batch, 4 * size), np.float32) for _ in range(2))
    hs, cs = (np.zeros((steps + 1, batch, size), np.float32) for _ in range(2))
    ts, g_hs = (np.empty((steps, batch, size), np.float32) for _ in range(2))
    z, gh, gc, u, w = (np.empty((batch, n * size), np.float32) for n in (4, 1, 1, 1, 1))
    half = np.full(4 * size, 0.5, np.float32)  # a sigmoid is half of a tanh
    half[2 * size : 3 * size] = 1
    shift = 1 - half
    ones = np.ones(steps * batch, np.float32)
    cut = [np.s_[:, k * size : (k + 1) * size] for k in range(4)]
    flat = lambda a: a.reshape(steps * batch, -1)

    def run() -> Any:
        np.matmul(flat(xs), p["x"], flat(gates))
        np.add(gates, p["b"], gates)
        for k in range(steps):
            y = gates[k]
            np.add(y, np.matmul(hs[k], p["h"], z), y)
            np.tanh(np.multiply(y, half, y), y)
            np.add(np.multiply(y, half, y), shift, y)
            i, f, g, o = (y[c] for c in cut)
            np.add(np.multiply(f, cs[k], u), np.multiply(i, g, w), cs[k + 1])
            np.multiply(o, np.tanh(cs[k + 1], ts[k]), hs[k + 1])
        states = hs[1:]
        value = np.vdot(states, states) / states.size
        np.multiply(states, np.float32(2 / states.size), g_hs)
        gh.fill(0)
        gc.fill(0)
        recurrent = np.ascontiguousarray(p["h"].T)
        for k in reversed(range(steps)):
            y, out = ([a[k][c] for c in cut] for a in (gates, g_gates))
            np.add(gh, g_hs[k], gh)
            lstm_cell_back(y, cs[k], ts[k], gh, gc, out, (u, w))
            np.matmul(g_gates[k], recurrent, gh)
        g_flat = flat(g_gates)
        grads = {"x": flat(xs).T @ g_flat, "h": flat(hs[:-1]).T @ g_flat, "b": ones @ g_flat}
        return value, grads

    return run


def lstm_cell_back(
    gates: list[Any], c: Any, t: Any, gh: Any, gc: Any, out: list[Any], scratch: Any
) -> None:
    """Write the cotangents of the gates, before their sigmoids, to out, and that of c to gc.

    c is the memory before the step, t the tanh of that after it, gh the state's cotangent.
    """
    (i, f, g, o), (gi, gf, gg, go), (u, w) = gates, out, scratch
    np.multiply(gh, t, go)
    np.multiply(t, t, u)
    np.multiply(np.subtract(1, u, u), o, u)
    np.add(gc, np.multiply(u, gh, u), gc)
    np.multiply(gc, g, gi)
    np.multiply(gc, c, gf)
    np.multiply(gc, i, gg)
    for gate, cotangent in ((i, gi), (f, gf), (o, go)):
        np.multiply(gate, np.subtract(1, gate, w), w)
        np.multiply(cotangent, w, cotangent)
    np.multiply(gg, np.subtract(1, np.multiply(g, g, w), w), gg)
    np.multiply(gc, f, gc)


def hidden_markov(p: Any, seen: Any) -> Run:
    """The forward algorithm, and a loop back over it."""
    steps, states = len(seen), len(p["start"])
    alphas = np.empty((steps + 1, states))
    moved, back, likelihoods = (np.empty((steps, states)) for _ in range(3))
    totals, u, g = np.empty(steps), np.empty(states), np.empty(states)

    def softmax(z: Any) -> Any:
        e = np.exp(z - z.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)

    def pull(y: Any, g: Any) -> Any:
        return y * (g - (g * y).sum(-1, keepdims=True))

    def run() -> Any:
        start, transition, emission = (softmax(p[k]) for k in ("start", "transition", "emission"))
        np.take(emission.T, seen, 0, likelihoods)
        alphas[0] = start
        for k in range(steps):
            np.matmul(alphas[k], transition, moved[k])
            np.multiply(moved[k], likelihoods[k], u)
            total = totals[k] = np.add.reduce(u)
            np.divide(u, total, alphas[k + 1])
        g.fill(0)
        for k in reversed(range(steps)):
            np.subtract(g, np.dot(g, alphas[k + 1]) + 1, g)
            np.divide(g, totals[k], back[k])
            np.multiply(back[k], likelihoods[k], u)
            np.matmul(transition, u, g)
        np.multiply(back, likelihoods, likelihoods)
        np.multiply(back, moved, moved)
        g_emission = np.zeros_like(emission.T)
        np.add.at(g_emission, seen, moved)
        grads = {
            "start": pull(start, g),
            "transition": pull(transition, alphas[:-1].T @ likelihoods),
            "emission": pull(emission, g_emission.T),
        }
        return -np.log(totals).sum(), grads

    return run


class Neurons:
    """Field of Hodgkin and Huxley's equations and its pullback; states (4, cells): V, m, h, n.

    The six rates (opening m, h, n, closing m, h, n) come from one call of exp.
    """

    def __init__(self, p: Any, cells: int) -> None:
        self.p = p
        self.shift = np.array([[40.0], [65], [55], [65], [35], [65]])
        self.scale = -np.array([[0.1], [0.05], [0.1], [1 / 18], [0.1], [0.0125]])
        self.slopes = np.array([[-0.05], [-1 / 18], [-0.0125]])
        self.d = np.empty((6, cells))
        self.u, self.v, self.w = (np.empty(cells) for _ in range(3))
        self.gates = np.empty((3, cells))
        self.grads = {k: np.zeros(cells) for k in p}

    def field(self, y: Any, r: Any, out: Any) -> None:
        """Write the derivative by time to out, the rates to r."""
        p, u, w = self.p, self.u, self.w
        v, m, h, n = y
        np.multiply(np.add(v, self.shift, r), self.scale, r)
        s, t = -r[0], -r[2]
        np.exp(r, r)
        np.divide(s, np.subtract(1, r[0], u), r[0])
        np.divide(np.multiply(t, 0.1, t), np.subtract(1, r[2], u), r[2])
        np.multiply(r[1], 0.07, r[1])
        np.multiply(r[3], 4, r[3])
        np.divide(1, np.add(r[4], 1, u), r[4])
        np.multiply(r[5], 0.125, r[5])
        np.add(r[:3], r[3:], self.gates)
        np.multiply(self.gates, y[1:], self.gates)
        np.subtract(r[:3], self.gates, out[1:])
        np.multiply(np.multiply(m, m, u), np.multiply(m, h, w), u)
        np.multiply(np.multiply(u, p["g_na"], u), np.subtract(v, 50, w), u)
        np.subtract(p["current"], u, out[0])
        np.multiply(n, n, u)
        np.multiply(np.multiply(u, u, u), p["g_k"], u)
        np.subtract(out[0], np.multiply(u, np.add(v, 77, w), u), out[0])
        np.multiply(np.add(v, 54.387, u), p["g_l"], u)
        np.subtract(out[0], u, out[0])

    def pullback(self, y: Any, r: Any, g: Any, out: Any) -> None:
        """Write the cotangent of y to out; add to those of the parameters."""
        p, d, u, w, cell = self.p, self.d, self.u, self.w, self.v
        v, m, h, n = y
        s, t = 0.1 * (v + 40), 0.1 * (v + 55)
        # s / (1 - exp(-s)) = a has the derivative (a / s) (1 - a + s).
        np.multiply(np.divide(r[0], s, d[0]), 0.1 * (1 - r[0] + s), d[0])
        np.multiply(np.divide(r[2], t, d[2]), 0.1 * (1 - 10 * r[2] + t), d[2])
        np.multiply(r[1], self.slopes[0], d[1])
        np.multiply(r[3], self.slopes[1], d[3])
        np.multiply(np.multiply(r[4], 0.1, u), np.subtract(1, r[4], w), d[4])
        np.multiply(r[5], self.slopes[2], d[5])
        np.add(d[:3], d[3:], d[3:])
        np.multiply(d[3:], y[1:], d[3:])
        np.subtract(d[:3], d[3:], d[:3])
        np.multiply(d[:3], g[1:], d[:3])
        np.add.reduce(d[:3], 0, None, out[0])
        np.add(r[:3], r[3:], self.gates)
        np.multiply(np.negative(self.gates, self.gates), g[1:], out[1:])
        current = g[0]
        np.add(self.grads["current"], current, self.grads["current"])
        np.multiply(np.multiply(m, m, u), current, u)  # g m²
        np.multiply(u, np.subtract(v, 50, w), cell)  # g m² (V - 50)
        np.multiply(np.multiply(u, m, u), h, u)
        np.multiply(u, p["g_na"], u)
        np.subtract(out[0], u, out[0])
        np.multiply(cell, m, u)
        np.subtract(self.grads["g_na"], np.multiply(u, h, w), self.grads["g_na"])
        np.subtract(out[2], np.multiply(u, p["g_na"], u), out[2])
        np.multiply(np.multiply(cell, h, cell), 3 * p["g_na"], cell)
        np.subtract(out[1], cell, out[1])
        np.multiply(np.multiply(n, n, u), n, u)
        np.multiply(u, current, u)  # g n³
        np.multiply(np.multiply(u, n, w), p["g_k"], cell)
        np.subtract(out[0], cell, out[0])
        np.multiply(u, np.add(v, 77, cell), u)
        np.subtract(self.grads["g_k"], np.multiply(u, n, w), self.grads["g_k"])
        np.subtract(out[3], np.multiply(u, 4 * p["g_k"], u), out[3])
        np.subtract(out[0], np.multiply(current, p["g_l"], u), out[0])
        np.multiply(current, np.add(v, 54.387, w), w)
        np.subtract(self.grads["g_l"], w, self.grads["g_l"])


def hodgkin_huxley(p: Any, start: Any) -> Run:
    """Runge and Kutta's method forward, all stages kept, and back."""
    cells = start.shape[1]
    cell, dt = Neurons(p, cells), HH_DT
    ys = np.empty((HH_STEPS, 4, 4, cells))
    rates = np.empty((HH_STEPS, 4, 6, cells))
    voltages = np.empty((HH_STEPS, cells))
    y, t, g, gk = (np.empty((4, cells)) for _ in range(4))
    k, gy = np.empty((4, 4, cells)), np.empty((4, 4, cells))
    lengths = (0.5 * dt, 0.5 * dt, dt)
    weights = (dt / 6, dt / 3, dt / 3, dt / 6)

    def forward() -> None:
        y[...] = start
        for step in range(HH_STEPS):
            stages, kept = ys[step], rates[step]
            stages[0] = y
            for s in range(4):
                cell.field(stages[s], kept[s], k[s])
                np.add(y, np.multiply(k[s], weights[s], t), y)
                if s < 3:
                    np.add(stages[0], np.multiply(k[s], lengths[s], t), stages[s + 1])
            voltages[step] = y[0]

    def backward() -> None:
        g.fill(0)
        for step in reversed(range(HH_STEPS)):
            np.add(g[0], voltages[step] * (2 / voltages.size), g[0])
            for s in (3, 2, 1, 0):
                np.multiply(g, weights[s], gk)
                if s < 3:
                    np.add(gk, np.multiply(gy[s + 1], lengths[s], t), gk)
                cell.pullback(ys[step, s], rates[step, s], gk, gy[s])
            np.add(g, np.add.reduce(gy, 0, None, t), g)

    def run() -> Any:
        for total in cell.grads.values():
            total.fill(0)
        forward()
        backward()
        value = np.vdot(voltages, voltages) / voltages.size
        return value, {k: v if k == "current" else v.sum() for k, v in cell.grads.items()}

    return run

"""The workloads of jit.py for other libraries: NumPy by hand, and torch if it is installed.

Each function takes a workload's arguments and returns a function without arguments that computes
the result once. The NumPy forms are the straightforward ones: formulas, no planned memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["numpy_lstm", "numpy_mlp", "torch_lstm", "torch_mlp"]

Run = Callable[[], Any]


def numpy_mlp(params: Any, x: Any, onehot: Any) -> Run:
    """SGD step of the MLP, with backpropagation written out."""

    def step() -> Any:
        inputs, h = [], x
        for w, b in params[:-1]:
            inputs.append(h)
            h = np.maximum(h @ w + b, 0)
        inputs.append(h)
        w, b = params[-1]
        z = h @ w + b
        e = np.exp(z - z.max(1, keepdims=True))
        g = (e / e.sum(1, keepdims=True) - onehot) / len(x)
        out = []
        for k in range(len(params) - 1, -1, -1):
            w, b = params[k]
            out.append((w - 0.1 * (inputs[k].T @ g), b - 0.1 * g.sum(0)))
            if k:
                g = np.where(inputs[k] > 0, g @ w.T, 0)
        return out[::-1]

    return step


def numpy_lstm(p: Any, xs: Any) -> Run:
    """Gradient of the LSTM, with backpropagation through time written out."""
    steps, batch, _ = xs.shape
    size = p["h"].shape[0]

    def sigmoid(v: Any) -> Any:
        return 0.5 * (np.tanh(0.5 * v) + 1)

    def gradient() -> Any:
        h = c = np.zeros((batch, size), xs.dtype)
        kept = []
        for x in xs:
            z = x @ p["x"] + h @ p["h"] + p["b"]
            i, f, o = (sigmoid(z[:, k * size : (k + 1) * size]) for k in range(3))
            u = np.tanh(z[:, 3 * size :])
            before, previous = c, h
            c = f * c + i * u
            t = np.tanh(c)
            h = o * t
            kept.append((x, previous, before, i, f, o, u, t, h))
        grads = {k: np.zeros_like(v) for k, v in p.items()}
        gh = gc = np.zeros_like(h)
        for x, previous, before, i, f, o, u, t, h in reversed(kept):
            gh = gh + h * np.float32(2 / (steps * batch * size))
            gc = gc + gh * o * (1 - t * t)
            gates = gc * u * i * (1 - i), gc * before * f * (1 - f), gh * t * o * (1 - o)
            g = np.concatenate([*gates, gc * i * (1 - u * u)], axis=1)
            grads["x"] += x.T @ g
            grads["h"] += previous.T @ g
            grads["b"] += g.sum(0)
            gh, gc = g @ p["h"].T, gc * f
        return grads

    return gradient


def _torch() -> Any:
    with contextlib.suppress(ImportError):
        import torch

        return torch
    return None


def torch_mlp(params: Any, x: Any, onehot: Any) -> Run | None:
    """The MLP's step in eager torch; None without torch."""
    torch = _torch()
    if torch is None:
        return None
    weights = [tuple(torch.tensor(v, requires_grad=True) for v in pair) for pair in params]
    x, labels = torch.tensor(x), torch.tensor(onehot.argmax(1))

    def step() -> Any:
        h = x
        for w, b in weights[:-1]:
            h = torch.relu(h @ w + b)
        w, b = weights[-1]
        loss = torch.nn.functional.cross_entropy(h @ w + b, labels)
        flat = [v for pair in weights for v in pair]
        with torch.no_grad():
            new = [v - 0.1 * g for v, g in zip(flat, torch.autograd.grad(loss, flat), strict=True)]
        return [(a.numpy(), b.numpy()) for a, b in zip(new[::2], new[1::2], strict=True)]

    return step


def torch_lstm(p: Any, xs: Any) -> Run | None:
    """The LSTM's gradient in eager torch, with its own LSTM; None without torch."""
    torch = _torch()
    if torch is None:
        return None
    size = p["h"].shape[0]
    model = torch.nn.LSTM(xs.shape[2], size)
    order = [0, 1, 3, 2]  # torch: input, forget, cell, output

    def reorder(v: Any, inverse: bool = False) -> Any:
        blocks = np.split(np.asarray(v), 4, axis=-1)
        return np.concatenate(
            [blocks[order.index(k) if inverse else order[k]] for k in range(4)], -1
        )

    with torch.no_grad():
        model.weight_ih_l0.copy_(torch.tensor(reorder(p["x"]).T.copy()))
        model.weight_hh_l0.copy_(torch.tensor(reorder(p["h"]).T.copy()))
        model.bias_ih_l0.copy_(torch.tensor(reorder(p["b"])))
        model.bias_hh_l0.zero_()
    inputs = torch.tensor(xs)
    wanted = [model.weight_ih_l0, model.weight_hh_l0, model.bias_ih_l0]

    def gradient() -> Any:
        loss = (model(inputs)[0] ** 2).mean()
        x, h, b = (g.numpy() for g in torch.autograd.grad(loss, wanted))
        return {"x": reorder(x.T, True), "h": reorder(h.T, True), "b": reorder(b, True)}

    return gradient

"""The workloads of jit.py for other libraries: NumPy by hand, and torch if it is installed.

Each function takes a workload's arguments and returns a function without arguments that computes
the result once. The NumPy forms are the straightforward ones: formulas, no planned memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["numpy_mlp", "torch_mlp"]

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

"""Workloads of the suite: neural networks in float32, as in suite_science.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Function = Callable[..., Any]


def weights(**shapes: tuple[int, ...]) -> dict[str, Any]:
    """Return small random numbers, divided by the root of the number of inputs."""
    rng = np.random.default_rng(0)
    return {
        name: (rng.standard_normal(shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)
        for name, shape in shapes.items()
    }


def ones(*names: str, size: int) -> dict[str, Any]:
    return {name: np.ones(size, np.float32) for name in names}


def zeros(**sizes: int) -> dict[str, Any]:
    return {name: np.zeros(size, np.float32) for name, size in sizes.items()}


def normal(*shape: int) -> Any:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def onehot(batch: int, classes: int = 10) -> Any:
    labels = np.random.default_rng(2).integers(0, classes, batch)
    return np.eye(classes, dtype=np.float32)[labels]


# --- perceptrons and convolutions ----------------------------------------------------------------


def mlp(m: Any) -> Function:
    """784-512-512-10 with cross-entropy."""

    def loss(p: Any, x: Any, y: Any) -> Any:
        x = m.relu(x @ p["w1"] + p["b1"])
        x = m.relu(x @ p["w2"] + p["b2"])
        return m.cross_entropy(x @ p["w3"] + p["b3"], y)

    return loss


def mlp_arguments(batch: int) -> Any:
    p = weights(w1=(784, 512), w2=(512, 512), w3=(512, 10)) | zeros(b1=512, b2=512, b3=10)
    return p, normal(batch, 784), onehot(batch)


def lenet(m: Any) -> Function:
    """Two convolutions 5x5 with pooling, two dense layers."""

    def loss(p: Any, x: Any, y: Any) -> Any:
        for w, b in (("w1", "b1"), ("w2", "b2")):
            x = m.max_pool(m.relu(m.conv(x, p[w]) + p[b]))
        x = m.relu(m.np.reshape(x, (x.shape[0], 1024)) @ p["w3"] + p["b3"])
        return m.cross_entropy(x @ p["w4"] + p["b4"], y)

    return loss


def lenet_arguments(batch: int) -> Any:
    p = weights(w1=(5, 5, 1, 32), w2=(5, 5, 32, 64), w3=(1024, 128), w4=(128, 10))
    p |= zeros(b1=32, b2=64, b3=128, b4=10)
    return p, normal(batch, 28, 28, 1), onehot(batch)


def cifar(m: Any) -> Function:
    """Three convolutions 3x3 with batch norm, the later two with stride 2; the mean over pixels."""

    def loss(p: Any, x: Any, y: Any) -> Any:
        for k, stride in ((1, 1), (2, 2), (3, 2)):
            x = m.conv(x, p[f"w{k}"], stride, 1)
            x = m.relu(m.batch_norm(x, p[f"scale{k}"], p[f"bias{k}"]))
        return m.cross_entropy(m.np.mean(x, axis=(1, 2)) @ p["w4"] + p["b4"], y)

    return loss


def cifar_arguments(batch: int) -> Any:
    p = weights(w1=(3, 3, 3, 32), w2=(3, 3, 32, 64), w3=(3, 3, 64, 128), w4=(128, 10))
    for k, size in ((1, 32), (2, 64), (3, 128)):
        p |= ones(f"scale{k}", size=size) | zeros(**{f"bias{k}": size})
    return p | zeros(b4=10), normal(batch, 32, 32, 3), onehot(batch)


# --- sequences -----------------------------------------------------------------------------------


def recurrent(kind: str) -> Callable[[Any], Function]:
    """The mean square of all states of an RNN or LSTM."""

    def workload(m: Any) -> Function:
        def loss(p: Any, xs: Any, zero: Any) -> Any:
            states = getattr(m, kind)(p, xs, zero)
            return m.np.mean(states * states)

        return loss

    return workload


def recurrent_arguments(gates: int) -> Callable[..., Any]:
    def arguments(steps: int, batch: int, size: int) -> Any:
        p = weights(x=(size, gates * size), h=(size, gates * size)) | zeros(b=gates * size)
        return p, normal(steps, batch, size), np.zeros((batch, size), np.float32)

    return arguments


HEADS = 4


def transformer(m: Any) -> Function:
    """The mean square of what a block makes of its input: norms first, feed-forward 4 d."""

    def loss(p: Any, x: Any) -> Any:
        batch, time, d = x.shape
        y = m.layer_norm(x, p["scale1"], p["bias1"]) @ p["qkv"] + p["b_qkv"]
        y = m.np.reshape(y, (batch, time, 3, HEADS, d // HEADS))
        y = m.attention(y[:, :, 0], y[:, :, 1], y[:, :, 2])
        x = x + m.np.reshape(y, (batch, time, d)) @ p["out"] + p["b_out"]
        y = m.layer_norm(x, p["scale2"], p["bias2"])
        x = x + m.gelu(y @ p["up"] + p["b_up"]) @ p["down"] + p["b_down"]
        return m.np.mean(x * x)

    return loss


def transformer_arguments(batch: int, time: int, d: int) -> Any:
    p = weights(qkv=(d, 3 * d), out=(d, d), up=(d, 4 * d), down=(4 * d, d))
    p |= zeros(b_qkv=3 * d, b_out=d, b_up=4 * d, b_down=d, bias1=d, bias2=d)
    return p | ones("scale1", "scale2", size=d), normal(batch, time, d)


def embedding(m: Any) -> Function:
    """Embedded tokens, a dense layer, cross-entropy over ten classes."""

    def loss(p: Any, tokens: Any, y: Any) -> Any:
        x = m.np.tanh(m.take(p["table"], tokens) @ p["w1"] + p["b1"])
        return m.cross_entropy(x @ p["w2"] + p["b2"], y)

    return loss


def embedding_arguments(vocabulary: int, d: int, tokens: int) -> Any:
    p = weights(table=(vocabulary, d), w1=(d, d), w2=(d, 10)) | zeros(b1=d, b2=10)
    p["table"] *= np.float32(np.sqrt(vocabulary))
    words = np.random.default_rng(3).integers(0, vocabulary, tokens).astype(np.int32)
    return p, words, onehot(tokens)


# --- gradients of every example ------------------------------------------------------------------


def of_one(model: Callable[[Any], Function]) -> Callable[[Any], Function]:
    """Return the loss of one example: data without the batch axis."""

    def workload(m: Any) -> Function:
        loss = model(m)
        return lambda p, x, y: loss(p, x[None], y[None])

    return workload

"""The models of train.py, each written three times: funcgraph.nn, JAX by hand, torch by hand.

All read the same parameters, a dict of dicts as funcgraph.nn makes it. `torch` is a parameter here,
so that the module needs none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import funcgraph as fg
from funcgraph import nn

__all__ = ["MODELS", "Model"]

VOCABULARY = 96


class Model(NamedTuple):
    """A classifier in three libraries, and its data."""

    layer: Any  # of funcgraph.nn
    by_jax: Callable[[Any, Any], Any]  # (params, x) -> logits
    by_torch: Callable[[Any, Any, Any], Any]  # (torch, params, x) -> logits
    x: Any
    labels: Any


def images(batch: int, *shape: int) -> tuple[Any, Any]:
    """Return random images and labels."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, *shape)).astype(np.float32)
    return x, rng.integers(0, 10, batch).astype(np.int32)


def text(batch: int, length: int) -> tuple[Any, Any]:
    """Return random characters, and those that follow them."""
    rng = np.random.default_rng(0)
    characters = rng.integers(0, VOCABULARY, (batch, length + 1)).astype(np.int32)
    return characters[:, :-1].copy(), characters[:, 1:].copy()


def affine(p: Any, x: Any) -> Any:
    """Return x w + b, in JAX and torch alike."""
    return x @ p["w"] + p["b"]


# --- MLP 784-512-512-10 --------------------------------------------------------------------------


def mlp() -> Model:
    """Return the MLP."""
    layer = nn.serial(a=nn.Dense(512), r=nn.relu, b=nn.Dense(512), s=nn.relu, c=nn.Dense(10))

    def by_jax(p: Any, x: Any) -> Any:
        h = jax.nn.relu(affine(p["a"], x))
        return affine(p["c"], jax.nn.relu(affine(p["b"], h)))

    def by_torch(torch: Any, p: Any, x: Any) -> Any:
        h = torch.relu(affine(p["a"], x))
        return affine(p["c"], torch.relu(affine(p["b"], h)))

    return Model(layer, by_jax, by_torch, *images(128, 784))


# --- CNN -----------------------------------------------------------------------------------------


def cnn() -> Model:
    """Return a net like LeNet-5, with maxima and relu."""
    layer = nn.serial(
        a=nn.Conv(6, (5, 5), padding="SAME"),
        r=nn.relu,
        p=nn.MaxPool(2),
        b=nn.Conv(16, (5, 5)),
        s=nn.relu,
        q=nn.MaxPool(2),
        flat=nn.Flatten(),
        c=nn.Dense(120),
        t=nn.relu,
        d=nn.Dense(84),
        u=nn.relu,
        e=nn.Dense(10),
    )

    def by_jax(p: Any, x: Any) -> Any:
        for name, padding in (("a", "SAME"), ("b", "VALID")):
            axes = ("NHWC", "HWIO", "NHWC")
            x = jax.lax.conv_general_dilated(x, p[name]["w"], (1, 1), padding, None, None, axes)
            x = jax.nn.relu(x + p[name]["b"])
            window = (1, 2, 2, 1)
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")
        x = jax.nn.relu(affine(p["c"], x.reshape(len(x), -1)))
        return affine(p["e"], jax.nn.relu(affine(p["d"], x)))

    def by_torch(torch: Any, p: Any, x: Any) -> Any:
        f = torch.nn.functional
        x = x.permute(0, 3, 1, 2)  # one channel: no copy
        for name, padding in (("a", 2), ("b", 0)):
            x = f.max_pool2d(f.relu(f.conv2d(x, p[name]["w"], p[name]["b"], padding=padding)), 2)
        x = f.relu(affine(p["c"], x.permute(0, 2, 3, 1).reshape(len(x), -1)))
        return affine(p["e"], f.relu(affine(p["d"], x)))

    return Model(layer, by_jax, by_torch, *images(64, 28, 28, 1))


# --- LSTM over characters ------------------------------------------------------------------------


def lstm() -> Model:
    """Return the LSTM: 50 steps, batch 32, 128 hidden numbers."""
    size = 128
    layer = nn.serial(
        embedding=nn.Embedding(VOCABULARY, size), lstm=nn.LSTM(size), head=nn.Dense(VOCABULARY)
    )

    def by_jax(p: Any, x: Any) -> Any:
        w = p["lstm"]
        inputs = p["embedding"]["w"][x.T] @ w["w_xh"] + w["b_h"]  # of all steps at once

        def step(carry: Any, z: Any) -> Any:
            h, c = carry
            i, f, g, o = jnp.split(z + h @ w["w_hh"], 4, axis=-1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zero = jnp.zeros((len(x), size), inputs.dtype)
        h = jax.lax.scan(step, (zero, zero), inputs)[1]
        return affine(p["head"], jnp.swapaxes(h, 0, 1))

    def by_torch(torch: Any, p: Any, x: Any) -> Any:
        w = p["lstm"]
        zero = x.new_zeros((1, len(x), size), dtype=torch.float32)
        weights = [w["w_xh"], w["w_hh"], w["b_h"], torch.zeros_like(w["b_h"])]
        rows = torch.nn.functional.embedding(x, p["embedding"]["w"])
        h = torch.lstm(rows, (zero, zero), weights, True, 1, 0.0, True, False, True)[0]
        return affine(p["head"], h)

    return Model(layer, by_jax, by_torch, *text(32, 50))


# --- transformer ---------------------------------------------------------------------------------


def project(p: Any, name: str, x: Any) -> Any:
    """Return the queries, keys or values of all heads."""
    d, n, h = p[f"w_{name}"].shape
    y = x @ p[f"w_{name}"].reshape(d, n * h)
    return y.reshape(*x.shape[:-1], n, h) + p[f"b_{name}"]


def block(m: Any, p: Any, x: Any) -> Any:
    """Return what a block makes of x; m has the functions that JAX and torch call otherwise."""
    a, f = p["attention"], p["feed_forward"]
    y = m["norm"](p["norm_1"], x)
    y = m["attend"](*(project(a, name, y) for name in "qkv")).reshape(x.shape)
    x = x + y @ a["w_o"].reshape(x.shape[-1], -1) + a["b_o"]
    y = m["norm"](p["norm_2"], x)
    return x + affine(f["down"], m["gelu"](affine(f["up"], y)))


def transformer() -> Model:
    """Return a causal transformer: 2 blocks, 128 features, 4 heads, 64 steps, batch 8."""
    d, heads, t = 128, 4, 64
    layer = nn.serial(
        embedding=nn.Embedding(VOCABULARY, d),
        positions=nn.LearnedPositions(t),
        block_0=nn.TransformerBlock(heads, causal=True),
        block_1=nn.TransformerBlock(heads, causal=True),
        norm=nn.LayerNorm(),
        head=nn.Dense(VOCABULARY),
    )

    def logits(m: Any, p: Any, rows: Any) -> Any:
        h = rows + p["positions"]["w"]
        h = block(m, p["block_1"], block(m, p["block_0"], h))
        return affine(p["head"], m["norm"](p["norm"], h))

    by_jax_parts = {
        "norm": lambda p, x: jax.nn.standardize(x, epsilon=1e-5) * p["scale"] + p["bias"],
        "attend": lambda q, k, v: jax.nn.dot_product_attention(q, k, v, is_causal=True),
        "gelu": jax.nn.gelu,
    }

    def by_torch(torch: Any, p: Any, x: Any) -> Any:
        f = torch.nn.functional

        def attend(*qkv: Any) -> Any:
            q, k, v = (z.transpose(1, 2) for z in qkv)
            return f.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)

        parts = {
            "norm": lambda p, x: f.layer_norm(x, (d,), p["scale"], p["bias"], 1e-5),
            "attend": attend,
            "gelu": lambda x: f.gelu(x, approximate="tanh"),
        }
        return logits(parts, p, f.embedding(x, p["embedding"]["w"]))

    def by_jax(p: Any, x: Any) -> Any:
        return logits(by_jax_parts, p, p["embedding"]["w"][x])

    return Model(layer, by_jax, by_torch, *text(8, t))


# --- torch's layout of parameters ----------------------------------------------------------------


def torch_axes(path: Any, ndim: int) -> tuple[int, ...]:
    """Return the axes of a parameter in torch's order: kernels OIHW, weights of LSTM transposed."""
    if ndim == 4:
        return (3, 2, 0, 1)
    recurrent = fg.tree.keystr(path[-1:]) in ("['w_xh']", "['w_hh']")
    return (1, 0) if recurrent else tuple(range(ndim))


def to_torch(torch: Any, params: Any, device: Any) -> Any:
    """Return the parameters as leaves of torch."""

    def leaf(path: Any, x: Any) -> Any:
        x = np.asarray(x)
        x = np.ascontiguousarray(x.transpose(torch_axes(path, x.ndim)))
        return torch.tensor(x, device=device, requires_grad=True)

    return fg.tree.map_with_path(leaf, params)


def from_torch(params: Any) -> Any:
    """Return such parameters as NumPy arrays in funcgraph's layout."""

    def leaf(path: Any, x: Any) -> Any:
        x = x.detach().cpu().numpy()
        return x.transpose(np.argsort(torch_axes(path, x.ndim)))

    return fg.tree.map_with_path(leaf, params)


MODELS: dict[str, Callable[[], Model]] = {
    "MLP 784-512-512-10, batch 128": mlp,
    "CNN 28x28, batch 64": cnn,
    "LSTM, T=50, B=32, H=128": lstm,
    "transformer, T=64, B=8, d=128": transformer,
}

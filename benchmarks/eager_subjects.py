"""The subjects of `eager.py`: who computes what, each as a function without arguments.

A kind of derivative of the chain, and the results to compare:

    gradient  value, gradient of the sum
    jvp       value, tangent for the tangent of ones
    vmap      value of every lane (a number each)
    second    second derivative (of one number)
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from suite_by_hand import chain_by_hand
from suite_science import STEPS, chain_of

import funcgraph as fg
import funcgraph.numpy as fnp

__all__ = ["HAND", "OURS", "Subject", "mlp_subjects", "optional", "subjects_of"]

Run = Callable[[], Any]
Subject = tuple[str, Run]

OURS = "funcgraph, fnp"
HAND = "NumPy by hand"


def optional(name: str) -> Any:
    """Import a peer, or return None."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


# --- by hand -------------------------------------------------------------------------------------


def _value(x: Any) -> Any:
    for _ in range(STEPS):
        y = np.sin(x)
        x = np.tanh(x * y + 0.5) - y
    return x


def _tangent(x: Any) -> Any:
    """Value and derivative by each element, forwards."""
    d = np.ones_like(x)
    for _ in range(STEPS):
        y, dy = np.sin(x), d * np.cos(x)
        h = np.tanh(x * y + 0.5)
        x, d = h - y, (1 - h * h) * (d * y + x * dy) - dy
    return x, d


def _second(x: Any) -> Any:
    """Second derivative, forwards: d is the first derivative, e the second."""
    d, e = 1.0, 0.0
    for _ in range(STEPS):
        y, c = np.sin(x), np.cos(x)
        dy, ey = c * d, c * e - y * (d * d)
        du, eu = d * y + x * dy, e * y + 2 * (d * dy) + x * ey
        h = np.tanh(x * y + 0.5)
        s = 1 - h * h
        x, d, e = h - y, s * du - dy, s * (eu - 2 * h * (du * du)) - ey
    return e


def _by_hand(x: Any) -> dict[str, Run]:
    return {
        "gradient": lambda: chain_by_hand(x),
        "jvp": lambda: _tangent(x),
        "vmap": lambda: _value(x),
        "second": lambda: _second(x),
    }


# --- libraries -----------------------------------------------------------------------------------


def _ours(np_like: Any, x: Any) -> dict[str, Run]:
    def f(v: Any) -> Any:
        return chain_of(np_like, v)

    ones = np.ones_like(x)
    both, second, lanes = fg.value_and_grad(f), fg.grad(fg.grad(f)), fg.vmap(f)

    def vector() -> Any:
        y, pullback = fg.vjp(f, x)
        return y, pullback(ones)[0]

    return {
        "gradient": (lambda: both(x)) if np.ndim(x) == 0 else vector,
        "jvp": lambda: fg.jvp(f, (x,), (ones,)),
        "vmap": lambda: lanes(x),
        "second": lambda: second(x),
    }


def _autograd(x: Any) -> dict[str, Run]:
    autograd = importlib.import_module("autograd")
    anp = importlib.import_module("autograd.numpy")

    def f(v: Any) -> Any:
        return chain_of(anp, v)

    ones = np.ones_like(x)
    second, jvp, vjp = autograd.grad(autograd.grad(f)), autograd.make_jvp(f), autograd.make_vjp(f)

    def gradient() -> Any:
        pullback, y = vjp(x)
        return y, pullback(ones)

    return {
        "gradient": gradient,
        "jvp": lambda: jvp(x)(ones),
        "second": lambda: second(x),
    }


def _mygrad(x: Any) -> dict[str, Run]:
    mygrad = importlib.import_module("mygrad")

    def gradient() -> Any:
        t = mygrad.tensor(x)
        y = chain_of(mygrad, t)
        y.backward()
        return y.data, t.grad

    return {"gradient": gradient}


def _torch(x: Any) -> dict[str, Run]:
    torch = importlib.import_module("torch")
    t, ones = torch.tensor(x), torch.ones(np.shape(x))
    leaf = torch.tensor(x, requires_grad=True)

    def f(v: Any) -> Any:
        return chain_of(torch, v)

    def gradient() -> Any:
        y = f(leaf)
        return y, torch.autograd.grad(y, leaf, ones)[0]

    def second() -> Any:
        (g,) = torch.autograd.grad(f(leaf), leaf, create_graph=True)
        return torch.autograd.grad(g, leaf)[0]

    lanes = torch.func.vmap(f)
    return {
        "gradient": gradient,
        "jvp": lambda: torch.func.jvp(f, (t,), (ones,)),
        "vmap": lambda: lanes(t),
        "second": second,
    }


def _jax(x: Any) -> tuple[dict[str, Run], dict[str, Run]]:
    """Return JAX's runs, eager and compiled."""
    jax = importlib.import_module("jax")
    jnp, v = jax.numpy, jax.numpy.asarray(x)

    def f(u: Any) -> Any:
        return chain_of(jnp, u)

    def gradient(u: Any) -> Any:
        y, pullback = jax.vjp(f, u)
        return y, pullback(jnp.ones_like(y))[0]

    runs = {
        "gradient": gradient,
        "jvp": lambda u: jax.jvp(f, (u,), (jnp.ones_like(u),)),
        "vmap": jax.vmap(f),
        "second": jax.grad(jax.grad(f)),
    }

    def done(run: Any) -> Run:
        return lambda: jax.block_until_ready(run(v))

    return (
        {kind: done(run) for kind, run in runs.items()},
        {kind: done(jax.jit(run)) for kind, run in runs.items()},
    )


def subjects_of(kind: str, x: Any) -> list[Subject]:
    """Return who computes a kind of derivative of the chain at x."""
    runs = {OURS: _ours(fnp, x), "funcgraph, plain np": _ours(np, x), HAND: _by_hand(x)}
    if optional("autograd"):
        runs["autograd"] = _autograd(x)
    if optional("mygrad"):
        runs["mygrad"] = _mygrad(x)
    if optional("torch"):
        runs["torch eager"] = _torch(x)
    if optional("jax"):
        runs["jax eager"], runs["jax.jit"] = _jax(x)
    return [(name, kinds[kind]) for name, kinds in runs.items() if kind in kinds]


# --- a network -----------------------------------------------------------------------------------


def mlp(np_like: Any, params: Any, x: Any, onehot: Any) -> Any:
    """Mean cross-entropy of a network with one hidden layer."""
    w1, b1, w2, b2 = params
    h = np_like.tanh(x @ w1 + b1)
    z = h @ w2 + b2
    z = z - np_like.log(np_like.sum(np_like.exp(z), 1))[:, None]
    return -np_like.sum(z * onehot) / x.shape[0]


def mlp_by_hand(params: Any, x: Any, onehot: Any) -> tuple[Any, ...]:
    """Value and gradient of the network, written with NumPy by hand."""
    w1, b1, w2, b2 = params
    h = np.tanh(x @ w1 + b1)
    z = h @ w2 + b2
    e = np.exp(z)
    s = e.sum(1)
    n = x.shape[0]
    value = -np.sum((z - np.log(s)[:, None]) * onehot) / n
    gz = (e / s[:, None] - onehot) / n
    gh = (gz @ w2.T) * (1 - h * h)
    return value, x.T @ gh, gh.sum(0), h.T @ gz, gz.sum(0)


def mlp_subjects() -> list[Subject]:
    """Return who computes value and gradient of the network."""
    rng = np.random.default_rng(0)
    sizes = [(784, 128), (128,), (128, 10), (10,)]
    params = tuple(0.05 * rng.standard_normal(s) for s in sizes)
    x = rng.standard_normal((128, 784))
    onehot = np.eye(10)[rng.integers(0, 10, 128)]

    def flat(run: Callable[[], Any]) -> Run:
        def joined() -> Any:
            value, gradient = run()
            return value, *gradient

        return joined

    def loss(module: Any) -> Any:
        return lambda p: mlp(module, p, x, onehot)

    ours, plain = fg.value_and_grad(loss(fnp)), fg.value_and_grad(loss(np))
    out = [
        (OURS, flat(lambda: ours(params))),
        ("funcgraph, plain np", flat(lambda: plain(params))),
        (HAND, lambda: mlp_by_hand(params, x, onehot)),
    ]
    if optional("autograd"):
        autograd = importlib.import_module("autograd")
        theirs = autograd.value_and_grad(loss(importlib.import_module("autograd.numpy")))
        out.append(("autograd", flat(lambda: theirs(params))))
    torch = optional("torch")
    if torch:
        tp = [torch.tensor(p, requires_grad=True) for p in params]
        tx, ty = torch.tensor(x), torch.tensor(onehot)

        def run_torch() -> Any:
            y = mlp(torch, tp, tx, ty)
            return y, torch.autograd.grad(y, tp)

        out.append(("torch eager", flat(run_torch)))
    jax = optional("jax")
    if jax:
        jp, jx, jy = jax.tree.map(jax.numpy.asarray, (params, x, onehot))
        vj = jax.value_and_grad(lambda p: mlp(jax.numpy, p, jx, jy))
        for name, run in (("jax eager", vj), ("jax.jit", jax.jit(vj))):
            out.append((name, flat(lambda run=run: jax.block_until_ready(run(jp)))))
    return out

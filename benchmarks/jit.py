"""Time of compiled training steps and derivatives, side by side with the peers that are installed.

    python benchmarks/jit.py [--repeats 7] [--only NAME]

Workloads: an SGD step of an MLP 784-512-512-10 at batch 32, 128, 1024; an LSTM's gradient
(T=100, B=32, H=256); the gradient of an RK4 solver (1000 steps); the Hessian of a function of 50
parameters; per-example gradients. Subjects: funcgraph on NumPy (for training steps, with donated
parameters too) and on XLA, eager funcgraph, jax.jit, and for the MLP and the LSTM NumPy by hand and
torch. All in float32 but the solver and the Hessian; every subject's result is compared with
jax.jit's before it is timed. First calls (staging and compiling) are timed apart. Runs are
interleaved; ratios are between minima of the same run.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import peers
from _measure import first_calls, interleaved, machine, show

import funcgraph as fg
import funcgraph.numpy as fnp

jax.config.update("jax_enable_x64", True)
RNG = np.random.default_rng(0)
Workload = tuple[Callable[[Any], Callable[..., Any]], tuple[Any, ...]]


def normal(*shape: int, dtype: Any = np.float32) -> Any:
    """Return small random numbers."""
    return (RNG.standard_normal(shape) / np.sqrt(shape[0])).astype(dtype)


# --- workloads: m is funcgraph or jax, np_ its namespace ------------------------------------------


def mlp_step(batch: int) -> Workload:
    """SGD step of an MLP with cross-entropy."""
    sizes = (784, 512, 512, 10)
    params = [(normal(a, b), np.zeros(b, np.float32)) for a, b in itertools.pairwise(sizes)]
    x = normal(batch, 784)
    onehot = np.eye(10, dtype=np.float32)[RNG.integers(0, 10, batch)]

    def make(m: Any) -> Callable[..., Any]:
        def loss(params: Any, x: Any, onehot: Any) -> Any:
            for w, b in params[:-1]:
                x = fnp.maximum(x @ w + b, 0)
            w, b = params[-1]
            z = x @ w + b
            z = z - fnp.max(z, 1, keepdims=True)
            z = z - fnp.log(fnp.sum(fnp.exp(z), 1, keepdims=True))
            return -fnp.sum(z * onehot) / batch

        def step(params: Any, x: Any, onehot: Any) -> Any:
            grads = m.grad(loss)(params, x, onehot)
            return [
                (w - 0.1 * gw, b - 0.1 * gb) for (w, b), (gw, gb) in zip(params, grads, strict=True)
            ]

        return step

    return make, (params, x, onehot)


def lstm() -> Workload:
    """Gradient of an LSTM."""
    t, b, h = 100, 32, 256
    params = {"x": normal(h, 4 * h), "h": normal(h, 4 * h), "b": np.zeros(4 * h, np.float32)}
    xs = normal(t, b, h)

    def make(m: Any) -> Callable[..., Any]:
        scan = m.scan if m is fg else jax.lax.scan

        def loss(p: Any, xs: Any) -> Any:
            def cell(carry: Any, x: Any) -> Any:
                hidden, memory = carry
                z = x @ p["x"] + hidden @ p["h"] + p["b"]
                sigmoid = lambda v: 0.5 * (fnp.tanh(0.5 * v) + 1)
                i, f, o = (sigmoid(z[:, k * h : (k + 1) * h]) for k in range(3))
                memory = f * memory + i * fnp.tanh(z[:, 3 * h :])
                hidden = o * fnp.tanh(memory)
                return (hidden, memory), hidden

            zero = np.zeros((b, h), np.float32)
            return fnp.mean(scan(cell, (zero, zero), xs)[1] ** 2)

        return m.grad(loss)

    return make, (params, xs)


def ode() -> Workload:
    """Gradient of Lotka-Volterra through RK4, 1000 steps."""

    def make(m: Any) -> Callable[..., Any]:
        scan = m.scan if m is fg else jax.lax.scan

        def field(p: Any, y: Any) -> Any:
            a, b = y[0], y[1]
            return fnp.stack([p[0] * a - p[1] * a * b, p[2] * a * b - p[3] * b])

        def loss(p: Any, y: Any) -> Any:
            def step(y: Any, _: Any) -> Any:
                h = 0.01
                k1 = field(p, y)
                k2 = field(p, y + 0.5 * h * k1)
                k3 = field(p, y + 0.5 * h * k2)
                k4 = field(p, y + h * k3)
                return y + (h / 6) * (k1 + 2 * k2 + 2 * k3 + k4), None

            return fnp.sum(scan(step, y, None, 1000)[0])

        return m.grad(loss)

    return make, (np.array([1.5, 1.0, 1.0, 3.0]), np.array([1.0, 1.0]))


def hessian() -> Workload:
    """Hessian of a function of 50 parameters."""
    a = normal(50, 50, dtype=np.float64)
    make = lambda m: m.hessian(lambda x: fnp.sum(fnp.tanh(a @ x) ** 2) + fnp.sum(fnp.sin(x) * x))
    return make, (normal(50, dtype=np.float64),)


def per_example() -> Workload:
    """Gradients of an MLP 784-128-10 for each of 64 examples."""
    params = [normal(784, 128), normal(128, 10)]
    x, y = normal(64, 784), normal(64, 10)

    def make(m: Any) -> Callable[..., Any]:
        loss = lambda p, x, y: fnp.sum((fnp.tanh(x @ p[0]) @ p[1] - y) ** 2)
        return m.vmap(m.grad(loss), (None, 0, 0))

    return make, (params, x, y)


WORKLOADS: dict[str, Callable[[], Workload]] = {
    "MLP step, batch 32": lambda: mlp_step(32),
    "MLP step, batch 128": lambda: mlp_step(128),
    "MLP step, batch 1024": lambda: mlp_step(1024),
    "LSTM gradient": lstm,
    "ODE gradient": ode,
    "Hessian": hessian,
    "per-example gradients": per_example,
}


# --- measuring -----------------------------------------------------------------------------------


PEERS: dict[str, dict[str, Callable[..., Any]]] = {
    "MLP": {"NumPy by hand": peers.numpy_mlp, "torch": peers.torch_mlp},
    "LSTM": {"NumPy by hand": peers.numpy_lstm, "torch": peers.torch_lstm},
}


def donating(step: Callable[..., Any], args: Any) -> Callable[[], Any]:
    """Return a function that takes one training step after the other, in place."""
    compiled = fg.jit(step, donate_argnums=0)
    state, *data = args
    state = fg.tree.map(np.copy, state)

    def run() -> Any:
        nonlocal state
        state = compiled(state, *data)
        return state

    return run


def subjects(title: str, make: Any, args: Any) -> dict[str, Callable[[], Any]]:
    """Return what is timed; JAX's arguments lie on the device."""
    on_device = jax.tree.map(jnp.asarray, args)
    compiled, xla = jax.jit(make(jax)), fg.jit(make(fg), backend="xla")
    ours, eager = fg.jit(make(fg)), make(fg)
    runs = {
        "jax.jit": lambda: jax.block_until_ready(compiled(*on_device)),
        "funcgraph, xla": lambda: jax.block_until_ready(xla(*on_device)),
        "funcgraph, numpy": lambda: ours(*args),
        "funcgraph, eager": lambda: eager(*args),
    }
    if "step" in title:
        runs["same, donated"] = donating(make(fg), args)
    for name, peer in PEERS.get(title.partition(" ")[0], {}).items():
        run = peer(*args)
        if run is not None:
            runs[name] = run
    return runs


def check(results: dict[str, Any]) -> None:
    """Raise AssertionError unless all results agree."""
    wanted = jax.tree.leaves(results["jax.jit"])
    for name, result in results.items():
        for a, b in zip(fg.tree.leaves(result), wanted, strict=True):
            tol = 1e-3 if b.dtype == np.float32 else 1e-8
            scale = float(np.abs(b).max()) + 1e-30
            np.testing.assert_allclose(
                np.asarray(a) / scale, np.asarray(b) / scale, rtol=0, atol=tol, err_msg=name
            )


def main() -> None:
    """Check, measure and print every workload."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", default="", help="part of a workload's name")
    options = parser.parse_args()
    print(machine("numpy", "jax", "torch"))
    for title, workload in WORKLOADS.items():
        if options.only not in title:
            continue
        runs = subjects(title, *workload())
        results, first = first_calls(runs)
        check(results)
        show(title, interleaved(runs, options.repeats), first, "jax.jit")


if __name__ == "__main__":
    main()

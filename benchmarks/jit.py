"""Time of compiled SGD steps, side by side with the peers that are installed.

    python benchmarks/jit.py [--repeats 7] [--only NAME]

Workloads: an MLP 784-512-512-10 with cross-entropy at batch 32, 128, 1024, in float32 (derivatives
by themselves are in suite.py). Subjects: funcgraph on NumPy, with donated parameters too, and on
XLA, eager funcgraph, jax.jit, NumPy by hand and torch; every subject's result is compared with
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

RNG = np.random.default_rng(0)
Workload = tuple[Callable[[Any], Callable[..., Any]], tuple[Any, ...]]


def normal(*shape: int) -> Any:
    """Return small random numbers."""
    return (RNG.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)


# --- workloads: m is funcgraph or jax ------------------------------------------------------------


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


WORKLOADS: dict[str, Callable[[], Workload]] = {
    "MLP step, batch 32": lambda: mlp_step(32),
    "MLP step, batch 128": lambda: mlp_step(128),
    "MLP step, batch 1024": lambda: mlp_step(1024),
}


# --- measuring -----------------------------------------------------------------------------------


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


def subjects(make: Any, args: Any) -> dict[str, Callable[[], Any]]:
    """Return what is timed; JAX's arguments lie on the device."""
    on_device = jax.tree.map(jnp.asarray, args)
    compiled, xla = jax.jit(make(jax)), fg.jit(make(fg), backend="xla")
    ours, eager = fg.jit(make(fg)), make(fg)
    runs = {
        "jax.jit": lambda: jax.block_until_ready(compiled(*on_device)),
        "funcgraph, xla": lambda: jax.block_until_ready(xla(*on_device)),
        "funcgraph, numpy": lambda: ours(*args),
        "funcgraph, eager": lambda: eager(*args),
        "numpy, donated": donating(make(fg), args),
        "NumPy by hand": peers.numpy_mlp(*args),
    }
    torch = peers.torch_mlp(*args)
    return runs | {"torch": torch} if torch else runs


def check(results: dict[str, Any]) -> None:
    """Raise AssertionError unless all results agree."""
    wanted = jax.tree.leaves(results["jax.jit"])
    for name, result in results.items():
        for a, b in zip(fg.tree.leaves(result), wanted, strict=True):
            scale = float(np.abs(b).max()) + 1e-30
            np.testing.assert_allclose(
                np.asarray(a) / scale, np.asarray(b) / scale, rtol=0, atol=1e-3, err_msg=name
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
        runs = subjects(*workload())
        results, first = first_calls(runs)
        check(results)
        show(title, interleaved(runs, options.repeats), first, "jax.jit")


if __name__ == "__main__":
    main()

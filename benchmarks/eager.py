"""Time of value + gradient in eager mode, side by side with the peers that are installed.

    python benchmarks/eager.py [--json FILE] [--repeats 15]

Workloads: a chain of 150 elementwise operations at shapes (), (10,), (1000,), (100000,), and an
MLP 784-128-10 (batch 128, softmax cross-entropy). Subjects: funcgraph through `funcgraph.numpy`
and through plain `numpy`, NumPy differentiated by hand, autograd, PyTorch eager, JAX eager and,
for orientation, jax.jit. Everything is float64; every subject's gradient is compared with the
hand-written one before it is timed. Runs are interleaved; the minimum and the median are shown,
ratios are between minima of the same run.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import platform
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from suite_by_hand import chain_by_hand
from suite_science import STEPS, chain_of

import funcgraph as fg
import funcgraph.numpy as fnp

Subject = tuple[str, Callable[[], tuple[Any, Any]]]


def mlp(np_like: Any, params: Any, x: Any, onehot: Any) -> Any:
    """Mean cross-entropy of a network with one hidden layer."""
    w1, b1, w2, b2 = params
    h = np_like.tanh(x @ w1 + b1)
    z = h @ w2 + b2
    z = z - np_like.log(np_like.sum(np_like.exp(z), 1))[:, None]
    return -np_like.sum(z * onehot) / x.shape[0]


def mlp_by_hand(params: Any, x: Any, onehot: Any) -> tuple[Any, Any]:
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
    return value, (x.T @ gh, gh.sum(0), h.T @ gz, gz.sum(0))


def optional(name: str) -> Any:
    """Import a peer, or return None."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def chain_subjects(x: Any) -> list[Subject]:
    """Subjects of the chain; the gradient is of the sum of the outputs."""

    def ours(np_like: Any) -> Any:
        def run() -> Any:
            y, pullback = fg.vjp(lambda v: chain_of(np_like, v), x)
            return y, pullback(np.ones_like(y))[0]

        return run

    def scalar(np_like: Any) -> Any:
        f = fg.value_and_grad(lambda v: chain_of(np_like, v))
        return lambda: f(x)

    make = scalar if np.ndim(x) == 0 else ours
    out = [
        ("funcgraph, fnp", make(fnp)),
        ("funcgraph, plain np", make(np)),
        ("NumPy by hand", lambda: chain_by_hand(x)),
    ]
    if optional("autograd"):
        autograd = importlib.import_module("autograd")
        anp = importlib.import_module("autograd.numpy")
        f = autograd.elementwise_grad(lambda v: chain_of(anp, v))
        out.append(("autograd", lambda: (None, f(x))))
    torch = optional("torch")
    if torch:
        tx = torch.tensor(x, requires_grad=True)

        def run_torch() -> Any:
            y = chain_of(torch, tx)
            (g,) = torch.autograd.grad(y, tx, torch.ones_like(y))
            return y, g

        out.append(("torch eager", run_torch))
    jax = optional("jax")
    if jax:
        jx, jnp = jax.numpy.asarray(x), jax.numpy

        def run_jax(v: Any) -> Any:
            y, pullback = jax.vjp(lambda u: chain_of(jnp, u), v)
            return y, pullback(jnp.ones_like(y))[0]

        compiled = jax.jit(run_jax)
        out.append(("jax eager", lambda: jax.block_until_ready(run_jax(jx))))
        out.append(("jax.jit", lambda: jax.block_until_ready(compiled(jx))))
    return out


def mlp_subjects() -> list[Subject]:
    """Subjects of the network."""
    rng = np.random.default_rng(0)
    sizes = [(784, 128), (128,), (128, 10), (10,)]
    params = tuple(0.05 * rng.standard_normal(s) for s in sizes)
    x = rng.standard_normal((128, 784))
    onehot = np.eye(10)[rng.integers(0, 10, 128)]
    ours = [
        (name, fg.value_and_grad(lambda p, m=module: mlp(m, p, x, onehot)))
        for name, module in (("funcgraph, fnp", fnp), ("funcgraph, plain np", np))
    ]
    out: list[Subject] = [(name, lambda f=f: f(params)) for name, f in ours]
    out.append(("NumPy by hand", lambda: mlp_by_hand(params, x, onehot)))
    if optional("autograd"):
        autograd = importlib.import_module("autograd")
        anp = importlib.import_module("autograd.numpy")
        va = autograd.value_and_grad(lambda p: mlp(anp, p, x, onehot))
        out.append(("autograd", lambda: va(params)))
    torch = optional("torch")
    if torch:
        tp = [torch.tensor(p, requires_grad=True) for p in params]
        tx, ty = torch.tensor(x), torch.tensor(onehot)

        def run_torch() -> Any:
            y = mlp(torch, tp, tx, ty)
            return y, torch.autograd.grad(y, tp)

        out.append(("torch eager", run_torch))
    jax = optional("jax")
    if jax:
        jnp = jax.numpy
        jp, jx, jy = jax.tree.map(jnp.asarray, (params, x, onehot))
        vj = jax.value_and_grad(lambda p: mlp(jnp, p, jx, jy))
        compiled = jax.jit(vj)
        out.append(("jax eager", lambda: jax.block_until_ready(vj(jp))))
        out.append(("jax.jit", lambda: jax.block_until_ready(compiled(jp))))
    return out


def check(subjects: list[Subject]) -> None:
    """Raise AssertionError unless every gradient equals the hand-written one."""
    reference = dict(subjects)["NumPy by hand"]()[1]
    for name, run in subjects:
        got, want = run()[1], reference
        pairs = zip(got, want, strict=True) if isinstance(want, tuple) else [(got, want)]
        for a, b in pairs:
            a = a.detach().numpy() if hasattr(a, "detach") else np.asarray(a)
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12, err_msg=name)


def measure(subjects: list[Subject], repeats: int) -> dict[str, tuple[float, float]]:
    """Return (minimum, median) seconds of each subject, from interleaved runs."""
    counts = {}
    for name, run in subjects:
        start = time.perf_counter()
        run()
        counts[name] = max(1, int(0.02 / (time.perf_counter() - start)))
    times: dict[str, list[float]] = {name: [] for name, _ in subjects}
    order = random.Random(0)
    for _ in range(repeats):
        # In turn, and each time after another one, whose threads may spin on for a moment.
        for name, run in order.sample(subjects, len(subjects)):
            run()
            start = time.perf_counter()
            for _ in range(counts[name]):
                run()
            times[name].append((time.perf_counter() - start) / counts[name])
    return {name: (min(t), statistics.median(t)) for name, t in times.items()}


def show(title: str, result: dict[str, tuple[float, float]], operations: int) -> None:
    """Print one table: microseconds per operation and ratios of funcgraph to each peer."""
    base = result["funcgraph, fnp"][0]
    print(f"\n{title}")
    print(f"  {'subject':<22}{'min':>12}{'median':>12}   fnp's time / this")
    for name, (low, mid) in result.items():
        scale = 1e6 / operations
        unit = "us/op" if operations > 1 else "us"
        print(
            f"  {name:<22}{low * scale:>9.2f} {unit:<5}{mid * scale:>7.2f} {unit:<5}"
            f"  {base / low:.3f}"
        )


def main() -> None:
    """Check, measure and print every workload."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", help="write the figures to this file")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    jax, torch = optional("jax"), optional("torch")
    if jax:
        jax.config.update("jax_enable_x64", True)
    if torch:
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(os.cpu_count() or 1)
    versions = {
        m.__name__: importlib.metadata.version(m.__name__)
        for m in (np, optional("autograd"), torch, jax, fg)
        if m
    }
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {versions}")
    results = {}
    for shape in ((), (10,), (1000,), (100_000,)):
        x = np.linspace(0.1, 1.0, max(1, int(np.prod(shape)))).reshape(shape)[()]
        subjects = chain_subjects(x)
        check(subjects)
        title = f"chain of {5 * STEPS} operations at {shape}"
        results[title] = measure(subjects, options.repeats)
        show(title, results[title], 5 * STEPS)
    subjects = mlp_subjects()
    check(subjects)
    title = "MLP 784-128-10, batch 128"
    results[title] = measure(subjects, options.repeats)
    show(title, results[title], 1)
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"versions": versions, "results": results}, file, indent=1)


if __name__ == "__main__":
    main()

"""Time of derivatives in eager mode, side by side with the peers that are installed.

    python benchmarks/eager.py [--json FILE] [--repeats 15] [--markdown]

Workloads: value + gradient of a chain of 150 elementwise operations at shapes (), (10,), (1000,),
(100000,); its jvp, its vmap and the gradient of its gradient; value + gradient of an MLP 784-128-10
(batch 128, softmax cross-entropy). Subjects (`eager_subjects.py`): funcgraph through
`funcgraph.numpy` and through plain `numpy`, NumPy by hand, autograd, MyGrad, PyTorch eager, JAX
eager, as far as they have the transformation, and for orientation jax.jit. Everything is float64;
every subject's result is compared with the hand-written one before it is timed. Runs are
interleaved; the minimum and the median are shown, ratios are between minima of the same run. At the
end: what became of the goals.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import random
import statistics
import time
from typing import Any

import numpy as np
from eager_subjects import HAND, OURS, Subject, mlp_subjects, optional, subjects_of
from suite_science import STEPS

Times = dict[str, tuple[float, float]]  # minimum and median by subject

OPERATIONS = 5 * STEPS
MLP = "MLP 784-128-10, batch 128"
VALUE_AND_GRAD = "value + gradient"

# The most that funcgraph.numpy may take, as a multiple of a peer's time in the same run.
GOALS = [
    *[(f"{VALUE_AND_GRAD} at {shape}", peer, most)
      for shape in ("()", "(10,)")
      for peer, most in (("torch eager", 0.33), ("autograd", 0.12), ("jax eager", 0.015))],
    (MLP, HAND, 1.15),
    (MLP, "torch eager", 1.0),
]  # fmt: skip


def chains() -> dict[str, list[Subject]]:
    """Return the subjects of each workload on the chain."""
    out = {}
    for shape in ((), (10,), (1000,), (100_000,)):
        x = np.linspace(0.1, 1.0, max(1, int(np.prod(shape)))).reshape(shape)[()]
        out[f"{VALUE_AND_GRAD} at {shape}"] = subjects_of("gradient", x)
    x = np.linspace(0.1, 1.0, 10)
    out["jvp at (10,)"] = subjects_of("jvp", x)
    out["vmap over 10 numbers"] = subjects_of("vmap", x)
    out["gradient of the gradient at ()"] = subjects_of("second", x[3])
    return out


def check(subjects: list[Subject]) -> None:
    """Raise AssertionError unless every result equals the hand-written one."""
    wanted = dict(subjects)[HAND]()
    for name, run in subjects:
        got = run()
        pairs = zip(got, wanted, strict=True) if isinstance(wanted, tuple) else [(got, wanted)]
        for a, b in pairs:
            a = a.detach().numpy() if hasattr(a, "detach") else np.asarray(a)
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12, err_msg=name)


def measure(subjects: list[Subject], repeats: int) -> Times:
    """Return (minimum, median) seconds of each subject, from interleaved runs."""
    counts = {}
    for name, run in subjects:
        start = time.perf_counter()
        run()
        counts[name] = max(1, int(0.01 / (time.perf_counter() - start)))
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


def show(title: str, result: Times, operations: int) -> None:
    """Print one table: microseconds per operation and ratios of funcgraph to each peer."""
    base = result[OURS][0]
    unit = "us/op" if operations > 1 else "us"
    scale = 1e6 / operations
    print(f"\n{title}")
    print(f"  {'subject':<22}{'min':>12}{'median':>12}   fnp's time / this")
    for name, (low, mid) in result.items():
        print(
            f"  {name:<22}{low * scale:>9.2f} {unit:<5}{mid * scale:>7.2f} {unit:<5}"
            f"  {base / low:.3f}"
        )


def show_goals(results: dict[str, Times]) -> None:
    """Print for each goal what was measured."""
    print("\ngoals: time of funcgraph, fnp, as a multiple of the peer's")
    for workload, peer, most in GOALS:
        if peer in results[workload]:
            ratio = results[workload][OURS][0] / results[workload][peer][0]
            verdict = "met" if ratio <= most else "missed"
            print(f"  {workload:<30}{peer:<16}at most {most:<6} measured {ratio:.3f}  {verdict}")


def show_markdown(results: dict[str, Times]) -> None:
    """Print the minima as a table: microseconds per operation, of the MLP per step."""
    names = list(dict.fromkeys(name for times in results.values() for name in times))
    print("\n| subject | " + " | ".join(results) + " |")
    print("| --- |" + " ---: |" * len(results))
    for name in names:
        cells = []
        for workload, times in results.items():
            scale = 1e6 / (1 if workload == MLP else OPERATIONS)
            cells.append(f"{times[name][0] * scale:.3g}" if name in times else "")
        print(f"| {name} | " + " | ".join(cells) + " |")


def main() -> None:
    """Check, measure and print every workload."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", help="write the figures to this file")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--markdown", action="store_true", help="print one table of all minima too")
    options = parser.parse_args()
    jax, torch = optional("jax"), optional("torch")
    if jax:
        jax.config.update("jax_enable_x64", True)
    if torch:
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(os.cpu_count() or 1)
    names = [n for n in ("numpy", "autograd", "mygrad", "torch", "jax") if optional(n)]
    versions: dict[str, Any] = {n: importlib.metadata.version(n) for n in (*names, "funcgraph")}
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {versions}")
    results: dict[str, Times] = {}
    for title, subjects in {**chains(), MLP: mlp_subjects()}.items():
        check(subjects)
        results[title] = measure(subjects, options.repeats)
        show(title, results[title], 1 if title == MLP else OPERATIONS)
    show_goals(results)
    if options.markdown:
        show_markdown(results)
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"versions": versions, "results": results}, file, indent=1)


if __name__ == "__main__":
    main()

"""Weak scaling of a data-parallel training step: as many rows for each device, more devices.

    python benchmarks/weak_scaling.py [--rows 256] [--steps 20] [--devices 1 2 4 8]

Devices are simulated on the CPU, all on the same cores, so that more of them do not compute faster.
What can be measured is what dividing the work costs: the time of a step beside the time of the same
rows on one device. Losses are compared with those of one device before anything is printed. The
model is an MLP 256-512-512-10 with Adam; the first axis of its state is divided over the devices
where that is possible ("divided"), or each has a copy ("copies").
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from functools import partial
from typing import Any

import numpy as np
from _measure import machine
from suite_report import markdown, number

SETTINGS = ((1, 1), (2, 1), (4, 1), (8, 1), (2, 2), (8, 2))  # devices, processes
WAITS = 300  # seconds


def work(options: argparse.Namespace) -> None:
    """Train on the devices of this process and of those it is connected to; print figures."""
    import jax
    from jax.sharding import Mesh, NamedSharding
    from jax.sharding import PartitionSpec as P

    import funcgraph as fg
    from funcgraph import losses, nn, optim, train

    if options.coordinator:
        jax.distributed.initialize(options.coordinator, options.processes, options.process)
    devices = np.array(jax.devices())
    mesh = Mesh(devices, ("data",))
    whole, divided = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))

    def place(x: Any, keep: bool = False) -> Any:
        x = np.asarray(x)
        even = x.ndim > 0 and x.shape[0] % len(devices) == 0 and not keep
        return jax.make_array_from_callback(x.shape, divided if even else whole, x.__getitem__)

    model = nn.serial(nn.Dense(512), np.tanh, nn.Dense(512), np.tanh, nn.Dense(10))
    _, params = model.init(fg.random.key(0), (-1, 256))

    def loss(params: Any, x: Any, labels: Any) -> Any:
        logits = model.apply(params, x)
        return np.mean(losses.softmax_cross_entropy_with_integer_labels(logits, labels))

    rng = np.random.default_rng(0)
    x = rng.normal(size=(options.rows, 256)).astype(np.float32)
    labels = rng.integers(0, 10, size=options.rows).astype(np.int32)
    batch = [place(x), place(labels)]
    figures: dict[str, Any] = {"losses": []}
    for kind in ("copies", "divided"):
        step = train.train_step(loss, optim.adam(1e-3), backend="xla")
        state = fg.tree.map(partial(place, keep=kind == "copies"), step.init(params))
        times = []
        for _ in range(options.steps):
            start = time.perf_counter()
            state, metrics = step(state, *batch)
            figures["losses"].append(float(metrics.loss))
            times.append(time.perf_counter() - start)
        figures[kind] = min(times[1:])
    print(json.dumps(figures))


def figures_of(devices: int, processes: int, rows: int, steps: int) -> dict[str, Any]:
    """Return the figures of process 0."""
    flags = f"--xla_force_host_platform_device_count={devices // processes}"
    environ = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, __file__, "--worker", "--rows", str(rows), "--steps", str(steps)]
    if processes > 1:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        command += ["--coordinator", address, "--processes", str(processes), "--process"]
    running = [
        subprocess.Popen(
            command if processes == 1 else [*command, str(k)],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for k in range(processes)
    ]
    found = [process.communicate(timeout=WAITS) for process in running]
    for process, (_, errors) in zip(running, found, strict=True):
        assert process.returncode == 0, errors
    lines = [line for line in found[0][0].splitlines() if line.startswith("{")]
    return json.loads(lines[-1])  # type: ignore[no-any-return]


def main() -> None:
    """Measure all settings, or be one of their processes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=256, help="for each device")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--devices", type=int, nargs="*", help="how many; default: all settings")
    for name, kind in (("--processes", int), ("--process", int), ("--coordinator", str)):
        parser.add_argument(name, type=kind, help=argparse.SUPPRESS)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options)
        return
    rows, alone = [], {}
    for devices, processes in SETTINGS:
        if options.devices and devices not in options.devices:
            continue
        total = options.rows * devices
        if devices not in alone:
            alone[devices] = figures_of(1, 1, total, options.steps)
        one = alone[devices]
        found = one if devices == 1 else figures_of(devices, processes, total, options.steps)
        np.testing.assert_allclose(found["losses"], one["losses"], rtol=1e-4)
        base = one["copies"]
        cells = [number(x, 1e3) for x in (base, found["copies"], found["divided"])]
        ratios = [number(found[kind] / base, unit="x") for kind in ("copies", "divided")]
        rows.append([str(devices), str(processes), f"{total:,}", *cells, *ratios])
        print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    head = ("devices", "processes", "rows", "one device, ms", "copies, ms", "divided, ms",
            "copies / one", "divided / one")  # fmt: skip
    print(f"{machine('numpy', 'jax')}\n\n{markdown(head, rows)}")


if __name__ == "__main__":
    main()

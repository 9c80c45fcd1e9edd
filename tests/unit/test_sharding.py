"""Data-parallel training on XLA: several devices, and several processes, give one device's losses.

Devices are simulated on the CPU; each test runs in Pythons of its own, where they can be set up.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import funcgraph as fg

pytest.importorskip("jax")
ROOT = Path(__file__).resolve().parents[2]

# A training loop on all devices there are: rows of the batch are divided, parameters are copied.
TRAIN = """
import os, sys
import jax
if len(sys.argv) > 1:
    address, number = f"127.0.0.1:{sys.argv[1]}", int(sys.argv[2])
    jax.distributed.initialize(address, num_processes=2, process_id=number)
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
import funcgraph as fg

rng = np.random.default_rng(0)
params = {"w": rng.normal(size=(6, 8)), "v": rng.normal(size=(8, 1))}
xs, ys = rng.normal(size=(16, 6)), rng.normal(size=(16, 1))
mesh = Mesh(np.array(jax.devices()), ("data",))
rows, whole = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())


def loss(params, x, y):
    return np.mean((np.tanh(x @ params["w"]) @ params["v"] - y) ** 2)


def step(params, x, y):
    value, grads = fg.value_and_grad(loss)(params, x, y)
    return fg.tree.map(lambda p, g: p - 0.1 * g, params, grads), value


jitted = fg.jit(step, backend="xla", in_shardings=(whole, rows, rows), out_shardings=(whole, whole),
                donate_argnums=0)


def place(x, sharding):
    return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])


with jax.enable_x64(True):
    x, y = place(xs, rows), place(ys, rows)
    state = fg.tree.map(lambda p: place(p, whole), params)
print("devices", len(jax.devices()), "of a batch:", x.addressable_shards[0].data.shape)
for _ in range(5):
    state, value = jitted(state, x, y)
    print("loss", repr(float(value)))
assert state["w"].sharding.is_equivalent_to(whole, 2) and state["w"].dtype == np.float64
"""


def train(devices: int, *arguments: str) -> subprocess.Popen[str]:
    """Start the program with so many devices in its process."""
    return python(devices, "-c", TRAIN, *arguments)


def python(devices: int, *arguments: str) -> subprocess.Popen[str]:
    """Start a Python with so many devices in its process."""
    environ = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def losses(process: subprocess.Popen[str], wanted: str) -> list[float]:
    """Return the printed losses; what is printed first must be `wanted`."""
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert wanted in out.splitlines()  # the library that connects processes prints, too
    return [float(line.split()[1]) for line in out.splitlines() if line.startswith("loss ")]


def free_port() -> str:
    """Return the number of a port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_eight_devices_and_two_processes_train_as_one_device():
    port = free_port()
    alone, eight, *pair = train(1), train(8), train(2, port, "0"), train(2, port, "1")
    one = losses(alone, "devices 1 of a batch: (16, 6)")
    assert one[-1] < one[0]
    assert losses(eight, "devices 8 of a batch: (2, 6)") == pytest.approx(one, rel=1e-12)
    for process in pair:
        assert losses(process, "devices 4 of a batch: (4, 6)") == pytest.approx(one, rel=1e-12)


def test_the_example_trains_and_saves_alike_on_one_device_and_in_two_processes(tmp_path: Path):
    """With dropout, batches in random order, and the optimiser's state divided."""
    program = str(ROOT / "examples" / "many_devices.py")
    two = ("--coordinator", f"127.0.0.1:{free_port()}", "--processes", "2")
    files = [tmp_path / "one.npz", tmp_path / "two.npz"]
    running = [
        python(1, program, "--save", str(files[0])),
        python(4, program, "--save", str(files[1]), *two, "--process", "0"),
        python(4, program, "--save", str(files[1]), *two, "--process", "1"),
    ]
    found = [process.communicate(timeout=240) for process in running]
    for process, (_, errors) in zip(running, found, strict=True):
        assert process.returncode == 0, errors
    printed = [re.findall(r"^epoch \d loss (\S+)", out, re.MULTILINE) for out, _ in found]
    assert len(printed[0]) == 3 and printed[2] == []
    wanted = [float(x) for x in printed[0]]
    assert [float(x) for x in printed[1]] == pytest.approx(wanted, rel=1e-4)
    assert wanted[-1] < wanted[0]
    assert "8 devices, 2 processes" in found[1][0]
    one, eight = (fg.tree.leaves(fg.io.load(file)) for file in files)
    for a, b in zip(one, eight, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-5)

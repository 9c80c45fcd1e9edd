"""Data-parallel training over all devices of all processes, with the optimiser's state divided.

    python examples/many_devices.py                                  # the devices of this machine
    XLA_FLAGS=--xla_force_host_platform_device_count=8 python examples/many_devices.py

Two processes, which may be on two machines (the address is that of process 0):

    python examples/many_devices.py --coordinator 127.0.0.1:1234 --processes 2 --process 0 &
    python examples/many_devices.py --coordinator 127.0.0.1:1234 --processes 2 --process 1

The losses do not depend on how many devices and processes there are, dropout included. Needs
funcgraph[xla]. See docs/many_hosts.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import funcgraph as fg
from funcgraph import io, losses, nn, optim, random, train

ROWS, FEATURES, BATCH = 512, 16, 128


def arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description="Train on all devices of all processes.")
    parser.add_argument("--coordinator", help="host:port of process 0")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--process", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--save", type=Path, help="file for the last state, written by process 0")
    return parser.parse_args()


def rows() -> tuple[Any, Any]:
    """Return the data: here each process makes all of it, elsewhere it reads its own part."""
    x = np.asarray(random.normal(random.key(0), (ROWS, FEATURES)))
    return x, (x[:, 0] * x[:, 1] > 0).astype(np.int32)


def main() -> None:
    """Train, and save the state if that is asked for."""
    options = arguments()
    if options.coordinator:  # before anything else asks JAX for devices
        jax.distributed.initialize(options.coordinator, options.processes, options.process)
    mesh = Mesh(np.array(jax.devices()), ("data",))
    whole, divided = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))

    model = nn.serial(nn.Dense(64), np.tanh, nn.Dropout(0.1), nn.Dense(64), np.tanh, nn.Dense(2))
    _, params = model.init(random.key(1), (-1, FEATURES))

    def loss(params: Any, x: Any, labels: Any, *, key: Any = None, train: bool = False) -> Any:
        logits = model.apply(params, x, key=key, train=train)
        return np.mean(losses.softmax_cross_entropy_with_integer_labels(logits, labels))

    def place(x: Any) -> Any:
        """Divide the first axis of a leaf over the devices, if that is possible."""
        x = np.asarray(x)
        even = x.ndim > 0 and x.shape[0] % len(jax.devices()) == 0
        return jax.make_array_from_callback(x.shape, divided if even else whole, x.__getitem__)

    step = train.train_step(loss, optim.adam(0.01), backend="xla")
    state = fg.tree.map(place, step.init(params, key=random.key(3)))
    mine = BATCH // jax.process_count()  # rows of each batch that this process has
    first = jax.process_index() * mine
    for epoch in range(options.epochs):
        # The same key everywhere: all processes agree on the order of the rows.
        for batch in train.batches(rows(), BATCH, key=random.fold_in(random.key(2), epoch)):
            local = [x[first : first + mine] for x in batch]
            arrays = [jax.make_array_from_process_local_data(divided, x) for x in local]
            state, metrics = step(state, *arrays)
        value = float(metrics.loss)  # every process has it
        if jax.process_index() == 0:
            print(f"epoch {epoch + 1} loss {value:.5f}", flush=True)
    if options.save:
        gathered = jax.jit(lambda tree: tree, out_shardings=whole)(tuple(state))  # all take part
        if jax.process_index() == 0:
            io.save(options.save, train.TrainState(*jax.device_get(gathered)))
    if jax.process_index() == 0:
        print(f"{len(jax.devices())} devices, {jax.process_count()} processes")


if __name__ == "__main__":
    main()

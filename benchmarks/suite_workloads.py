"""The table of the suite's workloads.

To add one: a row here, its function and its arguments in suite_science.py or suite_networks.py.
May import NumPy alone: every subject is also run in a process that has no other library.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import suite_by_hand as by_hand
import suite_networks as networks
import suite_science as science
from suite_libraries import SUBJECTS, ByHand

__all__ = ["WORKLOADS", "Workload", "label", "run_of"]

Size = dict[str, int]


class Workload(NamedTuple):
    """A function, its derivative and three sizes, from small to large."""

    name: str
    function: Callable[[Any], Callable[..., Any]]  # of a Library: f(params, *data)
    arguments: Callable[..., Any]  # of a size: NumPy's arrays
    sizes: tuple[Size, ...]
    derivative: str = "value_and_grad"  # a method of Library
    by_hand: Callable[..., Callable[[], Any]] | None = None
    loops: bool = False  # steps one after the other, that torch.compile would unroll


def sizes(**axes: tuple[int, int, int]) -> tuple[Size, ...]:
    """Return three sizes, from the three numbers for each axis."""
    return tuple({name: numbers[k] for name, numbers in axes.items()} for k in range(3))


RECURRENT = sizes(steps=(20, 50, 100), batch=(8, 32, 32), size=(32, 128, 256))

ROWS = (
    Workload(
        "chain of 150 operations",
        science.chain,
        science.chain_arguments,
        sizes(n=(0, 10, 10_000)),
        by_hand=by_hand.chain,
    ),
    Workload(
        "logistic regression",
        science.logistic,
        science.logistic_arguments,
        sizes(n=(100, 2000, 20_000), d=(10, 50, 200)),
    ),
    Workload(
        "Rosenbrock gradient",
        science.rosenbrock,
        science.rosenbrock_arguments,
        sizes(n=(10, 1000, 100_000)),
    ),
    Workload(
        "Rosenbrock Hessian",
        science.rosenbrock,
        science.rosenbrock_arguments,
        sizes(n=(10, 50, 200)),
        "hessian",
    ),
    Workload("n-body energy", science.bodies, science.bodies_arguments, sizes(n=(10, 100, 1000))),
    Workload(
        "Lotka-Volterra RK4",
        science.lotka_volterra,
        science.lotka_volterra_arguments,
        sizes(steps=(100, 1000, 10_000)),
        loops=True,
    ),
    Workload(
        "Hodgkin-Huxley RK4",
        science.hodgkin_huxley,
        science.hodgkin_huxley_arguments,
        sizes(cells=(1, 32, 256)),
        by_hand=by_hand.hodgkin_huxley,
        loops=True,
    ),
    Workload(
        "Gaussian process",
        science.gaussian_process,
        science.gaussian_process_arguments,
        sizes(n=(30, 100, 300)),
    ),
    Workload(
        "HMM forward",
        science.hidden_markov,
        science.hidden_markov_arguments,
        sizes(steps=(100, 500, 1000), states=(8, 32, 128)),
        by_hand=by_hand.hidden_markov,
        loops=True,
    ),
    Workload(
        "MLP 784-512-512-10",
        networks.mlp,
        networks.mlp_arguments,
        sizes(batch=(32, 128, 1024)),
        by_hand=by_hand.mlp,
    ),
    Workload("LeNet-like CNN", networks.lenet, networks.lenet_arguments, sizes(batch=(8, 64, 256))),
    Workload("CIFAR-like CNN", networks.cifar, networks.cifar_arguments, sizes(batch=(8, 32, 128))),
    Workload(
        "RNN",
        networks.recurrent("rnn"),
        networks.recurrent_arguments(1),
        RECURRENT,
        loops=True,
    ),
    Workload(
        "LSTM",
        networks.recurrent("lstm"),
        networks.recurrent_arguments(4),
        RECURRENT,
        by_hand=by_hand.lstm,
        loops=True,
    ),
    Workload(
        "transformer block",
        networks.transformer,
        networks.transformer_arguments,
        sizes(batch=(2, 8, 8), time=(32, 64, 128), d=(64, 128, 256)),
    ),
    Workload(
        "Jacobian n to n",
        science.two_layers,
        science.two_layers_arguments,
        sizes(n=(10, 100, 300)),
        "jacobian",
    ),
    Workload(
        "Hessian of n parameters",
        science.curved,
        science.curved_arguments,
        sizes(n=(10, 50, 200)),
        "hessian",
    ),
    Workload(
        "per-example, MLP",
        networks.of_one(networks.mlp),
        networks.mlp_arguments,
        sizes(batch=(8, 64, 128)),
        "per_example",
    ),
    Workload(
        "per-example, LeNet",
        networks.of_one(networks.lenet),
        networks.lenet_arguments,
        sizes(batch=(8, 64, 128)),
        "per_example",
    ),
    Workload(
        "embedding",
        networks.embedding,
        networks.embedding_arguments,
        sizes(vocabulary=(1000, 50_000, 50_000), d=(32, 128, 128), tokens=(500, 1000, 8000)),
    ),
)
WORKLOADS = {row.name: row for row in ROWS}


def label(size: Size) -> str:
    """Return a size as text."""
    return ", ".join(f"{key} {number}" for key, number in size.items())


def run_of(workload: Workload, name: str, args: Any) -> Callable[[], Any]:
    """Return what computes the workload's derivative once; NotImplementedError: it cannot."""
    subject = SUBJECTS[name]
    library, kind = subject.make(), workload.derivative
    if isinstance(library, ByHand):
        if workload.by_hand is None:
            raise NotImplementedError
        return workload.by_hand(*args)
    if (workload.loops and name == "torch.compile") or (subject.value and kind != "value_and_grad"):
        raise NotImplementedError
    return library.run(workload.function, "value" if subject.value else kind, args)

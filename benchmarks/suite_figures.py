"""Figures of the suite's workloads, and what they are to be at most.

An entry is what suite.py has measured of one workload and size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = [
    "BASE",
    "GOALS",
    "OURS",
    "PEERS",
    "Entry",
    "Goal",
    "beside_best",
    "more_than_eager",
    "ratio",
    "title",
]

Entry = dict[str, Any]
BASE = "jax.jit"
OURS = XLA, NUMPY, EAGER = "funcgraph xla", "funcgraph numpy", "funcgraph eager"
PEERS = ("numpy by hand", "torch", "torch.compile", "autograd", "mygrad", "jax eager")


def title(entry: Entry) -> str:
    """Return the name of a workload, with its size."""
    return f"{entry['workload']}, {entry['size']}"


def ratio(entry: Entry, subject: str, key: str = "min", base: str = BASE) -> float | None:
    """Return a figure of a subject, divided by another's."""
    figures = entry["figures"]
    mine, other = (figures.get(name, {}).get(key) for name in (subject, base))
    return mine / other if mine and other else None


def beside_best(entry: Entry, key: str) -> float | None:
    """Return the smallest figure of ours, divided by the smallest of the peers."""
    figures = entry["figures"]
    ours, peers = (
        [x for name in names if (x := figures.get(name, {}).get(key))]
        for names in (OURS, (BASE, *PEERS))
    )
    return min(ours) / min(peers) if ours and peers else None


def more_than_eager(entry: Entry) -> float | None:
    """Return by how many ms the first call of NumPy's engine is longer than two eager calls."""
    first, eager = (
        entry["figures"].get(name, {}).get(key) for name, key in ((NUMPY, "first"), (EAGER, "min"))
    )
    return 1e3 * (first - 2 * eager) if first and eager else None


class Goal(NamedTuple):
    """A figure of the workloads whose titles begin with `where`, and what it is to be at most."""

    what: str
    of: Callable[[Entry], float | None]
    most: float | None = None
    where: str = ""


def to_peer(subject: str, base: str, most: float | None = None, where: str = "") -> Goal:
    """Return the goal for a ratio of times."""
    what = f"{subject} / {base}" + (f": {where}" if where else "")
    return Goal(what, lambda e: ratio(e, subject, base=base), most, where)


GOALS = (
    Goal("fastest of ours / fastest peer", lambda e: beside_best(e, "min")),
    to_peer(XLA, BASE, 1.02),
    to_peer(NUMPY, BASE),
    to_peer(NUMPY, BASE, 0.5, "chain of 150 operations, n 0"),
    to_peer(NUMPY, BASE, 1.5, "n-body energy"),
    to_peer(NUMPY, BASE, 0.6, "Lotka-Volterra RK4"),
    to_peer(NUMPY, "numpy by hand", 1.05, "Hodgkin-Huxley RK4, cells 32"),
    to_peer(NUMPY, BASE, 1.0, "Gaussian process, n 300"),
    to_peer(NUMPY, "numpy by hand", 1.05, "HMM forward"),
    to_peer(NUMPY, "torch", 0.15, "HMM forward, steps 100, states 8"),
    to_peer(NUMPY, BASE, 1.4, "MLP 784-512-512-10, batch 32"),
    to_peer(NUMPY, BASE, 1.15, "MLP 784-512-512-10, batch 128"),
    to_peer(NUMPY, BASE, 0.95, "MLP 784-512-512-10, batch 1024"),
    to_peer(NUMPY, BASE, 0.6, "LeNet-like CNN"),
    to_peer(NUMPY, "torch", 1.15, "LeNet-like CNN"),
    to_peer(NUMPY, BASE, 0.65, "CIFAR-like CNN"),
    to_peer(NUMPY, BASE, 0.75, "RNN, steps 100"),
    to_peer(NUMPY, BASE, 0.7, "LSTM, steps 100"),
    to_peer(NUMPY, BASE, 0.9, "transformer block, batch 8, time 128"),
    to_peer(NUMPY, BASE, 0.35, "per-example, MLP"),
    Goal("gradient / value, numpy", lambda e: ratio(e, NUMPY, base="numpy, value"), 4.0),
    to_peer(EAGER, "torch", 1.0, "MLP 784-512-512-10, batch 128"),
    to_peer(EAGER, "numpy by hand", 1.15, "MLP 784-512-512-10, batch 128"),
    to_peer(EAGER, "torch"),
    Goal("first call less 2 eager ones, numpy, ms", more_than_eager, 10.0),
    Goal("first result of a process, numpy / jax.jit", lambda e: ratio(e, NUMPY, "fresh"), 0.35),
    Goal("peak of memory, numpy / jax.jit", lambda e: ratio(e, NUMPY, "peak"), 0.35),
    Goal("peak of memory, least of ours / least peer", lambda e: beside_best(e, "peak"), 1.2),
)

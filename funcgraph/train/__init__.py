"""Training: one compiled step, epochs around it, batches, and parameters chosen by their paths.

    partition, combine      take a pytree of parameters apart by patterns, put it together
    train_step, TrainState  state, batch -> state, metrics
    batches                 rows of arrays in shuffled batches, from any position on
    fit, History            epochs, validation, early stopping, checkpoints

Each works without the others. May import `core`, `io`, `numpy`, `nn`, `optim`, `random`,
`transforms`, `control`, `tree`.
"""

from funcgraph.train.data import Batches, batches
from funcgraph.train.fit import FitResult, Record, fit
from funcgraph.train.history import History
from funcgraph.train.partition import combine, partition
from funcgraph.train.step import Metrics, TrainState, TrainStep, train_step

__all__ = [
    "Batches",
    "FitResult",
    "History",
    "Metrics",
    "Record",
    "TrainState",
    "TrainStep",
    "batches",
    "combine",
    "fit",
    "partition",
    "train_step",
]

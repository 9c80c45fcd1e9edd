"""Batches of rows of arrays: `batches`. May import `core`, `random`, `tree`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from funcgraph import tree
from funcgraph.core.aval import shape_of
from funcgraph.errors import TrainingError
from funcgraph.random.discrete import permutation
from funcgraph.random.keys import as_key, fold_in

__all__ = ["Batches", "arguments", "batches", "epoch_of", "rows_of"]


class Batches:
    """Rows of arrays in batches: what `batches` returns. A loop over it runs through all epochs."""

    def __init__(
        self,
        data: Any,
        size: int,
        key: Any,
        drop_last: bool,
        epochs: int | None,
        start: tuple[int, int],
    ) -> None:
        """See batches."""
        self.data = data
        self.size = size
        self.key = None if key is None else np.asarray(as_key(key))
        self.drop_last = drop_last
        self.epochs = epochs
        self.start = start
        self.length = _common_length(data)
        if len(self) == 0:
            raise TrainingError(
                f"there is no batch: {self.length} rows, size={size}, drop_last={drop_last}."
            )
        if not 0 <= start[1] <= len(self) or start[0] < 0:
            raise TrainingError(
                f"start=(epoch, batch) is {start}, but an epoch has {len(self)} batches."
            )

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return self.length // self.size if self.drop_last else -(-self.length // self.size)

    def __repr__(self) -> str:
        order = "in order" if self.key is None else "shuffled"
        return f"<{len(self)} batches of {self.size} of {self.length} rows, {order}>"

    def epoch(self, number: int, start: int = 0) -> Iterator[Any]:
        """Return the batches of an epoch, from one on; each epoch has an order of its own."""
        order = None
        if self.key is not None:
            order = np.asarray(permutation(fold_in(self.key, number), self.length))
        for k in range(start, len(self)):
            rows = slice(k * self.size, min((k + 1) * self.size, self.length))
            yield tree.map(
                lambda x, rows=rows: _take(x, rows if order is None else order[rows]), self.data
            )

    def __iter__(self) -> BatchIterator:
        return BatchIterator(self)


class BatchIterator:
    """A loop over batches; `position` says where it is.

    Attributes:
      position: (epoch, batch) of the batch that comes next: `start` of a loop that goes on there.
    """

    def __init__(self, of: Batches) -> None:
        """Start where `of` says."""
        self._of = of
        self.position = of.start
        self._batches = of.epoch(*of.start)

    def __iter__(self) -> BatchIterator:
        return self

    def __next__(self) -> Any:
        """Return the next batch."""
        epoch, k = self.position
        if k == len(self._of):
            epoch, k = epoch + 1, 0
            self._batches = self._of.epoch(epoch)
        if self._of.epochs is not None and epoch >= self._of.epochs:
            raise StopIteration
        batch = next(self._batches)
        self.position = (epoch, k + 1)
        return batch


def _take(x: Any, rows: Any) -> Any:
    """Return rows of an array; of a file on disk only those are read."""
    part = x[rows]
    return np.asarray(part) if isinstance(part, np.ndarray) else part


def _common_length(data: Any) -> int:
    lengths: dict[str, int] = {}
    for path, x in tree.leaves_with_path(data):
        where = tree.keystr(path, simple=True, separator="/") or "the data"
        if not hasattr(x, "shape") or not shape_of(x):
            raise TrainingError(
                f"batches takes arrays with a first axis of rows, but {where} is a "
                f"{type(x).__name__} without one: use np.asarray for lists."
            )
        lengths[where] = shape_of(x)[0]
    if not lengths:
        raise TrainingError("batches needs at least one array, got none.")
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{where} has {n}" for where, n in lengths.items())
        raise TrainingError(f"batches needs arrays with the same number of rows, but {listed}.")
    return next(iter(lengths.values()))


def batches(
    data: Any,
    size: int,
    *,
    key: Any = None,
    drop_last: bool = False,
    epochs: int | None = 1,
    start: tuple[int, int] = (0, 0),
) -> Batches:
    """Return batches of the rows of arrays.

    Epoch n has the order permutation(fold_in(key, n), rows), which is the same on every machine.

    Args:
      data: Pytree of arrays with a common length of their first axes; memory-mapped arrays
        (np.load(..., mmap_mode="r")) are read batch by batch.
      size: Number of rows of a batch.
      key: Random key of the order; default: rows stay in order, and batches are views of the data.
      drop_last: Whether to leave out the last batch of an epoch if it is smaller.
      epochs: How often a loop runs through the data; None: without end. (`fit` has its own.)
      start: (epoch, batch) at which a loop begins: the `position` of an earlier one.

    Returns:
      An iterable of pytrees like data, with len() batches in an epoch.

    Raises:
      TrainingError: The lengths differ, there is no array, or no batch.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> x, y = np.arange(10), np.arange(10) ** 2
      >>> for a, b in batches((x, y), 4, key=fg.random.key(0)):
      ...     print(a, b)
      [0 8 2 4] [ 0 64  4 16]
      [1 7 9 5] [ 1 49 81 25]
      [3 6] [ 9 36]
      >>> loop = iter(batches(x, 4, epochs=None))
      >>> next(loop), loop.position
      (array([0, 1, 2, 3]), (0, 1))
    """
    if isinstance(size, bool) or not hasattr(size, "__index__") or size < 1:
        raise TrainingError(f"the size of batches is a positive integer, got {size!r}.")
    epoch, batch = start
    return Batches(data, int(size), key, drop_last, epochs, (int(epoch), int(batch)))


def epoch_of(data: Any, number: int, start: int) -> Iterator[Any]:
    """Return the batches of an epoch, from one on, of Batches or of any iterable of batches."""
    if isinstance(data, Batches):
        return data.epoch(number, start)
    return itertools.islice(iter(data), start, None)


def arguments(batch: Any) -> tuple[Any, ...]:
    """Return a batch as arguments of the loss: a tuple is several."""
    return batch if type(batch) is tuple else (batch,)


def rows_of(batch: Any) -> int:
    """Return the number of rows of a batch; 1 where there is no such number."""
    leaves = tree.leaves(batch)
    shape = shape_of(leaves[0]) if leaves and hasattr(leaves[0], "shape") else ()
    return shape[0] if shape else 1

"""What training measured, epoch by epoch: `History`, and the means it is made of.

May import `funcgraph.errors` and NumPy.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from funcgraph.errors import MissingPackageError

__all__ = ["History", "Means", "numbers_in", "optional"]

_PENDING = 64  # measurements that are kept on the device before they are read


def optional(module: str, what: str) -> Any:
    """Import a module of a package that need not be installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingPackageError(
            f"{what} needs {package}, which is not installed: pip install 'funcgraph[examples]'."
        ) from error


class History(dict[str, list[Any]]):
    """A dict of lists with one entry for each epoch; prints as a table.

    Example:
      >>> history = History()
      >>> history.append({"epoch": 1, "loss": 0.5})
      >>> history.append({"epoch": 2, "loss": 0.25, "val_loss": 0.3})
      >>> history["loss"]
      [0.5, 0.25]
      >>> print(history)
      epoch   loss  val_loss
          1    0.5
          2   0.25       0.3
    """

    def append(self, metrics: dict[str, Any]) -> None:
        """Add an epoch; what is not measured in one is None there."""
        before = len(next(iter(self.values()), []))
        for name in metrics:
            self.setdefault(name, [None] * before)
        for name, column in self.items():
            column.append(metrics.get(name))

    def __str__(self) -> str:
        columns = [[name, *map(_shown, values)] for name, values in self.items()]
        widths = [max(map(len, column)) for column in columns]
        rows = zip(*columns, strict=True)
        return "\n".join(
            "  ".join([cell.rjust(w) for cell, w in zip(row, widths, strict=True)]).rstrip()
            for row in rows
        )

    def plot(self, *names: str, axes: Any = None) -> Any:
        """Draw curves over the epochs, with matplotlib.

        Args:
          *names: What to draw; default: the losses.
          axes: Axes of matplotlib to draw into; default: new ones.

        Returns:
          The axes.

        Raises:
          MissingPackageError: matplotlib is not installed.
          KeyError: There is nothing of that name.
        """
        if axes is None:
            axes = optional("matplotlib.pyplot", "history.plot").subplots()[1]
        for name in names or [n for n in ("loss", "val_loss") if n in self]:
            values = [np.nan if v is None else v for v in self[name]]
            axes.plot(self["epoch"], values, label=name)
        axes.set_xlabel("epoch")
        axes.legend()
        return axes


def _shown(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


class Means:
    """Weighted means of measurements, which are read from the device now and then only."""

    def __init__(self, sums: dict[str, list[float]] | None = None) -> None:
        """Start empty, or with sums from `sums()`."""
        self._sums: dict[str, list[float]] = sums or {}  # name: weighted sum, weight
        self._pending: list[tuple[dict[str, Any], float]] = []

    def add(self, values: dict[str, Any], weight: float) -> None:
        """Add measurements, scalars or arrays whose mean counts."""
        self._pending.append((values, weight))
        if len(self._pending) >= _PENDING:
            self.sums()

    def sums(self) -> dict[str, list[float]]:
        """Return the sums so far, as numbers of Python."""
        for values, weight in self._pending:
            for name, value in values.items():
                entry = self._sums.setdefault(name, [0.0, 0.0])
                entry[0] += weight * float(np.mean(np.asarray(value, np.float64)))
                entry[1] += weight
        self._pending.clear()
        return self._sums

    def means(self) -> dict[str, float]:
        """Return the means."""
        return {name: total / weight for name, (total, weight) in self.sums().items()}


def numbers_in(aux: Any, parts: int = 1) -> dict[str, Any]:
    """Return those entries of a dict that are real scalars (stacked, one for each of the parts)."""
    if not isinstance(aux, dict):
        return {}
    wanted = () if parts == 1 else (parts,)
    return {
        name: x
        for name, x in aux.items()
        if isinstance(name, str)
        and hasattr(x, "dtype")
        and x.shape == wanted
        and x.dtype.kind in "biuf"
    }

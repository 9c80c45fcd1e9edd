"""Training curves. May import `errors`, `plots.canvas`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from funcgraph.errors import PlotError
from funcgraph.plots.canvas import new_axes

__all__ = ["training_curves"]

_VALIDATION = "val_"


def training_curves(
    history: Mapping[str, Sequence[Any]], *names: str, ax: Any = None, label: str = ""
) -> Any:
    """Draw what was measured in training, epoch by epoch.

    A curve for each name; `val_loss` is dashed, in the colour of `loss`. What was not measured in
    an epoch (None) is bridged.

    Args:
      history: A History of `fg.fit`, or a dict of lists of numbers with an entry for each epoch,
        which are counted from 1 unless there is a list "epoch".
      *names: What to draw; default: all losses, or everything if nothing is called a loss.
      ax: Axes to draw into; default: new ones. Draw several runs into the same.
      label: Stands before the names in the legend, to tell runs apart.

    Returns:
      The Axes.

    Raises:
      PlotError: There is nothing of that name, or nothing at all.
      MissingPackageError: matplotlib is not installed.

    Example:
      >>> ax = training_curves({"loss": [2.0, 1.0, 0.5], "val_loss": [2.1, None, 0.9]})
      >>> [line.get_label() for line in ax.lines], ax.get_xlabel()
      (['loss', 'val_loss'], 'epoch')
    """
    measured = [name for name in history if name != "epoch"]
    chosen = list(names) or [name for name in measured if name.endswith("loss")] or measured
    unknown = [name for name in chosen if name not in history]
    if unknown or not chosen:
        raise PlotError(
            f"training_curves was asked for {unknown or 'nothing'}, but the history has "
            f"{measured}. Pass names that it has."
        )
    ax = new_axes(ax, "training_curves", figsize=(5.0, 3.5))
    colors: dict[str, Any] = {}
    for name in chosen:
        values = np.array([np.nan if v is None else v for v in history[name]], np.float64)
        epochs = np.asarray(history.get("epoch", range(1, len(values) + 1)), np.float64)
        if epochs.shape != values.shape:
            raise PlotError(
                f"the history has {len(epochs)} epochs, but {len(values)} values of {name!r}."
            )
        known = ~np.isnan(values)
        measurement = name.removeprefix(_VALIDATION)
        (line,) = ax.plot(
            epochs[known],
            values[known],
            linestyle="--" if measurement != name else "-",
            marker="o" if known.sum() == 1 else "",
            color=colors.get(measurement),
            label=f"{label} {name}".strip(),
        )
        colors.setdefault(measurement, line.get_color())
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel("epoch")
    if len(chosen) == 1:
        ax.set_ylabel(chosen[0])
    ax.legend()
    return ax

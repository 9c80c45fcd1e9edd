"""Bars of benchmarks. May import `errors`, `plots.canvas`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from funcgraph.errors import PlotError
from funcgraph.plots.canvas import new_axes

__all__ = ["benchmark_bars"]

_WIDTH = 0.8  # of all bars of a subject; the rest is between the subjects


def benchmark_bars(
    ratios: Mapping[str, Mapping[str, float]],
    *,
    ax: Any = None,
    reference: float | None = 1.0,
    ylabel: str = "ratio",
    log: bool = False,
) -> Any:
    """Draw a bar for each contestant and subject, the subjects side by side.

    Args:
      ratios: For each contestant (the legend) its number by subject (the axis), such as its time
        divided by that of a reference. A subject that a contestant lacks has no bar.
      ax: Axes to draw into; default: new ones.
      reference: Where to draw a line across; None: nowhere.
      ylabel: What the numbers are.
      log: Whether the axis of the numbers is logarithmic.

    Returns:
      The Axes.

    Raises:
      PlotError: There are no numbers.
      MissingPackageError: matplotlib is not installed.

    Example:
      >>> ax = benchmark_bars({"ours": {"mlp": 1.0, "conv": 0.8}, "theirs": {"mlp": 1.5}})
      >>> [tick.get_text() for tick in ax.get_xticklabels()], len(ax.patches)
      (['mlp', 'conv'], 3)
    """
    subjects = list(dict.fromkeys(subject for row in ratios.values() for subject in row))
    if not subjects:
        raise PlotError(
            "benchmark_bars got no numbers: pass {contestant: {subject: ratio, ...}, ...}."
        )
    count = len(ratios)
    ax = new_axes(ax, "benchmark_bars", figsize=(max(4.0, 0.3 * len(subjects) * (count + 1)), 3.5))
    width = _WIDTH / count
    for k, (name, row) in enumerate(ratios.items()):
        places = [i for i, subject in enumerate(subjects) if subject in row]
        heights = [row[subjects[i]] for i in places]
        shift = (k + 0.5) * width - _WIDTH / 2
        ax.bar([i + shift for i in places], heights, width, label=name)
    if reference is not None:
        ax.axhline(reference, color="black", linewidth=0.8, linestyle=":")
    if log:
        ax.set_yscale("log")
    turned = {"rotation": 30, "ha": "right"} if sum(map(len, subjects)) > 40 else {}
    ax.set_xticks(range(len(subjects)), subjects, **turned)
    ax.set_ylabel(ylabel)
    ax.legend()
    return ax

"""Histograms of the leaves of a pytree. May import `errors`, `tree`, `plots.canvas`."""

from __future__ import annotations

from typing import Any

import numpy as np

from funcgraph import tree
from funcgraph.errors import PlotError
from funcgraph.plots.canvas import panels

__all__ = ["histograms"]


def histograms(
    params: Any, *, bins: int = 40, log: bool = False, columns: int = 3, figure: Any = None
) -> Any:
    """Draw how the numbers in each leaf of parameters or gradients are distributed.

    A panel for each leaf, with its key path and shape above. Numbers that are not finite are left
    out and counted there, in red.

    Args:
      params: Pytree of real arrays.
      bins: Number of bars.
      log: Whether the counts are on a logarithmic axis.
      columns: At most so many panels in a row.
      figure: Figure (or SubFigure) to draw into; default: a new one.

    Returns:
      The Figure.

    Raises:
      PlotError: There are no leaves, or one is no array of real numbers.
      MissingPackageError: matplotlib is not installed.

    Example:
      >>> import numpy as np
      >>> figure = histograms({"w": np.ones((3, 2)), "b": np.zeros(2)})
      >>> [ax.get_title() for ax in figure.axes]
      ["['b']  (2,)", "['w']  (3, 2)"]
    """
    leaves = [(tree.keystr(path), x) for path, x in tree.leaves_with_path(params)]
    if not leaves:
        raise PlotError("histograms got a pytree without leaves: pass parameters or gradients.")
    values = [(path, _real(path, x)) for path, x in leaves]
    figure, axes = panels(figure, "histograms", len(values), columns, (3.0, 2.2))
    for ax, (path, x) in zip(axes, values, strict=True):
        finite = x[np.isfinite(x)]
        ax.hist(finite, bins=bins, log=log)
        lost = x.size - finite.size
        title = f"{path}  {x.shape}".strip()
        ax.set_title(title + (f", {lost} not finite" if lost else ""), fontsize="medium")
        if lost:
            ax.title.set_color("tab:red")
    return figure


def _real(path: str, x: Any) -> Any:
    array = np.asarray(x)
    if array.dtype.kind in "biu":
        return array.astype(np.float64)
    try:
        if array.dtype.kind != "c":
            return array.astype(np.float64)  # bfloat16 too, which NumPy does not count among "f"
    except (TypeError, ValueError):
        pass
    raise PlotError(
        f"histograms needs real numbers, but the leaf at {path or 'the root'} has dtype "
        f"{array.dtype}: pass its parts, tree.map(np.abs, params)."
    )

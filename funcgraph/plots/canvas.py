"""Where pictures are drawn: new Axes and Figures, and grids of panels.

May import `errors`, `train.history`.
"""

from __future__ import annotations

import math
from typing import Any

from funcgraph.train.history import optional

__all__ = ["new_axes", "panels"]


def new_axes(ax: Any, what: str, **options: Any) -> Any:
    """Return the Axes to draw into: the given ones, or those of a new figure.

    Args:
      ax: Axes, or None.
      what: The function that needs matplotlib, for the message if there is none.
      **options: Of a new figure.
    """
    pyplot = optional("matplotlib.pyplot", what)
    return pyplot.subplots(layout="constrained", **options)[1] if ax is None else ax


def panels(figure: Any, what: str, count: int, columns: int, size: tuple[float, float]) -> Any:
    """Return a figure and `count` Axes in it, in rows of at most `columns`.

    Args:
      figure: A Figure or SubFigure, or None for a new one.
      what: The function that needs matplotlib.
      count: Number of panels.
      columns: At most so many in a row.
      size: Width and height of a panel of a new figure, in inches.
    """
    pyplot = optional("matplotlib.pyplot", what)
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    if figure is None:
        whole = (size[0] * columns, size[1] * rows)
        figure = pyplot.figure(figsize=whole, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    for ax in axes[count:]:
        ax.set_axis_off()
    return figure, axes[:count]

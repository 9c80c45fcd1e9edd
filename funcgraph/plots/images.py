"""Filters, feature maps and attention maps as images. May import `errors`, `plots.canvas`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from funcgraph.errors import PlotError, ShapeError
from funcgraph.plots.canvas import new_axes, panels

__all__ = ["attention_maps", "feature_maps", "filters"]


def _mosaic(tiles: Any, columns: int) -> Any:
    """Return tiles (n, H, W) or (n, H, W, 3) as one image, with lines of nan between them."""
    n, height, width, *rest = tiles.shape
    rows = math.ceil(n / columns)
    image = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, *rest), np.nan)
    for k, tile in enumerate(tiles):
        i, j = k // columns * (height + 1), k % columns * (width + 1)
        image[i : i + height, j : j + width] = tile
    return image


def _square(n: int) -> int:
    """Return how many columns make n tiles nearly a square."""
    return math.ceil(math.sqrt(n))


def _show(ax: Any, what: str, image: Any, **options: Any) -> Any:
    height, width = image.shape[:2]
    scale = 4.0 / max(height, width)
    size = (max(1.0, scale * width), max(1.0, scale * height) + 0.4)
    ax = new_axes(ax, what, figsize=size)
    ax.imshow(image, interpolation="nearest", **options)
    ax.set_axis_off()
    return ax


def filters(weights: Any, *, columns: int | None = None, ax: Any = None) -> Any:
    """Draw the filters of a convolution.

    A tile for each filter, in the colours of its three input channels or, with one, from blue
    (negative) to red (positive). With another number of input channels, a row for each of them and
    a column for each filter.

    Args:
      weights: Array (H, W, I, O), as layers keep it.
      columns: Number of tiles in a row, for 1 or 3 input channels; default: nearly a square.
      ax: Axes to draw into; default: new ones.

    Returns:
      The Axes.

    Raises:
      ShapeError: weights has not four axes, or is empty.
      MissingPackageError: matplotlib is not installed.

    Example:
      >>> import numpy as np
      >>> ax = filters(np.random.default_rng(0).normal(size=(3, 3, 1, 8)))
      >>> ax.get_title(), ax.images[0].get_array().shape
      ('8 filters of 3 x 3, input channels: 1', (11, 11))
    """
    w = np.asarray(weights, np.float64)
    if w.ndim != 4 or not w.size:
        raise ShapeError(f"filters needs weights of shape (H, W, I, O), got {w.shape}.")
    height, width, inputs, outputs = w.shape
    limit = float(np.max(np.abs(w))) or 1.0
    options: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
    if inputs == 3:
        tiles, columns = np.moveaxis(w, 3, 0) / (2 * limit) + 0.5, columns or _square(outputs)
        image, options = np.nan_to_num(_mosaic(tiles, columns), nan=1.0), {}
    elif inputs == 1:
        image = _mosaic(np.moveaxis(w[:, :, 0], 2, 0), columns or _square(outputs))
    else:
        image = _mosaic(w.transpose(2, 3, 0, 1).reshape(-1, height, width), outputs)
    ax = _show(ax, "filters", image, **options)
    ax.set_title(f"{outputs} filters of {height} x {width}, input channels: {inputs}")
    return ax


def feature_maps(activations: Any, *, columns: int | None = None, ax: Any = None) -> Any:
    """Draw what a layer gives for an image: a tile for each channel.

    Args:
      activations: Array (H, W, C), or (N, H, W, C): then a row for each of the N images.
      columns: Number of tiles in a row, for one image; default: nearly a square.
      ax: Axes to draw into; default: new ones.

    Returns:
      The Axes.

    Raises:
      ShapeError: activations has neither three axes nor four, or is empty.
      MissingPackageError: matplotlib is not installed.

    Example:
      >>> import numpy as np
      >>> ax = feature_maps(np.zeros((1, 5, 5, 4)))
      >>> ax.get_title(), ax.images[0].get_array().shape
      ('4 channels of 5 x 5', (11, 11))
    """
    x = np.asarray(activations, np.float64)
    x = x[None] if x.ndim == 3 else x
    if x.ndim != 4 or not x.size:
        raise ShapeError(
            f"feature_maps needs activations of shape (H, W, C) or (N, H, W, C), got {x.shape}."
        )
    images, height, width, channels = x.shape
    tiles = x.transpose(0, 3, 1, 2).reshape(-1, height, width)
    row = channels if images > 1 else columns or _square(channels)
    ax = _show(ax, "feature_maps", _mosaic(tiles, row), cmap="viridis")
    of = f", {images} images" if images > 1 else ""
    ax.set_title(f"{channels} channels of {height} x {width}{of}")
    return ax


def attention_maps(
    weights: Any,
    tokens: Sequence[str] | None = None,
    keys: Sequence[str] | None = None,
    *,
    columns: int = 4,
    figure: Any = None,
) -> Any:
    """Draw what each position attends to: a panel for each head, a row for each query.

    Args:
      weights: Array (heads, T, S), or (T, S) for one head: rows of numbers in [0, 1].
      tokens: The T tokens, to be written along the axis of the queries, and along that of the keys
        if there are as many and `keys` is not given.
      keys: The S tokens of the other axis.
      columns: At most so many panels in a row.
      figure: Figure (or SubFigure) to draw into; default: a new one.

    Returns:
      The Figure.

    Raises:
      ShapeError: weights has neither two axes nor three, or is empty.
      PlotError: There are not as many tokens as positions.
      MissingPackageError: matplotlib is not installed.

    Example:
      >>> import numpy as np
      >>> figure = attention_maps(np.full((2, 3, 3), 1 / 3), ["the", "cat", "sat"])
      >>> [ax.get_title() for ax in figure.axes if ax.images]
      ['head 0', 'head 1']
    """
    w = np.asarray(weights, np.float64)
    w = w[None] if w.ndim == 2 else w
    if w.ndim != 3 or not w.size:
        raise ShapeError(
            f"attention_maps needs weights of shape (heads, T, S) or (T, S), got {w.shape}. Take "
            "one example of a batch: weights[0]."
        )
    heads, queries, count = w.shape
    keys = tokens if keys is None and queries == count else keys
    for names, n, axis in ((tokens, queries, "queries"), (keys, count, "keys")):
        if names is not None and len(names) != n:
            raise PlotError(f"attention_maps got {len(names)} tokens for {n} {axis}.")
    figure, axes = panels(figure, "attention_maps", heads, columns, (2.6, 2.6))
    for k, ax in enumerate(axes):
        image = ax.imshow(w[k], cmap="viridis", vmin=0.0, vmax=max(1.0, float(np.nanmax(w))))
        ax.set_title(f"head {k}", fontsize="medium")
        if keys is not None:
            ax.set_xticks(range(count), keys, rotation=90)
        if tokens is not None:
            ax.set_yticks(range(queries), tokens)
    axes[0].set_ylabel("query")
    axes[0].set_xlabel("key")
    figure.colorbar(image, ax=list(axes), shrink=0.6)
    return figure

"""Kernels of fixed filters, for `nn.Filter`. Imports NumPy only."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["box", "gaussian", "laplace", "sharpen", "sobel"]


def laplace(diagonals: bool = False) -> Any:
    """Return the 3 x 3 kernel of the Laplace operator, which finds edges.

    ∂²f/∂x² + ∂²f/∂y² by differences: f(x+1, y) + f(x-1, y) + f(x, y+1) + f(x, y-1) - 4 f(x, y).

    Args:
      diagonals: Whether the four diagonal neighbours count, too; then the centre has weight -8.

    Example:
      >>> laplace()
      array([[ 0.,  1.,  0.],
             [ 1., -4.,  1.],
             [ 0.,  1.,  0.]])
    """
    around = 1.0 if diagonals else 0.0
    centre = -8.0 if diagonals else -4.0
    return np.array([[around, 1, around], [1, centre, 1], [around, 1, around]])


def sobel(axis: int) -> Any:
    """Return the 3 x 3 kernel of the derivative along an axis (0: down, 1: to the right).

    Example:
      >>> sobel(1)
      array([[-1.,  0.,  1.],
             [-2.,  0.,  2.],
             [-1.,  0.,  1.]])
    """
    kernel = np.outer([1.0, 2.0, 1.0], [-1.0, 0.0, 1.0])
    return kernel if axis == 1 else kernel.T


def gaussian(size: int, sigma: float) -> Any:
    """Return a kernel that blurs: exp(-(x² + y²) / 2σ²), with sum 1.

    Args:
      size: Length of both axes.
      sigma: Standard deviation, in pixels.

    Example:
      >>> gaussian(3, 1.0).round(3)
      array([[0.075, 0.124, 0.075],
             [0.124, 0.204, 0.124],
             [0.075, 0.124, 0.075]])
    """
    x = np.arange(size) - (size - 1) / 2
    line = np.exp(-(x**2) / (2 * sigma**2))
    return np.outer(line, line) / line.sum() ** 2


def box(size: int) -> Any:
    """Return the kernel of the mean over size x size pixels.

    Example:
      >>> box(2)
      array([[0.25, 0.25],
             [0.25, 0.25]])
    """
    return np.full((size, size), 1 / size**2)


def sharpen() -> Any:
    """Return the 3 x 3 kernel that subtracts the Laplace operator from the picture.

    Example:
      >>> sharpen()
      array([[ 0., -1.,  0.],
             [-1.,  5., -1.],
             [ 0., -1.,  0.]])
    """
    return np.array([[0.0, 0, 0], [0, 1, 0], [0, 0, 0]]) - laplace()

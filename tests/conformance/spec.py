"""What a sample is: one row of input for a primitive, or for a NumPy function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Sample:
    """Arguments on which every rule of a primitive is checked.

    Args:
      args: NumPy arrays (float64 or complex128 where differentiable) and scalars.
      attrs: The primitive's static keywords.
      diff: Positions to differentiate; default: every float or complex argument.
      order: 2 also checks the derivative of the derivative.
      jax: Compare value and gradient with JAX.
      tol: Relative tolerance of the comparisons with finite differences.
    """

    args: tuple[Any, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    diff: tuple[int, ...] | None = None
    order: int = 2
    jax: bool = True
    tol: float = 1e-6

    @property
    def positions(self) -> tuple[int, ...]:
        """Positions to differentiate."""
        if self.diff is not None:
            return self.diff
        return tuple(k for k, a in enumerate(self.args) if np.asarray(a).dtype.kind in "fc")


@dataclass(frozen=True)
class Case:
    """A call of a public NumPy (or SciPy) function that must be differentiable.

    Args:
      function: The plain NumPy function, such as np.median (or a lambda around one, with a name).
      args: Positional arguments; arrays may sit inside lists and tuples.
      kwargs: Keywords.
      diff: Positions of arguments (or lists of arrays) to differentiate; default: float/complex.
      fnp: The function of funcgraph.numpy to compare with; default: found by name.
      jax: JAX's function: a dotted name, None for the same name in jax.numpy, False for none.
      order: 2 also checks the derivative of the derivative.
      tol: Relative tolerance of the comparisons with finite differences.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    diff: tuple[int, ...] | None = None
    fnp: Callable[..., Any] | None = None
    jax: str | bool | None = None
    order: int = 2
    tol: float = 1e-6

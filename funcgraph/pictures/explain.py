"""Backpropagation as the table one writes by hand: `explain`, and what it returns.

Importing this module is cheap: what records and prints is imported when it is needed. May import
all layers below `pictures`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from funcgraph import tree

if TYPE_CHECKING:
    from funcgraph.pictures.steps import Recording, Step

__all__ = ["Explanation", "explain"]


class Explanation:
    """A function's run forwards and backwards; it prints as a table, and shows in notebooks.

    Attributes:
      recording: The run with all its numbers.
    """

    def __init__(self, recording: Recording) -> None:
        self.recording = recording

    @property
    def steps(self) -> list[Step]:
        """The operations in their order, each with the values and cotangents that it saw."""
        return self.recording.run.steps

    @property
    def value(self) -> Any:
        """What the function returned."""
        return tree.unflatten(self.recording.structure, self.recording.run.outputs)

    @property
    def gradient(self) -> dict[str, Any]:
        """The gradient by each input's name; None for an input that is not floating-point."""
        return {leaf.name: leaf.gradient for leaf in self.recording.leaves}

    def __repr__(self) -> str:
        from funcgraph.pictures.rows import recording_text

        return recording_text(self.recording)

    def _repr_html_(self) -> str:
        from funcgraph.pictures.rows import recording_html

        return recording_html(self.recording)


def explain(fun: Callable[..., Any], cotangents: Any = None) -> Callable[..., Explanation]:
    """Return a function that explains its derivative step by step, as a table that prints.

    Read the values downwards and the cotangents upwards: what a step sends to an argument is its
    cotangent times the local derivative, and what reaches an input adds up to the gradient,
    x̄ = Σ ȳ ∂y/∂x over the steps y that read x.

    Args:
      fun: A function of arrays (pytrees). All floating-point leaves of its arguments are
        differentiated; integers have no cotangents.
      cotangents: Of the result, a pytree like it. None: ones, so that the gradient is that of the
        sum of the result; for a scalar it is the gradient.

    Returns:
      A function of the same arguments that returns an Explanation. Its numbers are in `value`,
      `gradient` (by the name of each input) and `steps`. Arrays are shown by shape and norm
      ‖x‖, and the local derivative of an operation that is not elementwise by what becomes of the
      cotangent g, such as `g @ w.T`. Bodies of loops stand under them: the first iterations and the
      last.

    Raises:
      TangentMismatchError: The cotangents do not match the result.

    Example:
      >>> import numpy as np
      >>> found = explain(lambda x, y: x * np.sin(x * y))(1.0, 2.0)
      >>> bool(found.gradient["y"] == np.cos(2.0))
      True
      >>> [(s.equation.primitive.name, *s.cotangents) for s in found.steps[1:]]
      [('sin', np.float64(1.0)), ('multiply', np.float64(1.0))]

    Source:
      Griewank and Walther, "Evaluating Derivatives", 2nd ed., 2008, section 3.2.
    """

    @functools.wraps(fun)
    def wrapped(*args: Any, **kwargs: Any) -> Explanation:
        from funcgraph.pictures.steps import record

        return Explanation(record(fun, args, kwargs, cotangents))

    return wrapped

"""Memory for results that is there no sooner than it is written: for programs with a budget.

May import `engines.numpy`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from funcgraph.engines.numpy.memory import Buffers
from funcgraph.engines.numpy.plan import Output

__all__ = ["FreshBuffers"]


class FreshBuffers:
    """Like `Buffers`, but nothing is kept from call to call, nor allocated ahead."""

    def __init__(self, outputs: Sequence[Output]) -> None:
        self._outputs = tuple(outputs)
        self._taken = [k for k, o in enumerate(outputs) if o.donor is not None]
        self._donated = Buffers([outputs[k] for k in self._taken])

    def take(self, inputs: Sequence[Any]) -> _Results:
        """Return what gives a buffer for each output: a donated input, or a new one."""
        return _Results(
            self._outputs, dict(zip(self._taken, self._donated.take(inputs), strict=True))
        )


class _Results:
    """Buffers by number, made when they are first asked for."""

    __slots__ = ("_made", "_outputs")

    def __init__(self, outputs: Sequence[Output], made: dict[int, Any]) -> None:
        self._outputs, self._made = outputs, made

    def __getitem__(self, number: int) -> Any:
        if number not in self._made:
            aval = self._outputs[number].aval
            self._made[number] = np.empty(aval.shape, aval.dtype)
        return self._made[number]

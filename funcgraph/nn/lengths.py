"""Lengths of padded sequences: checked where their values are known. May import `core`."""

from __future__ import annotations

from typing import Any

import numpy as np

from funcgraph.core.aval import dtype_of
from funcgraph.core.trace import KIND, NUMPY
from funcgraph.errors import DtypeError, RangeError

__all__ = ["checked_lengths"]


def checked_lengths(lengths: Any, size: int) -> Any:
    """Return lengths as an array of integers in [0, size].

    Traced ones are compared with the steps alone: what is below 0 counts as 0, above `size` as
    `size`. Their dtype may be a float, too, as is that of a model's inputs while it is initialised.
    """
    if KIND[type(lengths)] != NUMPY:
        return lengths
    lengths = np.asarray(lengths)
    if dtype_of(lengths).kind not in "iu" and lengths.size:
        raise DtypeError(
            f"lengths must be integers, got the dtype {dtype_of(lengths)}. Convert them: "
            "lengths.astype(int); of a mask (..., time), mask.sum(-1)."
        )
    wrong = np.argwhere((lengths < 0) | (lengths > size))
    if len(wrong):
        place = tuple(wrong[0].tolist())
        raise RangeError(
            f"lengths must be from 0 to {size}, the number of steps, got {lengths[place]}"
            + (f" at index {place}." if place else ".")
        )
    return lengths

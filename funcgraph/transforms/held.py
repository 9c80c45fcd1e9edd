"""The user's plain arrays that a tape holds: what happens if they are written before the sweep.

A tape refers to constants; a loop that refills one array (`buffer[:] = row`) would change what was
recorded, and the gradient would be wrong without a word. Of small arrays a tape keeps a copy, as
JAX does. Of large ones it notes some elements, which are compared before the sweep: a copy would
cost as much as the operation. May import `funcgraph.errors` and NumPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from funcgraph.errors import StaleArrayError

__all__ = ["SMALL", "Held", "check_held", "hold", "note"]

# Bytes. A tape copies smaller constants, and keeps smaller values as they are where only shape and
# dtype are needed: a stand-in would cost more than it frees.
SMALL = 4096
_SAMPLES = 64

Held = list[tuple[np.ndarray[Any, Any], bytes]]


def hold(x: Any, held: Held) -> Any:
    """Return an array as a tape keeps it: a small one copied, of a large one a sample is noted."""
    if x.nbytes <= SMALL:
        return x.copy()
    held.append((x, _sample(x)))
    return x


def note(values: list[Any], held: Held) -> None:
    """Note samples of those of the values that are plain arrays."""
    held += [(x, _sample(x)) for x in values if type(x) is np.ndarray]


def check_held(held: Held) -> None:
    """Raise StaleArrayError if the samples of an array are not what they were."""
    for x, sample in held:
        if _sample(x) != sample:
            raise StaleArrayError(
                f"an array of shape {x.shape} and dtype {x.dtype} was written in place after an "
                "operation that is differentiated had used it, so the derivative would be of other "
                "numbers than the value. Use a copy of what will be written: `x * buffer.copy()` "
                "instead of `x * buffer`; or make a new array each time."
            )


def _sample(x: Any) -> bytes:
    flat = x.reshape(-1) if x.flags.c_contiguous else x.flat
    return flat[:: x.size // _SAMPLES or 1].tobytes()  # type: ignore[no-any-return]

"""Types of carries and branches: what Python numbers become, and checks that name the leaf.

May import `core`, `ops`, `tree`, `control.numbers`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcgraph import tree
from funcgraph.control.numbers import as_numbers, without_numbers
from funcgraph.core.aval import Aval, aval_of, dtype_of, promote, shape_of
from funcgraph.errors import CarryTypeError
from funcgraph.ops.structural import cast

__all__ = [
    "carried",
    "check_alike",
    "check_same",
    "common_length",
    "settled",
    "strengthen",
    "strong",
]

# The dtypes of Python's numbers: among them a number and an array of its dtype act alike.
_PYTHON = frozenset(map(np.dtype, (bool, int, float, complex)))


def strong(a: Aval) -> Aval:
    """Return the aval of an array, whatever stood there."""
    return Aval(a.shape, a.dtype)


def strengthen(x: Any, dtype: Any = None) -> Any:
    """Return a Python number, or a tracer of one, as an array: its dtype does not change again."""
    aval = aval_of(x)
    if aval.weak is None and type(x) is not bool:
        return x
    dtype = aval.dtype if dtype is None else dtype
    return dtype.type(x) if type(x) in (bool, int, float, complex) else cast(x, dtype)


def settled(carry: Any, step: Callable[[Any], tuple[Any, ...]]) -> tuple[Any, Any]:
    """Return the first carry with Python numbers as arrays of the types that a step gives them.

    As in JAX a number has no type of its own: a sum that starts at 0 may become a float, and one
    that starts at 0.0 a float32.

    Args:
      carry: The first carry, a pytree.
      step: carry -> (new carry, further outputs ...), or their avals.

    Returns:
      The carry, and what the step returned for it; None if the step was not called.
    """
    leaves, structure = tree.flatten(carry)
    avals = list(map(aval_of, leaves))
    if all(a.weak is None for a in avals):
        return tree.map(strengthen, carry), None
    types = avals
    ready, out = carry, without_numbers(step(as_numbers(carry)))
    while True:
        new, found = tree.flatten(out[0])
        if found == structure:
            pairs = zip(avals, types, map(aval_of, new), strict=True)
            wanted = [_joined(a, now, b) for a, now, b in pairs]
        else:
            wanted = list(map(strong, types))
        if wanted == types or (ready is carry and _act_alike(types, wanted, out)):
            return tree.map(strengthen, ready), out
        types = wanted
        pairs_ready = zip(leaves, types, strict=True)
        ready = tree.unflatten(structure, [strengthen(x, a.dtype) for x, a in pairs_ready])
        out = step(ready)


def _joined(first: Aval, now: Aval, new: Aval) -> Aval:
    """Return the type of a carry that a step has given another."""
    return now if first.weak is None or new.shape else Aval((), promote(now, new))


def _act_alike(numbers: list[Aval], arrays: list[Aval], out: Any) -> bool:
    """Return whether a step with Python numbers gives what it gives with arrays of these types."""
    same = all(a.dtype == b.dtype for a, b in zip(numbers, arrays, strict=True))
    return same and all(dtype_of(y) in _PYTHON for y in tree.leaves(out))


def carried(what: str, old: Any, new: Any) -> Any:
    """Return the new carry with Python numbers as arrays of the old types, where they fit.

    Args:
      what: Such as "scan: the carry".
      old: The carry before the step, without Python numbers.
      new: The carry after it.

    Raises:
      CarryTypeError: Structure or types differ.
    """
    leaves, structure = tree.flatten(new)
    before = [aval_of(x) for x in tree.leaves(old)]
    if structure == tree.structure(old):
        leaves = [_fitted(y, a) for y, a in zip(leaves, before, strict=True)]
    check_same(what, old, new, before, list(map(aval_of, leaves)))
    return tree.unflatten(structure, leaves)


def _fitted(y: Any, old: Aval) -> Any:
    new = aval_of(y)
    fits = new.weak is not None and promote(strong(old), new) == old.dtype
    return strengthen(y, old.dtype if fits else None)


def check_alike(names: tuple[str, str], trees: Any, avals: Any, what: str) -> None:
    """Raise CarryTypeError unless two results have one structure and leaves of one type.

    Args:
      names: Of the functions that returned them.
      trees: The two results.
      avals: Those of the leaves of each.
      what: Such as "cond".
    """
    first, second = map(tree.structure, trees)
    a, b = names
    if first != second:
        raise CarryTypeError(
            f"{what}: the results must have one structure: {a} returned {first}, but {b} returned "
            f"{second}."
        )
    for (path, _), x, y in zip(tree.leaves_with_path(trees[0]), *avals, strict=True):
        if (x.shape, x.dtype) != (y.shape, y.dtype):
            at = f"at {tree.keystr(path)} " if path else ""
            raise CarryTypeError(
                f"{what}: the results must have one type: {at}{a} returned {x}, but {b} returned "
                f"{y}. Convert one of them (astype, np.reshape)."
            )


def check_same(what: str, old: Any, new: Any, old_avals: list[Aval], new_avals: list[Aval]) -> None:
    """Raise CarryTypeError unless two pytrees have one structure and leaves of one type.

    Args:
      what: Such as "scan: the carry".
      old: The pytree it must be like.
      new: The pytree that the function returned.
      old_avals: Avals of the leaves of old.
      new_avals: Avals of the leaves of new.
    """
    first, second = tree.structure(old), tree.structure(new)
    if first != second:
        raise CarryTypeError(
            f"{what} must keep its structure: it was {first}, but the function returned {second}."
        )
    for (path, _), a, b in zip(tree.leaves_with_path(old), old_avals, new_avals, strict=True):
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            at = f"at {tree.keystr(path)} " if path else ""
            raise CarryTypeError(
                f"{what} must keep its type: {at}it was {a}, but the function returned {b}. "
                "Convert one of them (astype, np.reshape), or start with the other type."
            )


def common_length(what: str, xs: Any, length: int | None) -> int:
    """Return the common length of the leading axes of the leaves of xs."""
    found = {}
    for path, x in tree.leaves_with_path(xs):
        shape = shape_of(x)
        if not shape:
            raise ValueError(f"{what}: xs{tree.keystr(path)} has no axis to loop over (shape ()).")
        found[tree.keystr(path) or "xs"] = shape[0]
    if length is not None:
        found["length="] = int(length)
    if not found:
        raise ValueError(f"{what} needs xs or length=.")
    if len(set(found.values())) > 1:
        listed = ", ".join(f"{k} {n}" for k, n in found.items())
        raise ValueError(f"{what}: the lengths differ ({listed}).")
    return next(iter(found.values()))

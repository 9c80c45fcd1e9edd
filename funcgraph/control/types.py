"""Checks of the types of carries and branches, with messages that name the leaf.

May import `core`, `tree`.
"""

from __future__ import annotations

from typing import Any

from funcgraph import tree
from funcgraph.core.aval import Aval, shape_of
from funcgraph.errors import CarryTypeError

__all__ = ["check_same", "common_length", "leaf_names"]


def leaf_names(x: Any, structure: Any) -> list[str]:
    """Return the key paths of the leaves of a pytree ('the carry' for a single leaf)."""
    return [tree.keystr(path) or "itself" for path, _ in tree.leaves_with_path(x)]


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
    names = leaf_names(old, first)
    for name, a, b in zip(names, old_avals, new_avals, strict=True):
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            raise CarryTypeError(
                f"{what} must keep its type: at {name} it was {a}, but the function returned {b}. "
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

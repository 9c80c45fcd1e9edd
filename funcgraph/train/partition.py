"""Parameters chosen by patterns of their paths: `partition` and `combine`. May import `tree`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from typing import Any

from funcgraph import tree
from funcgraph.errors import TrainingError

__all__ = ["Pattern", "combine", "partition"]

Pattern = str | Sequence[str] | Callable[[str, Any], bool]

_WILD = {"*": "[^/]*", "?": "[^/]"}


def partition(params: Any, pattern: Pattern) -> tuple[Any, Any]:
    """Split a pytree into the leaves that a pattern selects, and the others.

    A path is made of the keys, indices and field names that lead to a leaf, such as
    `encoder/0/w`. In a pattern `*` stands for any part of one level, `?` for one character, and
    `**` for any number of levels.

    Args:
      params: The pytree.
      pattern: A pattern ("head/**", "**/b"), several of them, or a function of path and leaf that
        returns whether to select it.

    Returns:
      (selected, rest): both have the structure of params, with None in place of the leaves that
      are in the other one.

    Raises:
      TrainingError: A pattern fits no path.

    Example:
      >>> params = {"encoder": {"w": 1.0, "b": 2.0}, "head": {"w": 3.0}}
      >>> selected, rest = partition(params, "**/w")
      >>> selected
      {'encoder': {'b': None, 'w': 1.0}, 'head': {'w': 3.0}}
      >>> rest
      {'encoder': {'b': 2.0, 'w': None}, 'head': {'w': None}}
      >>> partition(params, ["head/**", "encoder/b"])[1]
      {'encoder': {'b': None, 'w': 1.0}, 'head': {'w': None}}
    """
    pairs, structure = tree.flatten_with_path(params)
    paths = [tree.keystr(path, simple=True, separator="/") for path, _ in pairs]
    if callable(pattern):
        chosen = [bool(pattern(path, leaf)) for path, (_, leaf) in zip(paths, pairs, strict=True)]
    else:
        chosen = _fits(paths, [pattern] if isinstance(pattern, str) else list(pattern))
    both = list(zip(chosen, (leaf for _, leaf in pairs), strict=True))
    selected = tree.unflatten(structure, [leaf if c else None for c, leaf in both])
    return selected, tree.unflatten(structure, [None if c else leaf for c, leaf in both])


def _fits(paths: list[str], patterns: list[str]) -> list[bool]:
    """Return which paths fit one of the patterns; raise if one fits none."""
    chosen = [False] * len(paths)
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise TypeError(f"a pattern of paths is a string, got {pattern!r:.80}.")
        expression = re.compile(_translate(pattern))
        fits = [expression.fullmatch(f"{path}/") is not None for path in paths]
        if not any(fits):
            raise TrainingError(_nothing(pattern, paths))
        chosen = [a or b for a, b in zip(chosen, fits, strict=True)]
    return chosen


def _translate(pattern: str) -> str:
    """Return a regular expression for paths that end with a slash."""
    parts = []
    for level in pattern.split("/"):
        if level == "**":
            parts.append("(?:[^/]*/)*")
        else:
            parts.append("".join([_WILD.get(c) or re.escape(c) for c in level]) + "/")
    return "".join(parts)


def _nothing(pattern: str, paths: list[str]) -> str:
    folders = {path.rsplit("/", n)[0] for path in paths for n in range(1, path.count("/") + 1)}
    if pattern.rstrip("/") in folders:
        return (
            f"the pattern {pattern!r} fits no parameter, but those inside of it have paths: "
            f"write '{pattern.rstrip('/')}/**'."
        )
    known = [*paths, *sorted(f"{folder}/**" for folder in folders)]
    near = difflib.get_close_matches(pattern, known, 3, 0.5)
    hint = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
    return f"the pattern {pattern!r} fits no parameter. {hint}The paths are: {_listed(paths)}."


def _listed(paths: list[str]) -> str:
    more = f" and {len(paths) - 20} more" if len(paths) > 20 else ""
    return (", ".join(paths[:20]) or "none") + more


def combine(*parts: Any) -> Any:
    """Put together what `partition` took apart: the leaf that is not None, wherever there is one.

    Args:
      *parts: Pytrees of one structure, with None where another one has the leaf.

    Raises:
      TrainingError: Two of them have a leaf at the same path.
      TreeError: The structures differ.

    Example:
      >>> combine({"a": 1.0, "b": None}, {"a": None, "b": 2.0})
      {'a': 1.0, 'b': 2.0}
    """
    if not parts:
        raise TypeError("combine needs at least one pytree.")

    def pick(path: Any, *leaves: Any) -> Any:
        found = [x for x in leaves if x is not None]
        if len(found) > 1:
            where = tree.keystr(path, simple=True, separator="/")
            raise TrainingError(f"combine: {len(found)} of the pytrees have a leaf at {where!r}.")
        return found[0] if found else None

    return tree.map_with_path(pick, *parts, is_leaf=lambda x: x is None)

"""Functions over the leaves of pytrees: map, reduce, transpose.

May import `funcgraph.errors`, `tree.registry`, `tree.structure`.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from funcgraph.errors import TreeError
from funcgraph.tree.registry import REGISTRY, KeyPath, keystr
from funcgraph.tree.structure import (
    IsLeaf,
    Spec,
    TreeDef,
    flatten,
    leaves,
    leaves_with_path,
    show,
    structure,
    unflatten,
)

__all__ = ["all", "map", "map_with_path", "reduce", "transpose"]


def _match(spec: Spec, x: Any, path: KeyPath, out: list[Any]) -> None:
    """Append to out the subtrees of x at the leaves of a structure; raise where they differ."""
    if spec is None:
        out.append(x)
        return
    cls, meta, specs = spec
    where = keystr(path) or "the root"
    if type(x) is not cls:
        raise TreeError(
            f"at {where} a {cls.__name__} was expected ({show(spec)}), as in the first pytree, "
            f"but another one has a {type(x).__name__} there."
        )
    node = REGISTRY[cls]
    children, other = node.flatten(x)
    if other != meta or len(children) != len(specs):
        raise TreeError(f"at {where} two {cls.__name__}s " + _difference(spec, other, children))
    for key, child, sub in zip(node.keys(x, other), children, specs, strict=True):
        _match(sub, child, (*path, key), out)


def _difference(spec: Any, other: Any, children: Sequence[Any]) -> str:
    cls, meta, specs = spec
    if cls in (dict, OrderedDict):
        missing = [k for k in meta if k not in other]
        extra = [k for k in other if k not in meta]
        return (
            f"have different keys: missing {missing}, unexpected {extra} (expected {list(meta)})."
        )
    if len(children) != len(specs):
        return f"have different lengths: expected {len(specs)}, got {len(children)}."
    return f"have different static data: expected {meta!r}, got {other!r}."


def map(f: Callable[..., Any], tree: Any, *rest: Any, is_leaf: IsLeaf = None) -> Any:
    """Apply a function to the leaves of pytrees of one structure.

    Args:
      f: Takes one leaf of each tree.
      tree: Gives the structure.
      *rest: Pytrees of the same structure; they may go deeper where `tree` has a leaf.
      is_leaf: If given, is_leaf(x) true makes the container x of `tree` a leaf.

    Returns:
      The pytree of results.

    Raises:
      TreeError: The structures differ; the message names the key path.

    Example:
      >>> map(lambda x, y: x + y, {"a": 1, "b": (2, 3)}, {"a": 10, "b": (20, 30)})
      {'a': 11, 'b': (22, 33)}
    """
    first, treedef = flatten(tree, is_leaf)
    if not rest:
        return unflatten(treedef, [f(x) for x in first])
    columns = [first]
    for other in rest:
        column: list[Any] = []
        _match(treedef.spec, other, (), column)
        columns.append(column)
    return unflatten(treedef, [f(*row) for row in zip(*columns, strict=True)])


def map_with_path(f: Callable[..., Any], tree: Any, *rest: Any, is_leaf: IsLeaf = None) -> Any:
    """Apply a function to the key path and the leaves of pytrees of one structure.

    Example:
      >>> from funcgraph.tree import keystr
      >>> map_with_path(lambda path, x: f"{keystr(path)}={x}", {"a": [1, 2]})
      {'a': ["['a'][0]=1", "['a'][1]=2"]}
    """
    paths = unflatten(
        structure(tree, is_leaf), [_Path(p) for p, _ in leaves_with_path(tree, is_leaf)]
    )
    return map(
        lambda p, *xs: f(p.path, *xs), paths, tree, *rest, is_leaf=lambda x: type(x) is _Path
    )


class _Path:
    """Keeps a key path, itself a tuple, from being taken for a container."""

    __slots__ = ("path",)

    def __init__(self, path: KeyPath) -> None:
        self.path = path


_MISSING = object()


def reduce(
    f: Callable[[Any, Any], Any], tree: Any, initializer: Any = _MISSING, is_leaf: IsLeaf = None
) -> Any:
    """Combine the leaves of a pytree from left to right.

    Example:
      >>> reduce(lambda a, b: a + b, {"a": 1, "b": (2, 3)}, 0)
      6
    """
    if initializer is _MISSING:
        return functools.reduce(f, leaves(tree, is_leaf))
    return functools.reduce(f, leaves(tree, is_leaf), initializer)


def all(tree: Any, *, is_leaf: IsLeaf = None) -> bool:
    """Return whether all leaves are true.

    Example:
      >>> all({"a": True, "b": (1, 0)})
      False
    """
    return not [x for x in leaves(tree, is_leaf) if not x]


def transpose(outer: TreeDef, inner: TreeDef | None, tree: Any) -> Any:
    """Turn a pytree of pytrees inside out.

    Args:
      outer: Structure of the outer levels of `tree`.
      inner: Structure at each leaf of `outer`; None: that of the first one.
      tree: The pytree to transpose.

    Returns:
      A pytree of structure `inner` whose leaves have the structure `outer`.

    Raises:
      TreeError: `tree` does not consist of these structures.

    Example:
      >>> from funcgraph.tree import structure
      >>> transpose(structure([0, 0]), structure({"a": 0}), [{"a": 1}, {"a": 2}])
      {'a': [1, 2]}
    """
    parts: list[Any] = []
    _match(outer.spec, tree, (), parts)
    if inner is None:
        inner = structure(parts[0])
    rows = []
    for part in parts:
        row: list[Any] = []
        _match(inner.spec, part, (), row)
        rows.append(row)
    return unflatten(inner, [unflatten(outer, column) for column in zip(*rows, strict=True)])

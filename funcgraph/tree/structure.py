"""Structure of pytrees: flatten, unflatten, leaves and their key paths.

May import `funcgraph.errors`, `tree.registry`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from funcgraph.errors import TreeError
from funcgraph.tree.registry import LEAVES, REGISTRY, KeyPath, node_of

__all__ = [
    "TreeDef",
    "flatten",
    "flatten_with_path",
    "is_simple",
    "leaves",
    "leaves_with_path",
    "structure",
    "unflatten",
]

IsLeaf = Callable[[Any], bool] | None

# The structure is kept as nested tuples (type, meta, specs of the children); None is a leaf.
Spec = tuple[Any, Any, tuple[Any, ...]] | None


class TreeDef:
    """The structure of a pytree: containers without their leaves. Hashable and comparable."""

    __slots__ = ("num_leaves", "spec")

    def __init__(self, spec: Spec, num_leaves: int) -> None:
        self.spec = spec
        self.num_leaves = num_leaves

    @property
    def children(self) -> tuple[TreeDef, ...]:
        """Structures of the children of the outermost container."""
        return () if self.spec is None else tuple(TreeDef(s, _count(s)) for s in self.spec[2])

    def unflatten(self, leaves: Iterable[Any]) -> Any:
        """Return the pytree with these leaves."""
        return unflatten(self, leaves)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TreeDef) and self.spec == other.spec

    def __hash__(self) -> int:
        return hash(self.spec)

    def __repr__(self) -> str:
        return f"TreeDef({show(self.spec)})"


def _count(spec: Spec) -> int:
    return 1 if spec is None else sum([_count(s) for s in spec[2]])


def is_simple(spec: Spec) -> bool:
    """Return whether a structure is of dicts, lists and (named) tuples: to JAX, the same.

    The keys of dicts are strings, as 1 and True are one key to JAX.
    """
    if spec is None:
        return True
    cls, meta, children = spec
    if cls is dict and not all(type(key) is str for key in meta):
        return False
    named = issubclass(cls, tuple) and hasattr(cls, "_fields")
    return (named or cls in (dict, list, tuple, type(None))) and all(map(is_simple, children))


def show(spec: Spec) -> str:
    """Return a structure as text."""
    if spec is None:
        return "*"
    cls, meta, children = spec
    inner = [show(c) for c in children]
    if cls is dict:
        return "{" + ", ".join(f"{k!r}: {v}" for k, v in zip(meta, inner, strict=True)) + "}"
    if cls is list:
        return f"[{', '.join(inner)}]"
    if cls is tuple:
        return f"({', '.join(inner)}{',' if len(inner) == 1 else ''})"
    if cls is type(None):
        return "None"
    bare = meta is None or (type(meta) is tuple and not meta)
    return f"{cls.__name__}{'' if bare else f'[{meta}]'}({', '.join(inner)})"


def _flatten(x: Any, out: list[Any], is_leaf: IsLeaf) -> Spec:
    cls = type(x)
    node = REGISTRY.get(cls) or node_of(x)
    if node is None or (is_leaf is not None and is_leaf(x)):
        out.append(x)
        return None
    # The two most frequent containers, and leaves, without a call.
    children, meta = (x, None) if cls is tuple or cls is list else node.flatten(x)
    if is_leaf is not None:
        return cls, meta, tuple([_flatten(c, out, is_leaf) for c in children])
    specs: list[Spec] = []
    for child in children:
        if type(child) in LEAVES:
            out.append(child)
            specs.append(None)
        else:
            specs.append(_flatten(child, out, None))
    return cls, meta, tuple(specs)


def _unflatten(spec: Spec, leaves: Any) -> Any:
    if spec is None:
        return next(leaves)
    cls, meta, specs = spec
    children = [next(leaves) if s is None else _unflatten(s, leaves) for s in specs]
    if cls is dict:
        return dict(zip(meta, children, strict=False))
    if cls is list:
        return children
    if cls is tuple:
        return tuple(children)
    return REGISTRY[cls].unflatten(meta, children)


def flatten(tree: Any, is_leaf: IsLeaf = None) -> tuple[list[Any], TreeDef]:
    """Take a pytree apart into its leaves and its structure.

    Args:
      tree: Any pytree.
      is_leaf: If given, is_leaf(x) true makes the container x a leaf.

    Returns:
      (leaves, treedef).

    Example:
      >>> flatten({"b": [1, 2], "a": None})
      ([1, 2], TreeDef({'a': None, 'b': [*, *]}))
    """
    out: list[Any] = []
    spec = _flatten(tree, out, is_leaf)
    return out, TreeDef(spec, len(out))


def unflatten(treedef: TreeDef, leaves: Iterable[Any]) -> Any:
    """Put a pytree together from its structure and leaves.

    Args:
      treedef: From flatten or structure.
      leaves: As many as treedef.num_leaves.

    Raises:
      TreeError: The number of leaves is wrong.

    Example:
      >>> unflatten(structure({"a": 0, "b": (0, 0)}), [1, 2, 3])
      {'a': 1, 'b': (2, 3)}
    """
    leaves = list(leaves)
    if len(leaves) != treedef.num_leaves:
        raise TreeError(f"{treedef} has {treedef.num_leaves} leaves, but {len(leaves)} were given.")
    return _unflatten(treedef.spec, iter(leaves))


def leaves(tree: Any, is_leaf: IsLeaf = None) -> list[Any]:
    """Return the leaves of a pytree.

    Example:
      >>> leaves({"b": 1, "a": (2, None, [3])})
      [2, 3, 1]
    """
    return flatten(tree, is_leaf)[0]


def structure(tree: Any, is_leaf: IsLeaf = None) -> TreeDef:
    """Return the structure of a pytree.

    Example:
      >>> structure((1, [2, 3]))
      TreeDef((*, [*, *]))
    """
    return flatten(tree, is_leaf)[1]


# --- paths ---------------------------------------------------------------------------------------


def _paths(x: Any, path: KeyPath, out: list[tuple[KeyPath, Any]], is_leaf: IsLeaf) -> None:
    node = node_of(x)
    if node is None or (is_leaf is not None and is_leaf(x)):
        out.append((path, x))
        return
    children, meta = node.flatten(x)
    for key, child in zip(node.keys(x, meta), children, strict=True):
        _paths(child, (*path, key), out, is_leaf)


def leaves_with_path(tree: Any, is_leaf: IsLeaf = None) -> list[tuple[KeyPath, Any]]:
    """Return the pairs (key path, leaf) of a pytree.

    Example:
      >>> from funcgraph.tree import keystr
      >>> [(keystr(path), leaf) for path, leaf in leaves_with_path({"a": [1.0, 2.0]})]
      [("['a'][0]", 1.0), ("['a'][1]", 2.0)]
    """
    out: list[tuple[KeyPath, Any]] = []
    _paths(tree, (), out, is_leaf)
    return out


def flatten_with_path(
    tree: Any, is_leaf: IsLeaf = None
) -> tuple[list[tuple[KeyPath, Any]], TreeDef]:
    """Take a pytree apart into pairs (key path, leaf) and its structure.

    Example:
      >>> flatten_with_path((1.0,))
      ([((IndexKey(idx=0),), 1.0)], TreeDef((*,)))
    """
    return leaves_with_path(tree, is_leaf), structure(tree, is_leaf)

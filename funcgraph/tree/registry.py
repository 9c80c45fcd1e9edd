"""The registry: which types are containers, how they are taken apart, and key paths.

May import `funcgraph.errors` and NumPy.
"""

from __future__ import annotations

import dataclasses
import sys
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from funcgraph.errors import TreeError

__all__ = [
    "AttrKey",
    "DictKey",
    "IndexKey",
    "KeyPath",
    "keystr",
    "register_dataclass",
    "register_pytree_node",
]

C = TypeVar("C", bound=type)


@dataclasses.dataclass(frozen=True, slots=True)
class DictKey:
    """The entry of a dict in a key path."""

    key: Hashable

    def __str__(self) -> str:
        return f"[{self.key!r}]"


@dataclasses.dataclass(frozen=True, slots=True)
class IndexKey:
    """The element of a sequence, or the n-th child of a registered type, in a key path."""

    idx: int

    def __str__(self) -> str:
        return f"[{self.idx}]"


@dataclasses.dataclass(frozen=True, slots=True)
class AttrKey:
    """The field of a NamedTuple or dataclass in a key path."""

    name: str

    def __str__(self) -> str:
        return f".{self.name}"


KeyPath = tuple[Any, ...]


class Node(NamedTuple):
    """How a container type is taken apart and put together."""

    flatten: Callable[[Any], tuple[Sequence[Any], Any]]  # -> children, hashable meta
    unflatten: Callable[[Any, Sequence[Any]], Any]  # meta, children -> container
    keys: Callable[[Any, Any], Sequence[Any]]  # container, meta -> key of each child


def keystr(path: KeyPath, *, simple: bool = False, separator: str = "") -> str:
    """Return a key path as Python writes it, or as its bare keys.

    Args:
      path: From leaves_with_path and the like.
      simple: Whether to write the keys, indices and names alone.
      separator: What stands between them.

    Example:
      >>> path = (DictKey("a"), IndexKey(0), AttrKey("b"))
      >>> keystr(path)
      "['a'][0].b"
      >>> keystr(path, simple=True, separator="/")
      'a/0/b'

    Source:
      jax.tree_util.keystr.
    """
    return separator.join([_bare(key) if simple else str(key) for key in path])


def _bare(key: Any) -> str:
    for kind, field in ((DictKey, "key"), (IndexKey, "idx"), (AttrKey, "name")):
        if isinstance(key, kind):
            return str(getattr(key, field))
    return str(key)


# --- the registry --------------------------------------------------------------------------------


def _sorted_keys(d: dict[Any, Any]) -> tuple[Any, ...]:
    try:
        return tuple(sorted(d))
    except TypeError:
        kinds = sorted({type(k).__name__ for k in d})
        raise TreeError(
            f"the keys of a dict in a pytree must be sortable, got keys of types {kinds}: use "
            "keys of one type."
        ) from None


def _flatten_dict(d: dict[Any, Any]) -> tuple[list[Any], Any]:
    try:
        keys = tuple(sorted(d))
    except TypeError:
        keys = _sorted_keys(d)
    return [d[k] for k in keys], keys


def _flatten_default(d: Any) -> tuple[list[Any], Any]:
    keys = _sorted_keys(d)
    return [d[k] for k in keys], (d.default_factory, keys)


def _indices(node: Any, meta: Any) -> Sequence[Any]:
    return [IndexKey(k) for k in range(len(node))]


REGISTRY: dict[type, Node] = {
    dict: Node(
        _flatten_dict,
        lambda keys, children: dict(zip(keys, children, strict=True)),
        lambda d, keys: [DictKey(k) for k in keys],
    ),
    OrderedDict: Node(
        lambda d: (list(d.values()), tuple(d)),
        lambda keys, children: OrderedDict(zip(keys, children, strict=True)),
        lambda d, keys: [DictKey(k) for k in keys],
    ),
    defaultdict: Node(
        _flatten_default,
        lambda meta, children: defaultdict(meta[0], zip(meta[1], children, strict=True)),
        lambda d, meta: [DictKey(k) for k in meta[1]],
    ),
    list: Node(lambda x: (x, None), lambda meta, children: list(children), _indices),
    tuple: Node(lambda x: (x, None), lambda meta, children: tuple(children), _indices),
    type(None): Node(lambda x: ((), None), lambda meta, children: None, lambda x, meta: ()),
}


def _named_tuple_node(cls: type) -> Node:
    return Node(
        lambda x: (x, None),
        lambda meta, children: cls(*children),
        lambda x, meta: [AttrKey(name) for name in cls._fields],  # type: ignore[attr-defined]
    )


def _jax_node(jax: Any, cls: type) -> Node:
    """Take a type apart as JAX does, through JAX's public functions."""

    def one_level(x: Any) -> Any:
        return jax.tree_util.tree_flatten_with_path(x, is_leaf=lambda y: y is not x)

    return Node(
        lambda x: ([child for _, child in one_level(x)[0]], one_level(x)[1]),
        lambda meta, children: jax.tree_util.tree_unflatten(meta, children),
        lambda x, meta: [_JaxKey(jax.tree_util.keystr(path)) for path, _ in one_level(x)[0]],
    )


class _JaxKey(str):
    """A key path entry as JAX prints it."""

    __slots__ = ()


# Types that are surely leaves; asking JAX about each array would be slow.
LEAVES: set[type] = {np.ndarray, float, int, complex, bool, str, np.float64, np.float32}


def node_of(x: Any) -> Node | None:
    """Return how to take x apart, or None if x is a leaf; learns NamedTuples and JAX's types."""
    cls = type(x)
    node = REGISTRY.get(cls)
    if node is not None or cls in LEAVES:
        return node
    if isinstance(x, tuple) and hasattr(cls, "_fields"):
        node = REGISTRY[cls] = _named_tuple_node(cls)
        return node
    jax = sys.modules.get("jax")
    if jax is None or not hasattr(jax, "tree_util") or isinstance(x, np.generic):
        return None
    if isinstance(x, getattr(jax, "Array", ())):
        LEAVES.add(cls)
        return None
    # Only a positive answer is kept: the type may be registered with JAX later.
    if jax.tree_util.all_leaves([x]):
        return None
    node = REGISTRY[cls] = _jax_node(jax, cls)
    return node


def register_pytree_node(
    cls: type,
    flatten: Callable[[Any], tuple[Iterable[Any], Hashable]],
    unflatten: Callable[[Any, Any], Any],
    flatten_with_keys: Callable[[Any], tuple[Iterable[tuple[Any, Any]], Hashable]] | None = None,
) -> None:
    """Make a type a container of pytrees.

    Args:
      cls: The type.
      flatten: Takes an instance, returns (children, auxiliary data); the latter is hashable.
      unflatten: Takes (auxiliary data, children), returns an instance.
      flatten_with_keys: Like flatten, with pairs (key, child), for readable key paths.

    Raises:
      ValueError: The type is registered already.

    Example:
      >>> class Pair:
      ...     def __init__(self, a, b):
      ...         self.a, self.b = a, b
      >>> register_pytree_node(Pair, lambda p: ((p.a, p.b), None), lambda _, c: Pair(*c))
      >>> import funcgraph as fg
      >>> fg.tree.leaves(Pair(1, (2, 3)))
      [1, 2, 3]
    """
    if cls in REGISTRY:
        raise ValueError(f"{cls.__name__} is registered as a pytree already")

    def take_apart(x: Any) -> tuple[Sequence[Any], Any]:
        children, meta = flatten(x)
        return tuple(children), meta

    def keys(x: Any, meta: Any) -> Sequence[Any]:
        if flatten_with_keys is None:
            return [IndexKey(k) for k in range(len(take_apart(x)[0]))]
        return [key for key, _ in flatten_with_keys(x)[0]]

    REGISTRY[cls] = Node(take_apart, lambda meta, c: unflatten(meta, tuple(c)), keys)


def register_dataclass(
    cls: C,
    data_fields: Sequence[str] | None = None,
    meta_fields: Sequence[str] | None = None,
) -> C:
    """Make a dataclass a container of pytrees; usable as a decorator.

    Args:
      cls: The dataclass.
      data_fields: Names of the fields that hold children; default: those not in meta_fields.
      meta_fields: Names of the fields that are static (hashable); default: those not in
        data_fields or, if data_fields is not given either, those marked by
        dataclasses.field(metadata={"static": True}).

    Returns:
      cls.

    Raises:
      ValueError: A field is named in neither or in both lists, or is not one of the dataclass.

    Example:
      >>> @register_dataclass
      ... @dataclasses.dataclass
      ... class Point:
      ...     x: float
      ...     y: float
      >>> import funcgraph as fg
      >>> fg.tree.map(lambda v: 2 * v, Point(1.0, 2.0))
      Point(x=2.0, y=4.0)
    """
    fields = [f for f in dataclasses.fields(cls) if f.init]
    names = [f.name for f in fields]
    if meta_fields is None:
        marked = [f.name for f in fields if f.metadata.get("static", False)]
        meta_fields = marked if data_fields is None else [n for n in names if n not in data_fields]
    if data_fields is None:
        data_fields = [n for n in names if n not in meta_fields]
    data, meta = tuple(data_fields), tuple(meta_fields)
    if sorted(data + meta) != sorted(names):
        raise ValueError(
            f"{cls.__name__} has the fields {names}, but data_fields={list(data)} and "
            f"meta_fields={list(meta)}: every field must be in one of them."
        )
    REGISTRY[cls] = Node(
        lambda x: ([getattr(x, n) for n in data], tuple([getattr(x, n) for n in meta])),
        lambda m, children: cls(
            **dict(zip(data, children, strict=True)), **dict(zip(meta, m, strict=True))
        ),
        lambda x, m: [AttrKey(n) for n in data],
    )
    return cls

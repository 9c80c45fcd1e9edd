"""Pytrees: nested containers whose leaves are arrays. Imports `funcgraph.errors` and NumPy only.

Containers are dict (by sorted key), OrderedDict, defaultdict, list, tuple, NamedTuple, None
(without leaves) and whatever is registered here or, when JAX is loaded, with JAX. Everything else
is a leaf. Key paths print as `['a'][0].b`.
"""

from __future__ import annotations

import dataclasses
import functools
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
    "TreeDef",
    "all",
    "flatten",
    "flatten_with_path",
    "keystr",
    "leaves",
    "leaves_with_path",
    "map",
    "map_with_path",
    "ravel",
    "reduce",
    "register_dataclass",
    "register_pytree_node",
    "structure",
    "transpose",
    "unflatten",
]

C = TypeVar("C", bound=type)
IsLeaf = Callable[[Any], bool] | None


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


class _Node(NamedTuple):
    """How a container type is taken apart and put together."""

    flatten: Callable[[Any], tuple[Sequence[Any], Any]]  # -> children, hashable meta
    unflatten: Callable[[Any, Sequence[Any]], Any]  # meta, children -> container
    keys: Callable[[Any, Any], Sequence[Any]]  # container, meta -> key of each child


def keystr(path: KeyPath) -> str:
    """Return a key path as Python writes it.

    Example:
      >>> keystr((DictKey("a"), IndexKey(0), AttrKey("b")))
      "['a'][0].b"
    """
    return "".join([str(key) for key in path])


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


_REGISTRY: dict[type, _Node] = {
    dict: _Node(
        _flatten_dict,
        lambda keys, children: dict(zip(keys, children, strict=True)),
        lambda d, keys: [DictKey(k) for k in keys],
    ),
    OrderedDict: _Node(
        lambda d: (list(d.values()), tuple(d)),
        lambda keys, children: OrderedDict(zip(keys, children, strict=True)),
        lambda d, keys: [DictKey(k) for k in keys],
    ),
    defaultdict: _Node(
        _flatten_default,
        lambda meta, children: defaultdict(meta[0], zip(meta[1], children, strict=True)),
        lambda d, meta: [DictKey(k) for k in meta[1]],
    ),
    list: _Node(lambda x: (x, None), lambda meta, children: list(children), _indices),
    tuple: _Node(lambda x: (x, None), lambda meta, children: tuple(children), _indices),
    type(None): _Node(lambda x: ((), None), lambda meta, children: None, lambda x, meta: ()),
}


def _named_tuple_node(cls: type) -> _Node:
    return _Node(
        lambda x: (x, None),
        lambda meta, children: cls(*children),
        lambda x, meta: [AttrKey(name) for name in cls._fields],  # type: ignore[attr-defined]
    )


def _jax_node(jax: Any, cls: type) -> _Node:
    """Take a type apart as JAX does, through JAX's public functions."""

    def one_level(x: Any) -> Any:
        return jax.tree_util.tree_flatten_with_path(x, is_leaf=lambda y: y is not x)

    return _Node(
        lambda x: ([child for _, child in one_level(x)[0]], one_level(x)[1]),
        lambda meta, children: jax.tree_util.tree_unflatten(meta, children),
        lambda x, meta: [_JaxKey(jax.tree_util.keystr(path)) for path, _ in one_level(x)[0]],
    )


class _JaxKey(str):
    """A key path entry as JAX prints it."""

    __slots__ = ()


# Types that are surely leaves; asking JAX about each array would be slow.
_LEAVES: set[type] = {np.ndarray, float, int, complex, bool, str, np.float64, np.float32}


def _node_of(x: Any) -> _Node | None:
    """Return how to take x apart, or None if x is a leaf; learns NamedTuples and JAX's types."""
    cls = type(x)
    node = _REGISTRY.get(cls)
    if node is not None or cls in _LEAVES:
        return node
    if isinstance(x, tuple) and hasattr(cls, "_fields"):
        node = _REGISTRY[cls] = _named_tuple_node(cls)
        return node
    jax = sys.modules.get("jax")
    if jax is None or not hasattr(jax, "tree_util") or isinstance(x, np.generic):
        return None
    # Only a positive answer is kept: the type may be registered with JAX later.
    if jax.tree_util.all_leaves([x]):
        return None
    node = _REGISTRY[cls] = _jax_node(jax, cls)
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
      >>> leaves(Pair(1, (2, 3)))
      [1, 2, 3]
    """
    if cls in _REGISTRY:
        raise ValueError(f"{cls.__name__} is registered as a pytree already")

    def take_apart(x: Any) -> tuple[Sequence[Any], Any]:
        children, meta = flatten(x)
        return tuple(children), meta

    def keys(x: Any, meta: Any) -> Sequence[Any]:
        if flatten_with_keys is None:
            return [IndexKey(k) for k in range(len(take_apart(x)[0]))]
        return [key for key, _ in flatten_with_keys(x)[0]]

    _REGISTRY[cls] = _Node(take_apart, lambda meta, c: unflatten(meta, tuple(c)), keys)


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
        data_fields, none if data_fields is not given either.

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
      >>> map(lambda v: 2 * v, Point(1.0, 2.0))
      Point(x=2.0, y=4.0)
    """
    names = [f.name for f in dataclasses.fields(cls) if f.init]
    if meta_fields is None:
        meta_fields = [] if data_fields is None else [n for n in names if n not in data_fields]
    if data_fields is None:
        data_fields = [n for n in names if n not in meta_fields]
    data, meta = tuple(data_fields), tuple(meta_fields)
    if sorted(data + meta) != sorted(names):
        raise ValueError(
            f"{cls.__name__} has the fields {names}, but data_fields={list(data)} and "
            f"meta_fields={list(meta)}: every field must be in one of them."
        )
    _REGISTRY[cls] = _Node(
        lambda x: ([getattr(x, n) for n in data], tuple([getattr(x, n) for n in meta])),
        lambda m, children: cls(
            **dict(zip(data, children, strict=True)), **dict(zip(meta, m, strict=True))
        ),
        lambda x, m: [AttrKey(n) for n in data],
    )
    return cls


# --- structure -----------------------------------------------------------------------------------

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
        return f"TreeDef({_show(self.spec)})"


def _count(spec: Spec) -> int:
    return 1 if spec is None else sum([_count(s) for s in spec[2]])


def _show(spec: Spec) -> str:
    if spec is None:
        return "*"
    cls, meta, children = spec
    inner = [_show(c) for c in children]
    if cls is dict:
        return "{" + ", ".join(f"{k!r}: {v}" for k, v in zip(meta, inner, strict=True)) + "}"
    if cls is list:
        return f"[{', '.join(inner)}]"
    if cls is tuple:
        return f"({', '.join(inner)}{',' if len(inner) == 1 else ''})"
    if cls is type(None):
        return "None"
    return f"{cls.__name__}{'' if meta in (None, ()) else f'[{meta}]'}({', '.join(inner)})"


def _flatten(x: Any, out: list[Any], is_leaf: IsLeaf) -> Spec:
    cls = type(x)
    node = _REGISTRY.get(cls) or _node_of(x)
    if node is None or (is_leaf is not None and is_leaf(x)):
        out.append(x)
        return None
    children, meta = node.flatten(x)
    specs: list[Spec] = []
    for child in children:
        if type(child) in _LEAVES and is_leaf is None:  # no call for the most frequent leaves
            out.append(child)
            specs.append(None)
        else:
            specs.append(_flatten(child, out, is_leaf))
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
    return _REGISTRY[cls].unflatten(meta, children)


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
    node = _node_of(x)
    if node is None or (is_leaf is not None and is_leaf(x)):
        out.append((path, x))
        return
    children, meta = node.flatten(x)
    for key, child in zip(node.keys(x, meta), children, strict=True):
        _paths(child, (*path, key), out, is_leaf)


def leaves_with_path(tree: Any, is_leaf: IsLeaf = None) -> list[tuple[KeyPath, Any]]:
    """Return the pairs (key path, leaf) of a pytree.

    Example:
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


def _match(spec: Spec, x: Any, path: KeyPath, out: list[Any]) -> None:
    """Append to out the subtrees of x at the leaves of a structure; raise where they differ."""
    if spec is None:
        out.append(x)
        return
    cls, meta, specs = spec
    where = keystr(path) or "the root"
    if type(x) is not cls:
        raise TreeError(
            f"at {where} a {cls.__name__} was expected ({_show(spec)}), as in the first pytree, "
            f"but another one has a {type(x).__name__} there."
        )
    node = _REGISTRY[cls]
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


def ravel(tree: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Join the leaves of a pytree into one vector.

    Args:
      tree: A pytree of arrays and numbers, traced or not.

    Returns:
      (vector, unravel): the vector has the promoted dtype of the leaves; unravel(vector) returns
      the pytree with the shapes and dtypes of the leaves.

    Raises:
      TreeError: unravel was given a vector of another length.

    Example:
      >>> import numpy as np
      >>> vector, unravel = ravel({"a": np.ones((2, 2)), "b": 3.0})
      >>> vector
      array([1., 1., 1., 1., 3.])
      >>> unravel(2 * vector)["b"]
      np.float64(6.0)
    """
    parts, treedef = flatten(tree)
    shapes = [np.shape(x) for x in parts]
    dtypes = [x.dtype if hasattr(x, "dtype") else np.result_type(x) for x in parts]
    ends = np.cumsum([0] + [int(np.prod(s)) for s in shapes]).tolist()
    dtype = np.result_type(*dtypes) if dtypes else np.dtype(float)

    def unravel(vector: Any) -> Any:
        if np.shape(vector) != (ends[-1],):
            raise TreeError(
                f"unravel needs a vector of shape ({ends[-1]},), got shape {np.shape(vector)}."
            )
        pieces = [
            np.reshape(vector[a:b], s).astype(d)[()]
            for a, b, s, d in zip(ends[:-1], ends[1:], shapes, dtypes, strict=True)
        ]
        return unflatten(treedef, pieces)

    if not parts:
        return np.zeros(0, dtype), unravel
    flat = [np.reshape(x, (-1,)).astype(dtype) for x in parts]
    return np.concatenate(flat), unravel

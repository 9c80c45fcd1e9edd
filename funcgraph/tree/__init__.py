"""Pytrees: nested containers whose leaves are arrays. Imports `funcgraph.errors` and NumPy only.

Containers are dict (by sorted key), OrderedDict, defaultdict, list, tuple, NamedTuple, None
(without leaves) and whatever is registered here or, when JAX is loaded, with JAX. Everything else
is a leaf. Key paths print as `['a'][0].b`.
"""

from funcgraph.tree.mapping import all, map, map_with_path, reduce, transpose
from funcgraph.tree.registry import (
    AttrKey,
    DictKey,
    IndexKey,
    KeyPath,
    keystr,
    register_dataclass,
    register_pytree_node,
)
from funcgraph.tree.structure import (
    TreeDef,
    flatten,
    flatten_with_path,
    leaves,
    leaves_with_path,
    structure,
    unflatten,
)

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
    "reduce",
    "register_dataclass",
    "register_pytree_node",
    "structure",
    "transpose",
    "unflatten",
]

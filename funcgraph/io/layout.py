"""How a pytree becomes named arrays and a description in JSON, and comes back.

A description is one of

    null                                    None
    {"dict": [[key, description], ...]}     a dict; keys are strings or integers
    {"list": [...]}, {"tuple": [...]}
    {"object": type, "fields": [[name, description], ...]}    NamedTuple, dataclass, registered type
    {"array": name}, {"scalar": name}       an array, a NumPy scalar
    {"bool": ...}, {"int": ...}, {"float": ...}, {"complex": ...}, {"str": ...}    of Python

May import `funcgraph.errors`, `tree` and NumPy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from funcgraph import tree
from funcgraph.errors import FuncgraphError, StorageError
from funcgraph.tree.registry import KeyPath, Node, node_of

__all__ = ["DESCRIPTION", "Info", "describe", "leaf_of", "match", "names_in", "rebuild", "refuse"]

DESCRIPTION = "__tree__"  # the name under which a file has the description
KINDS = "biufcSUmM"  # of dtypes: bool, numbers, strings, times
_NUMBERS: dict[type, Callable[[str], Any]] = {int: int, float: float, complex: complex}
_MOST = 20  # problems that one message lists


class Info(NamedTuple):
    """Shape and dtype of an array in a file."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


def refuse(problems: list[str], what: str) -> None:
    """Raise one StorageError that lists all problems, if there are any."""
    if problems:
        more = len(problems) - _MOST
        lines = problems[:_MOST] + ([f"and {more} more"] if more > 0 else [])
        raise StorageError("\n  ".join([what, *lines]))


def shown(path: KeyPath) -> str:
    """Return a path as messages show it."""
    return tree.keystr(path, simple=True, separator="/") or "the root"


# --- names ---------------------------------------------------------------------------------------


def _segment(text: str) -> str:
    """Return a key as a part of a name that no program takes for more than a part of one."""
    text = re.sub(r"[%/\\:\x00-\x1f\x7f\ud800-\udfff]", lambda found: f"%{ord(found[0]):02X}", text)
    text = re.sub(r"\.(?=npy$)", "%2E", text)
    return text.replace(".", "%2E") if text in (".", "..") else text or "%"


def _name(path: KeyPath) -> str:
    name = "/".join([_segment(tree.keystr((key,), simple=True)) for key in path]) or "value"
    return "%5F_tree__" if name == DESCRIPTION else name


# --- to a file -----------------------------------------------------------------------------------


def describe(x: Any) -> tuple[Any, dict[str, np.ndarray[Any, Any]]]:
    """Return the description of a pytree, and its arrays by name.

    Raises:
      StorageError: A leaf or a key cannot be saved; the message lists all of them.
    """
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    problems: list[str] = []
    description = _describe(x, (), arrays, problems)
    refuse(problems, "this pytree cannot be saved:")
    return description, arrays


def _describe(x: Any, path: KeyPath, arrays: dict[str, Any], problems: list[str]) -> Any:
    node = node_of(x)
    if node is None:
        return _describe_leaf(x, path, arrays, problems)
    if x is None:
        return None
    parts = []
    for key, child in _children(node, x):
        if isinstance(x, dict) and type(key.key) not in (str, int):
            problems.append(
                f"{shown((*path, key))}: the key {key.key!r} is a {type(key.key).__name__}; keys "
                "are strings or integers"
            )
        parts.append((key, _describe(child, (*path, key), arrays, problems)))
    if isinstance(x, dict):
        return {"dict": [[key.key, part] for key, part in parts]}
    if type(x) in (list, tuple):
        return {type(x).__name__: [part for _, part in parts]}
    fields = [[tree.keystr((key,), simple=True), part] for key, part in parts]
    return {"object": type(x).__name__, "fields": fields}


def _children(node: Node, x: Any) -> list[tuple[Any, Any]]:
    children, meta = node.flatten(x)
    return list(zip(node.keys(x, meta), children, strict=True))


def _describe_leaf(x: Any, path: KeyPath, arrays: dict[str, Any], problems: list[str]) -> Any:
    cls = type(x)
    if cls in _NUMBERS:
        return {cls.__name__: repr(x)}
    if cls in (bool, str):
        return {cls.__name__: x}
    name = _name(path)
    try:
        value = _as_array(x)
    except (TypeError, ValueError, FuncgraphError) as error:
        problems.append(f"{shown(path)}: {str(error).splitlines()[0]}")
        return None
    if name in arrays:
        problems.append(f"{shown(path)}: there are two leaves of this name")
    arrays[name] = value
    return {"scalar" if isinstance(x, np.generic) else "array": name}


def _as_array(x: Any) -> np.ndarray[Any, Any]:
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError("a masked array; save x.data and x.mask")
    if not hasattr(x, "shape") or not hasattr(x, "dtype"):
        raise TypeError(
            f"a {type(x).__name__}; leaves are arrays, numbers, bools and strings, and other types "
            "are containers once they are registered (tree.register_dataclass)"
        )
    value = np.asarray(x)
    if value.dtype.kind not in KINDS or value.dtype.hasobject:
        raise TypeError(f"an array of dtype {value.dtype}, which has no portable form")
    return value


# --- from a file ---------------------------------------------------------------------------------


def names_in(description: Any) -> list[str]:
    """Return the names of the arrays of a description."""
    if description is None:
        return []
    kind, value = next(iter(description.items()))
    if kind in ("array", "scalar"):
        return [value]
    parts: list[Any] = []
    if kind in ("dict", "object"):
        parts = [part for _, part in description["fields" if kind == "object" else kind]]
    elif kind in ("list", "tuple"):
        parts = value
    return [name for part in parts for name in names_in(part)]


def rebuild(description: Any, arrays: Mapping[str, Any]) -> Any:
    """Return the pytree of a description; NamedTuples and other objects are dicts of their fields.

    Args:
      description: From a file.
      arrays: Its arrays by name.
    """
    if description is None:
        return None
    kind, value = next(iter(description.items()))
    if kind in ("dict", "object"):
        pairs = description["fields" if kind == "object" else kind]
        return {key: rebuild(part, arrays) for key, part in pairs}
    if kind in ("list", "tuple"):
        parts = [rebuild(part, arrays) for part in value]
        return tuple(parts) if kind == "tuple" else parts
    return leaf_of(kind, value, arrays)


def leaf_of(kind: str, value: Any, arrays: Mapping[str, Any]) -> Any:
    """Return the leaf of a description."""
    if kind == "array":
        return arrays[value]
    if kind == "scalar":
        return arrays[value][()]
    for cls, read in _NUMBERS.items():
        if kind == cls.__name__:
            return read(value)
    if kind in ("bool", "str") and type(value).__name__ == kind:
        return value
    raise ValueError(f"{kind!r} is no kind of leaf")


def match(description: Any, like: Any, infos: Mapping[str, Info]) -> list[tuple[str, Any]]:
    """Return the leaves (kind, value) of a description in the order of a pytree that it must fit.

    Raises:
      StorageError: They differ in structure, shapes or dtypes; the message lists all paths.
    """
    problems: list[str] = []
    out: list[tuple[str, Any]] = []
    _match(description, like, (), infos, out, problems)
    refuse(problems, "the file does not fit `like`:")
    return out


def _match(
    description: Any,
    like: Any,
    path: KeyPath,
    infos: Mapping[str, Info],
    out: list[tuple[str, Any]],
    problems: list[str],
) -> None:
    node = node_of(like)
    kind, value = next(iter(description.items())) if description is not None else ("None", [])
    want = _kind_of(like, node)
    container = node is not None
    if container != (kind in ("None", "dict", "list", "tuple", "object")) or (
        container and kind != want
    ):
        problems.append(f"{shown(path)}: the file has {_called(description)}, expected a {want}")
        return
    if node is None:
        got, want = _leaf_text(kind, value, infos), _expected(like)
        if got != want:
            problems.append(f"{shown(path)}: the file has {got}, expected {want}")
        out.append((kind, value))
        return
    parts: dict[Any, Any] = {}
    if kind in ("dict", "object"):
        parts = dict(map(tuple, description["fields" if kind == "object" else kind]))
    elif kind in ("list", "tuple"):
        parts = dict(enumerate(value))
    for key, child in _children(node, like):
        k = key.key if kind == "dict" else tree.keystr((key,), simple=True)
        k = key.idx if kind in ("list", "tuple") else k
        if k in parts:
            _match(parts.pop(k), child, (*path, key), infos, out, problems)
        else:
            problems.append(f"{shown((*path, key))}: not in the file")
    here = tree.keystr(path, simple=True, separator="/")
    problems += [f"{here}{'/' if here else ''}{k}: in the file only" for k in parts]


def _kind_of(x: Any, node: Node | None) -> str:
    if node is None:
        return "leaf"
    if x is None:
        return "None"
    if isinstance(x, dict):
        return "dict"
    return type(x).__name__ if type(x) in (list, tuple) else "object"


def _called(description: Any) -> str:
    return "None" if description is None else f"a {next(iter(description))}"


def _leaf_text(kind: str, value: Any, infos: Mapping[str, Info]) -> str:
    return str(infos[value]) if kind in ("array", "scalar") else f"a Python {kind}"


def _expected(like: Any) -> str:
    if hasattr(like, "shape") and hasattr(like, "dtype"):
        return str(Info(tuple(like.shape), np.dtype(like.dtype)))
    return f"a Python {type(like).__name__}"

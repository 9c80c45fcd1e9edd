"""The outside of a generated program: parameters, leaves taken out of them, and what it returns.

May import `core`, `tree`.
"""

from __future__ import annotations

import inspect
import keyword
import re
from collections.abc import Callable
from typing import Any

from funcgraph import tree
from funcgraph.core.aval import aval_of

__all__ = ["Signature", "parameters", "result_text"]


class Signature:
    """The parameters of a function as it was called, and the name of every leaf.

    Attributes:
      text: The parameters, as after `def`.
      leaves: A name for each leaf of the arguments that are not static, in their order.
      lines: Lines that assign these names.
      names: All names that are taken.
    """

    def __init__(
        self, fun: Callable[..., Any], args: Any, kwargs: Any, static: dict[Any, Any]
    ) -> None:
        self.leaves: list[str] = []
        self.lines: list[str] = []
        positional, star = parameters(fun, args)
        words = [n for n in kwargs if n not in positional]
        self.names = {*positional, *words} | ({star} if star else set())
        keywords = [f"*{star}"] if star else ["*"] if words else []
        named = [n for n in kwargs if n in positional]
        used = positional[: len(args)]
        after = [n for n in positional[len(used) :] if n in named]
        if len(after) < len(positional) - len(used) and keywords == []:
            keywords = ["*"] if after and after != positional[len(used) :][: len(after)] else []
        self.text = ", ".join([*used, *after, *keywords, *words])
        for at, value in static.items():
            name = used[at] if isinstance(at, int) and at < len(used) else at
            self.lines.append(f"# {name} is fixed: {value!r:.60}")
        for k, x in enumerate(args):
            if k not in static:
                root = used[k] if k < len(used) else f"{star}[{k - len(used)}]"
                self._take_apart(root, x)
        for n in sorted(kwargs):
            if n not in static:
                self._take_apart(n, kwargs[n])

    def _take_apart(self, root: str, x: Any) -> None:
        paths = tree.leaves_with_path(x)
        if len(paths) == 1 and paths[0][0] == () and root.isidentifier():
            self.leaves.append(root)
            self.lines.append(f"# {root}: {aval_of(x)}")
            return
        flat = not all(_reachable(x, path) for path, _ in paths)
        if flat:
            self.lines.append(f"# {root}: the leaves of a {type(x).__name__}, as one tuple")
        for k, (path, leaf) in enumerate(paths):
            name = self._fresh("_".join(re.findall(r"\w+", root + tree.keystr(path))))
            self.leaves.append(name)
            at = f"[{k}]" if flat else tree.keystr(path)
            self.lines.append(f"{name} = {root}{at}  # {aval_of(leaf)}")

    def _fresh(self, name: str) -> str:
        while name in self.names or keyword.iskeyword(name) or not name.isidentifier():
            name += "_"
        self.names.add(name)
        return name


def parameters(fun: Callable[..., Any], args: Any) -> tuple[list[str], str]:
    """Return the names of the positional parameters, and that of *args ("" without)."""
    try:
        parameters = list(inspect.signature(fun).parameters.values())
    except (TypeError, ValueError):
        return [f"x{k}" for k in range(len(args))], ""
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    stars = [p.name for p in parameters if p.kind is p.VAR_POSITIONAL]
    return named, stars[0] if stars and len(args) > len(named) else ""


def _reachable(x: Any, path: Any) -> bool:
    """Return whether x followed by the path, as Python text, is the leaf."""
    for key in path:
        try:
            if isinstance(key, tree.DictKey) and type(key.key) in (str, int, bool):
                x = x[key.key]
            elif isinstance(key, tree.IndexKey) and isinstance(x, list | tuple):
                x = x[key.idx]
            else:
                x = getattr(x, key.name)
        except (AttributeError, LookupError, TypeError):
            return False
    return True


class _Name:
    """Stands for a leaf; prints as its name."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def result_text(structure: Any, names: list[str]) -> tuple[str, str]:
    """Return the text of what a function returns, and a comment if the containers are not its own.

    Args:
      structure: Of the output.
      names: Text for each of its leaves.
    """
    result = tree.unflatten(structure, [_Name(n) for n in names])
    if _is_plain(result):
        return repr(result), ""
    joined = ", ".join(names)
    return f"({joined},)", f"# The leaves of {structure}, as one tuple."


def _is_plain(x: Any) -> bool:
    if type(x) in (list, tuple):
        return all(map(_is_plain, x))
    if type(x) is dict:
        return all(map(_is_plain, x.values())) and all(type(k) in (str, int) for k in x)
    return x is None or type(x) is _Name

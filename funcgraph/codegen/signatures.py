"""The outside of a generated program: parameters, leaves taken out of them, and what it returns.

May import `core`, `tree`.
"""

from __future__ import annotations

import inspect
import keyword
import re
from collections.abc import Callable, Set
from typing import Any, NamedTuple

from funcgraph import tree
from funcgraph.core.aval import aval_of

__all__ = ["Result", "Signature", "parameters", "result_of", "words_of"]

_WIDTH = 88  # letters of the longest line


class Signature:
    """The parameters of a function as it was called, and the name of every leaf.

    Attributes:
      text: The parameters, as after `def`.
      leaves: A name for each leaf of the arguments that are not static, in their order.
      numbers: Which leaves are made scalars of NumPy.
      lines: Lines that assign these names.
      names: All names that are taken.
    """

    def __init__(
        self,
        fun: Callable[..., Any],
        args: Any,
        kwargs: Any,
        static: dict[Any, Any],
        numbers: Set[int] = frozenset(),
    ) -> None:
        self.numbers = numbers
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
            scalar = len(self.leaves) in self.numbers
            self.leaves.append(root)
            self.lines.append(
                f"{root} = np.float64({root})" if scalar else f"# {root}: {aval_of(x)}"
            )
            return
        flat = not all(_reachable(x, path) for path, _ in paths)
        if flat:
            self.lines.append(f"# {root}: the leaves of a {type(x).__name__}, as one tuple")
        for k, (path, leaf) in enumerate(paths):
            name = self._fresh("_".join(re.findall(r"\w+", root + tree.keystr(path))))
            at = f"[{k}]" if flat else re.sub(r"\['(\w+)'\]", r'["\1"]', tree.keystr(path))
            value = f"np.float64({root}{at})" if len(self.leaves) in self.numbers else f"{root}{at}"
            self.leaves.append(name)
            self.lines.append(f"{name} = {value}  # {aval_of(leaf)}")

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


class Result(NamedTuple):
    """What a program returns.

    Attributes:
      lines: `return ...`, on as many lines as it takes.
      classes: Definitions of the named tuples among the containers, by name.
    """

    lines: list[str]
    classes: dict[str, str]


def result_of(structure: Any, names: list[str]) -> Result:
    """Return how the leaves of a result are returned, as one tuple if the containers are not plain.

    Args:
      structure: Of the output.
      names: Text for each of its leaves.
    """
    classes: dict[str, str] = {}
    result = tree.unflatten(structure, list(map(_Leaf, names)))
    if _is_plain(result, classes):
        first, *rest = _layout(result, "return ")
        return Result([first, *rest], classes)
    comment = f"# The leaves of {structure}, as one tuple."
    return Result([comment, *_layout(tuple(map(_Leaf, names)), "return ")], {})


def words_of(structure: Any) -> list[str]:
    """Return for each leaf of a result the words that lead to it: params_w for ["params"]["w"]."""
    numbers = tree.unflatten(structure, range(structure.num_leaves))
    paths = [path for path, _ in tree.leaves_with_path(numbers)]
    words = ["_".join(re.findall(r"\w+", tree.keystr(path))) for path in paths]
    return [word.lstrip("0123456789_") for word in words]


class _Leaf(str):
    """Stands for a leaf."""

    __slots__ = ()


def _is_plain(x: Any, classes: dict[str, str]) -> bool:
    """Return whether a program can make such containers; note the named tuples among them."""
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        name, fields = type(x).__name__, " ".join(x._fields)
        text = f"{name} = namedtuple({name!r}, {fields!r})"
        if not name.isidentifier() or classes.setdefault(name, text) != text:
            return False
    elif type(x) not in (list, tuple):
        if type(x) is dict:
            named = all(type(k) in (str, int) for k in x)
            return named and all(_is_plain(v, classes) for v in x.values())
        return x is None or type(x) is _Leaf
    return all(_is_plain(v, classes) for v in x)


def _layout(x: Any, before: str) -> list[str]:
    """Return the lines of a container; if it does not fit one line, one for each of its parts."""
    opening, parts, closing = _parts(x)
    if opening is None:
        return [f"{before}{x}"]
    inner = [_layout(part, label) for label, part in parts]
    if all(len(lines) == 1 for lines in inner):
        comma = "," if opening == "(" and len(inner) == 1 else ""
        text = f"{before}{opening}{', '.join(lines[0] for lines in inner)}{comma}{closing}"
        if len(text) <= _WIDTH:
            bare = before == "return " and type(x) is tuple and len(x) > 1
            return [f"{before}{text[len(before) + 1 : -1]}" if bare else text]
    lines = [f"    {line}" for part in inner for line in (*part[:-1], f"{part[-1]},")]
    return [f"{before}{opening}", *lines, closing]


def _parts(x: Any) -> tuple[str | None, list[tuple[str, Any]], str]:
    """Return brackets and parts of a container, each with what stands before it."""
    if type(x) is dict:
        return "{", [(f"{k!r}: ".replace("'", '"'), v) for k, v in x.items()], "}"
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return (
            f"{type(x).__name__}(",
            [(f"{n}=", v) for n, v in zip(x._fields, x, strict=True)],
            ")",
        )
    if type(x) in (list, tuple):
        brackets = "[]" if type(x) is list else "()"
        return brackets[0], [("", v) for v in x], brackets[1]
    return None, [], ""

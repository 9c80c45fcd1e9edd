"""Where an operation comes from: the user's line, the scopes (layers) around it.

May import `errors`.
"""

from __future__ import annotations

import linecache
import os
from contextlib import ContextDecorator
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, NamedTuple

from funcgraph.errors import user_line

if TYPE_CHECKING:
    from funcgraph.core.graph import Equation, Var

__all__ = [
    "BACKWARD",
    "WEAK",
    "Naming",
    "Origin",
    "named",
    "named_scope",
    "origin",
    "place_of",
    "pulled",
    "replayed",
    "source_of",
]

BACKWARD = "backward"  # the outermost scope of what a sweep back asks for


class Origin(NamedTuple):
    """Where an operation comes from: the user's line (file:line), and the path of the scopes."""

    line: str
    scope: str


_NO_FILE = "<string>"  # of `python -c` and exec: programs share it, so no text belongs to it


def place_of(line: str) -> str:
    """Return `file:line` of a user's line, without the directories; "" if it is not known."""
    path, _, row = line.rpartition(":")
    if not row.isdecimal():
        return ""
    return f"line {row}" if path == _NO_FILE else f"{os.path.basename(path)}:{row}"


def source_of(line: str) -> str:
    """Return the text of a user's line; "" if it cannot be read."""
    path, _, row = line.rpartition(":")
    readable = row.isdecimal() and path != _NO_FILE
    return linecache.getline(path, int(row)).strip() if readable else ""


_scope: ContextVar[str] = ContextVar("scope", default="")

# The equation that a graph is evaluating: what is staged meanwhile comes from where it came from.
replayed: ContextVar[Equation | None] = ContextVar("replayed", default=None)


class Naming(NamedTuple):
    """While what is staged gets names: who gave them.

    Attributes:
      depths: How deep in the stack the function is that named a variable. WEAK if it is a layer,
        more if it is a function inside of a layer: the user may give another name.
      whole: Whether the graph is read as a program: then compiled functions are staged as what they
        compile, cotangents are named after their primals, and the names of layers, and of the
        variables inside, count where the user has none.
      arrays: By identity, what the user calls the arrays that functions read from outside.
    """

    depths: dict[Var, int]
    whole: bool
    arrays: dict[int, tuple[Any, str]]


WEAK = 1 << 30
named: ContextVar[Naming | None] = ContextVar("named", default=None)

# What a sweep back is going back over: what is staged meanwhile comes from there.
pulled: ContextVar[Origin | None] = ContextVar("pulled", default=None)


class named_scope(ContextDecorator):  # noqa: N801  (the name in JAX)
    """Name the part of a program that the block asks for: a layer, a term of a loss.

    Equations that are staged inside carry the path of the scopes around them, "encoder/dense":
    pictures draw a box around them. Models open a scope for each of their nodes. Values are not
    affected. Works as a decorator, too.

    Args:
      name: A name; "a/b" stands for b inside of a.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> def f(x):
      ...     with fg.named_scope("penalty"):
      ...         return np.sum(x**2)
      >>> [e.scope for e in fg.make_graph(f)(np.ones(3)).equations]
      ['penalty', 'penalty']
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._tokens: list[Token[str]] = []

    def __enter__(self) -> None:
        outer = _scope.get()
        self._tokens.append(_scope.set(f"{outer}/{self.name}" if outer else self.name))

    def __exit__(self, *_: object) -> None:
        _scope.reset(self._tokens.pop())

    def _recreate_cm(self) -> named_scope:  # a decorated function may run in several threads
        return named_scope(self.name)


def origin() -> Origin:
    """Return the user's line, and the path of the scopes, of what is asked for now."""
    active, e = _scope.get(), replayed.get()
    if e is None:
        return pulled.get() or Origin(user_line(), active)
    inside = not active or e.scope == active or e.scope.startswith(active + "/")
    scope = e.scope if inside else f"{active}/{e.scope}".rstrip("/")
    return Origin(e.line or user_line(), scope)

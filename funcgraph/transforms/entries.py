"""What `jit` keeps for a signature of arguments: a program that is compiled when first called.

May import `core`, `engines`, `tree`, `transforms`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

from funcgraph import tree
from funcgraph.core.graph import Graph
from funcgraph.transforms.partial import compiled
from funcgraph.transforms.stage import StrongZeros
from funcgraph.tree.exact import exact

__all__ = ["NO_STATIC", "CacheInfo", "Entry", "Late", "Static", "derivatives_of", "late", "spread"]


class Late:
    """Runs a graph, which it compiles when it is first called."""

    __slots__ = ("_make", "calls", "program")

    def __init__(self, make: Callable[[], Callable[..., Any]]) -> None:
        self._make = make
        self.program: Callable[..., Any] | None = None
        self.calls = 0  # that came the long way

    def __call__(self, *leaves: Any) -> Any:
        """Run the program."""
        if self.program is None:
            self.program = self._make()
        self.calls += 1
        return self.program(*leaves)


class CacheInfo(NamedTuple):
    """Statistics of a compiled function, as of functools.lru_cache."""

    hits: int
    misses: int
    maxsize: int
    currsize: int


class Entry(NamedTuple):
    """What is kept for one signature of the arguments."""

    graph: Graph
    structure: Any  # of the output
    closed_over: list[Any]  # tracers of outer transformations: further inputs
    run: Late  # on plain arrays; None: a derivative is not finite
    kept: bool = False  # it may run again


class Static(NamedTuple):
    """Stands for the static arguments in a signature: positions or names, with values.

    1, 1.0 and True are equal, but programs with them are not.
    """

    values: tuple[tuple[Any, Any], ...]
    exactly: Any

    @classmethod
    def of(cls, values: list[tuple[Any, Any]]) -> Static:
        """Return what stands for these values."""
        return cls(tuple(values), tuple(exact(x) for _, x in values))


NO_STATIC = Static.of([])


def derivatives_of(graph: Graph, plan: StrongZeros) -> list[Any]:
    """Return the variables of the graph that should be finite."""
    known = {*graph.inputs, *graph.constants, *(v for e in graph.equations for v in e.outputs)}
    found = [x.variable for x in plan.derivatives]
    # Those in the body of a loop or branch are not at hand: what comes out of it is.
    return found if known.issuperset(found) else [*graph.outputs]


def late(graph: Graph, backend: str, options: dict[str, Any]) -> Late:
    """Return a function that runs a graph."""

    def make() -> Callable[..., Any]:
        if not options:
            return compiled(graph, backend)
        engine = importlib.import_module(f"funcgraph.engines.{backend}")
        return engine.compile_graph(graph, **options)  # type: ignore[no-any-return]

    return Late(make)


def spread(prefix: Any, full: Any) -> list[Any]:
    """Return an entry of prefix for every leaf of full."""
    out: list[Any] = []
    prefix = tuple(prefix) if isinstance(prefix, list) else prefix
    tree.map(
        lambda p, part: out.extend([p] * len(tree.leaves(part))),
        prefix,
        full,
        is_leaf=lambda x: x is None,
    )
    return out

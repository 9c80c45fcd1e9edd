"""The user's names of values: what pictures, step tables and generated source show.

While a function is staged under `naming`, the frames of the user's functions are watched: a staged
value that is bound to a local variable gets the variable's name. Nothing is parsed, so the names
are right for unpacking, loops, helper functions and closures alike.
May import `core`, `tree`, `codegen.signatures`, `transforms`.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NamedTuple

import numpy as np

from funcgraph import tree
from funcgraph.codegen.signatures import parameters
from funcgraph.core.aval import aval_of
from funcgraph.core.graph import Graph
from funcgraph.core.origin import WEAK, Naming, named
from funcgraph.errors import is_library
from funcgraph.transforms.arguments import run
from funcgraph.transforms.following import Following
from funcgraph.transforms.named_tape import variable_of
from funcgraph.transforms.stage import Stage, stage

__all__ = ["NamedGraph", "named_graph", "named_run", "naming", "naming_all"]

_HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_LAYERS = tuple(os.path.join(_HOME, part, "") for part in ("nn", "losses"))


class NamedGraph(NamedTuple):
    """The graph of a function, whose variables carry the user's names.

    Attributes:
      graph: From the leaves of the arguments to the leaves of the output.
      structure: Of the output.
      inputs: What the user calls each input: "x", "params['w']".
    """

    graph: Graph
    structure: Any
    inputs: list[str]


class _Watcher:
    """Names variables by the outermost function that gives them a name."""

    def __init__(self, names: Naming) -> None:
        self.names = names

    def __call__(self, frame: FrameType, event: str, arg: Any) -> Any:
        """Return what watches a frame that begins; Python calls this (sys.settrace)."""
        depth, outer = 0, frame.f_back
        if is_library(frame.f_code.co_filename):
            if not (self.names.whole and frame.f_code.co_filename.startswith(_LAYERS)):
                return None
            depth = WEAK + 1
        else:
            self._note_arrays(frame)
        depths = self.names.depths
        while outer is not None:
            depth, outer = depth + 1, outer.f_back

        def watch(frame: FrameType, event: str, arg: Any) -> Any:
            for name, x in frame.f_locals.items():
                var = variable_of(x) if name.strip("_.").isidentifier() else None
                if var is not None and (not var.name or depth < depths.get(var, 0)):
                    var.name, depths[var] = name, depth
            return watch

        return watch

    def _note_arrays(self, frame: FrameType) -> None:
        """Note the names of the arrays that a function reads from outside."""
        code, arrays = frame.f_code, self.names.arrays
        outside = {n: frame.f_locals.get(n) for n in code.co_freevars}
        outside.update((n, frame.f_globals.get(n)) for n in code.co_names)
        for name, x in outside.items():
            if isinstance(x, np.ndarray):
                arrays.setdefault(id(x), (x, name))


@contextlib.contextmanager
def naming() -> Iterator[None]:
    """Give what is staged in the block the names of the user's local variables.

    A debugger or a measurement of coverage, which watch frames as well, rest meanwhile.
    """
    watcher = _Watcher(named.get() or Naming({}, whole=False, arrays={}))
    before, token = sys.gettrace(), named.set(watcher.names)
    sys.settrace(watcher)
    try:
        yield
    finally:
        sys.settrace(before)
        named.reset(token)


@contextlib.contextmanager
def naming_all() -> Iterator[None]:
    """Let `named_graph` give names for a program that people read: see `Naming.whole`."""
    token = named.set(Naming({}, whole=True, arrays={}))
    try:
        yield
    finally:
        named.reset(token)


def named_graph(fun: Callable[..., Any], *args: Any, **kwargs: Any) -> NamedGraph:
    """Return the graph of a function for arguments like these, with the user's names.

    Args:
      fun: A function of arrays (pytrees).
      *args: Arrays, or ShapeDtype in their place.
      **kwargs: Likewise.

    Raises:
      ConcretizationError: Python control flow in fun depends on values.

    Example:
      >>> import numpy as np
      >>> def f(params, x):
      ...     h = np.tanh(x @ params["w"])
      ...     return np.sum(h)
      >>> found = named_graph(f, {"w": np.ones((2, 3))}, np.ones(2))
      >>> found.inputs, [e.outputs[0].name for e in found.graph.equations]
      (["params['w']", 'x'], ['', 'h', ''])
    """
    return _named(fun, args, kwargs, Stage())


def named_run(fun: Callable[..., Any], *args: Any, **kwargs: Any) -> NamedGraph:
    """Return the graph of one run of a function, with the user's names.

    As `named_graph`, but Python may look at values: of a branch, the graph has the side that ran.

    Args:
      fun: A function of arrays (pytrees).
      *args: Arrays.
      **kwargs: Likewise.

    Example:
      >>> found = named_run(lambda x: 2 * x if x > 0 else -x, 3.0)
      >>> [e.primitive.name for e in found.graph.equations]
      ['greater', 'multiply']
    """
    return _named(fun, args, kwargs, Following(tree.leaves((args, kwargs))))


def _named(fun: Callable[..., Any], args: Any, kwargs: Any, trace: Stage) -> NamedGraph:
    leaves, structure = tree.flatten((args, kwargs))
    labels = _labels(fun, args, kwargs)
    found = None

    def flat(*tracers: Any) -> list[Any]:
        nonlocal found
        for x, label in zip(tracers, labels, strict=True):
            x.variable.name = "_".join(re.findall(r"\w+", label))
        new_args, new_kwargs = tree.unflatten(structure, tracers)
        with naming():
            outs, found = tree.flatten(run(fun, new_args, new_kwargs))
        return outs

    return NamedGraph(stage(flat, [aval_of(x) for x in leaves], trace), found, labels)


def _labels(fun: Callable[..., Any], args: Any, kwargs: Any) -> list[str]:
    """Return what the user calls each leaf of the arguments."""
    positional, star = parameters(fun, args)
    roots = [*positional[: len(args)]]
    roots += [f"{star}[{k}]" for k in range(len(args) - len(roots))]
    pairs = [*zip(roots, args, strict=True), *((n, kwargs[n]) for n in sorted(kwargs))]
    return [root + tree.keystr(path) for root, x in pairs for path, _ in tree.leaves_with_path(x)]

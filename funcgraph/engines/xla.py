"""The XLA engine: runs a Graph inside one jax.jit. The only module that imports JAX.

NumPy's dtypes are kept whatever JAX's x64 flag says: the graph is staged and called with it on.
May import `core`, `tree`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from funcgraph import tree
from funcgraph.core.graph import Graph
from funcgraph.core.hoist import hoist
from funcgraph.errors import MissingPackageError

try:
    import jax
except ImportError as error:  # pragma: no cover
    raise MissingPackageError(
        "backend='xla' needs JAX, which is not installed: pip install 'funcgraph[xla]'."
    ) from error

__all__ = ["Shortcuts", "asarray", "compile_graph", "lower"]


def _program(graph: Graph) -> Callable[..., tuple[Any, ...]]:
    graph = hoist(graph)
    return lambda *inputs: tuple(jax.numpy.asarray(x) for x in graph.run(*inputs))


def compile_graph(graph: Graph, **options: Any) -> Callable[..., tuple[Any, ...]]:
    """Return a function of the graph's inputs that returns the tuple of its outputs (JAX arrays).

    Args:
      graph: The program.
      **options: Passed on to jax.jit (donate_argnums, device, in_shardings, out_shardings).
    """
    compiled = jax.jit(_program(graph), **options)

    def run(*inputs: Any) -> tuple[Any, ...]:
        with jax.enable_x64(True):
            return compiled(*inputs)  # type: ignore[no-any-return]

    return run


def asarray(x: Any) -> Any:
    """Return an array of JAX's with NumPy's dtype."""
    with jax.enable_x64(True):
        return jax.numpy.asarray(x)


def lower(graph: Graph, inputs: list[Any], **options: Any) -> Any:
    """Return JAX's lowered form of what compile_graph runs, for arguments like these."""
    with jax.enable_x64(True):
        return jax.jit(_program(graph), **options).lower(*inputs)


# --- calls ---------------------------------------------------------------------------------------


class _Shortcut(NamedTuple):
    signature: list[Any]  # of the leaves
    run: Callable[..., Any]
    outputs: Any  # JAX's structure of them


class Shortcuts:
    """Compiled programs by what JAX's own code, which is in C++, says of their arguments.

    Taking a few hundred parameters apart in Python takes longer than a step on a GPU. A shortcut is
    for a structure of dicts, lists and (named) tuples, and the shapes it was last called with. Any
    other call, and all that is refused, takes the long way.
    """

    def __init__(self, maximum: int) -> None:
        """Keep so many structures at most."""
        self._known: dict[Any, _Shortcut] = {}
        self._maximum = maximum

    def call(self, args: Any) -> Any:
        """Run the program for these arguments; return NotImplemented if there is none."""
        try:
            leaves, structure = jax.tree.flatten(args)
        except (TypeError, ValueError):  # keys that have no order, say
            return NotImplemented
        known = self._known.get(structure)
        if known is None or _signature(leaves) != known.signature:
            return NotImplemented
        return jax.tree.unflatten(known.outputs, known.run(*leaves))

    def add(self, args: Any, leaves: list[Any], inputs: Any, outputs: Any, run: Any) -> None:
        """Keep the program that a call found the long way.

        Args:
          args: The arguments.
          leaves: The leaves of args.
          inputs: Their structure.
          outputs: The structure of the result.
          run: The program, a function of the leaves.
        """
        if not (_is_simple(inputs.spec) and _is_simple(outputs.spec)):
            return
        try:
            found, structure = jax.tree.flatten(args)
            numbers = list(range(outputs.num_leaves))
            order, result = jax.tree.flatten(tree.unflatten(outputs, numbers))
        except (TypeError, ValueError):
            return
        alike = [id(x) for x in found] == [id(x) for x in leaves] and order == numbers
        signature = _signature(leaves)
        if not alike or signature != _signature(leaves):  # there is a leaf of an unknown kind
            return
        if len(self._known) >= self._maximum:
            self._known.clear()
        self._known[structure] = _Shortcut(signature, run, result)


def _signature(leaves: list[Any]) -> list[Any]:
    """Return what decides which program runs. Avals of JAX are shared: most compare by identity."""
    array: Any = _array_type()
    return [x.aval if type(x) is array else _signature_of(x) for x in leaves]


def _signature_of(x: Any) -> Any:
    cls = type(x)
    if cls is np.ndarray:
        return x.shape, x.dtype
    if cls in (bool, int, float, complex) or isinstance(x, (np.number, np.bool_)):
        return cls
    return object()  # equal to no other


@functools.cache
def _array_type() -> type:
    """Return the type of JAX's arrays that hold numbers, not tracers."""
    with jax.ensure_compile_time_eval():
        return type(jax.numpy.zeros(()))


def _is_simple(spec: Any) -> bool:
    """Return whether funcgraph and JAX are sure to take a structure apart alike."""
    if spec is None:
        return True
    cls, _, children = spec
    named = issubclass(cls, tuple) and hasattr(cls, "_fields")
    return (named or cls in (dict, list, tuple, type(None))) and all(map(_is_simple, children))

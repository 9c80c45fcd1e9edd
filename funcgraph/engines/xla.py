"""The XLA engine: runs a Graph inside one jax.jit. The only module that imports JAX.

NumPy's dtypes are kept whatever JAX's x64 flag says: the graph is staged and called with it on.
May import `core`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from funcgraph.core.graph import Graph
from funcgraph.errors import MissingPackageError

try:
    import jax
except ImportError as error:  # pragma: no cover
    raise MissingPackageError(
        "backend='xla' needs JAX, which is not installed: pip install 'funcgraph[xla]'."
    ) from error

__all__ = ["compile_graph"]


def _program(graph: Graph) -> Callable[..., tuple[Any, ...]]:
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


def lower(graph: Graph, inputs: list[Any]) -> Any:
    """Return JAX's lowered form of the program for arguments like these."""
    with jax.enable_x64(True):
        return jax.jit(_program(graph)).lower(*inputs)

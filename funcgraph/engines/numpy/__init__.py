"""The NumPy engine: runs a Graph as one flat Python function.

`compile_graph` is what `jit` calls. `expressions`, `helpers` and `literals` also serve the readable
programs of `transforms.source`. May import `core`, `ops`.
"""

from funcgraph.engines.numpy.compile import compile_graph, memory_of

__all__ = ["compile_graph", "memory_of"]

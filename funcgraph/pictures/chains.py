"""Chains of elementwise operations as one node each, which lists them: for large pictures.

May import `core`, `pictures.scene`.
"""

from __future__ import annotations

from funcgraph.core.graph import Equation
from funcgraph.pictures.scene import Edge, Node, Scene

__all__ = ["merge_chains"]

_LONGEST = 8  # operations of a node


def merge_chains(scene: Scene, equations: dict[str, list[Equation]]) -> dict[str, str]:
    """Join nodes of elementwise operations of which each is all that the next one reads.

    Args:
      scene: Not placed yet; it is changed.
      equations: Of the nodes of the scene; they are joined as well.

    Returns:
      For each node that is gone the one that has its operations.
    """
    heads: dict[str, str] = {}
    leaving: dict[str, list[Edge]] = {}
    arriving: dict[str, list[Edge]] = {}
    for edge in scene.edges:
        leaving.setdefault(edge.source, []).append(edge)
        arriving.setdefault(edge.target, []).append(edge)
    for id in list(scene.nodes):
        node = scene.nodes.get(id)
        while node is not None and len(leaving.get(id, [])) == 1:
            (edge,) = leaving[id]
            after = scene.nodes[edge.target]
            alone = len(arriving[after.id]) == 1 and edge.kind == "data"
            if not alone or not _alike(node, after) or len(node.equations) == _LONGEST:
                break
            _join(node, after)
            equations[id] += equations.pop(after.id)
            heads[after.id] = id
            del scene.nodes[after.id]
            scene.edges.remove(edge)
            leaving[id] = leaving.pop(after.id, [])
            for edge in leaving[id]:
                edge.source = id
    return heads


def _alike(a: Node, b: Node) -> bool:
    return a.kind == b.kind == "elementwise" and a.parent == b.parent


def _line(node: Node) -> str:
    """Return the operation of a node, and what its result is called, as one line."""
    operation, *names = node.lines
    return f"{names[0]}: {operation}" if names else operation


def _join(node: Node, after: Node) -> None:
    """Write the operation of a node into the node before it."""
    lines = node.lines if len(node.equations) > 1 else (_line(node),)
    node.lines = (*lines, _line(after))
    node.equations += after.equations
    node.title += f"\n\n{after.title}"
    node.scale, node.even = max(node.scale, after.scale), True
    node.fit()

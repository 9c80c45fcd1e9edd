"""The legend of a picture: the kinds of nodes and edges that are there, and what goes unsaid.

May import `pictures.scene`, `pictures.style`.
"""

from __future__ import annotations

from collections.abc import Sequence

from funcgraph.pictures.scene import SMALL, Entry, Scene, text_width
from funcgraph.pictures.style import EDGES, KINDS

__all__ = ["add_legend"]

_LEFT, _ROW, _SIGN, _BETWEEN = 16.0, 17.0, 22.0, 16.0
_NARROWEST = 330.0


def add_legend(scene: Scene, remarks: Sequence[str]) -> Scene:
    """Add a legend at the bottom of a placed scene, and return the scene.

    Args:
      scene: Its height grows.
      remarks: Sentences to end with.
    """
    kinds = {node.kind for node in scene.nodes.values()}
    lines = {edge.kind for edge in scene.edges}
    entries = [(look.name, kind) for kind, look in KINDS.items() if kind in kinds]
    entries += [(text, kind) for kind, text in EDGES.items() if kind in lines and len(lines) > 1]
    entries += [(text, "") for text in remarks]
    scene.width = max(scene.width, _NARROWEST)
    x, y = _LEFT, scene.height + 8.0
    for text, kind in entries:
        wide = text_width(text, SMALL) + (_SIGN if kind else 0.0)
        if x > _LEFT and x + wide > scene.width - _LEFT:
            x, y = _LEFT, y + _ROW
        scene.legend.append(Entry(text, kind, x, y))
        x += wide + _BETWEEN
    scene.height = y + 14.0
    return scene

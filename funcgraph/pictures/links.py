"""What the nodes, boxes and edges of a picture stand for in the data of a page.

May import `pictures.page`, `pictures.scene`.
"""

from __future__ import annotations

from typing import Any

from funcgraph.pictures.page import PageData
from funcgraph.pictures.scene import SMALL, Edge, Node, Path, Scene, text_width

__all__ = ["label", "links_of", "part_labels"]


def label(scene: Scene, page: PageData) -> None:
    """Give a scene, before it is placed, the texts for which the page needs room.

    The first edge of each value has the longest label that the value will have. A node that several
    cotangents reach has room for their sum on its right.
    """
    links = _Links(scene, page)
    for node in scene.nodes.values():
        wide = max(
            (text_width(t, SMALL) for k in links.sums(node) for t in page.sums(k)), default=0
        )
        node.room = node.width + 2.2 * wide
    seen = set()
    for edge in scene.edges:
        key = links.edge(edge)
        if edge.kind != "loop" and edge.value not in seen:
            seen.add(edge.value)
            edge.label = max(page.texts(key), key=len) if key is not None else edge.label


def part_labels(scene: Scene) -> None:
    """Move labels of a placed scene to the right of their edges where they hide others."""
    places = {e.id: _rectangle(e) for e in scene.edges if e.label}
    for edge in scene.edges:
        if edge.id not in places or edge.label_at[0] > edge.points[0][0]:
            continue
        others = [r for id, r in places.items() if id != edge.id]
        if any(_overlap(places[edge.id], other) for other in others):
            edge.label_at = (edge.points[0][0] + 5.0, edge.label_at[1])
            places[edge.id] = _rectangle(edge)


def _rectangle(edge: Edge) -> tuple[float, float, float, float]:
    x, y = edge.label_at
    return x - 4.0, y - SMALL, x + text_width(edge.label, SMALL) + 4.0, y


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def links_of(scene: Scene, page: PageData, prefix: str) -> dict[str, Any]:
    """Return the parts of a picture by their ids.

    Args:
      scene: The picture.
      page: The data.
      prefix: What the ids begin with in the page.

    Returns:
      `nodes` with the `paths` of their equations and the key `var` of what has none; `boxes` with
      the paths of what they frame; `edges` with `source`, `target`, the `key` of the value, where
      its `label` begins (null: another edge shows it), where they `end`, and the `senders` of the
      cotangents that come back along them.
    """
    links = _Links(scene, page)
    boxes = scene.boxes.values()
    return {
        "nodes": {prefix + n.id: links.node(n) for n in scene.nodes.values()},
        "boxes": {prefix + b.id: {"paths": [*map(_text, b.equations)]} for b in boxes},
        "edges": {
            prefix + e.id: {
                "source": prefix + e.source,
                "target": prefix + e.target,
                "key": links.edge(e),
                "label": e.label_at if e.label else None,
                "end": e.points[-1],
                "senders": links.senders(e),
            }
            for e in scene.edges
        },
        "width": round(scene.width, 1),
        "height": round(scene.height, 1),
    }


def _text(path: Path) -> str:
    return "/".join(map(str, path))


class _Links:
    def __init__(self, scene: Scene, page: PageData) -> None:
        self.scene = scene
        self.page = page
        self.into: dict[str, list[Edge]] = {}
        self.out_of: dict[str, list[Edge]] = {}
        for edge in scene.edges:
            if edge.kind != "loop":
                self.into.setdefault(edge.target, []).append(edge)
                self.out_of.setdefault(edge.source, []).append(edge)

    def around(self, node: Node) -> Path:
        """Return the path of the innermost box that is an operation or one of its graphs."""
        boxes = [self.scene.boxes[id] for id in self.scene.around(node.id) if id]
        paths = [box.equations[0] for box in boxes if box.equations]
        return paths[-1] if paths else ()

    def home(self, node: Node) -> str:
        """Return the path of the graph whose variables a node reads."""
        path = node.equations[0] if node.equations else self.around(node)
        return _text(path[:-1] if path and isinstance(path[-1], int) else path)

    def edge(self, edge: Edge) -> str | None:
        """Return the key of the value on an edge."""
        nodes = self.scene.nodes
        if edge.var is not None:
            key = self.page.key(edge.var, self.home(nodes[edge.target]))
            if key is not None:
                return key
        equations = self.page.data["equations"]
        paths = [p for p in map(_text, nodes[edge.source].equations) if p in equations]
        outputs = [key for path in paths for key in equations[path]["out"]]
        return outputs[edge.output] if edge.output < len(outputs) else None

    def senders(self, edge: Edge) -> list[str]:
        """Return the paths of the equations whose contributions come back along an edge."""
        target = self.scene.nodes[edge.target]
        if edge.kind == "loop":
            return []
        if target.equations:
            return [*map(_text, target.equations)]
        around = self.around(target)
        numbers = [k for k, part in enumerate(around) if isinstance(part, int)]
        return ["", _text(around[: numbers[-1] + 1])] if numbers else [""]

    def node(self, node: Node) -> dict[str, Any]:
        """Return the equations of a node, or its variable; where the sum of cotangents stands."""
        paths = [*map(_text, node.equations)]
        return {
            "paths": paths,
            "var": None if paths else self.var(node),
            "sums": self.sums(node),
            "x": round(node.x + node.width + 4.0, 1),
            "y": round(node.y + node.height / 2 + 3.5, 1),
        }

    def sums(self, node: Node) -> list[str]:
        """Return the keys of the values of a node that several cotangents reach."""
        equations = self.page.data["equations"]
        if len(node.equations) > 1:
            return []
        if node.equations:
            keys = equations.get(_text(node.equations[0]), {}).get("out", [])
        else:
            keys = [self.var(node)] if node.kind != "output" else []
        return [key for key in keys if key is not None and self.page.sums(key)]

    def var(self, node: Node) -> str | None:
        """Return the key of what goes into the graph, or into a loop, or comes out of it."""
        key = self.page.key(node.var, self.home(node)) if node.var is not None else None
        if key is not None:
            return key
        edges = self.into if node.kind == "output" else self.out_of
        found = (self.edge(e) for e in edges.get(node.id, []))
        return next((k for k in found if k is not None), None)

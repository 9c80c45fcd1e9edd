"""A scene as text for other programs: DOT for Graphviz, Mermaid for Markdown.

Both make a layout of their own; they get nodes, boxes, edges and colours.
May import `pictures.scene`, `pictures.style`.
"""

from __future__ import annotations

from collections.abc import Iterator

from funcgraph.pictures.scene import Edge, Node, Scene
from funcgraph.pictures.style import KINDS, LIGHT

__all__ = ["dot_text", "mermaid_text"]

_BACK = ("cotangent", "loop-back")


def _parts(scene: Scene, parent: str, indent: str, end: str, write: _Write) -> Iterator[str]:
    """Yield the lines of the nodes and boxes in a box."""
    for node in scene.nodes.values():
        if node.parent == parent:
            yield indent + write.node(node)
    for box in scene.boxes.values():
        if box.parent == parent:
            yield indent + write.box(box.id, box.text)
            yield from _parts(scene, box.id, indent + "  ", end, write)
            yield indent + end


class _Write:
    """How nodes and boxes are written."""

    def node(self, node: Node) -> str:
        """Return the line of a node."""
        raise NotImplementedError

    def box(self, id: str, text: str) -> str:
        """Return the line with which a box begins."""
        raise NotImplementedError


# --- DOT ------------------------------------------------------------------------------------------


def _quoted(text: str) -> str:
    """Return a text as a quoted string of DOT."""
    inner = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{inner}"'


class _Dot(_Write):
    def node(self, node: Node) -> str:
        look = KINDS[node.kind]
        shape = "ellipse" if look.round else "box"
        label, title = _quoted("\n".join(node.lines)), _quoted(node.title)
        return (
            f'{node.id} [label={label}, shape={shape}, fillcolor="{look.light}", tooltip={title}];'
        )

    def box(self, id: str, text: str) -> str:
        return f"subgraph cluster_{id} {{ label={_quoted(text)};"


def dot_text(scene: Scene) -> str:
    """Return a scene as DOT text: `dot -Tsvg name.dot`."""
    lines = [
        "digraph funcgraph {",
        f'  graph [fontname="Helvetica", fontsize=10, color="{LIGHT.border}"];',
        f'  node [fontname="Helvetica", fontsize=11, style=filled, color="{LIGHT.border}"];',
        '  edge [fontname="Helvetica", fontsize=9];',
        *_parts(scene, "", "  ", "}", _Dot()),
        *map(_dot_edge, scene.edges),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _dot_edge(edge: Edge) -> str:
    marks = [f"label={_quoted(edge.label)}"] if edge.label else []
    if edge.kind in _BACK:  # from the source up, with the order of the rows kept
        marks += ["dir=back", f'color="{LIGHT.cotangent}"']
    if edge.kind in ("residual", "loop", "loop-back"):
        marks += ["style=dashed", "constraint=false"]
    ends = (edge.target, edge.source) if edge.kind in _BACK else (edge.source, edge.target)
    return f"  {ends[0]} -> {ends[1]}" + (f" [{', '.join(marks)}];" if marks else ";")


# --- Mermaid --------------------------------------------------------------------------------------


def _entities(text: str) -> str:
    """Return a text as Mermaid takes it between double quotes."""
    pairs = {"&": "&amp;", "#": "#35;", '"': "#quot;", "<": "&lt;", ">": "&gt;", "`": "#96;"}
    return "".join(pairs.get(c, c) for c in text)


class _Mermaid(_Write):
    def node(self, node: Node) -> str:
        text = "<br/>".join(map(_entities, node.lines))
        a, b = ("([", "])") if KINDS[node.kind].round else ("[", "]")
        return f'{node.id}{a}"{text}"{b}:::{node.kind}'

    def box(self, id: str, text: str) -> str:
        return f'subgraph {id}["{_entities(text)}"]'


def mermaid_text(scene: Scene) -> str:
    """Return a scene as a Mermaid flowchart."""
    kinds = dict.fromkeys(node.kind for node in scene.nodes.values())
    lines = ["flowchart TB", *_parts(scene, "", "  ", "end", _Mermaid())]
    for edge in scene.edges:
        arrow = "-->" if edge.kind in ("data", "cotangent") else "-.->"
        label = f'|"{_entities(edge.label)}"|' if edge.label else ""
        lines.append(f"  {edge.source} {arrow}{label} {edge.target}")
    for kind in kinds:
        lines.append(
            f"  classDef {kind} fill:{KINDS[kind].light},stroke:{LIGHT.border},color:{LIGHT.text}"
        )
    back = [str(k) for k, edge in enumerate(scene.edges) if edge.kind in _BACK]
    if back:
        lines.append(f"  linkStyle {','.join(back)} stroke:{LIGHT.cotangent}")
    return "\n".join(lines) + "\n"

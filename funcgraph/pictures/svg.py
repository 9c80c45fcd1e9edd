"""A placed scene as SVG: text, shapes, and a style sheet for light and dark backgrounds.

May import `pictures.scene`, `pictures.style`.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from funcgraph.pictures.scene import SIZE, SMALL, Box, Edge, Entry, Node, Point, Scene, arrow_head
from funcgraph.pictures.style import DARK, KINDS, LIGHT, Ink

__all__ = ["path_text", "style_text", "svg_text"]

FONT = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def svg_text(scene: Scene) -> str:
    """Return a placed scene as the text of one <svg> element.

    Args:
      scene: What `layout.place` returned.
    """
    w, h = _number(scene.width), _number(scene.height)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="funcgraph" width="{w}" height="{h}" '
        f'viewBox="0 0 {w} {h}" role="img">',
        f"<style>{style_text()}</style>",
        f'<rect class="background" width="{w}" height="{h}" rx="6"/>',
        *map(_box, scene.boxes.values()),
        *map(_edge, scene.edges),
        *map(_node, scene.nodes.values()),
        *(_label(edge) for edge in scene.edges if edge.label),
        *(_caption(box) for box in scene.boxes.values() if box.text),
        *map(_entry, scene.legend),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def style_text() -> str:
    """Return the style sheet; a page may override its variables.

    Every colour is there twice: as it is, for programs that know no variables, and as a variable.
    """
    colours = _colours(LIGHT, dark=False)

    def use(attribute: str, name: str) -> str:
        return f"{attribute}:{colours[name]};{attribute}:var(--{name})"

    rules = {
        "": f"{_variables(colours)}font-family:{FONT}",
        ".background": use("fill", "background"),
        "text": f"font-size:{SMALL:g}px;{use('fill', 'text')}",
        ".first": f"font-size:{SIZE:g}px",
        ".node text": "text-anchor:middle",
        ".legend text": "text-anchor:start",
        ".node rect": use("stroke", "border"),
        ".label": f"{use('fill', 'faint')};paint-order:stroke;{use('stroke', 'background')};"
        "stroke-width:3px;stroke-linejoin:round",
        ".caption": f"{use('fill', 'faint')};font-weight:600",
        ".end": "text-anchor:end",
        ".box rect": f"{use('fill', 'box')};{use('stroke', 'border')};stroke-width:.8",
        ".box.control rect": use("fill", "control-box"),
        ".box.call rect": "stroke-dasharray:5 3",
        ".edge": f"fill:none;{use('stroke', 'data')};stroke-width:1.2",
        ".tip": use("fill", "data"),
        ".edge.cotangent,.edge.loop-back": use("stroke", "cotangent"),
        ".tip.cotangent,.tip.loop-back": use("fill", "cotangent"),
        ".edge.residual": f"{use('stroke', 'faint')};stroke-dasharray:4 3",
        ".tip.residual": use("fill", "faint"),
        ".edge.loop,.edge.loop-back": "stroke-dasharray:2 2",
        **{f".node.{kind} rect": use("fill", kind) for kind in KINDS},
    }
    dark = f"@media(prefers-color-scheme:dark){{.funcgraph{{{_variables(_colours(DARK, True))}}}}}"
    sheet = [
        ",".join(f".funcgraph {part}".strip() for part in selector.split(",")) + f"{{{rule}}}"
        for selector, rule in rules.items()
    ]
    return "".join([*sheet, dark])


def _colours(ink: Ink, dark: bool) -> dict[str, str]:
    return {
        "background": ink.background,
        "text": ink.text,
        "faint": ink.faint,
        "border": ink.border,
        "box": ink.box,
        "control-box": ink.control,
        "data": ink.data,
        "cotangent": ink.cotangent,
        **{kind: look.dark if dark else look.light for kind, look in KINDS.items()},
    }


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{colour};" for name, colour in colours.items())


def path_text(points: Sequence[Point]) -> str:
    """Return the Bezier path of an edge as SVG writes it."""
    (x, y), *rest = points
    pieces = [f"M{_number(x)} {_number(y)}"]
    for k in range(0, len(rest), 3):
        pieces.append("C" + " ".join(f"{_number(a)} {_number(b)}" for a, b in rest[k : k + 3]))
    return "".join(pieces)


def _number(x: float) -> str:
    return f"{round(x, 1):g}"


def _rect(part: Node | Box, radius: float) -> str:
    return (
        f'<rect x="{_number(part.x)}" y="{_number(part.y)}" width="{_number(part.width)}" '
        f'height="{_number(part.height)}" rx="{_number(radius)}"/>'
    )


def _title(text: str) -> str:
    return f"<title>{escape(text)}</title>" if text else ""


def _box(box: Box) -> str:
    return f'<g class="box {box.kind}" id="{box.id}">{_title(box.title)}{_rect(box, 5)}</g>'


def _caption(box: Box) -> str:
    x, y = _number(box.x + (box.width - 8 if box.flipped else 8)), _number(box.y + 13)
    end = " end" if box.flipped else ""
    return f'<text class="caption{end}" x="{x}" y="{y}">{escape(box.text)}</text>'


def _edge(edge: Edge) -> str:
    return (
        f'<path class="edge {edge.kind}" id="{edge.id}" data-source="{edge.source}" '
        f'data-target="{edge.target}" d="{path_text(edge.points)}"/>{_tip(edge.points, edge.kind)}'
    )


def _tip(points: Sequence[Point], kind: str) -> str:
    """Return the head of an arrow, in the direction in which the path ends."""
    text = "L".join(f"{_number(x)} {_number(y)}" for x, y in arrow_head(points))
    return f'<path class="tip {kind}" d="M{text}z"/>'


def _label(edge: Edge) -> str:
    x, y = edge.label_at
    return f'<text class="label" x="{_number(x)}" y="{_number(y)}">{escape(edge.label)}</text>'


def _entry(entry: Entry) -> str:
    x, y = _number(entry.x), _number(entry.y)
    text = f'<text x="{_number(entry.x + 22)}" y="{y}">{escape(entry.text)}</text>'
    if entry.kind in KINDS:
        radius = 5 if KINDS[entry.kind].round else 2
        sign = f'<rect x="{x}" y="{_number(entry.y - 9)}" width="17" height="11" rx="{radius}"/>'
        return f'<g class="node {entry.kind} legend">{sign}{text}</g>'
    if entry.kind:
        a, b = (entry.x, entry.y - 3.5), (entry.x + 17, entry.y - 3.5)
        line = f'<path class="edge {entry.kind}" d="{path_text([a, a, b, b])}"/>'
        return f'<g class="legend">{line}{_tip([a, b], entry.kind)}{text}</g>'
    return f'<text class="legend" x="{x}" y="{y}">{escape(entry.text)}</text>'


def _node(node: Node) -> str:
    radius = node.height / 2 if KINDS[node.kind].round else 4.0
    middle = _number(node.x + node.width / 2)
    lines = []
    for text, size, y in node.text():
        first = ' class="first"' if size == SIZE else ""
        lines.append(f'<text{first} x="{middle}" y="{_number(y)}">{escape(text)}</text>')
    inner = "".join(lines)
    return (
        f'<g class="node {node.kind}" id="{node.id}">{_title(node.title)}'
        f"{_rect(node, radius)}{inner}</g>"
    )

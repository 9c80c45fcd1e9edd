"""A placed scene as a PNG file, by Matplotlib. May import `pictures.scene`, `pictures.style`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from funcgraph.errors import MissingPackageError
from funcgraph.pictures.scene import SMALL, Box, Edge, Entry, Node, Point, Scene, arrow_head
from funcgraph.pictures.style import KINDS, LIGHT

__all__ = ["save_png"]

_DPI = 72  # then a point is a pixel
_DASHES = {"residual": (0, (4, 3)), "loop": (0, (2, 2)), "loop-back": (0, (2, 2))}
_SCALE = 2  # pixels of the file for one of the scene


def save_png(scene: Scene, path: Path) -> None:
    """Write a placed scene to a PNG file, with two pixels for every one.

    Raises:
      MissingPackageError: Matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingPackageError(
            "a PNG needs Matplotlib: pip install matplotlib; or save the picture as .svg."
        ) from None
    figure = Figure(figsize=(scene.width / _DPI, scene.height / _DPI), dpi=_DPI)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, scene.width)
    axes.set_ylim(scene.height, 0)
    axes.axis("off")
    figure.set_facecolor(LIGHT.background)
    _Painter(axes).paint(scene)
    figure.savefig(path, dpi=_DPI * _SCALE)


class _Painter:
    """Draws the parts of a scene into axes whose unit is a pixel."""

    def __init__(self, axes: Any) -> None:
        self.axes = axes

    def paint(self, scene: Scene) -> None:
        """Draw everything, from the back to the front."""
        for box in scene.boxes.values():
            self.box(box)
        for edge in scene.edges:
            self.path(edge.points, edge.kind)
        for node in scene.nodes.values():
            self.node(node)
        for edge in (edge for edge in scene.edges if edge.label):
            self.label(edge)
        for entry in scene.legend:
            self.entry(entry)

    def text(self, text: str, x: float, y: float, size: float = SMALL, **marks: Any) -> None:
        """Write a line; (x, y) is on its baseline."""
        marks = {"color": LIGHT.text, "family": "sans-serif", **marks}
        self.axes.text(x, y, text, fontsize=0.9 * size, va="baseline", parse_math=False, **marks)

    def rectangle(
        self, x: float, y: float, w: float, h: float, radius: float, fill: str, **marks: Any
    ) -> None:
        """Draw a rectangle with round corners."""
        from matplotlib.patches import FancyBboxPatch

        style = f"round,pad=0,rounding_size={radius}"
        marks = {"linewidth": 0.9, "edgecolor": LIGHT.border, **marks}
        self.axes.add_patch(FancyBboxPatch((x, y), w, h, boxstyle=style, facecolor=fill, **marks))

    def box(self, box: Box) -> None:
        """Draw a box and its label."""
        fill = LIGHT.control if box.kind == "control" else LIGHT.box
        line = "--" if box.kind == "call" else "-"
        self.rectangle(box.x, box.y, box.width, box.height, 5, fill, linewidth=0.7, linestyle=line)
        x, side = (box.x + box.width - 8, "right") if box.flipped else (box.x + 8, "left")
        self.text(box.text, x, box.y + 13, color=LIGHT.faint, weight="bold", ha=side)

    def node(self, node: Node) -> None:
        """Draw a node and its lines."""
        look = KINDS[node.kind]
        radius = node.height / 2 - 0.01 if look.round else 4
        self.rectangle(node.x, node.y, node.width, node.height, radius, look.light)
        for text, size, y in node.text():
            self.text(text, node.x + node.width / 2, y, size, ha="center")

    def path(self, points: list[Point], kind: str) -> None:
        """Draw an edge."""
        from matplotlib.patches import PathPatch, Polygon
        from matplotlib.path import Path as Curve

        back = kind in ("cotangent", "loop-back")
        colour = LIGHT.cotangent if back else LIGHT.faint if kind == "residual" else LIGHT.data
        style = _DASHES.get(kind, "-")
        codes = [Curve.MOVETO, *[Curve.CURVE4] * (len(points) - 1)]
        marks = {"edgecolor": colour, "linewidth": 1.1, "linestyle": style, "facecolor": "none"}
        self.axes.add_patch(PathPatch(Curve(points, codes), capstyle="butt", **marks))
        self.axes.add_patch(Polygon(arrow_head(points), color=colour, linewidth=0))

    def label(self, edge: Edge) -> None:
        """Write the label of an edge over a border in the colour of the background."""
        from matplotlib.patheffects import withStroke

        border = [withStroke(linewidth=3, foreground=LIGHT.background)]
        self.text(edge.label, *edge.label_at, color=LIGHT.faint, path_effects=border)

    def entry(self, entry: Entry) -> None:
        """Draw a word of the legend."""
        if entry.kind in KINDS:
            look = KINDS[entry.kind]
            radius = 5 if look.round else 2
            self.rectangle(entry.x, entry.y - 9, 17, 11, radius, look.light)
        elif entry.kind:
            a, b = (entry.x, entry.y - 3.5), (entry.x + 17, entry.y - 3.5)
            self.path([a, a, b, b], entry.kind)
        self.text(entry.text, entry.x + (22 if entry.kind else 0), entry.y)

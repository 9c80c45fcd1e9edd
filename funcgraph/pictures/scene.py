"""What a picture consists of: nodes, boxes around them, edges; and how wide text is.

A `Scene` is made by `build`, placed by `layout`, and written by `svg`, `png` and `markup`. Lengths
are in pixels, y grows downwards, and (x, y) of a node or a box is its top left corner.
May import `core`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from math import hypot

from funcgraph.core.graph import Var

__all__ = [
    "Box",
    "Edge",
    "Entry",
    "Node",
    "Path",
    "Point",
    "Rectangle",
    "Scene",
    "arrow_head",
    "text_width",
]

Point = tuple[float, float]
Rectangle = tuple[float, float, float, float]  # left, top, right, bottom

# An equation: (3,) is equations[3] of the graph, (3, "body", 0) the first one of its body.
Path = tuple[int | str, ...]

SIZE, SMALL = 12.0, 10.0  # of the first line of a node, and of all other text
_PAD_X, _PAD_Y = 10.0, 5.0


def _pitch(size: float) -> float:
    """Return the distance of lines of a font."""
    return size * 1.2


@dataclass(slots=True)
class Node:
    """An operation, or several that are drawn as one; an input, a constant, an output.

    Attributes:
      id: Unique, by the order of the program.
      lines: The text inside; the first line is larger.
      kind: What it is, which chooses its colour: see `style.KINDS`.
      title: What a pointer that rests on it shows.
      parent: The box it stands in; "": none.
      equations: Those it stands for; none for inputs, constants and outputs.
      var: The variable it stands for if it is an input, a constant or an output.
      scale: How much larger than its text it is (the more work, the larger).
      room: The width it is given by the layout, if that is more than its own.
      even: Whether the first line is no larger than the others.
    """

    id: str
    lines: tuple[str, ...]
    kind: str
    title: str = ""
    parent: str = ""
    equations: tuple[Path, ...] = ()
    var: Var | None = None
    scale: float = 1.0
    room: float = 0.0
    even: bool = False
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0
    height: float = 0.0

    @property
    def rectangle(self) -> Rectangle:
        """Left, top, right and bottom."""
        return self.x, self.y, self.x + self.width, self.y + self.height

    def fit(self) -> None:
        """Make the node as large as its text and its scale ask for."""
        widths = [text_width(text, size) for text, size, _ in self.text()]
        tall = sum(map(_pitch, (size for _, size, _ in self.text()))) + 2 * _PAD_Y
        self.width = max(40.0, round(max(widths) + 2 * _PAD_X * self.scale))
        self.height = round(tall + 2 * _PAD_Y * (self.scale - 1))

    def text(self) -> list[tuple[str, float, float]]:
        """Return the lines, each with the size of its font and the y of its baseline."""
        sizes = [SMALL if k or self.even else SIZE for k in range(len(self.lines))]
        top = self.y + (self.height - sum(map(_pitch, sizes))) / 2
        out = []
        for line, size in zip(self.lines, sizes, strict=True):
            top += _pitch(size)
            out.append((line, size, top - 0.25 * size))
        return out


@dataclass(slots=True)
class Box:
    """A frame around nodes and other boxes: a layer, a loop, a branch, a compiled function.

    Attributes:
      id: Unique, by the order of the program.
      label: The text on top.
      kind: "scope", "control" or "call".
      title: What a pointer that rests on it shows.
      parent: The box it stands in; "": none.
      repeat: How often what it frames is there, one after the other; it is drawn once.
      equations: Those it stands for.
      flipped: Whether the label stands on the right.
    """

    id: str
    label: str
    kind: str
    title: str = ""
    parent: str = ""
    repeat: int = 1
    equations: tuple[Path, ...] = ()
    flipped: bool = False
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0
    height: float = 0.0

    @property
    def text(self) -> str:
        """The label, with the number of repetitions."""
        return f"{self.label}  × {self.repeat}".strip() if self.repeat > 1 else self.label


@dataclass(slots=True)
class Edge:
    """A value on its way from the node that gives it to one that reads it.

    Attributes:
      id: Unique.
      source: The node that gives the value.
      target: The node that reads it.
      label: Its shape; "" where another edge of the same value shows it.
      kind: "data", "cotangent", "residual"; "loop" and "loop-back" for carries on their way to
        the next step and their cotangents.
      output: Which of the results of the source it is.
      var: The value, if it is a variable.
      points: A path of Bezier curves, p0 and then (c1, c2, p) for each piece.
      label_at: The left end of the label's baseline.
    """

    id: str
    source: str
    target: str
    label: str = ""
    kind: str = "data"
    output: int = 0
    var: Var | None = None
    points: list[Point] = field(default_factory=list)
    label_at: Point = (0.0, 0.0)

    @property
    def value(self) -> Hashable:
        """What edges of one value have in common: they run together as far as they can."""
        return self.source, self.output


@dataclass(frozen=True, slots=True)
class Entry:
    """A word of explanation at the bottom: with a node's or an edge's colour, or without."""

    text: str
    kind: str  # of nodes or of edges; "" for a remark
    x: float
    y: float  # of the baseline


@dataclass(slots=True)
class Scene:
    """A picture: `boxes` lists every box before those inside of it."""

    nodes: dict[str, Node] = field(default_factory=dict)
    boxes: dict[str, Box] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    legend: list[Entry] = field(default_factory=list)
    width: float = 0.0
    height: float = 0.0

    def around(self, id: str) -> list[str]:
        """Return the boxes that a node or a box stands in, from the outermost ("") inwards."""
        found: list[str] = []
        while id:
            id = self.nodes[id].parent if id in self.nodes else self.boxes[id].parent
            found.append(id)
        return found[::-1]


def arrow_head(points: Sequence[Point]) -> list[Point]:
    """Return the triangle at the end of a path."""
    x, y = points[-1]
    before = next((p for p in reversed(points[:-1]) if p != points[-1]), (x, y - 1.0))
    length = hypot(x - before[0], y - before[1])
    a, b = (x - before[0]) / length, (y - before[1]) / length
    sides = [(x - 7 * a - s * b, y - 7 * b + s * a) for s in (3.0, -3.0)]
    return [(x, y), *sides]


# Widths of a sans-serif font's characters, in thousandths of its size (about Helvetica's, rounded
# up): what is not listed is 580 wide.
_WIDTHS = {
    **dict.fromkeys("ijl|'", 250),
    **dict.fromkeys("ftr.,:;!/\\I()[]·- ", 330),
    **dict.fromkeys('sckvxyzJ*"', 530),
    **dict.fromkeys("ABCDEFGHKNOPQRSTUVXYZ&", 710),
    **dict.fromkeys("mwMW@%∂", 880),
    **dict.fromkeys("×÷−+=<>≤≥≠^", 750),
}


def text_width(text: str, size: float = SIZE) -> float:
    """Return about how wide a line of text is.

    Args:
      text: One line.
      size: Of the font, in pixels.

    Example:
      >>> text_width("tanh") < text_width("matmul")
      True
    """
    return sum(_WIDTHS.get(c, 580 if c < "⺀" else 1000) for c in text) * size / 1000

"""Places for everything in a scene: boxes from the inside out, each one an item of the next level.

An edge that leaves a box does so through a port in its lower border, and enters one through a port
in its upper border; edges of one value share their ports. `levels` places what is in one box.
May import `pictures.levels`, `pictures.scene`.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from funcgraph.pictures.levels import Item, Link, arrange, curve
from funcgraph.pictures.scene import SMALL, Box, Edge, Point, Rectangle, Scene, text_width

__all__ = ["free_line", "place", "rounded"]

_PAD = 12.0  # between a box and what is in it
_HEAD = 18.0  # of a box, for its label
_MARGIN = 16.0  # of the picture
_LANE = 10.0  # between lines that lead back up

# A stop of an edge at one level: a node, a box, or ("in" or "out", value): a port of the level.
_Stop = Hashable

# A piece of an edge: the box it is in, and its stops and its value there.
_Step = tuple[str, tuple[_Stop, _Stop, Hashable]]


# The results of each node that are read, with their labels.
_Values = dict[str, dict[int, str]]


@dataclass(slots=True)
class _Level:
    """What one box (or the picture) contains, with local coordinates once it is placed."""

    members: list[str] = field(default_factory=list)
    edges: list[tuple[_Stop, _Stop, Hashable]] = field(default_factory=list)
    loops: list[Edge] = field(default_factory=list)
    items: dict[_Stop, Item] = field(default_factory=dict)
    paths: dict[tuple[_Stop, _Stop, Hashable], list[Point]] = field(default_factory=dict)
    width: float = 0.0
    height: float = 0.0


def place(scene: Scene) -> Scene:
    """Give every node, box and edge of a scene its place, and return the scene.

    Nodes must have their sizes (`Node.fit`). Boxes and nodes do not overlap, edges run downwards
    from the lower border of their source to the upper border of their target, except loops.

    Args:
      scene: Its edges may not form a cycle, nor may they if a box is taken for one node.
    """
    levels, routes = _levels(scene, {})
    if scene.boxes:  # once more, with ports in the order of what is outside
        levels, routes = _levels(scene, _wishes(scene, levels))
    _settle(scene, levels, "", (_MARGIN, _MARGIN))
    scene.width = levels[""].width + 2 * _MARGIN
    scene.height = levels[""].height + 2 * _MARGIN
    for edge in scene.edges:
        if edge.kind != "loop":
            edge.points = _joined(_points(routes[edge.id], levels))
    for id in scene.boxes:
        _loops(scene, scene.boxes[id], levels[id].loops)
    _label(scene)
    return scene


def _levels(
    scene: Scene, wishes: dict[str, dict[_Stop, float]]
) -> tuple[dict[str, _Level], dict[str, list[_Step]]]:
    """Return what is in every box, with places of its own, and the pieces of every edge."""
    levels = {id: _Level() for id in ("", *scene.boxes)}
    for node in scene.nodes.values():
        levels[node.parent].members.append(node.id)
    for box in scene.boxes.values():
        levels[box.parent].members.append(box.id)
    routes = {edge.id: _route(scene, edge, levels) for edge in scene.edges}
    values: _Values = {}
    for edge in scene.edges:
        if edge.kind != "loop":
            known = values.setdefault(edge.source, {})
            known[edge.output] = known.get(edge.output) or edge.label
    for id in (*reversed(scene.boxes), ""):
        _arrange(scene, id, levels, values, wishes.get(id, {}))
    return levels, routes


def _wishes(scene: Scene, levels: dict[str, _Level]) -> dict[str, dict[_Stop, float]]:
    """Return for every box where the other ends of the lines at its ports stand."""
    ends: dict[str, dict[_Stop, list[float]]] = {}
    for level in levels.values():
        for (source, target, value), points in level.paths.items():
            if target in scene.boxes:
                ends.setdefault(str(target), {}).setdefault(("in", value), []).append(points[0][0])
            if source in scene.boxes:
                found = ends.setdefault(str(source), {}).setdefault(("out", value), [])
                found.append(points[-1][0])
    return {
        id: {stop: sum(xs) / len(xs) for stop, xs in stops.items()} for id, stops in ends.items()
    }


def _route(scene: Scene, edge: Edge, levels: dict[str, _Level]) -> list[_Step]:
    """Return the pieces of an edge, each with its level, and note them there."""
    ups, downs = scene.around(edge.source), scene.around(edge.target)
    common = 0
    while common < min(len(ups), len(downs)) and ups[common] == downs[common]:
        common += 1
    if edge.kind == "loop":
        levels[ups[common - 1]].loops.append(edge)
        return []
    value = edge.value
    ups, downs = [*ups, edge.source], [*downs, edge.target]
    pieces: list[_Step] = []
    for k in range(len(ups) - 2, common - 1, -1):
        pieces.append((ups[k], (ups[k + 1], ("out", value), value)))
    pieces.append((ups[common - 1], (ups[common], downs[common], value)))
    for k in range(common, len(downs) - 1):
        pieces.append((downs[k], (("in", value), downs[k + 1], value)))
    for id, piece in pieces:
        levels[id].edges.append(piece)
    return pieces


# --- one level ------------------------------------------------------------------------------------


def _arrange(
    scene: Scene, id: str, levels: dict[str, _Level], values: _Values, wishes: dict[_Stop, float]
) -> None:
    """Place the members of a box in coordinates of its own."""
    level = levels[id]
    for member in level.members:
        level.items[member] = _item(scene, member, levels, values)
    for source, target, _ in level.edges:
        for stop, pinned in ((source, "top"), (target, "bottom")):
            if isinstance(stop, tuple) and stop not in level.items:
                level.items[stop] = Item(8.0, 0.0, pinned=pinned, wish=wishes.get(stop))
    numbers = {stop: k for k, stop in enumerate(level.items)}
    pieces = dict.fromkeys(level.edges)
    links = {piece: Link(numbers[piece[0]], numbers[piece[1]], piece[2]) for piece in pieces}
    lanes = _LANE * len(level.loops)
    top = (_HEAD + 10.0 if id else 0.0) + lanes
    bottom = (_PAD if id else 0.0) + lanes + (8.0 if lanes else 0.0)
    items = list(level.items.values())
    width, height, paths = arrange(items, list(links.values()), top, bottom)
    level.paths = {piece: paths[link] for piece, link in links.items()}
    level.width, level.height = width + (lanes + 6.0 if lanes else 0.0), height
    if id:
        _frame(scene.boxes[id], level)


def _frame(box: Box, level: _Level) -> None:
    """Make room for the sides and for the label, which no line may cross."""
    label = text_width(box.text, SMALL) * 1.1 + 2 * _PAD
    ports = [item.x for stop, item in level.items.items() if item.pinned == "top"]
    left = max(_PAD, label - min(ports)) if ports else _PAD
    level.width = max(level.width + left + _PAD, label)
    for item in level.items.values():
        item.x += left
    for piece, points in level.paths.items():
        level.paths[piece] = [(x + left, y) for x, y in points]


def _item(scene: Scene, id: str, levels: dict[str, _Level], values: _Values) -> Item:
    """Return the rectangle that stands for a node or for a box whose contents are placed."""
    if id in scene.nodes:
        node = scene.nodes[id]
        labels = values.get(id, {})
        outputs = sorted(labels)
        step = min(30.0, node.width / (len(outputs) + 1))
        outlets = {(id, k): (n - (len(outputs) - 1) / 2) * step for n, k in enumerate(outputs)}
        room = [outlets[id, k] + 12.0 + text_width(label, SMALL) for k, label in labels.items()]
        return Item(
            max(node.width, node.room),
            node.height,
            right=max(room, default=0.0),
            outlets=dict(outlets),
        )
    level = levels[id]
    middle = level.width / 2
    item = Item(level.width, level.height)
    for stop, port in level.items.items():
        if isinstance(stop, tuple):
            ends = item.inlets if port.pinned == "top" else item.outlets
            ends[stop[1]] = port.x - middle
    return item


# --- the whole picture ----------------------------------------------------------------------------


def _settle(scene: Scene, levels: dict[str, _Level], id: str, corner: Point) -> None:
    """Turn the coordinates of a level and of all in it into those of the picture."""
    level = levels[id]
    x, y = corner
    if id:
        box = scene.boxes[id]
        box.x, box.y, box.width, box.height = x, y, level.width, level.height
    for piece, points in level.paths.items():
        level.paths[piece] = [(x + px, y + py) for px, py in points]
    for member in level.members:
        item = level.items[member]
        if member in scene.nodes:
            node = scene.nodes[member]
            node.x, node.y = x + item.x - node.width / 2, y + item.y
        else:
            _settle(scene, levels, member, (x + item.x - item.width / 2, y + item.y))


def _points(pieces: list[_Step], levels: dict[str, _Level]) -> list[Point]:
    """Return the pieces of an edge as one path."""
    points: list[Point] = []
    for id, piece in pieces:
        points += levels[id].paths[piece][bool(points) :]
    return points


def _label(scene: Scene) -> None:
    """Put labels beneath the sources of their edges, on the side to which no edge turns."""
    turns: dict[Hashable, list[float]] = {}
    for edge in scene.edges:
        if edge.kind != "loop":
            turns.setdefault(edge.value, []).append(edge.points[3][0] - edge.points[0][0])
    taken = [n.rectangle for n in scene.nodes.values()]
    for edge in scene.edges:
        taken += _upright(edge)
    for edge in (edge for edge in scene.edges if edge.label):
        x, y = edge.points[0]
        wide = text_width(edge.label, SMALL)
        right = any(turn > 4.0 for turn in turns.get(edge.value, ()))
        left = any(turn < -4.0 for turn in turns.get(edge.value, ()))
        if right and not left:
            spot = (x - 7.0 - wide, y + 2.0, x - 5.0, y + 14.0)
            if not any(_overlap(spot, other) for other in taken):
                edge.label_at = (x - 5.0 - wide, y + 12.0)
                taken.append(spot)
                continue
        edge.label_at = (x + 5.0, y + 12.0)


def _upright(edge: Edge) -> list[Rectangle]:
    """Return the vertical pieces of an edge, as narrow rectangles."""
    pieces = [edge.points[k : k + 4] for k in range(0, len(edge.points) - 1, 3)]
    return [
        (p[0][0] - 1.0, min(p[0][1], p[3][1]), p[0][0] + 1.0, max(p[0][1], p[3][1]))
        for p in pieces
        if len({x for x, _ in p}) == 1
    ]


def _overlap(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _joined(points: list[Point]) -> list[Point]:
    """Return a path in which vertical pieces that follow each other are one."""
    out = points[:1]
    for k in range(1, len(points), 3):
        piece = points[k : k + 3]
        straight = all(abs(x - out[-1][0]) < 1e-6 for x, _ in piece)
        if straight and len(out) > 3 and all(abs(x - out[-1][0]) < 1e-6 for x, _ in out[-4:]):
            start = out[-4]
            out[-3:] = curve(start, piece[-1])
        else:
            out += piece
    return [(round(x, 2), round(y, 2)) for x, y in out]


def _loops(scene: Scene, box: Box, loops: list[Edge]) -> None:
    """Lead carries back up, each in a lane of its own on the right of the box."""
    shapes = [node.rectangle for node in scene.nodes.values()]
    taken: list[Rectangle] = []
    for k, edge in enumerate(loops, start=1):
        source, target = scene.nodes[edge.source], scene.nodes[edge.target]
        side = box.x + box.width - _PAD - 6.0 - _LANE * (len(loops) - k)
        start = (source.x + source.width / 2, source.y + source.height)
        end = (target.x + target.width / 2, target.y)
        below = [start[1] + 8.0 + _LANE * k + 3.0 * n for n in range(40)]
        above = [end[1] - _LANE * k - 3.0 * n for n in range(40)]
        low = free_line(below, (start[0], side), shapes, taken)
        high = free_line(above, (end[0], side), shapes, taken)
        corners = [(start[0], low), (side, low), (side, high), (end[0], high)]
        edge.points = rounded([start, *corners, end], 6.0)


def free_line(
    candidates: list[float], span: Point, shapes: list[Rectangle], taken: list[Rectangle]
) -> float:
    """Return the first y at which a horizontal line meets no shape and no line before it.

    Args:
      candidates: The first is taken if none is free.
      span: Where the line begins and ends.
      shapes: What it may not meet.
      taken: Lines that are there already; this one is added.
    """
    left, right = span
    for y in (*candidates, candidates[0]):
        line = (left, y - 3.0, right, y + 3.0)
        if not any(_overlap(line, other) for other in (*shapes, *taken)):
            break
    taken.append((left, y - 1.0, right, y + 1.0))
    return y


def rounded(corners: list[Point], radius: float) -> list[Point]:
    """Return the path along horizontal and vertical lines whose corners are round."""

    def towards(a: Point, b: Point) -> Point:
        far = abs(b[0] - a[0]) + abs(b[1] - a[1])
        part = min(radius, far / 2) / far if far else 0.0
        return a[0] + (b[0] - a[0]) * part, a[1] + (b[1] - a[1]) * part

    out = [corners[0]]
    for before, corner, after in zip(corners, corners[1:], corners[2:], strict=False):
        enter, leave = towards(corner, before), towards(corner, after)
        out += [out[-1], enter, enter, corner, corner, leave]
    out += [out[-1], corners[-1], corners[-1]]
    return [(round(x, 2), round(y, 2)) for x, y in out]

"""The way back beside the way forth: for every operation its pullback, in the same row.

The picture of the forward pass is laid out, and its mirror image is the backward pass: cotangents
run up where values run down. A dashed line leads from an operation to its pullback where this
reads what the forward pass knows. May import `core`, `pictures`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import replace

from funcgraph.core.aval import is_inexact
from funcgraph.core.graph import Equation, Var
from funcgraph.pictures.build import Built
from funcgraph.pictures.labels import short
from funcgraph.pictures.layout import free_line, place, rounded
from funcgraph.pictures.pullbacks import Rule, rule_of
from funcgraph.pictures.scene import SMALL, Edge, Node, Point, Rectangle, Scene, text_width

__all__ = ["place_both"]

_BETWEEN = 72.0  # the two passes
_LONGEST = 200  # characters of a formula that is shown by a pointer


def place_both(built: Built, sources: Iterable[str], scalar: str) -> Scene:
    """Place the forward pass and, beside it, the backward pass; return the scene.

    Args:
      built: The forward pass, not placed yet.
      sources: The nodes that are differentiated.
      scalar: What the output is called if it is a scalar, else "".
    """
    scene = built.scene
    edges = _active(scene, set(sources), built.equations)
    ends = {id for edge in edges for id in (edge.source, edge.target)}
    pulled: dict[str, Node] = {}
    kept: dict[str, tuple[str, ...]] = {}
    rules = _Rules(built, edges, scalar)
    for id in [id for id in scene.nodes if id in ends]:
        rule = rules.of(scene.nodes[id])
        kept[id] = rule.kept
        pulled[id] = _pullback(scene.nodes[id], rule)
    place(scene)
    axis = scene.width - 16.0 + _BETWEEN / 2
    _mirror(scene, pulled, edges, axis)
    _residuals(scene, kept, axis)
    scene.width = 2 * axis
    return scene


def _active(scene: Scene, sources: set[str], equations: dict[str, list[Equation]]) -> list[Edge]:
    """Return the edges along which a cotangent comes back."""
    carrying = [
        edge
        for edge in scene.edges
        if edge.var is not None
        and is_inexact(edge.var.aval.dtype)
        and scene.nodes[edge.target].kind != "zero"
    ]
    outputs = {id for id, node in scene.nodes.items() if node.kind == "output" and not node.parent}
    after = _reached(sources, [(edge.source, edge.target) for edge in carrying])
    before = _reached(outputs, [(edge.target, edge.source) for edge in carrying])
    return [edge for edge in carrying if {edge.source, edge.target} <= after & before]


def _reached(start: set[str], steps: list[tuple[str, str]]) -> set[str]:
    """Return what steps lead to from a set."""
    following: dict[str, list[str]] = {}
    for a, b in steps:
        following.setdefault(a, []).append(b)
    found, stack = set(start), sorted(start)
    while stack:
        for b in following.get(stack.pop(), ()):
            if b not in found:
                found.add(b)
                stack.append(b)
    return found


# --- what is written on pullbacks -----------------------------------------------------------------


class _Rules:
    """What is written on pullbacks."""

    def __init__(self, built: Built, edges: list[Edge], scalar: str) -> None:
        self.built = built
        self.scalar = scalar
        self.taken = built.taken
        self.given: dict[str, set[Hashable]] = {}  # to each node: values that get a cotangent
        for edge in edges:
            self.given.setdefault(edge.target, set()).add(edge.value)

    def of(self, node: Node) -> Rule:
        """Return the text of the pullback of a node."""
        equations = self.built.equations.get(node.id, [])
        if not equations:
            return Rule((self.cotangent(node),), ())
        e = equations[0]
        if e.primitive.name == "switch" and node.kind != "group":
            return Rule(("to the branch that was chosen",), ())
        if node.kind == "group" or _is_opaque(e):
            kept = ("values",) if _keeps(equations) else ()
            return Rule((f"pullback of {node.lines[0]}",), kept)
        given = self.given.get(node.id, set())
        active = [not given.isdisjoint(sources) for sources in self.built.reads[node.id]]
        first = self.rule(e, active)
        rest = [self.rule(e, [isinstance(v, Var) for v in e.inputs]) for e in equations[1:]]
        return _joined([first, *rest])

    def rule(self, e: Equation, active: list[bool]) -> Rule:
        """Return the text of the pullback of one operation."""
        return rule_of(e, [self.built.called(v) for v in e.inputs], active, self.taken)

    def cotangent(self, node: Node) -> str:
        """Return how the cotangent of an input or an output is called."""
        name = node.lines[0].partition(" = ")[0]
        if not self.scalar:
            return f"cotangent of {name}"
        if node.kind == "output" and not node.parent:
            return f"∂{self.scalar}/∂{self.scalar} = 1"
        return f"∂{self.scalar}/∂{name}"


def _joined(rules: list[Rule]) -> Rule:
    """Return the rules of a chain of operations as one: each in the line of its operation."""
    lines, kept, whole = ([x for rule in rules for x in rule[k]] for k in range(3))
    return Rule(tuple(lines), tuple(dict.fromkeys(kept)), tuple(whole))


def _is_opaque(e: Equation) -> bool:
    """Return whether the pullback of an equation is no formula of one cotangent."""
    return e.primitive.many or e.primitive.augment is not None


def _keeps(equations: list[Equation]) -> bool:
    """Return whether the pullback of several operations reads any value of the forward pass."""
    for e in equations:
        active = [isinstance(v, Var) and is_inexact(v.aval.dtype) for v in e.inputs]
        smooth = any(active) and not e.primitive.zero
        if smooth and (_is_opaque(e) or rule_of(e, [""] * len(active), active).kept):
            return True
    return False


def _pullback(node: Node, rule: Rule) -> Node:
    """Return the node of a pullback, and give the other one room for it."""
    whole = "\n".join(short(line, _LONGEST) for line in rule.whole or rule.lines)
    title = f"{whole}\nthe pullback of: {node.title}" if node.equations else whole
    even = len(rule.lines) > 1
    new = replace(node, id=f"{node.id}b", lines=rule.lines, title=title, even=even)
    new.fit()
    node.room = max(node.width, new.width)
    node.height = new.height = max(node.height, new.height)
    return new


# --- the mirror image -----------------------------------------------------------------------------


def _mirror(scene: Scene, pulled: dict[str, Node], edges: list[Edge], axis: float) -> None:
    """Add pullbacks, the boxes around them, and the cotangents between them."""
    boxes = {box for id in pulled for box in scene.around(id) if box}
    for id, box in [(id, box) for id, box in scene.boxes.items() if id in boxes]:
        x = 2 * axis - box.x - box.width
        parent = box.parent and f"{box.parent}b"
        new_box = replace(box, id=f"{id}b", parent=parent, x=x, flipped=True)
        scene.boxes[new_box.id] = new_box
    for id, new in pulled.items():
        node = scene.nodes[id]
        new.x, new.y = 2 * axis - node.x - node.width / 2 - new.width / 2, node.y
        new.parent = node.parent and f"{node.parent}b"
        scene.nodes[new.id] = new
    for edge in edges:
        points = [(round(2 * axis - x, 2), y) for x, y in reversed(edge.points)]
        kind = "cotangent" if edge.kind == "data" else "loop-back"
        id, source, target = (f"{name}b" for name in (edge.id, edge.target, edge.source))
        new_edge = Edge(id, source, target, "", kind, edge.output, edge.var, points, points[0])
        scene.edges.append(new_edge)


def _residuals(scene: Scene, kept: dict[str, tuple[str, ...]], axis: float) -> None:
    """Add a line from every operation to its pullback if this reads what the operation knows."""
    taken: list[Rectangle] = []
    shapes = [node.rectangle for node in scene.nodes.values()]
    for id, names in kept.items():
        if not names:
            continue
        node, back = scene.nodes[id], scene.nodes[f"{id}b"]
        y = free_line(_candidates(node), (node.x + node.width, back.x), shapes, taken)
        a = (node.x + node.width, y)
        b = (back.x, y)
        if not node.y < y < node.y + node.height:
            edge_y = node.y if y < node.y else node.y + node.height
            a = (node.x + node.width * 0.85, edge_y)
            b = (back.x + back.width * 0.15, edge_y)
        points = rounded([a, (a[0], y), (b[0], y), b], 6.0) if a[1] != y else _straight(a, b)
        label = ", ".join(names)
        at = (axis - text_width(label, SMALL) / 2, y - 3.0)
        new = Edge(f"{id}r", id, back.id, label, "residual", points=points, label_at=at)
        scene.edges.append(new)


def _straight(a: Point, b: Point) -> list[Point]:
    return [a, a, b, b]


def _candidates(node: Node) -> list[float]:
    """Return where a line to the right of a node may run, the best first."""
    middle, bottom = node.y + node.height / 2, node.y + node.height
    found = [middle, middle - 6.0, middle + 6.0]
    for k in range(1, 40):
        found += [bottom + 5.0 * k, node.y - 5.0 * k]
    return found

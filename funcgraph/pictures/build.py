"""From a graph to a scene: which nodes, boxes and edges there are, and what is written on them.

May import `core` and `pictures.chains`, `.control`, `.labels`, `.outline`, `.scene`, `.style`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from funcgraph.core.aval import Aval
from funcgraph.core.calls import calls_of
from funcgraph.core.graph import Atom, Equation, Graph, Var, names_of
from funcgraph.core.text import call_text
from funcgraph.pictures.chains import merge_chains
from funcgraph.pictures.control import open_box
from funcgraph.pictures.labels import (
    flops_of,
    number_text,
    operation_text,
    place_text,
    shape_text,
    short,
    usual_dtype,
)
from funcgraph.pictures.outline import Group, Op, Part, operations, outline
from funcgraph.pictures.scene import Box, Edge, Node, Path, Scene
from funcgraph.pictures.style import kind_of

__all__ = ["Builder", "Built", "build"]

_MANY = 40  # operations of a picture whose depth nobody has chosen
_DEEPEST = 99  # levels of boxes
_FEW = 4  # elements of a constant that are shown

Source = tuple[str, int]  # a node, and which of its results


class Built(NamedTuple):
    """A scene with what only its nodes know.

    Attributes:
      scene: Nodes have their sizes, but no places yet.
      equations: Of each node that stands for operations.
      usual: The dtype that is not written down.
      reads: Where the arguments of a node of one operation come from, in all its copies.
      names: What inputs are called on their nodes.
      numbers: The texts of variables that are single numbers.
      inputs: Which inputs of the graph a node stands for.
      result: What the first output is called.
    """

    scene: Scene
    equations: dict[str, list[Equation]]
    usual: np.dtype[Any]
    reads: dict[str, list[set[Source]]]
    names: dict[Var, str]
    numbers: dict[Var, str]
    inputs: dict[str, set[int]]
    result: str

    @property
    def taken(self) -> set[str]:
        """All names of values."""
        results = (v for equations in self.equations.values() for e in equations for v in e.outputs)
        inputs = (name.removesuffix(" [t]") for name in self.names.values())
        return {*inputs, *(v.name for v in results)}

    def called(self, v: Atom) -> str:
        """Return what the user calls a value, if that is short; the text of a number; or ""."""
        if not isinstance(v, Var):
            return ""
        return self.numbers.get(v) or short_name(self.names.get(v, v.name))


def build(
    graph: Graph,
    *,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    parameters: Iterable[int] = (),
    depth: int | None = None,
    opaque: bool = False,
    fold: bool = True,
) -> Built:
    """Return the picture of a graph, not placed yet.

    Args:
      graph: The program.
      inputs: What its inputs are called (default: the names of the variables, or a, b, c ...).
      outputs: What its outputs are called.
      parameters: Which inputs are parameters: these stand beside what reads them.
      depth: How many levels of boxes are open (default: as many as leave it under 40 operations).
      opaque: Whether functions with rules of their own are closed.
      fold: Whether what stands in a row several times is drawn once, and chains of elementwise
        operations are one node each if the picture is large.
    """
    parts = outline(graph, fold=fold)
    if depth is None:
        depth = _chosen_depth(parts)
    builder = Builder(graph, opaque, fold)
    builder.inputs(graph, inputs, set(parameters))
    builder.parts(parts, "", depth)
    builder.results(graph, outputs)
    builder.finish()
    if fold and len(builder.equations) > _MANY:
        builder.renamed(merge_chains(builder.scene, builder.equations))
    nodes = builder.scene.nodes
    names = {**builder.names, **{n.var: n.lines[0] for n in nodes.values() if n.var}}
    numbers = {v: k for k, v in enumerate(graph.inputs)}
    places = {
        id: {numbers[v] for v in (n.var, *builder.absorbed.get(id, ())) if v in numbers}
        for id, n in nodes.items()
        if n.kind in ("input", "parameter", "group")
    }
    return Built(
        builder.scene,
        builder.equations,
        builder.usual,
        builder.reads,
        names,
        builder.numbers(),
        places,
        builder.result,
    )


def _chosen_depth(parts: Sequence[Part]) -> int:
    """Return the largest depth that leaves few nodes."""
    if _count(parts, _DEEPEST) <= _MANY:
        return _DEEPEST
    depth = 0
    while _count(parts, depth + 1) <= _MANY:
        depth += 1
    return depth


def _count(parts: Sequence[Part], depth: int) -> int:
    """Return how many nodes there are if boxes are open to a depth."""
    total = 0
    for part in parts:
        if isinstance(part, Group):
            open_box = depth > 0 or not part.label
            total += _count(part.parts, depth - bool(part.label)) if open_box else 1
        elif depth > 0 and (calls := calls_of(part.equation)):
            total += sum(_count(outline(call.graph), depth - 1) for call in calls)
        else:
            total += 1
    return total


def _outputs(parts: Sequence[Part]) -> list[Var]:
    return [v for op in operations(parts, copies=True) for v in op.equation.outputs]


class Builder:
    """Writes the nodes of a program in its order; `sources` says which node gives a variable."""

    def __init__(self, graph: Graph, opaque: bool, fold: bool) -> None:
        self.scene = Scene()
        self.equations: dict[str, list[Equation]] = {}
        self.usual = usual_dtype(graph)
        self.opaque = opaque
        self.fold = fold
        self.sources: dict[Var, Source | Atom] = {}
        self.values: dict[Var, Any] = dict(graph.constants)
        self.names: dict[Var, str] = {}  # of inputs of sub-graphs that have none of their own
        self.letters = names_of(graph)
        self.readers: dict[str, list[str]] = {}  # of parameters and constants: boxes
        self.reads: dict[str, list[set[Source]]] = {}  # of nodes of one operation
        self.node_of: dict[Path, Node] = {}
        self.result = ""
        self.absorbed: dict[str, set[Var]] = {}  # parameters that closed layers stand for
        self.labelled: set[Source] = set()
        self.drawn: set[tuple[str, int, str, str]] = set()

    # --- nodes and edges --------------------------------------------------------------------------

    def node(self, lines: Sequence[str], kind: str, parent: str, **rest: Any) -> Node:
        """Add a node."""
        texts = tuple(t for t in lines if t)
        node = Node(f"n{len(self.scene.nodes)}", texts or ("",), kind, parent=parent, **rest)
        node.fit()
        self.scene.nodes[node.id] = node
        return node

    def box(self, label: str, kind: str, parent: str, path: Path, **rest: Any) -> Box:
        """Add a box."""
        id = f"b{len(self.scene.boxes)}"
        box = Box(id, label, kind, parent=parent, equations=(path,) if path else (), **rest)
        self.scene.boxes[id] = box
        return box

    def edge(self, atom: Atom, target: Node, kind: str = "data") -> None:
        """Add an edge from what gives a value to what reads it; numbers have none."""
        found = self.find(atom, target.parent)
        if not isinstance(found, tuple):
            return
        source, output = found
        if (source, output, target.id, kind) in self.drawn:
            return
        self.drawn.add((source, output, target.id, kind))
        label = ""
        if isinstance(atom, Var) and found not in self.labelled and kind != "loop":
            label = shape_text(atom.aval, self.usual)
            self.labelled.add(found)
        id = f"e{len(self.scene.edges)}"
        var = atom if isinstance(atom, Var) else None
        self.scene.edges.append(Edge(id, source, target.id, label, kind, output, var))

    def find(self, atom: Atom, parent: str) -> Source | Atom:
        """Return the node that gives a value, or the number that it is."""
        while isinstance(atom, Var):
            if atom not in self.sources:
                self.sources[atom] = self.constant(atom, parent)
            found = self.sources[atom]
            if isinstance(found, tuple):
                self.readers.get(found[0], []).append(parent)
                return found
            atom = found
        return atom

    def constant(self, v: Var, parent: str) -> Source | Atom:
        """Return the node of a constant array; a single number stands for itself."""
        value = self.values.get(v)
        if isinstance(value, np.ndarray | np.generic) and value.ndim == 0:
            return value.item() if value.dtype.kind in "biufc" else str(value)  # type: ignore[return-value]
        text = v.name or "constant"
        if isinstance(value, np.ndarray) and value.ndim == 1 and value.size <= _FEW and not v.name:
            text = f"[{', '.join(map(number_text, value))}]"
        node = self.node([text], "constant", parent, var=v, title=f"constant: {v.aval}")
        self.readers[node.id] = []
        return node.id, 0

    def inputs(self, graph: Graph, names: Sequence[str], parameters: set[int]) -> None:
        """Add the inputs of the program."""
        for k, v in enumerate(graph.inputs):
            name = names[k] if k < len(names) else v.name or self.letters[v]
            kind = "parameter" if k in parameters else "input"
            node = self.node([short(name)], kind, "", var=v, title=f"{name}: {v.aval}")
            self.sources[v] = node.id, 0
            if kind == "parameter":
                self.readers[node.id] = []

    def results(self, graph: Graph, names: Sequence[str]) -> None:
        """Add the outputs of the program."""
        for k, (atom, aval) in enumerate(zip(graph.outputs, graph.output_avals, strict=True)):
            name = names[k] if k < len(names) else (atom.name if isinstance(atom, Var) else "")
            name = name or ("output" if len(graph.outputs) == 1 else f"output {k}")
            found = self.find(atom, "")
            self.result = self.result or short(name)
            text = name if isinstance(found, tuple) else f"{name} = {number_text(found)}"
            node = self.node([short(text)], "output", "", title=f"{name}: {aval}")
            node.var = atom if isinstance(atom, Var) else None
            self.edge(atom, node)

    def numbers(self) -> dict[Var, str]:
        """Return the texts of variables that are single numbers."""
        return {
            v: number_text(source)
            for v, source in self.sources.items()
            if not isinstance(source, tuple | Var)
        }

    def renamed(self, heads: dict[str, str]) -> None:
        """Note that some nodes are part of others now."""
        for sources in self.reads.values():
            sources[:] = [{(heads.get(id, id), k) for id, k in found} for found in sources]

    def finish(self) -> None:
        """Put parameters and constants where they are read."""
        self.absorb()
        read = {edge.source for edge in self.scene.edges}
        for id, parents in self.readers.items():
            if id not in read:  # the parameters of copies, among others
                del self.scene.nodes[id]
                continue
            node = self.scene.nodes[id]
            node.parent = self.common(parents)
            if node.kind == "parameter" and (node.parent or node.title[0] == "["):
                boxes = [b for b in (*self.scene.around(node.parent), node.parent) if b]
                labels = {name for b in boxes for name in self.scene.boxes[b].label.split("/")}
                name = node.title.partition(": ")[0]
                keys = [k for k in _keys(name) if k not in labels and not k.isdecimal()]
                node.lines = (short(".".join(keys[-2:]) or node.lines[0]),)
                node.fit()

    def common(self, parents: Sequence[str]) -> str:
        """Return the innermost box of a layer that all of these boxes are in."""
        found = ""
        paths = [[*self.scene.around(p), p] for p in dict.fromkeys(parents)]
        for level in zip(*paths, strict=False):
            inside = not level[0] or self.scene.boxes[level[0]].kind == "scope"
            if len(set(level)) > 1 or not inside:
                break
            found = level[0]
        return found

    def absorb(self) -> None:
        """Let the node of a closed layer stand for the parameters that it alone reads."""
        nodes = self.scene.nodes
        targets: dict[str, set[str]] = {}
        for edge in self.scene.edges:
            targets.setdefault(edge.source, set()).add(edge.target)
        sizes: Counter[str] = Counter()
        gone = set()
        for id in self.readers:
            (target, *more) = sorted(targets.get(id, {""}))
            if (
                nodes[id].kind == "parameter"
                and not more
                and target
                and nodes[target].kind == "group"
            ):
                v = nodes[id].var
                self.absorbed.setdefault(target, set()).update({v} if v else ())
                sizes[target] += math.prod(v.aval.shape) if v else 0
                gone.add(id)
        for target, size in sizes.items():
            nodes[target].lines += (f"{size:,} parameters",)
            nodes[target].fit()
        self.scene.edges = [e for e in self.scene.edges if e.source not in gone]

    # --- operations -------------------------------------------------------------------------------

    def parts(self, parts: Sequence[Part], parent: str, depth: int) -> None:
        """Add the nodes of parts, with `depth` levels of boxes open."""
        for part in parts:
            if isinstance(part, Group):
                self.group(part, parent, depth)
            elif depth > 0 and self.opens(part.equation):
                open_box(self, part, parent, depth - 1)
            else:
                self.operation(part, parent)

    def opens(self, e: Equation) -> bool:
        """Return whether the graphs that an equation holds can be shown."""
        return not (self.opaque and e.primitive.name == "custom_call") and bool(calls_of(e))

    def group(self, group: Group, parent: str, depth: int) -> None:
        """Add a layer or a repetition: a box, or one node."""
        count = len(group.copies) + 1
        inner = list(operations(group.parts))
        if group.label and len(inner) == 1 and count == 1 and not calls_of(inner[0].equation):
            self.operation(inner[0], parent, group.label)
        elif depth > 0 or not group.label:
            box = self.box(group.label, "scope", parent, (), repeat=count)
            self.parts(group.parts, box.id, depth - bool(group.label))
        else:
            self.closed(group, inner, parent)
        for copy in group.copies:
            self.copy(copy, group.parts)

    def copy(self, parts: Sequence[Part], first: Sequence[Part]) -> None:
        """Let the nodes of the first copy stand for another one; what it reads leads to them."""
        before = set(_outputs(first))
        for made, same in zip(_outputs(parts), _outputs(first), strict=True):
            self.sources[made] = self.sources[same]
        for op, same_op in zip(operations(parts, True), operations(first, True), strict=True):
            node = self.node_of.get(same_op.path)
            for k, v in enumerate(op.equation.inputs):
                found = self.sources.get(v) if isinstance(v, Var) else None
                if node is None or not isinstance(found, tuple):
                    continue
                if v in before and (node.kind != "group" or found[0] != node.id):
                    self.edge(v, node, "loop")
                    if node.id in self.reads:
                        self.reads[node.id][k].add(found)
                elif self.scene.nodes[found[0]].kind == "input":
                    self.edge(v, node)

    def closed(self, group: Group, inner: list[Op], parent: str) -> None:
        """Add the one node that stands for a layer."""
        made = {v for op in inner for v in op.equation.outputs}
        flops = sum(flops_of(op.equation) for op in inner)
        times = f"× {len(group.copies) + 1}" if group.copies else ""
        lines = [f"{group.label} {times}".strip(), f"{len(inner)} operations"]
        node = self.node(lines, "group", parent, scale=_scale(flops))
        node.equations = tuple(op.path for op in inner)
        node.title = f"{group.label}: {_work(flops)}"
        self.equations[node.id] = [op.equation for op in inner]
        self.node_of.update((op.path, node) for op in inner)
        for op in inner:
            for v in op.equation.inputs:
                if v not in made:
                    self.edge(v, node)
        for k, v in enumerate(_outputs(group.parts)):
            self.sources[v] = node.id, k

    def operation(self, op: Op, parent: str, label: str = "") -> None:
        """Add the node of one equation, which may be all there is of a layer."""
        e = op.equation
        operands = [self.called(v, parent) for v in e.inputs]
        names = [v.name for v in e.outputs if v.name]
        kind = kind_of(e.primitive)
        flops = flops_of(e)
        text = operation_text(_resolved(e, operands), [text for text, _ in operands])
        called = ", ".join(names) or ("" if label.startswith(text) else label)
        lines = [text, short(called)]
        node = self.node(lines, kind, parent, scale=_scale(flops), equations=(op.path,))
        node.title = self.title(e, flops)
        self.equations[node.id] = [e]
        self.node_of[op.path] = node
        found = [self.find(v, parent) for v in e.inputs]
        self.reads[node.id] = [{x} if isinstance(x, tuple) else set() for x in found]
        for v in e.inputs:
            self.edge(v, node)
        for k, v in enumerate(e.outputs):
            self.sources[v] = node.id, k

    def name(self, v: Var) -> str:
        """Return what the user calls a variable; "" if that is not known."""
        return self.names.get(v) or v.name

    def called(self, atom: Atom, parent: str) -> tuple[str, bool]:
        """Return what an operand is called (perhaps ""), and whether it is a number."""
        if isinstance(atom, Var) and self.name(atom):
            found = self.find(atom, parent) if atom in self.sources else None
            if found is None or isinstance(found, tuple):
                node = self.scene.nodes[found[0]] if found else None
                return (short_name(node.lines[0] if node and node.var else self.name(atom)), False)
        found = self.find(atom, parent)
        return ("", False) if isinstance(found, tuple) else (number_text(found), True)

    def title(self, e: Equation, flops: int) -> str:
        """Return what a pointer shows: the equation as graphs print it, its work, the line."""
        names = self.letters
        text = call_text(e, lambda v: names[v] if isinstance(v, Var) else repr(v), True)
        results = ", ".join(f"{names[v]}: {v.aval}" for v in e.outputs)
        return "\n".join(filter(None, [f"{results} = {text}", _work(flops), place_text(e.line)]))

    # --- graphs in equations ----------------------------------------------------------------------

    def body(
        self, graph: Graph, given: Sequence[Atom], parent: str, prefix: Path, depth: int
    ) -> list[Source | Atom]:
        """Add what a sub-graph does with values from outside, and return where its results are."""
        for v, atom in zip(graph.inputs, given, strict=True):
            self.sources[v] = self.find(atom, parent)
            if isinstance(atom, Var) and not v.name:
                self.names[v] = self.name(atom)
        self.letters.update(names_of(graph))
        self.values.update(graph.constants)
        for v in graph.constants:
            self.sources.pop(v, None)
        self.parts(outline(graph, prefix, self.fold), parent, depth)
        return [self.find(v, parent) for v in graph.outputs]

    def pill(self, name: str, kind: str, atom: Atom, aval: Aval, box: Box) -> Var:
        """Add a node for what goes into a loop or comes out of one; return it as a variable."""
        node = self.node([short(name)], kind, box.id, title=f"{name}: {aval}")
        v = node.var = Var(aval, name)
        self.edge(atom, node)
        self.sources[v] = node.id, 0
        return v


def _resolved(e: Equation, operands: Sequence[tuple[str, bool]]) -> Equation:
    """Return the equation with numbers in place of variables that are numbers."""
    inputs = tuple(
        text if number else v for v, (text, number) in zip(e.inputs, operands, strict=True)
    )
    return Equation(e.primitive, inputs, e.outputs, e.attrs)  # type: ignore[arg-type]


def _scale(flops: int) -> float:
    """Return how much larger a node is for its work: a tenth for every factor of ten above 1000."""
    return 1.0 + max(0.0, min(0.1 * (math.log10(max(flops, 1)) - 3), 0.8))


def _work(flops: int) -> str:
    return f"{flops:,} FLOPs" if flops else ""


def _keys(label: str) -> list[str]:
    """Return the keys of a leaf's label, params['dense']['w']: dense, w."""
    head, *rest = label.replace("]", "").replace("'", "").replace(".", "[").split("[")
    return rest or [head]


def short_name(name: str) -> str:
    return name if len(name) <= 10 and name.isidentifier() else ""

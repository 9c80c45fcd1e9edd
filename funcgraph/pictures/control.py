"""Loops, branches and calls as boxes with their graphs inside.

May import `core`, `pictures.labels`, `pictures.outline`, `pictures.scene`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from funcgraph.core.aval import Aval, aval_of
from funcgraph.core.calls import calls_of
from funcgraph.core.graph import Atom, Equation, Graph, Var
from funcgraph.pictures.labels import flops_of, operation_text
from funcgraph.pictures.outline import Op
from funcgraph.pictures.scene import Box

if TYPE_CHECKING:
    from funcgraph.pictures.build import Builder, Source

__all__ = ["open_box"]


def open_box(to: Builder, op: Op, parent: str, depth: int) -> None:
    """Add the box of an equation that holds graphs, with `depth` levels of boxes open in it."""
    e = op.equation
    write = {"scan": _scan, "while": _while, "switch": _switch}.get(e.primitive.name)
    box = to.box(operation_text(e, []), "control" if write else "call", parent, op.path)
    box.title = to.title(e, flops_of(e))
    if write is not None:
        write(to, op, box, depth)
        return
    call = calls_of(e)[0]
    outs = to.body(call.graph, e.inputs, box.id, (*op.path, call.name), depth)
    to.sources.update(zip(e.outputs, outs, strict=True))


def _carries(to: Builder, e: Equation, body: Graph, count: int, box: Box) -> list[Var]:
    """Add the carries of a loop as they are when a step begins."""
    return [
        to.pill(v.name or y.name or "carry", "input", atom, v.aval, box)
        for v, y, atom in zip(body.inputs[:count], e.outputs, e.inputs, strict=False)
    ]


def _next_step(
    to: Builder, e: Equation, carries: list[Var], outs: list[Source | Atom], box: Box
) -> None:
    """Add the carries as they are when a step ends, and their way back."""
    for v, out, y in zip(carries, outs, e.outputs, strict=False):
        inner = Var(y.aval, y.name)
        to.sources[inner] = out
        new = to.pill(f"next {v.name}", "output", inner, y.aval, box)
        to.edge(new, to.scene.nodes[_node(to, v)], "loop")
        to.sources[y] = to.sources[new]


def _scan(to: Builder, op: Op, box: Box, depth: int) -> None:
    """Add the body of a scan, between its carries and rows and their next values."""
    e = op.equation
    body, n, rows = e.attrs["body"], e.attrs["carries"], e.attrs["rows"]
    box.repeat = e.attrs["length"]
    box.label = "scan, last row first" if e.attrs["reverse"] else "scan"
    carries = _carries(to, e, body, n, box)
    xs = [
        to.pill(f"{v.name or 'row'} [t]", "input", atom, v.aval, box)
        for v, atom in zip(body.inputs[n : n + rows], e.inputs[n : n + rows], strict=True)
    ]
    given = (*carries, *xs, *e.inputs[n + rows :])
    outs = to.body(body, given, box.id, (*op.path, "body"), depth)
    _next_step(to, e, carries, outs, box)
    for out, y, v in zip(outs[n:], e.outputs[n:], body.outputs[n:], strict=True):
        aval = v.aval if isinstance(v, Var) else aval_of(v)
        inner = Var(aval)
        to.sources[inner] = out
        row = to.pill(f"{y.name or 'row'} [t]", "output", inner, aval, box)
        to.sources[y] = to.sources[row]


def _while(to: Builder, op: Op, box: Box, depth: int) -> None:
    """Add condition and body of a while loop, beneath its carries."""
    e = op.equation
    cond, body, n = e.attrs["cond"], e.attrs["body"], e.attrs["carries"]
    carries = _carries(to, e, body, n, box)
    middle = len(cond.inputs)
    first = (*carries, *e.inputs[n:middle])
    inner = to.box("cond", "call", box.id, (*op.path, "cond"))
    outs = to.body(cond, first, inner.id, (*op.path, "cond"), depth)
    going = Var(Aval((), np.dtype(bool)))
    to.sources[going] = outs[0]
    to.pill("one more step?", "output", going, going.aval, inner)
    second = (*carries, *e.inputs[middle : middle + len(body.inputs) - n])
    inner = to.box("body", "call", box.id, (*op.path, "body"))
    outs = to.body(body, second, inner.id, (*op.path, "body"), depth)
    _next_step(to, e, carries, outs, box)


def _switch(to: Builder, op: Op, box: Box, depth: int) -> None:
    """Add the branches side by side, and what takes the result of one of them."""
    e = op.equation
    found = []
    for name, graph in e.named_subgraphs.items():
        inner = to.box(name, "call", box.id, (*op.path, name))
        found.append(to.body(graph, e.inputs[1:], inner.id, (*op.path, name), depth))
    node = to.node(["the branch that is chosen"], "control", box.id, equations=(op.path,))
    node.title = box.title
    to.equations[node.id] = [e]
    to.edge(e.inputs[0], node)
    for outs in found:
        for out, y in zip(outs, e.outputs, strict=True):
            inner_value = Var(y.aval)
            to.sources[inner_value] = out
            to.edge(inner_value, node)
    to.sources.update((y, (node.id, k)) for k, y in enumerate(e.outputs))


def _node(to: Builder, v: Var) -> str:
    """Return the node that gives a variable."""
    found = to.sources[v]
    assert isinstance(found, tuple)
    return found[0]

"""Models: acyclic graphs of layers, which are layers themselves.

A `Spec` says which nodes there are; `PureModel` and `StatefulModel` are the pairs (init, apply)
that come of it. All combinators (`nn.combinators`) make specs.
May import `nn.layer`, `random`, `tree`.
"""

from __future__ import annotations

import difflib
import graphlib
import re
import zlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from funcgraph import tree
from funcgraph.core.hooks import HOOKS
from funcgraph.core.origin import named_scope
from funcgraph.errors import LayerError
from funcgraph.nn.layer import (
    Layer,
    Shape,
    StatefulLayer,
    as_layer,
    as_shape,
    checked_init,
    locate,
    output_shape,
)
from funcgraph.random.keys import fold_in
from funcgraph.transforms.named_tape import label

if TYPE_CHECKING:
    from funcgraph.pictures.drawing import Drawing

__all__ = [
    "AnyLayer",
    "Names",
    "Node",
    "PureModel",
    "Spec",
    "StatefulModel",
    "make_model",
    "sort_nodes",
]

AnyLayer = Layer | StatefulLayer


class Node(NamedTuple):
    """A node of a model: a layer applied to the values of inputs and other nodes."""

    name: str
    layer: AnyLayer
    inputs: tuple[str, ...]
    owner: str  # the node under whose name the parameters are: another one's, if it has this layer


class Spec(NamedTuple):
    """An acyclic graph of layers.

    Attributes:
      inputs: Names of the inputs, in the order of `apply`'s arguments.
      nodes: In an order in which each stands behind what it reads.
      outputs: A name, or a pytree of names.
      hints: Shapes of the inputs, where they are known beforehand.
    """

    inputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    outputs: Any
    hints: tuple[Shape | None, ...] = ()

    def find(self, name: str) -> Node:
        """Return a node by its name."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise LayerError(unknown(f"there is no node {name!r}", name, [n.name for n in self.nodes]))

    def arity(self, given: tuple[Any, ...], what: str) -> tuple[Any, ...]:
        """Return as many values as there are inputs: one sequence stands for its elements."""
        n = len(self.inputs)
        if len(given) == 1 != n and isinstance(given[0], tuple | list):
            given = tuple(given[0])
        if len(given) != n:
            raise LayerError(
                f"this model has {n} input{'' if n == 1 else 's'} ({', '.join(self.inputs)}), but "
                f"got {len(given)} {what}."
            )
        return given

    def upto(self, outputs: Any) -> Spec:
        """Return the part of the graph that these outputs need, with all inputs."""
        needed = set(tree.leaves(outputs))
        kept = []
        for node in reversed(self.nodes):
            if node.name in needed:
                kept.append(node)
                needed.update(node.inputs)
        return Spec(self.inputs, tuple(kept[::-1]), outputs, self.hints)


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Return the message about a name that does not exist, with the one that may be meant."""
    known = list(known)
    near = difflib.get_close_matches(name, known, 1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"{what}.{hint} There are: {', '.join(map(repr, known)) or 'none'}."


class Names:
    """Gives every node of a model a name of its own."""

    def __init__(self) -> None:
        self.used: dict[str, str] = {}  # names, with the lines that took them

    def take(self, name: str, line: str = "") -> str:
        """Return a name given by the user; raise if it is taken."""
        if not isinstance(name, str) or not name or "/" in name:
            raise LayerError(f"a node's name is a string without '/', got {name!r}.")
        if name in self.used:
            raise LayerError(
                f"two nodes have the name {name!r}: the first was created at {self.used[name]}, "
                f"the second at {line}. Give one another name."
            )
        self.used[name] = line
        return name

    def make(self, kind: str, line: str = "") -> str:
        """Return a name made of a layer's kind: dense, dense_1, dense_2 ..."""
        base = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind).lower() or "layer"
        name, count = base, 0
        while name in self.used:
            count += 1
            name = f"{base}_{count}"
        return self.take(name, line)


def owned(nodes: Sequence[tuple[str, AnyLayer, tuple[str, ...]]]) -> tuple[Node, ...]:
    """Return nodes whose parameters belong to the first of the nodes that have the same layer."""
    owners: dict[int, str] = {}
    return tuple(
        Node(name, layer, inputs, owners.setdefault(id(layer), name))
        for name, layer, inputs in nodes
    )


def sort_nodes(
    nodes: dict[str, tuple[AnyLayer, tuple[str, ...]]], inputs: Sequence[str]
) -> tuple[Node, ...]:
    """Return the nodes in an order in which each stands behind what it reads.

    Raises:
      LayerError: A name is unknown, or the nodes form a cycle.
    """
    known = [*inputs, *nodes]
    for name, (layer, reads) in nodes.items():
        for read in reads:
            if read not in known:
                what = f"node {name!r} ({layer.kind}, created at {layer.line}) reads {read!r}"
                raise LayerError(unknown(f"{what}, which is no node or input", read, known))
    sorter = graphlib.TopologicalSorter({name: reads for name, (_, reads) in nodes.items()})
    try:
        order = [name for name in sorter.static_order() if name in nodes]
    except graphlib.CycleError as error:
        cycle = error.args[1][::-1]
        lines = ", ".join(f"{n!r} at {nodes[n][0].line}" for n in cycle[:-1])
        raise LayerError(
            f"the nodes form a cycle, {' <- '.join(cycle)}, so none can be computed first. They "
            f"were created: {lines}."
        ) from None
    return owned([(name, *nodes[name]) for name in order])


def check_used(spec: Spec) -> None:
    """Raise LayerError if an output is unknown, or if a node or an input leads to no output."""
    layers = {n.name: n.layer for n in spec.nodes}
    known = [*spec.inputs, *layers]
    outputs = tree.leaves(spec.outputs)
    for name in outputs:
        if name not in known:
            raise LayerError(unknown(f"the output {name!r} is no node or input", name, known))
    kept = spec.upto(spec.outputs).nodes
    used = {n.name for n in kept} | {r for n in kept for r in n.inputs} | set(outputs)
    if idle := [n for n in known if n not in used]:
        lines = [
            f"{n!r}" + (f" (created at {layers[n].line})" if n in layers else "") for n in idle
        ]
        raise LayerError(
            f"no output depends on {', '.join(lines)}. Leave {'it' if len(idle) == 1 else 'them'} "
            "out, or make an output of it."
        )


# --- running -------------------------------------------------------------------------------------


def _number(name: str) -> int:
    """Return the number by which a node's key differs from the others': stable between runs."""
    return zlib.crc32(name.encode())


def _init(
    spec: Spec, key: Any, given: tuple[Any, ...]
) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    shapes = tuple(map(as_shape, given))
    if not shapes and spec.hints and None not in spec.hints:
        shapes = spec.hints
    env = dict(zip(spec.inputs, spec.arity(shapes, "input shapes"), strict=True))
    params: dict[str, Any] = {}
    state: dict[str, Any] = {}
    for node in spec.nodes:
        reads = [env[r] for r in node.inputs]
        try:
            if node.owner == node.name:
                child = fold_in(key, _number(node.name))
                env[node.name], p, s = checked_init(node.layer, child, reads)
                if tree.leaves(p):
                    params[node.name] = p
                if isinstance(node.layer, StatefulLayer):
                    state[node.name] = s
            else:
                p, s = params.get(node.owner, {}), state.get(node.owner)
                env[node.name] = output_shape(node.layer, p, s, reads)
        except Exception as error:
            locate(error, node.name, node.layer, reads)
            raise
    return tree.map(env.__getitem__, spec.outputs), params, state


def _call(
    node: Node, params: Any, state: Any, xs: list[Any], key: Any, train: bool, inner: list[str]
) -> tuple[Any, Any, dict[str, Any]]:
    """Return (output, new state, captured values) of a node."""
    layer = node.layer
    options: dict[str, Any] = {}
    if train and "train" in layer.accepts:
        options["train"] = True
    if key is not None and layer.random:
        options["key"] = fold_in(key, _number(node.name))
    if inner:
        if not isinstance(layer, PureModel | StatefulModel):
            raise LayerError(f"there is nothing inside of {layer.kind} to capture: {inner}.")
        options["capture"] = inner
    if isinstance(layer, StatefulLayer):
        out, state, *found = layer.apply(params, state, *xs, **options)
    elif inner:
        out, *found = layer.apply(params, *xs, **options)
    else:
        out, found = layer.apply(params, *xs, **options), []
    return out, state, found[0] if found else {}


def _run(
    spec: Spec,
    params: Any,
    state: dict[str, Any],
    given: tuple[Any, ...],
    key: Any,
    train: bool,
    capture: Sequence[str],
) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    if not isinstance(params, dict):
        raise LayerError(
            f"the parameters of a model are a dict by the names of its nodes, got {params!r:.80}."
        )
    env = dict(zip(spec.inputs, spec.arity(given, "arguments"), strict=True))
    new = dict(state)
    captured: dict[str, Any] = {}
    wanted = _by_node(spec, capture)
    for node in spec.nodes:
        xs = [env[r] for r in node.inputs]
        inner = [rest for rest in wanted.get(node.name, ()) if rest]
        try:
            with named_scope(node.name):
                y, s, found = _call(
                    node, params.get(node.owner, {}), new.get(node.owner), xs, key, train, inner
                )
        except Exception as error:
            locate(error, node.name, node.layer, xs)
            raise
        label(y, node.name)
        env[node.name] = y
        if isinstance(node.layer, StatefulLayer):
            new[node.owner] = s
        captured.update((f"{node.name}/{k}", v) for k, v in found.items())
        if "" in wanted.get(node.name, ()):
            captured[node.name] = y
    return tree.map(env.__getitem__, spec.outputs), new, captured


def _by_node(spec: Spec, capture: Sequence[str]) -> dict[str, list[str]]:
    """Return what is to be captured in each node: "" for its value, or paths inside of it."""
    if isinstance(capture, str):
        raise LayerError(f"capture is a list of paths, got the string {capture!r}.")
    wanted: dict[str, list[str]] = {}
    for path in capture:
        name, _, rest = path.partition("/")
        spec.find(name)
        wanted.setdefault(name, []).append(rest)
    return wanted


# --- models --------------------------------------------------------------------------------------


class _Surgery:
    """What models can do beside init and apply."""

    spec: Spec
    kind: str

    @property
    def nodes(self) -> tuple[str, ...]:
        """The names of the nodes, in the order in which they run."""
        return tuple(n.name for n in self.spec.nodes)

    def node(self, path: str) -> Any:
        """Return the layer of a node; "a/b" is node b of the model that is node a.

        Raises:
          LayerError: There is no such node.
        """
        name, _, rest = path.partition("/")
        layer = self.spec.find(name).layer
        return inside(layer, name).node(rest) if rest else layer

    def upto(self, path: str) -> Any:
        """Return the model that ends with a node: its output is the node's value.

        It has the names of this model, so that it takes the same parameters, whole, or those that
        `select` leaves of them.

        Raises:
          LayerError: There is no such node.
        """
        name, _, rest = path.partition("/")
        node = self.spec.find(name)
        spec = self.spec.upto(name)
        if rest:
            spec = _with_layer(spec, node.owner, inside(node.layer, name).upto(rest))
        return make_model(spec, self.kind)

    def replace(self, path: str, layer: Any) -> Any:
        """Return the model with another layer in a node, and in those that share its parameters.

        Raises:
          LayerError: There is no such node.
        """
        name, _, rest = path.partition("/")
        node = self.spec.find(name)
        new = inside(node.layer, name).replace(rest, layer) if rest else as_layer(layer)
        return make_model(_with_layer(self.spec, node.owner, new), self.kind)

    def select(self, params: Any) -> dict[str, Any]:
        """Return those of the parameters (or of the state) that this model uses."""
        out = {}
        for node in self.spec.nodes:
            if node.owner in params:
                part = params[node.owner]
                whole = isinstance(node.layer, _Surgery) and isinstance(part, dict)
                out[node.owner] = node.layer.select(part) if whole else part  # type: ignore[union-attr]
        return out

    def draw(
        self, *shapes: Any, backward: bool = False, train: bool = False, depth: int | None = None
    ) -> Drawing:
        """Return a picture of the model: shown in notebooks, saved with `.save("name.svg")`.

        Nothing is computed, and no parameter is made, however large the model. Each node of the
        model is a box.

        Args:
          *shapes: Shapes of the inputs, as for `init`; n stands for a batch axis of length -1.
          backward: Whether the pullback, from the outputs to the parameters, is drawn beside it.
          train: Whether it is drawn as it runs in training.
          depth: How many levels of boxes are open; by default as many as leave it readable.

        Raises:
          LayerError: The shapes do not fit.

        Example:
          >>> import numpy as np
          >>> import funcgraph as fg
          >>> model = fg.nn.serial(fg.nn.Dense(16), np.tanh, fg.nn.Dense(2))
          >>> "n×16" in model.draw((-1, 4)).svg
          True
        """
        return HOOKS["draw_model"](self, shapes, backward, train, depth)  # type: ignore[no-any-return]


def inside(layer: Any, name: str) -> Any:
    """Return a layer that has nodes; raise if it has none."""
    if not isinstance(layer, _Surgery):
        raise LayerError(f"node {name!r} is a {layer.kind}, not a model: it has no nodes inside.")
    return layer


def _with_layer(spec: Spec, owner: str, layer: Any) -> Spec:
    nodes = tuple(n._replace(layer=layer) if n.owner == owner else n for n in spec.nodes)
    return spec._replace(nodes=nodes)


class PureModel(_Surgery, Layer):
    """A model without state: a Layer with nodes."""


class StatefulModel(_Surgery, StatefulLayer):
    """A model with state: a StatefulLayer with nodes."""


def make_model(spec: Spec, kind: str) -> Any:
    """Return the Model of a graph of layers; a StatefulModel if one of the layers has a state."""
    random = any(n.layer.random for n in spec.nodes)

    def init(key: Any, *shapes: Any) -> Any:
        found = _init(spec, key, shapes)
        return found if stateful else found[:2]

    def apply(
        params: Any, *xs: Any, key: Any = None, train: bool = False, capture: Sequence[str] = ()
    ) -> Any:
        out, _, captured = _run(spec, params, {}, xs, key, train, capture)
        return (out, captured) if capture else out

    def apply_with_state(
        params: Any,
        state: Any,
        *xs: Any,
        key: Any = None,
        train: bool = False,
        capture: Sequence[str] = (),
    ) -> Any:
        out, new, captured = _run(spec, params, state, xs, key, train, capture)
        return (out, new, captured) if capture else (out, new)

    stateful = any(isinstance(n.layer, StatefulLayer) for n in spec.nodes)
    cls, call = (StatefulModel, apply_with_state) if stateful else (PureModel, apply)
    model = cls(init, call, kind, random)
    model.spec = spec
    return model

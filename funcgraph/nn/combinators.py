"""How layers become models: `serial`, `parallel`, `residual`, `repeat`, `graph`, `Model`, `tie`.

May import `nn.layer`, `nn.model`, `nn.symbols`, `random`, `transforms`, `control`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from funcgraph import tree
from funcgraph.control.loops import scan
from funcgraph.core.aval import shape_of
from funcgraph.errors import LayerError
from funcgraph.nn.layer import Layer, StatefulLayer, as_layer, as_shape, checked_init, fn
from funcgraph.nn.model import AnyLayer, Names, Spec, check_used, make_model, owned, sort_nodes
from funcgraph.nn.symbols import Symbol
from funcgraph.numpy.joining import concatenate
from funcgraph.random.keys import split
from funcgraph.transforms.vmap import vmap

__all__ = ["FanOut", "Model", "add", "concat", "graph", "mul", "parallel", "repeat", "residual",
           "serial", "tie"]  # fmt: skip


# --- functions of several arrays -----------------------------------------------------------------


def _spread(xs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments; one tuple of arrays stands for its elements."""
    return tuple(xs[0]) if len(xs) == 1 and isinstance(xs[0], tuple | list) else xs


def _fold(kind: str, combine: Callable[[Any, Any], Any]) -> Layer:
    def call(*xs: Any) -> Any:
        first, *rest = _spread(xs)
        for x in rest:
            if shape_of(x) != shape_of(first):
                raise LayerError(
                    f"{kind} needs arrays of one shape, got {shape_of(first)} and {shape_of(x)}."
                )
            first = combine(first, x)
        return first

    layer = fn(call, kind)
    layer.line = "funcgraph.nn"  # made by an import, not by a line of the user's
    return layer


add = _fold("add", lambda a, b: a + b)
add.__doc__ = "The layer x_1 + x_2 + ...: its inputs have one shape."
mul = _fold("mul", lambda a, b: a * b)
mul.__doc__ = "The layer x_1 * x_2 * ...: its inputs have one shape."


def concat(axis: int = -1) -> Layer:
    """Return the layer that joins its inputs along an axis.

    Example:
      >>> import funcgraph as fg
      >>> concat().init(fg.random.key(0), (-1, 3), (-1, 4))[0]
      float32[-1,7]
    """
    return fn(lambda *xs: concatenate(list(_spread(xs)), axis=axis), "concat")


def FanOut(n: int) -> Layer:  # noqa: N802  (the name in stax)
    """Return the layer whose output is a tuple of n times its input, for `parallel` in `serial`.

    Example:
      >>> import funcgraph as fg
      >>> model = serial(FanOut(2), parallel(fg.nn.Dense(3), fg.nn.Dense(4)), concat())
      >>> model.init(fg.random.key(0), (-1, 5))[0]
      float32[-1,7]
    """
    return fn(lambda x: (x,) * n, "fan_out")


# --- models --------------------------------------------------------------------------------------


def _children(
    layers: tuple[Any, ...], named: dict[str, Any], names: Names
) -> Iterator[tuple[str, AnyLayer]]:
    """Yield names and layers of a combinator's arguments."""
    pairs: list[tuple[Any, Any]] = []
    for given in layers:
        if isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], str):
            pairs.append(given)
        else:
            pairs.append((None, given))
    for name, given in [*pairs, *named.items()]:
        layer = as_layer(given)
        take = names.make(layer.kind, layer.line) if name is None else names.take(name, layer.line)
        yield take, layer


def serial(*layers: Any, **named: Any) -> Any:
    """Return the model that applies layers one after the other.

    v_0 = x, v_i = f_i(v_{i-1}, w_i), y = v_n.

    Args:
      *layers: Layers, functions, or pairs (name, layer). Without a name it is made of the kind:
        dense, dense_1, ... A layer that stands twice shares its parameters.
      **named: Further layers by name.

    Returns:
      A Model; a StatefulModel if one of the layers has a state. Its parameters are a dict by name,
      of the layers that have any.

    Raises:
      LayerError: Two layers have the same name.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> model = serial(fg.nn.Dense(8), np.tanh, head=fg.nn.Dense(2))
      >>> shape, params = model.init(fg.random.key(0), (-1, 4))
      >>> shape, sorted(params), params["head"]["w"].shape
      (float32[-1,2], ['dense', 'head'], (8, 2))
    """
    names = Names()
    names.take("input")
    nodes, last = [], "input"
    for name, layer in _children(layers, named, names):
        nodes.append((name, layer, (last,)))
        last = name
    return make_model(Spec(("input",), owned(nodes), last), "serial")


def parallel(*layers: Any, **named: Any) -> Any:
    """Return the model that applies each layer to an input of its own.

    y_i = f_i(x_i).

    Args:
      *layers: As of `serial`, n of them.
      **named: Further layers by name.

    Returns:
      A model of n inputs, or of one tuple of n arrays, whose output is a tuple of n values.

    Raises:
      LayerError: Two layers have the same name.

    Example:
      >>> import funcgraph as fg
      >>> parallel(fg.nn.Dense(2), fg.nn.Dense(3)).init(fg.random.key(0), (-1, 4), (-1, 5))[0]
      (float32[-1,2], float32[-1,3])
    """
    names = Names()
    found = list(_children(layers, named, names))
    inputs = tuple(names.take(f"input_{k}") for k in range(len(found)))
    nodes = [(name, layer, (x,)) for (name, layer), x in zip(found, inputs, strict=True)]
    return make_model(Spec(inputs, owned(nodes), tuple(n for n, _ in found)), "parallel")


def residual(*layers: Any, shortcut: Any = None, **named: Any) -> Any:
    """Return the model x + f(x), where f applies layers one after the other.

    Args:
      *layers: As of `serial`; together they are node "body".
      shortcut: A layer that is applied to x before the sum, where body changes the shape.
      **named: Further layers of the body by name.

    Returns:
      A model of one input with the nodes body, shortcut (if given) and add.

    Example:
      >>> import funcgraph as fg
      >>> residual(fg.nn.Dense(4)).init(fg.random.key(0), (-1, 4))[0]
      float32[-1,4]

    Source:
      He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2015, equation 1.
    """
    nodes: list[tuple[str, AnyLayer, tuple[str, ...]]] = [
        ("body", serial(*layers, **named), ("input",))
    ]
    other = "input"
    if shortcut is not None:
        nodes.append(("shortcut", as_layer(shortcut), ("input",)))
        other = "shortcut"
    nodes.append(("add", add, (other, "body")))
    return make_model(Spec(("input",), owned(nodes), "add"), "residual")


def graph(nodes: dict[str, Any], outputs: Any = None) -> Any:
    """Return the model of an acyclic graph of named nodes.

    Args:
      nodes: By name: `nn.Input()`, or a tuple (layer, names of the nodes and inputs that it reads).
        A layer may be a function. The order does not matter. A layer that stands in two nodes
        shares its parameters: they are one leaf, whose gradient is the sum.
      outputs: A name, or a tuple, list or dict of names; default: the node that no other reads.

    Returns:
      A model; its arguments are the inputs in the order in which they stand in `nodes`.

    Raises:
      LayerError: A name is unknown, the nodes form a cycle, or a node leads to no output.

    Example:
      >>> import funcgraph as fg
      >>> nn = fg.nn
      >>> model = graph({
      ...     "x": nn.Input(),
      ...     "h": (nn.Dense(4), "x"),
      ...     "y": (nn.add, "x", "h"),
      ... })
      >>> model.init(fg.random.key(0), (-1, 4))[0]
      float32[-1,4]
    """
    names = Names()
    inputs, hints, inner = [], [], {}
    for name, given in nodes.items():
        if isinstance(given, Symbol) and given.layer is None:
            inputs.append(names.take(name, given.line))
            hints.append(given.shape_hint)
            continue
        if not isinstance(given, tuple) or not all(isinstance(r, str) for r in given[1:]):
            raise LayerError(
                f"node {name!r} must be nn.Input() or a tuple (layer, names of what it reads), got "
                f"{given!r:.80}."
            )
        layer = as_layer(given[0])
        if len(given) == 1:
            raise LayerError(f"node {name!r} ({layer.kind}, at {layer.line}) reads nothing.")
        inner[names.take(name, layer.line)] = (layer, given[1:])
    ordered = sort_nodes(inner, inputs)
    if outputs is None:
        read = {r for _, reads in inner.values() for r in reads}
        last = [n for n in inner if n not in read]
        if len(last) != 1:
            raise LayerError(
                f"the nodes that no other reads are {', '.join(map(repr, last)) or 'none'}: say "
                "which are the outputs, graph(nodes, outputs=...)."
            )
        (outputs,) = last
    spec = Spec(tuple(inputs), ordered, outputs, tuple(hints))
    check_used(spec)
    return make_model(spec, "graph")


def Model(inputs: Any, outputs: Any) -> Any:  # noqa: N802  (the name in Keras)
    """Return the model that leads from symbols of inputs to symbols made of them.

    Args:
      inputs: A symbol `nn.Input()`, or a list of them.
      outputs: A symbol, or a tuple, list or dict of symbols.

    Returns:
      A model: the same as `graph` makes of a dict of the nodes.

    Raises:
      LayerError: An output depends on an input that is not listed, an input leads to no output, or
        a name is given twice.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> x = fg.nn.Input()
      >>> h = fg.nn.Dense(4)(x)
      >>> model = Model(x, fg.nn.Dense(2)(np.tanh(h)))
      >>> model.nodes
      ('dense', 'tanh', 'dense_1')
    """
    given = list(inputs) if isinstance(inputs, tuple | list) else [inputs]
    if not all(isinstance(x, Symbol) and x.layer is None for x in given):
        raise LayerError(f"the inputs of a model are nn.Input() symbols, got {inputs!r:.80}.")
    names = Names()
    found: dict[int, str] = {}
    order = _reachable(tree.leaves(outputs), given)
    for symbol in [*given, *order]:  # names given by the user come first: they are not negotiable
        if symbol.name is not None:
            found[id(symbol)] = names.take(symbol.name, symbol.line)
    for symbol in [*given, *order]:
        if id(symbol) not in found:
            kind = "input" if symbol.layer is None else symbol.layer.kind
            found[id(symbol)] = names.make(kind, symbol.line)
    nodes = {
        found[id(s)]: (s.layer, tuple(found[id(x)] for x in s.inputs))
        for s in order
        if s.layer is not None
    }
    wanted = tree.map(lambda s: found[id(s)], outputs)
    called = tuple(found[id(x)] for x in given)
    hints = tuple(x.shape_hint for x in given)
    spec = Spec(called, sort_nodes(nodes, called), wanted, hints)
    check_used(spec)
    return make_model(spec, "model")


def _reachable(outputs: Sequence[Any], inputs: Sequence[Symbol]) -> list[Symbol]:
    """Return the symbols that outputs depend on, but for the inputs, in order of computation."""
    done = {id(x) for x in inputs}
    order: list[Symbol] = []
    for output in outputs:
        if not isinstance(output, Symbol):
            raise LayerError(f"an output of a model is a symbol of a layer, got {output!r:.80}.")
        stack = [(output, iter(output.inputs))] if id(output) not in done else []
        while stack:
            symbol, rest = stack[-1]
            if symbol.layer is None:
                path = " <- ".join(repr(s) for s, _ in stack[::-1])
                raise LayerError(
                    f"the input created at {symbol.line} is not among the inputs of the model, but "
                    f"an output depends on it: {path}."
                )
            below = next((s for s in rest if id(s) not in done), None)
            if below is None:
                stack.pop()
                if id(symbol) not in done:
                    done.add(id(symbol))
                    order.append(symbol)
            else:
                stack.append((below, iter(below.inputs)))
    return order


# --- many layers that are alike, and one parameter in two places ---------------------------------


def repeat(layer: Any, n: int) -> Any:
    """Return n layers that are alike, one after the other, each with parameters of its own.

    v_i = f(v_{i-1}, w_i): a scan, so that the program has the size of one layer, whatever n.

    Args:
      layer: A layer whose output has the shape and dtype of its input.
      n: How many.

    Returns:
      A layer whose parameters (and state) are those of `layer` with a leading axis of length n.

    Raises:
      LayerError: The output has another shape than the input.

    Example:
      >>> import funcgraph as fg
      >>> _, params = repeat(fg.nn.Dense(4), 3).init(fg.random.key(0), (-1, 4))
      >>> params["w"].shape
      (3, 4, 4)
    """
    layer = as_layer(layer)
    stateful = isinstance(layer, StatefulLayer)
    if n < 1:
        raise LayerError(f"repeat needs a positive number of layers, got {n}.")

    def init(key: Any, shape: Any) -> Any:
        shape = as_shape(shape)
        out, _, _ = checked_init(layer, key, (shape,))
        if out != shape or out.dtype != shape.dtype:
            raise LayerError(
                f"repeat of {layer.kind}: the output has the shape {out!r}, but must have the "
                f"input's, {shape!r}."
            )
        parts = vmap(lambda k: checked_init(layer, k, (shape,))[1:])(split(key, n))
        return (shape, *parts) if stateful else (shape, parts[0])

    def run(params: Any, state: Any, x: Any, key: Any, train: bool) -> tuple[Any, Any]:
        options: dict[str, Any] = {"train": True} if train and "train" in layer.accepts else {}
        keys = split(key, n) if key is not None and layer.random else None

        def step(x: Any, row: Any) -> Any:
            p, s, k = row
            more = options if k is None else {**options, "key": k}
            return layer.apply(p, s, x, **more) if stateful else (layer.apply(p, x, **more), None)

        return scan(step, x, (params, state, keys), length=n)

    def apply(params: Any, x: Any, *, key: Any = None, train: bool = False) -> Any:
        return run(params, None, x, key, train)[0]

    def apply_with_state(
        params: Any, state: Any, x: Any, *, key: Any = None, train: bool = False
    ) -> Any:
        return run(params, state, x, key, train)

    kind = f"repeat_{layer.kind}"
    if stateful:
        return StatefulLayer(init, apply_with_state, kind, layer.random)
    return Layer(init, apply, kind, layer.random)


def tie(model: Any, target: str, source: str, transform: Callable[[Any], Any] | None = None) -> Any:
    """Return the model in which one parameter is another one, or a function of it.

    Args:
      model: A model or layer whose parameters are dicts.
      target: Path of the parameter that goes, such as "head/w".
      source: Path of the parameter that stands for it, such as "embedding/w".
      transform: What is done to it first, such as np.transpose.

    Returns:
      A layer without the target among its parameters; the source's gradient is the sum of both.

    Raises:
      LayerError: There is no such parameter, or the two have not the same shape.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> model = serial(embedding=fg.nn.Embedding(10, 4), head=fg.nn.Dense(10))
      >>> tied = tie(model, "head/w", "embedding/w", np.transpose)
      >>> _, params = tied.init(fg.random.key(0), fg.ShapeDtype((-1, 7), np.dtype(int)))
      >>> params["head"].keys()
      dict_keys(['b'])

    Source:
      Press and Wolf, "Using the output embedding to improve language models", 2017.
    """
    transform = transform or (lambda x: x)
    stateful = isinstance(model, StatefulLayer)

    def init(key: Any, *shapes: Any) -> Any:
        out, params, *state = model.init(key, *shapes)
        old, new = _at(params, target), transform(_at(params, source))
        if shape_of(old) != shape_of(new):
            raise LayerError(
                f"tie: {target!r} has the shape {shape_of(old)}, but {source!r} stands for it with "
                f"the shape {shape_of(new)}. Pass transform=, such as np.transpose."
            )
        return (out, _changed(params, target.split("/"), None), *state)

    def whole(params: Any) -> Any:
        return _changed(params, target.split("/"), transform(_at(params, source)))

    def apply(params: Any, *xs: Any, **options: Any) -> Any:
        return model.apply(whole(params), *xs, **options)

    cls = StatefulLayer if stateful else Layer
    tied = cls(init, apply, model.kind, model.random)
    return tied


def _at(params: Any, path: str) -> Any:
    """Return the parameter at a path."""
    value = params
    for part in path.split("/"):
        if not isinstance(value, dict) or part not in value:
            known = ", ".join(map(repr, value)) if isinstance(value, dict) else "no dict"
            raise LayerError(f"there is no parameter {path!r}: at {part!r} there is {known}.")
        value = value[part]
    return value


def _changed(params: Any, path: list[str], value: Any) -> Any:
    """Return the dict with another value at a path; None: without it."""
    first, *rest = path
    if rest:
        return {**params, first: _changed(params.get(first, {}), rest, value)}
    out = {k: v for k, v in params.items() if k != first}
    return out if value is None else {**out, first: value}

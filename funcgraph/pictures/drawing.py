"""Pictures of functions, graphs and models: `draw`, and what it returns.

Importing this module is cheap: what draws is imported when it is needed. May import all layers
below `pictures`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from funcgraph import tree
from funcgraph.core.aval import Aval, is_inexact
from funcgraph.core.graph import Graph
from funcgraph.core.hooks import HOOKS
from funcgraph.errors import FuncgraphError, PictureError

if TYPE_CHECKING:
    from os import PathLike

    from funcgraph.pictures.scene import Scene

__all__ = ["Drawing", "draw"]

_MANY = 400  # nodes of a graph that a notebook shows as text instead


class Drawing:
    """A picture: shown in notebooks, saved under a name, or read as text.

    Attributes:
      scene: Its nodes, boxes and edges with their places.
      svg: The picture as SVG, for light and for dark backgrounds.
      dot: The graph as DOT text, for Graphviz.
      mermaid: The graph as Mermaid text, which GitHub and many editors show.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    @functools.cached_property
    def svg(self) -> str:
        """The picture as the text of an SVG file."""
        from funcgraph.pictures.svg import svg_text

        return svg_text(self.scene)

    @functools.cached_property
    def dot(self) -> str:
        """The graph as DOT text."""
        from funcgraph.pictures.markup import dot_text

        return dot_text(self.scene)

    @functools.cached_property
    def mermaid(self) -> str:
        """The graph as Mermaid text."""
        from funcgraph.pictures.markup import mermaid_text

        return mermaid_text(self.scene)

    @property
    def html(self) -> str:
        """The picture as a page of its own."""
        return (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>funcgraph</title>'
            "<style>body{margin:0;color-scheme:light dark}</style></head>\n"
            f"<body>\n{self.svg}</body></html>\n"
        )

    def save(self, path: str | PathLike[str]) -> None:
        """Write the picture to a file, in the format that its suffix says.

        Args:
          path: Ends with .svg, .png (needs Matplotlib), .html, .dot (or .gv), or .mmd (Mermaid).

        Raises:
          PictureError: The suffix is another one.
          MissingPackageError: A .png without Matplotlib.

        Example:
          >>> import numpy as np
          >>> import funcgraph as fg
          >>> fg.draw(np.tanh)(0.5).save("tanh.pdf")
          Traceback (most recent call last):
          ...
          funcgraph.errors.PictureError: a picture cannot be saved as 'tanh.pdf': the suffix...
        """
        from pathlib import Path

        path = Path(path)
        texts = {
            ".svg": "svg",
            ".html": "html",
            ".dot": "dot",
            ".gv": "dot",
            ".mmd": "mermaid",
        }
        suffix = path.suffix.lower()
        if suffix == ".png":
            from funcgraph.pictures.png import save_png

            save_png(self.scene, path)
        elif suffix in texts:
            path.write_text(getattr(self, texts[suffix]), "utf-8")
        else:
            raise PictureError(
                f"a picture cannot be saved as {str(path)!r}: the suffix must be .svg, .png, "
                ".html, .dot, .gv or .mmd."
            )

    def _repr_svg_(self) -> str:
        return self.svg

    def _repr_html_(self) -> str:
        return f'<div style="overflow:auto">{self.svg}</div>'

    def __repr__(self) -> str:
        return f"<Drawing of {len(self.scene.nodes)} nodes and {len(self.scene.edges)} edges>"


def draw(
    fun: Callable[..., Any],
    *,
    backward: bool | None = None,
    argnums: int | tuple[int, ...] = 0,
    depth: int | None = None,
) -> Callable[..., Drawing]:
    """Return a function that draws `fun` instead of computing its value.

    Values run down, on the left. Cotangents run up, on the right: beside every operation stands its
    pullback, with the rule it applies to the cotangent g that arrives there. Dashed lines are what
    the way back reads of the way forth.

    Args:
      fun: A function of arrays (pytrees).
      backward: Whether the way back is drawn; by default if fun returns a real scalar that can be
        differentiated. For other outputs it starts from a cotangent of the output's shape.
      argnums: Which positional arguments are differentiated, as for `grad`.
      depth: How many levels of boxes (layers, loops, branches) are open; the rest are one node
        each. By default as many as leave the picture readable.

    Returns:
      A function of the same arguments (arrays, or ShapeDtype) that returns a Drawing. Nothing is
      computed.

    Raises:
      ConcretizationError: Python control flow in fun depends on values.
      PictureError: Nothing is there to differentiate, with backward=True.
      TypeError: fun is no function.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> picture = draw(lambda w, x: np.sum(np.tanh(x @ w)))(np.ones((3, 2)), np.ones((5, 3)))
      >>> picture.mermaid.count("<br/>"), "g × (1 − y × y)" in picture.svg
      (0, True)
    """
    if not callable(fun):
        raise TypeError(
            f"draw needs a function, got a {type(fun).__name__}. Models and graphs have a method: "
            "model.draw(shape), graph.draw()."
        )

    @functools.wraps(fun)
    def wrapped(*args: Any, **kwargs: Any) -> Drawing:
        from funcgraph.core.simplify import prune
        from funcgraph.transforms.arguments import name_of, positions
        from funcgraph.transforms.naming import named_graph

        found = named_graph(fun, *args, **kwargs)
        chosen = set(positions(argnums, len(args))) if args else set()
        sizes = [len(tree.leaves(x)) for x in args]
        starts = [sum(sizes[:k]) for k in range(len(sizes))]
        leaves = [n for k in sorted(chosen) for n in range(starts[k], starts[k] + sizes[k])]
        parameters = [n for n in leaves if not found.inputs[n].isidentifier()]
        name = name_of(fun)
        outputs = _output_names(name if name.isidentifier() else "f", found.structure)
        return _drawing(
            prune(found.graph), found.inputs, outputs, parameters, leaves, backward, depth
        )

    return wrapped


def _output_names(name: str, structure: Any) -> list[str]:
    """Return what the outputs of a function are called: by its name, and where they stand."""
    count = structure.num_leaves
    marked = tree.unflatten(structure, range(count))
    return [name + tree.keystr(path) for path, _ in tree.leaves_with_path(marked)]


def _drawing(
    graph: Graph,
    inputs: Sequence[str],
    outputs: Sequence[str],
    parameters: Sequence[int],
    leaves: Sequence[int],
    backward: bool | None,
    depth: int | None,
) -> Drawing:
    """Draw a graph; `leaves` are the inputs that are differentiated."""
    from funcgraph.pictures.backward import place_both
    from funcgraph.pictures.build import build
    from funcgraph.pictures.layout import place
    from funcgraph.pictures.legend import add_legend

    avals = graph.output_avals
    scalar = len(avals) == 1 and avals[0].shape == () and avals[0].dtype.kind == "f"
    leaves = [k for k in leaves if is_inexact(graph.inputs[k].aval.dtype)]
    both = (
        _differentiable(graph, leaves, required=backward is True)
        if (scalar if backward is None else backward)
        else False
    )
    built = build(
        graph, inputs=inputs, outputs=outputs, parameters=parameters, depth=depth, opaque=both
    )
    remarks = [f"{built.usual.name} unless written"]
    if both:
        sources = [id for id, n in built.inputs.items() if n & set(leaves)]
        scene = place_both(built, sources, built.result if scalar else "")
        remarks.append("g: the cotangent that arrives; those that meet are added")
    else:
        scene = place(built.scene)
    return Drawing(add_legend(scene, remarks))


def _differentiable(graph: Graph, leaves: Sequence[int], required: bool) -> bool:
    """Return whether a graph has a pullback; raise if it is required and there is none."""
    from funcgraph.transforms.gradient import vjp
    from funcgraph.transforms.stage import stage

    count = len(graph.inputs)

    def pullback(*args: Any) -> list[Any]:
        def run(*xs: Any) -> tuple[Any, ...]:
            given = list(args[:count])
            for k, x in zip(leaves, xs, strict=True):
                given[k] = x
            return tuple(graph.run(*given))

        return list(vjp(run, *[args[k] for k in leaves])[1](args[count:]))

    cotangents = [Aval(a.shape, a.dtype) for a in graph.output_avals]
    if not leaves or not any(is_inexact(a.dtype) for a in cotangents):
        if required:
            raise PictureError(
                "there is no way back to draw: arguments (argnums) and output must hold "
                "floating-point numbers."
            )
        return False
    try:
        stage(pullback, [v.aval for v in graph.inputs] + cotangents)
    except FuncgraphError:
        if required:
            raise
        return False
    return True


# --- methods of graphs and models -----------------------------------------------------------------


def _draw_graph(graph: Graph, backward: bool, depth: int | None) -> Drawing:
    return _drawing(graph, (), (), (), range(len(graph.inputs)), backward, depth)


def _graph_html(graph: Graph) -> str:
    """Return what a notebook shows of a graph: the picture, or the text of a large one."""
    from html import escape

    from funcgraph.pictures.build import build

    if len(build(graph).scene.nodes) > _MANY:
        return f"<pre>{escape(str(graph))}</pre>"
    return _draw_graph(graph, False, None)._repr_html_()


def _draw_model(
    model: Any, shapes: Sequence[Any], backward: bool, train: bool, depth: int | None
) -> Drawing:
    from funcgraph.nn.layer import StatefulLayer, as_shape, with_batch
    from funcgraph.nn.summary import abstract_init
    from funcgraph.pictures.labels import ANY_LENGTH
    from funcgraph.random.keys import key
    from funcgraph.transforms.naming import named_graph

    given = model.spec.arity(tuple(map(as_shape, shapes)) or model.spec.hints, "input shapes")
    _, params, state = abstract_init(model, given)
    held = (params, state) if isinstance(model, StatefulLayer) else (params,)
    options = {"train": True, "key": key(0)} if train else {}

    def run(held: Any, xs: Any) -> Any:
        out = model.apply(*held, *xs, **options)
        return out[0] if len(held) == 2 else out

    found = named_graph(run, held, with_batch(given, ANY_LENGTH))
    count = len(tree.leaves(held))
    labels = [
        label.removeprefix("held[0]").removeprefix("held[1]") for label in found.inputs[:count]
    ]
    inputs = [*labels, *_input_names(model, given)]
    outputs = _output_names(model.kind, found.structure)
    leaves = range(len(tree.leaves(params)))
    return _drawing(found.graph, inputs, outputs, range(count), leaves, backward, depth)


def _input_names(model: Any, shapes: Sequence[Any]) -> list[str]:
    """Return the names of the leaves of a model's inputs."""
    from funcgraph.nn.layer import Shape

    named = zip(model.spec.inputs, shapes, strict=True)
    is_shape = lambda x: isinstance(x, Shape)  # noqa: E731
    return [
        name + tree.keystr(path)
        for name, shape in named
        for path, _ in tree.leaves_with_path(shape, is_leaf=is_shape)
    ]


HOOKS.update(draw_graph=_draw_graph, graph_html=_graph_html, draw_model=_draw_model)

"""Tables about models and parameters: `summary`, `show`. Nothing is computed for them.

May import `core`, `tree`, `transforms`, `nn`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from funcgraph import tree
from funcgraph.core.aval import Aval, aval_of
from funcgraph.nn.layer import (
    Shape,
    StatefulLayer,
    as_layer,
    as_shape,
    checked_init,
    locate,
    output_shape,
    with_batch,
)
from funcgraph.nn.model import PureModel, StatefulModel
from funcgraph.transforms.stage import eval_shape, make_graph

__all__ = ["Summary", "SummaryRow", "abstract_init", "show", "summary"]


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One layer of a model.

    Attributes:
      path: Names of the nodes that lead to it.
      kind: What it is.
      shape: Shape of its output (a pytree of Shapes).
      parameters: Number of its parameters; 0 if they are another node's.
      flops: Arithmetic operations of one evaluation, for one example where the batch is unknown.
    """

    path: str
    kind: str
    shape: Any
    parameters: int
    flops: int


@dataclass(frozen=True, slots=True)
class Summary:
    """The layers of a model, in the order in which they run; prints as a table."""

    rows: tuple[SummaryRow, ...]
    per_example: bool

    @property
    def parameters(self) -> int:
        """Number of all parameters."""
        return sum(r.parameters for r in self.rows)

    @property
    def flops(self) -> int:
        """Arithmetic operations of one evaluation."""
        return sum(r.flops for r in self.rows)

    def __str__(self) -> str:
        head = ("node", "layer", "output", "parameters", "FLOPs")
        cells = [
            (r.path, r.kind, _shape_text(r.shape), f"{r.parameters:,}", f"{r.flops:,}")
            for r in self.rows
        ]
        total = ("total", "", "", f"{self.parameters:,}", f"{self.flops:,}")
        text = _table([head, *cells, total], right=(3, 4))
        return f"{text}\nFLOPs are for one example." if self.per_example else text


def _shape_text(shape: Any) -> str:
    leaves = tree.leaves(shape, is_leaf=lambda x: isinstance(x, Shape))
    return ", ".join(map(repr, leaves))


def _table(rows: Sequence[tuple[str, ...]], right: tuple[int, ...]) -> str:
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(w) if k in right else cell.ljust(w)
            for k, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def summary(model: Any, *shapes: Any) -> Summary:
    """Return the table of a model's layers: output shapes, parameters, arithmetic operations.

    Nothing is computed, and no parameter is made, however large the model.

    Args:
      model: A model, or a layer.
      *shapes: Shapes of the inputs, as for `init`.

    Returns:
      A Summary, which prints as a table and has rows, parameters and flops.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> model = fg.nn.serial(fg.nn.Dense(16), np.tanh, head=fg.nn.Dense(2))
      >>> print(summary(model, (-1, 4)))
      node   layer  output          parameters  FLOPs
      dense  Dense  float32[-1,16]          80    144
      tanh   tanh   float32[-1,16]           0     16
      head   Dense  float32[-1,2]           34     66
      total                                114    226
      FLOPs are for one example.
    """
    layer = as_layer(model)
    given = tuple(map(as_shape, shapes))
    if not given and isinstance(layer, PureModel | StatefulModel):
        given = layer.spec.hints
    rows = tuple(_rows(layer, layer.kind, given, None)[1])
    unknown = any(-1 in s for s in tree.leaves(given, is_leaf=lambda x: isinstance(x, Shape)))
    return Summary(rows, unknown)


def abstract_init(layer: Any, shapes: Sequence[Any]) -> tuple[Any, Any, Any]:
    """Return output shape, and avals of parameters and state (None without one)."""
    found: Any = None

    def init(key: Any) -> Any:
        nonlocal found
        found, params, state = checked_init(layer, key, shapes)
        return params, state

    params, state = eval_shape(init, Aval((2,), np.dtype(np.uint32)))
    return found, params, state


def _rows(
    layer: Any, path: str, shapes: Sequence[Any], owned: tuple[Any, Any] | None
) -> tuple[Any, list[SummaryRow], tuple[Any, Any]]:
    """Return output shape, rows, and parameters and state; `owned`: those of another node."""
    if isinstance(layer, PureModel | StatefulModel):
        return _model_rows(layer, path, shapes, owned)
    if owned is None:
        shape, params, state = abstract_init(layer, shapes)
        count = sum(prod(p.shape) for p in tree.leaves(params))
    else:
        params, state = owned
        shape, count = output_shape(layer, params, state, shapes), 0
    avals = with_batch(tuple(shapes), 1)
    if isinstance(layer, StatefulLayer):
        graph = make_graph(layer.apply)(params, state, *avals)
    else:
        graph = make_graph(layer.apply)(params, *avals)
    row = SummaryRow(path, layer.kind, shape, count, graph.simplify().flops())
    return shape, [row], (params, state)


def _model_rows(
    layer: Any, path: str, shapes: Sequence[Any], owned: tuple[Any, Any] | None
) -> tuple[Any, list[SummaryRow], tuple[Any, Any]]:
    spec = layer.spec
    env = dict(zip(spec.inputs, spec.arity(tuple(shapes), "input shapes"), strict=True))
    made: dict[str, Any] = dict(owned[0]) if owned else {}
    rows: list[SummaryRow] = []
    for node in spec.nodes:
        reads = [env[r] for r in node.inputs]
        known = made.get(node.owner)
        try:
            env[node.name], found, made[node.owner] = _rows(node.layer, node.name, reads, known)
        except Exception as error:
            locate(error, node.name, node.layer, reads)
            raise
        nested = isinstance(node.layer, PureModel | StatefulModel)
        for row in found:
            name = f"{node.name}/{row.path}" if nested else row.path
            rows.append(SummaryRow(name, row.kind, row.shape, row.parameters, row.flops))
    return tree.map(env.__getitem__, spec.outputs), rows, (made, None)


def show(params: Any) -> str:
    """Return a table of the arrays of a pytree: paths and types instead of numbers.

    Args:
      params: Parameters, or any pytree of arrays.

    Returns:
      A line for each leaf, and the sum.

    Example:
      >>> import funcgraph as fg
      >>> _, params = fg.nn.serial(fg.nn.Dense(3)).init(fg.random.key(0), (-1, 2))
      >>> print(show(params))
      ['dense']['b']  float32[3]     3
      ['dense']['w']  float32[2,3]   6
      total           36 bytes       9
    """
    found = [(tree.keystr(path), aval_of(x)) for path, x in tree.leaves_with_path(params)]
    sizes = [prod(a.shape) for _, a in found]
    rows = [(p, str(a), f"{n:,}") for (p, a), n in zip(found, sizes, strict=True)]
    size = sum(n * a.dtype.itemsize for (_, a), n in zip(found, sizes, strict=True))
    return _table([*rows, ("total", f"{size:,} bytes", f"{sum(sizes):,}")], right=(2,))

"""Choices between functions: `cond`, `switch`, `select`.

Where the choice is known to Python, the chosen function is called. Where a transformation hides it
(vmap, jit), the choice is one equation that holds the staged branches.
May import `core`, `numpy`, `ops`, `tree`, `transforms`, `control`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgraph import tree
from funcgraph.control.choice import Branches, switch_primitive
from funcgraph.control.eager import is_unknown
from funcgraph.control.types import check_alike, strengthen, strong
from funcgraph.core.aval import aval_of, promote, shape_of
from funcgraph.core.graph import Graph, Var
from funcgraph.errors import CarryTypeError
from funcgraph.ops.elementwise import maximum, minimum, not_equal
from funcgraph.ops.structural import cast, where
from funcgraph.transforms.arguments import run, snapshot
from funcgraph.transforms.stage import stage, stage_closed

__all__ = ["cond", "select", "switch"]


def _staged(what: str, number: Any, functions: dict[str, Callable[..., Any]], operands: Any) -> Any:
    leaves, structure = tree.flatten(operands)
    avals = [strong(aval_of(x)) for x in leaves]
    found: list[Any] = []

    def flat(f: Callable[..., Any]) -> Callable[..., list[Any]]:
        def call(*values: Any) -> list[Any]:
            found.append(run(f, tree.unflatten(structure, values), {}))
            return tree.leaves(found[-1])

        return call

    staged = _with_types([stage_closed(flat(f), avals) for f in functions.values()])
    names, avals_out = list(functions), [graph.output_avals for graph, _ in staged]
    for name, y, new in zip(names, found, avals_out, strict=True):
        check_alike((names[0], name), (found[0], y), (avals_out[0], new), what)
    out = switch_primitive(
        number, *leaves, *_all_closed(staged), branches=_widened(staged, len(leaves))
    )
    return tree.unflatten(tree.structure(found[0]), out)


def _with_types(staged: Any) -> list[Any]:
    """Return the branches with Python numbers among the results of the types of the others."""
    columns = list(zip(*(graph.output_avals for graph, _ in staged), strict=False))
    dtypes = [None if any(a.shape for a in column) else promote(*column) for column in columns]

    def typed(graph: Graph) -> Graph:
        return stage(
            lambda *xs: [strengthen(y, d) for y, d in zip(graph.run(*xs), dtypes, strict=False)],
            [v.aval for v in graph.inputs],
        )

    counts = {len(graph.outputs) for graph, _ in staged}
    number = lambda o: not isinstance(o, Var) or o.aval.weak is not None  # noqa: E731
    return [
        (typed(graph) if len(counts) == 1 and any(map(number, graph.outputs)) else graph, closed)
        for graph, closed in staged
    ]


def _all_closed(staged: Any) -> list[Any]:
    return [x for _, closed in staged for x in closed]


def _widened(staged: Any, operands: int) -> Branches:
    """Return the branches with the values that any of them closes over as inputs of all."""
    out = []
    for k, (graph, _) in enumerate(staged):
        inputs = list(graph.inputs[:operands])
        for other, (_, closed) in enumerate(staged):
            mine = graph.inputs[operands:]
            inputs += mine if other == k else [Var(aval_of(x)) for x in closed]
        out.append(Graph(tuple(inputs), graph.equations, graph.outputs, graph.constants))
    return tuple(out)


def cond(
    pred: Any, true_fun: Callable[..., Any], false_fun: Callable[..., Any], *operands: Any
) -> Any:
    """Call one of two functions, by a condition.

    true_fun(*operands) if pred else false_fun(*operands).

    Under vmap each function runs for the lanes that need it only; under jit one of both runs.

    Args:
      pred: Bool or number of shape ().
      true_fun: Called where pred is true.
      false_fun: Called otherwise; it returns the same structure, shapes and dtypes.
      *operands: Arguments of both (pytrees). Both may also close over arrays.

    Returns:
      What the function returns.

    Raises:
      CarryTypeError: Under vmap or jit: the results differ in structure, shape or dtype.
      TypeError: pred is no scalar.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> f = lambda x: cond(x > 0, np.sqrt, lambda x: 0.0 * x, x)
      >>> fg.vmap(fg.grad(f))(np.array([4.0, -1.0]))
      array([0.25, 0.  ])

    Source:
      jax.lax.cond.
    """
    if shape_of(pred) != ():
        raise TypeError(
            f"cond needs a condition of shape (), got shape {shape_of(pred)}. Use vmap to choose "
            "for every element, or np.where."
        )
    operands = snapshot(operands)
    if not is_unknown(pred):
        return run(true_fun if bool(pred) else false_fun, operands, {})
    number = cast(not_equal(pred, 0), np.int32)
    return _staged("cond", number, {"false_fun": false_fun, "true_fun": true_fun}, operands)


def switch(index: Any, branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """Call one of several functions, by its number.

    branches[i](*operands), i = index, at least 0 and at most the last number.

    Args:
      index: Integer of shape ().
      branches: Functions of the operands that return the same structure, shapes and dtypes.
      *operands: Arguments (pytrees).

    Returns:
      What the function returns.

    Raises:
      CarryTypeError: Under vmap or jit: the results differ in structure, shape or dtype.
      TypeError: index is no integer scalar.
      ValueError: There are no branches.

    Example:
      >>> import numpy as np
      >>> switch(1, [np.sin, np.cos], 0.0)
      np.float64(1.0)

    Source:
      jax.lax.switch.
    """
    branches = list(branches)
    aval = aval_of(index)
    if not branches:
        raise ValueError("switch needs at least one branch.")
    if aval.shape != () or aval.dtype.kind not in "iu":
        raise TypeError(f"switch needs an integer of shape (), got {aval}.")
    last = len(branches) - 1
    operands = snapshot(operands)
    if not is_unknown(index):
        value = index if isinstance(index, int) else int(np.asarray(_plain(index)))
        return run(branches[min(max(value, 0), last)], operands, {})
    if last == 0:
        return run(branches[0], operands, {})
    number = cast(minimum(maximum(index, 0), min(last, np.iinfo(aval.dtype).max)), np.int32)
    named = {f"branch {k}": branch for k, branch in enumerate(branches)}
    return _staged("switch", number, named, operands)


def _plain(x: Any) -> Any:
    return x.concrete() if hasattr(x, "concrete") else x


def select(pred: Any, on_true: Any, on_false: Any) -> Any:
    """Choose between two arrays, element by element or as a whole.

    Args:
      pred: Bool array of the shape of the others, or of shape ().
      on_true: Array taken where pred is true.
      on_false: Array of the same shape and dtype, taken elsewhere.

    Returns:
      Array of their shape and dtype.

    Raises:
      CarryTypeError: The arrays differ in shape or dtype.

    Example:
      >>> import numpy as np
      >>> select(np.array([True, False]), np.array([1, 2]), np.array([3, 4]))
      array([1, 4])

    Source:
      jax.lax.select.
    """
    a, b = aval_of(on_true), aval_of(on_false)
    if (a.shape, a.dtype) != (b.shape, b.dtype):
        raise CarryTypeError(f"select: on_true is {a}, but on_false is {b}. Convert one of them.")
    return where(pred, on_true, on_false)

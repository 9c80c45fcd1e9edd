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
from funcgraph.control.types import check_same
from funcgraph.control.while_ import is_unknown
from funcgraph.core.aval import Aval, aval_of, is_inexact, ndim_of, shape_of
from funcgraph.core.graph import Graph, Var
from funcgraph.core.primitive import General, Primitive
from funcgraph.core.simplify import prune
from funcgraph.ops.elementwise import equal, maximum, minimum, not_equal
from funcgraph.ops.indexing import index as read
from funcgraph.ops.structural import cast, concatenate, expand_dims, where
from funcgraph.transforms.arguments import run
from funcgraph.transforms.partial import batch_graph, cached, compiled, split, tangent_graph
from funcgraph.transforms.stage import stage, stage_closed
from funcgraph.transforms.vmap import vmap

__all__ = ["cond", "select", "switch"]

Branches = tuple[Graph, ...]


# --- the primitive: arguments (number, *operands), every branch takes all operands ----------------


def _run_numpy(number: Any, *operands: Any, branches: Branches, **_: Any) -> tuple[Any, ...]:
    return compiled(branches[int(number)])(*operands)


def _run_jax(jax: Any, number: Any, *operands: Any, branches: Branches, **_: Any) -> Any:
    def callee(graph: Graph) -> Callable[..., Any]:
        avals = graph.output_avals
        return lambda *xs: tuple(
            jax.numpy.asarray(y, a.dtype) for y, a in zip(graph.run(*xs), avals, strict=True)
        )

    return tuple(jax.lax.switch(number, [callee(b) for b in branches], *operands))


def _avals(*_: Aval, branches: Branches, **__: Any) -> tuple[Aval, ...]:
    return tuple(Aval(a.shape, a.dtype) for a in branches[0].output_avals)


def _flags(branches: Branches, given: Sequence[bool]) -> tuple[bool, ...]:
    inputs = branches[0].inputs
    return tuple(a and is_inexact(v.aval.dtype) for a, v in zip(given, inputs, strict=True))


def _jvp(
    tangents: Any, y: Any, number: Any, *operands: Any, branches: Branches, safe: bool, **_: Any
) -> Any:
    flags = _flags(branches, [t is not None for t in tangents[1:]])
    dots = [t for t, flag in zip(tangents[1:], flags, strict=True) if flag]
    moving = tuple(tangent_graph(b, flags, safe) for b in branches)
    out = _switch(number, *operands, *dots, branches=moving)
    inexact = [is_inexact(a.dtype) for a in branches[0].output_avals]
    return tuple(t if flag else None for t, flag in zip(out, inexact, strict=True))


def _augment(args: Any, attrs: dict[str, Any], varying: Any) -> Any:
    flags = _flags(attrs["branches"], varying[1:])
    return _switch(*args, **attrs), [], {**attrs, "flags": flags}


def _vjp(
    g: Any, y: Any, number: Any, *operands: Any, branches: Branches, flags: Any, safe: bool
) -> Any:
    back = tuple(_pullback(b, flags, safe) for b in branches)
    cts = iter(_switch(number, *g, *operands, branches=back))
    return (None, *(next(cts) if flag else None for flag in flags))


def _pullback(graph: Graph, flags: tuple[bool, ...], safe: bool) -> Graph:
    """Return the graph (cotangents, inputs) -> cotangents of the inputs; it runs forward again."""
    passes = split(graph, flags, safe)
    n, outputs = len(graph.inputs), len(graph.outputs)

    def pull(*values: Any) -> list[Any]:
        cts, inputs = values[:outputs], values[outputs:]
        places = (*inputs, *passes.forward.run(*inputs)[outputs:])
        return passes.backward.run(*cts, *(places[k] for k in passes.sources))

    avals = [Aval(a.shape, a.dtype) for a in graph.output_avals]
    avals += [v.aval for v in graph.inputs[:n]]
    return cached(graph, ("pullback", flags, safe), lambda: prune(stage(pull, avals)))


def _batch(primitive: Any, size: int, args: Any, batched: Any, attrs: Any) -> Any:
    number, *operands = args
    flags, branches = tuple(batched[1:]), attrs["branches"]
    if not batched[0]:
        lanes = tuple(batch_graph(b, size, flags) for b in branches)
        return _switch(number, *operands, branches=lanes)
    if type(number) is np.ndarray:
        return _by_lane(number, operands, flags, branches)
    outs = [batch_graph(b, size, flags).run(*operands) for b in branches]
    chosen = list(outs[-1])
    for k, out in enumerate(outs[:-1]):
        for i, y in enumerate(out):
            axes = tuple(range(1, ndim_of(y)))
            mask = equal(number, k)
            chosen[i] = where(expand_dims(mask, axes) if axes else mask, y, chosen[i])
    return tuple(chosen)


def _by_lane(number: Any, operands: Any, flags: Any, branches: Branches) -> tuple[Any, ...]:
    """Run each branch for the lanes that chose it only."""
    parts, order = [], []
    in_axes = tuple(0 if b else None for b in flags)
    for k, graph in enumerate(branches):
        lanes = np.flatnonzero(number == k)
        if lanes.size:
            picked = [read(x, lanes) if b else x for x, b in zip(operands, flags, strict=True)]
            mapped = vmap(lambda *xs, graph=graph: graph.run(*xs), in_axes, axis_size=lanes.size)
            parts.append(mapped(*picked))
            order.append(lanes)
    if not parts:  # no lanes at all
        return tuple(np.zeros((0, *a.shape), a.dtype) for a in branches[0].output_avals)
    back = np.argsort(np.concatenate(order))
    columns = zip(*parts, strict=True)
    return tuple(read(concatenate(*column, axis=0), back) for column in columns)


_switch: Primitive = Primitive(
    "switch", _run_numpy, _run_jax, _avals, General(_jvp, _vjp), _batch, many=True, augment=_augment
)


# --- the functions -------------------------------------------------------------------------------


def _staged(what: str, number: Any, functions: Sequence[Callable[..., Any]], operands: Any) -> Any:
    leaves, structure = tree.flatten(operands)
    avals = [Aval(a.shape, a.dtype) for a in (aval_of(x) for x in leaves)]
    found: list[Any] = []

    def flat(f: Callable[..., Any]) -> Callable[..., list[Any]]:
        def call(*values: Any) -> list[Any]:
            found.append(run(f, tree.unflatten(structure, values), {}))
            return [_strong(y) for y in tree.leaves(found[-1])]

        return call

    staged = [stage_closed(flat(f), avals) for f in functions]
    first = staged[0][0].output_avals
    for k, (graph, _) in enumerate(staged):
        where_ = f"{what}: the result of branch {k}"
        check_same(where_, found[0], found[k], list(first), list(graph.output_avals))
    out = _switch(number, *leaves, *_all_closed(staged), branches=_widened(staged, len(leaves)))
    return tree.unflatten(tree.structure(found[0]), out)


def _strong(x: Any) -> Any:
    return np.asarray(x)[()] if type(x) in (bool, int, float, complex) else x


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
    if not is_unknown(pred):
        return run(true_fun if bool(pred) else false_fun, operands, {})
    number = cast(not_equal(pred, 0), np.int32)
    return _staged("cond", number, (false_fun, true_fun), operands)


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
    if not is_unknown(index):
        value = index if isinstance(index, int) else int(np.asarray(_plain(index)))
        return run(branches[min(max(value, 0), last)], operands, {})
    if last == 0:
        return run(branches[0], operands, {})
    number = minimum(maximum(cast(index, np.int32), np.int32(0)), np.int32(last))
    return _staged("switch", number, branches, operands)


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
    check_same("select: on_false", on_true, on_false, [aval_of(on_true)], [aval_of(on_false)])
    return where(pred, on_true, on_false)

"""Loops and branches over the lanes of a batch, each of which goes its own way: a loop over lanes.

May import `core`, `engines.numpy`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from funcgraph.core.aval import Aval
from funcgraph.core.graph import Equation, Graph
from funcgraph.engines.numpy.literals import dtype_text, made_text
from funcgraph.errors import NoSourceError

if TYPE_CHECKING:
    from funcgraph.codegen.body import Body

__all__ = ["in_lanes", "zeros_text"]

_ACROSS = frozenset(["psum", "all_gather"])
Flags = tuple[bool, ...]


def in_lanes(
    body: Body,
    e: Equation,
    lanes: Any,
    outs: list[str],
    args: list[str],
    one: Callable[[list[str], list[str]], list[str]],
    added: Sequence[int] | None = None,
) -> list[str]:
    """Return a loop over lanes.

    Args:
      body: The function it is part of.
      e: The equation.
      lanes: Lengths of the batch axes; for each of them, which of the first arguments have it.
      outs: Names of the results.
      args: Names of the arguments; those that `lanes` does not know have all axes.
      one: Returns the lines of one lane, from names of its results, and its arguments.
      added: For results that are sums over the axes which an argument has not: these arguments.
    """
    sizes, batched = lanes
    if any(map(_crosses, e.subgraphs)):
        raise NoSourceError("its lanes exchange values (psum, ...), so none can go its own way.")
    every = (True,) * len(sizes)
    flags = [*zip(*batched, strict=True)]
    flags += [every] * (len(args) - len(flags))
    lane = body.names.fresh("lane")
    numbers = f"range({sizes[0]})" if len(sizes) == 1 else f"np.ndindex{sizes}"

    def at(name: str, has: Flags) -> str:
        if not any(has):
            return name
        if all(has):
            return f"{name}[{lane}]"
        return f"{name}[{', '.join(f'{lane}[{k}]' for k, flag in enumerate(has) if flag)}]"

    has = [every] * len(outs) if added is None else [flags[k] for k in added]
    mine = [body.names.fresh(f"one_{name}") for name in outs]
    lines = [
        f"{out} = {made_text('zeros' if added else 'empty', v.aval.shape, v.aval.dtype)}"
        for out, v in zip(outs, e.outputs, strict=True)
    ]
    inner = one(mine, [at(x, h) for x, h in zip(args, flags, strict=True)])
    for out, value, h in zip(outs, mine, has, strict=True):
        inner.append(f"{at(out, h)} {'=' if added is None else '+='} {value}")
    return [*lines, f"for {lane} in {numbers}:", *(f"    {line}" for line in inner)]


def _crosses(graph: Graph) -> bool:
    return any(
        e.primitive.name in _ACROSS or any(map(_crosses, e.subgraphs)) for e in graph.equations
    )


def zeros_text(aval: Aval) -> str:
    """Return zeros of a shape and dtype."""
    if not aval.shape:
        return f"{dtype_text(aval.dtype)}(0)"
    return made_text("zeros", aval.shape, aval.dtype)

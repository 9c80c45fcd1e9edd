"""`checkpoint` (`remat`): compute again in the backward pass what would else be kept.

May import `core`, `tree`, `transforms`, `control.custom`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from funcgraph import tree
from funcgraph.control.custom import Rules, call_with_rules
from funcgraph.core.aval import aval_of, dtype_of, is_inexact
from funcgraph.core.trace import KIND, TRACER
from funcgraph.errors import ConcretizationError
from funcgraph.transforms.arguments import name_of, run
from funcgraph.transforms.gradient import vjp
from funcgraph.transforms.linear import jvp
from funcgraph.transforms.stage import stage_closed

__all__ = ["checkpoint", "remat"]


def checkpoint(fun: Callable[..., Any]) -> Callable[..., Any]:
    """Return the same function, whose intermediate values are not kept for the backward pass.

    Reverse mode keeps the arguments only, and runs the function again when it sweeps back over it:
    less memory for one more evaluation.

    Args:
      fun: A function of arrays (pytrees); it may close over traced values.

    Returns:
      A function of the same arguments with the same values and derivatives.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> layer = checkpoint(lambda x: np.tanh(np.sin(x) ** 2))
      >>> float(fg.grad(lambda x: layer(layer(x)))(0.5)) == float(
      ...     fg.grad(lambda x: np.tanh(np.sin(np.tanh(np.sin(x) ** 2)) ** 2))(0.5)
      ... )
      True

    Source:
      Griewank and Walther, "Algorithm 799: revolve", ACM TOMS 26, 2000; jax.checkpoint.
    """

    @functools.wraps(fun)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = tree.flatten((args, kwargs))
        found: Any = None

        def flat(*values: Any) -> list[Any]:
            nonlocal found
            new_args, new_kwargs = tree.unflatten(structure, values)
            outs, found = tree.flatten(run(fun, new_args, new_kwargs))
            return [np.asarray(y)[()] if type(y) in (int, float, complex) else y for y in outs]

        if not any(KIND[type(x)] == TRACER for x in leaves):
            return fun(*args, **kwargs)
        try:  # what the function closes over becomes arguments
            graph, closed = stage_closed(flat, [aval_of(x) for x in leaves])
        except ConcretizationError:  # it branches on values: it must not close over traced ones
            outs = call_with_rules(_rules(flat, name_of(fun)), leaves)
        else:
            outs = call_with_rules(_rules(graph.run, name_of(fun)), [*leaves, *closed])
        return tree.unflatten(found, outs)

    return wrapped


def _rules(run_flat: Callable[..., list[Any]], name: str) -> Rules:
    """Return rules that keep the arguments, and differentiate the function when it is asked for."""

    def together(*xs: Any) -> tuple[Any, ...]:
        return tuple(run_flat(*xs))

    def bwd(held: Any, cts: Any) -> list[Any]:
        found = vjp(together, *held)[1](tuple(cts))
        pairs = zip(found, held, strict=True)
        return [ct if is_inexact(dtype_of(x)) else None for ct, x in pairs]

    def tangents(xs: Any, ts: Any) -> Any:
        return jvp(together, tuple(xs), tuple(ts))

    return Rules(together, lambda *xs: (together(*xs), []), bwd, tangents, name)


remat = checkpoint

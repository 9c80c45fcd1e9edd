"""Loops of a compiled program: the steps are programs whose results go where they stay.

May import `core`, `engines.numpy`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval
from funcgraph.core.graph import Equation, Graph, Var
from funcgraph.engines.numpy.floats import float_loop, float_while
from funcgraph.engines.numpy.memory import Buffers
from funcgraph.engines.numpy.plan import Output
from funcgraph.engines.numpy.steps import Steps

__all__ = ["only_rows", "scan_loop", "while_loop"]

_MANY = 10  # steps after which a copy has paid


def strong(x: Any, aval: Aval) -> Any:
    """Return a number of Python as one of NumPy, where the body of a loop expects that."""
    return aval.dtype.type(x) if aval.weak is None and not hasattr(x, "dtype") else x


def _own(values: Any, given: Any) -> list[Any]:
    """Return results of which none is the memory of an argument, or of another result."""
    seen = set(map(id, given))
    out: list[Any] = []
    for x in values:
        if isinstance(x, np.ndarray):
            if x.base is not None or id(x) in seen:
                x = np.array(x)
            seen.add(id(x))
        out.append(x)
    return out


def _contiguous(x: Any, length: int) -> Any:
    """Return a constant of a loop; of many steps: not as a transpose, whose products are slow."""
    turned = length >= _MANY and getattr(x, "ndim", 0) == 2 and x.flags.f_contiguous
    return np.ascontiguousarray(x) if turned else x


def _alternating(outputs: Any) -> tuple[list[Any], list[Any]]:
    """Return two sets of buffers for results: one is read while the other is written."""
    first, second = ([np.empty(o.aval.shape, o.aval.dtype) for o in outputs] for _ in range(2))
    return first, second


def scan_loop(
    e: Equation,
    compile_graph: Callable[..., Any],
    shared: list[bool],
    lists: Collection[int],
    keep: bool = True,
) -> Callable[..., tuple[Any, ...]]:
    """Return a function of the arguments of a scan that runs it.

    Args:
      e: The equation.
      compile_graph: Makes the program of the body.
      shared: Which of its results are handed to the caller.
      lists: Numbers of its results that may be lists of rows.
      keep: Whether memory may be kept from call to call.
    """
    body, carries, rows = e.attrs["body"], e.attrs["carries"], e.attrs["rows"]
    length, reverse = e.attrs["length"], e.attrs["reverse"]
    arrays: Callable[..., tuple[Any, ...]] | None = None
    floats = float_loop(body, carries, rows, length, reverse, lists)

    def run(*args: Any) -> tuple[Any, ...]:
        nonlocal arrays
        args = args[: len(body.inputs)]
        if floats is not None:
            try:
                return floats(*args)
            except (ArithmeticError, ValueError):  # where NumPy gives inf or nan
                pass
        if arrays is None and "whole" in e.attrs:
            arrays = _at_once(compile_graph(e.attrs["whole"]()))
        if arrays is None:
            steps = Steps(body, carries, rows, shared)
            arrays = _array_loop(
                compile_graph(body, steps=steps), steps, body, length, reverse, keep
            )
        return arrays(*[_as_array(x, v.aval) for x, v in zip(args, body.inputs, strict=True)])

    return run


def _at_once(program: Any) -> Callable[..., tuple[Any, ...]]:
    """Return the function of a program of all steps."""

    def run(*args: Any) -> tuple[Any, ...]:
        workspace = program.workspaces.take()
        made = [np.empty(o.aval.shape, o.aval.dtype) for o in program.outputs]
        try:
            return program.function(args, workspace, made)  # type: ignore[no-any-return]
        finally:
            program.workspaces.give(workspace)

    return run


def _as_array(x: Any, row: Aval) -> Any:
    """Return the array of a list of rows."""
    return np.array(x, row.dtype).reshape((len(x), *row.shape)) if type(x) is list else x


def only_rows(e: Equation, graph: Graph, watched: Collection[Var]) -> frozenset[int]:
    """Return the numbers of a scan's results of which other scans read the rows, and nobody else.

    They are numbers of double precision. Nobody looks whether they are finite, either.
    """
    places = {v: k for k, v in enumerate(e.outputs) if k >= e.attrs["carries"]}
    found = {k for v, k in places.items() if v.aval.dtype == np.float64}
    found -= {places[v] for v in (*graph.outputs, *watched) if v in places}
    for other in graph.equations:
        loop = other.primitive.name == "scan" and "lanes" not in other.attrs
        first = other.attrs["carries"] if loop else 0
        rows = range(first, first + other.attrs["rows"]) if loop else ()
        found -= {places[v] for k, v in enumerate(other.inputs) if v in places and k not in rows}
    return frozenset(found)


def _array_loop(
    program: Any, steps: Steps, body: Graph, length: int, reverse: bool, keep: bool
) -> Callable[..., tuple[Any, ...]]:
    """Return a function that runs a scan over arrays with the program of its steps."""
    carries, rows = steps.carries, steps.rows_read
    avals = [v.aval for v in body.inputs]
    collected = body.output_avals[carries:]
    step = -1 if reverse else 1
    unplaced = [o for o in program.outputs if steps.target(o.places) is None]
    first = slice(0, length) if not reverse else slice(1, length + 1)  # before the steps
    second = slice(1, length + 1) if not reverse else slice(0, length)
    wanted = [(length, collected[k]) for k in steps.stored]
    wanted += [(length + 1, avals[j]) for j in steps.before.values()]
    shapes = [Aval((n, *a.shape), a.dtype) for n, a in wanted]
    stacks = Buffers([Output(a, (), None) for a in shapes]) if keep else None

    def run(*args: Any) -> tuple[Any, ...]:
        values = [strong(x, a) for x, a in zip(args, avals, strict=False)]
        carry, xs, constants = (
            values[:carries],
            values[carries : carries + rows],
            [_contiguous(x, length) for x in values[carries + rows :]],
        )
        made = stacks.take(()) if stacks else [np.empty(a.shape, a.dtype) for a in shapes]
        stored, chained = made[: len(steps.stored)], made[len(steps.stored) :]
        for j, stack in zip(steps.before.values(), chained, strict=True):
            stack[-1 if reverse else 0] = carry[j]
        streams = [*xs, *stored, *(stack[second] for stack in chained)]
        lists: list[list[Any]] = [[] for _ in steps.listed]
        workspace = program.workspaces.take()
        try:
            end = program.function(
                carry,
                constants,
                [x[::step] for x in streams] if reverse else streams,
                length,
                [x.append for x in lists],
                workspace,
                *_alternating(unplaced),
            )
        finally:
            program.workspaces.give(workspace)
        ys: list[Any] = [None] * len(collected)
        for k, found in zip(steps.listed, lists, strict=True):
            ys[k] = np.array(found[::step], collected[k].dtype)
        for k, stack in zip(steps.stored, stored, strict=True):
            ys[k] = stack
        for j, stack in zip(steps.before.values(), chained, strict=True):
            ys = [stack[first] if steps.before.get(k) == j else y for k, y in enumerate(ys)]
            ys = [stack[second] if steps.after.get(k) == j else y for k, y in enumerate(ys)]
        return (*_own(end, (*args, *program.graph.constants.values())), *ys)

    return run


def while_loop(
    e: Equation, compile_graph: Callable[..., Any], *_: Any
) -> Callable[..., tuple[Any, ...]]:
    """Return a function of the arguments of a while loop that runs it."""
    cond, body, carries = e.attrs["cond"], e.attrs["body"], e.attrs["carries"]
    avals = [v.aval for v in (*cond.inputs, *body.inputs[carries:])]
    middle = len(cond.inputs)
    floats, arrays = float_while(cond, body, carries), None

    def run(*args: Any) -> tuple[Any, ...]:
        nonlocal arrays
        args = tuple([strong(x, a) for x, a in zip(args, avals, strict=False)])
        if floats is not None:
            try:
                return floats(*args)
            except (ArithmeticError, ValueError):  # where NumPy gives inf or nan
                pass
        if arrays is None:
            arrays = _array_while(compile_graph(cond), compile_graph(body), carries, middle)
        return arrays(*args)

    return run


def _array_while(
    going: Any, program: Any, carries: int, middle: int
) -> Callable[..., tuple[Any, ...]]:
    """Return a function that runs the programs of a while loop; `going` reads args[:middle]."""

    def run(*args: Any) -> tuple[Any, ...]:
        carry, first, second = args[:carries], args[carries:middle], args[middle:]
        spaces = going.workspaces.take(), program.workspaces.take()
        asked = [np.empty(o.aval.shape, o.aval.dtype) for o in going.outputs]
        now, later = _alternating(program.outputs)
        try:
            while going.function((*carry, *first), spaces[0], asked)[0]:
                carry = program.function((*carry, *second), spaces[1], now)
                now, later = later, now
        finally:
            going.workspaces.give(spaces[0])
            program.workspaces.give(spaces[1])
        return tuple(_own(carry, args))

    return run

"""Programs and loops over a few numbers, on Python's floats.

Where Python raises an exception and NumPy gives inf or nan, they raise it too, and the program over
arrays is run instead. May import `core`, `engines.numpy`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from itertools import accumulate
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval
from funcgraph.core.graph import Equation, Graph, Var
from funcgraph.core.simplify import simplify
from funcgraph.engines.numpy.rewrite import rewrite
from funcgraph.engines.numpy.scalars import FUNCTIONS, Body, UnsupportedError, not_finite
from funcgraph.engines.numpy.signs import with_fewer_signs
from funcgraph.engines.numpy.unroll import unrolled

__all__ = ["LARGEST", "float_loop", "float_program", "float_while"]

LARGEST = 256  # elements of an array outside of loops
_LARGEST_IN_LOOP = 16
_LONGEST = 3000  # lines of a body
_PIECE = 256  # steps of a loop whose rows are numbers of Python at one time: four times the memory
_LISTED = 1 << 14  # steps of a loop that may hand all its rows on as lists
_WORTH = 24  # operations on floats that take the time of one on an array
_WRITTEN = 400  # equations in which short loops are written out
_FEWER = 8  # times as many operations are counted as there are where zeros are known
_MOST = 1500  # operations of a program: Python's compiler takes 10 us for each


def _tuple(names: list[str]) -> str:
    return f"({', '.join(names)},)" if names else "()"


def _row(names: list[str]) -> str:
    """Return the text of a row: a number, or a tuple of them."""
    return names[0] if len(names) == 1 else _tuple(names)


def _compiled(name: str, arguments: str, lines: list[str], **names: Any) -> Callable[..., Any]:
    """Return a function of these lines."""
    text = f"def {name}({arguments}):\n    " + "\n    ".join(lines) + "\n"
    space: dict[str, Any] = {**FUNCTIONS, "power": math.pow, **names}
    exec(compile(text, f"<funcgraph {name} over floats>", "exec"), space)
    return space[name]  # type: ignore[no-any-return]


# --- programs ------------------------------------------------------------------------------------


def float_program(graph: Graph, watched: int) -> Callable[..., tuple[Any, ...] | None] | None:
    """Return a function of arrays that runs a graph over floats; None if that does not pay.

    The last outputs of the graph, so many as are watched, are not returned: if one of their numbers
    is not finite, the function returns None. It raises ArithmeticError or ValueError where Python
    does and NumPy does not.
    """
    graph = unrolled(graph, _WRITTEN)
    longest = _longest(graph)
    most = min(_FEWER * longest, _MOST)
    if longest <= 0 or any(work > most for work in accumulate(map(_work, graph.equations))):
        return None
    graph = rewrite(with_fewer_signs(graph))
    try:
        body = Body(graph, LARGEST, _longest(graph))
    except (UnsupportedError, TypeError, AttributeError, ArithmeticError, ValueError):
        return None
    inputs = zip(graph.inputs, body.inputs, strict=True)
    lines = [_read(k, v.aval, names) for k, (v, names) in enumerate(inputs)]
    lines += body.nested()
    n = len(graph.outputs) - watched
    if doubtful := dict.fromkeys(t for texts in body.outputs[n:] for t in texts):
        lines.append(f"if {not_finite(doubtful)}: return None")
    results = zip(graph.output_avals[:n], body.outputs, strict=False)
    lines.append(f"return {_tuple([_made(a, texts) for a, texts in results])}")
    arguments = ", ".join(f"x{k}" for k in range(len(graph.inputs)))
    return _compiled("program", arguments, lines, array=np.array, **_TYPES)


_TYPES: dict[str, Any] = {"float64": np.float64, "int64": np.int64, "bool_": np.bool_}
_NAMES_OF_TYPES = {np.dtype(cls): name for name, cls in _TYPES.items()}


def _longest(graph: Graph) -> int:
    """Return how many lines a program may have that reads and returns so many numbers."""
    numbers = sum(math.prod(v.aval.shape) for v in graph.inputs)
    numbers += sum(math.prod(a.shape) for a in graph.output_avals)
    return _WORTH * len(graph.equations) - numbers


def _work(e: Equation) -> int:
    """Return about how many operations on numbers an equation is."""
    elements = math.prod(e.outputs[0].aval.shape) if e.outputs else 0
    first = e.inputs[0].aval.shape if e.inputs and isinstance(e.inputs[0], Var) else ()
    if e.primitive.name == "matmul":
        return 2 * elements * first[-1]
    return max(elements, math.prod(first))


def _read(k: int, aval: Aval, names: list[str]) -> str:
    """Return the line that reads the numbers of argument k, an array or a number."""
    if not aval.shape:
        cls = {"f": "float", "i": "int", "b": "bool"}[aval.dtype.kind]
        return f"{names[0]} = {cls}(x{k})"
    flat = f"x{k}" if len(aval.shape) == 1 else f"x{k}.reshape(-1)"
    return f"{_tuple(names)} = {flat}.tolist()" if names else "pass"


def _made(aval: Aval, texts: list[str]) -> str:
    """Return the text of an array of these numbers."""
    if aval.weak is not None:
        return texts[0]
    name = _NAMES_OF_TYPES[aval.dtype]
    if not aval.shape:
        return f"{name}({texts[0]})"
    if 0 in aval.shape:
        return f"array((), {name}).reshape({aval.shape})"
    for n in aval.shape[:0:-1]:  # the rows, and rows of rows
        texts = [_tuple(texts[k : k + n]) for k in range(0, len(texts), n)]
    return f"array({_tuple(texts)}, {name})"


# --- loops ---------------------------------------------------------------------------------------


def _written_out(graph: Graph) -> Graph:
    return with_fewer_signs(unrolled(simplify(graph), _WRITTEN))


def float_loop(
    graph: Graph,
    carries: int,
    rows: int,
    length: int,
    reverse: bool,
    lists: Collection[int] = (),
) -> Callable[..., tuple[Any, ...]] | None:
    """Return a function that runs a scan over floats; None if its body is not made of these.

    The function raises ArithmeticError or ValueError where Python does and NumPy does not. Results
    of these numbers stay lists of their rows, and arguments may be such lists: for another loop.
    """
    try:
        body = Body(_written_out(graph), _LARGEST_IN_LOOP, _LONGEST)
    except (UnsupportedError, TypeError, AttributeError, ArithmeticError, ValueError):
        return None
    carry, xs, constants = _parts(body.inputs, carries, rows)
    end, ys = body.outputs[:carries], body.outputs[carries:]
    flat = [n for part in carry for n in part]
    lines = [f"{_tuple(flat)} = carry", f"{_tuple([n for c in constants for n in c])} = constants"]
    lines += [f"y{k} = []" for k in range(len(ys))]
    row = [_row(x) for x in xs]
    lines.append(f"for {_tuple(row)} in zip(*rows):" if rows else "for _ in range(length):")
    inner = body.nested()
    inner += [f"y{k}.append({_row(y)})" for k, y in enumerate(ys)]
    if flat:
        inner.append(f"{_tuple(flat)} = {_tuple([t for part in end for t in part])}")
    lines += ["    " + line for line in inner or ["pass"]]
    lines.append(f"return {_tuple(flat)}, {_tuple([f'y{k}' for k in range(len(ys))])}")
    loop = _compiled("loop", "carry, rows, constants, length", lines)
    return _runner(loop, graph, (carries, rows, length), reverse, lists)


def _parts(values: Any, carries: int, rows: int) -> tuple[Any, Any, Any]:
    return values[:carries], values[carries : carries + rows], values[carries + rows :]


def _column(x: Any, length: int) -> list[Any]:
    """Return the rows of an array: numbers, or lists of them."""
    if type(x) is list:
        return x
    x = np.asarray(x)
    return x.reshape(-1 if x.size == length else (length, -1)).tolist()  # type: ignore[no-any-return]


def _numbers(values: Any, avals: Any) -> list[Any]:
    """Return the numbers of some arrays, one behind the other."""
    pairs = zip(values, avals, strict=False)
    return [n for x, a in pairs for n in np.asarray(x, a.dtype).reshape(-1).tolist()]


def _arrays(numbers: Any, avals: Any) -> list[Any]:
    """Return arrays of such numbers."""
    out: list[Any] = []
    start = 0
    for a in avals:
        n = math.prod(a.shape)
        out.append(np.array(numbers[start : start + n], a.dtype).reshape(a.shape)[()])
        start += n
    return out


def _runner(
    loop: Callable[..., Any],
    graph: Graph,
    sizes: tuple[int, int, int],
    reverse: bool,
    lists: Collection[int],
) -> Callable[..., tuple[Any, ...]]:
    carries, rows, length = sizes
    step = -1 if reverse else 1
    outputs = graph.output_avals
    listed = {k - carries for k in lists} if length <= _LISTED else set()
    given = [v.aval for v in graph.inputs]

    def run(*args: Any) -> tuple[Any, ...]:
        carry, xs, constants = _parts(args, carries, rows)
        xs = [x if type(x) is list else np.asarray(x) for x in xs]
        ys: list[Any] = [
            [] if k in listed else np.empty((length, *a.shape), a.dtype)
            for k, a in enumerate(outputs[carries:])
        ]
        end, last = _numbers(carry, given), _numbers(constants, given[carries + rows :])
        for done in range(0, length, _PIECE):
            n = min(_PIECE, length - done)
            at = slice(length - done - n, length - done) if reverse else slice(done, done + n)
            end, found = loop(end, [_column(x[at], n)[::step] for x in xs], last, n)
            for y, part in zip(ys, found, strict=True):
                if type(y) is list:
                    y[slice(0) if reverse else slice(done, done)] = part[::step]
                else:
                    y[at] = np.array(part[::step], y.dtype).reshape((n, *y.shape[1:]))
        return (*_arrays(end, outputs[:carries]), *ys)

    return run


def float_while(cond: Graph, body: Graph, carries: int) -> Callable[..., tuple[Any, ...]] | None:
    """Return a function that runs a while loop over floats; None if it is not made of these.

    The function takes the carry, the constants of `cond` and those of `body`. It raises
    ArithmeticError or ValueError where Python does and NumPy does not.
    """
    # Each graph takes the constants of both, so that inputs have the same names in both.
    first, last = cond.inputs[carries:], body.inputs[carries:]
    inputs = (*body.inputs[:carries], *first, *last)
    graphs = (
        Graph((*cond.inputs, *last), cond.equations, cond.outputs, cond.constants),
        Graph(inputs, body.equations, body.outputs, body.constants),
    )
    try:
        going, step = [Body(_written_out(g), _LARGEST_IN_LOOP, _LONGEST) for g in graphs]
    except (UnsupportedError, TypeError, AttributeError, ArithmeticError, ValueError):
        return None
    flat = [name for names in step.inputs[:carries] for name in names]
    constants = [name for names in step.inputs[carries:] for name in names]
    lines = [f"{_tuple(flat)} = carry", f"{_tuple(constants)} = constants", "while True:"]
    inner = [*going.nested(), f"if not {going.outputs[0][0]}: return {_tuple(flat)}"]
    inner += [*step.nested(), f"{_tuple(flat)} = {_tuple([t for x in step.outputs for t in x])}"]
    loop = _compiled("loop", "carry, constants", lines + ["    " + line for line in inner])
    given = [v.aval for v in inputs]

    def run(*args: Any) -> tuple[Any, ...]:
        carry, rest = _numbers(args[:carries], given), _numbers(args[carries:], given[carries:])
        return tuple(_arrays(loop(carry, rest), given[:carries]))

    return run

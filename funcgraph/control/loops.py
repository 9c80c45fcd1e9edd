"""Loops: `scan`, `map`, `fori_loop`, `while_loop`.

Outside of staging a loop is a Python loop, and every transformation simply follows it: gradients
work whatever the number of steps. While a function is staged (jit), a loop is one equation that
holds the staged body. May import `core`, `ops`, `tree`, `transforms`, `control`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcgraph import tree
from funcgraph.control.checkpoint import checkpoint
from funcgraph.control.eager import is_unknown
from funcgraph.control.lanes import crosses_lanes
from funcgraph.control.numbers import as_counter, as_numbers, without_counters
from funcgraph.control.scan import scan_primitive
from funcgraph.control.types import carried, common_length, settled, strengthen, strong
from funcgraph.control.while_ import while_primitive
from funcgraph.core.aval import Aval, aval_of, shape_of
from funcgraph.errors import ConcretizationError
from funcgraph.ops.elementwise import logical_and
from funcgraph.ops.indexing import index
from funcgraph.ops.structural import cast, concatenate, reshape, stack, where
from funcgraph.transforms.arguments import run, snapshot
from funcgraph.transforms.inspection import FRAMES, inspection
from funcgraph.transforms.stage import abstract, eval_shape, is_staging, stage_closed
from funcgraph.transforms.vmap import vmap

__all__ = ["fori_loop", "map", "scan", "while_loop"]


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int = 1,
    checkpoint_every: int | None = None,
) -> tuple[Any, Any]:
    """Loop over the leading axis of arrays with a carry.

    c_0 = init; (c_{i+1}, y_i) = f(c_i, x_i); returns c_n and all y_i, stacked.

    Args:
      f: Takes the carry and one row of xs, returns the new carry and an output (pytrees). The carry
        keeps its structure, shapes and dtypes.
      init: The first carry.
      xs: Pytree of arrays of shape (n, ...), or None.
      length: n; needed if xs is None.
      reverse: Whether to go from the last row to the first; y_i stays beside x_i.
      unroll: How many steps XLA writes out in one; without effect on NumPy.
      checkpoint_every: If k, reverse mode keeps the carry of every k-th step only, and runs these k
        steps again: for n steps about n / k carries and what k steps keep, least for k = sqrt(n).

    Returns:
      (last carry, outputs with a leading axis of length n).

    Raises:
      CarryTypeError: The carry changes its structure, shape or dtype.
      ValueError: The lengths differ, or none is given; checkpoint_every is not positive.

    Example:
      >>> import numpy as np
      >>> scan(lambda total, x: (total + x, total * 10), 0.0, np.array([1.0, 2.0, 3.0]))
      (np.float64(6.0), array([ 0., 10., 30.]))

    Source:
      jax.lax.scan.
    """
    n, init, xs = common_length("scan", xs, length), snapshot(init), snapshot(xs)
    if checkpoint_every is not None and inspection.get() is None:
        return _blocks(f, init, xs, n, reverse, unroll, _positive(checkpoint_every))
    if is_staging():
        return _staged_scan(f, init, xs, n, reverse, unroll)
    if n == 0:
        carry, _ = settled(init, lambda c: eval_shape(f, c, tree.map(_row_aval, xs)))
        _, y = eval_shape(f, carry, tree.map(_row_aval, xs))
        return carry, tree.map(lambda a: np.zeros((0, *a.shape), a.dtype), y)
    ys: list[Any] = [None] * n

    def step(carry: Any, i: int) -> tuple[Any, Any]:
        return _pair(run(f, (carry, tree.map(lambda x: index(x, i), xs)), {}))

    numbers = range(n - 1, -1, -1) if reverse else range(n)
    carry, out = settled(init, lambda c: step(c, numbers[0]))
    for i in numbers:
        new, ys[i] = step(carry, i) if out is None else out
        carry, out = carried("scan: the carry", carry, new), None
    structure = tree.structure(ys[0])
    columns = zip(*(tree.leaves(y) for y in ys), strict=True)
    stacked = [stack(*[strengthen(y) for y in column], axis=0) for column in columns]
    return carry, tree.unflatten(structure, stacked)


def _pair(out: Any) -> tuple[Any, Any]:
    if not isinstance(out, tuple) or len(out) != 2:
        raise TypeError(f"scan: the function must return (carry, output), got {out!r:.80}.")
    return out


def _row_aval(x: Any) -> Aval:
    aval = aval_of(x)
    return Aval(aval.shape[1:], aval.dtype)


def _staged_scan(
    f: Any, init: Any, xs: Any, length: int, reverse: bool, unroll: int
) -> tuple[Any, Any]:
    init, _ = settled(init, lambda c: _pair(eval_shape(f, c, tree.map(_row_aval, xs))))
    carry, structure = tree.flatten(init)
    rows, row_structure = tree.flatten(xs)
    found: Any = None

    def body(*values: Any) -> list[Any]:
        nonlocal found
        old = tree.unflatten(structure, values[: len(carry)])
        new, y = _pair(run(f, (old, tree.unflatten(row_structure, values[len(carry) :])), {}))
        new = carried("scan: the carry", old, new)
        found = tree.structure(y)
        return [*tree.leaves(new), *tree.leaves(y)]

    avals = [*(aval_of(x) for x in carry), *(_row_aval(x) for x in rows)]
    graph, closed = stage_closed(body, [strong(a) for a in avals])
    out = scan_primitive(
        *carry,
        *rows,
        *closed,
        body=graph,
        carries=len(carry),
        rows=len(rows),
        length=length,
        reverse=reverse,
        unroll=unroll,
    )
    end, ys = out[: len(carry)], out[len(carry) :]
    return tree.unflatten(structure, end), tree.unflatten(found, ys)


def _positive(k: Any) -> int:
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise ValueError(f"scan: checkpoint_every must be a positive int, got {k!r}.")
    return int(k)


def _blocks(
    f: Any, init: Any, xs: Any, n: int, reverse: bool, unroll: int, k: int
) -> tuple[Any, Any]:
    """Loop over blocks of k steps, whose steps the backward pass runs again, and over the rest."""
    whole = n // k

    def block(size: int) -> Any:
        inner = lambda c, rows: scan(f, c, rows, size, reverse, unroll)  # noqa: E731
        return checkpoint(inner)

    def blocks(carry: Any) -> tuple[Any, Any]:
        carry, ys = _checkpointed(block(k), carry, _cut_rows(xs, whole, k), whole, reverse)
        return carry, _join_rows(ys)

    def rest(carry: Any) -> tuple[Any, Any]:
        return block(n - whole * k)(carry, tree.map(lambda x: index(x, slice(whole * k, n)), xs))

    if whole * k == n and n:
        return blocks(init)
    if not whole:
        return rest(init)
    if reverse:
        carry, last = rest(init)
        carry, ys = blocks(carry)
    else:
        carry, ys = blocks(init)
        carry, last = rest(carry)
    return carry, tree.map(lambda a, b: concatenate(a, b, axis=0), ys, last)


def _cut_rows(xs: Any, blocks: int, size: int) -> Any:
    """Return the first rows in blocks of the same size."""
    return tree.map(
        lambda x: reshape(
            index(x, slice(0, blocks * size)), shape=(blocks, size, *shape_of(x)[1:])
        ),
        xs,
    )


def _join_rows(ys: Any) -> Any:
    """Return the rows of blocks, one after the other."""
    return tree.map(
        lambda y: reshape(y, shape=(shape_of(y)[0] * shape_of(y)[1], *shape_of(y)[2:])), ys
    )


def _checkpointed(f: Any, init: Any, xs: Any, n: int, reverse: bool) -> tuple[Any, Any]:
    """Scan over blocks: staged, because one program serves them all, unless it needs values."""
    try:
        return _staged_scan(f, init, xs, n, reverse, 1)
    except ConcretizationError:
        return scan(f, init, xs, n, reverse)


def map(f: Callable[[Any], Any], xs: Any, *, batch_size: int | None = None) -> Any:
    """Apply a function to each row of arrays, one after the other, and stack the results.

    y_i = f(x_i): like vmap, but with the memory of one row.

    Args:
      f: Takes one row of xs (pytrees in and out).
      xs: Pytree of arrays of shape (n, ...).
      batch_size: If given, so many rows at a time go through vmap(f).

    Returns:
      Outputs with a leading axis of length n.

    Raises:
      ValueError: batch_size is not a positive int.

    Example:
      >>> import numpy as np
      >>> map(lambda x: x**2, np.array([1.0, 2.0, 3.0]))
      array([1., 4., 9.])

    Source:
      jax.lax.map.
    """
    n, xs = common_length("map", xs, None), snapshot(xs)
    if batch_size is None:
        return scan(lambda _, x: (None, f(x)), None, xs)[1]
    if type(batch_size) is not int or batch_size < 1:
        raise ValueError(f"map: batch_size must be a positive int, got {batch_size!r}.")
    whole = n // batch_size
    blocks = _cut_rows(xs, whole, batch_size)
    joined = _join_rows(scan(lambda _, x: (None, vmap(f)(x)), None, blocks)[1])
    if whole * batch_size == n:
        return joined
    rest = vmap(f)(tree.map(lambda x: index(x, slice(whole * batch_size, n)), xs))
    return tree.map(lambda a, b: concatenate(a, b, axis=0), joined, rest)


def fori_loop(lower: Any, upper: Any, body_fun: Callable[[Any, Any], Any], init_val: Any) -> Any:
    """Run a loop over integers with a carry.

    for i in lower ... upper - 1: val = body_fun(i, val); returns val.

    Args:
      lower: First integer.
      upper: One past the last integer.
      body_fun: Takes the integer and the carry, returns the new carry, which keeps its structure,
        shapes and dtypes. The integer, and what is computed of it and of Python's numbers alone,
        takes the dtype of the arrays beside it; passed to another function, it is an int64.
      init_val: The first carry.

    Returns:
      The last carry.

    Raises:
      CarryTypeError: The carry changes its structure, shape or dtype.

    Example:
      >>> fori_loop(0, 5, lambda i, total: total + i, 0)
      np.int64(10)

    Source:
      jax.lax.fori_loop.
    """
    init_val = snapshot(init_val)

    def body(i: Any, carry: Any) -> Any:
        return without_counters(run(body_fun, (as_counter(i), carry), {}))

    if is_unknown(lower) or is_unknown(upper):
        start = (cast(lower, np.int64), cast(upper, np.int64), init_val)
        step = lambda s: (s[0] + 1, s[1], body(s[0], s[2]))  # noqa: E731
        return while_loop(lambda s: s[0] < s[1], step, start)[2]
    first, n = int(lower), max(int(upper) - int(lower), 0)
    if is_staging():
        numbers = np.arange(first, first + n)
        return scan(lambda c, i: (body(i, c), None), init_val, numbers)[0]
    if n == 0:
        return tree.map(strengthen, init_val)
    turn = lambda i, c: (body(np.int64(i), c),)  # noqa: E731
    carry, out = settled(init_val, lambda c: turn(first, c))
    for i in range(first, first + n):
        (new,) = turn(i, carry) if out is None else out
        carry, out = carried("fori_loop: the carry", carry, new), None
    return carry


def while_loop(
    cond_fun: Callable[[Any], Any],
    body_fun: Callable[[Any], Any],
    init_val: Any,
    *,
    max_steps: int | None = None,
) -> Any:
    """Run a loop while a condition on the carry holds.

    while cond_fun(val): val = body_fun(val); returns val.

    Outside of jit, reverse mode works whatever the number of steps, which the tape records. Inside
    jit the number is unknown, so reverse mode needs an upper bound: max_steps.

    Args:
      cond_fun: Takes the carry, returns a bool of shape ().
      body_fun: Takes the carry, returns the new one, which keeps its structure, shapes and dtypes.
      init_val: The first carry.
      max_steps: If given, no more steps than this are done, and inside jit the loop is a scan of
        this length, which can be differentiated in reverse mode.

    Returns:
      The last carry.

    Raises:
      CarryTypeError: The carry changes its structure, shape or dtype, or the condition is no bool.

    Example:
      >>> while_loop(lambda x: x < 100, lambda x: 2 * x, 3)
      np.int64(192)

    Source:
      jax.lax.while_loop.
    """
    init_val = snapshot(init_val)
    if max_steps is not None and (is_staging() or is_unknown(run(cond_fun, (init_val,), {}))):
        return _bounded(cond_fun, body_fun, _settled(body_fun, init_val), max_steps)
    step = lambda c: (run(body_fun, (c,), {}),)  # noqa: E731
    carry, steps, out = init_val, 0, None
    while not is_staging():
        going = run(cond_fun, (carry if steps else as_numbers(carry),), {})
        if is_unknown(going):
            break
        if not _as_bool(going) or steps == max_steps:
            return tree.map(strengthen, carry)
        if steps == 0:
            carry, out = settled(carry, step)
        (new,) = step(carry) if out is None else out
        carry, out = carried("while_loop: the carry", carry, new), None
        steps += 1
    return _staged_while(cond_fun, body_fun, _settled(body_fun, carry))


def _settled(body_fun: Any, carry: Any) -> Any:
    """Return the carry with Python numbers as arrays of the type that the body gives them."""
    return settled(carry, lambda c: (eval_shape(body_fun, c),))[0]


def _as_bool(going: Any) -> bool:
    aval = aval_of(going)
    if aval.shape or aval.dtype != bool:
        raise TypeError(f"while_loop: the condition must be a bool of shape (), got {aval}.")
    return bool(going)


def _bounded(cond_fun: Any, body_fun: Any, carry: Any, max_steps: int) -> Any:
    """Run a fixed number of steps, which change nothing once the condition has failed."""
    # Steps after the end start afresh: the body never sees values it was not written for, whose
    # derivatives could be nan. But what it takes from other lanes must be their last values.
    afresh = not crosses_lanes(abstract(body_fun, (carry,), {})[0])

    def step(state: Any, _: Any) -> Any:
        old, going = state
        going = logical_and(going, cond_fun(old))
        start = tree.map(lambda a, b: where(going, a, b), old, carry) if afresh else old
        new = carried("while_loop: the carry", old, body_fun(start))
        return (tree.map(lambda a, b: where(going, b, a), old, new), going), None

    return scan(step, (carry, np.True_), None, max_steps)[0][0]


def _staged_while(cond_fun: Any, body_fun: Any, carry: Any) -> Any:
    leaves, structure = tree.flatten(carry)

    def condition(*values: Any) -> list[Any]:
        going = run(cond_fun, (tree.unflatten(structure, values),), {})
        aval = aval_of(going)
        if aval.shape or aval.dtype != bool:
            raise TypeError(f"while_loop: the condition must be a bool of shape (), got {aval}.")
        return [going]

    def body(*values: Any) -> list[Any]:
        old = tree.unflatten(structure, values)
        new = run(body_fun, (old,), {})
        return tree.leaves(carried("while_loop: the carry", old, new))

    avals = [strong(aval_of(x)) for x in leaves]
    cond_graph, first = stage_closed(condition, avals)
    body_graph, second = stage_closed(body, avals)
    out = while_primitive(
        *leaves, *first, *second, cond=cond_graph, body=body_graph, carries=len(leaves)
    )
    return tree.unflatten(structure, out)


def _scan_step(local: dict[str, Any]) -> str | None:
    numbers = local.get("numbers")  # a staged loop has none
    return None if numbers is None else f"step {local.get('i', numbers[0])} of scan"


def _while_step(local: dict[str, Any]) -> str | None:
    staged = "going" in local and is_unknown(local["going"])
    return None if staged else f"step {local['steps']} of while_loop"


def _fori_step(local: dict[str, Any]) -> str | None:
    first = local.get("first")
    return None if first is None else f"step {local.get('i', first)} of fori_loop"


FRAMES[scan.__code__] = _scan_step
FRAMES[while_loop.__code__] = _while_step
FRAMES[fori_loop.__code__] = _fori_step

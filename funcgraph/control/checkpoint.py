"""`checkpoint` (`remat`): compute again in the backward pass what would else be kept.

`saved_residuals` lists what is kept. May import `core`, `tree`, `transforms`, `control.rules`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from funcgraph import tree
from funcgraph.control.rules import Rules, call_with_rules
from funcgraph.core.aval import aval_of, dtype_of, is_inexact
from funcgraph.core.graph import Graph
from funcgraph.core.primitive import Linear, Primitive
from funcgraph.core.simplify import prune
from funcgraph.core.trace import KIND, NUMPY, TRACER
from funcgraph.errors import ConcretizationError, user_line
from funcgraph.ops.strong import finite_or, seeding
from funcgraph.transforms.arguments import name_of, positions, run, snapshot
from funcgraph.transforms.batching import Replicated
from funcgraph.transforms.gradient import vjp
from funcgraph.transforms.inspection import inspection
from funcgraph.transforms.linear import jvp
from funcgraph.transforms.partial import cached, split
from funcgraph.transforms.stage import are_finite, stage_closed, staged_safe
from funcgraph.transforms.tape import Tape, TapeTracer, unpack

__all__ = [
    "Residual",
    "ResidualList",
    "checkpoint",
    "checkpoint_policies",
    "remat",
    "saved_residuals",
]

Policy = Callable[[Primitive], bool]
_DOTS = frozenset(["matmul", "einsum_pair"])  # what the products of matrices are made of


class checkpoint_policies:  # noqa: N801  (the name JAX users know)
    """Which results a checkpoint keeps: functions of the operation's Primitive, for `policy=`.

    Example:
      >>> from funcgraph.ops.linalg import matmul
      >>> checkpoint_policies.dots_saveable(matmul)
      True

    Source:
      jax.checkpoint_policies.
    """

    @staticmethod
    def everything_saveable(primitive: Primitive) -> bool:
        """Keep what the backward pass reads, as without a checkpoint."""
        return True

    @staticmethod
    def nothing_saveable(primitive: Primitive) -> bool:
        """Keep the arguments only."""
        return False

    @staticmethod
    def dots_saveable(primitive: Primitive) -> bool:
        """Keep the results of matrix products, which cost the most to compute again."""
        return primitive.name in _DOTS


def checkpoint(
    fun: Callable[..., Any],
    *,
    policy: Policy | None = None,
    static_argnums: int | tuple[int, ...] = (),
) -> Callable[..., Any]:
    """Return the same function, whose intermediate values are not kept for the backward pass.

    Reverse mode keeps the arguments only, and runs the function again when it sweeps back over it:
    less memory for one more evaluation.

    Args:
      fun: A function of arrays (pytrees); it may close over traced values.
      policy: Says of an operation's Primitive whether its result is kept nevertheless:
        `checkpoint_policies`, or a function. None: nothing is kept. Functions that branch on
        values keep nothing, whatever the policy.
      static_argnums: Positions of arguments that are no arrays, such as flags and functions.

    Returns:
      A function of the same arguments with the same values and derivatives.

    Raises:
      CustomRuleError: fun branches on values and closes over traced ones: pass them as arguments.

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
        if inspection.get() is not None:
            return fun(*args, **kwargs)
        args, kwargs = snapshot((args, kwargs))
        fixed = positions(static_argnums, len(args))
        free = tuple(x for k, x in enumerate(args) if k not in fixed)
        leaves, structure = tree.flatten((free, kwargs))
        if not _traced(leaves):
            return fun(*args, **kwargs)
        found: Any = None

        def flat(*values: Any) -> list[Any]:
            nonlocal found
            new, new_kwargs = tree.unflatten(structure, values)
            rest = iter(new)
            new_args = [x if k in fixed else next(rest) for k, x in enumerate(args)]
            outs, found = tree.flatten(run(fun, new_args, new_kwargs))
            return [np.asarray(y)[()] if type(y) in (int, float, complex) else y for y in outs]

        try:  # what the function closes over becomes arguments
            graph, closed = stage_closed(flat, [aval_of(x) for x in leaves])
        except ConcretizationError:  # it branches on values: it must not close over traced ones
            outs = call_with_rules(_rules(flat, name_of(fun)), leaves)
        else:
            rules = _rules(graph.run, name_of(fun))
            if policy not in (None, checkpoint_policies.nothing_saveable):
                rules = _saving(rules, graph, policy)
            outs = call_with_rules(rules, [*leaves, *closed])
        return tree.unflatten(found, outs)

    return wrapped


remat = checkpoint


def _batch_barrier(primitive: Any, size: int, args: Any, batched: Any, attrs: Any) -> Any:
    out = primitive(*args)
    return out if batched[0] else Replicated(out)


def _behind(jax: Any, x: Any, *others: Any) -> Any:
    """Return x, but as something that is computed from the others; of none, on a CPU, in memory.

    On a CPU, XLA drops its barriers before it looks for what stands twice. There, a zero is added
    to the bits of x that is computed from bits of another value, by operations through which XLA
    does not see; so jax.checkpoint has no effect on a CPU, and ours has.
    """
    if not any(isinstance(y, jax.core.Tracer) for y in (x, *others)):
        return x
    if not others:
        return jax.lax.platform_dependent(x, cpu=jax.lax.optimization_barrier, default=lambda x: x)
    bits = jax.lax.bitcast_convert_type

    def plain(x: Any, *others: Any) -> Any:
        return jax.lax.optimization_barrier((x, *others))[0]

    def opaque(x: Any, first: Any) -> Any:
        number = bits(jax.numpy.ravel(first)[0].astype(np.float32), np.uint32)
        zero = jax.lax.shift_right_logical(number & np.uint32(1), np.uint32(1))
        integer = np.dtype(f"uint{8 * x.dtype.itemsize}")
        return bits(bits(x, integer) ^ zero.astype(integer), x.dtype)

    @jax.custom_jvp
    def hidden(x: Any, *others: Any) -> Any:
        if not (_is_real(x) and any(map(_is_real, others))):
            return plain(x, *others)
        cpu = lambda x, *others: opaque(x, next(filter(_is_real, others)))  # noqa: E731
        return jax.lax.platform_dependent(x, *others, cpu=cpu, default=plain)

    hidden.defjvp(lambda primals, tangents: (hidden(*primals), tangents[0]))
    return hidden(x, *others)


def _is_real(x: Any) -> bool:
    return x.size > 0 and x.dtype.kind == "f" and x.dtype.itemsize in (2, 4, 8)


# x, and nothing else: but not before the other arguments are there. Where a graph is cut into a
# forward and a backward pass, what is computed from it belongs to the backward pass; and it is not
# taken for what the forward pass has computed from x itself.
barrier = Primitive(
    "barrier",
    lambda x, *_: x,
    _behind,
    lambda x, *_: x,
    Linear(lambda g, x, *_: g),
    _batch_barrier,
)


def _later(held: Sequence[Any], cts: Sequence[Any]) -> list[Any]:
    """Return what was kept, for use in the backward pass."""
    given = [ct for ct in cts if ct is not None]
    return [barrier(x, *given) for x in held]


def _traced(leaves: Sequence[Any]) -> bool:
    return any(KIND[type(x)] == TRACER for x in leaves)


def _rules(run_flat: Callable[..., Sequence[Any]], name: str) -> Rules:
    """Return rules that keep the arguments, and differentiate the function when it is asked for."""

    def together(*xs: Any) -> tuple[Any, ...]:
        return tuple(run_flat(*xs))

    def fwd(*xs: Any) -> Any:
        if any(type(x) is TapeTracer for x in xs):
            return call_with_rules(rules, xs), []  # an outer derivative keeps no more, either
        if _traced(xs):  # an outer forward mode goes through what reverse mode does inside
            return vjp(together, *xs)[0], []
        return together(*xs), []

    def bwd(held: Any, cts: Any) -> list[Any]:
        held = _later(held, cts)
        found = vjp(together, *held)[1](tuple(cts))
        pairs = zip(found, held, strict=True)
        return [ct if is_inexact(dtype_of(x)) else None for ct, x in pairs]

    def tangents(xs: Any, ts: Any) -> Any:
        outs, changes = jvp(together, tuple(xs), tuple(ts))
        pairs = zip(changes, outs, strict=True)
        return outs, tuple(t if is_inexact(dtype_of(y)) else None for t, y in pairs)

    rules = Rules(together, fwd, bwd, tangents, name)
    return rules


# --- policies ------------------------------------------------------------------------------------


class _Plan(NamedTuple):
    """The passes of a graph, some of whose values are kept."""

    forward: Graph  # inputs -> outputs, kept values
    again: Graph  # inputs, kept values -> what the backward pass reads
    backward: Graph  # cotangents of the outputs, what it reads -> cotangents of varying inputs


def _plan(graph: Graph, policy: Policy, safe: bool) -> _Plan:
    flags = tuple(is_inexact(v.aval.dtype) for v in graph.inputs)
    passes = split(graph, flags, safe)
    ahead = passes.forward
    n = len(graph.outputs)
    places = (*ahead.inputs, *ahead.outputs[n:])
    reads = tuple(places[k] for k in passes.sources)
    kept = [v for e in ahead.equations if policy(e.primitive) for v in e.outputs]
    rest = [e for e in ahead.equations if not policy(e.primitive)]
    again = prune(Graph(ahead.inputs, tuple(rest), reads, ahead.constants))
    used = {v for e in again.equations for v in e.inputs} | set(reads)
    saved = tuple(v for v in kept if v in used)
    return _Plan(
        prune(Graph(ahead.inputs, ahead.equations, ahead.outputs[:n] + saved, ahead.constants)),
        Graph((*again.inputs, *saved), again.equations, again.outputs, again.constants),
        passes.backward,
    )


def _saving(rules: Rules, graph: Graph, policy: Policy) -> Rules:
    """Return rules that also keep the values a policy names."""
    n, inputs = len(graph.outputs), graph.inputs

    def plan(safe: bool) -> _Plan:
        return cached(graph, (policy, safe), lambda: _plan(graph, policy, safe))

    def fwd(*xs: Any) -> Any:
        values = plan(False).forward.run(*xs)
        return values[:n], values[n:]

    def pull(held: Any, cts: Any, safe: bool) -> list[Any]:
        _, again, backward = plan(safe)
        if safe:  # rare: what was kept for the usual backward pass may not be what it reads
            held = (*held[: len(inputs)], *plan(True).forward.run(*held[: len(inputs)])[n:])
        return backward.run(*cts, *again.run(*held))

    def bwd(held: Any, cts: Any) -> list[Any]:
        held = _later(held, cts)
        found = pull(held, cts, False)
        if staged_safe() or not are_finite(found):
            strong = pull(held, list(map(seeding.get(), cts)), True)
            found = list(map(finite_or, strong, found))
        rest = iter(found)
        return [next(rest) if is_inexact(v.aval.dtype) else None for v in inputs]

    return Rules(rules.fun, fwd, bwd, rules.jvp, rules.name)


# --- what is kept --------------------------------------------------------------------------------


class Residual(NamedTuple):
    """An array that is kept for the backward pass.

    Attributes:
      shape: Lengths of its axes.
      dtype: Type of its elements.
      bytes: The memory it keeps alive (of a view: that of the array it looks into).
      operation: The primitive it is the result of, or "argument" or "constant"; of a value made in
        the forward pass of a loop, a compiled function or a custom rule, the primitive of that.
      line: `file:line` of that operation; of an argument or constant, of the first operation that
        keeps it.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    bytes: int
    operation: str
    line: str


class ResidualList(list[Residual]):
    """A list of residuals, the largest first, which prints as a table."""

    @property
    def bytes(self) -> int:
        """The sum of the bytes."""
        return sum(r.bytes for r in self)

    def __str__(self) -> str:
        rows = [(f"{r.bytes:,}", _typed(r), r.operation, r.line) for r in self]
        rows = [("bytes", "type", "operation", "line"), *rows, (f"{self.bytes:,}", "total", "", "")]
        first, second, third = (max(len(row[k]) for row in rows) for k in range(3))
        return "\n".join(
            f"{a:>{first}}  {b:<{second}}  {c:<{third}}  {d}".rstrip() for a, b, c, d in rows
        )


def _typed(r: Residual) -> str:
    return f"{r.dtype}[{','.join(map(str, r.shape))}]"


class _Recorder(Tape):
    """A tape that notes which operation made a value, and the user's line of every entry."""

    __slots__ = ("lines", "made", "values")

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[int, str] = {}  # by entry
        self.made: dict[int, tuple[str, str]] = {}  # by identity of the value
        self.values: list[Any] = []  # kept alive, so that identities stay theirs

    def note(self, primitive: Primitive, out: Any) -> Any:
        """Note where the results of an operation come from, and return them."""
        line = user_line()
        for t in out if primitive.many else (out,):
            if type(t) is TapeTracer and t._trace is self:
                self.lines[t.index] = line
                self.made.setdefault(id(t.value), (primitive.name, line))
                self.values.append(t.value)
        return out

    def unary(self, primitive: Primitive, x: TapeTracer) -> Any:
        """Apply a primitive of one argument and record it."""
        return self.note(primitive, super().unary(primitive, x))

    def binary(self, primitive: Primitive, x: Any, y: Any) -> Any:
        """Apply a primitive of two arguments and record it."""
        return self.note(primitive, super().binary(primitive, x, y))

    def process(self, primitive: Primitive, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """Apply any primitive and record it."""
        return self.note(primitive, super().process(primitive, args, attrs))


def saved_residuals(fun: Callable[..., Any]) -> Callable[..., ResidualList]:
    """Return a function that lists what reverse mode of `fun` keeps for the backward pass.

    Args:
      fun: A function of arrays (pytrees); it is differentiated by all floating-point leaves.

    Returns:
      A function of the same arguments that returns a list of Residual, the largest first, each
      array once; `str` of the list is a table, and `list.bytes` the sum.

    Example:
      >>> import numpy as np
      >>> f = lambda x: np.sum(np.sin(x) ** 2)
      >>> [(r.operation, r.shape, r.bytes) for r in saved_residuals(f)(np.ones(1000))]
      [('argument', (1000,), 8000), ('sin', (1000,), 8000)]
      >>> saved_residuals(checkpoint(f))(np.ones(1000)).bytes
      8008

    Source:
      jax.ad_checkpoint.print_saved_residuals.
    """

    @functools.wraps(fun)
    def wrapped(*args: Any, **kwargs: Any) -> ResidualList:
        tape = _Recorder()
        leaves, structure = tree.flatten((args, kwargs))
        traced = [tape.watch(x) if is_inexact(dtype_of(x)) else x for x in leaves]
        new_args, new_kwargs = tree.unflatten(structure, traced)
        try:
            run(fun, new_args, new_kwargs)
        finally:
            entries = tape.end()
        for x in leaves:
            tape.made[id(_owner(x))] = ("argument", "")
        return _kept(tape, entries)

    return wrapped


def _kept(tape: _Recorder, entries: list[Any]) -> ResidualList:
    found: dict[int, Residual] = {}
    for k, entry in enumerate(entries):
        if entry is None:
            continue
        primitive, y, values, _, _ = unpack(entry)
        for x in (*(y if primitive.many else (y,)), *values):
            owner = _owner(x)
            if _is_array(x) and id(owner) not in found:
                other = ("constant" if primitive.augment is None else primitive.name, "")
                made = tape.made.get(id(owner)) or tape.made.get(id(x), other)
                line = made[1] or tape.lines.get(k, "")
                shape, dtype = tuple(x.shape), np.dtype(x.dtype)
                found[id(owner)] = Residual(shape, dtype, owner.nbytes, made[0], line)
    return ResidualList(sorted(found.values(), key=lambda r: -r.bytes))


def _is_array(x: Any) -> bool:
    return KIND[type(x)] != NUMPY or isinstance(x, np.ndarray | np.generic)


def _owner(x: Any) -> Any:
    """Return the array whose memory x looks into."""
    while isinstance(x, np.ndarray) and isinstance(x.base, np.ndarray):
        x = x.base
    return x

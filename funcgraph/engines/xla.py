"""The XLA engine: runs a Graph inside one jax.jit. The only module that imports JAX.

NumPy's dtypes are kept whatever JAX's x64 flag says: the graph is staged and called with it on.
May import `core`, `tree`.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from funcgraph import tree
from funcgraph.core.aval import Aval, is_inexact
from funcgraph.core.budget import MemoryReport, planned, refusal
from funcgraph.core.calls import inlined
from funcgraph.core.diagonal import scaled
from funcgraph.core.graph import Graph
from funcgraph.core.hoist import hoist
from funcgraph.core.remat import Options
from funcgraph.core.simplify import simplify
from funcgraph.core.transposed import untransposed, written_out
from funcgraph.engines.dtypes import converted
from funcgraph.errors import MemoryBudgetError, MissingPackageError
from funcgraph.tree.structure import is_simple

try:
    import jax
    from jax.extend.core import Primitive
    from jax.interpreters import ad, batching, mlir
except ImportError as error:  # pragma: no cover
    raise MissingPackageError(
        "backend='xla' needs JAX, which is not installed: pip install 'funcgraph[xla]'."
    ) from error

__all__ = ["Direct", "Program", "asarray", "call", "compile_graph", "lower", "memory_of"]


_reports: weakref.WeakKeyDictionary[Graph, dict[Any, MemoryReport]] = weakref.WeakKeyDictionary()
_TRIES = 3
_SMALL = 64  # elements of a constant that is embedded as it is


def memory_of(
    graph: Graph, memory_budget: int | None = None, donate_argnums: Any = (), **options: Any
) -> MemoryReport:
    """Return how much memory the program needs that compile_graph makes.

    With a budget, the program is compiled, and XLA asked what it needs: if that is more, since it
    keeps values in another layout too, or computes in another order, the aim is set lower.

    Raises:
      MemoryBudgetError: No program was found that stays within the budget.
    """
    known = _reports.setdefault(graph, {})
    key = (memory_budget, donate_argnums)
    if key not in known:
        known[key] = _planned(graph, memory_budget, donate_argnums, options)
    return known[key]


def _prepared(graph: Graph) -> Graph:
    """Return an equal graph that XLA compiles to faster code, and that computes as NumPy does."""
    return converted(_optimized(graph))


def _optimized(graph: Graph) -> Graph:
    return written_out(hoist(scaled(untransposed(simplify(graph)))))


def _planned(graph: Graph, budget: int | None, donated: Any, options: Any) -> MemoryReport:
    if budget is None:
        return planned(_prepared(graph), None, Options(donated, barrier=True, ahead=True))
    graph, aim = _prepared(inlined(graph, "xla")), budget
    for _ in range(_TRIES):
        report = planned(graph, aim, Options(donated, barrier=True, ahead=True), budget)
        measured = _measured(report.graph, {"donate_argnums": donated, **options})
        report = replace(report, measured=measured)
        if measured is None or measured <= budget:
            return report
        aim = int(0.98 * aim * budget / measured)
    raise MemoryBudgetError(refusal(report))


def _measured(graph: Graph, options: dict[str, Any]) -> int | None:
    """Return the bytes that XLA's program needs; None if this platform does not say."""
    avals = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in graph.inputs]
    with jax.enable_x64(True):
        found = jax.jit(_runner(graph), **options).lower(*avals).compile().memory_analysis()
    if found is None:
        return None
    sizes = found.argument_size_in_bytes, found.output_size_in_bytes, found.temp_size_in_bytes
    return int(sum(sizes) - found.alias_size_in_bytes)


def _outputs(graph: Graph, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the outputs of a graph, as JAX's arrays or tracers."""
    constants = {v: _computed(value) for v, value in graph.constants.items()}
    outs = Graph(graph.inputs, graph.equations, graph.outputs, constants).run(*inputs)
    return tuple(map(jax.numpy.asarray, outs))


def _runner(graph: Graph) -> Callable[..., tuple[Any, ...]]:
    """Return the function that jax.jit compiles; the same one for the same graph."""
    if graph not in _runners:
        known = weakref.ref(graph)  # the key must not be kept alive by the value

        def run(*inputs: Any) -> tuple[Any, ...]:
            found = known()
            assert found is not None
            return _outputs(found, inputs)

        _runners[graph] = run
    return _runners[graph]


_runners: weakref.WeakKeyDictionary[Graph, Callable[..., Any]] = weakref.WeakKeyDictionary()


def _program(graph: Graph, options: dict[str, Any]) -> Callable[..., tuple[Any, ...]]:
    """Return what jax.jit compiles; take the budget out of its options."""
    budget = options.pop("memory_budget", None)
    if budget is not None:
        return _runner(memory_of(graph, budget, **options).graph)
    graph = _prepared(graph)
    return lambda *inputs: _outputs(graph, inputs)


def _computed(value: Any) -> Any:
    """Return the constant; computed, if each row is one number at one place, and another beside.

    Such are the seeds of a Jacobian, and what staging makes of them by slices, padding and factors.
    Within a loop XLA computes an element faster than it reads it, and the program stays small.
    """
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fc":
        return value
    if value.size < _SMALL or 0 in value.strides:
        return value
    matrix = value.reshape(next(n for n in value.shape if n > 1), -1)
    if matrix.shape[1] == 1 or not 0 < np.count_nonzero(matrix) <= len(matrix):
        return value
    rows, columns = matrix.nonzero()
    places = np.full((len(matrix), 1), -1, np.int32)
    places[rows, 0] = columns
    mask = places == np.arange(matrix.shape[1])
    on, beside = matrix[rows[0], columns[0]], matrix[~mask][0]
    if np.where(mask, on, beside).tobytes() != value.tobytes():  # 0.0 and -0.0 differ
        return value
    along = jax.lax.broadcasted_iota(np.int32, matrix.shape, 1)
    return jax.numpy.where(places == along, on, beside).reshape(value.shape)


def compile_graph(graph: Graph, **options: Any) -> Callable[..., tuple[Any, ...]]:
    """Return a function of the graph's inputs that returns the tuple of its outputs (JAX arrays).

    Args:
      graph: The program.
      **options: `memory_budget`: bytes that may be alive at one time. Others are passed on to
        jax.jit (donate_argnums, device, in_shardings, out_shardings).

    Raises:
      MemoryBudgetError: The budget is too small.
    """
    program = _program(graph, options)
    compiled = jax.jit(program, **options)

    def run(*inputs: Any) -> tuple[Any, ...]:
        with jax.enable_x64(True):
            return compiled(*map(_native, inputs))  # type: ignore[no-any-return]

    return run


def _native(x: Any) -> Any:
    """Return the input; of an array in another byte order, which JAX refuses, a copy in ours."""
    swapped = type(x) is np.ndarray and not x.dtype.isnative
    return x.astype(x.dtype.newbyteorder("=")) if swapped else x


def asarray(x: Any) -> Any:
    """Return an array of JAX's with NumPy's dtype."""
    with jax.enable_x64(True):
        return jax.numpy.asarray(x)


def lower(graph: Graph, inputs: list[Any], **options: Any) -> Any:
    """Return JAX's lowered form of what compile_graph runs, for arguments like these."""
    program = _program(graph, options)
    with jax.enable_x64(True):
        return jax.jit(program, **options).lower(*inputs)


# --- calls ---------------------------------------------------------------------------------------


class _RefusedError(TypeError):
    """A call has to take the long way."""


class Direct:
    """All programs of a function behind one jax.jit, which gets the user's arguments as they are.

    JAX's own code, in C++, takes the arguments apart, finds the program, and puts the result
    together: in Python that takes longer than many a program runs. So nothing is looked at before.
    What JAX finds no program for, it traces; `stage` says what runs. What it refuses (a TypeError)
    takes the long way: tracers of funcgraph, structures that JAX takes apart otherwise, errors.

    Args:
      stage: Returns for args and kwargs (which hold tracers of JAX) a graph, its inputs, their
        structure and that of its outputs; None if the program is for one call alone.
      options: For jax.jit.
    """

    def __init__(self, stage: Callable[[Any, Any], Any], options: dict[str, Any]) -> None:
        wide = jax.config.jax_enable_x64  # the user's: what functions of JAX make is of its dtypes

        def program(*args: Any, **kwargs: Any) -> Any:
            if not jax.config.jax_enable_x64:  # it was on when `run` was chosen
                raise _RefusedError
            try:
                with jax.ensure_compile_time_eval(), jax.enable_x64(wide):
                    found = stage(args, kwargs)
            except Exception:  # the long way raises it without JAX's words
                raise _RefusedError from None
            if found is None or not all(is_simple(structure.spec) for structure in found[2:]):
                self._refused = True
                raise _RefusedError
            graph, leaves, _, outputs = found
            return tree.unflatten(outputs, _program(graph, {})(*leaves))

        self._jitted = jax.jit(program, **options)
        self._refused = False
        self.run = self._jitted if wide else self.careful

    def careful(self, *args: Any, **kwargs: Any) -> Any:
        """Run, but refuse tracers, those of JAX too; whatever JAX's x64 flag says."""
        plain = _types_of_numbers().issuperset
        flat = not kwargs and plain(map(type, args))  # mostly, and then it is known soon
        if not flat and not plain(map(type, jax.tree_util.tree_leaves((args, kwargs)))):
            raise _RefusedError
        if self._refused:
            raise _RefusedError
        if jax.config.jax_enable_x64:
            return self._jitted(*args, **kwargs)
        with jax.enable_x64(True):
            return self._jitted(*args, **kwargs)


@functools.cache
def _types_of_numbers() -> frozenset[type]:
    """Return the types of arrays and numbers; those of tracers are none of them."""
    with jax.ensure_compile_time_eval():
        array = type(jax.numpy.zeros(()))
    return frozenset((array, np.ndarray, bool, int, float, complex, *np.sctypeDict.values()))


# --- a graph as an operation of JAX, with rules of ours -------------------------------------------


class Program(Protocol):
    """A graph that says which programs are its derivative, its transpose and its batches."""

    outputs: tuple[Aval, ...]
    linear: int

    @property
    def graph(self) -> Graph: ...  # noqa: D102
    @property
    def transpose(self) -> Program: ...  # noqa: D102

    def derivative(self, varying: Any) -> tuple[Program, tuple[int, ...], Program]: ...  # noqa: D102
    def batched(self, size: int, batched: Any) -> Program: ...  # noqa: D102


_call = Primitive("funcgraph")
_call.multiple_results = True


def call(program: Program, *inputs: Any) -> list[Any]:
    """Run a program on arrays or tracers of JAX, whose transformations use its rules."""
    return _call.bind(*inputs, program=program)  # type: ignore[no-any-return]


def _dtypes(program: Program) -> list[Any]:
    return [jax.dtypes.canonicalize_dtype(a.dtype) for a in program.outputs]


def _run(*inputs: Any, program: Program) -> list[Any]:
    wide = jax.config.jax_enable_x64  # without it the user asks for JAX's dtypes
    graph = _prepared(program.graph) if wide else _optimized(program.graph)
    outs = zip(_outputs(graph, inputs), _dtypes(program), strict=True)
    return [jax.numpy.asarray(x, dtype) for x, dtype in outs]


def _avals(*inputs: Any, program: Program) -> list[Any]:
    outs = zip(program.outputs, _dtypes(program), strict=True)
    return [jax.core.ShapedArray(a.shape, dtype) for a, dtype in outs]


def _jvp(primals: Any, tangents: Any, program: Program) -> tuple[list[Any], list[Any]]:
    varying = tuple(type(t) is not ad.Zero for t in tangents)
    known = len(primals) - program.linear
    if program.linear and not any(varying[:known]):
        outs = call(program, *primals)
        dots = call(program, *primals[:known], *map(ad.instantiate_zeros, tangents[known:]))
        return outs, dots
    forward, sources, push = program.derivative(varying)
    found = call(forward, *primals)
    outs, values = found[: len(program.outputs)], (*primals, *found[len(program.outputs) :])
    moving = [t for t, flag in zip(tangents, varying, strict=True) if flag]
    some = iter(call(push, *(values[k] for k in sources), *moving))
    return outs, [next(some) if is_inexact(y.dtype) else _zero(y) for y in outs]


def _zero(y: Any) -> Any:
    return ad.Zero(jax.typeof(y).to_tangent_aval())


def _transpose(cts: Any, *inputs: Any, program: Program) -> list[Any]:
    unknown = [ad.is_undefined_primal(x) for x in inputs]
    given = [ad.instantiate_zeros(ct) for ct in cts]
    known = len(inputs) - program.linear
    if any(unknown[:known]):  # the user's own jax.linear_transpose: JAX sees whether it is linear
        return _transposed_by_jax(given, inputs, unknown, program)
    found = iter(call(program.transpose, *inputs[:known], *given))
    return [None] * known + [
        ct if u else None for ct, u in zip(found, unknown[known:], strict=True)
    ]


def _transposed_by_jax(cts: Any, inputs: Any, unknown: list[bool], program: Program) -> list[Any]:
    def linear(*some: Any) -> list[Any]:
        rest = iter(some)
        return _run(
            *(next(rest) if u else x for x, u in zip(inputs, unknown, strict=True)), program=program
        )

    shapes = [x.aval for x, u in zip(inputs, unknown, strict=True) if u]
    found = iter(jax.linear_transpose(linear, *shapes)(cts))
    return [next(found) if u else None for u in unknown]


def _batch(inputs: Any, axes: Any, program: Program) -> tuple[list[Any], list[int]]:
    size = next(x.shape[a] for x, a in zip(inputs, axes, strict=True) if a is not None)
    known = len(inputs) - program.linear
    lanes = []
    for k, (x, axis) in enumerate(zip(inputs, axes, strict=True)):
        if axis is not None:
            lanes.append(jax.numpy.moveaxis(x, axis, 0))
        else:  # tangents get a batch axis: then the transpose need not sum over lanes
            lanes.append(jax.numpy.broadcast_to(x, (size, *x.shape)) if k >= known else x)
    batched = tuple(a is not None or k >= known for k, a in enumerate(axes))
    outs = call(program.batched(size, batched), *lanes)
    return outs, [0] * len(outs)


_call.def_impl(_run)
_call.def_abstract_eval(_avals)
ad.primitive_jvps[_call] = _jvp
ad.primitive_transposes[_call] = _transpose
batching.primitive_batchers[_call] = _batch
mlir.register_lowering(_call, mlir.lower_fun(_run, multiple_results=True))

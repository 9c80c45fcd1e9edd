"""Staging: from a Python function to a Graph, by running it on tracers that know only shapes.

`make_graph` and `eval_shape` for users; `stage` for other transformations.
May import `core`, `ops`, `tree`, `transforms.arguments`.
"""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgraph import tree
from funcgraph.core.aval import Aval, aval_of
from funcgraph.core.calls import CALLS, Call
from funcgraph.core.graph import Atom, Equation, Graph, Var
from funcgraph.core.jaxlink import jax_name
from funcgraph.core.origin import named, origin, replayed
from funcgraph.core.primitive import REGISTRY, Primitive
from funcgraph.core.trace import JAX, KIND, TRACER, Trace, Tracer, refuse_leak
from funcgraph.errors import ConcretizationError
from funcgraph.ops.strong import as_given, seeding
from funcgraph.transforms.arguments import all_finite, run
from funcgraph.transforms.inspection import inspection

__all__ = [
    "Stage",
    "StageTracer",
    "StrongZeros",
    "abstract",
    "are_finite",
    "eval_shape",
    "is_staging",
    "make_graph",
    "stage",
    "stage_closed",
    "staged_safe",
    "strong_zeros",
]


class StrongZeros:
    """How derivatives are staged, and which were.

    Attributes:
      safe: Whether zeros are strong (`ops.strong`).
      derivatives: What should be finite, and has no value yet.
    """

    __slots__ = ("derivatives", "safe")

    def __init__(self, safe: bool) -> None:
        self.safe = safe
        self.derivatives: list[StageTracer] = []


# Set while a function is staged whose results are looked at for nan (jit on NumPy).
strong_zeros: contextvars.ContextVar[StrongZeros | None] = contextvars.ContextVar(
    "strong_zeros", default=None
)
_depth: contextvars.ContextVar[int] = contextvars.ContextVar("depth", default=0)


class StageTracer(Tracer):
    """A variable of the graph that is being built."""

    __slots__ = ("aval", "variable")

    _trace: Stage
    aval: Aval
    variable: Var

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """Lengths of the axes."""
        return self.aval.shape

    @property
    def dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        """Type of the elements."""
        return self.aval.dtype

    def concrete(self) -> Any:
        """Return the value, where one is known."""
        return self._trace.value_of(self)


class Stage(Trace):
    """The trace that writes equations."""

    __slots__ = ("constants", "equations", "kept")

    def __init__(self) -> None:
        super().__init__()
        self.equations: list[Equation] = []
        self.constants: dict[Var, Any] = {}
        self.kept: dict[int, tuple[Any, Var]] = {}  # by identity; the value keeps the id alive

    def tracer(self, aval: Aval, name: str = "") -> StageTracer:
        """Return a tracer of a new variable."""
        out = StageTracer()
        out.aval = aval
        out.variable = Var(aval, name)
        out._trace = self
        return out

    def atom(self, x: Any) -> Atom:
        """Return what stands for a value in an equation; a new array becomes a constant."""
        if type(x) is StageTracer and x._trace is self:
            return x.variable
        if type(x) in (bool, int, float, complex):
            return x  # type: ignore[no-any-return]
        if (whole := _transposed(x)) is not None:
            axes = tuple(range(x.ndim))[::-1]
            found: StageTracer = self.process(REGISTRY["transpose"], (whole,), {"axes": axes})
            return found.variable
        writable = type(x) is np.ndarray and x.flags.writeable
        if id(x) in self.kept:
            var = self.kept[id(x)][1]
            # A buffer that was filled once more is another constant.
            if not writable or x.tobytes() == self.constants[var].tobytes():
                return var
        var = Var(aval_of(x), _name_outside(x))
        # A copy: what the user writes into the array later is not part of the program.
        self.constants[var] = x.copy() if writable else x
        self.kept[id(x)] = x, var
        return var

    def value_of(self, tracer: StageTracer) -> Any:
        """Refuse: there are no values yet."""
        raise ConcretizationError(
            f"while a function is staged (jit, scan, make_graph, ...), an array of shape "
            f"{tracer.shape} and dtype {tracer.dtype} has no value yet, so Python cannot branch on "
            "it, and no shape can depend on it. Use np.where, funcgraph.cond, or "
            "funcgraph.while_loop; or mark the argument it comes from as static."
        )

    def process(self, primitive: Primitive, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """Write the equation of an operation."""
        if not self.alive:
            refuse_leak()
        out = primitive.abstract(*args, **attrs)
        tracers = tuple(map(self.tracer, out)) if primitive.many else (self.tracer(out),)
        inputs = tuple(map(self.atom, args))
        results = tuple([t.variable for t in tracers])
        again = replayed.get()
        if again is not None and again.primitive is primitive:
            # A loop that is differentiated has further outputs, behind its own.
            names = named.get()
            for v, old in zip(results, again.outputs, strict=False):
                v.name = old.name
                if names is not None and old in names.depths:
                    names.depths[v] = names.depths[old]
        self.equations.append(Equation(primitive, inputs, results, attrs, *origin()))
        return tracers if primitive.many else tracers[0]


def _name_outside(x: Any) -> str:
    """Return what the user calls a value that is closed over, if that is known."""
    if type(x) is StageTracer:
        return x.variable.name
    names = named.get()
    array, name = (None, "") if names is None else names.arrays.get(id(x), (None, ""))
    return name if array is x else ""


def _transposed(x: Any) -> Any:
    """Return the array that the user has a name for, if x is its transpose; None otherwise."""
    names = named.get()
    if names is None or type(x) is not np.ndarray or x.ndim < 2:
        return None
    for array, _ in names.arrays.values():
        same = (x.shape, x.strides) == (array.shape[::-1], array.strides[::-1])
        if same and x is not array and np.may_share_memory(x, array):
            return array
    return None


def stage(
    fun: Callable[..., Sequence[Any]], avals: Sequence[Aval], trace: Stage | None = None
) -> Graph:
    """Return the graph of a function of flat arguments that returns a flat list."""
    trace = Stage() if trace is None else trace
    tracers = [trace.tracer(a) for a in avals]
    token, outer = _depth.set(_depth.get() + 1), replayed.set(None)
    watched = inspection.set(None)  # there are no values to inspect
    try:
        outs = fun(*tracers)
        outputs = tuple(trace.atom(x) for x in outs)
    finally:
        _depth.reset(token)
        replayed.reset(outer)
        inspection.reset(watched)
        trace.alive = False
    inputs = tuple(t.variable for t in tracers)
    return Graph(inputs, tuple(trace.equations), outputs, trace.constants)


def _is_traced(x: Any) -> bool:
    kind = KIND[type(x)]
    return kind == TRACER or (kind == JAX and issubclass(type(x), jax_name("jax.core.Tracer")))


def staged_safe() -> bool:
    """Return whether derivatives are to be staged with strong zeros."""
    plan = strong_zeros.get()
    return (plan is not None and plan.safe) or seeding.get() is as_given


def are_finite(derivatives: list[Any]) -> bool:
    """Return whether all derivatives are finite; note those that have no value yet."""
    plan = strong_zeros.get()
    if plan is not None:
        for x in derivatives:
            while hasattr(x, "value"):  # of another transformation
                x = x.value
            if type(x) is StageTracer:
                plan.derivatives.append(x)
    return all_finite(derivatives)


def is_staging() -> bool:
    """Return whether a function is being staged in this thread: then loops become equations."""
    return _depth.get() > 0


def stage_closed(
    fun: Callable[..., Sequence[Any]], avals: Sequence[Aval]
) -> tuple[Graph, list[Any]]:
    """Return the graph of a function, and the tracers it closes over: further, last inputs.

    Tracers of JAX are among them.
    """
    graph = stage(fun, avals)
    closed = {v: x for v, x in graph.constants.items() if _is_traced(x)}
    rest = {v: x for v, x in graph.constants.items() if v not in closed}
    graph = Graph((*graph.inputs, *closed), graph.equations, graph.outputs, rest)
    return graph, list(closed.values())


def _custom_calls(e: Equation) -> list[Call]:
    """Return the graph of a function with rules of its own, which its equation holds unstaged."""
    avals = [v.aval if isinstance(v, Var) else aval_of(v) for v in e.inputs]
    graph = stage_closed(e.attrs["rules"].fun, avals)[0]
    return [Call("rules", graph, tuple(v.aval for v in graph.inputs), graph.output_avals)]


CALLS["custom_call"] = _custom_calls


def abstract(fun: Callable[..., Any], args: Any, kwargs: Any) -> tuple[Graph, Any]:
    """Return the graph of fun for arguments like these, and the structure of its output."""
    leaves, structure = tree.flatten((args, kwargs))
    found = None

    def flat(*tracers: Any) -> list[Any]:
        nonlocal found
        new_args, new_kwargs = tree.unflatten(structure, tracers)
        outs, found = tree.flatten(run(fun, new_args, new_kwargs))
        return outs

    return stage(flat, [aval_of(x) for x in leaves]), found


def make_graph(fun: Callable[..., Any]) -> Callable[..., Graph]:
    """Return a function that computes the graph of `fun` instead of its value.

    Args:
      fun: A function of arrays (pytrees).

    Returns:
      A function of the same arguments (arrays, or ShapeDtype) that returns a Graph, whose inputs
      and outputs are the leaves of the arguments and of the output.

    Raises:
      ConcretizationError: Python control flow in fun depends on values.

    Example:
      >>> import numpy as np
      >>> print(make_graph(lambda x, y: x @ y + 1)(np.ones((2, 3)), np.ones(3)))
      graph(a: float64[2,3], b: float64[3]) {
        c: float64[2] = matmul a b
        d: float64[2] = add c 1
        return d
      }
    """

    @functools.wraps(fun)
    def wrapped(*args: Any, **kwargs: Any) -> Graph:
        return abstract(fun, args, kwargs)[0]

    return wrapped


def eval_shape(fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Return the shapes and dtypes of what `fun` returns, without computing anything.

    Args:
      fun: A function of arrays (pytrees).
      *args: Arrays, or ShapeDtype in their place.
      **kwargs: Likewise.

    Returns:
      The output with every array replaced by its ShapeDtype.

    Raises:
      ConcretizationError: Python control flow in fun depends on values.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> x = fg.ShapeDtype((1000, 1000), np.dtype(float))
      >>> print(eval_shape(lambda x: x @ x[0], x))
      float64[1000]
    """
    graph, structure = abstract(fun, args, kwargs)
    return tree.unflatten(structure, graph.output_avals)

"""Functions with Python control flow as operations of compiled programs: they run at run time.

The primitive `eager_call` holds a function of flat arrays that looks at values: a Python loop over
compiled bodies, say. Its derivatives and batches are such functions again, so they exist at every
order: `Tangents(fun)` runs fun on forward tracers, `Pullback(fun)` on a tape. Under XLA, where
there are no values, it is for the function to say what it does. May import `core`, `ops`,
`transforms`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from funcgraph.control.types import strengthen, strong
from funcgraph.core.aval import Aval, aval_of, dtype_of, is_inexact
from funcgraph.core.graph import Graph
from funcgraph.core.jaxlink import jax_name
from funcgraph.core.primitive import General, Primitive
from funcgraph.core.trace import JAX, KIND, TRACER, Tracer, ValueTracer
from funcgraph.ops.strong import nothing
from funcgraph.ops.structural import spread, zeros
from funcgraph.transforms.forward import Forward, ForwardTracer
from funcgraph.transforms.inspection import DESCENTS
from funcgraph.transforms.jit import jit_call
from funcgraph.transforms.partial import compiled
from funcgraph.transforms.tape import Tape, TapeTracer, backward

__all__ = [
    "Eager",
    "Pullback",
    "eager_call",
    "is_unknown",
    "on_jax",
    "own_memory",
    "plain",
    "run_graph",
    "without_tracers",
]

Flags = tuple[bool, ...]


class Eager(Protocol):
    """A function of flat arrays, or of tapes' and forward tracers, that may look at values."""

    def __call__(self, *args: Any) -> Sequence[Any]:
        """Compute the outputs."""

    def avals(self, avals: Sequence[Aval]) -> tuple[Aval, ...]:
        """Return the avals of the outputs for arguments of these."""

    def batched(self, size: int, flags: Flags) -> tuple[Eager, Flags]:
        """Return the function of all lanes, and which arguments it takes with a batch axis.

        All outputs have one; the arguments marked in `flags` are among those it takes with one.
        """


# --- values and tracers --------------------------------------------------------------------------


def plain(x: Any) -> Any:
    """Return the value beneath all transformations."""
    return x.concrete() if isinstance(x, Tracer) else x


def is_unknown(x: Any) -> bool:
    """Return whether a transformation, ours or JAX's, hides the value of x from Python."""
    while isinstance(x, ValueTracer):
        x = x.value
    return isinstance(x, Tracer) or _is_jax_tracer(x)


def _is_jax_tracer(x: Any) -> bool:
    return KIND[type(x)] == JAX and isinstance(x, jax_name("jax.core.Tracer"))


def on_jax(args: Iterable[Any]) -> bool:
    """Return whether any of the values beneath the tracers is JAX's."""
    return any(KIND[type(_beneath(x))] == JAX for x in args)


def _beneath(x: Any) -> Any:
    while isinstance(x, Tracer) and hasattr(x, "value"):
        x = x.value
    return x


def without_tracers(outs: Iterable[Any]) -> list[Any]:
    """Return values; those that have no derivative without their tracers."""
    return [y if is_inexact(dtype_of(y)) else plain(y) for y in outs]


def run_graph(graph: Graph, args: Sequence[Any]) -> Sequence[Any]:
    """Run a graph: the compiled program on arrays, one operation of it on tracers."""
    if any(KIND[type(x)] == TRACER for x in args):
        return without_tracers(jit_call(*args, graph=graph, backend="numpy"))
    # A program of arrays does not know what to do with a number of Python: x < 0 is no array.
    given = zip(args, graph.inputs, strict=True)
    return compiled(graph)(
        *[x if hasattr(x, "dtype") or v.aval.weak else strengthen(x) for x, v in given]
    )


def own_memory(outs: Iterable[Any], args: Sequence[Any]) -> tuple[Any, ...]:
    """Return results that are neither arguments, nor views, nor twice the same array."""
    seen = {id(x) for x in args}
    result = []
    for y in outs:
        if isinstance(y, np.ndarray) and (y.base is not None or id(y) in seen):
            y = y.copy()
        seen.add(id(y))
        result.append(y)
    return tuple(result)


# --- derivatives of eager functions --------------------------------------------------------------


class Tangents(NamedTuple):
    """(arguments, tangents of the varying ones) -> outputs, tangents of the inexact ones."""

    fun: Eager
    varying: Flags
    safe: bool

    def __call__(self, *values: Any) -> list[Any]:
        """Run the function on forward tracers."""
        n = len(self.varying)
        trace, dots = Forward(self.safe), iter(values[n:])
        none = nothing if self.safe else zeros
        pairs = zip(values[:n], self.varying, strict=True)
        outs = self.fun(*[ForwardTracer(x, next(dots), trace) if v else x for x, v in pairs])
        mine = [type(y) is ForwardTracer and y._trace is trace for y in outs]
        primals = [y.value if m else y for y, m in zip(outs, mine, strict=True)]
        changes = [y.tangent if m else none(y) for y, m in zip(outs, mine, strict=True)]
        return [*primals, *(t for t, y in zip(changes, primals, strict=True) if _moves(y))]

    def avals(self, avals: Sequence[Aval]) -> tuple[Aval, ...]:
        """Return the avals of the outputs, and of the inexact ones again."""
        outs = self.fun.avals(avals[: len(self.varying)])
        return (*outs, *(a for a in outs if is_inexact(a.dtype)))

    def batched(self, size: int, flags: Flags) -> tuple[Eager, Flags]:
        """Return the tangents of the function of all lanes."""
        dots = iter(flags[len(self.varying) :])
        pairs = zip(flags, self.varying, strict=False)
        fun, flags = self.fun.batched(size, tuple([f | (v and next(dots)) for f, v in pairs]))
        return Tangents(fun, self.varying, self.safe), (*flags, *_chosen(flags, self.varying))


class Pullback(NamedTuple):
    """(arguments, cotangents of the inexact outputs) -> cotangents of the varying arguments."""

    fun: Eager
    varying: Flags
    safe: bool

    def __call__(self, *values: Any) -> list[Any]:
        """Run the function on a tape and sweep back."""
        n = len(self.varying)
        tape, cts = Tape(), values[n:]
        args = list(values[:n])
        for k, flag in enumerate(self.varying):
            args[k] = tape.watch(args[k]) if flag else args[k]
        outs = [y for y in self.fun(*args) if _moves(y)]
        pairs = zip(outs, cts, strict=True)
        seeds = [(y.index, ct) for y, ct in pairs if type(y) is TapeTracer and y._trace is tape]
        sources = _chosen(values[:n], self.varying)
        found = backward(tape.end(), seeds, len(sources), self.safe)
        none = nothing if self.safe else zeros
        return [none(x) if ct is None else ct for ct, x in zip(found, sources, strict=True)]

    def avals(self, avals: Sequence[Aval]) -> tuple[Aval, ...]:
        """Return the avals of the varying arguments."""
        return tuple(map(strong, _chosen(avals[: len(self.varying)], self.varying)))

    def written(self) -> Any:
        """Return graphs of what it does in one lane, and the lanes; None if there are none."""
        graphs = getattr(self.fun, "pullback_graphs", None)
        lanes: Any = getattr(self.fun, "lanes", ())
        return None if graphs is None else (graphs(self.varying, self.safe), *lanes)

    def batched(self, size: int, flags: Flags) -> tuple[Eager, Flags]:
        """Return the pullback of the function of all lanes; what varies gets a batch axis."""
        n = len(self.varying)
        wanted = tuple(f or v for f, v in zip(flags[:n], self.varying, strict=True))
        fun, taken = self.fun.batched(size, wanted)
        return Pullback(fun, self.varying, self.safe), (*taken, *(True for _ in flags[n:]))


def _moves(x: Any) -> bool:
    return is_inexact(dtype_of(x))


def _chosen(values: Sequence[Any], flags: Flags) -> list[Any]:
    return [x for x, flag in zip(values, flags, strict=True) if flag]


# --- the primitive -------------------------------------------------------------------------------


def _run_numpy(*args: Any, fun: Eager, **_: Any) -> tuple[Any, ...]:
    with np.errstate(all="ignore"):  # as compiled programs do
        return own_memory(fun(*args), args)


def _run_jax(jax: Any, *args: Any, fun: Eager, **_: Any) -> tuple[Any, ...]:
    if any(map(_is_jax_tracer, args)):
        return tuple(fun(*args))
    outs = _run_numpy(*[np.asarray(x) if KIND[type(x)] == JAX else x for x in args], fun=fun)
    return tuple(map(jax.numpy.asarray, outs))


def _forward(args: Any, tangents: Any, attrs: dict[str, Any], safe: bool) -> Any:
    fun = attrs["fun"]
    flags = tuple(t is not None and _moves(x) for t, x in zip(tangents, args, strict=True))
    outs = eager_call(*args, *_chosen(tangents, flags), fun=Tangents(fun, flags, safe))
    n = len(fun.avals(list(map(aval_of, args))))
    dots = iter(outs[n:])
    return outs[:n], tuple(next(dots) if _moves(y) else None for y in outs[:n])


def _jvp(tangents: Any, y: Any, *args: Any, safe: bool, **attrs: Any) -> Any:
    return _forward(args, tangents, attrs, safe)[1]


def _augment(args: Any, attrs: dict[str, Any], varying: Flags) -> Any:
    flags = tuple(v and _moves(x) for v, x in zip(varying, args, strict=True))
    return eager_call(*args, **attrs), [], {**attrs, "varying": flags}


def _vjp(g: Any, y: Any, *args: Any, fun: Eager, varying: Flags, safe: bool) -> Any:
    cts = [ct for ct, v in zip(g, y, strict=True) if _moves(v)]
    found = iter(eager_call(*args, *cts, fun=Pullback(fun, varying, safe)))
    return tuple(next(found) if flag else None for flag in varying)


def _batch(primitive: Any, size: int, args: Any, batched: Any, attrs: Any) -> Any:
    fun, flags = attrs["fun"].batched(size, tuple(batched))
    triples = zip(args, batched, flags, strict=True)
    return eager_call(*[spread(x, size, b) if flag else x for x, b, flag in triples], fun=fun)


DESCENTS["eager_call"] = lambda *args, **attrs: None if on_jax(args) else _run_numpy(*args, **attrs)

eager_call: Callable[..., tuple[Any, ...]] = Primitive(
    "eager_call",
    _run_numpy,
    _run_jax,
    lambda *avals, fun, **_: tuple(fun.avals(avals)),
    General(_jvp, _vjp),
    _batch,
    many=True,
    augment=_augment,
    forward=_forward,
)

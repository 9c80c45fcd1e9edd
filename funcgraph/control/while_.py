"""The primitive of loops whose number of steps is not known, with graphs for condition and body.

Forward mode is a loop over values and tangents. Reverse mode needs the number of steps: the NumPy
engine counts them at run time. May import `core`, `ops`, `transforms`, `control`. The public
function is `control.loops.while_loop`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np

from funcgraph.control.eager import (
    Eager,
    Flags,
    Pullback,
    eager_call,
    is_unknown,
    on_jax,
    own_memory,
    plain,
    run_graph,
)
from funcgraph.control.lanes import Lanes, crosses_lanes, gathered, masked, pick, run_lanes
from funcgraph.control.types import strong
from funcgraph.core.aval import Aval, aval_of, is_inexact
from funcgraph.core.calls import WayBack
from funcgraph.core.graph import Graph
from funcgraph.core.primitive import General, Primitive
from funcgraph.core.simplify import prune
from funcgraph.errors import NonDifferentiableError
from funcgraph.ops.strong import nothing
from funcgraph.ops.structural import zeros
from funcgraph.transforms.inspection import DESCENTS
from funcgraph.transforms.partial import Passes, cached, compiled, split, tangent_graph
from funcgraph.transforms.stage import stage

__all__ = ["while_primitive"]


def _unbounded() -> NoReturn:
    raise NonDifferentiableError(
        "reverse mode through a while_loop (or a fori_loop with bounds that are arguments) inside "
        "jit on XLA needs to know how many steps there may be: pass max_steps= to while_loop, make "
        "the bounds static, use backend='numpy', or differentiate outside of jit."
    )


# Arguments (*carry, *constants of cond, *constants of body).


class Loop(NamedTuple):
    """A loop as a function of plain arrays, or of tapes' and forward tracers."""

    cond: Graph
    body: Graph
    carries: int
    lanes: Lanes = Lanes()

    @classmethod
    def of(cls, attrs: dict[str, Any]) -> Loop:
        """Return the loop that the attributes of an equation describe."""
        return cls(attrs["cond"], attrs["body"], attrs["carries"], Lanes.of(attrs))

    @property
    def attrs(self) -> dict[str, Any]:
        """The attributes of an equation."""
        named = {"cond": self.cond, "body": self.body, "carries": self.carries}
        return {**named, **self.lanes.attrs}

    def parts(self, values: Sequence[Any]) -> tuple[Any, Any, Any]:
        """Return what belongs to the carry, and to the constants of condition and body."""
        middle = len(self.cond.inputs)
        end = middle + len(self.body.inputs) - self.carries
        return values[: self.carries], values[self.carries : middle], values[middle:end]

    def __call__(self, *args: Any) -> Sequence[Any]:
        """Run the loop."""
        if on_jax(args):
            _unbounded()
        if self.lanes.sizes:
            crossing = crosses_lanes(self.cond) or crosses_lanes(self.body)
            return self._masked(args) if crossing else self._by_lane(args)
        carry, first, second = self.parts(args)
        while self.goes_on(carry, first):
            carry = run_graph(self.body, (*carry, *second))
        return carry

    def goes_on(self, carry: Sequence[Any], first: Sequence[Any]) -> bool:
        """Return the value of the condition."""
        return bool(compiled(self.cond)(*map(plain, carry), *map(plain, first))[0])

    def _by_lane(self, args: Any) -> list[Any]:
        """Run the body for the lanes that still go on."""
        lanes, total = self.lanes, self.lanes.total
        carry, first, second = self.parts(lanes.flat(args, self.carries))
        all_lanes, has_first, has_second = self.parts(lanes.flags(self.carries))
        active, parts, order = np.arange(total), [], []
        while True:
            values = [plain(x) for x in (*carry, *first)]
            going = run_lanes(self.cond, values, (*all_lanes, *has_first), active.size, total)[0]
            if not active.size or not np.all(going):
                (stay,), (leave,) = np.nonzero(going), np.nonzero(np.logical_not(going))
                parts.append(pick(carry, all_lanes, leave) if stay.size else carry)
                order.append(active[leave])
                if not stay.size:
                    return lanes.back(gathered(parts, order))
                active, carry = active[stay], pick(carry, all_lanes, stay)
                first, second = pick(first, has_first, stay), pick(second, has_second, stay)
            inputs = (*carry, *second)
            carry = run_lanes(self.body, inputs, (*all_lanes, *has_second), active.size, total)

    def all_lanes(self) -> tuple[Graph, Graph]:
        """Return condition and body for all lanes."""
        n = self.carries
        one = self.lanes.batch(self.cond, lambda has: (*has[:n], *self.parts(has)[1]), n)
        many = self.lanes.batch(self.body, lambda has: (*has[:n], *self.parts(has)[2]), n)
        return one, many

    def _masked(self, args: Any) -> Sequence[Any]:
        """Run the body for all lanes while any goes on; what has ended stays as it is."""
        cond, body = self.all_lanes()
        carry, first, second = self.parts(self.lanes.full(args, self.carries))
        while True:
            going = compiled(cond)(*map(plain, carry), *map(plain, first))[0]
            if not np.any(going):
                return carry
            new = run_graph(body, (*carry, *second))
            carry = [masked(going, b, a) for a, b in zip(carry, new, strict=True)]

    def pullback_graphs(self, varying: Flags, safe: bool) -> WayBack:
        """Return the pullback of one lane as graphs."""
        return LoopPullback(self._replace(lanes=Lanes()), varying, safe).graphs()

    def avals(self, avals: Sequence[Aval]) -> tuple[Aval, ...]:
        """Return the avals of the last carry."""
        return self.lanes.avals(self.body.output_avals)

    def batched(self, size: int, flags: Flags) -> tuple[Loop, Flags]:
        """Return the loop over lanes."""
        return self._replace(lanes=self.lanes.within(size, flags)), flags


class LoopPullback(NamedTuple):
    """(arguments, cotangents of the inexact carries) -> cotangents of the varying arguments.

    It runs the loop, keeps what each step needs for the way back, and goes back step by step.
    """

    loop: Loop
    varying: Flags
    safe: bool

    def __call__(self, *values: Any) -> list[Any]:
        """Run the loop forth and back."""
        if on_jax(values):
            _unbounded()
        n = len(self.varying)
        given = iter(values[n:])
        avals = [v.aval for v in self.loop.body.inputs[: self.loop.carries]]
        cts = [next(given) if is_inexact(a.dtype) else zeros(a) for a in avals]
        second = self.loop.parts(values)[2]
        return self._back(cts, second, self._forth(values[:n]))

    def _forth(self, args: Any) -> list[list[Any]]:
        """Run the loop and return the residuals of each step, without the constants."""
        passes, _ = self._passes()
        carry, first, second = self.loop.parts(args)
        carries, inputs = len(carry), len(carry) + len(second)
        wanted = [k for k in passes.sources if not carries <= k < inputs]
        kept = []
        while self.loop.goes_on(carry, first):
            outs = run_graph(passes.forward, (*carry, *second))
            kept.append([carry[k] if k < carries else outs[carries + k - inputs] for k in wanted])
            carry = outs[:carries]
        return kept

    def _back(self, cts: list[Any], second: Any, kept: list[list[Any]]) -> list[Any]:
        """Sweep back over the steps."""
        passes, flags = self._passes()
        carries = len(cts)
        constants = {carries + k: x for k, x in enumerate(second)}
        varying = zip(second, flags[carries:], strict=True)
        none = nothing if self.safe else zeros
        sums: list[Any] = [none(x) for x, flag in varying if flag]
        while kept:
            made = iter(kept.pop())
            residuals = [constants[k] if k in constants else next(made) for k in passes.sources]
            found = iter(run_graph(passes.backward, (*cts, *residuals)))
            moving = zip(cts, flags[:carries], strict=True)
            cts = [next(found) if flag else ct for ct, flag in moving]
            sums = [_plus(total, ct) for total, ct in zip(sums, found, strict=True)]
        start = self.loop.parts(self.varying)[0]
        return [*(ct for ct, flag in zip(cts, start, strict=True) if flag), *sums]

    def _passes(self) -> tuple[Passes, Flags]:
        """Return the passes of the body, and which of its inputs vary in them."""
        carries = self.loop.carries
        inexact = [is_inexact(v.aval.dtype) for v in self.loop.body.inputs[:carries]]
        flags = (*inexact, *self.loop.parts(self.varying)[2])
        free = tuple(k >= carries for k in range(len(flags)))  # constants are there anyway
        return split(self.loop.body, flags, self.safe, free), flags

    def graphs(self) -> WayBack:
        """Return what it does as graphs."""
        passes, flags = self._passes()
        n, inputs, forward = self.loop.carries, len(flags), passes.forward
        wanted = [k for k in passes.sources if not n <= k < inputs]
        places = (*forward.inputs, *forward.outputs[n:])
        results = (*forward.outputs[:n], *(places[k] for k in wanted))
        forth = prune(Graph(forward.inputs, forward.equations, results, forward.constants))
        moving, sums = sum(flags[:n]), sum(flags[n:])

        def step(*values: Any) -> list[Any]:
            given, totals, rest = iter(values[:moving]), values[moving : moving + sums], values
            rest = rest[moving + sums :]
            pairs = zip(flags[:n], forward.output_avals, strict=False)
            cts = [next(given) if flag else zeros(a) for flag, a in pairs]
            constants, made = dict(enumerate(rest[len(wanted) :], n)), iter(rest)
            residuals = [constants[k] if k in constants else next(made) for k in passes.sources]
            found = passes.backward.run(*cts, *residuals)
            return [*found[:moving], *(t + c for t, c in zip(totals, found[moving:], strict=True))]

        varying = [strong(v.aval) for v, flag in zip(forward.inputs, flags, strict=True) if flag]
        kept = [forth.output_avals[n + k] for k in range(len(wanted))]
        constants = [v.aval for v in forward.inputs[n:]]
        back = prune(stage(step, [*varying, *kept, *constants]))
        start = zip(self.loop.parts(self.varying)[0], flags[:n], strict=True)
        asked = (*(flag for flag, moves in start if moves), *(True for _ in range(sums)))
        return WayBack(self.loop.cond, forth, back, n, moving, asked)

    def written(self) -> Any:
        """Return graphs of what it does in one lane, and the lanes: none."""
        return self.graphs(), (), ()

    def avals(self, avals: Sequence[Aval]) -> tuple[Aval, ...]:
        """Return the avals of the varying arguments."""
        return Pullback(self.loop, self.varying, self.safe).avals(avals)

    def batched(self, size: int, flags: Flags) -> tuple[Eager, Flags]:
        """Return the pullback of the loop over lanes."""
        return Pullback(self.loop, self.varying, self.safe).batched(size, flags)


def _plus(total: Any, ct: Any) -> Any:
    if type(total) is type(ct) is np.ndarray:
        total += ct  # it belongs to the sweep
        return total
    return total + ct


# --- the primitive -------------------------------------------------------------------------------


def _run_numpy(*args: Any, **attrs: Any) -> tuple[Any, ...]:
    with np.errstate(all="ignore"):  # as compiled programs do
        return own_memory(Loop.of(attrs)(*args), args)


def _run_jax(jax: Any, *args: Any, **attrs: Any) -> tuple[Any, ...]:
    """Run a loop of JAX's; with lanes while any goes on, and what has ended stays as it is."""
    loop = Loop.of(attrs)
    lanes, (cond, body) = loop.lanes, loop.all_lanes()
    if lanes.sizes:
        args = tuple(lanes.full(args, loop.carries))
    carry, first, second = loop.parts(args)

    def step(state: Any) -> Any:
        going, old = state
        made = body.run(*old, *second)
        if lanes.sizes:
            made = [masked(going, b, a) for a, b in zip(old, made, strict=True)]
        new = tuple(jax.numpy.asarray(y) for y in made)
        return jax.numpy.asarray(cond.run(*new, *first)[0]), new

    pairs = zip(carry, body.output_avals, strict=True)
    start = tuple(jax.numpy.asarray(x, a.dtype) for x, a in pairs)
    going = jax.numpy.asarray(cond.run(*start, *first)[0])
    return tuple(jax.lax.while_loop(lambda s: s[0].any(), step, (going, start))[1])


def _jvp(tangents: Any, y: Any, *args: Any, safe: bool, varying: Any = None, **attrs: Any) -> Any:
    loop = Loop.of(attrs)
    cond, body, carries = loop.cond, loop.body, loop.carries
    inexact = [is_inexact(v.aval.dtype) for v in body.inputs]
    flags = (*inexact[:carries], *(t is not None for t in loop.parts(tangents)[2]))
    key = ("while jvp", carries, flags, safe)
    moving = cached(body, key, lambda: _tangent_body(body, carries, flags, safe))
    ahead = cached(cond, key, lambda: _wider(cond, carries, flags))

    def with_dots(values: Any, dots: Any) -> list[Any]:
        """Return (carry, its tangents, constants of both, tangents of the body's)."""
        now, ones, twos = loop.parts(values)
        moved_carry, _, moved_second = loop.parts(dots)
        return [
            *now,
            *(t for t, flag in zip(moved_carry, flags, strict=False) if flag),
            *ones,
            *twos,
            *(t for t, flag in zip(moved_second, flags[carries:], strict=True) if flag),
        ]

    none = nothing if safe else zeros
    dots = [none(x) if t is None else t for x, t in zip(args, tangents, strict=True)]
    lanes = loop.lanes.map_flags(lambda has: with_dots(has, has))
    further = Loop(ahead, moving, carries + sum(flags[:carries]), lanes)
    out = while_primitive(*with_dots(args, dots), **further.attrs)
    rest = iter(out[carries:])
    return tuple(next(rest) if flag else None for flag in flags[:carries])


def _tangent_body(body: Graph, carries: int, flags: Flags, safe: bool) -> Graph:
    """Return the body (carry, its tangents, constants, their tangents) -> (carry, tangents)."""
    moving = tangent_graph(body, flags, safe)
    n, constants = sum(flags[:carries]), len(body.inputs) - carries

    def step(*values: Any) -> list[Any]:
        carry, dots, rest = values[:carries], values[carries : carries + n], values[carries + n :]
        primals = (*carry, *rest[:constants])
        change = moving.run(*primals, *dots, *rest[constants:])
        kept = [t for t, flag in zip(change, flags, strict=False) if flag]
        return [*body.run(*primals), *kept]

    avals = [v.aval for v in body.inputs]
    dots = [strong(a) for a, flag in zip(avals, flags, strict=True) if flag]
    return prune(stage(step, [*avals[:carries], *dots[:n], *avals[carries:], *dots[n:]]))


def _wider(cond: Graph, carries: int, flags: Flags) -> Graph:
    """Return the condition for a carry followed by its tangents, which it does not read."""
    avals = [v.aval for v in cond.inputs]
    dots = [a for a, flag in zip(avals[:carries], flags, strict=False) if flag]
    n = carries + len(dots)
    return stage(
        lambda *xs: cond.run(*xs[:carries], *xs[n:]), [*avals[:carries], *dots, *avals[carries:]]
    )


def _augment(args: Any, attrs: dict[str, Any], varying: Flags) -> Any:
    loop = Loop.of(attrs)
    inexact = tuple(v and is_inexact(aval_of(x).dtype) for v, x in zip(varying, args, strict=True))
    carry, first, second = loop.parts(inexact)
    flags = (*carry, *(False for _ in first), *second)  # the condition has no derivative
    return while_primitive(*args, **attrs), [], {**attrs, "varying": flags}


def _vjp(g: Any, y: Any, *args: Any, varying: Flags, safe: bool, **attrs: Any) -> Any:
    loop = Loop.of(attrs)
    fun = (Pullback if loop.lanes.sizes else LoopPullback)(loop, varying, safe)
    cts = [ct for ct, a in zip(g, loop.body.output_avals, strict=True) if is_inexact(a.dtype)]
    found = iter(eager_call(*args, *cts, fun=fun))
    return tuple(next(found) if flag else None for flag in varying)


def _batch(primitive: Any, size: int, args: Any, batched: Any, attrs: Any) -> Any:
    loop = Loop.of(attrs).batched(size, tuple(batched))[0]
    if any(map(is_unknown, args)) or on_jax(args):
        return while_primitive(*args, **loop.attrs)
    with np.errstate(all="ignore"):  # tapes follow: what they keep need not be computed again
        return own_memory(loop(*args), args)


DESCENTS["while"] = lambda *args, **attrs: None if on_jax(args) else _run_numpy(*args, **attrs)

while_primitive: Primitive = Primitive(
    "while",
    _run_numpy,
    _run_jax,
    lambda *avals, **attrs: Loop.of(attrs).avals(avals),
    General(_jvp, _vjp),
    _batch,
    many=True,
    augment=_augment,
)

"""The primitive of loops whose number of steps is not known, with graphs for condition and body.

May import `core`, `ops`, `transforms`. The public function is `control.loops.while_loop`.
"""

from __future__ import annotations

from typing import Any, NoReturn

from funcgraph.core.aval import Aval, ndim_of
from funcgraph.core.graph import Graph
from funcgraph.core.primitive import General, Primitive
from funcgraph.core.simplify import prune
from funcgraph.core.trace import Tracer
from funcgraph.errors import ConcretizationError, NonDifferentiableError
from funcgraph.ops.reductions import reduce_any
from funcgraph.ops.structural import expand_dims, spread, where, zeros
from funcgraph.transforms.partial import batch_graph, cached, compiled, tangent_graph
from funcgraph.transforms.stage import stage

__all__ = ["is_unknown", "while_primitive"]


def is_unknown(x: Any) -> bool:
    """Return whether a transformation hides the value of x from Python."""
    if not isinstance(x, Tracer):
        return False
    try:
        x.concrete()
    except ConcretizationError:
        return True
    return False


# Arguments (*carry, *constants of cond, *constants of body).


def _split(args: Any, cond: Graph, body: Graph, carries: int) -> tuple[Any, Any, Any]:
    middle = len(cond.inputs)
    return args[:carries], args[carries:middle], args[middle : middle + len(body.inputs) - carries]


def _run_numpy(*args: Any, cond: Graph, body: Graph, carries: int) -> tuple[Any, ...]:
    carry, first, second = _split(args, cond, body, carries)
    going, step = compiled(cond), compiled(body)
    while going(*carry, *first)[0]:
        carry = step(*carry, *second)
    return tuple(carry)


def _run_jax(jax: Any, *args: Any, cond: Graph, body: Graph, carries: int) -> tuple[Any, ...]:
    carry, first, second = _split(args, cond, body, carries)
    avals = body.output_avals
    start = tuple(jax.numpy.asarray(x, a.dtype) for x, a in zip(carry, avals, strict=True))

    def step(carry: Any) -> Any:
        return tuple(jax.numpy.asarray(y) for y in body.run(*carry, *second))

    return tuple(jax.lax.while_loop(lambda c: cond.run(*c, *first)[0], step, start))


def _jvp(
    tangents: Any, y: Any, *args: Any, cond: Graph, body: Graph, carries: int, safe: bool
) -> Any:
    carry, first, second = _split(args, cond, body, carries)
    middle = len(cond.inputs)
    dots = [*tangents[:carries], *tangents[middle:]]
    inexact = [v.aval.dtype.kind in "fc" for v in body.inputs]
    flags = (*inexact[:carries], *(t is not None for t in dots[carries:]))
    key = ("while jvp", carries, flags, safe)
    moving = cached(body, key, lambda: _tangent_body(body, carries, flags, safe))
    ahead = cached(cond, key, lambda: _wider(cond, carries, flags))
    moved = [
        zeros(x) if t is None else t
        for x, t, flag in zip((*carry, *second), dots, flags, strict=True)
        if flag
    ]
    n = sum(flags[:carries])
    inputs = (*carry, *moved[:n], *first, *second, *moved[n:])
    out = while_primitive(*inputs, cond=ahead, body=moving, carries=carries + n)
    rest = iter(out[carries:])
    return tuple(next(rest) if flag else None for flag in flags[:carries])


def _tangent_body(body: Graph, carries: int, flags: tuple[bool, ...], safe: bool) -> Graph:
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
    dots = [Aval(a.shape, a.dtype) for a, flag in zip(avals, flags, strict=True) if flag]
    return prune(stage(step, [*avals[:carries], *dots[:n], *avals[carries:], *dots[n:]]))


def _wider(cond: Graph, carries: int, flags: tuple[bool, ...]) -> Graph:
    """Return the condition for a carry followed by its tangents, which it does not read."""
    avals = [v.aval for v in cond.inputs]
    dots = [a for a, flag in zip(avals[:carries], flags, strict=False) if flag]
    n = carries + len(dots)
    return stage(
        lambda *xs: cond.run(*xs[:carries], *xs[n:]), [*avals[:carries], *dots, *avals[carries:]]
    )


def _vjp(*_: Any, **__: Any) -> NoReturn:
    raise NonDifferentiableError(
        "reverse mode through a while_loop (or a fori_loop with bounds that are arguments) inside "
        "jit needs to know how many steps there may be: pass max_steps= to while_loop, make the "
        "bounds static, or differentiate outside of jit."
    )


def _batch(primitive: Any, size: int, args: Any, batched: Any, attrs: Any) -> Any:
    """Go on while any lane does; a lane that has come to its end stays as it is."""
    cond, body, carries = attrs["cond"], attrs["body"], attrs["carries"]
    middle, end = len(cond.inputs), len(cond.inputs) + len(body.inputs) - carries
    carry = [spread(x, size, b) for x, b in zip(args[:carries], batched, strict=False)]
    all_lanes = (True,) * carries
    one = batch_graph(cond, size, (*all_lanes, *batched[carries:middle]))
    many = batch_graph(body, size, (*all_lanes, *batched[middle:end]))
    first, second = args[carries:middle], args[middle:end]

    def step(*values: Any) -> list[Any]:
        old, rest = values[:carries], values[carries:]
        going = one.run(*old, *rest[: len(first)])[0]
        new = many.run(*old, *rest[len(first) :])
        out = []
        for a, b in zip(old, new, strict=True):
            axes = tuple(range(1, ndim_of(b)))
            out.append(where(expand_dims(going, axes) if axes else going, b, a))
        return out

    avals = [Aval((size, *v.aval.shape), v.aval.dtype) for v in body.inputs[:carries]]
    more = [v.aval for v in (*one.inputs[carries:], *many.inputs[carries:])]
    lanes = cached(
        body, ("while vmap", size, tuple(batched)), lambda: prune(stage(step, [*avals, *more]))
    )
    reduced = cached(
        cond,
        ("while vmap", size, tuple(batched)),
        lambda: stage(
            lambda *xs: [reduce_any(one.run(*xs)[0], axes=(0,))], [v.aval for v in one.inputs]
        ),
    )
    return while_primitive(
        *carry, *first, *first, *second, cond=reduced, body=lanes, carries=carries
    )


while_primitive: Primitive = Primitive(
    "while",
    _run_numpy,
    _run_jax,
    lambda *avals, cond, body, carries: tuple(Aval(a.shape, a.dtype) for a in body.output_avals),
    General(_jvp, _vjp),
    _batch,
    many=True,
    augment=lambda args, attrs, varying: (while_primitive(*args, **attrs), [], attrs),
)

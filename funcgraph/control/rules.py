"""Functions with rules of derivation of their own: the primitive `custom_call`.

Its attribute holds a function of flat leaves and its rules. May import `core`, `ops`, `transforms`.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from funcgraph.core.aval import Aval, aval_of, dtype_of, is_inexact
from funcgraph.core.primitive import General, Primitive
from funcgraph.core.trace import Tracer, refuse_closures
from funcgraph.errors import CustomRuleError
from funcgraph.ops.strong import as_given, computed_zeros, nothing, seeding, strong_opaque
from funcgraph.ops.structural import reduce_sum, zeros
from funcgraph.transforms.gradient import vjp
from funcgraph.transforms.inspection import DESCENTS
from funcgraph.transforms.programs import Program, Ruled
from funcgraph.transforms.stage import stage_closed
from funcgraph.transforms.vmap import vmap

__all__ = ["Rules", "call_with_rules"]

Leaves = Sequence[Any]


class Rules:
    """A function of flat leaves with its rules, for one call.

    Attributes:
      fun: leaves -> outputs.
      fwd: leaves -> (outputs, residuals); None without a custom_vjp.
      bwd: (leaves and residuals, cotangents) -> cotangents of the leaves (None: zero).
      jvp: (leaves, tangents) -> (outputs, their tangents); None without a custom_jvp.
      name: Of the user's function.
      fixed: How many of the last leaves must not be differentiated.
      needed: Whether `fun` has no derivative without the rules, so that JAX must use them, too.
    """

    __slots__ = ("bwd", "fixed", "fun", "fwd", "jvp", "name", "needed")

    def __init__(
        self,
        fun: Any,
        fwd: Any,
        bwd: Any,
        jvp: Any,
        name: str,
        fixed: int = 0,
        needed: bool = False,
    ) -> None:
        self.fun = fun
        self.fwd = fwd
        self.bwd = bwd
        self.jvp = jvp
        self.name = name
        self.fixed = fixed
        self.needed = needed

    def check_fixed(self, varying: Sequence[bool]) -> None:
        """Raise CustomRuleError if a leaf varies that must not."""
        if self.fixed and any(varying[-self.fixed :]):
            raise CustomRuleError(
                f"{self.name} is differentiated with respect to an argument named in "
                "nondiff_argnums or nondiff_argnames. Take it from there, so that the rule has a "
                "cotangent or tangent for it, or pass funcgraph.stop_gradient(argument)."
            )


class _Recorded(NamedTuple):
    """What linearize needs to know of a call on a tape."""

    arguments: int  # how many; residuals follow them
    outputs: tuple[Aval, ...]


def _run(*args: Any, rules: Rules) -> tuple[Any, ...]:
    return tuple(rules.fun(*args))


def _run_jax(jax: Any, *args: Any, rules: Rules) -> tuple[Any, ...]:
    avals = [aval_of(x) for x in args]
    graph, closed = stage_closed(rules.fun, avals)
    if not rules.needed:
        return tuple(graph.run(*args, *closed))
    engine = importlib.import_module("funcgraph.engines.xla")
    with_rules = stage_closed(lambda *xs: call_with_rules(rules, xs), avals)[0]
    program = Ruled(graph, Program(with_rules.output_avals, lambda: with_rules))
    inputs = [jax.numpy.asarray(x) for x in (*args, *closed)]
    return tuple(engine.call(program, *inputs))


def _avals(*avals: Aval, rules: Rules, recorded: _Recorded | None = None) -> tuple[Aval, ...]:
    if recorded is not None:
        return recorded.outputs
    graph, closed = stage_closed(rules.fun, list(avals))
    for x in closed:
        refuse_closures(x._trace, _call, {"rules": rules}, (x,))
    return graph.output_avals


def _forward(args: Any, tangents: Any, attrs: dict[str, Any], safe: bool) -> Any:
    rules = attrs["rules"]
    if rules.jvp is None:
        raise CustomRuleError(
            f"forward mode (jvp, jacfwd, linearize, hessian) came to {rules.name}, which has a "
            f"rule for reverse mode only. Add one: {rules.name}.defjvp(rule)."
        )
    rules.check_fixed([t is not None for t in tangents])
    none = nothing if safe else zeros
    dots = [none(a) if t is None else t for t, a in zip(tangents, args, strict=True)]
    outs, changes = _seeded(safe, rules.jvp, args, dots)
    return tuple(outs), strong_opaque(changes, dots) if safe else tuple(changes)


def _seeded(safe: bool, rule: Any, *args: Any) -> Any:
    """Call a rule of the user's: derivatives that it takes start from those it is given."""
    token = seeding.set(as_given if safe else computed_zeros)
    try:
        return rule(*args)
    finally:
        seeding.reset(token)


def _jvp(tangents: Any, y: Any, *args: Any, rules: Rules, safe: bool, recorded: _Recorded) -> Any:
    n = recorded.arguments
    return _forward(args[:n], tangents[:n], {"rules": rules}, safe)[1]


def _augment(args: Any, attrs: dict[str, Any], varying: Any) -> Any:
    rules = attrs["rules"]
    rules.check_fixed(varying)
    if rules.fwd is None:  # as in forward mode, the rule gives the values
        outs, residuals = _forward(args, [None] * len(args), attrs, False)[0], []
    else:
        outs, residuals = rules.fwd(*args)
    recorded = _Recorded(len(args), tuple(map(aval_of, outs)))
    return tuple(outs), list(residuals), {"rules": rules, "recorded": recorded}


def _vjp(g: Any, y: Any, *args: Any, rules: Rules, safe: bool, recorded: _Recorded) -> Any:
    found = _seeded(safe, _pull, rules, g, args)
    return strong_opaque(found, g) if safe else found


def _pull(rules: Rules, g: Any, args: Any) -> Any:
    if rules.fwd is not None:
        return rules.bwd(args, g)  # arguments, then residuals: bwd knows how many there are
    kept: list[bool] = []

    def linear(*ts: Any) -> Any:
        dots = rules.jvp(args, ts)[1]
        kept[:] = [t is not None for t in dots]
        return tuple(t for t in dots if t is not None)

    pull = vjp(linear, *map(zeros, args))[1]
    cts = pull(tuple(ct for ct, keep in zip(g, kept, strict=True) if keep))
    return [ct if is_inexact(dtype_of(x)) else None for ct, x in zip(cts, args, strict=True)]


def _batch(primitive: Any, size: int, args: Any, batched: Any, attrs: Any) -> Any:
    rules: Rules = attrs["rules"]
    axes = tuple(0 if b else None for b in batched)
    n = len(args)

    def fun(*xs: Any) -> Any:
        return vmap(lambda *xs: tuple(rules.fun(*xs)), axes, axis_size=size)(*xs)

    def fwd(*xs: Any) -> Any:
        def lane(*xs: Any) -> Any:
            outs, residuals = rules.fwd(*xs)
            return tuple(outs), list(residuals)

        return vmap(lane, axes, axis_size=size)(*xs)

    def bwd(held: Any, cts: Any) -> list[Any]:
        def lane(primals: Any, residuals: Any, cts: Any) -> list[Any]:
            return list(rules.bwd((*primals, *residuals), cts))

        found = vmap(lane, (axes, 0, 0), axis_size=size)(tuple(held[:n]), list(held[n:]), cts)
        return [
            ct if ct is None or b else reduce_sum(ct, axes=(0,))
            for ct, b in zip(found, batched, strict=True)
        ]

    def jvp(xs: Any, ts: Any) -> Any:
        def lane(xs: Any, ts: Any) -> Any:
            outs, changes = rules.jvp(xs, ts)
            return tuple(outs), tuple(changes)

        return vmap(lane, (axes, axes), axis_size=size)(tuple(xs), tuple(ts))

    forward, backward = (fwd, bwd) if rules.fwd is not None else (None, None)
    tangents = jvp if rules.jvp is not None else None
    return _call(
        *args, rules=Rules(fun, forward, backward, tangents, rules.name, rules.fixed, rules.needed)
    )


DESCENTS["custom_call"] = _run

_call: Primitive = Primitive(
    "custom_call",
    _run,
    _run_jax,
    _avals,
    General(_jvp, _vjp),
    _batch,
    many=True,
    augment=_augment,
    forward=_forward,
)


def call_with_rules(rules: Rules, leaves: Leaves) -> tuple[Any, ...]:
    """Call a function of flat leaves, so that transformations use its rules."""
    outs: tuple[Any, ...] = _call(*leaves, rules=rules)
    for x in outs:  # a value is of a lower level than its tracer, unless it came by a closure
        while isinstance(value := getattr(x, "value", None), Tracer):
            if value._trace.level >= x._trace.level:
                refuse_closures(value._trace, _call, {"rules": rules}, (value,))
            x = value
    return outs

"""Forward mode for users: `jvp`, `linearize`; and `stop_gradient`.

May import `core`, `ops`, `tree`, `transforms.forward`, `transforms.gradient`,
`transforms.arguments`, `transforms.tape`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from funcgraph import tree
from funcgraph.core.aval import aval_of
from funcgraph.core.primitive import Primitive, Zero, aligned
from funcgraph.core.trace import KIND, NUMPY
from funcgraph.errors import TangentMismatchError
from funcgraph.ops.strong import finite_or, seeding
from funcgraph.transforms.arguments import (
    check_leaf,
    check_like,
    gradient_of,
    name_of,
    parted,
    run,
    snapshot,
)
from funcgraph.transforms.forward import Forward, ForwardTracer, fit_dtype, push
from funcgraph.transforms.gradient import leaf_name, record
from funcgraph.transforms.held import check_held
from funcgraph.transforms.inspection import inspection
from funcgraph.transforms.nans import explain_replayed, watched_forward
from funcgraph.transforms.stage import are_finite, staged_safe
from funcgraph.transforms.tape import unpack

__all__ = ["jvp", "linearize", "stop_gradient"]


def _tangents(primals: tuple[Any, ...], tangents: Any, leaves: list[Any], structure: Any) -> Any:
    if not isinstance(tangents, (tuple, list)) or len(tangents) != len(primals):
        raise TangentMismatchError(
            f"jvp needs one tangent for each of the {len(primals)} primals, in a tuple or list; "
            f"got {tangents!r:.80}."
        )
    return check_like(tuple(tangents), leaves, structure, "the tangent", "the primal")


def jvp(fun: Callable[..., Any], primals: Any, tangents: Any, has_aux: bool = False) -> Any:
    """Compute the value of `fun` and its directional derivative (Jacobian-vector product).

    (f(x), ∂f/∂x · v), by one forward sweep that carries values and tangents.

    If the tangent comes out non-finite, the function is run once more with strong
    zeros (docs/conventions.md); so `fun` must be pure.

    Args:
      fun: A function of the primals; it may return any pytree of arrays.
      primals: Tuple or list of arguments, pytrees of floating-point arrays.
      tangents: Tuple or list of the same structure, shapes and dtypes.
      has_aux: Whether fun returns (output, aux).

    Returns:
      (output, output tangent), or (output, output tangent, aux).

    Raises:
      GradientDtypeError: A leaf of the primals has no derivative.
      TangentMismatchError: The tangents do not match the primals.

    Example:
      >>> import numpy as np
      >>> jvp(np.sin, (0.0,), (2.0,))
      (np.float64(0.0), np.float64(2.0))

    Source:
      Griewank and Walther, "Evaluating Derivatives", 2nd ed., 2008, section 3.1.
    """
    if not isinstance(primals, (tuple, list)):
        raise TangentMismatchError(
            f"jvp takes its primals in a tuple or list, got a {type(primals).__name__}: write "
            "jvp(f, (x,), (v,))."
        )
    now = inspection.get()
    if now is not None and not now.inside:
        return now.inspector.call(jvp, fun, primals, tangents, has_aux)
    primals = snapshot(tuple(primals))
    name = f"jvp of {name_of(fun)}"
    leaves, structure = tree.flatten(primals)
    leaves = [
        check_leaf(x, lambda k=k: leaf_name(name, primals, k), True, False, name)
        for k, x in enumerate(leaves)
    ]
    given = _tangents(primals, tangents, leaves, structure)
    if now is not None:
        names = [functools.partial(leaf_name, name, primals, k) for k in range(len(leaves))]
        leaves = list(map(now.inspector.enter, leaves, names))
    values, dots, out_structure, aux = _run(
        fun, leaves, given, structure, has_aux, Forward(safe=False)
    )
    if staged_safe() or not are_finite(dots):
        marked = _marked(given)
        strong = _run(fun, leaves, marked, structure, has_aux, Forward(safe=True))[1]
        dots = list(map(finite_or, strong, dots))
        if (watched := watched_forward(dots)) is not None:
            _run(fun, leaves, marked, structure, has_aux, watched)
    value = tree.unflatten(out_structure, values)
    dot = _like_output(out_structure, values, dots)
    return (value, dot, aux) if has_aux else (value, dot)


def _run(
    fun: Any, leaves: list[Any], tangents: list[Any], structure: Any, has_aux: bool, trace: Forward
) -> tuple[list[Any], list[Any], Any, Any]:
    """Run fun on forward tracers; return output values, tangents (None: zero), structure, aux."""
    traced = [
        x if t is None else ForwardTracer(x, t, trace)
        for x, t in zip(leaves, tangents, strict=True)
    ]
    try:
        out = run(fun, tree.unflatten(structure, traced), {})
    finally:
        trace.alive = False
    aux = None
    if has_aux:
        out, aux = parted(out, f"jvp of {name_of(fun)}")
        aux = tree.map(lambda x: x.value if _mine(x, trace) else x, aux)
    outs, out_structure = tree.flatten(out)
    values = [x.value if _mine(x, trace) else x for x in outs]
    dots = [x.tangent if _mine(x, trace) else None for x in outs]
    return values, dots, out_structure, aux


def _marked(tangents: list[Any]) -> list[Any]:
    """Return the tangents that a function is called with, with strong zeros."""
    mark = seeding.get()
    return [None if t is None else mark(t) for t in tangents]


def _mine(x: Any, trace: Forward) -> bool:
    return type(x) is ForwardTracer and x._trace is trace


def _like_output(structure: Any, values: list[Any], dots: list[Any]) -> Any:
    """Return output tangents with the types of the outputs; new arrays, safe to change."""
    seen: set[int | None] = set()
    return tree.unflatten(
        structure, [gradient_of(v, t, seen) for v, t in zip(values, dots, strict=True)]
    )


def linearize(fun: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """Compute the value of `fun` and its derivative as a linear function (pushforward).

    v ↦ ∂f/∂x · v; fun itself runs once, however often the result is called.

    Args:
      fun: A function of the primals; it may return any pytree of arrays.
      *primals: The arguments, pytrees of floating-point arrays.
      has_aux: Whether fun returns (output, aux).

    Returns:
      (output, pushforward), or (output, pushforward, aux). pushforward(*tangents) takes one
      tangent for each primal and returns the output tangent.

    Raises:
      GradientDtypeError: A leaf of the primals has no derivative.
      TangentMismatchError: The tangents do not match the primals.

    Example:
      >>> y, pushforward = linearize(lambda x: x**2, 3.0)
      >>> y, pushforward(1.0), pushforward(10.0)
      (np.float64(9.0), np.float64(6.0), np.float64(60.0))

    Source:
      Griewank and Walther, "Evaluating Derivatives", 2nd ed., 2008, section 3.1.
    """
    now = inspection.get()
    if now is not None and not now.inside:
        return now.inspector.call(linearize, fun, *primals, has_aux=has_aux)
    r = record(fun, primals, "linearize", has_aux)

    def pushforward(*tangents: Any) -> Any:
        given = _tangents(primals, tangents, r.leaves, r.inputs)
        check_held(r.held)
        with np.errstate(all="ignore"):
            dots = _replay(r.entries, given, r.slots, safe=False)
            if staged_safe() or not are_finite(dots):
                slots = list(range(len(r.entries)))
                every = _replay(r.entries, _marked(given), slots, safe=True)
                strong = [None if s is None else every[s] for s in r.slots]
                dots = list(map(finite_or, strong, dots))
                explain_replayed(r.entries, dots, every)
        return _like_output(r.outputs, r.values, dots)

    value = tree.unflatten(r.outputs, r.values)
    pushforward = pushforward if now is None else now.inspector.bound(pushforward)
    return (value, pushforward, r.aux) if has_aux else (value, pushforward)


def _replay(entries: list[Any], tangents: list[Any], slots: list[Any], safe: bool) -> list[Any]:
    """Move tangents forward along a tape; return those of the slots asked for."""
    dots: list[Any] = tangents + [None] * (len(entries) - len(tangents))
    for i in range(len(tangents), len(entries)):
        entry = entries[i]
        if entry is None:
            continue
        primitive, y, args, parents, attrs = unpack(entry)
        given = [None if p is None else dots[p] for p in parents]
        if all(t is None for t in given):
            continue
        out = primitive.abstract(*args, **attrs)
        shape = None if primitive.many else out.shape
        t = push(primitive, y, shape, args, given, attrs, safe)
        if primitive.many:
            dots[i : i + len(t)] = [
                fit_dtype(v, a.dtype, safe) for v, a in zip(t, out, strict=True)
            ]
        else:
            dots[i] = fit_dtype(t, out.dtype, safe)
    return [None if s is None else dots[s] for s in slots]


_stop = Primitive(
    "stop_gradient",
    lambda x: x,
    "jax.lax.stop_gradient",
    aval_of,
    Zero(),
    aligned,
)


def stop_gradient(x: Any) -> Any:
    """Return x as a constant: its derivative is zero in every mode and order.

    Args:
      x: A pytree of arrays.

    Returns:
      The same values.

    Example:
      >>> import funcgraph as fg
      >>> fg.grad(lambda x: x * stop_gradient(x))(3.0)
      3.0
    """
    return tree.map(lambda v: v if KIND[type(v)] == NUMPY else _stop(v), x)

"""Products in which a zero that is known to stay zero wins, and others do not.

The usual rules give 0 * inf = nan where a branch was not taken, or where sqrt(x) is followed by
what does not depend on it. The rules below give what the usual rules give wherever that is finite.
They cost more, hence run only after a derivative has come out that is not finite.

The derivatives that are passed on say four things, each in the number itself:

    -0.0  nothing here depends on this value, or this value on the input: times anything it is zero
    0.0   a zero that was computed, such as 2 * y at y = 0: times infinity it is undefined
    inf   backwards: infinite, or undefined, by a function at the border of its domain (sqrt at 0)
    nan   undefined

IEEE sums keep this: -0.0 + -0.0 is -0.0, but -0.0 + 0.0 and 1.0 - 1.0 are 0.0. So it passes loops,
branches and compiled programs as it is. What an operation depends on is seen by sending nan
through its rule.

May import `core`, `ops.elementwise`, `ops.reductions`, `ops.structural`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval, dtype_of, is_inexact, ndim_of, shape_of
from funcgraph.core.primitive import Elementwise
from funcgraph.core.trace import KIND, NUMPY, ValueTracer
from funcgraph.ops.elementwise import (
    absolute,
    equal,
    imag,
    isfinite,
    isinf,
    isnan,
    logical_and,
    logical_or,
    not_equal,
    real,
    signbit,
)
from funcgraph.ops.reductions import reduce_any
from funcgraph.ops.structural import cast, fit, ones, where, zeros

__all__ = [
    "as_given",
    "computed_zeros",
    "constant_seeds",
    "constant_zeros",
    "finite_or",
    "nothing",
    "seeding",
    "strong_bilinear",
    "strong_elementwise",
    "strong_fit",
    "strong_general",
    "strong_linear",
    "strong_opaque",
]


# --- zeros ---------------------------------------------------------------------------------------


def nothing(x: Any) -> Any:
    """Return zeros like x that stay zero in every product."""
    return -zeros(x) if is_inexact(dtype_of(x)) else zeros(x)


def computed_zeros(ct: Any) -> Any:
    """Return ct with zeros that say nothing of what surrounds them."""
    if dtype_of(ct).kind == "c":  # not ct + 0.0, which is ct to XLA
        positive = absolute(real(ct)) + 1j * absolute(imag(ct))
        return where(equal(ct, 0), cast(positive, dtype_of(ct)), ct)
    return where(equal(ct, 0), absolute(ct), ct)


def constant_zeros(ct: Any) -> Any:
    """Return ct with zeros that stay zero in every product."""
    return -(0.0 - ct)


def as_given(ct: Any) -> Any:
    """Return ct, whose zeros are marked already."""
    return ct


# What the zeros of a cotangent or tangent mean that a function is called with.
seeding: ContextVar[Callable[[Any], Any]] = ContextVar("seeding", default=computed_zeros)


@contextlib.contextmanager
def constant_seeds() -> Iterator[None]:
    """Derivatives start from rows of a basis: where those are zero, nothing depends."""
    token = seeding.set(constant_zeros)
    try:
        yield
    finally:
        seeding.reset(token)


def _depends(ct: Any) -> Any:
    """Return where ct is not a zero that stays zero."""
    if not is_inexact(dtype_of(ct)):  # of an integer: it has no derivative
        return np.zeros(shape_of(ct), bool)
    parts = (real(ct), imag(ct)) if dtype_of(ct).kind == "c" else (ct,)
    result = not_equal(ct, 0)
    for part in parts:
        result = logical_or(result, equal(signbit(part), False))
    return result


def _number(value: Any, like: Any) -> Any:
    return dtype_of(like).type(value)


def _probe(ct: Any) -> Any:
    """Return nan where ct is not a zero that stays zero."""
    if not is_inexact(dtype_of(ct)):
        return ct
    nan = complex("nan+nanj") if dtype_of(ct).kind == "c" else float("nan")
    return where(_depends(ct), _number(nan, ct), _number(0, ct))


def _marked(ct: Any, depends: Any) -> Any:
    """Return ct with its zeros, and what is not finite, marked by whether something depends."""
    if not is_inexact(dtype_of(ct)):
        return ct
    return where(depends, computed_zeros(ct), constant_zeros(_finite(ct)))


def _finite(x: Any) -> Any:
    return where(isfinite(x), x, _number(0, x))


def _beneath(x: Any) -> Any:
    while isinstance(x, ValueTracer):
        x = x.value
    return x


def finite_or(strong: Any, usual: Any) -> Any:
    """Return a derivative where it is finite, elsewhere what the usual rules give."""
    if strong is None or usual is None:
        return strong
    found, before = _beneath(strong), _beneath(usual)
    if KIND[type(found)] == NUMPY == KIND[type(before)]:  # a choice spoils derivatives of this one
        if np.isfinite(found).all():
            return strong + 0.0
        if not np.any(np.isfinite(found) > np.isfinite(before)):
            return usual
    return where(isfinite(strong), strong, usual) + 0.0


# --- the rules -----------------------------------------------------------------------------------


def strong_elementwise(
    derivative: Elementwise, k: int, g: Any, y: Any, args: Any, attrs: Any, alone: bool, back: bool
) -> Any:
    """Apply the elementwise rule for argument k.

    Backwards, what is not finite times a slope of zero is zero, at a border: the argument is
    stationary, so the value has an extremum there. Forwards, a tangent of zero says the same of it.

    Args:
      derivative: Of the operation.
      k: Which argument.
      g: The cotangent of the value, or the tangent of the argument.
      y: The value, if the rule reads it.
      args: The arguments.
      attrs: The operation's static keywords.
      alone: Whether the other arguments are constants.
      back: Whether g is a cotangent.
    """
    rule: Any = derivative.rules[k]
    ct = rule(g, y, *args, **attrs)
    slope = rule(ones(g), y, *args, **attrs)
    depends = logical_and(_depends(g), isnan(rule(_probe(g), y, *args, **attrs)))
    if alone and k in derivative.flat:
        depends = logical_and(depends, not_equal(slope, 0))
    steep, border = isinf(slope), False if derivative.border is None else derivative.border(y)
    if not back:
        stationary = logical_and(equal(g, 0), logical_and(steep, border))
        return _marked(where(stationary, _number(0, ct), ct), depends)
    infinite, zero = isinf(g), equal(slope, 0)
    ct = where(isfinite(ct), ct, _number(float("nan"), ct))
    ct = where(logical_and(isfinite(slope), infinite), _number(float("inf"), ct), ct)
    ct = where(logical_and(steep, border), _number(float("inf"), ct), ct)
    ct = where(logical_and(infinite, zero), _number(0, ct), ct)
    return _marked(where(isnan(g), _number(float("nan"), ct), ct), depends)


def strong_linear(rule: Callable[[Any], Any], g: Any) -> Any:
    """Apply a rule that is linear in g (an array, or several) and reads nothing else."""
    many = isinstance(g, tuple)
    ct = rule(g)
    probe = rule(tuple(map(_probe, g)) if many else _probe(g))
    if isinstance(ct, tuple):
        return tuple(_marked(c, isnan(p)) for c, p in zip(ct, probe, strict=True))
    return _marked(ct, isnan(probe))


def strong_fit(ct: Any, x: Any) -> Any:
    """Bring a cotangent to the shape and dtype of its primal."""
    if shape_of(ct) == shape_of(x) and dtype_of(ct) == dtype_of(x):
        return ct
    return strong_linear(lambda g: fit(g, x), ct)


def strong_bilinear(
    product: Callable[[Any, Any], Any], g: Any, x: Any, varies: bool, back: bool
) -> Any:
    """Return product(g, x), bilinear in both; `varies` says whether x does, too."""
    if isinstance(x, Aval):  # only its shape is read
        return strong_linear(lambda ct: product(ct, x), g)

    def meets(mask: Any, other: Any) -> Any:
        """Return where a term has a factor of each kind."""
        return not_equal(product(cast(mask, dtype_of(g)), other), 0)

    nonzero = cast(not_equal(x, 0), dtype_of(x))
    relevant = ones(x) if varies else nonzero
    depends, infinite = _depends(g), isinf(g)
    finite = product(_finite(g), _finite(x))
    if back:
        finite = where(meets(infinite, nonzero), _number(float("inf"), finite), finite)
    lost = isnan(g) if back else equal(isfinite(g), False)
    beyond = cast(equal(isfinite(x), False), dtype_of(x))
    undefined = logical_or(meets(lost, relevant), meets(depends, beyond))
    ct = where(undefined, _number(float("nan"), finite), finite)
    return _marked(ct, meets(depends, relevant))


def _any_depends(gs: Sequence[Any]) -> Any:
    result: Any = False
    for g in gs:
        some = reduce_any(_depends(g), axes=tuple(range(ndim_of(g))))
        result = logical_or(result, some)
    return result


def strong_general(rule: Callable[[Any], Any], g: Any) -> Any:
    """Apply a rule that is linear in g (an array, or several) and reads other values as well."""
    some = _any_depends(g if isinstance(g, tuple) else (g,))
    results = rule(g)
    probes = rule(tuple(map(_probe, g)) if isinstance(g, tuple) else _probe(g))
    return tuple(
        None if r is None or p is None else _marked(r, logical_and(some, isnan(p)))
        for r, p in zip(results, probes, strict=True)
    )


def strong_opaque(results: Sequence[Any], gs: Sequence[Any]) -> tuple[Any, ...]:
    """Return what a rule of the user's gave for gs: all of it depends, if anything does."""
    some = _any_depends([g for g in gs if g is not None])
    return tuple(None if r is None else _marked(r, some) for r in results)

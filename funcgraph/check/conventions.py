"""Which row of docs/conventions.md a difference is about. May import `check.point`."""

from __future__ import annotations

import numpy as np

from funcgraph.check.point import Point, Step

__all__ = ["DIFFERENT", "FINITE", "PAGE", "different", "finite", "untaken"]

PAGE = "docs/conventions.md"

# By the operation whose own derivative is not finite: the row of "Finite where JAX is not".
FINITE = {
    "sqrt": "np.sqrt(np.sum(x**2))",
    "hypot": "np.sqrt(np.sum(x**2))",
    "power": "x**0.0",
    "arctan2": "np.arctan2(x, 0.0 * x)",
    "logaddexp": "np.logaddexp(x, -np.inf)",
    "logaddexp2": "np.logaddexp2(x, -np.inf)",
    "log": "x * np.log(x) * 0.0",
}
UNTAKEN = {
    "sqrt": "np.where(x > 0, np.sqrt(x), 0.0)",
    "log": "np.where(x > 0, np.log(x), 0.0)",
    "divide": "np.where(x > 0, x / x, x)",
    "exp": "np.where(x < 1, x, np.exp(x * 1e4))",
}
# By the operation, where its argument is complex, Re x < 0: the row of "Different from JAX".
DIFFERENT = {"arccosh": "np.real(np.arccosh(x))"}


def finite(point: Point) -> str:
    """Return what to say where ours is finite and JAX's is not."""
    singular = point.singular()
    rows = {**FINITE, **UNTAKEN} if untaken(point) else FINITE
    # Our own rules have limits where JAX's have nan.
    limits = ("arctan2", "logaddexp", "logaddexp2", "power")
    candidates = singular + [(n, point.line_of(n)) for n in limits if n in point.names]
    for name, line in candidates:
        if name in rows:
            return f"{PAGE}#finite-where-jax-is-not, row `{rows[name]}`: {name} at {line}"
    where = f": {singular[0][0]} at {singular[0][1]}" if singular else ""
    return f"{PAGE}#finite-where-jax-is-not{where}"


def untaken(point: Point) -> bool:
    """Return whether the function chooses between values: an untaken one may be singular."""
    return "where" in point.names


def different(point: Point) -> str:
    """Return what to say of operations whose derivative is another than JAX's; "" if none."""
    for step in point.steps:
        name = step.equation.primitive.name
        if name in DIFFERENT and _is_left(step):
            line = step.equation.line
            return f"{PAGE}#different-from-jax, row `{DIFFERENT[name]}`: {name} at {line}"
    return ""


def _is_left(step: Step) -> bool:
    x = step.arguments[0]
    return np.iscomplexobj(x) and bool(np.any(np.real(x) < 0))

"""How a gamma variate moves with its shape parameter. May import `core`, `ops`.

At a fixed probability P(a, x), dx/da = -P_a / p (M. Figurnov, S. Mohamed and A. Mnih, "Implicit
reparameterization gradients", NeurIPS 2018). In y = log x, whose density is
g = x^a exp(-x) / Γ(a), all derivatives are ratios to g, which neither overflow nor vanish.

P_a / g is summed as a power series for small x; for larger x it is the integral of
(log t - ψ(a)) g(t) / g(x) over t below x or, since the whole integral is 0, minus that above x.
The side is chosen so that the integrand does not change its sign. With t = x exp(-s) below and
t = x + s above, both are integrals over s > 0 for the exp-sinh rule (H. Takahasi and M. Mori, Publ.
RIMS 9 (1974) 721). P_aa / g is found in the same way.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval, promote
from funcgraph.core.primitive import Elementwise, Primitive
from funcgraph.errors import NonDifferentiableError

__all__ = ["digamma", "gamma_slope"]

_BLOCK = 1 << 12  # numbers at a time, so that their arrays stay in the cache
_TERMS = 28  # of the series, for x <= _SMALL
_SMALL = 2.0
_STEP = 1 / 16
_RANGE = range(-58, 33)  # times the step: from where s is 1e-13 to where exp(-s) vanishes
_NODES = [math.exp(math.pi / 2 * math.sinh(k * _STEP)) for k in _RANGE]
_WEIGHTS = [
    _STEP * math.pi / 2 * math.cosh(k * _STEP) * node
    for k, node in zip(_RANGE, _NODES, strict=True)
]
_SHIFT = 8  # the asymptotic series of ψ is used beyond
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6)


def digamma(xp: Any, a: Any) -> tuple[Any, Any]:
    """Return ψ(a) and ψ'(a) for a > 0 (DLMF 5.5.2, 5.11.2)."""
    psi = slope = 0 * a
    for k in range(_SHIFT):
        r = 1 / (a + k)
        psi, slope = psi - r, slope + r * r
    b = a + _SHIFT
    r = 1 / (b * b)
    power, series, slope_series = 1.0, 0.0, 0.0
    for n, c in enumerate(_BERNOULLI, 1):
        power = power * r
        series, slope_series = series + c / (2 * n) * power, slope_series + c * power
    return psi + xp.log(b) - 0.5 / b - series, slope + 1 / b + 0.5 * r + slope_series / b


def _series(a: Any, x: Any, log: Any, slope: Any, second: bool) -> Any:
    """Return P_a / g, or P_aa / g; `log` is log x - ψ(a + 1), `slope` is ψ'(a + 1).

    P = g/a S, S = Σ xⁿ / ((a + 1) ... (a + n)) (DLMF 8.11.4), differentiated term by term.
    """
    term = s = 1 + 0 * a
    term1 = term2 = s1 = s2 = 0 * a
    for n in range(1, _TERMS):
        r = 1 / (a + n)
        term = term * x * r
        term1 = (term1 * x - term) * r
        s, s1 = s + term, s1 + term1
        if second:
            term2 = (term2 * x - 2 * term1) * r
            s2 = s2 + term2
    if second:
        return (s * (log * log - slope) + 2 * s1 * log + s2) / a
    return (s * log + s1) / a


def _side(xp: Any, a: Any, x: Any, log: Any) -> tuple[Any, Any]:
    """Return whether to integrate below x, and the length to measure s in; `log` is log x - ψ."""
    below = log <= 0
    lower = 1 / (a - xp.where(below, x, 0) + xp.sqrt(a))
    upper = 1 / (xp.maximum(0, 1 - a / x) + 1 / xp.sqrt(x + 1))
    return below, xp.where(below, lower, upper)


def _integrand(xp: Any, a: Any, x: Any, log: Any, slope: Any, below: Any, s: Any) -> Any:
    """Return the integrand of P_a / g, or, given `slope`, that of P_aa / g."""
    near = xp.where(below, 0, s)  # what the other side would overflow at
    by = xp.where(below, -s, xp.log1p(near / x))
    exponent = xp.where(below, -a * s - x * xp.expm1(xp.where(below, -s, 0)), a * by - s)
    q = by + log
    q = q if slope is None else q * q - slope
    value = xp.exp(exponent) * q
    return xp.where(exponent < -745, 0, xp.where(below, value, -value / (x + near)))


def _np_integral(a: Any, x: Any, log: Any, slope: Any) -> Any:
    below, scale = _side(np, a, x, log)
    total = np.zeros_like(a)
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        total += weight * _integrand(np, a, x, log, slope, below, node * scale)
    return scale * total


def _ratios(a: Any, y: Any, second: bool) -> Any:
    """Return P_a / g, or P_aa / g, for float64 vectors."""
    psi, slope = digamma(np, a)
    x = np.exp(y)
    out = np.empty_like(a)
    small = x <= _SMALL
    few = np.flatnonzero(small)
    if few.size:
        b = a[few]
        r = 1 / b
        out[few] = _series(b, x[few], y[few] - (psi[few] + r), slope[few] - r * r, second)
    few = np.flatnonzero(~small)
    if few.size:
        args = a[few], x[few], y[few] - psi[few], slope[few] if second else None
        out[few] = _np_integral(*args)
    return out


def _parts(xp: Any, ratios: Any, a: Any, y: Any, part: str) -> Any:
    """Return L = dy/da = -P_a / g, its derivative by a or that by y."""
    value = -ratios(a, y, False)
    if part == "value":
        return value
    log = y - digamma(xp, a)[0]
    if part == "a":
        return -ratios(a, y, True) - value * log
    return -log - value * (a - xp.exp(y))


def _np_slope(a: Any, y: Any, part: str) -> Any:
    dtype = np.result_type(a, y)
    a, y = np.broadcast_arrays(np.asarray(a, float), np.asarray(y, float))
    shape, a, y = a.shape, a.reshape(-1), y.reshape(-1)
    out = np.empty(a.shape)
    with np.errstate(all="ignore"):
        for start in range(0, a.size, _BLOCK):
            lanes = slice(start, start + _BLOCK)
            out[lanes] = _parts(np, _ratios, a[lanes], y[lanes], part)
    return out.reshape(shape).astype(dtype)[()]


def _jax_slope(jax: Any, a: Any, y: Any, part: str) -> Any:
    jnp = jax.numpy

    def ratios(a: Any, y: Any, second: bool) -> Any:
        psi, slope = digamma(jnp, a)
        x = jnp.exp(y)
        small = x <= _SMALL
        r = 1 / a
        near = jnp.where(small, x, 1)
        series = _series(a, near, y - (psi + r), slope - r * r, second)
        far, log = jnp.where(small, _SMALL, x), jnp.where(small, math.log(_SMALL), y) - psi
        below, scale = _side(jnp, a, far, log)
        nodes, weights = (jnp.asarray(v, a.dtype) for v in (_NODES, _WEIGHTS))
        a, far, log, slope, below = (v[..., None] for v in (a, far, log, slope, below))
        s = nodes * scale[..., None]
        values = _integrand(jnp, a, far, log, slope if second else None, below, s)
        return jnp.where(small, series, scale * jnp.sum(weights * values, axis=-1))

    dtype = jnp.promote_types(a.dtype, y.dtype)
    wide = jnp.promote_types(dtype, np.float32)
    a, y = jnp.broadcast_arrays(jnp.asarray(a, wide), jnp.asarray(y, wide))
    return _parts(jnp, ratios, a, y, part).astype(dtype)


def _rule(which: str) -> Any:
    def rule(g: Any, out: Any, a: Any, y: Any, part: str) -> Any:
        if part != "value":
            raise NonDifferentiableError(
                "gamma variates are differentiated twice by their shape parameter, not more often: "
                "use a constant there, for example funcgraph.stop_gradient(...)."
            )
        return g * gamma_slope(a, y, part=which)

    return rule


def _aval_slope(a: Aval, y: Aval, part: str) -> Aval:
    return Aval(np.broadcast_shapes(a.shape, y.shape), promote(a, y))


# The derivative of the logarithm y of a gamma variate by its shape a ("value"), and the derivatives
# of that by a ("a") and by y ("y").
gamma_slope = Primitive(
    "gamma_slope",
    _np_slope,
    _jax_slope,
    _aval_slope,
    Elementwise(_rule("a"), _rule("y"), keep="x"),
)

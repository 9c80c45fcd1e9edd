"""Primitives of SciPy's ufuncs: one row each, as in `ops.elementwise`.

A rule r(g, y, *args) gives g times the derivative by one argument. Formulas without a source are in
NIST's Digital Library of Mathematical Functions (DLMF). May import `core`, `ops`; `scipy.special`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special as ss

from funcgraph.core.aval import Aval, aval_of, dtype_of, promote
from funcgraph.core.primitive import (
    Binary,
    Elementwise,
    General,
    Primitive,
    Unary,
    Zero,
    aligned,
    register_ufunc,
    ufunc_aval,
)
from funcgraph.core.trace import UFUNCS
from funcgraph.errors import NonDifferentiableError
from funcgraph.ops import elementwise as ew
from funcgraph.ops import special as np_special
from funcgraph.ops.elementwise import (
    absolute,
    cos,
    equal,
    exp,
    greater,
    is_complex,
    less,
    log,
    logical_and,
    power,
    sin,
)
from funcgraph.ops.structural import cast, where
from funcgraph.scipy import _numerics

__all__ = [
    "airy", "beta", "betainc", "betaincinv", "betaln", "binom", "boxcox", "boxcox1p", "cbrt",
    "cosm1", "dawsn", "digamma", "ellipe", "ellipk", "entr", "erf", "erfc", "erfcinv", "erfcx",
    "erfi", "erfinv", "exp1", "exp2", "exp10", "expi", "expit", "expm1", "expn", "exprel",
    "fresnel", "gamma", "gammainc", "gammaincc", "gammaincinv", "gammaln", "gammasgn", "huber",
    "hyp1f1", "hyp2f1", "i0", "i0e", "i1", "i1e", "inv_boxcox", "inv_boxcox1p", "iv", "j0", "j1",
    "jn", "jv", "k0", "k0e", "k1", "k1e", "kl_div", "kn", "kv", "log1p", "log_expit", "log_ndtr",
    "loggamma", "logit", "ndtr", "ndtri", "owens_t", "poch", "pseudo_huber", "psi", "rel_entr",
    "rgamma", "sici", "spence", "wofz", "xlog1py", "xlogy", "y0", "y1", "yn", "yv",
]  # fmt: skip

PI, SQRT2, SQRT_PI = math.pi, math.sqrt(2), math.sqrt(math.pi)
TWO_OVER_SQRT_PI, SQRT_2PI = 2 / SQRT_PI, math.sqrt(2 * PI)


def _row(
    name: str, *rules: Any, keep: str = "x", jax: Any = None, ufunc: Any = None, **zeros: Any
) -> Any:
    """Declare the primitive of scipy.special.<name>; without rules it is constant."""
    ufunc = ufunc or getattr(ss, name)
    derivative = Elementwise(*rules, keep=keep, **zeros) if rules else Zero()
    cls = {1: Unary, 2: Binary}.get(ufunc.nin, Primitive)
    jax = jax or f"jax.scipy.special.{name}"
    primitive = cls(name, ufunc, jax, ufunc_aval(ufunc), derivative)
    register_ufunc(primitive)
    return primitive


def _refuse(name: str, argument: str) -> Callable[..., Any]:
    """Return a rule that says that a function has no derivative by one of its arguments."""

    def rule(*_: Any, **__: Any) -> Any:
        raise NonDifferentiableError(
            f"the derivative of {name} (scipy.special) by {argument} is not known: use a constant "
            "there, for example funcgraph.stop_gradient(...)."
        )

    return rule


def _many(name: str, slopes: Callable[..., Any]) -> Any:
    """Declare a primitive of one argument and several values; slopes(y, x) are derivatives."""
    ufunc = getattr(ss, name)

    def jvp(t: Any, y: Any, x: Any) -> Any:
        return tuple(cast(s * t[0], dtype_of(v)) for s, v in zip(slopes(y, x), y, strict=True))

    def vjp(g: Any, y: Any, x: Any) -> Any:
        return (sum(s * ct for s, ct in zip(slopes(y, x), g, strict=True)),)

    def aval(x: Aval) -> tuple[Aval, ...]:
        dtype = x.dtype if x.weak is None else x.weak
        dtypes = ufunc.resolve_dtypes((dtype, *[None] * ufunc.nout))[1:]
        return tuple(Aval(x.shape, d) for d in dtypes)

    jax = f"jax.scipy.special.{name}"
    primitive = Primitive(name, ufunc, jax, aval, General(jvp, vjp), aligned, many=True)
    register_ufunc(primitive)
    return primitive


def _ufunc_behind(function: Callable[..., Any], *args: Any) -> Any:
    """Return the ufunc that a Python function of SciPy applies to its first argument."""

    class Probe:
        def __array_ufunc__(self, ufunc: Any, *_: Any, **__: Any) -> Any:
            return ufunc

    return function(Probe(), *args)


# --- error functions -----------------------------------------------------------------------------


def _erfi_jax(jax: Any, x: Any) -> Any:
    return TWO_OVER_SQRT_PI * jax.numpy.exp(x * x) * jax.scipy.special.dawsn(x)


# fmt: off
erf = _row("erf", lambda g, y, x: g * (TWO_OVER_SQRT_PI * exp(-(x * x))))
erfc = _row("erfc", lambda g, y, x: g * (-TWO_OVER_SQRT_PI * exp(-(x * x))))
erfcx = _row("erfcx", lambda g, y, x: g * (2 * (x * y) - TWO_OVER_SQRT_PI), keep="xy")
erfi = _row("erfi", lambda g, y, x: g * (TWO_OVER_SQRT_PI * exp(x * x)), jax=_erfi_jax)
dawsn = _row("dawsn", lambda g, y, x: g * (1 - 2 * (x * y)), keep="xy")
wofz = _row("wofz", lambda g, y, x: g * (TWO_OVER_SQRT_PI * 1j - 2 * (x * y)), keep="xy")
erfinv = _row("erfinv", lambda g, y, x: g * (SQRT_PI / 2 * exp(y * y)), keep="y")
erfcinv = _row("erfcinv", lambda g, y, x: g * (-SQRT_PI / 2 * exp(y * y)), keep="y",
               jax=lambda jax, x: -jax.scipy.special.ndtri(x / 2) / SQRT2)
ndtr = _row("ndtr", lambda g, y, x: g * (exp(-0.5 * (x * x)) * (1 / SQRT_2PI)))
ndtri = _row("ndtri", lambda g, y, x: g * (SQRT_2PI * exp(0.5 * (y * y))), keep="y")
# The ratio of density and distribution, in the tail too.
log_ndtr = _row("log_ndtr", lambda g, y, x: g * (SQRT2 / SQRT_PI / erfcx(x * (-1 / SQRT2))))
owens_t = _row(
    "owens_t",
    lambda g, y, h, a: g * (exp(-0.5 * (h * h)) * erf(a * h * (1 / SQRT2)) * (-0.5 / SQRT_2PI)),
    lambda g, y, h, a: g * (exp(-0.5 * (h * h) * (1 + a * a)) / (1 + a * a) * (0.5 / PI)),
)
fresnel = _many("fresnel", lambda y, x: (sin(x * x * (PI / 2)), cos(x * x * (PI / 2))))

# --- logistic functions and entropies ------------------------------------------------------------
expit = _row("expit", lambda g, y, x: g * (y * (1 - y)), keep="y")
log_expit = _row("log_expit", lambda g, y, x: g * expit(-x),
                 jax=lambda jax, x: -jax.numpy.logaddexp(0, -x))
logit = _row("logit", lambda g, y, x: g / (x * (1 - x)))
entr = _row("entr", lambda g, y, x: -g * (log(x) + 1), border=lambda y: True)
xlogy = _row("xlogy", lambda g, y, a, b: g * log(b), lambda g, y, a, b: g * _quotient(a, b))
xlog1py = _row("xlog1py", lambda g, y, a, b: g * ew.log1p(b),
               lambda g, y, a, b: g * _quotient(a, 1 + b))
# fmt: on


def _quotient(a: Any, b: Any) -> Any:
    """Return a/b, and 0 for 0/0: x log y does not depend on y where x is 0."""
    return a / where(logical_and(equal(a, 0), equal(b, 0)), 1, b)


def _both_positive(a: Any, b: Any) -> Any:
    return logical_and(greater(a, 0), greater(b, 0))


def _log_ratio(a: Any, b: Any, shift: int) -> Any:
    """Return log(a/b) + shift, and 0 where not both are positive, as JAX's derivative is."""
    safe = _both_positive(a, b)
    return where(safe, log(where(safe, a, 1) / where(safe, b, 1)) + shift, 0)


def _ratio(a: Any, b: Any) -> Any:
    safe = _both_positive(a, b)
    return where(safe, a / where(safe, b, 1), 0)


rel_entr = _row(
    "rel_entr", lambda g, y, a, b: g * _log_ratio(a, b, 1), lambda g, y, a, b: -g * _ratio(a, b)
)
kl_div = _row(
    "kl_div",
    lambda g, y, a, b: g * (_log_ratio(a, b, 1) - 1),
    lambda g, y, a, b: g * (1 - _ratio(a, b)),
)

# --- gamma and related functions -----------------------------------------------------------------


def _psi_slope(g: Any, y: Any, x: Any) -> Any:
    if is_complex(x):
        _refuse("psi", "complex x")()
    return g * zeta(2, x)


def zeta_slope(s: Any, q: Any) -> Any:
    """Return the derivative of Σ (q + k)^-s by s, by the formula of Euler and Maclaurin.

    Source: F. Johansson, Numer. Algorithms 69 (2015) 253, eq. (5), differentiated term by term.
    """
    bernoulli = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
    terms = 14
    log = math.log if type(q) in (int, float) and q > 0 else ew.log
    total: Any = 0.0
    for k in range(terms):
        total = total - log(q + k) * power(q + k, -s)
    w = q + terms
    last, log_w, tail = power(w, -s), log(w), 1 / (s - 1)
    total = total - last * (w * tail * (log_w + tail) + 0.5 * log_w)
    rising, slope = s, 1 / s  # s (s + 1) ..., and the derivative of its logarithm
    for j, b in enumerate(bernoulli):
        scale = w ** (-2 * j - 1.0) * (b / math.factorial(2 * j + 2))
        total = total + rising * last * scale * (slope - log_w)
        for m in (2 * j + 1, 2 * j + 2):
            rising, slope = rising * (s + m), slope + 1 / (s + m)
    return total


# fmt: off
gamma = _row("gamma", lambda g, y, x: g * (y * psi(x)), keep="xy")
rgamma = _row("rgamma", lambda g, y, x: -g * (y * psi(x)), keep="xy",
              jax=lambda jax, x: 1 / jax.scipy.special.gamma(x))
gammaln = _row("gammaln", lambda g, y, x: g * psi(x))
loggamma = _row("loggamma", lambda g, y, x: g * psi(x))
gammasgn = _row("gammasgn")
psi = _row("psi", _psi_slope, jax="jax.scipy.special.digamma")
beta = _row("beta", lambda g, y, a, b: g * (y * (psi(a) - psi(a + b))),
            lambda g, y, a, b: g * (y * (psi(b) - psi(a + b))), keep="xy")
betaln = _row("betaln", lambda g, y, a, b: g * (psi(a) - psi(a + b)),
              lambda g, y, a, b: g * (psi(b) - psi(a + b)))
poch = _row("poch", lambda g, y, z, m: g * (y * (psi(z + m) - psi(z))),
            lambda g, y, z, m: g * (y * psi(z + m)), keep="xy")
binom = _row("binom", lambda g, y, n, k: g * (y * (psi(n + 1) - psi(n - k + 1))),
             lambda g, y, n, k: g * (y * (psi(n - k + 1) - psi(k + 1))), keep="xy",
             jax="jax.scipy.special.comb")
zeta = _row("zeta", lambda g, y, s, q: g * zeta_slope(s, q),
            lambda g, y, s, q: -g * (s * zeta(s + 1, q)),
            ufunc=_ufunc_behind(ss.zeta, 1.0))
riemann_zeta = _row("riemann_zeta", lambda g, y, s: g * zeta_slope(s, 1.0),
                    jax=lambda jax, s: jax.scipy.special.zeta(s, 1.0), ufunc=_ufunc_behind(ss.zeta))
gammainc = _row("gammainc", lambda g, y, a, x: g * gammainc_slope(a, x),
                lambda g, y, a, x: g * _gamma_density(a, x))
gammaincc = _row("gammaincc", lambda g, y, a, x: -g * gammainc_slope(a, x),
                 lambda g, y, a, x: -g * _gamma_density(a, x))
gammaincinv = _row("gammaincinv", _refuse("gammaincinv", "a"),
                   lambda g, y, a, p: g / _gamma_density(a, y), keep="xy")
betainc = _row("betainc", _refuse("betainc", "a"), _refuse("betainc", "b"),
               lambda g, y, a, b, x: g * _beta_density(a, b, x))
betaincinv = _row("betaincinv", _refuse("betaincinv", "a"), _refuse("betaincinv", "b"),
                  lambda g, y, a, b, p: g / _beta_density(a, b, y), keep="xy")
# fmt: on


def _strong(*args: Any) -> list[Any]:
    """Give Python scalars the dtype of the other arguments, which SciPy's ufuncs do not do."""
    dtype = promote(*map(aval_of, args), Aval((), np.dtype(float), float))
    return [dtype.type(v) if type(v) in (int, float) else v for v in args]


def _gamma_density(a: Any, x: Any) -> Any:
    a, x = _strong(a, x)
    return exp(xlogy(a - 1, x) - x - gammaln(a))


def _beta_density(a: Any, b: Any, x: Any) -> Any:
    a, b, x = _strong(a, b, x)
    return exp(xlogy(a - 1, x) + xlog1py(b - 1, -x) - betaln(a, b))


def _aval_float(*avals: Aval, **_: Any) -> Aval:
    dtype = promote(*avals, Aval((), np.dtype(float), float))
    return Aval(np.broadcast_shapes(*[a.shape for a in avals]), dtype)


def _jax_slope(jax: Any, f: Callable[..., Any], args: Any, which: int) -> Any:
    args = jax.numpy.broadcast_arrays(*args)

    def vary(v: Any) -> Any:
        return f(*args[:which], v, *args[which + 1 :])

    return jax.jvp(vary, (args[which],), (jax.numpy.ones_like(args[which]),))[1]


gammainc_slope = Primitive(
    "gammainc_slope",
    _numerics.gammainc_slope,
    lambda jax, a, x: _jax_slope(jax, jax.scipy.special.gammainc, (a, x), 0),
    _aval_float,
    Elementwise(
        _refuse("the derivative of gammainc by a", "a"),
        lambda g, y, a, x: g * (_gamma_density(a, x) * (log(x) - psi(a))),
        keep="x",
    ),
)

# --- exponential integrals and related functions -------------------------------------------------


def _expn_slope(g: Any, y: Any, n: Any, x: Any) -> Any:
    if type(n) is int and n > 0:
        return -g * expn(n - 1, x)
    zero = equal(n, 0)
    return -g * where(zero, exp(-x) * (1 + 1 / x) / x, expn(where(zero, 1, n) - 1, x))


def _spence_slope(x: Any) -> Any:
    """Return log(x) / (1 - x), and near 1 its power series."""
    h = x - 1
    near = less(absolute(h), 1e-3)
    series = h * (h * (h * (h * (h * (1 / 6) - 1 / 5) + 1 / 4) - 1 / 3) + 1 / 2) - 1
    return where(near, series, log(x) / where(near, 1, -h))


def _exprel_slope(x: Any) -> Any:
    """Return the derivative of (exp(x) - 1)/x, which is ((x - 1) exp(x) + 1)/x².

    Near 0 that cancels, and 1F1(2, 3, x)/2 is used; SciPy's 1F1 does not return for huge x.
    """
    far = ew.greater(absolute(x), 1)
    z = where(far, x, 1)
    return where(far, ((z - 1) * exp(z) + 1) / (z * z), 0.5 * hyp1f1(2, 3, where(far, 0, x)))


def _box_cox_slope(log_x: Any, p: Any) -> Any:
    """Return the derivative of (exp(p log x) - 1)/p by p, which is log² x / 2 at p = 0."""
    return log_x * log_x * _exprel_slope(p * log_x)


# fmt: off
exp1 = _row("exp1", lambda g, y, x: -g * (exp(-x) / x))
expi = _row("expi", lambda g, y, x: g * (exp(x) / x))
expn = _row("expn", _refuse("expn", "n"), _expn_slope)
exprel = _row("exprel", lambda g, y, x: g * _exprel_slope(x),
              jax=lambda jax, x: jax.scipy.special.hyp1f1(1.0, 2.0, x))
sici = _many("sici", lambda y, x: (np_special.sinc(x * (1 / PI), order=0), cos(x) / x))
spence = _row("spence", lambda g, y, x: g * _spence_slope(x))
boxcox = _row("boxcox", lambda g, y, x, p: g * power(x, p - 1),
              lambda g, y, x, p: g * _box_cox_slope(log(x), p))
boxcox1p = _row("boxcox1p", lambda g, y, x, p: g * power(1 + x, p - 1),
                lambda g, y, x, p: g * _box_cox_slope(ew.log1p(x), p))
# The rules of the inverse functions: x is the value, y and p are the arguments.
inv_boxcox = _row(
    "inv_boxcox",
    lambda g, x, y, p: g * power(x, 1 - p),
    lambda g, x, y, p: -g * (_box_cox_slope(log(x), p) * power(x, 1 - p)),
    keep="xy",
)
inv_boxcox1p = _row(
    "inv_boxcox1p",
    lambda g, x, y, p: g * power(1 + x, 1 - p),
    lambda g, x, y, p: -g * (_box_cox_slope(ew.log1p(x), p) * power(1 + x, 1 - p)),
    keep="xy",
)
huber = _row("huber", lambda g, y, d, r: g * ew.maximum(absolute(r) - d, 0),
             lambda g, y, d, r: g * ew.minimum(ew.maximum(r, -d), d))
pseudo_huber = _row(
    "pseudo_huber",
    lambda g, y, d, r: g * (ew.hypot(d, r) + d * d / ew.hypot(d, r) - 2 * d),
    lambda g, y, d, r: g * (d * r / ew.hypot(d, r)),
)
# fmt: on

# --- hypergeometric functions --------------------------------------------------------------------


def _hyper_slope_rule(k: int) -> Callable[..., Any]:
    def rule(g: Any, y: Any, *args: Any, which: int) -> Any:
        if k != len(args) - 1:
            _refuse("the derivative of a hypergeometric function by a parameter", "a parameter")()
        *p, x = _strong(*args)
        n = len(p) - 1  # parameters of the numerator
        raised = [v + 1 for v in p]
        ratio = p[0] / p[1] if n == 1 else p[0] * p[1] / p[2]
        # The derivative of the ratio by its parameter, written so that 0 / 0 cannot arise.
        others = [v for j, v in enumerate(p) if j not in (which, n)]
        slope = -ratio / p[n] if which == n else (others[0] if others else 1) / p[n]
        value = (hyp1f1 if n == 1 else hyp2f1)(*raised, x)
        return g * (slope * value + ratio * hyper_slope(*raised, x, which=which))

    return rule


def _jax_hyper_slope(jax: Any, *args: Any, which: int) -> Any:
    functions = jax.scipy.special
    return _jax_slope(jax, functions.hyp1f1 if len(args) == 3 else functions.hyp2f1, args, which)


# The derivative of hyp1f1(a, b, x), or hyp2f1(a, b, c, x) for |x| < 1, by parameter `which`.
hyper_slope = Primitive(
    "hyper_slope",
    _numerics.hyper_slope,
    _jax_hyper_slope,
    _aval_float,
    Elementwise(*map(_hyper_slope_rule, range(4)), keep="x"),
)

# fmt: off
hyp1f1 = _row("hyp1f1", lambda g, y, a, b, x: g * hyper_slope(a, b, x, which=0),
              lambda g, y, a, b, x: g * hyper_slope(a, b, x, which=1),
              lambda g, y, a, b, x: g * (a / b * hyp1f1(a + 1, b + 1, x)))
hyp2f1 = _row("hyp2f1", lambda g, y, a, b, c, x: g * hyper_slope(a, b, c, x, which=0),
              lambda g, y, a, b, c, x: g * hyper_slope(a, b, c, x, which=1),
              lambda g, y, a, b, c, x: g * hyper_slope(a, b, c, x, which=2),
              lambda g, y, a, b, c, x: g * (a * b / c * hyp2f1(a + 1, b + 1, c + 1, x)))
ellipk = _row("ellipk", lambda g, y, m: g * (PI / 8 * _elliptic(1.5, m)))
ellipe = _row("ellipe", lambda g, y, m: g * (-PI / 8 * _elliptic(0.5, m)))

# fmt: on


def _elliptic(a: float, m: Any) -> Any:
    return cast(hyp2f1(a, 1.5, 2.0, m), dtype_of(m))


# --- Bessel functions ----------------------------------------------------------------------------
# Of the functions scaled by exp(±x), only real arguments are differentiated by the rules.


def _over(y: Any, x: Any) -> Any:
    """Return y/x, and its limit 1/2 at 0, for i1, i1e, j1."""
    zero = equal(x, 0)
    return where(zero, 0.5, y / where(zero, 1, x))


def _bessel(name: str, order: str, before: float, after: float) -> Any:
    """Declare a function whose derivative is a sum of those of neighbouring orders.

    DLMF 10.6.1 and 10.29.1.
    """

    def slope(g: Any, y: Any, v: Any, z: Any) -> Any:
        return g * (before * bessel(v - 1, z) + after * bessel(v + 1, z))

    bessel: Any = _row(name, _refuse(name, order), slope)
    return bessel


# fmt: off
i0 = _row("i0", lambda g, y, x: g * i1(x))
i1 = _row("i1", lambda g, y, x: g * (i0(x) - _over(y, x)), keep="xy")
i0e = _row("i0e", lambda g, y, x: g * (i1e(x) - ew.sign(x) * y), keep="xy")
i1e = _row("i1e", lambda g, y, x: g * (i0e(x) - ew.sign(x) * y - _over(y, x)), keep="xy")
j0 = _row("j0", lambda g, y, x: -g * j1(x))
j1 = _row("j1", lambda g, y, x: g * (j0(x) - _over(y, x)), keep="xy")
y0 = _row("y0", lambda g, y, x: -g * y1(x))
y1 = _row("y1", lambda g, y, x: g * (y0(x) - y / x), keep="xy")
k0 = _row("k0", lambda g, y, x: -g * k1(x))
k1 = _row("k1", lambda g, y, x: -g * (k0(x) + y / x), keep="xy")
k0e = _row("k0e", lambda g, y, x: g * (y - k1e(x)), keep="xy")
k1e = _row("k1e", lambda g, y, x: g * (y - k0e(x) - y / x), keep="xy")
jv = _bessel("jv", "v", 0.5, -0.5)
yv, yn = _bessel("yv", "v", 0.5, -0.5), _bessel("yn", "n", 0.5, -0.5)
iv = _bessel("iv", "v", 0.5, 0.5)
kv, kn = _bessel("kv", "v", -0.5, -0.5), _bessel("kn", "n", -0.5, -0.5)
airy = _many("airy", lambda y, x: (y[1], x * y[0], y[3], x * y[2]))

# --- elementary functions that NumPy has, or nearly ----------------------------------------------
cosm1 = _row("cosm1", lambda g, y, x: -g * sin(x), jax=lambda jax, x: jax.numpy.cos(x) - 1)
exp10 = _row("exp10", lambda g, y, x: g * (ew.LN10 * y), keep="y", jax=lambda jax, x: 10.0**x)
# fmt: on
cbrt, exp2, expm1, log1p = ew.cbrt, ew.exp2, ew.expm1, ew.log1p
UFUNCS.update({ss.cbrt: cbrt, ss.exp2: exp2, ss.expm1: expm1, ss.log1p: log1p, ss.round: ew.rint})
digamma, jn = psi, jv

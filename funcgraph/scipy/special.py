"""SciPy's special functions, differentiable: `import funcgraph.scipy.special as fss`.

The ufuncs are primitives (SciPy's own, `scipy.special.erf(x)`, work on tracers too). SciPy's other
functions are Python code that NumPy cannot hand to us: for traced arrays use those below.

    >>> import funcgraph as fg
    >>> import funcgraph.scipy.special as fss
    >>> print(fg.grad(fss.gammaln)(1.0))
    -0.5772156649015329

May import `core`, `ops`, `numpy`, `transforms`; `scipy.special`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special as ss

from funcgraph.core.aval import Aval, dtype_of
from funcgraph.core.primitive import Elementwise, Primitive
from funcgraph.core.trace import KIND
from funcgraph.numpy import elementwise as fnp
from funcgraph.numpy import reductions as red
from funcgraph.numpy._exponentials import largest, weighted_sum
from funcgraph.numpy._register import function
from funcgraph.numpy.creation import as_array, as_floats
from funcgraph.ops import elementwise as ew
from funcgraph.ops.elementwise import equal, exp, greater_equal, log, real_dtype
from funcgraph.ops.structural import cast, where
from funcgraph.scipy import _primitives
from funcgraph.scipy._primitives import *  # noqa: F403
from funcgraph.scipy._primitives import binom, gamma, gammaln, psi, riemann_zeta
from funcgraph.scipy._primitives import zeta as hurwitz_zeta
from funcgraph.transforms.linear import stop_gradient

__all__ = [
    "comb",
    "factorial",
    "log_softmax",
    "logsumexp",
    "multigammaln",
    "polygamma",
    "sinc",
    "softmax",
    "sph_harm_y",
    "zeta",
]
__all__ += _primitives.__all__

sinc = fnp.sinc


def _scipy(name: str) -> Any:
    return function(getattr(ss, name), jax=f"jax.scipy.special.{name}")


# --- sums of exponentials ------------------------------------------------------------------------


@_scipy("logsumexp")
def logsumexp(
    a: Any, axis: Any = None, b: Any = None, keepdims: bool = False, return_sign: bool = False
) -> Any:
    """Return log Σ b exp(a) along axes, without overflow.

    Args:
      a: Array.
      axis: Axis, tuple of axes, or None for all.
      b: Weights, of a shape that broadcasts with a.
      keepdims: Whether the reduced axes stay, with length 1.
      return_sign: Whether to return (log |Σ|, sign of Σ) instead.
    """
    return weighted_sum(a, axis, b, keepdims, return_sign)


@_scipy("softmax")
def softmax(x: Any, axis: Any = None) -> Any:
    """Return exp(x) / Σ exp(x), the sum along axes (None: all)."""
    x = as_floats(x)
    terms = exp(x - stop_gradient(red.max(x, axis=axis, keepdims=True)))
    return terms / red.sum(terms, axis=axis, keepdims=True)


@_scipy("log_softmax")
def log_softmax(x: Any, axis: Any = None) -> Any:
    """Return x - log Σ exp(x), the sum along axes (None: all)."""
    x = as_floats(x)
    shifted = x - largest(x, axis)
    return shifted - log(red.sum(exp(shifted), axis=axis, keepdims=True))


# --- gamma and related functions -----------------------------------------------------------------


@_scipy("polygamma")
def polygamma(n: Any, x: Any) -> Any:
    """Return the n-th derivative of digamma, (-1)^(n+1) n! ζ(n + 1, x); n is an integer."""
    n, x = as_array(n), as_array(x)
    n = n if KIND[type(n)] else np.asarray(n)
    higher = (-1.0) ** (n + 1) * gamma(n + 1.0) * hurwitz_zeta(n + 1, x)
    return where(equal(n, 0), psi(x), higher)


@_scipy("zeta")
def zeta(x: Any, q: Any = None) -> Any:
    """Return Hurwitz' zeta function Σ (q + k)^-x over k >= 0; Riemann's, if q is None."""
    return riemann_zeta(as_array(x)) if q is None else hurwitz_zeta(as_array(x), as_array(q))


@_scipy("multigammaln")
def multigammaln(a: Any, d: int) -> Any:
    """Return the logarithm of the gamma function in d dimensions, at a > (d - 1)/2."""
    a = as_array(a)
    total: Any = (d * (d - 1) * 0.25) * np.log(np.pi)  # in float64, as SciPy's
    for j in range(d):
        total = total + gammaln(a - 0.5 * j)
    return total


@_scipy("factorial")
def factorial(n: Any, exact: bool = False, extend: str = "zero") -> Any:
    """Return Γ(n + 1), and 0 for negative n (unless extend is "complex")."""
    _refuse_exact(exact)
    n = as_array(n)
    values = gamma(n + 1)
    return values if extend == "complex" else where(greater_equal(n, 0), values, np.float64(0))


@_scipy("comb")
def comb(N: Any, k: Any, *, exact: bool = False, repetition: bool = False) -> Any:
    """Return how many ways there are to choose k of N things, continued to real numbers."""
    _refuse_exact(exact)
    N, k = (v if KIND[type(v)] else np.asarray(v) for v in (as_array(N), as_array(k)))
    if repetition:
        none = ew.logical_and(equal(k, 0), greater_equal(N, 0))
        return where(none, 1.0, binom(N + k - 1, k))
    some = ew.logical_and(greater_equal(N, 0), greater_equal(k, 0))
    valid = ew.logical_and(greater_equal(N, k), some)
    return where(valid, binom(N, k), 0.0)


def _refuse_exact(exact: bool) -> None:
    if exact:
        raise ValueError("exact=True gives integers, which have no derivative")


# --- spherical harmonics -------------------------------------------------------------------------


def _aval_sph_harm(n: Aval, m: Aval, theta: Aval, phi: Aval) -> Aval:
    examples = [np.ones((), a.dtype) if a.weak is None else a.weak(1) for a in (n, m, theta, phi)]
    shape = np.broadcast_shapes(n.shape, m.shape, theta.shape, phi.shape)
    return Aval(shape, ss.sph_harm_y(*examples).dtype)


def _by_theta(g: Any, y: Any, n: Any, m: Any, theta: Any, phi: Any) -> Any:
    """By the ladder operators (DLMF 14.30): no division by sin θ, hence right at the poles too."""
    real = real_dtype(dtype_of(y))
    up, down = (cast(np.sqrt(np.maximum((n - s * m) * (n + s * m + 1), 0)), real) for s in (1, -1))
    phase = exp(1j * phi)
    raised = _at_order(n, m, 1, theta, phi) / phase
    lowered = _at_order(n, m, -1, theta, phi) * phase
    return g * (0.5 * (up * raised - down * lowered))


def _by_phi(g: Any, y: Any, n: Any, m: Any, theta: Any, phi: Any) -> Any:
    return g * (1j * cast(m, real_dtype(dtype_of(y))) * y)


def _at_order(n: Any, m: Any, step: int, theta: Any, phi: Any) -> Any:
    """Return the function of order m + step; of order m, where there is none (its factor is 0)."""
    order = m + step
    return spherical_harmonic(n, np.where(np.abs(order) <= n, order, m), theta, phi)


spherical_harmonic = Primitive(
    "sph_harm_y",
    lambda *args: ss.sph_harm_y(*args),
    "jax.scipy.special.sph_harm_y",
    _aval_sph_harm,
    Elementwise(None, None, _by_theta, _by_phi, keep="xy"),
)


@_scipy("sph_harm_y")
def sph_harm_y(n: Any, m: Any, theta: Any, phi: Any) -> Any:
    """Return the spherical harmonic of degree n and order m at polar angle θ and azimuth φ."""
    return spherical_harmonic(*map(as_array, (n, m, theta, phi)))

"""Gamma variates and their derivative by the shape parameter. May import `core`, `ops`, `random`.

Marsaglia and Tsang, "A simple method for generating gamma variables", ACM Trans. Math. Software 26
(2000) 363: with d = a - 1/3 and v = (1 + z / (3 √d))³, z normal, d v is accepted if
log u < z²/2 + d (1 - v + log v). Shapes a < 1 are drawn as Gamma(a + 1) u^(1/a). Every element has
a key of its own, which is split as in jax.random.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval
from funcgraph.core.primitive import General, Primitive
from funcgraph.ops import elementwise as ew
from funcgraph.ops.structural import spread, where
from funcgraph.random.implicit import gamma_slope
from funcgraph.random.numbers import normal_from_bits, unit
from funcgraph.random.threefry import PAIRS, block, number, random_bits

__all__ = ["batch_with_keys", "gammas", "lanes_on_jax"]

_LANES = 1 << 12  # variates at a time, so that their arrays stay in the cache


def _np_gamma(key: Any, a: Any, log: bool) -> Any:
    key, a = np.asarray(key), np.asarray(a)
    count = math.prod(a.shape[key.ndim - 1 :])
    keys = random_bits.numpy(key, shape=(count,), width=PAIRS).reshape(-1, 2)
    flat = a.reshape(-1)
    out = np.empty_like(flat)
    with np.errstate(all="ignore"):
        for start in range(0, flat.size, _LANES):
            part = slice(start, start + _LANES)
            out[part] = _variates(keys[part].T, np.where(flat[part] >= 0, flat[part], np.nan), log)
    return out.reshape(a.shape)[()]


def _variates(keys: Any, a: Any, log: bool) -> Any:
    """Return one variate for each column of keys."""
    real = a.dtype.type
    boosted = ~(a >= 1)
    d = a + boosted.astype(a.dtype) - real(1 / 3)
    v = _accepted(block(keys, 0), d)
    out = np.log(d) + np.log(v) if log else d * v
    few = np.flatnonzero(boosted)
    if few.size:
        u = _uniform(block(keys[:, few], 1), a.dtype)
        if log:
            noise = np.log1p(-u)
            out[few] += np.where(noise == 0, 0, noise * (1 / a[few]))
        else:
            out[few] *= (1 - u) ** (1 / a[few])
    return out


def _accepted(keys: Any, d: Any) -> Any:
    """Return v for every lane; those that reject go on together."""
    real = d.dtype.type
    c = real(1 / 3) / np.sqrt(d)
    out = np.empty_like(d)
    lanes = np.arange(d.size)
    while lanes.size:
        z, v = _positive(block(keys, 1), c[lanes])
        u = _uniform(block(keys, 2), d.dtype)
        z, v = z * z, v * v * v
        out[lanes] = v
        again = np.flatnonzero(u >= 1 - real(0.0331) * (z * z))
        slow, v = d[lanes[again]], v[again]
        bound = z[again] * real(0.5) + slow * (1 - v + np.log(v))
        again = again[np.log(u[again]) >= bound]
        lanes, keys = lanes[again], block(keys[:, again], 0)
    return out


def _positive(keys: Any, c: Any) -> tuple[Any, Any]:
    """Draw normal z until 1 + c z > 0; return both."""
    z = _normal(block(keys, 1), c.dtype)
    v = 1 + z * c
    lanes = np.flatnonzero(v <= 0)
    while lanes.size:
        keys = block(keys if lanes.size == keys.shape[1] else keys[:, lanes], 0)
        z[lanes] = _normal(block(keys, 1), c.dtype)
        v[lanes] = 1 + z[lanes] * c[lanes]
        again = np.flatnonzero(v[lanes] <= 0)
        lanes, keys = lanes[again], keys[:, again]
    return z, v


def _normal(keys: Any, dtype: Any) -> Any:
    return normal_from_bits(number(keys, 0, 8 * dtype.itemsize), dtype)


def _uniform(keys: Any, dtype: Any) -> Any:
    return unit.numpy(number(keys, 0, 8 * dtype.itemsize), dtype=dtype)


def lanes_on_jax(jax: Any, draw: Any, key: Any, *parameters: Any) -> Any:
    """Apply a sampler of JAX's to a key and parameters, or to each of an array of keys."""

    def one(key: Any, *parameters: Any) -> Any:
        return draw(jax.random.wrap_key_data(key, impl="threefry2x32"), *parameters)

    for _ in range(key.ndim - 1):
        one = jax.vmap(one)
    wide = any(p.dtype.itemsize == 8 for p in parameters)
    with jax.enable_x64(True) if wide else nullcontext():
        return one(key, *parameters)


def batch_with_keys(primitive: Any, size: int, args: Any, batched: Any, attrs: Any) -> Any:
    """Batch a sampler: every lane needs a key and parameters of its own."""
    return primitive(*[spread(a, size, b) for a, b in zip(args, batched, strict=True)], **attrs)


def _jax_gamma(jax: Any, key: Any, a: Any, log: bool) -> Any:
    sampler = jax.random.loggamma if log else jax.random.gamma
    a = jax.numpy.where(a >= 0, a, np.nan)
    return lanes_on_jax(jax, lambda key, a: sampler(key, a, dtype=a.dtype), key, a)


def _slope(g: Any, y: Any, a: Any, log: bool) -> Any:
    if log:
        return g * gamma_slope(a, y, part="value")
    zero = ew.equal(y, 0)  # underflow
    slope = gamma_slope(a, ew.log(where(zero, 1, y)), part="value")
    return g * where(zero, 0, y * slope)


# Gamma variates (log: their logarithms) of shapes a, for a key, or for each of an array of keys:
# then a has the axes of that array in front.
gammas = Primitive(
    "random_gamma",
    _np_gamma,
    _jax_gamma,
    lambda key, a, log: Aval(a.shape, a.dtype),
    General(
        lambda t, y, key, a, log: None if t[1] is None else _slope(t[1], y, a, log),
        lambda g, y, key, a, log: (None, _slope(g, y, a, log)),
    ),
    batch_with_keys,
)

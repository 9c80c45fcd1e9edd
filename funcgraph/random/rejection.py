"""Poisson and binomial variates: primitives. May import `core`, `ops`, `random`.

Small means by adding up random waiting times; large ones by transformed rejection: W. Hörmann, "The
transformed rejection method for generating Poisson random variables", Insurance: Math. Econ. 12
(1993) 39 (PTRS), and "The generation of binomial random variates", J. Stat. Comput. Simul. 46
(1993) 101 (BTRS). Keys and constants are those of jax.random.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval
from funcgraph.core.primitive import Primitive, Zero
from funcgraph.random.marsaglia import batch_with_keys, lanes_on_jax
from funcgraph.random.numbers import unit
from funcgraph.random.threefry import block, number

__all__ = ["binomials", "poissons"]

_BLOCK = 1 << 12  # elements at a time, so that their arrays stay in the cache


class _Rounds:
    """The uniform numbers of round 0, 1, ...: each round splits a key for the next.

    Args:
      keys: Of shape (lanes, 2).
      size: How many elements each lane has.
      dtype: Of the uniform numbers.
      following: Which of the split keys is split in the next round.
      used: Those that numbers are drawn from.
    """

    def __init__(self, keys: Any, size: int, dtype: Any, following: int, used: tuple[int, ...]):
        self.key, self.size, self.dtype = np.ascontiguousarray(keys.T), size, dtype
        self.following, self.used = following, used
        self.found: list[Any] = []

    def numbers(self, i: int, elements: Any) -> Any:
        """Return the numbers of round i for some elements, counted through all lanes."""
        while len(self.found) <= i:
            self.found.append([block(self.key, n) for n in self.used])
            self.key = block(self.key, self.following)
        lanes, places = np.divmod(elements, self.size)
        for keys in self.found[i]:
            chosen = keys if keys.shape[1] == 1 else keys[:, lanes]
            bits = number(chosen, places, 8 * self.dtype.itemsize)
            yield unit.numpy(bits, dtype=self.dtype)


def _parts(size: int) -> list[Any]:
    return [np.arange(k, min(k + _BLOCK, size)) for k in range(0, size, _BLOCK)]


def _waited(rounds: _Rounds, bound: Any, within: Any, waiting_time: Callable[..., Any]) -> Any:
    """Return how many waiting times fit within the bound, -1 if it is none."""
    out = np.empty_like(bound)
    for part in _parts(bound.size):
        total = np.zeros_like(bound[part])
        i, pending = 0, part
        while pending.size:
            inside = within(total, bound[pending])
            out[pending[~inside]] = i - 1
            pending, total = pending[inside], total[inside]
            (u,) = rounds.numbers(i, pending)
            total = total + waiting_time(np.log(u), pending)
            i += 1
    return out


def _accepted(rounds: _Rounds, size: int, attempt: Callable[..., Any], dtype: Any) -> Any:
    """Return the accepted proposals.

    jax.random proposes for a whole lane until each of its elements has accepted once, and keeps
    what each accepted last. So the number of rounds is found first, by going on with the elements
    that have not accepted, and then the last proposals, by going back in the same way.
    """
    needed = np.zeros(size, np.int64)
    for pending in _parts(size):
        i = 0
        while pending.size:
            needed[pending] = i
            pending = pending[~attempt(pending, *rounds.numbers(i, pending))[1]]
            i += 1
    lanes = needed.reshape(-1, rounds.size)
    needed = np.repeat(lanes.max(axis=1), rounds.size)
    out = np.empty(size, dtype)
    for pending in _parts(size):
        for i in range(int(needed[pending].max()), -1, -1):
            now = pending[needed[pending] >= i]
            value, accept = attempt(now, *rounds.numbers(i, now))
            out[now[accept]] = value[accept]
            pending = np.concatenate([pending[needed[pending] < i], now[~accept]])
            if not pending.size:
                break
    return out


# --- Poisson -------------------------------------------------------------------------------------

# C. Lanczos, "A precision approximation of the gamma function", SIAM J. Numer. Anal. 1 (1964) 86,
# with g = 7 and 9 terms.
_LANCZOS = (
    676.520368121885098567009190444019, -1259.13921672240287047156078755283,
    771.3234287776530788486528258894, -176.61502916214059906584551354,
    12.507343278686904814458936853, -0.13857109526572011689554707,
    9.984369578019570859563e-6, 1.50563273514931155834e-7,
)  # fmt: skip


def _fma(x: Any, y: Any, z: Any) -> Any:
    """Return x y + z for float32 numbers, rounded once, as XLA compiles it."""
    return (np.asarray(x, np.float64) * y + z).astype(np.float32)


def _log_factorial(k: Any) -> Any:
    """Return log k!, k >= 0, rounded as XLA's lgamma: for large k the roundings decide."""
    real = np.float32
    total = np.full_like(k, 0.99999999999980993227684700473478)
    for n, c in enumerate(_LANCZOS, 1):
        total += real(c) / (k + real(n))
    t = k + real(7.5)
    log_t = real(math.log(7.5)) + np.log(k * real(1 / 7.5) + real(1))
    return _fma(k + real(0.5) - t / log_t, log_t, real(0.5 * math.log(2 * math.pi)) + np.log(total))


def _ptrs(lam: Any) -> Callable[..., Any]:
    real = np.float32
    log_lam = np.log(lam)
    b = _fma(real(2.53), np.sqrt(lam), real(0.931))
    a = _fma(real(0.02483), b, real(-0.059))
    inverse_alpha = real(1.1239) + real(1.1328) / (b - real(3.4))
    v_r = real(0.9277) - real(3.6224) / (b - 2)

    def attempt(at: Any, u: Any, v: Any) -> tuple[Any, Any]:
        u = u - real(0.5)
        us = real(0.5) - np.abs(u)
        k = np.floor(_fma(2 * a[at] / us + b[at], u, lam[at]) + real(0.43))
        inside = (us >= real(0.07)) & (v <= v_r[at])
        outside = (k < 0) | ((us < real(0.013)) & (v > us))
        s = np.log(v * inverse_alpha[at] / (a[at] / (us * us) + b[at]))
        t = _fma(k, log_lam[at], -lam[at]) - _log_factorial(np.maximum(k, 0))
        return k, inside | (~outside & (s <= t))

    return attempt


def _np_poisson(key: Any, lam: Any, dtype: Any) -> Any:
    key, lam = np.asarray(key), np.asarray(lam)
    keys, shape, lam = key.reshape(-1, 2), lam.shape, lam.reshape(-1)
    size = math.prod(shape[key.ndim - 1 :])
    with np.errstate(all="ignore"):
        large = (lam >= 10) & (lam < np.inf)
        few = np.where(large, 0, np.where(lam < np.inf, lam, np.nan)).astype(lam.dtype)
        rounds = _Rounds(keys, size, lam.dtype, 0, (1,))
        out = _waited(rounds, few, np.less, lambda log, at: -log)
        if large.any():
            rounds = _Rounds(keys, size, lam.dtype, 0, (1, 2))
            rate = np.where(large, lam, 1e5).astype(lam.dtype)
            out = np.where(large, _accepted(rounds, lam.size, _ptrs(rate), lam.dtype), out)
        out = np.where(lam == 0, 0, out)
        most = np.iinfo(dtype).max  # as XLA converts numbers beyond it
        out = np.where(out >= np.float32(most), most, out.astype(dtype)).astype(dtype)
    return out.reshape(shape)[()]


def _jax_poisson(jax: Any, key: Any, lam: Any, dtype: Any) -> Any:
    lam = jax.numpy.where(lam < np.inf, lam, np.nan)  # at infinity JAX would not return
    return lanes_on_jax(jax, partial(jax.random.poisson, dtype=dtype), key, lam)


# Poisson variates of some rates (float32) for a key, or for each of an array of keys: then the
# rates have the axes of that array in front. An impossible rate gives -1.
poissons = Primitive(
    "random_poisson",
    _np_poisson,
    _jax_poisson,
    lambda key, lam, dtype: Aval(lam.shape, dtype),
    Zero(),
    batch_with_keys,
)

# --- binomial ------------------------------------------------------------------------------------

_STIRLING = [
    math.lgamma(k + 1) - (k + 0.5) * math.log(k + 1) + (k + 1) - 0.5 * math.log(2 * math.pi)
    for k in range(10)
]


def _stirling_tail(k: Any) -> Any:
    """Return log k! - Stirling's formula at k + 1; beyond 9 that of 9, as in jax.random.

    The true tail is below 1/120 there, and only differences of tails count.
    """
    return np.array(_STIRLING, k.dtype)[np.clip(k, 0, 9).astype(np.int32)]


def _btrs(count: Any, p: Any) -> Callable[..., Any]:
    deviation = np.sqrt(count * p * (1 - p))
    b = 1.15 + 2.53 * deviation
    a = -0.0873 + 0.0248 * b + 0.01 * p
    c = count * p + 0.5
    v_r = 0.92 - 4.2 / b
    r = p / (1 - p)
    alpha = (2.83 + 5.1 / b) * deviation
    m = np.floor((count + 1) * p)

    def attempt(at: Any, u: Any, v: Any) -> tuple[Any, Any]:
        u = u - 0.5
        us = 0.5 - np.abs(u)
        n, top = count[at], m[at]
        k = np.floor((2 * a[at] / us + b[at]) * u + c[at])
        inside = (us >= 0.07) & (v <= v_r[at])
        outside = (k < 0) | (k > n)
        s = np.log(v * alpha[at] / (a[at] / (us * us) + b[at]))
        t = (
            (top + 0.5) * np.log((top + 1) / (r[at] * (n - top + 1)))
            + (n + 1) * np.log((n - top + 1) / (n - k + 1))
            + (k + 0.5) * np.log(r[at] * (n - k + 1) / (k + 1))
            + (_stirling_tail(top) + _stirling_tail(n - top))
            - _stirling_tail(k)
            - _stirling_tail(n - k)
        )
        return k, inside | (~outside & (s <= t))

    return attempt


def _np_binomial(key: Any, n: Any, p: Any, dtype: Any) -> Any:
    key, n, p = np.asarray(key), np.asarray(n), np.asarray(p)
    keys, shape, n, p = key.reshape(-1, 2), n.shape, n.reshape(-1), p.reshape(-1)
    size, real = math.prod(shape[key.ndim - 1 :]), p.dtype
    with np.errstate(all="ignore"):
        q = np.where(p < 0.5, p, 1 - p)
        valid = (q >= 0) & (n >= 0)
        n, q = np.floor(n), np.where(q >= 0, q, 0.01).astype(real)
        large = (n < np.inf) & (n * q > 10)
        few = np.where(large | (n == np.inf), 0, n).astype(real)
        log = np.log1p(-q)
        rounds = _Rounds(keys, size, real, 1, (0,))
        out = _waited(rounds, few, np.less_equal, lambda u, at: np.ceil(u / log[at]))
        if large.any():
            rounds = _Rounds(keys, size, real, 0, (1, 2))
            trials, chance = np.where(large, n, 1e4), np.where(large, q, 0.5)
            attempt = _btrs(trials.astype(real), chance.astype(real))
            out = np.where(large, _accepted(rounds, n.size, attempt, real), out)
        out = np.where(n == np.inf, n, np.where(p < 0.5, out, n - out))
        return np.where(valid, out, np.nan).astype(dtype).reshape(shape)[()]


def _jax_binomial(jax: Any, key: Any, n: Any, p: Any, dtype: Any) -> Any:
    p = jax.numpy.where((n == np.inf) & (p * (1 - p) == 0), 0.5, p)  # JAX would not return
    return lanes_on_jax(jax, partial(jax.random.binomial, dtype=dtype), key, n, p)


# Binomial variates for n trials of probability p, of one shape and float dtype; keys as above.
binomials = Primitive(
    "random_binomial",
    _np_binomial,
    _jax_binomial,
    lambda key, n, p, dtype: Aval(n.shape, dtype),
    Zero(),
    batch_with_keys,
)

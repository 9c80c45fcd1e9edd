"""Threefry-2x32: random bits as a pure function of a key; the streams of jax.random.

The n-th word is the block cipher applied to the number n, so any part of a stream can be computed
by itself. May import `core`, `ops`.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval, ndim_of
from funcgraph.core.primitive import Primitive, Zero, aligned

__all__ = ["PAIRS", "block", "blocks", "fold", "number", "random_bits"]

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA  # of the key schedule
_BLOCK = 1 << 14  # words at a time: three buffers of them stay in the cache
_DTYPES = {8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}
PAIRS = 0  # the width that stands for both words of each block


def _encrypt(k0: Any, k1: Any, x0: Any, x1: Any) -> tuple[Any, Any]:
    """Return the two words of the cipher (Salmon et al. 2011, section 4.3), for any arrays."""
    u = np.uint32
    keys = (k0, k1, k0 ^ k1 ^ u(_PARITY))
    x0, x1 = x0 + keys[0], x1 + keys[1]
    for i in range(5):
        for r in _ROTATIONS[i % 2]:
            x0 = x0 + x1
            x1 = ((x1 << u(r)) | (x1 >> u(32 - r))) ^ x0
        x0, x1 = x0 + keys[(i + 1) % 3], x1 + keys[(i + 2) % 3] + u(i + 1)
    return x0, x1


def _encrypt_in_place(k0: int, k1: int, x0: Any, x1: Any, scratch: Any) -> None:
    u = np.uint32
    keys = (u(k0), u(k1), u(k0 ^ k1 ^ _PARITY))
    np.add(x0, keys[0], out=x0)
    np.add(x1, keys[1], out=x1)
    for i in range(5):
        for r in _ROTATIONS[i % 2]:
            np.add(x0, x1, out=x0)
            np.left_shift(x1, u(r), out=scratch)
            np.right_shift(x1, u(32 - r), out=x1)
            np.bitwise_or(x1, scratch, out=x1)
            np.bitwise_xor(x1, x0, out=x1)
        np.add(x0, keys[(i + 1) % 3], out=x0)
        np.add(x1, u((int(keys[(i + 2) % 3]) + i + 1) & 0xFFFFFFFF), out=x1)


def _join(x0: Any, x1: Any, width: int) -> Any:
    """Return numbers of some width from the two words of each block."""
    if width == PAIRS:
        return np.stack([x0, x1], axis=-1)
    if width == 64:
        return (x0.astype(np.uint64) << np.uint64(32)) | x1
    return (x0 ^ x1).astype(_DTYPES[width], copy=False)


def blocks(key: Any, count: int, width: int) -> Iterator[tuple[slice, Any]]:
    """Yield `count` numbers of one key part by part: (place, numbers)."""
    k0, k1 = (int(k) for k in key)
    numbers = np.arange(min(count, _BLOCK), dtype=np.uint32)
    words = [np.empty_like(numbers) for _ in range(3)]
    for start in range(0, count, _BLOCK):
        n = min(_BLOCK, count - start)
        x0, x1, scratch = (w[:n] for w in words)
        x0.fill(start >> 32)
        np.add(numbers[:n], np.uint32(start & 0xFFFFFFFF), out=x1)
        _encrypt_in_place(k0, k1, x0, x1, scratch)
        yield slice(start, start + n), _join(x0, x1, width)


def block(keys: Any, place: Any) -> Any:
    """Return a block for each column of keys, on NumPy: again keys, of shape (2, lanes)."""
    with np.errstate(over="ignore"):
        return np.stack(_encrypt(keys[0], keys[1], np.uint32(0), np.uint32(place)))


def number(keys: Any, place: Any, width: int) -> Any:
    """Return the number of some width that stands at a place in the stream of each key."""
    x0, x1 = block(keys, place)
    return _join(x0, x1, width)


def _one_key(key: Any, count: int, width: int) -> Any:
    out = np.empty((count, 2) if width == PAIRS else count, _DTYPES.get(width, np.uint32))
    for part, numbers in blocks(key, count, width):
        out[part] = numbers
    return out


def _np_bits(key: Any, shape: tuple[int, ...], width: int) -> Any:
    key = np.asarray(key)
    lead, count = key.shape[:-1], prod(shape)
    rest = (2,) if width == PAIRS else ()
    if not lead:
        return _one_key(key, count, width).reshape((*shape, *rest))[()]
    counts = np.arange(count, dtype=np.uint64)
    high, low = (counts >> np.uint64(32)).astype(np.uint32), counts.astype(np.uint32)
    with np.errstate(over="ignore"):
        words = _encrypt(key[..., :1], key[..., 1:], high, low)
    return _join(*words, width).reshape((*lead, *shape, *rest))


def _jax_bits(jax: Any, key: Any, shape: tuple[int, ...], width: int) -> Any:
    jnp = jax.numpy
    lead, count = key.shape[:-1], prod(shape)
    low = jnp.arange(count, dtype=jnp.uint32)
    x0, x1 = _encrypt(key[..., :1], key[..., 1:], jnp.zeros_like(low), low)
    if width == PAIRS:
        return jnp.stack([x0, x1], axis=-1).reshape((*lead, *shape, 2))
    if width == 64:
        with jax.enable_x64(True):
            wide = (x0.astype(jnp.uint64) << np.uint64(32)) | x1.astype(jnp.uint64)
            return wide.reshape((*lead, *shape))
    return (x0 ^ x1).astype(_DTYPES[width]).reshape((*lead, *shape))


def _aval_bits(key: Aval, shape: tuple[int, ...], width: int) -> Aval:
    rest = (2,) if width == PAIRS else ()
    return Aval((*key.shape[:-1], *shape, *rest), np.dtype(_DTYPES.get(width, np.uint32)))


# Numbers of `width` bits (or both words, PAIRS) for a key, or for each of an array of keys.
random_bits = Primitive("random_bits", _np_bits, _jax_bits, _aval_bits, Zero(), aligned)


def _fold(key: Any, data: Any) -> Any:
    with np.errstate(over="ignore"):
        return _encrypt(key[..., 0], key[..., 1], np.uint32(0), data)


def _jax_fold(jax: Any, key: Any, data: Any) -> Any:
    return jax.numpy.stack(_fold(key, jax.numpy.asarray(data, np.uint32)), axis=-1)


def _batch_fold(primitive: Any, size: int, args: Any, batched: Any, attrs: Any) -> Any:
    key, data = args
    if batched[0]:
        key = key[(slice(None), *(None,) * (ndim_of(data) - batched[1]))]
    return primitive(key, data)


# The key that follows from a key and a number (uint32), or from arrays of them.
fold = Primitive(
    "random_fold_in",
    lambda key, data: np.stack(np.broadcast_arrays(*_fold(key, np.asarray(data))), axis=-1),
    _jax_fold,
    lambda key, data: Aval(
        (*np.broadcast_shapes(key.shape[:-1], data.shape), 2), np.dtype(np.uint32)
    ),
    Zero(),
    _batch_fold,
)

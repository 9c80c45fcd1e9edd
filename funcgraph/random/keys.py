"""Keys: making, splitting, and the bits they stand for. May import `core`, `random.threefry`."""

from __future__ import annotations

from typing import Any

import numpy as np

from funcgraph.core.aval import aval_of
from funcgraph.core.jaxlink import jax_name
from funcgraph.core.trace import JAX, KIND, NUMPY
from funcgraph.errors import RandomKeyError
from funcgraph.ops.structural import cast
from funcgraph.random.threefry import PAIRS, fold, random_bits

__all__ = [
    "PRNGKey", "as_key", "as_shape", "bits", "clone", "fold_in", "key", "key_data", "split",
    "wrap_key_data",
]  # fmt: skip


def _untyped(keys: Any) -> Any:
    if KIND[type(keys)] == JAX and jax_name("jax.dtypes.issubdtype")(
        keys.dtype, jax_name("jax.dtypes.prng_key")
    ):
        return jax_name("jax.random.key_data")(keys)
    return keys


def as_key(key: Any) -> Any:
    """Return a key as its uint32 pair; JAX's typed keys are unwrapped."""
    key = _untyped(key)
    if KIND[type(key)] == NUMPY and not isinstance(key, np.ndarray):
        raise RandomKeyError(
            f"a random key is a uint32 array of shape (2,), got a {type(key).__name__}: make one "
            "with funcgraph.random.key(seed)."
        )
    aval = aval_of(key)
    if aval.shape != (2,) or aval.dtype != np.uint32:
        raise RandomKeyError(
            f"a random key is a uint32 array of shape (2,), got {aval}. Make one with "
            "funcgraph.random.key(seed); for several keys use vmap, or a loop."
        )
    return key


def as_shape(shape: Any) -> tuple[int, ...]:
    """Return a shape as a tuple of ints; raise where it is none."""
    shape = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
    out = tuple(int(n.__index__()) for n in shape)
    if any(n < 0 for n in out):
        raise ValueError(f"a shape has no negative lengths, got {out}.")
    return out


def key(seed: int) -> Any:
    """Return the random key of a seed.

    Args:
      seed: Integer; its lowest 64 bits count.

    Returns:
      uint32 array of shape (2,): the high and the low half of the seed.

    Raises:
      RandomKeyError: The seed is no integer.

    Example:
      >>> key(42)
      array([ 0, 42], dtype=uint32)

    Source:
      jax.random.PRNGKey.
    """
    if isinstance(seed, bool) or not hasattr(seed, "__index__"):
        raise RandomKeyError(f"a seed is an integer, got {seed!r:.80}.")
    number = seed.__index__()
    return np.array([number >> 32 & 0xFFFFFFFF, number & 0xFFFFFFFF], np.uint32)


def PRNGKey(seed: int) -> Any:  # noqa: N802  (JAX's name)
    """Return the random key of a seed, by the name that JAX has for keys of this form.

    Args:
      seed: Integer; its lowest 64 bits count.

    Returns:
      uint32 array of shape (2,), as that of `key`.

    Raises:
      RandomKeyError: The seed is no integer.

    Example:
      >>> PRNGKey(42)
      array([ 0, 42], dtype=uint32)

    Source:
      jax.random.PRNGKey.
    """
    return key(seed)


def key_data(keys: Any) -> Any:
    """Return the numbers that keys are made of.

    Args:
      keys: Random keys, of any shape; JAX's may be typed.

    Returns:
      uint32 array of shape (..., 2).

    Raises:
      RandomKeyError: keys are no random keys.

    Example:
      >>> key_data(key(42))
      array([ 0, 42], dtype=uint32)

    Source:
      jax.random.key_data.
    """
    keys = _untyped(keys)
    aval = aval_of(keys)
    if aval.shape[-1:] != (2,) or aval.dtype != np.uint32:
        raise RandomKeyError(
            f"random keys are a uint32 array of shape (..., 2), got {aval}. Make one with "
            "funcgraph.random.key(seed)."
        )
    return keys


def wrap_key_data(key_bits_array: Any) -> Any:
    """Return the keys made of some numbers: the very array, since keys here have no type.

    Args:
      key_bits_array: uint32 array of shape (..., 2).

    Returns:
      That array.

    Raises:
      RandomKeyError: The array has another shape or dtype.

    Example:
      >>> wrap_key_data(key_data(key(42)))
      array([ 0, 42], dtype=uint32)

    Source:
      jax.random.wrap_key_data.
    """
    return key_data(key_bits_array)


def clone(key: Any) -> Any:
    """Return a key that may be used once more: the key itself, as no key's use is counted here.

    Args:
      key: Random key.

    Returns:
      The key.

    Example:
      >>> clone(PRNGKey(42))
      array([ 0, 42], dtype=uint32)

    Source:
      jax.random.clone.
    """
    return as_key(key)


def split(key: Any, num: int | tuple[int, ...] = 2) -> Any:
    """Return new keys that follow from a key; use each key once.

    Args:
      key: Random key.
      num: How many, or the shape of the array of keys.

    Returns:
      uint32 array of shape (*num, 2).

    Raises:
      RandomKeyError: key is no random key.

    Example:
      >>> import funcgraph as fg
      >>> first, second = split(fg.random.key(0))
      >>> first
      array([1797259609, 2579123966], dtype=uint32)

    Source:
      Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011; jax.random.split.
    """
    return random_bits(as_key(key), shape=as_shape(num), width=PAIRS)


def fold_in(key: Any, data: Any) -> Any:
    """Return the key that follows from a key and a number, such as a step or the rank of a process.

    Args:
      key: Random key.
      data: Integer of shape (), taken modulo 2**32.

    Returns:
      uint32 array of shape (2,).

    Raises:
      RandomKeyError: key is no random key, or data no integer.

    Example:
      >>> import funcgraph as fg
      >>> fold_in(fg.random.key(0), 1)
      array([ 928981903, 3453687069], dtype=uint32)

    Source:
      jax.random.fold_in.
    """
    aval = aval_of(data)
    if aval.shape != () or aval.dtype.kind not in "iu":
        raise RandomKeyError(f"fold_in takes an integer of shape (), got {aval}.")
    if isinstance(data, int | np.integer):
        data = np.uint32(int(data) & 0xFFFFFFFF)
    return fold(as_key(key), cast(data, np.uint32))


def bits(key: Any, shape: Any = (), dtype: Any = np.uint32) -> Any:
    """Return random bits as unsigned integers.

    Args:
      key: Random key.
      shape: Shape of the result.
      dtype: uint8, uint16, uint32 or uint64.

    Returns:
      Array of that shape and dtype.

    Raises:
      RandomKeyError: key is no random key.
      TypeError: dtype is no unsigned integer.

    Example:
      >>> import funcgraph as fg
      >>> bits(fg.random.key(0), (2,))
      array([4070199207, 4202968722], dtype=uint32)

    Source:
      Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011; jax.random.bits.
    """
    dtype = np.dtype(np.uint32 if dtype is None else dtype)
    if dtype.kind != "u":
        raise TypeError(f"bits have an unsigned integer dtype, got {dtype}.")
    return random_bits(as_key(key), shape=as_shape(shape), width=8 * dtype.itemsize)

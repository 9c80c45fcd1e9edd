"""The C library's memory allocator, which serves NumPy's arrays: `keep_memory`.

May import nothing of funcgraph.
"""

from __future__ import annotations

import ctypes

__all__ = ["keep_memory"]

# Numbers of parameters of glibc's mallopt, from malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST = 32 << 20  # glibc takes no larger threshold for mmap on 64 bits


def keep_memory(limit: int = 256 << 20) -> bool:
    """Let the process keep memory that arrays have freed, instead of giving it back to the system.

    A page of memory that the system hands out anew costs more than the arithmetic on it. By default
    glibc gives memory back as soon as 128 KiB to 64 MiB lie free, which functions on arrays of some
    100 kB do at every call: an eager gradient step of an MLP (784-128-10, batch 128) takes 0.6
    times as long with this call, and so does the same step in NumPy by hand.

    The setting is one of the whole process, not of funcgraph: it holds for all that uses malloc,
    until the process ends. Call it once at the start of a program, never in a library. Compiled
    programs (`jit`) keep buffers of their own and gain little.

    Args:
      limit: Bytes that may lie free at the end of the heap before they are given back. Arrays of
        more than 32 MiB go back at once all the same.

    Returns:
      Whether the setting was made: the C library is glibc (Linux). Others are left as they are.

    Raises:
      ValueError: The limit is negative, or 2 GiB and more.

    Example:
      >>> import funcgraph as fg
      >>> kept = fg.keep_memory()

    Source:
      mallopt(3), M_TRIM_THRESHOLD and M_MMAP_THRESHOLD.
    """
    if not 0 <= limit < 1 << 31:
        raise ValueError(f"limit must be from 0 to 2**31 - 1 bytes, got {limit}")
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018  (only glibc has it)
        mallopt = libc.mallopt
    except (AttributeError, OSError, TypeError):
        return False
    settings = (_MMAP_THRESHOLD, min(limit, _LARGEST)), (_TRIM_THRESHOLD, limit)
    return all(mallopt(ctypes.c_int(name), ctypes.c_int(value)) for name, value in settings)

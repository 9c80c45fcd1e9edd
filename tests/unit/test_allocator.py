"""keep_memory: what the process gives back to the system."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

import funcgraph as fg

PROGRAM = """
import resource
import numpy as np
import funcgraph as fg

def faults(n):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(n):
        a = np.ones(150_000)
        b = a + 1.0
        del a, b
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults(3)
print(fg.keep_memory(64 << 20))
faults(3)
print(faults(20))
"""


def _run(program: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_freed_memory_is_used_again_without_page_faults() -> None:
    kept, faults = _run(PROGRAM)
    assert kept == str(platform.libc_ver()[0] == "glibc")
    if kept == "True":
        assert int(faults) < 100  # two new arrays of 293 pages each, 20 times, would be 11,720


@pytest.mark.parametrize("limit", [-1, 1 << 31])
def test_limits_that_the_c_library_cannot_take(limit: int) -> None:
    with pytest.raises(ValueError, match="limit must be"):
        fg.keep_memory(limit)


@pytest.mark.parametrize("library", [object(), OSError("no such library"), TypeError("None")])
def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch, library: object) -> None:
    def load(name: None) -> object:
        if isinstance(library, Exception):
            raise library
        return library

    monkeypatch.setattr(ctypes, "CDLL", load)
    assert fg.keep_memory() is False

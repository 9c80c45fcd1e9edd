"""What the benchmark programs share: versions, first calls, interleaved timing."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Runs = Mapping[str, Callable[[], Any]]


def machine(*packages: str) -> str:
    """Return one line about Python, the processors and those of the packages that are installed."""
    installed = [name for name in packages if importlib.util.find_spec(name)]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in installed)
    cores = f"{processor()}, {os.cpu_count()} cores"
    return f"{cores}, Python {platform.python_version()}, {versions}{kernels()}"


def kernels() -> str:
    """Return whose kernels the BLAS of this process has chosen, if it says so."""
    if importlib.util.find_spec("threadpoolctl") is None:
        return ""
    pools = importlib.import_module("threadpoolctl").threadpool_info()
    names = {pool["architecture"] for pool in pools if "architecture" in pool}
    return f", BLAS for {' and '.join(sorted(names))}" if names else ""


def processor() -> str:
    """Return the processor's name, as far as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    rows = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [row.partition(":")[2].strip() for row in rows if row.startswith("model name")]
    return names[0] if names else platform.machine()


def first_calls(runs: Runs) -> tuple[dict[str, Any], dict[str, float]]:
    """Call everything once; return results and seconds: staging and compiling included."""
    results, seconds = {}, {}
    for name, run in runs.items():
        start = time.perf_counter()
        results[name] = run()
        seconds[name] = time.perf_counter() - start
    return results, seconds


def interleaved(runs: Runs, repeats: int, seconds: float = float("inf")) -> dict[str, list[float]]:
    """Return seconds of repeated calls, in random order, each behind one that is not timed.

    What has taken `seconds` in all is not called again.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    order = random.Random(0)
    for _ in range(repeats):
        for name in order.sample(list(runs), len(runs)):
            if sum(times[name]) < seconds:
                runs[name]()
                start = time.perf_counter()
                runs[name]()
                times[name].append(time.perf_counter() - start)
    return times


def show(title: str, times: dict[str, list[float]], first: dict[str, float], base: str) -> None:
    """Print minimum and median of each subject in ms, and the ratio of its minimum to base's."""
    print(f"\n{title}")
    print(f"  {'subject':<20}{'min ms':>10}{'median':>10}{'/ ' + base:>11}{'first ms':>11}")
    for name, seconds in times.items():
        low, middle = min(seconds), statistics.median(seconds)
        print(
            f"  {name:<20}{low * 1e3:>10.3f}{middle * 1e3:>10.3f}{low / min(times[base]):>11.2f}"
            f"{first[name] * 1e3:>11.1f}",
            flush=True,
        )

"""The processes of the suite that measure; each prints its figures as JSON in the last line.

    python suite_worker.py time WORKLOAD SIZE '{"subjects": [...], "patience": 60, ...}'
    python suite_worker.py fresh WORKLOAD SIZE SUBJECT

`time` checks all subjects against JAX in float64, then times them in turn. `fresh` is one subject
in a process of its own: when its first result is there, and how much memory it took.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _measure import interleaved, machine
from suite_libraries import SUBJECTS, leaves
from suite_workloads import WORKLOADS, Workload, run_of

__all__ = ["agree", "reference", "several"]

STATUS = Path("/proc/self/status")
PACKAGES = ("numpy", "jax", "torch", "autograd", "mygrad")


# --- correctness ---------------------------------------------------------------------------------


def reference(workload: Workload, args: Any) -> list[Any]:
    """Return value and derivatives by JAX in float64."""
    wide = lambda x: x.astype(np.float64) if x.dtype == np.float32 else x
    args = [{k: wide(v) for k, v in a.items()} if type(a) is dict else wide(a) for a in args]
    return [np.asarray(x) for x in leaves(run_of(workload, "jax.jit", args)())]


def agree(name: str, result: Any, wanted: list[Any], single: bool) -> None:
    """Raise AssertionError unless a subject's results are the reference's.

    Errors are norms, relative to the leaf or, where that is nothing but rounding, to all leaves.
    """
    wanted = wanted[:1] if SUBJECTS[name].value else wanted
    got = [np.asarray(x.detach() if hasattr(x, "detach") else x) for x in leaves(result)]
    assert len(got) == len(wanted), f"{name}: {len(got)} arrays, not {len(wanted)}"
    largest = max(float(np.linalg.norm(x)) for x in wanted)
    for k, (x, y) in enumerate(zip(got, wanted, strict=True)):
        assert x.shape == y.shape, f"{name}: array {k} is {x.shape}, not {y.shape}"
        error = np.linalg.norm(x - y) / max(float(np.linalg.norm(y)), 1e-3 * largest)
        assert error < (2e-3 if single else 1e-8), f"{name}: array {k} is off by {error:.1e}"


# --- time ----------------------------------------------------------------------------------------


def several(run: Callable[[], Any], n: int) -> None:
    """Call n times."""
    for _ in range(n):
        run()


@contextlib.contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in what takes longer; 0: never. It has to be in Python's own loops."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"more than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.2)  # again: a destructor drops exceptions
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result of a call, and its seconds."""
    start = time.perf_counter()
    result = run()
    return result, time.perf_counter() - start


def warm_up(name: str) -> None:
    """Import a subject's packages, and let it compute something: a library loads parts of itself
    (compilers, kernels) when they are needed for the first time.
    """
    with contextlib.suppress(NotImplementedError):
        workload = WORKLOADS["Rosenbrock gradient"]
        run_of(workload, name, workload.arguments(n=3))()


def first_calls(
    workload: Workload, args: Any, options: dict[str, Any], check: Callable[[str, Any], None]
) -> tuple[dict[str, Callable[[], Any]], dict[str, dict[str, Any]]]:
    """Return runs that are correct, and first figures of all subjects, or why there are none."""
    runs, figures = {}, {}
    np.matmul(*np.ones((2, 512, 512)))  # the BLAS makes its buffers
    for name in options["subjects"]:
        warm_up(name)
        try:
            with patience(options["patience"] if SUBJECTS[name].eager else 0):
                runs[name] = run_of(workload, name, args)
                result, first = timed(runs[name])
        except Exception as error:  # of a peer: it is reported, and the others go on
            runs.pop(name, None)
            if isinstance(error, NotImplementedError):
                continue
            figures[name] = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
            continue
        check(name, result)
        figures[name] = {"first": first}
    return runs, figures


def measured(workload: Workload, args: Any, options: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the figures of each subject, or why there are none."""
    wanted = reference(workload, args)
    single = any(x.dtype == np.float32 for x in leaves(args))
    runs, figures = first_calls(
        workload, args, options, lambda name, result: agree(name, result, wanted, single)
    )
    times, counts, repeated = {}, {}, {}
    for name, run in runs.items():
        _, warm = timed(run)
        if warm > options["seconds"]:
            times[name] = [warm, timed(run)[1]]
        else:
            counts[name] = max(1, int(0.01 / warm))
            repeated[name] = functools.partial(several, run, counts[name])
    for name, found in interleaved(repeated, options["repeats"], options["seconds"]).items():
        times[name] = [seconds / counts[name] for seconds in found]
    for name, each in times.items():
        figures[name] |= {"min": min(each), "median": statistics.median(each), "runs": len(each)}
    return figures


# --- memory --------------------------------------------------------------------------------------


def status_of_memory(line: str) -> int | None:
    """Return bytes from the system's report on this process; None where there is none."""
    if not STATUS.exists():
        return None
    (kilobytes,) = (row.split()[1] for row in STATUS.read_text().splitlines() if line in row)
    return 1024 * int(kilobytes)


def fresh(workload: Workload, args: Any, making: float, name: str) -> dict[str, Any]:
    """Return when the first result was there, and the peak of memory of three calls."""
    SUBJECTS[name].make()  # imports
    before = status_of_memory("VmRSS")
    run = run_of(workload, name, args)
    run()
    ready = time.monotonic() - making
    several(run, 2)
    peak = status_of_memory("VmHWM")
    memory = None if before is None or peak is None else peak - before
    return {"ready": ready, "peak": memory}


def main() -> None:
    """Do what the command line says."""
    job, name, size, options = sys.argv[1:]
    workload = WORKLOADS[name]
    start = time.monotonic()
    args = workload.arguments(**json.loads(size))
    making = time.monotonic() - start
    if job == "fresh":
        print(json.dumps(fresh(workload, args, making, options)))
        return
    from suite_floors import floors

    chosen = json.loads(options)
    figures = measured(workload, args, chosen)
    where = f"{machine(*PACKAGES)}; {os.environ['OMP_NUM_THREADS']} threads"
    print(json.dumps({"figures": figures, "floors": floors(workload, args), "machine": where}))


if __name__ == "__main__":
    main()

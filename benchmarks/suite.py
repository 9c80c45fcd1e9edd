"""All workloads, all libraries, one table: time, first call and memory of derivatives.

    python benchmarks/suite.py [--quick] [--only TEXT] [--sizes small,medium,large] [--json FILE]
    python benchmarks/suite.py --json FILE --docs

The table of workloads is in suite_workloads.py, that of the subjects in suite_libraries.py;
subjects that are not installed are left out. Every subject's value and derivatives are compared
with those of JAX in float64 before anything is timed. Everybody has two cores and two threads. Runs
are interleaved; ratios are between minima, to jax.jit. A workload and size is measured in a process
of its own; then each subject once more in a fresh process, for the time to its first result
(import, staging, compiling, running) and the peak of memory over what is there after the imports.

--quick: the smallest size if none is chosen, few repeats, no torch.compile, fresh processes for two
subjects alone.
--json: figures are added to this file, in place of those of the same workload and size.
--docs: measures nothing; writes the file's figures to docs/benchmarks.md and its picture.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from suite_libraries import SUBJECTS, installed
from suite_report import table, update_docs
from suite_workloads import WORKLOADS, Size, Workload, label

HERE = Path(__file__).resolve().parent
SIZES = ("small", "medium", "large")
THREADS = 2
TIMEOUT = 1800  # of a process; then something hangs
# Would keep NumPy's BLAS from the processor's own kernels, but not what XLA and torch compute with.
KERNELS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


class Effort(NamedTuple):
    """How much is measured."""

    repeats: int
    seconds: float  # of timed calls of a subject; it may be called less often than `repeats`
    patience: float  # with the first call of what does not compile
    subjects: tuple[str, ...]
    fresh: tuple[str, ...]  # subjects in processes of their own


NAMES = tuple(SUBJECTS)
FULL = Effort(15, 1.0, 20.0, NAMES, tuple(n for n in NAMES if not SUBJECTS[n].value))
QUICK = Effort(
    7, 0.5, 5.0, tuple(n for n in NAMES if n != "torch.compile"), ("jax.jit", "funcgraph numpy")
)


def worker(*args: str) -> tuple[dict[str, Any] | None, float, str]:
    """Run suite_worker.py; return its figures, the moment when it began, and its last words."""
    threads = dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(THREADS)
    )
    environ = os.environ | threads
    environ.pop("PYTHONDONTWRITEBYTECODE", None)  # packages that are installed are compiled
    for name in KERNELS:
        environ.pop(name, None)
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(HERE / "suite_worker.py"), *args],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )
    lines = done.stdout.splitlines()
    figures = json.loads(lines[-1]) if done.returncode == 0 and lines else None
    return figures, start, "\n".join(done.stderr.splitlines()[-3:])


def measured(workload: Workload, size: Size, effort: Effort) -> dict[str, Any]:
    """Return the entry of a workload and size: figures by subject, and floors."""
    here = {row.name for row in installed()}
    options = effort._asdict() | {"subjects": [n for n in effort.subjects if n in here]}
    which = (workload.name, json.dumps(size))
    entry: dict[str, Any] = {"workload": workload.name, "size": label(size)}
    found, _, message = worker("time", *which, json.dumps(options))
    if found is None:
        return entry | {"failed": message}
    for name, figures in found["figures"].items():
        if "min" in figures and name in effort.fresh:
            fresh, start, message = worker("fresh", *which, name)
            if fresh is None:
                return entry | {"failed": f"{name}: {message}"}
            figures |= {"fresh": fresh["ready"] - start, "peak": fresh["peak"]}
    return entry | found


def rounded(x: Any) -> Any:
    """Return JSON's data with four digits."""
    if isinstance(x, dict):
        return {key: rounded(value) for key, value in x.items()}
    return float(f"{x:.4g}") if isinstance(x, float) else x


def remember(file: Path, entry: dict[str, Any]) -> None:
    """Put an entry into the file."""
    entries = json.loads(file.read_text()) if file.exists() else []
    key = (entry["workload"], entry["size"])
    entries = [e for e in entries if (e["workload"], e["size"]) != key] + [entry]
    order = [(w.name, label(size)) for w in WORKLOADS.values() for size in w.sizes]
    entries.sort(key=lambda e: order.index((e["workload"], e["size"])))
    rows = ",\n".join(json.dumps(e) for e in entries)
    file.write_text(f"[\n{rows}\n]\n")


def run(options: argparse.Namespace) -> int:
    """Measure and print; return the number of workloads that failed."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    for folder in (HERE, HERE.parent / "funcgraph"):  # as pip does: peers come compiled
        compileall.compile_dir(folder, quiet=1)
    effort = QUICK if options.quick else FULL
    sizes = options.sizes or (["small"] if options.quick else SIZES)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    print(f"load {load:.1f}")
    failures = 0
    for workload in WORKLOADS.values():
        for size in (workload.sizes[SIZES.index(name)] for name in sizes):
            if options.only.lower() not in workload.name.lower():
                continue
            entry = rounded(measured(workload, size, effort) | {"load": load})
            print(f"\n{table(entry)}", flush=True)
            failures += "failed" in entry
            if options.json and "failed" not in entry:
                remember(options.json, entry)
    return failures


def chosen(text: str) -> list[str]:
    """Return the sizes of the command line."""
    sizes = text.split(",")
    if unknown := sorted(set(sizes) - set(SIZES)):
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not one of {', '.join(SIZES)}")
    return sizes


def main() -> None:
    """Measure, or write the documentation's page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="", help="part of a workload's name")
    parser.add_argument("--sizes", type=chosen, help="some of small,medium,large; default: all")
    parser.add_argument("--json", type=Path, help="file of figures")
    parser.add_argument("--docs", action="store_true")
    options = parser.parse_args()
    if not options.docs:
        sys.exit(min(run(options), 1))
    if not options.json:
        parser.error("--docs writes the figures of a file: give --json FILE too")
    update_docs(json.loads(options.json.read_text()))


if __name__ == "__main__":
    main()

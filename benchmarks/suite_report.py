"""The suite's figures as text: for the terminal, and as Markdown and a picture for the docs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path

from suite_figures import (
    BASE,
    GOALS,
    OURS,
    PEERS,
    Entry,
    Goal,
    beside_best,
    more_than_eager,
    ratio,
    title,
)

__all__ = ["table", "update_docs"]

DRAWN = (*OURS[:2], "numpy by hand", "torch", "torch.compile")
# Convolutions, loops, many derivatives at once, tables: what has formulas of its own on XLA.
RULES = (
    "LeNet-like CNN", "CIFAR-like CNN", "RNN", "LSTM", "Jacobian n to n", "Hessian of n parameters",
    "per-example, MLP", "per-example, LeNet", "embedding",
)  # fmt: skip
DOCS = Path(__file__).resolve().parent.parent / "docs"
BUSY = (
    "\n**The machine was busy** (a load of {:.1f}): libraries whose threads wait for each other"
    "\n(NumPy's, torch's) lose most by that, single figures by a hundred times."
)
BEGIN, END = "<!-- results of benchmarks/suite.py -->", "<!-- end of the results -->"


def number(x: float | None, scale: float = 1.0, unit: str = "") -> str:
    """Return a number with three digits, nothing for None."""
    if x is None:
        return ""
    x *= scale
    digits = max(0, 2 - math.floor(math.log10(x))) if x > 0 else 0
    return f"{x:,.{min(digits, 6)}f}{unit}"


# --- terminal ------------------------------------------------------------------------------------


def table(entry: Entry) -> str:
    """Return the table of a workload and size."""
    if "failed" in entry:
        return f"{title(entry)}: FAILED\n{entry['failed']}"
    head = ("subject", "min ms", "median", f"/ {BASE}", "first ms", "fresh ms", "peak MB")
    rows = [title(entry), "  {:<18}{:>11}{:>11}{:>11}{:>11}{:>11}{:>9}".format(*head)]
    for name, f in entry["figures"].items():
        if "error" in f:
            rows.append(f"  {name:<18}{f['error']}")
            continue
        times = [number(f.get(key), 1e3) for key in ("min", "median", "first", "fresh")]
        times.insert(2, number(ratio(entry, name), unit="x"))
        cells = "".join(f"{cell:>11}" for cell in times)
        rows.append(f"  {name:<18}{cells}{number(f.get('peak'), 1e-6):>9}")
    return "\n".join([*rows, f"  floors, ms: {floors(entry)}"])


def floors(entry: Entry) -> str:
    """Return products / memory / dispatch in ms."""
    return " / ".join(number(entry["floors"][k], 1e3) for k in ("products", "memory", "dispatch"))


# --- Markdown ------------------------------------------------------------------------------------


def markdown(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table whose first two columns are text."""
    head = list(head)
    lines = [head, ["---", "---", *["---:"] * (len(head) - 2)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def of_each(entries: list[Entry], cells: Callable[[Entry], list[str]]) -> list[list[str]]:
    return [[e["workload"], e["size"], *cells(e)] for e in entries]


def times(entries: list[Entry]) -> str:
    """Return the table of times."""

    def cells(entry: Entry) -> list[str]:
        subjects = [number(ratio(entry, name)) for name in (*OURS, *PEERS)]
        gradient = number(ratio(entry, "funcgraph numpy", base="numpy, value"))
        return [number(entry["figures"][BASE]["min"], 1e3), *subjects, gradient, floors(entry)]

    last = ("gradient / value, numpy", "floors, ms: products / memory / dispatch")
    rows = of_each(entries, cells)
    rows.append(["geometric mean", "", "", *(mean(entries, n) for n in (*OURS, *PEERS)), "", ""])
    return markdown(["workload", "size", f"{BASE}, ms", *OURS, *PEERS, *last], rows)


def mean(entries: list[Entry], subject: str) -> str:
    """Return the geometric mean of a subject's ratios, where it has any."""
    logs = [math.log(r) for e in entries if (r := ratio(e, subject))]
    return number(math.exp(sum(logs) / len(logs))) if logs else ""


def of_rules(entries: list[Entry]) -> str:
    """Return the line about the workloads whose derivatives have formulas of their own on XLA."""
    some = [e for e in entries if e["workload"] in RULES]
    what = (
        "convolutional and recurrent networks, Jacobian, Hessian, gradients per example, embedding"
    )
    return f"Geometric mean of {OURS[0]} over {what}: {mean(some, OURS[0])} (goal: 0.6)."


def starts(entries: list[Entry], key: str, unit: str, scale: float) -> str:
    """Return the table of a figure of fresh processes: jax.jit's own, the others' ratios."""
    names = (*OURS, "numpy by hand", "torch", "torch.compile", "autograd", "mygrad")
    base = lambda e: e["figures"][BASE].get(key)

    def cells(e: Entry) -> list[str]:
        ratios = (number(ratio(e, n, key)) for n in names)
        return [number(base(e), scale), *ratios, number(beside_best(e, key))]

    head = ["workload", "size", f"{BASE}, {unit}", *names, "ours / best peer"]
    return markdown(head, of_each(entries, cells))


def first_calls(entries: list[Entry]) -> str:
    """Return the table of first calls in a process that is warm, beside eager mode."""

    def cells(e: Entry) -> list[str]:
        figures = e["figures"]
        firsts = [figures.get(name, {}).get("first") for name in (BASE, *OURS[:2])]
        eager, more = figures.get(OURS[2], {}).get("min"), more_than_eager(e)
        rest = "" if more is None else f"{more:,.1f}"
        return [*(number(x, 1e3) for x in (*firsts, eager)), rest]

    head = (f"{BASE}, ms", *(f"{name}, ms" for name in OURS[:2]), "eager, every call, ms")
    return markdown(["workload", "size", *head, "numpy less 2x eager, ms"], of_each(entries, cells))


def row_of(goal: Goal, entries: list[Entry]) -> list[str] | None:
    """Return the row of a goal, None where nothing was measured that it is about."""
    some = (e for e in entries if title(e).startswith(goal.where))
    found = [(x, e) for e in some if (x := goal.of(e)) is not None]
    if not found:
        return None
    largest, where = max(found, key=lambda pair: pair[0])
    middle = statistics.median(x for x, _ in found)
    most = "" if goal.most is None else f"{goal.most:g}"
    verdict = "" if goal.most is None else "missed" if largest > goal.most else "reached"
    place = "" if title(where) == goal.where else title(where)
    return [goal.what, place, most, number(largest), number(middle), str(len(found)), verdict]


def goals(entries: list[Entry]) -> str:
    """Return where each of some figures is largest, and what it is to be at most."""
    head = ["figure", "largest at", "goal", "largest", "median", "of", ""]
    return markdown(head, filter(None, (row_of(goal, entries) for goal in GOALS)))


def losses(entries: list[Entry]) -> str:
    """Return the table of workloads where a peer is faster than the fastest of ours."""
    rows = []
    for e in entries:
        low = {name: f["min"] for name, f in e["figures"].items() if "min" in f}
        ours = min((name for name in OURS if name in low), key=low.__getitem__)
        peer = min((name for name in (BASE, *PEERS) if name in low), key=low.__getitem__)
        if low[ours] > 1.02 * low[peer]:
            factor = number(low[ours] / low[peer], unit="x")
            rows.append(
                [e["workload"], e["size"], f"{peer}, {number(low[peer], 1e3)} ms", ours, factor]
            )
    return markdown(["workload", "size", "fastest peer", "fastest of ours", "takes"], rows)


def missing(entries: list[Entry]) -> str:
    """Return what subjects were left out because of an error or of the time they took."""
    found: dict[str, list[str]] = {}
    for e in entries:
        for name, f in e["figures"].items():
            if "error" in f:
                what = f"{name}: {f['error'].removeprefix('TimeoutError: ')}"
                found.setdefault(what, []).append(f"{e['workload']} ({e['size']})")
    return "\n".join(f"* {what}: {', '.join(where)}." for what, where in found.items())


def page(entries: list[Entry]) -> str:
    """Return everything that is made from figures."""
    taken = "Taken on: " + "; and on: ".join(dict.fromkeys(e["machine"] for e in entries)) + "."
    load = max(e["load"] for e in entries)
    parts = [
        taken + (BUSY.format(load) if load > 1 else ""),
        "![Ratios to jax.jit at the largest sizes](benchmarks.png)",
        "### Time\n\nMinima in ms for jax.jit, for the others ratios to it.\n\n" + times(entries),
        of_rules(entries),
        "### Goals\n\nThe largest figure and the median, of so many workloads and sizes.\n\n"
        + goals(entries),
        "### Where a peer is faster\n\n" + losses(entries),
        "### First call in a warm process\n\n"
        "Staging, compiling and running; beside eager mode, which does the same each time.\n\n"
        + first_calls(entries),
        "### First result of a fresh process\n\n" + starts(entries, "fresh", "s", 1.0),
        "### Peak of memory\n\n" + starts(entries, "peak", "MB", 1e-6),
    ]
    if left_out := missing(entries):
        parts.append("### Left out\n\n" + left_out)
    return "\n\n".join(parts)


# --- docs ----------------------------------------------------------------------------------------


def draw(entries: list[Entry], file: Path) -> None:
    """Draw the ratios of each workload at the largest of its sizes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from funcgraph.plots import benchmark_bars

    largest = {e["workload"]: e for e in entries}
    ratios = {
        name: {workload: r for workload, e in largest.items() if (r := ratio(e, name))}
        for name in DRAWN
    }
    figure = Figure(figsize=(12, 5), layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    present = {name: row for name, row in ratios.items() if row}
    benchmark_bars(present, ax=ax, ylabel=f"time / {BASE}", log=True)
    ax.legend(ncols=len(present))
    figure.savefig(file, dpi=80)


def update_docs(entries: list[Entry]) -> None:
    """Write tables and picture into docs/benchmarks.md, between its markers."""
    file = DOCS / "benchmarks.md"
    before, _, rest = file.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    file.write_text(f"{before}{BEGIN}\n\n{page(entries)}\n\n{END}{after}", "utf-8")
    draw(entries, DOCS / "benchmarks.png")

"""How costs grow: time and memory beside the amount of work, one axis after the other.

    python benchmarks/scaling.py [--only TEXT] [--json FILE]
    python benchmarks/scaling.py --json FILE --docs

An axis is one number that grows: operations on a tape, steps of a loop, leaves of a pytree, rows of
a batch. Each is measured in a process of its own, the sizes in increasing order, minima of a few
runs; an axis ends early if a run takes ten seconds. The slope is that of a straight line through
the logarithms of work and time over the largest sizes, those within a factor of 100: 1 is linear, 2
quadratic; below 1 the fixed cost of a call is still visible. Memory is the growth of the process's
peak (Linux only), per unit of work at the largest size.

--json: figures are added to this file, in place of those of the same axis.
--docs: measures nothing; writes the file's figures to docs/scaling.md and its picture.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _measure import machine
from suite_report import markdown, number
from suite_worker import status_of_memory

import funcgraph as fg
from funcgraph import optim, train

Run = Callable[[], Any]
DOCS = Path(__file__).resolve().parent.parent / "docs"
BEGIN, END = "<!-- results of benchmarks/scaling.py -->", "<!-- end of the results -->"
PATIENCE = 10.0  # seconds of a run; larger sizes are left out
ENOUGH = 0.5  # seconds of all runs of a size
DECADES = 100.0  # the slope is over sizes within this factor
GROUPS = ("eager", "staging and compiling", "compiled, every call", "XLA engine")


class Axis(NamedTuple):
    """What grows.

    Attributes:
      group: One of GROUPS.
      unit: What is counted.
      sizes: How much of it, in increasing order.
      make: Returns what is timed, for a size; None: the size is beyond what it is meant for.
      work: The amount of work at a size.
    """

    group: str
    unit: str
    sizes: Sequence[int]
    make: Callable[[int], Run]
    work: Callable[[int], float] = float


def powers(first: int, last: int) -> list[int]:
    """Return 10**first ... 10**last, and the numbers three times as large between them."""
    return sorted({m * 10**k for k in range(first, last + 1) for m in (1, 3)} - {3 * 10**last})


# --- what is measured ----------------------------------------------------------------------------


def chain(n: int) -> Callable[[Any], Any]:
    """Return a function of n elementwise operations."""

    def f(x: Any) -> Any:
        for _ in range(n // 2):
            x = np.sin(x) * 0.9
        return x

    return f


def first_call(f: Callable[..., Any], *args: Any, **options: Any) -> Run:
    """Return a run that stages, compiles and calls f."""
    return lambda: fg.jit(f, **options)(*args)


def every_call(f: Callable[..., Any], *args: Any, **options: Any) -> Run:
    """Return a run that calls f, which is compiled before; on XLA it waits for the results."""
    compiled = fg.jit(f, **options)
    compiled(*args)
    return lambda: [np.asarray(x) for x in fg.tree.leaves(compiled(*args))]


def recurrence(x: Any, rows: Any) -> Any:
    """Return the sum of the states of a small recurrent net."""

    def step(state: Any, row: Any) -> Any:
        state = np.tanh(0.9 * state + row)
        return state, state

    return np.sum(fg.scan(step, x, rows)[1])


def rows(steps: int) -> tuple[Any, Any]:
    """Return arguments of the recurrence."""
    return np.ones(16), np.full((steps, 16), 0.1)


def squares(leaves: Any) -> Any:
    """Return a function of many parameters: the sum of all squares."""
    total = 0.0
    for x in leaves:
        total = total + np.sum(x * x)
    return total


def leaves(n: int, size: int = 3) -> list[Any]:
    """Return parameters."""
    return [np.full(size, 0.5) for _ in range(n)]


def updates(n: int) -> Run:
    """Return a run of one step of Adam."""
    adam, params = optim.adam(1e-3), leaves(n)
    state = adam.init(params)
    return lambda: adam.update(params, state, params)


def first_step(n: int, size: int = 3) -> Run:
    """Return a run that compiles a training step and takes it."""
    step = train.train_step(squares, optim.adam(1e-3))
    return lambda: train.train_step(squares, optim.adam(1e-3))(step.init(leaves(n, size)))


def every_step(n: int, size: int = 2048) -> Run:
    """Return a run that takes a training step, with parameters large enough to be donated."""
    step = train.train_step(squares, optim.adam(1e-3))
    state = step(step.init(leaves(n, size)))[0]

    def run() -> None:
        nonlocal state
        state = step(state)[0]

    return run


def net(params: Any, x: Any) -> Any:
    """Return the mean square of a net of two layers."""
    return np.mean((np.tanh(x @ params[0]) @ params[1]) ** 2)


def weights(width: int) -> list[Any]:
    """Return parameters of the net."""
    return [np.full((width, width), 1.0 / width) for _ in range(2)]


def layers_in_a_loop(n: int) -> Run:
    """Return a run that compiles the gradient of a loop whose body has n layers."""
    params = [(0.1 * np.eye(4), np.ones(4)) for _ in range(n)]

    def loss(params: Any) -> Any:
        def body(x: Any, _: Any) -> Any:
            for w, b in params:
                x = np.tanh(x @ w + b)
            return x, None

        return np.sum(fg.scan(body, np.ones((2, 4)), None, length=3)[0])

    return first_call(fg.grad(loss), params)


def signatures(n: int) -> Run:
    """Return a run that calls a compiled function with arguments of n shapes."""
    gradient = fg.grad(lambda x: np.sum(np.sin(x) ** 2))
    return lambda: [*map(fg.jit(gradient), [np.ones(k) for k in range(1, n + 1)])]


def reads(n: int) -> Run:
    """Return a run of the gradient of a function that reads its argument row by row."""
    x = np.ones((n, 4))
    return lambda: fg.grad(lambda x: sum(np.sum(np.sin(x[k])) for k in range(n)))(x)


def sin_squared(x: Any) -> Any:
    """Return the sum of squared sines."""
    return np.sum(np.sin(x) ** 2)


XLA = {"backend": "xla"}
MLP = fg.value_and_grad(net)
LOOP = fg.value_and_grad(recurrence)
# fmt: off
AXES: dict[str, Axis] = {
    "tape": Axis("eager", "operation, value and gradient", powers(2, 6),
        lambda n: lambda: fg.value_and_grad(chain(n))(0.5)),
    "tape, second derivative": Axis("eager", "operation, grad of grad", powers(2, 5),
        lambda n: lambda: fg.grad(fg.grad(chain(n)))(0.5)),
    "forward mode": Axis("eager", "operation, jvp", powers(2, 5),
        lambda n: lambda: fg.jvp(chain(n), (0.5,), (1.0,))),
    "steps, eager": Axis("eager", "step of a scan, value and gradient", powers(2, 4),
        lambda n: lambda: LOOP(*rows(n))),
    "reads": Axis("eager", "row read, gradient", powers(1, 4), reads),
    "leaves": Axis("eager", "leaf, gradient", powers(1, 5),
        lambda n: lambda: fg.grad(squares)(leaves(n))),
    "Adam, eager": Axis("eager", "leaf", powers(1, 5), updates),
    "flatten and map": Axis("eager", "leaf", powers(2, 6),
        lambda n: partial(fg.tree.map, lambda x: x, leaves(n))),
    "lanes, eager": Axis("eager", "lane of vmap, gradient", powers(2, 6),
        lambda n: partial(fg.vmap(fg.grad(sin_squared)), np.ones((n, 4)))),
    "staging": Axis("staging and compiling", "operation, make_graph of the gradient", powers(2, 5),
        lambda n: lambda: fg.make_graph(fg.grad(chain(n)))(0.5)),
    "first call": Axis("staging and compiling", "operation, gradient", powers(1, 4),
        lambda n: first_call(fg.grad(chain(n)), 0.5)),
    "first step": Axis("staging and compiling", "leaf, training step with Adam", powers(1, 3),
        first_step),
    "first step, large": Axis("staging and compiling", "leaf of 16 kB, the same", powers(1, 3),
        lambda n: first_step(n, 2048)),
    "loop's body": Axis("staging and compiling", "layer in a loop's body", powers(1, 3),
        layers_in_a_loop),
    "signatures": Axis("staging and compiling", "shape of the argument", powers(1, 3), signatures),
    "source": Axis("staging and compiling", "operation, source of the gradient", powers(1, 4),
        lambda n: lambda: str(fg.source(fg.grad(chain(n)))(0.5))),
    "calls": Axis("compiled, every call", "operation, gradient", powers(1, 4),
        lambda n: every_call(fg.grad(chain(n)), 0.5)),
    "steps": Axis("compiled, every call", "step of a scan, value and gradient", powers(2, 5),
        lambda n: every_call(LOOP, *rows(n))),
    "training step": Axis("compiled, every call", "leaf of 16 kB, step with Adam", powers(1, 3),
        every_step),
    "batch": Axis("compiled, every call", "row of a batch, net of width 64", powers(2, 6),
        lambda n: every_call(MLP, weights(64), np.ones((n, 64)))),
    "width": Axis("compiled, every call", "weight of a layer, batch 64",
        [32, 64, 128, 256, 512, 1024, 2048],
        lambda n: every_call(MLP, weights(n), np.ones((64, n))), lambda n: float(n) ** 2),
    "lanes": Axis("compiled, every call", "lane of vmap, gradient", powers(2, 6),
        lambda n: every_call(fg.vmap(fg.grad(sin_squared)), np.ones((n, 4)))),
    "steps, XLA": Axis("XLA engine", "step of a scan, value and gradient", powers(2, 5),
        lambda n: every_call(LOOP, *rows(n), **XLA)),
    "batch, XLA": Axis("XLA engine", "row of a batch, net of width 64", powers(2, 6),
        lambda n: every_call(MLP, weights(64), np.ones((n, 64)), **XLA)),
    "first call, XLA": Axis("XLA engine", "operation, gradient", powers(1, 3),
        lambda n: first_call(fg.grad(chain(n)), 0.5, **XLA)),
}
# fmt: on


# --- measuring -----------------------------------------------------------------------------------


def seconds_of(run: Run) -> float:
    """Return the smallest time of some runs."""
    times: list[float] = []
    while len(times) < 5 and sum(times) < ENOUGH:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def measured(axis: Axis) -> list[list[float | None]]:
    """Return work, seconds and growth of the peak of memory for each size."""
    before = status_of_memory("VmRSS")
    axis.make(axis.sizes[0])()  # imports and caches
    found: list[list[float | None]] = []
    for n in axis.sizes:
        seconds = seconds_of(axis.make(n))
        peak = status_of_memory("VmHWM")
        found.append([axis.work(n), seconds, peak and before and peak - before])
        if seconds > PATIENCE:
            break
    return found


def slope(points: Sequence[Sequence[Any]]) -> float:
    """Return the slope of log(time) over log(work) at the largest sizes."""
    work, seconds = np.array([p[:2] for p in points], float).T
    last = work >= work[-1] / DECADES
    return float(np.polyfit(np.log(work[last]), np.log(seconds[last]), 1)[0])


# --- text and picture ----------------------------------------------------------------------------


def cells(name: str, points: Sequence[Sequence[Any]]) -> list[str]:
    """Return the row of an axis."""
    axis = AXES[name]
    (low, first, _), (high, last, peak) = points[0], points[-1]
    memory = "" if peak is None else number(peak / high)
    sizes = f"{low:,.0f} to {high:,.0f}"
    times = [number(first / low, 1e6), number(last / high, 1e6)]
    return [name, axis.unit, sizes, *times, number(last), memory, f"{slope(points):.2f}"]


HEAD = ("axis", "one unit is a", "units", "us at first", "us at last", "s in all",
        "bytes", "slope")  # fmt: skip


def page(figures: dict[str, Any]) -> str:
    """Return everything that is made from figures."""
    parts = ["Taken on: " + "; and on: ".join({f["machine"]: 0 for f in figures.values()}) + "."]
    parts.append("![Time beside work, on logarithmic axes](scaling.png)")
    for group in GROUPS:
        rows = [cells(n, f["points"]) for n, f in figures.items() if AXES[n].group == group]
        parts.append(f"### {group[0].upper()}{group[1:]}\n\n{markdown(HEAD, rows)}")
    return "\n\n".join(parts)


def draw(figures: dict[str, Any], file: Path) -> None:
    """Draw time beside work, one panel a group, with lines of slope 1."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 8), layout="constrained")
    FigureCanvasAgg(figure)
    for ax, group in zip(figure.subplots(2, 2).flat, GROUPS, strict=True):
        for name, found in figures.items():
            if AXES[name].group == group:
                work, seconds = np.array([p[:2] for p in found["points"]], float).T
                ax.loglog(work, seconds, ".-", label=f"{name}: {slope(found['points']):.2f}")
        (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
        for k in range(-16, 8):  # one a decade
            ax.plot((left, right), (10.0**k * left, 10.0**k * right), lw=0.5, c="0.85", zorder=0)
        ax.set(xlim=(left, right), ylim=(bottom, top), title=group, xlabel="units of work")
        ax.set_ylabel("seconds")
        ax.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(file, dpi=80)


def update_docs(figures: dict[str, Any]) -> None:
    """Write tables and picture into docs/scaling.md, between its markers."""
    file = DOCS / "scaling.md"
    before, _, rest = file.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    file.write_text(f"{before}{BEGIN}\n\n{page(figures)}\n\n{END}{after}", "utf-8")
    draw(figures, DOCS / "scaling.png")


def remember(file: Path, name: str, found: dict[str, Any]) -> None:
    """Put the figures of an axis into the file, in the order of the table."""
    figures = json.loads(file.read_text()) if file.exists() else {}
    figures[name] = found
    rows = [f'"{n}": {json.dumps(figures[n])}' for n in AXES if n in figures]
    file.write_text("{\n" + ",\n".join(rows) + "\n}\n")


def main() -> None:
    """Measure, or write the documentation's page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="an axis, or part of names and groups")
    parser.add_argument("--json", type=Path, help="file of figures")
    parser.add_argument("--docs", action="store_true")
    parser.add_argument("--axis", choices=AXES, help="measure one, here, and print JSON")
    options = parser.parse_args()
    if options.axis:
        print(json.dumps(measured(AXES[options.axis])))
        return
    if options.docs:
        update_docs(json.loads(options.json.read_text()))
        return
    where = machine("numpy", "jax")
    print(f"{where}\n" + " | ".join(HEAD))
    some = [n for n, a in AXES.items() if options.only.lower() in f"{n} {a.group}".lower()]
    for name in [options.only] if options.only in AXES else some:
        command = [sys.executable, __file__, "--axis", name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{name}: FAILED\n{done.stderr}", file=sys.stderr)
            continue
        points = json.loads(done.stdout.splitlines()[-1])
        points = [[None if x is None else float(f"{x:.4g}") for x in p] for p in points]
        print(" | ".join(cells(name, points)), flush=True)
        if options.json:
            remember(options.json, name, {"machine": where, "points": points})


if __name__ == "__main__":
    main()

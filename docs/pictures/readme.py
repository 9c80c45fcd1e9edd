"""Draw the pictures of the README.

    python3 tools/run.py exec python docs/pictures/readme.py

The README's own example is run: its loss is drawn as a graph with the way back beside it
(readme_graph.svg), and trained once more for the curve (readme_training.svg, needs matplotlib).
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from pathlib import Path
from typing import Any

import funcgraph as fg
from funcgraph import optim

FOLDER = Path(__file__).resolve().parent
README = FOLDER.parents[1] / "README.md"


def example() -> dict[str, Any]:
    """Run the README's example and return what it has defined."""
    (program,) = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    namespace: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(program, "README.md", "exec"), namespace)
    return namespace


def graph(names: dict[str, Any]) -> str:
    """Return the picture of the example's loss: a node for each layer, and the way back."""
    return fg.draw(names["loss"], depth=0)(names["params"], names["xs"], names["ys"]).svg


def losses(names: dict[str, Any]) -> list[float]:
    """Train the example's model once more and return the loss of every step."""
    step = fg.train_step(names["loss"], optim.adam(0.01))
    state = step.init(names["params"])
    found = []
    data = (names["xs"], names["ys"])
    for batch in fg.batches(data, 64, key=fg.random.key(2), epochs=100):
        state, metrics = step(state, *batch)
        found.append(float(metrics.loss))
    return found


def curve(values: list[float], path: Path) -> None:
    """Draw the losses over the steps."""
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "readme"  # the same ids in every run
    figure, axes = plt.subplots(figsize=(5, 2.5), layout="constrained")
    axes.semilogy(values, color="#1f5fa8", linewidth=0.8)
    axes.set(xlabel="step", ylabel="loss")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Draw both pictures."""
    names = example()
    (FOLDER / "readme_graph.svg").write_text(graph(names), "utf-8")
    curve(losses(names), FOLDER / "readme_training.svg")


if __name__ == "__main__":
    sys.exit(main())

"""The programs of the lecture run, keep what they promise, and print what its pages show."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LECTURE = ROOT / "docs" / "lecture"

# Programs with options with which they take seconds, and the packages that they need.
SMALL = {
    "graphs": ["--batch", "2"],
    "backpropagation": ["--steps", "200"],
    "universal_approximation": ["--width", "8", "--steps", "5", "--points", "60", "--epsilon", "2"],
    "optimizers_regularization": ["--steps", "150", "--overfit", "250"],
    "convolution": ["--epochs", "1", "--target", "0.5"],
    "transfer_learning": ["--epochs", "5", "--draws", "3"],
    "hodgkin_huxley": ["--milliseconds", "4", "--dt", "0.04", "--noise", "0.5"],
}
NEEDS = {
    "universal_approximation": ["scipy"],
    "convolution": ["sklearn", "PIL"],
    "transfer_learning": ["sklearn"],
    "hodgkin_huxley": ["scipy"],
    "digits": ["sklearn", "jax"],
}
PAGES = [*SMALL, "digits"]


def run(name: str, *arguments: str, missing: tuple[str, ...] = ()) -> tuple[int, str]:
    """Run a program in a Python without the `missing`; return its exit status and its output."""
    code = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({missing!r}))
sys.path.insert(0, {str(ROOT / "examples")!r})
sys.argv = {[name, *arguments]!r}
runpy.run_path({str(ROOT / "examples" / (name + ".py"))!r}, run_name="__main__")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def shape(line: str) -> str:
    """Return a line without what differs between machines: numbers, and the space around them."""
    return " ".join(re.sub(r"-?\d+(\.\d+)?(e[-+]\d+)?", "#", line).split())


def plain(code: str) -> str:
    """Return code without indentation and empty lines, which the formatter changes in pages."""
    return re.sub(r"^\s+", "", code, flags=re.MULTILINE)


def run_small(name: str, tmp_path: Path) -> str:
    """Run a program with small settings; return what it prints."""
    for package in NEEDS.get(name, []):
        pytest.importorskip(package)
    picture = tmp_path / "picture.png"
    status, printed = run(name, *SMALL[name], "--picture", str(picture))
    assert status == 0, printed
    if importlib.util.find_spec("matplotlib"):
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert f"Picture saved to {picture}" in printed
    return printed


def test_graphs(tmp_path):
    printed = run_small("graphs", tmp_path)
    leaves = re.findall(r"^([a-z]\w*/[wb]) +\(.*\) +(\d\.\de-?\+?\d+)", printed, re.MULTILINE)
    names = ["v1", "v2", "v3", "h", "k", "y"]
    assert [leaf for leaf, _ in leaves] == [f"{name}/{leaf}" for name in names for leaf in "wb"]
    assert all(float(difference) < 1e-12 for _, difference in leaves)
    assert re.findall(r"^as (\S+)", printed, re.MULTILINE) == [
        *("nn.graph", "nn.serial", "functional"),
        *("nn.graph", "functional"),
    ]
    assert "concatenate[axis=1]" in printed


def test_backpropagation(tmp_path):
    printed = run_small("backpropagation", tmp_path)
    forward, backward, rest = re.split(r"\n(?=Backward pass|fg.grad)", printed)
    steps = re.findall(r"^ (\d) .* (\w+) -> float64", forward, re.MULTILINE)
    assert [number for number, _ in steps] == list("123456789")
    assert " ".join(operation for _, operation in steps) == (
        "matmul add tanh matmul add subtract square reduce_sum divide"
    )
    assert re.findall(r"^ (\d)  \(", backward, re.MULTILINE) == list("987654321")
    assert "is the rows above, one after the other." in rest
    losses = [float(x) for x in re.findall(r"^ +\d+ +(\S+)(?: +\S+){4}$", rest, re.MULTILINE)]
    assert len(losses) == 6 and losses == sorted(losses, reverse=True)


def test_universal_approximation(tmp_path):
    printed = run_small("universal_approximation", tmp_path)
    head, ways, *rows = printed.splitlines()[:7]
    assert head.split()[1:] == ["40", "400", "4000"] + 2 * ["4", "8"]
    assert ways.split()[2:] == 3 * ["steps"] + 2 * ["random"] + 2 * ["trained"]
    rows = [re.split(r"  +", row) for row in rows]
    assert len(rows) == 5 and all(len(row) == 8 for row in rows)
    assert rows[-1][1:4] == ["-", "-", "-"]  # the staircase is of one variable


def test_optimizers_regularization(tmp_path):
    printed = run_small("optimizers_regularization", tmp_path)
    rows = dict(re.findall(r"^(\w[\w ]*?)  +([\d. ]+)$", printed, re.MULTILINE))
    optimizers = ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "lion"]
    methods = ["plain", "early stopping", "L2", "dropout"]
    assert list(rows)[-11:] == optimizers + methods
    held_out = {name: float(rows[name].split()[1]) for name in methods}
    assert max(held_out, key=held_out.get) == "plain"


def test_hodgkin_huxley(tmp_path):
    printed = run_small("hodgkin_huxley", tmp_path)
    number = r" +(-?[\d.]+)"
    gradient = re.findall(rf"^(g_\w+){number}{number}$", printed, re.MULTILINE)
    found = re.findall(rf"^(g_\w+){3 * number}{number}%$", printed, re.MULTILINE)
    assert [row[0] for row in gradient] == [row[0] for row in found] == ["g_Na", "g_K", "g_L"]
    assert all(float(error) < 5 for *_, error in found)


def test_what_is_not_installed_is_left_out(tmp_path):
    picture = tmp_path / "picture.png"
    status, printed = run("graphs", "--picture", str(picture), missing=("jax", "matplotlib"))
    assert status == 0
    assert "jax is not installed: the comparison with jax.grad is left out" in printed
    assert "matplotlib is not installed: the picture is left out" in printed
    assert not picture.exists()


def test_a_missed_promise_is_said(tmp_path):
    status, printed = run(
        "backpropagation", "--steps", "5", "--picture", str(tmp_path / "picture.png")
    )
    assert status == 1
    assert "MISSED: the loss is below 0.01 at the end" in printed


@pytest.mark.parametrize("name", PAGES)
def test_pages_quote_their_programs(name):
    page = (LECTURE / f"{name}.md").read_text("utf-8")
    program = (ROOT / "examples" / f"{name}.py").read_text("utf-8")
    quoted = re.findall(r"```py\n(.*?)```", page, re.DOTALL)
    assert quoted and all(plain(code) in plain(program) for code in quoted)
    assert f"(pictures/{name}.png)" in page
    assert (LECTURE / "pictures" / f"{name}.png").stat().st_size < 60_000
    assert f"({name}.md)" in (LECTURE / "README.md").read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_pages_show_what_their_programs_print(name, tmp_path):
    for package in NEEDS.get(name, []):
        pytest.importorskip(package)
    status, printed = run(name, "--picture", str(tmp_path / "picture.png"))
    assert status == 0, printed
    lines = set(map(shape, printed.splitlines()))
    page = (LECTURE / f"{name}.md").read_text("utf-8")
    for shown in re.findall(r"```text\n(.*?)```", page, re.DOTALL):
        assert [line for line in shown.splitlines() if shape(line) not in lines] == []

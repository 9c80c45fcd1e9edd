"""The README's example prints what the README says; the programs in examples/ run."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "examples" / "digits.py"


def run_digits(*arguments: str, missing: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run examples/digits.py in a Python of its own, in which the `missing` cannot be imported."""
    code = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({missing!r}))
sys.argv = {["digits.py", *arguments]!r}
runpy.run_path({str(DIGITS)!r}, run_name="__main__")
"""
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )


def table(output: str) -> list[list[str]]:
    """Return the rows of the gradient's table: leaf, jax.grad, finite differences, verdict."""
    rows = re.findall(r"^(\[.*\S) +\(.*\) +(\S+) +(\S+)  (\w+)$", output, re.MULTILINE)
    return [list(row) for row in rows]


# Pages that need more than NumPy to run. (tests/docs/test_errors.py has those of docs/errors.)
NEEDS = {
    "docs/certificate.md": ["jax"],
    "docs/estimators.md": ["sklearn"],
    "docs/many_hosts.md": ["jax"],
    "docs/migration/jax.md": ["jax"],
    "docs/optim.md": ["optax", "scipy"],
    "docs/plots.md": ["matplotlib"],
    "docs/quickstart.md": ["jax"],
    "docs/sharp_bits.md": ["jax"],
    "docs/sparse.md": ["scipy"],
    "docs/tutorials/jit_and_engines.md": ["jax"],
}
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
    if "```python" in path.read_text("utf-8")
    and (path.parent.name != "errors" or path.stem == "README")
)


@pytest.mark.parametrize("document", PAGES)
def test_examples_print_what_the_document_says(document):
    for package in NEEDS.get(document, []):
        pytest.importorskip(package)
    text = (ROOT / document).read_text("utf-8")
    examples = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", text, re.DOTALL)
    assert examples and len(examples) == text.count("```python")
    code = "\n".join(python for python, _ in examples)  # one program: each builds on those before
    expected = "".join(printed for _, printed in examples)
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (run.stdout, run.stderr) == (expected, "")


def test_digits_learns_and_its_gradient_agrees(tmp_path):
    pytest.importorskip("sklearn")
    picture = tmp_path / "curves.png"
    run = run_digits("--epochs", "2", "--target", "0.9", "--picture", str(picture))
    assert run.returncode == 0, run.stdout + run.stderr
    rows = table(run.stdout)
    layers = ("hidden", "scores", "shapes", "strokes", "whole")
    assert [row[0] for row in rows] == [f"['{layer}']['{p}']" for layer in layers for p in "bw"]
    assert {row[-1] for row in rows} == {"ok"}
    engines = re.findall(r"^(\w+) +\S+ ms per step, held-out accuracy", run.stdout, re.MULTILINE)
    if importlib.util.find_spec("jax"):
        assert "-" not in {row[1] for row in rows}
        assert engines == ["numpy", "xla"]
    else:
        assert engines == ["numpy"]
    if importlib.util.find_spec("matplotlib"):
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert f"Curves saved to {picture}" in run.stdout
    assert "Held-out accuracy" in run.stdout.splitlines()[-1]


def test_digits_says_what_it_leaves_out_and_fails_below_the_target(tmp_path):
    pytest.importorskip("sklearn")
    picture = tmp_path / "curves.png"
    run = run_digits(
        *("--epochs", "1", "--target", "1.01", "--picture", str(picture)),
        missing=("jax", "matplotlib", "tqdm"),
    )
    assert run.returncode == 1, run.stdout + run.stderr
    assert "The accuracy is below 101%." in run.stderr
    for name in ("jax", "matplotlib", "tqdm"):
        assert f"{name} is not installed" in run.stdout
    assert not picture.exists()
    assert {(row[1], row[-1]) for row in table(run.stdout)} == {("-", "ok")}
    assert "Held-out accuracy" in run.stdout.splitlines()[-1]


def test_digits_without_scikit_learn_names_the_extra():
    run = run_digits(missing=("sklearn", "sklearn.datasets"))
    assert run.returncode == 1
    assert run.stderr == ("The digits come with scikit-learn: pip install 'funcgraph[examples]'\n")


@pytest.mark.parametrize("arguments", [[], ["nonsense"]])
def test_command_line_lists_its_commands(arguments):
    command = [sys.executable, "-m", "funcgraph", *arguments]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr.startswith("usage: python -m funcgraph [-h] {demo,compare,doctor,help} ...")


def test_command_line_runs_the_demonstration():
    command = [sys.executable, "-m", "funcgraph", "demo", "--help"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0
    assert "held-out accuracy to reach" in run.stdout

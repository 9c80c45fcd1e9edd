"""A stranger's hour, as a script: install, quickstart, an own loss, a wrong rule, pictures, source.

Everything runs in one fresh environment, outside of the clone, as the pages say.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "docs" / "quickstart.md"


class Stranger:
    """An environment of its own, and an empty folder to work in."""

    def __init__(self, folder: Path) -> None:
        self.work = folder / "work"
        self.work.mkdir()
        self.home = folder / "venv"
        venv.create(self.home, with_pip=False, symlinks=os.name != "nt")
        self.python = self.home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def run(self, *command: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run Python there; nothing of the clone or of this environment is in reach."""
        environ = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        command = (self.python, *command)
        return subprocess.run(
            [*map(str, command)], cwd=cwd or self.work, env=environ, capture_output=True, text=True
        )

    def write(self, name: str, text: str) -> None:
        """Write a file into the folder."""
        (self.work / name).write_text(text, "utf-8")


def install(stranger: Stranger, requirements: str) -> None:
    """Do what `pip install` does there, with the pip of this Python or of the one beneath."""
    for python in (sys.executable, sys._base_executable):
        pip = [python, "-m", "pip"]
        if subprocess.run([*pip, "--version"], capture_output=True).returncode == 0:
            break
    options = ["-q", "--no-compile"]  # what is imported is compiled then
    command = [*pip, "--python", str(stranger.python), "install", *options, requirements]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def the_package_is_the_installed_one(stranger: Stranger) -> None:
    done = stranger.run("-c", "import funcgraph; print(funcgraph.__file__)")
    assert done.stdout.startswith(str(stranger.home)), done.stderr


def quickstart(stranger: Stranger) -> None:
    examples = re.findall(
        r"```python\n(.*?)```\n\n```text\n(.*?)```", QUICKSTART.read_text("utf-8"), re.DOTALL
    )
    program = "\n".join(program for program, _ in examples)
    done = stranger.run("-c", program)  # as tests/docs/test_examples.py runs it
    assert (done.stdout, done.stderr) == ("".join(printed for _, printed in examples), "")


def help_from_the_wheel(stranger: Stranger) -> None:
    done = stranger.run("-m", "funcgraph", "help", "ShapeError")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("# ShapeError\n")


LOSS = """
import numpy as np
import funcgraph as fg


def loss(params, x, y):
    hidden = np.tanh(x @ params["w"] + params["b"])
    return np.mean((hidden - y) ** 2)


@fg.custom_vjp
def scaled(x):
    return 3.0 * x


scaled.defvjp(lambda x: (scaled(x), None), lambda _, g: (np.where(np.arange(3) == 1, g, 3.0 * g),))


def wrong(params):
    return np.sum(params["a"] ** 2) + np.sum(scaled(params["b"]) ** 2)


point = {"w": np.ones((3, 2)), "b": np.zeros(2)}, np.eye(3), np.ones((3, 2))
params = ({"a": np.ones(2), "b": np.array([1.0, 2.0, 3.0])},)
"""


def an_own_loss_agrees_with_jax(stranger: Stranger) -> None:
    stranger.write("mine.py", LOSS)
    done = stranger.run("-m", "funcgraph", "compare", "mine.py:loss", "--args", "mine.py:point")
    assert (done.returncode, done.stderr) == (0, "")
    assert "compared with jax" in done.stdout
    verdicts = re.findall(r"^(\S+) +float64\S+ .* (\w+)$", done.stdout, re.MULTILINE)
    assert {*verdicts} == {("params['b']", "agree"), ("params['w']", "agree")}


def a_wrong_rule_is_found(stranger: Stranger) -> None:
    stranger.write("mine.py", LOSS)
    done = stranger.run("-m", "funcgraph", "compare", "mine.py:wrong", "--args", "mine.py:params")
    assert (done.returncode, done.stderr) == (1, "")
    verdicts = re.findall(r"^(\S+) +float64\S+ +1 rev .* (\w+)$", done.stdout, re.MULTILINE)
    assert verdicts == [("params['a']", "agree"), ("params['b']", "differ")]
    assert "differ: params['b'], order 1 rev\n  at [1]: ours 12, jax 36" in done.stdout
    assert "custom rule of scaled" in done.stdout


def a_model_is_drawn(stranger: Stranger) -> None:
    stranger.write(
        "picture.py",
        """
import funcgraph as fg
from funcgraph import nn

model = nn.serial(nn.Dense(8), nn.relu, nn.Dense(2))
model.draw((-1, 4)).save("model.svg")
""",
    )
    done = stranger.run("picture.py")
    assert (done.returncode, done.stderr) == (0, "")
    root = ElementTree.parse(stranger.work / "model.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    words = " ".join(t.text or "" for t in root.iter("{http://www.w3.org/2000/svg}text"))
    assert "relu" in words and "dense" in words


def source_of_the_gradient_runs_without_funcgraph(stranger: Stranger) -> None:
    stranger.write(
        "write.py",
        """
import numpy as np
import funcgraph as fg


def loss(w, x, y):
    return np.mean((np.tanh(x @ w) - y) ** 2)


point = np.array([0.5, -1.0]), np.array([[1.0, 2.0], [0.5, 0.0]]), np.array([0.1, 0.2])
print(fg.grad(loss)(*point))
with open("gradient.py", "w") as file:
    file.write(fg.source(fg.grad(loss))(*point))
""",
    )
    written = stranger.run("write.py")
    assert (written.returncode, written.stderr) == (0, "")
    packages = next(stranger.home.glob("**/site-packages"))
    alone = stranger.work / "alone"  # a folder to import from that has NumPy and nothing else
    alone.mkdir()
    for name in ("numpy", "numpy.libs"):
        if (packages / name).exists():
            (alone / name).symlink_to(packages / name)
    (stranger.work / "gradient.py").rename(alone / "gradient.py")
    program = f"""
import importlib.util, sys
sys.path.append({str(alone)!r})
assert importlib.util.find_spec("funcgraph") is None
import numpy as np
from gradient import loss
print(loss(np.array([0.5, -1.0]), np.array([[1.0, 2.0], [0.5, 0.0]]), np.array([0.1, 0.2])))
"""
    done = stranger.run("-I", "-S", "-c", program)
    assert (done.stdout, done.stderr) == (written.stdout, "")


STEPS = [
    the_package_is_the_installed_one,
    quickstart,
    help_from_the_wheel,
    an_own_loss_agrees_with_jax,
    a_wrong_rule_is_found,
    a_model_is_drawn,
    source_of_the_gradient_runs_without_funcgraph,
]


def test_a_strangers_hour(tmp_path, subtests):
    """One test, not one for each step: workers of pytest would each make the environment."""
    commands = re.findall(r"^    pip install (\S+)", QUICKSTART.read_text("utf-8"), re.MULTILINE)
    assert commands == [".", "'.[xla]'"]
    stranger = Stranger(tmp_path)
    install(stranger, commands[-1].strip("'"))
    for step in STEPS:
        with subtests.test(step.__name__):
            step(stranger)

"""`python -m funcgraph`: compare, doctor, help; exit statuses and what is printed."""

from __future__ import annotations

import importlib.util
import json
import platform
import sys

import numpy as np
import pytest

import funcgraph as fg
from funcgraph import __main__ as command
from funcgraph.check import doctor

PROGRAM = """
import numpy as np
import funcgraph as fg

def loss(w, x, *, scale=1.0):
    return scale * np.sum(np.tanh(x @ w) ** 2)

@fg.custom_jvp
def square(x):
    return x**2

square.defjvps(lambda t, y, x: 3 * x * t)

class Group:
    @staticmethod
    def cube(x):
        return x**3

def number():
    return 3

def fails(x):
    raise RuntimeError("the user's own error")

point = (2.0,)
args = (np.ones((3, 2)), np.arange(6.0).reshape(2, 3))

def keywords():
    return {"w": args[0], "x": args[1], "scale": 2.0}
"""


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """Return a function that runs a command line, for the file PROGRAM stands in as FILE."""
    path = tmp_path / "users_program.py"
    path.write_text(PROGRAM, "utf-8")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)

    def call(line: str) -> tuple[int, str, str]:
        try:
            status = command.main(line.split())
        except SystemExit as end:
            status = end.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    yield call
    command.module_of.cache_clear()
    sys.modules.pop("users_program", None)


FAST = "--order 1 --modes rev --against numeric"
FILE = "users_program.py"


def test_compare_prints_a_table_and_its_status_says_how_it_went(run) -> None:
    status, out, err = run(f"compare {FILE}:loss --args {FILE}:args {FAST}")
    assert (status, err) == (0, "")
    assert out.startswith("Derivatives of loss, compared with numeric (imaginary steps): ok\n")
    assert "w     float64[3,2]  1 rev" in out and "\nx " not in out
    status, out, _ = run(f"compare {FILE}:square --args {FILE}:point {FAST}")
    assert status == 1 and "NOT OK" in out
    status, out, _ = run(f"compare users_program:Group.cube --args users_program:point {FAST}")
    assert status == 0 and out.startswith("Derivatives of cube")


def test_compare_options(run, tmp_path) -> None:
    line = f"compare {FILE}:loss --args {FILE}:keywords {FAST} --argnums 0,1 --json --html r.html"
    status, out, _ = run(line)
    assert status == 0
    found = json.loads(out)
    assert found["ok"] is True and found["verdicts"] == {"w": "agree", "x": "agree"}
    assert (tmp_path / "r.html").read_text("utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("compare", "the following arguments are required: function"),
        (f"compare {FILE}", "'users_program.py' is not of the form file.py:name or module:name"),
        (f"compare {FILE}:nothing --args {FILE}:point", "has nothing named nothing"),
        ("compare missing.py:f", "there is no file missing.py"),
        ("compare no_such_module:f", "there is no module no_such_module"),
        (f"compare {FILE}:loss", "users_program.py:loss needs arguments: name them by --args"),
        (f"compare {FILE}:loss --args {FILE}:number", "--args must name a tuple of arguments"),
        (f"compare {FILE}:loss --args {FILE}:args --html r.txt", "must end with .html"),
        (f"compare {FILE}:loss --args {FILE}:args --order 3", "invalid choice: 3"),
        ("nonsense", "invalid choice: 'nonsense'"),
        ("", "the following arguments are required: command"),
    ],
)
def test_usage_errors(run, line, message) -> None:
    status, out, err = run(line)
    assert (status, out) == (2, "")
    assert err.startswith("usage: python -m funcgraph") and message in err


def test_errors_of_the_user_are_shown(run) -> None:
    status, out, err = run(f"compare {FILE}:fails --args {FILE}:point {FAST}")
    assert (status, out) == (2, "")
    assert "Traceback" in err and "RuntimeError: the user's own error" in err


def test_doctor(run, monkeypatch) -> None:
    status, out, _ = run("doctor")
    assert status == 0
    for text in (fg.__version__, platform.python_version(), np.__version__, "BLAS: ", "threads: "):
        assert text in out
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    out = doctor.diagnosis()
    monkeypatch.setattr(importlib.util, "find_spec", find)
    assert "OMP_NUM_THREADS=2" in out
    assert "OPENBLAS_CORETYPE=Haswell" in out
    if find("threadpoolctl"):
        assert "OPENBLAS_CORETYPE is set" in doctor.diagnosis()
    assert "  xla     JAX is missing: pip install 'funcgraph[xla]'" in out
    for package in doctor.PACKAGES:
        assert f"missing, for {package.purpose}: pip install 'funcgraph[{package.extra}]'" in out


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="no JAX")
def test_doctor_shows_devices_or_why_there_are_none(monkeypatch) -> None:
    assert "devices: " in doctor.diagnosis()

    def broken(name):
        raise RuntimeError("no driver")

    monkeypatch.setattr(doctor, "jax_name", broken)
    assert "JAX is installed, but fails: RuntimeError: no driver" in doctor.diagnosis()


def test_help_prints_pages(run, tmp_path, monkeypatch) -> None:
    pages = tmp_path / "funcgraph" / "_docs" / "errors"
    pages.mkdir(parents=True)
    (pages / "ShapeError.md").write_text("# ShapeError\n", "utf-8")
    (pages / "TreeError.md").write_text("# TreeError\n", "utf-8")
    (pages / "README.md").write_text("# All\n", "utf-8")
    monkeypatch.setattr(command, "PACKAGE", tmp_path / "funcgraph")
    assert run("help ShapeError") == (0, "# ShapeError\n", "")
    assert run("help") == (0, "ShapeError\nTreeError\n", "")
    status, _, err = run("help Nonsense")
    assert status == 2
    assert "there is no page on 'Nonsense', only on: ShapeError, TreeError" in err
    monkeypatch.setattr(command, "PACKAGE", tmp_path / "elsewhere")
    status, _, err = run("help")
    assert status == 2 and "found none of" in err

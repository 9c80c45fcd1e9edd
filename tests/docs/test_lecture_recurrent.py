"""The lecture's programs on recurrent nets run, keep their promises, and are on the page."""

from __future__ import annotations

import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "lecture" / "recurrent.md"
NAMES = ["text_generation", "sequence_to_sequence", "sequence_labelling"]
HAS_MATPLOTLIB = importlib.util.find_spec("matplotlib") is not None


def run(name: str, *arguments: str) -> tuple[int, str, str]:
    """Run a program of the examples; return its exit status, output and error output."""
    program = ROOT / "examples" / f"{name}.py"
    command = [sys.executable, "-W", "error", str(program), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def run_small(name: str, tmp_path: Path, promise: str) -> str:
    """Run a program for three steps, too few for its promise; return what it prints."""
    picture = tmp_path / "picture.png"
    small = ["--steps", "3", "--hidden", "8", "--backend", "numpy", "--picture", str(picture)]
    status, printed, errors = run(name, *small)
    assert (status, errors) == (1, f"MISSED: {promise}\n"), printed + errors
    if HAS_MATPLOTLIB:
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert f"Picture saved to {picture}" in printed
    return printed


def test_text_generation(tmp_path):
    printed = run_small("text_generation", tmp_path, "at most 2.8 bits per character")
    rows = re.findall(r"^ +(\d) +\d+\.\d +(\d\.\d+) +(\d\.\d+)$", printed, re.MULTILINE)
    assert [row[0] for row in rows] == ["1", "2", "3"]
    texts = re.split(r"--- temperature \S+ ---", printed)[1:]
    assert len(texts) == 3 and all(text.startswith("\n    def ") for text in texts)
    assert len({*texts}) == 3
    assert f"Held-out bits per character: {rows[-1][2]}" in printed


def test_sequence_to_sequence(tmp_path):
    printed = run_small("sequence_to_sequence", tmp_path, "at least 99% of dates right")
    rows = re.findall(r"^ +(\d) +\d+\.\d +(\d\.\d+) +(\d+\.\d+%)$", printed, re.MULTILINE)
    assert [row[0] for row in rows] == ["1", "2", "3"]
    assert float(rows[2][1]) < float(rows[0][1])
    assert len(re.findall(r"^\S.{28,40} [0-9-]{10}$", printed, re.MULTILINE)) == 8
    assert f"right to the last character: {rows[-1][2]}" in printed


def test_sequence_labelling(tmp_path):
    printed = run_small("sequence_labelling", tmp_path, "better by 20%")
    rows = re.findall(r"^ +(\d) +\d+\.\d +(\d\.\d+)$", printed, re.MULTILINE)
    assert [row[0] for row in rows] == ["1", "2", "3"]
    assert float(rows[2][1]) < float(rows[0][1])
    found = re.search(r"Accuracy per character: (\S+)%; .* usual label: (\S+)%", printed)
    assert found and float(found[2]) > 50


@pytest.fixture
def program(monkeypatch):
    """Return a function that imports a program, without what it does to this process's threads."""
    monkeypatch.syspath_prepend(ROOT / "examples")
    monkeypatch.setitem(sys.modules, "_one_thread", sys)
    return importlib.import_module


def test_kept_promises_are_no_error(program):
    assert program("_common").status({"a": True, "b": True}) == 0


def test_labels_are_those_of_tokenize(program, tmp_path, monkeypatch):
    labelling = program("sequence_labelling")
    (tmp_path / "module.py").write_text('if x1:  # why\n\n    y = """a\nb""" + 2.5\nz = f"{x}"\n')
    monkeypatch.setattr(labelling.sysconfig, "get_path", lambda _: str(tmp_path))
    (first, one), (second, two) = labelling.logical_lines("module")
    letters = [kind[0].replace("b", " ") for kind in labelling.LABELS]
    assert (first, "".join(letters[k] for k in one)) == ("if x1:  # why\n", "kk nno  ccccc ")
    assert second == 'y = """a\nb""" + 2.5\n'
    assert "".join(letters[k] for k in two) == "n o sssssssss o nnn "  # the last n: number


def test_dates_in_every_format(program):
    dates = program("sequence_to_sequence")
    day = dates.datetime.date(2021, 3, 3)
    written = [dates.written(day, form) for form in dates.FORMATS]
    assert {"3 March 2021", "March 3rd, 2021", "03.03.21", "2021/3/3"} <= {*written}
    ends = [dates.written(day.replace(day=d), "{d}{th}") for d in (1, 2, 11, 13, 22, 30)]
    assert ends == ["1st", "2nd", "11th", "13th", "22nd", "30th"]
    every = [
        dates.written(day.replace(month=m, day=d), form)
        for form in dates.FORMATS
        for m in range(1, 13)
        for d in range(1, 29)
    ]
    assert set("".join(every)) <= set(dates.INPUTS)
    assert max(map(len, every)) == dates.WIDTH


def test_page_shows_the_programs():
    """Excerpts are in the programs, word by word; pictures are there, and not large."""
    page = PAGE.read_text("utf-8")
    programs = [(ROOT / "examples" / f"{name}.py").read_text("utf-8") for name in NAMES]
    excerpts = re.findall(r"```py\n(.*?)```", page, re.DOTALL)
    assert len(excerpts) >= len(NAMES)
    for excerpt in excerpts:
        assert any(excerpt in program for program in programs), excerpt
    pictures = re.findall(r"\((pictures/\S+\.png)\)", page)
    assert len(pictures) == len(NAMES)
    assert all((PAGE.parent / picture).stat().st_size < 60_000 for picture in pictures)
    assert all(program.count("\n") < 200 for program in programs)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_whole_runs_keep_their_promises(name, tmp_path):
    pytest.importorskip("jax")
    status, printed, errors = run(name, "--picture", str(tmp_path / "picture.png"))
    assert (status, errors) == (0, ""), printed + errors

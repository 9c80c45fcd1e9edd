"""The pictures of the documentation are those that the programs make."""

from __future__ import annotations

import runpy
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "pictures"


def test_pictures_of_the_documentation_are_up_to_date():
    made = runpy.run_path(str(FOLDER / "make.py"))["pictures"]()
    names = [path.stem for path in FOLDER.glob("*.svg") if not path.stem.startswith("readme")]
    assert sorted(made) == sorted(names)
    for name, picture in made.items():
        text = (FOLDER / f"{name}.svg").read_text("utf-8")
        assert picture.svg == text, f"{name}.svg: run `python docs/pictures/make.py`"


def test_pictures_of_the_readme_are_up_to_date():
    program = runpy.run_path(str(FOLDER / "readme.py"))
    text = (FOLDER / "readme_graph.svg").read_text("utf-8")
    names = program["example"]()
    assert program["graph"](names) == text, "run `python docs/pictures/readme.py`"
    losses = program["losses"](names)
    assert len(losses) == 400 and losses[-1] < 0.01 * losses[0]
    assert (FOLDER / "readme_training.svg").stat().st_size < 60_000

"""The pictures of the documentation are those that the program makes."""

from __future__ import annotations

import runpy
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "pictures"


def test_pictures_of_the_documentation_are_up_to_date():
    made = runpy.run_path(str(FOLDER / "make.py"))["pictures"]()
    assert sorted(made) == sorted(path.stem for path in FOLDER.glob("*.svg"))
    for name, picture in made.items():
        text = (FOLDER / f"{name}.svg").read_text("utf-8")
        assert picture.svg == text, f"{name}.svg: run `python docs/pictures/make.py`"

"""Every class of errors has a page, whose programs print what the page says."""

from __future__ import annotations

import contextlib
import inspect
import io
import re
from pathlib import Path

import pytest

from funcgraph import errors

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "errors"
CLASSES = [name for name in errors.__all__ if inspect.isclass(getattr(errors, name))]
NEEDS = {"PlotError": "matplotlib", "SparsityError": "scipy"}


def test_every_class_has_a_page():
    assert sorted(path.stem for path in FOLDER.glob("*.md")) == sorted([*CLASSES, "README"])
    listed = re.findall(r"^\* \[(\w+)\]\((\w+)\.md\)", (FOLDER / "README.md").read_text(), re.M)
    assert [both for name in CLASSES if (both := (name, name)) != ("FuncgraphError",) * 2] == listed


@pytest.mark.parametrize("name", CLASSES)
def test_programs_print_what_the_page_says(name):
    """All in this process: an interpreter for each page would cost more than the pages do."""
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    page = (FOLDER / f"{name}.md").read_text("utf-8")
    assert page.startswith(f"# {name}\n") and f"errors.{name}" in page
    examples = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", page, re.DOTALL)
    assert len(examples) == page.count("```python") >= 1
    namespace = {"__name__": "__main__"}
    for program, expected in examples:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(program, "<string>", "exec"), namespace)
        assert printed.getvalue() == expected

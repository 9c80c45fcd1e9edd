"""Run the examples of docs/plots.md and save the picture that each has drawn beside this file.

    python docs/pictures/plots.py

An example and the picture shown after it belong together. Needs matplotlib.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def main() -> None:
    """Run the page."""
    page = (HERE.parent / "plots.md").read_text("utf-8")
    examples = re.findall(r"```python\n(.*?)```.*?\]\(pictures/(\S+)\)", page, re.DOTALL)
    scope: dict[str, Any] = {}
    for code, name in examples:
        exec(code, scope)
        pyplot = scope["matplotlib"].pyplot
        (number,) = pyplot.get_fignums()
        pyplot.figure(number).savefig(HERE / name, dpi=80, pil_kwargs={"optimize": True})
        pyplot.close("all")
        print(name, (HERE / name).stat().st_size)


if __name__ == "__main__":
    main()

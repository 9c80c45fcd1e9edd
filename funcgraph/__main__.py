"""Command line: `python -m funcgraph demo` runs the main example, examples/digits.py."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

EXAMPLES = {"demo": "digits.py"}


def example(name: str) -> Path:
    """Return the path of an example: in an installed wheel, or in the clone around the package."""
    package = Path(__file__).resolve().parent
    candidates = [package / "_examples" / name, package.parent / "examples" / name]
    for path in candidates:
        if path.is_file():
            return path
    raise FileNotFoundError(f"found none of {', '.join(map(str, candidates))}")


def main(arguments: list[str]) -> None:
    """Run the example that the first argument names; the others are the example's own."""
    if not arguments or arguments[0] not in EXAMPLES:
        commands = " | ".join(EXAMPLES)
        sys.exit(f"usage: python -m funcgraph {{{commands}}} [arguments; --help lists them]")
    path = example(EXAMPLES[arguments[0]])
    sys.argv = [f"python -m funcgraph {arguments[0]}", *arguments[1:]]
    runpy.run_path(str(path), run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])

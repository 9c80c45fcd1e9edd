"""What the examples of the lecture share: the command line, pictures, promises kept or missed."""

from __future__ import annotations

import argparse
import sys

import numpy as np
from digits import optional  # digits.py stands alone: it is a part of the installed package

__all__ = ["command_line", "optional", "save_picture", "status"]


def command_line(doc, picture, **numbers):
    """Return the options of the command line: `picture`, and numbers with their defaults."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--picture", default=picture, help="where to save the picture")
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=type(default), default=default, help=f"({default})")
    return parser.parse_args()


def save_picture(path, draw, shape=(1, 1), size=(8, 3.6)):
    """Save what `draw(*axes)` draws on rows and columns of axes, if matplotlib is there."""
    if not optional("matplotlib", "the picture"):
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    draw(*np.ravel(figure.subplots(*shape)))
    figure.savefig(path, dpi=80)
    print(f"Picture saved to {path}")


def status(promises):
    """Return the exit status: 0, or 1 with a message if one of the promises is not kept."""
    missed = [what for what, kept in promises.items() if not kept]
    for what in missed:
        print(f"MISSED: {what}", file=sys.stderr)
    return 1 if missed else 0

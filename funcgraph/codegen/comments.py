"""Comments of generated programs: passes, layers, and the user's lines.

May import `core`.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterable, Iterator

from funcgraph.core.graph import Equation
from funcgraph.core.origin import BACKWARD, source_of

__all__ = ["commented"]

_LONGEST = 80  # letters of a user's line
_PASSES = ("Forward pass.", "Backward pass.", "After the backward pass.")


def commented(
    written: Iterable[tuple[Equation, list[str]]], callers: set[str], passes: bool
) -> Iterator[str]:
    """Yield lines, under the user's line wherever that changes and says something else.

    Args:
      written: Equations with their lines.
      callers: The user's lines that call the function these are part of.
      passes: Whether forward and backward pass are told apart.
    """
    written = list(written)
    backward = [_is_backward(e) for e, _ in written]
    both = passes and any(backward) and not all(backward)
    last = max((k for k, back in enumerate(backward) if back), default=-1)
    number, place = -1, ("", "")
    for k, (e, lines) in enumerate(written):
        now = 1 if backward[k] else 2 if k > last else number if number > 0 else 0
        if both and now != number:
            yield from ["", f"# {_PASSES[now]}"]
            number, place = now, ("", "")
        scope = "/".join(part for part in e.scope.split("/") if part != BACKWARD)
        if scope and scope != place[0]:
            if not lines[0].startswith(f"{scope.split('/')[-1]} = "):
                yield f"# {scope}"
        elif not scope and e.line != place[1] and e.line not in callers:
            yield from _comment(e.line, lines)
        place = (scope, "" if scope else e.line)
        yield from lines


def _is_backward(e: Equation) -> bool:
    return e.scope.split("/")[0] == BACKWARD


def _comment(line: str, lines: list[str]) -> Iterator[str]:
    text = source_of(line).partition("  #")[0]
    text = textwrap.shorten(text, _LONGEST, placeholder=" ...")
    if text and not _says(text, lines):
        yield f"# {text}"


def _says(text: str, lines: list[str]) -> bool:
    """Return whether the one generated line is the user's, but for layout and brackets."""
    return len(lines) == 1 and _words(text) == _words(lines[0])


def _words(text: str) -> list[str]:
    """Return names and operators; those of params["w"] are those of params_w."""
    try:
        text = ast.unparse(ast.parse(text))
    except SyntaxError:
        return [text]
    return re.findall(r"[^\W_]+|[-+*/@<>=%&|^~]", text)

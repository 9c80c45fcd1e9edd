"""Long lines of generated programs, broken between arguments."""

from __future__ import annotations

import re
import textwrap

__all__ = ["wrapped"]

_WIDTH = 96
_TEXT = re.compile(r"""(['"])[^'"]*\s[^'"]*\1""")  # a literal that could be broken by mistake


def wrapped(text: str) -> str:
    """Return a text whose long assignments and definitions go on in further lines."""
    return "\n".join(_broken(line) if len(line) > _WIDTH else line for line in text.split("\n"))


def _broken(line: str) -> str:
    """Break the targets of an assignment and the arguments of a call or definition."""
    body = line.lstrip()
    indent = line[: len(line) - len(body)]
    if body.startswith(("#", '"')) or _TEXT.search(body):
        return line
    left, equals, right = body.partition(" = ")
    if equals and left.count(",") > 3:
        return f"{indent}(\n{_filled(left, indent)}\n{indent}) = " + _call(right, indent).lstrip()
    return _call(body, indent)


def _call(text: str, indent: str) -> str:
    """Break between the arguments of what ends with a call."""
    tail = ")" + text.rpartition(")")[2]
    start = _opening(text[: len(text) - len(tail)])
    if len(indent) + len(text) <= _WIDTH or tail not in (")", "):") or start < 0:
        return indent + text
    inner = text[start + 1 : len(text) - len(tail)]
    return f"{indent}{text[: start + 1]}\n{_filled(inner, indent)}\n{indent}{tail}"


def _opening(text: str) -> int:
    """Return where the bracket opens that is still open at the end; -1 if there is none."""
    depth = 0
    for k in range(len(text) - 1, -1, -1):
        depth += (text[k] in ")]}") - (text[k] in "([{")
        if depth < 0:
            return k
    return -1


def _filled(text: str, indent: str) -> str:
    inner = f"{indent}    "
    return textwrap.fill(
        text, _WIDTH, initial_indent=inner, subsequent_indent=inner, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip

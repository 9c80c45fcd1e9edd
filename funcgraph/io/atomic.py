"""Files that are there completely, or not at all. Imports the standard library only."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

__all__ = ["atomic_file", "remove_leftovers"]


def _prefix(path: Path) -> str:
    return f".{path.name[:100]}."


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give the path of a new file in the same folder, which takes the place of `path` at the end.

    Whenever the process or the machine stops, `path` is the old file or the new one, whole. If an
    exception leaves the block, the old one stays.
    """
    path = Path(os.path.realpath(path))  # a link stays a link
    temporary = path.with_name(f"{_prefix(path)}{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
        if path.exists():
            shutil.copymode(path, temporary)
        with open(temporary, "r+b") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # elsewhere a folder cannot be opened
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def remove_leftovers(path: Path) -> None:
    """Remove what processes that were killed while they wrote `path` left behind."""
    path = Path(os.path.realpath(path))
    if path.parent.is_dir():
        for other in path.parent.iterdir():
            if other.name.startswith(_prefix(path)) and other.name.endswith(".tmp"):
                other.unlink(missing_ok=True)

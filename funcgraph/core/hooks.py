"""What layers above do for methods of objects of layers below, which may not import them.

A module that draws graphs writes its function here when it is imported, and `Graph.draw` calls it.
Imports nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["HOOKS"]

HOOKS: dict[str, Callable[..., Any]] = {}

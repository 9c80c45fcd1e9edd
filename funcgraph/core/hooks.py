"""What layers above do for methods of objects of layers below, which may not import them.

A module that draws graphs writes its functions here when it is imported: when `Graph.draw` first
asks for one. Imports nothing by itself.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

__all__ = ["HOOKS"]

_WHERE = "funcgraph.pictures.drawing"  # all of them, so far


class _Hooks(dict[str, Callable[..., Any]]):
    def __missing__(self, name: str) -> Callable[..., Any]:
        importlib.import_module(_WHERE)
        return dict(self)[name]


HOOKS = _Hooks()

"""Functions compiled by XLA: how a call comes to its program.

May import `engines`, `transforms.jit`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from funcgraph.transforms.inspection import inspection
from funcgraph.transforms.jit import Jitted

__all__ = ["OnXLA"]


class OnXLA(Jitted):
    """A function that XLA compiles. Calls go to one jax.jit of all its programs (xla.Direct).

    A small program takes ten microseconds, and the way through a method two more. So `__call__` is
    an attribute of each function: `_general`, and once that has found a program, a shortcut.
    """

    __slots__ = ("__call__",)
    __call__: Callable[..., Any]

    def __init__(self, *of: Any) -> None:
        super().__init__(*of)
        self._general = self.__call__ = super().__call__

    def clear_cache(self) -> None:
        """Forget all compiled programs of this function."""
        super().clear_cache()
        self.__call__ = self._general

    def _takes_shortcut(self) -> bool:
        if self.__call__ is not self._general or self._static or "memory_budget" in self._options:
            return False
        self.__call__ = self._shortcut()
        return True

    def _shortcut(self) -> Callable[..., Any]:
        xla = importlib.import_module("funcgraph.engines.xla")
        engine = xla.Direct(self._staged, self._options)
        direct, inspected, general = engine.run, inspection.get, self._general

        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal direct
            if inspected() is None:
                try:
                    found = direct(*args, **kwargs)
                except (TypeError, ValueError):  # refused; what is wrong is said below
                    direct = engine.careful
                else:
                    self._hits += 1
                    return found
            return general(*args, **kwargs)

        return call

    def _staged(self, args: Any, kwargs: Any) -> Any:
        """Return graph, leaves, and structures of arguments and result, for one jax.jit of all."""
        leaves, structure, static = self._flatten(args, kwargs)
        entry = self._entry(leaves, structure, static)
        self._hits -= 1  # the call is counted when it returns
        return (entry.graph, leaves, structure, entry.structure) if entry.kept else None

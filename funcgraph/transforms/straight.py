"""Ways from the arguments of a compiled function straight to its program on NumPy.

What a call of `jit` has to find out (the structure of the arguments, shapes, dtypes) takes longer
than many a program. A shortcut is a generated function that looks whether arguments are like those
of calls before, and if so, runs the program. For `f(p, x)` with p = {"w": ...}:

    def call(args, kwargs):
        if len(args) != 2: return NotImplemented
        (a0, a1) = args
        if type(a0) is not dict: return NotImplemented
        ...
        if a2.shape != (3,) or a2.dtype != float64: return NotImplemented
        y = run(a2, a1)
        return NotImplemented if y is None else {"w": y[0]}

May import `tree`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from funcgraph.tree.structure import is_simple

__all__ = ["Straight"]

_MOST = 4  # shortcuts of a function, which are tried in turn
_SCALARS = (bool, int, float, complex)


class Straight:
    """The shortcuts of one compiled function.

    Attributes:
      known: Those that were written.
    """

    __slots__ = ("known",)

    def __init__(self) -> None:
        self.known: list[Callable[[Any, Any], Any]] = []

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the program for these arguments; return NotImplemented if there is none."""
        for known in self.known:
            found = known(args, kwargs)
            if found is not NotImplemented:
                return found
        return NotImplemented

    def add(self, leaves: list[Any], inputs: Any, outputs: Any, run: Any) -> None:
        """Write a shortcut, unless there are many.

        Args:
          leaves: The leaves of the arguments (args, kwargs).
          inputs: Their structure.
          outputs: The structure of the result.
          run: The program, a function of the leaves; None instead of results: it gave up.
        """
        simple = is_simple(inputs.spec) and is_simple(outputs.spec)
        if len(self.known) < _MOST and simple and all(map(_is_known, leaves)):
            self.known.append(_Writer(leaves, inputs.spec, outputs.spec, run).function())


def _is_known(x: Any) -> bool:
    return type(x) in (np.ndarray, *_SCALARS) or isinstance(x, np.number | np.bool_)


class _Writer:
    """Writes a shortcut."""

    def __init__(self, leaves: list[Any], inputs: Any, outputs: Any, run: Any) -> None:
        self.space: dict[str, Any] = {"ndarray": np.ndarray, "run": run}
        self.lines: list[str] = []
        self.names: list[str] = []
        self.count = 0
        given = iter(leaves)
        _, _, (positional, named) = inputs
        self.read("args", positional, given)
        self.read("kwargs", named, given)
        self.result = self.made(outputs, itertools.count())

    def function(self) -> Callable[[Any, Any], Any]:
        """Return the shortcut."""
        lines = [
            *self.lines,
            f"y = run({', '.join(self.names)})",
            f"return NotImplemented if y is None else {self.result}",
        ]
        text = "def call(args, kwargs):\n    " + "\n    ".join(lines) + "\n"
        exec(compile(text, "<funcgraph shortcut>", "exec"), self.space)
        return self.space["call"]  # type: ignore[no-any-return]

    def bind(self, value: Any) -> str:
        """Return a name for a value."""
        name = f"k{len(self.space)}"
        self.space[name] = value
        return name

    def refuse(self, condition: str) -> None:
        """Take the long way under a condition."""
        self.lines.append(f"if {condition}: return NotImplemented")

    def read(self, name: str, spec: Any, leaves: Iterator[Any]) -> None:
        """Write how a part of the arguments is looked at, and taken apart."""
        if spec is None:
            self.leaf(name, next(leaves))
            return
        cls, meta, children = spec
        self.refuse(f"type({name}) is not {self.bind(cls)}")
        if cls is type(None):
            return
        self.refuse(f"len({name}) != {len(children)}")
        parts = [f"a{self.count + k}" for k in range(len(children))]
        self.count += len(children)
        if cls is dict:
            reads = [
                f"{part} = {name}[{self.bind(k)}]" for part, k in zip(parts, meta, strict=True)
            ]
            inside = "; ".join(reads) or "pass"
            self.lines += [f"try: {inside}", "except KeyError: return NotImplemented"]
        else:
            self.lines.append(f"({''.join(f'{part}, ' for part in parts)}) = {name}")
        for part, child in zip(parts, children, strict=True):
            self.read(part, child, leaves)

    def leaf(self, name: str, x: Any) -> None:
        """Write how a leaf is looked at."""
        self.names.append(name)
        self.refuse(f"type({name}) is not {self.bind(type(x))}")
        if type(x) is np.ndarray:
            self.refuse(f"{name}.shape != {x.shape} or {name}.dtype != {self.bind(x.dtype)}")

    def made(self, spec: Any, numbers: Iterator[int]) -> str:
        """Return the text that puts results together."""
        if spec is None:
            return f"y[{next(numbers)}]"
        cls, meta, children = spec
        parts = [self.made(child, numbers) for child in children]
        if cls is type(None):
            return "None"
        if cls is dict:
            pairs = zip(meta, parts, strict=True)
            return f"{{{', '.join(f'{self.bind(key)}: {part}' for key, part in pairs)}}}"
        inside = "".join(f"{part}, " for part in parts)
        if cls is list:
            return f"[{inside}]"
        return f"({inside})" if cls is tuple else f"{self.bind(cls)}({inside})"

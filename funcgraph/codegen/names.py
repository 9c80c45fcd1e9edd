"""Names in generated programs: of the user where there are any, never those of Python or NumPy.

May import `core`.
"""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Iterable

from funcgraph.core.graph import Equation, Var
from funcgraph.core.origin import WEAK, named

__all__ = ["Names", "has_name", "has_word", "name_for"]

_RESERVED = frozenset([
    *keyword.kwlist, *keyword.softkwlist, *dir(builtins), "np", "scipy", "base64", "math",
])  # fmt: skip
_LONGEST = 16  # letters of a name that is made of an operation and its argument
# What a result is called if the user has no name for it.
_WORDS = {"reduce_sum": "sum", "reduce_max": "max", "reduce_min": "min", "reduce_prod": "prod"}
_SAME = frozenset(["convert", "truncate_dtype", "copy", "transpose", "reshape", "getitem"])


class Names:
    """The names of one scope; each is given once.

    Args:
      taken: Names that are not to be given.
    """

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = {*_RESERVED, *taken}
        self._next: dict[str, int] = {}  # numbers below are taken

    def fresh(self, name: str) -> str:
        """Return a name like this one that nothing else has: h, h_2, h_3, ..."""
        name = re.sub(r"\W", "_", name) or "t"
        name = name if name.isidentifier() else f"_{name}"
        found, k = name, self._next.get(name, 2)
        while found in self._taken:
            found, k = f"{name}_{k}", k + 1
        self._next[name] = k
        self._taken.add(found)
        return found


def has_word(name: str) -> bool:
    """Return whether a name says more than that it is temporary."""
    return re.fullmatch(r"(t|saved|value)(_\d+)?", name) is None


def has_name(v: Var) -> bool:
    """Return whether the user, or a layer, has a name for a variable."""
    names = named.get()
    return bool(v.name) and (names is None or names.depths.get(v, 0) <= WEAK)


def name_for(v: Var, e: Equation | None, argument: str) -> str:
    """Return what a variable is called: by the user, or after its operation and argument.

    Args:
      v: The variable.
      e: The equation that makes it.
      argument: The name of its first argument; "" if that is an expression.
    """
    if v.name or e is None:
        return v.name or "t"
    if e.primitive.name in _SAME:  # the same numbers, or some of them
        return argument if argument and has_word(argument) else "t"
    word = _WORDS.get(e.primitive.name, e.primitive.name)
    name = f"{word}_{argument}"
    says = argument and has_word(argument) and len(e.inputs) == 1
    return name if says and len(name) <= _LONGEST else "t"

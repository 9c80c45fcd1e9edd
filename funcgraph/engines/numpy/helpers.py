"""The text of Python functions with all that they need: for primitives that are no call of NumPy.

May import `core.aval`, `core.primitive`, `errors`, `ops`, `engines.numpy.literals`.
"""

from __future__ import annotations

import ast
import dis
import inspect
import re
import sys
import textwrap
import types
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from funcgraph.core.aval import dtype_of, ndim_of, shape_of
from funcgraph.core.primitive import Primitive
from funcgraph.engines.numpy.literals import value_text
from funcgraph.errors import FuncgraphError, NoSourceError
from funcgraph.ops.columns import put_back, scratch
from funcgraph.ops.threads import in_parallel

__all__ = ["Helpers"]


# What functions of ours are in a program for people: `core.aval` for arrays of NumPy, one thread,
# memory from NumPy.
_STAND_INS: dict[Any, str] = {
    in_parallel: "def {name}(work, items):\n    return [work(item) for item in items]",
    put_back: "def {name}(array):\n    pass",
    scratch: "def {name}(size, dtype):\n    return np.empty(size, dtype)",
    dtype_of: "def {name}(x):\n    return np.asarray(x).dtype",
    ndim_of: "{name} = np.ndim",
    shape_of: "{name} = np.shape",
}


def _globals_of(code: types.CodeType) -> set[str]:
    """Return the names of globals that a function and those inside it read."""
    names = {i.argval for i in dis.get_instructions(code) if i.opname == "LOAD_GLOBAL"}
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            names |= _globals_of(const)
    return names


class Helpers:
    """Functions, constants and imports of a generated program, each once, in order of need.

    Args:
      reserved: Names that none of them may have.
    """

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._reserved = frozenset(reserved)
        self.imports: dict[str, str] = {}  # line by name
        self.definitions: dict[str, str] = {}  # text by name
        self._values: dict[str, Any] = {}

    def call(self, primitive: Primitive, args: list[str], attrs: dict[str, str]) -> str:
        """Return the call of a primitive's own function, whose text is added.

        Raises:
          NoSourceError: It cannot be written, or needs more than NumPy and SciPy.
        """
        function: Any = primitive.numpy
        made_inside = function.__name__ == "<lambda>" or getattr(function, "__closure__", None)
        name = self._add(primitive.name if made_inside else function.__name__, function)
        keywords = [f"{k}={v}" for k, v in attrs.items()]
        return f"{name}({', '.join([*args, *keywords])})"

    def _add(self, name: str, value: Any) -> str:
        """Add what a name of a module stands for, and all that it needs; return its name here."""
        original = name
        while name in self._reserved or self._values.get(name, value) is not value:
            name += "_"  # another module's
        if name in self._values:
            return name
        self._values[name] = value
        if isinstance(value, types.ModuleType):
            self.imports[name] = _import_of(value, name)
        elif isinstance(value, types.FunctionType) and value in _STAND_INS:
            self.definitions[name] = _STAND_INS[value].format(name=name)
        elif isinstance(value, Primitive):
            function: Any = value.numpy
            self.definitions[name] = f"{name} = {self._add(function.__name__, function)}"
        elif isinstance(value, types.FunctionType) and value.__module__.startswith("funcgraph."):
            self.definitions[name] = self._definition(original, value)
        elif isinstance(value, type) and issubclass(value, FuncgraphError):
            base = value.__bases__[-1]  # each derives from the fitting built-in
            self.definitions[name] = f"{name} = {base.__name__}"
        elif isinstance(value, type) and value.__module__.startswith("funcgraph."):
            if hasattr(value, "_fields"):
                self._add("NamedTuple", NamedTuple)
            methods = [m for m in vars(value).values() if isinstance(m, types.FunctionType)]
            methods = [m for m in methods if m.__module__ == value.__module__]
            self.definitions[name] = self._renamed(inspect.getsource(value).rstrip(), methods)
        elif isinstance(value, np.ufunc):
            self.definitions[name] = f"{name} = {_constant(name, value)}"
        elif callable(value) and _is_known(getattr(value, "__module__", "")):
            known = value.__name__
            self.imports[name] = f"from {value.__module__} import {known}"
            if name != known:
                self.imports[name] += f" as {name}"
        else:
            self.definitions[name] = f"{name} = {_constant(name, value)}"
        return name

    def _definition(self, name: str, function: types.FunctionType) -> str:
        """Return the text of a function, in which other names are those of this program."""
        if function.__name__ == "<lambda>":
            text = _lambda_text(name, function)
        else:
            text = textwrap.dedent(inspect.getsource(function)).rstrip()
            text = text.replace(f"def {function.__name__}(", f"def {name}(", 1)
        here = self._add(name, function)
        if here != name:
            text = re.sub(rf"(?<![\w.]){name}\b", here, text)
        return self._renamed(text, [function])

    def _renamed(self, text: str, functions: list[types.FunctionType]) -> str:
        """Add what some functions need; return their text with the names these have here."""
        for function in functions:
            for name, value in sorted(_needs(function).items()):
                if value is function:
                    continue
                if isinstance(value, Primitive):  # here, it is its function on arrays
                    text = re.sub(rf"\b{name}\.numpy\b", name, text)
                if isinstance(value, types.ModuleType) and not _is_known(value.__name__):
                    for part in set(re.findall(rf"\b{name}\.(\w+)", text)):
                        here = self._add(part, getattr(value, part))
                        text = re.sub(rf"\b{name}\.{part}\b", here, text)
                elif (here := self._add(name, value)) != name:
                    text = re.sub(rf"(?<![\w.]){name}\b", here, text)
        return text


def _needs(function: types.FunctionType) -> dict[str, Any]:
    """Return what a function reads from outside: globals, and variables of functions around it."""
    names = _globals_of(function.__code__) & set(function.__globals__)
    found = {name: function.__globals__[name] for name in names}
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return {**found, **{name: cell.cell_contents for name, cell in cells}}


def _lambda_text(name: str, function: types.FunctionType) -> str:
    """Return the definition of a function that does what a lambda does."""
    places = list(function.__code__.co_positions())
    module = ast.parse(inspect.getsource(sys.modules[function.__module__]))
    for node in ast.walk(module):
        if isinstance(node, ast.Lambda):
            body = node.body
            place = (body.lineno, body.end_lineno, body.col_offset, body.end_col_offset)
            if place in places:
                return f"def {name}({ast.unparse(node.args)}):\n    return {ast.unparse(body)}"
    raise NoSourceError(f"the text of {name} was not found.")


def _is_known(module: str) -> bool:
    return module.partition(".")[0] in {"numpy", "scipy", *sys.stdlib_module_names}


def _import_of(module: types.ModuleType, name: str) -> str:
    full = module.__name__
    if not _is_known(full):
        raise NoSourceError(f"a helper function needs the module {full}.")
    return f"import {full}" if full == name else f"import {full} as {name}"


def _constant(name: str, value: Any) -> str:
    if isinstance(value, dict):
        items = (f"{_constant(name, k)}: {_constant(name, v)}" for k, v in value.items())
        return "{" + ", ".join(items) + "}"
    known = getattr(value, "__name__", "")
    if isinstance(value, type | np.ufunc) and getattr(np, known, None) is value:
        return f"np.{known}"
    if type(value) not in (bool, int, float, complex, str, tuple, list):
        raise NoSourceError(f"a helper function needs {name}, a {type(value).__name__}.")
    return value_text(value, lambda x: _constant(name, x))

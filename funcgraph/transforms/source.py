"""Graphs as standalone NumPy programs for people to read: what `jit(f).source(...)` returns.

One line for each equation, in order, with the user's line above; loops and branches as Python's,
over functions of their own. May import `core`, `engines.numpy`, `tree`, `transforms.stage`.
"""

from __future__ import annotations

import itertools
import keyword
import linecache
from pathlib import Path
from typing import Any

from funcgraph.core.aval import aval_of
from funcgraph.core.graph import Equation, Graph, Var, names_of
from funcgraph.core.simplify import simplify
from funcgraph.engines.numpy.expressions import expression, is_strong, statements
from funcgraph.engines.numpy.helpers import Helpers
from funcgraph.engines.numpy.literals import array_text, dtype_text, number_text, value_text
from funcgraph.errors import FuncgraphError, NoSourceError
from funcgraph.transforms.signatures import Signature, result_text
from funcgraph.transforms.stage import stage_closed

__all__ = ["function_text"]

_RESERVED = {*keyword.kwlist, "np", "scipy", "base64", "math", "range", "reversed", "bool", "int"}


class _Writer:
    """Collects functions, helpers and constants of one program."""

    def __init__(self) -> None:
        self.helpers = Helpers()
        self.functions: list[str] = []
        self.constants: dict[str, str] = {}
        self._named: dict[int, tuple[Any, str]] = {}  # by identity, kept alive
        self._taken: set[str] = set(_RESERVED)

    # --- names -----------------------------------------------------------------------------------

    def fresh(self, name: str) -> str:
        """Return a name like this one that nothing else at the top of the program has."""
        name = name if name.isidentifier() else "function"
        found = next(
            n
            for n in itertools.chain([name], (f"{name}_{k}" for k in itertools.count(2)))
            if n not in self._taken
        )
        self._taken.add(found)
        return found

    def bind(self, value: Any) -> str:
        """Return the name of an array that is a constant of the program."""
        if id(value) not in self._named:
            name = self.fresh(f"CONSTANT_{len(self.constants) + 1}")
            self._named[id(value)] = value, name
            self.constants[name] = array_text(value)
        return self._named[id(value)][1]

    def constant(self, value: Any) -> str:
        """Return the text of a constant: a number, or the name of an array."""
        if type(value) in (bool, int, float, complex):
            return number_text(value)
        text = array_text(value)
        return text if not value.shape and "\n" not in text else self.bind(value)

    # --- functions -------------------------------------------------------------------------------

    def function(self, graph: Graph, name: str) -> str:
        """Write a graph as a function of its inputs, once; return the function's name."""
        if id(graph) not in self._named:
            found = self.fresh(name)
            self._named[id(graph)] = graph, found
            simple = simplify(graph)
            body = _Body(self, simple, [])
            inputs = ", ".join(body.names[v] for v in simple.inputs)
            lines = [f"def {found}({inputs}):", *body.lines()]
            results = ", ".join(map(body.text, simple.outputs))
            lines.append(f"    return {results or '()'}")
            self.functions.append("\n".join(lines))
        return self._named[id(graph)][1]

    def main(self, graph: Graph, inputs: list[str], taken: set[str]) -> _Body:
        """Return the body of the user's function, whose inputs have names."""
        return _Body(self, simplify(graph), inputs, taken)

    def text(self, header: str, main: str) -> str:
        """Return the whole program, which ends with the main function."""
        helpers, constants = self.helpers, self.constants
        everything = "\n".join([*constants.values(), main, *self.functions])
        imports = {"np": "import numpy as np", **helpers.imports}
        for module in ("base64", "scipy.linalg", "scipy.special"):
            if f"{module}." in everything:
                imports[module] = f"import {module}"
        blocks = [header]
        if helpers.definitions:  # they have annotations
            blocks.append("from __future__ import annotations")
        blocks.append("\n".join(sorted(imports.values())))
        if constants:
            lines = [f"{name} = {text}" for name, text in constants.items()]
            blocks.append("\n".join(["# Constants.", *lines]))
        if helpers.definitions:
            blocks.append("# Helper functions.\n\n" + "\n\n\n".join(helpers.definitions.values()))
        return "\n\n\n".join([*blocks, *self.functions, main]) + "\n"


class _Body:
    """Writes the lines of one function."""

    def __init__(
        self, writer: _Writer, graph: Graph, inputs: list[str], taken: set[str] | None = None
    ) -> None:
        self.writer = writer
        self.graph = graph
        self.names: dict[Var, str] = dict(zip(graph.inputs, inputs, strict=False))
        self._taken = {*_RESERVED, *inputs, *(taken or ())}
        for v, name in names_of(graph).items():
            if v not in self.names:
                self.names[v] = self._fresh(name)

    def _fresh(self, name: str) -> str:
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name

    def text(self, atom: Any) -> str:
        """Return a variable's name, or the text of a constant."""
        if not isinstance(atom, Var):
            return number_text(atom)
        if atom in self.graph.constants:
            return self.writer.constant(self.graph.constants[atom])
        return self.names[atom]

    def lines(self, indent: str = "    ") -> list[str]:
        """Return one or more lines for every equation, and the user's lines as comments."""
        out: list[str] = []
        before = ""
        for e in self.graph.equations:
            if e.line != before:
                before = e.line
                if comment := _user_text(e.line):
                    out.append(f"{indent}# {comment}")
            out += [indent + line for line in self._equation(e)]
        return out

    def _equation(self, e: Equation) -> list[str]:
        args = [self.text(a) for a in e.inputs]
        outs = [self.names[v] for v in e.outputs]
        control = getattr(self, f"_{e.primitive.name}", None)
        try:
            if "lanes" in e.attrs:
                raise NoSourceError("each lane of a vmap goes its own way.")
            if control is not None:
                return control(e, outs, args)  # type: ignore[no-any-return]
            lines = statements(e, outs[0], args, self.writer.bind) if outs else None
            if lines is not None:
                return lines
            right = expression(e, args, self.writer.bind)
            if right is None:
                attrs = {k: value_text(v, self.writer.bind) for k, v in e.attrs.items()}
                right = self.writer.helpers.call(e.primitive, args, attrs)
        except NoSourceError as error:
            message = str(error).partition("\n")[0]
            raise NoSourceError(
                f"the operation {e.primitive.name} cannot be written as a NumPy program: {message}",
                e.line,
            ) from None
        return [f"{_targets(outs, e.primitive.many)} = {right}"]

    # --- control flow ----------------------------------------------------------------------------

    def _arrays(self, e: Equation, graphs: Any, args: list[str]) -> list[str]:
        """Return arguments as the inputs of graphs want them: numbers of Python as NumPy's."""
        return [
            x if is_strong(a) or v.aval.weak is not None else f"{dtype_text(v.aval.dtype)}({x})"
            for x, a, v in zip(args, e.inputs, graphs, strict=False)
        ]

    def _call(self, graph: Graph, name: str, args: list[str]) -> str:
        return f"{self.writer.function(graph, name)}({', '.join(args)})"

    def _jit_call(self, e: Equation, outs: list[str], args: list[str]) -> list[str]:
        return _assigned(outs, self._call(e.attrs["graph"], "compiled", args))

    def _custom_call(self, e: Equation, outs: list[str], args: list[str]) -> list[str]:
        rules = e.attrs["rules"]
        avals = [a.aval if isinstance(a, Var) else aval_of(a) for a in e.inputs]
        try:
            graph, closed = stage_closed(rules.fun, avals)
        except FuncgraphError as error:
            raise NoSourceError(str(error)) from None
        if closed:
            raise NoSourceError(f"{rules.name} closes over traced values.")
        return _assigned(outs, self._call(graph, rules.name, args))

    def _jax_call(self, e: Equation, outs: list[str], args: list[str]) -> list[str]:
        raise NoSourceError("it is a function written with JAX (from_jax).")

    def _eager_call(self, e: Equation, outs: list[str], args: list[str]) -> list[str]:
        raise NoSourceError("its steps are not known before it runs.")

    def _scan(self, e: Equation, outs: list[str], args: list[str]) -> list[str]:
        attrs, body = e.attrs, e.attrs["body"]
        carries, rows = attrs["carries"], attrs["rows"]
        args = self._arrays(e, body.inputs, args)
        carry, ys = outs[:carries], outs[carries:]
        lines = [f"{name} = {x}" for name, x in zip(carry, args, strict=False)]
        for v, y in zip(e.outputs[carries:], ys, strict=True):
            lines.append(f"{y} = np.empty({v.aval.shape}, dtype={dtype_text(v.aval.dtype)})")
        i = self._fresh("index")
        xs = [f"{x}[{i}]" for x in args[carries : carries + rows]]
        numbers = f"range({attrs['length']})"
        lines.append(f"for {i} in {f'reversed({numbers})' if attrs['reverse'] else numbers}:")
        call = self._call(body, "step", [*carry, *xs, *args[carries + rows :]])
        return lines + _inside(_assigned([*carry, *(f"{y}[{i}]" for y in ys)], call))

    def _while(self, e: Equation, outs: list[str], args: list[str]) -> list[str]:
        cond, body, n = e.attrs["cond"], e.attrs["body"], e.attrs["carries"]
        middle = len(cond.inputs)
        args = self._arrays(e, (*cond.inputs, *body.inputs[n:]), args)
        first, second = args[n:middle], args[middle : middle + len(body.inputs) - n]
        lines = [f"{name} = {x}" for name, x in zip(outs, args, strict=False)]
        lines.append(f"while {self._call(cond, 'goes_on', [*outs, *first])}:")
        return lines + _inside(_assigned(outs, self._call(body, "step", [*outs, *second])))

    def _switch(self, e: Equation, outs: list[str], args: list[str]) -> list[str]:
        branches = e.attrs["branches"]
        number, *operands = self._arrays(e, (e.inputs[0], *branches[0].inputs), args)
        lines: list[str] = []
        for k, graph in enumerate(branches):
            last = k == len(branches) - 1
            word = "else" if last else f"{'elif' if k else 'if'} {number} == {k}"
            lines.append(f"{word}:")
            lines += _inside(_assigned(outs, self._call(graph, f"branch_{k}", operands)))
        return lines if len(branches) > 1 else [line.strip() for line in lines[1:]]


def _targets(outs: list[str], many: bool) -> str:
    return ", ".join(outs) + ("," if many and len(outs) == 1 else "")


def _assigned(outs: list[str], call: str) -> list[str]:
    """Return the line that calls a function of the program: one result comes as it is."""
    return [f"{', '.join(outs)} = {call}"] if outs else ["pass"]


def _inside(lines: list[str]) -> list[str]:
    return ["    " + line for line in lines]


def _user_text(line: str) -> str:
    """Return `file:line: text` of a line of the user."""
    path, _, number = line.rpartition(":")
    if not number.isdecimal():
        return ""
    text = linecache.getline(path, int(number)).strip()
    return f"{Path(path).name}:{number}" + (f": {text}" if text else "")


def function_text(name: str, signature: Signature, graph: Graph, structure: Any) -> str:
    """Return a program that defines one function.

    Args:
      name: Of the function.
      signature: Its parameters.
      graph: From the leaves of the parameters to the leaves of the result.
      structure: Of the result.
    """
    writer = _Writer()
    name = writer.fresh(name)
    body = writer.main(graph, signature.leaves, signature.names)
    inner = [f"    {line}" for line in signature.lines] + body.lines()
    result, comment = result_text(structure, [body.text(x) for x in body.graph.outputs])
    inner += [f"    {comment}"] if comment else []
    top = ['@np.errstate(all="ignore")', f"def {name}({signature.text}):"]
    main = "\n".join([*top, *inner, f"    return {result}"])
    return writer.text(f"# {name}: generated by funcgraph.jit; needs NumPy alone.", main)

"""Graphs as standalone NumPy programs for people to read.

May import `core`, `engines.numpy`, `codegen`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from typing import Any

from funcgraph.codegen.body import Body
from funcgraph.codegen.names import Names
from funcgraph.codegen.notation import Piece, number
from funcgraph.codegen.signatures import Signature, result_of, words_of
from funcgraph.codegen.tidy import tidy
from funcgraph.codegen.wrap import wrapped
from funcgraph.core.graph import Graph
from funcgraph.engines.numpy.helpers import Helpers
from funcgraph.engines.numpy.literals import array_text

__all__ = ["Program", "program_text"]


_SHORT = 36  # letters of a constant array that is made where it is used
_MAKERS = ("np.zeros(", "np.ones(", "np.full(", "np.arange(")


class Program:
    """Collects functions, helpers and constants of one program.

    Args:
      reserved: Names that nothing at the top of the program may have.
      before: The same program, written with less care for names; its names at the top are known.
      line: The user's line that asks for the program.
    """

    def __init__(self, reserved: Set[str], before: Program | None, line: str) -> None:
        self.helpers = Helpers(reserved)
        self.functions: list[str] = []
        self.constants: dict[str, str] = {}
        self.classes: dict[str, str] = {}
        self._named: dict[int, tuple[Any, str]] = {}  # by identity, kept alive
        self._results: dict[int, list[str]] = {}
        self._texts: dict[str, str] = {}  # names of functions
        self.elsewhere = set() if before is None else before.top()
        self.names = Names(reserved if before is None else reserved | before.borrowed())
        self.line = line

    def borrowed(self) -> set[str]:
        """Return the names at the top that are not of this program's own choice."""
        return {*self.helpers.definitions, *self.helpers.imports, *self.classes}

    def top(self) -> set[str]:
        """Return all names at the top of the program."""
        return {name for _, name in self._named.values()} | self.borrowed()

    def bind(self, value: Any, name: str = "") -> str:
        """Return the name of an array that is a constant of the program."""
        if id(value) not in self._named:
            name = self.names.fresh(name.upper() or f"CONSTANT_{len(self.constants) + 1}")
            self._named[id(value)] = value, name
            self.constants[name] = array_text(value)
        return self._named[id(value)][1]

    def constant(self, value: Any, name: str = "") -> Piece:
        """Return a constant: a number, or the name of an array."""
        if type(value) in (bool, int, float, complex):
            return number(value)
        text = array_text(value)
        short = not value.shape or (len(text) <= _SHORT and text.startswith(_MAKERS))
        return Piece(text if short and "\n" not in text else self.bind(value, name))

    def function(self, graph: Graph, name: str, given: Sequence[str], line: str) -> str:
        """Write a graph as a function of its inputs, once; return the function's name.

        Args:
          graph: The graph.
          name: Of the function, if it is free.
          given: What it is called with: names for its parameters that have none.
          line: The user's line that calls it.
        """
        if id(graph) not in self._named:
            names = Names(self.elsewhere)
            words = [x.partition("[")[0].removeprefix("all_") for x in given]  # x of all_x[i]
            pairs = zip(graph.inputs, words, strict=True)
            inputs = [
                names.fresh(v.name or (word if word.isidentifier() else "t")) for v, word in pairs
            ]
            lines, results = Body(self, tidy(graph), inputs, names, line).write()
            head = f"({', '.join(inputs)}):"
            tail = f"return {', '.join(results) or '()'}"
            text = "\n    ".join([head, *lines, tail])
            if text not in self._texts:
                found = self._texts[text] = self.names.fresh(name)
                self.functions.append(f"def {found}{text}")
            self._named[id(graph)] = graph, self._texts[text]
            self._results[id(graph)] = results
        return self._named[id(graph)][1]

    def results(self, graph: Graph) -> list[str]:
        """Return what the function of a graph returns: names, or expressions."""
        return self._results[id(graph)]

    def text(self, header: str, main: str) -> str:
        """Return the whole program, which ends with the main function."""
        helpers, constants = self.helpers, self.constants
        everything = "\n".join([*constants.values(), main, *self.functions])
        imports = {"np": "import numpy as np", **helpers.imports}
        for module in ("base64", "scipy.linalg", "scipy.special"):
            if f"{module}." in everything:
                imports[module] = f"import {module}"
        if self.classes:
            imports["namedtuple"] = "from collections import namedtuple"
        first = [header]
        if helpers.definitions:  # they have annotations
            first += ["", "from __future__ import annotations"]
        blocks = ["\n".join([*first, "", *sorted(imports.values())])]
        if self.classes:
            blocks[0] += "\n\n" + "\n".join(self.classes.values())
        if constants:
            lines = (wrapped(f"{name} = {text}") for name, text in constants.items())
            blocks[0] += "\n\n" + "\n".join(lines)
        blocks += _together(helpers.definitions.values())
        return "\n\n\n".join([*blocks, *map(wrapped, [*self.functions, main])]) + "\n"


def _together(definitions: Iterable[str]) -> list[str]:
    """Return definitions as blocks: those of one line that follow each other are one."""
    blocks: list[str] = []
    for text in definitions:
        short = "\n" not in text
        if short and blocks and not blocks[-1].startswith(("def ", "class ", "@")):
            blocks[-1] += f"\n{text}"
        else:
            blocks.append(text)
    return blocks


def program_text(name: str, signature: Signature, graph: Graph, structure: Any, line: str) -> str:
    """Return a program that defines one function.

    Args:
      name: Of the function.
      signature: Its parameters.
      graph: From the leaves of the parameters to the leaves of the result.
      structure: Of the result.
      line: The user's line that asks for the program.
    """
    reserved = {name, *signature.names}
    # What stands at the top is not known before the functions are written. So they are written
    # again, with other names, until nothing inside them hides what they need.
    before, program = None, Program(reserved, None, line)
    main = _main(program, name, signature, graph, structure)
    while before is None or not program.top() <= before.top():
        before, program = program, Program(reserved, program, line)
        main = _main(program, name, signature, graph, structure)
    return program.text(f"# {name}: generated by funcgraph; needs NumPy alone.", main)


def _main(program: Program, name: str, signature: Signature, graph: Graph, structure: Any) -> str:
    names = Names({*program.elsewhere, *signature.names, *signature.leaves})
    words = words_of(structure)
    body = Body(program, tidy(graph), signature.leaves, names, program.line, words)
    lines, results = body.write()
    result = result_of(structure, results)
    program.classes.update(result.classes)
    top = ['@np.errstate(all="ignore")', f"def {name}({signature.text}):"]
    inner = [*signature.lines, *lines, *result.lines]
    return "\n".join([*top, *(f"    {line}".rstrip() for line in inner)])

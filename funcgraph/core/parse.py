"""Reads the printed form of graphs (see `core.text`), without ever evaluating text as Python.

    graph     = "graph" "(" [typed {"," typed}] ")" "{" {statement} "return" [atom {"," atom}] "}"
    statement = typed "=" "constant" value
              | [typed {"," typed}] "=" NAME ["[" NAME "=" value {"," NAME "=" value} "]"] {atom}
                {NAME ["[" INT "]"] "=" graph}
    typed     = NAME ":" type            type = NAME "[" [INT {"," INT}] "]" | int | float | complex
    atom      = NAME | NUMBER | True | False

May import `core`.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import numpy as np

from funcgraph.core.aval import Aval, aval_of
from funcgraph.core.graph import Atom, Equation, Graph, Var
from funcgraph.core.primitive import REGISTRY
from funcgraph.core.text import ARRAY, has_text
from funcgraph.errors import GraphError

__all__ = ["parse"]

_REAL = r"(?:inf|nan|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
_TOKEN = re.compile(
    rf"""(?P<space>[ \t\r\f]+)
    |(?P<comment>\#[^\n]*)
    |(?P<newline>\n)
    |(?P<number>\([+-]?{_REAL}[+-]{_REAL}j\)|[+-]?{_REAL}j?(?![A-Za-z0-9_.]))
    |(?P<string>'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")
    |(?P<absent><[^<>\n]*>)
    |(?P<name>[<>]?[A-Za-z_][A-Za-z0-9_]*)
    |(?P<mark>\.\.\.|[\[\](){{}}=,:])
    |(?P<other>.)""",
    re.VERBOSE,
)
_WORDS = {"True": True, "False": False, "None": None, "ARRAY": ARRAY}
_WEAK = {"int": int, "float": float, "complex": complex}


class _Token(NamedTuple):
    kind: str
    text: str
    line: int
    column: int


def _tokens(text: str) -> list[_Token]:
    """Return the tokens; the ends of lines inside brackets do not count."""
    out: list[_Token] = []
    line, start, depth = 1, 0, 0
    for match in _TOKEN.finditer(text):
        kind, word = str(match.lastgroup), match.group()
        token = _Token(kind, word, line, match.start() - start + 1)
        if kind == "newline":
            line, start = line + 1, match.end()
        if kind == "mark":
            depth += (word in "[(") - (word in "])")
        if kind != "space" and not (kind == "newline" and depth):
            out.append(token)
    out.append(_Token("end", "", line, len(text) - start + 1))
    return out


def _fail(token: _Token, message: str) -> NoReturn:
    raise GraphError(f"line {token.line}, column {token.column}: {message}.")


class _Parser:
    """Recursive descent over the tokens; comments are kept for the lines of equations."""

    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)
        self.at = 0
        self.equation = ""  # that is being read, for messages

    # --- tokens -----------------------------------------------------------------------------------

    @property
    def next(self) -> _Token:
        return self.tokens[self.at]

    def sees(self, text: str) -> bool:
        """Return whether this mark or word is next (a string keeps its quotes)."""
        return self.tokens[self.at].text == text

    def take(self, text: str) -> bool:
        """Step over this mark or word if it is next."""
        found = self.tokens[self.at].text == text
        self.at += found
        return found

    def need(self, text: str) -> None:
        if not self.take(text):
            self.expected(repr(text))

    def expected(self, what: str) -> NoReturn:
        token = self.next
        named = {"end": "the end of the text", "newline": "the end of the line"}
        _fail(token, f"expected {what}, found {named.get(token.kind, repr(token.text))}")

    def of(self, kind: str, what: str) -> _Token:
        token = self.next
        if token.kind != kind:
            self.expected(what)
        self.at += 1
        return token

    def skip(self) -> None:
        """Step over empty lines and comments."""
        while self.next.kind in ("newline", "comment"):
            self.at += 1

    def listed(self, item: Callable[[], Any], end: str) -> list[Any]:
        """Read items between commas, and the mark that ends them."""
        out: list[Any] = []
        while not self.take(end):
            out.append(item())
            if not self.take(","):
                self.need(end)
                break
        return out

    # --- graphs -----------------------------------------------------------------------------------

    def graph(self) -> Graph:
        self.need("graph")
        self.need("(")
        scope: dict[str, Var] = {}
        inputs = tuple(self.listed(lambda: self.typed(scope), ")"))
        self.need("{")
        equations: list[Equation] = []
        constants: dict[Var, Any] = {}
        self.skip()
        while not self.take("return"):
            self.statement(scope, equations, constants)
            self.skip()
        outputs: list[Atom] = []
        while self.next.kind not in ("newline", "comment") and not self.sees("}"):
            outputs.append(self.atom(scope))
            if not self.take(","):
                break
        self.skip()
        self.need("}")
        return Graph(inputs, tuple(equations), tuple(outputs), constants)

    def typed(self, scope: dict[str, Var]) -> Var:
        name = self.of("name", "a variable")
        self.need(":")
        if name.text in scope:
            _fail(name, f"the variable {name.text} is assigned a second time")
        scope[name.text] = var = Var(self.type())
        return var

    def type(self) -> Aval:
        token = self.of("name", "a type such as float64[3] or float")
        if token.text in _WEAK and not self.sees("["):
            return aval_of(_WEAK[token.text](0))
        self.need("[")
        shape = tuple(self.listed(self.length, "]"))
        return Aval(shape, self.dtype(token))

    def length(self) -> int:
        token = self.of("number", "the length of an axis")
        if not token.text.isdecimal():
            _fail(token, f"expected the length of an axis, found {token.text!r}")
        return int(token.text)

    def dtype(self, token: _Token) -> np.dtype[Any]:
        text = token.text if token.kind != "string" else str(ast.literal_eval(token.text))
        try:
            dtype = np.dtype(text)
        except TypeError:
            dtype = None
        if dtype is None or (dtype.isnative and dtype.name != text):  # NumPy takes "b" for int8
            _fail(token, f"there is no dtype {text!r}")
        return dtype

    def statement(
        self, scope: dict[str, Var], equations: list[Equation], constants: dict[Var, Any]
    ) -> None:
        new: dict[str, Var] = {}
        outputs = [] if self.sees("=") else [self.target(scope, new)]
        while outputs and self.take(","):
            outputs.append(self.target(scope, new))
        self.need("=")
        name = self.of("name", "an operation")
        self.equation = f"equation {len(equations)} ({name.text})"
        if name.text == "constant":
            self.equation = f"constant {len(constants)}"
            if len(outputs) != 1:
                _fail(name, f"a constant is one variable, not {len(outputs)}")
            constants[outputs[0]] = self.constant(outputs[0].aval)
        else:
            equations.append(self.call(name, scope, tuple(outputs)))
        scope.update(new)

    def target(self, scope: dict[str, Var], new: dict[str, Var]) -> Var:
        if self.next.kind == "name" and self.next.text in scope:
            _fail(self.next, f"the variable {self.next.text} is assigned a second time")
        return self.typed(new)

    def call(self, name: _Token, scope: dict[str, Var], outputs: tuple[Var, ...]) -> Equation:
        if name.text not in REGISTRY:  # declared where layers and random numbers are
            importlib.import_module("funcgraph.nn")
        primitive = REGISTRY.get(name.text)
        if primitive is None:
            _fail(
                name,
                f"there is no operation {name.text!r} (those of funcgraph.scipy are known once "
                "it is imported)",
            )
        attrs = dict(self.listed(self.attribute, "]")) if self.take("[") else {}
        inputs = []
        while self.next.kind in ("name", "number"):
            inputs.append(self.atom(scope))
        line = self.next.text[1:].strip() if self.next.kind == "comment" else ""
        self.skip()
        self.subgraphs(attrs)
        return Equation(primitive, tuple(inputs), outputs, attrs, line)

    def attribute(self) -> tuple[str, Any]:
        name = self.of("name", "the name of an attribute")
        self.need("=")
        return name.text, self.value()

    def subgraphs(self, attrs: dict[str, Any]) -> None:
        """Read the graphs that are attributes of the equation before them."""
        while self.next.kind == "name" and self.tokens[self.at + 1].text in ("=", "["):
            name = self.of("name", "an attribute")
            if name.text in attrs and not (self.sees("[") and type(attrs[name.text]) is tuple):
                _fail(name, f"{self.equation} has the attribute {name.text} twice")
            if self.take("["):
                number, before = (
                    self.of("number", "the number of a graph"),
                    attrs.get(name.text, ()),
                )
                if number.text != str(len(before)):
                    _fail(number, f"expected the graph {name.text}[{len(before)}]")
                self.need("]")
                self.need("=")
                attrs[name.text] = (*before, self.inner())
            else:
                self.need("=")
                attrs[name.text] = self.inner()
            self.skip()

    def inner(self) -> Graph:
        outer = self.equation
        graph = self.graph()
        self.equation = outer
        return graph

    # --- values -----------------------------------------------------------------------------------

    def atom(self, scope: dict[str, Var]) -> Atom:
        token = self.next
        if token.kind == "number":
            self.at += 1
            return _number(token.text)
        self.of("name", "a variable or a number")
        if token.text in ("True", "False"):
            return token.text == "True"
        if token.text not in scope:
            _fail(token, f"no variable {token.text} is assigned before this")
        return scope[token.text]

    def constant(self, aval: Aval) -> Any:
        token = self.next
        return self.array(token, self.value(), aval.dtype, aval.shape)

    def array(self, token: _Token, value: Any, dtype: np.dtype[Any], shape: Any = None) -> Any:
        """Return an array of these elements; without a shape, of the shape of the nested lists."""
        if not has_text(dtype):
            _fail(token, f"numbers of type {dtype} have no text")
        try:
            array = np.array(value, dtype)
        except (TypeError, ValueError, OverflowError) as error:
            _fail(token, f"these are no elements of type {dtype}: {error}")
        if shape is not None and array.size == 0:
            array = array.reshape(shape) if 0 in shape else array
        if shape is not None and array.shape != tuple(shape):
            _fail(token, f"expected elements for the shape {tuple(shape)}, found {array.shape}")
        return array[()]

    def value(self) -> Any:
        """Read a value of an attribute, or a slice of such values."""
        parts = [None if self.sees(":") else self.simple()]
        while len(parts) < 3 and self.take(":"):
            ends = any(map(self.sees, (":", ",", "]", ")")))
            parts.append(None if ends else self.simple())
        return parts[0] if len(parts) == 1 else slice(*parts)

    def simple(self) -> Any:
        token = self.next
        self.at += 1
        if token.kind == "number":
            return _number(token.text)
        if token.kind == "string":
            return ast.literal_eval(token.text)
        if token.kind == "name":
            return self.word(token)
        if token.text == "...":
            return Ellipsis
        if token.text == "(":
            return tuple(self.listed(self.value, ")"))
        if token.text == "[":
            return self.listed(self.value, "]")
        if token.kind == "absent":
            _fail(
                token,
                f"{self.equation} cannot be read: {token.text} stands for an array that is not "
                "shown (graph.to_text() shows it) or for a function, which has no text",
            )
        self.at -= 1
        self.expected("a value")

    def word(self, token: _Token) -> Any:
        """Read True, None, ARRAY, a dtype, or a number or array of a dtype."""
        if token.text in _WORDS:
            return _WORDS[token.text]
        if not self.take("("):
            return self.dtype(token)
        if token.text == "dtype":
            dtype = self.dtype(self.of("string", "a dtype between quotes"))
            self.need(")")
            return dtype
        start = self.next
        value = self.value()
        if token.text != "array":
            self.need(")")
            return self.array(start, value, self.dtype(token), ())
        self.need(",")
        dtype = self.dtype(self.of("string", "a dtype between quotes"))
        shape = self.value() if self.take(",") else None
        self.need(")")
        return np.asarray(self.array(start, value, dtype, shape))


def _number(text: str) -> int | float | complex:
    if text.endswith(("j", "j)")):
        return complex(text)
    return int(text) if text.lstrip("+-").isdecimal() else float(text)


def parse(text: str) -> Graph:
    """Return the graph of a text; raise GraphError if it is none, or not well formed."""
    parser = _Parser(text)
    parser.skip()
    graph = parser.graph()
    parser.skip()
    if parser.next.kind != "end":
        parser.expected("the end of the text")
    graph.check()
    return graph

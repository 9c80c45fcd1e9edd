"""The lines of one function of a generated program.

What has no name of the user's and is read once stands inside the expression that reads it. May
import `core`, `engines.numpy`, `codegen`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from funcgraph.codegen.comments import commented
from funcgraph.codegen.control import CONTROL
from funcgraph.codegen.names import Names, has_name, name_for
from funcgraph.codegen.notation import Piece, number, piece_of, reads_once
from funcgraph.core.graph import Equation, Graph, Var
from funcgraph.engines.numpy.expressions import statements
from funcgraph.engines.numpy.literals import value_text
from funcgraph.errors import NoSourceError

if TYPE_CHECKING:
    from funcgraph.codegen.program import Program

__all__ = ["Body"]

_LINE = 84  # letters of the longest line with an expression inside another
_INSIDE = 48  # letters of the longest expression inside another
_VIEW = 24  # letters of the longest view that is written again at every use
# Their text names an argument more than once, or in every step of a loop.
_TWICE = frozenset(["cholesky", "eigh", *CONTROL])
_VIEWS = frozenset(["transpose", "reshape", "getitem"])


class Body:
    """Writes the lines of one function.

    Args:
      program: The program it is part of.
      graph: What it computes.
      inputs: The names of its parameters.
      names: Gives the names of its variables.
      line: The user's line that calls it.
      results: Of the main function: words for each of its results.
    """

    def __init__(
        self,
        program: Program,
        graph: Graph,
        inputs: list[str],
        names: Names,
        line: str,
        results: list[str] | None = None,
    ) -> None:
        self.program = program
        self.graph = graph
        self.names = names
        self.line = line
        self.pieces: dict[Var, Piece] = dict(zip(graph.inputs, map(Piece, inputs), strict=True))
        self._made: dict[Var, Equation] = {}  # of the pieces that are expressions
        self._is_main = results is not None
        self._uses = _uses(graph, named=self._is_main and len(graph.outputs) > 1)
        words = zip(graph.outputs, results or (), strict=False)
        self._words = {v: word for v, word in words if isinstance(v, Var)}
        self._written: list[tuple[Equation, list[str]]] = []

    # --- values -----------------------------------------------------------------------------------

    def piece(self, atom: Any) -> Piece:
        """Return a variable as it stands in an expression."""
        if not isinstance(atom, Var):
            return number(atom)
        if atom in self.graph.constants:
            return self.program.constant(self.graph.constants[atom], atom.name)
        return self.pieces[atom]

    def text(self, atom: Any) -> str:
        """Return the name of a variable, which it gets if it has none; or the text of a number."""
        if atom in self._made:
            self._assign(atom, self._made.pop(atom), self.pieces[atom])
        if isinstance(atom, Var) and atom in self.graph.constants and atom.aval.shape:
            return self.program.bind(self.graph.constants[atom], atom.name)
        return str(self.piece(atom))

    def _assign(self, v: Var, e: Equation, piece: Piece) -> None:
        name = self.name(v, e)
        self._written.append((e, [f"{name} = {piece}"]))
        self.pieces[v] = Piece(name)

    def name(self, v: Var, e: Equation, suggested: str = "") -> str:
        """Return a new name for a result of an equation."""
        first = self.pieces.get(e.inputs[0]) if e.inputs and isinstance(e.inputs[0], Var) else None
        argument = first if first is not None and first.isidentifier() else ""
        if not argument and first is not None and isinstance(e.inputs[0], Var):
            argument = e.inputs[0].name
        result = (self._words[v] or "value") if v in self._words else ""
        name = self.names.fresh(v.name or suggested or result or name_for(v, e, argument))
        self.pieces[v] = Piece(name)
        return name

    # --- equations --------------------------------------------------------------------------------

    def write(self) -> tuple[list[str], list[str]]:
        """Return the lines, under comments with the user's, and the text of each output."""
        for e in self.graph.equations:
            try:
                self._equation(e)
            except NoSourceError as error:
                message = str(error).partition("\n")[0]
                raise NoSourceError(
                    f"the operation {e.primitive.name} cannot be written as a NumPy program: "
                    f"{message}",
                    e.line,
                ) from None
        results = self._outputs()
        callers = {self.line, self.program.line}
        return list(commented(self._written, callers, self._is_main)), results

    def _outputs(self) -> list[str]:
        outputs = self.graph.outputs
        pieces = [str(self.piece(x)) for x in outputs]
        one_line = len(", ".join(pieces)) < _LINE - len("return ")
        return pieces if one_line else [self.text(x) for x in outputs]

    def condition(self, number: Any) -> str:
        """Return the condition that a number, 0 or 1, is made of; "" if there is none."""
        e = self._made.get(number)
        if e is None or e.primitive.name not in ("convert", "truncate_dtype"):
            return ""
        x = e.inputs[0]
        return str(self.piece(x)) if isinstance(x, Var) and x.aval.dtype == bool else ""

    def _equation(self, e: Equation) -> None:
        control = CONTROL.get(e.primitive.name)
        if control is not None:
            lines = control(self, e)  # it may name arguments, on lines before these
            self._written.append((e, lines))
            return
        if e.primitive.many:
            piece = self._piece(e)
            outs = [self.name(v, e) if self._uses[v] else "_" for v in e.outputs]
            comma = "," if len(outs) == 1 else ""
            self._written.append((e, [f"{', '.join(outs)}{comma} = {piece}"]))
            return
        (v,) = e.outputs
        if e.primitive.name.startswith("index_"):
            args = [str(self.piece(a)) for a in e.inputs]
            written = statements(e, self.name(v, e), args, self.program.bind)
            self._written.append((e, written or []))
            return
        piece = self._piece(e)
        if piece.isidentifier():  # stop_gradient and the like: nothing is done
            self.pieces[v] = piece
        elif self._stays_inside(e, piece):
            self.pieces[v], self._made[v] = piece, e
        else:
            self._assign(v, e, piece)

    def _piece(self, e: Equation) -> Piece:
        """Return an equation as an expression that fits a line: long arguments get names."""
        while True:
            piece = self._compose(e)
            inside = [a for a in e.inputs if a in self._made]
            if len(piece) <= _LINE or not inside:
                return piece
            self.text(max(inside, key=lambda a: len(self.piece(a))))

    def _compose(self, e: Equation) -> Piece:
        args = [self.piece(a) for a in e.inputs]
        piece = piece_of(e, args, self._made, self.program.bind)
        if piece is not None:
            return piece
        attrs = {k: value_text(v, self.program.bind) for k, v in e.attrs.items()}
        return Piece(self.program.helpers.call(e.primitive, list(map(str, args)), attrs))

    def _stays_inside(self, e: Equation, piece: Piece) -> bool:
        (v,) = e.outputs
        if has_name(v) or len(piece) > _INSIDE:
            return False
        view = e.primitive.name in _VIEWS and len(piece) <= _VIEW and "(" not in piece
        return self._uses[v] == 1 or view


def _uses(graph: Graph, named: bool) -> Counter[Var]:
    """Return how often each variable is read: twice by what wants a name for it.

    Args:
      graph: The graph.
      named: Whether its results want names.
    """
    uses: Counter[Var] = Counter()
    for e in graph.equations:
        first = e.attrs.get("carries", 1 if e.primitive.name == "switch" else 0)
        for k, a in enumerate(e.inputs[:1] if reads_once(e) else e.inputs):
            if isinstance(a, Var):
                uses[a] += 2 if e.primitive.name in _TWICE and k >= first else 1
    for v in graph.outputs:
        if isinstance(v, Var):
            uses[v] += 2 if named else 1
    return uses

"""Graphs: programs as data, in static single assignment form.

A `Graph` is a list of equations between typed variables: what staging a Python function produces,
and what pictures, generated source, costs and both engines start from. What takes more than a few
lines is in modules beside this one, which import it: `text`, `parse`, `check`, `costs`, `simplify`.
May import `core`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from funcgraph.core.aval import Aval, aval_of
from funcgraph.core.hooks import HOOKS
from funcgraph.core.origin import replayed
from funcgraph.core.primitive import Primitive
from funcgraph.errors import GraphError

if TYPE_CHECKING:
    from funcgraph.core.costs import Costs
    from funcgraph.pictures.drawing import Drawing

__all__ = ["Atom", "Equation", "Graph", "Var", "names_of"]


class Var:
    """A typed variable, assigned once: an input, a constant, or a result of an equation.

    Printing gives short names, by the order of assignment; `name` is for people.

    Args:
      aval: Shape and dtype.
      name: What the user's program calls it; "" if that is not known (`transforms.naming`).
    """

    __slots__ = ("aval", "name")

    def __init__(self, aval: Aval, name: str = "") -> None:
        self.aval = aval
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.aval}>"


# What an equation reads: a variable, or a Python number that stands for itself.
Atom = Var | bool | int | float | complex


@dataclass(slots=True, eq=False)  # not frozen: that takes four times as long to make
class Equation:
    """outputs = primitive(*inputs, **attrs), written by the user at `line` (file:line).

    Equations are shared between graphs: they are never changed, but replaced.

    Args:
      primitive: The operation.
      inputs: Variables, or Python numbers that stand for themselves.
      outputs: New variables, as many as the operation has results.
      attrs: Static keywords of the operation; sub-graphs are among them.
      line: Where the user's program asked for the operation; "" if that is not known.
      scope: The layer that asked for it, as a path: "encoder/dense"; "" outside of all.
    """

    primitive: Primitive
    inputs: tuple[Atom, ...]
    outputs: tuple[Var, ...]
    attrs: dict[str, Any]
    line: str = ""
    scope: str = ""

    @property
    def subgraphs(self) -> list[Graph]:
        """The graphs among the attributes (bodies of loops, branches, compiled functions)."""
        return list(self.named_subgraphs.values())

    @property
    def named_subgraphs(self) -> dict[str, Graph]:
        """The same by their printed names (body, branches[0], ...)."""
        found: dict[str, Graph] = {}
        for name, value in self.attrs.items():
            if isinstance(value, Graph):
                found[name] = value
            elif type(value) is tuple and value and all(isinstance(v, Graph) for v in value):
                found.update((f"{name}[{k}]", v) for k, v in enumerate(value))
        return found

    def with_graphs(self, change: Callable[[Graph], Graph]) -> Equation:
        """Return the equation with each graph among the attributes changed; itself if none is."""
        attrs = self.attrs
        for name, value in self.attrs.items():
            if (new := _with_graphs(value, change)) is not value:
                attrs = {**attrs, name: new}
        return self if attrs is self.attrs else replace(self, attrs=attrs)


def _with_graphs(value: Any, change: Callable[[Graph], Graph]) -> Any:
    if isinstance(value, Graph):
        return change(value)
    if type(value) is tuple and any(isinstance(v, Graph) for v in value):
        changed = tuple(_with_graphs(v, change) for v in value)
        return value if all(a is b for a, b in zip(changed, value, strict=True)) else changed
    return value


@dataclass(slots=True, eq=False, weakref_slot=True)
class Graph:
    """A program: inputs, constants and equations that lead to outputs.

    Args:
      inputs: Variables given at each evaluation.
      equations: In an order in which every variable is assigned before it is read.
      outputs: Variables or numbers.
      constants: Variables with values that belong to the graph.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> graph = fg.make_graph(lambda x: np.sin(x) * 2.0)(np.zeros(3))
      >>> print(graph)
      graph(a: float64[3]) {
        b: float64[3] = sin a
        c: float64[3] = multiply b 2.0
        return c
      }
      >>> graph.evaluate(np.array([0.0, 0.5 * np.pi, np.pi])).round(3)
      array([0., 2., 0.])
    """

    inputs: tuple[Var, ...]
    equations: tuple[Equation, ...]
    outputs: tuple[Atom, ...]
    constants: dict[Var, Any] = field(default_factory=dict)

    @property
    def output_avals(self) -> tuple[Aval, ...]:
        """Shapes and dtypes of the outputs."""
        return tuple(o.aval if isinstance(o, Var) else aval_of(o) for o in self.outputs)

    def run(self, *args: Any) -> list[Any]:
        """Return the list of outputs for arrays of any kind, tracers included."""
        if len(args) != len(self.inputs):
            raise GraphError(
                f"this graph has {len(self.inputs)} inputs, but {len(args)} arguments were passed."
            )
        env: dict[Any, Any] = dict(self.constants)
        env.update(zip(self.inputs, args, strict=True))
        last = self.last_uses()
        before = replayed.get()
        try:
            for k, equation in enumerate(self.equations):
                values = [env[v] if type(v) is Var else v for v in equation.inputs]
                replayed.set(equation)
                out = equation.primitive(*values, **equation.attrs)
                env.update(
                    zip(equation.outputs, out if equation.primitive.many else (out,), strict=True)
                )
                for v in last[k]:
                    del env[v]
        finally:
            replayed.set(before)
        return [env[v] if type(v) is Var else v for v in self.outputs]

    def evaluate(self, *args: Any) -> Any:
        """Return the output (several: a tuple) for arrays of any kind, tracers included.

        Args:
          *args: One array for each input.

        Raises:
          GraphError: The number of arguments is wrong.
        """
        out = self.run(*args)
        return out[0] if len(out) == 1 else tuple(out)

    def last_uses(self) -> list[list[Var]]:
        """Return for each equation the variables that nothing reads after it."""
        seen = {v for v in self.outputs if isinstance(v, Var)} | set(self.inputs)
        seen |= set(self.constants)
        out: list[list[Var]] = []
        for equation in reversed(self.equations):
            ends = []
            for v in (*equation.inputs, *equation.outputs):
                if isinstance(v, Var) and v not in seen:
                    seen.add(v)
                    ends.append(v)
            out.append(ends)
        return out[::-1]

    def check(self) -> None:
        """Raise GraphError unless the program is well formed.

        Every variable is assigned once, before it is read; every operation gives what its
        variables are typed as; constants are of their types; sub-graphs take and give what the
        equations that hold them say.

        Raises:
          GraphError: Something is wrong; the message names the equation and the user's line.

        Example:
          >>> Graph((), (), (Var(aval_of(1.0)),)).check()
          Traceback (most recent call last):
          ...
          funcgraph.errors.GraphError: output 0 is a variable (float64[]), which is not...
        """
        from funcgraph.core.check import check

        check(self)

    def simplify(self) -> Graph:
        """Return a graph of the same values, to the last bit, with fewer equations.

        What no output depends on goes, what stands twice is computed once, operations on constants
        are done at once, and so do those that do nothing (the table in `core/identities.py`).

        Returns:
          A graph with the same inputs, and as many outputs of the same types.

        Example:
          >>> import numpy as np
          >>> import funcgraph as fg
          >>> f = lambda x: np.sin(x) * 1.0 + np.sin(x).T.T
          >>> print(fg.make_graph(f)(np.zeros((2, 3))).simplify())
          graph(a: float64[2,3]) {
            b: float64[2,3] = sin a
            c: float64[2,3] = add b b
            return c
          }
        """
        from funcgraph.core.simplify import simplify

        return simplify(self)

    # --- costs ------------------------------------------------------------------------------------

    def costs(self, trips: int = 1) -> Costs:
        """Return what the equations cost: a table that prints, with rows that can be read.

        Args:
          trips: How many steps a `while` loop takes, which no graph can know.

        Returns:
          Rows (operation, count, flops, bytes, line), the most expensive first, with their sums
          `flops` and `bytes`, and `notes` on what could not be counted.

        Example:
          >>> import numpy as np
          >>> import funcgraph as fg
          >>> graph = fg.make_graph(lambda a, b: np.tanh(a @ b))(np.ones((3, 4)), np.ones((4, 5)))
          >>> [(row.operation, row.flops) for row in graph.costs().rows]
          [('matmul', 120), ('tanh', 15)]
        """
        from funcgraph.core.costs import costs

        return costs(self, trips)

    def flops(self, trips: int = 1) -> int:
        """Return the number of arithmetic operations of one evaluation: see `costs`."""
        return self.costs(trips).flops

    def bytes(self, trips: int = 1) -> int:
        """Return how many bytes the equations of one evaluation read and write: see `costs`."""
        return self.costs(trips).bytes

    def memory(self) -> int:
        """Return the largest number of bytes that variables occupy at one time.

        Inputs and constants are there from the beginning to the end, a result from its equation to
        the last one that reads it. Views occupy nothing.

        Example:
          >>> import numpy as np
          >>> import funcgraph as fg
          >>> fg.make_graph(lambda x: np.sum(np.sin(x) + 1))(np.zeros(100)).memory()
          2400
        """
        from funcgraph.core.lifetimes import peak_bytes

        return peak_bytes(self)

    # --- pictures ---------------------------------------------------------------------------------

    def draw(self, *, backward: bool = False, depth: int | None = None) -> Drawing:
        """Return a picture of the program: shown in notebooks, saved with `.save("name.svg")`.

        Args:
          backward: Whether the way back, from all outputs to all inputs, is drawn beside it.
          depth: How many levels of boxes (layers, loops, branches) are open; the rest are one node
            each. By default as many as leave the picture readable.

        Raises:
          PictureError: Nothing is there to differentiate, with backward=True.

        Example:
          >>> import numpy as np
          >>> import funcgraph as fg
          >>> graph = fg.make_graph(lambda x: np.sin(x) * 2.0)(np.zeros(3))
          >>> print(graph.draw().mermaid.splitlines()[0])
          flowchart TB
        """
        return HOOKS["draw_graph"](self, backward, depth)  # type: ignore[no-any-return]

    def _repr_html_(self) -> str:
        return HOOKS["graph_html"](self)  # type: ignore[no-any-return]

    # --- text -------------------------------------------------------------------------------------

    def __str__(self) -> str:
        from funcgraph.core.text import text_of

        return text_of(self, abbreviate=True)

    def to_text(self, lines: bool = False) -> str:
        """Return the whole program as text, which `Graph.parse` reads back.

        As `str(graph)`, but with all elements of all constants. Two graphs are the same program
        if and only if they have the same text.

        Args:
          lines: Append to every equation, as a comment, the line of the user's program.

        Example:
          >>> import numpy as np
          >>> import funcgraph as fg
          >>> print(fg.make_graph(lambda x: x[:2] + np.arange(2.0))(np.zeros(3)).to_text())
          graph(a: float64[3]) {
            b: float64[2] = constant [0.0, 1.0]
            c: float64[2] = getitem[template=(:2,)] a
            d: float64[2] = add c b
            return d
          }
        """
        from funcgraph.core.text import text_of

        return text_of(self, lines=lines)

    @classmethod
    def parse(cls, text: str) -> Graph:
        """Return the graph that a text describes: what `to_text` wrote, or a person.

        `str(graph)` is read too, as long as nothing was too long for it. Functions have no text: a
        graph with custom rules or JAX functions cannot be read back.

        Args:
          text: In the form that graphs print in. Names are free; comments begin with #.

        Raises:
          GraphError: The text is not of that form (the message says at which line and column, and
            what was expected), or the graph is not well formed.

        Example:
          >>> import numpy as np
          >>> import funcgraph as fg
          >>> graph = fg.make_graph(lambda x: 2.0 * x)(np.zeros(3))
          >>> Graph.parse(str(graph)).evaluate(np.arange(3.0))
          array([0., 2., 4.])
        """
        from funcgraph.core.parse import parse

        return parse(text)


# Words of Python, which generated source cannot use as names, and numbers of the printed form.
_RESERVED = {"as", "if", "in", "is", "or", "and", "for", "not", "inf", "nan", "infj", "nanj"}


def _letters() -> Iterator[str]:
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    for size in itertools.count(1):
        for letters in itertools.product(alphabet, repeat=size):
            name = "".join(letters)
            if name not in _RESERVED:
                yield name


def names_of(graph: Graph) -> dict[Var, str]:
    """Return a name for every variable: a, b, c ... in order of assignment."""
    results = itertools.chain.from_iterable(e.outputs for e in graph.equations)
    return dict(zip((*graph.inputs, *graph.constants, *results), _letters(), strict=False))

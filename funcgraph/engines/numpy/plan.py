"""Where the results of a program go: which memory each variable lives in, by liveness.

Memory is a workspace kept from call to call, or an output buffer that is handed to the caller, or a
donated argument. May import `core`, `ops`, `engines.numpy.short`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from funcgraph.core.aval import Aval
from funcgraph.core.graph import Equation, Graph, Var
from funcgraph.core.primitive import VIEWS
from funcgraph.engines.numpy.short import is_by_columns
from funcgraph.ops import conv_numpy, pooling

__all__ = ["INTO", "WHOLE", "Output", "Plan", "owners"]

# Functions that write their result into memory they are given, and read their arguments meanwhile.
INTO: dict[str, Callable[..., Any]] = {
    "conv": conv_numpy.forward,
    "conv_input": conv_numpy.by_input,
    "conv_kernel": conv_numpy.by_kernel,
    **{
        p.name: p.numpy
        for p in (
            pooling.window_argmax, pooling.window_max, pooling.window_put, pooling.window_spread,
            pooling.window_sum, pooling.window_take,
        )
    },
}  # fmt: skip
# These read their arguments to the end, and no element of the result by itself.
WHOLE = frozenset(["matmul", "concatenate", "index_add", "index_sum", *INTO])


@dataclass(slots=True)
class Output:
    """Memory that a result is written into.

    Attributes:
      aval: Its shape and dtype.
      places: At which places among the outputs it stands as it is.
      donor: The input whose memory may be taken, or None.
    """

    aval: Aval
    places: tuple[int, ...]
    donor: int | None


def owners(graph: Graph) -> dict[Var, Var]:
    """Return whose memory each result is in: its own, or that of what it is a view of."""
    root: dict[Var, Var] = {}
    for e in graph.equations:
        for v in e.outputs:
            root[v] = v
        if e.primitive.name in VIEWS and isinstance(e.inputs[0], Var):
            source = e.inputs[0]
            root[e.outputs[0]] = root.get(source, source)
    return root


class Plan:
    """Which memory every variable lives in, and which is free at a point of the program.

    Args:
      graph: The program.
      planned: The equations whose results can be written into memory that is there.
      donated: Numbers of the inputs whose memory may be taken.
      first: The first equation that may write there.
      workspace: Whether there is one; otherwise memory is new where it is needed.
      rows: Results that are written where they stay, never over an argument.
    """

    def __init__(
        self,
        graph: Graph,
        planned: Collection[Equation],
        donated: Sequence[int],
        first: int = 0,
        rows: Collection[Var] = (),
        workspace: bool = True,
    ) -> None:
        self._rows = rows
        self._workspace = workspace
        self.root = owners(graph)
        self._places: dict[Var, list[int]] = {}  # at which a variable is among the outputs
        self._handed_out: dict[Var, int] = {}  # whose memory an output is in: the first one
        for k, v in enumerate(graph.outputs):
            if isinstance(v, Var):
                self._places.setdefault(v, []).append(k)
                self._handed_out.setdefault(self.root.get(v, v), k)
        self.fixed = {*self._handed_out, *graph.inputs, *graph.constants}
        self.last: dict[Var, int] = {}
        self._used = [self._roots(e) for e in graph.equations]
        for k, roots in enumerate(self._used):
            for v in roots:
                self.last[v] = k
        self.slots: list[Aval] = []  # of the workspace
        self.outputs: list[Output] = []
        self._place: dict[Var, str] = {}
        self._free: dict[Any, list[str]] = {}
        self._inputs = graph.inputs
        self._donors: dict[Var, int] = {}  # what may still be taken
        self._alike: dict[Any, list[int]] = {}  # their numbers by type, in order
        for k in sorted(set(donated)):
            if (v := graph.inputs[k]) not in self._handed_out:
                self._donors[v] = k
                self._alike.setdefault(_key(v.aval), []).append(k)
        self._donor_of: dict[Var, int] = {}
        self._promised: dict[Var, Var] = {}  # what will be handed over to an output
        self._first = first
        self._look_ahead(graph, planned)

    def _look_ahead(self, graph: Graph, planned: Collection[Equation]) -> None:
        """Find for each result a donor, or an argument in whose memory it will be written."""
        made = {v: e for e in graph.equations for v in e.outputs}
        for k in range(len(graph.equations) - 1, -1, -1):
            e = graph.equations[k]
            if e not in planned or not (
                e.outputs[0] in self._handed_out or e.outputs[0] in self._promised
            ):
                continue
            (out,) = e.outputs
            donor = self._find_donor(k, e)
            if donor is not None:
                self._donor_of[out] = donor
                continue
            for v in self.overwritable(e):
                if self._ends(v, k, out) and v in made and made[v] in planned:
                    self._promised[v] = self._promised.get(out, out)
                    break

    def overwritable(self, e: Equation) -> list[Var]:
        """Return the arguments over which an operation may write its result.

        A ufunc copes with any overlap; one that goes by columns, with an argument but not with
        other views of it. Products and rows of arrays read their arguments to the end; a choice is
        written in three steps, the last of which reads all arguments but the first array.
        """
        if e.primitive.name in WHOLE:
            return []
        over = [v for v in e.inputs if isinstance(v, Var)]
        choice = e.primitive.name == "where"
        if not choice and not is_by_columns(e):
            return over
        roots = [self.root.get(v, v) for v in over]
        alone = [v for v in over if roots.count(self.root.get(v, v)) == 1]
        return [v for v in alone if v is e.inputs[1]] if choice else alone

    def _find_donor(self, k: int, e: Equation) -> int | None:
        """Take the memory of an argument that ends here, or else of an input that is not needed.

        Of these, that of the one that stands nearest to where the result will stand.
        """
        (out,) = e.outputs
        if k < self._first:
            return None
        at, kind = self._handed_out.get(out, 0), _key(out.aval)
        over = [v for v in self.overwritable(e) if v in self._donors and _key(v.aval) == kind]
        if ends := [v for v in over if self.last[v] == k]:
            return self._donors.pop(min(ends, key=lambda v: abs(self._donors[v] - at)))
        alike = self._alike.get(kind, [])
        while alike:
            v = self._inputs[alike.pop(_nearest(alike, at))]
            number = self._donors.pop(v, None)
            # What is read here or behind is of no use for the results before, either.
            if number is not None and self.last.get(v, -1) < k:
                return number
        return None

    def _ends(self, v: Any, k: int, out: Var) -> bool:
        """Return whether v has memory of its own like that of out, which nobody reads after k."""
        if not isinstance(v, Var) or v in self.fixed or _key(v.aval) != _key(out.aval):
            return False
        return self.root.get(v, v) is v and self.last[v] == k

    def is_read_after(self, v: Var, k: int) -> bool:
        """Return whether anybody reads a result after equation k."""
        return v in self.fixed or self.last[self.root.get(v, v)] > k

    def own(self, v: Var, name: str) -> None:
        """Note that a variable is in fresh memory of its own, under a name."""
        self._place[v] = name

    def choose(
        self, k: int, e: Equation, name: str, chain: Iterable[Var] = (), kept: Collection[Var] = ()
    ) -> str:
        """Return where the result of equation k goes, as text; it will have a name.

        The name itself stands for new memory.

        Args:
          k: The number of the equation.
          e: The equation.
          name: The name.
          chain: What the equations of its chain read: their memory is not yet given back, but
            blocks that no later one of them reads can be written over.
          kept: What is not written over, as it is looked at behind the chain.
        """
        (out,) = e.outputs
        leaves = out in self._handed_out or out in self._promised
        ending = [v for v in self.overwritable(e) if self._ends(v, k, out)]
        ended = [v for v in chain if self._ends(v, self.last.get(v, k), out) and self.last[v] < k]
        for v in () if out in self._rows else (*ending, *ended):
            if v in self._place and v not in kept:
                place = self._place[v]
                if not (leaves and place.startswith("w[")):
                    del self._place[v]
                    self._place[out] = place if place.endswith("]") else name
                    return place
        if leaves:
            place = self._new_output(out)
        else:
            place = self.scratch(out.aval) if self._workspace else name
        self._place[out] = place
        return place

    def scratch(self, aval: Aval) -> str:
        """Return memory that is free until it is given back."""
        free = self._free.get(_key(aval))
        if free:
            return free.pop()
        self.slots.append(aval)
        return f"w[{len(self.slots) - 1}]"

    def give_back(self, place: str, aval: Aval) -> None:
        """Take scratch memory back."""
        self._free.setdefault(_key(aval), []).append(place)

    def _new_output(self, out: Var) -> str:
        result = self._promised.get(out, out)
        places = tuple(self._places.get(result, ()))
        donor = self._donor_of.get(result) if result is out else None
        self.outputs.append(Output(out.aval, places, donor))
        return f"o[{len(self.outputs) - 1}]"

    def _roots(self, e: Equation) -> Iterable[Var]:
        """Return in whose memory the arguments and results of an equation are, each once."""
        root = self.root
        atoms = (*e.inputs, *e.outputs)  # a dict has an order, unlike a set
        return dict.fromkeys([root.get(v, v) for v in atoms if type(v) is Var])

    def release(self, k: int) -> list[Var]:
        """Free what equation k was the last to use; return the variables to forget."""
        ends = []
        for v in self._used[k]:
            if self.last[v] == k and v not in self.fixed:
                ends.append(v)
                place = self._place.pop(v, "")
                if place.startswith("w["):
                    self.give_back(place, v.aval)
        return ends


def _nearest(numbers: list[int], n: int) -> int:
    """Return the index of the number nearest to n; the numbers are in order."""
    k = bisect_left(numbers, n)
    return k - 1 if k and (k == len(numbers) or n - numbers[k - 1] <= numbers[k] - n) else k


def _key(aval: Aval) -> tuple[Any, Any]:
    return aval.shape, aval.dtype

"""The text of a loop: the lines of its body in a `for`, over the rows of what it reads and writes.

Results of a step are written where they stay: into the rows of stacks. A carry that is collected as
it was before each step, too (as recurrent nets need it for their derivatives), is in one stack, of
one row more, for both. May import `core`.
"""

from __future__ import annotations

import re
from typing import Any

from funcgraph.core.graph import Graph, Var

__all__ = ["Steps"]

_OUTPUT, _SLOT = re.compile(r"\bo\[(\d+)\]"), re.compile(r"\bw\[(\d+)\]")


class Steps:
    """How a scan goes through its arrays.

    Args:
      body: (*carry, *x, *constants) -> (*carry, *y).
      carries: The number of carries.
      rows: The number of arrays of which a step reads a row.
      shared: Which results of the scan somebody else may write into.

    Attributes:
      before: By its place among the carries, at which places among y a carry before the step
        stands; the row of the carry after the step is in the same stack.
      after: At which places among y the same carries after the step stand.
      listed: The places of y that are numbers, which are collected in lists.
      stored: The places of y that are written into rows of their own.
    """

    def __init__(self, body: Graph, carries: int, rows: int, shared: list[bool]) -> None:
        self.carries, self.rows_read = carries, rows
        ys = body.outputs[carries:]
        own = [not flag for flag in shared[carries:]]
        ends = body.outputs[:carries]
        self.before: dict[int, int] = {}
        self.after: dict[int, int] = {}
        for j, (carry, end) in enumerate(zip(body.inputs, ends, strict=False)):
            at = [k for k, y in enumerate(ys) if y is carry and own[k]]
            if at and carry.aval.shape and end is not carry and ends.count(end) == 1:
                self.before[at[0]] = j
                self.after.update((k, j) for k, y in enumerate(ys) if y is end and own[k])
        rest = [k for k in range(len(ys)) if k not in self.before and k not in self.after]
        avals = body.output_avals[carries:]
        self.listed = [k for k in rest if not avals[k].shape]
        self.stored = [k for k in rest if avals[k].shape]

    def rows(self, graph: Graph) -> set[Any]:
        """Return what should be written into rows."""
        ys = graph.outputs[self.carries :]
        chained = [graph.outputs[j] for j in self.before.values()]
        found = {*chained, *(ys[k] for k in self.stored)}
        return {v for v in found if isinstance(v, Var)}

    def target(self, places: tuple[int, ...]) -> str | None:
        """Return the row that is a result at these places among the outputs; None: no row."""
        for j in self.before.values():
            if j in places:
                return f"n{j}"
        return next(
            (f"r{p - self.carries}" for p in places if p - self.carries in self.stored), None
        )

    def text(self, writer: Any) -> str:
        """Return the text of the loop.

        A function of the carry, the constants, the arrays whose rows are read or written (the
        latter of `stored`, then of `before`), the methods that append to lists, the workspace, and
        two sets of buffers for the carry, one of which is read while the other is written.
        """
        graph: Graph = writer.graph
        writer.body()
        n, m = self.carries, self.carries + self.rows_read
        names = [writer.names[v] for v in graph.inputs]
        targets = [self.target(o.places) for o in writer.plan.outputs]
        carried = [j for j, row in enumerate(targets) if row is None]
        where = [f"o{j}" if row is None else row for j, row in enumerate(targets)]
        ends = self.ends(writer)
        for j in self.before.values():
            ends[j] = f"n{j}"
        lines = [*writer.lines, *self.stores(writer, {row for row in targets if row is not None})]
        if n:
            lines.append(f"{_tuple(names[:n])} = {_tuple(ends)}")
        lines = [
            _SLOT.sub(r"w\1", _OUTPUT.sub(lambda found: where[int(found[1])], line))
            for line in lines
        ]
        lines += [f"o{j}, p{j} = p{j}, o{j}" for j in carried]
        read = [
            *names[n:m],
            *(f"r{k}" for k in self.stored),
            *(f"n{j}" for j in self.before.values()),
        ]
        head = [f"{_tuple(names[:n])} = carry", f"{_tuple(names[m:])} = constants"]
        head += [f"{_tuple([f'a{k}' for k in self.listed])} = lists"]
        head += [f"{_tuple([f'{x}{j}' for j in carried])} = {x}" for x in "op"]
        head.append(f"{_tuple([f'w{k}' for k in range(len(writer.plan.slots))])} = w")
        head.append(f"for {_tuple(read)} in zip(*streams):" if read else "for _ in range(length):")
        text = "\n    ".join([*head, *("    " + line for line in lines or ["pass"])])
        arguments = "carry, constants, streams, length, lists, w, o, p"
        return f"def program({arguments}):\n    {text}\n    return {_tuple(names[:n])}\n"

    def ends(self, writer: Any) -> list[str]:
        """Return the carries behind a step; copies of those that are carries of before.

        The buffer of a carry is written again two steps later, when another one may be read there.
        """
        graph: Graph = writer.graph
        outputs = graph.outputs[: self.carries]
        sources = [writer.plan.root.get(v, v) for v in outputs]
        place = {v: j for j, v in enumerate(graph.inputs[: self.carries])}

        def is_made(v: Any) -> bool:
            """Return whether a carry is what the step before has computed."""
            return v in place and sources[place[v]] not in graph.inputs

        pairs = zip(outputs, sources, strict=True)
        return [_copied(writer, v) if is_made(source) else writer.text(v) for v, source in pairs]

    def stores(self, writer: Any, written: set[str]) -> list[str]:
        """Return the lines that collect results which are not where they stay."""
        graph: Graph = writer.graph
        ys = [writer.text(v) for v in graph.outputs[self.carries :]]
        for k in self.listed:  # a number may be a view of memory that the next steps write
            y = graph.outputs[self.carries + k]
            ys[k] = ys[k] if writer.plan.root.get(y, y) is y else _copied(writer, y)
        lines = [f"a{k}({ys[k]})" for k in self.listed]
        lines += [f"r{k}[...] = {ys[k]}" for k in self.stored if f"r{k}" not in written]
        ends = [(j, writer.text(graph.outputs[j])) for j in self.before.values()]
        return lines + [f"n{j}[...] = {end}" for j, end in ends if f"n{j}" not in written]


def _copied(writer: Any, v: Any) -> str:
    """Return the text of a copy of a variable's value; numbers of Python need none."""
    if v.aval.weak is not None:
        return writer.text(v)  # type: ignore[no-any-return]
    return f"np.array({writer.text(v)})" if v.aval.shape else f"{writer.text(v)}[()]"


def _tuple(names: list[str]) -> str:
    return f"({', '.join(names)},)" if names else "()"

"""Loops over blocks of rows: the text of a chain of elementwise operations.

Long ones run on the threads of `ops.threads`, in blocks that cost more than to pass the interpreter
on. May import `core`, `ops`, `engines.numpy.short`.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval
from funcgraph.core.graph import Equation, Var
from funcgraph.engines.numpy.short import is_by_columns
from funcgraph.ops.columns import ends, put_back, scratch
from funcgraph.ops.threads import in_parallel

__all__ = ["BLOCK", "TERMS", "Block", "Shape", "is_sum_of_rows", "rows_of"]

BLOCK = 1 << 15  # elements: 128 KiB in float32
TERMS = 4096  # numbers that a product with ones adds up one after the other
_LONG = 1 << 20  # elements that are worth another thread: eight blocks of the larger size
_RUNS = 8  # into which blocks are collected for threads
_RUN = 512  # elements: NumPy's loops over fewer cost more than their arithmetic

Shape = tuple[int, ...]


def rows_of(shape: Shape) -> int:
    """Return how many rows (along the first axis) a block of an array has."""
    return max(1, BLOCK // max(1, prod(shape[1:])))


def blocks_of(shape: Shape, rows: int) -> tuple[tuple[slice, slice], ...]:
    """Return the rows of each block: in the array, and in memory for one block."""
    n = shape[0]
    return tuple((slice(k, min(k + rows, n)), slice(min(rows, n - k))) for k in range(0, n, rows))


def is_cut(argument: Shape, shape: Shape) -> bool:
    """Return whether an argument is cut into blocks with the result, rather than broadcast."""
    return len(argument) == len(shape) and argument[0] == shape[0]


def is_sum_of_rows(e: Equation) -> bool:
    """Return whether an equation is a sum over all axes but the last, a few numbers a block."""
    x = e.inputs[0] if e.primitive.name == "reduce_sum" else None
    if not isinstance(x, Var) or x.aval.dtype not in (np.float32, np.float64):
        return False
    shape = x.aval.shape
    if len(shape) < 2 or e.attrs["axes"] != tuple(range(len(shape) - 1)):
        return False
    return 1 <= rows_of(shape) * prod(shape[1:-1]) <= TERMS


def _repeated(argument: Shape, shape: Shape) -> Shape | None:
    """Return the shape to which to repeat what is broadcast over short rows; None: as it is."""
    if len(shape) < 3 or prod(argument) < 2 or argument[-1] != shape[-1] or shape[-1] >= _RUN:
        return None
    axes = range(len(shape) - 1, 0, -1)
    first = next((k for k in axes if prod(shape[k:]) >= _RUN), 1)
    full = (*(1,) * first, *shape[first:])
    if prod(argument[: len(argument) - len(shape) + first]) > 1 or prod(argument) == prod(full):
        return None
    return full


class Block:
    """The lines of a chain, in terms of blocks of rows."""

    def __init__(self, writer: Any, members: list[tuple[int, Equation]], inside: set[Var]) -> None:
        self.writer = writer
        self.inside = inside  # what only the chain reads, and where it is no longer read
        self.shape = members[0][1].outputs[0].aval.shape
        self.last: dict[Any, int] = {}  # reader of what is inside
        for k, e in members:
            self.last.update((v, k) for v in (*e.outputs, *e.inputs) if v in inside)
        self.is_long = prod(self.shape) >= _LONG
        self.rows = self._rows(any(is_sum_of_rows(e) for _, e in members))
        self.names: dict[Any, str] = {}
        self.before: list[str] = []
        self.head: list[str] = []
        self.lines: list[str] = []
        self.scratch: list[tuple[str, Aval]] = []
        self.free: dict[Any, list[str]] = {}
        self.sums: dict[Var, str] = {}  # lists of the sums of all blocks

    def _rows(self, sums: bool) -> int:
        """Return how many rows a block has: on threads up to four times as many as by itself."""
        rows = rows_of(self.shape)
        if not self.is_long:
            return rows
        most = min(4, TERMS // (rows * prod(self.shape[1:-1]))) if sums else 4
        return rows * max(1, min(most, self.shape[0] // (rows * _RUNS)))

    def enter(self, v: Var, text: str) -> str:
        """Return the name of a block of an array of the program."""
        self.names[v] = name = f"b{self.writer.labels[v][1:]}"
        self.head.append(f"{name} = {text}[s]")
        return name

    def argument(self, atom: Any, repeat: bool = True) -> str:
        """Return what stands for an argument: a block, or the whole of what is broadcast."""
        if atom in self.names:
            return self.names[atom]
        text = self.writer.text(atom)
        if not isinstance(atom, Var):
            return text
        if is_cut(atom.aval.shape, self.shape):
            return self.enter(atom, text)
        full = _repeated(atom.aval.shape, self.shape)
        if full is None or not repeat:
            return text
        self.names[atom] = name = f"t{self.writer.labels[atom][1:]}"
        self.before.append(f"{name} = np.ascontiguousarray(np.broadcast_to({text}, {full}))")
        return name

    def write(self, k: int, e: Equation) -> None:
        """Write an equation. A result that nobody else reads goes into memory for one block."""
        (out,) = e.outputs
        args = [self.argument(a, not is_by_columns(e)) for a in e.inputs]
        ends = dict.fromkeys(v for v in e.inputs if isinstance(v, Var) and self.last.get(v) == k)
        if out in self.inside:
            over = self.writer.plan.overwritable(e)
            same = (v for v in over if v in ends and v.aval == out.aval)
            taken = next(same, None)
            self.names[out] = self.fresh(out.aval) if taken is None else self.names[taken]
            if taken is not None:
                del ends[taken]
        self.lines += self.writer.written(e, args, self.names[out])
        self.end(ends)

    def add_up(self, k: int, e: Equation) -> None:
        """Write the sum of a block's rows, as a product with ones."""
        (x,), (out,) = e.inputs, e.outputs
        ones = self.writer.bind(np.ones(self.rows * prod(self.shape[1:-1]), out.aval.dtype), "ones")
        self.sums[out] = name = f"s_{len(self.sums)}"
        rows = f"{self.argument(x)}.reshape(-1, {self.shape[-1]})"
        self.lines += [f"rows = {rows}", f"{name}.append(np.matmul({ones}[:len(rows)], rows))"]
        self.end([x] if self.last.get(x) == k else [])

    def end(self, ends: Iterable[Any]) -> None:
        """Free the memory of what is no longer read in this block."""
        for v in ends:
            self.free.setdefault(v.aval, []).append(self.names[v])

    def fresh(self, aval: Aval) -> str:
        """Return the name of memory for one block."""
        if free := self.free.get(aval):
            return free.pop()
        memory = Aval((self.rows, *self.shape[1:]), aval.dtype)
        place = f"m_{len(self.scratch)}" if self.is_long else self.writer.plan.scratch(memory)
        self.scratch.append((place, memory))
        self.head.append(f"x_{len(self.scratch)} = {place}[t]")
        return f"x_{len(self.scratch)}"

    def text(self) -> list[str]:
        """Return the loop, after which the memory is free again."""
        loop = self._on_threads() if self.is_long else self._by_itself()
        repeated = [line.partition(" ")[0] for line in self.before]
        return [*self.before, *loop, *([f"del {', '.join(repeated)}"] if repeated else [])]

    def _loop(self, blocks: str) -> list[str]:
        inner = [f"    {line}" for line in self.head + self.lines]
        return [
            *[f"{name} = []" for name in self.sums.values()],
            f"for s, t in {blocks}:",
            *inner,
        ]

    def _by_itself(self) -> list[str]:
        for place, memory in self.scratch:
            self.writer.plan.give_back(place, memory)
        blocks = self.writer.bind(blocks_of(self.shape, self.rows), "blocks")
        views = [line.partition(" ")[0] for line in self.head]  # these keep arrays alive
        return [
            *self._loop(blocks),
            f"del {', '.join(views)}",
            *[
                f"{self.writer.names[v]} = np.add.reduce({name}, axis=0)"
                for v, name in self.sums.items()
            ],
        ]

    def _on_threads(self) -> list[str]:
        """Return the loop as a function of some blocks, and its call for all of them."""
        bind, blocks = self.writer.bind, blocks_of(self.shape, self.rows)
        runs = [blocks[a:b] for a, b in pairwise(ends(len(blocks), _RUNS))]
        memory, size = [], 0
        for place, aval in self.scratch:
            stop = size + prod(aval.shape) * aval.dtype.itemsize
            part = f"memory[{size}:{stop}].view({bind(aval.dtype)})"
            memory.append(f"{place} = {part}.reshape({aval.shape})")
            size = -(-stop // 64) * 64
        inner = [*memory, *self._loop("run")]
        if memory:
            inner.insert(0, f"memory = {bind(scratch, 'scratch')}({size}, {bind(np.dtype('u1'))})")
            inner.append(f"{bind(put_back, 'put_back')}(memory)")
        inner.append(f"return ({''.join(f'{name}, ' for name in self.sums.values())})")
        total = "np.add.reduce([x for p in parts for x in p[{}]], axis=0)"
        return [
            "def chain(run):",
            *[f"    {line}" for line in inner],
            f"parts = {bind(in_parallel, 'in_parallel')}(chain, {bind(runs, 'runs')})",
            *[f"{self.writer.names[v]} = {total.format(k)}" for k, v in enumerate(self.sums)],
        ]

"""The NumPy engine: compiles a Graph to one flat Python function that calls NumPy.

No tracer is in sight at run time. Results of ufuncs are written into buffers that are planned by
liveness: into an argument that nobody reads any more, or into a workspace that is kept from call to
call. What is handed to the caller is always new memory. May import `core`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval
from funcgraph.core.graph import Equation, Graph, Var, names_of
from funcgraph.core.primitive import OPERATORS

__all__ = ["compile_graph"]

# Below this size a fresh array costs no more than a planned one.
_SMALL = 1 << 14

# Primitives whose result may share memory with their first argument.
_VIEWS = frozenset(
    ["reshape", "transpose", "broadcast", "getitem", "real", "imag", "stop_gradient", "barrier"]
)
# Primitives whose result is always memory of its own.
_FRESH = frozenset([
    "matmul", "reduce_sum", "reduce_max", "concatenate", "stack", "where", "pad_zeros", "convert",
    "conv", "conv_input", "conv_kernel", "window_max", "window_sum", "window_put",
])  # fmt: skip
_SYMBOLS = {
    "add": "+", "subtract": "-", "multiply": "*", "divide": "/", "less": "<", "less_equal": "<=",
    "greater": ">", "greater_equal": ">=", "equal": "==", "not_equal": "!=",
}  # fmt: skip


class _Buffers:
    """Which memory every variable lives in, and which is free at a point of the program."""

    def __init__(self, graph: Graph) -> None:
        self.root: dict[Var, Var] = {}  # a view's owner
        for e in graph.equations:
            for v in e.outputs:
                self.root[v] = v
            if e.primitive.name in _VIEWS and isinstance(e.inputs[0], Var):
                first = e.inputs[0]
                self.root[e.outputs[0]] = self.root.get(first, first)
        self.fixed = {self.root.get(v, v) for v in graph.outputs if isinstance(v, Var)}
        self.fixed |= set(graph.inputs) | set(graph.constants)
        self.last: dict[Var, int] = {}
        for k, e in enumerate(graph.equations):
            for atom in (*e.inputs, *e.outputs):
                if isinstance(atom, Var):
                    self.last[self.root.get(atom, atom)] = k
        self.slots: list[Aval] = []  # of the workspace
        self.slot_of: dict[Var, int] = {}
        self.free: dict[tuple[Any, Any], list[int]] = {}
        self.fresh: set[Var] = set()  # owned by the program, in memory of their own

    def choose(self, k: int, e: Equation) -> Var | int | None:
        """Return where a ufunc's result goes: an argument's memory, a workspace slot, or None."""
        (out,) = e.outputs
        aval = out.aval
        key = (aval.shape, aval.dtype)
        # A product reads its arguments to the end: it cannot be written over one of them.
        for v in e.inputs if e.primitive.name != "matmul" else ():
            if not isinstance(v, Var) or (v.aval.shape, v.aval.dtype) != key:
                continue
            root = self.root.get(v, v)
            mine = root in self.slot_of or root in self.fresh
            if root is v and mine and self.last[root] == k and root not in self.fixed:
                if out in self.fixed and root not in self.fresh:
                    continue  # a result must not live in the workspace
                self._hand_over(root, out)
                return v
        if out in self.fixed:
            return None
        slots = self.free.get(key)
        if slots:
            slot = slots.pop()
        else:
            slot = len(self.slots)
            self.slots.append(aval)
        self.slot_of[out] = slot
        return slot

    def _hand_over(self, old: Var, new: Var) -> None:
        if old in self.fresh:
            self.fresh.add(new)
        else:
            self.slot_of[new] = self.slot_of.pop(old)

    def release(self, k: int, e: Equation) -> list[Var]:
        """Free what equation k was the last to use; return the variables to forget."""
        ends = []
        for v in {self.root.get(v, v) for v in (*e.inputs, *e.outputs) if isinstance(v, Var)}:
            if self.last[v] == k and v not in self.fixed:
                ends.append(v)
                if v in self.slot_of:
                    aval = v.aval
                    self.free.setdefault((aval.shape, aval.dtype), []).append(self.slot_of.pop(v))
        return ends


class _Writer:
    """Writes the program of a graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.names = {v: f"v_{n}" for v, n in names_of(graph).items()}
        self.space: dict[str, Any] = {}
        self.lines: list[str] = []
        self.buffers = _Buffers(graph)

    def bind(self, prefix: str, value: Any) -> str:
        """Return a name for a value that the program uses."""
        name = f"{prefix}_{len(self.space)}"
        self.space[name] = value
        return name

    def text(self, atom: Any) -> str:
        if isinstance(atom, Var):
            return self.names[atom]
        plain = type(atom) in (int, bool) or (type(atom) is float and np.isfinite(atom))
        return f"({atom!r})" if plain else self.bind("k", atom)

    def equation(self, k: int, e: Equation) -> None:
        args = [self.text(a) for a in e.inputs]
        outs = [self.names[v] for v in e.outputs]
        if isinstance(e.primitive.numpy, np.ufunc) and not e.primitive.many:
            self.lines.append(f"{outs[0]} = {self.ufunc(k, e, args)}")
        else:
            f = self.bind(e.primitive.name, e.primitive.numpy)
            attrs = [f"{n}={self.bind('k', v)}" for n, v in e.attrs.items()]
            left = ", ".join(outs) + ("," if e.primitive.many else "")
            self.lines.append(f"{left} = {f}({', '.join([*args, *attrs])})")
            if e.primitive.name in _FRESH:
                self.buffers.fresh.update(v for v in e.outputs if v.aval.shape)
        ends = [self.names[v] for v in self.buffers.release(k, e) if v not in self.graph.inputs]
        if ends and any(v.aval.shape for v in e.outputs):
            self.lines.append(f"del {', '.join(ends)}")

    def ufunc(self, k: int, e: Equation, args: list[str]) -> str:
        out = e.outputs[0].aval
        size = int(np.prod(out.shape)) * out.dtype.itemsize
        if size < _SMALL:
            symbol = _SYMBOLS.get(e.primitive.name)
            strong = any(isinstance(a, Var) and a.aval.weak is None for a in e.inputs)
            if symbol and strong and e.primitive.numpy in OPERATORS:
                return f"{args[0]} {symbol} {args[1]}"
            if out.shape:
                self.buffers.fresh.add(e.outputs[0])
            return f"{self.bind(e.primitive.name, e.primitive.numpy)}({', '.join(args)})"
        f = self.bind(e.primitive.name, e.primitive.numpy)
        target = self.buffers.choose(k, e)
        if target is None:
            self.buffers.fresh.add(e.outputs[0])
            return f"{f}({', '.join(args)})"
        where = self.names[target] if isinstance(target, Var) else f"w[{target}]"
        return f"{f}({', '.join([*args, where])})"

    def program(self) -> tuple[str, dict[str, Any], list[Aval]]:
        graph = self.graph
        for v, value in graph.constants.items():
            self.space[self.names[v]] = value
        for k, e in enumerate(graph.equations):
            self.equation(k, e)
        inputs = "".join(f"{self.names[v]}, " for v in graph.inputs)
        outputs = "".join(f"{self._output(v)}, " for v in graph.outputs)
        body = [f"({inputs}) = inputs"] if graph.inputs else []
        body += [*self.lines, f"return ({outputs})"]
        text = "def program(inputs, w):\n    " + "\n    ".join(body) + "\n"
        return text, self.space, self.buffers.slots

    def _output(self, atom: Any) -> str:
        """Return an output; a copy where it is the caller's own memory, or a constant."""
        name = self.text(atom)
        if isinstance(atom, Var) and atom.aval.shape:
            root = self.buffers.root.get(atom, atom)
            if root in self.graph.inputs or root in self.graph.constants:
                return f"{self.bind('copy', np.array)}({name})"
        return name


def compile_graph(graph: Graph) -> Callable[..., tuple[Any, ...]]:
    """Return a function of the graph's inputs (arrays) that returns the tuple of its outputs."""
    text, space, slots = _Writer(graph).program()
    exec(compile(text, "<funcgraph program>", "exec"), space)
    program = space["program"]
    spaces: list[list[Any]] = []  # workspaces that no call is using

    def run(*inputs: Any) -> tuple[Any, ...]:
        try:
            workspace = spaces.pop()
        except IndexError:
            workspace = [np.empty(a.shape, a.dtype) for a in slots]
        try:
            with np.errstate(all="ignore"):  # as XLA: derivatives may pass through inf and nan
                return program(inputs, workspace)  # type: ignore[no-any-return]
        finally:
            spaces.append(workspace)

    return run

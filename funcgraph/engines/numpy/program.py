"""Compiles a Graph to one flat Python function that calls NumPy.

No tracer is in sight at run time. Large results are written into memory that is planned by
liveness. What is handed to the caller is memory that nothing else refers to. May import `core`,
`engines.numpy`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from funcgraph.core.graph import Equation, Graph, Var, names_of
from funcgraph.core.simplify import simplify
from funcgraph.engines.numpy.expressions import expression, is_strong, statements
from funcgraph.engines.numpy.literals import dtype_text, number_text
from funcgraph.engines.numpy.loops import scan_loop, while_loop
from funcgraph.engines.numpy.memory import Buffers, Workspaces
from funcgraph.engines.numpy.plan import Plan
from funcgraph.engines.numpy.rewrite import rewrite, updates_last

__all__ = ["Program", "compile_graph"]

# Below this size (in bytes) a fresh array costs no more than a planned one.
_SMALL = 1 << 14
# Primitives whose result is always memory of its own.
_FRESH = frozenset([
    "matmul", "reduce_sum", "reduce_max", "concatenate", "stack", "where", "pad_zeros", "convert",
    "index_add", "index_set", "index_sum", "conv", "conv_input", "conv_kernel", "window_max",
    "window_sum", "window_put",
])  # fmt: skip
# The same values without the way through Python functions of NumPy.
_DIRECT = {
    "reduce_sum": "np.add.reduce({0}, axis={axes})",
    "reduce_prod": "np.multiply.reduce({0}, axis={axes})",
    "reduce_max": "np.maximum.reduce({0}, axis={axes})",
    "reduce_min": "np.minimum.reduce({0}, axis={axes})",
    "reshape": "{0}.reshape({shape})",
    "transpose": "{0}.transpose({axes})",
}
_FINITE_IF_ARGUMENTS = frozenset([
    "add", "subtract", "multiply", "negative", "matmul", "reduce_sum", "reshape", "transpose",
])  # fmt: skip
_INTEGERS = {2: np.int16, 4: np.int32, 8: np.int64}
_LOOPS: dict[str, Callable[..., Any]] = {"scan": scan_loop, "while": while_loop}


def _size(v: Any) -> int:
    return int(np.prod(v.aval.shape)) * int(v.aval.dtype.itemsize)


def _is_ufunc(e: Equation) -> bool:
    return isinstance(e.primitive.numpy, np.ufunc) and not e.primitive.many


def _by_bits(e: Equation) -> bool:
    """Return whether a choice can be made by arithmetic on the bits of the numbers.

    Where the condition follows the data, np.where costs ten times as much: a processor cannot
    foretell it.
    """
    out = e.outputs[0].aval
    condition = e.inputs[0]
    if not isinstance(condition, Var) or condition.aval.dtype != bool:
        return False
    return out.dtype.kind in "iuf" and out.dtype.itemsize in _INTEGERS


def _writes(e: Equation) -> bool:
    """Return whether the result of an equation is written into planned memory."""
    if len(e.outputs) != 1 or not e.outputs[0].aval.shape or _size(e.outputs[0]) < _SMALL:
        return False
    return _is_ufunc(e) or (e.primitive.name == "where" and _by_bits(e))


class _Writer:
    """Writes the program of a graph."""

    def __init__(
        self,
        graph: Graph,
        donated: Sequence[int],
        first: int,
        finite: Callable[[list[Any]], bool] | None,
    ) -> None:
        self.passed_on = {
            graph.inputs[k] for k in donated if graph.outputs.count(graph.inputs[k]) == 1
        }
        self.first = first  # the first equation that may write into a donated input
        self.finite = finite
        self.graph = graph
        self.names = {v: f"v_{n}" for v, n in names_of(graph).items()}
        self.space: dict[str, Any] = {"np": np}
        self.lines: list[str] = []
        self.plan = Plan(graph, _writes, donated, first)

    def bind(self, value: Any, prefix: str = "k") -> str:
        """Return a name for a value that the program uses."""
        name = f"{prefix}_{len(self.space)}"
        self.space[name] = value
        return name

    def text(self, atom: Any) -> str:
        return self.names[atom] if isinstance(atom, Var) else number_text(atom)

    def equation(self, k: int, e: Equation) -> None:
        args = [self.text(a) for a in e.inputs]
        outs = [self.names[v] for v in e.outputs]
        if _writes(e):
            place = self.plan.choose(k, e, outs[0])
            if e.primitive.name == "where":
                self.lines += self._choice(e, args, place)
            else:
                self.lines.append(f"{self._ufunc(e)}({', '.join(args)}, out={place})")
            self.lines.append(f"{outs[0]} = {place}")
        else:
            self.lines += self._fresh(e, args, outs)
        ends = [self.names[v] for v in self.plan.release(k, e) if v not in self.graph.inputs]
        if ends and any(v.aval.shape for v in e.outputs):
            self.lines.append(f"del {', '.join(ends)}")

    def _ufunc(self, e: Equation) -> str:
        ufunc = e.primitive.numpy
        name = ufunc.__name__
        return f"np.{name}" if getattr(np, name, None) is ufunc else self.bind(ufunc, name)

    def _fresh(self, e: Equation, args: list[str], outs: list[str]) -> list[str]:
        """Return the lines of an equation whose result is memory that NumPy gives it."""
        name = e.primitive.name
        left = ", ".join(outs) + ("," if e.primitive.many else "")
        if name in _FRESH or _is_ufunc(e):
            for v in e.outputs:
                if v.aval.shape:
                    self.plan.own(v, self.names[v])
        if name in _LOOPS and "lanes" not in e.attrs:
            loop = self.bind(_LOOPS[name](e, Program), name)
            return [f"{left} = {loop}({', '.join(args)})"]
        lines = statements(e, outs[0], args, self.bind) if outs else None
        if lines is not None:
            return lines
        right = self._direct(e, args)
        if right is None:
            function = self.bind(e.primitive.numpy, name)
            attrs = [f"{n}={self.bind(v)}" for n, v in e.attrs.items()]
            right = f"{function}({', '.join([*args, *attrs])})"
        return [f"{left} = {right}"]

    def _direct(self, e: Equation, args: list[str]) -> str | None:
        """Return the value as one expression, without detours; None if there is none."""
        name, attrs, (out, *_) = e.primitive.name, e.attrs, e.outputs
        first = e.inputs[0] if e.inputs else None
        if name in _DIRECT and is_strong(first):
            axes = attrs.get("axes", ())
            if name == "reduce_sum" and (product := self._sum_by_product(e, args[0])):
                return product
            single = len(axes) == 1 and name != "transpose"
            return _DIRECT[name].format(*args, **{**attrs, "axes": axes[0] if single else axes})
        if name == "stack" and not any(isinstance(a, Var) and a.aval.shape for a in e.inputs):
            return f"np.array(({', '.join(args)},), {dtype_text(out.aval.dtype)})"
        if isinstance(e.primitive.numpy, np.ufunc) and not hasattr(np, e.primitive.numpy.__name__):
            return f"{self._ufunc(e)}({', '.join(args)})"
        text = expression(e, args, self.bind)
        return None if text is None or text.startswith("scipy.") else text

    def _sum_by_product(self, e: Equation, x: str) -> str | None:
        """Return a sum over the first or last axis as a product with ones, which BLAS does."""
        aval, axes = e.inputs[0].aval, e.attrs["axes"]  # type: ignore[union-attr]
        if aval.dtype not in (np.float32, np.float64) or _size(e.inputs[0]) < _SMALL:
            return None
        n = len(aval.shape)
        if n < 2 or len(axes) != 1 or aval.shape[axes[0]] > 4096:
            return None
        ones = np.ones(aval.shape[axes[0]], aval.dtype)
        if axes == (n - 1,):
            return f"np.matmul({x}, {self.bind(ones)})"
        return f"np.matmul({self.bind(ones)}, {x})" if n == 2 else None

    def _choice(self, e: Equation, args: list[str], place: str) -> list[str]:
        """Return the lines that write x where c, y elsewhere: ((x ^ y) * c) ^ y on the bits."""
        dtype = e.outputs[0].aval.dtype
        integer = f"np.{_INTEGERS[dtype.itemsize].__name__}"
        _, x, y = e.inputs
        first, second = (
            self._bits(a, t, dtype, integer) for a, t in zip((x, y), args[1:], strict=True)
        )
        lines = [f"bits = {place}.view({integer})"]
        if second == "0":
            return [*lines, f"np.multiply({first}, {args[0]}, out=bits)"]
        return [
            *lines,
            f"other = {second}",
            f"np.bitwise_xor({first}, other, out=bits)",
            f"np.multiply(bits, {args[0]}, out=bits)",
            "np.bitwise_xor(bits, other, out=bits)",
        ]

    def _bits(self, atom: Any, text: str, dtype: Any, integer: str) -> str:
        """Return the bits of a number, or of an array, as integers."""
        value = self.graph.constants.get(atom) if isinstance(atom, Var) else atom
        if value is not None and not np.ndim(value):
            with np.errstate(all="ignore"):
                number = np.asarray(value).astype(dtype)
            return str(number.view(_INTEGERS[dtype.itemsize]).item())
        if not isinstance(atom, Var) or atom.aval.dtype != dtype or not atom.aval.shape:
            return f"np.asarray({text}, {dtype_text(dtype)}).view({integer})"
        return f"{text}.view({integer})"

    def program(self) -> tuple[str, dict[str, Any]]:
        graph = self.graph
        for v, value in graph.constants.items():
            self.space[self.names[v]] = value
        checks = self._checks()
        for k, e in enumerate(graph.equations):
            if k in checks:
                self._look(checks[k])
            self.equation(k, e)
        if len(graph.equations) in checks:
            self._look(checks[len(graph.equations)])
        inputs = "".join(f"{self.names[v]}, " for v in graph.inputs)
        outputs = "".join(f"{self._output(v)}, " for v in graph.outputs)
        body = [f"({inputs}) = inputs"] if graph.inputs else []
        body += [*self.lines, f"return ({outputs})"]
        return "def program(inputs, w, o):\n    " + "\n    ".join(body) + "\n", self.space

    def _checks(self) -> dict[int, set[Var]]:
        """Return which values have to be finite, by the equation before which to look at them.

        What is computed by then and still needed; but in place of a result of sums and products,
        which is finite if its arguments are (unless it overflows), these, if they are smaller. An
        argument of the program that is added is no derivative.
        """
        if self.finite is None:
            return {}
        equations = self.graph.equations
        made = {v: k for k, e in enumerate(equations[: self.first]) for v in e.outputs}
        later = [v for e in equations[self.first :] for v in e.inputs]
        waiting = [(v, self.first) for v in (*self.graph.outputs, *later) if v in made]
        found: dict[int, set[Var]] = {}
        while waiting:
            v, at = waiting.pop()
            e = equations[made[v]] if v in made else None
            if e is not None and e.primitive.name in _FINITE_IF_ARGUMENTS:
                added = e.primitive.name in ("add", "subtract")
                known = self.graph.inputs if added else ()
                parts = {x for x in e.inputs if isinstance(x, Var) and x not in known}
                if sum(map(_size, parts)) <= _size(v):
                    waiting += [(x, made[v]) for x in parts]
                    continue
            if v.aval.dtype.kind in "fc":
                found.setdefault(at, set()).add(v)
        return found

    def _look(self, values: Iterable[Var]) -> None:
        """Leave the program, if some values are not finite."""
        names = ", ".join(sorted(self.names[v] for v in values))
        self.lines.append(f"if not {self.bind(self.finite)}([{names}]): return None")

    def _output(self, atom: Any) -> str:
        """Return an output; a copy where it is the caller's own memory, or a constant.

        What was donated and comes back unchanged, such as a frozen parameter, is not copied.
        """
        name = self.text(atom)
        if isinstance(atom, Var) and atom.aval.shape and atom not in self.passed_on:
            root = self.plan.root.get(atom, atom)
            if root in self.graph.inputs or root in self.graph.constants:
                return f"np.array({name})"
        return name


class Program:
    """The compiled form of a graph.

    Attributes:
      function: function(inputs, workspace, outputs) -> tuple of results.
      outputs: The memory that `function` wants for large results.
      workspaces: Where its workspace comes from.
      graph: The graph as it is computed.
    """

    __slots__ = ("function", "graph", "outputs", "text", "workspaces")

    def __init__(
        self,
        graph: Graph,
        donated: Sequence[int] = (),
        finite: Callable[[list[Any]], bool] | None = None,
    ) -> None:
        self.graph = rewrite(simplify(graph))
        first = 0
        if finite is not None:
            self.graph, first = updates_last(self.graph, donated)
        writer = _Writer(self.graph, donated, first, finite)
        self.text, space = writer.program()
        exec(compile(self.text, "<funcgraph program>", "exec"), space)
        self.function: Callable[..., tuple[Any, ...]] = space["program"]
        self.outputs = writer.plan.outputs
        self.workspaces = Workspaces(writer.plan.slots)


def compile_graph(
    graph: Graph,
    donate_argnums: Sequence[int] = (),
    finite: Callable[[list[Any]], bool] | None = None,
) -> Callable[..., Any]:
    """Return a function of the graph's inputs (arrays) that returns the tuple of its outputs.

    Args:
      graph: The program.
      donate_argnums: Numbers of the inputs whose memory the results may take.
      finite: Says whether all numbers of some arrays are finite. If given, the function returns
        None if they are not, and has then not written into any input.
    """
    program = Program(graph, donate_argnums, finite)
    function, workspaces, buffers = program.function, program.workspaces, Buffers(program.outputs)
    ends = tuple(
        x
        for x in program.graph.constants.values()
        if isinstance(x, np.ndarray) and not x.flags.owndata
    )

    def run(*inputs: Any) -> tuple[Any, ...]:
        workspace = workspaces.take()
        try:
            with np.errstate(all="ignore"):  # as XLA: derivatives may pass through inf and nan
                return function(inputs, workspace, buffers.take((*inputs, *ends)))
        finally:
            workspaces.give(workspace)

    return run

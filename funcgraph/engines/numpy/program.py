"""Writes a Graph as one flat Python function that calls NumPy.

No tracer is in sight at run time. Large results are written into memory that is planned by
liveness. What is handed to the caller is memory that nothing else refers to. May import `core`,
`engines.numpy`.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from math import prod
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval
from funcgraph.core.budget import planned
from funcgraph.core.graph import Equation, Graph, Var, names_of
from funcgraph.core.primitive import VIEWS
from funcgraph.core.remat import Options
from funcgraph.core.simplify import simplify
from funcgraph.engines.numpy import products
from funcgraph.engines.numpy.around import around
from funcgraph.engines.numpy.blocks import Block, is_sum_of_rows
from funcgraph.engines.numpy.chains import chained
from funcgraph.engines.numpy.derivatives import derivatives_first, to_look_at
from funcgraph.engines.numpy.expressions import expression, is_strong, statements
from funcgraph.engines.numpy.inline import TINY, Inline
from funcgraph.engines.numpy.literals import dtype_text, number_text
from funcgraph.engines.numpy.loops import only_rows, scan_loop, while_loop
from funcgraph.engines.numpy.memory import Workspaces
from funcgraph.engines.numpy.plan import INTO, WHOLE, Plan
from funcgraph.engines.numpy.planes import by_planes
from funcgraph.engines.numpy.rewrite import rewrite
from funcgraph.engines.numpy.scatter import add_rows, are_rows_sorted, put_back
from funcgraph.engines.numpy.short import by_columns, is_by_columns, reduce_columns
from funcgraph.engines.numpy.signs import with_fewer_signs
from funcgraph.engines.numpy.small import (
    as_arrays,
    is_by_dot,
    is_of_one_float,
    put_together,
    with_names,
)
from funcgraph.engines.numpy.steps import Steps
from funcgraph.engines.numpy.sums import sum_by_product
from funcgraph.engines.numpy.triangles import Triangles
from funcgraph.ops.threads import on_own_threads

__all__ = ["Program"]

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
    "reduce_sum": "np.add.reduce({0}, {axes})",
    "reduce_prod": "np.multiply.reduce({0}, {axes})",
    "reduce_max": "np.maximum.reduce({0}, {axes})",
    "reduce_min": "np.minimum.reduce({0}, {axes})",
    "reshape": "{0}.reshape({shape})",
    "transpose": "{0}.transpose({axes})",
    "copy": "{0}.copy()",
}
_INTEGERS = {2: np.int16, 4: np.int32, 8: np.int64}
_LOOPS: dict[str, Callable[..., Any]] = {"scan": scan_loop, "while": while_loop}


def _size(v: Any) -> int:
    return prod(v.aval.shape) * int(v.aval.dtype.itemsize)


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


def _is_copy(e: Equation) -> bool:
    return e.primitive.name == "copy" and isinstance(e.inputs[0], Var) and is_strong(e.inputs[0])


def _writes(e: Equation, least: int = _SMALL) -> bool:
    """Return whether the result of an equation is written into planned memory."""
    if are_rows_sorted(e):
        return True
    if len(e.outputs) != 1 or not e.outputs[0].aval.shape or _size(e.outputs[0]) < least:
        return False
    if e.primitive.name == "concatenate":
        return all(isinstance(v, Var) and v.aval.dtype == e.outputs[0].aval.dtype for v in e.inputs)
    if e.primitive.name in INTO:
        return is_of_one_float(e)
    if e.primitive.name == "index_sum":
        return True
    return _is_ufunc(e) or _is_copy(e) or (e.primitive.name == "where" and _by_bits(e))


def _writes_in_steps(e: Equation) -> bool:
    """Return whether a small result is written into memory that is there from step to step."""
    return e.primitive.name != "where" and _writes(e, 1)


class _Writer:
    """Writes the program of a graph.

    Args:
      graph: The graph.
      donated: Numbers of the inputs whose memory may be taken.
      first: The first equation that may write there.
      watched: What has to be finite.
      finite: Says whether arrays are.
      rows: What a step of a loop writes into the rows of stacks; None: the program is no step.

    Attributes:
      planned: The equations whose results are written into memory that is there.
      is_threaded: Whether the BLAS works on one thread, as there are convolutions or pooling.
    """

    def __init__(
        self,
        graph: Graph,
        donated: Sequence[int],
        first: int,
        watched: Sequence[Any],
        finite: Callable[[list[Any]], bool] | None,
        rows: Iterable[Any] | None = None,
        sparing: bool = False,
    ) -> None:
        self.sparing = sparing  # with memory: it is freed as soon as it can be
        times = Counter(graph.outputs)
        self.rows = set(rows or ())
        self.in_loop = rows is not None
        threaded = any(e.primitive.name in INTO for e in graph.equations)
        self.is_threaded = threaded and not self.in_loop
        self.inputs = set(graph.inputs)
        self.passed_on = {graph.inputs[k] for k in donated if times[graph.inputs[k]] == 1}
        self.watched = set(watched)  # what has to be finite
        self.finite = finite
        large = {e for e in graph.equations if _writes(e)}
        # Of these, a block of the result depends on the same block of the arguments.
        blocks = {e for e in large if e.primitive.name not in WHOLE}
        graph, self.runs = chained(graph, blocks, first)
        self.planned = large
        if self.in_loop:
            self.planned = large.union(filter(_writes_in_steps, graph.equations))
        self.graph = graph
        self.labels = {v: f"v_{n}" for v, n in names_of(graph).items()}
        self.names = dict(self.labels)  # or the memory that a value is in, or its expression
        self.space: dict[str, Any] = {"np": np}
        self.lines: list[str] = []
        views = [e for e in graph.equations if e.primitive.name in VIEWS - {"reshape"}]
        self.strided = {e.outputs[0] for e in views}
        self.turned = {e.outputs[0] for e in views if e.primitive.name == "transpose"}
        self.plan = Plan(graph, self.planned, donated, first, self.rows, not sparing)
        self.triangles = Triangles(graph)
        self.boxes: dict[Var, str] = {}  # numbers as arrays without axes
        self.numbers: dict[Any, str] = {}  # the same of numbers that are known
        donors = {graph.inputs[k] for k in donated}
        by_plan = sparing or self.in_loop  # memory is freed at once, or there from step to step
        self.inline = None if by_plan else Inline(graph, large, self.watched, donors)
        self.views: dict[Var, list[Var]] = {}
        for v, root in self.plan.root.items() if sparing else ():
            if v is not root:
                self.views.setdefault(root, []).append(v)

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
        if e in self.planned:
            place = self._place(k, e)
            self.lines += self.written(e, args, place)
            self._settle(e.outputs[0], place)
        else:
            self.lines += self._fresh(e, args, outs)
        self._look(e.outputs)
        self._forget(self.plan.release(k))

    def _place(self, k: int, e: Equation, **chain: Collection[Var]) -> str:
        """Return where the result of equation k goes; new memory is there from now on."""
        (out,) = e.outputs
        name = self.names[out]
        place = self.plan.choose(k, e, name, **chain)
        if place == name:
            self.lines.append(f"{name} = np.empty({out.aval.shape}, {dtype_text(out.aval.dtype)})")
        return place

    def _settle(self, v: Var, place: str) -> None:
        """Note where a result is: memory that is there to the end needs no other name."""
        if place.endswith("]"):
            self.names[v] = place
        elif place != self.names[v]:
            self.lines.append(f"{self.names[v]} = {place}")

    def _forget(self, ends: Iterable[Var]) -> None:
        """Drop the names of values that nobody reads any more, unless they are tiny."""
        least = 1 if self.sparing else TINY
        held = [v for v in ends if _size(v) >= least and v not in self.inputs]
        named = [v for root in held for v in (root, *self.views.get(root, ()))]
        if names := [self.names[v] for v in named if self.names[v] == self.labels[v]]:
            self.lines.append(f"del {', '.join(names)}")

    def written(self, e: Equation, args: list[str], place: str) -> list[str]:
        """Return the lines of an equation whose result is written into memory that is there."""
        name = e.primitive.name
        if name == "where":
            return self._choice(e, args, place)
        if name == "concatenate":
            return [f"np.concatenate(({', '.join(args)},), axis={e.attrs['axis']}, out={place})"]
        if name == "copy":
            return [f"np.copyto({place}, {args[0]})"]
        if name == "index_sum":
            shape, templates = e.attrs["shape"], e.attrs["templates"]
            whole, lines = put_back(place, shape, templates, args, self.bind)
            return lines if whole else [f"{place}.fill(0)", *lines]
        if name == "index_add":
            start = f"np.copyto({place}, {args[0]})" if args[0] != "0" else f"{place}.fill(0)"
            return [start, f"{self.bind(add_rows, 'add_rows')}({place}, {args[1]}, {args[2]})"]
        if name in INTO:
            attrs = [f"{n}={self.bind(v)}" for n, v in e.attrs.items()]
            return [f"{self.bind(INTO[name], name)}({', '.join([*args, *attrs])}, out={place})"]
        if name == "matmul":
            if products.is_better_turned(e, self.turned):
                return self._turned(e, args, place)
            if self.is_threaded and products.is_for_threads(e):
                return [f"{self.bind(products.product, 'product')}({', '.join(args)}, {place})"]
            args, place = products.with_rows_joined(e, args, place, self.strided)
        if is_by_columns(e):
            return [by_columns(e, self._ufunc(e), args, place)]
        by_place = _size(e.outputs[0]) < _SMALL and name not in ("maximum", "minimum")
        out = place if by_place else f"out={place}"  # those two warn of a third argument
        if is_by_dot(e):
            return [f"{args[0]}.dot({args[1]}, {place})"]
        return [f"{self._ufunc(e)}({', '.join([*self._arrays(e, args), out])})"]

    def _arrays(self, e: Equation, args: list[str]) -> list[str]:
        return as_arrays(e, args, self._number, None if self.sparing else self._as_array)

    def _number(self, x: float, dtype: Any) -> str:
        """Return the name of an array without axes that is a number."""
        key = repr(x), dtype
        if key not in self.numbers:
            self.numbers[key] = self.bind(np.array(x, dtype))
        return self.numbers[key]

    def _as_array(self, v: Var) -> str:
        """Return an array without axes that has the value of a number."""
        if v not in self.boxes:
            self.boxes[v] = self.plan.scratch(v.aval)
            self.lines.append(f"{self.boxes[v]}[()] = {self.names[v]}")
        return self.boxes[v]

    def _turned(self, e: Equation, args: list[str], place: str) -> list[str]:
        """Return the lines of a product by way of its transpose."""
        (out,) = e.outputs
        memory = Aval(out.aval.shape[::-1], out.aval.dtype)
        other = self.plan.scratch(memory)
        self.plan.give_back(other, memory)
        return [
            f"np.matmul({args[1]}.T, {args[0]}.T, out={other})",
            f"np.copyto({place}, {other}.T)",
        ]

    def chain(self, numbers: range) -> None:
        """Write a chain of elementwise equations as a loop over blocks of rows."""
        members = [(k, self.graph.equations[k]) for k in numbers]
        sums = {e.outputs[0] for _, e in members if is_sum_of_rows(e)}
        inside = {e.outputs[0] for _, e in members} - sums
        stay = {v for v in inside if self.plan.is_read_after(v, numbers[-1]) or v in self.watched}
        block = Block(self, members, inside - stay)
        places: dict[Var, str] = {}
        read = dict.fromkeys(v for _, e in members for v in e.inputs if isinstance(v, Var))
        before = [v for v in read if v not in inside]
        for k, e in members:
            (out,) = e.outputs
            if out in sums:
                self.plan.own(out, self.names[out])
                block.add_up(k, e)
                continue
            if out in stay:
                places[out] = self._place(k, e, chain=before, kept=self.watched)
                block.enter(out, places[out])
            block.write(k, e)
        self.lines += block.text()
        for v, place in places.items():
            self._settle(v, place)
        self._look(e.outputs[0] for _, e in members)
        ends = [v for k, e in members for v in self.plan.release(k) if v not in block.inside]
        self._forget(ends)

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
            shared = [v in self.plan.fixed for v in e.outputs]
            rows = only_rows(e, self.graph, self.watched) if name == "scan" else ()
            loop = self.bind(_LOOPS[name](e, Program, shared, rows, not self.sparing), name)
            return [f"{left} = {loop}({', '.join(args)})"]
        if outs and not _is_ufunc(e):
            lines = put_together(e, args, outs[0], self.bind)
            lines = statements(e, outs[0], args, self.bind) if lines is None else lines
            if lines is None and not self.sparing:
                lines = self.triangles.lines(e, args, outs[0], self.bind)
            if lines is not None:
                return lines
        right = self._direct(e, args)
        if right is None:
            function = self.bind(e.primitive.numpy, name)
            attrs = [f"{n}={self.bind(v)}" for n, v in e.attrs.items()]
            right = f"{function}({', '.join([*args, *attrs])})"
        if self.inline is not None and self.inline.takes(e):
            self.names[e.outputs[0]] = right if len(e.inputs) == 1 else f"({right})"
            return []
        return [f"{left} = {right}"]

    def _direct(self, e: Equation, args: list[str]) -> str | None:
        """Return the value as one expression, without detours; None if there is none."""
        if _is_ufunc(e):
            args = self._arrays(e, args)
            if is_by_dot(e):
                return f"{args[0]}.dot({args[1]})"
        name, attrs, (out, *_) = e.primitive.name, e.attrs, e.outputs
        first = e.inputs[0] if e.inputs else None
        if name in _DIRECT and is_strong(first):
            axes = attrs.get("axes", ())
            if name == "reduce_sum" and (product := sum_by_product(e, args[0], self.bind)):
                return product
            if name in ("reduce_max", "reduce_min") and is_by_columns(e):
                ufunc = "np.maximum" if name == "reduce_max" else "np.minimum"
                return f"{self.bind(reduce_columns, 'columns')}({ufunc}, {args[0]})"
            single = len(axes) == 1 and name != "transpose"
            return _DIRECT[name].format(*args, **{**attrs, "axes": axes[0] if single else axes})
        if name == "stack" and not any(isinstance(a, Var) and a.aval.shape for a in e.inputs):
            return f"np.array(({', '.join(args)},), {dtype_text(out.aval.dtype)})"
        if isinstance(e.primitive.numpy, np.ufunc) and not hasattr(np, e.primitive.numpy.__name__):
            return f"{self._ufunc(e)}({', '.join(args)})"
        text = expression(e, args, self.bind)
        return None if text is None or text.startswith("scipy.") else text

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

    def body(self) -> None:
        """Write the lines of all equations."""
        graph = self.graph
        for v, value in graph.constants.items():
            self.space[self.names[v]] = value
        self._look(graph.inputs)
        for run in self.runs:
            if len(run) > 1:
                self.chain(run)
            else:
                self.equation(run[0], graph.equations[run[0]])

    def program(self) -> str:
        """Return the text of a function of inputs, workspace and outputs."""
        graph = self.graph
        self.body()
        inputs = "".join(f"{self.names[v]}, " for v in graph.inputs)
        outputs = "".join(f"{self._output(v)}, " for v in graph.outputs)
        body = [f"({inputs}) = inputs"] if graph.inputs else []
        body += [*self.lines, f"return ({outputs})"]
        return "def program(inputs, w, o):\n    " + "\n    ".join(body) + "\n"

    def _look(self, values: Iterable[Var]) -> None:
        """Leave the program, if values that are watched are not finite."""
        if names := [self.names[v] for v in values if v in self.watched]:
            self.lines.append(f"if not {self.bind(self.finite)}([{', '.join(names)}]): return None")

    def _output(self, atom: Any) -> str:
        """Return an output; a copy where it is the caller's own memory, or a constant.

        What was donated and comes back unchanged, such as a frozen parameter, is not copied.
        """
        name = self.text(atom)
        if isinstance(atom, Var) and atom.aval.shape and atom not in self.passed_on:
            root = self.plan.root.get(atom, atom)
            if root in self.inputs or root in self.graph.constants:
                return f"np.array({name})"
        return name


class Program:
    """The compiled form of a graph.

    Attributes:
      function: function(inputs, workspace, outputs) -> tuple of results.
      outputs: The memory that `function` wants for large results.
      workspaces: Where its workspace comes from.
      graph: The graph as it is computed.
      memory: A function that returns the report on the memory it needs.

    Args:
      graph: The program.
      donated: Numbers of the inputs whose memory may be taken.
      finite: Says whether arrays are finite.
      derivatives: How many of the last outputs have to be so.
      budget: How many bytes may be alive at one time.
      steps: Writes the program of a loop instead, whose body the graph is.
    """

    __slots__ = ("function", "graph", "memory", "outputs", "text", "workspaces")

    def __init__(
        self,
        graph: Graph,
        donated: Sequence[int] = (),
        finite: Callable[[list[Any]], bool] | None = None,
        derivatives: int = 0,
        steps: Steps | None = None,
        budget: int | None = None,
    ) -> None:
        n, first = len(graph.outputs) - derivatives, 0
        graph = to_look_at(simplify(graph), derivatives)
        graph = by_planes(rewrite(around(with_fewer_signs(graph))))
        watched = graph.outputs[n:]
        if watched:
            graph, first = derivatives_first(graph, watched, donated)
        graph = Graph(graph.inputs, graph.equations, graph.outputs[:n], graph.constants)
        self.memory = functools.partial(planned, graph, budget, Options(donated, keep=watched))
        if budget is not None:
            rest = {v for e in graph.equations[first:] for v in e.outputs} if watched else None
            graph = self.memory().graph  # what is computed again has other names
            left = [k for k, e in enumerate(graph.equations) if rest is None or rest & {*e.outputs}]
            first = min(left, default=len(graph.equations))
        self.graph = graph
        rows = None if steps is None else steps.rows(self.graph)
        writer = _Writer(self.graph, donated, first, watched, finite, rows, budget is not None)
        self.text = writer.program() if steps is None else steps.text(writer)
        text = with_names(self.text, writer.space)
        exec(compile(text, "<funcgraph program>", "exec"), writer.space)
        function: Callable[..., tuple[Any, ...]] = writer.space["program"]
        self.function = on_own_threads(function) if writer.is_threaded else function
        self.outputs = writer.plan.outputs
        self.workspaces = Workspaces(writer.plan.slots)

"""A recorded run of a function: every operation, forwards and backwards, with all numbers.

`explain` prints it, `view` shows it in a browser. The graph of the function is run equation by
equation, each on a tape of its own; then the sweep goes back over them as reverse mode does, so
that the contributions add up to the gradient that `grad` returns. Loops, branches and compiled
functions are opened: what runs in them is recorded, too.

May import all layers below `pictures`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from funcgraph import tree
from funcgraph.core.aval import dtype_of, is_inexact
from funcgraph.core.graph import Equation, Graph, Var
from funcgraph.core.primitive import Elementwise
from funcgraph.core.trace import KIND, NUMPY
from funcgraph.ops.strong import computed_zeros, finite_or
from funcgraph.transforms.arguments import all_finite, check_like, gradient_of, name_of
from funcgraph.transforms.naming import named_run
from funcgraph.transforms.tape import Tape, TapeTracer, backward

__all__ = ["Arrival", "Inner", "Leaf", "Recording", "Run", "Step", "record"]

# Loops of more steps are not opened: what every step computes would have to be kept.
LONGEST = 1000
_KEYS = re.compile(r"\['(\w+)'\]")


class Arrival(NamedTuple):
    """A cotangent that reaches a variable on the way back, and the sum of all until then.

    Attributes:
      step: The step that sends it; None: it is the cotangent of an output of the graph.
      place: Which argument of that step, or which output of the graph, the variable is.
      value: The contribution.
      total: The sum of the contributions so far.
    """

    step: Step | None
    place: int
    value: Any
    total: Any


class Inner(NamedTuple):
    """A graph that an operation ran: the body of a loop in one of its steps, a branch.

    Attributes:
      name: As graphs print it: body, branches[1].
      iteration: Which step of the loop, from 0; None: it runs once.
      run: What happened.
      given: What each input of the graph is outside, if it is the same in every step.
    """

    name: str
    iteration: int | None
    run: Run
    given: tuple[Any, ...]


@dataclass(slots=True, eq=False)
class Step:
    """One operation of a run, with what went in and out, forwards and backwards.

    Attributes:
      number: 1, 2, ... in the order of execution.
      equation: The operation, its variables, attributes, the user's line and scope.
      inputs: Values of the arguments.
      outputs: Values of the results.
      cotangents: Of the results; None where nothing came back.
      contributions: What it sends to the cotangent of each argument; None where nothing.
      inner: What it ran inside, in order.
    """

    number: int
    equation: Equation
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    cotangents: tuple[Any, ...]
    contributions: tuple[Any, ...]
    inner: tuple[Inner, ...]
    _tape: _Recorded
    _opened: _Opened | None

    def pull(self, cotangents: Sequence[Any], safe: bool = False) -> list[Any]:
        """Return the cotangents of the arguments for others of the results (None: zero)."""
        return self._tape.pull(cotangents, safe)

    def local_derivative(self, place: int) -> Any:
        """Return the derivative of the result by an argument; None if it is no array like them.

        Of an elementwise operation it is the diagonal of the Jacobian, which has the shape of the
        result; of another, there is one if both are numbers.
        """
        e = self.equation
        if not self._tape.varies[place] or e.primitive.many:
            return None
        with np.errstate(all="ignore"):
            if isinstance(e.primitive.derivative, Elementwise):
                rule = e.primitive.derivative.rules[place]
                one = dtype_of(self.outputs[0]).type(1)
                if rule is None:
                    return None
                return rule(one, self.outputs[0], *self.inputs, **e.attrs)
            if np.ndim(self.outputs[0]) == np.ndim(self.inputs[place]) == 0:
                return self.pull([dtype_of(self.outputs[0]).type(1)])[place]
        return None


class _Recorded(NamedTuple):
    """An operation on a tape of its own."""

    entries: list[Any]
    varies: tuple[bool, ...]  # arguments that are on the tape, in this order
    slots: tuple[int | None, ...]  # where the results are

    def pull(self, cotangents: Sequence[Any], safe: bool) -> list[Any]:
        pairs = zip(self.slots, cotangents, strict=True)
        seeds = [(slot, ct) for slot, ct in pairs if slot is not None and ct is not None]
        found = iter(backward(self.entries, seeds, sum(self.varies), safe))
        return [next(found) if flag else None for flag in self.varies]


def _apply(e: Equation, args: Sequence[Any], varies: tuple[bool, ...]) -> tuple[Any, _Recorded]:
    """Return the results of an operation, and its tape."""
    tape = Tape()
    traced = [tape.watch(x) if flag else x for x, flag in zip(args, varies, strict=True)]
    out = e.primitive(*traced, **e.attrs)
    outs = tuple(out) if e.primitive.many else (out,)
    on_tape = [type(y) is TapeTracer and y._trace is tape for y in outs]
    values = tuple(y.value if on else y for y, on in zip(outs, on_tape, strict=True))
    slots = tuple(y.index if on else None for y, on in zip(outs, on_tape, strict=True))
    return values, _Recorded(tape.end(), varies, slots)


class Run:
    """A graph that is run on values: its steps, and all values and cotangents.

    Args:
      graph: The graph.
      args: A value for each of its inputs.
      varies: Which of the inputs are differentiated.

    Attributes:
      steps: One for each equation.
      values: Of every variable.
      outputs: Values of the outputs.
      arrivals: The cotangents that reached a variable, in this order; the total of the last one is
        the cotangent of the variable.
    """

    def __init__(self, graph: Graph, args: Sequence[Any], varies: Sequence[bool]) -> None:
        self.graph = graph
        self.steps: list[Step] = []
        self.values: dict[Var, Any] = {**graph.constants}
        self.values.update(zip(graph.inputs, args, strict=True))
        self.arrivals: dict[Var, list[Arrival]] = {}
        self._varying = {v for v, flag in zip(graph.inputs, varies, strict=True) if flag}
        for e in graph.equations:
            self._step(e)
        self.outputs = [self.value(a) for a in graph.outputs]

    def value(self, atom: Any) -> Any:
        """Return the value of a variable; a number stands for itself."""
        return self.values[atom] if isinstance(atom, Var) else atom

    def varies(self, atom: Any) -> bool:
        """Return whether a variable depends, differentiably, on inputs that vary."""
        return isinstance(atom, Var) and atom in self._varying

    def cotangent(self, atom: Any) -> Any:
        """Return the cotangent of a variable; None if nothing came back to it."""
        arrived = self.arrivals.get(atom) if isinstance(atom, Var) else None
        return arrived[-1].total if arrived else None

    def _step(self, e: Equation) -> None:
        args = tuple(map(self.value, e.inputs))
        varies = tuple(map(self.varies, e.inputs))
        outs, tape = _apply(e, args, varies)
        self.values.update(zip(e.outputs, outs, strict=True))
        pairs = zip(e.outputs, tape.slots, strict=True)
        self._varying.update(
            v for v, slot in pairs if slot is not None and is_inexact(v.aval.dtype)
        )
        opened = _open(e, args, varies)
        number, inner = len(self.steps) + 1, opened.inner if opened else ()
        none_back, none_sent = (None,) * len(outs), (None,) * len(args)
        self.steps.append(Step(number, e, args, outs, none_back, none_sent, inner, tape, opened))

    def back(self, cotangents: Sequence[Any], safe: bool) -> list[Any]:
        """Sweep back over the steps; return the cotangents of the inputs (None: zero).

        Args:
          cotangents: Of the outputs; None: zero.
          safe: Whether zeros are strong (`ops.strong`).
        """
        self.arrivals = {}
        for place, (atom, ct) in enumerate(zip(self.graph.outputs, cotangents, strict=True)):
            self._arrive(None, place, atom, ct)
        for step in reversed(self.steps):
            e = step.equation
            step.cotangents = tuple(map(self.cotangent, e.outputs))
            if all(ct is None for ct in step.cotangents):
                step.contributions = (None,) * len(e.inputs)
                continue
            step.contributions = tuple(step.pull(step.cotangents, safe))
            for place, (atom, ct) in enumerate(zip(e.inputs, step.contributions, strict=True)):
                self._arrive(step, place, atom, ct)
            if step._opened is not None:
                step._opened.sweep(step.cotangents, safe)
        return [self.cotangent(v) for v in self.graph.inputs]

    def unmark(self) -> None:
        """Forget what strong zeros tell apart: all zeros of the sweep are zeros."""
        for v, arrived in self.arrivals.items():
            self.arrivals[v] = [
                Arrival(a.step, a.place, computed_zeros(a.value), computed_zeros(a.total))
                for a in arrived
            ]
        for step in self.steps:
            step.cotangents = _unmarked(step.cotangents)
            step.contributions = _unmarked(step.contributions)
            for inner in step.inner:
                inner.run.unmark()

    def _arrive(self, step: Step | None, place: int, atom: Any, ct: Any) -> None:
        if ct is None or not self.varies(atom):
            return
        previous = self.cotangent(atom)
        total = ct if previous is None else _sum(previous, ct, step)
        self.arrivals.setdefault(atom, []).append(Arrival(step, place, ct, total))


def _unmarked(cts: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(None if ct is None else computed_zeros(ct) for ct in cts)


def _sum(previous: Any, ct: Any, step: Step | None) -> Any:
    """Return the sum of two cotangents, to the last bit as reverse mode makes it."""
    add_into = step.equation.primitive.add_into if step is not None else None
    if add_into is None or step is None or any(KIND[type(x)] != NUMPY for x in (previous, ct)):
        return previous + ct
    total = np.array(previous)  # a read: its cotangent is added element by element
    add_into(total, step.cotangents[0], *step.inputs, **step.equation.attrs)
    return total


# --- what runs inside of an operation -------------------------------------------------------------


@dataclass(slots=True, eq=False)
class _Opened:
    """The runs inside of an operation, and how the sweep goes back over them."""

    inner: tuple[Inner, ...]
    sweep: Callable[[Sequence[Any], bool], None]


def _open(e: Equation, args: tuple[Any, ...], varies: tuple[bool, ...]) -> _Opened | None:
    """Return what an operation ran inside, if it is known and not in lanes (vmap)."""
    rule = _OPEN.get(e.primitive.name)
    if rule is None or "lanes" in e.attrs:
        return None
    return rule(e, args, varies)


def _once(name: str, run: Run, given: tuple[Any, ...]) -> _Opened:
    def sweep(cotangents: Sequence[Any], safe: bool) -> None:
        run.back(cotangents, safe)

    return _Opened((Inner(name, None, run, given),), sweep)


def _open_jit(e: Equation, args: tuple[Any, ...], varies: tuple[bool, ...]) -> _Opened:
    return _once("graph", Run(e.attrs["graph"], args, varies), e.inputs)


def _open_switch(e: Equation, args: tuple[Any, ...], varies: tuple[bool, ...]) -> _Opened:
    chosen = int(args[0])
    run = Run(e.attrs["branches"][chosen], args[1:], varies[1:])
    return _once(f"branches[{chosen}]", run, e.inputs[1:])


def _moving(body: Graph, carries: int, varies: Sequence[bool]) -> list[bool]:
    """Return which inputs of a loop's body vary: if anything does, every inexact carry may."""
    flags = [f and is_inexact(v.aval.dtype) for f, v in zip(varies, body.inputs, strict=True)]
    inexact = [is_inexact(v.aval.dtype) for v in body.inputs[:carries]]
    return [*(any(flags) and flag for flag in inexact), *flags[carries:]]


def _open_scan(e: Equation, args: tuple[Any, ...], varies: tuple[bool, ...]) -> _Opened | None:
    body, carries, length = e.attrs["body"], e.attrs["carries"], e.attrs["length"]
    if length > LONGEST:
        return None
    end = carries + e.attrs["rows"]
    xs, constants = args[carries:end], args[end:]
    flags = _moving(body, carries, varies)
    carry = list(args[:carries])
    given = (*(None,) * end, *e.inputs[end:])
    inner = []
    for i in reversed(range(length)) if e.attrs["reverse"] else range(length):
        run = Run(body, [*carry, *(x[i] for x in xs), *constants], flags)
        carry = run.outputs[:carries]
        inner.append(Inner("body", i, run, given))

    def sweep(cotangents: Sequence[Any], safe: bool) -> None:
        cts, rows = list(cotangents[:carries]), cotangents[carries:]
        for _, i, run, _ in reversed(inner):
            found = run.back([*cts, *(None if ct is None else ct[i] for ct in rows)], safe)
            cts = found[:carries]

    return _Opened(tuple(inner), sweep)


def _open_while(e: Equation, args: tuple[Any, ...], varies: tuple[bool, ...]) -> _Opened | None:
    cond, body, carries = e.attrs["cond"], e.attrs["body"], e.attrs["carries"]
    middle = len(cond.inputs)
    carry, first, second = list(args[:carries]), args[carries:middle], args[middle:]
    flags = _moving(body, carries, [*varies[:carries], *varies[middle:]])
    moving = (None,) * carries
    givens = (*moving, *e.inputs[carries:middle]), (*moving, *e.inputs[middle:])
    inner: list[Inner] = []
    count = 0
    while True:
        test = Run(cond, [*carry, *first], [False] * middle)
        inner.append(Inner("cond", count, test, givens[0]))
        if not test.outputs[0]:
            break
        if count == LONGEST:
            return None
        run = Run(body, [*carry, *second], flags)
        inner.append(Inner("body", count, run, givens[1]))
        carry = run.outputs
        count += 1

    def sweep(cotangents: Sequence[Any], safe: bool) -> None:
        cts = list(cotangents)
        for name, _, run, _ in reversed(inner):
            if name == "body":
                cts = run.back(cts, safe)[:carries]

    return _Opened(tuple(inner), sweep)


_OPEN: dict[str, Callable[..., _Opened | None]] = {
    "jit_call": _open_jit,
    "scan": _open_scan,
    "switch": _open_switch,
    "while": _open_while,
}


# --- functions ------------------------------------------------------------------------------------


class Leaf(NamedTuple):
    """An input of a recorded function: a leaf of its arguments.

    Attributes:
      name: What tables call it: dense.w.
      path: Where it stands in the arguments: params['dense']['w'].
      var: Its variable.
      value: What it was.
      gradient: None if it is no floating-point array.
    """

    name: str
    path: str
    var: Var
    value: Any
    gradient: Any


@dataclass(frozen=True, slots=True)
class Recording:
    """A function that was run on arguments and differentiated.

    Attributes:
      name: Of the function.
      run: What happened.
      leaves: Its inputs with their gradients.
      structure: Of its result.
    """

    name: str
    run: Run
    leaves: tuple[Leaf, ...]
    structure: Any = field(repr=False)


def record(
    fun: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], cotangents: Any = None
) -> Recording:
    """Run a function forwards and backwards, and keep all numbers.

    Args:
      fun: A function of arrays (pytrees).
      args: Its arguments; every floating-point leaf is differentiated.
      kwargs: Likewise.
      cotangents: Of the result, like the result. None: 1 for every floating-point element, so that
        the sum of the result is differentiated.

    Raises:
      TangentMismatchError: The cotangents do not match the result.
    """
    leaves = tree.leaves((args, kwargs))
    varies = [is_inexact(dtype_of(x)) for x in leaves]
    with np.errstate(all="ignore"):  # what is not finite is shown
        named = named_run(fun, *args, **kwargs)
        run = Run(named.graph, leaves, varies)
    if cotangents is None:
        seeds = [_one(y) if is_inexact(dtype_of(y)) else None for y in run.outputs]
    else:
        seeds = check_like(cotangents, run.outputs, named.structure, "the cotangent", "the output")
    with np.errstate(all="ignore"):
        found = run.back(seeds, safe=False)
        if not all_finite(found):
            marked = _unmarked(seeds)
            found = list(map(finite_or, run.back(marked, safe=True), found))
            run.unmark()
    seen = {id(ct) for ct in seeds}
    inputs = tuple(
        Leaf(name, path, v, x, gradient_of(x, ct, seen) if flag else None)
        for name, path, v, x, ct, flag in zip(
            _short_names(named.inputs),
            named.inputs,
            named.graph.inputs,
            leaves,
            found,
            varies,
            strict=True,
        )
    )
    return Recording(name_of(fun), run, inputs, named.structure)


def _short_names(paths: Sequence[str]) -> list[str]:
    """Return what tables call the leaves of arguments: params['dense']['w'] is dense.w.

    Other containers than dicts, and names that would be the same, stay as they are.
    """
    short = [_KEYS.sub(lambda found: f".{found[1]}", path) for path in paths]
    short = [s.partition(".")[2] if "." in s and "[" not in s else s for s in short]
    return [s if short.count(s) == 1 else path for s, path in zip(short, paths, strict=True)]


def _one(y: Any) -> Any:
    """Return ones like a value, as `grad` begins with."""
    return np.ones_like(y)[()]

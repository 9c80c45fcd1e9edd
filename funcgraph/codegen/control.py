"""Loops, branches and calls as Python statements over functions of the program.

May import `core`, `engines.numpy`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from funcgraph.codegen.lanes import in_lanes, zeros_text
from funcgraph.codegen.names import has_word
from funcgraph.core.calls import CALLS, OneOf, WayBack
from funcgraph.core.graph import Atom, Equation, Graph, Var
from funcgraph.core.origin import BACKWARD
from funcgraph.engines.numpy.expressions import is_strong
from funcgraph.engines.numpy.literals import dtype_text, made_text
from funcgraph.errors import FuncgraphError, NoSourceError

if TYPE_CHECKING:
    from funcgraph.codegen.body import Body

__all__ = ["CONTROL"]


def _arrays(body: Body, atoms: Sequence[Atom], inputs: Sequence[Var], once: int = 0) -> list[str]:
    """Return arguments as the inputs of graphs want them: numbers of Python as NumPy's.

    The first `once` are written once, and may be expressions; the others are names.
    """
    texts = [str(body.piece(a)) if k < once else body.text(a) for k, a in enumerate(atoms)]
    return [
        x if is_strong(a) or v.aval.weak is not None else f"{dtype_text(v.aval.dtype)}({x})"
        for x, a, v in zip(texts, atoms, inputs, strict=False)
    ]


def _called(
    body: Body,
    e: Equation,
    graph: Graph,
    name: str,
    args: Sequence[str],
    words: Sequence[str] | None = None,
) -> str:
    """Return the call of a graph as a function; its parameters are named after the arguments."""
    if e.scope.split("/")[0] == BACKWARD and e.primitive.name != "eager_call":
        name = f"{name}_back"
    function = body.program.function(graph, name, args if words is None else words, e.line)
    return f"{function}({', '.join(args)})"


def _assigned(outs: list[str], call: str) -> list[str]:
    """Return the line that calls a function of the program: one result comes as it is."""
    return [f"{', '.join(outs)} = {call}"] if outs else ["pass"]


def _inside(lines: list[str]) -> list[str]:
    return ["    " + line for line in lines]


# --- calls ----------------------------------------------------------------------------------------


def _jit_call(body: Body, e: Equation) -> list[str]:
    args = [body.text(a) for a in e.inputs]
    call = _called(body, e, e.attrs["graph"], "compiled", args)
    return _assigned([body.name(v, e) for v in e.outputs], call)


def _custom_call(body: Body, e: Equation) -> list[str]:
    rules, args = e.attrs["rules"], [body.text(a) for a in e.inputs]
    try:
        (found,) = CALLS["custom_call"](e)
    except FuncgraphError as error:
        raise NoSourceError(str(error)) from None
    if len(found.graph.inputs) != len(args):
        raise NoSourceError(
            f"{rules.name} closes over values that a transformation traces: pass them as arguments."
        )
    call = _called(body, e, found.graph, rules.name, args)
    return _assigned([body.name(v, e) for v in e.outputs], call)


def _jax_call(body: Body, e: Equation) -> list[str]:
    raise NoSourceError(
        "it is a function written with JAX (from_jax). Write it with NumPy or funcgraph.numpy."
    )


# --- loops ----------------------------------------------------------------------------------------


def _scan(body: Body, e: Equation) -> list[str]:
    attrs, graph = e.attrs, e.attrs["body"]
    carries, rows = attrs["carries"], attrs["rows"]
    args = _arrays(body, e.inputs, graph.inputs, carries)
    carry, i = _carry_names(body, e, graph, carries), body.names.fresh("i")
    xs = [f"{x}[{i}]" for x in args[carries : carries + rows]]
    call = _called(body, e, graph, "step", [*carry, *xs, *args[carries + rows :]])
    ys = [
        body.name(v, e, f"all_{one}" if one.isidentifier() and has_word(one) else "saved")
        for v, one in zip(e.outputs[carries:], body.program.results(graph)[carries:], strict=True)
    ]
    lines = [f"{name} = {x}" for name, x in zip(carry, args, strict=False)]
    for v, y in zip(e.outputs[carries:], ys, strict=True):
        lines.append(f"{y} = {made_text('empty', v.aval.shape, v.aval.dtype)}")
    numbers = f"range({attrs['length']})"
    lines.append(f"for {i} in {f'reversed({numbers})' if attrs['reverse'] else numbers}:")
    return lines + _inside(_assigned([*carry, *(f"{y}[{i}]" for y in ys)], call))


def _carry_names(body: Body, e: Equation, graph: Graph, n: int) -> list[str]:
    """Return names of a loop's n carries: the user's, or the step's."""
    inside = [v.name if isinstance(v, Var) else "" for v in graph.outputs]
    return [
        body.name(v, e, inner.name or word)
        for v, inner, word in zip(e.outputs[:n], graph.inputs, inside, strict=False)
    ]


def _while(body: Body, e: Equation) -> list[str]:
    cond, graph, n = e.attrs["cond"], e.attrs["body"], e.attrs["carries"]
    lanes = e.attrs.get("lanes")
    args = _arrays(body, e.inputs, (*cond.inputs, *graph.inputs[n:]), 0 if lanes else n)
    outs = _carry_names(body, e, graph, n)

    def loop(outs: list[str], args: list[str]) -> list[str]:
        middle = len(cond.inputs)
        lines = [f"{name} = {x}" for name, x in zip(outs, args, strict=False)]
        lines.append(f"while {_called(body, e, cond, 'goes_on', [*outs, *args[n:middle]])}:")
        call = _called(body, e, graph, "step", [*outs, *args[middle:]])
        return lines + _inside(_assigned(outs, call))

    return in_lanes(body, e, lanes, outs, args, loop) if lanes else loop(outs, args)


# --- branches -------------------------------------------------------------------------------------


def _switch(body: Body, e: Equation) -> list[str]:
    branches, lanes = e.attrs["branches"], e.attrs.get("lanes")
    condition = body.condition(e.inputs[0]) if len(branches) == 2 and not lanes else ""
    number = condition or body.text(e.inputs[0])
    args = [number, *_arrays(body, e.inputs[1:], branches[0].inputs)]
    outs = [body.name(v, e) for v in e.outputs]

    def choice(outs: list[str], args: list[str]) -> list[str]:
        return _choice(body, e, branches, bool(condition), outs, args)

    return in_lanes(body, e, lanes, outs, args, choice) if lanes else choice(outs, args)


def _choice(
    body: Body,
    e: Equation,
    branches: Sequence[Graph],
    is_condition: bool,
    outs: list[str],
    args: list[str],
) -> list[str]:
    number, *operands = args

    def call(k: int, name: str) -> list[str]:
        return _inside(_assigned(outs, _called(body, e, branches[k], name, operands)))

    if len(branches) == 1:
        return [line.strip() for line in call(0, "branch")]
    if is_condition:
        return [f"if {number}:", *call(1, "if_true"), "else:", *call(0, "if_false")]
    lines: list[str] = []
    for k in range(len(branches)):
        word = f"{'elif' if k else 'if'} {number} == {k}" if k < len(branches) - 1 else "else"
        lines += [f"{word}:", *call(k, f"branch_{k}")]
    return lines


# --- the way back over loops and branches that follow the data ------------------------------------


def _eager_call(body: Body, e: Equation) -> list[str]:
    fun = e.attrs["fun"]
    written = fun.written() if hasattr(fun, "written") else None
    if written is None:
        raise NoSourceError(
            "it differentiates a loop, whose number of steps is not known, more than once. Use "
            "scan, or fori_loop with a fixed number of steps."
        )
    steps, *lanes = written
    args = [body.text(a) for a in e.inputs]
    given = [k for k, flag in enumerate(fun.varying) if flag]
    outs = [body.name(v, e, f"d_{args[k]}") for v, k in zip(e.outputs, given, strict=True)]

    def one(outs: list[str], args: list[str]) -> list[str]:
        if isinstance(steps, OneOf):
            return _choice(body, e, steps.branches, False, outs, args)
        return _way_back(body, e, steps, outs, args)

    return in_lanes(body, e, lanes, outs, args, one, given) if lanes[0] else one(outs, args)


def _way_back(body: Body, e: Equation, w: WayBack, outs: list[str], args: list[str]) -> list[str]:
    """Return a loop that keeps what each step needs for the way back, and the loop back."""
    middle = len(w.cond.inputs)
    end = middle + len(w.forth.inputs) - w.carries
    first, second, cts = args[w.carries : middle], args[middle:end], args[end:]
    fresh = body.names.fresh
    carry = [fresh(v.name or "t") for v in w.forth.inputs[: w.carries]]
    kept = [v.name if isinstance(v, Var) and v.name else "t" for v in w.forth.outputs[w.carries :]]
    saved, row = fresh("saved"), fresh("kept")
    lines = [*(f"{c} = {x}" for c, x in zip(carry, args, strict=False)), f"{saved} = []"]
    lines.append(f"while {_called(body, e, w.cond, 'goes_on', [*carry, *first])}:")
    targets = [*carry, f"*{row}"] if kept else carry
    step = _called(body, e, w.forth, "step_forth", [*carry, *second])
    lines += _inside([*_assigned(targets, step), f"{saved}.append({row if kept else '()'})"])
    found = iter(outs)
    moving = [next(found) if asked else fresh("d_t") for asked in w.results]
    zeros = [zeros_text(v.aval) for v in w.back.inputs[w.moving : len(w.results)]]
    lines += [f"{d} = {x}" for d, x in zip(moving, [*cts, *zeros], strict=True)]
    given = [*moving, *([f"*{row}"] if kept else []), *second]
    back = _called(body, e, w.back, "step_back", given, [*moving, *kept, *second])
    return [*lines, f"for {row} in reversed({saved}):", *_inside(_assigned(moving, back))]


CONTROL: dict[str, Callable[[Any, Equation], list[str]]] = {
    "scan": _scan,
    "while": _while,
    "switch": _switch,
    "eager_call": _eager_call,
    "jit_call": _jit_call,
    "custom_call": _custom_call,
    "jax_call": _jax_call,
}

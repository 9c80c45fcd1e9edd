"""Reverse mode for users: `grad`, `value_and_grad`, `vjp`.

May import `core`, `ops`, `tree`, `transforms.tape`, `transforms.arguments`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec

import numpy as np

from funcgraph import tree
from funcgraph.core.aval import dtype_of, is_inexact, shape_of
from funcgraph.core.trace import KIND, NUMPY
from funcgraph.errors import NonScalarOutputError
from funcgraph.ops.strong import finite_or, seeding
from funcgraph.transforms.arguments import (
    check_leaf,
    check_like,
    gradient_of,
    name_of,
    parted,
    run,
    select,
    snapshot,
    substitute,
)
from funcgraph.transforms.disconnected import report
from funcgraph.transforms.held import Held, check_held, note
from funcgraph.transforms.inspection import inspection
from funcgraph.transforms.named_tape import new_tape
from funcgraph.transforms.nans import explain_cotangents
from funcgraph.transforms.stage import are_finite, staged_safe
from funcgraph.transforms.tape import Tape, TapeTracer, backward

__all__ = ["grad", "leaf_name", "record", "value_and_grad", "vjp"]

P = ParamSpec("P")


def watch(chosen: Any, name: str, allow_int: bool, holomorphic: bool) -> Any:
    """Return a new tape, and leaves, structure and traced copy of the arguments to differentiate.

    A leaf that may not vary (an integer, with allow_int) stays as it is, on a slot of its own.
    """
    now = inspection.get()
    tape = new_tape() if now is None else now.inspector.tape()
    leaves, structure = tree.flatten(snapshot(chosen))
    traced = []
    for k, leaf in enumerate(leaves):
        where = lambda k=k: leaf_name(name, chosen, k)  # noqa: E731
        leaf = leaves[k] = check_leaf(leaf, where, allow_int, holomorphic, name)
        tracer = tape.watch(leaf if now is None else now.inspector.enter(leaf, where))
        traced.append(tracer if is_inexact(dtype_of(leaf)) else leaf)
    return tape, leaves, structure, tree.unflatten(structure, traced)


def leaf_name(name: str, chosen: Any, k: int) -> str:
    """Return how an error message calls the k-th leaf of the arguments."""
    path = tree.keystr(tree.leaves_with_path(chosen)[k][0])
    return f"the argument of {name}" + (f" at {path}" if path else "")


def strip(tape: Tape, x: Any) -> Any:
    """Return a pytree with the tracers of this tape replaced by their values."""
    return tree.map(functools.partial(_value, tape), x)


def _value(tape: Tape, x: Any) -> Any:
    return x.value if type(x) is TapeTracer and x._trace is tape else x


class Recording(NamedTuple):
    """A function's run on a tape: what a pullback or pushforward needs to know of it."""

    leaves: list[Any]  # of the primals
    inputs: Any  # their structure
    entries: list[Any]  # the tape
    values: list[Any]  # leaves of the output
    outputs: Any  # their structure
    slots: list[int | None]  # where they stand on the tape; None: constant
    held: Held  # arrays that must not have been written until the tape is read
    aux: Any


def record(
    fun: Callable[..., Any], primals: tuple[Any, ...], what: str, has_aux: bool
) -> Recording:
    """Run a function of the primals on a tape."""
    name = f"{what} of {name_of(fun)}"
    tape, leaves, inputs, traced = watch(primals, name, True, False)
    try:
        out = run(fun, traced, {})
    finally:
        entries = tape.end()
    aux = None
    if has_aux:
        out, aux = parted(out, name)
        aux = strip(tape, aux)
    outs, outputs = tree.flatten(out)
    slots = [o.index if type(o) is TapeTracer and o._trace is tape else None for o in outs]
    values = [_value(tape, o) for o in outs]
    note(leaves, tape.held)  # the user goes on before the tape is read
    return Recording(leaves, inputs, entries, values, outputs, slots, tape.held, aux)


def _sweep(entries: list[Any], seeds: list[tuple[int, Any]], count: int) -> list[Any]:
    """Run the backward pass; once more with strong zeros where a gradient is not finite.

    That is why the sweep leaves the tape as it is.
    """
    with np.errstate(all="ignore"):
        cts = backward(entries, seeds, count, safe=False)
        if staged_safe() or not are_finite(cts):
            marked = [(slot, seeding.get()(ct)) for slot, ct in seeds]
            strong = backward(entries, marked, count, safe=True)
            cts = list(map(finite_or, strong, cts))
            explain_cotangents(entries, marked, cts)
    return cts


class _Lost(NamedTuple):
    """A call of a function after whose sweep some leaves have no cotangent."""

    fun: Callable[..., Any]
    argnums: int | tuple[int, ...]
    args: tuple[Any, ...]
    kwargs: Any
    has_aux: bool
    leaves: list[Any]
    structure: Any

    def run_again(self, leaves: list[Any]) -> Any:
        """Return the output for other leaves."""
        chosen = tree.unflatten(self.structure, leaves)
        out = run(self.fun, substitute(self.argnums, self.args, chosen), self.kwargs)
        return out[0] if self.has_aux else out

    def report(self, cts: list[Any], where: Callable[[int], str], strict: bool) -> None:
        """Warn of leaves that are cut off; raise, if strict, for all that have no cotangent."""
        pairs = enumerate(zip(cts, self.leaves, strict=True))
        lost = [k for k, (ct, x) in pairs if ct is None and is_inexact(dtype_of(x))]
        report(self.fun, self.run_again, self.leaves, lost, where, strict)


def _check_scalar(name: str, out: Any, holomorphic: bool) -> None:
    shape = shape_of(out) if _is_number(out) else None
    if shape != ():
        got = f"an array of shape {shape}" if shape is not None else f"a {type(out).__name__}"
        raise NonScalarOutputError(
            f"{name} needs a function that returns a scalar, but it returned {got}. Reduce it "
            "(np.sum, np.mean), return extra values with has_aux=True, or use vjp."
        )
    dtype = dtype_of(out)
    if holomorphic and dtype.kind != "c":
        raise NonScalarOutputError(
            f"{name} with holomorphic=True needs a complex output, but its dtype is {dtype}."
        )
    if not holomorphic and not is_inexact(dtype):
        raise NonScalarOutputError(
            f"{name} needs a floating-point output, but its dtype is {dtype}: a derivative "
            "is lost when a value is rounded or converted to an integer."
        )
    if not holomorphic and dtype.kind == "c":
        raise NonScalarOutputError(
            f"{name} needs a real output, but its dtype is {dtype}. Take the real part or the "
            "modulus of the output, or, if the function is holomorphic, pass holomorphic=True."
        )


def _is_number(x: Any) -> bool:
    numbers = (np.ndarray, np.generic, float, complex, int)
    return KIND[type(x)] != NUMPY or isinstance(x, numbers)


def value_and_grad(
    fun: Callable[P, Any],
    argnums: int | tuple[int, ...] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    *,
    strict: bool = False,
) -> Callable[P, tuple[Any, Any]]:
    """Return a function that computes the value of `fun` and its gradient in one pass.

    (f(x), ∂f/∂x), by one forward and one backward sweep.

    Args:
      fun: Returns a scalar (shape ()) of real floating dtype; its arguments are pytrees of arrays.
      argnums: Position, or tuple of positions, of the arguments to differentiate.
      has_aux: Whether fun returns (scalar, aux); aux is any pytree, returned beside the value.
      holomorphic: Whether fun is complex-differentiable; then inputs and output are complex.
      allow_int: Whether integer leaves are allowed; their gradient is a float0 zero.
      strict: Whether to raise if the output does not depend on a leaf, or only through operations
        without derivative (rounding, comparisons, conversions to integers, stop_gradient). If not,
        the gradient is zero; of leaves that are cut off in this way a GradientDisconnected warns,
        once for each function. To find out, fun is run once more.

    Returns:
      A function of the same arguments that returns (value, gradient), or ((value, aux), gradient).
      The gradient has the structure, types, shapes and dtypes of the differentiated arguments (a
      tuple of them if argnums is a tuple). For complex arguments z = x + iy it is
      ∂f/∂x - i ∂f/∂y, as in JAX.

    Raises:
      NonScalarOutputError: The output is not a real scalar.
      GradientDtypeError: A leaf has no derivative (integer, bool, string).
      DisconnectedGradientError: strict, and a leaf has no path with derivatives to the output.
      ValueError: argnums is out of range.

    Example:
      >>> import numpy as np
      >>> value_and_grad(lambda w, x: np.sum(w * x**2))(2.0, np.array([1.0, 3.0]))
      (np.float64(20.0), 10.0)

    Source:
      Griewank and Walther, "Evaluating Derivatives", 2nd ed., 2008, section 3.2.
    """
    name = f"grad of {name_of(fun)}"

    @functools.wraps(fun)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> tuple[Any, Any]:
        now = inspection.get()
        if now is not None and not now.inside:
            # Not `wrapped`, which would refer to itself: a cycle for each function that is made.
            again = value_and_grad(fun, argnums, has_aux, holomorphic, allow_int, strict=strict)
            return now.inspector.call(again, *args, **kwargs)  # type: ignore[no-any-return]
        chosen = select(argnums, args)
        tape, leaves, structure, traced = watch(chosen, name, allow_int, holomorphic)
        try:
            out: Any = run(fun, substitute(argnums, args, traced), kwargs)
        finally:
            entries, held = tape.end(), tape.held
        if has_aux:
            out, aux = parted(out, name)
        _check_scalar(name, out, holomorphic)
        if type(out) is TapeTracer and out._trace is tape:
            value = out.value
            seed = dtype_of(value).type(1)
            check_held(held)
            cts = _sweep(entries, [(out.index, seed)], len(leaves))
        else:
            value, cts = out, [None] * len(leaves)
        seen: set[int | None] = set()
        grads = [gradient_of(x, ct, seen) for x, ct in zip(leaves, cts, strict=True)]
        if None in seen:
            lost = _Lost(fun, argnums, args, kwargs, has_aux, leaves, structure)
            lost.report(cts, functools.partial(leaf_name, name, chosen), strict)
        gradient = tree.unflatten(structure, grads)
        return ((value, strip(tape, aux)), gradient) if has_aux else (value, gradient)

    return wrapped


def grad(
    fun: Callable[P, Any],
    argnums: int | tuple[int, ...] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    *,
    strict: bool = False,
) -> Callable[P, Any]:
    """Return a function that computes the gradient of `fun`.

    ∂f/∂x, by one forward and one backward sweep.

    Args:
      fun: Returns a scalar (shape ()) of real floating dtype; its arguments are pytrees of arrays.
      argnums: Position, or tuple of positions, of the arguments to differentiate.
      has_aux: Whether fun returns (scalar, aux); then the result is (gradient, aux).
      holomorphic: Whether fun is complex-differentiable; then inputs and output are complex.
      allow_int: Whether integer leaves are allowed; their gradient is a float0 zero.
      strict: Whether to raise if the output does not depend on a leaf, or only through operations
        without derivative (rounding, comparisons, conversions to integers, stop_gradient). If not,
        the gradient is zero; of leaves that are cut off in this way a GradientDisconnected warns,
        once for each function. To find out, fun is run once more.

    Returns:
      A function of the same arguments that returns the gradient, with the structure, types, shapes
      and dtypes of the differentiated arguments.

    Raises:
      NonScalarOutputError: The output is not a real scalar.
      GradientDtypeError: A leaf has no derivative (integer, bool, string).
      DisconnectedGradientError: strict, and a leaf has no path with derivatives to the output.
      ValueError: argnums is out of range.

    Example:
      >>> import numpy as np
      >>> grad(np.tanh)(0.0)
      1.0
      >>> grad(grad(lambda x: x**3))(2.0)
      12.0

    Source:
      Griewank and Walther, "Evaluating Derivatives", 2nd ed., 2008, section 3.2.
    """
    both = value_and_grad(fun, argnums, has_aux, holomorphic, allow_int, strict=strict)

    @functools.wraps(fun)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Any:
        value, gradient = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return wrapped


def vjp(fun: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """Compute the value of `fun` and its pullback (vector-Jacobian product).

    v ↦ vᵀ ∂f/∂x, for every output cotangent v.

    Args:
      fun: A function of the primals; it may return any pytree of arrays.
      *primals: The arguments, pytrees of floating-point arrays.
      has_aux: Whether fun returns (output, aux).

    Returns:
      (output, pullback), or (output, pullback, aux). pullback(cotangent) takes a pytree like the
      output (same shapes and dtypes) and returns a tuple with one cotangent for each primal; it
      may be called any number of times.

    Raises:
      GradientDtypeError: A leaf of the primals has no derivative.
      TangentMismatchError: The cotangent does not match the output.

    Example:
      >>> import numpy as np
      >>> y, pullback = vjp(lambda x: 2 * x, np.array([1.0, 2.0]))
      >>> y, pullback(np.array([1.0, 10.0]))
      (array([2., 4.]), (array([ 2., 20.]),))

    Source:
      Griewank and Walther, "Evaluating Derivatives", 2nd ed., 2008, section 3.2.
    """
    now = inspection.get()
    if now is not None and not now.inside:
        return now.inspector.call(vjp, fun, *primals, has_aux=has_aux)
    r = record(fun, primals, "vjp", has_aux)

    def pullback(cotangent: Any) -> tuple[Any, ...]:
        given = check_like(cotangent, r.values, r.outputs, "the cotangent", "the output")
        pairs = zip(r.slots, given, strict=True)
        seeds = [(slot, ct) for slot, ct in pairs if slot is not None and ct is not None]
        seen: set[int | None] = {id(ct) for ct in given}
        check_held(r.held)
        cts = _sweep(r.entries, seeds, len(r.leaves))
        grads = [gradient_of(x, ct, seen) for x, ct in zip(r.leaves, cts, strict=True)]
        return tree.unflatten(r.inputs, grads)  # type: ignore[no-any-return]

    value = tree.unflatten(r.outputs, r.values)
    pullback = pullback if now is None else now.inspector.bound(pullback)
    return (value, pullback, r.aux) if has_aux else (value, pullback)

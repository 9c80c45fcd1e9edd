"""Checks and conversions at the border between user functions and traces.

Which arguments are differentiated (`argnums`), which leaves can be, and how a cotangent becomes a
gradient with the type of its primal. May import `core`, `ops`, `tree`,
`transforms.inspection`.
"""

from __future__ import annotations

import cmath
import functools
import inspect
import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from funcgraph import tree
from funcgraph.core.aval import aval_of, dtype_of, is_inexact, shape_of
from funcgraph.core.jaxlink import jax_name
from funcgraph.core.trace import JAX, KIND, NUMPY, TRACER
from funcgraph.errors import (
    GradientDtypeError,
    InPlaceWriteError,
    TangentMismatchError,
    TracerConversionError,
)
from funcgraph.ops.buffers import Scope, frozen, released, scope
from funcgraph.ops.structural import cast, fit
from funcgraph.transforms.inspection import Inspected

__all__ = [
    "all_finite",
    "are_plain",
    "check_leaf",
    "check_like",
    "float0",
    "gradient_of",
    "name_of",
    "parted",
    "positions",
    "run",
    "select",
    "snapshot",
    "static_set",
    "substitute",
]

# The dtype, shared with JAX, of the gradient of an integer: it has no elements worth reading.
float0 = np.dtype([("float0", np.void, 0)])


def run(fun: Any, args: Any, kwargs: Any) -> Any:
    """Call the user's function on tracers.

    `buffer[i] = tracer` makes NumPy replace our error by a ValueError about sequences; it is
    turned back into one that says what happened. Arrays that can be written never leave the
    function: its result has their contents.
    """
    here = Scope()
    token = scope.set(here)
    try:
        out = fun(*args, **kwargs)
        return tree.map(released, out) if here.made else out
    except ValueError as error:
        if not isinstance(error.__cause__, TracerConversionError):
            raise
        raise InPlaceWriteError(
            "a traced value was written into a plain NumPy array (`buffer[i] = x`), which would "
            "cut the gradient. Make the array with np.zeros_like(x) of a traced x, with "
            "funcgraph.numpy.zeros(...), or with funcgraph.numpy.copy(buffer): it can be written. "
            "Or collect the values in a list and use np.stack, or write "
            "`buffer = funcgraph.at(buffer)[i].set(x)`.",
            error.__cause__.line,
        ) from None
    finally:
        scope.reset(token)


def snapshot(x: Any) -> Any:
    """Return a pytree as a transformation takes it in: of arrays that can be written, the contents.

    What is written into them later does not change what the transformation has seen.
    """
    here = scope.get()
    return tree.map(frozen, x) if here is not None and here.made else x


def name_of(fun: Any) -> str:
    """Return how messages call a function."""
    return getattr(fun, "__name__", None) or repr(fun)


def positions(argnums: int | tuple[int, ...], count: int) -> tuple[int, ...]:
    """Return argnums as non-negative positions among `count` positional arguments."""
    numbers = argnums if isinstance(argnums, (tuple, list)) else (argnums,)
    out = []
    for n in numbers:
        if isinstance(n, bool) or not hasattr(n, "__index__"):
            raise TypeError(f"argnums must be an int or a tuple of ints, got {argnums!r}")
        if not -count <= n < count:
            raise ValueError(
                f"argnums={argnums!r} asks for the derivative by positional argument {n}, but the "
                f"function was called with {count} positional argument(s). Pass the arguments to "
                "differentiate by position, not by keyword."
            )
        out.append(n % count)
    if len({*out}) < len(out):
        raise ValueError(f"argnums={argnums!r} names an argument twice.")
    return tuple(out)


def parted(out: Any, name: str) -> tuple[Any, Any]:
    """Return (output, aux) of a function called with has_aux=True."""
    if not isinstance(out, (tuple, list)) or len(out) != 2:
        one = (
            f"an array of shape {out.shape}" if hasattr(out, "shape") else f"a {type(out).__name__}"
        )
        got = f"{len(out)} values" if isinstance(out, (tuple, list)) else one
        raise TypeError(
            f"{name} with has_aux=True needs a function that returns a pair (output, aux), but it "
            f"returned {got}."
        )
    return out[0], out[1]


def select(argnums: int | tuple[int, ...], args: tuple[Any, ...]) -> Any:
    """Return the argument (int) or the tuple of arguments (tuple) to differentiate."""
    if type(argnums) is int and 0 <= argnums < len(args):
        return args[argnums]
    numbers = positions(argnums, len(args))
    chosen = tuple(args[n] for n in numbers)
    return chosen if isinstance(argnums, (tuple, list)) else chosen[0]


def substitute(argnums: int | tuple[int, ...], args: tuple[Any, ...], new: Any) -> tuple[Any, ...]:
    """Return args with the differentiated arguments, which `select` has found, replaced."""
    if type(argnums) is int and argnums >= 0:
        return (*args[:argnums], new, *args[argnums + 1 :])
    out = list(args)
    values = new if isinstance(argnums, (tuple, list)) else (new,)
    for n, value in zip(positions(argnums, len(args)), values, strict=True):
        out[n] = value
    return tuple(out)


def check_leaf(x: Any, where: Any, allow_int: bool, holomorphic: bool, what: str) -> Any:
    """Return a leaf as it will be traced; raise GradientDtypeError if it cannot be.

    A Python int counts as a float: `grad(np.tanh)(2)`.
    """
    cls = type(x)
    if cls is int and not holomorphic:
        return x if allow_int else float(x)
    if KIND[cls] == NUMPY and not isinstance(x, (np.ndarray, np.generic, float, complex, int)):
        raise GradientDtypeError(
            f"{where()} is a {cls.__name__} ({_short(x)}), which has no derivative. {what} "
            "differentiates floating-point arrays and numbers: pass this leaf through another "
            "argument, or put it into the function's closure."
        )
    dtype = dtype_of(x)
    if holomorphic:
        if dtype.kind != "c":
            raise GradientDtypeError(
                f"{where()} has dtype {dtype}, but holomorphic=True needs complex inputs: use "
                "x.astype(complex)."
            )
    elif not is_inexact(dtype) and not (allow_int and dtype.kind in "biu"):
        raise GradientDtypeError(
            f"{where()} has dtype {dtype}, which has no derivative. Convert it with "
            ".astype(float), keep it out of the differentiated arguments (argnums=), or pass "
            "allow_int=True to get a float0 zero for it."
        )
    return x


def _short(x: Any) -> str:
    text = repr(x)
    return text if len(text) < 40 else text[:37] + "..."


def all_finite(cts: list[Any]) -> bool:
    """Return whether all cotangents (None: zero) are finite; what cannot be known counts as so."""
    for ct in cts:  # noqa: SIM110  (a generator costs as much as the look at a small array)
        if ct is not None and not _finite(ct):
            return False
    return True


def _finite(x: Any) -> bool:
    cls = type(x)
    if cls is np.ndarray:
        flat = x if x.ndim == 1 else x.reshape(-1)
        # One pass of the BLAS tells, unless the sum of squares overflows; that is looked into.
        return cmath.isfinite(flat.dot(flat)) or bool(np.isfinite(x).all())
    if cls is np.float64 or cls is float:
        return math.isfinite(x)
    kind = KIND[cls]
    if kind == TRACER:  # a staged tracer has no value
        return _finite(x.value) if hasattr(x, "value") else True
    if kind == JAX:
        if isinstance(x, jax_name("jax.core.Tracer")):
            return True
        return bool(jax_name("jax.numpy.isfinite")(x).all())
    return bool(np.isfinite(x).all())


def are_plain(leaves: list[Any], backend: str) -> bool:
    """Return whether an engine can run on arguments as they are."""
    kinds = [KIND[type(x)] for x in leaves]
    if TRACER in kinds:
        return False
    if JAX not in kinds:
        return True
    tracer = jax_name("jax.core.Tracer")
    return backend == "xla" and not any(isinstance(x, tracer) for x in leaves)


def gradient_of(primal: Any, ct: Any, seen: set[Any]) -> Any:
    """Return a cotangent as the gradient of a primal: same type, shape, dtype, own memory.

    Args:
      primal: The leaf.
      ct: Its cotangent; None is zero.
      seen: Identities of arrays that were handed out already; extended, by None for zero.
    """
    cls = type(primal)
    if cls is type(ct) is np.float64:
        return ct
    if not is_inexact(dtype_of(primal)) and cls is not int:
        return np.zeros(shape_of(primal), float0)
    if ct is None:
        seen.add(None)
        ct = np.zeros(shape_of(primal), dtype_of(primal))
    if cls is np.ndarray:
        if type(ct) is not np.ndarray:
            if KIND[type(ct)] != NUMPY:
                return _inspected(primal, ct, seen)
            ct = np.asarray(ct)
        if ct.base is not None or not ct.flags.writeable or id(ct) in seen:
            ct = ct.copy()
        seen.add(id(ct))
        return ct
    if KIND[type(ct)] != NUMPY:
        return _inspected(primal, ct, seen)
    if cls is float or cls is int:
        return float(ct)
    if cls is complex:
        return complex(ct)
    if KIND[cls] == JAX:
        return jax_name("jax.numpy.asarray")(ct, dtype=primal.dtype)
    return ct if type(ct) is cls else dtype_of(primal).type(ct)


def _inspected(primal: Any, ct: Any, seen: set[Any]) -> Any:
    """Return a traced cotangent; if it holds a plain one under inspection, of the right type."""
    if not isinstance(ct, Inspected):
        return ct
    return ct.like(primal, lambda x, value: gradient_of(x, value, seen))


def check_like(given: Any, expected: list[Any], structure: Any, what: str, of: str) -> list[Any]:
    """Return the leaves of tangents or cotangents after comparing them with what they belong to.

    Args:
      given: The pytree that was passed.
      expected: Leaves (values or avals) it must match in shape and dtype.
      structure: The structure it must have.
      what: Name of what was given, for messages.
      of: Name of what it belongs to.
    """
    leaves, got = tree.flatten(snapshot(given))
    if got != structure:
        raise TangentMismatchError(
            f"{what} must have the structure of {of}: expected {structure}, got {got}."
        )

    def name(k: int) -> str:
        return what + tree.keystr(tree.leaves_with_path(given)[k][0])

    pairs = zip(leaves, expected, strict=True)
    return [
        ct if _alike(ct, x) else _check_pair(ct, x, functools.partial(name, k), of)
        for k, (ct, x) in enumerate(pairs)
    ]


def _alike(ct: Any, x: Any) -> bool:
    """Return whether two arrays have one shape and one floating dtype: the usual case, quickly."""
    both = type(ct) is type(x) is np.ndarray
    return both and x.dtype.kind in "fc" and ct.dtype is x.dtype and ct.shape == x.shape


def _check_pair(ct: Any, x: Any, name: Callable[[], str], of: str) -> Any:
    want, got = aval_of(x), aval_of(ct)
    if not is_inexact(want.dtype):
        if is_inexact(got.dtype):
            raise TangentMismatchError(
                f"{name()} has dtype {got.dtype}, but {of} has dtype {want.dtype} there, which has "
                f"no derivative: convert {of} to a float, or pass a zero of dtype float0."
            )
        return None  # the (float0) tangent space of an integer has no numbers
    if want.shape != got.shape:
        raise TangentMismatchError(
            f"{name()} has shape {got.shape}, but {of} has shape {want.shape} there."
        )
    if want.dtype == got.dtype:
        return ct
    safe = got.weak is not None or (isinstance(ct, np.generic) and want.weak is not None)
    if safe and (want.dtype.kind == "c" or got.dtype.kind != "c"):
        return fit(cast(ct, want.dtype), x)
    raise TangentMismatchError(
        f"{name()} has dtype {got.dtype}, but {of} has dtype {want.dtype} there. Convert it with "
        f".astype({want.dtype})."
    )


def static_set(fun: Any, argnums: Any, argnames: Any) -> frozenset[Any]:
    """Return positions and names of the static arguments, each in both forms where it has them."""
    given = argnums if isinstance(argnums, (tuple, list, set, frozenset)) else (argnums,)
    if not all(hasattr(n, "__index__") for n in given):
        raise TypeError(f"static_argnums must be an int or a tuple of ints, got {argnums!r}.")
    numbers = {operator.index(n) for n in given}
    names = {argnames} if isinstance(argnames, str) else set(argnames)
    if not numbers and not names:
        return frozenset()
    try:
        parameters = list(inspect.signature(fun).parameters.values())
    except (TypeError, ValueError):
        return frozenset(numbers | names)
    positional = [
        p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    unknown = names - {p.name for p in parameters}
    if unknown and not any(p.kind is p.VAR_KEYWORD for p in parameters):
        raise ValueError(f"{name_of(fun)} has no arguments {sorted(unknown)} (static_argnames).")
    beyond = [n for n in numbers if not -len(positional) <= n < len(positional)]
    if beyond and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        raise ValueError(
            f"static_argnums={argnums!r}, but {name_of(fun)} takes {len(positional)} positional "
            "argument(s)."
        )
    named = {positional[n] for n in numbers if -len(positional) <= n < len(positional)}
    places = {positional.index(n) for n in names if n in positional}
    return frozenset(numbers | names | named | places)

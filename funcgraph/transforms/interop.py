"""To JAX and back: `to_jax` and `from_jax`. JAX is looked up when they are called.

May import `core`, `tree`, `transforms`.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

from funcgraph import tree
from funcgraph.core.aval import Aval, aval_of, is_inexact
from funcgraph.core.jaxlink import jax_name
from funcgraph.core.primitive import General, Primitive
from funcgraph.core.trace import JAX, KIND, TRACER
from funcgraph.errors import DerivativeChoiceError, MissingPackageError
from funcgraph.transforms.arguments import run, snapshot
from funcgraph.transforms.programs import Program
from funcgraph.transforms.stage import stage_closed

__all__ = ["from_jax", "to_jax"]


def _need_jax(what: str) -> None:
    if importlib.util.find_spec("jax") is None:
        raise MissingPackageError(
            f"{what} needs JAX, which is not installed: pip install 'funcgraph[xla]'."
        )


def to_jax(fun: Callable[..., Any], derivative: str = "jax") -> Callable[..., Any]:
    """Return a function of JAX arrays that computes what `fun`, written with NumPy, does.

    So that jax.jit, jax.grad and jax.vmap take a function that calls `np.sin` and the like. (A
    function written with funcgraph.numpy needs no such help.)

    Args:
      fun: A function of arrays (pytrees) that does not branch on values.
      derivative: Whose rules JAX's transformations use: "jax", JAX's own, or "ours", in every mode
        and order, and for batches. Ours compile to faster code for convolutions and pooling on a
        CPU, and have the conventions of docs/conventions.md.

    Returns:
      A function of JAX arrays, or tracers of JAX, with results of the same kind.

    Raises:
      ConcretizationError: Python control flow in fun depends on values.
      DerivativeChoiceError: `derivative` is neither.
      MissingPackageError: JAX is not installed.

    Example:
      >>> import jax
      >>> import numpy as np
      >>> float(jax.jit(jax.grad(to_jax(lambda x: np.sum(np.sin(x) ** 2))))(0.0))
      0.0
      >>> f = to_jax(lambda x: np.sum(np.sin(x) ** 2), derivative="ours")
      >>> float(jax.jit(jax.grad(jax.grad(f)))(0.0))
      2.0
    """
    if derivative not in ("jax", "ours"):
        raise DerivativeChoiceError(
            f"derivative says whose rules JAX's transformations use: 'jax' or 'ours', got "
            f"{derivative!r}."
        )
    _need_jax("to_jax")

    @functools.wraps(fun)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = tree.flatten(snapshot((args, kwargs)))
        leaves = [jax_name("jax.numpy.asarray")(x) for x in leaves]
        found: Any = None

        def flat(*tracers: Any) -> list[Any]:
            nonlocal found
            new_args, new_kwargs = tree.unflatten(structure, tracers)
            outs, found = tree.flatten(run(fun, new_args, new_kwargs))
            return outs

        graph, closed = stage_closed(flat, [aval_of(x) for x in leaves])
        inputs = [jax_name("jax.numpy.asarray")(x) for x in (*leaves, *closed)]
        if derivative == "jax":
            outs = graph.run(*inputs)
        else:
            engine = importlib.import_module("funcgraph.engines.xla")
            outs = engine.call(Program(graph.output_avals, lambda: graph), *inputs)
        return tree.unflatten(found, [jax_name("jax.numpy.asarray")(y) for y in outs])

    return wrapped


# --- from JAX: arguments are leaves, the attribute is a function of leaves that returns a tuple ---


def _on_numpy(*args: Any, fun: Callable[..., Any]) -> tuple[Any, ...]:
    with jax_name("jax.enable_x64")(True):
        return tuple(np.asarray(y)[()] for y in _compiled(fun)(*args))


@functools.lru_cache(maxsize=256)
def _compiled(fun: Callable[..., Any]) -> Callable[..., Any]:
    return jax_name("jax.jit")(fun)  # type: ignore[no-any-return]


def _avals(*avals: Aval, fun: Callable[..., Any]) -> tuple[Aval, ...]:
    structs = [jax_name("jax.ShapeDtypeStruct")(a.shape, a.dtype) for a in avals]
    with jax_name("jax.enable_x64")(True):
        outs = jax_name("jax.eval_shape")(fun, *structs)
    return tuple(Aval(tuple(y.shape), np.dtype(y.dtype)) for y in outs)


def _restricted(fun: Any, args: Any, moving: tuple[bool, ...]) -> tuple[Any, list[Any]]:
    """Return fun as a function of the moving arguments alone, and these."""
    places = [k for k, flag in enumerate(moving) if flag]

    def restricted(*new: Any) -> Any:
        full = list(args)
        for k, x in zip(places, new, strict=True):
            full[k] = x
        return fun(*full)

    return restricted, [args[k] for k in places]


@functools.lru_cache(maxsize=256)
def _pushforward(fun: Callable[..., Any], moving: tuple[bool, ...]) -> Callable[..., Any]:
    """Return (*args, *tangents of the moving ones) -> output tangents, as a JAX function."""
    n = len(moving)

    def push(*values: Any) -> Any:
        f, primals = _restricted(fun, values[:n], moving)
        return jax_name("jax.jvp")(f, tuple(primals), tuple(values[n:]))[1]

    return push


@functools.lru_cache(maxsize=256)
def _pullback(fun: Callable[..., Any], moving: tuple[bool, ...]) -> Callable[..., Any]:
    """Return (*args, *cotangents) -> cotangents of the moving arguments, as a JAX function."""
    n = len(moving)

    def pull(*values: Any) -> Any:
        f, primals = _restricted(fun, values[:n], moving)
        return jax_name("jax.vjp")(f, *primals)[1](tuple(values[n:]))

    return pull


@functools.lru_cache(maxsize=256)
def _mapped(fun: Callable[..., Any], batched: tuple[bool, ...], size: int) -> Callable[..., Any]:
    in_axes = tuple(0 if b else None for b in batched)
    return jax_name("jax.vmap")(fun, in_axes, axis_size=size)  # type: ignore[no-any-return]


def _moving(args: Any) -> tuple[bool, ...]:
    return tuple(is_inexact(aval_of(x).dtype) for x in args)


def _jvp(tangents: Any, y: Any, *args: Any, fun: Callable[..., Any]) -> Any:
    moving = tuple(t is not None for t in tangents)
    dots = [t for t in tangents if t is not None]
    return _call(*args, *dots, fun=_pushforward(fun, moving))


def _vjp(g: Any, y: Any, *args: Any, fun: Callable[..., Any]) -> Any:
    moving = _moving(args)
    cts = iter(_call(*args, *g, fun=_pullback(fun, moving)))
    return tuple(next(cts) if flag else None for flag in moving)


def _batch(primitive: Any, size: int, args: Any, batched: Any, attrs: Any) -> Any:
    return _call(*args, fun=_mapped(attrs["fun"], tuple(batched), size))


_call: Primitive = Primitive(
    "jax_call",
    _on_numpy,
    lambda jax, *args, fun: tuple(fun(*args)),
    _avals,
    General(_jvp, _vjp),
    _batch,
    many=True,
)


def from_jax(fun: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of NumPy arrays that calls `fun`, written with JAX.

    It can be differentiated, mapped and compiled like any other; its derivatives and batches are
    JAX's own, compiled by jax.jit. NumPy's dtypes are kept, whatever JAX's x64 flag says.

    Args:
      fun: A pure function of arrays (pytrees) that jax.jit can compile.

    Returns:
      A function of the same arguments: NumPy arrays in, NumPy arrays out.

    Raises:
      MissingPackageError: JAX is not installed.

    Example:
      >>> import jax
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> relu = from_jax(jax.nn.relu)
      >>> fg.grad(lambda x: np.sum(relu(x) * x))(np.array([-1.0, 2.0]))
      array([0., 4.])
    """
    _need_jax("from_jax")
    importlib.import_module("jax")
    flat_functions: dict[Any, tuple[Callable[..., Any], list[Any]]] = {}

    @functools.wraps(fun)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = snapshot((args, kwargs))
        leaves, structure = tree.flatten((args, kwargs))
        kinds = {KIND[type(x)] for x in leaves}
        if JAX in kinds and TRACER not in kinds:
            return fun(*args, **kwargs)
        if structure not in flat_functions:
            found: list[Any] = []

            def flat(*values: Any) -> tuple[Any, ...]:
                new_args, new_kwargs = tree.unflatten(structure, values)
                outs, out_structure = tree.flatten(fun(*new_args, **new_kwargs))
                found[:] = [out_structure]
                return tuple(outs)

            flat_functions[structure] = flat, found
        flat, found = flat_functions[structure]
        outs = _call(*leaves, fun=flat)
        return tree.unflatten(found[0], outs)

    return wrapped

"""How a NumPy function is made differentiable: one decorator. May import `core`, `ops.buffers`.

    @function(np.median)
    def median(a, axis=None, ...): ... written with primitives and other such functions ...

The result is what `funcgraph.numpy.median` is: on plain arrays NumPy's own function, on JAX arrays
JAX's own (the body, if JAX has none), on tracers the body. The body is also what plain
`np.median(tracer)` runs. Bodies take NumPy's argument names and order, without `out`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from funcgraph.core.jaxlink import jax_name
from funcgraph.core.trace import FUNCTIONS, JAX, KIND, TRACER
from funcgraph.errors import ConcretizationError, InPlaceWriteError
from funcgraph.ops.buffers import Mutable, frozen, store

__all__ = ["NON_DIFFERENTIABLE", "concrete", "function", "kind_of", "known", "non_differentiable"]

# NumPy functions that are applied to the plain values: their results carry no derivative.
NON_DIFFERENTIABLE: set[Any] = set()

# Functions that may return an argument, or a view of it; what the others return is a new array.
# (Those that make arrays return ones that can be written.)
MAY_SHARE = {
    "array", "array_split", "asanyarray", "asarray", "asarray_chkfinite", "ascontiguousarray",
    "asfortranarray", "astype", "atleast_1d", "atleast_2d", "atleast_3d", "broadcast_arrays",
    "broadcast_to", "copy", "diag", "diagonal", "diff", "dsplit", "einsum", "empty_like",
    "expand_dims", "flip", "fliplr", "flipud", "full", "full_like", "histogram_bin_edges",
    "hsplit", "imag", "ix_", "matrix_power", "matrix_transpose", "meshgrid", "moveaxis",
    "nan_to_num", "ones_like", "permute_dims", "polyder", "polyint", "ravel", "real",
    "real_if_close", "require", "reshape", "rollaxis", "rot90", "split", "squeeze", "swapaxes",
    "transpose", "trim_zeros", "unstack", "vsplit", "zeros_like",
}  # fmt: skip


def kind_of(args: Any) -> int:
    """Return TRACER if a tracer is among args (also in nested lists and tuples), JAX, or NUMPY."""
    found = 0
    for a in args:
        cls = type(a)
        kind = kind_of(a) if cls is list or cls is tuple else KIND[cls]
        if kind == TRACER:
            return TRACER
        if kind == JAX:
            found = JAX
    return found


def function(numpy_function: Callable[..., Any], jax: str | None = None) -> Any:
    """Register the decorated body as the derivative-carrying form of a NumPy function.

    Args:
      numpy_function: Such as np.median or np.linalg.norm; `np.f` on a tracer runs the body.
      jax: Dotted name of JAX's function; default: jax.numpy with the same name.
    """
    if jax is None:
        module = numpy_function.__module__.replace("numpy", "jax.numpy", 1)
        jax = f"{module}.{numpy_function.__name__}"

    views = numpy_function.__name__ in MAY_SHARE

    def register(body: Callable[..., Any]) -> Callable[..., Any]:
        def traced(*args: Any, out: Any = None, **kwargs: Any) -> Any:
            if len(args) > 2:
                args, out = _without_out(numpy_function, body, args, out)
            if out is not None:
                return _write_out(numpy_function.__name__, out, body(*args, **kwargs))
            return body(*args, **kwargs) if views else frozen(body(*args, **kwargs))

        @functools.wraps(body)
        def public(*args: Any, **kwargs: Any) -> Any:
            kind = kind_of(args) or (kind_of(kwargs.values()) if kwargs else 0)
            if not kind:
                return numpy_function(*args, **kwargs)
            if kind == JAX:
                try:
                    return jax_name(jax)(*args, **kwargs)
                except AttributeError:
                    return body(*args, **kwargs)
            return traced(*args, **kwargs)

        FUNCTIONS[numpy_function] = traced
        return public

    return register


def _write_out(name: str, out: Any, result: Any) -> Any:
    if not isinstance(out, Mutable):
        raise InPlaceWriteError(
            f"out= of {name} cannot be used with traced arrays: use the returned value, or an "
            "array made with np.zeros_like(x) of a traced x or with funcgraph.numpy.zeros(...)."
        )
    return store(out, result, f"out= of {name}")


@functools.cache
def _position_of_out(f: Callable[..., Any]) -> int | None:
    """Return where `out` stands among the positional parameters of a function."""
    import inspect  # slow to import, seldom needed

    try:
        names = [p.name for p in inspect.signature(f).parameters.values() if p.kind <= 1]
    except ValueError:  # a function in C without a signature
        return None
    return names.index("out") if "out" in names else None


def _without_out(
    numpy_function: Any, body: Any, args: tuple[Any, ...], out: Any
) -> tuple[tuple[Any, ...], Any]:
    """Take `out`, passed by position, from args; bodies that have the parameter see None."""
    k = _position_of_out(numpy_function)
    if k is None or len(args) <= k:
        return args, out
    own = () if _position_of_out(body) is None else (None,)
    return (*args[:k], *own, *args[k + 1 :]), args[k]


def concrete(x: Any) -> Any:
    """Return x, or the plain values beneath the tracers in it (also in lists and tuples).

    Args:
      x: An array, a tracer, or a list, tuple or dict of such.

    Returns:
      The same without tracers: no derivative flows through the result.

    Example:
      >>> import funcgraph as fg
      >>> seen = []
      >>> g = fg.grad(lambda x: (seen.append(fg.concrete(x)), x * x)[1])(3.0)
      >>> float(g), seen
      (6.0, [3.0])
    """
    cls = type(x)
    if cls is list or cls is tuple:
        return cls(concrete(v) for v in x)
    if cls is dict:
        return {k: concrete(v) for k, v in x.items()}
    return x.concrete() if KIND[cls] == TRACER else x


def known(x: Any) -> Any:
    """Return concrete(x), or None where a transformation hides the value (vmap)."""
    try:
        return concrete(x)
    except ConcretizationError:
        return None


def non_differentiable(numpy_function: Callable[..., Any]) -> Callable[..., Any]:
    """Declare a NumPy function whose result never carries a derivative (argmax, isclose, ...)."""

    def body(*args: Any, **kwargs: Any) -> Any:
        return numpy_function(*concrete(args), **concrete(kwargs))

    body.__name__ = numpy_function.__name__
    body.__doc__ = f"numpy.{numpy_function.__name__} of the plain values: no derivative."
    NON_DIFFERENTIABLE.add(numpy_function)
    return function(numpy_function)(body)

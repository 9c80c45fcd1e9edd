"""The methods and properties of ndarray, installed on tracers.

Each calls the function of NumPy's namespace that does the same, found when it is called: this
module needs no other chapter. May import `core`, `ops`, `errors`, `numpy._register`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from funcgraph.core.trace import FUNCTIONS, UFUNCS, Tracer, unsupported
from funcgraph.errors import InPlaceWriteError, TracerConversionError
from funcgraph.numpy._register import concrete
from funcgraph.ops import structural as st
from funcgraph.ops.indexing import getitem
from funcgraph.ops.updates import at

__all__ = ["install"]

# Methods whose arguments, after the array, are those of NumPy's function.
SAME_ARGUMENTS: dict[str, Any] = {
    "all": np.all,
    "any": np.any,
    "argmax": np.argmax,
    "argmin": np.argmin,
    "argpartition": np.argpartition,
    "argsort": np.argsort,
    "choose": np.choose,
    "conj": np.conjugate,
    "conjugate": np.conjugate,
    "copy": np.copy,
    "cumprod": np.cumprod,
    "cumsum": np.cumsum,
    "diagonal": np.diagonal,
    "dot": np.dot,
    "max": np.max,
    "mean": np.mean,
    "min": np.min,
    "nonzero": np.nonzero,
    "prod": np.prod,
    "ravel": np.ravel,
    "repeat": np.repeat,
    "round": np.round,
    "searchsorted": np.searchsorted,
    "squeeze": np.squeeze,
    "std": np.std,
    "sum": np.sum,
    "swapaxes": np.swapaxes,
    "take": np.take,
    "trace": np.trace,
    "var": np.var,
}

# Methods that change the array they belong to, and what to write instead.
IN_PLACE = {
    "byteswap": "funcgraph.concrete(x).byteswap()",
    "fill": "`x = np.full_like(x, value)`",
    "itemset": "`x = funcgraph.at(x)[index].set(value)`",
    "partition": "`x = np.partition(x, kth)`",
    "put": "`x = funcgraph.at(x)[index].set(value)`",
    "resize": "`x = np.resize(x, shape)`",
    "setfield": "`x = funcgraph.at(x)[index].set(value)`",
    "setflags": "funcgraph.concrete(x).copy(): a traced array is never writable",
    "sort": "`x = np.sort(x, axis)`",
}

# Methods that give the bytes of the array away.
AS_BYTES = ("dump", "dumps", "getfield", "tobytes", "tofile", "view", "__dlpack__")


def _same(name: str, numpy_function: Any) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        handler = FUNCTIONS.get(numpy_function) or UFUNCS.get(numpy_function)
        if handler is None:
            unsupported(numpy_function)
        return handler(self, *args, **kwargs)

    return _named(method, name, f"Return np.{numpy_function.__name__} of the array.")


def _in_place(name: str, instead: str) -> Callable[..., Any]:
    def method(self: Any, *_: Any, **__: Any) -> Any:
        raise InPlaceWriteError(
            f"x.{name}(...) changes an array in place, which a traced array of shape {self.shape} "
            f"does not allow: it is an input, or the result of an operation. Make a copy first, "
            f"`x = x.copy()`, which can be written; or use {instead}."
        )

    return _named(method, name, "Refuse: a traced array cannot be written in place.")


def _as_bytes(name: str) -> Callable[..., Any]:
    def method(self: Any, *_: Any, **__: Any) -> Any:
        raise TracerConversionError(
            f"x.{name}(...) reads the bytes of a traced array of shape {self.shape}, which would "
            f"silently cut the gradient. Use funcgraph.concrete(x).{name}(...), or x.astype(dtype) "
            "to convert."
        )

    return _named(method, name, "Refuse: bytes carry no derivative.")


def _named(method: Any, name: str, doc: str) -> Any:
    method.__name__ = name
    method.__qualname__ = f"Tracer.{name}"
    method.__doc__ = doc
    return method


# --- methods with arguments of their own ---------------------------------------------------------


def _several(given: tuple[Any, ...]) -> Any:
    """Return the arguments of x.reshape(2, 3) or x.reshape((2, 3)) as one tuple."""
    return given[0] if len(given) == 1 and not hasattr(given[0], "__index__") else given


def reshape(self: Any, *shape: Any, order: str = "C", copy: Any = None) -> Any:
    """Return the array in another shape: x.reshape(2, -1) or x.reshape((2, -1))."""
    return FUNCTIONS[np.reshape](self, _several(shape), order=order, copy=copy)


def transpose(self: Any, *axes: Any) -> Any:
    """Return the array with its axes permuted: x.transpose(1, 0), x.transpose((1, 0)) or ()."""
    given = None if axes in ((), (None,)) else _several(axes)
    return FUNCTIONS[np.transpose](self, given)


def flatten(self: Any, order: str = "C") -> Any:
    """Return the elements along one axis."""
    return FUNCTIONS[np.ravel](self, order)


def clip(self: Any, min: Any = None, max: Any = None, out: Any = None, **kwargs: Any) -> Any:
    """Return the array with its elements brought into [min, max]."""
    return FUNCTIONS[np.clip](self, min, max, out=out, **kwargs)


def compress(self: Any, condition: Any, axis: Any = None, out: Any = None) -> Any:
    """Return the slices along an axis at which condition is true."""
    return FUNCTIONS[np.compress](condition, self, axis, out=out)


def astype(
    self: Any,
    dtype: Any,
    order: str = "K",
    casting: str = "unsafe",
    subok: bool = True,
    copy: bool = True,
) -> Any:
    """Return the array in another dtype; through integers and booleans there is no derivative."""
    dtype = np.dtype(dtype)
    if not np.can_cast(self.dtype, dtype, casting):  # type: ignore[arg-type]
        raise TypeError(
            f"Cannot cast array data from {self.dtype!r} to {dtype!r} according to the rule "
            f"{casting!r}"
        )
    return self if dtype == self.dtype else st.cast(self, dtype)


def to_device(self: Any, device: str, /, *, stream: Any = None) -> Any:
    """Return the array itself: NumPy's only device is "cpu"."""
    if device != "cpu" or stream is not None:
        raise ValueError(f'the only device is "cpu", without streams; got {device!r}, {stream!r}')
    return self


def array_namespace(self: Any, *, api_version: str | None = None) -> Any:
    """Return funcgraph.numpy, where the functions of the array API standard are."""
    plain: Any = np.empty(0)
    plain.__array_namespace__(api_version=api_version)  # refuses versions NumPy has not
    return importlib.import_module("funcgraph.numpy")


def iterate(self: Any) -> Iterator[Any]:
    """Yield the slices along the first axis."""
    if not self.shape:
        raise TypeError("iteration over a 0-d array")
    return (getitem(self, template=(k,)) for k in range(self.shape[0]))


def contains(self: Any, value: Any) -> bool:
    """Return whether an element equals value."""
    return bool(np.any(concrete(self) == concrete(value)))


def rounded(self: Any, ndigits: int | None = None) -> Any:
    """Return np.round of the array: what round(x, ndigits) calls."""
    return FUNCTIONS[np.round](self, ndigits or 0)


def formatted(self: Any, spec: str) -> str:
    """Return the text of the value in an f-string, for messages and logs."""
    return format(self.concrete(), spec) if spec else repr(self)


def copied(self: Any, *_: Any) -> Any:
    """Return a copy of the array, which can be written."""
    return FUNCTIONS[np.copy](self)


OWN_ARGUMENTS: dict[str, Callable[..., Any]] = {
    "__array_namespace__": array_namespace,
    "__contains__": contains,
    "__copy__": copied,
    "__deepcopy__": copied,
    "__format__": formatted,
    "__iter__": iterate,
    "__round__": rounded,
    "astype": astype,
    "clip": clip,
    "compress": compress,
    "flatten": flatten,
    "reshape": reshape,
    "to_device": to_device,
    "transpose": transpose,
}

# --- properties ----------------------------------------------------------------------------------


def _matrix_transpose(x: Any) -> Any:
    if len(x.shape) < 2:
        raise ValueError("matrix transpose with ndim < 2 is undefined")
    return FUNCTIONS[np.swapaxes](x, -1, -2)


PROPERTIES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "at": (at, "Updated copies, as in JAX: x.at[index].set(v), .add(v), .multiply(v) ..."),
    "T": (transpose, "The array with its axes reversed."),
    "device": (lambda x: "cpu", 'NumPy\'s only device, "cpu".'),
    "flat": (flatten, "The elements along one axis, to read and iterate over; not to write."),
    "imag": (lambda x: FUNCTIONS[np.imag](x), "The imaginary part."),
    "mT": (_matrix_transpose, "The array with its last two axes swapped."),
    "real": (lambda x: FUNCTIONS[np.real](x), "The real part."),
}


def install() -> None:
    """Give Tracer the methods and properties of ndarray."""
    methods = {
        **{name: _same(name, f) for name, f in SAME_ARGUMENTS.items()},
        **{name: _in_place(name, instead) for name, instead in IN_PLACE.items()},
        **{name: _as_bytes(name) for name in AS_BYTES},
        **OWN_ARGUMENTS,
    }
    for name, method in methods.items():
        setattr(Tracer, name, method)
    for name, (read, doc) in PROPERTIES.items():
        setattr(Tracer, name, property(read, doc=doc))


install()

"""Tracers, traces and the dispatch on argument types.

A transformation runs the user's function on `Tracer`s that belong to its `Trace`. Levels are
drawn from one ever-growing counter: a transformation that starts later is nested deeper, so the
highest level among the arguments handles an operation. There is no stack to keep in order, hence
nothing to clean up after an exception, and threads need no lock.

May import `funcgraph.errors`, `core.aval`, `core.jaxlink` and NumPy.
"""

from __future__ import annotations

import contextvars
import importlib
import itertools
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from funcgraph.core.aval import dtype_of, is_inexact, shape_of
from funcgraph.core.jaxlink import is_jax_type
from funcgraph.errors import (
    CustomRuleError,
    DtypeError,
    InPlaceWriteError,
    LeakedTracerError,
    TracerBoolError,
    TracerConversionError,
    UnsupportedFunctionError,
)

__all__ = [
    "FUNCTIONS",
    "JAX",
    "KIND",
    "NUMPY",
    "TRACER",
    "UFUNCS",
    "UNARY",
    "Trace",
    "Tracer",
    "ValueTracer",
    "constant_below",
    "leaked",
    "refuse_closures",
    "refuse_leak",
    "unsupported",
    "without_ended",
]

NUMPY, TRACER, JAX = 0, 1, 2


_REFUSED = ("matrix", "MaskedArray")


class _Kinds(dict[type, int]):
    """Maps a type to NUMPY (or anything NumPy converts), TRACER or JAX; learns as it is asked."""

    def __missing__(self, cls: type) -> int:
        if any(c.__name__ in _REFUSED and c.__module__.startswith("numpy") for c in cls.__mro__):
            raise DtypeError(
                f"a {cls.__name__} of NumPy computes otherwise than arrays do (its products, or "
                "its sums), which transformations do not know. Convert it: np.asarray(x); of a "
                "masked array x.filled(value), and pass the mask as an argument of its own."
            )
        kind = TRACER if issubclass(cls, Tracer) else JAX if is_jax_type(cls) else NUMPY
        self[cls] = kind
        return kind


KIND = _Kinds()

# What plain `np.f(tracer)` means: filled by funcgraph.ops and funcgraph.numpy.
UFUNCS: dict[Any, Callable[..., Any]] = {}
UNARY: dict[Any, Any] = {}  # those of UFUNCS that are primitives of one argument: the fast path
UFUNC_METHODS: dict[str, Callable[..., Any]] = {}
FUNCTIONS: dict[Any, Callable[..., Any]] = {}

_levels = itertools.count(1)


class Trace:
    """One run of one transformation: decides what an operation on its tracers does."""

    __slots__ = ("alive", "level")

    def __init__(self) -> None:
        self.alive = True
        self.level = next(_levels)

    def process(self, primitive: Any, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """Apply `primitive` to `args`, of which at least one is a tracer of this trace."""
        raise NotImplementedError

    def unary(self, primitive: Any, x: Any) -> Any:
        """Apply a primitive to its one argument: a fast path a trace may override."""
        return self.process(primitive, (x,), {})

    def binary(self, primitive: Any, x: Any, y: Any) -> Any:
        """Apply a primitive to two arguments, one of this trace: a fast path to override.

        The other one may be of a trace with a higher level, which then handles the operation.
        """
        for other in (x, y):
            if KIND[type(other)] == TRACER and other._trace.level > self.level:
                return other._trace.binary(primitive, x, y)
        return self.process(primitive, (x, y), {})


# Tracers of traces below this level count as constants once their trace has ended: a solver whose
# steps are not differentiated (`custom_root`) reads again what it has closed over.
constant_below: contextvars.ContextVar[int] = contextvars.ContextVar("constant_below", default=0)


def leaked(level: int, *_: Any) -> None:
    """Raise LeakedTracerError for an operation of a trace that has ended; see `constant_below`."""
    if level >= constant_below.get():
        refuse_leak()


def refuse_leak() -> NoReturn:
    """Raise LeakedTracerError."""
    raise LeakedTracerError(
        "a tracer was used after its transformation (grad, vjp, jvp, ...) had ended. It was "
        "stored somewhere (a global, an attribute, a list) inside the function. Return the value "
        "from the function instead (has_aux=True returns extra values)."
    )


# What to do instead of taking a number, a Python integer, or a plain array out of a tracer.
_NUMBER = (
    "Compute with NumPy's functions (np.sin, not math.sin). For the number without its derivative "
    "write funcgraph.concrete(x); to go on computing with it as a constant, "
    "funcgraph.stop_gradient(x)."
)
_COUNT = (
    "A shape, a number of steps or an index of a list is a Python integer: under jit mark the "
    "argument it comes from as static (static_argnums), elsewhere write funcgraph.concrete(x)."
)
_ARRAY = (
    "To join traced arrays use np.stack([...]), funcgraph.numpy.array([...]), or "
    "funcgraph.numpy.sum([...]) and the like; to fill an array, make it with np.zeros_like(x) of a "
    "traced x or with funcgraph.numpy.zeros(...), or use funcgraph.at(a)[i].set(x). For the array "
    "without its derivative write funcgraph.concrete(x)."
)


def _describe(x: Any) -> str:
    return f"a traced array of shape {x.shape} and dtype {x.dtype}"


class Tracer:
    """An array inside a transformation; has ndarray's operators, methods and attributes.

    Operators and methods are installed by `funcgraph.ops` and `funcgraph.numpy`.
    """

    __slots__ = ("_trace",)
    __array_priority__ = 1000.0
    __hash__ = None  # type: ignore[assignment]

    _trace: Trace
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def concrete(self) -> Any:
        """Return the plain value beneath all transformations, for non-differentiable uses."""
        raise NotImplementedError

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        size = 1
        for n in self.shape:
            size *= n
        return size

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.dtype}{list(self.shape)}, level={self._trace.level})"

    def __bool__(self) -> bool:
        if self.size != 1:
            raise TracerBoolError(
                f"the truth value of {_describe(self)} is ambiguous: use np.where, or .any() "
                "or .all()."
            )
        return bool(self.concrete())

    def __float__(self) -> NoReturn:
        self._refuse("float(x)", _NUMBER)

    def __int__(self) -> NoReturn:
        self._refuse("int(x)", _NUMBER)

    def __complex__(self) -> NoReturn:
        self._refuse("complex(x)", _NUMBER)

    def __index__(self) -> NoReturn:
        self._refuse("operator.index(x)", _COUNT)

    def item(self, *_: Any) -> NoReturn:
        """Refuse: a Python number carries no derivative."""
        self._refuse("x.item()", _NUMBER)

    def tolist(self) -> NoReturn:
        """Refuse: Python numbers carry no derivative."""
        self._refuse("x.tolist()", _NUMBER)

    def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
        what = "np.asarray(x), np.array([x, ...]) or assigning x into a plain array"
        self._refuse(what, _ARRAY if is_inexact(self.dtype) else f"{_ARRAY} {_COUNT}")

    def _refuse(self, what: str, remedy: str) -> NoReturn:
        raise TracerConversionError(
            f"{what} on {_describe(self)} would silently cut the gradient. {remedy}"
        )

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        raise InPlaceWriteError(
            f"{_describe(self)} cannot be written in place: it is an input, or the result of an "
            "operation. Make a copy first, `x = x.copy()`, which can be written; or use "
            "`x = funcgraph.at(x)[index].set(value)` (or .add), np.where, or np.stack."
        )

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if not kwargs and method == "__call__":
            if ufunc in UNARY:
                return self._trace.unary(UNARY[ufunc], self)
            if ufunc in UFUNCS:
                return UFUNCS[ufunc](*inputs)
        return _ufunc_general(ufunc, method, inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        handler = FUNCTIONS.get(func)
        if handler is None:
            unsupported(func)
        return handler(*args, **kwargs)


class ValueTracer(Tracer):
    """A tracer that holds a value: a plain array, or a tracer of an outer transformation."""

    __slots__ = ("value",)

    value: Any

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """Lengths of the axes."""
        return shape_of(self.value)

    @property
    def dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        """Type of the elements."""
        return dtype_of(self.value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.value!r}, level={self._trace.level})"

    def concrete(self) -> Any:
        """Return the value without its derivative."""
        value = self.value
        return value.concrete() if isinstance(value, Tracer) else value


def without_ended(x: Any) -> Any:
    """Return the value of a tracer whose trace has ended, and anything else as it is."""
    while isinstance(x, ValueTracer) and not x._trace.alive:
        x = x.value
    return x


def refuse_closures(trace: Trace, primitive: Any, attrs: dict[str, Any], outs: Any) -> None:
    """Raise if values of an operation depend on tracers of `trace` that are no arguments of it."""
    if any(isinstance(x, Tracer) and x._trace is trace for x in outs):
        name = getattr(attrs.get("rules"), "name", primitive.name)
        raise CustomRuleError(
            f"{name} reads a traced value that is not among its arguments (a closure), which its "
            "rule of derivation knows nothing of. Pass it as an argument."
        )


def unsupported(func: Any, why: str = "is not known to funcgraph") -> NoReturn:
    """Raise UnsupportedFunctionError for a NumPy or SciPy function applied to a tracer."""
    name = str(getattr(func, "__name__", func))
    module = getattr(func, "__module__", None)
    if module is None and getattr(sys.modules.get("scipy.special"), name, None) is func:
        module = "scipy.special"  # its ufuncs do not say so
    name = f"{module}.{name}" if module else name
    raise UnsupportedFunctionError(
        f"{name} {why}, so it has no gradient. Write it with differentiable operations "
        "(funcgraph.numpy), give it a derivative with a Primitive, or, if no derivative is "
        "wanted, apply it to funcgraph.concrete(x)."
    )


def _ufunc_general(ufunc: Any, method: str, inputs: Any, kwargs: dict[str, Any]) -> Any:
    """Handle a ufunc called with keywords or by one of its methods, or unknown."""
    out = kwargs.pop("out", None) or ()
    outs = out if type(out) is tuple else (out,)
    targets = inputs[:1] if method == "at" else [o for o in outs if o is not None]
    if targets and all(isinstance(o, Tracer) for o in targets):
        return UFUNC_METHODS["write"](ufunc, method, inputs, outs, kwargs)
    if targets:
        raise InPlaceWriteError(
            f"np.{ufunc.__name__} was asked to write its result into an existing array (out=, "
            f"ufunc.at, or `a += x` with a plain array a) while an operand is traced. Write "
            f"`a = np.{ufunc.__name__}(a, x)` or `a = a + x` instead, or make a with "
            "np.zeros_like(x), funcgraph.numpy.zeros(...) or funcgraph.numpy.copy(a): it can be "
            "written; for indexed updates use funcgraph.at(a)[index].add(x)."
        )
    if ufunc not in UFUNCS and "scipy.special" in sys.modules:
        importlib.import_module("funcgraph.scipy.special")  # SciPy's ufuncs are declared there
    if ufunc not in UFUNCS:
        unsupported(ufunc)
    if method == "__call__" and not kwargs:
        return UFUNCS[ufunc](*inputs)
    return UFUNC_METHODS[method](ufunc, *inputs, **kwargs)

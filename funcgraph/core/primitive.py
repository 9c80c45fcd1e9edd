"""Primitives: one immutable record per operation, with every rule; the record is the callable.

A derivative is given once, by kind, and serves forward and reverse mode:

    Zero()                    no derivative (floor, greater, argmax)
    Elementwise(r1, r2, ...)  r_i(g, y, *args) = g * dy/dx_i; diagonal, so its own transpose
    Linear(transpose)         transpose(g, *args) -> cotangents of the first `linear` arguments
    Bilinear(t1, t2)          t_i(g, x1, x2) -> cotangent of x_i
    General(jvp, vjp)         jvp(tangents, y, *args), vjp(g, y, *args); without vjp: transposed jvp

y is the value of the operation. Rules use public operations on what they are given, so that they
nest. A transpose may read only shape and dtype of the arguments it is linear in.

May import `core.aval`, `core.jaxlink`, `core.trace`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval, aval_of, broadcast_shapes, ndim_of
from funcgraph.core.jaxlink import jax_name
from funcgraph.core.trace import JAX, KIND, TRACER, UFUNCS, UNARY
from funcgraph.errors import UnsupportedFunctionError

__all__ = [
    "REGISTRY",
    "VIEWS",
    "Bilinear",
    "Binary",
    "Derivative",
    "Elementwise",
    "General",
    "Linear",
    "Primitive",
    "Unary",
    "Zero",
    "aligned",
    "is_wide",
    "register_ufunc",
    "ufunc_aval",
]

Rule = Callable[..., Any]
Batch = Callable[[Any, int, tuple[Any, ...], tuple[bool, ...], dict[str, Any]], Any]


def aligned(primitive: Any, size: int, args: Any, batched: Any, attrs: Any) -> Any:
    """Batch an operation that broadcasts over leading axes: align the other axes to the right."""
    ndims = [ndim_of(a) - b for a, b in zip(args, batched, strict=True)]
    rank = max(ndims)
    args = [
        a[(slice(None), *(None,) * (rank - n))] if b and n < rank else a
        for a, b, n in zip(args, batched, ndims, strict=True)
    ]
    return primitive(*args, **attrs)


@dataclass(frozen=True, slots=True)
class Zero:
    """The operation is piecewise constant, or its value is not a number: no derivative."""


class Elementwise:
    """rules[i](g, y, *args, **attrs) is g times the derivative by argument i; None = constant.

    `keep` says which values the rules read: "x" the arguments, "y" the output. What they do not
    read is not kept for the backward pass. A rule must be linear in g, element by element.

    What strong zeros (`ops.strong`) ask of it: `flat` are the arguments on which the value does not
    depend where the slope by them is zero, if the others are constants (0 * x, relu); `border(y)`
    says where an infinite slope is at the border of the domain, and the value finite (sqrt at 0,
    but neither cbrt at 0 nor log; default: nowhere).

    `summed[i](g, y, *args, **attrs)`, where there is one, takes the place of rule i backwards if
    argument i was broadcast: it sums g times the derivative up, in fewer passes over large arrays.
    """

    __slots__ = ("border", "flat", "keep", "rules", "summed")

    def __init__(
        self,
        *rules: Rule | None,
        keep: str = "xy",
        flat: tuple[int, ...] = (),
        border: Callable[[Any], Any] | None = None,
        summed: Mapping[int, Rule] | None = None,
    ) -> None:
        self.rules = rules
        self.summed = summed or {}
        self.keep = keep
        self.flat = flat
        self.border = border


@dataclass(frozen=True, slots=True)
class Linear:
    """The operation is linear in its first `count` arguments (None: in all of them).

    transpose(g, *args, **attrs) returns the cotangent of the one linear argument, or, if `count`
    is not 1, a tuple of them. `add_into(buffer, g, *args, **attrs)`, if given, adds the cotangent
    to a NumPy array in place.
    """

    transpose: Rule
    count: int | None = 1
    add_into: Rule | None = None


@dataclass(frozen=True, slots=True)
class Bilinear:
    """The operation is linear in each of its two arguments."""

    transposes: tuple[Rule, Rule]

    def __init__(self, first: Rule, second: Rule) -> None:
        object.__setattr__(self, "transposes", (first, second))


@dataclass(frozen=True, slots=True)
class General:
    """jvp(tangents, y, *args, **attrs) and vjp(g, y, *args, **attrs) -> tuple of cotangents.

    Tangents and cotangents that are zero are None; with several outputs, y, g and the result of
    jvp are tuples. Without vjp, reverse mode transposes the linear function jvp.
    """

    jvp: Rule
    vjp: Rule | None = None


Derivative = Zero | Elementwise | Linear | Bilinear | General

REGISTRY: dict[str, Primitive] = {}

# Names of primitives whose result may share memory with their first argument.
VIEWS = frozenset([
    "reshape", "transpose", "broadcast", "getitem", "real", "imag", "stop_gradient", "barrier",
    "class_numbers",
])  # fmt: skip

# The same on NumPy's arrays and scalars, without the way through a ufunc for the scalars.
OPERATORS: dict[Any, Callable[[Any, Any], Any]] = {
    np.add: operator.add,
    np.subtract: operator.sub,
    np.multiply: operator.mul,
    np.divide: operator.truediv,
    np.less: operator.lt,
    np.less_equal: operator.le,
    np.greater: operator.gt,
    np.greater_equal: operator.ge,
    np.equal: operator.eq,
    np.not_equal: operator.ne,
}


class Primitive:
    """One operation: its value on NumPy and on JAX, its shape rule and its derivative.

    Args:
      name: Unique name, in the registry and in graphs.
      numpy: Computes the value from NumPy arrays and scalars.
      jax: The same on JAX arrays: a dotted name (`"jax.numpy.sin"`), or a function that takes
        the `jax` module first.
      aval: aval(*avals, **attrs) gives the Aval of the result (a tuple of them, if several).
      derivative: One of the five kinds.
      batch: batch(primitive, size, args, batched, attrs) gives the value for a batch: arguments
        marked in `batched` have a batch axis of length `size` in front, and so has the result.
        Elementwise operations need none.
      many: Whether the value is a tuple.
      augment: augment(args, attrs, varying) gives (values, residuals, attrs): what reverse mode
        calls instead of the operation, where the forward pass prepares the backward pass; `varying`
        marks the arguments that are differentiated. The vjp rule finds the residuals behind the
        arguments. Both rules take the keyword `safe`: whether zeros are strong (`ops.strong`).
      forward: forward(args, tangents, attrs, safe) gives (values, tangents): what forward mode
        calls instead of operation and jvp rule, where the rule computes the values too.

    Example:
      >>> from funcgraph.ops.elementwise import sin
      >>> sin.name, float(sin(0.0))
      ('sin', 0.0)
    """

    __slots__ = (
        "_jax",
        "add_into",
        "augment",
        "aval",
        "batch",
        "derivative",
        "forward",
        "many",
        "name",
        "numpy",
        "operator",
        "reads_arguments",
        "reads_output",
        "rules",
        "zero",
    )

    def __init__(
        self,
        name: str,
        numpy: Callable[..., Any],
        jax: str | Callable[..., Any],
        aval: Callable[..., Any],
        derivative: Derivative,
        batch: Batch | None = None,
        many: bool = False,
        augment: Callable[..., Any] | None = None,
        forward: Callable[..., Any] | None = None,
    ) -> None:
        if name in REGISTRY:
            raise ValueError(f"primitive {name!r} is declared twice")
        if batch is None and (isinstance(derivative, Elementwise) or type(self) is not Primitive):
            batch = aligned
        rules = isinstance(derivative, Derivative), callable(aval), callable(numpy), callable(batch)
        if not all(rules):
            raise TypeError(f"primitive {name!r}: a rule is missing or of the wrong type")
        self.name = name
        self.numpy = numpy
        self._jax = jax
        self.aval = aval
        self.derivative = derivative
        self.batch = batch
        self.many = many
        self.augment = augment
        self.forward = forward
        self.operator = OPERATORS.get(numpy, numpy)
        self.zero = isinstance(derivative, Zero)
        # What the reverse mode's inner loop reads, bound here once.
        self.rules = derivative.rules if isinstance(derivative, Elementwise) else None
        keep = derivative.keep if isinstance(derivative, Elementwise) else "xy"
        self.reads_arguments, self.reads_output = "x" in keep, "y" in keep
        self.add_into = derivative.add_into if isinstance(derivative, Linear) else None
        REGISTRY[name] = self

    @property
    def __name__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"

    def jax(self, *args: Any, **attrs: Any) -> Any:
        """Compute the value on JAX arrays or JAX tracers.

        Arrays of 64 bits stay so, whatever JAX's x64 flag says.
        """
        if any(map(is_wide, args)):
            with jax_name("jax.enable_x64")(True):
                return self._on_jax(args, attrs)
        return self._on_jax(args, attrs)

    def _on_jax(self, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        if not isinstance(self._jax, str):
            return self._jax(jax_name("jax"), *args, **attrs)
        try:
            function = jax_name(self._jax)
        except AttributeError:
            raise UnsupportedFunctionError(
                f"{self.name} cannot run on JAX: there is no {self._jax}. Use backend='numpy'."
            ) from None
        return function(*args, **attrs)

    @property
    def is_elementwise(self) -> bool:
        """Whether NumPy computes it by a ufunc, element by element: not products of matrices."""
        return isinstance(self.numpy, np.ufunc) and self.numpy.signature is None

    def abstract(self, *args: Any, **attrs: Any) -> Any:
        """Return the aval of the result for arguments that are arrays or avals."""
        return self.aval(*map(aval_of, args), **attrs)

    def __call__(self, *args: Any, **attrs: Any) -> Any:
        """Apply the operation to arrays of any kind; the innermost transformation handles it."""
        top = None
        jax = False
        for a in args:
            kind = KIND[type(a)]
            if kind:
                if kind == JAX:
                    jax = True
                elif top is None or a._trace.level > top.level:
                    top = a._trace
        if top is not None:
            return top.process(self, args, attrs)
        return self.jax(*args, **attrs) if jax else self.numpy(*args, **attrs)


def is_wide(x: Any) -> bool:
    """Return whether x is a JAX array (no tracer) of 64-bit numbers."""
    if KIND[type(x)] != JAX or isinstance(x, jax_name("jax.core.Tracer")):
        return False
    dtype = x.dtype
    return bool(dtype.kind in "fiuc" and dtype.itemsize == (16 if dtype.kind == "c" else 8))


class Unary(Primitive):
    """A primitive of one argument and no attributes, dispatched faster."""

    __slots__ = ()

    def __call__(self, x: Any) -> Any:
        """Apply the operation to an array of any kind."""
        kind = KIND[type(x)]
        if kind == 0:
            return self.numpy(x)
        if kind == TRACER:
            return x._trace.unary(self, x)
        return self.jax(x)


class Binary(Primitive):
    """A primitive of two arguments and no attributes, dispatched faster."""

    __slots__ = ()

    def __call__(self, x: Any, y: Any) -> Any:
        """Apply the operation to two arrays of any kind."""
        kx, ky = KIND[type(x)], KIND[type(y)]
        if kx == TRACER:
            if ky == TRACER and y._trace.level > x._trace.level:
                return y._trace.binary(self, x, y)
            return x._trace.binary(self, x, y)
        if ky == TRACER:
            return y._trace.binary(self, x, y)
        return self.jax(x, y) if kx or ky else self.numpy(x, y)


def register_ufunc(primitive: Primitive) -> None:
    """Make a primitive the meaning of its ufunc on tracers."""
    UFUNCS[primitive.numpy] = primitive
    if isinstance(primitive, Unary):
        UNARY[primitive.numpy] = primitive


def ufunc_aval(ufunc: Any) -> Callable[..., Aval]:
    """Return the shape/dtype rule of a NumPy ufunc with one output: broadcast and resolve."""
    resolved: dict[Any, np.dtype[Any]] = {}

    def aval(*avals: Aval) -> Aval:
        dtypes = tuple([a.weak or a.dtype for a in avals])
        shape = broadcast_shapes(*[a.shape for a in avals])
        dtype = resolved.get(dtypes)
        if dtype is None:
            dtype = resolved[dtypes] = ufunc.resolve_dtypes((*dtypes, None))[-1]
        first = avals[0]  # most results are like it
        same = first.weak is None and first.dtype is dtype and first.shape == shape
        return first if same else Aval(shape, dtype)

    return aval

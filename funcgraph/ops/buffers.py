"""Arrays that can be written inside a transformation: `b[i] = v`, `b += v`.

Traced arrays never change. A `Buffer` is a name for one traced (or plain) array after the other:
a write makes a new array, which the Buffer stands for from then on. Its trace has the highest level
of all, so an operation sees it first, and goes on with the array of the moment: no derivative,
no residual and no graph ever holds a Buffer.

* `Buffer`: memory of its own.
* `View`: part of one, by a basic index: reads and writes go to the Buffer.
* `Snapshot`: what NumPy gives as another kind of view (a transpose, say). Right as long as the
  Buffer is not written; then it may no longer be used.

May import `core`, `ops.indexing`, `ops.structural`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np

from funcgraph.core.aval import dtype_of, shape_of
from funcgraph.core.trace import FUNCTIONS, KIND, NUMPY, Trace, Tracer
from funcgraph.errors import InPlaceWriteError, ShapeError
from funcgraph.ops.indexing import getitem, index_set, split_index
from funcgraph.ops.structural import broadcast_to, cast, reshape

__all__ = [
    "Buffer",
    "Mutable",
    "Scope",
    "Snapshot",
    "View",
    "frozen",
    "released",
    "scope",
    "store",
    "writable",
]

# --- where arrays are made -----------------------------------------------------------------------


class Scope:
    """One call of a user's function by a transformation; arrays made in it are written only there.

    Attributes:
      parent: The call it is inside of.
      made: Whether a Buffer was made in it, or before it in a call around it.
      foreign: Whether it has read a Buffer of a call around it, whose contents may change.
    """

    __slots__ = ("foreign", "made", "parent")

    def __init__(self) -> None:
        self.parent = scope.get()
        self.made = self.parent is not None and self.parent.made
        self.foreign = False


scope: ContextVar[Scope | None] = ContextVar("scope", default=None)


# --- the trace -----------------------------------------------------------------------------------

# Primitives whose value NumPy gives as a view of the first argument.
_VIEWS = frozenset(["broadcast", "getitem", "imag", "real", "reshape", "transpose"])


class _Reading(Trace):
    """The trace of all Buffers: operations go on with what they hold at the moment."""

    __slots__ = ()

    def __init__(self) -> None:
        self.level: Any = math.inf

    def process(self, primitive: Any, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        out = primitive(*[a.read() if isinstance(a, Mutable) else a for a in args], **attrs)
        first = args[0]
        if primitive.name not in _VIEWS or not isinstance(first, Mutable):
            return out
        if primitive.name == "getitem":
            template, arrays = attrs["template"], args[1:]
            if not _is_view(template, arrays) or _is_element(template, first):
                return out
        return Snapshot(first, out)

    def unary(self, primitive: Any, x: Any) -> Any:
        out = primitive(x.read())
        # The real part of complex numbers is a view; that of real ones is no operation at all.
        return Snapshot(x, out) if primitive.name in _VIEWS and x.dtype.kind == "c" else out

    def binary(self, primitive: Any, x: Any, y: Any) -> Any:
        return primitive(
            x.read() if isinstance(x, Mutable) else x, y.read() if isinstance(y, Mutable) else y
        )


_READING = _Reading()


def _is_view(template: Any, arrays: Any) -> bool:
    """Return whether NumPy reads this index as a view; a traced integer is an integer."""
    if any(isinstance(part, bool | np.ndarray) for part in template):
        return False
    return not any(len(shape_of(a)) for a in arrays)


def _is_element(template: Any, x: Any) -> bool:
    """Return whether a basic index is one integer for each axis: NumPy gives a scalar."""
    plain = [part is None or part is Ellipsis or type(part) is slice for part in template]
    return len(plain) == len(x.shape) and not any(plain)


# --- the arrays ----------------------------------------------------------------------------------


class Mutable(Tracer):
    """What Buffer, View and Snapshot share: an array whose contents may change."""

    __slots__ = ("_value", "root", "version")

    _value: Any
    root: Buffer
    version: int

    def read(self) -> Any:
        """Return the contents of the moment: a plain array, or one traced by a transformation."""
        raise NotImplementedError

    def write(self, value: Any) -> None:
        """Replace the contents by an array of the same shape and dtype, in memory of its own."""
        raise NotImplementedError

    def check(self) -> None:
        """Raise InPlaceWriteError unless the array may be written here."""
        if scope.get() is not self.root.scope:
            raise InPlaceWriteError(
                f"an array of shape {self.shape} and dtype {self.dtype} is written inside a "
                "function that a transformation (grad, vmap, jit, scan, cond, ...) calls, but was "
                "made outside of it, where the change would not arrive. Return the new value from "
                "the function (in a loop: carry it), or write into a copy made inside: x.copy()."
            )

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """Lengths of the axes."""
        return shape_of(self._value)

    @property
    def dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        """Type of the elements."""
        return dtype_of(self._value)

    def concrete(self) -> Any:
        """Return the plain value beneath all transformations, read-only."""
        value = self.read()
        return value.concrete() if isinstance(value, Tracer) else value

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._value!r})"

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array(self.read(), dtype)

    def __float__(self) -> float:  # type: ignore[override]
        return float(self.read())

    def __int__(self) -> int:  # type: ignore[override]
        return int(self.read())

    def __complex__(self) -> complex:  # type: ignore[override]
        return complex(self.read())

    def __index__(self) -> int:  # type: ignore[override]
        return operator.index(self.read())

    def item(self, *args: Any) -> Any:  # type: ignore[override]
        """Return an element as a Python number; refused where it is traced."""
        return self.read().item(*args)

    def tolist(self) -> Any:  # type: ignore[override]
        """Return the elements as nested lists; refused where they are traced."""
        return self.read().tolist()

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        out = kwargs.get("out") or ()
        if method == "at" or any(isinstance(o, Tracer) for o in out):
            return Tracer.__array_ufunc__(self, ufunc, method, *inputs, **kwargs)
        if not out and not kwargs and method == "__call__":
            return Tracer.__array_ufunc__(self, ufunc, method, *inputs)
        if out or not any(isinstance(frozen(x), Tracer) for x in inputs):
            return getattr(ufunc, method)(*map(frozen, inputs), **frozen(kwargs))
        return Tracer.__array_ufunc__(self, ufunc, method, *inputs, **kwargs)

    def __getitem__(self, idx: Any) -> Any:
        idx = frozen(idx)
        template, arrays = split_index(idx)
        value = getitem(self.read(), *arrays, template=template)
        # Of an integer in an array of no axes NumPy makes a copy, other than of the integer.
        array = any(type(part) is np.ndarray for part in (idx if type(idx) is tuple else (idx,)))
        view = _is_view(template, arrays)
        if view and _is_element(template, self):
            return value
        return self._part(template, arrays, value) if view and not array else writable(value)

    def _part(self, template: Any, arrays: Any, value: Any) -> Any:
        return View(self, template, arrays, value)

    def __iter__(self) -> Iterator[Any]:
        if not self.shape:
            raise TypeError("iteration over a 0-d array")
        return (self[k] for k in range(self.shape[0]))

    def __setitem__(self, idx: Any, value: Any) -> None:  # type: ignore[override]
        self.check()
        template, arrays = split_index(frozen(idx))
        if type(value) is View and value.is_part(self, template, arrays):
            return  # the last step of `b[1:3] += v`, which has written already
        x = self.read()
        part = getitem.abstract(x, *arrays, template=template)
        value = _assigned(value, part.shape, part.dtype)
        self.write(index_set(x, value, *arrays, template=template))

    # --- methods of ndarray that write, or make a new array --------------------------------------

    def fill(self, value: Any) -> None:
        """Set all elements to one value."""
        self[...] = value

    def sort(self, axis: int = -1, kind: Any = None, order: Any = None, **options: Any) -> None:
        """Sort in place."""
        self.check()
        self.write(FUNCTIONS[np.sort](self.read(), axis, kind, order, **options))

    def partition(self, kth: Any, axis: int = -1, kind: str = "introselect") -> None:
        """Partition in place."""
        self.check()
        self.write(FUNCTIONS[np.partition](self.read(), kth, axis, kind))

    def put(self, indices: Any, values: Any, mode: str = "raise") -> None:
        """Set elements of the flattened array, as np.put."""
        FUNCTIONS[np.put](self, indices, values, mode)

    def copy(self, order: str = "C") -> Any:
        """Return a copy, which may be written."""
        return FUNCTIONS[np.copy](self)

    __copy__ = copy

    def __deepcopy__(self, memo: Any) -> Any:
        return self.copy()

    def flatten(self, order: str = "C") -> Any:
        """Return the elements along one axis: a copy, which may be written."""
        return FUNCTIONS[np.copy](FUNCTIONS[np.ravel](self, order))

    def astype(self, dtype: Any, *args: Any, copy: bool = True, **kwargs: Any) -> Any:
        """Return the array in another dtype: a copy, unless it has this dtype and copy is False."""
        if np.dtype(dtype) == self.dtype:
            return self.copy() if copy else self
        return writable(Tracer.astype(self, dtype, *args, **kwargs))  # type: ignore[attr-defined]


class Buffer(Mutable):
    """An array in memory of its own."""

    __slots__ = ("scope",)

    scope: Scope | None

    def __init__(self, value: Any, where: Scope) -> None:
        self._trace = _READING
        self.root = self
        self.version = 0
        self.scope = where
        where.made = True
        self._hold(value)

    def _hold(self, value: Any) -> None:
        if KIND[type(value)] == NUMPY:
            # Read-only: others may keep it, such as a tape. A write makes a new array.
            value = np.asarray(value)
            value = value if value.base is None else value.copy()
            value.flags.writeable = False
        self._value = value

    def read(self) -> Any:
        """Return the contents of the moment."""
        where = scope.get()
        while where is not self.scope and where is not None:
            where.foreign = True
            where = where.parent
        return self._value

    def write(self, value: Any) -> None:
        """Replace the contents."""
        self.check()
        self._hold(value)
        self.version += 1


class View(Mutable):
    """The part of an array that a basic index selects."""

    __slots__ = ("_index", "base")

    def __init__(self, base: Mutable, template: Any, arrays: Any, value: Any) -> None:
        self._trace = _READING
        self.root = base.root
        self.version = base.root.version
        self.base = base
        self._index = template, arrays
        self._value = value

    def is_part(self, base: Mutable, template: Any, arrays: Any) -> bool:
        """Return whether this is base[template], to the best of what is known."""
        mine, own = self._index
        return base is self.base and not own and not arrays and template == mine

    def read(self) -> Any:
        """Return the contents of the moment."""
        x = self.base.read()
        if self.version != self.root.version:
            template, arrays = self._index
            self._value = getitem(x, *arrays, template=template)
            self.version = self.root.version
        return self._value

    def write(self, value: Any) -> None:
        """Replace the contents."""
        template, arrays = self._index
        self.base.write(index_set(self.base.read(), value, *arrays, template=template))


class Snapshot(Mutable):
    """The contents of an array at one moment, in a form that NumPy gives as a view."""

    __slots__ = ()

    def __init__(self, base: Mutable, value: Any) -> None:
        self._trace = _READING
        self.root = base.root
        self.version = base.version if type(base) is Snapshot else base.root.version
        self._value = value

    def read(self) -> Any:
        """Return the contents of the moment."""
        self.root.read()
        if self.version != self.root.version:
            raise InPlaceWriteError(
                f"a view of shape {self.shape} (reshape, transpose, ravel, real, ...) of a traced "
                f"array of shape {self.root.shape} was used after the array had been written, "
                "which in NumPy would change the view. Take the view after the writes, or make it "
                "independent of them: x.reshape(...).copy()."
            )
        return self._value

    def check(self) -> None:
        """Refuse."""
        raise InPlaceWriteError(
            f"a view of shape {self.shape} (reshape, transpose, ravel, real, ...) of a traced "
            f"array of shape {self.root.shape} was written, which in NumPy would change the array. "
            "Write into the array itself (only x[...] with integers and slices gives a view that "
            "can be written), or into a copy: x.reshape(...).copy()."
        )

    def write(self, value: Any) -> None:
        """Replace the contents."""
        self.check()

    def _part(self, template: Any, arrays: Any, value: Any) -> Any:
        return Snapshot(self, value)


# --- in and out ----------------------------------------------------------------------------------


def writable(value: Any) -> Any:
    """Return a new array as one that can be written; outside of transformations, as it is."""
    where = scope.get()
    if where is None or isinstance(value, Mutable) or not hasattr(value, "shape"):
        return value
    if KIND[type(value)] == NUMPY or isinstance(value, Tracer):
        return Buffer(value, where)
    return value


def frozen(x: Any) -> Any:
    """Return x with arrays that can be written replaced by their contents of the moment.

    Looks into lists, tuples and dicts.
    """
    if isinstance(x, Mutable):
        return x.read()
    cls = type(x)
    if cls is tuple or cls is list:
        return cls(map(frozen, x))
    if cls is dict:
        return {k: frozen(v) for k, v in x.items()}
    return x


def released(x: Any) -> Any:
    """Return x as it leaves a transformed function: never an array that can be written later."""
    if not isinstance(x, Mutable):
        return x
    value = x.read()
    return value.copy() if type(value) is np.ndarray else value


# --- writing -------------------------------------------------------------------------------------


def _assigned(value: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """Return a value as `x[index] = value` brings it into elements of this shape and dtype."""
    if isinstance(value, list | tuple):
        value = FUNCTIONS[np.asarray](value)
    value = frozen(value)
    given = shape_of(value)
    extra = len(given) - len(shape)
    target = given[extra:] if extra > 0 and set(given[:extra]) == {1} else given
    try:
        fits = np.broadcast_shapes(target, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(
            f"could not broadcast input array from shape {given} into shape {shape}: assign a "
            "value whose axes have the lengths of the indexed elements, or 1."
        )
    value = reshape(value, shape=target) if target is not given else value
    if dtype_of(value) == dtype:
        return value
    if dtype_of(value).kind == "c" and dtype.kind != "c":
        raise InPlaceWriteError(
            f"complex values of shape {given} are assigned into an array of dtype {dtype}, which "
            "would discard the imaginary part. Assign value.real, or make the array complex."
        )
    return cast(value, dtype)


def store(target: Mutable, value: Any, what: str, broadcast: bool = False) -> Any:
    """Write a result into an array, as NumPy's out= does, and return the array.

    Args:
      target: The array.
      value: The result: of the shape of the array, of a dtype that can be cast to its dtype
        within the same kind.
      what: Names the operation in messages.
      broadcast: Whether the result may be repeated to the shape of the array.

    Raises:
      InPlaceWriteError: The dtypes differ in kind.
      ShapeError: The shape does not fit.
    """
    target.check()
    shape, dtype = shape_of(value), dtype_of(value)
    if shape != target.shape:
        if not broadcast or np.broadcast_shapes(shape, target.shape) != target.shape:
            raise ShapeError(
                f"{what}: non-broadcastable output operand with shape {target.shape} doesn't "
                f"match the broadcast shape {shape}. Make the array of the shape of the result."
            )
        value = broadcast_to(value, target.shape)
    if not np.can_cast(dtype, target.dtype, "same_kind"):
        raise InPlaceWriteError(
            f"{what}: cannot cast the result from {dtype} to {target.dtype} with casting rule "
            "'same_kind'. Make the array of the dtype of the result (np.zeros_like(x, dtype=...)), "
            "or convert with .astype."
        )
    if dtype != target.dtype:
        value = cast(value, target.dtype)
    elif KIND[type(value)] == NUMPY:
        value = np.array(value)  # it may be memory of someone else
    target.write(value)
    return target


def _in_place(symbol: str, compute: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def method(self: Mutable, other: Any) -> Any:
        self.check()
        return store(self, compute(self.read(), frozen(other)), f"x {symbol}= y")

    return method


for _name, _symbol in {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**",
    "matmul": "@", "and": "&", "or": "|", "xor": "^", "lshift": "<<", "rshift": ">>",
}.items():  # fmt: skip
    setattr(Mutable, f"__i{_name}__", _in_place(_symbol, getattr(operator, f"__{_name}__")))

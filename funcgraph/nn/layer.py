"""Layers: pure (init, apply) pairs, and shapes that carry a dtype.

    Layer(init, apply)            init(key, input_shape) -> (output_shape, params)
                                  apply(params, x, *, key=None, train=False) -> y
    StatefulLayer(init, apply)    init(key, input_shape) -> (output_shape, params, state)
                                  apply(params, state, x, *, key=None, train=False) -> (y, state)

Layers with several inputs take several shapes and several arrays. May import `core`, `tree`,
`transforms`, `nn.symbols`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, overload

import numpy as np

from funcgraph import tree
from funcgraph.core.aval import Aval, aval_of, is_inexact
from funcgraph.errors import FuncgraphError, LayerError, ShapeError, user_line
from funcgraph.transforms.stage import eval_shape

__all__ = [
    "Layer",
    "Shape",
    "StatefulLayer",
    "as_layer",
    "as_shape",
    "define",
    "fn",
    "keywords_of",
    "locate",
]


# --- shapes --------------------------------------------------------------------------------------


class Shape(tuple[int, ...]):
    """The shape of an array, a tuple of ints, with the dtype of its elements.

    The length -1 stands for a batch axis whose length is not known yet.

    Args:
      lengths: Lengths of the axes.
      dtype: Type of the elements.

    Example:
      >>> shape = Shape((-1, 784))
      >>> shape[-1], shape.dtype, shape
      (784, dtype('float32'), float32[-1,784])
    """

    dtype: np.dtype[Any]

    def __new__(cls, lengths: Sequence[int], dtype: Any = np.float32) -> Shape:
        """Make a shape."""
        self = super().__new__(cls, (int(n) for n in lengths))
        self.dtype = np.dtype(dtype)
        return self

    def __repr__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self))}]"

    @property
    def float_dtype(self) -> np.dtype[Any]:
        """The dtype of parameters for this input; float32 where its own is no float."""
        return self.dtype if is_inexact(self.dtype) else np.dtype(np.float32)


def as_shape(given: Any) -> Any:
    """Return what stands for an input as Shapes: a shape, an array, a ShapeDtype; or a pytree."""
    if given is None or isinstance(given, Shape):
        return given
    if hasattr(given, "shape") and hasattr(given, "dtype"):
        return Shape(given.shape, given.dtype)
    if isinstance(given, dict):
        return {k: as_shape(v) for k, v in given.items()}
    if isinstance(given, tuple | list):
        if all(hasattr(n, "__index__") for n in given):
            return Shape(given)
        return tuple(map(as_shape, given))
    raise ShapeError(
        f"{given!r} is no input shape. Pass a tuple of ints (-1 for the batch axis), an array, or "
        "a ShapeDtype."
    )


def _is_shape(x: Any) -> bool:
    return isinstance(x, Shape)


def with_batch(shapes: Any, size: int) -> Any:
    """Return the avals of shapes whose unknown length is `size`."""
    return tree.map(
        lambda s: Aval(tuple(size if n == -1 else n for n in s), s.dtype), shapes, is_leaf=_is_shape
    )


def output_shape(layer: Any, params: Any, state: Any, inputs: Sequence[Any]) -> Any:
    """Return the shapes of a layer's outputs by abstract evaluation of its `apply`.

    An unknown batch length is tried as 2 and as 3: where the results differ, it is unknown too.
    """
    if isinstance(layer, StatefulLayer):
        call = lambda params, state, *xs: layer.apply(params, state, *xs)[0]  # noqa: E731
    else:
        call = lambda params, state, *xs: layer.apply(params, *xs)  # noqa: E731
    unknown = any(-1 in s for s in tree.leaves(inputs, is_leaf=_is_shape))
    small = eval_shape(call, params, state, *with_batch(tuple(inputs), 2))
    large = eval_shape(call, params, state, *with_batch(tuple(inputs), 3)) if unknown else small

    def merge(a: Aval, b: Aval) -> Shape:
        return Shape([m if m == n else -1 for m, n in zip(a.shape, b.shape, strict=True)], a.dtype)

    return tree.map(merge, small, large)


# --- pairs ---------------------------------------------------------------------------------------


class _Pair(NamedTuple):
    init: Callable[..., Any]
    apply: Callable[..., Any]


class _Named(_Pair):
    """A pair with what messages and models say about it."""

    kind: str
    line: str
    accepts: frozenset[str]
    random: bool

    def __new__(
        cls,
        init: Callable[..., Any],
        apply: Callable[..., Any],
        kind: str | None = None,
        random: bool | None = None,
    ) -> Any:
        """Make a layer of two functions."""
        for f in (init, apply):
            if not callable(f):
                raise TypeError(f"a layer is a pair of functions (init, apply), got {f!r}.")
        self = super().__new__(cls, init, apply)
        self.kind = kind or _name_of(apply)
        self.line = user_line()
        self.accepts = keywords_of(apply)
        self.random = "key" in self.accepts if random is None else random
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.kind}>"

    def __call__(self: Any, *inputs: Any, name: str | None = None) -> Any:
        """Return the symbol of this layer applied to symbols: see `nn.Input`."""
        from funcgraph.nn.symbols import Symbol  # symbols are made of layers

        if not inputs or not all(isinstance(x, Symbol) for x in inputs):
            got = ", ".join(type(x).__name__ for x in inputs)
            raise TypeError(
                f"a layer is called on nn.Input() and what comes of it, got ({got}). For arrays: "
                "layer.apply(params, x)."
            )
        return Symbol(self, inputs, name)


class Layer(_Named):
    """A pair of pure functions without state.

    Args:
      init: init(key, input_shape) -> (output_shape, params); of several inputs: several shapes.
      apply: apply(params, x, *, key=None, train=False) -> y; the keywords may be left out.
      kind: What messages call it; default: the name of `apply`.
      random: Whether `apply` needs a key when it trains; default: whether it takes one.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> scale = Layer(
      ...     lambda key, shape: (shape, np.ones(shape[-1], np.float32)), lambda w, x: w * x
      ... )
      >>> init, apply = fg.nn.serial(fg.nn.Dense(3), scale)
      >>> shape, params = init(fg.random.key(0), (-1, 2))
      >>> shape, apply(params, np.zeros((4, 2), np.float32)).shape
      (float32[-1,3], (4, 3))
    """


class StatefulLayer(_Named):
    """A pair of pure functions with a state that changes while the layer trains.

    Args:
      init: init(key, input_shape) -> (output_shape, params, state).
      apply: apply(params, state, x, *, key=None, train=False) -> (y, state).
      kind: What messages call it; default: the name of `apply`.
      random: Whether `apply` needs a key when it trains; default: whether it takes one.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> counter = StatefulLayer(
      ...     lambda key, shape: (shape, {}, np.int32(0)),
      ...     lambda params, n, x, *, train=False: (x, n + train),
      ... )
      >>> _, params, state = counter.init(fg.random.key(0), (-1, 2))
      >>> counter.apply(params, state, np.zeros(2), train=True)[1]
      np.int32(1)
    """


def _name_of(f: Any) -> str:
    name = getattr(f, "__name__", type(f).__name__)
    return "layer" if name in ("<lambda>", "apply", "partial") else name


def keywords_of(f: Any) -> frozenset[str]:
    """Return which of `key` and `train` a function takes."""
    try:
        parameters = inspect.signature(f).parameters
    except (TypeError, ValueError):
        return frozenset()
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return frozenset(["key", "train"])
    return frozenset(n for n in ("key", "train") if n in parameters)


@overload
def define(
    kind: str,
    parameters: Callable[..., Any] | None,
    apply: Callable[..., Any],
    state: None = None,
    random: bool = False,
) -> Layer: ...


@overload
def define(
    kind: str,
    parameters: Callable[..., Any] | None,
    apply: Callable[..., Any],
    state: Callable[..., Any],
    random: bool = False,
) -> StatefulLayer: ...


def define(
    kind: str,
    parameters: Callable[..., Any] | None,
    apply: Callable[..., Any],
    state: Callable[..., Any] | None = None,
    random: bool = False,
) -> Any:
    """Return a layer whose output shapes come from abstract evaluation.

    Args:
      kind: What messages and models call it.
      parameters: parameters(key, *input_shapes) -> params; None: there are none.
      apply: As of Layer; of StatefulLayer, if `state` is given.
      state: state(*input_shapes) -> the first state.
      random: Whether `apply` needs a key when it trains.

    Returns:
      A Layer or a StatefulLayer. Its parameters should have the `float_dtype` of the input.
    """

    def init(key: Any, *given: Any) -> Any:
        shapes = tuple(map(as_shape, given))
        params = parameters(key, *shapes) if parameters else {}
        if state is None:
            return output_shape(layer, params, None, shapes), params
        first = state(*shapes)
        return output_shape(layer, params, first, shapes), params, first

    layer = (Layer if state is None else StatefulLayer)(init, apply, kind, random)
    return layer


def fn(f: Callable[..., Any], kind: str | None = None) -> Layer:
    """Return a function of arrays as a layer without parameters.

    In `serial` and the like a plain function stands for `fn(function)`.

    Args:
      f: A function of as many arrays as the layer has inputs.
      kind: What messages and models call it; default: the function's name.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> fn(np.tanh).init(fg.random.key(0), (-1, 3))
      (float32[-1,3], {})
    """
    if not callable(f):
        raise TypeError(f"nn.fn needs a function, got {f!r}.")
    return define(kind or _name_of(f), None, lambda params, *xs, key=None, train=False: f(*xs))


def as_layer(given: Any) -> Layer | StatefulLayer:
    """Return what the user gave for a layer as one: a layer, a pair (init, apply), a function."""
    if isinstance(given, Layer | StatefulLayer):
        return given
    if isinstance(given, tuple) and len(given) == 2 and all(map(callable, given)):
        return Layer(*given)  # type: ignore[no-any-return]
    if callable(given):
        return fn(given)
    raise TypeError(
        f"{given!r:.80} is no layer: pass nn.Layer(init, apply), a pair of functions, or a "
        "function."
    )


# --- where an error happened ---------------------------------------------------------------------


def locate(error: Exception, name: str, layer: Any, inputs: Sequence[Any]) -> None:
    """Add to an error the path of the layer in which it was raised, line and shapes.

    Each model around the layer calls this on the error's way out, and puts its own name in front.
    """
    path, rest = getattr(error, "layer_path", (None, ""))
    if path is None:
        shapes = ", ".join(_described(x) for x in inputs)
        rest = f"{layer.kind}, created at {layer.line}; its inputs: {shapes}"
    else:
        path = f"/{path}"
    path = name + (path or "")
    error.layer_path = (path, rest)  # type: ignore[attr-defined]
    text = f"in layer {path!r} ({rest})"
    if isinstance(error, FuncgraphError):
        error.layer = text
    else:
        error.__notes__ = [n for n in getattr(error, "__notes__", []) if "in layer " not in n]
        error.add_note(text)


def _described(x: Any) -> str:
    leaves = [x] if _is_shape(x) else tree.leaves(x)
    return ", ".join(repr(v) if _is_shape(v) else str(aval_of(v)) for v in leaves)


def checked_init(layer: Any, key: Any, shapes: Sequence[Any]) -> tuple[Any, Any, Any]:
    """Return (output shape, params, state or None) of any layer's init, checked.

    What a layer made of plain functions says of its output is compared with its `apply`.
    """
    found = layer.init(key, *shapes)
    stateful = isinstance(layer, StatefulLayer)
    if not isinstance(found, tuple) or len(found) != 2 + stateful:
        wanted = "(output_shape, params, state)" if stateful else "(output_shape, params)"
        raise LayerError(f"init of {layer.kind} must return {wanted}, got {found!r:.80}.")
    shape, params, state = found if stateful else (*found, None)
    if all(_is_shape(s) for s in tree.leaves(shape, is_leaf=_is_shape)):
        return shape, params, state
    actual = output_shape(layer, params, state, shapes)
    if as_shape(shape) != actual:
        raise LayerError(
            f"init of {layer.kind} says that the output has the shape {as_shape(shape)!r}, but "
            f"apply returns {actual!r}."
        )
    return actual, params, state

"""The functional spelling of models: symbols that stand for the values of nodes.

    x = nn.Input()
    h = nn.Dense(64)(x)
    model = nn.Model(x, nn.Dense(10)(np.tanh(h)) + x)

Operators and NumPy's ufuncs on symbols are nodes too. May import `nn.layer`, `ops`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from funcgraph.errors import LayerError, user_line
from funcgraph.nn.layer import Layer, Shape, StatefulLayer, fn

__all__ = ["Input", "Symbol"]


class Symbol:
    """The value of a node: a layer applied to other symbols.

    Args:
      layer: The node's layer; None: an input of the model.
      inputs: What the layer is applied to.
      name: The node's name; default: made from the layer's kind.
    """

    __slots__ = ("inputs", "layer", "line", "name", "shape_hint")
    __array_priority__ = 2000.0

    def __init__(
        self, layer: Layer | StatefulLayer | None, inputs: tuple[Symbol, ...], name: str | None
    ) -> None:
        self.layer = layer
        self.inputs = inputs
        self.name = name
        self.line = user_line()
        self.shape_hint: Shape | None = None

    def __repr__(self) -> str:
        kind = "Input" if self.layer is None else self.layer.kind
        return f"<symbol of {kind}{f' {self.name!r}' if self.name else ''}>"

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Symbol:
        if method != "__call__" or "out" in kwargs:
            raise LayerError(f"np.{ufunc.__name__}.{method} has no meaning on symbols of layers.")
        return _node(lambda *xs: ufunc(*xs, **kwargs), ufunc.__name__, inputs)

    def __getitem__(self, index: Any) -> Symbol:
        return _node(lambda x: x[index], "getitem", (self,))

    def __neg__(self) -> Symbol:
        return _node(operator.neg, "negative", (self,))

    def __bool__(self) -> bool:
        raise LayerError(
            f"{self!r} has no value yet, so Python cannot branch on it: it stands for a node of a "
            "model that is being put together. Write a layer (nn.fn) that uses funcgraph.cond."
        )


def _node(f: Callable[..., Any], kind: str, given: tuple[Any, ...]) -> Symbol:
    """Return the symbol of a function of symbols and constants."""
    symbols = tuple(x for x in given if isinstance(x, Symbol))

    def call(*values: Any) -> Any:
        rest = iter(values)
        return f(*(next(rest) if isinstance(x, Symbol) else x for x in given))

    return Symbol(fn(call, kind), symbols, None)


def _install(name: str, f: Callable[[Any, Any], Any], kind: str) -> None:
    setattr(Symbol, f"__{name}__", lambda self, other: _node(f, kind, (self, other)))
    setattr(Symbol, f"__r{name}__", lambda self, other: _node(f, kind, (other, self)))


for _name, _f, _kind in (
    ("add", operator.add, "add"),
    ("sub", operator.sub, "subtract"),
    ("mul", operator.mul, "multiply"),
    ("truediv", operator.truediv, "divide"),
    ("matmul", operator.matmul, "matmul"),
    ("pow", operator.pow, "power"),
):
    _install(_name, _f, _kind)


def Input(  # noqa: N802  (the name of Keras' functional models)
    shape: Any = None, dtype: Any = np.float32, name: str | None = None
) -> Symbol:
    """Return the symbol of a model's input.

    Args:
      shape: Shape of one example, without the batch axis, if the model shall know it: then
        `model.init(key)` needs no shape.
      dtype: Type of the elements.
      name: The input's name; default: "input".

    Returns:
      A symbol: layers are called on it, and operators and ufuncs applied to it.

    Example:
      >>> import funcgraph as fg
      >>> x = Input((3,))
      >>> model = fg.nn.Model(x, fg.nn.Dense(3)(x) + x)
      >>> model.init(fg.random.key(0))[0]
      float32[-1,3]
    """
    symbol = Symbol(None, (), name)
    if shape is not None:
        lengths = (shape,) if isinstance(shape, int) else tuple(shape)
        symbol.shape_hint = Shape((-1, *lengths), dtype)
    return symbol

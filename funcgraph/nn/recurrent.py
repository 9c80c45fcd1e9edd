"""Recurrent layers: `RNN`, `GRU`, `LSTM`, and both directions.

May import `core`, `numpy`, `random`, `nn.recurrence`, `nn.layer`, `nn.dense`, `nn.initializers`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

import funcgraph.numpy as fnp
from funcgraph.core.aval import dtype_of
from funcgraph.errors import LayerError, ShapeError
from funcgraph.nn.activations import tanh
from funcgraph.nn.dense import _positive
from funcgraph.nn.initializers import Initializer, glorot_uniform, orthogonal, zeros
from funcgraph.nn.layer import Layer, Shape, define
from funcgraph.nn.recurrence import (
    Function,
    gru,
    gru_cell,
    lstm,
    lstm_cell,
    rnn,
    rnn_cell,
    zero_carry,
)
from funcgraph.random.keys import split

__all__ = ["GRU", "LSTM", "RNN", "Bidirectional", "Recurrent"]


class Recurrent(Layer):
    """A layer along sequences, which can also go step by step.

    Its apply is apply(params, x, lengths=None, carry=None, *, reverse=False, return_carry=False,
    key=None, train=False): see `rnn`. It returns y, or (y, carry) if `return_carry`. In a model,
    lengths (and then a carry) may be further inputs: `nn.LSTM(8)(x, lengths)`.

    Attributes:
      step: step(params, carry, x) -> (carry, y) of one step, for loops that make their own inputs;
        `functools.partial(layer.step, params)` is what `scan` takes.
      initial_carry: initial_carry(params, batch=()) -> zeros.
    """

    step: Callable[[Any, Any, Any], tuple[Any, Any]]
    initial_carry: Callable[..., Any]


class _Kind(NamedTuple):
    """What differs between recurrent layers."""

    name: str
    gates: int
    states: int  # parts of the carry
    run: Callable[..., Any]
    step: Callable[..., Any]


def _gates(key: Any, make: Initializer, rows: int, hidden: int, n: int, dtype: Any) -> Any:
    """Return n matrices (rows, hidden) side by side: each gate is initialised by itself."""
    return fnp.concatenate([make(k, (rows, hidden), dtype) for k in split(key, n)], axis=-1)


def _recurrent(
    kind: _Kind,
    hidden: int,
    more: Callable[[Any, Any], dict[str, Any]],
    inits: tuple[Initializer, Initializer, Initializer],
    last: bool,
    return_carry: bool,
) -> Recurrent:
    """Return a layer of a function like `lstm`; more(key, dtype) -> its further parameters."""
    w_init, h_init, b_init = inits
    both = return_carry

    def parameters(key: Any, shape: Shape, *_: Any) -> dict[str, Any]:
        if len(shape) < 2:
            raise ShapeError(
                f"{kind.name} needs an input of shape (..., time, features), got {shape}."
            )
        x_key, h_key, b_key, key = split(key, 4)
        dtype = shape.float_dtype
        params = {
            "w_xh": _gates(x_key, w_init, shape[-1], hidden, kind.gates, dtype),
            "w_hh": _gates(h_key, h_init, hidden, hidden, kind.gates, dtype),
            "b_h": b_init(b_key, (kind.gates * hidden,), dtype),
        }
        return params | more(key, dtype)

    def apply(
        params: Any,
        x: Any,
        lengths: Any = None,
        carry: Any = None,
        *,
        reverse: bool = False,
        return_carry: bool = both,
        key: Any = None,
        train: bool = False,
    ) -> Any:
        y, end = kind.run(params, x, lengths, carry, reverse=reverse, last=last)
        return (y, end) if return_carry else y

    layer: Recurrent = Recurrent(define(kind.name, parameters, apply).init, apply, kind.name, False)
    layer.step = kind.step
    layer.initial_carry = lambda params, batch=(): zero_carry(
        params, batch, kind.states, dtype_of(params["w_hh"])
    )
    return layer


def RNN(  # noqa: N802  (layers are named like this in every library)
    hidden: int,
    outputs: int | None = None,
    g1: Function = tanh,
    g2: Function | None = None,
    *,
    w_init: Initializer | None = None,
    h_init: Initializer | None = None,
    b_init: Initializer = zeros,
    last: bool = False,
    return_carry: bool = False,
) -> Recurrent:
    """Return a simple recurrent layer: see `rnn`.

    h_t = g1(x_t W_xh + h_{t-1} W_hh + b_h),  f_t = g2(h_t W_hy + b_y)

    Args:
      hidden: Length of h.
      outputs: Length of f. None: f_t = g2(h_t), without W_hy and b_y.
      g1: Function of the hidden values.
      g2: Function of the outputs. None: the identity.
      w_init: Initialiser of w_xh and w_hy; default: glorot_uniform().
      h_init: Initialiser of w_hh; default: orthogonal().
      b_init: Initialiser of the biases.
      last: Whether the output is that of the step that comes last, alone.
      return_carry: Whether the output is (y, carry).

    Returns:
      A Recurrent layer from (..., t, d) to (..., t, outputs or hidden).

    Raises:
      ShapeError: The input, the lengths or the carry do not fit.
      DtypeError: The lengths are no integers.
      RangeError: A length is negative, or larger than the number of steps.

    Example:
      >>> import funcgraph as fg
      >>> RNN(8, 3).init(fg.random.key(0), (-1, 10, 4))[0]
      float32[-1,10,3]
    """
    _positive("RNN", hidden)
    if outputs is not None:
        _positive("RNN", outputs)
    w_init = w_init or glorot_uniform()

    def more(key: Any, dtype: Any) -> dict[str, Any]:
        if outputs is None:
            return {}
        w_key, b_key = split(key)
        return {
            "w_hy": w_init(w_key, (hidden, outputs), dtype),
            "b_y": b_init(b_key, (outputs,), dtype),
        }

    run = lambda *args, **options: rnn(*args, g1=g1, g2=g2, **options)  # noqa: E731
    step = lambda params, carry, x: rnn_cell(params, carry, x, g1=g1, g2=g2)  # noqa: E731
    inits = (w_init, h_init or orthogonal(), b_init)
    return _recurrent(_Kind("RNN", 1, 1, run, step), hidden, more, inits, last, return_carry)


def GRU(  # noqa: N802
    hidden: int,
    *,
    w_init: Initializer | None = None,
    h_init: Initializer | None = None,
    b_init: Initializer = zeros,
    last: bool = False,
    return_carry: bool = False,
) -> Recurrent:
    """Return a layer of gated recurrent units: see `gru`.

    PyTorch's weights fit transposed: w_xh = weight_ih.T, w_hh = weight_hh.T, b_h = bias_ih plus the
    parts r and z of bias_hh, b_hn = the part n of bias_hh.

    Args:
      hidden: Length of h.
      w_init: Initialiser of each gate's part of w_xh; default: glorot_uniform().
      h_init: Initialiser of each gate's part of w_hh; default: orthogonal().
      b_init: Initialiser of the biases.
      last: Whether the output is that of the step that comes last, alone.
      return_carry: Whether the output is (y, carry).

    Returns:
      A Recurrent layer from (..., t, d) to (..., t, hidden).

    Raises:
      ShapeError: The input, the lengths or the carry do not fit.
      DtypeError: The lengths are no integers.
      RangeError: A length is negative, or larger than the number of steps.

    Example:
      >>> import funcgraph as fg
      >>> GRU(8).init(fg.random.key(0), (-1, 10, 4))[0]
      float32[-1,10,8]
    """
    _positive("GRU", hidden)
    more = lambda key, dtype: {"b_hn": b_init(key, (hidden,), dtype)}  # noqa: E731
    inits = (w_init or glorot_uniform(), h_init or orthogonal(), b_init)
    return _recurrent(_Kind("GRU", 3, 1, gru, gru_cell), hidden, more, inits, last, return_carry)


def LSTM(  # noqa: N802
    hidden: int,
    *,
    forget_bias: float = 1.0,
    w_init: Initializer | None = None,
    h_init: Initializer | None = None,
    b_init: Initializer = zeros,
    last: bool = False,
    return_carry: bool = False,
) -> Recurrent:
    """Return a layer of long short-term memory: see `lstm`.

    PyTorch's weights fit transposed: w_xh = weight_ih.T, w_hh = weight_hh.T, b_h = bias_ih +
    bias_hh.

    Args:
      hidden: Length of h and of c.
      forget_bias: What is added to the forget gate's biases at the start, so that c lasts.
      w_init: Initialiser of each gate's part of w_xh; default: glorot_uniform().
      h_init: Initialiser of each gate's part of w_hh; default: orthogonal().
      b_init: Initialiser of the biases.
      last: Whether the output is that of the step that comes last, alone.
      return_carry: Whether the output is (y, carry).

    Returns:
      A Recurrent layer from (..., t, d) to (..., t, hidden).

    Raises:
      ShapeError: The input, the lengths or the carry do not fit.
      DtypeError: The lengths are no integers.
      RangeError: A length is negative, or larger than the number of steps.

    Example:
      >>> import funcgraph as fg
      >>> model = fg.nn.serial(LSTM(8), LSTM(8, last=True), fg.nn.Dense(2))
      >>> model.init(fg.random.key(0), (-1, 10, 4))[0]
      float32[-1,2]

    Source:
      forget_bias: Jozefowicz, Zaremba and Sutskever, "An empirical exploration of recurrent network
      architectures", 2015.
    """
    _positive("LSTM", hidden)

    def biases(key: Any, shape: Sequence[int], dtype: Any) -> Any:
        forget = np.repeat([0.0, forget_bias, 0.0, 0.0], hidden).astype(dtype)
        return b_init(key, shape, dtype) + forget

    inits = (w_init or glorot_uniform(), h_init or orthogonal(), biases)
    more: Callable[..., dict[str, Any]] = lambda key, dtype: {}  # noqa: E731
    return _recurrent(_Kind("LSTM", 4, 2, lstm, lstm_cell), hidden, more, inits, last, return_carry)


def Bidirectional(layer: Layer, *, return_carry: bool = False) -> Layer:  # noqa: N802
    """Return the layer that runs a recurrent layer in both directions, outputs side by side.

    y_t = [forward_t, backward_t]. The backward one starts at each sequence's own end.

    Args:
      layer: `RNN`, `GRU` or `LSTM`. Both directions are of this kind, with parameters of their own.
      return_carry: Whether the output is (y, (forward carry, backward carry)).

    Returns:
      A Layer with the parameters `forward` and `backward`, whose apply is
      apply(params, x, lengths=None, carry=None, *, return_carry=False, key=None, train=False), with
      the carry (forward carry, backward carry).

    Raises:
      LayerError: The layer is not a recurrent one.

    Example:
      >>> import funcgraph as fg
      >>> Bidirectional(GRU(8)).init(fg.random.key(0), (-1, 10, 4))[0]
      float32[-1,10,16]

    Source:
      Schuster and Paliwal, "Bidirectional recurrent neural networks", 1997.
    """
    if not isinstance(layer, Recurrent):
        raise LayerError(
            f"Bidirectional needs a recurrent layer (nn.RNN, nn.GRU, nn.LSTM), got {layer!r:.80}."
        )
    both = return_carry

    def parameters(key: Any, *shapes: Any) -> dict[str, Any]:
        keys = dict(zip(("forward", "backward"), split(key), strict=True))
        return {name: layer.init(k, *shapes)[1] for name, k in keys.items()}

    def apply(
        params: Any,
        x: Any,
        lengths: Any = None,
        carry: Any = None,
        *,
        return_carry: bool = both,
        key: Any = None,
        train: bool = False,
    ) -> Any:
        starts = (None, None) if carry is None else carry
        ys, ends = zip(
            *(
                layer.apply(params[name], x, lengths, c, reverse=back, return_carry=True)
                for name, c, back in zip(
                    ("forward", "backward"), starts, (False, True), strict=True
                )
            ),
            strict=True,
        )
        y = fnp.concatenate(ys, axis=-1)
        return (y, ends) if return_carry else y

    return define("Bidirectional", parameters, apply)

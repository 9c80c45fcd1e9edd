"""Recurrent nets as pure functions: `rnn`, `gru`, `lstm`, and one step of each.

    y, carry = lstm(params, x)              all steps of a sequence
    carry, y = lstm_cell(params, carry, x)  one step

Sequences are (..., time, features). The products with the inputs of all steps are one product
before the loop, which runs along a leading time axis.
May import `core`, `ops`, `numpy`, `control`, `nn.activations`, `nn.lengths`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import funcgraph.numpy as fnp
from funcgraph import tree
from funcgraph.control.loops import scan
from funcgraph.core.aval import dtype_of, ndim_of, shape_of
from funcgraph.core.trace import KIND, NUMPY
from funcgraph.errors import ShapeError
from funcgraph.nn.activations import sigmoid, tanh
from funcgraph.nn.lengths import checked_lengths
from funcgraph.ops.structural import moved, reshape, where

__all__ = ["gru", "gru_cell", "lstm", "lstm_cell", "rnn", "rnn_cell", "zero_carry"]

Function = Callable[[Any], Any]
# update(params, carry, z) -> carry, where z = x w_xh + b_h
Update = Callable[[Any, Any, Any], Any]

# --- the loop ------------------------------------------------------------------------------------


def _hidden(carry: Any) -> Any:
    """Return h of a carry h or (h, c)."""
    return carry[0] if isinstance(carry, tuple) else carry


def _project(params: Any, x: Any) -> Any:
    """Return x w_xh + b_h as one product of matrices, whatever the leading axes."""
    *lead, d = shape_of(x)
    flat = reshape(x, shape=(math.prod(lead), d)) if len(lead) != 1 else x
    z = flat @ params["w_xh"] + params["b_h"]
    return reshape(z, shape=(*lead, shape_of(z)[-1])) if len(lead) != 1 else z


def _check_inputs(params: Any, x: Any, axes: str) -> None:
    d = shape_of(params["w_xh"])[0]
    needed = 2 if "time" in axes else 1
    if ndim_of(x) < needed or shape_of(x)[-1] != d:
        raise ShapeError(
            f"a recurrent layer expects an input of shape (..., {axes}{d}), because its w_xh has "
            f"the shape {shape_of(params['w_xh'])}, got {shape_of(x)}."
        )


def zero_carry(params: Any, batch: Sequence[int], states: int, dtype: Any) -> Any:
    """Return zeros (*batch, h), or a tuple of them where the carry has several parts."""
    h = np.zeros((*batch, shape_of(params["w_hh"])[0]), dtype)
    return h if states == 1 else (h,) * states


def _check_carry(carry: Any, params: Any, batch: tuple[int, ...], states: int) -> None:
    shape = (*batch, shape_of(params["w_hh"])[0])
    several = isinstance(carry, tuple | list)
    shapes = [shape_of(part) for part in (carry if several else [carry])]
    if several != (states > 1) or shapes != [shape] * states:
        wanted = f"an array of shape {shape}" if states == 1 else f"(h, c), both of shape {shape}"
        got = f"a tuple of the shapes {shapes}" if several else f"an array of shape {shapes[0]}"
        raise ShapeError(f"the carry must be {wanted}, got {got}.")


def _valid(lengths: Any, time: int, batch: tuple[int, ...]) -> Any:
    """Return bools (time, *batch, 1): which steps are within each sequence."""
    lengths = np.asarray(lengths) if KIND[type(lengths)] == NUMPY else lengths
    if shape_of(lengths) != batch:
        raise ShapeError(
            f"lengths must have the shape {batch}, one number for each sequence, got "
            f"{shape_of(lengths)}."
        )
    steps = np.arange(time).reshape(time, *[1] * len(batch))
    return fnp.expand_dims(steps < checked_lengths(lengths, time), -1)


def _run(
    update: Update,
    states: int,
    params: Any,
    x: Any,
    lengths: Any,
    carry: Any,
    reverse: bool,
    last: bool,
    read: Function | None = None,
) -> tuple[Any, Any]:
    """Return (y, last carry): y_t = read(h_t) for all steps, or for the last alone."""
    _check_inputs(params, x, "time, ")
    time, batch = shape_of(x)[-2], shape_of(x)[:-2]
    x = moved(x, ndim_of(x) - 2, 0)
    valid = None if lengths is None else _valid(lengths, time, batch)
    if valid is not None:
        # What is in the padding, nan perhaps, is nothing to multiply with: 0 * nan is nan.
        x = where(valid, x, dtype_of(x).type(0))
    z = _project(params, x)
    if carry is None:
        carry = zero_carry(params, batch, states, dtype_of(z))
    _check_carry(carry, params, batch, states)
    carry = tuple(carry) if states > 1 else carry

    def step(carry: Any, row: Any) -> tuple[Any, Any]:
        z, inside = row
        new = update(params, carry, z)
        if inside is not None:
            new = tree.map(lambda a, b: where(inside, a, b), new, carry)
        return new, None if last else _hidden(new)

    end, h = scan(step, carry, (z, valid), length=time, reverse=reverse)
    h = _hidden(end) if last else h
    y = h if read is None else read(h)
    if last:
        return y, end
    if valid is not None:
        y = where(valid, y, dtype_of(y).type(0))
    return moved(y, 0, ndim_of(y) - 2), end


# --- kinds ---------------------------------------------------------------------------------------


def _update_rnn(g1: Function) -> Update:
    return lambda params, h, z: g1(z + h @ params["w_hh"])


def _reader(params: Any, g2: Function | None) -> Function:
    """Return the function from h_t to f_t."""

    def read(h: Any) -> Any:
        y = h @ params["w_hy"] + params["b_y"] if "w_hy" in params else h
        return y if g2 is None else g2(y)

    return read


def rnn(
    params: Any,
    x: Any,
    lengths: Any = None,
    carry: Any = None,
    *,
    g1: Function = tanh,
    g2: Function | None = None,
    reverse: bool = False,
    last: bool = False,
) -> tuple[Any, Any]:
    """Run a simple recurrent net along sequences.

    h_t = g1(x_t W_xh + h_{t-1} W_hh + b_h),  f_t = g2(h_t W_hy + b_y)

    Args:
      params: Dict of w_xh (d, h), w_hh (h, h), b_h (h,) and, where f_t is not g2(h_t), w_hy (h, o)
        and b_y (o,).
      x: Sequences (..., t, d).
      lengths: Integers (...): how many steps of each sequence count. Steps past the end leave the
        carry as it is and have the output 0, whatever is in x there. Traced ones are cut to [0, t].
        None: all count.
      carry: h_0 (..., h). None: zeros.
      g1: Function of the hidden values.
      g2: Function of the outputs. None: the identity.
      reverse: Whether to start at the end of each sequence and go back; f_t stays beside x_t.
      last: Whether to return only the output of the step that comes last.

    Returns:
      (f, h): f (..., t, o), or (..., o) if `last`; and the carry h (..., h) after the last step.

    Raises:
      ShapeError: x, lengths or carry do not fit the parameters, or each other.
      DtypeError: lengths are no integers.
      RangeError: One of them is not in [0, t].

    Example:
      >>> import numpy as np
      >>> one = {"w_xh": np.eye(1), "w_hh": np.eye(1), "b_h": np.zeros(1)}
      >>> f, h = rnn(one, np.ones((3, 1)), g1=lambda x: x)
      >>> f.ravel(), h
      (array([1., 2., 3.]), array([3.]))

    Source:
      Elman, "Finding structure in time", 1990.
    """
    read = _reader(params, g2)
    return _run(_update_rnn(g1), 1, params, x, lengths, carry, reverse, last, read)


def rnn_cell(
    params: Any, carry: Any, x: Any, *, g1: Function = tanh, g2: Function | None = None
) -> tuple[Any, Any]:
    """Do one step of `rnn`: return (h_t, f_t) for h_{t-1} (..., h) and x_t (..., d).

    Example:
      >>> import numpy as np
      >>> one = {"w_xh": np.eye(1), "w_hh": np.eye(1), "b_h": np.zeros(1)}
      >>> rnn_cell(one, np.ones(1), np.ones(1), g1=lambda x: x)
      (array([2.]), array([2.]))
    """
    h = _step(_update_rnn(g1), 1, params, carry, x)
    return h, _reader(params, g2)(h)


def _step(update: Update, states: int, params: Any, carry: Any, x: Any) -> Any:
    _check_inputs(params, x, "")
    _check_carry(carry, params, shape_of(x)[:-1], states)
    return update(params, carry, _project(params, x))


def _update_gru(params: Any, h: Any, z: Any) -> Any:
    from_h = h @ params["w_hh"]
    n = shape_of(h)[-1]
    r, u = fnp.split(sigmoid(z[..., : 2 * n] + from_h[..., : 2 * n]), 2, axis=-1)
    new = tanh(z[..., 2 * n :] + r * (from_h[..., 2 * n :] + params["b_hn"]))
    return new + u * (h - new)


def gru(
    params: Any,
    x: Any,
    lengths: Any = None,
    carry: Any = None,
    *,
    reverse: bool = False,
    last: bool = False,
) -> tuple[Any, Any]:
    """Run gated recurrent units along sequences.

    r = σ(x W_xr + b_r + h W_hr),  z = σ(x W_xz + b_z + h W_hz),
    n = tanh(x W_xn + b_n + r (h W_hn + b_hn)),  h' = (1 - z) n + z h

    The reset gate r multiplies the product of h, as in PyTorch, cuDNN and Keras; in the paper it
    multiplies h.

    Args:
      params: Dict of w_xh (d, 3 h), w_hh (h, 3 h), b_h (3 h,), in each the parts r, z, n side by
        side, and b_hn (h,).
      x: Sequences (..., t, d).
      lengths: As of `rnn`.
      carry: h_0 (..., h). None: zeros.
      reverse: As of `rnn`.
      last: As of `rnn`.

    Returns:
      (y, h): all h_t (..., t, h), or (..., h) if `last`; and the carry h after the last step.

    Raises:
      ShapeError: x, lengths or carry do not fit the parameters, or each other.
      DtypeError: lengths are no integers.
      RangeError: One of them is not in [0, t].

    Example:
      >>> import funcgraph as fg
      >>> import numpy as np
      >>> _, params = fg.nn.GRU(4).init(fg.random.key(0), (-1, 5, 3))
      >>> y, h = gru(params, np.ones((2, 5, 3), np.float32))
      >>> y.shape, h.shape
      ((2, 5, 4), (2, 4))

    Source:
      Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014.
    """
    return _run(_update_gru, 1, params, x, lengths, carry, reverse, last)


def gru_cell(params: Any, carry: Any, x: Any) -> tuple[Any, Any]:
    """Do one step of `gru`: return (h_t, h_t) for h_{t-1} (..., h) and x_t (..., d).

    Example:
      >>> import funcgraph as fg
      >>> import numpy as np
      >>> _, params = fg.nn.GRU(4).init(fg.random.key(0), (-1, 5, 3))
      >>> h, y = gru_cell(params, np.zeros(4, np.float32), np.ones(3, np.float32))
      >>> y.shape
      (4,)
    """
    h = _step(_update_gru, 1, params, carry, x)
    return h, h


def _update_lstm(params: Any, carry: Any, z: Any) -> Any:
    h, c = carry
    i, f, g, o = fnp.split(z + h @ params["w_hh"], 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


def lstm(
    params: Any,
    x: Any,
    lengths: Any = None,
    carry: Any = None,
    *,
    reverse: bool = False,
    last: bool = False,
) -> tuple[Any, Any]:
    """Run long short-term memory along sequences.

    i, f, g, o = x W_x + b + h W_h,  c' = σ(f) c + σ(i) tanh(g),  h' = σ(o) tanh(c')

    Args:
      params: Dict of w_xh (d, 4 h), w_hh (h, 4 h), b_h (4 h,), in each the parts i, f, g, o side by
        side.
      x: Sequences (..., t, d).
      lengths: As of `rnn`.
      carry: (h_0, c_0), both (..., h). None: zeros.
      reverse: As of `rnn`.
      last: As of `rnn`.

    Returns:
      (y, (h, c)): all h_t (..., t, h), or (..., h) if `last`; and the carry after the last step.

    Raises:
      ShapeError: x, lengths or carry do not fit the parameters, or each other.
      DtypeError: lengths are no integers.
      RangeError: One of them is not in [0, t].

    Example:
      >>> import funcgraph as fg
      >>> import numpy as np
      >>> _, params = fg.nn.LSTM(4).init(fg.random.key(0), (-1, 5, 3))
      >>> y, (h, c) = lstm(params, np.ones((2, 5, 3), np.float32), lengths=[5, 2])
      >>> y.shape, h.shape, y[1, 2:].any()
      ((2, 5, 4), (2, 4), np.False_)

    Source:
      Hochreiter and Schmidhuber, "Long short-term memory", 1997; Gers, Schmidhuber and Cummins,
      "Learning to forget", 2000.
    """
    return _run(_update_lstm, 2, params, x, lengths, carry, reverse, last)


def lstm_cell(params: Any, carry: Any, x: Any) -> tuple[Any, Any]:
    """Do one step of `lstm`: return ((h_t, c_t), h_t) for (h_{t-1}, c_{t-1}) and x_t (..., d).

    Example:
      >>> import funcgraph as fg
      >>> import numpy as np
      >>> layer = fg.nn.LSTM(4)
      >>> _, params = layer.init(fg.random.key(0), (-1, 5, 3))
      >>> carry, y = lstm_cell(params, layer.initial_carry(params), np.ones(3, np.float32))
      >>> y.shape
      (4,)
    """
    carry = _step(_update_lstm, 2, params, carry, x)
    return carry, carry[0]

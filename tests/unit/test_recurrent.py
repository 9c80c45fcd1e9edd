"""Recurrent layers against PyTorch's numbers (tests/references/recurrent.py), in every mode."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import funcgraph as fg
from funcgraph import nn, random
from funcgraph.control.loops import scan
from funcgraph.errors import CarryTypeError, DtypeError, LayerError, RangeError, ShapeError
from funcgraph.nn import initializers

KEY = random.key(0)
DATA = np.load(Path(__file__).parents[1] / "references" / "recurrent.npz")
BACKENDS = ["numpy", "xla"] if importlib.util.find_spec("jax") else ["numpy"]
SIMPLE = {"rnn": nn.RNN(3), "gru": nn.GRU(3), "lstm": nn.LSTM(3)}


def two_both():
    x, n = nn.Input(), nn.Input(name="lengths")
    first = nn.Bidirectional(nn.GRU(3))(x, n, name="first")
    return nn.Model([x, n], nn.Bidirectional(nn.GRU(3))(first, n, name="second"))


LAYERS = {
    **{f"{k}{s}": v for k, v in SIMPLE.items() for s in ("", "_start", "_lengths")},
    **{f"{k}_both": nn.Bidirectional(v) for k, v in SIMPLE.items()},
    "rnn_outputs": nn.RNN(3, 2, g2=nn.sigmoid),
    "lstm_two": nn.serial(nn.LSTM(3), nn.LSTM(3)),
    "gru_two_both": two_both(),
}


def nested(prefix):
    """Return the arrays below a name of the file as nested dicts."""
    out = {}
    for name in DATA.files:
        if name.startswith(prefix + "/"):
            *path, last = name[len(prefix) + 1 :].split("/")
            part = out
            for step in path:
                part = part.setdefault(step, {})
            part[last] = DATA[name]
    return out


def close(a, b, tol=1e-9):
    fg.tree.map(
        lambda x, y: np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=tol, atol=tol),
        a,
        b,
    )


def call_of(name):
    """Return y(params, x) of a case."""
    data = nested(name)
    layer, more = LAYERS[name], [data["lengths"]] if "lengths" in data else []
    return lambda params, x: layer.apply(params, x, *more)


def example(layer, shape=(2, 5, 4), dtype=np.float64):
    x = random.normal(random.key(3), shape, dtype)
    return layer.init(KEY, x)[1], x


# --- against PyTorch -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in LAYERS if "start" not in n])
def test_as_in_torch(name):
    d, call = nested(name), call_of(name)
    given = [d["x"], *([d["lengths"]] if "lengths" in d else [])]
    shape, fresh = LAYERS[name].init(KEY, *given)
    assert shape == d["y"].shape
    assert fg.tree.structure(fresh) == fg.tree.structure(d["params"])
    close(call(d["params"], d["x"]), d["y"])
    loss = lambda p, x: np.sum(call(p, x) * d["w"])
    expected = (d["grads"], d["dx"])
    close(fg.grad(loss, (0, 1))(d["params"], d["x"]), expected)
    close(fg.jit(fg.grad(loss, (0, 1)), backend="numpy")(d["params"], d["x"]), expected)
    tangents = fg.tree.map(np.ones_like, (d["params"], d["x"]))
    total = sum(np.sum(g) for g in fg.tree.leaves(expected))
    close(fg.jvp(loss, (d["params"], d["x"]), tangents)[1], total)


@pytest.mark.parametrize("name", SIMPLE)
def test_first_and_last_carry(name):
    d = nested(f"{name}_start")
    pair = lambda part: (part["0"], part["1"]) if name == "lstm" else part["0"]
    run = lambda p, x, c: SIMPLE[name].apply(p, x, carry=c, return_carry=True)
    y, end = run(d["params"], d["x"], pair(d["start"]))
    close((y, end), (d["y"], fg.tree.map(lambda c: c[0], pair(d["carry"]))))
    loss = lambda c: np.sum(run(d["params"], d["x"], c)[0] * d["w"])
    close(fg.grad(loss)(pair(d["start"])), pair(d["dstart"]))


@pytest.mark.parametrize("name", SIMPLE)
def test_carries_of_both_directions_stop_at_the_ends(name):
    d = nested(f"{name}_both")
    y, ends = LAYERS[f"{name}_both"].apply(d["params"], d["x"], d["lengths"], return_carry=True)
    close(y, d["y"])
    for k, end in enumerate(ends):
        parts = end if name == "lstm" else (end,)
        close(parts, tuple(d["carry"][str(i)][k] for i in range(len(parts))))
    last = nn.Bidirectional({"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[name](3, last=True))
    h = d["carry"]["0"]
    close(last.apply(d["params"], d["x"], d["lengths"]), np.concatenate([h[0], h[1]], -1))


def test_the_formulas_of_the_lecture():
    layer = nn.RNN(3, 2, g1=nn.relu, g2=np.exp)
    p, x = example(layer)
    h, expected = np.zeros((2, 3)), []
    for t in range(5):
        h = np.maximum(x[:, t] @ p["w_xh"] + h @ p["w_hh"] + p["b_h"], 0)
        expected.append(np.exp(h @ p["w_hy"] + p["b_y"]))
    close(layer.apply(p, x), np.stack(expected, 1))
    close(nn.rnn(p, x, g1=nn.relu, g2=np.exp, last=True), (expected[-1], h))


# --- masks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [*SIMPLE.values(), nn.Bidirectional(nn.LSTM(3))])
def test_steps_past_the_end_do_not_count(layer):
    p, x = example(layer)
    lengths = np.array([3, 0])
    y, end = layer.apply(p, x, lengths, return_carry=True)
    assert not y[0, 3:].any() and not y[1].any() and y[0, :3].all()
    close(layer.apply(p, x[:1, :3], return_carry=True)[0], y[:1, :3])
    loss = lambda x: np.sum(y_of(x) ** 2)
    y_of = lambda x: layer.apply(p, x, lengths)
    slope = fg.grad(loss)(x)
    assert slope[0, :3].all() and not slope[0, 3:].any() and not slope[1].any()
    changed = np.where(np.arange(5)[:, None] < lengths[:, None, None], x, np.nan)
    close(y_of(changed), y)
    assert not any(c[1].any() for c in fg.tree.leaves(end))


PADDED = [
    pytest.param(layer, backend, marks=[pytest.mark.slow] * (backend == "xla" and k > 0))
    for k, layer in enumerate([nn.Bidirectional(nn.GRU(3)), *SIMPLE.values()])
    for backend in (None, *BACKENDS)
]


@pytest.mark.parametrize(("layer", "backend"), PADDED)
def test_what_is_in_the_padding_reaches_no_derivative(layer, backend):
    p, x = example(layer)
    lengths = np.array([3, 0])
    inside = np.arange(5)[:, None] < lengths[:, None, None]
    loss = lambda p, x, n: np.sum(layer.apply(p, x, n) ** 2)
    slopes = fg.value_and_grad(loss, (0, 1))

    def curvature(p, x, n):
        return fg.jvp(lambda p: fg.grad(loss, (0, 1))(p, x, n), (p,), (p,))[1]

    forward = lambda p, x, n: fg.jvp(lambda p: loss(p, x, n), (p,), (p,))
    for f in (slopes, curvature, forward):
        run = f if backend is None else fg.jit(f, backend=backend)
        expected = f(p, np.where(inside, x, 0.0), lengths)
        for dirt in (np.nan, np.inf, 1e3):
            close(run(p, np.where(inside, x, dirt), lengths), expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_traced_lengths_out_of_range_are_cut(backend):
    layer = SIMPLE["gru"]
    p, x = example(layer)
    run = fg.jit(lambda n: layer.apply(p, x, n), backend=backend)
    close(run(np.array([-2, 9])), layer.apply(p, x, [0, 5]))


# --- steps ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [nn.RNN(3, 2, g2=np.sin), nn.GRU(3), nn.LSTM(3)])
@pytest.mark.parametrize("transform", [lambda f: f, fg.jit])
def test_steps_add_up_to_the_whole(layer, transform):
    p, x = example(layer)

    def walk(p, x):
        start = layer.initial_carry(p, (2,))
        return scan(partial(layer.step, p), start, np.swapaxes(x, 0, 1))

    end, y = transform(walk)(p, x)
    close((np.swapaxes(y, 0, 1), end), layer.apply(p, x, return_carry=True))


def test_a_sequence_in_two_parts():
    layer = nn.LSTM(3, return_carry=True)
    p, x = example(layer)
    first, carry = layer.apply(p, x[:, :2])
    second, end = layer.apply(p, x[:, 2:], carry=carry)
    close((np.concatenate([first, second], 1), end), layer.apply(p, x))


def test_cells_are_functions():
    p, x = example(nn.LSTM(3))
    _, (h, c) = nn.lstm(p, x[:, :1])
    close(nn.lstm_cell(p, (np.zeros((2, 3)), np.zeros((2, 3))), x[:, 0]), ((h, c), h))
    p, x = example(nn.GRU(3))
    close(nn.gru_cell(p, np.zeros((2, 3)), x[:, 0])[1], nn.gru(p, x[:, :1], last=True)[0])
    p, x = example(nn.RNN(3))
    close(nn.rnn_cell(p, np.zeros((2, 3)), x[:, 0])[1], nn.rnn(p, x[:, :1], last=True)[0])


# --- transformations -----------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["rnn_outputs", "gru_lengths", "lstm_lengths", "lstm_both"])
def test_both_engines(name, backend):
    d, call = nested(name), call_of(name)
    loss = lambda p, x: np.sum(call(p, x) * d["w"])
    found = fg.jit(fg.value_and_grad(loss, (0, 1)), backend=backend)(d["params"], d["x"])
    close(found, (np.sum(d["y"] * d["w"]), (d["grads"], d["dx"])))


@pytest.mark.parametrize("layer", [*SIMPLE.values(), nn.Bidirectional(nn.GRU(2))])
def test_second_order_and_batches(layer):
    p, x = example(layer, (2, 3, 2))
    lengths = np.array([3, 2])
    loss = lambda p, x: np.sum(layer.apply(p, x, lengths) ** 2)
    slope = fg.grad(loss)
    direction = fg.tree.map(lambda a: np.asarray(random.normal(KEY, a.shape, float)), p)
    product = fg.jvp(lambda p: slope(p, x), (p,), (direction,))[1]
    moved = lambda e: fg.tree.map(lambda a, d: a + e * d, p, direction)
    close(
        product,
        fg.tree.map(lambda a, b: (a - b) / 2e-5, slope(moved(1e-5), x), slope(moved(-1e-5), x)),
        1e-6,
    )
    reverse = fg.grad(
        lambda p: sum(np.sum(a * b) for a, b in zip(*map(fg.tree.leaves, (slope(p, x), direction)),
                                                    strict=True))
    )(p)  # fmt: skip
    close(reverse, product)
    alone = lambda p, x, n: fg.grad(lambda p: np.sum(layer.apply(p, x, n) ** 2))(p)
    each = fg.vmap(alone, (None, 0, 0))(p, x, lengths)
    close(fg.tree.map(lambda g: g.sum(0), each), slope(p, x))
    several = fg.tree.map(lambda a: np.stack([a, 2 * a]), p)
    close(fg.vmap(lambda p: layer.apply(p, x, lengths))(several)[0], layer.apply(p, x, lengths))


@pytest.mark.parametrize("layer", [*SIMPLE.values(), nn.Bidirectional(nn.LSTM(3))])
def test_single_precision_and_axes(layer):
    p, x = example(layer, dtype=np.float32)
    y, end = fg.jit(partial(layer.apply, return_carry=True))(p, x, np.array([4, 5]))
    grads = fg.grad(lambda p: np.sum(layer.apply(p, x)))(p)
    assert {a.dtype for a in fg.tree.leaves((p, y, end, grads))} == {np.dtype(np.float32)}
    close(layer.apply(p, x[0]), layer.apply(p, x)[0], 1e-5)
    more = np.stack([x, x + 1])
    close(layer.apply(p, more)[0], layer.apply(p, x), 1e-5)
    masked = layer.apply(p, more, np.array([[5, 2], [3, 4]]))
    close(masked[1, 0, :3], layer.apply(p, x[0, :3] + 1), 1e-5)
    assert layer.apply(p, x[:, :0]).shape[:2] == (2, 0)


def test_gradients_of_a_long_sequence_stay():
    p, x = example(nn.LSTM(4), (1, 400, 4))
    slope = fg.jit(fg.grad(lambda p: np.sum(nn.lstm(p, x, last=True)[0] ** 2)))(p)
    assert all(np.isfinite(g).all() and g.any() for g in fg.tree.leaves(slope))


# --- models --------------------------------------------------------------------------------------


def test_shapes_in_models():
    stack = nn.serial(nn.GRU(3), nn.Dropout(0.5), nn.LSTM(5, last=True), nn.Dense(2))
    assert stack.init(KEY, (-1, 7, 4))[0] == (-1, 2)
    assert nn.RNN(3, 2, last=True).init(KEY, (-1, 7, 4))[0] == (-1, 2)
    x, n = nn.Input(), nn.Input()
    out = nn.LSTM(3, return_carry=True)(x, n)
    model = nn.Model([x, n], [out[0], out[1]])
    shape, params = model.init(KEY, (-1, 7, 4), (-1,))
    assert shape == [(-1, 7, 3), ((-1, 3), (-1, 3))]
    y, (h, _) = model.apply(params, np.ones((2, 7, 4), np.float32), np.array([7, 2]))
    close(y[1, 1], h[1])


def test_first_parameters():
    p = nn.LSTM(6).init(KEY, (-1, 5, 4))[1]
    assert {k: v.shape for k, v in p.items()} == {"w_xh": (4, 24), "w_hh": (6, 24), "b_h": (24,)}
    np.testing.assert_array_equal(p["b_h"], np.repeat([0, 1, 0, 0], 6))
    for gate in np.split(p["w_hh"], 4, 1):
        close(gate @ gate.T, np.eye(6, dtype=np.float32), 1e-5)
    assert np.abs(p["w_xh"]).max() <= np.sqrt(6 / 10)
    assert not nn.LSTM(6, forget_bias=0.0).init(KEY, (-1, 5, 4))[1]["b_h"].any()
    ones = nn.GRU(2, w_init=initializers.ones, h_init=initializers.zeros, b_init=initializers.ones)
    p = ones.init(KEY, (-1, 5, 4))[1]
    assert p["w_xh"].all() and p["b_hn"].all() and not p["w_hh"].any()
    keys = random.split(KEY, 2)
    both = fg.vmap(lambda k: nn.LSTM(3).init(k, (-1, 5, 4))[1])(keys)
    close(both["w_hh"][1], nn.LSTM(3).init(keys[1], (-1, 5, 4))[1]["w_hh"], 1e-6)


@pytest.mark.skipif("xla" not in BACKENDS, reason="needs jax")
@pytest.mark.parametrize("shape", [(3, 3), (2, 5), (5, 2), (2, 3, 4), (0, 3)])
def test_orthogonal_as_in_jax(shape):
    import jax

    key = jax.random.key(5)
    ours = random.key(5)
    for axis in (-1, 0):
        if 0 in shape and axis == 0:
            continue
        expected = jax.nn.initializers.orthogonal(2.0, axis)(key, shape, np.float64)
        found = initializers.orthogonal(2.0, axis)(ours, shape, np.float64)
        close(found, expected, 1e-10)
        assert found.dtype == np.float64
    if len(shape) == 3:
        for more in ((3,), (2, 3, 4)):
            full = (*more, 2, 4)
            expected = jax.nn.initializers.delta_orthogonal(0.5)(key, full, np.float64)
            close(initializers.delta_orthogonal(0.5)(ours, full, np.float64), expected, 1e-10)


# --- errors --------------------------------------------------------------------------------------


def test_what_does_not_fit_is_refused():
    layer = nn.LSTM(3)
    p, x = example(layer)
    with pytest.raises(ShapeError, match=r"\(\.\.\., time, 4\).*w_xh has the shape \(4, 12\).*7\)"):
        layer.apply(p, np.zeros((2, 5, 7)))
    with pytest.raises(ShapeError, match=r"got \(4,\)"):
        layer.apply(p, np.zeros(4))
    with pytest.raises(ShapeError, match=r"\(\.\.\., 4\).*got \(2, 3\)"):
        layer.step(p, layer.initial_carry(p, (2,)), np.zeros((2, 3)))
    with pytest.raises(ShapeError, match=r"lengths must have the shape \(2,\).*got \(2, 5\)"):
        layer.apply(p, x, np.ones((2, 5), bool))
    for lengths, got in (([5, 6], r"got 6 at index \(1,\)"), ([-1, 5], r"got -1 at index \(0,\)")):
        with pytest.raises(RangeError, match=r"from 0 to 5, the number of steps, " + got):
            layer.apply(p, x, lengths)
    with pytest.raises(RangeError, match=r"from 0 to 5, the number of steps, got 7\.\n"):
        nn.lstm(p, x[0], lengths=7)
    for lengths in ([5.0, 2.0], [True, False]):
        with pytest.raises(DtypeError, match=r"lengths must be integers, got the dtype"):
            layer.apply(p, x, lengths)
    for carry, got in (
        (np.zeros((2, 3)), r"got an array of shape \(2, 3\)"),
        ((np.zeros((2, 3)), np.zeros(3)), r"got a tuple of the shapes \[\(2, 3\), \(3,\)\]"),
    ):
        with pytest.raises(ShapeError, match=rf"\(h, c\), both of shape \(2, 3\), {got}"):
            layer.apply(p, x, carry=carry)
    with pytest.raises(CarryTypeError):
        layer.apply(p, x, carry=layer.initial_carry(fg.tree.map(np.float32, p), (2,)))
    gru = nn.GRU(3)
    p = gru.init(KEY, x)[1]
    with pytest.raises(
        ShapeError, match=r"an array of shape \(2, 3\), got an array of shape \(3,\)"
    ):
        gru.apply(p, x, carry=np.zeros(3))
    with pytest.raises(ShapeError, match=r"an array of shape \(2, 3\), got a tuple"):
        gru.apply(p, x, carry=(np.zeros((2, 3)),) * 2)
    with pytest.raises(ShapeError, match=r"GRU needs an input of shape.*got float32\[4\]"):
        gru.init(KEY, (4,))


@pytest.mark.parametrize("make", [nn.RNN, nn.GRU, nn.LSTM, lambda n: nn.RNN(3, n)])
def test_sizes_that_are_refused(make):
    with pytest.raises(LayerError, match="needs a positive number of features, got 0"):
        make(0)


def test_only_recurrent_layers_have_two_directions():
    with pytest.raises(LayerError, match=r"Bidirectional needs a recurrent layer.*got <Layer Den"):
        nn.Bidirectional(nn.Dense(3))


def test_initialisers_that_refuse_a_shape():
    with pytest.raises(ShapeError, match=r"at least 2 axes, got \(3,\)"):
        initializers.orthogonal()(KEY, (3,))
    for shape in ((3, 3), (3, 4, 2)):
        with pytest.raises(ShapeError, match=r"\(\*window, inputs, outputs\).*got \(3, "):
            initializers.delta_orthogonal()(KEY, shape)

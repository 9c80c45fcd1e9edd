"""Layers against PyTorch's numbers (tests/references/layers.py), in every mode and dtype."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import funcgraph as fg
from funcgraph import nn, random
from funcgraph.errors import LayerError, RandomKeyError, ShapeError

KEY = random.key(0)
DATA = np.load(Path(__file__).parents[1] / "references" / "layers.npz")
LAYERS = {
    "dense": nn.Dense(3),
    "layer_norm": nn.LayerNorm(),
    "layer_norm_2": nn.LayerNorm(axes=2),
    "rms_norm": nn.RMSNorm(),
    "group_norm": nn.GroupNorm(2),
    "instance_norm": nn.InstanceNorm(scale=True, bias=True),
    "batch_norm_1": nn.BatchNorm(),
    "batch_norm_2": nn.BatchNorm(),
    "conv_1": nn.Conv(4, 3, strides=2, padding=1),
    "conv_2": nn.Conv(3, (3, 2), dilation=(2, 1)),
    "conv_2_groups": nn.Conv(6, 3, groups=2),
    "conv_3": nn.Conv(3, 2, bias=False),
    "depthwise": nn.DepthwiseConv(3, multiplier=2),
    "conv_transpose_1": nn.ConvTranspose(3, 3, strides=2),
    "conv_transpose_2": nn.ConvTranspose(3, 3, strides=2),
    "conv_transpose_3": nn.ConvTranspose(3, 3, strides=2),
    "max_pool": nn.MaxPool(2),
    "max_pool_overlapping": nn.MaxPool(3, strides=2, padding=1),
    "avg_pool": nn.AvgPool(3, strides=2, padding=1),
    "avg_pool_inside": nn.AvgPool(2, count_include_pad=False),
    "adaptive_avg": nn.AdaptiveAvgPool((3, 2)),
    "adaptive_max": nn.AdaptiveMaxPool(3),
}


def reference(name):
    """Return x, y, dx, w and the dicts of parameters and their gradients."""
    values = [DATA[f"{name}/{k}"] for k in ("x", "y", "dx", "w")]
    trees = []
    for part in ("params", "grads"):
        prefix = f"{name}/{part}/"
        trees.append({k[len(prefix) :]: DATA[k] for k in DATA.files if k.startswith(prefix)})
    return *values, *trees


def close(a, b, tol=1e-9):
    fg.tree.map(
        lambda x, y: np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=tol, atol=tol),
        a,
        b,
    )


def applied(layer, x):
    """Return apply(params, x) in training, for a layer with or without state."""
    if isinstance(layer, nn.StatefulLayer):
        state = layer.init(KEY, x)[2]
        return lambda params, x: layer.apply(params, state, x, train=True)[0]
    return lambda params, x: layer.apply(params, x, train=True)


@pytest.mark.parametrize("name", LAYERS)
def test_as_in_torch(name):
    layer = LAYERS[name]
    x, y, dx, w, params, grads = reference(name)
    shape, fresh, *_ = layer.init(KEY, x)
    assert shape == y.shape
    assert fg.tree.structure(fresh) == fg.tree.structure(params)
    call = applied(layer, x)
    close(call(params, x), y)
    loss = lambda p, x: np.sum(call(p, x) * w)
    close(fg.grad(loss, (0, 1))(params, x), (grads, dx))
    for backend in ("numpy", "xla"):
        if backend == "xla":
            pytest.importorskip("jax")
        close(fg.jit(fg.grad(loss, (0, 1)), backend=backend)(params, x), (grads, dx))
    tangents = fg.tree.map(np.ones_like, (params, x))
    total = sum(np.sum(g) for g in fg.tree.leaves((grads, dx)))
    close(fg.jvp(loss, (params, x), tangents)[1], total)


@pytest.mark.parametrize("name", LAYERS)
def test_single_precision_second_order_and_batches(name):
    layer = LAYERS[name]
    x, _, _, w, params, _ = reference(name)
    single = fg.tree.map(np.float32, (params, x))
    call = applied(layer, single[1])
    out = call(*single)
    gradient = fg.grad(lambda p: np.sum(call(*p)))(single)
    assert {v.dtype for v in fg.tree.leaves((out, gradient))} == {np.dtype(np.float32)}
    call = applied(layer, x)
    loss = lambda x: np.sum(call(params, x) ** 2 * w)
    jax = pytest.importorskip("jax")
    v = np.cos(np.arange(x.size)).reshape(x.shape)
    theirs = jax.jit(lambda x: jax.jvp(jax.grad(fg.to_jax(loss)), (x,), (v,))[1])(x)
    close(fg.hvp(loss, (x,), (v,)), np.asarray(theirs), 1e-8)
    many = np.stack([x, 2 * x, x - 1])
    close(fg.vmap(lambda x: call(params, x))(many), np.stack([call(params, m) for m in many]))


def test_filters_are_fixed_kernels_for_each_channel():
    x = np.random.default_rng(0).normal(size=(2, 6, 5, 3))
    edges = nn.Filter(nn.filters.laplace())
    y = edges.apply({}, x)
    around = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    neighbours = [
        around[:, :-2, 1:-1],
        around[:, 2:, 1:-1],
        around[:, 1:-1, :-2],
        around[:, 1:-1, 2:],
    ]
    close(y, sum(neighbours) - 4 * x)
    assert edges.init(KEY, (-1, 6, 5, 3)) == ((-1, 6, 5, 3), {})
    single = np.float32(x)
    assert edges.apply({}, single).dtype == np.float32
    for kernel in (nn.filters.gaussian(5, 1.2), nn.filters.box(3), nn.filters.sharpen()):
        np.testing.assert_allclose(kernel.sum(), 1)
    close(nn.filters.sobel(0).T, nn.filters.sobel(1))
    close(nn.filters.laplace(True).sum(), 0)
    with pytest.raises(LayerError, match=r"kernel of shape \(3, 3\).*got the shape \(2, 6, 5\)"):
        edges.apply({}, x[..., 0])


def test_global_pooling():
    x = np.random.default_rng(0).normal(size=(2, 6, 5, 3))
    close(nn.GlobalAvgPool().apply({}, x), x.mean((1, 2)))
    close(nn.GlobalMaxPool().apply({}, x), x.max((1, 2)))


def test_convolutions_that_do_not_fit():
    with pytest.raises(LayerError, match="a window of 2 axes"):
        nn.Conv(3, (3, 3)).init(KEY, (-1, 9, 2))
    with pytest.raises(ShapeError, match="1 to 3 spatial axes"):
        nn.Conv(3, 3).init(KEY, (-1, 9))
    with pytest.raises(LayerError, match="multiples of that, got 3 inputs"):
        nn.Conv(4, 3, groups=2).init(KEY, (-1, 9, 3))
    with pytest.raises(ShapeError):
        nn.serial(nn.Conv(4, 5)).init(KEY, (-1, 3, 3, 1))


def test_embedding():
    data = {k: DATA[f"embedding/{k}"] for k in ("x", "y", "w", "params/w", "grads/w")}
    layer = nn.Embedding(4, 3)
    params = {"w": data["params/w"]}
    assert layer.init(KEY, data["x"])[0] == (2, 3, 3)
    close(layer.apply(params, data["x"]), data["y"])
    loss = lambda p: np.sum(layer.apply(p, data["x"]) * data["w"])
    close(fg.grad(loss)(params)["w"], data["grads/w"])
    close(fg.jit(fg.grad(loss))(params)["w"], data["grads/w"])
    with pytest.raises(LayerError, match="Embedding needs integers, got float32"):
        layer.init(KEY, (-1, 4))


def test_batch_norm_after_a_hundred_steps():
    steps = DATA["batch_norm_100/x"]
    layer = nn.serial(nn.BatchNorm())
    _, params, state = layer.init(KEY, steps[0])
    for step in steps:
        _, state = layer.apply(params, state, step, train=True)
    close(state["batch_norm"], {k: DATA[f"batch_norm_100/{k}"] for k in ("mean", "var")})
    y, same = layer.apply(params, state, steps[0])
    close(y, DATA["batch_norm_100/y"])
    assert same is state or same == state

    def step(state, x):
        y, state = layer.apply(params, state, x, train=True)
        return state, y

    _, _, first = layer.init(KEY, steps[0])
    close(fg.jit(lambda s: fg.scan(step, s, steps)[0])(first), state)
    single = fg.tree.map(np.float32, (params, first, steps[0]))
    out = layer.apply(*single, train=True)
    assert {v.dtype for v in fg.tree.leaves(out)} == {np.dtype(np.float32)}


def test_batch_norm_of_single_examples_is_refused():
    layer = nn.BatchNorm()
    _, params, state = layer.init(KEY, (-1, 3))
    loss = lambda p, x: np.sum(layer.apply(p, state, x, train=True)[0])
    with pytest.raises(LayerError, match="one example at a time"):
        fg.vmap(fg.grad(loss), (None, 0))(params, np.ones((4, 3)))


def test_dropout():
    x = np.ones((200, 50), np.float32)
    layer = nn.Dropout(0.3)
    y = layer.apply({}, x, key=KEY, train=True)
    assert y.dtype == np.float32
    np.testing.assert_allclose(np.unique(y), [0, 1 / 0.7], rtol=1e-6)
    assert abs(np.mean(y == 0) - 0.3) < 0.02
    np.testing.assert_array_equal(layer.apply({}, x), x)
    np.testing.assert_array_equal(nn.Dropout(0).apply({}, x, train=True), x)
    gradient = fg.grad(lambda x: np.sum(layer.apply({}, x, key=KEY, train=True)))(x)
    np.testing.assert_array_equal(gradient, y)
    model = nn.serial(nn.Dense(4), inner=nn.serial(drop=nn.Dropout(0.5)))
    _, params = model.init(KEY, (-1, 4))
    with pytest.raises(RandomKeyError, match=r"(?s)random key when it trains.*'inner/drop'"):
        model.apply(params, np.ones((2, 4)), train=True)
    for rate in (1.0, -0.1):
        with pytest.raises(ValueError, match="fraction that is dropped"):
            nn.Dropout(rate)


def test_initialisers_are_those_of_jax():
    jax = pytest.importorskip("jax")
    theirs = jax.nn.initializers
    key, jax_key = random.key(3), jax.random.key(3)
    shape = (3, 3, 4, 6)
    families = ["glorot_uniform", "glorot_normal", "lecun_uniform", "lecun_normal", "he_uniform",
                "he_normal", "xavier_uniform", "kaiming_normal"]  # fmt: skip
    pairs = [(getattr(nn.initializers, n)(), getattr(theirs, n)()) for n in families]
    pairs += [
        (getattr(nn.initializers, n)(0.5), getattr(theirs, n)(0.5))
        for n in ("normal", "uniform", "truncated_normal", "constant")
    ]
    for mode in ("fan_in", "fan_out", "fan_avg", "fan_geo_avg"):
        arguments = (2.0, mode, "uniform", -1, (0, 2))
        both = (nn.initializers.variance_scaling, theirs.variance_scaling)
        pairs.append(tuple(f(*arguments) for f in both))
    pairs += [(nn.initializers.zeros, theirs.zeros), (nn.initializers.ones, theirs.ones)]
    for dtype, tol in ((np.float32, 1e-6), (np.float64, 1e-12)):
        for ours, reference_ in pairs:
            found = ours(key, shape, dtype)
            assert found.dtype == dtype
            close(found, reference_(jax_key, shape, dtype), tol)
    with pytest.raises(ValueError, match=r"at least 2 axes, got the shape \(3,\)"):
        nn.initializers.he_normal()(key, (3,))
    with pytest.raises(ValueError, match="mode of variance_scaling"):
        nn.initializers.variance_scaling(1.0, "fan", "normal")
    with pytest.raises(ValueError, match="distribution must be"):
        nn.initializers.variance_scaling(1.0, "fan_in", "cauchy")


def test_shapes_that_do_not_fit():
    with pytest.raises(ShapeError, match=r"Reshape\(5,\) does not fit an example of shape \(6,\)"):
        nn.Reshape(5).init(KEY, (-1, 6))
    assert nn.Reshape(2, -1).init(KEY, (-1, 6))[0] == (-1, 2, 3)
    with pytest.raises(ShapeError, match="groups needs an array"):
        nn.GroupNorm(4).init(KEY, (-1, 6))
    with pytest.raises(ShapeError, match=r"n, \*spatial, channels"):
        nn.InstanceNorm().init(KEY, (-1, 6))
    with pytest.raises(ShapeError, match="length of a channel axis must be known"):
        nn.LayerNorm().init(KEY, (3, -1))
    with pytest.raises(LayerError, match="positive number of features"):
        nn.Dense(0)
    with pytest.raises(ShapeError, match=r"at least one axis, got the shape \(\)"):
        nn.Dense(3).init(KEY, ())

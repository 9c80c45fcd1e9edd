"""VGG: structure, weights in the layouts of torchvision and Keras, PyTorch's numbers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import funcgraph as fg
from funcgraph import nn
from funcgraph.errors import LayerError, ShapeError, StorageError

REFERENCES = Path(__file__).parents[1] / "references"
SMALL = {"channels": (4, 6, 8, 8, 8), "hidden": 12}
PATH = REFERENCES / "vgg_weights.npz"


@pytest.fixture(scope="module")
def small():
    return nn.vgg19(5, **SMALL)


@pytest.fixture(scope="module")
def params(small):
    return nn.load_vgg(PATH, model=small)


@pytest.fixture(scope="module")
def expected():
    return dict(np.load(REFERENCES / "vgg.npz"))


def keras_names(params):
    """Return parameters under the names and in the layout of Keras."""
    out = {}
    dense = {"fc6": "fc1", "fc7": "fc2", "fc8": "predictions"}
    for node, p in params.items():
        name = dense.get(node) or re.sub(r"conv(\d)_(\d)", r"block\1_conv\2", node)
        out[f"{name}/kernel"], out[f"{name}/bias"] = p["w"], p["b"]
    return out


@pytest.mark.parametrize(
    ("make", "parameters", "convolutions"),
    [(nn.vgg19, 143_667_240, 16), (nn.vgg16, 138_357_544, 13)],
)
def test_full_size_has_the_known_number_of_parameters(make, parameters, convolutions):
    model = make()
    table = nn.summary(model, (-1, 224, 224, 3))
    assert table.parameters == parameters
    rows = {row.path: row.shape for row in table.rows}
    assert sum(name.startswith("conv") for name in rows) == convolutions
    assert tuple(rows["pool5"]) == (-1, 7, 7, 512)
    assert tuple(rows["fc7"]) == (-1, 4096) and tuple(rows["fc8"]) == (-1, 1000)
    assert model.nodes[:2] == ("conv1_1", "relu1_1")
    assert model.nodes[-8:] == (
        *("flatten", "fc6", "relu6", "dropout6", "fc7", "relu7", "dropout7", "fc8"),
    )
    assert repr(model.node("conv5_1")) == "<Layer Conv>"


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_outputs_are_those_of_torch(small, expected, suffix):
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    params = nn.load_vgg(PATH.with_suffix(suffix), model=small)
    assert {x.dtype for x in fg.tree.leaves(params)} == {np.dtype(np.float32)}
    x = nn.vgg_preprocess(expected["images"])
    fc8, found = small.apply(params, x, capture=["pool5", "fc7"])
    assert fc8.dtype == np.float32
    for name, value in {"fc8": fc8, **found}.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(small.upto("fc7").apply(params, x), found["fc7"], rtol=1e-6)


@pytest.mark.parametrize("backend", ["numpy", "xla"])
def test_compiled_outputs_are_those_of_torch(small, params, expected, backend):
    if backend == "xla":
        pytest.importorskip("jax")
    call = fg.jit(lambda p, x: small.apply(p, nn.vgg_preprocess(x)), backend=backend)
    np.testing.assert_allclose(
        call(params, expected["images"]), expected["fc8"], rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("ending", ["", ":0"])
def test_layout_of_keras(tmp_path, small, params, ending):
    path = tmp_path / "keras.npz"
    np.savez(path, **{f"{name}{ending}": x for name, x in keras_names(params).items()})
    again = nn.load_vgg(path, "keras", model=small)
    assert fg.tree.all(fg.tree.map(np.array_equal, again, params))


def test_weights_without_fully_connected_layers(tmp_path, small, params, expected):
    features = small.upto("pool5")
    path = tmp_path / "notop.npz"
    np.savez(path, **keras_names({k: v for k, v in params.items() if k.startswith("conv")}))
    kept = nn.load_vgg(path, "keras", model=features)
    x = nn.vgg_preprocess(expected["images"])
    np.testing.assert_allclose(features.apply(kept, x), expected["pool5"], rtol=1e-5, atol=1e-5)


def test_one_message_lists_all_that_does_not_fit(tmp_path, small):
    weights = dict(np.load(PATH))
    weights["features.34.bias2"] = weights.pop("features.34.bias")
    weights["classifier.6.weight"] = weights["classifier.6.weight"].T
    weights["features.0.bias"] = np.zeros(4, int)
    path = tmp_path / "wrong.npz"
    np.savez(path, **weights)
    with pytest.raises(StorageError) as caught:
        nn.load_vgg(path, model=small)
    message = str(caught.value)
    assert (
        "wrong.npz does not have the weights of this model in the layout of torchvision" in message
    )
    assert "features.34.bias: not in the file" in message
    assert "features.34.bias2: in the file only" in message
    assert (
        "classifier.6.weight: the file has float32 of shape (12, 5), expected floats of shape "
        "(5, 12)"
    ) in message
    assert "features.0.bias: the file has int64 of shape (4,), expected floats" in message


def test_the_wrong_layout_is_an_error(small):
    with pytest.raises(StorageError, match="block1_conv1/kernel: not in the file"):
        nn.load_vgg(PATH, "keras", model=small)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: nn.load_vgg(PATH, "torch"),
            "layout must be one of torchvision, keras, got 'torch'",
        ),
        (lambda: nn.vgg_preprocess(np.ones((2, 2, 3)), "torch"), "layout must be one of"),
        (
            lambda: nn.load_vgg(PATH, model=nn.serial(nn.Dense(3))),
            "needs a model of vgg16 or vgg19",
        ),
        (lambda: nn.vgg19(channels=(1, 2)), r"a VGG has 5 blocks, got channels=\(1, 2\)"),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(LayerError, match=message):
        call()


def test_preprocess():
    x = np.arange(24.0).reshape(2, 2, 2, 3) * 10
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(nn.vgg_preprocess(x), (x / 255 - mean) / std)
    keras = nn.vgg_preprocess(x, "keras")
    np.testing.assert_allclose(keras[..., 0], x[..., 2] - 103.939)
    np.testing.assert_allclose(keras[..., 2], x[..., 0] - 123.68)
    assert nn.vgg_preprocess(x.astype(np.uint8)).dtype == np.float32
    assert nn.vgg_preprocess(x.astype(np.float32), "keras").dtype == np.float32
    slope = fg.grad(lambda x: np.sum(nn.vgg_preprocess(x)))(x)
    np.testing.assert_allclose(slope[0, 0, 0], 1 / (255 * std))
    with pytest.raises(ShapeError, match=r"needs pictures .* got \(2, 3, 4\)"):
        nn.vgg_preprocess(np.ones((2, 3, 4)))


def test_a_new_network_trains_and_drops_out(small):
    _, params = small.init(fg.random.key(0), (-1, 32, 32, 3))
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)

    def loss(params):
        return np.sum(small.apply(params, x, key=fg.random.key(1), train=True) ** 2)

    value, grads = fg.value_and_grad(loss)(params)
    assert np.isfinite(value) and value != np.sum(small.apply(params, x) ** 2)
    assert all(np.isfinite(g).all() and g.any() for g in fg.tree.leaves(grads))

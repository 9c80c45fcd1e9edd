"""VGG networks as graphs, and weights that other programs trained for them.

May import `funcgraph.io`, `nn`.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from funcgraph.core.aval import Aval, dtype_of, is_inexact, shape_of
from funcgraph.errors import LayerError, ShapeError
from funcgraph.io.layout import refuse
from funcgraph.io.storage import load
from funcgraph.nn.activations import relu
from funcgraph.nn.combinators import graph
from funcgraph.nn.convolution import AdaptiveAvgPool, Conv, MaxPool
from funcgraph.nn.dense import Dense, Flatten
from funcgraph.nn.dropout import Dropout
from funcgraph.nn.initializers import he_normal
from funcgraph.nn.symbols import Input
from funcgraph.ops.structural import cast
from funcgraph.transforms.stage import eval_shape

__all__ = ["load_vgg", "vgg16", "vgg19", "vgg_preprocess"]


def _vgg(
    counts: Sequence[int], classes: int, channels: Sequence[int], hidden: int, size: int
) -> Any:
    """Return a VGG with so many convolutions in each block."""
    if len(channels) != len(counts):
        raise LayerError(f"a VGG has {len(counts)} blocks, got channels={tuple(channels)!r}.")
    nodes: dict[str, Any] = {"image": Input()}

    def then(name: str, layer: Any) -> None:
        nodes[name] = (layer, next(reversed(nodes)))

    w_init = he_normal()
    for block, (count, features) in enumerate(zip(counts, channels, strict=True), 1):
        for i in range(1, count + 1):
            then(f"conv{block}_{i}", Conv(features, 3, padding="SAME", w_init=w_init))
            then(f"relu{block}_{i}", relu)
        then(f"pool{block}", MaxPool(2))
    then("avgpool", AdaptiveAvgPool(size))
    then("flatten", Flatten())
    for i in (6, 7):
        then(f"fc{i}", Dense(hidden, w_init=w_init))
        then(f"relu{i}", relu)
        then(f"dropout{i}", Dropout(0.5))
    then("fc8", Dense(classes, w_init=w_init))
    return graph(nodes)


def vgg19(
    classes: int = 1000,
    *,
    channels: Sequence[int] = (64, 128, 256, 512, 512),
    hidden: int = 4096,
    size: int = 7,
) -> Any:
    """Return VGG-19: 16 convolutions 3 x 3 in five blocks, and three fully connected layers.

    The nodes are conv1_1, relu1_1, conv1_2, relu1_2, pool1, ..., pool5, avgpool, flatten, fc6,
    relu6, dropout6, fc7, relu7, dropout7, fc8.

    Args:
      classes: Number of outputs (logits).
      channels: Number of channels in each block.
      hidden: Number of outputs of fc6 and of fc7.
      size: The picture has size x size pixels behind avgpool, whatever it had before.

    Returns:
      A model for pictures (n, height, width, 3) of at least 32 x 32 pixels, see `vgg_preprocess`.
      `model.upto("relu7")` ends with the late features, `model.upto("pool5")` with the maps.

    Raises:
      LayerError: There are not five numbers of channels.

    Example:
      >>> import funcgraph as fg
      >>> fg.nn.summary(vgg19(), (-1, 224, 224, 3)).parameters
      143667240

    Source:
      Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition",
      2014, table 1, column E.
    """
    return _vgg((2, 2, 4, 4, 4), classes, channels, hidden, size)


def vgg16(
    classes: int = 1000,
    *,
    channels: Sequence[int] = (64, 128, 256, 512, 512),
    hidden: int = 4096,
    size: int = 7,
) -> Any:
    """Return VGG-16: 13 convolutions 3 x 3 in five blocks, and three fully connected layers.

    Args:
      classes: As of vgg19.
      channels: As of vgg19.
      hidden: As of vgg19.
      size: As of vgg19.

    Returns:
      A model, as vgg19 does.

    Raises:
      LayerError: There are not five numbers of channels.

    Example:
      >>> import funcgraph as fg
      >>> fg.nn.summary(vgg16(), (-1, 224, 224, 3)).parameters
      138357544

    Source:
      Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition",
      2014, table 1, column D.
    """
    return _vgg((2, 2, 3, 3, 3), classes, channels, hidden, size)


# --- weights from files --------------------------------------------------------------------------


class _Weight(NamedTuple):
    """Where a parameter stands in a file."""

    node: str
    leaf: str
    shape: tuple[int, ...]  # in the file
    convert: Callable[[Any], Any]


def _same(x: Any) -> Any:
    return x


def _expected(model: Any) -> dict[str, dict[str, tuple[int, ...]]]:
    """Return the shapes of a model's parameters by node and leaf; none of them is made."""
    key = Aval((2,), np.dtype(np.uint32))
    params = eval_shape(lambda key: model.init(key, (1, 32, 32, 3))[1], key)
    if not params or not all(re.fullmatch(r"conv\d_\d|fc[678]", node) for node in params):
        raise LayerError(
            f"load_vgg needs a model of vgg16 or vgg19, or a part of one, got {model}."
        )
    return {node: {leaf: x.shape for leaf, x in p.items()} for node, p in params.items()}


def _torchvision(shapes: dict[str, dict[str, tuple[int, ...]]]) -> dict[str, _Weight]:
    """Return the names `features.N.weight` (OIHW) and `classifier.N.weight` (outputs, inputs)."""
    out: dict[str, _Weight] = {}
    stored: tuple[int, ...]
    convert: Callable[[Any], Any]
    layer, channels, block = 0, 0, "1"
    for node, shape in shapes.items():
        w = shape["w"]
        if node.startswith("conv"):
            layer += node[4] != block  # a pooling layer stands between two blocks
            name, channels, block = f"features.{layer}", w[-1], node[4]
            layer += 2  # the convolution and its relu
            stored, convert = (w[3], w[2], w[0], w[1]), _kernel
        else:
            name = f"classifier.{3 * (int(node[2:]) - 6)}"
            stored, convert = w[::-1], np.transpose
            if node == "fc6":
                convert = functools.partial(_behind_flatten, channels=channels)
        out[f"{name}.weight"] = _Weight(node, "w", stored, convert)
        out[f"{name}.bias"] = _Weight(node, "b", shape["b"], _same)
    return out


def _kernel(x: Any) -> Any:
    """Change (outputs, inputs, height, width) to (height, width, inputs, outputs)."""
    return np.transpose(x, (2, 3, 1, 0))


def _behind_flatten(x: Any, channels: int) -> Any:
    """Change (outputs, channels * pixels) to (pixels * channels, outputs)."""
    return np.reshape(x, (len(x), channels, -1)).transpose(2, 1, 0).reshape(-1, len(x))


def _keras(shapes: dict[str, dict[str, tuple[int, ...]]]) -> dict[str, _Weight]:
    """Return the names `block1_conv1/kernel`, `fc1/kernel`, `predictions/kernel`, with our axes."""
    dense = {"fc6": "fc1", "fc7": "fc2", "fc8": "predictions"}
    out: dict[str, _Weight] = {}
    for node, shape in shapes.items():
        name = dense.get(node) or "block{}_conv{}".format(*node.removeprefix("conv").split("_"))
        out[f"{name}/kernel"] = _Weight(node, "w", shape["w"], _same)
        out[f"{name}/bias"] = _Weight(node, "b", shape["b"], _same)
    return out


_LAYOUTS = {"torchvision": _torchvision, "keras": _keras}


def _check_layout(layout: str) -> None:
    if layout not in _LAYOUTS:
        raise LayerError(f"layout must be one of {', '.join(_LAYOUTS)}, got {layout!r}.")


def load_vgg(
    path: str | os.PathLike[str], layout: str = "torchvision", *, model: Any = None
) -> dict[str, Any]:
    """Return the parameters of a VGG from a file of weights, never with pickle.

    Args:
      path: Name of a `.safetensors` (needs the package safetensors) or uncompressed `.npz` file.
      layout: "torchvision": its state_dict, with names such as features.0.weight (outputs, inputs,
        height, width) and classifier.0.weight (outputs, inputs), flattened channels first; "keras":
        names such as block1_conv1/kernel (height, width, inputs, outputs), fc1/kernel,
        predictions/bias, with or without ":0".
      model: The model that the weights are for, or the part of one: `vgg19().upto("pool5")` takes
        a file without fully connected layers. Default: vgg19().

    Returns:
      Parameters for `model.apply`, with the file's dtype.

    Raises:
      StorageError: The file is damaged, or its names and shapes are not those of the model; the
        message lists them.
      LayerError: The layout is unknown, or the model no VGG.

    Example:
      >>> import os, tempfile
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> start = vgg19().upto("relu1_1")
      >>> path = os.path.join(tempfile.mkdtemp(), "weights.npz")
      >>> kernel, bias = np.ones((3, 3, 3, 64)), np.zeros(64)
      >>> np.savez(path, **{"block1_conv1/kernel": kernel, "block1_conv1/bias": bias})
      >>> params = load_vgg(path, "keras", model=start)
      >>> start.apply(params, np.ones((1, 32, 32, 3))).max()
      np.float64(27.0)
    """
    _check_layout(layout)
    wanted = _LAYOUTS[layout](_expected(vgg19() if model is None else model))
    arrays = {name.removesuffix(":0"): value for name, value in load(path).items()}
    problems = [f"{name}: not in the file" for name in wanted if name not in arrays]
    problems += [f"{name}: in the file only" for name in arrays if name not in wanted]
    for name in [name for name in wanted if name in arrays]:
        weight, found = wanted[name], arrays[name]
        if found.shape != weight.shape or found.dtype.kind != "f":
            expected = f"floats of shape {weight.shape}"
            problems.append(
                f"{name}: the file has {found.dtype} of shape {found.shape}, expected {expected}"
            )
    refuse(problems, f"{path} does not have the weights of this model in the layout of {layout}:")
    params: dict[str, Any] = {}
    for name, weight in wanted.items():
        value = np.ascontiguousarray(weight.convert(arrays.pop(name)))
        params.setdefault(weight.node, {})[weight.leaf] = value
    return params


def vgg_preprocess(images: Any, layout: str = "torchvision") -> Any:
    """Return pictures as the weights of a layout expect them.

    torchvision: (x / 255 - mean) / std in the order red, green, blue; Keras: x - mean in the order
    blue, green, red.

    Args:
      images: Pictures of shape (..., 3), red, green, blue, with values from 0 to 255; integers
        become float32.
      layout: "torchvision" or "keras".

    Returns:
      Array of the same shape.

    Raises:
      ShapeError: The last axis has not the length 3.
      LayerError: The layout is unknown.

    Example:
      >>> import numpy as np
      >>> white = np.full((1, 1, 1, 3), 255, np.uint8)
      >>> vgg_preprocess(white).ravel().round(3)
      array([2.249, 2.429, 2.64 ], dtype=float32)
      >>> vgg_preprocess(white, "keras").ravel().round(3)
      array([151.061, 138.221, 131.32 ], dtype=float32)
    """
    _check_layout(layout)
    if shape_of(images)[-1:] != (3,):
        raise ShapeError(
            f"vgg_preprocess needs pictures (..., 3): red, green, blue, got {shape_of(images)}."
        )
    dtype = dtype_of(images) if is_inexact(dtype_of(images)) else np.dtype(np.float32)
    x = cast(images, dtype=dtype)
    if layout == "keras":
        return x[..., ::-1] - np.array([103.939, 116.779, 123.68], dtype)
    mean, std = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], dtype)
    return (x / dtype.type(255) - mean) / std

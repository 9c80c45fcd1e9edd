"""Layers as pure pairs (init, apply), models as acyclic graphs of layers.

Layer(init, apply)            init(key, input_shape) -> (output_shape, params)
                              apply(params, x, *, key=None, train=False) -> y
StatefulLayer(init, apply)    init(key, input_shape) -> (output_shape, params, state)
                              apply(params, state, x, *, key=None, train=False) -> (y, state)
"""

from funcgraph.nn import initializers
from funcgraph.nn.activations import *  # noqa: F403
from funcgraph.nn.activations import __all__ as _activations
from funcgraph.nn.combinators import (
    FanOut,
    Model,
    add,
    concat,
    graph,
    mul,
    parallel,
    repeat,
    residual,
    serial,
    tie,
)
from funcgraph.nn.dense import Dense, Embedding, Flatten, Identity, Reshape
from funcgraph.nn.dropout import Dropout, dropout
from funcgraph.nn.layer import Layer, Shape, StatefulLayer, fn
from funcgraph.nn.norm import (
    BatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    RMSNorm,
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
    rms_norm,
)
from funcgraph.nn.summary import show, summary
from funcgraph.nn.symbols import Input

__all__ = [
    *_activations,
    "BatchNorm",
    "Dense",
    "Dropout",
    "Embedding",
    "FanOut",
    "Flatten",
    "GroupNorm",
    "Identity",
    "Input",
    "InstanceNorm",
    "Layer",
    "LayerNorm",
    "Model",
    "RMSNorm",
    "Reshape",
    "Shape",
    "StatefulLayer",
    "add",
    "batch_norm",
    "concat",
    "dropout",
    "fn",
    "graph",
    "group_norm",
    "initializers",
    "instance_norm",
    "layer_norm",
    "mul",
    "parallel",
    "repeat",
    "residual",
    "rms_norm",
    "serial",
    "show",
    "summary",
    "tie",
]

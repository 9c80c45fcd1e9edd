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
from funcgraph.nn.layer import Layer, Shape, StatefulLayer, fn
from funcgraph.nn.symbols import Input

__all__ = [
    *_activations,
    "Dense",
    "Embedding",
    "FanOut",
    "Flatten",
    "Identity",
    "Input",
    "Layer",
    "Model",
    "Reshape",
    "Shape",
    "StatefulLayer",
    "add",
    "concat",
    "fn",
    "graph",
    "initializers",
    "mul",
    "parallel",
    "repeat",
    "residual",
    "serial",
    "tie",
]

"""Layers as pure pairs (init, apply), models as acyclic graphs of layers.

Layer(init, apply)            init(key, input_shape) -> (output_shape, params)
                              apply(params, x, *, key=None, train=False) -> y
StatefulLayer(init, apply)    init(key, input_shape) -> (output_shape, params, state)
                              apply(params, state, x, *, key=None, train=False) -> (y, state)
"""

from funcgraph.nn import filters, initializers
from funcgraph.nn.activations import *  # noqa: F403
from funcgraph.nn.activations import __all__ as _activations
from funcgraph.nn.attention import (
    MultiHeadAttention,
    attention,
    attention_cache,
    padding_mask,
)
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
from funcgraph.nn.convolution import (
    AdaptiveAvgPool,
    AdaptiveMaxPool,
    AvgPool,
    Conv,
    ConvTranspose,
    DepthwiseConv,
    Filter,
    GlobalAvgPool,
    GlobalMaxPool,
    MaxPool,
)
from funcgraph.nn.dense import Dense, Embedding, Flatten, Identity, Reshape
from funcgraph.nn.dropout import Dropout, dropout
from funcgraph.nn.functional_conv import (
    adaptive_avg_pool,
    adaptive_max_pool,
    avg_pool,
    conv,
    conv_transpose,
    global_avg_pool,
    global_max_pool,
    max_pool,
    min_pool,
)
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
from funcgraph.nn.positions import (
    LearnedPositions,
    SinusoidalPositions,
    rotary,
    sinusoidal,
)
from funcgraph.nn.recurrence import gru, gru_cell, lstm, lstm_cell, rnn, rnn_cell
from funcgraph.nn.recurrent import GRU, LSTM, RNN, Bidirectional
from funcgraph.nn.summary import show, summary
from funcgraph.nn.symbols import Input
from funcgraph.nn.transformer import FeedForward, TransformerBlock
from funcgraph.nn.vgg import load_vgg, vgg16, vgg19, vgg_preprocess

__all__ = [
    *_activations,
    "AdaptiveAvgPool",
    "AdaptiveMaxPool",
    "AvgPool",
    "BatchNorm",
    "Bidirectional",
    "Conv",
    "ConvTranspose",
    "Dense",
    "DepthwiseConv",
    "Dropout",
    "Embedding",
    "FanOut",
    "FeedForward",
    "Filter",
    "Flatten",
    "GRU",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "GroupNorm",
    "Identity",
    "Input",
    "InstanceNorm",
    "LSTM",
    "Layer",
    "LayerNorm",
    "LearnedPositions",
    "MaxPool",
    "Model",
    "MultiHeadAttention",
    "RMSNorm",
    "RNN",
    "Reshape",
    "Shape",
    "SinusoidalPositions",
    "StatefulLayer",
    "TransformerBlock",
    "adaptive_avg_pool",
    "adaptive_max_pool",
    "add",
    "attention",
    "attention_cache",
    "avg_pool",
    "batch_norm",
    "concat",
    "conv",
    "conv_transpose",
    "dropout",
    "filters",
    "fn",
    "global_avg_pool",
    "global_max_pool",
    "graph",
    "group_norm",
    "gru",
    "gru_cell",
    "initializers",
    "instance_norm",
    "layer_norm",
    "load_vgg",
    "lstm",
    "lstm_cell",
    "max_pool",
    "min_pool",
    "mul",
    "padding_mask",
    "parallel",
    "repeat",
    "residual",
    "rms_norm",
    "rnn",
    "rnn_cell",
    "rotary",
    "serial",
    "show",
    "sinusoidal",
    "summary",
    "tie",
    "vgg16",
    "vgg19",
    "vgg_preprocess",
]

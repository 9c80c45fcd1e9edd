"""Tables about models: what they count, and that nothing is computed for them."""

from __future__ import annotations

import numpy as np
import pytest

import funcgraph as fg
from funcgraph import nn
from funcgraph.errors import ShapeError


def test_rows_of_nested_models():
    shared = nn.Dense(4)
    model = nn.serial(
        a=shared, body=nn.residual(nn.Dense(4), np.tanh), again=shared, n=nn.BatchNorm()
    )
    table = nn.summary(model, (-1, 4))
    assert [(r.path, r.kind, r.parameters) for r in table.rows] == [
        ("a", "Dense", 20),
        ("body/body/dense", "Dense", 20),
        ("body/body/tanh", "tanh", 0),
        ("body/add", "add", 0),
        ("again", "Dense", 0),
        ("n", "BatchNorm", 8),
    ]
    params = model.init(fg.random.key(0), (-1, 4))[1]
    assert table.parameters == sum(p.size for p in fg.tree.leaves(params)) == 48
    assert table.rows[0].flops == 2 * 16 + 4
    assert {tuple(r.shape) for r in table.rows} == {(-1, 4)}


def test_a_batch_that_is_known_is_counted():
    table = nn.summary(nn.serial(nn.Dense(3, bias=False)), (10, 4))
    assert table.flops == 2 * 10 * 4 * 3 and "for one example" not in str(table)


def test_large_models_cost_nothing():
    model = nn.serial(nn.Dense(100_000), np.tanh, nn.Dense(100_000))
    assert nn.summary(model, (-1, 100_000)).parameters == 2 * (10**10 + 10**5)


def test_several_inputs_and_hints():
    x, y = nn.Input((3,)), nn.Input((4,))
    model = nn.Model([x, y], {"sum": nn.Dense(2)(x) + nn.Dense(2)(y)})
    table = nn.summary(model)
    assert table.parameters == 8 + 10 and table.rows[-1].path == "add"


def test_errors_are_located():
    model = nn.serial(a=nn.serial(b=nn.Reshape(5)))
    with pytest.raises(ShapeError, match=r"(?s)does not fit.*in layer 'a/b'"):
        nn.summary(model, (-1, 4))


def test_show_prints_types():
    params = {"w": np.zeros((2, 3), np.float32), "list": [np.float64(1.0)]}
    assert nn.show(params).splitlines() == [
        "['list'][0]  float64[]     1",
        "['w']        float32[2,3]  6",
        "total        32 bytes      7",
    ]

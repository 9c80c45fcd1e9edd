"""What every exception of funcgraph tells, and what becomes of it in other processes."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph import errors, nn


def test_message_line_and_help():
    with pytest.raises(errors.NonScalarOutputError) as info:
        fg.grad(np.sin)(np.ones(2))
    error = info.value
    message, at, hint = str(error).splitlines()
    assert message == error.message and "needs a function that returns a scalar" in message
    assert at == f"  at {error.line}" and error.line.startswith(f"{__file__}:")
    assert hint == "  help: python -m funcgraph help NonScalarOutputError"
    assert error.layer == ""


def test_a_size_that_is_traced():
    def table(n):
        return fg.numpy.zeros((2, n))

    with pytest.raises(errors.TracerConversionError, match="static_argnums"):
        fg.jit(table)(3)
    assert fg.jit(table, static_argnums=0)(3).shape == (2, 3)
    assert fg.numpy.zeros(np.int64(2)).shape == fg.numpy.full(2, 1.0).shape == (2,)


def test_a_function_of_the_users_is_not_taken_for_scipys():
    doubled = np.frompyfunc(lambda x: 2 * x, 1, 1)
    with pytest.raises(errors.UnsupportedFunctionError, match=r"^<lambda> \(vectorized\) is not"):
        fg.grad(doubled)(3.0)


def test_layer_stands_between():
    model = nn.serial(head=nn.Dense(2))
    _, params = model.init(fg.random.key(0), (-1, 3))
    with pytest.raises(errors.ShapeError) as info:
        model.apply(params, np.ones((4, 5), np.float32))
    lines = str(info.value).splitlines()
    assert lines[2] == f"  {info.value.layer}" and "in layer 'head' (Dense" in lines[2]
    assert lines[3] == "  help: python -m funcgraph help ShapeError"


def test_a_class_of_the_users_leads_to_the_page_of_its_base():
    class MyError(errors.TreeError):
        pass

    assert (
        str(MyError("no", "f.py:1"))
        == "no\n  at f.py:1\n  help: python -m funcgraph help TreeError"
    )


def test_errors_survive_pickling():
    error = errors.LayerError("no such layer")
    error.layer = "in layer 'head'"
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is errors.LayerError and str(again) == str(error)


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("kind", [np.matrix, np.ma.MaskedArray])
def test_matrices_and_masked_arrays_are_refused(kind: Any) -> None:
    """Their own * and sum gave other numbers: a compiled sum took masked elements along."""
    x, f = kind([[1.0, 2.0], [3.0, 4.0]]), lambda x: np.sum(x * x)
    for call in (
        lambda: fg.grad(f)(x),
        lambda: fg.jvp(f, (x,), (x,)),
        lambda: fg.jit(f)(x),
        lambda: fg.vmap(f)(x),
        lambda: fg.grad(lambda v: f(x * v))(1.0),
        lambda: fg.jit(lambda v: f(v * x))(1.0),
    ):
        with pytest.raises((errors.DtypeError, errors.TracerConversionError), match=r"np\.asarray"):
            call()

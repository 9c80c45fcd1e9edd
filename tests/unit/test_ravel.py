"""ravel_pytree: one vector from a pytree, in every transformation."""

from __future__ import annotations

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.errors import TreeError
from funcgraph.transforms.ravel import ravel_pytree

TREE = {"a": np.ones((2, 2), np.float32), "b": 3.0, "c": [np.zeros(0), np.float64(4)], "n": None}


def test_there_and_back():
    vector, unravel = ravel_pytree(TREE)
    assert vector.dtype == np.float64 and vector.tolist() == [1, 1, 1, 1, 3, 4]
    back = unravel(vector)
    assert fg.tree.structure(back) == fg.tree.structure(TREE)
    assert back["a"].dtype == np.float32 and back["a"].shape == (2, 2) and back["b"] == 3.0
    back["a"][0, 0] = 7  # the leaves do not share memory with the vector they are cast from
    assert vector[0] == 1


def test_promotion_and_empty_trees():
    vector, unravel = ravel_pytree((np.int32(2), np.float32(0.5), np.array([True])))
    assert vector.dtype == np.float64
    assert [x.dtype for x in unravel(vector)] == [np.int32, np.float32, np.bool_]
    assert ravel_pytree([np.float32(1), np.ones(2, np.float32)])[0].dtype == np.float32
    vector, unravel = ravel_pytree({"a": None})
    assert vector.shape == (0,) and unravel(vector) == {"a": None}


def test_derivatives_and_compiled():
    vector, unravel = ravel_pytree(TREE)
    f = lambda v: np.sum(unravel(v)["a"] ** 2) + unravel(v)["b"]
    np.testing.assert_array_equal(fg.grad(f)(vector), [2, 2, 2, 2, 1, 0])
    np.testing.assert_array_equal(fg.jit(fg.grad(f))(vector), [2, 2, 2, 2, 1, 0])
    np.testing.assert_array_equal(fg.hessian(f)(vector)[0], [2, 0, 0, 0, 0, 0])
    g = fg.grad(lambda t: np.sum(ravel_pytree(t)[0] ** 2))(TREE)
    assert g["b"] == 6.0 and g["a"].dtype == np.float32
    lanes = fg.vmap(lambda x: ravel_pytree({"x": x, "y": 1.0})[0])(np.zeros((3, 2)))
    np.testing.assert_array_equal(lanes, [[0, 0, 1]] * 3)


def test_jax_arrays_are_as_jax_s():
    jax = pytest.importorskip("jax")
    flatten_util = pytest.importorskip("jax.flatten_util")
    with jax.enable_x64(True):
        t = {"a": jax.numpy.arange(4.0).reshape(2, 2), "b": jax.numpy.float32(2)}
        wanted, their_unravel = flatten_util.ravel_pytree(t)
        got, unravel = ravel_pytree(t)
        assert isinstance(got, jax.Array) and got.dtype == wanted.dtype
        np.testing.assert_array_equal(got, wanted)
        back, their_back = unravel(3 * got), their_unravel(3 * wanted)
        assert back["b"].dtype == their_back["b"].dtype == np.float32
        np.testing.assert_array_equal(back["a"], their_back["a"])
        compiled = jax.jit(lambda t: ravel_pytree(t)[0])(t)
        np.testing.assert_array_equal(compiled, wanted)
    with jax.enable_x64(False):
        x = fg.jit(lambda x: 2 * x, backend="xla")(np.ones(3))
        vector, unravel = ravel_pytree([x, 1.0])
        assert vector.dtype == unravel(vector)[0].dtype == np.float64


def test_messages():
    _, unravel = ravel_pytree(TREE)
    with pytest.raises(TreeError, match=r"vector of shape \(6,\), got shape \(5,\)"):
        unravel(np.zeros(5))
    with pytest.raises(TreeError, match=r"dtype complex128.*real \(float64\)"):
        unravel(np.zeros(6, complex))

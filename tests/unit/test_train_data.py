"""Batches of rows, and parameters chosen by patterns of paths."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
import pytest

import funcgraph as fg
from funcgraph import random
from funcgraph.errors import TrainingError, TreeError
from funcgraph.train import batches, combine, partition

KEY = random.key(0)
X = np.arange(10) * 1.0
Y = np.arange(20).reshape(10, 2)


def joined(iterable):
    return np.concatenate([np.atleast_1d(b) for b in iterable])


# --- batches -------------------------------------------------------------------------------------


def test_every_row_comes_once_and_rows_stay_together():
    loop = batches((X, {"y": Y}), 4, key=KEY)
    found = list(loop)
    assert [len(x) for x, _ in found] == [4, 4, 2] and len(loop) == 3
    x = np.concatenate([x for x, _ in found])
    y = np.concatenate([b["y"] for _, b in found])
    assert sorted(x) == X.tolist() and x.tolist() != X.tolist()
    np.testing.assert_array_equal(y, Y[x.astype(int)])


def test_the_order_is_that_of_permutation():
    np.testing.assert_array_equal(
        joined(batches(X, 3, key=KEY, epochs=2)),
        np.concatenate([X[random.permutation(random.fold_in(KEY, n), 10)] for n in range(2)]),
    )
    np.testing.assert_array_equal(joined(batches(X, 3)), X)
    # Numbers that must never change, on any machine.
    assert joined(batches(np.arange(8), 8, key=random.key(42))).tolist() == ORDER


ORDER = [1, 3, 5, 0, 2, 6, 7, 4]


def test_the_last_batch_can_be_dropped():
    loop = batches(X, 4, drop_last=True)
    assert len(loop) == 2 and [len(b) for b in loop] == [4, 4]


@pytest.mark.parametrize("stop", range(8))
def test_a_loop_goes_on_from_its_position(stop):
    whole = list(batches(X, 4, key=KEY, epochs=2))
    loop = iter(batches(X, 4, key=KEY, epochs=2))
    first = list(itertools.islice(loop, stop))
    rest = list(batches(X, 4, key=KEY, epochs=2, start=loop.position))
    assert len(first + rest) == len(whole) == 6
    for a, b in zip(first + rest, whole, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_loop_without_end():
    loop = batches(X, 5, key=KEY, epochs=None)
    assert len(list(itertools.islice(loop, 100))) == 100


def test_an_epoch_from_a_batch_on():
    loop = batches(X, 4, key=KEY)
    np.testing.assert_array_equal(joined(loop.epoch(3, 1)), joined(loop.epoch(3))[4:])


def test_files_on_disk_are_read_row_by_row(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, Y)
    x = np.load(path, mmap_mode="r")
    for key in (None, KEY):
        got = list(batches(x, 4, key=key))
        assert all(type(b) is np.ndarray for b in got)
        assert sorted(np.concatenate(got)[:, 0]) == Y[:, 0].tolist()

    class Rows:
        """Counts the rows that are asked for."""

        shape, dtype, asked = (1000, 3), np.dtype(float), 0

        def __getitem__(self, rows):
            self.asked += len(rows)
            return np.zeros((len(rows), 3))

    rows = Rows()
    next(iter(batches(rows, 7, key=KEY)))
    assert rows.asked == 7


def test_arrays_of_jax():
    jnp = pytest.importorskip("jax.numpy")
    np.testing.assert_array_equal(
        joined(batches(jnp.asarray(X), 4, key=KEY)), joined(batches(X, 4, key=KEY))
    )


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ((X, Y[:9]), {"size": 2}, "same number of rows, but 0 has 10, 1 has 9"),
        ({"x": X, "n": np.array(3.0)}, {"size": 2}, "but n is a ndarray without one"),
        ([1, 2], {"size": 2}, r"0 is a int without one: use np\.asarray"),
        ({}, {"size": 2}, "at least one array"),
        (X, {"size": 0}, "positive integer, got 0"),
        (X, {"size": 2.5}, "positive integer, got 2.5"),
        (X, {"size": 11, "drop_last": True}, "there is no batch: 10 rows, size=11"),
        (X[:0], {"size": 2}, "there is no batch: 0 rows"),
        (X, {"size": 5, "start": (0, 3)}, r"start=\(epoch, batch\) is \(0, 3\).*has 2 batches"),
    ],
)
def test_data_that_are_refused(data, options, message):
    with pytest.raises(TrainingError, match=message):
        batches(data, **options)


# --- partition -----------------------------------------------------------------------------------


class Pair(NamedTuple):
    w: Any
    b: Any


PARAMS = {
    "encoder": [Pair(1.0, 2.0), Pair(3.0, 4.0)],
    "head": {"w": 5.0, "b": 6.0, "extra": {"w": 7.0}},
    "none": None,
    "scale": 8.0,
}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("**", [1, 2, 3, 4, 5, 6, 7, 8]),
        ("*", [8]),
        ("**/w", [1, 3, 5, 7]),
        ("*/w", [5]),
        ("head/**", [5, 6, 7]),
        ("head/*", [5, 6]),
        ("encoder/*/b", [2, 4]),
        ("encoder/1/**", [3, 4]),
        ("head/**/w", [5, 7]),
        ("**/e*/**", [1, 2, 3, 4, 7]),
        ("enc?der/0/w", [1]),
        ("scale", [8]),
        (["scale", "encoder/0/*"], [1, 2, 8]),
        (lambda path, leaf: leaf > 6, [7, 8]),
    ],
)
def test_patterns(pattern, expected):
    selected, rest = partition(PARAMS, pattern)
    assert sorted(fg.tree.leaves(selected)) == expected
    assert sorted(fg.tree.leaves(rest)) == sorted(set(range(1, 9)) - set(expected))
    assert combine(selected, rest) == combine(rest, selected) == PARAMS


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("haed/**", r"'haed/\*\*' fits no parameter\. Did you mean 'head/\*\*'"),
        ("head", r"those inside of it have paths: write 'head/\*\*'"),
        ("scal", "Did you mean 'scale'"),
        ("a.b", "fits no parameter.*The paths are: encoder/0/w, "),
        (["scale", "hed/w"], r"'hed/w' fits no parameter.*'head/w'"),
        ("*/c[w]", "fits no parameter"),
    ],
)
def test_patterns_that_fit_nothing(pattern, message):
    with pytest.raises(TrainingError, match=message):
        partition(PARAMS, pattern)


def test_patterns_of_other_types():
    with pytest.raises(TypeError, match="a pattern of paths is a string, got 3"):
        partition(PARAMS, [3])
    with pytest.raises(TrainingError, match="The paths are: none"):
        partition({}, "w")


def test_combine_refuses_two_leaves_at_one_path():
    with pytest.raises(TrainingError, match="2 of the pytrees have a leaf at 'head/w'"):
        combine(PARAMS, partition(PARAMS, "head/w")[0])
    with pytest.raises(TreeError):
        combine({"a": 1.0}, {"b": 1.0})
    with pytest.raises(TypeError, match="at least one"):
        combine()
    parts = [partition(PARAMS, p)[0] for p in ("encoder/**", "head/**", "scale")]
    assert combine(*parts) == PARAMS


def test_partition_works_on_traced_parameters():
    def f(params):
        selected, rest = partition(params, "a")
        return combine(selected, rest)["a"] * 2.0

    assert fg.grad(fg.jit(f))({"a": 1.0, "b": 2.0}) == {"a": 2.0, "b": 0.0}

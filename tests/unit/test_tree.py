"""Pytrees: structure, paths, registration, errors; equality with jax.tree_util."""

import dataclasses
from collections import OrderedDict, defaultdict
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

import funcgraph as fg
from funcgraph import tree
from funcgraph.errors import TreeError

jax = pytest.importorskip("jax")


class Pair(NamedTuple):
    a: object
    b: object


@tree.register_dataclass
@dataclasses.dataclass
class Point:
    x: object
    y: object


@dataclasses.dataclass
class Layer:
    w: object
    name: str


tree.register_dataclass(Layer, data_fields=["w"], meta_fields=["name"])


@tree.register_dataclass
@dataclasses.dataclass
class Marked:
    w: object
    name: str = dataclasses.field(metadata={"static": True})


class Box:
    def __init__(self, *items):
        self.items = items


tree.register_pytree_node(Box, lambda b: (b.items, len(b.items)), lambda n, items: Box(*items))


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class KnownToJax:
    inner: object


EXAMPLES = [
    3.0,
    None,
    (),
    {},
    [1, (2, None), {"b": 3, "a": [4]}],
    {"z": Pair(1, [2]), "a": {"k": (3,)}},
    OrderedDict([("b", 1), ("a", 2)]),
    defaultdict(list, {"b": 1, "a": 2}),
    KnownToJax({"a": 1, "b": (2, 3)}),
    {1: "x", 0: "y"},
]


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_same_leaves_paths_and_round_trip_as_jax(example):
    leaves, treedef = tree.flatten(example)
    assert leaves == jax.tree_util.tree_leaves(example)
    assert tree.unflatten(treedef, leaves) == example
    assert treedef.num_leaves == len(leaves)
    ours = [tree.keystr(path) for path, _ in tree.leaves_with_path(example)]
    theirs = [jax.tree_util.keystr(p) for p, _ in jax.tree_util.tree_leaves_with_path(example)]
    assert ours == theirs


leaf = st.integers() | st.floats(allow_nan=False) | st.text(max_size=3)
trees = st.recursive(
    leaf | st.none(),
    lambda t: (
        st.lists(t, max_size=3)
        | st.tuples(t, t)
        | st.dictionaries(st.text(max_size=3), t, max_size=3)
        | st.builds(Pair, t, t)
    ),
    max_leaves=12,
)


@given(trees)
def test_round_trip(example):
    leaves, treedef = tree.flatten(example)
    assert leaves == jax.tree_util.tree_leaves(example)
    assert tree.unflatten(treedef, leaves) == example
    assert treedef == tree.structure(example) and hash(treedef) == hash(tree.structure(example))
    assert tree.map(lambda x: x, example) == example


def test_registered_types():
    value = {"p": Point(1.0, [2.0]), "l": Layer(3.0, "dense"), "b": Box(4.0, 5.0)}
    assert tree.leaves(value) == [4.0, 5.0, 3.0, 1.0, 2.0]
    assert [tree.keystr(p) for p, _ in tree.leaves_with_path(value)] == [
        "['b'][0]", "['b'][1]", "['l'].w", "['p'].x", "['p'].y[0]",
    ]  # fmt: skip
    doubled = tree.map(lambda x: 2 * x, value)
    assert doubled["p"] == Point(2.0, [4.0]) and doubled["l"] == Layer(6.0, "dense")
    assert tree.structure(Layer(1, "a")) != tree.structure(Layer(1, "b"))
    assert tree.map(lambda x: 2 * x, Marked(3.0, "dense")) == Marked(6.0, "dense")
    assert tree.structure(Marked(1, "a")) != tree.structure(Marked(1, "b"))
    with pytest.raises(ValueError, match="registered"):
        tree.register_pytree_node(Box, None, None)
    with pytest.raises(ValueError, match="every field"):
        tree.register_dataclass(Layer, ["w"], [])


def test_a_type_registered_with_jax_after_it_was_seen():
    class Late:
        def __init__(self, x):
            self.x = x

    assert len(tree.leaves(Late(1))) == 1
    jax.tree_util.register_pytree_node(Late, lambda t: ((t.x, t.x), None), lambda _, c: Late(c[0]))
    assert tree.leaves(Late(1)) == [1, 1]


def test_gradient_with_respect_to_registered_types():
    g = fg.grad(lambda p: p.x**2 * p.y)(Point(3.0, 2.0))
    assert g == Point(12.0, 9.0)
    g = fg.grad(lambda k: k.inner["a"] ** 2)(KnownToJax({"a": 3.0}))
    assert g == KnownToJax({"a": 6.0})


def test_map_with_prefix_and_paths():
    assert tree.map(lambda a, b: (a, b), {"x": 1}, {"x": [2, 3]}) == {"x": (1, [2, 3])}
    named = tree.map_with_path(lambda p, x, y: f"{tree.keystr(p)}:{x + y}", [1, (2,)], [3, (4,)])
    assert named == ["[0]:4", ("[1][0]:6",)]
    assert tree.map(lambda x: -1, [(1, 2), 3], is_leaf=lambda x: type(x) is tuple) == [-1, -1]
    assert tree.reduce(lambda a, b: a + b, [1, (2, 3)]) == 6
    assert tree.all({"a": 1, "b": [True]}) and not tree.all([0, 1])


def test_transpose():
    value = [{"a": 1, "b": (2, 3)}, {"a": 4, "b": (5, 6)}]
    want = {"a": [1, 4], "b": ([2, 5], [3, 6])}
    outer, inner = tree.structure([0, 0]), tree.structure({"a": 0, "b": (0, 0)})
    assert tree.transpose(outer, inner, value) == want
    assert tree.transpose(outer, None, value) == want


def test_structure_is_printed():
    text = repr(tree.structure({"a": 0, "b": [0, (0,), None], "c": Pair(0, 0)}))
    assert text == "TreeDef({'a': *, 'b': [*, (*,), None], 'c': Pair(*, *)})"
    assert [c.num_leaves for c in tree.structure([(1, 2), 3]).children] == [2, 1]


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        ({"a": [1, 2]}, {"a": [1, 2, 3]}, "at ['a'] two lists have different lengths"),
        ({"a": {"x": 1}}, {"a": {"y": 1}}, "missing ['x'], unexpected ['y']"),
        ([(1,)], [[1]], "at [0] a tuple was expected"),
        (Pair(1, {"k": (2, 3)}), Pair(1, {"k": 5}), "at .b['k'] a tuple was expected"),
        ([Layer(1, "a")], [Layer(1, "b")], "at [0] two Layers have different static data"),
    ],
)
def test_errors_name_the_path(first, second, text):
    with pytest.raises(TreeError) as info:
        tree.map(lambda a, b: a, first, second)
    assert text in str(info.value)
    assert "test_tree.py:" in str(info.value)


def test_wrong_number_of_leaves_and_unsortable_keys():
    with pytest.raises(TreeError, match="has 2 leaves, but 3 were given"):
        tree.unflatten(tree.structure([0, 0]), [1, 2, 3])
    with pytest.raises(TreeError, match="sortable"):
        tree.flatten({1: 0, "a": 0})

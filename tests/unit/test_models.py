"""Models of layers: naming, sharing, state, keys, surgery, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import funcgraph as fg
from funcgraph import nn, random
from funcgraph.errors import LayerError, ShapeError

KEY = random.key(0)
X = np.asarray(random.normal(random.key(1), (5, 4)))


def scale():
    """A layer of two plain functions."""
    return nn.Layer(
        lambda key, shape: (shape, {"s": np.full(shape[-1], 2.0, np.float32)}),
        lambda params, x: params["s"] * x,
    )


def counter():
    """A layer with a state: it counts its calls in training."""
    return nn.StatefulLayer(
        lambda key, shape: (shape, {}, np.int32(0)),
        lambda params, n, x, *, train=False: (x + n.astype(x.dtype), n + 1 if train else n),
    )


def noise():
    """A layer that needs a key when it trains."""

    def apply(params, x, *, key=None, train=False):
        return x + random.normal(key, x.shape, x.dtype) if train else x

    return nn.Layer(lambda key, shape: (shape, {}), apply)


# --- pairs and shapes ----------------------------------------------------------------------------


def test_a_layer_is_a_pair():
    init, apply = nn.Dense(3)
    shape, params = init(KEY, (-1, 4))
    assert shape == (-1, 3) and shape.dtype == np.float32
    np.testing.assert_array_equal(apply(params, X), X @ params["w"] + params["b"])


@pytest.mark.parametrize("given", [(-1, 4), X, fg.ShapeDtype((5, 4), np.dtype(np.float32)), [5, 4]])
def test_init_takes_shapes_and_arrays(given):
    shape, params = nn.serial(nn.Dense(3), np.tanh).init(KEY, given)
    assert shape == ((-1, 3) if given == (-1, 4) else (5, 3)) if given is not X else (5, 3)
    assert params["dense"]["w"].shape == (4, 3)


def test_parameters_have_the_dtype_of_the_input():
    model = nn.serial(nn.Dense(3), nn.Dense(2))
    shape, params = model.init(KEY, fg.ShapeDtype((-1, 4), np.dtype(np.float64)))
    assert shape.dtype == np.float64
    assert {p.dtype for p in fg.tree.leaves(params)} == {np.dtype(np.float64)}


def test_a_batch_length_is_found_wherever_it_goes():
    model = nn.fn(lambda x: np.swapaxes(np.concatenate([x, x], 0), 0, 1))
    assert model.init(KEY, (-1, 2))[0] == (2, -1)
    assert nn.fn(lambda x: x[:, :2]).init(KEY, (-1, 3))[0] == (-1, 2)  # 2 is no batch here


def test_a_shape_that_init_gets_wrong_is_reported():
    wrong = nn.Layer(lambda key, shape: ((-1, 7), {}), lambda params, x: x)
    message = (
        r"(?s)has the shape float32\[-1,7\], but apply returns float32\[-1,4\].*in layer 'layer'"
    )
    with pytest.raises(LayerError, match=message):
        nn.serial(wrong).init(KEY, (-1, 4))


@pytest.mark.parametrize("given", [3.5, "shape"])
def test_what_is_no_shape_is_refused(given):
    with pytest.raises(ShapeError, match="is no input shape"):
        nn.Dense(3).init(KEY, given)


def test_what_is_no_layer_is_refused():
    with pytest.raises(TypeError, match="is no layer"):
        nn.serial(3)
    with pytest.raises(TypeError, match="pair of functions"):
        nn.Layer(3, np.sin)


# --- names, keys, parameters ---------------------------------------------------------------------


def test_a_layer_more_leaves_the_others_unchanged():
    small = nn.serial(nn.Dense(4), np.tanh, head=nn.Dense(2)).init(KEY, (-1, 4))[1]
    large = nn.serial(nn.Dense(4), noise(), scale(), np.tanh, head=nn.Dense(2)).init(KEY, (-1, 4))[
        1
    ]
    for name in small:
        np.testing.assert_array_equal(small[name]["w"], large[name]["w"])
    assert not np.array_equal(small["dense"]["w"][:, :2], small["head"]["w"])


def test_plain_functions_and_pairs_are_layers():
    pair = (
        lambda key, shape: (shape, {"s": np.ones(shape[-1], np.float32)}),
        lambda p, x: p["s"] * x,
    )
    model = nn.serial(pair, np.tanh, ("last", scale()))
    _, params = model.init(KEY, (-1, 4))
    assert model.nodes == ("layer", "tanh", "last")
    np.testing.assert_allclose(model.apply(params, X), 2 * np.tanh(X))


def test_two_names_alike_are_refused():
    with pytest.raises(LayerError, match=r"two nodes have the name 'a'.*test_models.py"):
        nn.serial(("a", nn.Dense(1)), ("a", nn.Dense(1)))
    with pytest.raises(LayerError, match="without '/'"):
        nn.serial(("a/b", nn.Dense(1)))


def test_each_layer_gets_a_key_of_its_own():
    model = nn.serial(noise(), noise())
    out = model.apply({}, np.zeros((2, 3)), key=KEY, train=True)
    first = random.normal(random.fold_in(KEY, 0), (2, 3))
    assert not np.allclose(out, 2 * first)
    again = model.apply({}, np.zeros((2, 3)), key=KEY, train=True)
    np.testing.assert_array_equal(out, again)
    np.testing.assert_array_equal(model.apply({}, X), X)


# --- graphs --------------------------------------------------------------------------------------


def reference(params, x):
    h = np.tanh(x @ params["h"]["w"] + params["h"]["b"])
    return h @ params["y"]["w"] + params["y"]["b"] + x


def test_two_spellings_are_one_model():
    written = nn.graph(
        {
            "sum": (nn.add, "y", "x"),
            "x": nn.Input(),
            "y": (nn.Dense(4), "t"),
            "t": (np.tanh, "h"),
            "h": (nn.Dense(3), "x"),
        }
    )
    x = nn.Input(name="x")
    h = nn.Dense(3)(x, name="h")
    called = nn.Model(x, nn.Dense(4)(np.tanh(h), name="y") + x)
    _, params = written.init(KEY, (-1, 4))
    _, other = called.init(KEY, (-1, 4))
    fg.tree.map(np.testing.assert_array_equal, params, other)
    for model in (written, called):
        np.testing.assert_allclose(model.apply(params, X), reference(params, X), rtol=1e-6)


def test_several_inputs_and_outputs():
    a, b = nn.Input(name="a"), nn.Input(name="b")
    joined = nn.concat()(nn.Dense(2)(a), nn.Dense(3)(b))
    model = nn.Model([a, b], {"joined": joined, "twice": 2.0 * joined[:, :1]})
    shape, params = model.init(KEY, (-1, 4), (-1, 6))
    assert shape == {"joined": (-1, 5), "twice": (-1, 1)}
    y = np.ones((5, 6), np.float32)
    out = model.apply(params, X, y)
    np.testing.assert_array_equal(out["twice"], 2 * out["joined"][:, :1])
    fg.tree.map(np.testing.assert_array_equal, out, model.apply(params, (X, y)))
    with pytest.raises(LayerError, match=r"2 inputs \(a, b\), but got 1 arguments"):
        model.apply(params, X)


def test_a_shared_layer_has_one_leaf_and_the_sum_of_gradients():
    shared = nn.Dense(4)
    model = nn.serial(shared, np.tanh, shared)
    _, params = model.init(KEY, (-1, 4))
    assert list(params) == ["dense"]
    one = fg.grad(lambda p: np.sum(model.apply(p, X) ** 2))(params)["dense"]["w"]

    def apart(first, second):
        h = np.tanh(X @ first["w"] + first["b"])
        return np.sum((h @ second["w"] + second["b"]) ** 2)

    two = fg.grad(apart, (0, 1))(params["dense"], params["dense"])
    np.testing.assert_allclose(one, two[0]["w"] + two[1]["w"], rtol=1e-5)


def test_models_nest():
    block = nn.residual(nn.Dense(4), np.tanh)
    model = nn.serial(nn.Dense(4), block, nn.serial(nn.Dense(2)))
    shape, params = model.init(KEY, (-1, 3))
    assert shape == (-1, 2)
    assert sorted(params) == ["dense", "residual", "serial"]
    assert list(params["residual"]["body"]) == ["dense"]


def test_stax_style_fan_out():
    model = nn.serial(nn.FanOut(2), nn.parallel(nn.Dense(3), nn.Identity()), nn.concat())
    shape, params = model.init(KEY, (-1, 4))
    assert shape == (-1, 7)
    np.testing.assert_array_equal(model.apply(params, X)[:, 3:], X)


def test_inputs_may_know_their_shapes():
    x = nn.Input((4,), np.float64)
    shape, params = nn.Model(x, nn.Dense(2)(x)).init(KEY)
    assert shape == (-1, 2) and params["dense"]["w"].dtype == np.float64


def test_residual_with_a_shortcut():
    model = nn.residual(nn.Dense(6), shortcut=nn.Dense(6, bias=False))
    _, params = model.init(KEY, (-1, 4))
    expected = X @ params["shortcut"]["w"] + X @ params["body"]["dense"]["w"]
    np.testing.assert_allclose(model.apply(params, X), expected, rtol=1e-5)


# --- state ---------------------------------------------------------------------------------------


def test_a_model_is_stateful_only_if_a_layer_is():
    assert isinstance(nn.serial(nn.Dense(2)), nn.Layer)
    model = nn.serial(nn.Dense(4), counter(), nn.serial(counter()), np.tanh)
    assert isinstance(model, nn.StatefulLayer)
    _, params, state = model.init(KEY, (-1, 4))
    assert state == {"layer": 0, "serial": {"layer": 0}}
    y, state = model.apply(params, state, X, train=True)
    assert state == {"layer": 1, "serial": {"layer": 1}}
    again, same = model.apply(params, state, X)
    assert same == state and not np.allclose(y, again)


def test_a_stateful_layer_used_twice_passes_its_state_on():
    shared = counter()
    model = nn.serial(shared, shared)
    _, params, state = model.init(KEY, (-1, 4))
    y, state = model.apply(params, state, X, train=True)
    np.testing.assert_array_equal(y, X + 1)
    assert state == {"layer": 2}


# --- repeat and tie ------------------------------------------------------------------------------


@pytest.mark.parametrize("transform", [lambda f: f, fg.jit])
def test_repeat_is_the_loop(transform):
    model = nn.repeat(nn.serial(nn.Dense(4), np.tanh), 3)
    _, params = model.init(KEY, (-1, 4))
    expected = X
    for i in range(3):
        w, b = params["dense"]["w"][i], params["dense"]["b"][i]
        expected = np.tanh(expected @ w + b)
    np.testing.assert_allclose(transform(model.apply)(params, X), expected, rtol=1e-5)
    gradient = fg.grad(lambda p: np.sum(transform(model.apply)(p, X)))(params)
    assert gradient["dense"]["w"].shape == (3, 4, 4)
    assert not np.allclose(params["dense"]["w"][0], params["dense"]["w"][1])


def test_repeat_has_states_and_keys():
    model = nn.repeat(nn.serial(counter(), noise()), 3)
    _, params, state = model.init(KEY, (-1, 4))
    _, state = model.apply(params, state, X, key=KEY, train=True)
    np.testing.assert_array_equal(state["layer"], [1, 1, 1])
    with pytest.raises(LayerError, match=r"the output has the shape float32\[-1,2\]"):
        nn.repeat(nn.Dense(2), 2).init(KEY, (-1, 4))
    with pytest.raises(LayerError, match="positive number"):
        nn.repeat(nn.Dense(2), 0)


def test_tied_parameters():
    model = nn.serial(up=nn.Dense(6), down=nn.Dense(4, bias=False))
    tied = nn.tie(model, "down/w", "up/w", np.transpose)
    _, params = tied.init(KEY, (-1, 4))
    assert sorted(params) == ["down", "up"] and not params["down"]
    w, b = params["up"]["w"], params["up"]["b"]
    np.testing.assert_allclose(tied.apply(params, X), (X @ w + b) @ w.T, rtol=1e-5)
    with pytest.raises(LayerError, match=r"has the shape \(6, 4\), but.*\(4, 6\)"):
        nn.tie(model, "down/w", "up/w").init(KEY, (-1, 4))
    with pytest.raises(LayerError, match="there is no parameter 'down/v'"):
        nn.tie(model, "down/v", "up/w").init(KEY, (-1, 4))


# --- surgery -------------------------------------------------------------------------------------


def small():
    body = nn.serial(nn.Dense(5), np.tanh, nn.Dense(3))
    return nn.serial(body=body, act=np.tanh, head=nn.Dense(2))


def test_capture_returns_values_inside():
    model = small()
    _, params = model.init(KEY, (-1, 4))
    y, found = model.apply(params, X, capture=["act", "body/dense", "body"])
    assert sorted(found) == ["act", "body", "body/dense"]
    np.testing.assert_array_equal(np.tanh(found["body"]), found["act"])
    np.testing.assert_array_equal(y, model.apply(params, X))
    with pytest.raises(LayerError, match=r"there is no node 'actt'\. Did you mean 'act'"):
        model.apply(params, X, capture=["actt"])
    with pytest.raises(LayerError, match="nothing inside of tanh"):
        model.apply(params, X, capture=["act/x"])


def test_upto_takes_the_same_parameters():
    model = small()
    _, params = model.init(KEY, (-1, 4))
    for path in ("body", "body/tanh", "act"):
        part = model.upto(path)
        _, found = model.apply(params, X, capture=[path])
        np.testing.assert_array_equal(part.apply(params, X), found[path])
        kept = part.select(params)
        np.testing.assert_array_equal(part.apply(kept, X), found[path])
        assert "head" not in kept
    assert sorted(model.upto("body/tanh").select(params)["body"]) == ["dense"]


def test_node_and_replace():
    model = small()
    _, params = model.init(KEY, (-1, 4))
    assert model.node("body/dense_1").kind == "Dense"
    wider = model.replace("head", nn.Dense(7))
    shape, fresh = wider.init(random.key(7), (-1, 4))
    assert shape == (-1, 7)
    assert wider.apply({**params, "head": fresh["head"]}, X).shape == (5, 7)
    assert model.replace("body/tanh", np.sin).node("body/tanh").kind == "sin"
    with pytest.raises(LayerError, match="not a model"):
        model.node("head/w")


# --- errors --------------------------------------------------------------------------------------


def test_a_mismatch_of_shapes_names_path_line_and_shapes():
    model = small()
    _, params = model.init(KEY, (-1, 4))
    wrong = np.zeros((2, 7), np.float32)
    with pytest.raises(ShapeError) as caught:
        model.apply(params, wrong)
    assert "expects an input of shape (..., 4)" in str(caught.value)
    assert "in layer 'body/dense' (Dense, created at " in str(caught.value)
    assert "test_models.py" in str(caught.value) and "float32[2,7]" in str(caught.value)
    model = nn.serial(a=nn.Dense(3), b=nn.serial(c=nn.fn(lambda x: x @ np.zeros((2, 2)))))
    with pytest.raises(LayerError, match=r"in layer 'z' \(add, created at funcgraph.nn; .*,5\]"):
        nn.graph({"x": nn.Input(), "y": (nn.Dense(5), "x"), "z": (nn.add, "x", "y")}).init(KEY, X)
    with pytest.raises(ValueError, match=r"in layer 'b/c' \(layer, created at .*float32\[-1,3\]"):
        model.init(KEY, (-1, 4))


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ({"x": nn.Input(), "a": (np.sin, "b"), "b": (np.sin, "a")}, r"cycle, a <- b <- a"),
        ({"x": nn.Input(), "a": (np.sin, "a")}, r"cycle, a <- a.*test_models.py"),
        ({"hid": nn.Input(), "a": (np.sin, "hide")}, "reads 'hide', which is no.* mean 'hid'"),
        ({"x": nn.Input(), "a": (np.sin,)}, "reads nothing"),
        ({"x": nn.Input(), "a": np.sin}, "must be nn.Input"),
        ({"x": nn.Input(), "a": (np.sin, "x"), "b": (np.cos, "x")}, "say which are the outputs"),
        ({"x": nn.Input(), "z": nn.Input(), "b": (np.cos, "x")}, "no output depends on 'z'"),
    ],
)
def test_graphs_that_are_refused(nodes, message):
    with pytest.raises(LayerError, match=message):
        nn.graph(nodes)


def test_unused_nodes_are_named():
    with pytest.raises(LayerError, match=r"no output depends on 'b' \(created at .*test_models"):
        nn.graph({"x": nn.Input(), "a": (np.sin, "x"), "b": (np.cos, "x")}, outputs="a")
    with pytest.raises(LayerError, match="the output 'c' is no node or input"):
        nn.graph({"x": nn.Input(), "a": (np.sin, "x")}, outputs="c")


def test_symbols_that_are_refused():
    x, z = nn.Input(), nn.Input()
    with pytest.raises(LayerError, match=r"not among the inputs .*sin> <- .*add>"):
        nn.Model(x, nn.add(x, np.sin(z)))
    with pytest.raises(LayerError, match="an output of a model is a symbol"):
        nn.Model(x, [x + 1, 3])
    with pytest.raises(LayerError, match=r"inputs of a model are nn\.Input"):
        nn.Model(x + 1, x + 1)
    with pytest.raises(LayerError, match="two nodes have the name 'a'"):
        nn.Model(x, nn.Dense(2)(nn.Dense(2)(x, name="a"), name="a"))
    with pytest.raises(LayerError, match="cannot branch"):
        bool(x)
    with pytest.raises(TypeError, match=r"is called on nn.Input.*got \(ndarray\)"):
        nn.Dense(2)(X)
    with pytest.raises(LayerError, match="has no meaning on symbols"):
        np.add.reduce(x)


def test_parameters_that_are_no_dict_are_refused():
    with pytest.raises(LayerError, match="are a dict by the names"):
        nn.serial(nn.Dense(2)).apply([np.zeros((4, 2))], X)


def test_errors_that_are_not_ours_keep_their_class():
    def fail(x):
        raise KeyError("missing")

    with pytest.raises(KeyError) as caught:
        nn.serial(a=nn.serial(b=fail)).apply({}, X)
    assert caught.value.__notes__ == [
        n for n in caught.value.__notes__ if n.startswith("in layer 'a/b' (fail")
    ]


# --- transformations -----------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["numpy", "xla"])
def test_models_compile_and_map(backend):
    if backend == "xla":
        pytest.importorskip("jax")
    model = small()
    _, params = model.init(KEY, fg.ShapeDtype((-1, 4), np.dtype(float)))
    x = X.astype(float)
    loss = lambda p, x: np.sum(model.apply(p, x) ** 2)
    expected = fg.grad(loss)(params, x)
    found = fg.jit(fg.grad(loss), backend=backend)(params, x)
    fg.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), expected, found)
    each = fg.vmap(fg.grad(loss), (None, 0))(params, x[:, None])
    total = fg.tree.map(lambda g: g.sum(0), each)
    fg.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), expected, total)


def test_initialisation_can_be_mapped_over_keys():
    model = small()
    keys = random.split(KEY, 3)
    params = fg.vmap(lambda k: model.init(k, (-1, 4))[1])(keys)
    alone = model.init(keys[1], (-1, 4))[1]
    fg.tree.map(lambda a, b: np.testing.assert_array_equal(a[1], b), params, alone)

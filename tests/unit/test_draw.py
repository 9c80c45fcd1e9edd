"""Pictures: what is drawn of functions, graphs and models, and in which forms it is saved."""

from __future__ import annotations

import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

import funcgraph as fg
from funcgraph import nn
from funcgraph.errors import LayerError, MissingPackageError, NonDifferentiableError, PictureError
from funcgraph.pictures.build import build
from funcgraph.pictures.labels import operation_text, shape_text
from funcgraph.pictures.pullbacks import Formulas, rule_of


def loss(w, x):
    hidden = np.tanh(x @ w)
    return np.sum(hidden**2)


W, X = np.ones((3, 2)), np.ones((5, 3))


def nodes(drawing, kind=None):
    found = drawing.scene.nodes.values()
    return [node for node in found if kind is None or node.kind == kind]


def texts(drawing, kind=None):
    return [" ".join(node.lines) for node in nodes(drawing, kind)]


def rule(fun, *args, active=None):
    (e,) = fg.make_graph(fun)(*args).equations
    names = ["" for _ in e.inputs]
    return rule_of(e, names, active or [not isinstance(v, int | float) for v in e.inputs])


# --- what is drawn --------------------------------------------------------------------------------


def test_forward_and_backward_of_a_scalar_function():
    drawing = fg.draw(loss)(W, X)
    assert texts(drawing, "input") == ["w", "x", "∂loss/∂w"]
    assert texts(drawing, "product") == ["x @ w", "xᵀ @ g"]
    assert texts(drawing, "elementwise") == [
        "tanh hidden", "square", "g × (1 − hidden × hidden)", "g × 2 × hidden",
    ]  # fmt: skip
    assert texts(drawing, "reduction") == ["sum", "broadcast(g)"]
    assert texts(drawing, "output") == ["loss", "∂loss/∂loss = 1"]
    kept = {e.label for e in drawing.scene.edges if e.kind == "residual"}
    assert kept == {"x", "hidden"}


def test_a_pullback_stands_in_the_row_of_its_operation():
    scene = fg.draw(loss)(W, X).scene
    for id, node in scene.nodes.items():
        if id + "b" in scene.nodes:
            assert scene.nodes[id + "b"].y == node.y


def test_backward_is_drawn_on_demand_and_argnums_choose():
    assert not any(e.kind == "cotangent" for e in fg.draw(np.tanh)(W).scene.edges)
    both = fg.draw(np.tanh, backward=True)(W)
    assert "cotangent of tanh" in texts(both, "output")
    assert all(e.kind == "data" for e in fg.draw(loss, backward=False)(W, X).scene.edges)
    assert "∂loss/∂x" in texts(fg.draw(loss, argnums=1)(W, X))
    assert {"∂loss/∂w", "∂loss/∂x"} <= set(texts(fg.draw(loss, argnums=(0, 1))(W, X)))


def test_no_way_back():
    with pytest.raises(PictureError, match="no way back to draw"):
        fg.draw(lambda n: n * 2, backward=True)(3)
    jv = pytest.importorskip("scipy.special").jv
    order = lambda v: np.sum(jv(v, 1.0))
    assert not any(e.kind == "cotangent" for e in fg.draw(order)(np.ones(3)).scene.edges)
    with pytest.raises(NonDifferentiableError, match="jv"):
        fg.draw(order, backward=True)(np.ones(3))


def test_what_is_no_function_is_refused():
    with pytest.raises(TypeError, match=r"got a ndarray. Models and graphs have a method"):
        fg.draw(X)


def test_cotangents_stop_where_the_derivative_is_zero():
    drawing = fg.draw(lambda x: np.sum(x * np.floor(x)))(np.ones(3))
    floor = next(n for n in nodes(drawing) if n.lines == ("floor",))
    assert floor.kind == "zero" and floor.id + "b" not in drawing.scene.nodes


def test_an_argument_that_is_read_twice_gets_both_cotangents():
    both = fg.jit(lambda a, b: np.sum(a * b))
    drawing = fg.draw(lambda x: both(x, x))(np.ones(3))
    (product,) = [n for n in nodes(drawing) if n.lines[0].startswith("a: ")]
    assert product.lines == ("a: g × b", "b: g × a")


def test_gradients_are_functions_too():
    drawing = fg.draw(fg.grad(loss))(W, X)
    assert not any(e.kind == "cotangent" for e in drawing.scene.edges)
    assert "transpose" in texts(drawing)


def test_outputs_are_called_by_their_places():
    drawing = fg.draw(lambda p: {"a": p["x"] * 2, "b": [p["x"], 1.0]})({"x": np.ones(3)})
    assert texts(drawing, "output") == ["f['a']", "f['b'][0]", "f['b'][1] = 1"]
    assert texts(drawing, "parameter") == ["p['x']"]


def test_shapes_and_unusual_dtypes_stand_on_edges():
    def count(x):
        return np.sum(x > 0), x[:2].astype(np.float32)

    labels = {e.label for e in fg.draw(count)(np.ones(3)).scene.edges if e.label}
    assert labels == {"3", "bool[3]", "int64", "2", "float32[2]"}


def test_numbers_are_written_into_operations():
    drawing = fg.draw(lambda x: (1 - x / 3) ** 2.5 * x)(np.ones(3))
    assert texts(drawing, "elementwise") == ["· ÷ 3", "1 − ·", "· ^ 2.5", "×"]
    drawing = fg.draw(lambda x: np.sum(x / np.sqrt(4.0)))(np.ones(3))
    assert texts(drawing, "elementwise") == ["· ÷ 2", "g / 2"]
    assert not any(e.kind == "residual" for e in drawing.scene.edges)


def test_titles_name_equation_work_and_line():
    drawing = fg.draw(loss)(W, X)
    title = nodes(drawing, "product")[0].title.splitlines()
    assert title[0] == "c: float64[5,2] = matmul b a"
    assert title[1] == "60 FLOPs"
    assert title[2].startswith("test_draw.py:") and title[2].endswith("np.tanh(x @ w)")


def test_more_work_makes_larger_nodes():
    small = nodes(fg.draw(loss)(W, X), "product")[0]
    large = nodes(fg.draw(loss)(np.ones((300, 200)), np.ones((500, 300))), "product")[0]
    assert large.width > small.width and large.height > small.height
    assert large.width < 3 * small.width


# --- boxes ----------------------------------------------------------------------------------------


def box_texts(drawing):
    return [box.text for box in drawing.scene.boxes.values()]


def test_scopes_are_boxes_and_depth_closes_them():
    def f(x):
        with fg.named_scope("outer"):
            with fg.named_scope("inner"):
                y = np.sin(x) * 2
            return np.sum(y + x)

    assert box_texts(fg.draw(f, backward=False)(np.ones(3))) == ["outer", "inner"]
    one = fg.draw(f, backward=False, depth=1)(np.ones(3))
    assert box_texts(one) == ["outer"] and texts(one, "group") == ["inner 2 operations"]
    none = fg.draw(f, backward=False, depth=0)(np.ones(3))
    assert box_texts(none) == [] and texts(none, "group") == ["outer 4 operations"]
    assert "pullback of outer" in texts(fg.draw(f, depth=0)(np.ones(3)))


def test_models_are_drawn_without_parameters_or_batch():
    model = nn.serial(nn.Dense(16), np.tanh, head=nn.Dense(2))
    drawing = model.draw((-1, 4))
    assert box_texts(drawing) == ["dense", "head"]
    assert texts(drawing, "parameter") == ["b", "w", "b", "w"]
    assert {n.parent for n in nodes(drawing, "parameter")} == {"b0", "b1"}
    assert {e.label for e in drawing.scene.edges} >= {"n×4", "n×16", "n×2", "4×16"}
    assert "128 FLOPs" in nodes(drawing, "product")[0].title
    closed = model.draw((-1, 4), depth=0)
    assert texts(closed, "group") == [
        "dense 2 operations 80 parameters", "head 2 operations 34 parameters",
    ]  # fmt: skip
    back = model.draw((-1, 4), depth=0, backward=True)
    assert texts(back, "group")[2:] == ["pullback of dense", "pullback of head"]


def test_models_with_state_in_training_and_with_several_inputs():
    model = nn.serial(nn.Dense(3), nn.BatchNorm(), nn.Dropout(0.5))
    assert len(nodes(model.draw((-1, 4), train=True))) > len(nodes(model.draw((-1, 4))))
    a, b = nn.Input((2,)), nn.Input((3,))
    pair = nn.Model((a, b), nn.Dense(1)(nn.concat()(a, b)))
    assert len(texts(pair.draw(), "input")) == 2
    with pytest.raises(LayerError, match="2 inputs"):
        pair.draw((-1, 2), (-1, 3), (-1, 4))


def test_equal_layers_are_drawn_once():
    def deep(params, x):
        for p in params:
            x = np.tanh(x @ p["w"] + p["b"])
        return np.sum(x)

    params = [{"w": np.ones((4, 4)), "b": np.ones(4)} for _ in range(12)]
    drawing = fg.draw(deep)(params, np.ones((2, 4)))
    assert box_texts(drawing) == ["× 12", "× 12"]
    assert texts(drawing, "parameter") == ["b", "w", "∂deep/∂b", "∂deep/∂w"]
    loops = [(e.kind, e.source, e.target) for e in drawing.scene.edges if "loop" in e.kind]
    (tanh,), (product,) = (
        [n.id for n in nodes(drawing) if n.lines[0] == t] for t in ("tanh", "matmul")
    )
    assert loops == [("loop", tanh, product), ("loop-back", product + "b", tanh + "b")]
    assert "x: g @ wᵀ w: xᵀ @ g" in texts(drawing)  # in the later copies x has a cotangent


def test_what_is_not_a_chain_is_not_taken_for_copies():
    def heads(ws, x):
        return [np.tanh(x @ w) for w in ws]

    drawing = fg.draw(heads)([W, W, W, W], X)
    assert box_texts(drawing) == [] and texts(drawing).count("tanh") == 4


def test_copies_can_be_drawn_one_by_one():
    graph = fg.make_graph(lambda x: np.sin(2 * np.sin(2 * np.sin(2 * x))))(1.0)
    assert [len(build(graph, fold=fold).scene.boxes) for fold in (True, False)] == [1, 0]


def test_unrolled_loops_read_their_inputs_row_by_row():
    def unrolled(w, xs):
        h = np.zeros(3)
        for x in xs:
            h = np.tanh(x + h @ w)
        return np.sum(h)

    drawing = fg.draw(unrolled)(np.ones((3, 3)), [np.ones(3) for _ in range(5)])
    assert box_texts(drawing) == ["× 5", "× 5"]
    readers = {
        e.target for e in drawing.scene.edges if drawing.scene.nodes[e.source].lines[0][:2] == "xs"
    }
    assert len(readers) == 1


def test_scans_show_carries_rows_and_their_way_back():
    def total(w, xs):
        def step(h, x):
            h = np.tanh(w * h + x)
            return h, h

        _, hs = fg.scan(step, 0.0, xs)
        return np.sum(hs)

    drawing = fg.draw(total)(2.0, np.ones(7))
    assert box_texts(drawing) == ["scan  × 7", "scan  × 7"]
    assert {"h", "x [t]"} <= set(texts(drawing, "input"))
    assert {"next h", "hs [t]"} <= set(texts(drawing, "output"))
    assert [e.kind for e in drawing.scene.edges if "loop" in e.kind] == ["loop", "loop-back"]
    closed = fg.draw(total, depth=0)(2.0, np.ones(7))
    assert texts(closed, "control") == ["scan hs", "pullback of scan"]


def test_while_switch_jit_and_custom_rules_are_boxes():
    def count(x):
        return fg.while_loop(lambda c: c < 9.0, lambda c: c * x, x)

    assert box_texts(fg.draw(count, backward=False)(2.0)) == ["while", "cond", "body"]
    either = lambda x: fg.cond(x > 0, np.sin, np.cos, x)
    assert box_texts(fg.draw(either, backward=False)(2.0)) == [
        "switch",
        "branches[0]",
        "branches[1]",
    ]
    assert box_texts(fg.draw(fg.jit(loss), backward=False)(W, X)) == ["jit"]

    @fg.custom_vjp
    def clip(x):
        return np.clip(x, -1, 1)

    clip.defvjp(lambda x: (clip(x), None), lambda _, g: (g,))
    assert box_texts(fg.draw(clip)(X)) == ["custom clip"]
    both = fg.draw(lambda x: np.sum(clip(x)))(X)
    assert texts(both, "custom") == ["custom clip", "pullback of custom clip"]


def test_large_programs_are_closed_by_themselves():
    model = nn.serial(*[nn.residual(nn.serial(nn.Dense(4 + k), nn.Dense(4))) for k in range(9)])
    assert len(nodes(model.draw((-1, 4)))) < 40 < len(nodes(model.draw((-1, 4), depth=9)))


def test_chains_in_large_programs_are_one_node():
    def f(x):
        for k in range(30):
            x = x + np.tanh(2 * np.sin(x + k))
        return np.sum(x)

    drawing = fg.draw(f)(np.ones(3))
    assert texts(drawing)[1] == "· + 0 sin 2 × · tanh"
    chain = nodes(drawing)[1]
    assert chain.equations == ((0,), (1,), (2,), (3,))
    assert "g g × cos(u) g × 2 g × (1 − y × y)" in texts(drawing)
    single = build(fg.make_graph(f)(np.ones(3)), fold=False).scene
    assert len(single.nodes) == 2 + 5 * 30 + 1


# --- texts ----------------------------------------------------------------------------------------


def test_rules_are_written_as_in_a_textbook():
    assert rule(np.exp, X)[:2] == (("g × y",), ("y",))
    assert rule(np.sqrt, X)[:2] == (("g / (2 × y)",), ("y",))
    assert rule(lambda x: x / 3, X)[:2] == (("g / 3",), ())
    assert rule(np.multiply, X, X)[:2] == (("a: g × b", "b: g × a"), ("a", "b"))
    assert rule(lambda x: x * x, X)[:2] == (("2 × g × x",), ("x",))
    assert rule(np.matmul, X, W)[:2] == (("a: g @ bᵀ", "b: aᵀ @ g"), ("a", "b"))
    assert rule(np.matmul, X, W, active=[True, False])[:2] == (("g @ bᵀ",), ("b",))
    assert rule(np.add, X, np.ones(3))[:2] == (("a: g", "b: sum(g)"), ())
    assert rule(lambda x: x[:, 0], X)[:2] == (("put back(g)",), ())
    assert rule(np.linalg.inv, np.eye(3))[:2] == (("−(yᵀ @ g @ yᵀ)",), ("y",))
    assert rule(np.sinc, X).lines == ("g × sinc[order=1](x)",)
    long = rule(np.maximum, X, X)
    assert long.lines == ("pullback of maximum",)  # too long for a node
    assert long.whole[0].startswith("a: ")


def in_numpy(text):
    """Return the text of a formula as Python."""
    signs = {
        "×": "*",
        "−": "-",
        "²": "**2",
        "^": "**",
        "√": "sqrt",
        "≥": ">=",
        "≤": "<=",
        "≠": "!=",
    }
    for sign, python in signs.items():
        text = text.replace(sign, python)
    return text.replace(" = ", " == ")


@pytest.mark.parametrize(
    "name",
    [
        "add", "subtract", "multiply", "divide", "negative", "reciprocal", "square", "sqrt", "cbrt",
        "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "arcsin",
        "arccos", "arctan", "sinh", "cosh", "tanh", "arcsinh", "arctanh", "absolute", "fabs",
        "hypot", "arctan2", "maximum", "minimum", "deg2rad",
    ],
)  # fmt: skip
def test_formulas_have_the_values_of_the_pullback(name):
    fun = getattr(np, name)
    args = [np.array([0.3, 0.8, 0.5]), np.array([0.6, 0.2, 0.9])][: fun.nin]
    (e,) = fg.make_graph(fun)(*args).equations
    whole = rule_of(e, ["p", "q"][: fun.nin], [True] * fun.nin).whole
    y, pullback = fg.vjp(fun, *args)
    g = np.array([1.5, -0.5, 2.0])
    values = {**vars(np), "sigmoid": fg.nn.sigmoid, "p": args[0], "q": args[-1], "y": y, "g": g}
    for k, expected in enumerate(pullback(g)):
        text = whole[0] if len(whole) == 1 else whole[k].partition(": ")[2]
        np.testing.assert_allclose(eval(in_numpy(text), values), expected, rtol=1e-3)


@pytest.mark.parametrize(
    ("equations", "formula"),
    [
        ("c = matmul a b, d = multiply c a", "(a @ b) × a"),
        ("c = multiply a b, d = matmul c a", "(a × b) @ a"),
        ("c = matmul a b, d = matmul a c", "a @ (a @ b)"),
        ("c = matmul a b, d = matmul c a", "a @ b @ a"),
        ("c = add a b, d = multiply c a", "(a + b) × a"),
        ("c = subtract a b, d = subtract a c", "a − (a − b)"),
        ("c = divide a b, d = divide a c", "a / (a / b)"),
        ("c = negative a, d = square c", "(−a)²"),
        ("c = square a, d = negative c", "−a²"),
        ("c = add a a, d = power c 3.0", "(2 × a) ^ 3"),
        ("c = exp a, d = reciprocal c", "1 / exp(a)"),
    ],
)
def test_formulas_have_the_brackets_they_need(equations, formula):
    typed = [line.replace(" =", ": float64[2,2] =", 1) for line in equations.split(", ")]
    head = "graph(a: float64[2,2], b: float64[2,2]) {"
    graph = fg.Graph.parse("\n".join([head, *typed, "return d", "}"]))
    names = dict(zip(graph.inputs, "ab", strict=True))
    assert Formulas(graph, names).text(graph.outputs[0]) == formula


def test_operations_and_shapes():
    def first(fun, *args):
        (e,) = fg.make_graph(fun)(*args).equations
        return operation_text(e, ["" for _ in e.inputs])

    assert first(lambda x: np.sum(x, 0), X) == "sum axis 0"
    assert first(lambda x: x[1:, None, ..., 0], X) == "[1:, None, ..., 0]"
    assert first(lambda x: np.transpose(x, (1, 0)), X) == "transpose"
    assert first(lambda x: x.astype(np.float32), X) == "convert to float32"
    assert first(np.matmul, X, W) == "matmul"
    usual = np.dtype(np.float64)
    assert shape_text(fg.ShapeDtype((2, 3), np.dtype(np.int8)), usual) == "int8[2×3]"
    assert shape_text(fg.ShapeDtype((), usual), usual) == ""


# --- files ----------------------------------------------------------------------------------------


def test_svg_is_one_valid_document_with_a_legend():
    def f(x):
        with fg.named_scope('a < b & "c"'):
            return np.sum(np.where(x < 1, x, 2 * x))

    root = ElementTree.fromstring(fg.draw(f)(X).svg)
    written = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
    assert 'a < b & "c"' in written and "· < 1" in written
    assert {"elementwise", "cotangent", "float64 unless written"} <= set(written)
    ids = [e.get("id") for e in root.iter() if e.get("id")]
    assert len(ids) == len(set(ids))


def test_every_suffix(tmp_path):
    drawing = fg.draw(loss)(W, X)
    for suffix, start in [
        ("svg", "<svg "), ("html", "<!DOCTYPE html>"), ("mmd", "flowchart TB"),
        ("dot", "digraph funcgraph {"), ("gv", "digraph funcgraph {"), ("SVG", "<svg "),
    ]:  # fmt: skip
        drawing.save(tmp_path / f"picture.{suffix}")
        assert (tmp_path / f"picture.{suffix}").read_text("utf-8").startswith(start)
    with pytest.raises(PictureError, match=r"'picture.pdf': the suffix must be .svg, .png"):
        drawing.save("picture.pdf")


def test_png(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    drawing = fg.draw(loss)(W, X)
    drawing.save(tmp_path / "picture.png")
    data = (tmp_path / "picture.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    width = int.from_bytes(data[16:20], "big")
    assert abs(width - 2 * drawing.scene.width) <= 2


def test_png_without_matplotlib(tmp_path, monkeypatch):
    for name in ("matplotlib", "matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingPackageError, match="a PNG needs Matplotlib"):
        fg.draw(loss)(W, X).save(tmp_path / "picture.png")


def test_dot_and_mermaid_quote_what_they_write():
    def f(x):
        with fg.named_scope('a "quoted" \\ name #1 <b>'):
            return np.sin(x) * 2

    drawing = fg.draw(f)(X)
    assert 'label="a \\"quoted\\" \\\\ name #1 <b>"' in drawing.dot
    assert '["a #quot;quoted#quot; \\ name #35;1 &lt;b&gt;"]' in drawing.mermaid
    assert drawing.dot.count("{") == drawing.dot.count("}")
    assert drawing.mermaid.count("subgraph") == drawing.mermaid.count("end\n")


def test_notebooks_show_drawings_and_graphs():
    drawing = fg.draw(loss)(W, X)
    assert drawing._repr_svg_() == drawing.svg and drawing.svg in drawing._repr_html_()
    graph = fg.make_graph(loss)(W, X)
    assert "<svg " in graph._repr_html_()
    assert repr(drawing).startswith("<Drawing of ")

    def long(x):
        for k in range(250):
            x = x * np.cos(x) + k
        return x

    large = fg.make_graph(long)(1.0)._repr_html_()
    assert large.startswith("<pre>graph(a: float)") and "<svg" not in large


def test_graphs_draw_themselves():
    graph = fg.make_graph(loss)(W, X)
    assert texts(graph.draw(), "input") == ["a", "b"]
    assert "∂output/∂a" in texts(graph.draw(backward=True))
    assert [n.equations for n in nodes(graph.draw(), "product")] == [((0,),)]


def test_importing_funcgraph_imports_only_what_all_programs_need():
    code = "import funcgraph as fg, sys; print(*sys.modules); print(*dir(fg)); fg.draw"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules, names = (set(line.split()) for line in run.stdout.splitlines())
    late = {
        "codegen.program",
        "io",
        "losses",
        "nn",
        "optim",
        "pictures",
        "plots",
        "random",
        "train",
    }
    assert not modules & {f"funcgraph.{name}" for name in late}
    assert not modules & {"scipy", "jax", "json", "pathlib", "zipfile", "numpy.polynomial"}
    assert names >= set(fg.__all__)
    assert all(getattr(fg, name) is not None for name in fg.__all__)
    with pytest.raises(AttributeError, match="no attribute 'sketch'"):
        fg.sketch

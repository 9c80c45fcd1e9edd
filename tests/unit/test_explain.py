"""`explain`: the table of backpropagation, and the recorded run that it prints."""

from __future__ import annotations

import json

import numpy as np
import pytest

import funcgraph as fg
from funcgraph import nn
from funcgraph.errors import TangentMismatchError
from funcgraph.pictures import steps as recorded
from funcgraph.pictures.summary import norm_text, summary
from funcgraph.pictures.words import Names, call_text, local_formula

R = np.random.default_rng(0)


def f(x, y):
    return x * np.sin(x * y)


def net(params, x, y):
    hidden = np.tanh(x @ params["w1"] + params["b1"])
    out = hidden @ params["w2"] + params["b2"]
    return np.mean((out - y) ** 2)


def rnn(w, h, xs):
    def step(h, x):
        h = np.tanh(h @ w + x)
        return h, np.sum(h)

    return np.sum(fg.scan(step, h, xs)[1])


def newton(a):
    return fg.while_loop(lambda x: abs(x * x - a) > 1e-9, lambda x: (x + a / x) / 2, a)


def chosen(x, y):
    return fg.cond(x > y, lambda x, y: x * x * y, lambda x, y: np.sin(y), x, y)


def backward_rows(xs, w):
    return np.sum(fg.scan(lambda c, x: (c * w + x, c), np.zeros(2), xs, reverse=True)[1])


def reads(table, i):
    return np.sum(table[i] ** 2) + np.sum(np.exp(table[i])) + table[0, 0]


def kinked(x):
    return np.sum(np.sqrt(np.where(x > 0, x, 0)))


def compiled(x, y):
    return fg.jit(f)(x, y) * y


def model():
    layers = nn.graph(
        {
            "x": nn.Input(),
            "left": (nn.Dense(4), "x"),
            "right": (nn.serial(nn.Dense(4), np.tanh), "x"),
            "sum": (nn.add, "left", "right"),
        }
    )
    params = layers.init(fg.random.key(0), (-1, 3))[1]
    return (lambda params, x: np.mean(layers.apply(params, x) ** 2)), (
        params,
        R.normal(size=(5, 3)),
    )


def conv_net():
    layers = nn.serial(nn.Conv(2, (3, 3)), nn.relu, nn.MaxPool((2, 2)), nn.Flatten(), nn.Dense(3))
    params = layers.init(fg.random.key(0), (-1, 8, 8, 1))[1]
    x = R.normal(size=(2, 8, 8, 1)).astype(np.float32)
    loss = fg.losses.softmax_cross_entropy_with_integer_labels
    return (lambda params: loss(layers.apply(params, x), np.array([0, 2])).mean()), (params,)


PARAMS = {
    "w1": R.normal(size=(2, 3)), "b1": np.zeros(3), "w2": R.normal(size=(3, 1)), "b2": np.zeros(1),
}  # fmt: skip
PROGRAMS = {
    "scalars": (f, (1.0, 2.0)),
    "net": (net, (PARAMS, R.normal(size=(5, 2)), R.normal(size=(5, 1)))),
    "scan": (rnn, (R.normal(size=(3, 3)), np.zeros(3), R.normal(size=(7, 3)))),
    "reverse": (backward_rows, (R.normal(size=(4, 2)), 0.5)),
    "cond": (chosen, (2.0, 1.0)),
    "jit": (compiled, (1.0, 2.0)),
    "reads": (lambda t: reads(t, np.array([1, 1, 0])), (R.normal(size=(3, 2)),)),
    "strong zeros": (kinked, (np.array([0.0, 4.0]),)),
    "float32": (lambda x: np.sum(x * x * x[0]), (np.arange(3, dtype=np.float32),)),
    "complex": (lambda z: np.sum(np.abs(z) ** 2), (np.array([1 + 2j, 3j]),)),
    "unused": (lambda x, y: 2.0 * x, (1.0, np.ones(2))),
    "itself": (lambda x: x, (1.5,)),
    "model": model(),
    "conv": conv_net(),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_sums_are_the_gradient_to_the_last_bit(name):
    fun, args = PROGRAMS[name]
    found = fg.explain(fun)(*args)
    value, expected = fg.value_and_grad(fun, tuple(range(len(args))))(*args)
    bits = 0 if name != "scan" else 1e-14  # a loop that is one operation is compiled
    np.testing.assert_allclose(found.value, value, rtol=bits)
    leaves = fg.tree.leaves(expected)
    assert len(leaves) == len(found.gradient)
    for got, want in zip(found.gradient.values(), leaves, strict=True):
        assert type(got) is type(want)
        np.testing.assert_allclose(got, want, rtol=bits)
        assert np.asarray(got).dtype == np.asarray(want).dtype


def test_a_loop_without_a_known_number_of_steps():
    found = fg.explain(newton)(2.0)
    assert found.value == pytest.approx(np.sqrt(2))
    assert found.gradient["a"] == pytest.approx(0.5 / np.sqrt(2))
    names = [(i.name, i.iteration) for i in found.steps[-1].inner]
    assert names[:3] == [("cond", 0), ("body", 0), ("cond", 1)]
    assert names[-1] == ("cond", 4)  # it says that the loop is over


def test_the_table_of_a_scalar_program():
    lines = repr(fg.explain(f)(1.0, 2.0)).splitlines()
    assert lines[0] == "f(x, y) = 0.909297"
    assert [line for line in lines[1:] if "test_explain.py" not in line] == [
        "",
        "step  operation   value ↓   by  local derivative    cotangent ↑  contribution",
        "      x           1",
        "      y           2",
        "",
        "   1  a = x * y   2         x   y = 2               -0.416147    -0.832294",
        "                            y   x = 1                            -0.416147",
        "   2  b = sin(a)  0.909297  a   cos(a) = -0.416147  1            -0.416147",
        "   3  c = x * b   0.909297  x   b = 0.909297        1            0.909297",
        "                            b   x = 1                            1",
        "",
        "      gradient: what reaches each input on the way back, added up",
        "      x                         from step 3                        0.909297",
        "                                from step 1                      + -0.832294",
        "                                                                 = 0.0770038",
        "      y                         from step 1                      = -0.416147",
    ]
    (source,) = [line for line in lines if "test_explain.py" in line]
    assert source.endswith("  return x * np.sin(x * y)")


def test_scalar_programs_fit_a_hundred_columns():
    def long(speed, angle, gravity):
        horizontal, vertical = speed * np.cos(angle), speed * np.sin(angle)
        return np.exp(-horizontal * vertical / gravity) / (1 + np.sqrt(gravity**3.5))

    assert max(map(len, repr(fg.explain(long)(12.0, 0.7, 9.81)).splitlines())) <= 100


def test_the_table_names_lines_layers_and_formulas():
    text = repr(fg.explain(net)(*PROGRAMS["net"][1]))
    assert "hidden = np.tanh(x @ params" in text
    assert "x.T @ g" in text
    assert "1 - hidden**2 = ‖" in text
    fun, args = PROGRAMS["model"]
    assert "in right/dense" in repr(fg.explain(fun)(*args))


def test_names_are_the_users_and_each_stands_once():
    def twice(x):
        x = np.sin(x)
        x = np.sin(x)
        return x * 2

    text = repr(fg.explain(twice)(1.0))
    assert "x_2 = sin(x) " in text
    assert "x_3 = sin(x_2) " in text


# --- local derivatives ----------------------------------------------------------------------------

FORMULAS = {
    "x * y": ("y", "x"), "x / y": ("1 / y", "-(a / y)"), "x - y": ("1", "-1"),
    "np.sin(x)": ("cos(x)",), "np.cos(x)": ("-sin(x)",), "np.exp(x)": ("a",),
    "np.log(x)": ("1 / x",), "np.sqrt(x)": ("1 / (2 * a)",), "np.tanh(x)": ("1 - a**2",),
    "x**2": ("2 * x",), "x**3": ("3 * x**2",), "-x": ("-1",), "x * x": ("x", "x"),
    "np.where(x > 0, x, y)": ("where(a, 1, 0)", "where(a, 0, 1)"),
}  # fmt: skip


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_of_scalars(text):
    fun = eval(f"lambda x, y: {text}", {"np": np})
    run = fg.explain(fun)(0.7, 1.3).recording.run
    step, names = run.steps[-1], Names(run.graph, ["x", "y"])
    found = [
        local_formula(step.equation, k, names, 40)
        for k, a in enumerate(step.equation.inputs)
        if run.varies(a)
    ]
    assert tuple(found) == FORMULAS[text]


def test_what_is_no_factor_is_written_with_the_cotangent():
    run = fg.explain(lambda x, y: np.sum((x @ y).T))(np.ones((2, 3)), np.ones((3, 4))).recording.run
    product, transposed, _ = run.steps
    names = Names(run.graph, ["x", "y"])
    assert [local_formula(product.equation, k, names, 40) for k in (0, 1)] == ["g @ y.T", "x.T @ g"]
    assert local_formula(transposed.equation, 0, names, 40) == "g.T"
    assert local_formula(product.equation, 0, names, 6) == ""  # longer than asked for


def test_local_derivatives_are_diagonals_of_elementwise_operations():
    x, y = np.array([0.5, 1.0, 2.0]), np.array(3.0)
    step = fg.explain(lambda x, y: np.sum(x**y))(x, y).steps[0]
    assert np.allclose(step.local_derivative(0), 3 * x**2)
    assert np.allclose(step.local_derivative(1), np.log(x) * x**3)
    assert fg.explain(lambda x: np.sum(x))(x).steps[0].local_derivative(0) is None
    assert fg.explain(lambda x: np.floor(x) * x)(1.5).steps[0].local_derivative(0) is None


def test_expressions_have_the_parentheses_they_need():
    run = fg.explain(lambda x, y: -(((x + y) * (x - y)) ** 2) / (x * y))(1.0, 2.0).recording.run
    texts: dict = dict(zip(run.graph.inputs, ["x", "y"], strict=True))
    for step in run.steps:
        e = step.equation
        atom = lambda a: texts.get(a, str(a))
        texts[e.outputs[0]] = f"({call_text(e, atom)})"
    assert eval(texts[run.graph.outputs[0]], {"x": 1.0, "y": 2.0}) == run.outputs[0]


# --- cotangents -----------------------------------------------------------------------------------


def test_contributions_add_up_in_the_order_of_reverse_mode():
    run = fg.explain(lambda x: x * x + np.sin(x))(0.5).recording.run
    arrivals = run.arrivals[run.graph.inputs[0]]
    assert [(a.step.number, a.place) for a in arrivals] == [(2, 0), (1, 0), (1, 1)]
    assert [a.total for a in arrivals] == list(np.cumsum([a.value for a in arrivals]))


def test_cotangents_of_results_that_are_no_scalar():
    fun = lambda x: {"a": np.sin(x), "n": 3, "b": x[0]}
    x = np.array([0.5, 1.0])
    ones = fg.explain(fun)(x)
    assert np.allclose(ones.gradient["x"], [np.cos(0.5) + 1, np.cos(1)])
    assert ones.value["n"] == 3
    ct = {"a": np.array([2.0, 3.0]), "n": 0, "b": 10.0}
    given = fg.explain(fun, cotangents=ct)(x)
    assert np.allclose(given.gradient["x"], [2 * np.cos(0.5) + 10, 3 * np.cos(1)])
    with pytest.raises(TangentMismatchError, match=r"the cotangent\['a'\] has shape"):
        fg.explain(fun, cotangents={**ct, "a": np.ones(3)})(x)


def test_integers_have_no_gradient():
    found = fg.explain(lambda n, x: x**n + n)(3, 2.0)
    assert found.gradient == {"n": None, "x": 12.0}
    assert "n" in repr(found) and "int64: no gradient" in repr(found)
    alone = fg.explain(lambda n: n + 1)(3)
    assert alone.value == 4
    assert alone.gradient == {"n": None}


def test_what_the_result_does_not_depend_on_has_gradient_zero():
    found = fg.explain(lambda x, y: np.sum(np.floor(y)) + x)(1.0, np.ones(2))
    assert np.array_equal(found.gradient["y"], np.zeros(2))
    assert "the result does not depend on it" in repr(found)


def test_no_array_of_the_user_is_handed_out_as_a_gradient():
    ct = np.ones(2)
    found = fg.explain(lambda x: x + 0.5, cotangents=ct)(np.zeros(2))
    assert found.gradient["x"] is not ct


# --- loops and branches ---------------------------------------------------------------------------


def test_the_steps_of_a_scan_are_recorded():
    w, h, xs = PROGRAMS["scan"][1]
    found = fg.explain(rnn)(w, h, xs)
    scan = next(s for s in found.steps if s.equation.primitive.name == "scan")
    assert [i.iteration for i in scan.inner] == list(range(7))
    first, last = scan.inner[0].run, scan.inner[-1].run
    assert np.allclose(first.cotangent(first.graph.inputs[0]), found.gradient["h"])
    np.testing.assert_allclose(last.outputs[0], scan.outputs[0], rtol=1e-14)
    total = sum(i.run.cotangent(i.run.graph.inputs[2]) for i in scan.inner)
    assert np.allclose(total, found.gradient["w"])
    text = repr(found)
    assert "body of step 1, iteration 1" in text
    assert "... 4 more iterations ..." in text
    assert "body of step 1, iteration 6" in text
    assert "a = h @ w" in text  # what is given from outside keeps its name


def test_the_branch_that_runs_is_recorded():
    step = next(s for s in fg.explain(chosen)(2.0, 1.0).steps if s.inner)
    ((name, iteration, run, _),) = step.inner
    assert iteration is None
    assert [s.equation.primitive.name for s in run.steps] == ["multiply", "multiply"]
    assert "branches" in name


def test_long_loops_stay_closed(monkeypatch):
    programs = [PROGRAMS["scan"], (newton, (2.0,))]
    expected = [fg.explain(fun)(*args).gradient for fun, args in programs]
    monkeypatch.setattr(recorded, "LONGEST", 3)
    for (fun, args), gradient in zip(programs, expected, strict=True):
        found = fg.explain(fun)(*args)
        assert not any(s.inner for s in found.steps)
        assert all(np.array_equal(found.gradient[name], gradient[name]) for name in gradient)


def test_lanes_of_a_mapped_loop_stay_closed():
    found = fg.explain(lambda a: np.sum(fg.vmap(newton)(a)))(np.array([2.0, 3.0]))
    assert np.allclose(found.gradient["a"], 0.5 / np.sqrt([2.0, 3.0]))


def test_control_flow_of_python_is_followed():
    def collatz_like(x, n):
        total = 0.0
        while x > 1:
            x = x / 2 if x > n else x - 0.75
            total = total + np.sin(x)
        return total

    found = fg.explain(collatz_like)(9.3, 4)
    value, gradient = fg.value_and_grad(collatz_like)(9.3, 4)
    assert (found.value, found.gradient["x"]) == (value, gradient)
    assert [s.equation.primitive.name for s in found.steps].count("sin") > 3
    by_index = fg.explain(lambda x, i: x[i] * (2 if x[i] > 0 else 3))(np.array([1.0, -1.0]), 1)
    assert by_index.value == -3
    with pytest.raises(fg.errors.ConcretizationError):  # the steps of a loop differ
        fg.explain(lambda x: fg.fori_loop(0, 3, lambda k, x: x if x > 0 else -x, x))(1.0)


# --- showing --------------------------------------------------------------------------------------


def test_notebooks_show_a_table_without_tags_of_the_user():
    html = fg.explain(lambda x: np.where(x < 1, x, 2 * x))(0.5)._repr_html_()
    assert html.count("<table") == html.count("</table>") == 1
    assert "x &lt; 1" in html
    assert html.count("<td") == html.count("</td>")


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (2, "2"), (True, "True"), (0.1234567, "0.123457"), (1 + 2j, "1+2j"),
        (np.float32(0.5), "0.5"), (np.array([1.0, -2.0]), "[1, -2]"), (np.full(4, 0.5), "‖1‖"),
        (np.array([1e200, 1e200] * 2), "‖2e+200‖"), (np.full(16, 1e-200), "‖4e-200‖"),
        (np.full((2, 2), np.inf), "‖inf‖"), (np.full((2, 2), np.nan), "‖nan‖"),
        (np.zeros((0, 3)), "‖0‖"), (np.array(["a"]), "<U1"),
    ],
)  # fmt: skip
def test_numbers_and_norms(x, text):
    assert norm_text(x) == text


def test_summaries_are_statistics_of_what_is_finite():
    x = np.arange(100.0)
    x[3], x[4], x[5] = np.nan, np.inf, 0
    found = summary(x)
    assert found["bad"] == 2
    assert (found["min"], found["max"], found["zeros"]) == (0, 99, 0.02)
    assert sum(found["hist"]) == 98
    assert found["first"] == ["0", "1", "2", "nan", "inf", "0", "6", "7"]
    assert summary(np.eye(2))["values"] == [["1", "0"], ["0", "1"]]
    odd = [
        np.full(100, np.nan), np.zeros(0), np.ones((3, 0)), np.array([True, False]), 1e400, 2 + 1j,
        np.array([-1e308, 1e308]), np.array([5e-324, 0.0]), np.array([1j, np.inf]), np.full(99, 7),
        np.array(["text"]), np.float16(6e4) * np.ones(70, np.float16), np.zeros((), "V0"),
    ]  # fmt: skip
    for x in odd:
        json.dumps(summary(x), allow_nan=False)

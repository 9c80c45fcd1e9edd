"""Graphs: the printed form reads back, ill-formed graphs are refused with messages that help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.core.aval import Aval
from funcgraph.core.graph import Equation, Graph, Var
from funcgraph.core.primitive import REGISTRY
from funcgraph.errors import GraphError

X = np.arange(6.0).reshape(2, 3)


def roundtrip(graph: Graph) -> Graph:
    text = graph.to_text(lines=True)
    again = Graph.parse(text)
    assert again.to_text(lines=True) == text
    assert [e.line for e in again.equations] == [e.line for e in graph.equations]
    for old, new in zip(graph.constants.values(), again.constants.values(), strict=True):
        np.testing.assert_array_equal(old, new)
        assert np.asarray(old).dtype == new.dtype
    return again


# --- text -----------------------------------------------------------------------------------------

MASK = np.arange(20) % 3 == 0
PROGRAMS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "numbers": (lambda x: (x * 2 + 1.5 - 1e-300, x + 2j, x * True, -0.0, np.inf), (X,)),
    "weak arguments": (lambda a, b, c: (a * 2, b + X, c - 1), (1, 2.0, 1j)),
    "scalars": (lambda x: x * np.float32(0.1) + np.int8(3), (np.float32(1),)),
    "constants": (
        lambda x: (
            x + np.array([[np.nan, np.inf, -0.0]]),
            x * np.array([complex(-0.0, 1), complex(np.nan, -np.inf), 1j]),
            x + np.float16([[0.1], [65504]]),
            np.concatenate([x, np.zeros((0, 3))]),
            x[0].astype(np.uint64) + np.array([2**64 - 1, 0, 1], np.uint64),
            x + np.array([[1.0, 2.0, 3.0]], ">f8"),
        ),
        (X,),
    ),
    "large constants": (lambda x: x + np.random.default_rng(0).standard_normal((40, 2, 3)), (X,)),
    "indices": (
        lambda x: (x[0], x[..., None, 1:], x[::-1, np.array([0, 2])], x[:, -1], x[X > 2], x[()]),
        (X,),
    ),
    "long masks": (lambda x: x[MASK], (np.arange(20.0),)),
    "types": (lambda x: (x.astype(np.float32), x.astype(bool), x.astype(">i4")), (X,)),
    "outputs": (lambda x: {"a": x, "b": (), "c": [x, 3]}, (X,)),
    "nothing": (lambda: [], ()),
    "scan": (lambda x: fg.scan(lambda c, r: (c + r, np.sin(c)), x[0], x, reverse=True), (X,)),
    "scan grad": (
        fg.grad(lambda x: fg.scan(lambda c, r: (c * r, c), x[0], x)[0].sum()),
        (X,),
    ),
    "while": (lambda x: fg.while_loop(lambda c: c.sum() < 9, lambda c: c + x, x), (X,)),
    "cond": (lambda x: fg.cond(x[0, 0] > 0, np.sin, lambda x: x + X, x), (X,)),
    "switch": (
        lambda x, k: fg.switch(k, [np.sin, lambda x: fg.map(np.cos, x), lambda x: x], x),
        (X, np.int32(1)),
    ),
    "jit": (fg.jit(lambda x: fg.jit(np.sin, backend="numpy")(x) + 1), (X,)),
    "random": (lambda k: fg.random.normal(k, (3,)), (fg.random.key(0),)),
    "linear algebra": (
        lambda a: (np.linalg.svd(a, full_matrices=False), np.linalg.qr(a), np.linalg.pinv(a)),
        (X,),
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_text_reads_back(name: str) -> None:
    f, args = PROGRAMS[name]
    graph = fg.make_graph(f)(*args)
    again = roundtrip(graph)
    leaves = fg.tree.leaves(args)
    with np.errstate(all="ignore"):
        for a, b in zip(graph.run(*leaves), again.run(*leaves), strict=True):
            np.testing.assert_array_equal(a, b)
    roundtrip(graph.simplify())


def test_sub_graphs_are_printed_with_their_names() -> None:
    f = lambda x: fg.cond(x > 0, lambda x: fg.scan(lambda c, _: (c * x, None), x, None, 3)[0],
                          lambda x: x, x)  # fmt: skip
    assert (
        str(fg.make_graph(f)(1.5))
        == (
            """
graph(a: float) {
  b: bool[] = greater a 0
  c: bool[] = not_equal b 0
  d: int32[] = truncate_dtype[dtype=int32] c
  e: float64[] = switch d a
    branches[0] = graph(a: float64[]) {
      return a
    }
    branches[1] = graph(a: float64[]) {
      b: float64[] = scan[carries=1, rows=0, length=3, reverse=False, unroll=1] a a
        body = graph(a: float64[], b: float64[]) {
          c: float64[] = multiply a b
          return c
        }
      return b
    }
  return e
}"""[1:]
        )
    )


def test_long_arrays_are_shown_by_their_type_and_read_back_from_the_whole_text() -> None:
    graph = fg.make_graph(lambda x: x + np.arange(17.0))(np.zeros(17))
    assert "b: float64[17] = constant <float64[17]>" in str(graph)
    with pytest.raises(GraphError, match=r"line 2, column 29: constant 0 .*to_text\(\) shows it"):
        Graph.parse(str(graph))
    roundtrip(graph)


def test_functions_have_no_text() -> None:
    @fg.custom_jvp
    def f(x: Any) -> Any:
        return x

    f.defjvps(lambda t, y, x: t)
    graph = fg.make_graph(lambda x: np.sin(f(x)))(1.0)
    assert "custom_call[rules=<Rules f>] a" in str(graph)  # the same in every run
    with pytest.raises(GraphError, match=r"column \d+: equation 0 \(custom_call\) cannot be read"):
        Graph.parse(graph.to_text())


def test_values_traced_outside_are_shown_by_their_type() -> None:
    texts = []

    def f(x: Any) -> Any:
        texts.append(str(fg.make_graph(lambda y: y * x)(1.0)))
        return np.sum(x)

    fg.grad(f)(np.ones(3))
    assert "constant <float64[3]>" in texts[0]


def test_parsed_by_hand() -> None:
    graph = Graph.parse(
        """
        # A person wrote this.
        graph(x: float32[2], scale: float) {

          half: float32[2] = constant [0.5,
                                       0.25]   # comments and line breaks are free
          y: float32[2] = multiply x half  # model.py:3
          z: float32[2] = multiply y scale
          return z, True, -1e3
        }
        """
    )
    out = graph.evaluate(np.float32([2, 4]), 3.0)
    np.testing.assert_array_equal(out[0], np.float32([3, 3]))
    assert out[0].dtype == np.float32 and out[1:] == (True, -1000.0)
    assert graph.equations[0].line == "model.py:3"


HEAD = "graph(a: float64[3]) {\n  "
MALFORMED = {
    "": r"line 1, column 1: expected 'graph', found the end of the text",
    "graph(a: float64[3]": r"expected '\)', found the end of the text",
    "graph(a) {}": r"line 1, column 8: expected ':', found '\)'",
    "graph(a: float64[x]) {}": r"line 1, column 18: expected the length of an axis, found 'x'",
    "graph(a: float64[-1]) {}": r"expected the length of an axis, found '-1'",
    "graph(a: float65[3]) {}": r"line 1, column 10: there is no dtype 'float65'",
    "graph(a: b[3]) {}": r"there is no dtype 'b'",
    "graph(a: int, a: int) {}": r"column 15: the variable a is assigned a second time",
    HEAD + "return b\n}": r"line 2, column 10: no variable b is assigned before this",
    HEAD + "return a": r"line 2, column 11: expected '}', found the end of the text",
    HEAD + "return a\n} x": r"line 3, column 3: expected the end of the text, found 'x'",
    HEAD + "b: float64[3] = sine a\n  return b\n}": r"column 19: there is no operation 'sine'",
    HEAD + "b: float64[3] = sin c\n": r"line 2, column 23: no variable c is assigned before",
    HEAD + "b: float64[3] = sin b\n": r"no variable b is assigned before this",
    HEAD + "a: float64[3] = sin a\n": r"column 3: the variable a is assigned a second time",
    HEAD + "b: float64[3] = sin a, a\n": r"line 2, column 24: expected a variable, found ','",
    HEAD + "b: float64[3] sin a\n": r"line 2, column 17: expected '=', found 'sin'",
    HEAD + "b: int32[] = argmax[axis] a": r"column 27: expected '=', found '\]'",
    HEAD + "b: int32[] = argmax[axis=] a": r"column 28: expected a value, found '\]'",
    HEAD + "b: int32[] = argmax[axis=$] a": r"expected a value, found '\$'",
    HEAD + "b: int32[] = argmax[axis=__import__('os')] a": r"there is no dtype '__import__'",
    HEAD + "b: int8[2] = constant [1, 300]": r"column 25: these are no elements of type int8",
    HEAD + "b: int8[2] = constant ['x', 1]": r"these are no elements of type int8",
    HEAD + "b: int8[2] = constant [1]": r"expected elements for the shape \(2,\), found \(1,\)",
    HEAD + "b: int8[], c: int8[] = constant 1": r"a constant is one variable, not 2",
    HEAD + "b: int8[] = jit_call[graph=1] a\n graph = graph() {": r"has the attribute graph twice",
    HEAD + "b: int8[] = switch 0 a\n branches[1] = graph": r"expected the graph branches\[0\]",
    HEAD + "b: float64[2] = sin a\n return b\n}": r"equation 0 \(sin\) gives float64\[3\], but",
    HEAD + "b: float64[3] = sin[axis=0] a\n return b\n}": r"\(sin\) does not take float64\[3\]",
}


@pytest.mark.parametrize("text", MALFORMED)
def test_messages_say_where_and_what_was_expected(text: str) -> None:
    with pytest.raises(GraphError, match=MALFORMED[text]):
        Graph.parse(text)


# --- check ----------------------------------------------------------------------------------------


def v(*shape: int, dtype: str = "float64") -> Var:
    return Var(Aval(shape, np.dtype(dtype)))


def equation(name: str, inputs: Any, outputs: Any, line: str = "", **attrs: Any) -> Equation:
    return Equation(REGISTRY[name], tuple(inputs), tuple(outputs), attrs, line)


def refused(graph: Graph, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        graph.check()


def test_check_of_assignments() -> None:
    a, b = v(3), v(3)
    sin = equation("sin", [a], [b], "model.py:7")
    Graph((a,), (sin,), (b, 1.0)).check()
    refused(Graph((), (sin,), (b,)), r"equation 0 \(sin at model.py:7\) reads a variable \(float64")
    refused(
        Graph((), (equation("sin", [b], [b]),), ()),
        r"reads a \(float64\[3\]\), which is not assigned before",
    )
    refused(Graph((a,), (sin, sin), (b,)), r"equation 1 \(sin at model.py:7\) assigns .* second")
    refused(Graph((a, a), (), ()), "a variable stands twice")
    refused(Graph((a,), (), (), {a: np.zeros(3)}), "a variable stands twice")
    refused(Graph((a,), (), (b,)), r"output 0 is a variable \(float64\[3\]\), which is not")
    refused(Graph((a,), (), (np.zeros(3),)), r"output 0 is a ndarray: only variables and Python")  # type: ignore[arg-type]
    refused(Graph((a,), (equation("sin", ["x"], [b]),), ()), r"equation 0 \(sin\) reads a str")


def test_check_of_types() -> None:
    a, b = v(3), v(2)
    refused(Graph((a,), (), (), {b: np.zeros(3)}), r"constant b has the value of a float64\[3\], b")
    refused(Graph((), (), (), {b: np.zeros(2, int)}), r"a int64\[2\], but the type float64\[2\]")
    refused(Graph((a,), (equation("sin", [a], [b]),), ()), r"gives float64\[3\], .* float64\[2\]")
    refused(
        Graph((a, b), (equation("add", [a, b], [v(3)]),), ()),
        r"equation 0 \(add\) does not take float64\[3\], float64\[2\]: .*shape mismatch",
    )
    refused(
        Graph((a,), (equation("reduce_sum", [a], [v()], axis=0),), ()), r"\(reduce_sum\) does not"
    )
    matrix = v(2, 2)
    refused(
        Graph((matrix,), (equation("svd", [matrix], [v(2, 2)]),), ()),
        r"gives float64\[2,2\], float64\[2\], float64\[2,2\], but its variables are float64\[2,2\]",
    )


def test_check_of_sub_graphs() -> None:
    x = np.ones((4, 2))
    scan = fg.make_graph(lambda x: fg.scan(lambda c, r: (c + r, r), x[0], x))(x)
    loop = fg.make_graph(lambda x: fg.while_loop(lambda c: c.sum() < 9, lambda c: c + 1, x))(x)
    cond = fg.make_graph(lambda x: fg.cond(x.sum() > 0, np.sin, np.cos, x))(x)
    jit = fg.make_graph(fg.jit(np.sin))(x)

    def changed(graph: Graph, new: dict[str, Any], inputs: Any = None) -> Graph:
        *first, e = graph.equations
        given = e.inputs if inputs is None else inputs(e.inputs)
        last = Equation(e.primitive, given, e.outputs, {**e.attrs, **new}, e.line)
        return Graph(graph.inputs, (*first, last), graph.outputs, graph.constants)

    for graph in (scan, loop, cond, jit):
        graph.check()
    one_more = lambda inputs: (*inputs, inputs[-1])
    refused(changed(scan, {}, one_more), r"\(scan at .*: body takes float64\[2\], float64\[2\], b")
    refused(changed(loop, {}, one_more), r"\(while at .*: body takes float64\[4,2\], but the")
    refused(changed(cond, {}, one_more), r"\(switch at .*: branches\[0\] takes float64\[4,2\], but")
    refused(changed(jit, {}, one_more), r"\(jit_call at .*: graph takes float64\[4,2\], but")
    b = v(2)
    wrong = {"body": Graph((a := v(2), b), (), (3.0, b))}
    refused(changed(scan, wrong), "gives float64|body returns float64")
    condition = {"cond": Graph((a := v(4, 2),), (), (a,))}
    refused(changed(loop, condition), r"cond returns float64\[4,2\], but the equation needs bool")
    branches = cond.equations[-1].attrs["branches"]
    more = {"branches": (branches[0], Graph((a,), (), (a, a)))}
    refused(changed(cond, more), r"branches\[1\] returns float64\[4,2\], float64\[4,2\], but")
    inner = {"branches": (branches[0], Graph((a,), (equation("sin", [a], [v(3)]),), (a,)))}
    refused(changed(cond, inner), r"\(switch at .*\), branches\[1\]: equation 0 \(sin\) gives")


def test_wrong_number_of_arguments() -> None:
    with pytest.raises(GraphError, match="this graph has 1 inputs, but 2 arguments were passed"):
        fg.make_graph(np.sin)(1.0).evaluate(1.0, 2.0)

"""Names of variables and scopes: what pictures and generated source call things."""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph import nn
from funcgraph.transforms.naming import named_graph, naming_all


def names(graph: fg.Graph) -> list[str]:
    return [v.name for e in graph.equations for v in e.outputs]


def affine(w: Any, x: Any) -> Any:
    y = x @ w
    return y


def test_outermost_function_names_a_value() -> None:
    def f(params: Any, x: Any) -> Any:
        for p in params:
            h = affine(p["w"], x)
            x = np.tanh(h)
        first, rest = x[0], x[1:]
        return first, rest

    found = named_graph(f, [{"w": np.ones((2, 2))}] * 2, np.ones(2))
    assert found.inputs == ["params[0]['w']", "params[1]['w']", "x"]
    assert [v.name for v in found.graph.inputs] == ["params_0_w", "params_1_w", "x"]
    assert names(found.graph) == ["h", "x", "h", "x", "first", "rest"]


@pytest.mark.parametrize("transform", [fg.grad, fg.jit, lambda f: lambda x: fg.jvp(f, (x,), (x,))])
def test_names_below_other_transformations(transform: Any) -> None:
    def f(x: Any) -> Any:
        squares = x**2
        return np.sum(np.sin(squares))

    graph = named_graph(transform(f), np.ones(3)).graph
    inner = [name for g in (graph, *graph.equations[0].subgraphs) for name in names(g)]
    assert "squares" in inner


def test_names_in_bodies_of_loops() -> None:
    def f(xs: Any) -> Any:
        def cell(total: Any, x: Any) -> Any:
            doubled = 2 * x
            return total + doubled, doubled

        return fg.scan(cell, 0.0, xs)

    (scan,) = named_graph(f, np.ones(3)).graph.equations
    assert names(scan.subgraphs[0])[0] == "doubled"


def test_keyword_and_star_arguments() -> None:
    found = named_graph(lambda *xs, scale: xs[0] * xs[1] * scale, 1.0, 2.0, scale=np.ones(2))
    assert found.inputs == ["xs[0]", "xs[1]", "scale"]


def test_another_watcher_is_restored() -> None:
    def watcher(*_: Any) -> None:
        return None

    before = sys.gettrace()
    sys.settrace(watcher)
    try:
        named_graph(np.sin, 1.0)
        assert sys.gettrace() is watcher
        with pytest.raises(fg.errors.ConcretizationError):
            named_graph(lambda x: fg.grad(lambda y: 1.0 if y > 0 else y)(x), 1.0)
        assert sys.gettrace() is watcher
    finally:
        sys.settrace(before)


def test_scopes_are_paths_and_stay_in_transformed_graphs() -> None:
    model = nn.serial(nn.Dense(3), nn.serial(nn.Dense(2), np.tanh))
    _, params = model.init(fg.random.key(0), (2,))

    def loss(params: Any, x: Any) -> Any:
        with fg.named_scope("loss"):
            return np.sum(model.apply(params, x) ** 2)

    graph = fg.make_graph(loss)(params, np.ones(2, np.float32))
    dense = ["loss/dense"] * 2 + ["loss/serial/dense"] * 2 + ["loss/serial/tanh"]
    assert [e.scope for e in graph.equations] == [*dense, "loss", "loss"]
    again = fg.make_graph(graph.evaluate)(*[v.aval for v in graph.inputs])
    assert [e.scope for e in again.equations] == [e.scope for e in graph.equations]
    assert [e.line for e in again.equations] == [e.line for e in graph.equations]
    simple = graph.simplify()
    assert [e.scope for e in simple.equations] == [e.scope for e in graph.equations]


def test_scope_within_a_replay_and_as_decorator() -> None:
    graph = fg.make_graph(np.sin)(1.0)
    outer = fg.make_graph(fg.named_scope("outer")(graph.evaluate))(1.0)
    assert outer.equations[0].scope == "outer"

    @fg.named_scope("twice")
    def recursive(x: Any, n: int) -> Any:
        return recursive(x * 2, n - 1) if n else x

    scopes = [e.scope for e in fg.make_graph(lambda x: recursive(x, 2))(1.0).equations]
    assert scopes == ["twice", "twice/twice"]


def test_scopes_of_threads_are_their_own() -> None:
    found: list[str] = []

    def other() -> None:
        found.extend(e.scope for e in fg.make_graph(np.sin)(1.0).equations)

    with fg.named_scope("here"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert found == [""]


def test_cotangents_are_named_after_their_primals() -> None:
    def f(w: Any, x: Any) -> Any:
        h = np.tanh(x @ w)
        with fg.named_scope("square"):
            s = h * h
        return np.sum(s)

    args = np.ones(3), np.ones((4, 3))
    with naming_all():
        graph = named_graph(fg.grad(f), *args).graph
    forward = [e for e in graph.equations if e.scope in ("", "square")]
    back = [e for e in graph.equations if e.scope.split("/")[0] == "backward"]
    assert len(forward) + len(back) == len(graph.equations)
    names = {v.name: e for e in back for v in e.outputs if v.name}
    assert {"d_h", "d_w"} <= names.keys()
    # What goes back over an operation has its line, and its scope.
    assert names["d_h"].scope == "backward/square" and names["d_w"].scope == "backward"
    assert names["d_h"].line in {e.line for e in forward if e.scope == "square"}
    assert names["d_w"].line in {e.line for e in forward if e.primitive.name == "matmul"}

    plain = fg.make_graph(fg.grad(f))(*args)
    assert {e.scope for e in plain.equations} <= {"", "square"}
    assert not any(v.name for e in plain.equations for v in e.outputs)


def test_cotangents_of_the_bodies_of_loops_are_named() -> None:
    def f(w: Any, xs: Any) -> Any:
        def cell(h: Any, x: Any) -> Any:
            a = h * w + x
            h = np.tanh(a)
            return h, None

        return fg.scan(cell, 0.0, xs)[0]

    with naming_all():
        graph = named_graph(fg.grad(f), 0.5, np.ones(4)).graph
    first, second = (e for e in graph.equations if e.primitive.name == "scan")
    assert "a" in {v.name for e in first.attrs["body"].equations for v in e.outputs}
    assert "d_a" in {v.name for e in second.attrs["body"].equations for v in e.outputs}
    assert second.scope == "backward"

"""Loops with less in their bodies: what is taken out, what stays, and that values stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.core.graph import Graph
from funcgraph.core.hoist import hoist
from funcgraph.core.simplify import simplify

RNG = np.random.default_rng(0)
W = RNG.standard_normal((16, 16)) / 4
V = RNG.standard_normal((12, 16)) / 4
XS = RNG.standard_normal((7, 3, 12))
H = np.zeros((3, 16))


def rnn(p: Any, xs: Any, reverse: bool = False) -> Any:
    def cell(h: Any, x: Any) -> Any:
        h = np.tanh(x @ p["v"] + h @ p["w"] + p["b"])
        return h, h

    return np.sum(fg.scan(cell, H, xs, reverse=reverse)[1] ** 2)


def outer_products(a: Any, xs: Any) -> Any:
    """Sums of products of several forms, of rows, of transposes and of values of the body."""

    def step(c: Any, x: Any) -> Any:
        first, second, third, count = c
        y = np.sin(x @ a)
        return (first + x.T @ y, y.T @ np.cos(x) + second, third + np.sum(y, 0), count + 1), y

    start = np.ones((12, 16)), np.zeros((16, 12)), np.zeros(16), 0
    return fg.scan(step, start, xs)


def read_elsewhere(xs: Any) -> Any:
    """Sums that the steps read are needed in every step."""

    def step(c: Any, x: Any) -> Any:
        c = c + x.T @ x
        return c, c[0]

    return fg.scan(step, np.zeros((12, 12)), xs)


def constant_factor(a: Any, xs: Any) -> Any:
    """Constants are not stacked."""
    return fg.scan(lambda c, x: (c + a.T @ np.sin(x), None), np.zeros((12, 12)), xs)[0]


def constants(a: Any, xs: Any) -> Any:
    return fg.scan(lambda c, x: (c * np.exp(a).T[0], np.sum(x)), np.ones(16), xs)


PARAMS = {"v": V, "w": W, "b": np.zeros(16)}
PROGRAMS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "rnn": (rnn, (PARAMS, XS)),
    "gradient": (fg.grad(rnn, (0, 1)), (PARAMS, XS)),
    "reverse": (fg.grad(lambda p, xs: rnn(p, xs, True), (0, 1)), (PARAMS, XS)),
    "no steps": (fg.grad(rnn), (PARAMS, XS[:0])),
    "no rows": (fg.grad(lambda p, xs: np.sum(outer_products(p, xs)[1])), (V, XS[:, :0])),
    "second order": (
        lambda p, xs: fg.jvp(lambda w: fg.grad(rnn)({**p, "w": w}, xs), (p["w"],), (W,)),
        (PARAMS, XS),
    ),
    "batch": (fg.vmap(fg.grad(rnn), (None, 1)), (PARAMS, np.stack([XS, 2 * XS], 1))),
    "outer products": (outer_products, (V, XS)),
    "read elsewhere": (read_elsewhere, (XS,)),
    "constant factor": (constant_factor, (V[:3, :12], XS)),
    "constants": (constants, (W, XS)),
    "rows of numbers": (
        lambda a, xs: fg.scan(lambda c, x: (c + x @ a, x @ a), np.zeros(16), xs)[1],
        (RNG.standard_normal((64, 16)), RNG.standard_normal((5, 64))),
    ),
}


@pytest.mark.parametrize("backend", ["numpy", "xla"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_values(name: str, backend: str) -> None:
    if backend == "xla":
        pytest.importorskip("jax")
    f, args = PROGRAMS[name]
    compiled = fg.jit(f, backend=backend)
    for g, w in zip(fg.tree.leaves(compiled(*args)), fg.tree.leaves(f(*args)), strict=True):
        assert (np.shape(g), g.dtype) == (np.shape(w), np.asarray(w).dtype)
        np.testing.assert_allclose(g, w, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", PROGRAMS)
def test_graphs_stay_well_formed(name: str) -> None:
    f, args = PROGRAMS[name]
    hoist(fg.make_graph(f)(*args)).check()


def bodies(graph: Graph) -> list[str]:
    """Return the operations in the bodies of a graph's loops."""
    return [
        inner.primitive.name
        for e in hoist(simplify(graph)).equations
        if e.primitive.name == "scan"
        for inner in e.attrs["body"].equations
    ]


def test_a_recurrent_net_has_one_product_in_each_step() -> None:
    assert bodies(fg.make_graph(rnn)(PARAMS, XS)).count("matmul") == 1
    assert bodies(fg.make_graph(fg.grad(rnn))(PARAMS, XS)).count("matmul") == 2
    assert "reduce_sum" not in bodies(fg.make_graph(fg.grad(rnn))(PARAMS, XS))


def test_what_the_steps_read_stays() -> None:
    assert bodies(fg.make_graph(read_elsewhere)(XS)) == ["transpose", "matmul", "add", "getitem"]
    factor = bodies(fg.make_graph(constant_factor)(*PROGRAMS["constant factor"][1]))
    assert factor == ["sin", "matmul", "add"]
    assert "exp" not in bodies(fg.make_graph(constants)(W, XS))


def test_operations_that_may_fail_stay() -> None:
    graph = Graph.parse("""
        graph(c: float64[2], a: float64[2,2]) {
          d: float64[2] = scan[carries=1, rows=0, length=3, reverse=False, unroll=1] c a
            body = graph(c: float64[2], a: float64[2,2]) {
              b: float64[2,2] = inv a
              d: float64[2,2] = exp a
              e: float64[2,2] = add b d
              f: float64[2] = matmul e c
              return f
            }
          return d
        }
    """)
    assert bodies(graph) == ["inv", "add", "matmul"]


def test_a_loop_that_saves_memory_keeps_its_sums() -> None:
    def net(w: Any, xs: Any) -> Any:
        cell = lambda h, x: (np.tanh(h @ w + x), None)
        return np.sum(fg.scan(cell, H, xs, checkpoint_every=4)[0])

    xs = RNG.standard_normal((16, 3, 16))
    graph = hoist(simplify(fg.make_graph(fg.grad(net))(W, xs)))
    inner = {v.aval.shape for e in graph.equations for v in e.outputs}
    assert (16, 3, 16) not in inner  # nothing is stacked over all steps
    np.testing.assert_allclose(fg.jit(fg.grad(net))(W, xs), fg.grad(net)(W, xs), rtol=1e-12)

"""Costs of graphs: against formulas by hand, and against XLA's own analysis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
import funcgraph.numpy as fnp
from funcgraph.core.primitive import REGISTRY
from tests.conformance.samples import SAMPLES

RNG = np.random.default_rng(0)


def a(*shape: int) -> np.ndarray[Any, Any]:
    return RNG.standard_normal(shape)


def graph(f: Callable[..., Any], *args: Any) -> fg.Graph:
    return fg.make_graph(f)(*args)


SQUARE = a(2, 6, 6)
FLOPS: dict[str, tuple[Callable[..., Any], tuple[Any, ...], float]] = {
    "elementwise": (lambda x: np.tanh(x) * x + 1, (a(3, 4),), 3 * 12),
    "broadcasting": (lambda x, y: x + y, (a(3, 1), a(4)), 12),
    "comparison": (lambda x: np.where(x > 0, x, 0), (a(5),), 10),
    "movement": (lambda x: x.T.reshape(2, 6)[:, ::2].astype(np.float32), (a(3, 4),), 0),
    "sum": (lambda x: np.sum(x, axis=0), (a(3, 4),), 8),
    "sum of all": (np.sum, (a(3, 4),), 11),
    "max": (np.max, (a(7),), 6),
    "argmax": (lambda x: np.argmax(x, axis=1), (a(3, 4),), 9),
    "cumsum": (np.cumsum, (a(9),), 9),
    "matmul": (lambda x, y: x @ y, (a(3, 4), a(4, 5)), 2 * 3 * 4 * 5),
    "matmul stack": (lambda x, y: x @ y, (a(7, 3, 4), a(4, 5)), 7 * 2 * 3 * 4 * 5),
    "matrix vector": (lambda x, y: x @ y, (a(3, 4), a(4)), 2 * 3 * 4),
    "dot": (lambda x, y: x @ y, (a(4), a(4)), 8),
    "einsum": (lambda x, y: np.einsum("bi,bij->bj", x, y), (a(2, 3), a(2, 3, 5)), 2 * 30),
    "outer": (lambda x, y: np.einsum("i,j->ij", x, y), (a(3), a(4)), 12),
    "convolve": (lambda x, y: np.convolve(x, y), (a(20), a(3)), 2 * 60),
    "cholesky": (fnp.linalg.cholesky, (SQUARE @ SQUARE.mT + 9 * np.eye(6),), 2 * 6**3 / 3),
    "solve": (lambda m, b: np.linalg.solve(m, b), (a(6, 6), a(6, 2)), 2 * 216 / 3 + 2 * 36 * 2),
    "solve_triangular": (
        lambda m, b: REGISTRY["solve_triangular"](m, b, lower=True),
        (a(6, 6), a(6, 2)),
        36 * 2,
    ),
    "det": (np.linalg.det, (SQUARE,), 2 * 2 * 216 / 3),
    "inv": (np.linalg.inv, (SQUARE,), 2 * 2 * 216),
    "qr": (np.linalg.qr, (a(8, 6),), 4 * 36 * (8 - 2)),
    "eigh": (REGISTRY["eigh"], (SQUARE + SQUARE.mT,), 2 * 9 * 216),
    "svd": (REGISTRY["svd"], (a(8, 6),), 14 * 8 * 36 + 8 * 216),
    "fft": (REGISTRY["fft"], (a(3, 8) + 0j,), 3 * 5 * 8 * 3),
    "indexing": (lambda x: x[np.array([0, 2])], (a(4),), 0),
    "scan": (lambda x: fg.scan(lambda c, r: (c + r * r, None), x[0], x)[0], (a(10, 3),), 60),
    "nested": (lambda x: fg.map(lambda r: fg.map(np.sin, r), x), (a(4, 5),), 20),
    "jit": (fg.jit(lambda x: np.sin(x) + 1), (a(5),), 10),
}


@pytest.mark.parametrize("name", FLOPS)
def test_flops(name: str) -> None:
    f, args, wanted = FLOPS[name]
    if name in ("fft", "eigh", "svd"):
        attrs = {"axis": 1, "norm": "backward"} if name == "fft" else {}
        f = lambda *xs, f=f: f(*xs, **attrs)
    assert graph(f, *args).flops() == round(wanted)


def test_a_choice_costs_its_most_expensive_branch() -> None:
    f = lambda x: fg.cond(x[0] > 0, lambda x: np.sin(np.cos(x)), lambda x: x, x)
    rows = {row.operation: row for row in graph(f, a(50)).costs().rows}
    assert {"sin", "cos"} <= set(rows) and rows["sin"].flops == 50


def test_while_loops_are_counted_for_given_trips() -> None:
    g = graph(lambda x: fg.while_loop(lambda c: c[0] < 9, lambda c: c * 2 + 1, x), a(10))
    assert g.flops() == 1 + 20
    assert g.flops(trips=5) == 5 * 21
    assert "while at" in g.costs().notes[0] and "1 step (trips=)" in str(g.costs())
    assert g.bytes(trips=2) == 2 * g.bytes()
    assert not graph(np.sin, a(3)).costs().notes


def test_functions_with_rules_of_their_own_are_counted() -> None:
    @fg.custom_jvp
    def f(x: Any) -> Any:
        return np.sin(x) + 1

    f.defjvps(lambda t, y, x: t)
    assert graph(lambda x: f(x) * 2, a(5)).flops() == 15
    assert graph(fg.grad(fg.checkpoint(lambda x: np.sum(np.sin(x)))), a(5)).flops() > 0


def test_functions_of_jax_are_noted() -> None:
    jax = pytest.importorskip("jax")
    costs = graph(lambda x: fg.from_jax(jax.numpy.sin)(x) + 1, a(5)).costs()
    assert costs.flops == 5 and "what JAX computes is not counted" in costs.notes[0]


def test_every_primitive_has_costs() -> None:
    for name in SAMPLES.keys() & REGISTRY.keys():
        for sample in SAMPLES[name]:
            apply = lambda *xs, n=name, s=sample: REGISTRY[n](*xs, **s.attrs)
            g = graph(apply, *sample.args)
            assert g.flops() >= 0 and g.bytes() >= 0 and g.memory() >= 0, name


def test_bytes() -> None:
    assert graph(lambda x: np.sin(x), a(10)).bytes() == 160
    assert graph(lambda x: x.T.reshape(-1)[::2], a(3, 4)).bytes() == 0
    assert graph(lambda x: x[np.array([1, 2])], a(100)).bytes() == 3 * 16
    assert graph(lambda x, y: x @ y, a(3, 4), a(4, 5)).bytes() == 8 * (12 + 20 + 15)
    assert graph(lambda x: x * 2, np.float32(a(10))).bytes() == 80


def test_memory() -> None:
    assert graph(lambda x: np.sum(np.sin(x).T), a(10, 10)).memory() == 1600 + 8
    assert graph(lambda x: (np.sin(x), np.cos(x)), a(100)).memory() == 2400
    assert graph(lambda x: np.sin(x), 1.0).memory() == 16
    x = a(1000)
    kept = graph(fg.grad(lambda x: np.sum(np.sin(np.sin(np.sin(x))))), x).memory()
    assert kept >= 8000 * 4
    body = lambda c, _: (np.sin(c) + np.cos(c), None)
    looped = graph(lambda x: fg.scan(body, x, None, 5)[0], x)
    assert looped.memory() == 8000 * 5  # x, the result; in the body sin, cos and their sum


def test_table() -> None:
    f = lambda x: np.sum(np.tanh(x @ x) + np.tanh(x))
    costs = graph(f, a(10, 10)).costs()
    assert [r.operation for r in costs.rows] == ["matmul", "tanh", "add", "reduce_sum"]
    assert costs.rows[1].count == 2 and costs.rows[1].flops == 200
    lines = str(costs).splitlines()
    assert lines[0].split() == ["operation", "count", "FLOPs", "bytes", "line"]
    assert lines[1].split()[:4] == ["matmul", "1", "2,000", "2,400"]
    assert "test_graph_costs.py:" in lines[1]
    assert lines[-1].split() == ["total", "5", "2,399", f"{costs.bytes:,}"]


W = {"w": a(128, 256), "b": a(256), "v": a(256, 10)}


def mlp(w: Any, x: Any) -> Any:
    return np.mean((np.tanh(x @ w["w"] + w["b"]) @ w["v"]) ** 2)


@pytest.mark.parametrize("f", [mlp, fg.grad(mlp)], ids=["value", "gradient"])
def test_multilayer_perceptron_as_xla_counts(f: Any) -> None:
    jax = pytest.importorskip("jax")
    x = a(64, 128)
    ours = graph(f, W, x).simplify().flops()
    first, last = 2 * 64 * 128 * 256, 2 * 64 * 256 * 10
    wanted = first + last if f is mlp else 2 * first + 3 * last  # x needs no cotangent
    assert ours == pytest.approx(wanted, rel=0.02)
    with jax.enable_x64(True):
        found = jax.jit(fg.to_jax(f)).lower(W, x).compile().cost_analysis()
    found = found[0] if isinstance(found, list) else found
    assert ours == pytest.approx(found["flops"], rel=0.02)

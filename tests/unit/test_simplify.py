"""Simplified graphs: fewer equations, and the same bits."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import funcgraph as fg
from funcgraph.core.identities import IDENTITIES
from funcgraph.core.simplify import simplify
from tests.property.test_random_programs import Program, programs

REALS = np.array([[np.nan, -np.nan, np.inf], [-np.inf, 0.0, -0.0], [1.5, -2.25, 1e300]])
VALUES = {
    "float64": REALS,
    "float32": np.array([[np.nan, np.inf, -0.0], [-np.inf, 3e38, 1e-45]], np.float32),
    "float16": np.array([[np.nan, -0.0, 6e4], [np.inf, 0.0, 6e-8]], np.float16),
    "complex128": np.array([[complex(a, b) for a in REALS.flat] for b in REALS.flat]),
    "int64": np.array([[0, -1, 2**62], [-(2**63), 2**63 - 1, 3]]),
    "int8": np.array([[-128, 127, 0]], np.int8),
    "uint8": np.array([[0, 255, 1]], np.uint8),
    "bool": np.array([[True, False, True]]),
    "empty": np.zeros((0, 3)),
    "float": -0.0,
    "int": 7,
}

# By the name of the operation in the table: programs to which its identity applies, and some that
# look like it, to which it must not.
CASES: dict[str, list[Callable[[Any], Any]]] = {
    "multiply": [lambda x: x * 1, lambda x: 1.0 * x, lambda x: x * np.int8(1), lambda x: x * 0],
    "divide": [lambda x: x / 1, lambda x: x / 1.0, lambda x: 1 / x],
    "floor_divide": [lambda x: x // 1, lambda x: x // 1.0],
    "power": [lambda x: np.power(x, 1), lambda x: np.power(x, 1.0), lambda x: np.power(1, x)],
    "subtract": [lambda x: x - 0, lambda x: x - 0.0, lambda x: x - -0.0, lambda x: x - x],
    "add": [
        *[lambda x, n=n: x + n for n in (0, 0.0, -0.0, complex(-0.0, -0.0), -0.0 + 0j)],
        *[lambda x, n=n: n + x for n in (0, -0.0)],
    ],
    "left_shift": [lambda x: x << 0, lambda x: 0 << x],
    "right_shift": [lambda x: x >> 0],
    "positive": [lambda x: +x],
    "copy": [lambda x: np.copy(x)],
    "conjugate": [lambda x: np.conj(x), lambda x: np.conj(np.conj(x))],
    "real": [lambda x: np.real(x)],
    "negative": [
        lambda x: np.negative(-x),
        lambda x: np.negative(np.negative(-x)),
    ],
    "invert": [lambda x: ~~x],
    "logical_not": [lambda x: np.logical_not(np.logical_not(x))],
    "not_equal": [lambda x: (x > 0) != 0, lambda x: x != 0, lambda x: (x > 0) != 1],
    "where": [
        lambda x: np.where(np.ones(3, bool), x, 2),
        lambda x: np.where(False, 2, x),
        lambda x: np.where(np.array([True, False, True]), x, 2),
        lambda x: np.where(x > 0, x, x),
    ],
    "convert": [
        *[
            lambda x, a=a, b=b: fg.numpy.astype(fg.numpy.astype(x, a), b)
            for a in ("float32", "float64", "complex128", "int64", "bool")
            for b in ("float16", "float64", "complex64", "float32")
        ],
    ],
    "truncate_dtype": [
        lambda x: fg.numpy.astype(fg.numpy.astype(x, "int64"), "int8"),
        lambda x: fg.numpy.astype(fg.numpy.astype(x, "int16"), "int64"),
        lambda x: fg.numpy.astype(fg.numpy.astype(x, "float64"), "int32"),
        lambda x: fg.numpy.astype(fg.numpy.astype(x, "float64"), "bool"),
    ],
    "transpose": [
        lambda x: np.transpose(x),
        lambda x: x.T.T,
        lambda x: np.transpose(np.transpose(np.reshape(x, (*np.shape(x), 1)))),
        lambda x: np.moveaxis(np.moveaxis(x[None, :, None], 0, 2), 1, 3),
        lambda x: np.transpose(np.broadcast_to(np.sum(x), (2, 3))),
    ],
    "reshape": [
        lambda x: np.reshape(np.reshape(x, -1), np.shape(x)),
        lambda x: x.reshape(1, -1).reshape(-1, 1).reshape(-1),
    ],
    "broadcast": [
        lambda x: np.broadcast_to(np.broadcast_to(x, (2, *x.shape)), (4, 2, *x.shape)),
        lambda x: np.broadcast_to(x[None], (2, *x.shape)),
        lambda x: np.broadcast_to(x[:, None], (x.shape[0], 2, x.shape[1])),
    ],
    "getitem": [
        *[lambda x, i=i: x[i] for i in (slice(None), (slice(0, 99), ...), (..., slice(None)), ())],
        lambda x: x[::-1],
        lambda x: x[:, :2],
        lambda x: x[None, ..., None, :],
        lambda x: x[..., 1:],
    ],
    "concatenate": [lambda x: np.concatenate([x]), lambda x: np.concatenate([x, x])],
    "pad_zeros": [lambda x: np.pad(x, 0), lambda x: np.pad(x, ((0, 1), (0, 0)))],
    **{
        name: [lambda x, name=name: getattr(np, name)(getattr(np, name)(x))]
        for name in ("floor", "ceil", "trunc", "rint")
    },
    "absolute": [lambda x: abs(abs(x))],
    **{
        name: [lambda x, name=name: getattr(np, name)(x, x)]
        for name in (
            *("maximum", "minimum", "fmax", "fmin", "logical_and", "logical_or"),
            *("bitwise_and", "bitwise_or"),
        )
    },
    **{
        f"reduce_{name}": [lambda x, name=name: getattr(np, name)(x, axis=())]
        for name in ("sum", "prod", "max", "min", "all", "any")
    },
}


def same_bits(a: Any, b: Any) -> None:
    assert (np.shape(a), np.asarray(a).dtype) == (np.shape(b), np.asarray(b).dtype)
    if np.asarray(a).dtype.kind in "fc":  # one nan is as good as another, but not its sign
        parts = [(np.real(v), np.imag(v)) for v in (a, b)]
        for p, q in zip(*parts, strict=True):
            np.testing.assert_array_equal(p, q)
            np.testing.assert_array_equal(np.signbit(p), np.signbit(q))
    else:
        np.testing.assert_array_equal(a, b)


def unchanged(graph: fg.Graph, *args: Any) -> fg.Graph:
    """Check that simplification changes no bit, and return the simplified graph."""
    simple = graph.simplify()
    simple.check()
    assert simple.output_avals == graph.output_avals
    assert len(simple.equations) <= len(graph.equations)
    with np.errstate(all="ignore"):
        for a, b in zip(simple.run(*args), graph.run(*args), strict=True):
            same_bits(a, b)
    return simple


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("name", IDENTITIES)
def test_identities_change_no_bit(name: str, kind: str) -> None:
    x = VALUES[kind]
    for f in CASES[name]:
        try:
            with np.errstate(all="ignore"):
                graph = fg.make_graph(f)(x)
                graph.run(x)
        except (TypeError, ValueError, AttributeError, IndexError):  # not for this type or shape
            continue
        unchanged(graph, x)


def operations(f: Callable[..., Any], *args: Any) -> list[str]:
    graph = fg.make_graph(f)(*args)
    return [e.primitive.name for e in unchanged(graph, *args).equations]


APPLY = {
    **{name: rows[0] for name, rows in CASES.items()},
    "add": CASES["add"][2],
    "conjugate": CASES["conjugate"][1],
    "transpose": CASES["transpose"][1],
    "real": lambda x: fg.Graph.parse("graph(a: float64[3,3]) {\n b: float64[3,3] = real a\n"
                                     " return b\n}").evaluate(x),
    "concatenate": lambda x: np.concatenate([x]),
}  # fmt: skip
INTEGER = ("floor_divide", "left_shift", "right_shift", "invert", "bitwise_and", "bitwise_or",
           "reduce_sum")  # fmt: skip
LOGICAL = ("logical_not", "logical_and", "logical_or", "reduce_all", "reduce_any")


@pytest.mark.parametrize("name", sorted(IDENTITIES.keys() - {"convert", "truncate_dtype"}))
def test_identities_apply(name: str) -> None:
    x = np.arange(9).reshape(3, 3) if name in INTEGER else REALS
    x = x > 0 if name in LOGICAL else x + 0j if name == "conjugate" else x
    before = len(fg.make_graph(APPLY[name])(x).equations)
    assert len(operations(APPLY[name], x)) < before


def test_pairs_become_one() -> None:
    x = np.zeros((2, 3))
    astype = fg.numpy.astype
    assert operations(lambda x: np.moveaxis(x[None].T, 0, 1), x) == ["reshape", "transpose"]
    assert operations(lambda x: x.reshape(6).reshape(3, 2), x) == ["reshape"]
    assert operations(lambda x: np.broadcast_to(x[None], (4, 2, 3)), x) == ["broadcast"]
    assert operations(lambda x: np.broadcast_to(np.sum(x), (2, 3)).T, x) == [
        "reduce_sum",
        "broadcast",
    ]
    half = x.astype(np.float16)
    assert operations(lambda x: astype(astype(x, "float32"), "float64"), half) == ["convert"]
    assert operations(lambda x: astype(astype(x, "float32"), "float16"), half) == []
    assert operations(lambda x: astype(astype(x, "float32"), "float64"), x) == ["convert"] * 2
    assert operations(lambda x: astype(astype(x, "float64"), "int8"), half) == [
        "convert",
        "truncate_dtype",
    ]


def test_signed_zeros_and_complex_infinities_stay() -> None:
    x = np.array([-0.0, 1.0])
    assert operations(lambda x: (x + 0.0, x - -0.0, x * 0), x) == ["add", "subtract", "multiply"]
    z = np.array([complex(-0.0, np.inf)])
    assert operations(lambda z: (z * 1, z / 1.0, z + -0.0), z) == ["multiply", "divide", "add"]
    assert operations(lambda z: z - 0.0, z) == []


def test_derivatives_stay() -> None:
    f = fg.make_graph(lambda x: np.sum(x * fg.stop_gradient(x)))(np.ones(3)).simplify()
    np.testing.assert_array_equal(fg.grad(f.evaluate)(np.full(3, 2.0)), np.full(3, 2.0))


# --- common subexpressions, constants -------------------------------------------------------------


def test_what_stands_twice_is_computed_once() -> None:
    x = np.arange(6.0)
    mask = np.array([True, False] * 3)
    assert operations(lambda x: np.sin(x) + np.sin(x), x) == ["sin", "add"]
    assert operations(lambda x: x[1:3] + x[1:3], x) == ["getitem", "add"]
    assert operations(lambda x: x[mask] + x[mask.copy()], x) == ["getitem", "add"]
    assert operations(lambda x: x * np.full(6, 2.0) + x * np.full(6, 2.0), x) == ["multiply", "add"]
    assert len(operations(lambda x: (x * 1.5 + x * -0.0, x * 0.0), x)) == 4
    assert len(operations(lambda x: (x + True, x + 1, x + 1.0), x)) == 3


def constants_text(equation: str) -> fg.Graph:
    return fg.Graph.parse(
        f"""graph(a: float64[3]) {{
          k: float64[3] = constant [1.0, 2.0, 3.0]
          key: uint32[2] = constant [1, 2]
          {equation}
          return b
        }}"""
    )


def test_constants_are_folded() -> None:
    graph = constants_text("c: float64[3] = sin k\n b: float64[3] = multiply c a")
    assert [e.primitive.name for e in graph.simplify().equations] == ["multiply"]
    assert np.sin(np.arange(1.0, 4.0)).tolist() in [
        v.tolist() for v in graph.simplify().constants.values()
    ]
    unchanged(graph, np.arange(3.0))
    text = "b: float64[] = add 1.0 2.0"
    assert not constants_text(text).simplify().equations
    for text in (
        "b: float64[1000,3] = broadcast[shape=(1000, 3)] k",  # larger than what it is made of
        "b: uint32[2] = random_bits[shape=(2,), width=32] key",
        "b: float64[] = einsum_pair[spec='i,i->'] k a",
        "b: float64[3] = sin a",
    ):
        assert len(constants_text(text).simplify().equations) == 1


def test_what_fails_is_left_to_fail_when_it_runs() -> None:
    graph = constants_text(
        "i: int64[1] = constant [7]\n b: float64[3] = index_add[template=(ARRAY,)] k 1.0 i"
    )
    assert len(graph.simplify().equations) == 1
    with pytest.raises(IndexError):
        graph.simplify().evaluate(np.zeros(3))


# --- sub-graphs, sharing, size --------------------------------------------------------------------


def looped(x: Any) -> Any:
    step = lambda c, row: (np.sin(c * 1.0) + np.sin(c) - 0, np.negative(-row))
    c, rows = fg.scan(step, x[0], x)
    return fg.cond(c.sum() > 0, lambda v: v.T.T + 0 * np.cos(v), lambda v: v * 1.0, rows), c


def test_bodies_are_simplified() -> None:
    x = np.linspace(-1, 1, 6).reshape(3, 2)
    graph = fg.make_graph(fg.jit(looped))(x)
    simple = unchanged(graph, x)

    def count(g: fg.Graph) -> int:
        return sum(1 + sum(map(count, e.subgraphs)) for e in g.equations)

    assert count(simple) < count(graph) - 5
    for backend in ("numpy", "xla") if importlib.util.find_spec("jax") else ("numpy",):
        got = fg.jit(simple.evaluate, backend=backend)(x)
        for a, b in zip(got, looped(x), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


def test_one_result_for_one_graph() -> None:
    inner = fg.jit(lambda x: x * 1.0 + 2)
    graph = fg.make_graph(lambda x: inner(x) + inner(x))(np.ones(2))
    simple = simplify(graph)
    assert simplify(graph) is simple and simplify(simple) is simple
    assert [e.primitive.name for e in simple.equations] == ["jit_call", "add"]
    np.testing.assert_array_equal(fg.grad(lambda x: simple.evaluate(x).sum())(np.ones(2)), 2.0)


def test_inputs_and_types_of_outputs_stay() -> None:
    graph = fg.make_graph(lambda x, unused: (x * 1, x, 2.0, x + 0))(3, np.ones(2))
    simple = unchanged(graph, 3, np.ones(2))
    assert simple.inputs == graph.inputs
    assert [a.weak for a in simple.output_avals] == [None, int, float, None]


def test_long_programs() -> None:
    def f(x: Any) -> Any:
        for _ in range(2000):
            x = np.sin(x * 1.0).T.T + np.full((), 2.0)
        return x

    graph = fg.make_graph(f)(np.ones((2, 2)))
    assert len(graph.equations) > 5000
    assert len(unchanged(graph, np.ones((2, 2))).equations) == 4000


@given(programs())
@settings(max_examples=40)
def test_random_programs(program: Program) -> None:
    def both(*xs: Any) -> Any:
        return program(np, *xs), fg.vjp(lambda *xs: program(np, *xs), *xs)[0]

    unchanged(fg.make_graph(both)(*program.inputs), *program.inputs)
    if program.steps:
        grads = fg.grad(program.loss(np), argnums=program.all)
        graph = fg.make_graph(grads)(*program.inputs)
        unchanged(graph, *program.inputs)
        assert fg.Graph.parse(graph.to_text()).to_text() == graph.to_text()


STEPS: dict[str, Callable[[Any], Any]] = {
    "one": lambda x: x * 1,
    "zero": lambda x: x - 0,
    "minus": lambda x: -x,
    "turn": lambda x: x.T,
    "row": lambda x: x[None],
    "flat": lambda x: x.reshape(-1),
    "first": lambda x: x[..., :],
    "wide": lambda x: np.broadcast_to(x, (2, *x.shape)) if x.size < 50 else x,
    "single": lambda x: fg.numpy.astype(x, np.float32),
    "double": lambda x: fg.numpy.astype(x, np.float64),
    "integer": lambda x: fg.numpy.astype(np.clip(x, -9, 9), np.int8),
    "twice": lambda x: np.concatenate([x, x]) if 0 < x.size < 50 and x.ndim else x,
    "abs": lambda x: np.abs(x),
    "max": lambda x: np.maximum(x, x),
    "choose": lambda x: np.where(True, x, 0),
    "sum": lambda x: np.sum(x, axis=()),
}


@given(st.lists(st.sampled_from(list(STEPS)), max_size=12), st.sampled_from(["float64", "float32"]))
def test_random_chains_of_identities(names: list[str], kind: str) -> None:
    x = VALUES[kind]

    def f(x: Any) -> Any:
        for name in names:
            x = STEPS[name](x)
        return x

    with np.errstate(all="ignore"):
        x = np.where(np.isnan(x), 1, x) if "integer" in names else x
        unchanged(fg.make_graph(f)(x), x)

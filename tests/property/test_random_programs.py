"""Random programs of NumPy functions: every derivative against the others, differences and JAX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import funcgraph as fg
import funcgraph.numpy as fnp
from tests.conformance.oracle import assert_close, differences, inner, random_like

# op(np, x) and op(np, x, y); all are defined, and bounded, for every x and y.
UNARY: dict[str, Callable[..., Any]] = {
    "sin": lambda np, x: np.sin(x),
    "tanh": lambda np, x: np.tanh(x),
    "bell": lambda np, x: np.exp(-x * x),
    "sqrt": lambda np, x: np.sqrt(1.0 + x**2),
    "log": lambda np, x: np.log(2.0 + np.cos(x)),
    "rational": lambda np, x: (2.0 - x) / (1.0 + np.square(x)),
    "abs": lambda np, x: abs(x),
    "relu": lambda np, x: np.where(x > 0.0, x, 0.1 * x),
    "clip": lambda np, x: np.clip(x, -0.8, 0.7),
    "sum": lambda np, x: np.sum(x),
    "mean rows": lambda np, x: np.mean(x, axis=0) if x.ndim else x,
    "sum last": lambda np, x: x.sum(axis=-1, keepdims=True) if x.ndim else x,
    "max last": lambda np, x: np.max(x, axis=-1) if x.ndim else x,
    "std": lambda np, x: np.std(x + np.arange(float(x.size)).reshape(x.shape)),
    "cumsum": lambda np, x: np.cumsum(x, axis=-1) if x.ndim else x,
    "transpose": lambda np, x: x.T,
    "ravel": lambda np, x: x.reshape(-1),
    "new axis": lambda np, x: x[..., None] if x.ndim < 3 else x,
    "first": lambda np, x: x[0] if x.ndim else x,
    "reversed": lambda np, x: x[::-1] if x.ndim else x,
    "repeated": lambda np, x: x[np.array([0, -1, 0])] if x.ndim else x,
    "rolled": lambda np, x: np.roll(x, 1, axis=0) if x.ndim else x,
    "pairs": lambda np, x: np.concatenate([x, 0.5 * x], axis=0) if x.ndim else x,
}
BINARY: dict[str, Callable[..., Any]] = {
    "add": lambda np, x, y: x + y,
    "subtract": lambda np, x, y: x - 0.3 * y,
    "multiply": lambda np, x, y: np.sin(x) * np.cos(y),
    "divide": lambda np, x, y: x / (1.0 + y * y),
    "power": lambda np, x, y: (1.0 + x * x) ** np.tanh(y),
    "maximum": lambda np, x, y: np.maximum(x, y),
    "arctan2": lambda np, x, y: np.arctan2(x, 1.0 + y * y),
    "logaddexp": lambda np, x, y: np.logaddexp(np.sin(x), np.sin(y)),
    "where": lambda np, x, y: np.where(x > y, x * y, y),
    "outer": lambda np, x, y: np.outer(x[..., :3], y[..., :2]) if x.ndim and y.ndim else x * y,
    "matmul": lambda np, x, y: x @ y if _matmul(x.shape, y.shape) else x - y,
    "stack": lambda np, x, y: np.stack([x, y, x], axis=-1) if x.shape == y.shape else x + y,
}
SHAPES = [(), (1,), (3,), (2, 3), (2, 1), (1, 3), (3, 3)]
LARGEST = 64


def _matmul(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    if not a or not b or a[-1] != b[max(len(b) - 2, 0)]:
        return False
    batch_a, batch_b = a[:-2], b[:-2]
    return all(m == n or 1 in (m, n) for m, n in zip(batch_a[::-1], batch_b[::-1], strict=False))


@dataclass(frozen=True)
class Program:
    """Steps (operation, positions of its operands among the values so far)."""

    inputs: tuple[Any, ...]
    steps: tuple[tuple[str, tuple[int, ...]], ...]

    def __call__(self, np: Any, *xs: Any) -> tuple[Any, ...]:
        """Return the values of all steps, computed with the functions of a namespace."""
        values = list(xs)
        for name, operands in self.steps:
            op = UNARY.get(name) or BINARY[name]
            values.append(op(np, *(values[k] for k in operands)))
        return tuple(values[len(xs) :])

    def loss(self, np: Any) -> Callable[..., Any]:
        """Return a scalar function that every step takes part in."""
        return lambda *xs: sum(np.sum(np.sin(v + 0.1)) for v in self(np, *xs))

    @property
    def all(self) -> tuple[int, ...]:
        return tuple(range(len(self.inputs)))


@st.composite
def programs(draw: Any) -> Program:
    """Draw the shapes of the inputs, and steps that fit one another."""
    shapes = draw(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    inputs = tuple(rng.uniform(-1.5, 1.5, shape)[()] for shape in shapes)
    values = list(inputs)
    steps: list[tuple[str, tuple[int, ...]]] = []
    for _ in range(draw(st.integers(1, 10))):
        name = draw(st.sampled_from([*UNARY, *BINARY]))
        operands = draw(st.tuples(*[st.integers(0, len(values) - 1)] * (1 + (name in BINARY))))
        try:
            value = (UNARY.get(name) or BINARY[name])(np, *(values[k] for k in operands))
        except ValueError:  # the shapes do not broadcast
            continue
        if value.size <= LARGEST and value.ndim <= 4:
            values.append(value)
            steps.append((name, operands))
    return Program(inputs, tuple(steps))


def gradient(program: Program, namespace: Any = np) -> Any:
    return fg.grad(program.loss(namespace), argnums=program.all)(*program.inputs)


@given(programs())
@settings(max_examples=40)
def test_gradient_equals_jax(program: Program) -> None:
    jax = pytest.importorskip("jax")
    if program.steps:
        inputs = [jax.numpy.asarray(x) for x in program.inputs]
        expected = jax.grad(program.loss(jax.numpy), argnums=program.all)(*inputs)
        assert_close(gradient(program), expected, 1e-10)


@given(programs())
def test_gradient_equals_differences(program: Program) -> None:
    if program.steps:
        ts = random_like(program.inputs, 1)
        along = inner(gradient(program), ts)
        slope = differences(program.loss(np), program.inputs, ts)
        assert_close(along, slope, 1e-5)
        assert_close(fg.jvp(program.loss(np), program.inputs, ts)[1], along, 1e-10)


@given(programs())
def test_modes_are_adjoint(program: Program) -> None:
    def f(*xs: Any) -> tuple[Any, ...]:
        return program(np, *xs)

    ts = random_like(program.inputs, 1)
    values, tangents = fg.jvp(f, program.inputs, ts)
    for value, expected in zip(values, f(*program.inputs), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-13)
    cts = random_like(values, 2)
    assert_close(inner(fg.vjp(f, *program.inputs)[1](cts), ts), inner(cts, tangents), 1e-10)
    assert_close(fg.linearize(f, *program.inputs)[1](*ts), tangents, 1e-12)


@given(programs())
def test_hessian_is_symmetric(program: Program) -> None:
    if program.steps:
        f = fg.grad(program.loss(np), argnums=program.all)
        ts, us = random_like(program.inputs, 1), random_like(program.inputs, 2)
        forward = fg.jvp(f, program.inputs, ts)[1]
        assert_close(inner(us, forward), inner(fg.jvp(f, program.inputs, us)[1], ts), 1e-9)
        assert_close(fg.vjp(f, *program.inputs)[1](ts), forward, 1e-9)


@given(programs())
def test_plain_numpy_and_our_namespace_are_one(program: Program) -> None:
    if program.steps:
        for a, b in zip(gradient(program), gradient(program, fnp), strict=True):
            np.testing.assert_array_equal(a, b)


@given(programs())
@settings(max_examples=30)
def test_float32_stays(program: Program) -> None:
    inputs = tuple(x.astype(np.float32) for x in program.inputs)
    expected = program(np, *inputs)
    values, pullback = fg.vjp(lambda *xs: program(np, *xs), *inputs)
    assert [v.dtype for v in values] == [e.dtype for e in expected]
    cts = pullback(random_like(expected, 1))
    assert [(c.dtype, c.shape) for c in cts] == [(x.dtype, x.shape) for x in inputs]

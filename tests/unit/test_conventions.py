"""Every row of docs/conventions.md: our value and JAX's at kinks, ties and singular points.

`python -m tests.unit.test_conventions` prints the table for the document.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import funcgraph as fg

jax = pytest.importorskip("jax")
jnp = jax.numpy

DOCUMENT = Path(__file__).parents[2] / "docs" / "conventions.md"
NAN, INF = np.nan, np.inf


class Row(NamedTuple):
    """One convention: gradient of `code` (x is the argument, np and nn namespaces) at a point."""

    code: str
    at: Any
    ours: Any
    jax: Any
    torch: str
    remark: str = ""
    last: tuple[int, int] = (999, 0)  # the last release line of JAX that gives `jax`


KINKS = [
    Row("np.abs(x)", 0.0, 1.0, 1.0, "0", "the derivative from the right"),
    Row("np.maximum(x, 0.0)", 0.0, 0.5, 0.5, "0.5", "ties share"),
    Row("np.minimum(x, 0.0)", 0.0, 0.5, 0.5, "0.5", "ties share"),
    Row("np.fmax(x, 0.0)", 0.0, 0.0, 0.0, "0.5", "the second of equals is chosen"),
    Row("np.fmin(x, 0.0)", 0.0, 0.0, 0.0, "0.5"),
    Row("np.clip(x, 0.0, 1.0)", 0.0, 0.5, 0.5, "1", "maximum, then minimum"),
    Row("nn.relu(x)", 0.0, 0.0, 0.0, "0"),
    Row("nn.relu6(x)", 6.0, 0.0, 0.0, "0"),
    Row("nn.hard_tanh(x)", 1.0, 1.0, 1.0, "0"),
    Row("np.max(x)", [1.0, 1.0], [0.5, 0.5], [0.5, 0.5], "0.5, 0.5", "ties share"),
    Row("np.min(x)", [2.0, 1.0, 1.0], [0, 0.5, 0.5], [0, 0.5, 0.5], "0, 0.5, 0.5", "ties share"),
    Row("np.sum(np.sort(x)[:1])", [1.0, 1.0], [1, 0], [1, 0], "1, 0", "the sort is stable"),
    Row("np.median(x)", [3.0, 1.0, 2.0, 5.0], [0.5, 0, 0.5, 0], [0.5, 0, 0.5, 0], "0, 0, 1, 0"),
    Row("np.sign(x)", 0.0, 0.0, 0.0, "0"),
    Row("np.round(x)", 0.5, 0.0, 0.0, "0"),
    Row("np.floor(x)", 1.0, 0.0, 0.0, "0"),
    Row("np.heaviside(x, 0.5)", 0.0, 0.0, 0.0, "none"),
    Row("np.heaviside(0.0, x)", 0.5, 1.0, 1.0, "none", "it is the value there"),
    Row("np.copysign(x, 1.0)", 0.0, 1.0, 1.0, "0", "the derivative from the right"),
    Row("np.copysign(x, -1.0)", 0.0, -1.0, -1.0, "0"),
    Row("np.copysign(2.0, x)", 0.0, 0.0, 0.0, "0"),
    Row("np.remainder(x, 3.0)", 3.0, 1.0, 1.0, "1"),
    Row("np.remainder(6.0, x)", 3.0, -2.0, -2.0, "-2", "-floor(6 / x)"),
    Row("np.fmod(x, 3.0)", 3.0, 1.0, 1.0, "1"),
    Row("np.fmod(-6.0, x)", 3.0, 2.0, 2.0, "2", "-trunc(-6 / x)"),
    Row("np.remainder(1.0, x)", 0.0, -INF, -INF, "-inf"),
    Row("np.fmod(1.0, x)", 0.0, -INF, -INF, "-inf"),
    Row("np.floor_divide(x, 3.0)", 3.0, 0.0, 0.0, "0"),
    Row("np.arctan2(x, -1.0)", 0.0, -1.0, -1.0, "-1", "on the cut"),
    Row("np.hypot(x, 3.0)", 0.0, 0.0, 0.0, "0"),
    Row("np.prod(x)", [0.0, 2.0, 0.0], [0, 0, 0], [0, 0, 0], "0, 0, 0"),
    Row("np.prod(x)", [0.0, 2.0, 3.0], [6, 0, 0], [6, 0, 0], "6, 0, 0"),
    Row("np.sqrt(x)", 0.0, INF, INF, "inf", "a true infinity stays"),
    Row("np.log(x)", 0.0, INF, INF, "inf", "a true infinity stays"),
    Row("np.sqrt(x)", -1.0, NAN, NAN, "nan", "a true nan stays"),
    Row("np.abs(x) ** 2", 3 + 4j, 6 - 8j, 6 - 8j, "6+8j", "∂f/∂x - i ∂f/∂y; its conjugate ascends"),
    Row("np.real(x)", 1j, 1.0, 1.0, "1"),
    Row("np.imag(x)", 1j, -1j, -1j, "1j"),
    Row("np.abs(x)", 0j, 0j, 0j, "0"),
    Row("0.0**x", 0.0, 0.0, 0.0, "-inf"),
    Row("np.hypot(x, 0.0 * x)", 0.0, 0.5, 0.5, "nan", "a subgradient; JAX 0.10", (0, 10)),
    Row("0.0**x", 2.0, 0.0, 0.0, "0"),
    Row("(-2.0) ** x", 2.0, NAN, NAN, "nan", "no derivative by the exponent"),
]

FINITE = [
    Row("np.where(x > 0, np.sqrt(x), 0.0)", 0.0, 0.0, NAN, "nan", "untaken branch"),
    Row("np.where(x > 0, np.log(x), 0.0)", 0.0, 0.0, NAN, "nan", "untaken branch"),
    Row("np.where(x > 0, x / x, x)", 0.0, 1.0, NAN, "nan", "untaken branch"),
    Row("np.where(x < 1, x, np.exp(x * 1e4))", 0.5, 1.0, NAN, "nan", "untaken branch overflows"),
    Row("np.linalg.norm(x)", [0.0, 0.0], [0, 0], [NAN, NAN], "0, 0", "subgradient"),
    Row("np.linalg.norm(x) ** 2", [0.0, 0.0], [0, 0], [NAN, NAN], "0, 0"),
    Row("np.sqrt(np.sum(x**2))", [0.0, 0.0], [0, 0], [NAN, NAN], "nan, nan", "subgradient"),
    Row("np.sqrt(np.dot(x, x))", [0.0, 0.0], [0, 0], [NAN, NAN], "nan, nan", "subgradient"),
    Row("np.std(x)", [1.0, 1.0], [0, 0], [NAN, NAN], "nan, nan", "subgradient"),
    Row("x**0.0", 0.0, 0.0, NAN, "0"),
    Row("np.arctan2(x, 0.0 * x)", 0.0, 0.0, NAN, "nan", "the midpoint of all directions"),
    Row("np.arctan2(0.0 * x, x)", 0.0, 0.0, NAN, "nan"),
    Row("np.angle(x)", 0.0, 0.0, NAN, "0"),
    Row("np.logaddexp2(x, -np.inf)", -INF, 0.5, NAN, "nan"),
    Row("np.logaddexp(x, -np.inf)", -INF, 0.5, NAN, "nan", "both sides equal: they share"),
    Row("x * np.log(x) * 0.0", 0.0, 0.0, NAN, "nan"),
    Row("np.sinc(x)", 0.0, 0.0, 0.0, "0", "the series at 0"),
]

UNDEFINED = [
    Row("np.sqrt(x) ** 2", 0.0, NAN, NAN, "nan", "x, but 0 * inf says nothing"),
    Row("np.log(np.exp(x))", 1000.0, NAN, NAN, "nan", "x, but exp overflows"),
    Row("np.exp(np.log(x))", 0.0, NAN, NAN, "nan", "x"),
    Row("1 / (1 / x)", 0.0, NAN, NAN, "nan", "x"),
    Row("np.cbrt(x**3)", 0.0, NAN, NAN, "none", "x; cbrt is defined on both sides of 0"),
    Row("np.log(x**2)", 0.0, NAN, NAN, "nan", "a pole"),
    Row("np.sqrt(x) * np.sqrt(x)", 0.0, NAN, NAN, "nan", "x"),
]

DIFFERENT = [
    Row(
        "np.real(np.arccosh(x))",
        -2 + 1j,
        -0.40224793209535525 - 0.24860289393928922j,
        0.40224793209535525 + 0.24860289393928922j,
        "-0.402248+0.248603j",
        "JAX 0.10's has the wrong sign where Re x < 0",
        (0, 10),
    ),
    Row("np.logaddexp(x, np.inf)", INF, 0.5, 1.0, "nan", "JAX's two derivatives add up to 2"),
    Row("np.sum(np.unique(x) ** 2)", [1.0, 2.0, 2.0], [2, 4, 0], [0, 0, 0], "none", "a gather"),
    Row(
        "np.quantile(x, 0.5, method='nearest')",
        [1.0, 2.0, 3.0, 4.0],
        [0, 0, 1, 0],
        [0, 1, 0, 0],
        "0, 0, 1, 0",
        "NumPy's value is another than JAX's",
    ),
]


def _gradient(transform: Any, namespace: Any, row: Row) -> Any:
    names = {"np": namespace, "nn": jax.nn if namespace is jnp else fg.nn}
    f: Callable[..., Any] = eval(f"lambda x: {row.code}", names)
    x = np.asarray(row.at) if isinstance(row.at, list) else row.at
    with np.errstate(all="ignore"):
        return np.asarray(transform(f)(x))


@pytest.mark.filterwarnings("ignore::funcgraph.errors.GradientDisconnected")
@pytest.mark.parametrize(
    "row", KINKS + FINITE + UNDEFINED + DIFFERENT, ids=lambda r: f"{r.code} at {r.at}"
)
def test_row(row):
    np.testing.assert_allclose(_gradient(fg.grad, np, row), row.ours, rtol=1e-12)
    if tuple(map(int, jax.__version__.split(".")[:2])) <= row.last:
        np.testing.assert_allclose(_gradient(jax.grad, jnp, row), row.jax, rtol=1e-12)


@pytest.mark.parametrize("row", FINITE, ids=lambda r: f"{r.code} at {r.at}")
def test_finite_rows_in_forward_mode_and_second_order(row):
    f = eval(f"lambda x: {row.code}", {"np": np})
    x = np.asarray(row.at)[()] if not isinstance(row.at, list) else np.asarray(row.at)
    with np.errstate(all="ignore"):
        _, t = fg.jvp(f, (x,), (np.ones_like(x),))
        _, hv = fg.jvp(fg.grad(f), (x,), (np.ones_like(x),))
    np.testing.assert_allclose(t, np.sum(row.ours), rtol=1e-12)
    assert not np.isnan(hv).any()


@pytest.mark.parametrize("row", UNDEFINED, ids=lambda r: f"{r.code} at {r.at}")
def test_undefined_rows_in_forward_mode_and_compiled(row):
    f = eval(f"lambda x: {row.code}", {"np": np})
    x = np.float64(row.at)

    def pushed(x):
        return fg.jvp(f, (x,), (np.float64(1),))[1]

    with np.errstate(all="ignore"):
        for derivative in (pushed, fg.jit(pushed), fg.jit(fg.grad(f)), fg.grad(fg.jit(f))):
            assert np.isnan(derivative(x))


REAL = [r for r in KINKS + DIFFERENT if np.isrealobj(r.at) and "unique" not in r.code]


@pytest.mark.filterwarnings("ignore::funcgraph.errors.GradientDisconnected")
@pytest.mark.parametrize("row", REAL, ids=lambda r: f"{r.code} at {r.at}")
def test_kinks_in_every_mode(row):
    f = eval(f"lambda x: {row.code}", {"np": np, "nn": fg.nn})
    x = np.asarray(row.at)[()] if not isinstance(row.at, list) else np.asarray(row.at)
    pushed = lambda x: fg.jvp(f, (x,), (np.ones_like(x),))[1]
    with np.errstate(all="ignore"):
        lanes = fg.vmap(fg.grad(f))(np.stack([x, x]))
        np.testing.assert_allclose(pushed(x), np.sum(row.ours), rtol=1e-12)
        np.testing.assert_allclose(lanes, np.stack([row.ours, row.ours]), rtol=1e-12)
        for backend in ("numpy", "xla"):
            np.testing.assert_allclose(fg.jit(fg.grad(f), backend=backend)(x), row.ours, rtol=1e-12)
            np.testing.assert_allclose(fg.jit(pushed, backend=backend)(x), np.sum(row.ours))


def test_numbers_of_python_have_the_derivatives_of_numpy_s():
    """Python raises an error where NumPy's result is infinite."""
    one = (1.0,)
    with np.errstate(all="ignore"):
        assert fg.grad(np.fmod, 1)(1.0, 0.0) == -INF
        assert fg.jvp(np.fmod, (1.0, 0.0), (0.0, 1.0))[1] == -INF
        assert fg.jvp(np.log, (0.0,), one)[1] == INF
        assert fg.jvp(lambda x: 2.0 / x, (0.0,), one)[1] == -INF
        assert fg.jvp(lambda x: x / 0.0, one, one)[1] == INF
        assert fg.jvp(np.cbrt, (0.0,), one)[1] == INF


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(f"{v:g}" for v in value)
    return f"{value:g}" if not isinstance(value, complex) else f"{value:.6g}"


def markdown(rows: list[Row]) -> list[str]:
    """Return the lines of the table."""
    lines = [
        "| function | at x = | funcgraph | JAX | PyTorch | remark |",
        "|---|---|---|---|---|---|",
    ]
    for r in rows:
        code = r.code.replace("|", "\\|")
        lines.append(
            f"| `{code}` | {_text(r.at)} | {_text(r.ours)} | {_text(r.jax)} | {r.torch} "
            f"| {r.remark} |"
        )
    return lines


def test_the_document_has_every_row():
    document = DOCUMENT.read_text()
    for line in markdown(KINKS) + markdown(FINITE) + markdown(UNDEFINED) + markdown(DIFFERENT):
        assert line in document, line


if __name__ == "__main__":
    print(
        *("\n".join(markdown(rows)) for rows in (KINKS, FINITE, UNDEFINED, DIFFERENT)), sep="\n\n"
    )

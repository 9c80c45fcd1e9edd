"""fg.source(..., style="latex"): what formulas say, and that it is what the functions compute."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.codegen.formula import evaluate
from funcgraph.codegen.formulas import formulas_of, symbols_of
from funcgraph.errors import NoSourceError
from funcgraph.transforms.naming import named_graph

RNG = np.random.default_rng(0)
X = RNG.standard_normal((5, 3))


def array(*shape: int) -> Any:
    return RNG.standard_normal(shape)


def wave(x: Any, y: Any) -> Any:
    return x * np.sin(x * y)


def normal(x: Any, mu: Any, sigma: Any) -> Any:
    return np.exp(-((x - mu) ** 2) / (2 * sigma**2)) / (np.sqrt(2 * np.pi) * sigma)


def hidden(params: Any, x: Any) -> Any:
    h = np.tanh(params["W"] @ x + params["b"])
    return np.sum(h**2)


def squares(w: Any, X: Any, y: Any) -> Any:
    return np.mean((X @ w - y) ** 2)


LAYER = {"W": array(2, 3), "b": array(2)}
# A function, its arguments, by which the gradient is taken (None: the value), and the formula.
FORMULAS: list[tuple[Callable[..., Any], tuple[Any, ...], Any, str]] = [
    (wave, (2.0, 3.0), None, r"\mathrm{wave}\left(x, y\right) = x \sin\left(x y\right)"),
    (
        wave,
        (2.0, 3.0),
        0,
        r"\frac{\partial \mathrm{wave}}{\partial x} = "
        r"\sin\left(x y\right) + x y \cos\left(x y\right)",
    ),
    (
        normal,
        (0.3, 0.1, 2.0),
        None,
        r"\mathrm{normal}\left(x, \mu, \sigma\right) = "
        r"\frac{e^{-\frac{\left(x - \mu\right)^{2}}{2 \sigma^{2}}}}{\sqrt{2 \pi} \sigma}",
    ),
    (lambda x: np.log(1 + np.exp(x)), (0.3,), 0, r"f}{\partial x} = \frac{e^{x}}{1 + e^{x}}"),
    (lambda x, y: x**y, (2.0, 3.0), (0, 1), r"&= y x^{y - 1} \\"),
    (lambda x, y: x**y, (2.0, 3.0), 1, r"= x^{y} \log\left(x\right)"),
    (lambda x: np.sqrt(x) / 3, (2.0,), 0, r"= \frac{1}{6 \sqrt{x}}"),
    (lambda x: np.abs(x) * 0.25, (2.0,), None, r"= 0.25 \left|x\right|"),
    (
        np.abs,
        (-2.0,),
        0,
        r"= \begin{cases} 1 & \text{if } x \ge 0 \\ -1 & \text{otherwise} \end{cases}",
    ),
    (lambda x: np.tanh(x) ** 3, (0.2,), 0, r"3 \left(1 - \tanh^{2}\left(x\right)\right) \tanh^{2}"),
    (lambda a, x_1: (a + x_1) * -(a - 2) ** 2, (3.0, 1.0), None, r"= -\left(a + x_{1}\right)"),
    (lambda x: 1e-8 * x + 2.5e10, (3.0,), None, r"= 10^{-8} x + 25000000000"),
    (lambda x: np.log2(x) * np.sign(x), (3.0,), None, r"\log_{2}\left(x\right) \operatorname{sgn}"),
    (hidden, (LAYER, array(3)), 0, r"h &= \tanh\left(W x + b\right) \\"),
    (hidden, (LAYER, array(3)), 0, r"\bar{h} &= 2 h \\"),
    (squares, (array(3), X, array(5)), 0, r"= 0.4 X^{\top} \left(X w - y\right)"),
    (
        lambda x, A: x @ A @ x + np.sum(x * np.exp(x)),
        (array(3), array(3, 3)),
        None,
        r"x^{\top} A x + \sum_{i} \left(x \odot e^{x}\right)_{i}",
    ),
    (lambda x: 3 * x**3 - 2 * x**2 + x - 7, (2.0,), 0, r"= 9 x^{2} - 4 x + 1"),
    (lambda x: np.exp(np.sin(x)) * np.cos(x), (1.0,), None, r"e^{\sin\left(x\right)} \cos"),
    (
        lambda x, A, b: 0.5 * x @ A @ x - b @ x,
        (array(3), array(3, 3), array(3)),
        None,
        r"= \frac{x^{\top} A x}{2} - b^{\top} x",
    ),
    (lambda x: np.sqrt(np.sum(x**2)), (array(3),), 0, r"= \frac{x}{\sqrt{\sum_{i}"),
    (lambda X, x: np.sum(1 / (X @ x)), (X, array(3)), None, r"\mathbf{1} \oslash \left(X x\right)"),
    (
        lambda x: np.tanh(x[0]) * x[1],
        (array(2),),
        0,
        r"= \begin{pmatrix} x_{2} \left(1 - \tanh^{2}\left(x_{1}\right)\right) \\ \tanh",
    ),
    (lambda x: np.stack([x, x**2])[1], (3.0,), None, r"= x^{2}"),
    (lambda x: np.maximum(x, 0.0), (2.0,), None, r"f\left(x\right) = \max\left(x, 0\right)"),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(FORMULAS)))
def test_formulas(case: int) -> None:
    f, args, argnums, wanted = FORMULAS[case]
    text = fg.source(f, style="latex")(*args)
    if argnums is not None:
        text = fg.grad_source(f, argnums, style="latex")(*args)
    assert wanted in text
    assert text._repr_latex_() == f"$${text}$$"
    # The same formulas, in numbers.
    graph = named_graph(f if argnums is None else fg.grad(f, argnums), *args)
    names = symbols_of(graph.inputs)
    found = formulas_of(graph.graph, names)
    values = dict(zip(names, fg.tree.leaves(args), strict=True))
    for name, step in found.steps:
        values[name] = evaluate(step, values)
    got = [evaluate(x, values) for x in found.results]
    results = (f if argnums is None else fg.grad(f, argnums))(*args)
    for g, w in zip(got, fg.tree.leaves(results), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-12)


def test_deep_formulas_are_written_in_steps() -> None:
    def f(x: Any) -> Any:
        nameless = [x]
        for _ in range(1000):
            nameless[0] = np.sin(nameless[0]) * 0.9
        return nameless[0]

    graph = named_graph(f, 0.5).graph
    found = formulas_of(graph, ["x"])
    values: dict[str, Any] = {"x": 0.5}
    for name, value in found.steps:
        values[name] = evaluate(value, values)
    np.testing.assert_allclose(evaluate(found.results[0], values), f(0.5), rtol=1e-12)
    assert 30 < len(found.steps) < 50
    assert "u_{1}" in fg.source(f, style="latex")(0.5)


def test_formulas_are_latex() -> None:
    """As far as matplotlib reads LaTeX: lines one by one, without cases and vectors."""
    mathtext = pytest.importorskip("matplotlib.mathtext")
    parse = mathtext.MathTextParser("path").parse
    for f, args, argnums, _ in FORMULAS:
        text = fg.source(f, style="latex")(*args)
        if argnums is not None:
            text = fg.grad_source(f, argnums, style="latex")(*args)
        for line in text.split("\n"):
            if not line.startswith(("\\begin", "\\end")) and not re.search("cases|pmatrix", line):
                parse(f"${line.replace('&', '').removesuffix(chr(92) * 2)}$")


def test_formulas_of_transformations_have_no_name() -> None:
    text = fg.source(fg.value_and_grad(wave), style="latex")(2.0, 3.0)
    assert r"\mathrm{value} &= x \sin\left(x y\right) \\" in text
    compiled = fg.jit(wave)
    assert fg.source(compiled, style="latex")(2.0, 3.0) == fg.source(wave, style="latex")(2.0, 3.0)


@pytest.mark.parametrize(
    ("f", "args", "name"),
    [
        (lambda x: np.cumsum(x, axis=0), (X,), "cumsum"),
        (lambda x: fg.scan(lambda c, r: (c * r, None), 1.0, x)[0], (array(3),), "scan"),
        (lambda x, y: np.sum(x[:, None] * y), (array(3), array(3, 4)), "multiply"),
        (lambda x: x @ np.asarray(X.tolist()).T, (array(3),), "constant array"),
    ],
)
def test_what_has_no_formula(f: Any, args: Any, name: str) -> None:
    with pytest.raises(NoSourceError, match=name) as error:
        fg.source(f, style="latex")(*args)
    assert "test_formulas.py" in str(error.value)

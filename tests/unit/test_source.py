"""jit(f).source(...): standalone programs of training steps, loops, pytrees; what is refused."""

from __future__ import annotations

import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.errors import NoSourceError
from tests.conformance.text import load, same

RNG = np.random.default_rng(0)
X, T = RNG.standard_normal((6, 4)), RNG.standard_normal((6, 3))
LARGE = RNG.standard_normal((40, 4))
PARAMS = {
    "layers": [
        (RNG.standard_normal((4, 5)), np.zeros(5)),
        (RNG.standard_normal((5, 3)), np.ones(3)),
    ],
    "scale": 0.5,
}
Pair = namedtuple("Pair", "first second")


def loss(params: Any, x: Any, target: Any) -> Any:
    for w, b in params["layers"]:
        x = np.maximum(x @ w + b, 0) * params["scale"]
    return np.mean((x - target) ** 2)


def train(params: Any, x: Any, target: Any, rate: float = 0.1) -> Any:
    value, grads = fg.value_and_grad(loss)(params, x, target)
    return value, fg.tree.map(lambda p, g: p - rate * g, params, grads)


def rnn(w: Any, xs: Any) -> Any:
    def cell(h: Any, x: Any) -> Any:
        h = np.tanh(h @ w + x)
        return h, h

    h, hs = fg.scan(cell, np.zeros(4), xs, reverse=True)
    return np.sum(hs**2) + np.sum(h)


def newton(a: Any) -> Any:
    x = fg.while_loop(lambda x: np.abs(x * x - a) > 1e-12, lambda x: 0.5 * (x + a / x), a)
    return fg.cond(x > 2, lambda x: (x, 1), lambda x: (-x, 2), x)


PROGRAMS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "gradient": (fg.grad(loss), (PARAMS, X, T)),
    "train": (train, (PARAMS, X, T, 0.2)),
    "per_example": (fg.vmap(fg.grad(loss), (None, 0, 0)), (PARAMS, X[:, None], T[:, None])),
    "rnn": (fg.grad(rnn), (RNG.standard_normal((4, 4)), X)),
    "rnn_hessian": (fg.hessian(lambda w: rnn(w.reshape(4, 4), X)), (RNG.standard_normal(16),)),
    "newton": (newton, (9.0,)),
    "switch": (lambda i, x: fg.switch(i, [np.sin, np.cos, np.tan], x), (1, X)),
    "inner": (lambda x: fg.jit(np.sin)(x) + fg.jit(np.sin)(2 * x), (X,)),
    "random": (lambda k: fg.random.normal(fg.random.split(k)[0], (3,)), (fg.random.key(1),)),
    "large": (lambda x: x @ LARGE.T, (X,)),
    "kinds": (
        lambda x, s: (s, x.astype(np.float32) * s, x > np.inf, None, 7, {"a": [x]}),
        (X, 2.0),
    ),
    "updates": (lambda x: (fg.at(x)[1].add(1.0), fg.at(x)[[0, 0], 1:].add(2.0)), (X,)),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name: str) -> None:
    f, args = PROGRAMS[name]
    compiled = fg.jit(f)
    text = compiled.source(*args)
    function = next(line for line in reversed(text.split("\n")) if line.startswith("def "))
    got = load(text, function[4:].partition("(")[0])(*args)
    wanted = compiled(*args)
    same(got, wanted)
    assert repr(fg.tree.structure(got)) == repr(fg.tree.structure(wanted))


def test_the_text_can_be_read() -> None:
    text = fg.jit(train).source(PARAMS, X, T, rate=0.1)
    for part in (
        "def train(params, x, target, rate):",
        'params_layers_0_0 = params["layers"][0][0]  # float64[4,5]',
        'params_scale = np.float64(params["scale"])',
        "# x: float64[6,4]",
        " = x @ params_layers_0_0 + params_layers_0_1\n",
        '# x = np.maximum(x @ w + b, 0) * params["scale"]',
        "# Backward pass.\n",
        "d_params_layers_0_1 = np.sum(",
        ", axis=0)",
        "layers_0_0 = params_layers_0_0 - rate * d_params_layers_0_0\n",
        '{"layers": [(layers_0_0, layers_0_1), (',
    ):
        assert part in text, part
    assert "out=" not in text and "frombuffer" not in text
    loop = fg.jit(fg.grad(rnn)).source(np.eye(4), X)
    assert "for i in reversed(range(6)):" in loop and "def step(h, x, w):" in loop
    assert "d_w = step_back(" in loop
    assert "while goes_on(" in fg.jit(newton).source(2.0)


def test_it_runs_with_numpy_alone(tmp_path: Path) -> None:
    """In an interpreter that finds NumPy and nothing else of ours."""
    text = fg.jit(train).source(PARAMS, X, T)
    np.save(tmp_path / "data.npy", {"args": (PARAMS, X, T)}, allow_pickle=True)  # type: ignore[arg-type]
    home = str(Path(np.__file__).parents[1])
    check = (
        "import sys\n"
        f"args = np.load({str(tmp_path / 'data.npy')!r}, allow_pickle=True).item()['args']\n"
        "print(repr(float(train(*args)[0])))\n"
        "assert not {'funcgraph', 'jax', 'scipy'} & set(sys.modules)\n"
    )
    path = tmp_path / "program.py"
    path.write_text(f"import sys\nsys.path.append({home!r})\n{text}\n{check}")
    run = [sys.executable, "-I", "-S", str(path)]
    done = subprocess.run(run, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(float(train(PARAMS, X, T)[0]), rel=1e-12)


def test_parameters_are_the_users() -> None:
    def f(x: Any, *rest: Any, mode: str = "a", **more: Any) -> Any:
        return x + sum(rest) + more["k"] if mode == "b" else x

    text = fg.jit(f, static_argnames="mode").source(X, X, X, mode="b", k=2.0)
    assert "def f(x, *rest, mode, k):" in text and "# mode is fixed: 'b'" in text
    same(load(text, "f")(X, X, X, mode="b", k=2.0), 3 * X + 2)

    def g(n: int, x: Any, y: Any = 1.0) -> Any:
        return n * x + y

    text = fg.jit(g, static_argnums=0).source(3, y=X, x=X)
    same(load(text, "g")(3, X, X), 4 * X)
    same(load(fg.jit(np.sin).source(X), "sin")(X), np.sin(X))


def test_other_containers() -> None:
    f = fg.jit(lambda p: Pair(p.second, {"a": p.first}))
    text = f.source(Pair(X, T))
    assert "Pair = namedtuple('Pair', 'first second')" in text
    got = load(text, "function")(Pair(X, T))
    assert got._fields == Pair._fields
    same((got.first, got.second["a"]), (T, X))

    class Box:
        def __init__(self, *items: Any) -> None:
            self.items = items

    fg.tree.register_pytree_node(Box, lambda b: (b.items, None), lambda _, c: Box(*c))
    text = fg.jit(lambda b: b.items[0] + b.items[1]).source(Box(X, 1.0))
    assert "# b: the leaves of a Box, as one tuple" in text
    same(load(text, "function")((X, 1.0)), X + 1)
    text = fg.jit(lambda x: Box(x, 2 * x)).source(X)
    assert "The leaves of" in text
    same(load(text, "function")(X), (X, 2 * X))


def test_custom_rules_are_written_out() -> None:
    @fg.custom_vjp
    def clip(x: Any) -> Any:
        return np.sin(x)

    clip.defvjp(lambda x: (np.sin(x), x), lambda x, g: (np.clip(g, -1, 1) * x,))
    for f in (lambda x: np.sum(clip(x)), fg.grad(lambda x: np.sum(3 * clip(x)))):
        same(load(fg.jit(f).source(X), "function")(X), f(X))


def test_what_cannot_be_written_is_refused() -> None:
    jax = pytest.importorskip("jax")
    f = fg.jit(lambda x: fg.from_jax(jax.nn.relu)(x))
    with pytest.raises(NoSourceError, match="written with JAX") as error:
        f.source(X)
    assert "jax_call" in str(error.value) and "test_source.py" in str(error.value)

    def outer(x: Any) -> Any:
        with pytest.raises(NoSourceError, match="closes over values"):
            fg.jit(lambda y: x * y).source(X)
        return np.sum(x)

    fg.grad(outer)(X)

"""fg.source and fg.grad_source: what they say, and that it computes the same with NumPy alone."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph import nn, optim
from funcgraph.errors import NoSourceError
from tests.conformance.text import load, same

RNG = np.random.default_rng(0)


def array(*shape: int) -> Any:
    return RNG.standard_normal(shape)


# --- what people differentiate --------------------------------------------------------------------


def quickstart(params: Any, x: Any, y: Any) -> Any:
    h = np.tanh(x @ params["w"] + params["b"])
    logits = h @ params["v"]
    return np.mean((logits - y) ** 2) + 0.1 * np.sum(params["w"] ** 2)


def logistic(w: Any, b: Any, x: Any, y: Any) -> Any:
    z = x @ w + b
    return np.mean(np.logaddexp(0, z) - y * z)


def attention(wq: Any, wk: Any, wv: Any, x: Any) -> Any:
    q, k, v = x @ wq, x @ wk, x @ wv
    scores = q @ k.T / np.sqrt(q.shape[-1])
    p = np.exp(scores - scores.max(axis=-1, keepdims=True))
    p = p / p.sum(axis=-1, keepdims=True)
    return np.sum((p @ v) ** 2)


def rnn(w: Any, xs: Any) -> Any:
    def cell(h: Any, x: Any) -> Any:
        h = np.tanh(h @ w + x)
        return h, h

    h, hs = fg.scan(cell, np.zeros(4), xs)
    return np.sum(hs**2) + np.sum(h)


def runge_kutta(p: Any, y0: Any) -> Any:
    def f(y: Any) -> Any:
        return np.stack([y[1], -p * np.sin(y[0])])

    def step(y: Any, _: Any) -> Any:
        k1 = f(y)
        k2 = f(y + 0.05 * k1)
        k3 = f(y + 0.05 * k2)
        k4 = f(y + 0.1 * k3)
        y = y + 0.1 / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return y, y

    _, ys = fg.scan(step, y0, None, 10)
    return np.sum(ys[:, 0] ** 2)


def newton(a: Any) -> Any:
    x = fg.while_loop(lambda x: np.abs(x * x - a) > 1e-12, lambda x: 0.5 * (x + a / x), a)
    return x**2 * a


def piecewise(x: Any) -> Any:
    return fg.cond(x > 0.5, lambda x: x**2, np.sin, x)


def likelihood(params: Any, x: Any, y: Any) -> Any:
    distance = x[:, None] - x[None, :]
    kernel = np.exp(params["size"] - 0.5 * distance**2 / np.exp(2 * params["scale"]))
    kernel = kernel + np.exp(params["noise"]) * np.eye(len(x))
    factor = np.linalg.cholesky(kernel)
    return 0.5 * y @ np.linalg.solve(kernel, y) + np.sum(np.log(np.diag(factor)))


def dropped(w: Any, x: Any, key: Any) -> Any:
    keep = fg.random.bernoulli(key, 0.5, x.shape)
    h = np.where(keep, x / 0.5, 0)
    return np.sum(np.tanh(h @ w))


@fg.custom_vjp
def clipped(x: Any) -> Any:
    return np.sin(x)


clipped.defvjp(lambda x: (np.sin(x), x), lambda x, g: (np.clip(g, -1, 1) * x,))


def per_example(w: Any, x: Any, y: Any) -> Any:
    return fg.vmap(fg.grad(lambda w, x, y: np.tanh(x @ w - y) ** 2), (None, 0, 0))(w, x, y)


def momentum(params: Any, state: Any, x: Any, y: Any) -> Any:
    value, grads = fg.value_and_grad(quickstart)(params, x, y)
    updates, state = optim.sgd(0.1, momentum=0.9).update(grads, state, params)
    return optim.apply_updates(params, updates), state, value


def of_layer(layer: Any, *shape: int) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    _, params = layer.init(fg.random.key(0), shape)
    params = fg.tree.map(lambda p: np.asarray(p, np.float64), params)
    return (lambda params, x: np.mean(layer.apply(params, x) ** 2)), (params, array(*shape))


PARAMS = {"w": array(3, 4), "b": array(4), "v": array(4, 2)}
X, Y = array(5, 3), array(5, 2)
HAND = optim.sgd(0.1, momentum=0.9)
KERNEL = {"size": 0.1, "scale": 0.2, "noise": -2.0}

# By name: a function, and whether it is a scalar that can be differentiated.
EXAMPLES: dict[str, tuple[Callable[..., Any], tuple[Any, ...], bool]] = {
    "quickstart": (quickstart, (PARAMS, X, Y), True),
    "logistic": (logistic, (array(3), 0.5, X, np.array([0.0, 1, 1, 0, 1])), True),
    "attention": (attention, (array(4, 3), array(4, 3), array(4, 3), array(5, 4)), True),
    "rnn": (rnn, (array(4, 4), array(6, 4)), True),
    "runge_kutta": (runge_kutta, (9.8, np.array([1.0, 0.0])), True),
    "newton": (newton, (3.0,), True),
    "newton_lanes": (lambda a: np.sum(fg.vmap(newton)(a)), (np.array([2.0, 9.0]),), True),
    "piecewise": (piecewise, (0.7,), True),
    "piecewise_lanes": (fg.vmap(fg.grad(piecewise)), (np.array([0.2, 0.7]),), False),
    "piecewise_sum": (lambda x: np.sum(fg.vmap(piecewise)(x)), (np.array([0.2, 0.7]),), True),
    "likelihood": (likelihood, (KERNEL, array(5), array(5)), True),
    "dropped": (dropped, (array(3), X, np.asarray(fg.random.key(0))), True),
    "custom": (lambda x: np.sum(3 * clipped(x)), (X,), True),
    "per_example": (per_example, (array(3), X, array(5)), False),
    "hessian": (fg.hessian(lambda x: np.sum(np.exp(x[:-1] * x[1:]))), (array(4),), False),
    "checkpointed": (
        lambda w, x: np.sum(fg.checkpoint(lambda w, x: np.tanh(x @ w))(w, x)),
        (array(3, 3), X),
        True,
    ),
    "root": (
        lambda a: fg.custom_root(
            lambda x: x**2 - a,
            a,
            lambda f, x: fg.while_loop(
                lambda x: np.abs(f(x)) > 1e-12, lambda x: x - f(x) / (2 * x), x
            ),
            lambda g, y: y / g(1.0),
        ),
        (2.0,),
        True,
    ),
    "products": (lambda x: np.sum(fg.associative_scan(np.multiply, x)), (array(5),), True),
    "repeated": (
        lambda x: np.sum(fg.fori_loop(0, 3, lambda i, x: x * np.sin(x) + i, x)),
        (array(5),),
        True,
    ),
    "mlp": (*of_layer(nn.serial(nn.Dense(8), nn.Tanh(), nn.Dense(2)), 4, 3), True),
    "lstm": (*of_layer(nn.serial(nn.LSTM(4), nn.Dense(2)), 4, 5, 3), True),
    "gru": (*of_layer(nn.serial(nn.GRU(4), nn.Dense(2)), 4, 5, 3), True),
    "transformer": (*of_layer(nn.TransformerBlock(2), 2, 5, 4), True),
    "cnn": (
        *of_layer(
            nn.serial(nn.Conv(2, 3), nn.Relu(), nn.MaxPool(2), nn.Flatten(), nn.Dense(2)),
            *(2, 6, 6, 1),
        ),
        True,
    ),
}  # fmt: skip
CASES = [f"{name}/value" for name in EXAMPLES]
CASES += [f"{name}/gradient" for name, (_, _, scalar) in EXAMPLES.items() if scalar]

ALONE = """
import pickle, sys
sys.path.append({home!r})
with open({path!r}, "rb") as file:
    cases = pickle.load(file)
results = {{}}
for case, (text, name, args) in cases.items():
    scope = {{}}
    exec(compile(text, case, "exec"), scope)
    results[case] = scope[name](*args)
assert not {{"funcgraph", "jax", "scipy"}} & set(sys.modules)
with open({path!r}, "wb") as file:
    pickle.dump(results, file)
"""


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What all programs compute, in one interpreter that finds NumPy and nothing of ours."""
    cases = {}
    for case in CASES:
        name, what = case.split("/")
        f, args, _ = EXAMPLES[name]
        text = (fg.source(f) if what == "value" else fg.grad_source(f))(*args)
        cases[case] = str(text), text.name, args
    path = tmp_path_factory.mktemp("programs") / "cases.pickle"
    path.write_bytes(pickle.dumps(cases))
    home = str(Path(np.__file__).parents[1])
    program = path.with_suffix(".py")
    program.write_text(ALONE.format(home=home, path=str(path)), "utf-8")
    run = [sys.executable, "-I", "-S", str(program)]
    done = subprocess.run(run, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return pickle.loads(path.read_bytes())  # type: ignore[no-any-return]


@pytest.mark.parametrize("case", CASES)
def test_numpy_alone_computes_the_same(case: str, computed: dict[str, Any]) -> None:
    name, what = case.split("/")
    f, args, _ = EXAMPLES[name]
    wanted = (f if what == "value" else fg.grad(f))(*args)
    got = computed[case]
    assert fg.tree.structure(got) == fg.tree.structure(wanted)
    same(got, wanted)


def test_steps_of_training_follow_one_another() -> None:
    step = fg.train_step(quickstart, optim.adam(0.1), donate=False)
    state = other = step.init(PARAMS)
    text = fg.source(step)(state, X, Y)
    assert text == step.source(state, X, Y)
    again = load(text, text.name)
    for _ in range(3):
        state, metrics = step(state, X, Y)
        other, measured = again(other, X, Y)
    same((other, measured), (state, metrics))
    assert type(other).__name__ == "TrainState" and other.params.keys() == PARAMS.keys()
    assert "# update\n" in text and "state_params_w - 0.1 * " in text

    first = HAND.init(PARAMS)
    text = fg.source(momentum)(PARAMS, first, X, Y)
    same(load(text, "momentum")(PARAMS, first, X, Y), momentum(PARAMS, first, X, Y))
    assert "w = params_w - 0.1 * trace_w\n" in text.replace("_0_trace", "_trace")


# --- what it looks like ---------------------------------------------------------------------------

QUICKSTART = """\
# grad_quickstart: generated by funcgraph; needs NumPy alone.

import numpy as np


@np.errstate(all="ignore")
def grad_quickstart(params, x, y):
    params_b = params["b"]  # float64[4]
    params_v = params["v"]  # float64[4,2]
    params_w = params["w"]  # float64[3,4]
    # x: float64[5,3]
    # y: float64[5,2]

    # Forward pass.
    h = np.tanh(x @ params_w + params_b)
    logits = h @ params_v

    # Backward pass.
    # return np.mean((logits - y) ** 2) + 0.1 * np.sum(params["w"] ** 2)
    d_logits = 0.1 * (2 * (logits - y))
    # logits = h @ params["v"]
    d_h = d_logits @ params_v.T
    d_params_v = h.T @ d_logits
    # h = np.tanh(x @ params["w"] + params["b"])
    t = d_h * (1 - h**2)
    d_params_b = np.sum(t, axis=0)
    d_params_w = 0.1 * (2 * params_w) + x.T @ t
    return {"b": d_params_b, "v": d_params_v, "w": d_params_w}
"""


def test_a_gradient_reads_like_one_by_hand() -> None:
    assert fg.grad_source(quickstart)(PARAMS, X, Y) == QUICKSTART


def test_value_and_gradient_in_one_program() -> None:
    text = fg.source(fg.value_and_grad(quickstart))(PARAMS, X, Y)
    assert "    value = np.mean(t**2) + 0.1 * np.sum(params_w**2)\n" in text
    assert 'return value, {"b": d_params_b, "v": d_params_v, "w": d_params_w}\n' in text
    same(text.function()(PARAMS, X, Y), fg.value_and_grad(quickstart)(PARAMS, X, Y))


def test_a_compiled_function_is_written_as_the_function() -> None:
    compiled = fg.jit(quickstart)
    assert fg.source(compiled)(PARAMS, X, Y) == fg.source(quickstart)(PARAMS, X, Y)
    assert fg.grad_source(compiled)(PARAMS, X, Y) == fg.grad_source(quickstart)(PARAMS, X, Y)
    scaled = fg.jit(lambda n, x: n * x, static_argnums=0)
    text = fg.source(scaled)(3, X)
    assert "# n is fixed: 3" in text
    same(load(text, "function")(3, X), 3 * X)


def test_models_are_written_layer_by_layer() -> None:
    inputs = nn.Input((3,))
    model = nn.Model(inputs, nn.Dense(2)(np.tanh(nn.Dense(4)(inputs))))
    _, params = model.init(fg.random.key(0))
    x = X.astype(np.float32)
    text = fg.grad_source(lambda params, x: np.sum(model.apply(params, x) ** 2))(params, x)
    for part in (
        "    dense = x @ params_dense_w + params_dense_b\n    tanh = np.tanh(dense)\n",
        "    # dense_1\n    d_params_dense_1_b = np.sum(d_dense_1, axis=0)\n",
        "    # dense\n    d_params_dense_b = np.sum(d_dense, axis=0)\n",
    ):
        assert part in text, text


def test_names_never_hide_what_the_program_needs() -> None:
    def f(x: Any, _np_unit: Any, key: Any) -> Any:
        sum = np.sin(x)
        lambda_ = step = sum * _np_unit
        for _ in range(2):
            x = x * np.cos(step) + lambda_
        noise = fg.random.uniform(key, (3,))
        return fg.scan(lambda c, v: (c + v, c), np.zeros(3), x * noise)[0]

    args = X, 2.0, np.asarray(fg.random.key(0))
    text = fg.source(f)(*args)
    same(load(text, "f")(*args), f(*args))
    for part in (
        "    sum_2 = np.sin(x)\n",
        "    x_2 = ",
        "    x_3 = ",
        "def _np_unit_(",
        "def step(",
    ):
        assert part in text, part
    lines = [line.strip() for line in text.split("\n")]
    assert not any(line.startswith(("sum = ", "step = ")) for line in lines)

    pairs = array(5, 3)  # the generator of random numbers has a constant PAIRS
    text = fg.source(lambda k: pairs + fg.random.uniform(k, (5, 3)))(args[2])
    assert "\nPAIRS_2 = np." in text and "\nPAIRS = 0\n" in text
    same(load(text, "function")(args[2]), pairs + fg.random.uniform(args[2], (5, 3)))


def test_numbers_stay_numbers_where_they_promote() -> None:
    single = X.astype(np.float32)
    text = fg.source(lambda x, s: (x * s, np.float32(2) * x))(single, 0.5)
    assert "# s: float64[]" in text and "x * s" in text
    assert load(text, "function")(single, 0.5)[0].dtype == np.float32
    assert "s = np.float64(s)" in fg.source(lambda x, s: x / s)(X, 0.5)


def test_arrays_of_closures_keep_their_names() -> None:
    target = array(5)

    def loss(w: Any) -> Any:
        return np.mean((X @ w - target) ** 2)

    text = fg.grad_source(loss)(array(3))
    assert "\nX = np." in text and "\nTARGET = np." in text
    assert "    d_w = X.T @ (0.2 * (2 * (X @ w - TARGET)))\n" in text
    w = array(3)
    same(text.function()(w), fg.grad(loss)(w))
    formula = fg.grad_source(loss, style="latex")(w)
    assert formula.endswith(r"= 0.4 X^{\top} \left(X w - \mathrm{target}\right)")


def test_saving(tmp_path: Path) -> None:
    text = fg.source(quickstart)(PARAMS, X, Y)
    text.save(tmp_path / "program.py")
    assert (tmp_path / "program.py").read_text("utf-8") == text
    assert text._repr_markdown_() == f"```python\n{text}```"


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match=r"one of \('numpy', 'latex'\), got 'c'"):
        fg.source(quickstart, style="c")
    with pytest.raises(ValueError, match="'latex'"):
        fg.grad_source(quickstart, style="tex")

    def outer(x: Any) -> Any:
        with pytest.raises(NoSourceError, match="closes over values"):
            fg.source(lambda y: x * y)(X)
        return np.sum(x)

    fg.grad(outer)(X)

    def together(x: Any) -> Any:
        return fg.while_loop(
            lambda c: fg.psum(c, "lanes") < 10.0, lambda c: c + fg.psum(c, "lanes"), x
        )

    with pytest.raises(NoSourceError, match="lanes exchange values"):
        fg.source(fg.vmap(together, axis_name="lanes"))(np.ones(2))
    with pytest.raises(NoSourceError, match="more than once"):
        fg.grad_source(fg.grad(newton))(3.0)

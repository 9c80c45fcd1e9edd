"""Gradients whose every path is cut: the warning, what it names, and strict=True."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.errors import DisconnectedGradientError, GradientDisconnected

X = np.array([0.3, 1.7])


def there(offset: int) -> str:
    """Return this file and a line near that of the caller."""
    return f"{__file__}:{sys._getframe(1).f_lineno + offset}"


CUTS = {
    "the conversion to int64": lambda x: np.sum(x.astype(np.int64) * 2.0),
    "round": lambda x: np.sum(np.round(x)),
    "floor": lambda x: np.sum(np.floor(x) ** 2),
    "sign": lambda x: np.sum(np.sign(x)),
    "argmax": lambda x: np.argmax(x) * 1.0,
    "greater": lambda x: np.sum(np.where(x > 1.0, 2.0, 3.0)),
    "stop_gradient": lambda x: np.sum(fg.stop_gradient(x) ** 2),
}


@pytest.mark.parametrize("operation", CUTS)
def test_a_cut_warns(operation):
    with pytest.warns(GradientDisconnected, match=f"is cut: by {operation} at ") as caught:
        gradient = fg.grad(CUTS[operation])(X)
    np.testing.assert_array_equal(gradient, 0.0)
    assert caught[0].filename == __file__


def test_the_warning_names_leaf_line_and_operation():
    def loss(params):
        step = np.floor(params["steps"][1])
        return np.sum(step * params["w"]), step

    params = {"w": X, "steps": [X, X]}
    with pytest.warns(GradientDisconnected) as caught:
        fg.value_and_grad(loss, has_aux=True)(params)
        expected = there(-1)
    (warning,) = caught
    line = f"{__file__}:{loss.__code__.co_firstlineno + 1}"
    assert str(warning.message).startswith(
        "the gradient with respect to the argument of grad of loss at ['steps'][1] is zero, "
        f"because every path to the output is cut: by floor at {line}, which has no derivative."
    )
    assert str(warning.message).endswith("\n  help: python -m funcgraph help GradientDisconnected")
    assert f"{warning.filename}:{warning.lineno}" == expected


def test_each_function_and_leaf_is_looked_into_once():
    runs = []

    def loss(x, y):
        runs.append(1)
        return np.sum(np.floor(x) * y)

    with pytest.warns(GradientDisconnected):
        fg.grad(loss)(X, X)
    assert len(runs) == 2
    for _ in range(2):
        fg.grad(loss)(X, X)
    assert len(runs) == 4
    fg.grad(loss, argnums=1)(X, X)
    assert len(runs) == 5


NO_CUTS = {
    "unused": lambda x: 1.0,
    "used": lambda x: np.sum(np.floor(x) * x),
    "float32": lambda x: np.sum(x.astype(np.float32)),
    "control flow": lambda x: np.sum(x) if x[0] > 1 else 0.0,
    "kink": lambda x: np.sum(np.maximum(x, 5.0)),
    "zero factor": lambda x: 0.0 * np.sum(x),
    "second order": lambda x: np.sum(fg.grad(lambda x: np.sum(np.maximum(x, 0.0)))(x)),
    "second order of abs": lambda x: np.sum(fg.grad(lambda x: np.sum(np.abs(x)))(x)),
    "second order of where": lambda x: np.sum(
        fg.grad(lambda x: np.sum(np.where(x > 0, x, 2 * x)))(x)
    ),
    "linear inside": lambda x: np.sum(fg.jvp(lambda x: 3.0 * x, (x,), (np.ones(2),))[1]),
    "what cannot be followed": lambda x: float((x > 1).astype(int).tobytes()[0]),
}


@pytest.mark.parametrize("name", NO_CUTS)
def test_no_false_alarm(name):
    fg.grad(NO_CUTS[name])(X)  # warnings are errors


def test_inside_of_other_transformations():
    with pytest.warns(GradientDisconnected, match="by floor"):
        fg.jit(fg.grad(lambda x: np.sum(np.floor(x))))(X)
    with pytest.warns(GradientDisconnected, match="by floor"):
        fg.grad(fg.jit(lambda x: np.sum(np.floor(x))))(X)
    with pytest.warns(GradientDisconnected, match="by floor"):
        fg.vmap(fg.grad(lambda x: np.floor(x)))(X)
    with pytest.warns(GradientDisconnected, match="by round"):
        fg.grad(lambda x: fg.scan(lambda c, r: (c + np.round(r), None), 0.0, x)[0])(X)


def test_a_compiled_step_warns_when_it_is_staged():
    step = fg.jit(fg.grad(lambda w: np.sum(np.round(w))))
    with pytest.warns(GradientDisconnected):
        step(X)
    step(X)


def test_strict_raises_for_cuts_every_time():
    g = fg.grad(lambda x: np.sum(np.floor(x)), strict=True)
    for _ in range(2):
        with pytest.raises(
            DisconnectedGradientError, match=r"by floor at .*, which has no"
        ) as info:
            g(X)
        assert isinstance(info.value, ValueError)


def test_strict_raises_for_unused_leaves():
    def loss(params):
        return np.sum(params["a"])

    with pytest.raises(
        DisconnectedGradientError,
        match=r"strict=True: the argument of grad of loss at \['b'\] has no gradient: the output "
        r"does not depend on it",
    ):
        fg.value_and_grad(loss, strict=True)({"a": X, "b": X})
    value, gradient = fg.value_and_grad(loss, strict=True)({"a": X})
    assert value == np.sum(X) and np.all(gradient["a"] == 1.0)


def test_strict_with_integers_and_kept_functions():
    g = fg.grad(lambda p: np.sum(p["x"] * p["n"]), allow_int=True, strict=True)
    np.testing.assert_array_equal(g({"x": X, "n": np.arange(2)})["x"], [0.0, 1.0])


def test_can_be_ignored():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GradientDisconnected)
        assert fg.grad(lambda x: np.floor(x))(1.5) == 0.0


def test_callables_without_code_or_references():
    class Rounds:
        __slots__ = ()

        def __call__(self, x):
            return np.sum(np.round(x))

    for fun in (np.floor, Rounds()):
        for _ in range(2):
            with pytest.warns(GradientDisconnected):
                fg.grad(fun)(X if fun is not np.floor else 1.5)

"""grad, value_and_grad, vjp, jvp, linearize, stop_gradient: signatures, pytrees, types, errors."""

import inspect
import warnings
from typing import NamedTuple

import numpy as np
import pytest

import funcgraph as fg
import funcgraph.numpy as fnp
from funcgraph import errors

jax = pytest.importorskip("jax")
jnp = jax.numpy


class Point(NamedTuple):
    x: object
    y: object


def test_signatures_begin_like_jax():
    for name in ("grad", "value_and_grad"):
        parameters = inspect.signature(getattr(fg, name)).parameters
        ours = [n for n, p in parameters.items() if p.kind is not p.KEYWORD_ONLY]
        theirs = list(inspect.signature(getattr(jax, name)).parameters)
        assert ours == theirs[: len(ours)]
    for name in ("jvp", "vjp", "linearize"):
        ours = inspect.signature(getattr(fg, name)).parameters
        assert list(ours)[:2] == list(inspect.signature(getattr(jax, name)).parameters)[:2]


def test_name_doc_and_signature_are_kept():
    def loss(w, x, *, scale=1.0):
        """Return a number."""
        return np.sum(w * x) * scale

    g = fg.grad(loss)
    assert g.__name__ == "loss" and g.__doc__ == "Return a number."
    assert inspect.signature(g) == inspect.signature(loss)
    assert g(2.0, 3.0, scale=2.0) == 6.0


@pytest.mark.parametrize("argnums", [0, 1, -1, (0,), (0, 1), (1, 0), (0, -1)])
def test_argnums(argnums):
    def f(x, y):
        return np.sum(x * np.sin(y))

    x, y = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    ours = fg.grad(f, argnums)(x, y)
    theirs = jax.grad(lambda x, y: jnp.sum(x * jnp.sin(y)), argnums)(x, y)
    assert isinstance(ours, tuple) == isinstance(theirs, tuple)
    for a, b in zip(np.atleast_2d(ours), np.atleast_2d(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_pytrees_in_and_out():
    params = {"w": [np.ones(2), (np.float32(2.0), None)], "p": Point(1.0, np.array(3.0))}

    def f(p):
        return p["w"][0].sum() * p["w"][1][0] + p["p"].x * p["p"].y ** 2

    value, g = fg.value_and_grad(f)(params)
    assert value == 13.0
    np.testing.assert_array_equal(g["w"][0], [2.0, 2.0])
    assert type(g["w"][1][0]) is np.float32 and g["w"][1][0] == 2.0 and g["w"][1][1] is None
    assert type(g["p"]) is Point and type(g["p"].x) is float and g["p"].x == 9.0
    assert type(g["p"].y) is np.ndarray and g["p"].y.shape == () and g["p"].y == 6.0


@pytest.mark.parametrize(
    "x", [2.0, 2, np.float64(2), np.float32(2), np.float16(2), np.array(2.0), np.ones((2, 3), "f4")]
)
def test_the_gradient_has_the_type_of_its_primal(x):
    g = fg.grad(lambda x: np.sum(np.tanh(x * 2.0)))(x)
    assert type(g) is (float if type(x) is int else type(x))
    if hasattr(x, "dtype"):
        assert g.dtype == x.dtype and g.shape == x.shape


def test_gradients_own_their_memory():
    x, y = np.ones(3), np.ones(3)
    gx, gy = fg.grad(lambda x, y: np.sum(x + y), (0, 1))(x, y)
    gx += 1
    np.testing.assert_array_equal(gy, np.ones(3))
    seed = np.ones(3)
    _, pullback = fg.vjp(lambda x: x + 0.0, x)
    (ct,) = pullback(seed)
    ct += 1
    np.testing.assert_array_equal(seed, np.ones(3))


def test_has_aux():
    def f(x):
        return x * x, {"double": 2 * x, "name": "square"}

    g, aux = fg.grad(f, has_aux=True)(3.0)
    assert g == 6.0 and aux == {"double": 6.0, "name": "square"}
    (value, aux), g = fg.value_and_grad(f, has_aux=True)(3.0)
    assert (value, g, aux["double"]) == (9.0, 6.0, 6.0)
    y, pullback, aux = fg.vjp(f, 3.0, has_aux=True)
    assert y == 9.0 and pullback(1.0) == (6.0,) and aux["name"] == "square"
    y, t, aux = fg.jvp(f, (3.0,), (1.0,), has_aux=True)
    assert (y, t, aux["double"]) == (9.0, 6.0, 6.0)
    y, pushforward, aux = fg.linearize(f, 3.0, has_aux=True)
    assert (y, pushforward(1.0), aux["double"]) == (9.0, 6.0, 6.0)


def test_aux_of_an_inner_gradient_keeps_the_outer_derivative():
    def inner(y, x):
        return y * x, x * y * y

    def outer(x):
        _, aux = fg.grad(inner, has_aux=True)(2.0, x)
        return aux

    assert fg.grad(outer)(3.0) == 4.0


def test_holomorphic():
    z = 1.0 + 2.0j
    g = fg.grad(lambda z: np.sin(z), holomorphic=True)(z)
    assert type(g) is complex
    np.testing.assert_allclose(g, np.cos(z), rtol=1e-14)
    np.testing.assert_allclose(fg.grad(lambda z: np.abs(z) ** 2)(3 + 4j), 6 - 8j)


def test_allow_int():
    g = fg.grad(lambda p: np.sum(p["x"] * p["n"]), allow_int=True)(
        {"x": np.ones(2), "n": np.array([1, 2])}
    )
    np.testing.assert_array_equal(g["x"], [1.0, 2.0])
    assert g["n"].dtype == jax.dtypes.float0 and g["n"].shape == (2,)


def test_vjp_pytrees_and_repeated_calls():
    y, pullback = fg.vjp(lambda a, b: {"p": a * b, "s": a + b}, 2.0, np.array([1.0, 3.0]))
    for _ in range(2):
        ga, gb = pullback({"p": np.array([1.0, 0.0]), "s": np.array([0.0, 1.0])})
        assert ga == 2.0
        np.testing.assert_array_equal(gb, [2.0, 1.0])
    np.testing.assert_array_equal(y["p"], [2.0, 6.0])


def test_linearize_runs_the_function_once():
    calls = []

    def f(x, y):
        calls.append(1)
        return np.sin(x) * y, x[..., None] @ y[None]

    args = (np.array([0.5, 1.0]), np.array([2.0, 3.0]))
    tangents = (np.array([1.0, -1.0]), np.array([0.5, 0.25]))
    out, pushforward = fg.linearize(f, *args)
    want, dot = fg.jvp(f, args, tangents)
    calls.clear()
    for _ in range(2):
        for a, b in zip(pushforward(*tangents), dot, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-14)
    assert not calls
    np.testing.assert_allclose(out[0], want[0])


def test_closures_over_outer_tracers_and_python_control_flow():
    def f(x):
        def inner(y):
            while y < 100:
                y = y * x
            return y

        return fg.grad(inner)(x) if x > 1 else x

    assert fg.grad(f)(3.0) == pytest.approx(108.0)  # d/dx (d/dy x^4 y at y = x) = d/dx x^4
    assert fg.grad(f)(0.5) == 1.0


def test_stop_gradient():
    assert fg.grad(lambda x: x * fg.stop_gradient(x))(3.0) == 3.0
    assert fg.jvp(lambda x: x * fg.stop_gradient(x), (3.0,), (1.0,))[1] == 3.0
    assert fg.grad(fg.grad(lambda x: x**2 * fg.stop_gradient(x)))(3.0) == 6.0
    tree = fg.stop_gradient({"a": np.ones(2), "b": 1.0})
    assert tree["b"] == 1.0


def test_output_that_does_not_depend_on_the_input():
    assert fg.grad(lambda x: 3.0)(2.0) == 0.0
    _, t = fg.jvp(lambda x: (np.ones(2), x), (1.0,), (5.0,))
    np.testing.assert_array_equal(t[0], np.zeros(2))
    assert t[1] == 5.0


def test_an_exception_leaves_no_state_behind():
    def broken(x):
        np.sin(x)
        raise KeyError("user")

    for _ in range(3):
        with pytest.raises(KeyError):
            fg.grad(broken)(1.0)
        with pytest.raises(KeyError):
            fg.jvp(broken, (1.0,), (1.0,))
    assert fg.grad(np.sin)(0.0) == 1.0


def test_jax_arrays_and_jax_transformations():
    def f(x):
        return fnp.sum(fnp.sin(x) * x)

    x = jnp.arange(3.0)
    g = fg.grad(f)(x)
    assert isinstance(g, jax.Array)
    np.testing.assert_allclose(g, jax.grad(f)(x), rtol=1e-6)
    np.testing.assert_allclose(jax.jit(fg.grad(f))(x), g, rtol=1e-6)
    np.testing.assert_allclose(
        jax.vmap(jax.grad(f))(jnp.ones((2, 3))), jax.vmap(fg.grad(f))(jnp.ones((2, 3))), rtol=1e-6
    )


def test_warnings_in_the_backward_pass_are_not_shown():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fg.grad(lambda x: np.sqrt(x))(0.0) == np.inf


# --- errors --------------------------------------------------------------------------------------


def check(error, text, call):
    with pytest.raises(error) as info:
        call()
    message = str(info.value)
    assert text in message, message
    assert "test_transforms.py:" in message, message  # the user's file and line


def test_non_scalar_output():
    check(errors.NonScalarOutputError, "shape (3,)", lambda: fg.grad(lambda x: x)(np.ones(3)))
    check(errors.NonScalarOutputError, "dict", lambda: fg.grad(lambda x: {"a": x})(1.0))
    check(errors.NonScalarOutputError, "complex128", lambda: fg.grad(lambda x: x * 1j)(1.0))
    check(errors.NonScalarOutputError, "int64", lambda: fg.grad(lambda x: 1)(1.0))


def test_leaves_without_derivative():
    ints = {"bn": {"count": np.arange(3)}, "w": 1.0}
    check(errors.GradientDtypeError, "['bn']['count'] has dtype int64", lambda: fg.grad(len)(ints))
    check(
        errors.GradientDtypeError,
        "at ['name'] is a str ('relu')",
        lambda: fg.grad(lambda p: p["w"])({"name": "relu", "w": 1.0}),
    )
    check(errors.GradientDtypeError, "dtype bool", lambda: fg.grad(lambda x: x)(np.array(True)))
    check(
        errors.GradientDtypeError,
        "holomorphic=True needs complex inputs",
        lambda: fg.grad(lambda x: x, holomorphic=True)(1.0),
    )


def test_has_aux_needs_a_pair():
    for f, got in ((np.sin, r"an array of shape \(\)"), (lambda x: (x, x, x), "3 values")):
        for transform in (fg.grad, fg.value_and_grad):
            with pytest.raises(TypeError, match=rf"\(output, aux\), but it returned .*{got}"):
                transform(f, has_aux=True)(1.0)
        with pytest.raises(TypeError, match=rf"\(output, aux\), but it returned .*{got}"):
            fg.vjp(f, 1.0, has_aux=True)
        with pytest.raises(TypeError, match=rf"\(output, aux\), but it returned .*{got}"):
            fg.jvp(f, (1.0,), (1.0,), has_aux=True)


def test_argnums_out_of_range():
    with pytest.raises(ValueError, match=r"argnums=2 .* 1 positional"):
        fg.grad(np.sin, argnums=2)(1.0)
    for twice in ((0, 0), (0, -2)):  # the same argument would be replaced twice
        with pytest.raises(ValueError, match="names an argument twice"):
            fg.grad(np.multiply, argnums=twice)(1.0, 2.0)
    with pytest.raises(TypeError, match="int or a tuple of ints"):
        fg.grad(np.sin, argnums="x")(1.0)


def test_mismatched_tangents():
    x = np.ones(3)
    mismatch = errors.TangentMismatchError
    check(mismatch, "shape (2,)", lambda: fg.jvp(np.sin, (x,), (np.ones(2),)))
    check(mismatch, "dtype float32", lambda: fg.jvp(np.sin, (x,), (np.ones(3, "f4"),)))
    check(mismatch, "one tangent for each", lambda: fg.jvp(np.sin, (x,), (x, x)))
    check(mismatch, "tuple or list", lambda: fg.jvp(np.sin, x, x))
    check(mismatch, "structure", lambda: fg.jvp(lambda t: t["a"], ({"a": x},), ({"b": x},)))
    _, pullback = fg.vjp(lambda x: {"out": np.sin(x)}, x)
    check(mismatch, "the cotangent['out'] has shape (4,)", lambda: pullback({"out": np.ones(4)}))
    check(mismatch, "structure", lambda: pullback(x))
    check(mismatch, "no derivative", lambda: fg.jvp(lambda n: n, (np.arange(3),), (x,)))


def test_leaked_tracers():
    kept = []

    def f(x):
        kept.append(x * 2.0)
        return x

    fg.grad(f)(1.0)
    fg.jvp(f, (1.0,), (1.0,))
    for tracer in kept:
        check(errors.LeakedTracerError, "has_aux=True", lambda t=tracer: t + 1.0)
        check(errors.LeakedTracerError, "stored somewhere", lambda t=tracer: np.sin(t))


def test_conversions_are_refused():
    conversion = errors.TracerConversionError
    x = np.ones(2)
    check(conversion, "stop_gradient", lambda: fg.grad(lambda x: float(x))(1.0))
    check(conversion, "x.item()", lambda: fg.grad(lambda x: x.item())(1.0))
    check(conversion, "np.stack", lambda: fg.grad(lambda x: np.asarray(x).sum())(x))
    check(conversion, "np.stack", lambda: fg.grad(lambda x: np.array([x[0], x[1]]).sum())(x))
    check(conversion, "integer", lambda: fg.grad(lambda x: x[x][0])(x))

    def fill(x):
        buffer = np.zeros(2)
        buffer[0] = x[0]
        return buffer.sum()

    check(errors.InPlaceWriteError, "np.stack, or write `buffer = fu", lambda: fg.grad(fill)(x))


def test_in_place_writes_are_refused():
    write = errors.InPlaceWriteError
    x = np.ones(2)

    def into_plain(x):
        a = np.zeros(2)
        a += x
        return a.sum()

    def into_tracer(x):
        x[0] = 1.0
        return x.sum()

    check(write, "a = a + x", lambda: fg.grad(into_plain)(x))
    check(write, "funcgraph.at(x)[index].set(value)", lambda: fg.grad(into_tracer)(x))
    check(write, "out=", lambda: fg.grad(lambda x: np.add(x, 1, out=np.zeros(2)).sum())(x))
    check(write, "ufunc.at", lambda: fg.grad(lambda x: np.add.at(x, [0], 1.0))(x))


def test_truth_of_an_array():
    check(
        errors.TracerBoolError, "np.where", lambda: fg.grad(lambda x: 1.0 if x else x)(np.ones(2))
    )

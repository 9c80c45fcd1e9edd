"""Types of carries and results of branches, as JAX's; and scans that keep few carries."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
import funcgraph.numpy as fnp
from funcgraph.errors import CarryTypeError

jax = pytest.importorskip("jax")
lax = jax.lax

RNG = np.random.default_rng(0)
W = RNG.standard_normal((3, 3)) * 0.5
H = np.array([0.3, -0.2, 0.5])
XS = RNG.standard_normal((11, 3))
F32 = np.ones(3, np.float32)
RUNS: list[Callable[[Any], Any]] = [lambda f: f, fg.jit, lambda f: fg.jit(f, backend="xla")]


def same(got: Any, wanted: Any, tol: float = 1e-10) -> None:
    for g, w in zip(fg.tree.leaves(got), fg.tree.leaves(wanted), strict=True):
        assert np.shape(g) == np.shape(w)
        np.testing.assert_allclose(np.asarray(g), np.asarray(w), rtol=tol, atol=tol)


# --- Python numbers ------------------------------------------------------------------------------

NUMBERS: dict[str, Callable[[Any], Any]] = {
    "int to float": lambda m: lambda x: m.scan(lambda c, x: (c + x, c), 0, x),
    "int to float32": lambda m: lambda x: m.scan(lambda c, x: (c + x, c), 0, F32 * x[0]),
    "float to float32": lambda m: lambda x: m.scan(lambda c, x: (c * x, c), 1.0, F32),
    "complex": lambda m: lambda x: m.fori_loop(0, 3, lambda i, c: c * 1j, 1),
    "fori": lambda m: lambda x: m.fori_loop(0, 3, lambda i, c: c + x[0], 0),
    "while": lambda m: lambda x: m.while_loop(lambda c: c < 5, lambda c: c + x[0] ** 2 + 1.0, 0),
    "stays": lambda m: lambda x: m.scan(lambda c, x: (c + 1, x * 2), 0, x),
    "number again": lambda m: lambda x: m.scan(lambda c, x: (0.0, c * x), F32[0], F32),
    "bool": lambda m: lambda x: m.scan(lambda c, x: (c | (x > 0), c), False, x),
    "floor": lambda m: lambda x: m.scan(lambda c, x: (c // 2 + x, c), 5, x),
}


STEPS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "not": (True, lambda c: ~c),
    "quotient": (1.0, lambda c: c / (c - 1.0)),
    "quotient of a constant": (0.0, lambda c: 1 / c),
    "rest": (1, lambda c: c % (c - 1)),
    "root of a negative number": (-2.0, lambda c: c**0.5),
    "overflow": (1e300, lambda c: c**2),
    "overflow of an integer": (2**62, lambda c: c * 4 + c),
    "shift": (1, lambda c: c << 63),
    "complex quotient": (1j, lambda c: c / (c - 1j)),
    "class": (0, lambda c: c + (1 if isinstance(c, int) else 2)),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", STEPS)
def test_the_first_step_computes_as_numpy(name: str) -> None:
    """Not with Python's numbers: no ZeroDivisionError, no complex root, no endless integers."""
    start, f = STEPS[name]
    loops: list[Callable[[Any, Any], Any]] = [
        lambda m, c: m.scan(lambda c, _: (f(c), c), c, None, 3),
        lambda m, c: m.fori_loop(0, 2, lambda i, c: (f(c[0]), c[1]), (c, 0.0)),
        lambda m, c: m.while_loop(lambda s: s[1] < 2, lambda s: (f(s[0]), s[1] + 1), (c, 0)),
    ]
    for loop in loops:
        wanted = loop(lax, start)
        for run in RUNS:
            got = run(lambda loop=loop: loop(fg, start))()
            same(got, wanted)
            kinds = [np.asarray(x).dtype for x in fg.tree.leaves(got)]
            assert kinds == [np.asarray(x).dtype for x in fg.tree.leaves(wanted)]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_conditions_of_the_first_step_compute_as_numpy() -> None:
    assert fg.while_loop(lambda c: 1 / c > 2, lambda c: c + 1, 0) == 1


def test_numbers_of_the_first_step_are_still_numbers_to_python() -> None:
    seen = []

    def step(c: Any, x: Any) -> tuple[Any, Any]:
        n, z = c
        seen.append((float(z), math.sqrt(z), f"{z:.1f}", len(range(n)), "abc"[n], int(z)))
        many = np.stack([z, z + x]), np.zeros(n), np.full(2, z), z.item() + complex(z)
        assert all(np.isfinite(a).all() for a in many) and np.sin(z) < 2 and F32[n] == 1
        return (n + 1, np.add(z, x, dtype=float)), np.asarray(z)

    (n, z), ys = fg.scan(step, (1, 4.0), np.array([5.0]))
    assert (n, z) == (2, 9) and ys == [4] and seen == [(4.0, 2.0, "4.0", 1, "b", 4)]
    kept = fg.scan(lambda c, x: (c, repr(c)) and (c, c), 2.5, None, 2)
    same(kept, (2.5, np.full(2, 2.5)))


def test_other_transformations_inside_the_first_step() -> None:
    f = lambda c: c * fg.grad(lambda c: c**3 + c)(c) + fg.jit(np.tanh)(c)
    g = lambda c: fg.fori_loop(
        0, 2, lambda i, c: f(c), fg.scan(lambda a, _: (a + c, c), 0, None, 2)[0]
    )
    for run in RUNS:
        same(run(lambda: g(0.5))(), g(np.float64(0.5)))
        same(
            run(lambda: fg.scan(lambda c, _: (g(c), c), 0.1, None, 1))(),
            (g(np.float64(0.1)), np.array([0.1])),
        )
    same(
        fg.grad(lambda w: fg.fori_loop(0, 2, lambda i, c: f(c) * w, 0.3))(1.0),
        jax.grad(
            lambda w: lax.fori_loop(
                0, 2, lambda i, c: (c * (3 * c**2 + 1) + jax.numpy.tanh(c)) * w, 0.3
            )
        )(1.0),
    )


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_take_the_type_of_the_carry(name: str, run: Any) -> None:
    got = run(NUMBERS[name](fg))(XS[:3, 0])
    wanted = (
        NUMBERS[name](lax)(XS[:3, 0])
        if name != "number again"
        else (np.float32(0), np.array([1, 0, 0]))
    )
    same(got, wanted, 1e-6)
    if name != "number again":
        kinds = [np.asarray(x).dtype for x in fg.tree.leaves(got)]
        assert kinds == [np.dtype(x.dtype) for x in jax.tree.leaves(wanted)]


COUNTERS: dict[str, Callable[[Any, Any], Any]] = {
    "beside arrays": lambda i, x: x * i + x / (i + 1) + fnp.sin(x * 0.5**i),
    "functions of counters": lambda i, x: fnp.maximum(x, fnp.sin(i)) + fnp.where(x > i, i, x),
    "indices": lambda i, x: fg.at(x)[i].set(x[-i] * i + x[2 - i]),
    "inner loops": lambda i, x: fg.fori_loop(0, 2, lambda j, y: y * i + j * i, x),
    "inner derivatives": lambda i, x: fg.grad(lambda y: fnp.sum(y**3 * i + y * 2**i))(x) * 0.1,
    "Python": lambda i, x: x * (divmod(i, 2)[0] + abs(-i) + (i & 1)) + 1 / (i + 1),
    "custom rules": lambda i, x: fg.vmap(lambda y: fg.checkpoint(lambda z: z * z * i)(y))(x),
}


@pytest.mark.parametrize("name", COUNTERS)
def test_a_counter_gives_way_to_the_dtype_of_arrays(name: str) -> None:
    def loop(dtype: Any) -> Any:  # of float64 the loop in Python is the reference
        x = H.astype(dtype)
        for i in range(3):
            x = COUNTERS[name](i if dtype is np.float32 else np.int64(i), x)
        return x

    for bound in (3, np.int32(3), np.int64(3)):
        same(fg.fori_loop(0, bound, COUNTERS[name], H), loop(np.float64))
    f32, program = H.astype(np.float32), lambda x, n=3: fg.fori_loop(0, n, COUNTERS[name], x)
    for got in (
        program(f32),
        fg.jit(program)(f32),
        fg.jit(program)(f32, 3),
        fg.vmap(program)(f32[None])[0],
        fg.vmap(program, (None, 0))(f32, np.array([3]))[0],
        fg.jvp(program, (f32,), (f32,))[0],
        fg.jit(fg.value_and_grad(lambda x: ((y := program(x)).sum(), y), has_aux=True))(f32)[0][1],
    ):
        assert got.dtype == np.float32
        same(got, loop(np.float64), 1e-5)


def test_counters_as_jax() -> None:
    x, n, body = np.ones(2, np.float32), np.int32(3), lambda i, x: x * (i + 1) - i
    for m, run in ((lax, jax.jit), (fg, fg.jit), (fg, lambda f: fg.jit(f, backend="xla"))):
        got = [run(lambda x, m=m: m.fori_loop(0, n, body, x))(x), m.fori_loop(0, n, body, x)]
        got.append(run(lambda x, n, m=m: m.fori_loop(0, n, body, x))(x, n))
        assert {np.asarray(y).dtype for y in got} == {np.dtype(np.float32)}
        same(got, [np.float32([1.0, 1.0])] * 3)
    same(jax.jit(lambda x, n: fg.fori_loop(0, n, body, x))(x, n), np.float32([1.0, 1.0]))


def test_types_settle_where_jax_gives_up() -> None:
    step = lambda c, x: ((c[0] + x, c[1] + c[0]), c[1])
    for run in RUNS:
        got = run(lambda x: fg.scan(step, (0, 0), x))(H)
        same(got, lax.scan(step, (0.0, 0.0), H))


def test_gradients_through_promoted_carries() -> None:
    f = lambda x: fnp.sum(fg.scan(lambda c, x: (c + x * c + x, c * x), 0, x)[1])
    g = lambda x: fnp.sum(lax.scan(lambda c, x: (c + x * c + x, c * x), 0, x)[1])
    for run in RUNS:
        same(run(fg.grad(f))(H), jax.grad(g)(H))
    h = lambda x: fg.scan(lambda c, _: (c * 0.5 + x, None), x, None, 3)[0]
    same(fg.grad(h)(2.0), jax.grad(lambda x: x * 1.875)(2.0))


def test_branches_take_the_type_of_the_others() -> None:
    f = lambda x: fg.cond(x[0] > 5, lambda: 0, lambda: x[0])
    g = lambda x: lax.cond(x[0] > 5, lambda: np.float32(0), lambda: x[0])
    for run in RUNS[1:]:
        assert run(f)(F32).dtype == np.float32
        same(run(f)(F32), g(F32))
        same(run(fg.grad(f))(F32), jax.grad(g)(F32))
        with pytest.raises(CarryTypeError, match=r"false_fun .*float64\[\].*float32\[\]"):
            run(lambda x: fg.cond(x[0] > 5, lambda: x[0], lambda: np.float64(0)))(F32)
        with pytest.raises(CarryTypeError, match=r"false_fun .*float64\[\].*float32\[3\]"):
            run(lambda x: fg.cond(x[0] > 5, lambda: x, lambda: 0.0))(F32)
    same(fg.jit(lambda x: fg.cond(x[0] > 5, lambda: True, lambda: False))(F32), False)


LOOPS: dict[str, Callable[[Any, Any], Any]] = {
    "scan": lambda step, init: fg.scan(lambda c, _: (step(c), None), init, None, 2),
    "while_loop": lambda step, init: fg.while_loop(lambda c: fnp.sum(c["a"][0]) < 9, step, init),
    "fori_loop": lambda step, init: fg.fori_loop(0, 2, lambda i, c: step(c), init),
}


@pytest.mark.parametrize("staged", [False, True])
@pytest.mark.parametrize("name", LOOPS)
def test_messages(name: str, staged: bool) -> None:
    loop = LOOPS[name]

    def run(step: Any, init: Any) -> Any:
        return fg.jit(lambda c: loop(step, c))(init) if staged else loop(step, init)

    what = "scan" if staged and name == "fori_loop" else name
    wider = lambda c: {"a": [c["a"][0] * np.float64(2)]}
    with pytest.raises(CarryTypeError) as e:
        run(wider, {"a": [F32]})
    message = str(e.value)
    assert f"{what}: the carry must keep its type: at ['a'][0] it was float32[3]" in message
    assert "returned float64[3]" in message and "test_carries.py" in message
    with pytest.raises(CarryTypeError, match=r"its type: it was float32\[3\]"):  # a leaf alone
        fg.scan(lambda c, _: (np.sum(c), None), F32, None, 2)
    with pytest.raises(CarryTypeError, match=r"int64\[3\].*float64\[3\]"):  # no Python number
        run(lambda c: {"a": [c["a"][0] * 0.5]}, {"a": [np.ones(3, int)]})
    with pytest.raises(CarryTypeError, match=r"float64\[\].*float64\[1\]"):
        run(lambda c: {"a": [fnp.reshape(c["a"][0], (1,))]}, {"a": [0.0]})
    with pytest.raises(CarryTypeError, match=rf"{what}.*structure"):
        run(lambda c: {"b": c["a"]}, {"a": [F32]})


# --- checkpoint_every ----------------------------------------------------------------------------


def recurrent(m: Any, every: int | None = None, reverse: bool = False) -> Callable[..., Any]:
    more = {} if every is None else {"checkpoint_every": every}

    def f(w: Any, h: Any, xs: Any) -> Any:
        def step(c: Any, x: Any) -> Any:
            h = fnp.tanh(w @ c["h"] + x)
            return {"h": h, "n": c["n"] + 1}, (h * x, c["n"])

        end, (ys, n) = m.scan(step, {"h": h, "n": 0}, xs, reverse=reverse, **more)
        return fnp.sum(end["h"] ** 3) * end["n"] + fnp.sum(ys.T**2 * (n + 1))

    return f


ALL = (0, 1, 2)
STACK = np.stack([XS, 2 * XS])
DERIVATIVES: dict[str, tuple[Callable[[Any, Any], Any], tuple[Any, ...]]] = {
    "value": (lambda m, f: f, (W, H, XS)),
    "grad": (lambda m, f: m.grad(f, ALL), (W, H, XS)),
    "jvp": (lambda m, f: lambda *a: m.jvp(f, a, a), (W, H, XS)),
    "jvp of grad": (lambda m, f: lambda *a: m.jvp(m.grad(f, ALL), a, a), (W, H, XS)),
    "hessian": (lambda m, f: m.hessian(f, 1), (W, H, XS)),
    "vmap of grad": (lambda m, f: m.vmap(m.grad(f, ALL), (None, None, 0)), (W, H, STACK)),
    "grad of vmap": (
        lambda m, f: m.grad(lambda *a: m.vmap(f, (None, None, 0))(*a).sum(), ALL),
        (W, H, STACK),
    ),
}


@pytest.mark.parametrize("every", [1, 3, 4, 11, 99])
@pytest.mark.parametrize("mode", DERIVATIVES)
def test_checkpoint_every(mode: str, every: int) -> None:
    transform, args = DERIVATIVES[mode]
    reverse = every == 4
    wanted = jax.jit(transform(jax, recurrent(lax, reverse=reverse)))(*args)
    ours = transform(fg, recurrent(fg, every, reverse))
    same(ours(*args), wanted)
    if every == 4:
        for backend in ("numpy", "xla"):
            same(fg.jit(ours, backend=backend)(*args), wanted)


def test_checkpoint_every_of_what_needs_values() -> None:
    def f(x: Any, every: Any) -> Any:
        def step(c: Any, _: Any) -> Any:
            return (c * x if c < 5 else c * 0.5), None  # Python's if

        return fg.scan(step, x, None, 7, checkpoint_every=every)[0]

    assert fg.grad(lambda x: f(x, None))(2.0) == fg.grad(lambda x: x**5 / 8)(2.0)
    assert f(2.0, 3) == f(2.0, None)
    g = lambda c, every: fg.scan(
        lambda c, _: ((c * c if c < 5 else c * 0.5), None), c, None, 7, checkpoint_every=every
    )[0]
    assert fg.grad(g)(2.0, 3) == fg.grad(g)(2.0, None)


def test_numbers_that_a_loop_starts_with_are_keys_and_indices() -> None:
    names, table = ["a", "b", "c"], {0: 1, 1: 2}
    seen = []

    def body(c: Any) -> Any:
        seen.append(names[c])
        return table[c]

    assert fg.while_loop(lambda c: c < 2, body, 0) == 2
    assert seen == ["a", "b"]


@pytest.mark.parametrize("every", [0, -1, 1.5, "2", True])
def test_checkpoint_every_must_be_positive(every: Any) -> None:
    with pytest.raises(ValueError, match=r"checkpoint_every must be a positive int, got"):
        fg.scan(lambda c, x: (c, x), 0.0, XS, checkpoint_every=every)


@pytest.mark.parametrize("staged", [False, True])
def test_memory_of_checkpoint_every(staged: bool) -> None:
    n, size = 400, 10_000

    def f(x: Any) -> Any:
        step = lambda c, _: (fnp.sin(c), None)
        return fnp.sum(fg.scan(step, x, None, n, checkpoint_every=20)[0])

    x = np.ones(size)
    gradient = fg.jit(fg.grad(f)) if staged else fg.grad(f)
    gradient(x)
    tracemalloc.start()
    gradient(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= 3 * 20 * x.nbytes  # 3 sqrt(n) states
    assert fg.saved_residuals(f)(x).bytes <= 23 * x.nbytes
    assert fg.saved_residuals(fg.jit(f))(x).bytes <= 23 * x.nbytes


def test_a_checkpoint_inside_a_staged_loop_keeps_its_argument_only() -> None:
    n, size = 50, 1000
    layer = lambda x: fnp.tanh(fnp.exp(fnp.sin(x)) * fnp.cos(x))

    def f(layer: Any) -> Any:
        return fg.jit(lambda x: fnp.sum(fg.scan(lambda c, _: (layer(c), None), x, None, n)[0]))

    x = np.ones(size)
    plain = fg.saved_residuals(f(layer))(x).bytes
    kept = fg.saved_residuals(f(fg.checkpoint(layer)))(x).bytes
    assert kept <= (n + 2) * x.nbytes < plain / 3
    same(fg.grad(f(fg.checkpoint(layer)))(x), fg.grad(f(layer))(x))


def test_a_choice_inside_a_choice_takes_a_number() -> None:
    inner = lambda x: fg.cond(x < 1.0, lambda x: x * 3.0, lambda x: x, x)
    outer = fg.jit(lambda x: fg.cond(x < 9.0, inner, inner, x))
    same([outer(0.5), fg.grad(outer)(0.5), outer(2.0)], [1.5, 3.0, 2.0])

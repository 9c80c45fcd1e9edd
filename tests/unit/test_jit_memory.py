"""What a compiled program does with memory: results stay, donated arrays are used, bounds hold."""

from __future__ import annotations

import gc
import itertools
import threading
import tracemalloc
import weakref
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.core.simplify import simplify
from funcgraph.engines.numpy import memory
from funcgraph.engines.numpy.program import Program

RNG = np.random.default_rng(0)
BIG = RNG.standard_normal((200, 100))
W = RNG.standard_normal((100, 80))
CONSTANT = RNG.standard_normal((200, 100))


def same(got: Any, wanted: Any, tol: float = 0.0) -> None:
    for g, w in zip(fg.tree.leaves(got), fg.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(g, w, rtol=tol, atol=tol)


def many_kinds(x: Any, y: Any) -> Any:
    """Results, views of them, of the workspace and of arguments, constants, one twice."""
    s = np.sin(x) * y
    t = np.cos(s) + x
    chosen = np.where(t > 0, s, 0.0)
    total = fg.scan(lambda c, row: (np.tanh(c + row), c * row), x[0], np.concatenate([x, y]))
    return {
        "plain": (s, t, chosen),
        "twice": (s, s),
        "views": (s.T, t[1:, ::2], (t * 2).reshape(-1)),
        "argument": (x, x.T, y[:3]),
        "constant": (CONSTANT, np.zeros((200, 100))),
        "scan": total,
        "product": (x.T @ y, 0.1 * (x.T @ y)),
    }


# --- what was handed out stays -------------------------------------------------------------------


def test_results_are_never_written_again() -> None:
    compiled = fg.jit(many_kinds)
    kept, copies = [], []
    for k in range(20):
        out = compiled(BIG + k, BIG - k)
        kept.append(out)
        copies.append(fg.tree.map(np.copy, out))
    for out, copy in zip(kept, copies, strict=True):
        same(out, copy)
    same(kept[3], many_kinds(BIG + 3, BIG - 3), 1e-12)


def test_views_and_weak_references_keep_results() -> None:
    compiled = fg.jit(lambda x: np.sin(x) * 2)
    part = compiled(BIG)[5:7, 3]
    whole = compiled(BIG + 1)
    watched = weakref.ref(whole)
    del whole
    before = part.copy()
    for k in range(5):
        compiled(BIG + 2 + k)
    same(part, before)
    assert watched() is None or np.array_equal(watched(), np.sin(BIG + 1) * 2)  # type: ignore[arg-type]


def test_what_the_caller_does_to_results_does_not_matter() -> None:
    compiled = fg.jit(lambda x: np.sin(x) * 2)
    for change in (  # type: ignore[var-annotated]
        lambda y: y.setflags(write=False),
        lambda y: y.fill(7),
        lambda y: y.resize((1, 1), refcheck=False),
    ):
        for _ in range(3):
            change(compiled(BIG))
        same(compiled(BIG), np.sin(BIG) * 2)


def test_dropped_results_are_used_again() -> None:
    compiled = fg.jit(lambda x: np.sin(x) * 2)
    places = set()
    for _ in range(20):
        y = compiled(BIG)
        places.add(y.ctypes.data)
        del y
    assert len(places) <= 2
    kept = [compiled(BIG) for _ in range(5)]
    assert len({y.ctypes.data for y in kept}) == 5


def test_arguments_are_not_written() -> None:
    compiled = fg.jit(many_kinds)
    x, y = BIG.copy(), BIG[::-1].copy()
    compiled(x, y)
    compiled(x, x)
    same((x, y), (BIG, BIG[::-1]))


def test_threads() -> None:
    compiled = fg.jit(many_kinds)
    wanted = [many_kinds(BIG * k, BIG) for k in range(6)]
    wrong: list[Any] = []

    def work(k: int) -> None:
        x = BIG * k
        for _ in range(15):
            try:
                same(compiled(x, BIG), wanted[k], 1e-12)
            except AssertionError as error:
                wrong.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


# --- donation ------------------------------------------------------------------------------------


def loss(params: Any, x: Any) -> Any:
    return np.mean(np.maximum(x @ params["w"] + params["b"], 0) ** 2)


def step(params: Any, x: Any) -> Any:
    grads = fg.grad(loss)(params, x)
    return fg.tree.map(lambda p, g: p - 0.1 * g, params, grads)


def fresh() -> dict[str, Any]:
    return {"w": W.copy(), "b": np.zeros((200, 80))}


def test_a_step_is_taken_in_place() -> None:
    donating = fg.jit(step, donate_argnums=0)
    params, expected = fresh(), fresh()
    places = {k: v.ctypes.data for k, v in params.items()}
    for _ in range(4):
        params, expected = donating(params, BIG), step(expected, BIG)
        assert {k: v.ctypes.data for k, v in params.items()} == places
        same(params, expected, 1e-12)
    same(BIG, np.random.default_rng(0).standard_normal((200, 100)))


def test_moments_are_updated_in_place() -> None:
    def adam(state: Any, g: Any) -> Any:
        w, m, v = state
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g * g
        return w - 0.01 * m / (np.sqrt(v) + 1e-8), m, v

    donating = fg.jit(adam, donate_argnums=(0,))
    state = tuple(BIG * k for k in (1.0, 0.0, 0.0))
    expected = state
    state = tuple(v.copy() for v in state)
    places = [v.ctypes.data for v in state]
    for _ in range(3):
        state, expected = donating(state, BIG), adam(expected, BIG)
        assert [v.ctypes.data for v in state] == places
        same(state, expected, 1e-12)


def test_what_must_not_be_written_is_not() -> None:
    """Arrays that overlap other arguments, are read-only or views get a fresh result."""
    update = fg.jit(lambda w, g: w - 0.5 * g, donate_argnums=0)
    both = fg.jit(lambda a, b: (a + 1.0, b * 2.0), donate_argnums=(0, 1))
    x = BIG.copy()
    same(update(x, x), BIG * 0.5)
    same(x, BIG)
    same(update(x[:100], x[50:150]), BIG[:100] - 0.5 * BIG[50:150])
    same(x, BIG)
    same(both(x, x), (BIG + 1, BIG * 2))
    same(x, BIG)
    same(both(x, x.T.T), (BIG + 1, BIG * 2))
    same(x, BIG)
    frozen = BIG.copy()
    frozen.setflags(write=False)
    same(update(frozen, BIG), BIG * 0.5)
    same(frozen, BIG)
    turned = np.asfortranarray(BIG)
    same(update(turned, BIG), BIG * 0.5)
    same(turned, BIG)
    base = BIG.copy()
    same(update(base[:], BIG), BIG * 0.5)
    same(base, BIG)


def test_which_donated_arrays_may_be_written() -> None:
    """Found from the ends of all arrays, not from all pairs: against NumPy's own answer."""
    order = np.random.default_rng(0)
    base = np.zeros(4000)
    for _ in range(200):
        arrays = [np.zeros(50) for _ in range(6)]
        for _ in range(order.integers(0, 8)):
            start, stop = sorted(order.integers(0, 4001, size=2))
            source = [base, *arrays][order.integers(0, 7)]
            arrays.append([source[start:stop], source[::-3], source, memoryview(source)][stop % 4])
        arrays = [np.asarray(x) for x in arrays]
        free = memory.free_to_overwrite(range(len(arrays)), arrays)
        for k, x in enumerate(arrays):
            others = (y for j, y in enumerate(arrays) if j != k)
            alone = not any(np.may_share_memory(x, y) for y in others)
            assert (k in free) == (alone and x.flags.owndata), k


def test_each_of_many_donated_arrays_is_written_in_its_place() -> None:
    def step(state: list[Any], x: Any) -> list[Any]:
        return [w - x * np.sum(w) for w in state[::-1]][::-1]

    state = [np.full(5000, float(k)) for k in range(80)]
    wanted = step(state, 0.5)
    places = [w.ctypes.data for w in state]
    got = fg.jit(step, donate_argnums=0)(state, 0.5)
    assert [w.ctypes.data for w in got] == places
    same(got, wanted, 1e-12)


@pytest.mark.parametrize("donated", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize("budget", [None, "1MB"])
def test_results_of_arguments_that_overlap_do_not(donated: Any, budget: Any) -> None:
    functions = [
        lambda a, b: (a, b),
        lambda a, b: (b, a),
        lambda a, b: (a, b * 2),
        lambda a, b: (a + 1, b),
        lambda a, b: (a + 1, b * 2),
    ]
    for f, size in itertools.product(functions, (8, 800)):
        step = fg.jit(f, donate_argnums=donated, memory_budget=budget)
        base = np.arange(float(size))
        for make in (
            lambda x: (x, x),
            lambda x: (x[:-2], x[2:]),
            lambda x: (x[: len(x) // 2], x),
            lambda x: (x, x[::2]),
            lambda x: (x[: len(x) // 4], x[len(x) // 2 :]),
        ):
            args = make(base.copy())
            got, wanted = step(*args), f(*[a.copy() for a in args])
            same(got, wanted)
            assert not np.may_share_memory(*got)
            kept = [args[k] for k in {0, 1} - {*donated}]
            assert not any(np.may_share_memory(y, x) for x in kept for y in got)


def test_a_closed_over_view_is_not_written() -> None:
    base = BIG.copy()
    view = base[::-1]
    view.setflags(write=False)
    update = fg.jit(lambda w: w - view, donate_argnums=0)
    same(update(base), BIG - BIG[::-1])
    same(base, BIG)


def test_donated_arrays_in_every_role() -> None:
    cases: dict[str, Any] = {
        "transposed": (lambda a, b: (a.T @ b - 0.1 * a.T @ a, a + b), 2),
        "read later": (lambda a, b: (a + b, (a * b).sum()), 2),
        "passed on": (lambda a, b: (a, a + b), 2),
        "twice": (lambda a, b: (a - b, a - b), 2),
        "choice": (lambda a, b: np.where(a > 0, a, a[::-1]), 2),
        "self": (lambda a, b: np.where(b > 0, a, a), 2),
        "chain": (lambda a, b: np.sin(np.cos(a * 2) + b) * 3, 2),
        "dtype": (lambda a, b: (a + b).astype(np.float32), 2),
        "scalar": (lambda a, b: (a * 2.0, b.sum()), 2),
    }
    for name, (f, n) in cases.items():
        args = [BIG[:, :100].copy() * (k + 1) for k in range(n)]
        wanted = f(*args)
        got = fg.jit(f, donate_argnums=(0, 1))(*[a.copy() for a in args])
        np.testing.assert_equal(
            [np.asarray(g).dtype for g in fg.tree.leaves(got)],
            [np.asarray(w).dtype for w in fg.tree.leaves(wanted)],
            err_msg=name,
        )
        same(got, wanted, 1e-12)
    same(fg.jit(lambda a: a * 2, donate_argnums=0)(3.0), 6.0)


def test_a_step_that_is_taken_again_starts_from_what_was_donated() -> None:
    """Where a derivative is not finite, the program runs twice."""

    def f(w: Any, x: Any) -> Any:
        return w - fg.grad(lambda w: np.sum(np.where(w > 0, np.sqrt(w), 0.0) * x))(w)

    w = np.abs(BIG)
    w[0] = 0.0
    wanted = f(w, BIG)
    assert np.isfinite(wanted).all()
    same(fg.jit(f, donate_argnums=0)(w.copy(), BIG), wanted, 1e-12)


@pytest.mark.parametrize("kind", ["memoryview", "dlpack", "bytes", "jax"])
def test_results_that_others_look_into_are_not_overwritten(kind: str) -> None:
    look = {
        "memoryview": memoryview,
        "dlpack": np.from_dlpack,
        "bytes": lambda y: y.view(np.uint8),
        "jax": lambda y: pytest.importorskip("jax").numpy.asarray(y),
    }[kind]
    f = fg.jit(lambda x: np.sin(x) * 2)
    x = np.linspace(0, 1, 100_000)
    y = f(x)
    held = look(y)
    del y
    for _ in range(6):
        f(np.full_like(x, 3.0))
    seen = np.asarray(held)
    np.testing.assert_array_equal(seen.view(float) if kind == "bytes" else seen, np.sin(x) * 2)


def test_what_is_donated_and_comes_back_unchanged_is_not_copied() -> None:
    frozen, moving = np.ones((200, 200)), np.zeros((200, 200))
    step = fg.jit(lambda state: (state[0], state[1] + 1), donate_argnums=0)
    kept, moved = step((frozen, moving))
    assert kept is frozen and np.all(moved == 1)
    twice = fg.jit(lambda x: (x, x, x.T), donate_argnums=0)(frozen)
    assert not any(np.may_share_memory(a, b) for a, b in itertools.combinations(twice, 2))
    assert fg.jit(lambda x: x)(frozen) is not frozen


def test_donation_to_both_engines() -> None:
    pytest.importorskip("jax")
    for backend in ("numpy", "xla"):
        donating = fg.jit(step, backend=backend, donate_argnums=(0,))
        same(donating(fresh(), BIG), step(fresh(), BIG), 1e-10)


# --- bounds --------------------------------------------------------------------------------------


def test_new_shapes_keep_memory_bounded() -> None:
    compiled = fg.jit(lambda x: x + 1.0)

    def call(first: int, last: int) -> None:
        for n in range(first, last):
            compiled(np.zeros((n // 50 + 1, n % 50 + 1)))

    call(0, 500)
    gc.collect()
    tracemalloc.start()
    try:
        call(500, 800)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        call(800, 1600)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    info = compiled.cache_info()
    assert info.currsize == info.maxsize == 128
    assert grown < 200_000  # a hundredth of what all programs would take


def test_kept_memory_has_one_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "LIMIT", 1 << 20)
    compiled = fg.jit(lambda x: np.sum(np.sin(np.cos(x) + x.sum()) * x[::-1]))
    for n in range(20_000, 20_020):
        wanted = np.sum(np.sin(np.cos(np.ones(n)) + n) * 1.0)
        same(compiled(np.ones(n)), wanted, 1e-10)
        assert memory.kept_bytes() <= 1 << 20


def test_programs_and_buffers_die_with_their_function() -> None:
    gc.collect()
    before = memory.kept_bytes()
    graphs = sum(isinstance(x, fg.Graph) for x in gc.get_objects())
    compiled = fg.jit(fg.grad(lambda x: np.sum(np.tanh(np.sin(x)) @ W)))
    compiled(BIG)
    assert memory.kept_bytes() > before
    del compiled
    gc.collect()
    assert memory.kept_bytes() <= before
    assert sum(isinstance(x, fg.Graph) for x in gc.get_objects()) <= graphs


def test_cache_functions_can_be_reached() -> None:
    compiled = fg.jit(np.sin)
    compiled(BIG)
    compiled(BIG)
    compiled(BIG[0])
    assert compiled.cache_info()[:2] == (1, 2)
    assert "leaf 0: float64[100], before float64[200, 100]" in compiled.explain_recompiles()
    fg.clear_caches()
    assert compiled.cache_info().currsize == 0


def test_memory_that_is_there_has_no_other_name() -> None:
    """Nor is it dropped, which would free nothing; what NumPy allocates is."""

    def f(x: Any) -> Any:
        y = np.sin(x) @ np.cos(x)
        z = np.cumsum(y, axis=0)
        return np.cos(y - z), np.sum(y * z[:1] - x)

    x = np.random.default_rng(0).standard_normal((100, 100))
    text = Program(simplify(fg.make_graph(f)(x))).text
    assert " = w[" not in text
    assert " = o[" not in text
    assert "return (o[0], " in text
    assert text.count("del ") == 1  # the sum, and its view
    compiled = fg.jit(f)
    for k in range(4):
        for got, wanted in zip(compiled(x + k), f(x + k), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-12)

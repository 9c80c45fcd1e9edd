"""Optimisers: one table drives the comparison with optax, and every engine, dtype and structure."""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
import funcgraph.numpy as fnp
from funcgraph import optim
from funcgraph.errors import OptimizerError, TreeError

STEPS = 100
BACKENDS = ["numpy", "xla"] if importlib.util.find_spec("jax") else ["numpy"]
RNG = np.random.default_rng(0)

MASK = {"layers": [{"w": True, "b": False}, {"w": True, "b": False}], "scale": False, "none": None}


def params(dtype: Any = np.float64) -> Any:
    rng = np.random.default_rng(1)
    draw = lambda *shape: rng.standard_normal(shape).astype(dtype)
    layers = [{"w": draw(3, 4), "b": draw(4)}, {"w": draw(4, 2), "b": draw(2)}]
    return {"layers": layers, "scale": dtype(0.7), "none": None}


def weights_only(p: Any) -> Any:
    return fg.tree.map(lambda x: np.ndim(x) > 1, p)


def gradients(p: Any, step: int) -> Any:
    """Return a smooth function of the parameters and of the step, sometimes large, with zeros."""
    f = lambda x: 3 * np.cos(0.3 * step) * np.sin(2 * x) + 0.1 * x
    return fg.tree.map(lambda x: np.asarray(f(x) * (np.abs(x) > 0.05), np.asarray(x).dtype)[()], p)


def exact(o: Any, schedule: Any) -> Any:
    """Return a schedule that optax, too, computes in float64: JAX divides int32 in float32."""
    return schedule if o is optim else lambda count: schedule(count.astype(float))


def table(o: Any) -> dict[str, Any]:
    """Return every optimiser with its options, made by a module: funcgraph.optim or optax."""
    cosine = exact(o, o.cosine_decay_schedule(0.1, 60, 0.1))
    warm = exact(o, o.warmup_cosine_decay_schedule(0.0, 0.1, 10, 80, 0.01))
    parts = [o.linear_schedule(0.0, 0.1, 20), o.exponential_decay(0.1, 9, 0.7)]
    joined = exact(o, o.join_schedules(parts, [20]))
    return {
        "sgd": o.sgd(0.05),
        "sgd schedule": o.sgd(cosine),
        "momentum": o.sgd(0.05, 0.9),
        "nesterov": o.sgd(warm, momentum=0.9, nesterov=True),
        "adam": o.adam(0.1),
        "adam options": o.adam(0.1, b1=0.8, b2=0.95, eps=1e-3, eps_root=1e-4),
        "adam schedule": o.adam(joined),
        "nadam": o.nadam(0.1, eps_root=1e-6),
        "adamw": o.adamw(0.1),
        "adamw mask": o.adamw(warm, weight_decay=0.03, mask=MASK),
        "adamw callable": o.adamw(0.1, weight_decay=exact(o, o.linear_schedule(0.0, 0.1, 50)),
                                  mask=weights_only, nesterov=True),
        "nadamw": o.nadamw(0.01),
        "rmsprop": o.rmsprop(0.01),
        "rmsprop outside": o.rmsprop(0.01, 0.8, 1e-4, 1.0, eps_in_sqrt=False, momentum=0.9),
        "rmsprop corrected": o.rmsprop(cosine, bias_correction=True, momentum=0.5, nesterov=True),
        "rmsprop corrected outside": o.rmsprop(0.01, eps_in_sqrt=False, bias_correction=True),
        "rmsprop centered": o.rmsprop(0.01, centered=True, eps=1e-4),
        "rmsprop centered corrected": o.rmsprop(
            0.01, eps=0.1, centered=True, bias_correction=True, momentum=0.5
        ),
        "adagrad": o.adagrad(0.1),
        "adagrad zero": o.adagrad(0.1, 0.0, 0.0),
        "lion": o.lion(0.01),
        "lion options": o.lion(cosine, 0.8, 0.95, weight_decay=0.1, mask=weights_only),
        "clip": o.chain(o.clip(0.5), o.sgd(0.1)),
        "global norm": o.chain(o.clip_by_global_norm(2.0), o.adam(0.1)),
        "decayed weights": o.chain(o.add_decayed_weights(0.1), o.sgd(0.1, momentum=0.9)),
        "parts": o.chain(o.scale_by_adam(), o.scale(0.5), o.trace(0.5, True),
                         o.scale_by_learning_rate(0.1), o.scale_by_schedule(joined)),
        "frozen": o.chain(o.adam(0.1), o.masked(o.set_to_zero(), weights_only)),
        "masked": o.masked(o.chain(o.sgd(0.1, 0.9), o.identity()), MASK),
        "ascent": o.scale_by_learning_rate(0.01, flip_sign=False),
    }  # fmt: skip


NAMES = list(table(optim))


def close(got: Any, wanted: Any, tol: float) -> None:
    for (path, g), w in zip(fg.tree.leaves_with_path(got), fg.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(
            np.asarray(g), np.asarray(w), rtol=tol, atol=tol, err_msg=fg.tree.keystr(path)
        )


def run(tx: Any, p: Any, steps: int = STEPS, apply: Any = optim.apply_updates) -> Any:
    state = tx.init(p)
    for step in range(steps):
        updates, state = tx.update(gradients(p, step), state, p)
        p = apply(p, updates)
    return p, state


@functools.cache
def reference(name: str) -> Any:
    optax = pytest.importorskip("optax")
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        tx = table(optax)[name]
        tx = optax.GradientTransformation(tx.init, jax.jit(tx.update))
        p, state = run(tx, params(), apply=optax.apply_updates)
        return jax.tree.map(np.asarray, (p, state))


@pytest.mark.parametrize("name", NAMES)
def test_a_hundred_steps_are_optax_s(name: str) -> None:
    p, state = run(table(optim)[name], params())
    wanted, wanted_state = reference(name)
    close(p, wanted, 1e-12)
    for x in fg.tree.leaves(p):
        assert isinstance(x, (np.ndarray, np.float64)) and x.dtype == np.float64
    if "rmsprop" not in name:  # ours counts steps in every case
        close(state, wanted_state, 1e-12)
        paths = lambda t: [fg.tree.keystr(path) for path, _ in fg.tree.leaves_with_path(t)]
        assert paths(state) == paths(wanted_state)  # the same names, too


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NAMES)
def test_compiled_steps_are_the_eager_ones(name: str, backend: str) -> None:
    tx = table(optim)[name]

    @fg.jit(backend=backend)
    def step(p: Any, state: Any, grads: Any) -> Any:
        updates, state = tx.update(grads, state, p)
        return optim.apply_updates(p, updates), state

    p, state = params(), tx.init(params())
    for k in range(5):
        p, state = step(p, state, gradients(params(), k))
    wanted, wanted_state = params(), tx.init(params())
    for k in range(5):
        updates, wanted_state = tx.update(gradients(params(), k), wanted_state, wanted)
        wanted = optim.apply_updates(wanted, updates)
    close((p, state), (wanted, wanted_state), 1e-12)
    assert fg.tree.structure(state) == fg.tree.structure(wanted_state)
    assert step.cache_info().misses == 1


@pytest.mark.parametrize("name", NAMES)
def test_dtypes_are_kept_in_every_leaf(name: str) -> None:
    tx = table(optim)[name]
    p = {**params(np.float32), "scale": 0.7}  # a Python float beside float32
    p["layers"][1] = params(np.float64)["layers"][1]
    state = tx.init(p)
    new, new_state = p, state
    for step in range(3):
        updates, new_state = tx.update(gradients(new, step), new_state, new)
        new = optim.apply_updates(new, updates)
    for (path, a), b in zip(fg.tree.leaves_with_path(new), fg.tree.leaves(p), strict=True):
        assert type(a) is type(b), fg.tree.keystr(path)
        assert np.asarray(a).dtype == np.asarray(b).dtype, fg.tree.keystr(path)
    avals = lambda t: [(np.shape(x), x.dtype) for x in fg.tree.leaves(t)]
    assert avals(state) == avals(new_state)
    counts = [x for path, x in fg.tree.leaves_with_path(new_state) if "count" in str(path[-1])]
    assert all(x.dtype == np.int32 and x == 3 for x in counts)
    leaves, structure = fg.tree.flatten(new_state)
    assert fg.tree.structure(fg.tree.unflatten(structure, leaves)) == structure


@pytest.mark.parametrize("name", ["nesterov", "adamw mask", "adagrad", "lion", "global norm"])
def test_inside_jax_and_optax(name: str) -> None:
    jax, optax = pytest.importorskip("jax"), pytest.importorskip("optax")
    with jax.enable_x64(True):
        ours = optax.chain(table(optim)[name], optax.scale(0.5))
        theirs = optax.chain(table(optax)[name], optax.scale(0.5))
        p = jax.tree.map(jax.numpy.asarray, params())
        step = lambda tx: jax.jit(tx.update)(gradients(p, 1), tx.init(p), p)[0]
        close(step(ours), step(theirs), 1e-12)


def test_jax_arrays_of_64_bits_stay_so_without_x64() -> None:
    jax = pytest.importorskip("jax")
    with jax.enable_x64(False):
        p = fg.jit(lambda x: 2 * x, backend="xla")(np.ones(3))
        tx = optim.chain(optim.clip_by_global_norm(1.0), optim.adamw(0.1))
        updates, state = tx.update(p, tx.init(p), p)
        new = optim.apply_updates(p, updates)
        assert isinstance(new, jax.Array)
        assert new.dtype == np.float64 == updates.dtype == state[1][0].mu.dtype
        assert optim.global_norm(p).dtype == np.float64
        tx = optim.from_optax(pytest.importorskip("optax").adabelief(0.1))
        updates, state = tx.update(p, tx.init(p), p)
        assert updates.dtype == np.float64 == state[0].mu.dtype


def test_complex_parameters() -> None:
    optax, jax = pytest.importorskip("optax"), pytest.importorskip("jax")
    z = RNG.standard_normal(4) + 1j * RNG.standard_normal(4)
    with jax.enable_x64(True):
        for make in (lambda o: o.adam(0.1), lambda o: o.rmsprop(0.1), lambda o: o.adagrad(0.1),
                     lambda o: o.chain(o.clip_by_global_norm(0.5), o.sgd(0.1, 0.9))):  # fmt: skip
            ours, theirs = make(optim), make(optax)
            got, wanted = z, jax.numpy.asarray(z)
            state, their_state = ours.init(got), theirs.init(wanted)
            for _ in range(5):
                updates, state = ours.update(got**2, state)
                got = optim.apply_updates(got, updates)
                updates, their_state = theirs.update(wanted**2, their_state)
                wanted = optax.apply_updates(wanted, updates)
            close(got, wanted, 1e-12)
            assert got.dtype == np.complex128


def test_scalars_of_any_kind_as_hyper_parameters() -> None:
    g = np.ones(3, np.float32)
    for lr in (np.float64(0.1), np.array(0.1), np.float32(0.1)):
        tx = optim.adamw(lr, np.float64(0.9), np.float64(0.999), np.float64(1e-8),
                         weight_decay=np.float64(1e-4))  # fmt: skip
        updates, state = tx.update(g, tx.init(g), g)
        assert updates.dtype == np.float32 == state[0].mu.dtype == state[0].nu.dtype
    jax = pytest.importorskip("jax")
    updates, _ = optim.sgd(jax.numpy.float32(0.1)).update(g, optim.sgd(0.1).init(g))
    assert type(updates) is np.ndarray and updates.dtype == np.float32


def test_the_dtype_of_the_accumulators() -> None:
    g = np.ones(3, np.float32)
    for tx, read in (
        (optim.adam(0.1, mu_dtype=np.float16), lambda s: s[0].mu),
        (optim.lion(0.1, mu_dtype="float16"), lambda s: s[0].mu),
        (optim.sgd(0.1, 0.9, accumulator_dtype=np.float64), lambda s: s[0].trace),
    ):
        state = tx.init(g)
        wanted = read(state).dtype
        assert wanted != np.float32
        updates, state = tx.update(g, state, g)
        assert read(state).dtype == wanted
        assert optim.apply_updates(g, updates).dtype == np.float32


def test_derivatives_through_an_update() -> None:
    p, g = np.array([1.0, -2.0]), np.array([0.5, 0.3])

    def after(rate: Any) -> Any:
        tx = optim.adam(rate, eps_root=1e-8)
        x, state = p, tx.init(p)
        for _ in range(3):
            updates, state = tx.update(2 * x * g, state, x)
            x = optim.apply_updates(x, updates)
        return np.sum(x**2)

    numeric = (after(0.1 + 1e-6) - after(0.1 - 1e-6)) / 2e-6
    np.testing.assert_allclose(fg.grad(after)(0.1), numeric, rtol=1e-7)
    np.testing.assert_allclose(fg.jit(fg.grad(after))(0.1), numeric, rtol=1e-7)
    rates = np.array([0.1, 0.2])
    np.testing.assert_allclose(fg.vmap(after)(rates), [after(0.1), after(0.2)], rtol=1e-14)


def test_no_update_is_nan_where_the_gradient_is_zero() -> None:
    g = np.zeros(3)
    for name, tx in table(optim).items():
        if name not in ("adamw mask", "masked", "adamw callable", "frozen", "lion options"):
            updates, _ = tx.update(g, tx.init(g), g)
            np.testing.assert_array_equal(updates, 0 * g, err_msg=name)


def test_a_sum_of_squares_that_is_nan_stops_its_element_alone() -> None:
    tx = optim.scale_by_rss()
    _, state = tx.update(np.array([np.nan, 1.0]), tx.init(np.zeros(2)))
    updates, _ = tx.update(np.ones(2), state)
    np.testing.assert_allclose(updates, [0.0, 1 / np.sqrt(2.1)], rtol=1e-6)  # as optax


def test_the_number_of_steps_does_not_overflow() -> None:
    tx = optim.scale_by_schedule(lambda count: 1.0)
    state = optim.ScaleByScheduleState(np.int32(2**31 - 2))
    for _ in range(3):
        _, state = tx.update(1.0, state)
    assert state.count == 2**31 - 1 and state.count.dtype == np.int32


def test_global_norm() -> None:
    t = {"a": RNG.standard_normal((3, 2)), "b": 1.5, "c": np.array([1 + 2j]), "n": None}
    flat = np.concatenate([np.ravel(x) for x in fg.tree.leaves(t)])
    np.testing.assert_allclose(optim.global_norm(t), np.linalg.norm(flat), rtol=1e-15)
    assert optim.global_norm(np.ones(3, np.float32)).dtype == np.float32
    assert optim.global_norm({}) == 0


def test_parameters_keep_their_type() -> None:
    p = {"f": 1.0, "i": 2, "z": 1j, "zero": np.array(1.0), "s": np.float32(1), "n": None}
    u = {"f": np.float64(1), "i": 0.5, "z": 1.0, "zero": 1.0, "s": np.float64(1), "n": None}
    new = optim.apply_updates(p, u)
    assert new == {"f": 2.0, "i": 2.5, "z": 1 + 1j, "zero": 2.0, "s": 2.0, "n": None}
    kinds = {k: type(v) for k, v in new.items()}
    assert kinds == {"f": float, "i": float, "z": complex, "zero": np.ndarray, "s": np.float32,
                     "n": type(None)}  # fmt: skip


def test_integers_count_as_floats() -> None:
    for make in (lambda: optim.adam(0.1), lambda: optim.sgd(0.1, 0.9), lambda: optim.rmsprop(0.1)):
        found = []
        for p in (3, 3.0):
            tx = make()
            state = tx.init(p)
            for _ in range(5):
                updates, state = tx.update(fg.grad(lambda x: x**2)(p), state, p)
                p = optim.apply_updates(p, updates)
            found.append(p)
        assert found[0] == found[1] < 3


def test_prefixes_as_masks() -> None:
    p = {"encoder": {"w": np.ones(2), "b": np.ones(2)}, "head": np.ones(2)}
    tx = optim.masked(optim.sgd(0.1, 0.9), {"encoder": False, "head": True})
    state = tx.init(p)
    assert [x.shape for x in fg.tree.leaves(state)] == [(2,)]
    updates, _ = tx.update(p, state)
    np.testing.assert_array_equal(updates["encoder"]["w"], p["encoder"]["w"])
    np.testing.assert_allclose(updates["head"], -0.1)
    assert isinstance(state.inner_state[0].trace["encoder"], optim.MaskedNode)


def test_frozen_parameters_cost_no_gradient() -> None:
    frozen = optim.chain(optim.sgd(0.1), optim.masked(optim.set_to_zero(), {"a": True, "b": False}))

    def step(p: Any) -> Any:
        grads = fg.grad(lambda p: np.sum(np.sin(p["a"]) * np.tanh(p["b"])))(p)
        return optim.apply_updates(p, frozen.update(grads, frozen.init(p))[0])

    graph = str(fg.jit(step).graph({"a": np.ones(3), "b": np.ones(3)}))
    assert "cos" not in graph


def test_messages() -> None:
    optax = pytest.importorskip("optax")
    with pytest.raises(OptimizerError, match=r"chain takes .*optim\.from_optax"):
        optim.chain(optim.sgd(0.1), optax.clip(1.0))
    with pytest.raises(OptimizerError, match=r"masked takes .* got 3"):
        optim.masked(3, True)
    with pytest.raises(OptimizerError, match="weight decay needs the parameters"):
        optim.adamw(0.1).update(1.0, optim.adamw(0.1).init(1.0))
    with pytest.raises(OptimizerError, match=r"chain of 2 is a tuple of 2 states, got .*init"):
        optim.sgd(0.1).update(1.0, optim.EmptyState())
    with pytest.raises(OptimizerError, match="from_optax needs a gradient transformation"):
        optim.from_optax(optax.constant_schedule(0.1))
    with pytest.raises(TreeError, match=r"at \['a'\].*lengths: expected 1, got 2"):
        optim.apply_updates({"a": [1.0]}, {"a": [1.0, 2.0]})
    with pytest.raises(TreeError, match=r"unexpected \['b'\]"):
        optim.masked(optim.sgd(0.1), {"a": True}).init({"a": 1.0, "b": 2.0})


def test_the_first_step_has_the_number_0() -> None:
    seen: list[int] = []
    tx = optim.adamw(lambda count: (seen.append(int(count)), 0.1)[1])
    state = tx.init(1.0)
    for _ in range(3):
        _, state = tx.update(1.0, state, 1.0)
    assert seen == [0, 1, 2] and state[-1].count == 3


# --- optax ---------------------------------------------------------------------------------------


def others(optax: Any) -> dict[str, Any]:
    return {
        "adabelief": optax.adabelief(0.05),
        "adafactor": optax.adafactor(0.05, min_dim_size_to_factor=2),
        "yogi": optax.yogi(0.05),
        "lamb": optax.lamb(optax.cosine_decay_schedule(0.05, 20)),
        "amsgrad": optax.chain(optax.clip_by_block_rms(1.0), optax.amsgrad(0.05)),
        "decay schedule": optax.adamw(0.05, weight_decay=optax.linear_schedule(0.0, 0.1, 10)),
    }


@pytest.mark.parametrize(
    "name",
    ["adafactor", "lamb", "decay schedule"]
    + [pytest.param(n, marks=pytest.mark.slow) for n in ("adabelief", "amsgrad", "yogi")],
)
def test_optax_around_numpy_steps_and_inside(name: str) -> None:
    optax, jax = pytest.importorskip("optax"), pytest.importorskip("jax")
    with jax.enable_x64(True):
        p = jax.tree.map(jax.numpy.asarray, params())
        tx = others(optax)[name]
        tx = optax.GradientTransformation(tx.init, jax.jit(tx.update))
        wanted = run(tx, p, 10, optax.apply_updates)[0]
    for x64 in (False, True):
        with jax.enable_x64(x64):
            tx = optim.from_optax(others(optax)[name])
            got, state = run(tx, params(), 10)
            close(got, wanted, 1e-12)
            assert all(isinstance(x, (np.ndarray, np.generic)) for x in fg.tree.leaves(state))
            assert all(x.dtype == np.float64 for x in fg.tree.leaves(got))
            for backend in ("numpy", "xla"):
                step = fg.jit(lambda p, s, g: tx.update(g, s, p), backend=backend)  # noqa: B023
                p, state = params(), tx.init(params())
                for k in range(3):
                    updates, state = step(p, state, gradients(p, k))
                    p = optim.apply_updates(p, fg.tree.map(np.asarray, updates))
                    assert all(x.dtype == np.float64 for x in fg.tree.leaves(updates))
    single, _ = run(optim.from_optax(others(optax)[name]), params(np.float32), 3)
    assert all(x.dtype == np.float32 for x in fg.tree.leaves(single))


def test_chains_of_ours_and_optax_s() -> None:
    optax = pytest.importorskip("optax")
    tx = optim.chain(
        optim.clip_by_global_norm(1.0),
        optim.masked(optim.from_optax(optax.scale_by_belief()), MASK),
        optim.scale_by_learning_rate(optim.cosine_decay_schedule(0.1, 50)),
    )
    p, state = run(tx, params(), 20)
    assert state[2].count == 20 and all(x.dtype == np.float64 for x in fg.tree.leaves(p))
    plateau = optim.from_optax(optax.contrib.reduce_on_plateau())
    updates, _ = plateau.update(1.0, plateau.init(1.0), value=2.0)
    assert updates == 1.0


def test_training_with_funcgraph_s_gradients() -> None:
    x = RNG.standard_normal((64, 3))
    y = x @ np.array([1.0, -2.0, 0.5]) + 3.0
    loss = lambda p: fnp.mean((x @ p["w"] + p["b"] - y) ** 2)
    for tx in (optim.adam(optim.cosine_decay_schedule(0.3, 300)), optim.sgd(0.1, 0.9, True)):
        p, state = {"w": np.zeros(3), "b": 0.0}, tx.init({"w": np.zeros(3), "b": 0.0})

        @fg.jit
        def step(p: Any, state: Any, tx: Any = tx) -> Any:
            updates, state = tx.update(fg.grad(loss)(p), state, p)
            return optim.apply_updates(p, updates), state

        for _ in range(300):
            p, state = step(p, state)
        np.testing.assert_allclose(p["w"], [1.0, -2.0, 0.5], atol=1e-3)
        np.testing.assert_allclose(p["b"], 3.0, atol=1e-3)


@pytest.mark.parametrize("bias", [np.float32(0.0), 0.0])
def test_loops_of_steps_and_ensembles(bias: Any) -> None:
    x = RNG.standard_normal((20, 3)).astype(np.float32)
    y = x @ np.array([1, 2, 3], np.float32)
    schedule = optim.warmup_cosine_decay_schedule(0.0, 0.3, 10, 50)
    tx = optim.chain(optim.clip_by_global_norm(1.0), optim.adamw(schedule))
    loss = lambda p: fnp.mean((x @ p["w"] + p["b"] - y) ** 2)

    def train(p: Any) -> Any:
        def body(carry: Any, _: Any) -> Any:
            p, state = carry
            updates, state = tx.update(fg.grad(loss)(p), state, p)
            return (optim.apply_updates(p, updates), state), loss(p)

        return fg.scan(body, (p, tx.init(p)), None, length=30)

    p = {"w": np.zeros(3, np.float32), "b": bias}
    (wanted, state), values = train(p)
    assert wanted["w"].dtype == np.float32 and state[1][0].count == 30 and values[-1] < values[0]
    for backend in BACKENDS:
        (got, state), _ = fg.jit(train, backend=backend)(p)
        close(got, wanted, 1e-4)
        assert got["w"].dtype == np.float32 and state[1][0].count.dtype == np.int32
    starts = np.stack([np.zeros(3), np.ones(3)])
    final = fg.vmap(lambda w: train({"w": w, "b": bias})[0][0]["w"])(starts)
    for w, got in zip(starts, final, strict=True):
        close(got, train({"w": w, "b": bias})[0][0]["w"], 1e-9)

"""One step of training: the contract of the loss, frozen parameters, accumulation, both engines."""

from __future__ import annotations

import numpy as np
import pytest

import funcgraph as fg
from funcgraph import nn, optim, random, train
from funcgraph.errors import CarryTypeError, FuncgraphError, TrainingError

KEY = random.key(0)
X = np.asarray(random.normal(random.key(1), (12, 4)))
Y = np.asarray(random.normal(random.key(2), (12, 2)))


def mlp():
    return nn.serial(body=nn.serial(nn.Dense(5), np.tanh), head=nn.Dense(2))


MODEL = mlp()
PARAMS = MODEL.init(KEY, (-1, 4))[1]


def loss(params, x, y):
    return np.mean((MODEL.apply(params, x) - y) ** 2)


def full_model():
    """A model with a state and a key."""
    return nn.serial(nn.Dense(6, bias=False), nn.BatchNorm(), np.tanh, nn.Dropout(0.5), nn.Dense(2))


FULL = full_model()


def full_loss(params, state, x, y, *, key=None, train=False):
    out, state = FULL.apply(params, state, x, key=key, train=train)
    return np.mean((out - y) ** 2), state


def run(step, state, n=5, x=X, y=Y):
    losses = []
    for _ in range(n):
        state, metrics = step(state, x, y)
        losses.append(float(metrics.loss))
    return state, losses


def close(a, b, rtol=1e-6, atol=1e-7):
    fg.tree.map(lambda p, q: np.testing.assert_allclose(p, q, rtol, atol), a, b)


@pytest.fixture(params=["numpy", "xla"])
def backend(request):
    if request.param == "xla":
        pytest.importorskip("jax")
    return request.param


# --- the step ------------------------------------------------------------------------------------


def test_a_step_is_what_one_would_write(backend):
    optimizer = optim.adam(0.01)
    step = train.train_step(loss, optimizer, backend=backend)
    state = step.init(PARAMS)
    params, opt_state = PARAMS, optimizer.init(PARAMS)
    for n in range(4):
        value, grads = fg.value_and_grad(loss)(params, X, Y)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        params = optim.apply_updates(params, updates)
        state, metrics = step(state, X, Y)
        np.testing.assert_allclose(metrics.loss, value, rtol=1e-6)
        np.testing.assert_allclose(metrics.grad_norm, optim.global_norm(grads), rtol=1e-6)
        assert metrics.step == state.step == n + 1
        assert metrics.learning_rate == 0.01 and metrics.aux is None
    close(state.params, params, 1e-5)
    assert {p.dtype for p in fg.tree.leaves(state.params)} == {np.dtype(np.float32)}
    np.testing.assert_allclose(step.evaluate(state, X, Y), loss(params, X, Y), rtol=1e-5)


def test_arguments_keep_their_memory(backend):
    if backend == "xla":
        jnp = pytest.importorskip("jax.numpy")
        params = fg.tree.map(jnp.asarray, PARAMS)
    else:
        params = fg.tree.map(np.copy, PARAMS)
    step = train.train_step(loss, optim.sgd(0.1), backend=backend)
    run(step, step.init(params))
    close(params, PARAMS, 0, 0)
    keep = train.train_step(loss, optim.sgd(0.1), backend=backend, donate=False)
    first = keep.init(params)
    _, losses = run(keep, first)
    assert run(keep, first)[1] == losses


def test_one_program_serves_all_steps(backend):
    step = train.train_step(full_loss, optim.adam(0.01), backend=backend)
    _, params, state = FULL.init(KEY, (-1, 4))
    run(step, step.init(params, state=state, key=KEY))
    assert step._update.cache_info().misses == 1


def test_engines_agree_with_state_and_keys():
    pytest.importorskip("jax")
    _, params, state = FULL.init(KEY, (-1, 4))
    found = {}
    for backend in ("numpy", "xla"):
        step = train.train_step(full_loss, optim.adam(0.01), backend=backend)
        found[backend] = run(step, step.init(params, state=state, key=KEY), 10)
    np.testing.assert_allclose(found["numpy"][1], found["xla"][1], rtol=1e-6)
    close(found["numpy"][0], found["xla"][0], 1e-4, 1e-6)


def test_state_and_keys_are_threaded():
    _, params, state = FULL.init(KEY, (-1, 4))
    step = train.train_step(full_loss, optim.sgd(0.0))
    first = step.init(params, state=state, key=KEY)
    expected = state
    values = []
    for n in range(3):
        key = random.fold_in(KEY, n)
        value, expected = full_loss(params, expected, X, Y, key=key, train=True)
        first, metrics = step(first, X, Y)
        np.testing.assert_allclose(metrics.loss, value, rtol=1e-6)
        values.append(float(value))
    assert len(set(values)) == 3  # each step has masks of its own
    close(first.state, expected, 1e-5)
    np.testing.assert_array_equal(first.key, KEY)
    value, _ = full_loss(params, expected, X, Y)
    np.testing.assert_allclose(step.evaluate(first, X, Y), value, rtol=1e-6)


def test_typed_keys_of_jax():
    jax = pytest.importorskip("jax")
    _, params, state = FULL.init(KEY, (-1, 4))
    step = train.train_step(full_loss, optim.sgd(0.1))
    a = run(step, step.init(params, state=state, key=jax.random.key(0)), 2)[1]
    assert a == run(step, step.init(params, state=state, key=KEY), 2)[1]


def test_aux_is_passed_on(backend):
    def with_aux(params, x, y):
        out = MODEL.apply(params, x)
        return np.mean((out - y) ** 2), {"largest": np.max(out)}

    step = train.train_step(with_aux, optim.sgd(0.1), has_aux=True, backend=backend)
    state = step.init(PARAMS)
    value, aux = step.evaluate(state, X, Y)
    _, metrics = step(state, X, Y)
    np.testing.assert_allclose(metrics.aux["largest"], aux["largest"], rtol=1e-6)
    np.testing.assert_allclose(metrics.loss, value, rtol=1e-6)


def test_learning_rates_are_reported(backend):
    schedule = optim.linear_schedule(1.0, 0.0, 4)
    chained = optim.chain(optim.clip_by_global_norm(1.0), optim.adamw(schedule))
    step = train.train_step(loss, chained, backend=backend)
    state, rates = step.init(PARAMS), []
    for _ in range(5):
        state, metrics = step(state, X, Y)
        rates.append(float(metrics.learning_rate))
    assert rates == [1.0, 0.75, 0.5, 0.25, 0.0]
    step = train.train_step(loss, optim.scale(-0.1))
    assert step(step.init(PARAMS), X, Y)[1].learning_rate is None
    both = optim.chain(
        optim.masked(optim.sgd(0.1), {"body": True, "head": False}),
        optim.masked(optim.sgd(0.2), {"body": False, "head": True}),
    )
    assert both.learning_rate is None and optim.masked(optim.sgd(0.1), True).learning_rate == 0.1


def test_optimisers_of_optax(backend):
    optax = pytest.importorskip("optax")
    step = train.train_step(loss, optim.from_optax(optax.adam(0.01)), backend=backend)
    ours = train.train_step(loss, optim.adam(0.01), backend=backend)
    np.testing.assert_allclose(
        run(step, step.init(PARAMS))[1], run(ours, ours.init(PARAMS))[1], rtol=1e-5
    )
    with pytest.raises(TrainingError, match=r"optim\.from_optax"):
        train.train_step(loss, optax.adam(0.01))


def test_complex_parameters_go_downhill(backend):
    target = np.array([1 + 2j, -3j])
    step = train.train_step(
        lambda z, t: np.sum(np.abs(z - t) ** 2), optim.sgd(0.1), backend=backend
    )
    state = step.init(np.zeros(2, complex))
    for _ in range(60):
        state, _ = step(state, target)
    np.testing.assert_allclose(state.params, target, atol=1e-4)


def test_a_run_is_a_pure_function_of_its_state():
    step = train.train_step(full_loss, optim.adam(0.01), donate=False)
    _, params, state = FULL.init(KEY, (-1, 4))
    start = step.init(params, state=state, key=KEY)
    end, losses = run(step, start, 6)
    middle, first = run(step, start, 3)
    again, second = run(step, middle, 3)
    assert first + second == losses
    close(end, again, 0, 0)


def test_ensembles_by_vmap():
    step = train.train_step(loss, optim.sgd(0.1), donate=False)
    members = [MODEL.init(random.key(n), (-1, 4))[1] for n in range(3)]
    states = [step.init(p) for p in members]
    stacked = fg.tree.map(lambda *xs: np.stack(xs), *states)
    new, metrics = fg.vmap(lambda s: step(s, X, Y))(stacked)
    alone, m = step(states[1], X, Y)
    np.testing.assert_allclose(metrics.loss[1], m.loss, rtol=1e-5)
    close(fg.tree.map(lambda p: p[1], new.params), alone.params, 1e-5)


# --- frozen parameters ---------------------------------------------------------------------------


def count(step, params):
    """Equations of the step's program, and those that are products of matrices."""
    names = [e.primitive.name for e in step.graph(step.init(params), X, Y).equations]
    return len(names), names.count("matmul")


@pytest.mark.parametrize(
    "choice",
    [
        {"freeze": "body/**"},
        {"trainable": "head/**"},
        {"trainable": ["head/w", "head/b"]},
        {"trainable": lambda path, leaf: path.startswith("head")},
    ],
)
def test_what_is_frozen_costs_nothing_and_stays(backend, choice):
    optimizer = optim.adamw(0.01, weight_decay=0.1)
    free = train.train_step(loss, optimizer, backend=backend)
    step = train.train_step(loss, optimizer, backend=backend, **choice)
    equations, products = count(step, PARAMS)
    all_equations, all_products = count(free, PARAMS)
    # Forward 2, by the head's weights 1, two squares for the norm; else 2 + 3 + 4.
    assert equations < 0.7 * all_equations and (products, all_products) == (5, 9)
    state, metrics = step(step.init(PARAMS), X, Y)
    close(state.params["body"], PARAMS["body"], 0, 0)
    assert not np.allclose(state.params["head"]["w"], PARAMS["head"]["w"])
    head = fg.grad(loss)(PARAMS, X, Y)["head"]
    np.testing.assert_allclose(metrics.grad_norm, optim.global_norm(head), rtol=1e-6)
    assert len(fg.tree.leaves(state.opt_state)) < len(fg.tree.leaves(free.init(PARAMS).opt_state))
    moments = state.opt_state[0].mu
    assert moments["body"]["dense"] == {"b": None, "w": None}


def test_frozen_integers_are_allowed():
    params = {"table": np.arange(4), "w": np.ones(4)}
    step = train.train_step(lambda p: np.sum(p["w"] * p["table"]), optim.sgd(0.1), freeze="table")
    state, _ = step(step.init(params))
    np.testing.assert_array_equal(state.params["table"], np.arange(4))
    step = train.train_step(lambda p: np.sum(p["w"] * p["table"]), optim.sgd(0.1))
    with pytest.raises(FuncgraphError, match=r"\['table'\] has dtype int64"):
        step(step.init(params))


def test_masks_of_the_optimiser_fit_frozen_parameters():
    decay = {"body": {"dense": {"w": True, "b": False}}, "head": {"w": True, "b": False}}
    step = train.train_step(loss, optim.adamw(0.01, mask=decay), freeze="body/**")
    state, _ = step(step.init(PARAMS), X, Y)
    close(state.params["body"], PARAMS["body"], 0, 0)


# --- accumulation --------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [2, 3, 12])
def test_accumulation_equals_the_large_batch(backend, parts):
    large = train.train_step(loss, optim.adam(0.01), backend=backend)
    small = train.train_step(loss, optim.adam(0.01), accumulate=parts, backend=backend)
    a, first = run(large, large.init(PARAMS))
    b, second = run(small, small.init(PARAMS))
    np.testing.assert_allclose(first, second, rtol=1e-5)
    close(a.params, b.params, 1e-4, 1e-6)
    _, m = large(large.init(PARAMS), X, Y)
    _, n = small(small.init(PARAMS), X, Y)
    np.testing.assert_allclose(m.grad_norm, n.grad_norm, rtol=1e-5)


def test_accumulation_threads_state_keys_and_aux(backend):
    def with_aux(params, state, x, y, *, key, train):
        value, state = full_loss(params, state, x, y, key=key, train=train)
        return value, state, {"rows": np.sum(x)}

    _, params, state = FULL.init(KEY, (-1, 4))
    step = train.train_step(with_aux, optim.sgd(0.1), accumulate=3, has_aux=True, backend=backend)
    new, metrics = step(step.init(params, state=state, key=KEY), X, Y)
    values, grads = [], []
    for i in range(3):
        x, y = X[4 * i : 4 * i + 4], Y[4 * i : 4 * i + 4]
        key = random.fold_in(random.fold_in(KEY, 0), i)
        grad = fg.value_and_grad(full_loss, has_aux=True)
        (value, state), g = grad(params, state, x, y, key=key, train=True)
        values.append(value)
        grads.append(g)
    np.testing.assert_allclose(metrics.loss, np.mean(values), rtol=1e-5)
    np.testing.assert_allclose(metrics.aux["rows"], X.reshape(3, -1).sum(1), rtol=1e-5, atol=1e-6)
    close(new.state, state, 1e-5, 1e-6)
    mean = fg.tree.map(lambda *g: sum(g) / 3, *grads)
    np.testing.assert_allclose(metrics.grad_norm, optim.global_norm(mean), rtol=1e-4)


def test_accumulation_keeps_the_program_small():
    sizes = [
        len(step.graph(step.init(PARAMS), X, Y).equations)
        for step in (train.train_step(loss, optim.sgd(0.1), accumulate=n) for n in (2, 12))
    ]
    assert sizes[0] == sizes[1]


# --- what is refused -----------------------------------------------------------------------------


def test_arguments_that_are_refused():
    with pytest.raises(TrainingError, match="trainable= or freeze=, not both"):
        train.train_step(loss, optim.sgd(0.1), trainable="*", freeze="*")
    for n in (0, 2.0, True):
        with pytest.raises(TrainingError, match="positive number of parts"):
            train.train_step(loss, optim.sgd(0.1), accumulate=n)
    with pytest.raises(TypeError, match="needs a function"):
        train.train_step(3, optim.sgd(0.1))
    with pytest.raises(TrainingError, match="no parameter is trained"):
        train.train_step(loss, optim.sgd(0.1), freeze="**").init(PARAMS)
    with pytest.raises(TrainingError, match=r"'haed/\*\*' fits no parameter.*'head/\*\*'"):
        train.train_step(loss, optim.sgd(0.1), freeze="haed/**").init(PARAMS)
    step = train.train_step(loss, optim.sgd(0.1))
    for call in (step, step.evaluate):
        with pytest.raises(TrainingError, match=r"takes a TrainState, got a dict"):
            call(PARAMS, X, Y)


def test_losses_that_break_the_contract():
    _, params, state = FULL.init(KEY, (-1, 4))
    with pytest.raises(TrainingError, match="takes a key"):
        train.train_step(full_loss, optim.sgd(0.1)).init(params, state=state)

    step = train.train_step(lambda p, x, y: (loss(p, x, y), 1), optim.sgd(0.1))
    with pytest.raises(TrainingError, match=r"must return loss, got 2 values.*has_aux=True"):
        step(step.init(PARAMS), X, Y)
    step = train.train_step(lambda p, s, x, y: loss(p, x, y), optim.sgd(0.1))
    with pytest.raises(TrainingError, match="must return loss and state, got a "):
        step(step.init(PARAMS, state=np.zeros(2)), X, Y)
    step = train.train_step(lambda p, s, x, y: (loss(p, x, y), s[:1]), optim.sgd(0.1))
    with pytest.raises(CarryTypeError, match="the state must keep its type"):
        step(step.init(PARAMS, state=np.zeros(2)), X, Y)
    step = train.train_step(lambda p, x, y: np.mean(x @ p["head"]["w"].T[:4]), optim.sgd(0.1))
    with pytest.raises(ValueError, match="matmul"):
        step(step.init(PARAMS), X, Y)


def test_batches_that_cannot_be_split():
    step = train.train_step(loss, optim.sgd(0.1), accumulate=5)
    with pytest.raises(TrainingError, match=r"array 0 of the batch has shape \(12, 4\).*multiple"):
        step(step.init(PARAMS), X, Y)
    with pytest.raises(TrainingError, match=r"array 1 of the batch has shape \(\)"):
        step(step.init(PARAMS), X[:10], 1.0)

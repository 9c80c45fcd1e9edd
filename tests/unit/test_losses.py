"""Losses: one table drives the comparison with optax, in every mode and on both engines."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
import funcgraph.numpy as fnp
from funcgraph import losses
from funcgraph.errors import DtypeError, RangeError, ShapeError, TreeError

BACKENDS = ["numpy", "xla"] if importlib.util.find_spec("jax") else ["numpy"]
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((2, 4, 5))
P, Q = (np.exp(a) / np.exp(a).sum(-1, keepdims=True) for a in (X, Y))
ONE_HOT = np.eye(5)[[1, 4, 0, 0]]
LABELS = np.array([1, 4, 0, 0])
MASK = RNG.random((4, 5)) > 0.4
MASK[:, 0] = True
KINKS = np.array([0.0, 1.0, -1.0, 2.0, -0.3])

# name, arguments, keywords; the first argument is differentiated, and the second if it is float.
CASES: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("squared_error", (X, Y), {}),
    ("squared_error", (X,), {}),
    ("l2_loss", (X, Y), {}),
    ("huber_loss", (3 * X, Y), {"delta": 0.7}),
    ("huber_loss", (KINKS,), {}),
    ("log_cosh", (X, Y), {}),
    ("log_cosh", (300 * KINKS,), {}),
    ("hinge_loss", (X, np.sign(Y)), {}),
    ("hinge_loss", (KINKS, np.ones(5)), {}),
    ("cosine_similarity", (X, Y), {}),
    ("cosine_distance", (X, Y), {"axis": 0, "epsilon": 0.5}),
    ("cosine_distance", (X, Y), {"axis": (0, 1), "where": MASK}),
    ("sigmoid_binary_cross_entropy", (3 * X, P), {}),
    ("sigmoid_binary_cross_entropy", (KINKS, np.array([0, 1, 1, 0, 1])), {}),
    ("sigmoid_binary_cross_entropy", (1e4 * KINKS, KINKS > 0), {}),
    ("softmax_cross_entropy", (X, P), {}),
    ("softmax_cross_entropy", (X, ONE_HOT), {"axis": 0}),
    ("softmax_cross_entropy", (X, 3 * P), {"axis": None}),
    ("softmax_cross_entropy", (X, P), {"axis": (0, 1), "where": MASK}),
    ("softmax_cross_entropy", (1e4 * X, ONE_HOT), {"where": MASK}),
    ("softmax_cross_entropy_with_integer_labels", (X, LABELS), {}),
    ("softmax_cross_entropy_with_integer_labels", (1e4 * X, LABELS), {}),
    ("softmax_cross_entropy_with_integer_labels", (X, np.array([3, 0, 1, 1, 2])), {"axis": 0}),
    ("softmax_cross_entropy_with_integer_labels", (X, LABELS), {"where": MASK}),
    ("softmax_cross_entropy_with_integer_labels", (X, np.int32(17)), {"axis": (1, 0)}),
    ("softmax_cross_entropy_with_integer_labels",
     (X.reshape(2, 2, 5), np.array([3, 9])), {"axis": (1, 2), "where": MASK.reshape(2, 2, 5)}),
    ("softmax_cross_entropy_with_integer_labels", (X[0], np.int64(2)), {}),
    ("smooth_labels", (ONE_HOT, 0.1), {}),
    ("smooth_labels", (P, 0.1), {"axis": (0, 1), "where": MASK}),
    ("kl_divergence", (np.log(P), Q), {}),
    ("kl_divergence", (np.log(P), Q), {"axis": None, "where": MASK}),
    ("kl_divergence_with_log_targets", (np.log(P), np.log(Q)), {"axis": 0}),
]  # fmt: skip
IDS = [f"{name}-{k}" for k, (name, _, _) in enumerate(CASES)]


def close(got: Any, wanted: Any, tol: float = 1e-10) -> None:
    for g, w in zip(fg.tree.leaves(got), fg.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(np.asarray(g), np.asarray(w), rtol=tol, atol=tol)


def moving(args: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(k for k, a in enumerate(args) if np.asarray(a).dtype.kind == "f")


@pytest.mark.parametrize(("name", "args", "kwargs"), CASES, ids=IDS)
def test_values_and_derivatives_are_optax_s(name: str, args: Any, kwargs: Any) -> None:
    optax, jax = pytest.importorskip("optax"), pytest.importorskip("jax")
    ours, theirs = getattr(losses, name), getattr(optax.losses, name)
    with jax.enable_x64(True):
        wanted = np.asarray(jax.jit(lambda *a: theirs(*a, **kwargs))(*args))
        got = ours(*args, **kwargs)
        close(got, wanted, 1e-12)
        assert np.shape(got) == wanted.shape and got.dtype == wanted.dtype == np.float64
        weights = np.cos(np.arange(wanted.size)).reshape(wanted.shape)
        argnums = moving(args)
        f = lambda *a: fnp.sum(weights * ours(*a, **kwargs))
        g = jax.jit(jax.grad(lambda *a: (weights * theirs(*a, **kwargs)).sum(), argnums))(*args)
        # optax's gradient by the labels is nan where they do not count; ours is 0.
        g = tuple(np.where(np.isnan(w), 0.0, w) for w in g)
        close(fg.grad(f, argnums)(*args), g)
        close(jax.jit(jax.grad(f, argnums))(*args), g)
        for backend in ("numpy", "xla"):
            close(fg.jit(fg.value_and_grad(f, argnums), backend=backend)(*args), (f(*args), g))
        x, rest = args[0], args[1:]
        first = lambda h: lambda x: h(x, *rest)
        v = np.sin(np.arange(np.size(x))).reshape(np.shape(x))
        close(fg.jvp(first(f), (x,), (v,))[1], np.sum(np.asarray(g[0]) * v))
        theirs_first = lambda x: (weights * theirs(x, *rest, **kwargs)).sum()
        h = jax.jit(lambda x, v: jax.jvp(jax.grad(theirs_first), (x,), (v,))[1])(x, v)
        if not name.startswith(("huber", "hinge")):  # at a kink the second derivative is free
            close(fg.hvp(first(f), (x,), (v,)), h)
        lanes = np.stack([x, x[..., ::-1]])
        close(fg.vmap(fg.grad(first(f)))(lanes), np.stack([fg.grad(first(f))(x) for x in lanes]))


@pytest.mark.parametrize(("name", "args", "kwargs"), CASES, ids=IDS)
def test_float32_stays(name: str, args: Any, kwargs: Any) -> None:
    args = [np.asarray(a, np.float32) if k in moving(args) else a for k, a in enumerate(args)]
    f = getattr(losses, name)
    assert f(*args, **kwargs).dtype == np.float32
    assert fg.grad(lambda *a: fnp.sum(f(*a, **kwargs)))(*args).dtype == np.float32


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint64])
def test_labels_of_any_integer_type(dtype: Any) -> None:
    z, labels = RNG.standard_normal((3, 600)), np.array([3, 100, 0])
    f = lambda z, n: fnp.sum(losses.softmax_cross_entropy_with_integer_labels(z, n))
    wanted = fg.value_and_grad(f)(z, labels)
    close(fg.value_and_grad(f)(z, labels.astype(dtype)), wanted)
    for backend in BACKENDS:
        close(fg.jit(fg.value_and_grad(f), backend=backend)(z, labels.astype(dtype)), wanted)


@pytest.mark.parametrize("size", [1e3, 1e30, 1e300])
def test_large_logits_give_finite_numbers(size: float) -> None:
    z = size * np.array([[1.0, -1.0, 0.5], [0.0, -1.0, -1.0]])
    labels, one_hot = np.array([1, 0]), np.eye(3)[[1, 0]]
    for f in (
        lambda z: losses.softmax_cross_entropy_with_integer_labels(z, labels),
        lambda z: losses.softmax_cross_entropy(z, one_hot),
        lambda z: losses.sigmoid_binary_cross_entropy(z, one_hot),
        lambda z: losses.log_cosh(z),
        lambda z: losses.huber_loss(z),
    ):
        value, grad = fg.value_and_grad(lambda z: fnp.sum(f(z)))(z)  # noqa: B023
        assert np.isfinite(value) and np.isfinite(grad).all()
        hvp = fg.hvp(lambda z: fnp.sum(f(z)), (z,), (np.ones_like(z),))  # noqa: B023
        assert np.isfinite(hvp).all()


def test_small_losses_are_not_rounded_to_zero() -> None:
    x = np.array([50.0, -50.0])
    loss = losses.sigmoid_binary_cross_entropy(x, np.array([1.0, 0.0]))
    np.testing.assert_allclose(loss, np.exp(-50.0), rtol=1e-14)
    z = np.array([0.0, -30.0, -30.0])
    loss = losses.softmax_cross_entropy_with_integer_labels(z, np.array(0))
    np.testing.assert_allclose(loss, 2 * np.exp(-30.0), rtol=1e-2)


def test_a_row_without_classes_has_no_loss() -> None:
    mask = np.array([[True, True], [False, False]])
    z, labels = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([0, 1])
    for f in (
        lambda z: losses.softmax_cross_entropy_with_integer_labels(z, labels, where=mask),
        lambda z: losses.softmax_cross_entropy(z, np.eye(2)[labels], where=mask),
    ):
        assert f(z)[1] == 0
        np.testing.assert_array_equal(fg.jacobian(f)(z)[1], 0)


def test_the_divergence_of_certain_targets_has_a_gradient() -> None:
    log_p = np.log(np.array([0.5, 0.25, 0.25]))
    one = np.array([1.0, 0.0, 0.0])
    value, grad = fg.value_and_grad(losses.kl_divergence)(log_p, one)
    np.testing.assert_allclose(value, np.log(2))
    np.testing.assert_array_equal(grad, -one)
    assert np.isfinite(fg.grad(losses.kl_divergence, 1)(log_p, one)).all()


# --- CTC -----------------------------------------------------------------------------------------


def ctc_arguments() -> tuple[Any, ...]:
    rng = np.random.default_rng(2)
    logits = 2 * rng.standard_normal((4, 9, 5))
    labels = np.array([[1, 2, 2, 0], [3, 3, 3, 4], [4, 1, 0, 0], [0, 0, 0, 0]])
    lengths, frames = np.array([3, 4, 2, 0]), np.array([9, 8, 5, 3])
    pad = lambda n, size: (np.arange(size) >= n[:, None]).astype(float)
    return logits, pad(frames, 9), labels, pad(lengths, 4)


def test_ctc_loss_is_optax_s() -> None:
    optax, jax = pytest.importorskip("optax"), pytest.importorskip("jax")
    args = ctc_arguments()
    with jax.enable_x64(True):
        wanted = np.asarray(optax.losses.ctc_loss(*args))
        close(losses.ctc_loss(*args), wanted)
        last = (*args[:2], np.maximum(args[2] - 1, 0), args[3])
        close(losses.ctc_loss(*last, blank_id=4), optax.losses.ctc_loss(*last, blank_id=4))
        weights = np.array([1.0, -2.0, 0.5, 3.0])
        f = lambda z: fnp.sum(weights * losses.ctc_loss(z, *args[1:]))
        theirs = lambda z: (weights * optax.losses.ctc_loss(z, *args[1:])).sum()
        g = jax.jit(jax.grad(theirs))(args[0])
        close(fg.grad(f)(args[0]), g)
        for backend in ("numpy", "xla"):
            close(fg.jit(fg.grad(f), backend=backend)(args[0]), g)
        v = np.cos(np.arange(args[0].size)).reshape(args[0].shape)
        close(fg.jvp(f, (args[0],), (v,))[1], np.sum(np.asarray(g) * v))


def test_ctc_loss_counts_alignments() -> None:
    none = np.zeros((1, 4))
    uniform = np.zeros((1, 4, 3))  # 81 equally likely alignments

    def count(labels: list[int]) -> int:
        loss = losses.ctc_loss(uniform, none, np.array([labels]), none[:, : len(labels)])
        return round(float(81 * np.exp(-loss[0])))

    assert (count([1]), count([1, 2]), count([1, 1])) == (10, 15, 5)
    short = losses.ctc_loss(uniform[:, :2], none[:, :2], np.array([[1, 1]]), none[:, :2])
    assert 1e4 < short[0] < 1e6  # impossible: large, not infinite
    z = np.random.default_rng(0).standard_normal((1, 4, 3)).astype(np.float32)
    assert losses.ctc_loss(z, none, np.array([[1]]), none[:, :1]).dtype == np.float32


# --- metrics and penalties -----------------------------------------------------------------------


def test_metrics() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    predicted = np.argmax(X, axis=-1)
    assert losses.accuracy(X, LABELS) == metrics.accuracy_score(LABELS, predicted)
    assert losses.accuracy(predicted, LABELS) == losses.accuracy(X.T, LABELS, axis=0)
    for k in (1, 2, 4):
        wanted = metrics.top_k_accuracy_score(LABELS, X, k=k, labels=np.arange(5))
        assert losses.top_k_accuracy(X, LABELS, k) == wanted
    np.testing.assert_array_equal(
        losses.confusion_matrix(LABELS, predicted, 5),
        metrics.confusion_matrix(LABELS, predicted, labels=np.arange(5)),
    )
    np.testing.assert_allclose(losses.r2_score(X, Y), metrics.r2_score(Y.ravel(), X.ravel()))
    np.testing.assert_allclose(losses.mean_absolute_error(X, Y), metrics.mean_absolute_error(Y, X))
    np.testing.assert_allclose(losses.perplexity(np.log([2.0, 8.0])), 4.0)


def test_metrics_of_what_counts_and_compiled() -> None:
    where = np.array([True, False, True, True])
    assert losses.accuracy(X, LABELS, where=where) == losses.accuracy(X[where], LABELS[where])
    assert losses.top_k_accuracy(X, LABELS, 2, where=where) == losses.top_k_accuracy(
        X[where], LABELS[where], 2
    )
    assert losses.confusion_matrix(LABELS, LABELS, 5, where=where).sum() == 3
    np.testing.assert_allclose(
        losses.mean_absolute_error(X, Y, where=MASK), np.abs(X - Y)[MASK].mean()
    )
    np.testing.assert_allclose(losses.perplexity(np.log([2.0, 8.0]), where=[True, False]), 2.0)
    everything = lambda x, y, n: (
        losses.accuracy(x, n), losses.top_k_accuracy(x, n, 2), losses.r2_score(x, y),
        losses.confusion_matrix(n, fnp.argmax(x, axis=-1), 5), losses.mean_absolute_error(x, y),
    )  # fmt: skip
    for backend in BACKENDS:
        close(fg.jit(everything, backend=backend)(X, Y, LABELS), everything(X, Y, LABELS))


def test_penalties() -> None:
    p = {"w": X, "b": {"c": 2.0, "none": None}, "z": np.array([3 + 4j])}
    np.testing.assert_allclose(losses.l1_penalty(p), np.abs(X).sum() + 7)
    np.testing.assert_allclose(losses.l2_penalty(p), 0.5 * (np.sum(X**2) + 4 + 25))
    mask = {"w": True, "b": False, "z": False}
    close(fg.grad(losses.l2_penalty)(p | {"z": 1.0}, mask), {"w": X, "b": {"c": 0, "none": None},
                                                             "z": 0.0})  # fmt: skip
    big = lambda t: fg.tree.map(lambda x: np.ndim(x) > 1, t)
    np.testing.assert_allclose(losses.l1_penalty(p, big), np.abs(X).sum())
    assert losses.l1_penalty({}) == 0 == losses.l2_penalty(None)
    with pytest.raises(TreeError, match=r"missing \['w'\]|unexpected \['w'\]"):
        losses.l2_penalty({"w": 1.0}, {"b": True})


# --- labels that are no class ---------------------------------------------------------------------

INTEGER = losses.softmax_cross_entropy_with_integer_labels
NONE = np.zeros((2, 4))
# Functions of logits (4, 5) and labels (4,).
LABELLED: dict[str, Any] = {
    "cross entropy": INTEGER,
    "of classes that count": lambda z, n: INTEGER(z, n, where=np.ones((4, 5), bool)),
    "of the first axis": lambda z, n: INTEGER(z.T, n, axis=0),
    "slope": lambda z, n: fg.grad(lambda z: np.sum(INTEGER(z, n)))(z),
    "curvature": lambda z, n: fg.grad(lambda z: np.sum(fg.grad(
        lambda z: np.sum(INTEGER(z, n) ** 2))(z) ** 2))(z),
    "forward": lambda z, n: fg.jvp(lambda z: INTEGER(z, n), (z,), (z,)),
    "lanes": lambda z, n: fg.vmap(INTEGER)(z, n),
    "ctc": lambda z, n: losses.ctc_loss(
        fnp.stack([z, z]), NONE, fnp.stack([n, n]), NONE + (np.arange(4) > 1)),
    "accuracy": losses.accuracy,
    "top k": lambda z, n: losses.top_k_accuracy(z, n, 2),
}  # fmt: skip


@pytest.mark.parametrize("name", LABELLED)
@pytest.mark.parametrize("label", [-1, 5, 700])
def test_labels_that_are_no_class_are_refused(name: str, label: int) -> None:
    f, labels = LABELLED[name], np.array([0, label, 2, 4])
    f(X, np.array([0, 1, 2, 4]))
    known = fg.jit(lambda z, _: f(z, labels))
    for run in (f, fg.jit(f), known):
        with pytest.raises(RangeError, match=rf"from 0 to 4, one of 5 classes, got {label} at"):
            run(X, labels)


@pytest.mark.skipif("xla" not in BACKENDS, reason="needs JAX")
@pytest.mark.parametrize("name", LABELLED)
@pytest.mark.parametrize("label", [-1, 5, 700])
def test_labels_that_are_no_class_are_nan_under_xla(name: str, label: int) -> None:
    found = fg.jit(LABELLED[name], backend="xla")(X, np.array([0, label, 2, 4]))
    for leaf in fg.tree.leaves(found)[:1]:
        wrong = np.isnan(np.asarray(leaf))
        assert wrong.all() if name in ("ctc", "accuracy", "top k") else wrong[1].all()
        assert wrong.ndim == 0 or name == "ctc" or not wrong[[0, 2, 3]].any()


@pytest.mark.parametrize("backend", [None, *BACKENDS])
def test_labels_that_do_not_count_may_be_anything(backend: str | None) -> None:
    run = fg.jit(backend=backend) if backend else lambda f: f
    labels, some = np.array([1, -1, 0, 9]), np.array([True, False, True, False])
    clean = np.where(some, labels, 0)
    for f in (
        losses.accuracy,
        lambda z, n, where: losses.top_k_accuracy(z, n, 2, where=where),
        lambda z, n, where: losses.confusion_matrix(n, n, 5, where=where),
        lambda z, n, where: losses.ctc_loss(z[None], NONE[:1], n[None], 1 - where[None]),
    ):
        close(run(f)(X, labels, where=some), f(X, clean, where=some))


def test_numbers_that_are_no_class_are_refused_in_tables() -> None:
    with pytest.raises(RangeError, match=r"of confusion_matrix must be from 0 to 1, .* got 2"):
        losses.confusion_matrix(np.array([0, 1]), np.array([0, 2]), 2)
    with pytest.raises(RangeError, match="blank_id must be from 0 to 4, a class, got 5"):
        losses.ctc_loss(X[None], NONE[:1], LABELS[None], NONE[:1], blank_id=5)
    with pytest.raises(RangeError, match=r"got -1\. If it marks"):
        INTEGER(X[0], np.int64(-1))
    if "xla" in BACKENDS:
        table = fg.jit(lambda n: losses.confusion_matrix(n, n, 2), backend="xla")
        np.testing.assert_array_equal(table(np.array([0, -1, 2])), [[1, 0], [0, 0]])


def test_messages() -> None:
    column = np.ones((4, 1))
    with pytest.raises(ShapeError, match=r"squared_error .* shape \(4, 1\) and the targets \(4,\)"):
        losses.squared_error(column, np.ones(4))
    with pytest.raises(ShapeError, match=r"hinge_loss compares"):
        losses.hinge_loss(column, np.ones(4))
    with pytest.raises(ShapeError, match=r"shape of the logits, \(4, 5\), got \(4,\).*integer"):
        losses.softmax_cross_entropy(X, LABELS)
    integer = losses.softmax_cross_entropy_with_integer_labels
    with pytest.raises(ShapeError, match=r"must have shape \(4,\), got \(4, 1\)"):
        integer(X, LABELS[:, None])
    with pytest.raises(DtypeError, match=r"logits, got dtype int64.*\(logits, labels\)"):
        integer(LABELS, X)
    with pytest.raises(DtypeError, match="integer labels, got dtype float64"):
        integer(X, X[:, 0])
    with pytest.raises(DtypeError, match="floating-point labels, got dtype bool"):
        losses.smooth_labels(MASK, 0.1)
    with pytest.raises(ShapeError, match=r"ctc_loss needs .*\(4, 5\), \(4,\), \(4, 1\)"):
        losses.ctc_loss(X, LABELS, LABELS[:, None], column)
    with pytest.raises(ShapeError, match=r"top_k_accuracy got logits of shape \(4, 5\)"):
        losses.top_k_accuracy(X, LABELS[:2], 2)
    with pytest.raises(DtypeError, match="integer predictions, got dtype float64"):
        losses.confusion_matrix(LABELS, X[:, 0], 5)


def test_the_cosine_of_nothing_is_0() -> None:
    """As optax's, whose gradient is nan there."""
    mask = MASK & (np.arange(len(X)) != 1)[:, None]
    f = lambda x: losses.cosine_similarity(x, Y, where=mask)
    assert f(X)[1] == 0
    np.testing.assert_array_equal(fg.grad(lambda x: np.sum(f(x)))(X)[1], 0)

"""Estimators: scikit-learn's own checks, what they learn, what they keep, what they refuse."""

from __future__ import annotations

import contextlib
import copy
import pickle
import subprocess
import sys
import unittest

import numpy as np
import pytest

import funcgraph as fg
from funcgraph import losses, nn, optim
from funcgraph.errors import LayerError, TrainingError

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.ensemble import BaggingClassifier
from sklearn.model_selection import GridSearchCV, KFold, train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from funcgraph.estimators import FeatureExtractor, FuncgraphClassifier, FuncgraphRegressor

IRIS = load_iris(return_X_y=True)
DIGITS = load_digits(return_X_y=True)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
Y = np.hstack([np.sin(X[:, :1]), X[:, 1:2] * X[:, 2:3]])


def perceptron(n_features, n_outputs):
    return nn.serial(nn.Dense(8), np.tanh, head=nn.Dense(n_outputs))


def network(n_features, n_outputs):
    """A model with a state, with chance, and with a shape of its own."""
    return nn.serial(
        nn.Reshape(8, 8, 1),
        nn.Conv(4, 3),
        nn.BatchNorm(),
        nn.relu,
        nn.Flatten(),
        nn.Dropout(0.2),
        head=nn.Dense(n_outputs),
    )


def checks():
    """Return pairs of an estimator, small where it can be, and a check of scikit-learn."""
    small = {"epochs": 20, "learning_rate": 0.05}
    estimators = [
        FuncgraphClassifier(**small),
        FuncgraphRegressor(**small),
        FuncgraphClassifier(perceptron, **small, batch_size=100),
        FuncgraphRegressor(perceptron, **small, batch_size=100, l2=1e-4),
        FeatureExtractor(),
        FeatureExtractor(np.tanh, {}),
    ]
    return [
        pytest.param(given, check, id=f"{type(given).__name__}-{check.func.__name__}")
        for estimator in estimators
        for given, check in estimator_checks_generator(estimator)
    ]


@pytest.mark.filterwarnings("ignore:Can't check dok sparse matrix:UserWarning")
@pytest.mark.parametrize(("estimator", "check"), checks())
def test_scikit_learns_checks(estimator, check):
    # Some checks end where pandas, or SciPy with array_api, would be needed for the rest.
    with contextlib.suppress(unittest.SkipTest):
        check(estimator)


# --- what they learn -----------------------------------------------------------------------------


def test_defaults_learn_the_raw_iris():
    classifier = FuncgraphClassifier(random_state=0).fit(*IRIS)
    assert classifier.score(*IRIS) > 0.95
    assert classifier.n_iter_ == len(classifier.history_["loss"]) == 200
    assert classifier.loss_ == classifier.history_["loss"][-1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_digits_in_a_pipeline(dtype):
    x, y = DIGITS
    names = np.array([f"digit {k}" for k in range(10)])
    parts = train_test_split(x.astype(dtype), names[y], random_state=0)
    pipeline = make_pipeline(StandardScaler(), FuncgraphClassifier(epochs=10, random_state=0))
    pipeline.fit(parts[0], parts[2])
    assert pipeline.score(parts[1], parts[3]) > 0.95
    assert pipeline.predict_proba(parts[1]).dtype == dtype
    assert pipeline[-1].params_["head"]["w"].dtype == dtype
    assert list(pipeline.classes_) == sorted(names)


def test_model_with_state_and_dropout():
    x, y = DIGITS
    classifier = FuncgraphClassifier(network, epochs=8, batch_size=64, random_state=0)
    classifier.fit(x[:600] / 16, y[:600])
    assert classifier.score(x[600:1000] / 16, y[600:1000]) > 0.85
    assert classifier.state_["batch_norm"]["var"].shape == (4,)
    out, _ = network(64, 10).apply(classifier.params_, classifier.state_, x[:5] / 16)
    np.testing.assert_allclose(classifier.decision_function(x[:5] / 16), out)


@pytest.mark.parametrize(
    "model",
    [
        nn.serial(nn.Dense(8), np.tanh, head=nn.Dense(2)),
        perceptron,
        (lambda key, shape: nn.Dense(2).init(key, shape), lambda params, x: x @ params["w"]),
    ],
    ids=["layer", "function", "pair"],
)
def test_models_of_every_form(model):
    regressor = FuncgraphRegressor(model, epochs=3, random_state=0).fit(X, Y)
    layer = model(4, 2) if model is perceptron else nn.Layer(*model)
    expected = layer.apply(regressor.params_, X)
    np.testing.assert_allclose(regressor.predict(X), expected)


def test_outputs_of_the_classifier_agree():
    x, y = IRIS
    two = y < 2
    for x, y in [(x, y), (x[two], y[two]), (x[two], np.zeros(100))]:  # noqa: B020
        classifier = FuncgraphClassifier(epochs=5, random_state=0).fit(x, y)
        p, scores = classifier.predict_proba(x), classifier.decision_function(x)
        np.testing.assert_allclose(p.sum(1), 1)
        np.testing.assert_allclose(np.log(p), classifier.predict_log_proba(x), atol=1e-12)
        np.testing.assert_array_equal(classifier.predict(x), classifier.classes_[p.argmax(1)])
        if len(classifier.classes_) == 2:
            np.testing.assert_allclose(scores, np.log(p[:, 1] / p[:, 0]))
        else:
            np.testing.assert_allclose(fg.nn.softmax(scores), p)


def test_regressor_gives_targets_in_their_shape():
    regressor = FuncgraphRegressor(
        activation=np.tanh, learning_rate=0.03, epochs=400, random_state=0
    )
    assert regressor.fit(X, Y).score(X, Y) > 0.95
    for y in (Y, Y[:, 0], Y[:, :1]):
        regressor = FuncgraphRegressor(epochs=1).fit(X, y)
        assert regressor.predict(X[:7]).shape == (7, *y.shape[1:])


# --- the loss ------------------------------------------------------------------------------------


def test_a_step_is_the_gradient_of_the_weighted_loss_and_penalty():
    weights = np.random.default_rng(1).uniform(size=60)
    options = {"optimizer": optim.sgd, "learning_rate": 0.1, "random_state": 3}
    first = FuncgraphRegressor(perceptron, **{**options, "learning_rate": 0.0}, epochs=1)
    params = first.fit(X, Y).params_
    after = FuncgraphRegressor(perceptron, **options, epochs=1, l2=0.3).fit(X, Y, weights)
    apply = perceptron(4, 2).apply

    def loss(params):
        errors = np.mean((apply(params, X) - Y) ** 2, axis=1)
        penalty = sum(np.sum(layer["w"] ** 2) for layer in params.values())
        return np.sum(weights * errors) / np.sum(weights) + 0.15 * penalty

    expected = fg.tree.map(lambda p, g: p - 0.1 * g, params, fg.grad(loss)(params))
    for got, wanted in zip(fg.tree.leaves(after.params_), fg.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-12)
    np.testing.assert_allclose(after.loss_, loss(params))


def test_class_weight_is_a_weight_of_rows():
    x, y = IRIS
    x, y = x[:120], y[:120]  # 50, 50 and 20
    weights = np.random.default_rng(1).uniform(size=120)
    total = np.bincount(y, weights)
    options = {"epochs": 5, "random_state": 0}
    for class_weight, of_class in [
        ("balanced", weights.sum() / (3 * total)),
        ({0: 1.0, 1: 2.0, 2: 5.0}, np.array([1.0, 2.0, 5.0])),
    ]:
        one = FuncgraphClassifier(class_weight=class_weight, **options).fit(x, y, weights)
        two = FuncgraphClassifier(**options).fit(x, y, weights * of_class[y])
        np.testing.assert_allclose(one.predict_proba(x), two.predict_proba(x), rtol=1e-9)
    with pytest.raises(ValueError, match="class_weight"):
        FuncgraphClassifier(class_weight="nonsense").fit(x, y)


def test_rows_of_weight_zero_are_absent():
    x, y = IRIS
    weights = (np.arange(150) % 3 > 0).astype(float)
    kept = weights > 0
    options = {"epochs": 3, "batch_size": 16, "random_state": 0}
    one = FuncgraphClassifier(**options).fit(x, y, weights)
    two = FuncgraphClassifier(**options).fit(x[kept], y[kept])
    np.testing.assert_array_equal(one.predict_proba(x), two.predict_proba(x))


def test_early_stopping_keeps_the_best_epoch():
    x, y = IRIS
    noise = np.random.default_rng(0).permutation(y)
    classifier = FuncgraphClassifier(
        learning_rate=0.05, validation_fraction=0.3, patience=4, random_state=0
    )
    classifier.fit(x, noise)
    losses_of_validation = classifier.history_["val_loss"]
    best = int(np.argmin(losses_of_validation))
    assert classifier.n_iter_ == best + 6 < 200
    assert classifier.loss_ == classifier.history_["loss"][best]
    held_out = train_test_split(
        x, noise, test_size=0.3, random_state=_rng_after_the_seed(0), stratify=noise
    )[1::2]
    value = losses.softmax_cross_entropy_with_integer_labels(
        classifier.decision_function(held_out[0]), held_out[1]
    ).mean()
    np.testing.assert_allclose(value, losses_of_validation[best])
    watched = FuncgraphClassifier(learning_rate=1.0, patience=0, random_state=0).fit(x, noise)
    assert "val_loss" not in watched.history_ and watched.n_iter_ < 200


def _rng_after_the_seed(seed):
    rng = np.random.RandomState(seed)
    rng.randint(np.iinfo(np.int32).max)
    return rng


def test_equal_seeds_give_equal_parameters():
    def fitted(seed):
        options = {"epochs": 2, "batch_size": 64, "validation_fraction": 0.1}
        classifier = FuncgraphClassifier(network, random_state=seed, **options)
        return classifier.fit(DIGITS[0][:200], DIGITS[1][:200]).decision_function(DIGITS[0])

    np.testing.assert_array_equal(fitted(1), fitted(1))
    np.testing.assert_array_equal(fitted(1), fitted(np.random.RandomState(1)))
    assert not np.array_equal(fitted(1), fitted(2))


def test_xla_computes_the_same():
    pytest.importorskip("jax")
    options = {"epochs": 3, "random_state": 0, "batch_size": 60}
    for dtype, tolerance in [(np.float64, 1e-10), (np.float32, 1e-4)]:
        x = X.astype(dtype)
        one = FuncgraphRegressor(**options).fit(x, Y).predict(x)
        two = FuncgraphRegressor(**options, backend="xla").fit(x, Y).predict(x)
        assert one.dtype == two.dtype == dtype and type(two) is np.ndarray
        np.testing.assert_allclose(one, two, rtol=tolerance, atol=tolerance)
    params = perceptron(4, 2).init(fg.random.key(0), (-1, 4))[1]
    late = [FeatureExtractor(perceptron(4, 2), params, upto="tanh", backend=b).transform(X)
            for b in ("numpy", "xla")]  # fmt: skip
    np.testing.assert_allclose(*late, rtol=1e-5, atol=1e-6)


def test_dtype_can_be_chosen():
    regressor = FuncgraphRegressor(epochs=1, dtype="float32").fit(X, Y)
    assert regressor.predict(X).dtype == regressor.params_["dense"]["w"].dtype == np.float32
    assert FuncgraphRegressor(epochs=1).fit(np.rint(X).astype(int), Y).dtype_ == np.float64


# --- as parts of scikit-learn --------------------------------------------------------------------


def test_searches_over_optimisers_and_models():
    grid = {"optimizer": [optim.adam, optim.sgd], "hidden": [(4,), (8, 4)]}
    regressor = FuncgraphRegressor(epochs=20, learning_rate=0.03, random_state=0)
    search = GridSearchCV(regressor, grid, cv=KFold(2), error_score="raise").fit(X, Y)
    assert search.best_params_["optimizer"] is optim.adam
    made = {"model": [perceptron, perceptron(4, 2)], "optimizer": [optim.adam(0.01)]}
    GridSearchCV(regressor, made, cv=KFold(2), error_score="raise").fit(X, Y)


def test_works_in_an_ensemble():
    bagging = BaggingClassifier(FuncgraphClassifier(epochs=30), n_estimators=3, random_state=0)
    assert bagging.fit(*IRIS).score(*IRIS) > 0.8


def test_clones_copies_and_pickles():
    x, y = IRIS
    classifier = FuncgraphClassifier(perceptron, epochs=3, random_state=0).fit(x, y)
    expected = classifier.predict_proba(x)
    for other in (pickle.loads(pickle.dumps(classifier)), copy.deepcopy(classifier)):
        np.testing.assert_array_equal(other.predict_proba(x), expected)
        assert other.history_ == classifier.history_
    fresh = clone(classifier)
    assert fresh.get_params() == classifier.get_params() and not hasattr(fresh, "params_")
    np.testing.assert_array_equal(fresh.fit(x, y).predict_proba(x), expected)


def test_what_cannot_be_pickled_is_pickles_error():
    regressor = FuncgraphRegressor(perceptron(4, 2), epochs=1).fit(X, Y)
    with pytest.raises((AttributeError, pickle.PicklingError), match="local object"):
        pickle.dumps(regressor)
    copied = clone(regressor).set_params(random_state=0).fit(X, Y)
    expected = FuncgraphRegressor(perceptron, epochs=1, random_state=0).fit(X, Y)
    np.testing.assert_array_equal(copied.predict(X), expected.predict(X))


def test_verbose_prints_each_epoch(capsys):
    FuncgraphRegressor(epochs=2, validation_fraction=0.5, verbose=True).fit(X, Y)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("epoch 1/2: loss ") and ", val_loss " in second


def test_interrupted_training_keeps_what_was_learned(monkeypatch):
    def interrupt(self, record):
        if record.epoch == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(FuncgraphRegressor, "_report", interrupt)
    regressor = FuncgraphRegressor(epochs=10, verbose=True)
    with pytest.raises(KeyboardInterrupt):
        regressor.fit(X, Y)
    assert regressor.n_iter_ == 2 and regressor.predict(X).shape == Y.shape


# --- features ------------------------------------------------------------------------------------


def test_features_are_values_of_nodes():
    model = network(64, 10)
    _, params, state = model.init(fg.random.key(0), (-1, 8, 8, 1))
    x = DIGITS[0][:10]
    _, _, found = model.apply(params, state, x.astype(np.float32), capture=["relu", "conv", "head"])
    for upto in ("relu", "conv", "head"):
        late = FeatureExtractor(model, params, state, upto=upto, batch_size=4)
        features = late.transform(x)
        assert features.dtype == np.float32
        np.testing.assert_allclose(features, found[upto].reshape(10, -1), rtol=1e-5, atol=1e-5)
        assert len(late.fit(x).get_feature_names_out()) == features.shape[1]
    late.set_params(upto="conv")  # a model is not compiled for what was asked before
    np.testing.assert_allclose(
        late.transform(x), found["conv"].reshape(10, -1), rtol=1e-5, atol=1e-5
    )


def test_features_of_pictures_and_their_baseline():
    model = nn.serial(nn.Conv(4, 3), nn.relu, nn.GlobalAvgPool())
    _, params = model.init(fg.random.key(0), (-1, 4, 4, 2))
    x = np.random.default_rng(1).normal(size=(6, 32)).astype(np.float32)
    late = FeatureExtractor(model, params, input_shape=(4, 4, 2))
    expected = model.apply(params, x.reshape(6, 4, 4, 2))
    np.testing.assert_allclose(late.fit_transform(x), expected, rtol=1e-5)
    np.testing.assert_allclose(pickle.loads(pickle.dumps(FeatureExtractor())).fit_transform(x), x)
    other = clone(late)
    assert not hasattr(other, "n_features_in_") and other.upto is None
    assert other.params["conv"]["w"] is params["conv"]["w"]
    np.testing.assert_array_equal(other.transform(x), late.transform(x))
    pipeline = make_pipeline(late, GaussianNB())
    GridSearchCV(
        pipeline,
        {"featureextractor__upto": ["relu", "conv"]},
        cv=KFold(2),
        error_score="raise",
    ).fit(x, np.arange(6) % 2)


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"model": nn.Dense(3)}, LayerError, r"outputs of shape \(-1, 2\) .* are float64\[-1,3\]"),
        ({"model": 3}, LayerError, r"function \(n_features, n_outputs\) that returns one, got 3"),
        ({"activation": "rleu"}, LayerError, "'rleu' is not the name of a function"),
        ({"epochs": 0}, ValueError, "epochs == 0"),
        ({"batch_size": 2.5}, TypeError, "batch_size must be an instance of int"),
        ({"l2": -1}, ValueError, "l2 == -1"),
        ({"patience": -1}, ValueError, "patience == -1"),
        ({"validation_fraction": 1.0}, ValueError, "validation_fraction == 1.0"),
        ({"dtype": "int32"}, ValueError, "dtype must be None, float32 or float64, got 'int32'"),
        ({"backend": "gpu"}, ValueError, "backend"),
        ({"optimizer": lambda rate: 3}, TrainingError, "needs an optimiser"),
        ({"optimizer": "adam"}, TrainingError, "needs an optimiser of funcgraph.optim, got 'adam'"),
    ],
    ids=lambda given: str(given)[:30] if isinstance(given, dict) else "",
)
def test_wrong_parameters_are_named(options, error, message):
    with pytest.raises(error, match=message):
        FuncgraphRegressor(**options).fit(X, Y)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (-np.ones(60), "negative"),
        (np.zeros(60), "all sample weights are zero"),
        (np.ones((60, 2)), r"must be 1D, got an array of shape \(60, 2\)"),
        (np.ones(59), "inconsistent numbers of samples"),
    ],
)
def test_wrong_weights_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        FuncgraphRegressor(epochs=1).fit(X, Y, sample_weight=weights)


def test_divergence_is_an_error():
    regressor = FuncgraphRegressor(optimizer=optim.sgd, learning_rate=1e6, epochs=200)
    with np.errstate(all="ignore"), pytest.raises(TrainingError, match=r"diverged.*StandardScaler"):
        regressor.fit(X, Y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"upto": "relu"}, "there is no model"),
        ({"model": nn.Dense(3), "params": {}, "upto": "relu"}, "a Dense has no nodes"),
        ({"input_shape": (3, 3)}, r"input_shape=\(3, 3\) has 9 elements, but X has 4 features"),
        ({"model": nn.FanOut(2), "params": {}}, "one array with a row for each"),
        ({"batch_size": 0}, "batch_size == 0"),
    ],
    ids=["no model", "no nodes", "input_shape", "several", "batch_size"],
)
def test_wrong_features_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        FeatureExtractor(**options).fit(X)


def test_only_estimators_need_scikit_learn():
    code = """
import sys
sys.modules["sklearn"] = None
import funcgraph
try:
    import funcgraph.estimators
except ImportError as error:
    print(type(error).__name__, error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("MissingPackageError funcgraph.estimators needs scikit-learn 1.6")
    assert "pip install 'funcgraph[sklearn]'" in run.stdout

"""`compare`: what is right agrees, what is wrong is found and named, and verdicts say why."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import funcgraph as fg

ROOT = Path(__file__).parents[2]
HAS_JAX = importlib.util.find_spec("jax") is not None
RNG = np.random.default_rng(0)
X = RNG.standard_normal(6)
BOTH = ("jax", "numeric")
AGAINST = ["numeric", pytest.param("jax", marks=pytest.mark.skipif(not HAS_JAX, reason="no JAX"))]


def wrong_tanh(factor: float = 1.5, at: int = 3) -> Any:
    """Return tanh with a rule that is wrong in one element."""

    @fg.custom_jvp
    def tanh(x):
        return np.tanh(x)

    def rule(t, y, x):
        where = np.arange(x.size).reshape(x.shape) == at
        return t * (1 - y * y) * np.where(where, np.asarray(factor, x.dtype), 1)

    tanh.defjvps(rule)
    return tanh


def loss(params, x):
    return np.sum(np.tanh(x @ params["w"] + params["b"]) ** 2)


PARAMS = {"w": RNG.standard_normal((3, 2)), "b": np.zeros(2)}
DATA = RNG.standard_normal((5, 3))


def rows(report: Any, *wanted: str) -> list[Any]:
    return [r for r in report.rows if r.verdict in wanted]


# --- what is right -------------------------------------------------------------------------------


def test_agreement_of_all_orders_and_modes() -> None:
    report = fg.compare(loss, PARAMS, DATA)
    assert report and report.ok and not report.failing
    assert report.verdicts == {"params['b']": "agree", "params['w']": "agree"}
    kinds = ["1 rev", "1 fwd", "2 rev-rev", "2 fwd-rev", "2 rev-fwd", "2 fwd-fwd"]
    assert [f"{r.order} {r.mode}" for r in report.rows] == 2 * kinds
    assert list(report.costs) == kinds
    ours = [costs["funcgraph"] for costs in report.costs.values()]
    assert all(0 < c.seconds < 60 and 0 < c.bytes < 1e6 for c in ours)
    for row in report.rows:
        assert (row.dtype, row.shape) == ("float64", np.shape(PARAMS[row.leaf[8]]))
        assert row.numeric.absolute < (1e-11 if row.order == 1 else 1e-7)
        assert row.numeric.cosine == pytest.approx(1)
        if HAS_JAX:
            assert row.jax.absolute < 1e-12 and row.jax.cosine == pytest.approx(1)
    assert list(report.references) == [*(["jax"] if HAS_JAX else []), "numeric"]


def looks(x):
    return np.sum(x**2) if np.sum(x) > 0 else np.sum(x**3)


@pytest.mark.parametrize(
    ("fun", "args", "options"),
    [
        (looks, (X,), {}),
        (fg.jit(lambda x: fg.vmap(lambda v: np.tanh(v * x[0]))(x)[1:3]), (X,), {}),
        (lambda w: fg.scan(lambda c, x: (np.sin(c * w + x), c), 0.5, X)[0], (0.3,), {}),
        (lambda x: {"a": np.outer(x, x), "n": 3, "b": np.sin(x)}, (X[:3],), {}),
        (lambda x: (np.sum(x**2), {"y": x}), (X,), {"has_aux": True}),
        (lambda z: np.sum(np.abs(z) ** 2 * np.sin(np.real(z))), (X[:2] + 1j,), {}),
        (lambda z: np.exp(z) * z, (X[:2] + 1j,), {}),
        (np.hypot, (3.0, 4.0), {"argnums": (0, 1)}),
        (lambda x, n: np.sum(np.sin(x)) * n, (np.float32(X), 3), {}),
        (lambda x: np.sum(np.sin(x.astype(np.float32)).astype(float)), (X,), {}),
        (lambda x: np.sum(np.sqrt(x**2 + 1e-12)), (np.array([0.0, 1e-7, 1.0]),), {}),
        (lambda x: np.sum(0 * x), (X,), {}),
    ],
    ids=lambda v: v.__name__ if callable(v) else "",
)
@pytest.mark.parametrize("against", AGAINST)
def test_what_is_right_agrees(fun, args, options, against) -> None:
    report = fg.compare(fun, *args, against=against, modes="rev", **options)
    assert set(report.verdicts.values()) == {"agree"}, report


def test_leaves_that_are_no_floats_are_passed_along() -> None:
    point = {"x": 2.0, "n": 3, "name": "a", "none": None, "k": np.arange(2), "e": np.ones((0, 3))}
    report = fg.compare(lambda d: d["x"] ** d["n"] * d["k"][1], point, order=1, against="numeric")
    assert report.verdicts == {"d['x']": "agree"}
    assert "Not differentiated: d['e'], d['k'], d['n'], d['name']." in report.notes
    with pytest.raises(
        fg.errors.GradientDtypeError, match=r"nothing to differentiate .* n \(int\)"
    ):
        fg.compare(lambda n: n * 1.0, 2)
    with pytest.raises(fg.errors.NonScalarOutputError, match="returned nothing of floating"):
        fg.compare(lambda x: 3, 2.0)


# --- what is wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize("against", AGAINST)
def test_one_wrong_element_is_named(against) -> None:
    tanh = wrong_tanh()
    report = fg.compare(lambda p: np.sum(tanh(p["w"]) * p["s"]), {"w": X, "s": X}, order=1,
                        against=against)  # fmt: skip
    assert not report
    assert report.verdicts == {"p['s']": "agree", "p['w']": "differ"}
    true = X[3] * (1 - np.tanh(X[3]) ** 2)
    for row in report.failing:
        assert row.worst.where == "at [3]"
        assert row.worst.ours == pytest.approx(1.5 * true)
        reference = row.worst.jax if against == "jax" else row.worst.numeric
        assert reference == pytest.approx(true)
    assert len(report.rules) == 1
    line = f"custom rule of tanh, called at {__file__}:"
    assert report.rules[0].startswith(line) and "argument 0, rev, at [3]" in report.rules[0]


@pytest.mark.parametrize("against", AGAINST)
def test_one_wrong_element_of_many(against) -> None:
    tanh = wrong_tanh(1.01, at=4321)
    x = np.linspace(-1, 1, 10_000)
    report = fg.compare(lambda x: np.sum(tanh(x)), x, order=1, modes="rev", against=against)
    (row,) = report.rows
    assert row.verdict == "differ"
    # Without JAX it is seen along random directions, in which all elements move.
    assert row.worst.where == "at [4321]" if against == "jax" else "random" in row.worst.where
    if against == "numeric":
        assert report.notes[0] == "Differences: 16 elements and 2 directions of x."


def test_wrong_rules_of_single_precision_are_no_noise() -> None:
    tanh = wrong_tanh(1.001)
    report = fg.compare(lambda x: np.sum(tanh(x)), np.float32(X), order=1)
    assert report.verdicts == {"x": "differ"}


def test_wrong_second_derivatives() -> None:
    @fg.custom_jvp
    def square(x):
        return x**2

    # The derivative is right, but hides from a second one that it depends on x.
    square.defjvps(lambda t, y, x: 2 * fg.stop_gradient(x) * t)
    report = fg.compare(lambda x: np.sum(square(x)), X[:2], against="numeric")
    assert {(r.order, r.verdict) for r in report.rows} == {(1, "agree"), (2, "differ")}


def test_a_rule_under_vmap_and_jit_is_named() -> None:
    square = fg.custom_jvp(lambda x: x**2)
    square.defjvps(lambda t, y, x: 2.1 * x * t)
    report = fg.compare(
        fg.jit(lambda x: np.sum(fg.vmap(square)(x))), X, order=1, modes="rev", against="numeric"
    )
    assert report.verdicts == {"x": "differ"}
    assert "custom rule of <lambda>, called at" in report.rules[0] and __file__ in report.rules[0]


def test_rules_of_reverse_mode_only() -> None:
    double = fg.custom_vjp(lambda x: np.sin(x))
    double.defvjp(lambda x: (np.sin(x), x), lambda x, g: (g * np.cos(x),))
    report = fg.compare(lambda x: np.sum(double(x)), X, against="numeric")
    assert report and {r.mode for r in report.rows} == {"rev", "rev-rev"}
    assert report.notes[0].startswith("Forward mode is left out: <lambda> at ")
    alone = fg.compare(lambda x: np.sum(double(x)), X, order=1, modes="fwd", against="numeric")
    assert alone.verdicts == {"x": "error"}
    assert "CustomRuleError: forward mode" in str(alone)


# --- failures ------------------------------------------------------------------------------------


def test_errors_are_shown() -> None:
    with pytest.raises(ZeroDivisionError):
        fg.compare(lambda x: x * (1 // 0), 1.0)
    broken = fg.custom_jvp(lambda x: np.sin(x))
    broken.defjvp(lambda primals, tangents: 1 // 0)
    report = fg.compare(broken, 1.0, order=1, against="numeric")
    assert not report and report.verdicts == {"x": "error"}
    assert "ZeroDivisionError: integer division" in str(report)


@pytest.mark.skipif(not HAS_JAX, reason="no JAX")
def test_what_jax_cannot_do_is_said() -> None:
    grow = lambda w: fg.while_loop(lambda c: c < 9.0, lambda c: c * w, 1.5) * w
    report = fg.compare(grow, 1.7, order=1)
    assert report and [r.jax is None for r in report.rows] == [True, False]
    assert "JAX fails at order 1 rev: ValueError: Reverse-mode" in report.notes[0]
    alone = fg.compare(grow, 1.7, order=1, modes="rev", against="jax")
    assert alone.verdicts == {"w": "not compared"} and not alone

    root = lambda a: fg.custom_root(
        lambda x: x**3 - a, 2.0, lambda f, x: np.cbrt(x - f(x) + x**3 - x), lambda g, y: y / g(1.0)
    )
    report = fg.compare(root, 8.0, order=1, modes="rev")
    assert report and report.notes[0].startswith("JAX is left out: in custom_root at ")


def test_without_jax(monkeypatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "jax" else find(name, *a)
    )
    report = fg.compare(np.tanh, 0.5, order=1)
    assert report and list(report.references) == ["numeric"]
    assert "JAX is not installed, so it is left out" in str(report)
    with pytest.raises(fg.errors.MissingPackageError, match=r"funcgraph\[xla\]"):
        fg.compare(np.tanh, 0.5, against="jax")
    with pytest.raises(fg.errors.MissingPackageError, match=r"funcgraph\[xla\]"):
        fg.assert_matches_jax(np.tanh, 0.5)


@pytest.mark.parametrize(
    "options", [{"order": 3}, {"modes": ("back",)}, {"against": ()}, {"elements": 0}]
)
def test_options_are_checked(options) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        fg.compare(np.tanh, 0.5, **options)


# --- verdicts that are neither right nor wrong ---------------------------------------------------


def test_a_number_outside_of_the_one_sided_slopes_differs() -> None:
    fake = fg.custom_jvp(lambda x: np.abs(x))
    fake.defjvps(lambda t, y, x: 2.0 * t)
    report = fg.compare(fake, 0.0, order=1, modes="rev", against="numeric")
    assert report.verdicts == {"x": "differ"}


def test_stop_gradient_is_a_convention() -> None:
    report = fg.compare(lambda x: np.sum(x * fg.stop_gradient(x)), X, order=1, against="numeric")
    assert report and report.verdicts == {"x": "known convention"}
    assert "differences see what stop_gradient hides" in str(report)


def test_rounding_errors_are_noise() -> None:
    cancels = lambda x: np.sum((x + np.float32(1000)) ** 2 - 1e6 - 2e3 * x)
    report = fg.compare(cancels, np.float32(X), order=1, against="numeric")
    assert report and report.verdicts == {"x": "float32 noise"}
    assert "in 64 bits it agrees" in str(report)
    # A Jacobian that is not symmetric, as large as the leaf.
    rows = lambda x: np.stack([cancels(x[:1]) * x[1], 3 * x[0]])
    report = fg.compare(rows, np.float32([0.3, 2.0]), order=1, against="numeric")
    assert report and report.verdicts == {"x": "float32 noise"}, report


def normalised(b, x):
    h = x + b
    h = (h - np.mean(h, 0)) / np.std(h, 0)
    return np.sum(np.sin(h) * np.arange(h.size).reshape(h.shape))


def test_a_gradient_that_is_nothing_but_noise() -> None:
    report = fg.compare(normalised, X[:4], RNG.standard_normal((30, 4)), order=1)
    assert report and report.verdicts == {"b": "float64 noise"}
    assert "changes in the last digits of all operations move it by" in str(report)


# --- the report ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def failing() -> Any:
    tanh = wrong_tanh()
    return fg.compare(lambda x: np.sum(tanh(x)), X, order=1, against="numeric")


def test_report_as_text(failing) -> None:
    lines = str(failing).splitlines()
    assert lines[0] == (
        "Derivatives of <lambda>, compared with numeric (central differences): NOT OK"
    )
    columns = ["leaf", "type", "order", "|ours-jax|", "relative", "ulp", "cosine"]
    assert lines[2].split() == [*columns, "|ours-numeric|", "±", "verdict"]
    assert lines[3].startswith("x     float64[6]  1 rev ") and lines[3].endswith("  differ")
    assert "differ: x, order 1 rev" in lines
    assert any(line.startswith("  at [3]: ours ") for line in lines)


def test_report_as_html_and_json(failing, tmp_path) -> None:
    html = failing._repr_html_()
    assert "<table>" in html and "&lt;lambda&gt;" in html and "<lambda>" not in html
    failing.save(tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text("utf-8")
    assert page.startswith("<!doctype html>") and html in page
    failing.save(tmp_path / "r.json")
    found = json.loads((tmp_path / "r.json").read_text("utf-8"))
    assert found == json.loads(failing.to_json())
    assert found["ok"] is False and found["verdicts"] == {"x": "differ"}
    assert found["rows"][0]["worst"]["where"] == "at [3]"
    failing.save(tmp_path / "r.txt")
    assert (tmp_path / "r.txt").read_text("utf-8") == f"{failing}\n"
    with pytest.raises(fg.errors.StorageError, match=r"one of \.html, \.json, \.txt"):
        failing.save(tmp_path / "r.pdf")


def test_json_of_numbers_that_json_lacks() -> None:
    report = fg.compare(np.sqrt, 0.0, order=1, modes="rev", against="numeric")
    assert json.loads(report.to_json())["rows"][0]["numeric"]["cosine"] == "nan"
    complex_valued = fg.custom_jvp(lambda z: z * z)
    complex_valued.defjvps(lambda t, y, z: 3 * z * t)
    report = fg.compare(complex_valued, 1 + 2j, order=1, modes="rev", against="numeric")
    assert not report and json.loads(report.to_json())["rows"][0]["verdict"] == "differ"


# --- for tests -----------------------------------------------------------------------------------


@pytest.mark.skipif(not HAS_JAX, reason="no JAX")
def test_assert_matches_jax() -> None:
    fg.assert_matches_jax(loss, PARAMS, DATA, order=1)
    tanh = wrong_tanh()
    with pytest.raises(AssertionError, match="NOT OK") as caught:
        fg.assert_matches_jax(lambda p: np.sum(tanh(p["w"]) * p["s"]), {"w": X, "s": X}, order=1)
    message = str(caught.value)
    assert isinstance(caught.value, fg.errors.GradientMismatchError)
    assert "at [3]: ours" in message and "custom rule of tanh" in message
    assert "p['s']" not in message  # only what differs


def test_check_grads() -> None:
    for modes in ("rev", "fwd", ("fwd", "rev")):
        fg.check_grads(loss, (PARAMS, DATA), 2, modes)
    fg.check_grads(np.sin, (0.5,), order=1, atol=1e-4, rtol=1e-4, eps=1e-3)
    tanh = wrong_tanh(1.001)
    f = lambda x: np.sum(tanh(x))
    with pytest.raises(AssertionError, match="differ"):
        fg.check_grads(f, (X,), 1)
    fg.check_grads(f, (X,), 1, rtol=0.01)
    fg.check_grads(f, (X,), 1, atol=0.01)
    with pytest.raises(fg.errors.GradientMismatchError):
        fg.check_grads(f, (X,), 1, modes=["rev"], rtol=1e-4)


pytest_plugins = ["pytester"]


def test_fixture(pytester, monkeypatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # it may be installed as a plugin
    pytester.makepyfile(
        """
        import numpy as np
        import funcgraph as fg

        def test_right(gradients):
            assert gradients(np.tanh, 0.5, order=1, against="numeric").ok

        def test_wrong(gradients):
            f = fg.custom_jvp(lambda x: x**2)
            f.defjvps(lambda t, y, x: t)
            gradients(f, 3.0, order=1, against="numeric")
        """
    )
    result = pytester.runpytest_inprocess("-p", "pytest_funcgraph", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["*GradientMismatchError: Derivatives of*", "*derivatives of <lambda>*"]
    )


def test_the_plugin_does_not_import_the_package() -> None:
    text = (ROOT / "pytest_funcgraph.py").read_text("utf-8")
    top = [line for line in text.splitlines() if line.startswith(("import ", "from "))]
    assert top == ["from __future__ import annotations", "from typing import Any", "import pytest"]


@pytest.mark.slow
def test_a_network_with_100_000_parameters() -> None:
    x, y = RNG.standard_normal((64, 784)), RNG.integers(0, 10, 64)
    layers = fg.nn.serial(fg.nn.Dense(128), fg.nn.relu, fg.nn.Dense(10))
    params = layers.init(fg.random.key(0), (-1, 784))[1]
    entropy = fg.losses.softmax_cross_entropy_with_integer_labels
    mean_entropy = lambda p, x: np.mean(entropy(layers.apply(p, x), y))
    for dtype in (np.float32, np.float64):
        report = fg.compare(mean_entropy, fg.tree.map(dtype, params), x.astype(dtype))
        assert report, report

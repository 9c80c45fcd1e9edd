"""Plots: what is drawn into which Axes, and the messages of what cannot be drawn."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.errors import MissingPackageError, PlotError, ShapeError
from funcgraph.train.history import History

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")

HISTORY = {"loss": [2.0, 1.0, 0.5], "val_loss": [2.1, None, 0.9], "accuracy": [0.1, 0.5, 0.9]}


@pytest.fixture(autouse=True)
def nothing_shown_or_left(monkeypatch):
    def show(*_, **__):
        raise AssertionError("a plot was shown")

    monkeypatch.setattr(plt, "show", show)
    settings = dict(matplotlib.rcParams)
    yield
    assert dict(matplotlib.rcParams) == settings
    plt.close("all")


def test_curves_of_a_dict():
    ax = fg.plots.training_curves(HISTORY)
    loss, val_loss = ax.lines
    np.testing.assert_array_equal(loss.get_xydata(), [[1, 2.0], [2, 1.0], [3, 0.5]])
    np.testing.assert_array_equal(val_loss.get_xydata(), [[1, 2.1], [3, 0.9]])
    assert loss.get_color() == val_loss.get_color()
    assert (loss.get_linestyle(), val_loss.get_linestyle()) == ("-", "--")
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["loss", "val_loss"]


def test_curves_of_a_history_into_given_axes():
    history = History()
    for epoch in (5, 6):
        history.append({"epoch": epoch, "loss": 1.0 / epoch})
    _, ax = plt.subplots()
    assert fg.plots.training_curves(history, ax=ax, label="adam") is ax
    assert fg.plots.training_curves(HISTORY, "accuracy", ax=ax, label="sgd") is ax
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [5, 6])
    assert [line.get_label() for line in ax.lines] == ["adam loss", "sgd accuracy"]
    assert len(plt.get_fignums()) == 1


def test_curves_without_a_loss_show_everything():
    ax = fg.plots.training_curves({"epoch": [1, 2], "accuracy": [0.1, 0.2]})
    assert ax.get_ylabel() == "accuracy"


@pytest.mark.parametrize(
    ("history", "names", "message"),
    [
        (HISTORY, ("auc",), r"\['auc'\], but the history has \['loss', 'val_loss', 'accuracy'\]"),
        ({"epoch": []}, (), r"asked for nothing, but the history has \[\]"),
        ({"epoch": [1], "loss": [1.0, 2.0]}, (), "1 epochs, but 2 values of 'loss'"),
    ],
)
def test_curves_that_are_not_there(history, names, message):
    with pytest.raises(PlotError, match=message):
        fg.plots.training_curves(history, *names)


def test_histograms_name_and_count_leaves():
    params = {
        "a": [np.arange(6.0).reshape(2, 3), np.array([1.0, np.nan, np.inf])],
        "n": np.arange(3),
    }
    figure = fg.plots.histograms(params, bins=6, columns=2)
    titles = [ax.get_title() for ax in figure.axes if ax.axison]
    assert titles == ["['a'][0]  (2, 3)", "['a'][1]  (3,), 2 not finite", "['n']  (3,)"]
    assert [sum(p.get_height() for p in ax.patches) for ax in figure.axes[:3]] == [6, 1, 3]
    assert [ax.get_subplotspec().rowspan.start for ax in figure.axes] == [0, 0, 1, 1]


def test_histograms_into_a_subfigure():
    left, right = plt.figure().subfigures(1, 2)
    assert fg.plots.histograms(np.ones(3), figure=left) is left
    assert len(left.axes) == 1 and not right.axes


def test_histograms_need_real_numbers():
    with pytest.raises(PlotError, match="without leaves"):
        fg.plots.histograms({})
    with pytest.raises(PlotError, match=r"the leaf at \['w'\] has dtype complex128"):
        fg.plots.histograms({"w": np.ones(2, complex)})


def test_filters_with_one_three_and_more_channels():
    w = np.arange(2 * 2 * 1 * 5, dtype=float).reshape(2, 2, 1, 5) - 10
    image = fg.plots.filters(w, columns=3).images[0]
    shown = np.ma.filled(image.get_array().astype(float), np.nan)
    assert shown.shape == (5, 8) and image.get_clim() == (-10, 10)
    np.testing.assert_array_equal(shown[:2, 3:5], w[:, :, 0, 1])  # the second tile of the first row
    np.testing.assert_array_equal(shown[3:, 3:5], w[:, :, 0, 4])
    assert np.isnan(shown[2]).all() and np.isnan(shown[3:, 6:]).all()
    rgb = fg.plots.filters(np.zeros((2, 2, 3, 4))).images[0].get_array()
    assert rgb.shape == (5, 5, 3) and rgb[0, 0, 0] == 0.5 and rgb[2, 0, 0] == 1.0
    many = fg.plots.filters(np.zeros((2, 2, 4, 3))).images[0].get_array()
    assert many.shape == (4 * 3 - 1, 3 * 3 - 1)


def test_feature_maps():
    x = np.arange(2 * 3 * 3 * 2, dtype=float).reshape(2, 3, 3, 2)
    _, ax = plt.subplots()
    assert fg.plots.feature_maps(x, ax=ax) is ax
    shown = ax.images[0].get_array()
    np.testing.assert_array_equal(shown[4:, 4:], x[1, :, :, 1])
    assert fg.plots.feature_maps(x[0]).get_title() == "2 channels of 3 x 3"


def test_attention_maps_with_tokens():
    weights = np.full((3, 2, 4), 0.25)
    figure = fg.plots.attention_maps(weights, ["a", "b"], list("wxyz"), columns=2)
    heads = [ax for ax in figure.axes if ax.images and ax.get_title()]
    assert [ax.get_title() for ax in heads] == ["head 0", "head 1", "head 2"]
    assert [t.get_text() for t in heads[1].get_xticklabels()] == list("wxyz")
    assert [t.get_text() for t in heads[1].get_yticklabels()] == ["a", "b"]
    square = fg.plots.attention_maps(np.eye(2), ["a", "b"]).axes[0]
    assert [t.get_text() for t in square.get_xticklabels()] == ["a", "b"]
    with pytest.raises(PlotError, match="2 tokens for 4 keys"):
        fg.plots.attention_maps(weights, keys=["a", "b"])


def test_bars_stand_side_by_side():
    ratios = {"ours": {"mlp": 1.0, "conv": 0.5}, "theirs": {"conv": 2.0}}
    ax = fg.plots.benchmark_bars(ratios, ylabel="time", log=True)
    spans = [(p.get_x(), p.get_x() + p.get_width(), p.get_height()) for p in ax.patches]
    np.testing.assert_allclose(spans, [(-0.4, 0.0, 1.0), (0.6, 1.0, 0.5), (1.0, 1.4, 2.0)])
    assert (ax.get_yscale(), ax.get_ylabel()) == ("log", "time")
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [1.0, 1.0])
    assert not fg.plots.benchmark_bars(ratios, reference=None).lines
    with pytest.raises(PlotError, match="no numbers"):
        fg.plots.benchmark_bars({"ours": {}})


@pytest.mark.parametrize(
    ("plot", "shape"),
    [
        (fg.plots.filters, (3, 3)),
        (fg.plots.feature_maps, (3, 3)),
        (fg.plots.attention_maps, (2, 2, 3, 3)),
        (fg.plots.filters, (3, 3, 0, 2)),
    ],
)
def test_shapes_that_do_not_fit(plot, shape):
    with pytest.raises(ShapeError, match=rf"{plot.__name__} needs .*, got \({shape[0]}, "):
        plot(np.zeros(shape))


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'funcgraph\[examples\]'"):
        fg.plots.training_curves(HISTORY)

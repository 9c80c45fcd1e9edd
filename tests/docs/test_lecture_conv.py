"""The lecture's programs on convolution and transfer learning, with small settings."""

from __future__ import annotations

import importlib
import re
import sys

import numpy as np
import pytest

from funcgraph import nn
from tests.docs.test_lecture import NEEDS, ROOT, run, run_small

REFERENCES = ROOT / "tests" / "references"


def program(name: str):
    """Import a program of examples/, as Python does that runs it."""
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)


def test_convolution(tmp_path):
    printed = run_small("convolution", tmp_path)
    (difference,) = re.findall(r"Laplace filter and its formula differ by (\S+) at most", printed)
    assert 0 < float(difference) < 1e-5
    assert "has in green and blue afterwards: 0.0" in printed
    assert re.findall(r"^(\w[\w ,]*?)  +-?\d\.\d{3} ", printed, re.MULTILINE) == [
        *("laplace", "laplace, diagonals", "sobel, down", "sobel, right", "gaussian", "sharpen"),
    ]


def test_convolution_fails_below_the_target(tmp_path):
    for package in NEEDS["convolution"]:
        pytest.importorskip(package)
    picture = ("--picture", str(tmp_path / "picture.png"))
    status, printed = run("convolution", "--epochs", "1", "--target", "1.01", *picture)
    assert status == 1
    assert "MISSED: accuracy at least 101%" in printed


def test_transfer_learning(tmp_path):
    printed = run_small("transfer_learning", tmp_path)
    rows = re.findall(r"^(\w+ \w+) +([\d.]+)% +([\d.]+)% +\d of 3$", printed, re.MULTILINE)
    assert [name for name, *_ in rows] == ["logistic regression", "gradient boosting"]
    assert float(rows[0][2]) > float(rows[0][1]) > 80


def test_transfer_learning_with_a_file_of_weights(tmp_path, capsys):
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("safetensors")
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    paths = [str(tmp_path / name) for name in ("wide.png", "high.png")]
    for path, array in zip(paths, (pixels, pixels.transpose(1, 0, 2)), strict=True):
        image.fromarray(array).save(path)
    example = program("transfer_learning")
    assert example.photograph(paths[0]).shape == (224, 224, 3)
    small = nn.vgg19(5, channels=(4, 6, 8, 8, 8), hidden=12)
    weights = REFERENCES / "vgg_weights.safetensors"
    features = example.vgg_features(weights, paths, "torchvision", small)
    assert features.shape == (2, 12) and features.dtype == np.float32
    params = nn.load_vgg(weights, model=small)
    images = np.stack([example.photograph(path) for path in paths])
    expected = small.upto("fc7").apply(params, nn.vgg_preprocess(images))
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    shares = [float(x) for x in re.findall(r"class \d: ([\d.]+)%", lines[0])]
    assert len(shares) == 5 and abs(sum(shares) - 100) < 0.5
    assert shares == sorted(shares, reverse=True)


def test_transfer_learning_says_that_weights_do_not_fit(tmp_path):
    status, printed = run(
        *("transfer_learning", "--vgg", str(REFERENCES / "vgg_weights.npz"), "no.jpg"),
        *("--features", str(tmp_path / "features.npz")),
    )
    assert status == 1
    assert "does not have the weights of this model in the layout of torchvision" in printed
    assert "features.0.bias: the file has float32 of shape (4,), expected floats" in printed
    assert "Traceback" not in printed

"""Transfer learning: what a network learned about some classes helps to tell others apart.

The program
  1. trains a convolutional network on the digits 0 to 4, and cuts it behind its last convolutions:
     `model.upto("late")` makes 512 features of a picture,
  2. learns the digits 5 to 9, which that network has never seen, from 20 pictures each, by standard
     algorithms (logistic regression, gradient boosting): on pixels, and on these features,
  3. prints both accuracies, means over several draws of the 20 pictures.

With a file of weights it does the first step for VGG-19 and your own pictures:

    python examples/transfer_learning.py --vgg vgg19.safetensors cat.jpg dog.jpg [--layout keras]

prints the most probable classes of each picture and saves the activations of fc7 as .npz.
Needs scikit-learn (Pillow for your own pictures); matplotlib is optional. The exit status is 1 if
features are not better than pixels for the logistic regression.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from _common import save_picture, status

import funcgraph as fg
from funcgraph import losses, nn, optim, train

NETWORK = nn.serial(
    conv_1=nn.Conv(16, 3, padding="SAME"),
    relu_1=nn.relu,
    conv_2=nn.Conv(32, 3, padding="SAME"),
    relu_2=nn.relu,
    pool=nn.MaxPool(2),
    late=nn.Flatten(),
    drop=nn.Dropout(0.5),
    scores=nn.Dense(5),
)
KNOWN, NEW = range(5), range(5, 10)

# ------------------------------------------------------------------------ features of digits


def loss(params, images, labels, *, key=None, train=False):
    """Return the mean cross-entropy on the digits 0 to 4."""
    scores = NETWORK.apply(params, images, key=key, train=train)
    return np.mean(losses.softmax_cross_entropy_with_integer_labels(scores, labels))


def pretrained(images, labels, epochs):
    """Return the parameters of the network, trained on the known digits."""
    rows, key = np.isin(labels, KNOWN), fg.random.key(0)
    _, params = NETWORK.init(key, images)
    batches = train.batches((images[rows], labels[rows]), 64, key=key)
    rate = optim.cosine_decay_schedule(0.003, epochs * len(batches))
    step = train.train_step(loss, optim.adamw(rate, weight_decay=0.01))
    result = train.fit(step, step.init(params, key=key), batches, epochs=epochs)
    last = result.history["loss"][-1]
    print(f"Trained on {rows.sum()} pictures of the digits 0 to 4: loss {last:.4f}")
    return result.params


def score(make, features, labels, draw, each):
    """Return the accuracy of an algorithm that sees `each` examples of every class."""
    rng = np.random.default_rng(draw)
    seen = [rng.choice(np.flatnonzero(labels == c), each, replace=False) for c in NEW]
    mask = np.isin(np.arange(len(labels)), np.concatenate(seen))
    return make().fit(features[mask], labels[mask]).score(features[~mask], labels[~mask])


def compare(pixels, features, labels, draws, each):
    """Print the accuracies on pixels and on features; return them by algorithm, (draws, 2)."""
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression

    algorithms = {
        "logistic regression": lambda: LogisticRegression(max_iter=2000),
        "gradient boosting": lambda: GradientBoostingClassifier(
            n_estimators=50, max_depth=2, max_features="sqrt", random_state=0
        ),
    }
    print(f"Accuracy on the digits 5 to 9 from {each} pictures each, mean of {draws} draws:")
    print(f"{'':<20} {'64 pixels':>10} {f'{features.shape[1]} features':>13} {'better in':>10}")
    out = {}
    for name, make in algorithms.items():
        scores = [
            [score(make, x, labels, d, each) for x in (pixels, features)] for d in range(draws)
        ]
        out[name] = scores = np.array(scores)
        before, after = scores.mean(0)
        wins = f"{np.sum(scores[:, 1] > scores[:, 0])} of {draws}"
        print(f"{name:<20} {before:>10.2%} {after:>13.2%} {wins:>10}")
    return out


def draw(results):
    """Return the function that draws the accuracies."""

    def fill(*axes):
        for a, (name, scores) in zip(axes, results.items(), strict=True):
            a.plot([0, 1], scores.T, color="lightsteelblue", marker="o", markersize=3)
            a.plot([0, 1], scores.mean(0), color="navy", marker="o", label="mean")
            a.set(xticks=[0, 1], xticklabels=["pixels", "features"], xlim=(-0.3, 1.3), title=name)
            a.grid(alpha=0.3)
            a.legend()
        axes[0].set_ylabel("accuracy on the digits 5 to 9")

    return fill


# --------------------------------------------------------------------------- features of VGG-19


def photograph(path):
    """Return the middle of a picture, shape (224, 224, 3): its shorter side is scaled to 256."""
    from PIL import Image

    image = Image.open(path).convert("RGB")
    scale = 256 / min(image.size)
    width, height = (round(scale * n) for n in image.size)
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    top, left = (height - 224) // 2, (width - 224) // 2
    return pixels[top : top + 224, left : left + 224]


def vgg_features(weights, paths, layout, model):
    """Print the most probable classes of pictures; return the activations of fc7, one row each."""
    params = nn.load_vgg(weights, layout, model=model)

    @fg.jit
    def run(params, images):
        x = nn.vgg_preprocess(images, layout)
        logits, found = model.apply(params, x, capture=["fc7"])
        return nn.softmax(logits), found["fc7"]

    rows = []
    for path in paths:
        (probabilities,), (features,) = run(params, photograph(path)[None])
        best = np.argsort(-probabilities)[:5]
        text = ", ".join(f"class {i}: {probabilities[i]:.1%}" for i in best)
        print(f"{path}: {text}; {len(features)} features")
        rows.append(features)
    return np.array(rows)


def main():
    """Run the program; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vgg", nargs="+", metavar=("WEIGHTS", "PICTURE"), help="use VGG-19")
    parser.add_argument(
        "--layout", default="torchvision", help="of the weights: torchvision, keras"
    )
    parser.add_argument("--features", default="features.npz", help="where to save those of VGG-19")
    parser.add_argument("--picture", default="transfer_learning.png", help="where to save it")
    parser.add_argument("--epochs", type=int, default=15, help="passes over the digits 0 to 4")
    parser.add_argument("--draws", type=int, default=20, help="draws of the pictures to learn from")
    parser.add_argument(
        "--each", type=int, default=20, help="pictures of each of the digits 5 to 9"
    )
    options = parser.parse_args()
    if options.vgg:
        weights, *paths = options.vgg
        try:
            rows = vgg_features(weights, paths, options.layout, nn.vgg19())
        except fg.errors.StorageError as error:
            sys.exit(str(error))
        fg.save(options.features, {"pictures": paths, "features": rows})
        return 0

    from sklearn.datasets import load_digits
    from threadpoolctl import threadpool_limits  # scikit-learn depends on it

    pixels, labels = load_digits(return_X_y=True)
    images = (pixels / 16).astype(np.float32).reshape(-1, 8, 8, 1)
    with threadpool_limits(1):  # the matrices are too small to share out
        params = pretrained(images, labels, options.epochs)
        rows = np.isin(labels, NEW)
        features = NETWORK.upto("late").apply(params, images[rows])
        pixels = images[rows].reshape(rows.sum(), -1)
        results = compare(pixels, features, labels[rows], options.draws, options.each)
    save_picture(options.picture, draw(results), shape=(1, 2), size=(8, 3.2))
    before, after = results["logistic regression"].mean(0)
    return status({"features are better than pixels": after > before})


if __name__ == "__main__":
    sys.exit(main())

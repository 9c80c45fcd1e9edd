"""Convolution: fixed filters on a photograph, and filters that a network learns on digits.

The program
  1. applies fixed filters (Laplace, Sobel, Gauss, sharpen) to a photograph, each colour by itself,
     and compares the Laplace filter with its formula written out with slices,
  2. trains a convolutional network on scikit-learn's digits by jitted steps, and prints the
     accuracy on held-out pictures,
  3. saves a picture: the photograph before and after, the learned filters, and the maps they make.

Needs scikit-learn and Pillow; matplotlib is optional. The exit status is 1 if the filter differs
from its formula, a colour leaks into another one, or the accuracy is below 98 %.
"""

from __future__ import annotations

import sys

import numpy as np
from _common import command_line, save_picture, status

import funcgraph as fg
from funcgraph import losses, nn, optim, train

FILTERS = {
    "laplace": nn.Filter(nn.filters.laplace()),
    "laplace, diagonals": nn.Filter(nn.filters.laplace(diagonals=True)),
    "sobel, down": nn.Filter(nn.filters.sobel(0)),
    "sobel, right": nn.Filter(nn.filters.sobel(1)),
    "gaussian": nn.Filter(nn.filters.gaussian(9, sigma=2.0)),
    "sharpen": nn.Filter(nn.filters.sharpen()),
}

NETWORK = nn.serial(
    first=nn.Conv(16, 3, padding="SAME"),
    maps=nn.relu,
    second=nn.Conv(32, 3, padding="SAME"),
    act=nn.relu,
    pool=nn.MaxPool(2),
    flat=nn.Flatten(),
    drop=nn.Dropout(0.5),
    scores=nn.Dense(10),
)

# ------------------------------------------------------------------------------ fixed filters


def photograph():
    """Return a photograph of shape (1, 427, 640, 3), float32 from 0 to 1."""
    from sklearn.datasets import load_sample_image

    return load_sample_image("china.jpg")[None].astype(np.float32) / 255


def laplace_by_slices(f):
    """Return f(x+1, y) + f(x-1, y) + f(x, y+1) + f(x, y-1) - 4 f(x, y), zeros around f."""
    f = np.pad(f, ((0, 0), (1, 1), (1, 1), (0, 0)))
    below, above = f[:, 2:, 1:-1], f[:, :-2, 1:-1]
    right, left = f[:, 1:-1, 2:], f[:, 1:-1, :-2]
    return below + above + right + left - 4 * f[:, 1:-1, 1:-1]


def filtered(photo):
    """Apply all filters; return what they make of the photograph, and the promises kept."""
    results = {name: layer.apply({}, photo) for name, layer in FILTERS.items()}
    print(f"{'filter':<20} {'smallest':>9} {'largest':>9} {'mean of |.|':>12}")
    for name, y in results.items():
        print(f"{name:<20} {y.min():>9.3f} {y.max():>9.3f} {np.abs(y).mean():>12.4f}")
    formula = np.max(np.abs(results["laplace"] - laplace_by_slices(photo)))
    red = FILTERS["laplace"].apply({}, photo * np.array([1, 0, 0], photo.dtype))
    leak = np.abs(red[..., 1:]).max()
    print(f"Laplace filter and its formula differ by {formula:.1e} at most.")
    print(f"What a picture with red alone has in green and blue afterwards: {leak}\n")
    return results, {
        "the Laplace filter is its formula": formula < 1e-5,
        "each colour is filtered by itself": leak == 0,
    }


# ---------------------------------------------------------------------------- learned filters


def digits(seed):
    """Return (images, labels) to train on and (images, labels) held out, a fifth of all."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(images))
    images = (images[order] / 16).astype(np.float32).reshape(-1, 8, 8, 1)
    held_out, labels = len(images) // 5, labels[order]
    return (images[held_out:], labels[held_out:]), (images[:held_out], labels[:held_out])


def loss(params, images, labels, *, key=None, train=False):
    """Return the mean cross-entropy, and the accuracy."""
    scores = NETWORK.apply(params, images, key=key, train=train)
    entropy = losses.softmax_cross_entropy_with_integer_labels(scores, labels)
    return np.mean(entropy), {"accuracy": losses.accuracy(scores, labels)}


def learned(training, held_out, epochs, seed):
    """Train the network; return its parameters and the accuracy on held-out pictures."""
    print(f"{nn.summary(NETWORK, (-1, 8, 8, 1))}\n")
    key = fg.random.key(seed)
    _, params = NETWORK.init(key, training[0])
    batches = train.batches(training, 64, key=key)
    rate = optim.cosine_decay_schedule(0.003, epochs * len(batches))
    step = train.train_step(loss, optim.adamw(rate, weight_decay=0.01), has_aux=True)
    state = step.init(params, key=key)

    def report(record):
        if record.epoch in (1, 2, 5) or record.epoch == epochs:
            row = record.metrics
            print(
                f"epoch {row['epoch']:>2}: loss {row['loss']:.4f}, held out "
                f"{row['val_loss']:.4f}, accuracy {row['val_accuracy']:.2%}"
            )

    validation = train.batches(held_out, len(held_out[0]))
    result = train.fit(
        step, state, batches, epochs=epochs, validation=validation, callbacks=[report]
    )
    return result.params, result.history["val_accuracy"][-1]


# --------------------------------------------------------------------------------- the picture


def grid(tiles, rows):
    """Return tiles (n, height, width) side by side in rows, each from 0 to 1, lines between."""
    low, high = tiles.min((1, 2), keepdims=True), tiles.max((1, 2), keepdims=True)
    tiles = (tiles - low) / np.maximum(high - low, 1e-6)
    tiles = np.pad(tiles, ((0, 0), (0, 1), (0, 1)), constant_values=0.5)
    n, height, width = tiles.shape
    tiles = tiles.reshape(rows, n // rows, height, width).transpose(0, 2, 1, 3)
    return tiles.reshape(rows * height, -1)[:-1, :-1]


def draw(photo, results, params, digit):
    """Return the function that draws everything."""
    edges = np.hypot(results["sobel, down"], results["sobel, right"])
    maps = NETWORK.upto("maps").apply(params, digit[None])[0]
    panels = {
        "photograph": photo[0],
        "Laplace": np.clip(0.5 + results["laplace"][0], 0, 1),
        "Sobel, both": np.clip(edges[0] / 3, 0, 1),
        "Gauss": np.clip(results["gaussian"][0], 0, 1),
        "a digit": digit[..., 0],
        "16 learned filters": grid(np.moveaxis(params["first"]["w"][:, :, 0], -1, 0), 4),
        "the digit behind each": grid(np.moveaxis(maps, -1, 0), 4),
    }

    def fill(*axes):
        for a in axes:
            a.axis("off")
        for a, (title, image) in zip(axes, panels.items(), strict=False):
            if image.ndim == 3:
                image = image[100:300, 150:450]  # a part, in which details can be seen
            a.imshow(image, cmap="gray")
            a.set_title(title, fontsize=9)

    return fill


def main():
    """Run the program; return its exit status."""
    options = command_line(__doc__, "convolution.png", epochs=20, seed=0, target=0.98)
    photo = photograph()
    results, promises = filtered(photo)

    from threadpoolctl import threadpool_limits  # scikit-learn depends on it

    training, held_out = digits(options.seed)
    with threadpool_limits(1):  # the matrices are too small to share out
        params, accuracy = learned(training, held_out, options.epochs, options.seed)
    print(f"Held-out accuracy {accuracy:.2%} ({len(held_out[0])} pictures)")
    fill = draw(photo, results, params, held_out[0][0])
    save_picture(options.picture, fill, shape=(2, 4), size=(8, 3.4))
    return status(
        {**promises, f"accuracy at least {options.target:.0%}": accuracy >= options.target}
    )


if __name__ == "__main__":
    sys.exit(main())

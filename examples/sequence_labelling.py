"""Colour Python source: a recurrent net in both directions says what each character belongs to.

    "if x: # why"  ->  keyword keyword blank name operator blank comment comment ...

The sequences are logical lines of modules of the standard library, as long as they are; the labels
come from `tokenize`. A character alone does not say what it belongs to: `i` may be a part of `if`,
of a name, a string or a comment, and only what stands before and after it tells:

    f_t = softmax([forward_t, backward_t] W + b),  forward_t = GRU(forward_{t-1}, x_t),
                                                   backward_t = GRU(backward_{t+1}, x_t)

Lines are padded to one of a few widths, in batches of about the same length; `lengths` keeps the
padding out of the carry, and a mask keeps it out of the loss. The program compares the accuracy
per character on held-out modules with that of the most frequent label of each character, prints
samples, and saves a picture: source in the colours of the net, and what it mixes up.

matplotlib is optional. The exit status is 1 if the net is not better by --margin.
"""

from __future__ import annotations

import io
import keyword
import re
import sys
import sysconfig
import time
import tokenize
from pathlib import Path

import _one_thread  # noqa: F401  (it comes before NumPy)
import numpy as np
from _common import command_line, save_picture, status

import funcgraph as fg
from funcgraph import losses, nn, optim, train

TRAINING = ("argparse", "configparser", "difflib", "mailbox", "optparse", "pdb", "tarfile")
HELD_OUT = ("cmd", "csv", "shlex")
LABELS = ("blank", "keyword", "name", "number", "string", "operator", "comment")
COLORS = ("white", "tab:blue", "black", "tab:purple", "tab:green", "tab:gray", "tab:red")
KINDS = {tokenize.NUMBER: 3, tokenize.STRING: 4, tokenize.OP: 5, tokenize.COMMENT: 6}
ALPHABET = "\0\n" + "".join(map(chr, range(32, 127)))  # \0 is padding
WIDTHS = (40, 100)  # longer lines are left out
BATCH = 64
F_STRING = re.compile(r"(f|fr|rf|t|tr|rt)['\"]", re.IGNORECASE)  # these tokens vary with the Python

# ------------------------------------------------------------------------------------------ data


def logical_lines(module):
    """Return [(text, labels)] of the logical lines of a module, with the comments before them."""
    source = (Path(sysconfig.get_path("stdlib")) / f"{module}.py").read_text("utf-8")
    lines = source.splitlines(keepends=True)
    labels = [np.zeros(len(line), np.int32) for line in lines]
    first, found, usable = 0, [], True
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = KINDS.get(token.type)
        if token.type == tokenize.NAME:
            kind = 1 if keyword.iskeyword(token.string) else 2
        if kind is not None:
            (row, column), (last, end) = token.start, token.end
            for i in range(row - 1, last):
                labels[i][column if i == row - 1 else 0 : end if i == last - 1 else None] = kind
        usable = usable and not F_STRING.match(token.string)
        if token.type == tokenize.NEWLINE:
            last = token.start[0]
            text, marks = "".join(lines[first:last]), np.concatenate(labels[first:last])
            indentation = len(text) - len(text.lstrip())
            text, marks = text[indentation:], marks[indentation:]
            if usable and len(text) <= WIDTHS[-1] and set(text) <= set(ALPHABET):
                found.append((text, marks))
            first, usable = last, True
    return found


def padded(lines, width):
    """Return characters (n, width), lengths (n,), and labels (n, width), as integers."""
    x, y = np.zeros((2, len(lines), width), np.int32)
    for i, (text, labels) in enumerate(lines):
        x[i, : len(text)] = [ALPHABET.index(c) for c in text]
        y[i, : len(text)] = labels
    return x, np.array([len(text) for text, _ in lines], np.int32), y


def buckets(modules):
    """Return the lines of modules, padded, for each of WIDTHS those that need it."""
    lines = [line for module in modules for line in logical_lines(module)]
    bounds = zip((-1, *WIDTHS), WIDTHS, strict=False)
    return [padded([line for line in lines if a < len(line[0]) <= b], b) for a, b in bounds]


def inside(x):
    """Return the mask of characters that are no padding."""
    return x > 0


# ------------------------------------------------------------------------------ baseline and net


def baseline(data):
    """Return for each character of the alphabet its most frequent label."""
    counts = np.zeros((len(ALPHABET), len(LABELS)), int)
    for x, _, y in data:
        np.add.at(counts, (x[inside(x)], y[inside(x)]), 1)
    return np.argmax(counts, axis=1)


def make_model(hidden):
    """Return the net: a model of the characters and the lengths."""
    x, lengths = nn.Input(name="x"), nn.Input(name="lengths")
    h = nn.Bidirectional(nn.GRU(hidden))(nn.Embedding(len(ALPHABET), 32)(x), lengths)
    return nn.Model([x, lengths], nn.Dense(len(LABELS))(h))


def fit(model, data, options):
    """Train on batches from one bucket each; print and return the parameters."""

    def loss(params, x, lengths, y):
        logits, mask = model.apply(params, x, lengths), inside(x)
        each = losses.softmax_cross_entropy_with_integer_labels(logits, y)
        return np.mean(each, where=mask)

    schedule = optim.warmup_cosine_decay_schedule(0.0, 1e-2, options.steps // 10, options.steps)
    optimizer = optim.chain(optim.clip_by_global_norm(1.0), optim.adam(schedule))
    step = train.train_step(loss, optimizer, backend=options.backend)
    shapes = [fg.ShapeDtype(a.shape, a.dtype) for a in data[0][:2]]
    state = step.init(model.init(fg.random.key(options.seed), *shapes)[1])
    rng, began, recent = np.random.default_rng(options.seed), time.perf_counter(), []
    share = np.array([len(x) for x, _, _ in data]) / sum(len(x) for x, _, _ in data)
    print(" step  seconds    loss")
    for i in range(1, options.steps + 1):
        bucket = data[rng.choice(len(data), p=share)]
        rows = rng.integers(len(bucket[0]), size=BATCH)
        state, metrics = step(state, *(part[rows] for part in bucket))
        recent.append(float(metrics.loss))
        if i % max(options.steps // 6, 1) == 0 or i == options.steps:
            print(f"{i:>5} {time.perf_counter() - began:>8.1f} {np.mean(recent):>7.4f}")
            recent = []
    return state.params


def main():
    """Run the program; return its exit status."""
    options = command_line(
        *(__doc__, "sequence_labelling.png"),
        **{"steps": 300, "hidden": 64, "margin": 0.2, "seed": 0, "backend": "numpy"},
    )
    data, unseen = buckets(TRAINING), buckets(HELD_OUT)
    sizes = [sum(len(x) for x, _, _ in part) for part in (data, unseen)]
    print(f"{sizes[0]:,} lines to train on, {sizes[1]:,} held out; {options.backend}")
    model = make_model(options.hidden)
    params = fit(model, data, options)
    label = fg.jit(lambda *args: np.argmax(model.apply(*args), axis=-1), backend=options.backend)
    guesses = [np.asarray(label(params, x, lengths)) for x, lengths, _ in unseen]
    majority = baseline(data)
    characters, truth, net = (
        np.concatenate([a[inside(x)] for a, (x, _, _) in zip(part, unseen, strict=True)])
        for part in ([x for x, _, _ in unseen], [y for _, _, y in unseen], guesses)
    )
    simple, reached = np.mean(majority[characters] == truth), np.mean(net == truth)
    confusion = losses.confusion_matrix(truth, net, len(LABELS))

    print("\nHeld-out lines; below: keyword, name or number, string, operator, comment")
    texts = ["".join(ALPHABET[c] for c in x[:n]) for x, n in zip(*unseen[1][:2], strict=True)]
    pairs = [(text[:-1], k) for text, k in zip(texts, guesses[1], strict=True) if len(text) < 70]
    shown = [(text, k[: len(text)]) for text, k in pairs if "\n" not in text]
    shown = sorted(shown, key=lambda pair: -len({*pair[1]}))[:8]  # those with most kinds of labels
    for text, labels in shown:
        print(text, "".join(" " if k == 0 else LABELS[k][0] for k in labels), sep="\n")

    def draw(left, right):
        for row, (text, labels) in enumerate(shown):
            for column, (c, k) in enumerate(zip(text, labels, strict=True)):
                left.text(column, -row, c, color=COLORS[k], family="monospace", size=8)
        left.set(xlim=(0, 70), ylim=(-len(shown), 1))
        left.axis("off")
        right.imshow(np.log1p(confusion), cmap="Blues")
        right.set_xticks(range(len(LABELS)), LABELS, rotation=45)
        right.set_yticks(range(len(LABELS)), LABELS)
        right.set(xlabel="the net's label", ylabel="tokenize's label")
        for i, j in np.ndindex(confusion.shape):
            right.text(j, i, confusion[i, j], ha="center", va="center", size=6)

    save_picture(options.picture, draw, shape=(1, 2), size=(10, 3.2))
    print(f"\nAccuracy per character: {reached:.2%}; each character's usual label: {simple:.2%}")
    return status({f"better by {options.margin:.0%}": reached - simple >= options.margin})


if __name__ == "__main__":
    sys.exit(main())

"""Read dates as people write them, write them as ISO 8601: two recurrent nets and attention.

    "Wednesday, 3 March 2021"  ->  "2021-03-03"

The encoder, a GRU in both directions, turns the characters x_1 ... x_n into vectors e_1 ... e_n.
The decoder, another GRU, writes y_1, y_2, ... in turn. For each it looks where it wants:

    h_t = GRU(h_{t-1}, y_{t-1}),   p_ts = softmax_s(h_t W_q · e_s W_k / √d),   c_t = Σ_s p_ts e_s
    p(y_t) = softmax([h_t, c_t] W_o + b_o)

In training y_{t-1} is the right character (teacher forcing), so that all steps are done at once.
To write a date the decoder goes step by step and reads its own most likely character (greedy
decoding). The program trains on random dates and formats, prints how many dates that were never
seen come out right to the last character, and saves a picture of p_ts for one of them.

matplotlib is optional. The exit status is 1 if fewer dates than --target come out right.
"""

from __future__ import annotations

import calendar
import datetime
import sys
import time

import _one_thread  # noqa: F401  (it comes before NumPy)
import numpy as np
from _common import command_line, save_picture, status

import funcgraph as fg
from funcgraph import losses, nn, optim, train

MONTHS, DAYS = list(calendar.month_name), list(calendar.day_name)
FIRST, LAST = datetime.date(1970, 1, 1), datetime.date(2069, 12, 31)  # so that "70" is 1970
FORMATS = (  # with the day d, month m, year y, and words for them
    "{d} {month} {y}",
    "{d}{th} of {month} {y}",
    "{month} {d}{th}, {y}",
    "{mon} {d}, {y}",
    "{day}, {d} {month} {y}",
    "{d:02}.{m:02}.{yy:02}",  # the day comes first between full stops,
    "{d}.{m}.{y}",
    "{m:02}/{d:02}/{yy:02}",  # and the month between strokes
    "{m}/{d}/{y}",
    "{y}/{m}/{d}",
    "{y}{m:02}{d:02}",
)
INPUTS = " ,./0123456789" + "".join(sorted(set("".join(MONTHS + DAYS) + "stndrhof")))
OUTPUTS = "0123456789-"
BEGIN = len(OUTPUTS)  # what the decoder reads before the first character
BATCH, DATES, WIDTH = 64, 20_000, 28  # inputs are padded to WIDTH

# ------------------------------------------------------------------------------------------ data


def written(date, form):
    """Return a date in one of the formats."""
    d, month = date.day, MONTHS[date.month]
    i = d % 10 if d % 10 < 4 and d not in (11, 12, 13) else 0
    th = "thstndrd"[2 * i : 2 * i + 2]
    words = {"th": th, "month": month, "mon": month[:3], "day": DAYS[date.weekday()]}
    return form.format(d=d, m=date.month, y=date.year, yy=date.year % 100, **words)


def examples(dates, rng):
    """Return inputs (n, WIDTH), their lengths (n,), and outputs (n, 10), as integers."""
    texts = [written(date, FORMATS[rng.integers(len(FORMATS))]) for date in dates]
    codes = [[INPUTS.index(c) for c in text] for text in texts]
    x = np.array([row + [0] * (WIDTH - len(row)) for row in codes], np.int32)
    y = np.array([[OUTPUTS.index(c) for c in date.isoformat()] for date in dates], np.int32)
    return x, np.array([len(row) for row in codes], np.int32), y


# ----------------------------------------------------------------------------------------- model


class Model:
    """An encoder, a decoder, and attention between them."""

    def __init__(self, hidden):
        """Make the layers, each with the length of its inputs (None: they are integers)."""
        self.layers = {
            "inputs": (nn.Embedding(len(INPUTS), 32), None),
            "encoder": (nn.Bidirectional(nn.GRU(hidden)), 32),
            "outputs": (nn.Embedding(len(OUTPUTS) + 1, 32), None),
            "decoder": (nn.GRU(hidden), 32),
            "query": (nn.Dense(hidden), hidden),
            "key": (nn.Dense(hidden), 2 * hidden),
            "head": (nn.Dense(len(OUTPUTS)), 3 * hidden),
        }

    def init(self, key):
        """Return initial parameters, a dict by the names of the layers."""
        params, words = {}, fg.ShapeDtype((-1, WIDTH), np.dtype(np.int32))
        for name, (layer, n) in self.layers.items():
            key, one = fg.random.split(key)
            params[name] = layer.init(one, (-1, WIDTH, n) if n else words)[1]
        return params

    def apply(self, name, params, *args, **options):
        """Apply one of the layers."""
        return self.layers[name][0].apply(params[name], *args, **options)

    def encode(self, params, x, lengths):
        """Return e (n, WIDTH, 2 hidden), and the decoder's first carry."""
        x = self.apply("inputs", params, x)
        e, (_, backward) = self.apply("encoder", params, x, lengths, return_carry=True)
        return e, backward

    def attend(self, params, h, e, lengths):
        """Return the logits of characters, and p (n, steps, WIDTH): where the decoder looks."""
        q, k = self.apply("query", params, h), self.apply("key", params, e)
        one_hot = np.broadcast_to(np.eye(WIDTH, dtype=np.float32), (*np.shape(e)[:2], WIDTH))
        mask = nn.padding_mask(lengths, WIDTH)
        # One head. The mean of one-hot values is p itself.
        p = nn.attention(q[:, :, None], k[:, :, None], one_hot[:, :, None], mask)[:, :, 0]
        return self.apply("head", params, np.concatenate([h, p @ e], axis=-1)), p

    def loss(self, params, x, lengths, y):
        """Return the mean of -log p(y_t), with teacher forcing."""
        e, carry = self.encode(params, x, lengths)
        before = np.concatenate([np.full_like(y[:, :1], BEGIN), y[:, :-1]], axis=1)
        h = self.apply("decoder", params, self.apply("outputs", params, before), carry=carry)
        logits, _ = self.attend(params, h, e, lengths)
        return np.mean(losses.softmax_cross_entropy_with_integer_labels(logits, y))

    def translate(self, params, x, lengths):
        """Return the most likely characters one by one (n, 10), and p (n, 10, WIDTH)."""
        e, carry = self.encode(params, x, lengths)

        def one(state, _):
            carry, y = state
            before = self.apply("outputs", params, y)
            carry, h = self.layers["decoder"][0].step(params["decoder"], carry, before)
            logits, p = self.attend(params, h[:, None], e, lengths)
            y = np.argmax(logits[:, 0], axis=-1).astype(np.int32)
            return (carry, y), (y, p[:, 0])

        start = np.full(len(x), BEGIN, np.int32)
        _, (y, p) = fg.scan(one, (carry, start), None, length=10)
        return np.swapaxes(y, 0, 1), np.swapaxes(p, 0, 1)


def fit(model, params, data, options, right):
    """Train; print and return the parameters."""
    schedule = optim.warmup_cosine_decay_schedule(0.0, 6e-3, options.steps // 10, options.steps)
    optimizer = optim.chain(optim.clip_by_global_norm(1.0), optim.adam(schedule))
    step = train.train_step(model.loss, optimizer, backend=options.backend)
    state, began = step.init(params), time.perf_counter()
    batches = iter(train.batches(data, BATCH, key=fg.random.key(1), drop_last=True, epochs=None))
    print(" step  seconds    loss  dates right")
    for i in range(1, options.steps + 1):
        state, metrics = step(state, *next(batches))
        if i % max(options.steps // 5, 1) == 0 or i == options.steps:
            seconds, share = time.perf_counter() - began, right(state.params)
            print(f"{i:>5} {seconds:>8.1f} {float(metrics.loss):>7.4f} {share:>12.2%}")
    return state.params


def main():
    """Run the program; return its exit status."""
    options = command_line(
        *(__doc__, "sequence_to_sequence.png"),
        **{"steps": 500, "hidden": 64, "target": 0.99, "seed": 0, "backend": "numpy"},
    )
    rng = np.random.default_rng(options.seed)
    every = rng.permutation((LAST - FIRST).days + 1)[: DATES + 1000]
    dates = [FIRST + datetime.timedelta(days=int(day)) for day in every]
    unseen, data = examples(dates[:1000], rng), examples(dates[1000:], rng)
    print(f"{len(data[0]):,} dates to train on, 1,000 others held out; {options.backend}")
    model = Model(options.hidden)
    translate = fg.jit(model.translate, backend=options.backend)

    def right(params):
        answers, _ = translate(params, *unseen[:2])
        return np.mean(np.all(np.asarray(answers) == unseen[2], axis=1))

    params = fit(model, model.init(fg.random.key(options.seed)), data, options, right)
    answers, p = (np.asarray(a) for a in translate(params, *unseen[:2]))
    texts = ["".join(INPUTS[c] for c in x[:n]) for x, n in zip(*unseen[:2], strict=True)]
    dates = ["".join(OUTPUTS[c] for c in answer) for answer in answers]
    print("\n" + "\n".join(f"{texts[i]:<32} {dates[i]}" for i in range(8)))
    chosen = max(range(1000), key=lambda i: len(texts[i]))

    def draw(axes):
        text = texts[chosen]
        axes.imshow(p[chosen, :, : len(text)], cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(len(text)), text.replace(" ", "␣"))
        axes.set_yticks(range(10), dates[chosen])
        axes.set(title="where the decoder looks (right) while it writes (down)")

    save_picture(options.picture, draw, size=(7, 3.2))
    reached = np.mean(np.all(answers == unseen[2], axis=1))
    print(f"Held-out dates right to the last character: {reached:.2%}")
    return status({f"at least {options.target:.0%} of dates right": reached >= options.target})


if __name__ == "__main__":
    sys.exit(main())

"""Write Python, letter by letter: a recurrent net that learned it from the standard library.

The net reads a text and says, after each character, what the next one may be:

    h_t = GRU(h_{t-1}, embedding of character t),   p(character t+1) = softmax(W_hy h_t + b_y)

The text is cut into streams that are read side by side, and each stream into chunks. Gradients go
back to the start of a chunk (truncated backpropagation through time); the carry h goes on into the
next chunk, so that the net remembers what it read before. The program
  1. trains on modules of the standard library as they are installed here,
  2. prints bits per character, -log2 p(next character) on average, for modules it never saw,
  3. writes texts of its own at several temperatures: p is drawn from softmax(logits / temperature),
  4. saves a picture: the curves, and which characters of a held-out line surprise the net.

matplotlib is optional. The exit status is 1 if the held-out bits per character exceed --target.
"""

from __future__ import annotations

import math
import sys
import sysconfig
import time
from pathlib import Path

import _one_thread  # noqa: F401  (it comes before NumPy)
import numpy as np
from _common import command_line, save_picture, status

import funcgraph as fg
from funcgraph import losses, nn, optim, train

TRAINING = ("argparse", "configparser", "difflib", "mailbox", "optparse", "pdb", "tarfile")
HELD_OUT = ("cmd", "csv")
ALPHABET = "\n\t" + "".join(map(chr, range(32, 127)))
MARKS = {"\n": "⏎", "\t": "→", " ": "␣"}
STREAMS, CHUNK, LENGTH = 32, 64, 300
PROMPT = "\n\tdef "

# ------------------------------------------------------------------------------------------ data


def read(modules):
    """Return the source of modules as integers, indices of ALPHABET; other characters are left out.

    Four spaces, mostly indentation, are one character, as if they were a tab.
    """
    folder = Path(sysconfig.get_path("stdlib"))
    text = "".join((folder / f"{name}.py").read_text("utf-8") for name in modules)
    text = text.replace("    ", "\t")
    return np.array([ALPHABET.index(c) for c in text if c in ALPHABET], np.int32)


def chunks(text):
    """Return arrays (STREAMS, CHUNK + 1): the streams side by side, one chunk after the other.

    The last character of a chunk is the first of the next: each is once what is to be guessed.
    """
    length = (len(text) - 1) // STREAMS // CHUNK * CHUNK
    streams = np.stack([text[i * length : (i + 1) * length + 1] for i in range(STREAMS)])
    return [streams[:, start : start + CHUNK + 1] for start in range(0, length, CHUNK)]


# ----------------------------------------------------------------------------------------- model


class Model:
    """Embedding, GRU, output: three layers, and what is computed with them."""

    def __init__(self, hidden):
        """Make the layers, for a carry of so many numbers."""
        self.embed = nn.Embedding(len(ALPHABET), 64)
        self.gru = nn.GRU(hidden)
        self.head = nn.Dense(len(ALPHABET))

    def init(self, key):
        """Return initial parameters."""
        keys = fg.random.split(key, 3)
        shape, embed = self.embed.init(keys[0], fg.ShapeDtype((-1, CHUNK), np.dtype(np.int32)))
        shape, gru = self.gru.init(keys[1], shape)
        _, head = self.head.init(keys[2], shape)
        return {"embed": embed, "gru": gru, "head": head}

    def bits(self, params, carry, chars):
        """Return bits for each character of a chunk but the first, and the carry at its end."""
        x = self.embed.apply(params["embed"], chars[:, :-1])
        h, carry = self.gru.apply(params["gru"], x, carry=carry, return_carry=True)
        logits = self.head.apply(params["head"], h)
        nats = losses.softmax_cross_entropy_with_integer_labels(logits, chars[:, 1:])
        return nats / math.log(2), carry

    def loss(self, params, carry, chars):
        """Return the mean, and the carry: what `train_step` takes for a model with a state."""
        bits, carry = self.bits(params, carry, chars)
        return np.mean(bits), carry

    def write(self, params, prompt, key, temperature):
        """Return LENGTH characters that go on from the prompt: a loop of single steps."""

        def one(state, key):
            carry, char = state
            x = self.embed.apply(params["embed"], char)
            carry, h = self.gru.step(params["gru"], carry, x)
            logits = self.head.apply(params["head"], h)
            char = fg.random.categorical(key, logits / temperature).astype(np.int32)
            return (carry, char), char

        x = self.embed.apply(params["embed"], prompt[:-1])
        _, carry = self.gru.apply(params["gru"], x, return_carry=True)
        return fg.scan(one, (carry, prompt[-1]), fg.random.split(key, LENGTH))[1]


# -------------------------------------------------------------------------------------- training


def evaluation(model, text, backend):
    """Return the function from parameters to bits per character on a text."""
    bits, parts = fg.jit(model.bits, backend=backend), chunks(text)

    def evaluate(params):
        carry, total = model.gru.initial_carry(params["gru"], (STREAMS,)), 0.0
        for part in parts:
            values, carry = bits(params, carry, part)
            total += float(np.mean(values)) / len(parts)
        return total

    return evaluate


def fit(model, params, options, text, held_out):
    """Train; print and return the parameters and the curves [(step, training bits, held-out)]."""
    schedule = optim.warmup_cosine_decay_schedule(0.0, 8e-3, options.steps // 10, options.steps)
    optimizer = optim.chain(optim.clip_by_global_norm(1.0), optim.adam(schedule))
    step = train.train_step(model.loss, optimizer, backend=options.backend)
    state, parts, curve, recent = step.init(params, state=()), chunks(text), [], []
    evaluate, began = evaluation(model, held_out, options.backend), time.perf_counter()
    print(" step  seconds  bits per character: training  held-out")
    for i in range(options.steps):
        if i % len(parts) == 0:  # the streams begin
            state = state._replace(state=model.gru.initial_carry(params["gru"], (STREAMS,)))
        state, metrics = step(state, parts[i % len(parts)])
        recent.append(float(metrics.loss))
        if (i + 1) % max(options.steps // 10, 1) == 0 or i + 1 == options.steps:
            seconds = time.perf_counter() - began
            curve.append((i + 1, np.mean(recent), evaluate(state.params)))
            print(f"{i + 1:>5} {seconds:>8.1f} {curve[-1][1]:>29.3f} {curve[-1][2]:>9.3f}")
            recent = []
    return state.params, curve


def main():
    """Run the program; return its exit status."""
    options = command_line(
        *(__doc__, "text_generation.png"),
        **{"steps": 500, "hidden": 192, "target": 2.8, "seed": 0, "backend": "numpy"},
    )
    text, unseen = read(TRAINING), read(HELD_OUT)
    print(f"{len(text):,} characters to train on, {len(unseen):,} held out; {options.backend}")
    model = Model(options.hidden)
    params = model.init(fg.random.key(options.seed))
    params, curve = fit(model, params, options, text, unseen)

    write = fg.jit(model.write, backend=options.backend)
    prompt = np.array([ALPHABET.index(c) for c in PROMPT], np.int32)
    for temperature in (0.4, 0.7, 1.0):
        key = fg.random.key(options.seed + 1)
        chars = write(params, prompt, key, np.float32(temperature))
        written = (PROMPT + "".join(ALPHABET[c] for c in np.asarray(chars))).expandtabs(4)
        rows = [row[:96].rstrip() for row in written.split("\n")]  # some are very long
        print(f"\n--- temperature {temperature} ---" + "\n".join(rows))

    start = int(np.flatnonzero(unseen == 0)[300])  # a line in the middle, and what led to it
    line = unseen[start - 400 : start + 60]
    bits = np.asarray(model.bits(params, None, line[None])[0])[0, -60:]
    marks = [MARKS.get(ALPHABET[c], ALPHABET[c]) for c in line[-60:]]

    def draw(left, right):
        steps, seen, new = zip(*curve, strict=True)
        left.plot(steps, seen, label="training")
        left.plot(steps, new, label="held out")
        left.set(xlabel="step", ylabel="bits per character")
        left.legend()
        right.bar(range(60), bits)
        right.set_xticks(range(60), marks, size=7)
        right.set(ylabel="bits", title="surprise, character by character")

    save_picture(options.picture, draw, shape=(1, 2), size=(12, 3.6))
    reached = curve[-1][2]
    print(f"Held-out bits per character: {reached:.3f}, of {np.log2(len(ALPHABET)):.2f} at random")
    return status({f"at most {options.target} bits per character": reached <= options.target})


if __name__ == "__main__":
    sys.exit(main())

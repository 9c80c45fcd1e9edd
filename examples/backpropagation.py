"""Backpropagation, step by step, beside what funcgraph records of the same function.

A method of gradients repeats three steps: forward pass, backward pass, update. For a network
v_i = f_i(v_{i-1}, w_i) with the loss L = v_n the backward pass is the recurrence

    g_n = 1,    g_{i-1} = (∂f_i/∂v_{i-1})ᵀ g_i,    ∂L/∂w_i = (∂f_i/∂w_i)ᵀ g_i.

The program prints
  1. one row per step of the forward pass: v_i and the equation that funcgraph records for it,
  2. one row per step of the backward pass: g_{i-1}, ∂L/∂w_i and the equations of this step,
  3. how far the recurrence is from `fg.grad` of the whole, and from its graph of equations,
  4. the loss and the norms of the gradients while the network learns the exclusive or.

matplotlib is optional. The exit status is 1 if gradients differ by more than 1e-12, if the
recurrence takes other operations than `fg.grad`, or if the loss is not below 0.01 at the end.
"""

from __future__ import annotations

import functools
import linecache
import sys

import numpy as np
from _common import command_line, save_picture, status

import funcgraph as fg

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
TARGET = np.array([[0.0], [1.0], [1.0], [0.0]])

# The steps f_i, each one operation. Where a step has no parameters, w is None.
STEPS = [
    lambda v, w: v @ w,
    lambda v, w: v + w,
    lambda v, w: np.tanh(v),
    lambda v, w: v @ w,
    lambda v, w: v + w,
    lambda v, w: v - TARGET,
    lambda v, w: v**2,
    lambda v, w: np.sum(v),
    lambda v, w: v / TARGET.size,
]
NAMES = {0: "W1", 1: "b1", 3: "W2", 4: "b2"}  # the parameters of steps


def initialize(hidden, seed):
    """Return the parameters w_1 ... w_n: an array, or None where a step has none."""
    rng = np.random.default_rng(seed)
    params = [None] * len(STEPS)
    params[0], params[1] = rng.normal(size=(2, hidden)), np.zeros(hidden)
    params[3], params[4] = rng.normal(size=(hidden, 1)) / np.sqrt(hidden), np.zeros(1)
    return params


# ----------------------------------------------------------------------------- the three steps


def forward(params, x):
    """Return [v_0, ..., v_n]."""
    values = [x]
    for f, w in zip(STEPS, params, strict=True):
        values.append(f(values[-1], w))
    return values


def backward(params, values):
    """Return [g_0, ..., g_n] and [∂L/∂w_1, ..., ∂L/∂w_n], one vector-Jacobian product a step."""
    gs, gradients = [np.ones_like(values[-1])], []
    for f, v, w in reversed(list(zip(STEPS, values[:-1], params, strict=True))):
        _, pullback = fg.vjp(f, v, w)
        g, gradient = pullback(gs[0])
        gs.insert(0, g)
        gradients.insert(0, gradient)
    return gs, gradients


def update(params, gradients, rate):
    """Return the parameters after a step downhill: w_i - rate · ∂L/∂w_i."""
    return fg.tree.map(lambda w, gradient: w - rate * gradient, params, gradients)


def loss(params, x):
    """Return L, the mean square of what is wrong."""
    return forward(params, x)[-1]


def operations(graph):
    """Return the names of the operations of a graph, without the constants."""
    return [e.primitive.name for e in graph.equations if e.primitive.name != "constant"]


def source(equation):
    """Return the text of the line that asked for an equation."""
    file, line = equation.line.rsplit(":", 1)
    return linecache.getline(file, int(line)).strip(" ,\n").removeprefix("lambda v, w: ")


def print_forward(params, values):
    """Print the forward pass beside the equations that are recorded."""
    graph = fg.make_graph(loss)(params, X)
    recorded = [e for e in graph.equations if e.primitive.name != "constant"]
    print(f"Forward pass\n{'i':>2}  {'f_i':<18} {'w_i':<4} {'v_i':<7} recorded")
    for i, (equation, v) in enumerate(zip(recorded, values[1:], strict=True)):
        result = f"{equation.primitive.name} -> {equation.outputs[0].aval}"
        text = f"{source(equation):<18} {NAMES.get(i, '-'):<4} {np.shape(v)!s:<7} {result}"
        print(f"{i + 1:>2}  {text}")


def step_back(f, v, w, g):
    """Return f(v, w), and the products of its transposed Jacobians with g."""
    value, pullback = fg.vjp(f, v, w)
    return value, pullback(g)


def print_backward(params, values, gs, gradients):
    """Print the backward pass beside the equations of each step; return their operations."""
    print("\nBackward pass\n i  g_(i-1)  norm    ∂L/∂w_i    norm    recorded")
    operations_of_steps = []
    for i in reversed(range(len(STEPS))):
        trace = fg.make_graph(functools.partial(step_back, STEPS[i]))
        step = operations(trace(values[i], params[i], gs[i + 1]))[1:]  # the first is f_i itself
        operations_of_steps.append(step)
        columns = f"{np.shape(gs[i])!s:<8} {np.linalg.norm(gs[i]):<7.4f}"
        if params[i] is not None:
            name, norm = f"{NAMES[i]} {params[i].shape}", np.linalg.norm(gradients[i])
            columns += f" {name:<10} {norm:<7.4f}"
        print(f"{i + 1:>2}  {columns:<35} {', '.join(step) or '(g itself)'}")
    return operations_of_steps


def compare(params, gradients, by_steps):
    """Print whether `fg.grad` of the whole is the recurrence; return (numbers, operations)."""
    gradient = fg.grad(loss)(params, X)
    pairs = zip(fg.tree.leaves(gradient), fg.tree.leaves(gradients), strict=True)
    difference = np.max([np.max(np.abs(a - b)) for a, b in pairs])
    print(f"\nfg.grad of the whole differs by at most {difference:.1e}.")
    whole = operations(fg.make_graph(fg.grad(loss, (0, 1)))(params, X))
    # Steps 9 and 8 are linear: what they send back are numbers known beforehand, a constant.
    expected = operations(fg.make_graph(loss)(params, X))
    expected += [name for step in by_steps[2:] for name in step]
    same = whole == expected
    verdict = "the rows above, one after the other" if same else f"{whole}, not {expected}"
    print(f"Its graph of {len(whole)} equations is {verdict}.")
    return difference < 1e-12, same


@fg.jit
def train_step(params, rate):
    """Return (new parameters, loss, norms of the gradients): the three steps, compiled."""
    values = forward(params, X)
    _, gradients = backward(params, values)
    norms = [np.sqrt(np.sum(g**2)) for g in gradients if g is not None]
    return update(params, gradients, rate), values[-1], norms


def train(params, steps, rate):
    """Train; print some of the losses and return them all, with the norms of the gradients."""
    print("\nTraining\n step     loss" + "".join(f"  |∂L/∂{name}|" for name in NAMES.values()))
    losses, norms = [], []
    for step in range(steps + 1):
        params, value, sizes = train_step(params, rate)
        losses.append(float(value))
        norms.append([float(size) for size in sizes])
        if step % max(steps // 5, 1) == 0:
            print(f"{step:>5}{losses[-1]:>9.1e}" + "".join(f"{n:>10.1e}" for n in norms[-1]))
    return losses, norms


def main():
    """Run the program; return its exit status."""
    options = command_line(__doc__, "backpropagation.png", steps=250, rate=0.2, hidden=4, seed=0)
    params = initialize(options.hidden, options.seed)
    values = forward(params, X)
    gs, gradients = backward(params, values)
    print_forward(params, values)
    by_steps = print_backward(params, values, gs, gradients)
    agree, same = compare(params, gradients, by_steps)
    losses, norms = train(params, options.steps, options.rate)

    def draw(left, right):
        left.semilogy(losses)
        left.set(xlabel="step", ylabel="loss")
        right.semilogy(norms, label=[f"∂L/∂{name}" for name in NAMES.values()])
        right.set(xlabel="step", ylabel="norm of the gradient")
        right.legend()

    save_picture(options.picture, draw, shape=(1, 2))
    return status(
        {
            "the recurrence and fg.grad agree to 1e-12": agree,
            "the recurrence takes the operations of fg.grad": same,
            "the loss is below 0.01 at the end": losses[-1] < 0.01,
        }
    )


if __name__ == "__main__":
    sys.exit(main())

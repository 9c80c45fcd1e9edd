"""Neural networks as graphs: a chain and a DAG, forward and backward by hand and by funcgraph.

The program
  1. runs a chain of fully connected layers v_i = f_i(v_{i-1}, w_i), and a graph with skip
     connections, forward and backward as written out in NumPy, and prints, leaf by leaf, how far
     the gradient is from funcgraph's and from `jax.grad`,
  2. writes both networks in each of the spellings of `funcgraph.nn` and compares the numbers,
  3. prints the graph of equations of the loss and what it and its gradient cost,
  4. saves a drawing of the second network, with shapes on its edges.

JAX and matplotlib are optional. The exit status is 1 if gradients differ by more than 1e-12.
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter

import numpy as np
from _common import command_line, optional, save_picture, status

import funcgraph as fg
import funcgraph.numpy as fnp
from funcgraph import nn

INPUTS = nn.Shape((-1, 4), np.float64)

# ------------------------------------------------------------------------ the chain, by hand


def chain_forward(params, x):
    """Return the output and the cache: the input of each layer. v_i = tanh(v_{i-1} w_i + b_i)."""
    *hidden, last = params.values()
    cache = [x]
    for layer in hidden:
        cache.append(np.tanh(cache[-1] @ layer["w"] + layer["b"]))
    return cache[-1] @ last["w"] + last["b"], cache


def chain_backward(params, cache, delta):
    """Return the gradient, given delta = dL/d(output): the layers in reverse order."""
    gradient = {}
    for name, v in zip(reversed(params), reversed(cache), strict=True):
        gradient[name] = {"w": v.T @ delta, "b": delta.sum(0)}
        delta = (delta @ params[name]["w"].T) * (1 - v**2)  # through v = tanh(...)
    return gradient


# ---------------------------------------------------------------------- the graph, by hand


def graph_forward(params, x):
    """Return the output and the cache of the network `SKIPS`, node by node."""
    h = np.tanh(x @ params["h"]["w"] + params["h"]["b"])
    k = np.tanh(h @ params["k"]["w"] + params["k"]["b"])
    joined = np.concatenate([h + k, x], axis=1)
    return joined @ params["y"]["w"] + params["y"]["b"], (x, h, k, joined)


def graph_backward(params, cache, delta):
    """Return the gradient: a node with several successors gets the sum of what they send back."""
    x, h, k, joined = cache
    into_sum = (delta @ params["y"]["w"].T)[:, : h.shape[1]]
    into_k = into_sum * (1 - k**2)
    into_h = (into_sum + into_k @ params["k"]["w"].T) * (1 - h**2)  # h goes to the sum and to k
    return {
        name: {"w": v.T @ d, "b": d.sum(0)}
        for name, v, d in (("h", x, into_h), ("k", h, into_k), ("y", joined, delta))
    }


# ------------------------------------------------------------- the same networks in funcgraph.nn

CHAIN = {
    "x": nn.Input(),
    "v1": (nn.Dense(6), "x"),
    "tanh1": (fnp.tanh, "v1"),
    "v2": (nn.Dense(5), "tanh1"),
    "tanh2": (fnp.tanh, "v2"),
    "v3": (nn.Dense(3), "tanh2"),
}
SKIPS = {
    "x": nn.Input(),
    "h": (nn.Dense(6), "x"),
    "tanh_h": (fnp.tanh, "h"),
    "k": (nn.Dense(6), "tanh_h"),
    "tanh_k": (fnp.tanh, "k"),
    "sum": (nn.add, "tanh_h", "tanh_k"),
    "joined": (nn.concat(), "sum", "x"),
    "y": (nn.Dense(3), "joined"),
}


def chain_models():
    """Return the chain as nn.serial, as a dict of nodes, and in the functional spelling."""
    one = nn.serial(v1=nn.Dense(6), a=fnp.tanh, v2=nn.Dense(5), b=fnp.tanh, v3=nn.Dense(3))
    x = nn.Input()
    v1 = nn.Dense(6)(x, name="v1")
    v2 = nn.Dense(5)(np.tanh(v1), name="v2")
    called = nn.Model(x, nn.Dense(3)(np.tanh(v2), name="v3"))
    return {"nn.graph": nn.graph(CHAIN), "nn.serial": one, "functional": called}


def graph_models():
    """Return the graph with skip connections as a dict of nodes and in the functional spelling."""
    x = nn.Input()
    h = np.tanh(nn.Dense(6)(x, name="h"))
    k = np.tanh(nn.Dense(6)(h, name="k"))
    called = nn.Model(x, nn.Dense(3)(nn.concat()(h + k, x), name="y"))
    return {"nn.graph": nn.graph(SKIPS), "functional": called}


def distance(a, b):
    """Return the largest difference between the leaves of two pytrees."""
    pairs = zip(fg.tree.leaves(a), fg.tree.leaves(b), strict=True)
    return np.max([np.max(np.abs(np.asarray(p) - np.asarray(q))) for p, q in pairs])


def compare(title, models, forward, backward, x, target):
    """Print the tables of a network; return (largest difference, loss, parameters)."""
    model = models["nn.graph"]
    _, params = model.init(fg.random.key(0), INPUTS)

    def loss(params):
        return fnp.sum((model.apply(params, x) - target) ** 2) / (2 * len(x))

    y, cache = forward(params, x)
    by_hand = backward(params, cache, (y - target) / len(x))  # dL/dy of the loss above
    ours, theirs = fg.grad(loss)(params), None
    if jax := optional("jax", "the comparison with jax.grad"):
        with jax.enable_x64(True):
            theirs = jax.jit(jax.grad(loss))(params)
    print(f"\n{title}: loss {loss(params):.6f}\n{'leaf':<12} {'shape':<8} funcgraph   jax.grad")
    differences = []
    for name, leaf in itertools.product(params, ("w", "b")):
        hand = by_hand[name][leaf]
        columns = [distance(hand, other[name][leaf]) for other in (ours, theirs) if other]
        differences += columns
        numbers = "".join(f"{c:>11.1e}" for c in columns)
        print(f"{name + '/' + leaf:<12} {hand.shape!s:<8}{numbers}")
    for spelling, other in models.items():
        same = other.init(fg.random.key(0), INPUTS)[1]  # keys go by the names of nodes
        differences.append(distance((same, other.apply(params, x)), (params, y)))
        print(f"as {spelling:<12} {differences[-1]:.1e}  {other.nodes}")
    return np.max(differences), loss, params


def draw(nodes, shapes, axes):
    """Draw a DAG with shapes on its edges: each node in the column behind all that it reads."""
    place = {}  # (column, height)
    columns, sides = Counter(), itertools.cycle((-0.3, 0.3))
    for name, node in nodes.items():
        reads = node[1:] if isinstance(node, tuple) else ()
        column = max((place[read][0] + 1 for read in reads), default=0)
        place[name] = (column, -columns[column])
        columns[column] += 1
        for read in reads:
            (x0, y0), (x1, y1) = place[read], place[name]
            bend = 0 if x1 - x0 == 1 else next(sides)  # edges over several columns go around
            arrow = {"arrowstyle": "-|>", "connectionstyle": f"arc3,rad={bend}", "color": "gray"}
            axes.annotate("", (x1, y1), (x0, y0), arrowprops=arrow | {"shrinkA": 22, "shrinkB": 22})
            middle = ((x0 + x1) / 2, (y0 + y1) / 2 - bend * (x1 - x0) / 2 + 0.15)
            axes.text(*middle, "×".join(map(str, shapes[read])), ha="center", fontsize=8)
    for name, (column, height) in place.items():
        box = {"boxstyle": "round", "facecolor": "lightsteelblue", "edgecolor": "steelblue"}
        axes.text(column, height, name, ha="center", va="center", bbox=box, fontsize=9)
    axes.set(xlim=(-0.4, max(columns) + 0.4), ylim=(-1.1, 1.1), aspect="equal")
    axes.axis("off")


def main():
    """Run the program; return its exit status."""
    options = command_line(__doc__, "graphs.png", batch=8)
    rng = np.random.default_rng(0)
    x, target = rng.normal(size=(options.batch, 4)), rng.normal(size=(options.batch, 3))
    chain = chain_models()
    first, _, _ = compare("Chain", chain, chain_forward, chain_backward, x, target)
    models = graph_models()
    second, loss, params = compare("Graph", models, graph_forward, graph_backward, x, target)

    graph = fg.make_graph(loss)(params).simplify()
    gradient = fg.make_graph(fg.value_and_grad(loss))(params).simplify()
    print("\nThe loss of the second network as a graph of equations:", graph, sep="\n")
    ratio = gradient.flops() / graph.flops()
    print(f"{graph.flops()} FLOPs; with the gradient {gradient.flops()}, {ratio:.1f} times as many")

    names = [name for name in SKIPS if name != "x"]
    _, values = models["nn.graph"].apply(params, x, capture=names)
    shapes = {"x": x.shape} | {name: value.shape for name, value in values.items()}
    save_picture(options.picture, lambda axes: draw(SKIPS, shapes, axes), size=(9, 3))
    agree = first < 1e-12 and second < 1e-12
    cheap = {"value and gradient cost at most 4 times the value": ratio < 4}
    return status({"gradients and spellings agree to 1e-12": agree} | cheap)


if __name__ == "__main__":
    sys.exit(main())

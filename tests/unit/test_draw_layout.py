"""Places of pictures: nothing overlaps, edges end where they should, the same graph every time."""

from __future__ import annotations

import random
from itertools import combinations, pairwise

import numpy as np
import pytest

import funcgraph as fg
from funcgraph import nn
from funcgraph.pictures.layout import place
from funcgraph.pictures.levels import Item, Link, arrange
from funcgraph.pictures.scene import Box, Edge, Node, Scene, text_width


def random_scene(count, seed, boxes=False):
    """Return a scene of a random acyclic graph; every fifth run of ten nodes stands in a box."""
    draw = random.Random(seed)
    scene = Scene()
    for k in range(count):
        node = Node(f"n{k}", (f"operation {k}",), "elementwise")
        if boxes and k // 10 % 2:
            node.parent = f"b{k // 10}"
            label = f"a box with the number {k // 10}"
            scene.boxes.setdefault(node.parent, Box(node.parent, label, "scope"))
        node.fit()
        scene.nodes[node.id] = node
        reads = {draw.randrange(max(0, k - 25), k) for _ in range(draw.randint(1, 3))} if k else ()
        for j in sorted(reads):
            label = "" if any(e.source == f"n{j}" for e in scene.edges) else "3×4"
            scene.edges.append(Edge(f"e{len(scene.edges)}", f"n{j}", node.id, label))
    return scene


def mlp(params, x, y):
    for layer in params:
        x = np.tanh(x @ layer["w"] + layer["b"])
    return np.mean((x - y) ** 2)


def lstm(w, xs):
    def cell(carry, x):
        h, c = carry
        i, f, o, g = np.split(np.concatenate([x, h]) @ w, 4)
        c = np.tanh(f) * c + np.tanh(i) * np.tanh(g)
        h = np.tanh(o) * np.tanh(c)
        return (h, c), h

    zeros = np.zeros(w.shape[1] // 4)
    (h, _), hs = fg.scan(cell, (zeros, zeros), xs)
    return np.sum(h) + np.sum(hs**2)


def newton(x):
    def step(carry):
        guess, count = carry
        return 0.5 * (guess + x / guess), count + 1

    return fg.while_loop(lambda c: np.abs(c[0] ** 2 - x) > 1e-9, step, (x, 0))[0]


def either(x):
    return np.sum(fg.cond(x[0] > 0, lambda x: np.sin(x) * 2, lambda x: np.exp(-x), x))


def residual_net():
    body = nn.serial(nn.Conv(4, (3, 3), padding="SAME"), nn.BatchNorm(), nn.relu)
    return nn.serial(nn.residual(body), nn.relu, nn.GlobalAvgPool(), nn.Dense(3))


PARAMS = [{"w": np.ones((n, m)), "b": np.ones(m)} for n, m in [(3, 5), (5, 4), (4, 2)]]
PICTURES = {
    "mlp": lambda: fg.draw(mlp)(PARAMS, np.ones((6, 3)), np.ones((6, 2))),
    "gradient": lambda: fg.draw(fg.grad(mlp))(PARAMS, np.ones((6, 3)), np.ones((6, 2))),
    "lstm": lambda: fg.draw(lstm)(np.ones((6, 12)), np.ones((5, 3))),
    "while": lambda: fg.draw(newton, backward=False)(2.0),
    "switch": lambda: fg.draw(either)(np.ones(3)),
    "model": lambda: residual_net().draw((-1, 8, 8, 4), backward=True),
    "closed": lambda: residual_net().draw((-1, 8, 8, 4), depth=1),
    "jit": lambda: fg.draw(fg.jit(lambda x: np.sum(np.sin(x) * x)))(np.ones(3)),
}
SCENES = {
    **{name: lambda make=make: make().scene for name, make in PICTURES.items()},
    "random": lambda: place(random_scene(200, 1)),
    "random boxes": lambda: place(random_scene(120, 2, boxes=True)),
}


@pytest.fixture(scope="module", params=SCENES)
def scene(request):
    return SCENES[request.param]()


def rectangle(part):
    return part.x, part.y, part.x + part.width, part.y + part.height


def apart(a, b):
    return a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def inside(a, b):
    return b[0] <= a[0] and b[1] <= a[1] and a[2] <= b[2] and a[3] <= b[3]


def test_nodes_and_boxes_do_not_overlap(scene):
    boxes = list(scene.boxes.values())
    for a, b in combinations(scene.nodes.values(), 2):
        assert apart(rectangle(a), rectangle(b)), (a.id, b.id)
    for a, b in combinations(boxes, 2):
        nested = a.id in scene.around(b.id) or b.id in scene.around(a.id)
        assert nested or apart(rectangle(a), rectangle(b)), (a.id, b.id)
    for node in scene.nodes.values():
        for box in boxes:
            if box.id in scene.around(node.id):
                assert inside(rectangle(node), rectangle(box))
            else:
                assert apart(rectangle(node), rectangle(box)), (node.id, box.id)
    picture = (0, 0, scene.width, scene.height)
    for part in (*scene.nodes.values(), *boxes):
        assert inside(rectangle(part), picture)
        assert not part.parent or inside(rectangle(part), rectangle(scene.boxes[part.parent]))


def on_border(point, node):
    x, y = point
    left, top, right, bottom = rectangle(node)
    across = left - 0.1 <= x <= right + 0.1
    down = top - 0.1 <= y <= bottom + 0.1
    sides = min(abs(x - left), abs(x - right), abs(y - top), abs(y - bottom))
    return across and down and sides < 0.1


def test_edges_end_at_their_nodes(scene):
    assert len({edge.id for edge in scene.edges}) == len(scene.edges)
    for edge in scene.edges:
        assert len(edge.points) % 3 == 1
        assert on_border(edge.points[0], scene.nodes[edge.source])
        assert on_border(edge.points[-1], scene.nodes[edge.target])


def test_values_run_down_and_cotangents_up(scene):
    for edge in scene.edges:
        if edge.kind in ("data", "cotangent"):
            ys = [y for _, y in edge.points]
            for a, b in pairwise(ys if edge.kind == "data" else ys[::-1]):
                assert a <= b + 0.01


def samples(points):
    """Return points of a path of Bezier curves, an array (count, 2)."""
    ends = np.array(points)
    a, b, c, d = (ends[k : len(points) - 3 + k : 3][:, None] for k in range(4))
    t = np.linspace(0, 1, 9)[:, None]
    s = 1 - t
    return (s**3 * a + 3 * s * s * t * b + 3 * s * t * t * c + t**3 * d).reshape(-1, 2)


def test_edges_pass_no_other_node(scene):
    ids = np.array(list(scene.nodes))
    left, top, right, bottom = np.array([rectangle(n) for n in scene.nodes.values()]).T
    for edge in scene.edges:
        x, y = samples(edge.points).T[:, :, None]
        hit = (left + 0.5 < x) & (x < right - 0.5) & (top + 0.5 < y) & (y < bottom - 0.5)
        assert set(ids[hit.any(axis=0)]) <= {edge.source, edge.target}


def test_text_fits_into_nodes_and_boxes(scene):
    for node in scene.nodes.values():
        assert all(text_width(text, size) <= node.width for text, size, _ in node.text())
    for box in scene.boxes.values():
        assert text_width(box.text, 10) <= box.width - 16


@pytest.mark.parametrize("name", PICTURES)
def test_the_same_program_gives_the_same_picture(name):
    assert PICTURES[name]().svg == PICTURES[name]().svg


def test_rows_follow_the_longest_path_and_parameters_stand_beside_their_readers():
    items = [Item(40, 20) for _ in range(5)]  # 0 → 1 → 2 → 3, and 4 → 3
    links = [Link(0, 1, "a"), Link(1, 2, "b"), Link(2, 3, "c"), Link(4, 3, "d")]
    arrange(items, links, 0.0, 0.0)
    assert [i.y for i in items[:4]] == sorted({i.y for i in items[:4]})
    assert items[4].y == items[2].y
    assert np.ptp([i.x for i in items[:4]]) < 0.01  # computed values run straight


def test_long_links_are_straight():
    items = [Item(40, 20) for _ in range(6)]
    links = [Link(k, k + 1, k) for k in range(5)] + [Link(0, 5, 0)]
    _, _, paths = arrange(items, links, 0.0, 0.0)
    long = paths[links[-1]]
    assert len({round(x, 6) for x, _ in long[3:-3]}) == 1
    assert len({i.x for i in items[1:5]}) == 1


def test_cycles_are_refused():
    items = [Item(40, 20), Item(40, 20)]
    with pytest.raises(ValueError, match="cycle"):
        arrange(items, [Link(0, 1, "a"), Link(1, 0, "b")], 0.0, 0.0)

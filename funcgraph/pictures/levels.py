"""Layered drawing of one level of a picture: items in rows, joined by links that run downwards.

`grid` gives rows and orders. Places in the rows are found by sweeps in which every item is as near
to its neighbours above, or below, as the order allows; then links become paths.
May import `pictures.grid`.

Sources: K. Sugiyama, S. Tagawa and M. Toda, "Methods for visual understanding of hierarchical
system structures", 1981. R. Barlow et al., "Statistical inference under order restrictions", 1972
(pooling of adjacent violators).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from funcgraph.pictures.grid import Arc, Grid, Item, Link

__all__ = ["Item", "Link", "arrange", "curve"]

Point = tuple[float, float]

_ROW = 32.0  # between rows


def curve(a: Point, b: Point) -> list[Point]:
    """Return control points and end of a curve that leaves a and reaches b vertically."""
    half = (b[1] - a[1]) / 2
    return [(a[0], a[1] + half), (b[0], b[1] - half), b]


# --- places ---------------------------------------------------------------------------------------


def _spread(grid: Grid) -> None:
    """Give the arcs that enter an item anywhere places of their own along its top."""
    for v, item in enumerate(grid.items):
        arcs = sorted(
            (arc for arc in grid.ups[v] if not item.inlets),
            key=lambda arc: grid.at(arc.upper, arc.a),
        )
        if len(arcs) < 2:
            continue
        step = min(16.0, item.width / (len(arcs) + 1))
        heaviest = max(arc.weight for arc in arcs)
        heavy = [k for k, arc in enumerate(arcs) if arc.weight == heaviest]
        middle = heavy[0] if len(heavy) == 1 else (len(arcs) - 1) / 2
        if max(middle, len(arcs) - 1 - middle) * step > item.width / 2 - 4:
            middle = (len(arcs) - 1) / 2
        for k, arc in enumerate(arcs):
            arc.b = (k - middle) * step


def _assign(grid: Grid) -> list[float]:
    """Return the x of the middle of every vertex."""
    x = [0.0] * len(grid.row)
    for row in grid.rows:
        for u, v in pairwise(row):
            x[v] = x[u] + grid.apart(u, v)
    for down in (True, False, True, False, True):
        for row in grid.rows if down else grid.rows[::-1]:
            _settle(grid, row, x, down)
    for row in grid.rows[::-1]:  # what nothing leads to stands over what reads it
        _settle(grid, row, x, False, fixed=True)
    for chain in sorted(grid.chains, key=len, reverse=True):
        _straighten(grid, chain, x)
    return x


def _settle(grid: Grid, row: list[int], x: list[float], down: bool, fixed: bool = False) -> None:
    """Move a row to where its neighbours above (or below) want it, in order and apart."""
    wanted, weights = [], []
    for v in row:
        if fixed and grid.ups[v]:
            wanted.append(x[v])
            weights.append(1e6)
            continue
        if down:
            ends = [(x[arc.upper] + arc.a - arc.b, arc.weight) for arc in grid.ups[v]]
        else:
            ends = [(x[arc.lower] + arc.b - arc.a, arc.weight) for arc in grid.downs[v]]
        wanted.append(_median(ends) if ends else x[v])
        weights.append(sum(w for _, w in ends) or 0.1)
    apart = [grid.apart(u, v) for u, v in pairwise(row)]
    for v, place in zip(row, _separated(wanted, weights, apart), strict=True):
        x[v] = place


def _straighten(grid: Grid, chain: list[int], x: list[float]) -> None:
    """Put the points of a long link under each other if there is room."""
    low, high = float("-inf"), float("inf")
    for v in chain:
        row, k = grid.rows[grid.row[v]], int(grid.place[v])
        if k:
            low = max(low, x[row[k - 1]] + grid.apart(row[k - 1], v))
        if k + 1 < len(row):
            high = min(high, x[row[k + 1]] - grid.apart(v, row[k + 1]))
    if low > high:
        return
    first, last = grid.ups[chain[0]][0], grid.downs[chain[-1]][0]
    ends = [x[first.upper] + first.a, x[last.lower] + last.b]
    inside = [e for e in ends if low <= e <= high]
    place = inside[0] if inside else min(max(x[chain[0]], low), high)
    for v in chain:
        x[v] = place


def _median(ends: list[tuple[float, float]]) -> float:
    """Return the weighted median of (value, weight); between two, their mean."""
    ends = sorted(ends)
    half, total = sum(w for _, w in ends) / 2, 0.0
    for k, (value, weight) in enumerate(ends):
        total += weight
        if abs(total - half) < 1e-9:
            return (value + ends[k + 1][0]) / 2
        if total > half:
            return value
    return ends[-1][0]


def _separated(wanted: list[float], weights: list[float], apart: list[float]) -> list[float]:
    """Return the places nearest to the wanted ones (least squares) that are as far apart as asked.

    Pooling adjacent violators, on the places less the distances before them.
    """
    shifts = [0.0]
    for d in apart:
        shifts.append(shifts[-1] + d)
    pools: list[tuple[float, float, int]] = []  # mean, weight, how many
    for place, weight, shift in zip(wanted, weights, shifts, strict=False):
        mean, count = place - shift, 1
        while pools and pools[-1][0] >= mean:
            other, heavy, more = pools.pop()
            mean = (mean * weight + other * heavy) / (weight + heavy)
            weight, count = weight + heavy, count + more
        pools.append((mean, weight, count))
    flat = [mean for mean, _, count in pools for _ in range(count)]
    return [m + s for m, s in zip(flat, shifts, strict=False)]


# --- the whole level ------------------------------------------------------------------------------


def arrange(
    items: Sequence[Item], links: Sequence[Link], top: float, bottom: float
) -> tuple[float, float, dict[Link, list[Point]]]:
    """Give every item of a level a place, and every link a path.

    Args:
      items: They get their x and y: the leftmost has its left side at 0.
      links: They may not form a cycle.
      top: Room above the first row of items; ports of the top are at 0.
      bottom: Room below the last row of items, where the ports of the bottom are.

    Returns:
      Width, height, and for each link the points of a path (see `scene.Edge`).
    """
    grid = Grid(items, links)
    grid.order()
    _spread(grid)
    x = _assign(grid)
    left = min((x[v] - grid.left(v) for v in range(len(x))), default=0.0)
    x = [place - left for place in x]
    width = max((x[v] + grid.right(v) for v in range(len(x))), default=0.0)
    upper, lower, height = _heights(grid, x, top, bottom)
    for v, item in enumerate(items):
        r = grid.row[v]
        item.x = x[v]
        item.y = (upper[r] + lower[r] - item.height) / 2
    paths = {link: _path(grid, x, upper, lower, arcs) for link, arcs in grid.paths.items()}
    return width, height, paths


def _heights(
    grid: Grid, x: list[float], top: float, bottom: float
) -> tuple[list[float], list[float], float]:
    """Return upper and lower border of every row, and the height of the level."""
    upper, lower = [], []
    n = len(grid.items)
    ports = [any(grid.items[v].pinned for v in row if v < n) for row in grid.rows]
    y = 0.0 if ports and ports[0] else top
    for r, row in enumerate(grid.rows):
        tall = max((grid.items[v].height for v in row if v < n), default=0.0)
        upper.append(y)
        lower.append(y + tall)
        far = max(
            (
                abs(x[arc.upper] + arc.a - x[arc.lower] - arc.b)
                for v in row
                for arc in grid.downs[v]
            ),
            default=0.0,
        )
        gap = _ROW + min(40.0, far / 12)
        if r == 0 and ports[0]:
            gap = max(top, min(gap, top + 12.0))
        elif r + 1 < len(ports) and ports[r + 1]:
            gap = max(bottom, min(gap, bottom + 12.0))
        y += tall + gap
    if ports and ports[-1]:
        return upper, lower, lower[-1]
    return upper, lower, (lower[-1] + bottom if lower else top + bottom)


def _path(
    grid: Grid, x: list[float], upper: list[float], lower: list[float], arcs: list[Arc]
) -> list[Point]:
    """Return the points of a link: vertical within rows, curves between them."""
    source, target = grid.items[arcs[0].upper], grid.items[arcs[-1].lower]
    points = [(x[arcs[0].upper] + arcs[0].a, source.y + source.height)]
    for arc in arcs:
        a = (x[arc.upper] + arc.a, lower[grid.row[arc.upper]])
        b = (x[arc.lower] + arc.b, upper[grid.row[arc.lower]])
        if a[1] - points[-1][1] > 0.01:
            points += curve(points[-1], a)
        points += curve(a, b)
    end = (points[-1][0], target.y)
    if end[1] - points[-1][1] > 0.01:
        points += curve(points[-1], end)
    return points

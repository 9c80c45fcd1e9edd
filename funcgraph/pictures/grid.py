"""Items in rows with few crossings: the first half of the layered drawing of a level.

Rows come from the longest paths, and links are made short; a link over several rows is cut by a
point in each of them; then sweeps of barycentres and exchanges of neighbours save crossings. All
links of one value share their points, so that it runs as one line that branches late.
May import nothing.

Sources: K. Sugiyama, S. Tagawa and M. Toda, "Methods for visual understanding of hierarchical
system structures", 1981. E. Gansner, E. Koutsofios, S. North and K.-P. Vo, "A technique for
drawing directed graphs", 1993 (exchanges, priorities of edges).
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

__all__ = ["Arc", "Grid", "Item", "Link"]

_GAP = 22.0  # between neighbours in a row
_NARROW = 12.0  # between a line that passes and its neighbours
# How much a link wants to be straight: of a parameter, between items, to a point, between points.
_LIGHT, _PLAIN, _LONG, _INNER = 1.0, 300.0, 1000.0, 5000.0


@dataclass(slots=True)
class Item:
    """A rectangle of a level; or one of its ports, if it is pinned to the top or to the bottom.

    Attributes:
      width: Of the rectangle.
      height: Of the rectangle.
      right: Room that it needs to the right of its middle, for a label.
      inlets: Where values enter, from the middle; a value that is not there: anywhere on top.
      outlets: Where values leave, from the middle; a value that is not there: in the middle.
      pinned: "top", "bottom" or "".
      wish: Where a port is to stand: the row keeps the order of its wishes.
      x: Of the middle (a result).
      y: Of the top (a result).
    """

    width: float
    height: float
    right: float = 0.0
    inlets: dict[Hashable, float] = field(default_factory=dict)
    outlets: dict[Hashable, float] = field(default_factory=dict)
    pinned: str = ""
    wish: float | None = None
    x: float = 0.0
    y: float = 0.0


class Link(NamedTuple):
    """A value on its way from one item to another, by their numbers."""

    source: int
    target: int
    value: Hashable


@dataclass(slots=True)
class Arc:
    """A piece of a link, between neighbouring rows; `a` and `b` are offsets from the middles."""

    upper: int
    lower: int
    a: float
    b: float
    weight: float


# --- rows -----------------------------------------------------------------------------------------


def _order(count: int, links: Sequence[Link]) -> list[int]:
    """Return the items so that every link goes forwards, otherwise in their own order."""
    waiting = [0] * count
    after: list[list[int]] = [[] for _ in range(count)]
    for link in links:
        waiting[link.target] += 1
        after[link.source].append(link.target)
    ready = [v for v in range(count) if not waiting[v]]
    out: list[int] = []
    while ready:
        v = ready.pop(0)
        out.append(v)
        for w in after[v]:
            waiting[w] -= 1
            if not waiting[w]:
                insort(ready, w)
    if len(out) < count:
        raise ValueError("the links of a level form a cycle")
    return out


def _rows(items: Sequence[Item], links: Sequence[Link]) -> list[int]:
    """Return the row of every item, such that links go downwards and are short."""
    order = _order(len(items), links)
    ups: list[list[int]] = [[] for _ in items]
    downs: list[list[int]] = [[] for _ in items]
    for link in dict.fromkeys((k.source, k.target) for k in links):
        ups[link[1]].append(link[0])
        downs[link[0]].append(link[1])
    first = any(i.pinned == "top" for i in items)
    row = [0] * len(items)
    for v in order:
        lowest = 0 if items[v].pinned == "top" else int(first)
        row[v] = max([row[u] + 1 for u in ups[v]], default=lowest)
    last = max([row[v] for v, i in enumerate(items) if i.pinned != "bottom"], default=0)
    for v, item in enumerate(items):
        if item.pinned == "bottom":
            row[v] = last + 1
    roots = [v for v in reversed(order) if len(ups[v]) < len(downs[v]) and not items[v].pinned]
    moved = True
    while moved:
        moved = False
        for v in roots:
            moved |= _lower(v, row, ups, downs, items)
    return row


def _lower(
    root: int, row: list[int], ups: list[list[int]], downs: list[list[int]], items: Sequence[Item]
) -> bool:
    """Move an item down, with all that it pushes, if that makes links shorter."""
    pushed = {root}
    stack = [root]
    while stack:
        v = stack.pop()
        if not downs[v] or items[v].pinned:
            return False
        for w in downs[v]:
            if row[w] == row[v] + 1 and w not in pushed:
                pushed.add(w)
                stack.append(w)
    leaving = [row[w] - row[v] - 1 for v in pushed for w in downs[v] if w not in pushed]
    entering = sum(u not in pushed for v in pushed for u in ups[v])
    if len(leaving) <= entering:
        return False
    step = min(leaving)
    for v in pushed:
        row[v] += step
    return True


# --- the grid: items and points in rows, arcs between neighbouring rows ---------------------------


class Grid:
    """Items, and points of links between them; numbers from len(items) on are points."""

    def __init__(self, items: Sequence[Item], links: Sequence[Link]) -> None:
        self.items = items
        self.row = _rows(items, links)
        self.rows: list[list[int]] = [[] for _ in range(max(self.row, default=-1) + 1)]
        self.chains: list[list[int]] = []
        self.paths: dict[Link, list[Arc]] = {}
        self.arcs: dict[tuple[int, int, Hashable], Arc] = {}
        for v in _order(len(items), links):
            self.rows[self.row[v]].append(v)
        self.loose: list[list[int]] = []  # rows whose order is to be found
        for row in self.rows:
            wishes = {v: items[v].wish for v in row}
            if None in wishes.values():
                self.loose.append(row)
            else:
                row.sort(key=wishes.get)  # type: ignore[arg-type]
        trunks: dict[tuple[int, Hashable], list[int]] = {}
        for link in sorted(links, key=lambda k: -self.row[k.target]):  # the longest makes the trunk
            trunk = trunks.setdefault((link.source, link.value), [])
            self._route(link, trunk)
        self.chains = [trunk for trunk in trunks.values() if trunk]
        self._lighten(links)
        self.ups: list[list[Arc]] = [[] for _ in self.row]
        self.downs: list[list[Arc]] = [[] for _ in self.row]
        for arc in self.arcs.values():
            self.downs[arc.upper].append(arc)
            self.ups[arc.lower].append(arc)
        self.place = [0.0] * len(self.row)

    def _route(self, link: Link, trunk: list[int]) -> None:
        """Cut a link at every row between its ends, at the points of the trunk of its value."""
        start, end = self.row[link.source], self.row[link.target]
        for row in range(start + 1 + len(trunk), end):
            self.row.append(row)
            self.rows[row].append(len(self.row) - 1)
            trunk.append(len(self.row) - 1)
        stops = [link.source, *trunk[: end - start - 1], link.target]
        path = []
        for u, v in pairwise(stops):
            key = (u, v, link.value)
            if key not in self.arcs:
                a = self.items[u].outlets.get(link.value, 0.0) if u == link.source else 0.0
                b = self.items[v].inlets.get(link.value, 0.0) if v == link.target else 0.0
                self.arcs[key] = Arc(u, v, a, b, self._weight(u, v))
            path.append(self.arcs[key])
        self.paths[link] = path

    def _weight(self, u: int, v: int) -> float:
        points = (u >= len(self.items)) + (v >= len(self.items))
        if not points:
            return _PLAIN
        return _INNER if points == 2 else _LONG

    def _lighten(self, links: Sequence[Link]) -> None:
        """Let what nothing leads to give way where its reader reads something computed as well."""
        computed = {k.target for k in links} | {v for v, i in enumerate(self.items) if i.pinned}
        reads = {k.target for k in links if k.source in computed}
        for (u, v, _), arc in self.arcs.items():
            if u < len(self.items) and u not in computed and v in reads:
                arc.weight = _LIGHT

    def left(self, v: int) -> float:
        """Return what a vertex needs to the left of its middle."""
        return self.items[v].width / 2 if v < len(self.items) else 0.0

    def right(self, v: int) -> float:
        """Return what a vertex needs to the right of its middle."""
        return max(self.items[v].width / 2, self.items[v].right) if v < len(self.items) else 0.0

    def apart(self, u: int, v: int) -> float:
        """Return how far the middles of neighbours are from each other at least."""
        n = len(self.items)
        gap = _GAP if u < n and v < n else _NARROW
        return self.right(u) + gap + self.left(v)

    # --- order ------------------------------------------------------------------------------------

    def number(self) -> None:
        """Write down for every vertex where it stands in its row."""
        for row in self.rows:
            for k, v in enumerate(row):
                self.place[v] = k

    def at(self, v: int, offset: float) -> float:
        """Return where a port of a vertex stands in its row: vertices are one apart."""
        wide = self.items[v].width + 1 if offset and v < len(self.items) else 1.0
        return self.place[v] + offset / wide * 0.9

    def crossings(self) -> int:
        """Return how many pairs of arcs cross."""
        total = 0
        for row in self.rows[:-1]:
            ends = [
                (self.at(v, arc.a), self.at(arc.lower, arc.b)) for v in row for arc in self.downs[v]
            ]
            seen: list[float] = []
            for _, b in sorted(ends):
                total += len(seen) - bisect_right(seen, b)
                insort(seen, b)
        return total

    def order(self) -> None:
        """Find an order of the rows with few crossings."""
        self.number()
        best, fewest = [list(row) for row in self.loose], self.crossings()
        for turn in range(12):
            if not fewest:
                break
            self._sweep(down=turn % 2 == 0)
            self._exchange()
            now = self.crossings()
            if now < fewest:
                best, fewest = [list(row) for row in self.loose], now
        for row, kept in zip(self.loose, best, strict=True):
            row[:] = kept
        self.number()

    def _sweep(self, down: bool) -> None:
        """Sort every row by the barycentres of its neighbours in the row before."""
        for row in self.loose if down else self.loose[::-1]:
            centre = {}
            for v in row:
                if down:
                    ends = [self.at(arc.upper, arc.a) - arc.b / 1e3 for arc in self.ups[v]]
                else:
                    ends = [self.at(arc.lower, arc.b) - arc.a / 1e3 for arc in self.downs[v]]
                centre[v] = sum(ends) / len(ends) if ends else self.place[v]
            row.sort(key=centre.__getitem__)
            for k, v in enumerate(row):
                self.place[v] = k

    def _exchange(self) -> None:
        """Exchange neighbours as long as that saves crossings."""
        for _ in range(4):
            better = False
            for row in self.loose:
                ends = {v: self._ends(v) for v in row} if len(row) > 1 else {}
                for k in range(len(row) - 1):
                    u, v = row[k], row[k + 1]
                    if _crossed(ends[u], ends[v]) > _crossed(ends[v], ends[u]):
                        row[k], row[k + 1] = v, u
                        self.place[u], self.place[v] = k + 1, k
                        better = True
            if not better:
                return

    def _ends(self, v: int) -> tuple[list[float], list[float]]:
        """Return where the arcs of a vertex end in the rows above and below."""
        return (
            [self.at(arc.upper, arc.a) for arc in self.ups[v]],
            [self.at(arc.lower, arc.b) for arc in self.downs[v]],
        )


def _crossed(mine: tuple[list[float], ...], theirs: tuple[list[float], ...]) -> int:
    """Return how many arcs of two neighbours cross, by their ends above and below."""
    total = 0
    for here, there in zip(mine, theirs, strict=True):
        for x in here:
            for y in there:
                total += y < x
    return total

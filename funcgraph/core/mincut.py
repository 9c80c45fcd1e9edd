"""Minimum cuts of networks, by maximum flows. Imports nothing.

Source: E. Dinic, Algorithm for solution of a problem of maximum flow in a network with power
estimation, Soviet Mathematics Doklady 11, 1970.
"""

from __future__ import annotations

__all__ = ["SINK", "SOURCE", "Network"]

SOURCE, SINK = 0, 1


class Network:
    """A directed graph with capacities, between two nodes, SOURCE and SINK.

    Example:
      >>> net = Network()
      >>> middle = net.node()
      >>> net.edge(SOURCE, middle, 2)
      >>> net.edge(middle, SINK, 3)
      >>> net.source_side() == {SOURCE}
      True
    """

    def __init__(self) -> None:
        self._edges: list[list[int]] = [[], []]  # of each node; edge k ^ 1 is edge k backwards
        self._ends: list[int] = []
        self._left: list[int] = []  # capacity

    def node(self) -> int:
        """Return a new node."""
        self._edges.append([])
        return len(self._edges) - 1

    def edge(self, a: int, b: int, capacity: int) -> None:
        """Connect two nodes."""
        for start, end, left in ((a, b, capacity), (b, a, 0)):
            self._edges[start].append(len(self._ends))
            self._ends.append(end)
            self._left.append(left)

    def source_side(self) -> set[int]:
        """Return the nodes on the source's side of the cut of least capacity nearest to it."""
        while True:
            level = self._levels()
            if level[SINK] < 0:
                return {node for node, depth in enumerate(level) if depth >= 0}
            self._block(level)

    def _levels(self) -> list[int]:
        """Return how many edges each node is away from the source; -1: it cannot be reached."""
        level = [-1] * len(self._edges)
        level[SOURCE] = 0
        queue = [SOURCE]
        for node in queue:
            for k in self._edges[node]:
                end = self._ends[k]
                if level[end] < 0 and self._left[k]:
                    level[end] = level[node] + 1
                    queue.append(end)
        return level

    def _block(self, level: list[int]) -> None:
        """Send as much as goes along shortest paths."""
        edges, ends, left = self._edges, self._ends, self._left
        at = [0] * len(edges)  # edges before this one lead nowhere
        path: list[int] = []
        node = SOURCE
        while True:
            if node == SINK:
                flow = min(left[k] for k in path)
                for k in path:
                    left[k] -= flow
                    left[k ^ 1] += flow
                full = next(i for i, k in enumerate(path) if not left[k])
                node = ends[path[full] ^ 1]
                del path[full:]
            elif at[node] < len(edges[node]):
                k = edges[node][at[node]]
                if left[k] and level[ends[k]] == level[node] + 1:
                    path.append(k)
                    node = ends[k]
                else:
                    at[node] += 1
            elif path:
                node = ends[path.pop() ^ 1]
                at[node] += 1
            else:
                return

"""What a page knows: a recorded run as data for JSON.

    equations   by path ("3", "3/body/0"): what stands in the program
    vars        by key ("3.0", "3/body<1"): name, type, maker, readers
    runs        by path of a graph ("", "3/body"): the turns in which it ran
    values      by key, by turn: a value
    arrivals    by key, by turn: cotangents as they come: [sender, argument, value, sum so far]
    locals      by path, by turn: the local derivatives, as text
    forward     the order of the steps: [path, turn]; backward likewise
    inputs      keys of the inputs of the function, and whether they are differentiated
    summaries   what the numbers in values and arrivals stand for

A turn is "" outside of loops, "2" in the third step of a loop, "2,0" in the first one of a loop in
it. May import all layers below `pictures`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from funcgraph.core.graph import Equation, Graph, Var
from funcgraph.core.origin import place_of, source_of
from funcgraph.engines.numpy.literals import value_text
from funcgraph.pictures.steps import Inner, Recording, Run, Step
from funcgraph.pictures.summary import norm_text, summary
from funcgraph.pictures.words import (
    Names,
    call_text,
    local_formula,
)

__all__ = ["PageData"]

_FORMULA = 60  # the longest formula
_TURNS = 24  # steps of a loop whose numbers are kept, from the first to the last


class PageData:
    """The data of a page, and how its pictures refer to them.

    Args:
      recording: The run.

    Attributes:
      data: What JSON knows: see the module.
    """

    def __init__(self, recording: Recording) -> None:
        self.data: dict[str, Any] = {
            name: {} for name in ("equations", "vars", "runs", "values", "arrivals", "locals")
        }
        self.data |= {"forward": [], "backward": [], "summaries": []}
        self._keys: dict[tuple[str, Var], str] = {}
        self._seen: dict[int, tuple[Any, int]] = {}  # by identity; the value keeps the id alive
        run = recording.run
        self._run(run, "", "", Names(run.graph, [leaf.name for leaf in recording.leaves]))
        self._back(run, "", "")
        self.data["inputs"] = [
            {"key": self.key(leaf.var), "varies": leaf.gradient is not None}
            for leaf in recording.leaves
        ]

    def key(self, v: Var, path: str = "") -> str | None:
        """Return the key of a variable as the graph at a path sees it, None if it is unknown."""
        while (path, v) not in self._keys and path:
            path = "/".join(path.split("/")[:-2])
        return self._keys.get((path, v))

    def texts(self, key: str) -> list[str]:
        """Return the label of a value in each turn: shape and norm, or a number."""
        shape = "×".join(map(str, self.data["vars"][key]["shape"]))
        found = [self.data["summaries"][k] for k in self.data["values"].get(key, {}).values()]
        return [f"{shape}  {s['label']}" if shape else s["label"] for s in found] or [shape]

    def sums(self, key: str) -> list[str]:
        """Return the texts of the sums of a value's cotangents, if there are several."""
        turns = self.data["arrivals"].get(key, {}).values()
        totals = [self.data["summaries"][row[3]] for rows in turns if len(rows) > 1 for row in rows]
        return [f"Σ {s['label']}" for s in totals]

    def _summary(self, x: Any) -> int | None:
        """Return the number of a value's summary."""
        if x is None:
            return None
        if id(x) not in self._seen:
            self._seen[id(x)] = x, len(self._seen)
            self.data["summaries"].append(summary(x))
        return self._seen[id(x)][1]

    # --- the program ------------------------------------------------------------------------------

    def _declare(self, graph: Graph, path: str, names: Names) -> None:
        """Write down what stands in a graph."""
        self.data["runs"][path] = []
        for k, v in enumerate(graph.inputs):
            self._declare_var(v, path, f"{path}<{k}", names, "input", None)
        for k, v in enumerate(graph.constants):
            self._declare_var(v, path, f"{path}={k}", names, "constant", None)
        for k, e in enumerate(graph.equations):
            where = _join(path, k)
            inputs = []
            for place, a in enumerate(e.inputs):
                key = self._keys[path, a] if isinstance(a, Var) else None
                inputs.append([names[a]] if key is None else key)
                if key is not None:
                    self.data["vars"][key]["readers"].append([where, place])
            for place, v in enumerate(e.outputs):
                self._declare_var(v, path, f"{where}.{place}", names, "result", where)
            outputs = [f"{where}.{place}" for place in range(len(e.outputs))]
            self.data["equations"][where] = {**_described(e, names), "in": inputs, "out": outputs}

    def _declare_var(
        self, v: Var, path: str, key: str, names: Names, kind: str, maker: str | None
    ) -> None:
        self._keys[path, v] = key
        self.data["vars"][key] = {
            "name": names[v],
            "type": v.aval.weak.__name__ if v.aval.weak else str(v.aval),
            "shape": list(v.aval.shape),
            "kind": kind,
            "home": path,
            "maker": maker,
            "readers": [],
        }

    # --- the run ----------------------------------------------------------------------------------

    def _run(self, run: Run, path: str, turn: str, names: Names) -> None:
        """Write down the values of a run, and the steps in their order."""
        if path not in self.data["runs"]:
            self._declare(run.graph, path, names)
        self.data["runs"][path].append(turn)
        for v in (*run.graph.inputs, *run.graph.constants):
            self._put("values", self._keys[path, v], turn, self._summary(run.values[v]))
        for step in run.steps:
            where = _join(path, step.number - 1)
            for inner in _kept(step.inner):
                inside = names.inside(inner)
                self._run(inner.run, f"{where}/{inner.name}", _turn(turn, inner), inside)
            for k, y in enumerate(step.outputs):
                self._put("values", f"{where}.{k}", turn, self._summary(y))
            self._put("locals", where, turn, _locals(run, step))
            self.data["forward"].append([where, turn])

    def _back(self, run: Run, path: str, turn: str) -> None:
        """Write down the cotangents of a run, and the steps back in their order."""
        for v, arrivals in run.arrivals.items():
            rows = [
                [
                    "" if a.step is None else _join(path, a.step.number - 1),
                    a.place,
                    self._summary(a.value),
                    self._summary(a.total),
                ]
                for a in arrivals
            ]
            self._put("arrivals", self._keys[path, v], turn, rows)
        for step in reversed(run.steps):
            where = _join(path, step.number - 1)
            for inner in reversed(_kept(step.inner)):
                self._back(inner.run, f"{where}/{inner.name}", _turn(turn, inner))
            if any(ct is not None for ct in step.cotangents):
                self.data["backward"].append([where, turn])

    def _put(self, table: str, key: str, turn: str, value: Any) -> None:
        self.data[table].setdefault(key, {})[turn] = value


def _join(path: str, k: int) -> str:
    return f"{path}/{k}" if path else str(k)


def _turn(outer: str, inner: Inner) -> str:
    if inner.iteration is None:
        return outer
    return f"{outer},{inner.iteration}" if outer else str(inner.iteration)


def _kept(inner: Sequence[Inner]) -> list[Inner]:
    """Return the runs whose numbers are kept: of a long loop, some from the first to the last."""
    turns = list(dict.fromkeys(i.iteration for i in inner))
    if len(turns) <= _TURNS:
        return list(inner)
    chosen = {turns[k] for k in np.linspace(0, len(turns) - 1, _TURNS).astype(int)}
    return [i for i in inner if i.iteration in chosen]


def _locals(run: Run, step: Step) -> list[str]:
    """Return numbers or norms of the local derivatives."""
    found = []
    for k, a in enumerate(step.equation.inputs):
        value = step.local_derivative(k) if run.varies(a) else None
        found.append("" if value is None else norm_text(value))
    return found


def _described(e: Equation, names: Names) -> dict[str, Any]:
    """Return what is known of an equation without running it."""
    costs = Graph((), (e,), ()).costs()
    rules = [
        local_formula(e, k, names, _FORMULA) if isinstance(a, Var) else ""
        for k, a in enumerate(e.inputs)
    ]
    return {
        "op": e.primitive.name,
        "text": f"{', '.join(names[v] for v in e.outputs)} = {call_text(e, names.__getitem__)}",
        "line": place_of(e.line),
        "source": source_of(e.line),
        "scope": e.scope,
        "attrs": [[k, _attribute(v)] for k, v in e.attrs.items() if _is_plain(v)],
        "flops": costs.flops,
        "bytes": costs.bytes,
        "rules": rules,
    }


def _is_plain(x: Any) -> bool:
    """Return whether an attribute has a text worth reading: no graph, no function."""
    if isinstance(x, tuple | list):
        return all(map(_is_plain, x))
    return x is None or isinstance(
        x, bool | int | float | complex | str | slice | np.dtype | np.generic | type(Ellipsis)
    )


def _attribute(x: Any) -> str:
    if isinstance(x, np.dtype):
        return x.name
    return value_text(x, lambda v: str(np.asarray(v).tolist()))

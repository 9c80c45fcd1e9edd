"""Derivatives of one leaf after another: of funcgraph and JAX, and from differences.

What is measured of a leaf, by order and mode (`Kind`):

    (1, "rev")                    pullbacks of the cotangents: (cotangents, *shape of the leaf)
    (1, "fwd")                    pushforwards of the directions, paired with the cotangents:
                                  (directions, cotangents)
    (2, "rev-rev"), (2, "fwd-rev"), (2, "rev-fwd")
                                  products of the Hessian with vectors: (vectors, *shape)
    (2, "fwd-fwd")                its bilinear form: (directions, vectors)

May import `core`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from funcgraph.check.numeric import ANALYTIC, Slopes, imaginary_step, noise_of, slopes
from funcgraph.check.probes import Direction
from funcgraph.check.problem import Arrays, Problem, pairing, widened
from funcgraph.check.subjects import Jax, Kind, Ours, peak_of
from funcgraph.core.aval import dtype_of, shape_of
from funcgraph.transforms.gradient import vjp

__all__ = ["Differences", "Plan", "measure", "scale_of"]

_FEW = 8  # directions for what takes a product for each


@dataclass
class Plan:
    """Along what is measured.

    Attributes:
      cts: Cotangents of the outputs.
      combined: One cotangent, for second derivatives.
      vectors: Tangents of all leaves, for second derivatives.
      directions: Of each leaf, for first derivatives.
    """

    cts: list[list[Any]]
    combined: list[Any]
    vectors: list[list[Any]]
    directions: list[list[Direction]] = field(default_factory=list)

    def rows(self, kind: Kind, leaf: int) -> list[int]:
        """Return which directions of a leaf count for a kind: all, or the first and the last.

        Forward mode takes a product for each, so of large leaves it gets eight; the last two are
        those that move all elements.
        """
        count = len(self.directions[leaf])
        complete = kind == (1, "fwd") and self.directions[leaf][-1].index is not None
        if kind == (1, "rev") or complete or count <= _FEW:
            return list(range(count))
        return [*range(_FEW - 2), count - 2, count - 1]

    def along(self, kind: Kind, leaf: int) -> list[Direction]:
        """Return these directions."""
        return [self.directions[leaf][k] for k in self.rows(kind, leaf)]


def measure(subject: Ours | Jax, kind: Kind, plan: Plan) -> list[Any]:
    """Return what is measured of each leaf."""
    leaves = subject.problem.leaves
    if kind == (1, "rev"):
        return _stacked([subject(kind, ct) for ct in plan.cts])
    if kind == (1, "fwd"):
        pushed = [
            [subject(kind, None, d.tangents(leaves)) for d in plan.along(kind, k)]
            for k in range(len(leaves))
        ]
        return [np.array([[pairing(ct, y) for ct in plan.cts] for y in ys]) for ys in pushed]
    if kind == (2, "fwd-fwd"):
        vectors = plan.vectors[:_FEW]
        return [
            np.array([[
                pairing(plan.combined, subject(kind, None, v, d.tangents(leaves)))
                for v in vectors
            ] for d in ds])
            for ds in (plan.along(kind, k) for k in range(len(leaves)))
        ]  # fmt: skip
    return _stacked([subject(kind, plan.combined, v) for v in plan.vectors])


def _stacked(found: list[list[Any]]) -> list[Any]:
    return [np.stack(parts) for parts in zip(*found, strict=True)]


class Differences:
    """Derivatives from differences of the function, and of our gradient for the second order."""

    def __init__(self, problem: Problem, plan: Plan, step: float | None) -> None:
        self.problem = problem
        self.plan = plan
        self.step = step
        self.evaluations = 0
        self.is_analytic = step is None and self._is_regular() and self._confirmed()

    def _is_regular(self) -> bool:
        """Return whether the function is real and analytic around the point."""
        p, point = self.problem, self.problem.point
        real = all(dtype_of(x).kind == "f" for x in (*p.leaves, *p.output))
        known = point.names <= ANALYTIC and not point.calls and not point.looked
        return real and known and not point.singular()

    def _moved(self, tangents: list[Any], s: Any) -> Arrays:
        return tuple(
            x + s * t if np.any(t) else np.asarray(x)[()]
            for x, t in zip(self.problem.leaves, tangents, strict=True)
        )

    def _outputs(self, tangents: list[Any], s: float) -> Any:
        """Return the outputs along tangents, paired with the cotangents."""
        self.evaluations += 1
        outs = self.problem.fun(*self._moved(tangents, s))
        return np.array([pairing(ct, outs) for ct in self.plan.cts])

    def _imaginary(self, tangents: list[Any], s: complex) -> Any:
        """Return the same for complex leaves, by the operations that the function is made of.

        The function itself may do something else with complex numbers: np.var takes moduli.
        """
        self.evaluations += 1
        outs = self.problem.point.graph.run(*self._moved(tangents, s))
        flat = np.array([np.concatenate([np.ravel(c) for c in ct]) for ct in self.plan.cts])
        return flat @ np.concatenate([np.ravel(y) for y in outs])

    def _confirmed(self) -> bool:
        """Return whether imaginary steps give what differences of the function give, in general."""
        tangents = self._along_all()
        try:
            found = imaginary_step(lambda s: self._imaginary(tangents, s), 1.0)
        except TypeError:  # an operation that does not take complex numbers
            return False
        s = self._slopes(lambda s: self._outputs(tangents, s), *self._values, 1.0)
        return bool(np.all(np.abs(found.value - s.value) <= 2 * s.error + found.error))

    def _gradient(self, tangents: list[Any], s: float) -> Any:
        """Return our gradient along tangents, flat."""
        self.evaluations += 1
        p = self.problem
        _, pullback = vjp(p.fun, *self._moved(tangents, s))
        cts = tuple(
            np.asarray(c, dtype_of(y)) for c, y in zip(self.plan.combined, p.output, strict=True)
        )
        return np.concatenate([np.ravel(widened(np.asarray(g))) for g in pullback(cts)])

    def peak(self) -> int:
        """Return the peak of the memory that one evaluation of the function takes, in bytes."""
        leaves = [np.asarray(x)[()] for x in self.problem.leaves]
        return peak_of(lambda: self.problem.fun(*leaves))

    def _along_all(self) -> list[Any]:
        rng = np.random.default_rng(7)
        return [
            widened(np.asarray(x)) * rng.standard_normal(shape_of(x)) for x in self.problem.leaves
        ]

    def first(self) -> list[Slopes]:
        """Return the first derivatives of each leaf: arrays (directions, cotangents)."""
        pairs = zip(self.problem.leaves, self.plan.directions, strict=True)
        return [_joined([self._row(d, x) for d in directions]) for x, directions in pairs]

    @functools.cached_property
    def _values(self) -> tuple[Any, Any]:
        """The outputs, paired with the cotangents, and their noise."""
        tangents = self._along_all()
        center = self._outputs(tangents, 0.0)
        return center, noise_of(lambda s: self._outputs(tangents, s), center, self.problem.eps)

    def _row(self, d: Direction, x: Any) -> Slopes:
        tangents = d.tangents(self.problem.leaves)
        scale = scale_of(x)
        if d.index is not None:
            scale = max(scale, float(np.abs(np.asarray(x)[d.index])))
        if self.is_analytic:
            return imaginary_step(lambda s: self._imaginary(tangents, s), scale)
        return self._slopes(lambda s: self._outputs(tangents, s), *self._values, scale)

    def _slopes(self, curve: Any, center: Any, noise: Any, scale: float) -> Slopes:
        return slopes(curve, center, noise, scale, self.problem.eps, self.step)

    def second(self) -> list[Slopes]:
        """Return the products of the Hessian and vectors, of our gradient: (vectors, elements)."""
        tangents = self._along_all()
        center = self._gradient(tangents, 0.0)
        noise = noise_of(lambda s: self._gradient(tangents, s), center, self.problem.eps)
        scale = min(map(scale_of, self.problem.leaves))
        rows = [
            self._slopes(functools.partial(self._gradient, v), center, noise, scale)
            for v in self.plan.vectors
        ]
        together = _joined(rows)  # (vectors, elements of all leaves)
        found, start = [], 0
        for x in self.problem.leaves:
            block = slice(start, start + np.size(x))
            found.append(_cut(together, block))
            start += np.size(x)
        return found


def scale_of(x: Any) -> float:
    """Return how large the elements of a leaf are; 1 if they are zero."""
    square = float(np.mean(np.abs(widened(np.asarray(x))) ** 2)) if np.size(x) else 0.0
    return square**0.5 if 0 < square < np.inf else 1.0


_FIELDS = ("value", "error", "left", "right", "kink")


def _joined(rows: list[Slopes]) -> Slopes:
    return Slopes(*(np.stack([np.asarray(getattr(r, name)) for r in rows]) for name in _FIELDS))


def _cut(s: Slopes, block: slice) -> Slopes:
    return Slopes(*(getattr(s, name)[:, block] for name in _FIELDS))

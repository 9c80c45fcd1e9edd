"""Along what derivatives are compared: cotangents of the outputs, directions at the leaves.

Small ones in full, by the standard basis; large ones along random numbers from a fixed seed. Those
are multiples of 1/64, which every floating-point dtype holds exactly. May import `core`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from funcgraph.check.problem import Arrays, Problem
from funcgraph.core.aval import dtype_of, shape_of

__all__ = ["Direction", "combined", "cotangents", "directions", "everywhere", "units"]

_OUTPUTS = 8  # up to so many numbers of the output, the whole Jacobian is compared
_WHOLE = 8  # up to so many numbers in the leaves, the whole Hessian
_RANDOM = 2  # so many random cotangents, or directions, otherwise


@dataclass(frozen=True)
class Direction:
    """A direction at one leaf: an element (1, or 1j), or random numbers everywhere in it."""

    leaf: int
    index: tuple[int, ...] | None = None
    unit: complex = 1
    seed: int = 0

    @property
    def name(self) -> str:
        """What it is called in a report."""
        if self.index is None:
            return f"random direction {self.seed}"
        return f"{list(self.index)}{' (imaginary)' if self.unit == 1j else ''}"

    def array(self, x: Any) -> Any:
        """Return it as numbers in the shape of the leaf."""
        if self.index is None:
            return _random(x, self.leaf, self.seed)
        out = np.zeros(shape_of(x), _wide(x))
        out[self.index] = self.unit
        return out

    def tangents(self, leaves: Arrays) -> list[Any]:
        """Return it as tangents of all leaves, zero in the others."""
        return [
            self.array(x) if k == self.leaf else np.zeros(shape_of(x), _wide(x))
            for k, x in enumerate(leaves)
        ]

    def along(self, gradient: Any) -> Any:
        """Return the real pairing with a gradient of the leaf, without an array of zeros."""
        if self.index is not None:
            return np.real(self.unit * gradient[self.index])
        return np.real(np.sum(gradient * self.array(gradient)))


def _wide(x: Any) -> Any:
    return np.dtype(complex if dtype_of(x).kind == "c" else float)


def _random(x: Any, *seed: int) -> Any:
    rng = np.random.default_rng(seed)
    out = np.round(64 * rng.standard_normal(shape_of(x))) / 64
    if dtype_of(x).kind == "c":
        out = out + 1j * np.round(64 * rng.standard_normal(shape_of(x))) / 64
    return out


def _basis(arrays: Arrays) -> list[list[Any]]:
    """Return the standard basis over the real numbers of the space of these arrays."""
    found = []
    for k, x in enumerate(arrays):
        for index in np.ndindex(shape_of(x)):
            for unit in units(x):
                found.append(Direction(k, index, unit).tangents(arrays))
    return found


def units(x: Any) -> tuple[complex, ...]:
    """Return the directions of one element: 1, and the imaginary unit of a complex one."""
    return (1, 1j) if dtype_of(x).kind == "c" else (1,)


def cotangents(problem: Problem) -> list[list[Any]]:
    """Return the cotangents of the outputs: all, if they are few; otherwise random ones."""
    outputs = problem.output
    if sum(np.size(y) * len(units(y)) for y in outputs) <= _OUTPUTS:
        return _basis(outputs)
    return [[_random(y, k, 100 + n) for k, y in enumerate(outputs)] for n in range(_RANDOM)]


def combined(cts: list[list[Any]]) -> list[Any]:
    """Return one cotangent, for second derivatives: the sum with weights 1, 1/2, 1/4, ..."""
    weighted = [[np.asarray(y) / 2**n for y in ct] for n, ct in enumerate(cts)]
    return [sum(parts) for parts in zip(*weighted, strict=True)]


def everywhere(problem: Problem) -> list[list[Any]]:
    """Return the directions of second derivatives: the basis, or random ones over all leaves."""
    leaves = problem.leaves
    if sum(np.size(x) * len(units(x)) for x in leaves) <= _WHOLE:
        return _basis(leaves)
    return [[_random(x, k, 200 + n) for k, x in enumerate(leaves)] for n in range(_RANDOM)]


def directions(
    leaf: int, x: Any, elements: int, wanted: Sequence[tuple[int, ...]], sizes: Any
) -> list[Direction]:
    """Return the directions at one leaf of first derivatives.

    Args:
      leaf: Its number.
      x: Its value.
      elements: So many elements at most.
      wanted: Elements that must be among them.
      sizes: Of each element, how interesting it is (None: not known): half of the elements are the
        most interesting, half are drawn at random.
    """
    size = np.size(x)
    if size <= elements:
        chosen = list(np.ndindex(shape_of(x)))
    else:
        rng = np.random.default_rng([leaf, 300])
        numbers = [int(np.ravel_multi_index(i, shape_of(x))) for i in wanted]
        if sizes is not None:
            order = np.argpartition(-np.reshape(sizes, -1), elements // 2)
            numbers += [int(n) for n in order[: elements // 2]]
        numbers += [int(n) for n in rng.choice(size, elements, replace=False)]
        unique = list(dict.fromkeys(numbers))[:elements]
        chosen = [tuple(map(int, np.unravel_index(n, shape_of(x)))) for n in unique]
    found = [Direction(leaf, index, unit) for index in chosen for unit in units(x)]
    if size > elements:
        found += [Direction(leaf, None, seed=n) for n in range(_RANDOM)]
    return found

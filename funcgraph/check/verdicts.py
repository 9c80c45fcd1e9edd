"""From measurements to verdicts: what counts as equal, and why what is not equal may be right.

Our number a and the reference b agree where |a - b| <= c eps (|b| + max |b|), max over the leaf;
eps is that of the lowest precision in which the function computes, c = 256 for first and 1024 for
second derivatives. To differences, twice the estimate of their own error is allowed beside it.
What is further away is looked into: see `Judge`. May import `core`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from funcgraph.check import conventions
from funcgraph.check.measure import Plan
from funcgraph.check.numeric import Slopes
from funcgraph.check.probes import Direction
from funcgraph.check.report import Gap, Row, Worst
from funcgraph.check.subjects import Kind

__all__ = ["Evidence", "Judge", "Tolerance"]

_FACTOR = {1: 256, 2: 1024}
# How much further apart two programs may be than changes in the last digits move the result.
_NOISE = 8
# Noise counts up to this share (in eps) of what a derivative is measured in: the largest number of
# the whole gradient, or |f| / |x|. More than that comes from a kink that rounding crosses.
_CAP = 2.0**14


@dataclass(frozen=True)
class Tolerance:
    """What counts as equal: as the module says, or |a - b| <= atol + rtol |b| if given."""

    rtol: float | None = None
    atol: float | None = None

    def allowed(self, reference: Any, eps: float, order: int) -> Any:
        """Return how far from each number of a reference ours may be."""
        size = np.abs(reference)
        if self.rtol is not None or self.atol is not None:
            return (self.atol or 0.0) + (self.rtol or 0.0) * size
        return _FACTOR[order] * eps * (size + _largest(size))


def _largest(size: Any) -> float:
    return float(np.max(size, initial=0.0, where=np.isfinite(size)))


def _apart(a: Any, b: Any, allowed: Any) -> Any:
    """Return where two arrays differ; nan equals nan, inf equals inf."""
    with np.errstate(invalid="ignore"):
        near = (np.abs(a - b) <= allowed) | (a == b)
    return ~(near | (np.isnan(a) & np.isnan(b)))


class Evidence:
    """What the judge may look at. Looked up only where something is not plainly equal.

    The subclass in `compare` knows how to measure.
    """

    point: Any
    eps: float  # of the lowest precision
    precision: str  # its dtype
    ours: dict[Kind, Any]
    jax: dict[Kind, Any]
    numeric: dict[int, list[Slopes]]
    plan: Plan

    def noise(self, order: int, leaf: int) -> float:
        """Return how far rounding otherwise moves our numbers, in any mode."""
        raise NotImplementedError

    def unit(self, order: int, leaf: int) -> float:
        """Return what a derivative of this order is measured in: |f| / |x|, or |f| / |x|^2."""
        raise NotImplementedError

    def exact(self, kind: Kind, leaf: int) -> Any:
        """Return ours in 64 bits, if JAX (if there) confirms it; None if that is not possible."""
        raise NotImplementedError


class Finding(NamedTuple):
    """Something that is not plainly equal: what it is, why, and where it is worst."""

    verdict: str
    note: str
    worst: Worst


@dataclass
class Judge:
    """Writes the rows of a report.

    A difference to JAX is
      known convention  where ours is finite and JAX's is not, or the page of conventions says so;
      noise             where both are within the rounding errors that the function is shown to
                        have: changes in the last digits of all operations move the result by
                        as much, and in 64 bits (if that is wider) the two agree;
      kink              where one-sided slopes differ and both numbers are between them.
    A difference to finite differences is
      kink              where one-sided slopes differ, and ours is between them or JAX's, too;
      known convention  where stop_gradient is at work and JAX (if there) agrees;
      noise             as above.
    Every other difference is one: "differ".
    """

    evidence: Evidence
    tolerance: Tolerance
    leaves: list[tuple[str, str, tuple[int, ...]]]  # path, dtype, shape

    def row(self, kind: Kind, leaf: int) -> Row:
        """Return the row of a leaf, an order and a mode."""
        e = self.evidence
        mine, theirs = e.ours[kind], e.jax.get(kind)
        path, dtype, shape = self.leaves[leaf]
        base = Row(path, dtype, shape, *kind, "agree")
        if isinstance(mine, Exception):
            return replace(base, verdict="error", note=f"{type(mine).__name__}: {mine}")
        a = mine[leaf]
        b = None if theirs is None or isinstance(theirs, Exception) else theirs[leaf]
        s = self._slopes(kind, leaf)
        names = self._names(kind, leaf)
        found: list[Finding] = []
        gaps: dict[str, Any] = {}
        if b is not None:
            allowed = self.tolerance.allowed(b, e.eps, kind[0])
            gaps["jax"] = _gap(a, b, dtype)
            found += self._to_jax(_Case(kind, leaf, a, b, allowed, s, names, False))
        if s is not None:
            pa, pb = self._projected(kind, leaf, a), self._projected(kind, leaf, b)
            own = self.tolerance.allowed(s.value, e.eps, kind[0])
            gaps["numeric"] = _gap(pa, s.value, dtype, s)
            found += self._to_numeric(
                _Case(kind, leaf, pa, pb, own, s, names, True), own + 2 * s.error
            )
        if not gaps:
            return replace(base, verdict="not compared")
        return replace(base, **gaps, **_gravest(found))

    # --- the samples of differences ------------------------------------------------------------

    def _slopes(self, kind: Kind, leaf: int) -> Slopes | None:
        """Return the derivatives from differences that a row is compared with."""
        numeric = self.evidence.numeric.get(kind[0])
        if numeric is None:
            return None
        s = numeric[leaf]
        plan = self.evidence.plan
        if kind[0] == 1:
            return s.rows(plan.rows(kind, leaf))
        if kind != (2, "fwd-fwd"):
            return s
        shape = self.leaves[leaf][2]
        rows = [_paired(s, d, shape) for d in plan.along(kind, leaf)]
        return Slopes(*(np.array([r[k] for r in rows]) for k in range(5)))

    def _projected(self, kind: Kind, leaf: int, a: Any) -> Any:
        """Return what was measured, as it is to be compared with differences."""
        if a is None or kind == (1, "fwd"):
            return a
        if kind == (1, "rev"):
            directions = self.evidence.plan.along(kind, leaf)
            return np.array([[d.along(g) for g in a] for d in directions])
        return a if kind == (2, "fwd-fwd") else a.reshape(len(a), -1)

    def _names(self, kind: Kind, leaf: int) -> Any:
        """Return what the rows of samples are called, if they are about directions."""
        if kind[0] == 1 or kind == (2, "fwd-fwd"):
            return [d.name for d in self.evidence.plan.along(kind, leaf)]
        return None

    # --- verdicts ------------------------------------------------------------------------------

    def _to_jax(self, c: _Case) -> list[Finding]:
        bad = _apart(c.a, c.b, c.allowed)
        if not bad.any():
            return []
        found = []
        finite = bad & np.isfinite(c.a) & ~np.isfinite(c.b)
        if finite.any():
            note = conventions.finite(self.evidence.point)
            found.append(Finding("known convention", note, self._worst(c, finite)))
        bad = bad & ~finite
        for verdict, mask, note in (
            self._noise(c, bad, c.b, c.allowed),
            self._between(c, bad),
            self._known_difference(bad),
        ):
            if (bad & mask).any():
                found.append(Finding(verdict, note, self._worst(c, bad & mask)))
                bad = bad & ~mask
        if bad.any():
            found.append(Finding("differ", "", self._worst(c, bad)))
        return found

    def _to_numeric(self, c: _Case, allowed: Any) -> list[Finding]:
        s = c.slopes
        assert s is not None
        # An infinite slope is not to be told from a steep one.
        steep = ~np.isfinite(c.a) & (s.error > 0.05 * np.abs(s.value))
        bad = _apart(c.a, s.value, allowed) & ~np.isinf(s.error) & ~steep
        found: list[Finding] = []
        kink = np.asarray(s.kink)
        if kink.any():
            low, high = np.minimum(s.left, s.right), np.maximum(s.left, s.right)
            inside = (c.a >= low - allowed) & (c.a <= high + allowed)
            alike = False if c.b is None else ~_apart(c.a, c.b, c.allowed)
            right = kink & (inside | alike)
            if right.any():
                k = tuple(np.argwhere(right)[0])
                note = f"one-sided slopes {s.left[k]:.6g} and {s.right[k]:.6g}: no derivative"
                found.append(Finding("kink", note, self._worst_sample(c, right)))
            bad = (bad | kink) & ~right
        cuts = self.evidence.point.cuts
        if cuts and bad.any():
            alike = np.ones_like(bad) if c.b is None else ~_apart(c.a, c.b, c.allowed)
            if (bad & alike).any():
                note = f"differences see what stop_gradient hides, at {cuts[0]}"
                found.append(Finding("known convention", note, self._worst_sample(c, bad & alike)))
                bad = bad & ~alike
        verdict, mask, note = self._noise(c, bad, s.value, allowed)
        if (bad & mask).any():
            found.append(Finding(verdict, note, self._worst_sample(c, bad & mask)))
            bad = bad & ~mask
        if bad.any():
            found.append(Finding("differ", "", self._worst_sample(c, bad)))
        return found

    def _noise(self, c: _Case, bad: Any, reference: Any, allowed: Any) -> tuple[str, Any, str]:
        """Return where a difference is no more than the rounding errors of the function."""
        e = self.evidence
        verdict, nowhere = f"{e.precision} noise", np.zeros_like(bad)
        if not bad.any() or not np.all(np.isfinite(c.a[bad]) & np.isfinite(reference[bad])):
            return verdict, nowhere, ""
        largest = max((_largest(np.abs(x)) for x in e.ours[c.kind]), default=0.0)
        cap = _CAP * e.eps * max(largest, e.unit(c.kind[0], c.leaf))
        noise = min(e.noise(c.kind[0], c.leaf), cap)
        exact = e.exact(c.kind, c.leaf)
        if exact is not None:
            if c.projected:
                exact = self._projected(c.kind, c.leaf, exact)
            spread = noise if c.b is None else max(noise, _largest(np.abs(c.b - exact)))
            true = _apart(exact, reference, allowed + spread)
            mask = ~_apart(c.a, exact, allowed + _NOISE * spread) & ~true
            return verdict, mask, f"rounding moves it by {spread:.1e}; in 64 bits it agrees"
        note = f"changes in the last digits of all operations move it by {noise:.1e}"
        return verdict, np.abs(c.a - reference) <= allowed + _NOISE * noise, note

    def _between(self, c: _Case, bad: Any) -> tuple[str, Any, str]:
        """Return where both numbers are between the one-sided slopes of a kink."""
        mask = np.zeros_like(bad)
        s = c.slopes
        if s is None or not np.any(s.kink) or c.kind[0] != 1:
            return "kink", mask, ""
        for r, column in np.argwhere(s.kink):
            low, high = sorted((s.left[r, column], s.right[r, column]))
            direction = self.evidence.plan.along(c.kind, c.leaf)[r]
            if c.kind[1] == "fwd":
                index: Any = (r, column)
            elif direction.index is not None and not np.iscomplexobj(c.a):
                index = (column, *direction.index)
            else:
                continue
            tolerance = c.allowed[index] + s.error[r, column]
            inside = [low - tolerance <= x <= high + tolerance for x in (c.a[index], c.b[index])]
            mask[index] = all(inside)
        return "kink", mask, "both are between the one-sided slopes: no derivative"

    def _known_difference(self, bad: Any) -> tuple[str, Any, str]:
        note = conventions.different(self.evidence.point) if bad.any() else ""
        return "known convention", np.full_like(bad, bool(note)), note

    # --- where -----------------------------------------------------------------------------------

    def _worst(self, c: _Case, mask: Any) -> Worst:
        """Return where, of the marked elements, ours is furthest from JAX's."""
        k = _furthest(c.a, c.b, mask)
        if c.names is not None and c.kind != (1, "rev"):
            return self._worst_sample(c, mask, k)
        index, s = k[1:], c.slopes
        numeric = bound = None
        if s is not None and c.kind[0] == 2:
            flat = int(np.ravel_multi_index(index, c.a.shape[1:])) if index else 0
            numeric, bound = s.value[k[0], flat], s.error[k[0], flat]
        elif s is not None:
            parts = {
                d.unit: (s.value[r, k[0]], s.error[r, k[0]])
                for r, d in enumerate(self.evidence.plan.along(c.kind, c.leaf))
                if d.index == index
            }
            if 1 in parts:
                numeric, bound = parts[1]
                if 1j in parts:
                    numeric = numeric - 1j * parts[1j][0]
        prefix = f"vector {k[0]}, " if c.kind[0] == 2 and len(c.a) > 1 else ""
        return _shown(f"{prefix}at {list(map(int, index))}", c.a[k], c.b[k], numeric, bound)

    def _worst_sample(self, c: _Case, mask: Any, k: Any = None) -> Worst:
        """Return where, of the marked samples, ours is furthest from the differences."""
        s = c.slopes
        if k is None:
            assert s is not None
            k = _furthest(c.a, s.value, mask)
        row = c.names[k[0]] if c.names is not None else f"vector {k[0]}, element {k[1]}"
        where = f"at {row}" if row.startswith("[") else f"along {row}"
        numeric = (None, None) if s is None else (s.value[k], s.error[k])
        return _shown(where, c.a[k], None if c.b is None else c.b[k], *numeric)


@dataclass
class _Case:
    """One comparison: ours, JAX's, what is allowed, and the differences there are."""

    kind: Kind
    leaf: int
    a: Any
    b: Any
    allowed: Any
    slopes: Slopes | None
    names: list[str] | None
    projected: bool  # whether ours and JAX's are as differences are: along the directions


def _furthest(a: Any, b: Any, mask: Any) -> tuple[int, ...]:
    with np.errstate(invalid="ignore"):
        size = np.where(mask, np.abs(a - b), -1.0)
    size = np.where(mask & ~np.isfinite(size), np.inf, size)
    return tuple(int(n) for n in np.unravel_index(np.argmax(size), size.shape))


def _shown(where: str, a: Any, b: Any, numeric: Any, bound: Any) -> Worst:
    def number(x: Any) -> Any:
        return None if x is None else np.asarray(x).item()

    return Worst(where, number(a), number(b), number(numeric), number(bound))


def _paired(s: Slopes, d: Direction, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Return the slopes of a gradient, paired with a direction: a row for each field."""
    rows = range(len(s.value))
    size = np.abs(d.array(np.zeros(shape, s.value.dtype))).reshape(-1)
    used = size != 0

    def along(values: Any) -> Any:
        return np.array([d.along(values[v].reshape(shape)) for v in rows])

    error = np.array([np.sum(s.error[v][used] * size[used]) for v in rows])
    kinks = np.array([np.any(s.kink[v][used]) for v in rows])
    error = np.where(kinks, np.inf, error)  # an element without a derivative says nothing
    with np.errstate(invalid="ignore"):
        fields = along(s.value), error, along(s.left), along(s.right)
    return (*fields, np.zeros(len(rows), bool))


def _gap(a: Any, b: Any, dtype: str, s: Slopes | None = None) -> Gap:
    """Return how far ours is from a reference, where both are finite."""
    known = np.isfinite(a) & np.isfinite(b)
    if s is not None:
        known = known & np.isfinite(s.error) & ~s.kink
    x, y = a[known], b[known]
    if not x.size:
        return Gap(0.0, 0.0, 0.0, float("nan"), 0)
    off, size = np.abs(x - y), np.maximum(np.abs(x), np.abs(y))
    real = np.finfo(dtype).dtype
    with np.errstate(over="ignore"):
        unit = np.spacing(np.maximum(size, np.finfo(real).tiny).astype(real)).astype(float)
    relative = np.divide(off, size, out=np.zeros(off.shape), where=size > 0)
    norms = float(np.linalg.norm(x)) * float(np.linalg.norm(y))
    cosine = float(np.real(np.vdot(x, y))) / norms if norms else float("nan")
    if not x.any() and not y.any():
        cosine = 1.0
    bound = None if s is None else float(s.error[known][np.argmax(off)])
    largest, share, ulps = (float(np.max(v)) for v in (off, relative, off / unit))
    return Gap(largest, share, ulps, cosine, int(x.size), bound)


_SEVERITY = ("differ", "noise", "known convention", "kink")


def _gravest(found: list[Finding]) -> dict[str, Any]:
    """Return the gravest of the findings, as fields of a row."""
    if not found:
        return {}

    def rank(f: Finding) -> int:
        return _SEVERITY.index("noise" if f.verdict.endswith(" noise") else f.verdict)

    return min(found, key=rank)._asdict()

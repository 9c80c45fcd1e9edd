"""`compare`: our derivatives beside JAX's and finite differences.

May import `core`, `control`, `transforms`.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from funcgraph.check.measure import Differences, Plan, measure, scale_of
from funcgraph.check.numeric import Slopes
from funcgraph.check.point import CustomCall, Point, point_of
from funcgraph.check.probes import combined, cotangents, directions, everywhere
from funcgraph.check.problem import Problem, pairing, widened
from funcgraph.check.report import Report
from funcgraph.check.subjects import Cost, Jax, Kind, Ours, kinds_of, rounded_otherwise
from funcgraph.check.verdicts import Evidence, Judge, Tolerance
from funcgraph.control.rules import call_with_rules
from funcgraph.core.aval import dtype_of, is_inexact, shape_of
from funcgraph.errors import MissingPackageError

__all__ = ["Settings", "compare", "examine"]

Names = Sequence[str]
_REFERENCES = ("jax", "numeric")


class Settings:
    """What to compare: checked arguments of `compare`."""

    def __init__(
        self,
        order: int,
        modes: Names,
        against: Names,
        elements: int = 16,
        tolerance: Tolerance | None = None,
        step: float | None = None,
    ) -> None:
        if order not in (1, 2):
            raise ValueError(f"order must be 1 or 2, got {order!r}")
        self.order = order
        self.modes = _chosen("modes", modes, ("rev", "fwd"))
        self.against = _chosen("against", against, _REFERENCES)
        if elements < 1:
            raise ValueError(f"elements must be positive, got {elements}")
        self.elements = elements
        self.tolerance = tolerance or Tolerance()
        self.step = step
        self.has_jax = importlib.util.find_spec("jax") is not None
        if self.against == ("jax",) and not self.has_jax:
            raise MissingPackageError(
                "the comparison with JAX needs JAX, which is not installed: "
                "pip install 'funcgraph[xla]'. Without it, pass against=('numeric',)."
            )


def _chosen(what: str, given: Any, known: tuple[str, ...]) -> tuple[str, ...]:
    names = (given,) if isinstance(given, str) else tuple(given)
    unknown = [n for n in names if n not in known]
    if unknown or not names:
        raise ValueError(f"{what} must be some of {known}, got {given!r}")
    return tuple(n for n in known if n in names)


def compare(
    fun: Callable[..., Any],
    *args: Any,
    argnums: int | tuple[int, ...] = 0,
    order: int = 2,
    modes: Names = ("rev", "fwd"),
    against: Names = ("jax", "numeric"),
    has_aux: bool = False,
    elements: int = 16,
    rtol: float | None = None,
    atol: float | None = None,
) -> Report:
    """Compare the derivatives of `fun` with those of JAX and with finite differences.

    First derivatives J = ∂f/∂x by vjp and jvp, and second derivatives H = ∂²⟨c, f⟩/∂x² by both
    modes over both. JAX differentiates the same program, written with np or not, in the same
    precision; of a function with a custom rule it differentiates the function, not the rule.

    Args:
      fun: A function of pytrees; it may branch on values. It returns arrays (pytrees), real or
        complex.
      *args: The point. Leaves of the chosen arguments that are no floats are passed along.
      argnums: Position, or tuple of positions, of the arguments to differentiate.
      order: 1, or 2 for second derivatives, too.
      modes: "rev", "fwd", or both.
      against: "jax", "numeric", or both. Without JAX installed it is left out, and the report says
        so.
      has_aux: Whether fun returns (output, aux).
      elements: Of a larger leaf, differences are taken for so many elements, and two directions.
      rtol: Relative tolerance, instead of the automatic ones; so is atol, 0 if not given.
      atol: Absolute tolerance.

    Returns:
      A Report: true if nothing differs; prints as a table.

    Raises:
      GradientDtypeError: The chosen arguments have no floating-point leaf.
      NonScalarOutputError: The function returns no floating-point number.
      MissingPackageError: against is ("jax",), and JAX is not installed.
      ValueError: An option has an unknown value.
      Exception: What the function itself raises.

    Example:
      >>> import numpy as np
      >>> report = compare(lambda x: np.sum(np.sin(x) ** 2), np.array([0.0, 1.0]))
      >>> report.ok, report.verdicts
      (True, {'x': 'agree'})

    Source:
      Griewank and Walther, "Evaluating Derivatives", 2nd ed., 2008, chapters 3 and 5.
    """
    settings = Settings(order, modes, against, elements, Tolerance(rtol, atol))
    return examine(Problem.of_call(fun, args, argnums, has_aux), settings)


def examine(problem: Problem, settings: Settings, costs: bool = True) -> Report:
    """Return the report on a problem; without costs, no time and memory, and no custom rules."""
    with np.errstate(all="ignore"):
        found = _Measurements(problem, settings)
        leaves = [
            (path, str(dtype_of(x)), shape_of(x))
            for path, x in zip(problem.paths, problem.leaves, strict=True)
        ]
        judge = Judge(found, settings.tolerance, leaves)
        rows = [judge.row(kind, k) for k in range(len(leaves)) for kind in found.ours]
        failed = any(r.failed for r in rows)
        rules = _wrong_rules(found.point, settings) if costs and failed else ()
        spent = found.costs() if costs else {}
        notes = found.notes()
    return Report(problem.name, tuple(rows), found.references(), spent, tuple(notes), tuple(rules))


class _Measurements(Evidence):
    """Everything that is measured for one report; what few rows need, when it is asked for."""

    def __init__(self, problem: Problem, settings: Settings) -> None:
        self.problem = problem
        self.settings = settings
        self.point = problem.point
        self.precision, self.eps = str(problem.precision), problem.eps
        self._notes: list[str] = []
        self._noise_of: dict[Kind, list[float]] = {}
        self._exact_of: dict[Kind, Any] = {}
        forward = self._forward_rules()
        modes = tuple(m for m in settings.modes if m == "rev" or forward)
        self.kinds = kinds_of(settings.order, modes or settings.modes)
        cts = cotangents(problem)
        vectors = everywhere(problem) if settings.order == 2 else []
        self.plan = Plan(cts, combined(cts), vectors)
        self._ours, self._jax = Ours(problem), self._start_jax(problem)
        self.ours: dict[Kind, Any] = {}
        self.jax: dict[Kind, Any] = {}
        for kind in self.kinds:
            if kind != (1, "rev") and not self.plan.directions:
                self._choose()
            self._measure(kind)
        if not self.plan.directions:
            self._choose()
        self.numeric: dict[int, list[Slopes]] = {}
        self._differences: Differences | None = None
        if "numeric" in settings.against:
            self._take_differences()

    def _forward_rules(self) -> bool:
        """Return whether forward mode can pass all custom rules; note where it cannot."""
        without = [c for c in self.point.calls if c.rules.jvp is None]
        if without and self.settings.modes == ("rev", "fwd"):
            self._notes.append(
                f"Forward mode is left out: {without[0].rules.name} at {without[0].line} has a "
                "rule for reverse mode only."
            )
        return not without

    def _start_jax(self, problem: Problem) -> Jax | None:
        if "jax" not in self.settings.against or not self.settings.has_jax:
            return None
        hiding = [c for c in self.point.calls if c.hides]
        if hiding:
            self._notes.append(
                f"JAX is left out: in {hiding[0].rules.name} at {hiding[0].line}, stop_gradient "
                "hides from it what the rule of derivation says."
            )
            return None
        return Jax(problem)

    def _measure(self, kind: Kind) -> None:
        self.ours[kind] = _attempt(lambda: measure(self._ours, kind, self.plan))
        if self._jax is None or isinstance(self.ours[kind], Exception):
            return
        jax = self._jax
        self.jax[kind] = _attempt(lambda: measure(jax, kind, self.plan))

    def _choose(self) -> None:
        """Choose the elements whose derivatives differences give: where the others differ most."""
        mine, theirs = self.ours.get((1, "rev")), self.jax.get((1, "rev"))
        for k, x in enumerate(self.problem.leaves):
            wanted, sizes = [], None
            if isinstance(mine, list):
                sizes = np.max(np.abs(mine[k]), axis=0)
                if isinstance(theirs, list) and np.size(x):
                    off = np.max(np.abs(mine[k] - theirs[k]), axis=0)
                    wanted = [np.unravel_index(np.argmax(off), off.shape)]
            found = directions(k, x, self.settings.elements, wanted, sizes)  # type: ignore[arg-type]
            self.plan.directions.append(found)

    def _take_differences(self) -> None:
        wide = self.problem.wide or self.problem
        differences = Differences(wide, self.plan, self.settings.step)
        self._differences = differences
        self.numeric[1] = differences.first()
        if self.settings.order == 2:
            second = _attempt(differences.second)
            if isinstance(second, Exception):
                self._notes.append(f"no differences of the gradient: {second}")
            else:
                self.numeric[2] = second

    # --- what the judge asks for -----------------------------------------------------------------

    def _noises(self, kind: Kind) -> list[float]:
        runs = [
            measure(Ours(rounded_otherwise(self.problem, seed)), kind, self.plan)
            for seed in range(4)
        ]
        found = []
        for parts in zip(*runs, strict=True):
            off = [np.abs(a - parts[0]) for a in parts[1:]]
            found.append(float(np.max(off, initial=0.0, where=np.isfinite(off))))
        return found

    def noise(self, order: int, leaf: int) -> float:
        """Return how far rounding otherwise moves our numbers, in any mode."""
        kinds = [k for k in self.kinds if k[0] == order and isinstance(self.ours[k], list)]
        for kind in kinds:
            if kind not in self._noise_of:
                self._noise_of[kind] = self._noises(kind)
        return max(self._noise_of[kind][leaf] for kind in kinds)

    def unit(self, order: int, leaf: int) -> float:
        """Return what a derivative of this order is measured in: |f| / |x|, or |f| / |x|^2."""
        ct = self.plan.cts[0] if order == 1 else self.plan.combined
        sizes = [np.abs(np.asarray(y, complex)) for y in self.problem.output]
        value = pairing([np.abs(c) for c in ct], sizes)
        return value / scale_of(self.problem.leaves[leaf]) ** order

    def _exact(self, kind: Kind) -> Any:
        wide = self.problem.wide
        if wide is None:
            return None
        mine = _attempt(lambda: measure(Ours(wide), kind, self.plan))
        if self._jax is None or isinstance(mine, Exception):
            return None if isinstance(mine, Exception) else mine
        jax = Jax(wide)
        theirs = _attempt(lambda: measure(jax, kind, self.plan))
        if isinstance(theirs, Exception):
            return mine
        near = [
            bool(np.all(np.abs(a - b) <= Tolerance().allowed(b, wide.eps, kind[0])))
            for a, b in zip(mine, theirs, strict=True)
        ]
        return [a if same else None for a, same in zip(mine, near, strict=True)]

    def exact(self, kind: Kind, leaf: int) -> Any:
        """Return ours in 64 bits, if JAX (if there) confirms it; None if that is not possible."""
        if kind not in self._exact_of:
            self._exact_of[kind] = self._exact(kind)
        found = self._exact_of[kind]
        return None if found is None else found[leaf]

    # --- what the report says beside the rows ----------------------------------------------------

    def references(self) -> dict[str, str]:
        """Return what was compared with."""
        found = {}
        if self._jax is not None:
            found["jax"] = importlib.metadata.version("jax")
        if self._differences is not None:
            exact = self._differences.is_analytic
            found["numeric"] = "imaginary steps" if exact else "central differences"
        return found

    def costs(self) -> dict[str, dict[str, Cost]]:
        """Return time and memory of one product of each order and mode."""
        p, found = self.problem, {}
        vector = self.plan.vectors[0] if self.plan.vectors else None
        ds = self.plan.directions[0] if self.plan.directions else []
        tangents = vector or (ds[0].tangents(p.leaves) if ds else None)
        for kind in self.kinds:
            ct = self.plan.cts[0] if kind[0] == 1 else self.plan.combined
            row = {}
            for name, subject, measured in (
                ("funcgraph", self._ours, self.ours),
                ("jax", self._jax, self.jax),
            ):
                if subject is not None and isinstance(measured.get(kind), list):
                    row[name] = subject.cost(kind, ct, tangents, tangents)
            found[f"{kind[0]} {kind[1]}"] = row
        return found

    def _failures_of_jax(self) -> list[str]:
        failed: dict[str, list[str]] = {}
        for kind, found in self.jax.items():
            if isinstance(found, Exception):
                text = f"{type(found).__name__}: {(str(found).splitlines() or [''])[0]}"
                failed.setdefault(text, []).append(f"{kind[0]} {kind[1]}")
        return [f"JAX fails at order {', '.join(kinds)}: {e}" for e, kinds in failed.items()]

    def notes(self) -> list[str]:
        """Return what is left out, and what to know of the numbers."""
        s, p = self.settings, self.problem
        found = [*self._notes, *self._failures_of_jax()]
        if "jax" in s.against and not s.has_jax:
            found.append("JAX is not installed, so it is left out: pip install 'funcgraph[xla]'.")
        if self._jax is not None and self._jax.straight:
            found.append("The function branches on values: JAX got the branch taken at this point.")
        if p.held:
            found.append(f"Not differentiated: {', '.join(p.held)}.")
        if self._differences is not None:
            large = [path for path, x in zip(p.paths, p.leaves, strict=True)
                     if np.size(x) > s.elements]  # fmt: skip
            if large:
                found.append(
                    f"Differences: {s.elements} elements and 2 directions of {', '.join(large)}."
                )
            evaluations = self._differences.evaluations
            found.append(
                f"Differences took {evaluations} evaluations; one of the function has a peak of "
                f"{self._differences.peak() / 1e6:.3g} MB."
            )
        found.append(
            "Times are of one product, the best of up to three, of JAX compiled. Memory is the "
            "peak that tracemalloc sees of NumPy, and what XLA plans for temporaries and results."
        )
        return found


def _attempt(call: Callable[[], Any]) -> Any:
    """Return a result, or the exception: the report shows it."""
    try:
        return call()
    except Exception as error:
        return error


# --- custom rules --------------------------------------------------------------------------------

_CALLS = 16  # so many calls of custom rules are looked at, each once for its line


def _wrong_rules(point: Point, settings: Settings) -> list[str]:
    """Return what is to say about custom rules that differ on their own from their functions."""
    calls = {(c.rules.name, c.line): c for c in reversed(point.calls)}
    found = []
    for (name, line), call in list(calls.items())[::-1][:_CALLS]:
        report = _attempt(lambda call=call: _examine_rule(call, settings))  # type: ignore[misc]
        if isinstance(report, Exception):
            found.append(f"custom rule of {name}, called at {line}, on its own: {report}")
            continue
        wrong = report.failing
        if wrong:
            detail = wrong[0].worst or wrong[0].note
            found.append(
                f"custom rule of {name}, called at {line}, is wrong on its own: {wrong[0].leaf}, "
                f"{wrong[0].mode}, {detail}"
            )
    return found


def _examine_rule(call: CustomCall, settings: Settings) -> Report:
    places = [k for k, x in enumerate(call.arguments) if is_inexact(dtype_of(x))]

    def fun(*leaves: Any) -> tuple[Any, ...]:
        full = list(call.arguments)
        for k, x in zip(places, leaves, strict=True):
            full[k] = x
        return tuple(y for y in call_with_rules(call.rules, full) if is_inexact(dtype_of(y)))

    leaves = tuple(call.arguments[k] for k in places)
    paths = tuple(f"argument {k}" for k in places)
    wide = tuple(map(widened, leaves))
    problem = Problem(fun, call.rules.name, leaves, paths, point_of(fun, leaves))
    if any(dtype_of(a) != dtype_of(b) for a, b in zip(wide, leaves, strict=True)):
        problem = replace(problem, wide=replace(problem, leaves=wide, point=point_of(fun, wide)))
    modes = ("rev",) if call.rules.jvp is None else ("rev", "fwd")
    own = Settings(1, modes, settings.against, settings.elements)
    return examine(problem, own, costs=False)

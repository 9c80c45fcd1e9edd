"""The checks of a derivative: against differences, against JAX, and of one mode against the other.

A `Problem` is a call seen as a function of the arguments to differentiate. Complex numbers follow
JAX: a pullback is the plain transpose, without conjugation, so that real(sum(ct * tangent)) is
what both modes must agree on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.core.aval import dtype_of, is_inexact, shape_of
from funcgraph.transforms import gradient, linear

STEP = 1e-6
NARROW = {
    "single": {"f": np.float32, "c": np.complex64},
    "half": {"f": np.float16, "c": np.complex64},
}


@dataclass(frozen=True)
class Problem:
    """A call with its arguments; `positions` says which of them vary."""

    call: Callable[..., Any]
    args: tuple[Any, ...]
    positions: tuple[int, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    tol: float = 1e-6

    @property
    def xs(self) -> tuple[Any, ...]:
        return tuple(self.args[k] for k in self.positions)

    def f(self, *xs: Any) -> tuple[Any, ...]:
        """Return the floating-point outputs, as a flat tuple, for other values of `xs`."""
        args = list(self.args)
        for k, x in zip(self.positions, xs, strict=True):
            args[k] = x
        return inexact(self.call(*args, **self.kwargs))

    def narrow(self, width: str) -> Problem:
        """Return the problem with every float64 array in a lower precision."""
        return replace(
            self, args=narrow(self.args, width), kwargs=narrow(self.kwargs, width), tol=np.inf
        )


def parts(y: Any) -> tuple[Any, ...]:
    """Return the arrays in a value, which may be a nested tuple or list, as a flat tuple."""
    return tuple(v for p in y for v in parts(p)) if isinstance(y, tuple | list) else (y,)


def inexact(y: Any) -> tuple[Any, ...]:
    return tuple(v for v in parts(y) if is_inexact(dtype_of(v)))


def narrow(x: Any, width: str) -> Any:
    if isinstance(x, tuple | list):
        return type(x)(narrow(v, width) for v in x)
    if isinstance(x, dict):
        return {k: narrow(v, width) for k, v in x.items()}
    wide = isinstance(x, np.ndarray | np.generic) and x.dtype.kind in "fc"
    return x.astype(NARROW[width][x.dtype.kind]) if wide else x


def random_like(tree: Any, seed: int) -> Any:
    """Return standard normal numbers in the structure, shapes and dtypes of a pytree of arrays."""
    rng = np.random.default_rng(seed)

    def draw(x: Any) -> Any:
        numbers = rng.standard_normal(shape_of(x))
        if dtype_of(x).kind == "c":
            numbers = numbers + 1j * rng.standard_normal(shape_of(x))
        return np.asarray(numbers, dtype_of(x))[()]

    return fg.tree.map(draw, tree)


def inner(cts: Any, tangents: Any) -> float:
    """Return the real pairing of cotangents and tangents."""
    pairs = zip(fg.tree.leaves(cts), fg.tree.leaves(tangents), strict=True)
    return float(sum(np.real(np.sum(np.asarray(ct) * np.asarray(t))) for ct, t in pairs))


def differences(f: Callable[..., Any], xs: Any, ts: Any) -> Any:
    """Return the central difference of f at xs along ts."""
    with np.errstate(all="ignore"):
        ends = [f(*fg.tree.map(lambda x, t: x + s * STEP * t, xs, ts)) for s in (1, -1)]  # noqa: B023
        return fg.tree.map(lambda a, b: (a - b) / (2 * STEP), *ends)


def assert_close(actual: Any, expected: Any, tol: float, finite: bool = False) -> None:
    """Compare two pytrees leaf by leaf, relative to the largest number of each leaf.

    Args:
      actual: What is tested.
      expected: The reference.
      tol: Relative tolerance; inf compares shapes only (at a kink, differences mean nothing).
      finite: Whether to pass over elements at which the reference is not finite.
    """
    for a, b in zip(fg.tree.leaves(actual), fg.tree.leaves(expected), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.shape == b.shape, f"shape {a.shape} is not {b.shape}"
        known = np.isfinite(b)
        if tol == np.inf:
            continue
        if finite:
            a, b = a[known], b[known]
        scale = max(1.0, np.max(np.abs(b), initial=0.0, where=np.isfinite(b)))
        np.testing.assert_allclose(a, b, rtol=tol, atol=tol * scale)


def check_forward(p: Problem) -> None:
    """The directional derivative is that of differences."""
    ts = random_like(p.xs, 1)
    assert_close(fg.jvp(p.f, p.xs, ts)[1], differences(p.f, p.xs, ts), p.tol, finite=True)


def check_adjoint(p: Problem) -> None:
    """⟨ct, jvp(t)⟩ = ⟨vjp(ct), t⟩, and a linearisation gives the tangents of jvp."""
    ts = random_like(p.xs, 1)
    ys, tangents = fg.jvp(p.f, p.xs, ts)
    assert_close(fg.linearize(p.f, *p.xs)[1](*ts), tangents, 1e-10)
    cts = random_like(ys, 2)
    assert_close(inner(fg.vjp(p.f, *p.xs)[1](cts), ts), inner(cts, tangents), 1e-9)


def check_strong(p: Problem) -> None:
    """Strong zeros change nothing where all numbers are finite."""
    ts, cts = random_like(p.xs, 1), random_like(p.f(*p.xs), 2)

    def derivatives() -> Any:
        return fg.vjp(p.f, *p.xs)[1](cts), fg.jvp(p.f, p.xs, ts)[1]

    expected = derivatives()
    with pytest.MonkeyPatch.context() as patch:
        for module in (gradient, linear):
            patch.setattr(module, "are_finite", lambda _: False)
        assert_close(derivatives(), expected, 1e-12, finite=True)


def check_second(p: Problem) -> None:
    """The second derivative is that of differences, and the same however the modes are nested."""
    ts, cts, us = random_like(p.xs, 1), random_like(p.f(*p.xs), 2), random_like(p.xs, 3)

    def pulled(*xs: Any) -> Any:
        return fg.vjp(p.f, *xs)[1](cts)

    def pushed(*xs: Any) -> Any:
        return fg.jvp(p.f, xs, ts)[1]

    forward_over_reverse = fg.jvp(pulled, p.xs, ts)[1]
    assert_close(forward_over_reverse, differences(pulled, p.xs, ts), p.tol, finite=True)
    reverse_over_forward = fg.vjp(pushed, *p.xs)[1](cts)
    assert_close(reverse_over_forward, forward_over_reverse, 1e-7)
    reverse_over_reverse = fg.vjp(pulled, *p.xs)[1](us)
    assert_close(inner(reverse_over_reverse, ts), inner(us, forward_over_reverse), 1e-7)


def check_precision(p: Problem, width: str) -> None:
    """Values have NumPy's dtype, tangents that of the values, cotangents that of the arguments."""
    q = p.narrow(width)
    with np.errstate(all="ignore"):
        try:
            expected = q.f(*q.xs)
        # There is no such precision here (a deprecated one is an error, too, in tests).
        except (TypeError, np.linalg.LinAlgError, DeprecationWarning) as error:
            with pytest.raises(type(error)):
                fg.vjp(q.f, *q.xs)
            return
        ys, tangents = fg.jvp(q.f, q.xs, random_like(q.xs, 1))
        values, pullback = fg.vjp(q.f, *q.xs)
        for y, value, t, e in zip(ys, values, tangents, expected, strict=True):
            assert [dtype_of(v) for v in (y, value, t)] == [dtype_of(e)] * 3
        cts = pullback(random_like(expected, 2))
    leaves = zip(fg.tree.leaves(cts), fg.tree.leaves(q.xs), strict=True)
    assert all(dtype_of(ct) == dtype_of(x) for ct, x in leaves)


def check_jax(p: Problem, call: Callable[..., Any]) -> None:
    """Value and dtype are those of JAX, and the pullback too wherever JAX's is finite."""
    jax = pytest.importorskip("jax")
    ys, pullback = fg.vjp(p.f, *p.xs)
    cts = random_like(ys, 2)

    def both(xs: Any, cts: Any) -> Any:
        theirs, reference = jax.vjp(replace(p, call=call).f, *xs)
        cts = [jax.numpy.asarray(ct, y.dtype) for ct, y in zip(cts, theirs, strict=True)]
        return theirs, reference(tuple(cts))

    try:  # one program compiles faster than each of its operations alone
        theirs, expected = jax.jit(both)(p.xs, cts)
    except jax.errors.JAXTypeError:  # the shape of the result depends on values
        theirs, expected = both(p.xs, cts)
    assert [dtype_of(y) for y in ys] == [y.dtype for y in theirs]
    assert_close(ys, theirs, 1e-9)
    assert_close(pullback(cts), expected, 1e-8, finite=True)

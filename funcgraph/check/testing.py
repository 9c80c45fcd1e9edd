"""For tests: `assert_matches_jax`, `check_grads`. May import `check`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from funcgraph.check.comparison import Settings, compare, examine
from funcgraph.check.problem import Problem
from funcgraph.check.report import Report
from funcgraph.check.verdicts import Tolerance
from funcgraph.errors import GradientMismatchError, MissingPackageError

__all__ = ["assert_matches_jax", "check_grads", "demand"]


def demand(report: Report) -> None:
    """Raise GradientMismatchError, with the rows that differ, unless a report is good."""
    if not report:
        raise GradientMismatchError(report.failures())


def assert_matches_jax(fun: Callable[..., Any], *args: Any, **options: Any) -> None:
    """Raise an AssertionError unless the derivatives of `fun` are JAX's, and those of differences.

    Args:
      fun: A function, as for `compare`.
      *args: The point.
      **options: As for `compare`.

    Raises:
      GradientMismatchError: A derivative differs; the message is the table of what does.
      MissingPackageError: JAX is not installed.

    Example:
      >>> import numpy as np
      >>> assert_matches_jax(np.tanh, 0.5)

    Source:
      jax.grad.
    """
    settings = Settings(1, ("rev",), ("jax",))  # raises if JAX is missing
    if not settings.has_jax:
        raise MissingPackageError("assert_matches_jax needs JAX: pip install 'funcgraph[xla]'.")
    demand(compare(fun, *args, **options))


def check_grads(
    f: Callable[..., Any],
    args: Sequence[Any],
    order: int,
    modes: str | Sequence[str] = ("fwd", "rev"),
    atol: float | None = None,
    rtol: float | None = None,
    eps: float | None = None,
    against: Sequence[str] = ("numeric",),
) -> None:
    """Raise an AssertionError unless the derivatives of `f` are those of finite differences.

    With the arguments of `jax.test_util.check_grads`: all arguments are differentiated.

    Args:
      f: A function of pytrees that returns a pytree of arrays.
      args: The point, a tuple.
      order: 1 or 2.
      modes: "fwd", "rev", or both.
      atol: Absolute tolerance; the automatic ones if neither is given.
      rtol: Relative tolerance.
      eps: The step of the differences; chosen, and shrunk where that is needed, if not given.
      against: "numeric", "jax", or both.

    Raises:
      GradientMismatchError: A derivative differs; the message is the table of what does.
      GradientDtypeError: There is no floating-point leaf.

    Example:
      >>> import numpy as np
      >>> check_grads(np.hypot, (3.0, 4.0), order=2)

    Source:
      jax.test_util.check_grads.
    """
    settings = Settings(order, modes, against, tolerance=Tolerance(rtol, atol), step=eps)
    problem = Problem.of_call(f, tuple(args), tuple(range(len(args))), False)
    demand(examine(problem, settings))

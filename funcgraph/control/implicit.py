"""Solutions of equations, differentiated by the implicit function theorem; closures as arguments.

`custom_root`, `custom_linear_solve`, `closure_convert`. A function that the user passes is staged
once: the traced values it closes over become arguments, whose derivatives the rules give.
May import `core`, `ops`, `tree`, `transforms`, `control`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgraph import tree
from funcgraph.control.eager import is_unknown
from funcgraph.control.rules import Rules, call_with_rules
from funcgraph.core.aval import aval_of, dtype_of, is_inexact, shape_of
from funcgraph.core.trace import KIND, TRACER, Trace, constant_below, without_ended
from funcgraph.errors import (
    ConcretizationError,
    CustomRuleError,
    TracerConversionError,
    TreeError,
)
from funcgraph.ops.structural import zeros
from funcgraph.transforms.arguments import name_of, run, snapshot
from funcgraph.transforms.gradient import vjp
from funcgraph.transforms.linear import jvp, linearize, stop_gradient
from funcgraph.transforms.stage import stage_closed

__all__ = ["closure_convert", "custom_linear_solve", "custom_root"]

Leaves = Sequence[Any]


class _Staged:
    """A function of pytrees without closures: the traced values it closed over come first."""

    def __init__(self, fun: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.name = name_of(fun)
        leaves, self.structure = tree.flatten(args)
        self.outputs: Any = None  # structure

        def flat(*values: Any) -> list[Any]:
            outs, self.outputs = tree.flatten(run(fun, tree.unflatten(self.structure, values), {}))
            return outs

        self.graph, self.closed = stage_closed(flat, [aval_of(x) for x in leaves])

    def __call__(self, closed: Leaves, *args: Any) -> Any:
        leaves, structure = tree.flatten(args)
        if structure != self.structure:
            raise TreeError(
                f"{self.name} was converted for arguments of structure {self.structure}, but "
                f"called with {structure}."
            )
        return tree.unflatten(self.outputs, self.graph.run(*leaves, *closed))


def _traced(leaves: Leaves) -> bool:
    """Return whether a transformation, ours or JAX's, is at work on some of the leaves."""
    return any(KIND[type(x)] == TRACER or is_unknown(x) for x in leaves)


def _strong(x: Any) -> Any:
    return np.asarray(x)[()] if type(x) in (int, float, complex) else x


def _negative(x: Any) -> Any:
    return tree.map(operator.neg, x)


def _check_like(what: str, got: Any, of: str, wanted: Any) -> None:
    """Raise CustomRuleError unless two pytrees have one structure and leaves of one shape."""
    first, second = tree.structure(wanted), tree.structure(got)
    if first != second:
        raise CustomRuleError(
            f"{what} must have the structure of {of}: expected {first}, got {second}."
        )
    for (path, x), y in zip(tree.leaves_with_path(wanted), tree.leaves(got), strict=True):
        if shape_of(x) != shape_of(y):
            raise CustomRuleError(
                f"{what}{tree.keystr(path)} is {aval_of(y)}, but {of}{tree.keystr(path)} is "
                f"{aval_of(x)}: the shapes must be the same."
            )


def _pull_closed(fun: Callable[..., Any], closed: Leaves, ct: Any) -> list[Any]:
    """Return the cotangents of the values a function closed over (None: zero)."""
    found = vjp(fun, *closed)[1](ct)
    return [c if is_inexact(dtype_of(x)) else None for c, x in zip(found, closed, strict=True)]


Solver = Callable[[Leaves, Leaves, Any], Any]


def _solver(solve: Any, apply: Any, closed: Leaves, x: Any) -> tuple[Solver, list[Any]]:
    """Return the user's solver as a function of (closed of the system, its own closed values, x).

    Args:
      solve: solve(function, x), by the user.
      apply: apply(closed, x): the function to solve for.
      closed: What the function closes over.
      x: The second argument.
    """
    if not any(map(is_unknown, (*closed, *tree.leaves(x)))):
        return lambda closed, own, x: solve(lambda v: apply(closed, v), x), []
    # Under vmap or jit what the solver itself closes over must be an argument, too.
    staged = _Staged(lambda x: solve(lambda v: apply(closed, v), x), (x,))
    return lambda closed, own, x: staged(own, x), staged.closed


class _Problem:
    """What both kinds of problem share: leaves (*closed, *others, *unknowns), a solution, aux."""

    what_like: str  # what the solution must be like

    def __init__(self, what: str, like: Any, has_aux: bool) -> None:
        self.what = what
        self.like = like  # the solution has its structure and shapes
        self.structure = tree.structure(like)
        self.count = len(tree.leaves(like))
        self.has_aux = has_aux
        self.outputs: Any = None  # structure of (solution, aux)
        self.called = 0  # the level at which the user's call has ended
        fun, fwd, bwd, jvp = map(self.late, (self.fun, self.fwd, self.bwd, self.jvp))
        self.rules = Rules(fun, fwd, bwd, jvp, what, needed=True)

    def late(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Return a rule that may run when what the user's solvers close over has ended."""

        def run_late(*args: Any) -> Any:
            token = constant_below.set(max(self.called, constant_below.get()))
            try:
                return tree.map(without_ended, rule(*args))
            finally:
                constant_below.reset(token)

        return run_late

    def solve(self, *leaves: Any) -> Any:
        """Return what the user's solver returns."""
        raise NotImplementedError

    def fun(self, *leaves: Any) -> list[Any]:
        """Solve; how the solver works is not differentiated."""
        out = self.solve(*leaves)
        x, aux = out if self.has_aux else (out, None)
        _check_like(f"{self.what}: what solve returns", x, self.what_like, self.like)
        outs, self.outputs = tree.flatten((x, aux))
        return [stop_gradient(_strong(y)) for y in outs]

    def fwd(self, *leaves: Any) -> tuple[Any, list[Any]]:
        """Solve and keep the solution; outer transformations find the same rules."""
        outs = call_with_rules(self.rules, leaves)
        return outs, list(outs[: self.count])

    def bwd(self, held: Leaves, cts: Leaves) -> list[Any]:
        """Return the cotangents of the leaves; the solution stands behind them."""
        raise NotImplementedError

    def jvp(self, leaves: Leaves, dots: Leaves) -> tuple[Any, list[Any]]:
        """Return solution and aux, and the tangent of the solution."""
        outs = call_with_rules(self.rules, leaves)
        change = self.tangent(leaves, dots, outs[: self.count])
        return outs, [*change, *[None] * (len(outs) - self.count)]

    def tangent(self, leaves: Leaves, dots: Leaves, solution: Leaves) -> Leaves:
        """Return the leaves of the tangent of the solution."""
        raise NotImplementedError

    def tree(self, leaves: Leaves) -> Any:
        """Return the pytree of a solution."""
        return tree.unflatten(self.structure, leaves)

    def result(self, leaves: Leaves) -> Any:
        """Return what the user gets."""
        outs = call_with_rules(self.rules, leaves) if _traced(leaves) else self.fun(*leaves)
        self.called = Trace().level
        x, aux = tree.unflatten(self.outputs, outs)
        return (x, aux) if self.has_aux else x


# --- roots ---------------------------------------------------------------------------------------


class _Root(_Problem):
    """Leaves: (*closed of f, *closed of solve, *closed of tangent_solve, *guess)."""

    what_like = "initial_guess"

    def __init__(
        self, f: _Staged, solver: Solver, own: int, linear: _Linearized, guess: Any, has_aux: bool
    ) -> None:
        super().__init__("custom_root", guess, has_aux)
        self.f = f
        self.solver = solver
        self.linear = linear
        self.n = len(f.closed)
        self.end = self.n + own  # of the leaves of solve

    def solve(self, *leaves: Any) -> Any:
        guess = self.tree(leaves[-self.count :])
        return self.solver(leaves[: self.n], leaves[self.n : self.end], guess)

    def inverse(self, leaves: Leaves, x: Any) -> Callable[[Any], Any]:
        """Return b ↦ (∂f/∂x)⁻¹ b; the leaves end with those of tangent_solve."""
        return lambda b: self.linear(leaves[self.end :], tuple(leaves[: self.n]), x, b)

    def bwd(self, held: Leaves, cts: Leaves) -> list[Any]:
        x, leaves = self.tree(held[-self.count :]), held[: -2 * self.count]
        ct = self.tree(cts[: self.count])
        (u,) = vjp(self.inverse(leaves, x), tree.map(zeros, x))[1](ct)
        closed = leaves[: self.n]
        found = _pull_closed(lambda *closed: self.f(closed, x), closed, _negative(u))
        return [*found, *[None] * (len(held) - self.count - self.n)]

    def tangent(self, leaves: Leaves, dots: Leaves, solution: Leaves) -> Leaves:
        closed, x = leaves[: self.n], self.tree(solution)
        rhs = jvp(lambda *closed: self.f(closed, x), tuple(closed), tuple(dots[: self.n]))[1]
        return tree.leaves(self.inverse(leaves[: -self.count], x)(_negative(rhs)))


_Linearized = Callable[[Leaves, Leaves, Any, Any], Any]


def _linearized(f: _Staged, tangent_solve: Any, guess: Any) -> tuple[_Linearized, list[Any]]:
    """Return (what tangent_solve closes over, closed of f, x, b) ↦ (∂f/∂x)⁻¹ b, and the first."""

    def solved(closed: Leaves, x: Any, b: Any) -> Any:
        y = tangent_solve(linearize(lambda x: f(closed, x), x)[1], b)
        _check_like("custom_root: what tangent_solve returns", y, "the solution", x)
        return y

    leaves = [*f.closed, *tree.leaves(guess)]
    if _traced(leaves):
        try:
            staged = _Staged(solved, (tuple(f.closed), guess, guess))
        except (ConcretizationError, TracerConversionError):  # it looks at values
            if any(map(is_unknown, leaves)):
                raise
        else:
            return staged, staged.closed
    return lambda _, closed, x, b: solved(closed, x, b), []


def custom_root(
    f: Callable[[Any], Any],
    initial_guess: Any,
    solve: Callable[[Callable[[Any], Any], Any], Any],
    tangent_solve: Callable[[Callable[[Any], Any], Any], Any],
    has_aux: bool = False,
) -> Any:
    """Solve f(x) = 0, with the derivative of the implicit function theorem.

    x*(p) with f(x*, p) = 0, where p is what f closes over: ∂x* = -(∂f/∂x)⁻¹ (∂f/∂p) ∂p. The
    iterations of the solver are not differentiated. The derivative can be differentiated again.

    Args:
      f: Maps a pytree of floating-point arrays to one of the same structure and shapes; it is
        staged, so it must not branch on values (`funcgraph.cond` may).
      initial_guess: Where the solver starts; has no derivative.
      solve: solve(f, initial_guess) returns the root. Under vmap and jit, and on
        JAX arrays, it must not branch on values, either (`funcgraph.while_loop`).
      tangent_solve: tangent_solve(g, y) returns x with g(x) = y for a linear function g; reverse
        mode transposes it. For scalars: `lambda g, y: y / g(1.0)`; for arrays:
        custom_linear_solve, or solve with the matrix `jacobian(g)(y)`.
      has_aux: Whether solve returns (root, aux); aux is any pytree of arrays, without derivative.

    Returns:
      The root, like initial_guess, or (root, aux).

    Raises:
      CustomRuleError: f, solve or tangent_solve returns another structure or other shapes.
      ConcretizationError: f branches on values.

    Example:
      >>> import funcgraph as fg
      >>> def newton(f, x):
      ...     for _ in range(8):
      ...         x = x - f(x) / fg.grad(f)(x)
      ...     return x
      >>> def sqrt(p):
      ...     return custom_root(lambda x: x**2 - p, p, newton, lambda g, y: y / g(1.0))
      >>> fg.grad(sqrt)(4.0), fg.grad(fg.grad(sqrt))(4.0)
      (0.25, -0.03125)

    Source:
      jax.lax.custom_root; Krantz and Parks, "The Implicit Function Theorem", 2003, section 3.3.
    """
    guess = stop_gradient(initial_guess)
    system = _Staged(f, (guess,))
    shapes = tree.unflatten(system.outputs, system.graph.output_avals)
    _check_like("custom_root: what f returns", shapes, "initial_guess", guess)
    solver, own = _solver(solve, system, system.closed, guess)
    linear, other = _linearized(system, tangent_solve, guess)
    root = _Root(system, solver, len(own), linear, guess, has_aux)
    return root.result([*system.closed, *own, *other, *tree.leaves(guess)])


# --- linear systems ------------------------------------------------------------------------------


class _Linear(_Problem):
    """Leaves: (*closed of matvec, *closed of solve, *closed of transpose_solve, *b)."""

    what_like = "b"

    def __init__(
        self,
        applies: tuple[Any, Any],
        solvers: tuple[Solver, Solver | None],
        counts: tuple[int, int, int],
        b: Any,
        has_aux: bool,
    ) -> None:
        super().__init__("custom_linear_solve", b, has_aux)
        self.applies = applies  # (closed, x) -> A x, (closed, x) -> Aᵀ x
        self.solvers = solvers
        self.counts = counts

    def parts(self, leaves: Leaves) -> tuple[Leaves, Leaves, Leaves, Leaves]:
        """Return the four kinds of leaves."""
        n, own, other = self.counts
        first, second = n + own, n + own + other
        end = second + self.count
        return leaves[:n], leaves[n:first], leaves[first:second], leaves[second:end]

    def solve(self, *leaves: Any) -> Any:
        closed, own, _, b = self.parts(leaves)
        return self.solvers[0](closed, own, self.tree(b))

    def transposed(self) -> _Linear:
        """Return the problem Aᵀ x = b."""
        if self.solvers[1] is None:
            raise CustomRuleError(
                "reverse mode through custom_linear_solve solves the transposed system: pass "
                "transpose_solve=, or symmetric=True if matvec is its own transpose."
            )
        n, own, other = self.counts
        solvers = (self.solvers[1], self.solvers[0])
        problem = _Linear(self.applies[::-1], solvers, (n, other, own), self.like, self.has_aux)
        problem.called = self.called
        return problem

    def bwd(self, held: Leaves, cts: Leaves) -> list[Any]:
        closed, own, other, _ = self.parts(held)
        x = self.tree(held[-self.count :])
        problem = self.transposed()
        leaves = [*closed, *other, *own, *cts[: self.count]]
        u = call_with_rules(problem.rules, leaves)[: self.count]
        ct = _negative(self.tree(u))
        found = _pull_closed(lambda *closed: self.applies[0](closed, x), closed, ct)
        return [*found, *[None] * (len(own) + len(other)), *u]

    def tangent(self, leaves: Leaves, dots: Leaves, solution: Leaves) -> Leaves:
        closed, x = leaves[: self.counts[0]], self.tree(solution)
        *_, rhs = self.parts(dots)
        if closed:
            moved = tuple(dots[: len(closed)])
            change = jvp(lambda *closed: self.applies[0](closed, x), tuple(closed), moved)[1]
            rhs = [db - dy for db, dy in zip(rhs, tree.leaves(change), strict=True)]
        same = leaves[: -self.count]
        return call_with_rules(self.rules, [*same, *rhs])[: self.count]


def custom_linear_solve(
    matvec: Callable[[Any], Any],
    b: Any,
    solve: Callable[[Callable[[Any], Any], Any], Any],
    transpose_solve: Callable[[Callable[[Any], Any], Any], Any] | None = None,
    symmetric: bool = False,
    has_aux: bool = False,
) -> Any:
    """Solve A x = b for a matrix given by its product with a vector, with implicit derivatives.

    A ∂x = ∂b - ∂A x; in reverse mode Aᵀ b̄ = x̄ and Ā = -b̄ xᵀ. The steps of the solver are not
    differentiated. The derivative can be differentiated again.

    Args:
      matvec: x ↦ A x, linear; may close over arrays, which have derivatives. It is staged, so it
        must not branch on values.
      b: Pytree of floating-point arrays.
      solve: solve(matvec, b) returns x, like b.
      transpose_solve: transpose_solve(vecmat, b), vecmat(x) = Aᵀ x, returns the solution of
        Aᵀ x = b; needed in reverse mode only.
      symmetric: Whether A is symmetric; then transpose_solve is solve.
      has_aux: Whether solve (and transpose_solve) return (x, aux), aux without derivative.

    Returns:
      x, like b, or (x, aux).

    Raises:
      CustomRuleError: matvec or a solver returns another structure or other shapes than b's; or
        transpose_solve is missing.
      ConcretizationError: matvec branches on values.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> def solve(matvec, b):  # Jacobi's iteration
      ...     x = b
      ...     for _ in range(60):
      ...         x = x + (b - matvec(x)) / 4
      ...     return x
      >>> A, b = np.array([[4.0, 1.0], [1.0, 4.0]]), np.array([5.0, 5.0])
      >>> f = lambda A, b: np.sum(custom_linear_solve(lambda x: A @ x, b, solve, symmetric=True))
      >>> fg.grad(f, 1)(A, b).round(6)
      array([0.2, 0.2])

    Source:
      jax.lax.custom_linear_solve; Giles, "Collected matrix derivative results for forward and
      reverse mode algorithmic differentiation", 2008, section 2.3.1.
    """
    b = tree.map(_strong, snapshot(b))
    system = _Staged(matvec, (b,))
    shapes = tree.unflatten(system.outputs, system.graph.output_avals)
    _check_like("custom_linear_solve: what matvec returns", shapes, "b", b)

    def vecmat(closed: Leaves, y: Any) -> Any:
        if symmetric:
            return system(closed, y)
        return vjp(lambda x: system(closed, x), tree.map(zeros, y))[1](y)[0]

    if transpose_solve is None and symmetric:
        transpose_solve = solve
    solver, own = _solver(solve, system, system.closed, b)
    transposed: Solver | None = None
    other: list[Any] = []
    if transpose_solve is not None:
        transposed, other = _solver(transpose_solve, vecmat, system.closed, b)
    counts = (len(system.closed), len(own), len(other))
    problem = _Linear((system, vecmat), (solver, transposed), counts, b, has_aux)
    return problem.result([*system.closed, *own, *other, *tree.leaves(b)])


# --- closures ------------------------------------------------------------------------------------


def closure_convert(
    fun: Callable[..., Any], *example_args: Any
) -> tuple[Callable[..., Any], list[Any]]:
    """Make the traced values that a function closes over arguments of it.

    fun(x), which reads p, becomes (x, p) ↦ fun(x); so a custom rule can give a derivative by p.

    Args:
      fun: A function of pytrees of arrays; it is staged, so it must not branch on values.
      *example_args: Arguments, or ShapeDtype in place of their arrays; values do not matter.

    Returns:
      (converted, hoisted): converted(*args, *hoisted) is fun(*args); hoisted is the list of the
      traced values (of grad, vmap, jit, ...) that fun reads besides its arguments. Arrays that
      are not traced stay in the closure.

    Raises:
      ConcretizationError: fun branches on values.
      TreeError: converted is called with arguments of another structure.

    Example:
      >>> import funcgraph as fg
      >>> def f(p):
      ...     converted, hoisted = closure_convert(lambda x: x * p, 1.0)
      ...     return converted(10.0, *hoisted), len(hoisted)
      >>> fg.grad(f, has_aux=True)(2.0), f(2.0)
      ((10.0, 1), (np.float64(20.0), 0))

    Source:
      jax.closure_convert.
    """
    staged = _Staged(fun, example_args)
    n = len(staged.closed)

    def converted(*args: Any) -> Any:
        split = len(args) - n
        return staged(args[split:], *args[:split])

    return converted, staged.closed

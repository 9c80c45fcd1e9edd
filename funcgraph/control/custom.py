"""Rules of derivation given by the user: `custom_vjp`, `custom_jvp`, `custom_gradient`.

May import `core`, `ops`, `tree`, `transforms`, `control.rules`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgraph import tree
from funcgraph.control.rules import Rules, call_with_rules
from funcgraph.core.aval import aval_of, dtype_of, shape_of
from funcgraph.core.trace import KIND, TRACER
from funcgraph.errors import CustomRuleError
from funcgraph.ops.structural import zeros
from funcgraph.transforms.arguments import name_of, run, snapshot

__all__ = ["custom_gradient", "custom_jvp", "custom_vjp"]

Leaves = Sequence[Any]


def _is_traced(x: Any) -> bool:
    return KIND[type(x)] == TRACER


class _Custom:
    """What custom_vjp and custom_jvp share: a function, and rules for one mode or both."""

    def __init__(
        self,
        fun: Callable[..., Any],
        nondiff_argnums: int | tuple[int, ...] = (),
        nondiff_argnames: str | tuple[str, ...] = (),
    ) -> None:
        functools.update_wrapper(self, fun)
        self._fun = fun
        try:
            self._signature = inspect.signature(fun)
        except ValueError:  # such as a ufunc, before NumPy 2.4
            self._signature = inspect.signature(lambda *args: None)
        names = list(self._signature.parameters)
        numbers = (nondiff_argnums,) if isinstance(nondiff_argnums, int) else nondiff_argnums
        more = (nondiff_argnames,) if isinstance(nondiff_argnames, str) else nondiff_argnames
        self._fixed = sorted({k % len(names) for k in numbers} | {names.index(n) for n in more})
        self._fwd: Callable[..., Any] | None = None
        self._bwd: Callable[..., Any] | None = None
        self._jvp: Callable[..., Any] | None = None

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """Return the method of an instance, where a method is decorated."""
        return self if instance is None else functools.partial(self, instance)

    def defvjp(self, fwd: Callable[..., Any], bwd: Callable[..., Any]) -> None:
        """Give the rule of reverse mode.

        Args:
          fwd: Takes the arguments; returns (output, residuals).
          bwd: Takes the nondiff arguments, the residuals and the cotangent of the output; returns a
            tuple with one cotangent for each other argument. None is zero.
        """
        self._fwd, self._bwd = fwd, bwd

    def defjvp(self, jvp: Callable[..., Any]) -> Callable[..., Any]:
        """Give the rule of forward mode.

        Args:
          jvp: Takes the nondiff arguments, the tuple of the others, and the tuple of their
            tangents; returns (output, output tangent). Linear in the tangents.
        """
        self._jvp = jvp
        return jvp

    def defjvps(self, *rules: Callable[..., Any] | None) -> None:
        """Give the rule of forward mode by argument.

        Args:
          *rules: For each argument: takes (its tangent, the output, *arguments), returns its part
            of the output tangent. None: the argument has no derivative.
        """
        if self._fixed:
            raise CustomRuleError(
                "defjvps has no place for the nondiff arguments: use defjvp, whose rule gets them."
            )

        def jvp(primals: Any, tangents: Any) -> Any:
            out = self(*primals)  # for the derivative of a rule that reads the output
            total = tree.map(zeros, out)
            for rule, t in zip(rules, tangents, strict=True):
                if rule is not None:
                    part = rule(t, out, *primals)
                    total = tree.map(lambda a, b: a + b, total, part)
            return out, total

        self._jvp = jvp

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function; transformations use its rules."""
        if self._fwd is None and self._jvp is None:
            raise CustomRuleError(
                f"{name_of(self._fun)} was decorated for a custom rule, but has none: call "
                ".defvjp(fwd, bwd) or .defjvp(jvp) first."
            )
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        if bound.kwargs:
            raise CustomRuleError(
                f"{name_of(self._fun)} has keyword-only arguments {sorted(bound.kwargs)}, which "
                "custom rules cannot take: make them positional."
            )
        return _Call(self, snapshot(bound.args)).result()


class _Call:
    """One call: arguments taken apart, and the user's rules in terms of leaves."""

    def __init__(self, custom: _Custom, args: tuple[Any, ...]) -> None:
        self.custom = custom
        self.args = args
        self.free = [k for k in range(len(args)) if k not in custom._fixed]
        self.leaves, self.structure = tree.flatten(tuple(args[k] for k in self.free))
        fixed = [args[k] for k in custom._fixed if k < len(args)]
        self.fixed_leaves, self.fixed_structure = tree.flatten(fixed)
        # Arrays traced by other transformations go through the primitive, which unwraps them.
        traced = enumerate(map(_is_traced, self.fixed_leaves))
        self.traced = [k for k, is_traced in traced if is_traced]
        self.outputs: Any = None  # structure
        self.residuals: Any = None
        self.name = name_of(custom._fun)

    def result(self) -> Any:
        if not any(map(_is_traced, self.leaves)):
            return self.custom._fun(*self.args)
        custom = self.custom
        fwd, bwd = (self.fwd, self.bwd) if custom._fwd is not None else (None, None)
        jvp = self.jvp if custom._jvp is not None else None
        rules = Rules(self.fun, fwd, bwd, jvp, self.name, len(self.traced))
        hidden = [self.fixed_leaves[k] for k in self.traced]
        outs = call_with_rules(rules, [*self.leaves, *hidden])
        return tree.unflatten(self.outputs, outs)  # the structure is known only after the call

    def rebuilt(self, leaves: Leaves) -> list[Any]:
        """Return all arguments, made of new leaves."""
        out = list(self.args)
        n = len(self.leaves)
        for k, x in zip(self.free, tree.unflatten(self.structure, leaves[:n]), strict=True):
            out[k] = x
        for k, x in zip(self.custom._fixed, self.nondiff(leaves), strict=False):
            out[k] = x
        return out

    def nondiff(self, leaves: Leaves) -> list[Any]:
        """Return the arguments that are not differentiated, made of new leaves."""
        out = list(self.fixed_leaves)
        n = len(self.leaves)
        for k, x in zip(self.traced, leaves[n : n + len(self.traced)], strict=True):
            out[k] = x
        return tree.unflatten(self.fixed_structure, out)  # type: ignore[no-any-return]

    def flat(self, out: Any) -> list[Any]:
        leaves, self.outputs = tree.flatten(out)
        return [np.asarray(x)[()] if type(x) in (float, int, complex) else x for x in leaves]

    def fun(self, *leaves: Any) -> list[Any]:
        return self.flat(run(self.custom._fun, self.rebuilt(leaves), {}))

    def fwd(self, *leaves: Any) -> tuple[list[Any], list[Any]]:
        assert self.custom._fwd is not None
        pair = run(self.custom._fwd, self.rebuilt(leaves), {})
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise CustomRuleError(
                f"fwd of {self.name} must return (output, residuals), got {pair!r:.80}."
            )
        outs = self.flat(pair[0])
        residuals, self.residuals = tree.flatten(pair[1])
        return outs, residuals

    def bwd(self, held: Leaves, cts: Leaves) -> list[Any]:
        assert self.custom._bwd is not None
        n = len(self.leaves)
        residuals = tree.unflatten(self.residuals, held[n + len(self.traced) :])
        ct = tree.unflatten(self.outputs, cts)
        found = run(self.custom._bwd, (*self.nondiff(held), residuals, ct), {})
        if not isinstance(found, (tuple, list)) or len(found) != len(self.free):
            names = self._names()
            raise CustomRuleError(
                f"bwd of {self.name} must return a tuple with {len(names)} cotangents, for "
                f"{', '.join(names)}, got {found!r:.80}."
            )
        primals = tree.unflatten(self.structure, held[:n])
        out: list[Any] = []
        for name, primal, ct in zip(self._names(), primals, found, strict=True):
            out += self._checked("cotangent", name, primal, ct)
        return out + [None] * len(self.traced)

    def _names(self) -> list[str]:
        names = list(self.custom._signature.parameters)
        return [names[min(k, len(names) - 1)] for k in self.free]

    def _checked(self, what: str, name: str, primal: Any, ct: Any) -> list[Any]:
        """Return the leaves of a cotangent after comparing them with the argument's."""
        if ct is None:
            return [None] * len(tree.leaves(primal))
        if tree.structure(primal) != tree.structure(ct):
            raise CustomRuleError(
                f"the {what} of {name} in the rule of {self.name} has the structure "
                f"{tree.structure(ct)}, but {name} has {tree.structure(primal)}."
            )
        out = []
        pairs = zip(tree.leaves_with_path(primal), tree.leaves(ct), strict=True)
        for (path, x), t in pairs:
            inexact = dtype_of(x).kind in "fc"
            if inexact and (shape_of(t), dtype_of(t).kind == "c") != (
                shape_of(x),
                dtype_of(x).kind == "c",
            ):
                raise CustomRuleError(
                    f"the {what} of {name}{tree.keystr(path)} in the rule of {self.name} is "
                    f"{aval_of(t)}, but {name}{tree.keystr(path)} is {aval_of(x)}."
                )
            out.append(t if inexact else None)
        return out

    def jvp(self, leaves: Leaves, tangents: Leaves) -> tuple[list[Any], list[Any]]:
        assert self.custom._jvp is not None
        primals = tuple(self.rebuilt(leaves)[k] for k in self.free)
        dots = tuple(tree.unflatten(self.structure, tangents[: len(self.leaves)]))
        pair = run(self.custom._jvp, (*self.nondiff(leaves), primals, dots), {})
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise CustomRuleError(
                f"the jvp rule of {self.name} must return (output, tangent), got {pair!r:.80}."
            )
        return self.flat(pair[0]), self._checked("tangent", "the output", *pair)


class custom_vjp(_Custom):  # noqa: N801  (the name JAX users know)
    """Give a function a rule for reverse mode, by `defvjp(fwd, bwd)`.

    Reverse mode calls fwd instead of the function, keeps its residuals, and calls bwd with them and
    the cotangent of the output. `defjvp` may add a rule for forward mode. The rules are
    differentiated themselves for higher orders.

    Args:
      fun: The function of positional arguments (pytrees).
      nondiff_argnums: Positions of arguments that are not differentiated, such as functions; they
        may be arrays, also ones traced by another transformation.
      nondiff_argnames: Their names.

    Raises:
      CustomRuleError: A rule is missing, or returns what does not fit the arguments; or the
        function closes over a value traced by the same transformation as its arguments, or by an
        inner one, of which the rule would know nothing (`closure_convert` makes it an argument).

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> @custom_vjp
      ... def clipped(x, limit):
      ...     return x
      >>> clipped.defvjp(
      ...     lambda x, limit: (x, limit),
      ...     lambda limit, ct: (np.clip(ct, -limit, limit), None),
      ... )
      >>> fg.grad(lambda x: 10 * clipped(x, 1.0))(2.0)
      1.0

    Source:
      jax.custom_vjp.
    """


class custom_jvp(_Custom):  # noqa: N801  (the name JAX users know)
    """Give a function a rule for forward mode, by `defjvp(jvp)` or `defjvps(*rules)`.

    Reverse mode transposes the rule, which is linear in the tangents, unless `defvjp` gives
    another.

    Args:
      fun: The function of positional arguments (pytrees).
      nondiff_argnums: Positions of arguments that are not differentiated, such as functions; they
        may be arrays, also ones traced by another transformation.
      nondiff_argnames: Their names.

    Raises:
      CustomRuleError: A rule is missing, or returns what does not fit the arguments; or the
        function closes over a value traced by the same transformation as its arguments, or by an
        inner one, of which the rule would know nothing (`closure_convert` makes it an argument).

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> @custom_jvp
      ... def log1pexp(x):
      ...     return np.log1p(np.exp(x))
      >>> log1pexp.defjvps(lambda t, y, x: t * (1 - 1 / (1 + np.exp(x))))
      >>> with np.errstate(over="ignore"):
      ...     fg.grad(log1pexp)(1000.0)
      1.0

    Source:
      jax.custom_jvp.
    """


def custom_gradient(fun: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function its pullback, which it returns beside its output.

    Args:
      fun: Takes arrays (pytrees); returns (output, pullback). pullback(cotangent) returns one
        cotangent for the one argument, or a tuple of them.

    Returns:
      A function that returns the output alone.

    Raises:
      CustomRuleError: What the pullback returns does not fit the arguments.

    Example:
      >>> import funcgraph as fg
      >>> f = custom_gradient(lambda x: (x**2, lambda g: g * x))
      >>> f(3.0), fg.grad(f)(3.0)
      (9.0, 3.0)

    Source:
      jax.custom_gradient.
    """

    @functools.wraps(fun)
    def wrapped(*args: Any) -> Any:
        def bwd(primals: Any, ct: Any) -> Any:
            cts = fun(*primals)[1](ct)
            return cts if isinstance(cts, tuple) and len(primals) > 1 else (cts,)

        rule = custom_vjp(lambda *args: fun(*args)[0])
        rule.defvjp(lambda *args: (fun(*args)[0], args), bwd)
        return rule(*args)

    return wrapped

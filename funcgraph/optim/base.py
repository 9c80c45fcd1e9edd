"""The protocol of optimisers, and what puts them together: chain, masked, apply_updates.

May import `core`, `ops`, `tree`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from funcgraph import tree
from funcgraph.core.aval import dtype_of
from funcgraph.core.jaxlink import jax_name
from funcgraph.core.primitive import is_wide
from funcgraph.core.trace import JAX, KIND
from funcgraph.errors import OptimizerError
from funcgraph.ops.elementwise import minimum, real_dtype
from funcgraph.ops.structural import cast, zeros

__all__ = [
    "EmptyState",
    "GradientTransformation",
    "MaskedNode",
    "MaskedState",
    "apply_updates",
    "chain",
    "identity",
    "masked",
    "set_to_zero",
]

Schedule = Callable[[Any], Any]
ScalarOrSchedule = Any  # a number, a 0-d array, or a Schedule
Mask = Any  # a pytree of bool, or a function from parameters to one


class _Pair(NamedTuple):
    init: Callable[..., Any]
    update: Callable[..., Any]


class GradientTransformation(_Pair):
    """An optimiser, or a part of one: a pair of pure functions, as in optax.

    Args:
      init: init(params) returns the state, a pytree of arrays.
      update: update(updates, state, params=None) returns (updates, state). The updates that go
        into the first transformation are the gradients; those that come out of the last are to be
        added to the parameters (`apply_updates`).
      learning_rate: A number or a schedule, for those who report it; None: it has none, or several
        factors play its part.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> from funcgraph import optim
      >>> optimizer = optim.sgd(0.1)
      >>> params = {"w": np.array([1.0, 2.0])}
      >>> state = optimizer.init(params)
      >>> grads = fg.grad(lambda p: np.sum(p["w"] ** 2))(params)
      >>> updates, state = optimizer.update(grads, state, params)
      >>> optim.apply_updates(params, updates)
      {'w': array([0.8, 1.6])}
      >>> optimizer.learning_rate
      0.1
    """

    learning_rate: ScalarOrSchedule | None = None

    def __new__(
        cls,
        init: Callable[..., Any],
        update: Callable[..., Any],
        learning_rate: ScalarOrSchedule | None = None,
    ) -> GradientTransformation:
        """Make a transformation of two functions."""
        self = super().__new__(cls, init, update)
        self.learning_rate = learning_rate
        return self


class EmptyState(NamedTuple):
    """The state of a transformation that keeps nothing."""


class MaskedState(NamedTuple):
    """The state of `masked`."""

    inner_state: Any


class MaskedNode(NamedTuple):
    """Stands in the state of `masked` where the mask is False."""


def empty_init(params: Any) -> EmptyState:
    """Return the state of a transformation that keeps nothing."""
    return EmptyState()


def wide(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function keep JAX arrays of 64 bits as they are, whatever JAX's x64 flag says."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if any(is_wide(x) for x in tree.leaves((args, kwargs))):
            with jax_name("jax.enable_x64")(True):
                return function(*args, **kwargs)
        return function(*args, **kwargs)

    return wrapped


def transformation(
    init: Callable[..., Any],
    update: Callable[..., Any],
    learning_rate: ScalarOrSchedule | None = None,
) -> GradientTransformation:
    """Return the pair, for arrays of all kinds."""
    return GradientTransformation(init, wide(update), learning_rate)


# --- leaves --------------------------------------------------------------------------------------


def scalar(s: Any, leaf: Any) -> Any:
    """Return a hyper-parameter in such a form that its product with a leaf has the leaf's dtype."""
    if type(s) is float or type(s) is int:
        return s
    if KIND[type(s)] == JAX and KIND[type(leaf)] != JAX:  # a NumPy leaf stays one
        s = s if isinstance(s, jax_name("jax.core.Tracer")) else np.asarray(s)
    dtype = dtype_of(leaf)
    return cast(s, real_dtype(dtype) if dtype.kind == "c" else dtype)


def as_dtype(x: Any, dtype: Any) -> Any:
    """Return x in a dtype; x itself if it has it."""
    return x if dtype_of(x) == dtype else cast(x, dtype)


def zero_count() -> Any:
    """Return the number of steps at the beginning."""
    return np.zeros((), np.int32)


def increment(count: Any) -> Any:
    """Return the number of steps after one more; it stops at the largest integer."""
    return minimum(count, np.iinfo(np.int32).max - 1) + 1


def value_at(x: ScalarOrSchedule, count: Any) -> Any:
    """Return a hyper-parameter at a step."""
    return x(count) if callable(x) else x


# --- transformations -----------------------------------------------------------------------------


def identity() -> GradientTransformation:
    """Return the transformation that changes nothing.

    Example:
      >>> identity().update({"w": 1.0}, EmptyState())
      ({'w': 1.0}, EmptyState())
    """
    return GradientTransformation(empty_init, lambda updates, state, params=None: (updates, state))


def set_to_zero() -> GradientTransformation:
    """Return the transformation whose updates are zero: `masked(set_to_zero(), frozen)`.

    Example:
      >>> set_to_zero().update({"w": 1.0}, EmptyState())
      ({'w': np.float64(0.0)}, EmptyState())
    """

    def update(updates: Any, state: EmptyState, params: Any = None) -> Any:
        return tree.map(zeros, updates), state

    return transformation(empty_init, update)


def _checked(inner: Any, what: str) -> GradientTransformation:
    if not isinstance(inner, GradientTransformation):
        raise OptimizerError(
            f"{what} takes gradient transformations of funcgraph.optim, got {inner!r:.80}. One of "
            "optax's becomes one by optim.from_optax(transformation)."
        )
    return inner


def chain(*transformations: GradientTransformation) -> GradientTransformation:
    """Apply transformations one after the other.

    Args:
      *transformations: The first one gets the gradients.

    Returns:
      A transformation whose state is the tuple of theirs.

    Raises:
      OptimizerError: An argument is no transformation of this module, or update was given a state
        of another chain.

    Example:
      >>> import numpy as np
      >>> from funcgraph import optim
      >>> clipped = optim.chain(optim.clip_by_global_norm(1.0), optim.sgd(0.1))
      >>> grads = np.array([3.0, 4.0])
      >>> clipped.update(grads, clipped.init(grads))[0]
      array([-0.06, -0.08])

    Source:
      optax.chain.
    """
    parts = [_checked(t, "chain") for t in transformations]

    def init(params: Any) -> tuple[Any, ...]:
        return tuple([t.init(params) for t in parts])

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        if not isinstance(state, tuple) or len(state) != len(parts):
            raise OptimizerError(
                f"the state of a chain of {len(parts)} is a tuple of {len(parts)} states, got "
                f"{state!r:.80}. Begin with state = optimizer.init(params)."
            )
        new = []
        for t, s in zip(parts, state, strict=True):
            updates, s = t.update(updates, s, params)
            new.append(s)
        return updates, tuple(new)

    rates = [t.learning_rate for t in parts if t.learning_rate is not None]
    return GradientTransformation(init, update, rates[0] if len(rates) == 1 else None)


def _masked_tree(mask: Any, x: Any) -> Any:
    return tree.map(lambda m, part: part if m else MaskedNode(), mask, x)


def masked(inner: GradientTransformation, mask: Mask) -> GradientTransformation:
    """Apply a transformation only where a mask is True; elsewhere updates pass unchanged.

    Args:
      inner: A transformation; its state has no arrays where the mask is False.
      mask: Bools in the structure of the parameters (one may stand for a whole subtree), or a
        function that returns such a tree for the parameters, or for the updates.

    Raises:
      OptimizerError: inner is no transformation of this module.
      TreeError: The mask does not fit the parameters; the message names the key path.

    Example:
      >>> import numpy as np
      >>> from funcgraph import optim
      >>> frozen = {"encoder": True, "head": False}
      >>> optimizer = optim.chain(optim.sgd(0.1), optim.masked(optim.set_to_zero(), frozen))
      >>> grads = {"encoder": (1.0, 2.0), "head": 1.0}
      >>> optimizer.update(grads, optimizer.init(grads))[0]
      {'encoder': (np.float64(0.0), np.float64(0.0)), 'head': -0.1}

    Source:
      optax.masked.
    """
    inner = _checked(inner, "masked")
    mask_of = mask if callable(mask) else lambda _: mask

    def init(params: Any) -> MaskedState:
        return MaskedState(inner.init(_masked_tree(mask_of(params), params)))

    def update(updates: Any, state: MaskedState, params: Any = None) -> Any:
        flags = mask_of(updates)
        chosen = None if params is None else _masked_tree(flags, params)
        new, inner_state = inner.update(_masked_tree(flags, updates), state.inner_state, chosen)
        merged = tree.map(lambda m, a, b: a if m else b, flags, new, updates)
        return merged, MaskedState(inner_state)

    return GradientTransformation(init, update, inner.learning_rate)


@wide
def apply_updates(params: Any, updates: Any) -> Any:
    """Return the parameters after a step, params + updates, in the types and dtypes they had.

    Args:
      params: A pytree of arrays and numbers.
      updates: From a transformation, in the same structure.

    Raises:
      TreeError: The structures differ; the message names the key path.

    Example:
      >>> apply_updates({"b": None, "w": 1.0}, {"b": None, "w": -0.25})
      {'b': None, 'w': 0.75}

    Source:
      optax.apply_updates.
    """
    return tree.map(_add, params, updates)


def _add(p: Any, u: Any) -> Any:
    new = p + u
    cls = type(p)
    if cls is int:  # counts as a float, as in grad
        return new
    if dtype_of(new) != dtype_of(p):
        new = cast(new, dtype_of(p))
    if isinstance(new, np.generic):
        if cls is float or cls is complex:
            return cls(new)
        if cls is np.ndarray:
            return np.asarray(new)
    return new

"""Optimisers of optax on NumPy arrays: `from_optax`.

May import `transforms`, `tree`, `optim.base`.
"""

from __future__ import annotations

from typing import Any

from funcgraph import tree
from funcgraph.core.aval import dtype_of
from funcgraph.errors import OptimizerError
from funcgraph.optim.base import GradientTransformation, as_dtype, wide
from funcgraph.transforms.interop import from_jax

__all__ = ["from_optax"]


def from_optax(transformation: Any) -> GradientTransformation:
    """Return a transformation of optax as one of ours.

    It takes and returns NumPy arrays in the dtypes they have, whatever JAX's x64 flag says, runs
    compiled by jax.jit, and works inside `fg.jit` on both engines, in `chain` and in `masked`.

    Args:
      transformation: What optax.adafactor(...), optax.chain(...) and the like return.

    Returns:
      The transformation; its update passes further keyword arguments (value=..., say) on.

    Raises:
      OptimizerError: transformation has no init and update.
      MissingPackageError: JAX is not installed.

    Example:
      >>> import numpy as np
      >>> import optax
      >>> optimizer = from_optax(optax.adabelief(0.1))
      >>> params = {"w": np.ones(2)}
      >>> updates, state = optimizer.update(params, optimizer.init(params), params)
      >>> updates["w"].dtype
      dtype('float64')
    """
    if not (hasattr(transformation, "init") and hasattr(transformation, "update")):
        raise OptimizerError(
            f"from_optax needs a gradient transformation of optax, got {transformation!r:.80}."
        )
    compiled = from_jax(
        lambda updates, state, params, more: transformation.update(updates, state, params, **more)
    )

    def update(updates: Any, state: Any, params: Any = None, **more: Any) -> Any:
        new, new_state = compiled(updates, state, params, more)
        return tree.map(lambda u, g: as_dtype(u, dtype_of(g)), new, updates), new_state

    return GradientTransformation(wide(from_jax(transformation.init)), wide(update))

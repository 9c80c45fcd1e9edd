"""Optimisers in plain NumPy, with optax's protocol, names and numbers.

    >>> import numpy as np
    >>> import funcgraph as fg
    >>> from funcgraph import optim
    >>> optimizer = optim.adam(0.1)
    >>> params = {"w": np.array([1.0, -2.0])}
    >>> state = optimizer.init(params)
    >>> for _ in range(100):
    ...     grads = fg.grad(lambda p: np.sum(p["w"] ** 2))(params)
    ...     updates, state = optimizer.update(grads, state, params)
    ...     params = optim.apply_updates(params, updates)
    >>> bool(np.all(np.abs(params["w"]) < 0.1))
    True

They work on NumPy arrays, JAX arrays and tracers: eagerly, in `fg.jit` on both engines, in
`jax.jit`. What is not here comes from optax by `from_optax`. `minimize` runs SciPy's optimisers.
May import `numpy`, `transforms`, `tree`.
"""

from funcgraph.optim import (
    adaptive,
    base,
    clipping,
    interop,
    optimizers,
    scaling,
    schedules,
    scipy_minimize,
)
from funcgraph.optim.adaptive import *  # noqa: F403
from funcgraph.optim.base import *  # noqa: F403
from funcgraph.optim.clipping import *  # noqa: F403
from funcgraph.optim.interop import *  # noqa: F403
from funcgraph.optim.optimizers import *  # noqa: F403
from funcgraph.optim.scaling import *  # noqa: F403
from funcgraph.optim.schedules import *  # noqa: F403
from funcgraph.optim.scipy_minimize import *  # noqa: F403

__all__ = adaptive.__all__ + base.__all__ + clipping.__all__ + interop.__all__ + optimizers.__all__
__all__ += scaling.__all__ + schedules.__all__ + scipy_minimize.__all__

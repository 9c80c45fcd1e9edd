"""NumPy's functions on NumPy arrays, JAX arrays, JAX tracers and funcgraph's tracers alike.

    >>> import funcgraph as fg
    >>> import funcgraph.numpy as fnp
    >>> fg.grad(lambda x: fnp.median(x))(fnp.array([3.0, 1.0, 2.0]))
    array([0., 0., 1.])

Plain `numpy` functions applied to tracers run the same code. May import `core`, `ops`.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

import numpy as _numpy

from funcgraph.numpy import fft, linalg  # noqa: F401
from funcgraph.numpy import methods as _methods  # noqa: F401  (installs them)
from funcgraph.numpy.calculus import *  # noqa: F403
from funcgraph.numpy.constants import *  # noqa: F403
from funcgraph.numpy.creation import *  # noqa: F403
from funcgraph.numpy.elementwise import *  # noqa: F403
from funcgraph.numpy.elementwise import ufunc_namespace
from funcgraph.numpy.indexing import *  # noqa: F403
from funcgraph.numpy.inspection import *  # noqa: F403
from funcgraph.numpy.joining import *  # noqa: F403
from funcgraph.numpy.manipulation import *  # noqa: F403
from funcgraph.numpy.matrices import *  # noqa: F403
from funcgraph.numpy.padding import *  # noqa: F403
from funcgraph.numpy.polynomial import *  # noqa: F403
from funcgraph.numpy.products import *  # noqa: F403
from funcgraph.numpy.reductions import *  # noqa: F403
from funcgraph.numpy.sets import *  # noqa: F403
from funcgraph.numpy.sorting import *  # noqa: F403

globals().update({k: v for k, v in ufunc_namespace().items() if k not in globals()})

if _TYPE_CHECKING:  # the ufuncs, which the line above adds

    def __getattr__(name: str) -> _Any: ...


_theirs = frozenset(dir(_numpy))  # asking for each would import what NumPy imports late
__all__ = sorted(name for name in globals() if name[0] != "_" and name in _theirs)

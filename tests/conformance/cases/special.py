"""Cases of the functions of scipy.special; its ufuncs are checked as primitives, too."""

from __future__ import annotations

import numpy as np
import scipy.special as ss

import funcgraph.scipy.special as fss
from tests.conformance.spec import Case

X = np.array([0.3, -1.2, 2.5])
P = np.array([0.4, 1.3, 2.7])
A = np.array([[0.4, -2.3, 0.2], [1.6, 3.7, -0.9]])
B = np.array([[1.0, 0.5, 2.0], [0.0, 3.0, 1.5]])
Z = np.array([[0.6 - 0.3j, 1.1 + 0.4j], [0.2j, -0.7]])


def case(name: str, *args: object, jax: bool = True, **kwargs: object) -> Case:
    """Return a case of a function of Python code, which does not hand traced arrays to us.

    On plain arrays ours is SciPy's, so that the traced value is compared with SciPy's.
    """
    ours = getattr(fss, name)
    return Case(ours, args, kwargs, fnp=ours, jax=f"jax.scipy.special.{name}" if jax else False)


CASES = [
    case("logsumexp", A),
    case("logsumexp", A, axis=0),
    case("logsumexp", A, axis=(0, 1), keepdims=True),
    case("logsumexp", A, 1, B + 0.1),
    case("logsumexp", A, 1, B, jax=False),
    case("logsumexp", A, 1, -B, return_sign=True, jax=False),
    case("logsumexp", Z, axis=0),
    case("logsumexp", np.array([-np.inf, 0.5, 1.0])),
    case("softmax", A),
    case("softmax", A, axis=-1),
    case("softmax", 100 * A, axis=(0, 1)),
    case("log_softmax", A),
    case("log_softmax", A, axis=0),
    case("log_softmax", 100 * A, axis=-1),
    *(case("polygamma", n, P) for n in (0, 1, 2, np.array([0, 1, 3]))),
    case("zeta", 3.5, P),
    case("zeta", P + 1.1, jax=False),
    case("multigammaln", P + 2, 3),
    case("multigammaln", P, 1),
    case("factorial", P),
    case("factorial", X),
    case("comb", P + 2, P),
    case("comb", P + 2, np.array(1.5), repetition=True, jax=False),
    case("comb", P, np.array(2.0)),
    case("sph_harm_y", 3, 1, P, X, jax=False),
    Case(ss.erf, (X,)),
    Case(ss.gammaln, (P,)),
    Case(ss.expit, (A,)),
    Case(ss.xlogy, (P, A[:, :1])),
]

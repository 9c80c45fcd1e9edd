"""Random numbers as pure functions of keys, with the streams of jax.random.

A key is a uint32 array of shape (2,). `bits`, `uniform`, `split`, `fold_in`, `randint` and
`permutation` give the very numbers of jax.random (threefry, partitionable), `normal` the same
within 2 units in the last place of float32 (3 for one in 100 000), and the other samplers those
that jax.random makes of the same keys, up to rounding. JAX's keys are accepted, raw or typed.
Floats are float32 unless `dtype` says otherwise.
"""

from funcgraph.random.continuous import (
    cauchy,
    exponential,
    gumbel,
    laplace,
    logistic,
    normal,
    pareto,
    rayleigh,
    triangular,
    truncated_normal,
    uniform,
    weibull_min,
)
from funcgraph.random.counts import (
    binomial,
    geometric,
    multinomial,
    poisson,
)
from funcgraph.random.discrete import (
    bernoulli,
    categorical,
    choice,
    permutation,
    rademacher,
    randint,
)
from funcgraph.random.gamma_family import (
    ball,
    beta,
    chisquare,
    dirichlet,
    f,
    gamma,
    generalized_normal,
    loggamma,
    t,
)
from funcgraph.random.keys import (
    PRNGKey,
    bits,
    clone,
    fold_in,
    key,
    key_data,
    split,
    wrap_key_data,
)
from funcgraph.random.normal_family import (
    double_sided_maxwell,
    lognormal,
    maxwell,
    multivariate_normal,
    orthogonal,
    wald,
)

__all__ = [
    "PRNGKey",
    "ball",
    "bernoulli",
    "beta",
    "binomial",
    "bits",
    "categorical",
    "cauchy",
    "chisquare",
    "choice",
    "clone",
    "dirichlet",
    "double_sided_maxwell",
    "exponential",
    "f",
    "fold_in",
    "gamma",
    "generalized_normal",
    "geometric",
    "gumbel",
    "key",
    "key_data",
    "laplace",
    "loggamma",
    "logistic",
    "lognormal",
    "maxwell",
    "multinomial",
    "multivariate_normal",
    "normal",
    "orthogonal",
    "pareto",
    "permutation",
    "poisson",
    "rademacher",
    "randint",
    "rayleigh",
    "split",
    "t",
    "triangular",
    "truncated_normal",
    "uniform",
    "wald",
    "weibull_min",
    "wrap_key_data",
]

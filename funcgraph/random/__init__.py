"""Random numbers as pure functions of keys, with the streams of jax.random.

A key is a uint32 array of shape (2,). `bits`, `uniform`, `split`, `fold_in`, `randint` and
`permutation` give the very numbers of jax.random (threefry, partitionable), `normal` the same
within 2 units in the last place of float32 (3 for a few in 100 000). JAX's keys are accepted, raw
or typed. Floats are float32 unless `dtype` says otherwise.
"""

from funcgraph.random.continuous import (
    cauchy,
    exponential,
    gumbel,
    laplace,
    logistic,
    normal,
    truncated_normal,
    uniform,
)
from funcgraph.random.discrete import (
    bernoulli,
    categorical,
    choice,
    permutation,
    rademacher,
    randint,
)
from funcgraph.random.keys import bits, fold_in, key, split

__all__ = [
    "bernoulli",
    "bits",
    "categorical",
    "cauchy",
    "choice",
    "exponential",
    "fold_in",
    "gumbel",
    "key",
    "laplace",
    "logistic",
    "normal",
    "permutation",
    "rademacher",
    "randint",
    "split",
    "truncated_normal",
    "uniform",
]

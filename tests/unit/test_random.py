"""Random numbers: golden values, and jax.random's, bit for bit where that is promised."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph import random
from funcgraph.errors import RandomKeyError

KEY = random.key(42)
FLOATS = [np.float16, np.float32, np.float64]


def equal(got: Any, wanted: Any) -> None:
    wanted = np.asarray(wanted)
    assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
    np.testing.assert_array_equal(got, wanted)


# --- golden values: the suite needs no JAX for them -----------------------------------------------


def test_golden_values() -> None:
    equal(random.split(random.key(0)), np.array(GOLDEN["split"], np.uint32))
    equal(random.fold_in(KEY, 7), np.array(GOLDEN["fold_in"], np.uint32))
    equal(random.bits(KEY, (3,)), np.array(GOLDEN["bits"], np.uint32))
    equal(random.uniform(KEY, (3,)), np.array(GOLDEN["uniform"], np.float32))
    equal(random.randint(KEY, (5,), 0, 100), np.array(GOLDEN["randint"], np.int32))
    equal(random.permutation(KEY, 6), np.array(GOLDEN["permutation"]))
    np.testing.assert_allclose(random.normal(KEY, (3,)), GOLDEN["normal"], rtol=3e-7)


GOLDEN: dict[str, Any] = {
    "split": [[1797259609, 2579123966], [928981903, 3453687069]],
    "fold_in": [2547012911, 1371500959],
    "bits": [2098992034, 2919706841, 2646866425],
    "uniform": [0.48870956897735596, 0.6797971725463867, 0.6162714958190918],
    "randint": [44, 14, 71, 69, 9],
    "permutation": [4, 2, 5, 3, 0, 1],
    "normal": [-0.02830461598932743, 0.4671318531036377, 0.2957029640674591],
}

# --- jax.random ----------------------------------------------------------------------------------


@pytest.fixture
def jr() -> Any:
    return pytest.importorskip("jax").random


@pytest.mark.parametrize("seed", [0, 42, -1, 2**40 + 5])
def test_keys(jr: Any, seed: int) -> None:
    key, theirs = random.key(seed), jr.key(seed)
    equal(key, jr.key_data(theirs))
    for num in (1, 2, 5, (2, 3)):
        equal(random.split(key, num), jr.key_data(jr.split(theirs, num)))
    for data in (0, 1, 2**32 - 1):
        equal(random.fold_in(key, data), jr.key_data(jr.fold_in(theirs, data)))


@pytest.mark.parametrize("shape", [(), (1,), (7, 3), (0, 2), (40_000,)])
def test_bits_and_uniform(jr: Any, shape: Any) -> None:
    theirs = jr.key(42)
    for dtype in (np.uint8, np.uint16, np.uint32, np.uint64):
        equal(random.bits(KEY, shape, dtype), jr.bits(theirs, shape, dtype))
    for dtype in FLOATS:
        equal(random.uniform(KEY, shape, dtype), jr.uniform(theirs, shape, dtype))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint32, np.int64])
@pytest.mark.parametrize(("low", "high"), [(0, 10), (-5, 100), (3, 3), (-9, 2**40), (-(2**62), 0)])
def test_randint(jr: Any, dtype: Any, low: int, high: int) -> None:
    info = np.iinfo(dtype)
    low, high = max(low, info.min), min(high, info.max + 1)
    wanted = jr.randint(jr.key(42), (50,), np.int64(low), np.int64(high), dtype)
    equal(random.randint(KEY, (50,), np.int64(low), np.int64(high), dtype), wanted)


@pytest.mark.parametrize("x", [0, 1, 5, 1000])
def test_permutation(jr: Any, x: int) -> None:
    theirs = jr.key(42)
    equal(random.permutation(KEY, x), jr.permutation(theirs, x))
    a = np.arange(3.0 * x).reshape(x, 3)
    equal(random.permutation(KEY, a), jr.permutation(theirs, a))
    equal(random.permutation(KEY, a, 1), jr.permutation(theirs, a, 1))
    equal(random.permutation(KEY, a, 0, True), jr.permutation(theirs, a, 0, True))


@pytest.mark.parametrize("dtype", FLOATS)
def test_normal(jr: Any, dtype: Any) -> None:
    got, wanted = random.normal(KEY, (200_000,), dtype), jr.normal(jr.key(42), (200_000,), dtype)
    wanted = np.asarray(wanted)
    assert got.dtype == dtype
    if dtype == np.float64:  # JAX's tail is less accurate than ours
        np.testing.assert_allclose(got, wanted, rtol=1e-11)
        return
    distance = np.abs(got.astype(float) - wanted) / np.spacing(np.abs(wanted)).astype(float)
    assert distance.max() <= 3 and np.mean(distance > 2) < 1e-4


SAMPLERS = {
    "gumbel": lambda m, k: m.gumbel(k, (1000,), np.float32),
    "exponential": lambda m, k: m.exponential(k, (1000,), np.float32),
    "laplace": lambda m, k: m.laplace(k, (1000,), np.float32),
    "logistic": lambda m, k: m.logistic(k, (1000,), np.float32),
    "cauchy": lambda m, k: m.cauchy(k, (1000,), np.float32),
    "truncated": lambda m, k: m.truncated_normal(k, -1.0, 2.0, (1000,), np.float32),
    "range": lambda m, k: m.uniform(k, (1000,), np.float32, -3.0, 5.0),
    "bernoulli": lambda m, k: m.bernoulli(k, np.float32(0.3), (1000,)),
    "rademacher": lambda m, k: m.rademacher(k, (1000,), np.int32),
    "categorical": lambda m, k: m.categorical(k, np.log(PROBABILITIES), shape=(100, 2)),
    "categorical axis": lambda m, k: m.categorical(k, np.log(PROBABILITIES), axis=0),
    "choice": lambda m, k: m.choice(k, np.arange(10.0), (4, 5)),
    "choice without": lambda m, k: m.choice(k, np.arange(10.0), (5,), replace=False),
    "choice p": lambda m, k: m.choice(k, 3, (50,), p=PROBABILITIES[0]),
    "choice p without": lambda m, k: m.choice(k, 3, (2,), False, PROBABILITIES[0]),
    "choice axis": lambda m, k: m.choice(k, np.arange(12.0).reshape(3, 4), (2,), axis=1),
}
PROBABILITIES = np.array([[0.2, 0.5, 0.3], [0.7, 0.2, 0.1]], np.float32)


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers(jr: Any, name: str) -> None:
    import jax

    with jax.enable_x64(False):  # which decides the dtypes that JAX takes by default
        wanted = np.asarray(SAMPLERS[name](jr, jr.key(42)))
    got = SAMPLERS[name](random, KEY)
    assert got.shape == wanted.shape and got.dtype.kind == wanted.dtype.kind
    np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=2e-6)


def test_keys_of_jax_are_accepted(jr: Any) -> None:
    import jax

    for key in (jr.key(42), jr.PRNGKey(42)):
        got = random.uniform(key, (3,))
        assert isinstance(got, jax.Array)
        np.testing.assert_array_equal(np.asarray(got), random.uniform(KEY, (3,)))
    jitted = jax.jit(lambda k: random.normal(random.split(k)[0], (3,)))(jr.PRNGKey(42))
    np.testing.assert_allclose(jitted, random.normal(random.split(KEY)[0], (3,)), rtol=3e-7)


# --- transformations -----------------------------------------------------------------------------


def sample(key: Any) -> Any:
    first, second = random.split(random.fold_in(key, 3))
    a = random.normal(first, (5,)) + random.uniform(second, (5,))
    return a, random.permutation(first, 6), random.randint(second, (4,), 0, 9)


def test_under_vmap_and_jit() -> None:
    keys = random.split(KEY, 7)
    wanted = [sample(k) for k in keys]
    lanes = fg.vmap(sample)(keys)
    for k, one in enumerate(wanted):
        for a, b in zip(lanes, one, strict=True):
            np.testing.assert_allclose(a[k], b, rtol=1e-6)
    folded = fg.vmap(random.fold_in, (None, 0))(KEY, np.arange(3))
    equal(folded, np.stack([random.fold_in(KEY, i) for i in range(3)]))
    for backend in ("numpy", "xla"):
        if backend == "xla":
            pytest.importorskip("jax")
        for a, b in zip(
            fg.jit(sample, backend=backend)(KEY), wanted[0] and sample(KEY), strict=True
        ):
            np.testing.assert_allclose(np.asarray(a), b, rtol=1e-6)


def test_parameters_are_differentiated() -> None:
    f = lambda low: random.uniform(KEY, (4,), np.float64, low, 5.0).sum()
    np.testing.assert_allclose(fg.grad(f)(1.0), (1 - random.uniform(KEY, (4,), np.float64)).sum())
    assert fg.grad(lambda s: (s * random.normal(KEY, (4,), np.float64)).sum())(2.0) != 0


def test_distributions() -> None:
    n = 200_000
    x = random.normal(KEY, (n,), np.float64)
    assert abs(x.mean()) < 0.01 and abs(x.std() - 1) < 0.01 and abs((x**4).mean() - 3) < 0.1
    u = np.sort(random.uniform(KEY, (n,)))
    assert np.abs(u - np.arange(n) / n).max() < 2 / np.sqrt(n)
    assert abs(random.bernoulli(KEY, 0.3, (n,)).mean() - 0.3) < 0.01
    assert abs(random.exponential(KEY, (n,)).mean() - 1) < 0.02
    counts = np.bincount(random.randint(KEY, (n,), 0, 7)) / n
    assert np.abs(counts - 1 / 7).max() < 0.01


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: random.normal(42), RandomKeyError, r"random.key\(seed\)"),
        (lambda: random.normal(np.zeros(2)), RandomKeyError, r"float64\[2\]"),
        (lambda: random.normal(random.split(KEY)), RandomKeyError, "vmap"),
        (lambda: random.key(1.5), RandomKeyError, "seed is an integer"),
        (lambda: random.fold_in(KEY, 0.5), RandomKeyError, "integer of shape"),
        (lambda: random.uniform(KEY, (2, -1)), ValueError, "negative"),
        (lambda: random.uniform(KEY, dtype=int), TypeError, "float32"),
        (lambda: random.uniform(KEY, (2,), minval=np.zeros(3)), ValueError, "broadcast"),
        (lambda: random.bits(KEY, dtype=np.int32), TypeError, "unsigned"),
        (lambda: random.randint(KEY, (), 0.0, 2), TypeError, "integers"),
        (lambda: random.choice(KEY, 3, (4,), replace=False), ValueError, "replace=False"),
        (lambda: random.choice(KEY, 0, (1,)), ValueError, "at least one"),
        (lambda: random.choice(KEY, 3, p=np.ones(2)), ValueError, r"shape \(3,\)"),
        (lambda: random.categorical(KEY, np.ones((2, 3)), shape=(3,)), ValueError, "end with"),
        (lambda: random.permutation(KEY, 1.5), TypeError, "an integer"),
    ],
)
def test_errors(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call()

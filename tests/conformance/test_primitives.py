"""Every primitive × every sample × every rule, from the registry; none may lack samples."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import numpy as np
import pytest

from funcgraph.core.aval import aval_of, dtype_of
from funcgraph.core.primitive import REGISTRY, Binary, Elementwise, Primitive, Unary
from tests.conformance import compiled, lanes, oracle, staged
from tests.conformance.oracle import Problem
from tests.conformance.samples import SAMPLES
from tests.conformance.spec import Sample

if importlib.util.find_spec("scipy"):  # declares further primitives
    importlib.import_module("funcgraph.scipy.linalg")
    importlib.import_module("funcgraph.scipy.special")


def problem(primitive: Primitive, sample: Sample) -> Problem:
    return Problem(primitive, sample.args, sample.positions, sample.attrs, sample.tol)


def value(primitive: Primitive, sample: Sample) -> None:
    """Value and dtype are those of JAX (for samples without a derivative)."""
    with np.errstate(all="ignore"):
        expected = oracle.parts(primitive(*sample.args, **sample.attrs))
    if sample.jax:
        pytest.importorskip("jax")
        actual = oracle.parts(primitive.jax(*sample.args, **sample.attrs))
        assert [a.dtype for a in actual] == [dtype_of(e) for e in expected]
        oracle.assert_close(actual, expected, 1e-9)


def aval(primitive: Primitive, sample: Sample) -> None:
    """The shape/dtype rule foretells the value, in both precisions and for Python scalars."""
    variants = [sample.args, oracle.narrow(sample.args, "single")]
    if isinstance(primitive, Unary | Binary) or isinstance(primitive.derivative, Elementwise):
        for args in variants[:2]:
            variants += [_weak(args, k) for k in range(len(args))]
    for args in variants:
        with np.errstate(all="ignore"):
            values = oracle.parts(primitive.numpy(*args, **sample.attrs))
        avals = oracle.parts(primitive.abstract(*args, **sample.attrs))
        found = [(a.shape, a.dtype) for a in avals]
        wanted = [(aval_of(v).shape, dtype_of(v)) for v in values]
        assert found == wanted, f"for {[aval_of(a) for a in args]}"


def _weak(args: tuple[Any, ...], k: int) -> tuple[Any, ...]:
    """Return args with number k replaced by a Python scalar."""
    first = np.asarray(args[k]).reshape(-1)[:1].tolist() or [1.0]
    return (*args[:k], first[0], *args[k + 1 :])


def single(primitive: Primitive, sample: Sample) -> None:
    """float32 stays float32, in the rules too: a rule that widens costs time even if it is cast."""
    p = problem(primitive, sample)
    oracle.check_precision(p, "single")
    if isinstance(primitive.derivative, Elementwise):
        args = p.narrow("single").args
        with np.errstate(all="ignore"):
            y = primitive(*args, **sample.attrs)
            for k in p.positions:
                rule = primitive.derivative.rules[k]
                if rule is not None:
                    got = dtype_of(rule(np.ones_like(y), y, *args, **sample.attrs))
                    assert got.itemsize <= np.result_type(y, *args).itemsize, f"rule {k}: {got}"


RULES = {
    "value": value,
    "aval": aval,
    "forward": lambda primitive, sample: oracle.check_forward(problem(primitive, sample)),
    "adjoint": lambda primitive, sample: oracle.check_adjoint(problem(primitive, sample)),
    "strong": lambda primitive, sample: oracle.check_strong(problem(primitive, sample)),
    "second": lambda primitive, sample: oracle.check_second(problem(primitive, sample)),
    "single": single,
    "half": lambda primitive, sample: oracle.check_precision(problem(primitive, sample), "half"),
    "jax": lambda primitive, sample: oracle.check_jax(problem(primitive, sample), primitive.jax),
    "staged": lambda primitive, sample: staged.values(problem(primitive, sample)),
    "graph": lambda primitive, sample: staged.derivatives(problem(primitive, sample)),
    "numpy": lambda primitive, sample: compiled.check(problem(primitive, sample), "numpy"),
    "xla": lambda primitive, sample: compiled.check(problem(primitive, sample), "xla"),
    "batch": lanes.batch,
    "lanes": lambda primitive, sample: lanes.batch_derivative(problem(primitive, sample)),
}


def applicable(sample: Sample) -> list[str]:
    """Return the rules that mean something for a sample; "jax" compares the values too."""
    if not sample.positions:
        return ["value", "aval", "batch"]
    left_out = {"value"} if sample.jax else {"value", "jax", "xla"}
    return [n for n in RULES if n not in left_out and (n != "second" or sample.order > 1)]


# JAX compiles for each sample: those behind the first few are heavy checks.
FIRST = {"jax": 1, "xla": 1}
LONG = {"hyp2f1"}  # a loop in JAX, in every derivative


def _marks(name: str, rule: str, k: int) -> list[pytest.MarkDecorator]:
    heavy = rule in FIRST and (k >= FIRST[rule] or name in LONG)
    return [pytest.mark.slow] if heavy else []


TABLE = [
    pytest.param(name, k, rule, id=f"{name}-{k}-{rule}", marks=_marks(name, rule, k))
    for name in REGISTRY
    for k, sample in enumerate(SAMPLES.get(name, []))
    for rule in applicable(sample)
]


@pytest.mark.parametrize(("name", "k", "rule"), TABLE)
def test_rule(name: str, k: int, rule: str) -> None:
    RULES[rule](REGISTRY[name], SAMPLES[name][k])


# They mean something only inside a transformation; these tests run every rule there.
ELSEWHERE = {
    "psum": "tests/unit/test_vmap.py",
    "all_gather": "tests/unit/test_vmap.py",
    "custom_call": "tests/unit/test_custom.py",
    "jax_call": "tests/unit/test_interop.py",
    "jit_call": "tests/unit/test_jit.py",
    "scan": "tests/unit/test_control.py",
    "switch": "tests/unit/test_control.py",
    "while": "tests/unit/test_while.py",
    "eager_call": "tests/unit/test_while.py",
    "barrier": "tests/unit/test_checkpoint.py",
}


@pytest.mark.parametrize("name", sorted(REGISTRY.keys() - ELSEWHERE.keys()))
def test_has_samples(name: str) -> None:
    sampled = bool(SAMPLES.get(name))
    assert sampled, f"{name} has no samples: add a row in tests/conformance/samples"


def test_samples_are_of_primitives() -> None:
    assert set(SAMPLES) <= set(REGISTRY), "samples of primitives that do not exist"

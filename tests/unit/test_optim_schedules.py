"""Schedules: the numbers of optax, at both ends and in between."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
from funcgraph import optim


def schedules(o: Any) -> dict[str, Any]:
    exponential = functools.partial(o.exponential_decay, 0.5, 10, 0.3)
    warm = functools.partial(o.warmup_exponential_decay_schedule, 0.1, 0.5, 10, 7, 0.5)
    return {
        "constant": o.constant_schedule(0.3),
        "linear": o.linear_schedule(0.1, 0.9, 20, 5),
        "linear at once": o.linear_schedule(0.1, 0.9, 0),
        "polynomial": o.polynomial_schedule(1.0, 0.1, 3, 30, -2),
        "piecewise": o.piecewise_constant_schedule(1.0, {20: 0.1, 5: 0.5}),
        "piecewise none": o.piecewise_constant_schedule(1.0),
        "exponential": exponential(),
        "exponential begin": exponential(transition_begin=7),
        "staircase": exponential(staircase=True, end_value=0.05),
        "growth": o.exponential_decay(0.5, 10, 1.5, end_value=0.9),
        "exponential none": o.exponential_decay(0.5, 0, 0.3),
        "exponential zero": o.exponential_decay(0.5, 10, 0.0),
        "cosine": o.cosine_decay_schedule(0.5, 30),
        "cosine options": o.cosine_decay_schedule(0.5, 30, 0.2, 1.7),
        "warm constant": o.warmup_constant_schedule(0.0, 1.0, 10),
        "warm cosine": o.warmup_cosine_decay_schedule(0.1, 1.0, 10, 40, 0.2, 2.0),
        "warm cosine zero": o.warmup_cosine_decay_schedule(0.0, 0.0, 10, 40),
        "warm exponential": warm(),
        "warm staircase": warm(transition_begin=3, staircase=True, end_value=0.1),
        "joined": o.join_schedules(
            [o.constant_schedule(1.0), o.linear_schedule(1.0, 0.0, 5), o.constant_schedule(2.0)],
            [10, 20],
        ),
    }


@pytest.mark.parametrize("name", list(schedules(optim)))
def test_schedules_are_optax_s(name: str) -> None:
    optax, jax = pytest.importorskip("optax"), pytest.importorskip("jax")
    ours = schedules(optim)[name]
    with jax.enable_x64(True):
        steps = np.array([0, 1, 4, 5, 6, 9, 10, 11, 19, 20, 21, 29, 30, 31, 39, 40, 41, 1000])
        theirs = jax.jit(jax.vmap(schedules(optax)[name]))(steps)
        both = [fg.jit(lambda n: ours(n) * 1.0, backend=backend) for backend in ("numpy", "xla")]
        for step, wanted in zip(map(int, steps), np.asarray(theirs), strict=True):
            got = ours(step)
            assert np.ndim(got) == 0
            np.testing.assert_allclose(got, wanted, rtol=1e-14, atol=1e-16)
            np.testing.assert_allclose(ours(np.int32(step)), wanted, rtol=1e-14, atol=1e-16)
            for compiled in both:
                value = compiled(np.int32(step))
                np.testing.assert_allclose(value, wanted, rtol=1e-14, atol=1e-16)


def test_the_ends_of_schedules() -> None:
    ends = {
        "linear": (0.1, 0.9), "polynomial": (1.0, 0.1), "piecewise": (1.0, 0.05),
        "staircase": (0.5, 0.05), "growth": (0.5, 0.9), "cosine": (0.5, 0.0),
        "cosine options": (0.5, 0.1), "warm constant": (0.0, 1.0), "warm cosine": (0.1, 0.2),
        "warm staircase": (0.1, 0.1), "joined": (1.0, 2.0),
    }  # fmt: skip
    for name, (first, last) in ends.items():
        schedule = schedules(optim)[name]
        np.testing.assert_allclose([schedule(0), schedule(10**7)], [first, last], rtol=1e-15)


def test_schedules_say_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="got decay_steps=5 and warmup_steps=10"):
        optim.warmup_cosine_decay_schedule(0.0, 1.0, 10, 5)
    with pytest.raises(ValueError, match=r"not negative, got \{3: -1\.0\}"):
        optim.piecewise_constant_schedule(1.0, {3: -1.0})
    with pytest.raises(ValueError, match="2 schedules and 2 boundaries"):
        optim.join_schedules([optim.constant_schedule(1.0)] * 2, [1, 2])

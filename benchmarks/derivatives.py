"""Single derivatives under XLA, above all of convolutions and pooling: ours against jax.grad's own.

    python3 tools/run.py exec python benchmarks/derivatives.py [--repeats 5] [--only NAME]

Every subject runs under one jax.jit, on the same float32 arrays; results are compared before
anything is timed. The tables give minima; the geometric mean of the ratios comes last.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import _measure
import jax
import numpy as np

import funcgraph as fg
import funcgraph.numpy as fnp
from funcgraph import losses, nn

RNG = np.random.default_rng(0)


class Case(NamedTuple):
    """A derivative: `ours` and `theirs` are the function, `by` the argument."""

    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    arguments: tuple[tuple[int, ...], ...]
    by: int | None  # None: the function itself


def conv_case(
    x: tuple[int, ...],
    w: tuple[int, ...],
    by: int | None,
    strides: int = 1,
    padding: str = "SAME",
    dilation: int = 1,
    groups: int = 1,
) -> Case:
    n = len(x) - 2
    axes = (0, n + 1, *range(1, n + 1))
    numbers = jax.lax.ConvDimensionNumbers(axes, (n + 1, n, *range(n)), axes)

    def theirs(x: Any, w: Any) -> Any:
        return jax.lax.conv_general_dilated(
            x, w, (strides,) * n, padding, rhs_dilation=(dilation,) * n,
            dimension_numbers=numbers, feature_group_count=groups,
        )  # fmt: skip

    def ours(x: Any, w: Any) -> Any:
        return nn.conv(x, w, strides, padding, dilation, groups)

    return Case(ours, theirs, (x, w), by)


def transposed_case(x: tuple[int, ...], w: tuple[int, ...], by: int | None, strides: int) -> Case:
    n = len(x) - 2
    letters = "DHW"[-n:]
    numbers = (f"N{letters}C", f"{letters}IO", f"N{letters}C")

    def theirs(x: Any, w: Any) -> Any:
        return jax.lax.conv_transpose(x, w, (strides,) * n, "SAME", dimension_numbers=numbers)

    def ours(x: Any, w: Any) -> Any:
        return nn.conv_transpose(x, w, strides, "SAME")

    return Case(ours, theirs, (x, w), by)


def pool_case(x: tuple[int, ...], window: int, strides: int, kind: str = "max") -> Case:
    n = len(x) - 2
    size, steps = (1, *(window,) * n, 1), (1, *(strides,) * n, 1)

    def theirs(x: Any) -> Any:
        if kind == "max":
            return jax.lax.reduce_window(x, -np.inf, jax.lax.max, size, steps, "SAME")
        return jax.lax.reduce_window(x, 0.0, jax.lax.add, size, steps, "VALID") / window**n

    def ours(x: Any) -> Any:
        if kind == "max":
            return nn.max_pool(x, window, strides, "SAME")
        return nn.avg_pool(x, window, strides, "VALID")

    return Case(ours, theirs, (x,), 0)


X, W, F = 0, 1, None
CASES = {
    "gw 5x5 1->32, 64x28x28": conv_case((64, 28, 28, 1), (5, 5, 1, 32), W, padding="VALID"),
    "gx 5x5 1->32, 64x28x28": conv_case((64, 28, 28, 1), (5, 5, 1, 32), X, padding="VALID"),
    "gw 3x3 32->32, 32x32x32": conv_case((32, 32, 32, 32), (3, 3, 32, 32), W),
    "gw 3x3 64->64, 8x56x56": conv_case((8, 56, 56, 64), (3, 3, 64, 64), W),
    "gw 1x1 64->64, 8x56x56": conv_case((8, 56, 56, 64), (1, 1, 64, 64), W),
    "gw 1x1 64->256, 8x56x56": conv_case((8, 56, 56, 64), (1, 1, 64, 256), W),
    "gw 3x3/2 64->128, 8x56x56": conv_case((8, 56, 56, 64), (3, 3, 64, 128), W, 2),
    "gx 3x3/2 64->128, 8x56x56": conv_case((8, 56, 56, 64), (3, 3, 64, 128), X, 2),
    "gw 1x1/2 64->128, 8x56x56": conv_case((8, 56, 56, 64), (1, 1, 64, 128), W, 2),
    "depthwise 3x3 128, 8x56x56": conv_case((8, 56, 56, 128), (3, 3, 1, 128), F, groups=128),
    "gx depthwise 3x3 128": conv_case((8, 56, 56, 128), (3, 3, 1, 128), X, groups=128),
    "gw depthwise 3x3 128": conv_case((8, 56, 56, 128), (3, 3, 1, 128), W, groups=128),
    "gx depthwise 1-D k5 128": conv_case((16, 1024, 128), (5, 1, 128), X, groups=128),
    "gw grouped 4, 128->128": conv_case((8, 28, 28, 128), (3, 3, 32, 128), W, groups=4),
    "gx grouped 4, 128->128": conv_case((8, 28, 28, 128), (3, 3, 32, 128), X, groups=4),
    "gw grouped 32, 128->128": conv_case((8, 28, 28, 128), (3, 3, 4, 128), W, groups=32),
    "gw dilated 4, 32->32": conv_case((8, 56, 56, 32), (3, 3, 32, 32), W, dilation=4),
    "gx 3-D/2 16->32": conv_case((2, 16, 32, 32, 16), (3, 3, 3, 16, 32), X, 2),
    "gw 3-D 16->32": conv_case((2, 16, 32, 32, 16), (3, 3, 3, 16, 32), W),
    "gw transposed 1-D k16/8": transposed_case((8, 64, 256), (16, 256, 128), W, 8),
    "gw transposed 2-D k4/2": transposed_case((16, 16, 16, 64), (4, 4, 64, 32), W, 2),
    "max 2x2/2 64x24x24x32": pool_case((64, 24, 24, 32), 2, 2),
    "max 3x3/2 8x112x112x64": pool_case((8, 112, 112, 64), 3, 2),
    "max 3x3/1 8x28x28x192": pool_case((8, 28, 28, 192), 3, 1),
    "avg 2x2x2 4x16x32x32x16": pool_case((4, 16, 32, 32, 16), 2, 2, "avg"),
}


ORDER = RNG.permutation(4096)
LABELS = RNG.integers(0, 20_000, 512)


def cross_entropy_by_jax(x: Any) -> Any:
    return -jax.numpy.take_along_axis(jax.nn.log_softmax(x), LABELS[:, None], 1)[:, 0]


OTHERS = {
    "x[:, order] 512x4096": Case(lambda x: x[:, ORDER], lambda x: x[:, ORDER], ((512, 4096),), X),
    "cumsum along 4096, 4096x512": Case(
        lambda x: fnp.cumsum(x, 0), lambda x: jax.numpy.cumsum(x, 0), ((4096, 512),), X
    ),
    "cumsum along 4096, 512x4096": Case(
        lambda x: fnp.cumsum(x, 1), lambda x: jax.numpy.cumsum(x, 1), ((512, 4096),), X
    ),
    "cross-entropy 512x20000": Case(
        lambda x: losses.softmax_cross_entropy_with_integer_labels(x, LABELS),
        cross_entropy_by_jax,
        ((512, 20_000),),
        X,
    ),
}


def derivative(m: Any, f: Callable[..., Any], by: int | None) -> Callable[..., Any]:
    """Return the pullback by one argument (or the function), from arguments and a cotangent."""
    if by is None:
        return lambda args, g: f(*args)
    return lambda args, g: m.vjp(f, *args)[1](g)[by]


def subjects(case: Case) -> tuple[dict[str, Callable[[], Any]], Callable[[], None]]:
    """Return what to time, and a check that all give the same."""
    args = tuple(RNG.standard_normal(s).astype(np.float32) for s in case.arguments)
    shape = jax.eval_shape(case.theirs, *args).shape
    g = RNG.standard_normal(shape).astype(np.float32)
    ours = fg.jit(derivative(fg, case.ours, case.by), backend="xla")
    theirs = jax.jit(derivative(jax, case.theirs, case.by))
    held = jax.device_put((args, g))
    runs = {"jax": lambda: theirs(*held).block_until_ready(),
            "ours": lambda: ours(*held).block_until_ready()}  # fmt: skip

    def check() -> None:
        wanted = np.asarray(runs["jax"](), float)
        scale = np.abs(wanted).max()
        np.testing.assert_allclose(np.asarray(runs["ours"]()) / scale, wanted / scale, atol=2e-5)

    return runs, check


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print(_measure.machine("numpy", "jax", "jaxlib"), jax.devices()[0].device_kind)
    found = {}
    for title, cases in (("convolutions and pooling", CASES), ("others", OTHERS)):
        chosen = {name: case for name, case in cases.items() if options.only in name}
        if chosen:
            found.update(table(title, chosen, options.repeats))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2), "utf-8")


def table(title: str, cases: dict[str, Case], repeats: int) -> dict[str, dict[str, float]]:
    """Time all cases, print a table and return its numbers."""
    print(f"\n{title:<30}{'jax ms':>9}{'ours ms':>9}{'ratio':>7}{'first calls':>13}")
    found: dict[str, dict[str, float]] = {}
    for name, case in cases.items():
        runs, check = subjects(case)
        _, first = _measure.first_calls(runs)
        check()
        low = {k: min(v) for k, v in _measure.interleaved(runs, repeats).items()}
        ratio, compiling = low["ours"] / low["jax"], first["ours"] / first["jax"]
        found[name] = {**low, "ratio": ratio, "first": compiling}
        print(f"{name:<30}{low['jax'] * 1e3:>9.2f}{low['ours'] * 1e3:>9.2f}{ratio:>7.2f}"
              f"{compiling:>13.2f}", flush=True)  # fmt: skip
    mean = math.exp(sum(math.log(f["ratio"]) for f in found.values()) / len(found))
    print(f"geometric mean of {len(found)} ratios: {mean:.3f}")
    return found


if __name__ == "__main__":
    main()

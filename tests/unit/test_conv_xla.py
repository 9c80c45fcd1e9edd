"""Convolutions as XLA gets them on a CPU: every formula against NumPy's values and JAX's own."""

from __future__ import annotations

import functools
import re
from typing import Any, NamedTuple

import numpy as np
import pytest

import funcgraph as fg
from funcgraph.ops import conv as ops
from funcgraph.ops import conv_numpy, conv_taps, conv_xla
from funcgraph.ops.windows import Ints, Pairs, output_length, pads

jax = pytest.importorskip("jax")
jnp = jax.numpy

RNG = np.random.default_rng(3)


@pytest.fixture(autouse=True)
def formulas_for_small_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let shapes choose the formulas that they would choose if the arrays were large."""
    monkeypatch.setattr(conv_xla, "_FEW_PRODUCTS", 0)
    monkeypatch.setattr(conv_xla, "_THIN", 2)
    monkeypatch.setattr(conv_xla, "_ROW_CHANNELS", 2)


class Case(NamedTuple):
    """Shapes of an input and of a kernel, and the attributes."""

    x: Ints
    w: Ints
    strides: Any = 1
    padding: Any = "SAME"
    dilation: Any = 1
    groups: int = 1

    def attrs(self) -> dict[str, Any]:
        whole = lambda v: v if isinstance(v, tuple) else (v,) * (len(self.x) - 2)
        strides, dilation = whole(self.strides), whole(self.dilation)
        padding: Pairs = pads(self.padding, self.x[1:-1], self.w[:-2], strides, dilation)
        return {"strides": strides, "padding": padding, "dilation": dilation, "groups": self.groups}

    def outputs(self) -> Ints:
        a = self.attrs()
        each = (a["strides"], a["padding"], a["dilation"])
        lengths = map(output_length, self.x[1:-1], self.w[:-2], *each)
        return (self.x[0], *lengths, self.w[-1])


PLAIN = [
    Case((2, 7, 3), (3, 3, 4)),
    Case((2, 9, 3), (2, 3, 4), 3, ((-1, 2),)),
    Case((2, 8, 1), (3, 1, 4), 2, ((2, 1),), 2),
    Case((2, 9, 2), (3, 2, 4), 1, ((2, 1),), 2),
    Case((3, 6, 5, 3), (3, 2, 3, 4)),
    Case((3, 6, 5, 4), (1, 1, 4, 3), 2),
    Case((2, 7, 8, 3), (3, 3, 3, 4), 2),
    Case((2, 7, 8, 3), (2, 4, 3, 2), (3, 2), ((1, 0), (-2, 3))),
    Case((2, 9, 8, 2), (3, 2, 2, 3), 1, ((4, -1), (0, 2)), (2, 3)),
    Case((2, 9, 8, 2), (3, 2, 2, 3), (2, 1), "VALID", (2, 3)),
    Case((1, 8, 8, 1), (5, 5, 1, 6), 1, "VALID"),
    Case((1, 8, 9, 2), (1, 2, 2, 3), 3, ((2, 2), (1, 0))),  # fewer taps than steps
    Case((2, 3, 4, 5, 2), (2, 3, 2, 2, 3)),
    Case((2, 4, 5, 4, 2), (3, 1, 2, 2, 3), (2, 3, 1), ((1, 1), (0, -1), (2, 0))),
    Case((1, 5, 4, 4, 1), (3, 2, 2, 1, 2), 2, "SAME", 2),
    Case((2, 5, 4, 3), (2, 2, 3, 18)),
]
GROUPED = [
    Case((2, 7, 6), (3, 2, 9), 1, "SAME", 1, 3),
    Case((2, 6, 5, 4), (3, 2, 2, 6), 2, ((1, 0), (2, -1)), 1, 2),
    Case((2, 6, 5, 4), (3, 2, 2, 6), 1, "SAME", 2, 2),
    Case((2, 6, 5, 20), (2, 3, 2, 10), 1, "SAME", 1, 10),  # zeros between the groups
    Case((2, 6, 5, 20), (2, 3, 2, 30), 2, "SAME", 1, 10),
    Case((2, 5, 4, 90), (2, 2, 10, 90), 1, "SAME", 1, 9),  # many, not small
    Case((2, 5, 4, 90), (2, 2, 10, 90), 2, "SAME", 1, 9),
    Case((2, 4, 3, 4, 4), (2, 2, 2, 2, 4), 2, "SAME", 1, 2),
    Case((2, 7, 4), (3, 1, 4), 1, "SAME", 2, 4),
    Case((2, 7, 6, 3), (3, 2, 1, 6), (2, 1), ((1, 2), (-1, 1)), 1, 3),
    Case((2, 4, 5, 3, 2), (2, 3, 2, 1, 6), 1, "SAME", 1, 2),
    Case((2, 7, 6, 3), (3, 2, 1, 6), 1, ((1, 2), (-1, 1)), (2, 1), 3),
]
EMPTY = [
    Case((0, 6, 3), (3, 3, 4)),
    Case((0, 6, 5, 3), (3, 2, 3, 4), 2),
    Case((0, 6, 5, 4), (3, 2, 1, 8), 1, "SAME", 1, 4),
    Case((0, 6, 5, 4), (3, 2, 2, 4), 1, "SAME", 1, 2),
    Case((0, 3, 6, 5, 4), (3, 2, 1, 4, 2)),
]


def operands(case: Case, dtype: Any = np.float64) -> tuple[Any, Any, Any]:
    """Return an input, a kernel and a cotangent."""
    draw = lambda shape: RNG.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        draw = lambda shape: RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)
    shapes = (case.x, case.w, case.outputs())
    return tuple(draw(s).astype(dtype) for s in shapes)  # type: ignore[return-value]


def on_xla(case: Case, x: Any, w: Any, g: Any) -> list[Any]:
    """Return value and both transposes, as they are computed on JAX."""
    attrs = case.attrs()
    return [
        ops.conv(x, w, **attrs),
        ops.conv_input(g, w, shape=case.x[1:-1], **attrs),
        ops.conv_kernel(x, g, shape=case.w[:-2], **attrs),
    ]


def on_numpy(case: Case, x: Any, w: Any, g: Any) -> list[Any]:
    attrs = case.attrs()
    return [
        conv_numpy.forward(x, w, **attrs),
        conv_numpy.by_input(g, w, shape=case.x[1:-1], **attrs),
        conv_numpy.by_kernel(x, g, shape=case.w[:-2], **attrs),
    ]


def close(got: Any, wanted: Any, tol: float = 1e-10) -> None:
    got, wanted = np.asarray(got), np.asarray(wanted)
    assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
    np.testing.assert_allclose(got, wanted, rtol=tol, atol=tol)


def compared(cases: list[Case], dtype: Any, tol: float, reference: Any = on_numpy) -> None:
    """Compare all formulas with a reference, in one program."""
    args = [operands(case, dtype) for case in cases]
    run = lambda args: [on_xla(case, *some) for case, some in zip(cases, args, strict=True)]
    for case, some, got in zip(cases, args, jax.jit(run)(args), strict=True):
        for a, b in zip(got, reference(case, *some), strict=True):
            close(a, b, tol)


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("cases", [PLAIN, GROUPED, EMPTY], ids=["plain", "grouped", "empty"])
def test_formulas_equal_numpy(cases: list[Case]) -> None:
    compared(cases, np.float64, 1e-10)


def test_loops_over_taps(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (conv_taps, conv_xla):
        monkeypatch.setattr(module, "TAPS", 1)
    thin = [Case((2, 8, 1), (3, 1, 4)), Case((2, 6, 5, 1), (2, 3, 1, 4), 2)]
    compared([*GROUPED[-4:], *thin], np.float64, 1e-10)


@pytest.mark.parametrize(
    "case",
    [
        Case((2, 40, 3), (301, 1, 6), 1, ((150, 170),), 1, 3),
        Case((1, 40, 41, 2), (19, 17, 1, 2), 1, "SAME", 1, 2),
        Case((2, 500, 1), (301, 1, 2)),
        Case((2, 500, 2), (301, 2, 3), 2),
    ],
)
def test_many_taps_are_not_compiled_one_by_one(case: Case) -> None:
    """A depthwise kernel of 19 x 17 took JAX minutes to compile."""
    lowered = jax.jit(functools.partial(on_xla, case)).lower(*operands(case))
    assert len(lowered.as_text().splitlines()) < 500
    compared([case], np.float64, 1e-10)


SOME = [PLAIN[5], PLAIN[7], GROUPED[1], GROUPED[9]]


@pytest.mark.parametrize("dtype, tol", [(np.float32, 2e-5), (np.complex128, 1e-10)])
def test_other_dtypes(dtype: Any, tol: float) -> None:
    compared(SOME[1:], dtype, tol)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_half_precision_is_summed_in_single(name: str) -> None:
    """One rounding of the float32 result, however many terms there are."""
    dtype = np.dtype(getattr(jnp, name))
    case = Case((64, 12, 4), (3, 1, 4), 1, "SAME", 1, 4)
    args = operands(case, dtype)
    wanted = on_xla(case, *(a.astype(np.float32) for a in args))
    for got, exact in zip(on_xla(case, *args), wanted, strict=True):
        assert got.dtype == dtype
        close(got, np.asarray(exact).astype(dtype), 2 * float(jnp.finfo(dtype).eps))


BY_ROWS = [
    Case((4, 4, 5, 2), (3, 3, 2, 3)),
    Case((4, 9, 8, 2), (3, 2, 2, 3), (2, 3), ((1, 2), (0, 3)), (2, 1)),
    Case((4, 9, 8, 2), (3, 3, 2, 3), 1, "VALID"),
    Case((4, 9, 8, 2), (3, 3, 2, 3), 1, ((-1, 2), (3, -2))),
    Case((4, 5, 4, 2), (2, 4, 2, 3), 1, ((3, 0), (1, 4))),
    Case((4, 6, 5, 3), (3, 2, 3, 2), 1, ((1, 3), (2, 1)), (2, 3)),
    Case((4, 6, 6, 2), (5, 5, 2, 3), 1, "VALID"),  # its input gradient
    Case((4, 5, 5, 4), (3, 3, 2, 4), 1, "SAME", 1, 2),
    Case((4, 3, 4, 4, 2), (3, 3, 3, 2, 3)),
]


@pytest.mark.parametrize("block", [1 << 19, 300])
def test_convolutions_row_by_row(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the whole batch or block by block: no convolution of XLA's, on one thread, is left."""
    monkeypatch.setattr(conv_xla, "_BLOCK", block)
    monkeypatch.setattr(conv_xla, "_is_wide", lambda *_: True)
    compared(BY_ROWS, np.float64, 1e-10)
    forward = lambda x, w: ops.conv(x, w, **BY_ROWS[0].attrs())
    lowered = jax.jit(forward).lower(*operands(BY_ROWS[0])[:2]).compile().as_text()
    assert "convolution(" not in lowered
    assert ("while(" in lowered) is (block == 300)


def test_blocks_of_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weight gradients that are summed block by block, also of a batch of odd length; of groups."""
    monkeypatch.setattr(conv_xla, "_BLOCK", 100)
    cases = [Case((6, 7, 8, 3), (3, 3, 3, 4)), Case((5, 7, 8, 3), (2, 4, 3, 2), (3, 2))]
    cases += [GROUPED[5], Case((1, 6, 7, 9), (3, 2, 1, 18), 1, "SAME", 1, 9)]
    compared(cases, np.float64, 1e-10)


def lowered(f: Any, case: Case) -> str:
    return jax.jit(f).lower(*operands(case, np.float32)).as_text()  # type: ignore[no-any-return]


def test_an_odd_number_of_channels_is_made_even_where_xla_is_slow_for_it() -> None:
    """From 3 to 32 channels, XLA's convolution takes four times as long as from 4."""
    for channels, outputs, wanted in ((3, 32, 4), (3, 33, 3), (1, 32, 1), (6, 32, 6), (3, 16, 3)):
        case = Case((2, 5, 12, channels), (3, 3, channels, outputs))
        text = lowered(lambda x, w, g, case=case: ops.conv(x, w, **case.attrs()), case)
        assert f"tensor<3x3x{wanted}x{outputs}xf32>" in text.split("stablehlo.convolution")[1]


@pytest.mark.parametrize("groups", [1, 4])
def test_single_examples_are_not_copied(groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """XLA copies whole arrays whose axis of length 1 is not where it expects that."""
    monkeypatch.setattr(conv_xla, "_BLOCK", 100)
    case = Case((6, 7, 8, 4), (3, 3, 4 // groups, 4), 1, "SAME", 1, groups)
    f = lambda x, w, g: ops.conv_kernel(x, g, shape=(3, 3), **case.attrs())
    text = jax.jit(f).lower(*operands(case, np.float32)).compile().as_text()
    assert not re.search(r"= f32\[6,[0-9,]*\]\S* copy\(", text)


def test_strided_input_gradients_of_large_batches_are_in_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """XLA writes outputs with zeros between them to memory, which takes longer than the sums."""
    cases = [Case((6, 9, 8, 3), (3, 3, 3, 4), 2), Case((5, 7, 8, 3), (3, 2, 3, 2), (2, 3), "VALID")]
    for spread, found in ((conv_xla._SPREAD, False), (100, True)):
        monkeypatch.setattr(conv_xla, "_SPREAD", spread)
        monkeypatch.setattr(conv_xla, "_BLOCK", 400)
        f = lambda x, w, g: ops.conv_input(g, w, shape=(9, 8), **cases[0].attrs())
        assert ("stablehlo.while" in lowered(f, cases[0])) is found
    compared(cases, np.float64, 1e-10)


def test_weight_gradients_pad_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that is padded as a whole is kept from the forward pass on."""
    monkeypatch.setattr(conv_xla, "_BLOCK", 100)
    case = Case((6, 7, 9, 8), (3, 3, 8, 4))
    by_kernel = lambda x, w, g: ops.conv_kernel(x, g, shape=(3, 3), **case.attrs())
    assert "tensor<6x9x11x8xf32>" not in lowered(by_kernel, case)


def test_kernels_gradients_of_single_examples_turn_nothing_round() -> None:
    """Examples become groups, which come first again in the products of stacks of matrices."""
    case = Case((1, 6, 7, 2), (3, 2, 2, 9), 1, "VALID")
    rows = [RNG.standard_normal((20, *shape)) for shape in (case.x, case.outputs())]
    one = lambda x, g: ops.conv_kernel(x, g, shape=(3, 2), **case.attrs())
    step = fg.jit(fg.vmap(one), backend="xla")
    assert not re.search(r"= f64\S* (transpose|copy)\(", step.lower(*rows).compile().as_text())
    wanted = [
        conv_numpy.by_kernel(*r, shape=(3, 2), **case.attrs()) for r in zip(*rows, strict=True)
    ]
    close(step(*rows), np.stack(wanted))


# --- against JAX, through JAX's transformations ---------------------------------------------------


def theirs(case: Case, x: Any, w: Any) -> Any:
    a, n = case.attrs(), len(case.x) - 2
    axes = (0, n + 1, *range(1, n + 1))
    return jax.lax.conv_general_dilated(
        x, w, a["strides"], a["padding"], rhs_dilation=a["dilation"],
        dimension_numbers=jax.lax.ConvDimensionNumbers(axes, (n + 1, n, *range(n)), axes),
        feature_group_count=case.groups,
    )  # fmt: skip


def by_jax(case: Case, x: Any, w: Any, g: Any) -> list[Any]:
    value, pullback = jax.vjp(functools.partial(theirs, case), x, w)
    return [value, *pullback(g)]


def test_formulas_equal_jax() -> None:
    compared(SOME[::3], np.float64, 1e-10, by_jax)


def test_under_jax_transformations() -> None:
    """jax.vmap and jax.grad of each formula, and second order, are those of JAX's convolution."""
    cases = [Case((2, 6, 5, 2), (2, 3, 2, 3), 2), Case((2, 6, 3), (3, 1, 6), 1, "SAME", 1, 3)]
    args = [operands(case) for case in cases]

    def derivatives(formulas: Any, case: Case, x: Any, w: Any, g: Any) -> list[Any]:
        f = functools.partial(formulas, case)
        total = lambda *a: sum((y**2).sum() for y in f(*a))
        first = jax.grad(total, (0, 1, 2))
        dots = jax.jvp(lambda x: first(x, w, g)[1], (x,), (x + 1,))[1]
        lanes = jax.vmap(f, (0, None, 0))(jnp.stack([x, x + 1]), w, jnp.stack([g, g - 1]))
        return [*first(x, w, g), dots, *lanes]

    run = lambda formulas: jax.jit(
        lambda args: [derivatives(formulas, c, *a) for c, a in zip(cases, args, strict=True)]
    )(args)
    for got, wanted in zip(run(on_xla), run(by_jax), strict=True):
        for a, b in zip(got, wanted, strict=True):
            close(a, b, 1e-9)


def test_nothing_is_left_to_choose_when_the_program_runs() -> None:
    """The platform is known when the program is compiled: no branch, and the CPU's formula."""
    case = Case((2, 6, 5, 4), (3, 3, 1, 4), 1, "SAME", 1, 4)
    x, w, _ = operands(case)
    f = lambda x, w: (ops.conv(x, w, **case.attrs()) ** 2).sum()
    text = jax.jit(jax.grad(f, (0, 1))).lower(x, w).compile().as_text()
    assert "conditional" not in text
    assert "convolution" not in text

"""Products of matrices: matmul, and einsum of one and two operands. May import `core`, `ops`.

Sums of products are bilinear; transposes are again products. `einsum` brings any call of np.einsum
to pairs of operands without repeated labels.
"""

from __future__ import annotations

import string
from math import prod
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval, ndim_of, promote, shape_of
from funcgraph.core.primitive import Bilinear, Primitive, aligned
from funcgraph.core.trace import UFUNCS
from funcgraph.errors import ShapeError
from funcgraph.ops.structural import expand_dims, fit, reduce_sum, reshape, transpose

__all__ = ["contract", "einsum", "einsum_pair", "matmul", "matrix_transpose"]


def matrix_transpose(x: Any) -> Any:
    """Swap the last two axes."""
    if type(x) is np.ndarray:
        return x.swapaxes(-1, -2)
    n = ndim_of(x)
    return transpose(x, axes=(*range(n - 2), n - 1, n - 2))


def _outer(a: Any, b: Any) -> Any:
    return expand_dims(a, (ndim_of(a),)) * expand_dims(b, (ndim_of(b) - 1,))


def _rows(x: Any) -> Any:
    """Join all axes but the last."""
    n = shape_of(x)[-1]
    return reshape(x, shape=(prod(shape_of(x)[:-1]), n))


def _matmul_first(g: Any, a: Any, b: Any) -> Any:
    na, nb = ndim_of(a), ndim_of(b)
    if nb == 1:
        return g * b if na == 1 else _outer(g, b)
    if na == 1 and nb == 2:
        return matmul(b, g)
    if na == 1:
        return fit(matmul(b, expand_dims(g, (ndim_of(g),)))[..., 0], a)
    return fit(matmul(g, matrix_transpose(b)), a)


def _matmul_second(g: Any, a: Any, b: Any) -> Any:
    na, nb = ndim_of(a), ndim_of(b)
    if na == 1:
        return g * a if nb == 1 else fit(_outer(a, g), b)
    if nb == 1:
        return matmul(matrix_transpose(_rows(a)), g if na == 2 else reshape(g, shape=(-1,)))
    if nb == 2:  # one product instead of one for each matrix of the stack
        return (
            matmul(matrix_transpose(_rows(a)), _rows(g))
            if na > 2
            else matmul(matrix_transpose(a), g)
        )
    return fit(matmul(matrix_transpose(a), g), b)


def _aval_matmul(a: Aval, b: Aval) -> Aval:
    dtype = promote(a, b)
    left, right = a.shape, b.shape
    if not left or not right or left[-1] != right[-min(2, len(right))]:
        raise ShapeError(
            f"matmul: the last axis of the first array and the last but one of the second differ "
            f"in length: the arrays have the shapes {left} and {right}."
        )
    batch = np.broadcast_shapes(left[:-2], right[:-2])
    rows = left[-2:-1] if len(left) > 1 else ()
    columns = right[-1:] if len(right) > 1 else ()
    return Aval((*batch, *rows, *columns), dtype)


def _batch_matmul(primitive: Any, size: int, args: Any, batched: Any, attrs: Any) -> Any:
    a, b = args
    na, nb = ndim_of(a) - batched[0], ndim_of(b) - batched[1]
    # One product for the whole batch, where one factor is the same for all lanes.
    if not batched[1] and nb == 2:
        rows = matmul(_rows(a), b)
        return reshape(rows, shape=(*shape_of(a)[:-1], shape_of(b)[1]))
    if not batched[0] and na == 2 and nb == 1:
        return matmul(b, matrix_transpose(a))
    if na == 1:
        a = expand_dims(a, (ndim_of(a) - 1,))
    if nb == 1:
        b = expand_dims(b, (ndim_of(b),))
    out = aligned(primitive, size, (a, b), batched, attrs)
    shape = list(shape_of(out))
    if nb == 1:
        del shape[-1]
    if na == 1:
        del shape[-1 if nb == 1 else -2]
    return reshape(out, shape=tuple(shape))


def _jax_matmul(jax: Any, a: Any, b: Any) -> Any:
    if min(ndim_of(a), ndim_of(b)) == 1 and ndim_of(b) <= 2:  # jax.numpy.matmul transposes b
        return jax.numpy.tensordot(a, b, 1)
    return jax.numpy.matmul(a, b)


matmul = Primitive(
    "matmul",
    np.matmul,
    _jax_matmul,
    _aval_matmul,
    Bilinear(_matmul_first, _matmul_second),
    _batch_matmul,
)
UFUNCS[np.matmul] = matmul

# --- einsum --------------------------------------------------------------------------------------


def merged_sizes(terms: list[str], shapes: list[tuple[int, ...]]) -> dict[str, int]:
    """Return the length of every label; an axis of length 1 is broadcast."""
    sizes: dict[str, int] = {}
    for labels, shape in zip(terms, shapes, strict=True):
        for label, n in zip(labels, shape, strict=True):
            if sizes.setdefault(label, n) == 1:
                sizes[label] = n
            elif n not in (1, sizes[label]):
                raise ShapeError(
                    f"einsum: label {label!r} of {','.join(terms)!r} stands for axes of the lengths "
                    f"{sizes[label]} and {n}: the operands have the shapes "
                    f"{', '.join(map(str, shapes))}."
                )
    return sizes


def _np_pair(x: Any, y: Any, spec: str) -> Any:
    # Contraction by BLAS pays for its set-up from a few thousand products on.
    return np.einsum(spec, x, y, optimize=np.size(x) + np.size(y) > 4096)


def _aval_pair(x: Aval, y: Aval, spec: str) -> Aval:
    terms, out = spec.split("->")
    a, b = terms.split(",")
    sizes = merged_sizes([a, b], [x.shape, y.shape])
    return Aval(tuple(sizes[k] for k in out), promote(x, y))


def _pair_first(g: Any, x: Any, y: Any, spec: str) -> Any:
    terms, out = spec.split("->")
    a, b = terms.split(",")
    return einsum_pair(g, y, spec=f"{out},{b}->{a}")


def _pair_second(g: Any, x: Any, y: Any, spec: str) -> Any:
    terms, out = spec.split("->")
    a, b = terms.split(",")
    return einsum_pair(g, x, spec=f"{out},{a}->{b}")


def _batch_pair(primitive: Any, size: int, args: Any, batched: Any, attrs: Any) -> Any:
    terms, out = attrs["spec"].split("->")
    lane = next(c for c in string.ascii_letters if c not in attrs["spec"])
    a, b = (lane * flag + term for flag, term in zip(batched, terms.split(","), strict=True))
    return primitive(*args, spec=f"{a},{b}->{lane}{out}")


# No label repeats in one operand, and every label of an operand is in the other or in the result.
einsum_pair = Primitive(
    "einsum_pair",
    _np_pair,
    lambda jax, x, y, spec: jax.numpy.einsum(spec, x, y),
    _aval_pair,
    Bilinear(_pair_first, _pair_second),
    _batch_pair,
)


def _diagonal_labels(x: Any, labels: str) -> tuple[Any, str]:
    """Take diagonals until no label repeats."""
    for label in sorted(set(labels)):
        while labels.count(label) > 1:
            i = labels.index(label)
            j = labels.index(label, i + 1)
            rest = [k for k in range(len(labels)) if k not in (i, j)]
            x = transpose(x, axes=(i, j, *rest))
            k = np.arange(shape_of(x)[0])
            x = x[k, k]
            labels = label + "".join(labels[r] for r in rest)
    return x, labels


def _sum_labels(x: Any, labels: str, keep: set[str]) -> tuple[Any, str]:
    """Sum the axes whose labels nobody else needs."""
    axes = tuple(k for k, label in enumerate(labels) if label not in keep)
    if axes:
        x = reduce_sum(x, axes=axes)
        labels = "".join(label for label in labels if label in keep)
    return x, labels


def _drop_ones(x: Any, labels: str, sizes: dict[str, int]) -> tuple[Any, str]:
    """Drop axes of length 1 that are broadcast against longer ones of the same label."""
    axes = tuple(k for k, n in enumerate(shape_of(x)) if n == 1 != sizes[labels[k]])
    if axes:
        x = reduce_sum(x, axes=axes)
        labels = "".join(label for k, label in enumerate(labels) if k not in axes)
    return x, labels


def contract(operands: list[Any], terms: list[str], out: str, path: Any) -> Any:
    """Sum products of operands whose axes carry the labels in `terms`, pair by pair.

    Args:
      operands: Arrays.
      terms: One string of labels for each.
      out: Labels of the result.
      path: Pairs of positions to contract, as np.einsum_path gives them.
    """
    sizes = merged_sizes(terms, [tuple(shape_of(x)) for x in operands])
    items = []
    for x, labels in zip(operands, terms, strict=True):
        items.append(_drop_ones(*_diagonal_labels(x, labels), sizes))
    for pair in path:
        chosen = [items.pop(k) for k in sorted(pair, reverse=True)]
        while len(chosen) > 1:  # a path may join more than two at its end
            (y, b), (x, a) = chosen.pop(), chosen.pop()
            others = set(out).union(*[set(labels) for _, labels in items + chosen])
            x, a = _sum_labels(x, a, others | set(b))
            y, b = _sum_labels(y, b, others | set(a))
            result = "".join(sorted((set(a) | set(b)) & others))
            chosen.append((einsum_pair(x, y, spec=f"{a},{b}->{result}"), result))
        items.extend(chosen)
    x, labels = _sum_labels(*items[0], set(out))
    if labels == out:
        return x
    return transpose(x, axes=tuple(labels.index(label) for label in out))


def _letters(sublist: Any) -> str:
    return "".join("..." if k is Ellipsis else string.ascii_letters[k] for k in sublist)


def _as_string(args: tuple[Any, ...]) -> tuple[str, list[Any]]:
    """Return (subscripts, operands) for both ways of calling einsum."""
    if isinstance(args[0], str):
        return args[0].replace(" ", ""), list(args[1:])
    operands, terms = list(args[0:-1:2]), [_letters(s) for s in args[1::2]]
    spec = ",".join(terms)
    if len(args) % 2:
        spec += "->" + _letters(args[-1])
    return spec, operands


def _expand_ellipsis(spec: str, operands: list[Any]) -> tuple[list[str], str]:
    """Return labels of the operands and of the result, with ellipses and '->' spelled out."""
    inputs, arrow, out = spec.partition("->")
    terms = inputs.split(",")
    spare = [c for c in string.ascii_letters if c not in spec]
    longest = 0
    for k, (term, x) in enumerate(zip(terms, operands, strict=True)):
        if "..." in term:
            n = ndim_of(x) - len(term) + 3
            longest = max(longest, n)
            terms[k] = term.replace("...", "".join(spare[-n:]) if n else "")
    dots = "".join(spare[-longest:]) if longest else ""
    if arrow:
        return terms, out.replace("...", dots)
    joined = inputs.replace(",", "").replace("...", "")
    return terms, dots + "".join(sorted(c for c in set(joined) if joined.count(c) == 1))


def einsum(*args: Any, optimize: Any = False) -> Any:
    """Evaluate Einstein's summation convention, with every calling form of np.einsum.

    out[o...] = Σ over all labels not in o of the product of the operands.
    """
    spec, operands = _as_string(args)
    if spec.partition("->")[0].count(",") + 1 != len(operands):
        raise ValueError(f"einsum: {spec!r} does not describe {len(operands)} operands.")
    terms, out = _expand_ellipsis(spec, operands)
    for term, x in zip(terms, operands, strict=True):
        if len(term) != ndim_of(x):
            raise ValueError(
                f"einsum: {term!r} names {len(term)} axes of an operand of shape {shape_of(x)}."
            )
    if len(operands) > 2:
        dummies = [np.broadcast_to(0.0, shape_of(x)) for x in operands]
        plain = ",".join(terms) + "->" + out
        path = np.einsum_path(plain, *dummies, optimize=optimize or "greedy")[0][1:]
    else:
        path = [(0, 1)] if len(operands) == 2 else []
    return contract(operands, terms, out, path)

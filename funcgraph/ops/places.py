"""Arrays put back to where they were read: which are the parts of a whole, and how JAX adds them.

May import `core`.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any

__all__ = ["jax_index_sum", "side_by_side"]

Shape = tuple[int, ...]
Template = tuple[Any, ...]  # of an index without arrays

_FEW = 4  # arrays that are padded and added up in one pass over the result


def side_by_side(templates: Sequence[Template], shape: Shape) -> tuple[int, list[int]] | None:
    """Return the axis along which reads of an array, in which order, are the whole array."""
    spans = [_spans(template, shape) for template in templates]
    for axis, n in enumerate(shape):
        cuts = [_cut(span, axis, shape) for span in spans]
        order = sorted(range(len(cuts)), key=cuts.__getitem__)
        stops = [cuts[k][1] for k in order]
        if [cuts[k][0] for k in order] == [0, *stops[:-1]] and stops[-1] == n:
            return axis, order
    return None


def _spans(template: Template, shape: Shape) -> list[slice] | None:
    """Return what a template selects of each axis; None if it cannot be told."""
    parts = [part for part in template if part is not None]
    if any(type(part) not in (int, slice, type(Ellipsis)) for part in parts):
        return None
    at = parts.index(Ellipsis) if Ellipsis in parts else len(parts)
    front, behind = parts[:at], parts[at + 1 :]
    middle = [slice(None)] * (len(shape) - len(front) - len(behind))
    spans = []
    for part, n in zip([*front, *middle, *behind], shape, strict=True):
        one = slice(part % n, part % n + 1) if type(part) is int else part
        spans.append(slice(*one.indices(n)))
    return spans


def _cut(spans: list[slice] | None, axis: int, shape: Shape) -> tuple[int, int]:
    """Return where a part of one axis starts and stops; (-1, -1) if it is no such part."""
    if spans is None or any(spans[k] != slice(0, n, 1) for k, n in enumerate(shape) if k != axis):
        return -1, -1
    s = spans[axis]
    return (s.start, s.stop) if s.step == 1 and s.start < s.stop else (-1, -1)


def jax_index_sum(jax: Any, *gs: Any, shape: Shape, dtype: Any, templates: Any) -> Any:
    """Join arrays, or pad and add a few: loops that XLA fuses, unlike writing at a place."""
    jnp = jax.numpy
    spans = [_spans(template, shape) for template in templates]
    if not gs or None in spans or not shape:
        return _written(jnp, gs, shape, dtype, templates)
    lengths = [tuple(len(range(s.start, s.stop, s.step)) for s in span) for span in spans]  # type: ignore[union-attr]
    if any(g.size != functools.reduce(operator.mul, n) for g, n in zip(gs, lengths, strict=True)):
        return _written(jnp, gs, shape, dtype, templates)
    parts = [
        _turned(jnp, jnp.reshape(g, n), span).astype(dtype)
        for g, n, span in zip(gs, lengths, spans, strict=True)
    ]
    if (found := side_by_side(templates, shape)) is not None:
        axis, order = found
        return jnp.concatenate([parts[k] for k in order], axis)
    if len(parts) > _FEW:
        return _written(jnp, gs, shape, dtype, templates)
    padded = []
    for g, span in zip(parts, spans, strict=True):
        widths = [_width(s, m, n) for s, m, n in zip(span, g.shape, shape, strict=True)]  # type: ignore[arg-type]
        padded.append(jax.lax.pad(g, jnp.zeros((), dtype), widths))
    return functools.reduce(operator.add, padded)


def _turned(jnp: Any, g: Any, spans: Any) -> Any:
    """Return what was selected in the order of the whole: axes that were read backwards, turned."""
    axes = [k for k, s in enumerate(spans) if s.step < 0]
    return jnp.flip(g, axes) if axes else g


def _width(s: slice, m: int, n: int) -> tuple[int, int, int]:
    """Return what is put before, behind and between the m elements that a slice selects of n."""
    if not m:
        return 0, n, 0
    first, last = sorted((s.start, s.start + (m - 1) * s.step))
    return first, n - last - 1, abs(s.step) - 1


def _written(jnp: Any, gs: Any, shape: Shape, dtype: Any, templates: Any) -> Any:
    out = jnp.zeros(shape, dtype)
    for g, template in zip(gs, templates, strict=True):
        out = out.at[template].add(g)
    return out

"""What losses share: checks of arguments, stable exponentials. May import `numpy`, `ops`."""

from __future__ import annotations

from typing import Any

import numpy as np

import funcgraph.numpy as fnp
from funcgraph.core.aval import dtype_of, shape_of
from funcgraph.errors import DtypeError, ShapeError
from funcgraph.ops.cross_entropy import class_numbers
from funcgraph.ops.structural import cast
from funcgraph.transforms.linear import stop_gradient


def check_shapes(name: str, predictions: Any, targets: Any) -> None:
    """Raise ShapeError unless the shapes are equal, or the targets are one number.

    Broadcasting (n, 1) with (n,) would compare every prediction with every target.
    """
    given, wanted = shape_of(targets), shape_of(predictions)
    if given not in ((), wanted):
        raise ShapeError(
            f"{name} compares elements one by one, but the predictions have shape {wanted} and the "
            f"targets {given}. Reshape one of them, or use np.broadcast_to."
        )


def mask_of(x: Any, where: Any) -> Any:
    """Return a mask, broadcast to the shape of x; raise ShapeError if it cannot be."""
    given, wanted = shape_of(where), shape_of(x)
    fits = len(given) <= len(wanted) and all(
        a in (1, b) for a, b in zip(reversed(given), reversed(wanted), strict=False)
    )
    if not fits:
        raise ShapeError(f"where has shape {given}, which does not broadcast to {wanted}.")
    return fnp.broadcast_to(where, wanted)


def check_float(name: str, what: str, x: Any) -> None:
    """Raise DtypeError unless x is real floating point."""
    if dtype_of(x).kind != "f":
        raise DtypeError(
            f"{name} needs floating-point {what}, got dtype {dtype_of(x)}. The order of the "
            "arguments is (logits, labels)."
        )


def check_integer(name: str, what: str, x: Any) -> None:
    """Raise DtypeError unless x holds integers."""
    if dtype_of(x).kind not in "iu":
        raise DtypeError(f"{name} needs integer {what}, got dtype {dtype_of(x)}.")


def check_classes(name: str, labels: Any, classes: int, where: Any = None) -> tuple[Any, Any]:
    """Return class numbers, and whether they are some, for XLA; raise RangeError where NumPy runs.

    Args:
      name: The function that takes them.
      labels: Integers.
      classes: Number of classes.
      where: Bools: which labels count; default: all. The others become class 0.
    """
    check_integer(name, "labels", labels)
    if where is not None:
        labels = fnp.where(mask_of(labels, where), labels, dtype_of(labels).type(0))
    labels = class_numbers(labels, classes=classes, name=name)
    wide = cast(labels, np.int64)  # the number of classes may be more than their dtype can hold
    return labels, fnp.logical_and(wide >= 0, wide < classes)


def shifted(logits: Any, axes: tuple[int, ...], where: Any = None) -> tuple[Any, Any]:
    """Return logits minus the largest that counts, a constant; and that, -inf where none counts.

    The sum of exponentials of the second does not overflow.
    """
    if where is None:
        z = logits - stop_gradient(fnp.max(logits, axis=axes, keepdims=True))
        return z, z
    none = dtype_of(logits).type(-fnp.inf)
    largest = stop_gradient(fnp.max(fnp.where(where, logits, none), axis=axes, keepdims=True))
    z = logits - fnp.where(fnp.isfinite(largest), largest, dtype_of(largest).type(0))
    return z, fnp.where(where, z, none)

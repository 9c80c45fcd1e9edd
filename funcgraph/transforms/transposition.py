"""The transpose of a linear function: `linear_transpose`.

May import `core`, `ops`, `tree`, `transforms`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from funcgraph import tree
from funcgraph.core.primitive import Bilinear, Elementwise, Linear
from funcgraph.errors import NonLinearError
from funcgraph.ops.structural import ones
from funcgraph.transforms.arguments import check_like, gradient_of, name_of
from funcgraph.transforms.gradient import record
from funcgraph.transforms.inspection import inspection
from funcgraph.transforms.tape import backward, unpack

__all__ = ["linear_transpose"]

# Elementwise operations that are linear in the arguments at these positions, taken together.
_LINEAR = {
    "add": (0, 1), "subtract": (0, 1), "negative": (0,), "positive": (0,), "where": (1, 2),
    "divide": (0,), "deg2rad": (0,), "rad2deg": (0,), "radians": (0,), "degrees": (0,),
}  # fmt: skip


def _is_linear(entry: Any) -> bool:
    primitive, _, _, parents, _ = unpack(entry)
    varying = [k for k, p in enumerate(parents) if p is not None]
    derivative = primitive.derivative
    if isinstance(derivative, Linear):
        return derivative.count is None or max(varying) < derivative.count
    if isinstance(derivative, Bilinear) or primitive.name == "multiply":
        return len(varying) == 1
    if isinstance(derivative, Elementwise):
        return set(varying) <= set(_LINEAR.get(primitive.name, ()))
    return False


def linear_transpose(fun: Callable[..., Any], *primals: Any) -> Callable[[Any], tuple[Any, ...]]:
    """Return the transpose of a linear function.

    fᵀ with ⟨fᵀ(c), x⟩ = ⟨c, f(x)⟩ for all x and c.

    Args:
      fun: A linear function of the primals; constants may be added.
      *primals: Arrays, or ShapeDtype, that say which shapes and dtypes the arguments have.

    Returns:
      A function that takes a pytree like the output, and returns a tuple like the primals.

    Raises:
      NonLinearError: An operation in fun is not linear in the arguments.
      TangentMismatchError: What it is applied to is not like the output.

    Example:
      >>> import numpy as np
      >>> A = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
      >>> linear_transpose(lambda x: A @ x, np.zeros(2))(np.array([1.0, 0.0, 0.0]))
      (array([1., 2.]),)

    Source:
      jax.linear_transpose; Radul et al., "You only linearize once", POPL 2023.
    """
    now = inspection.get()
    if now is not None and not now.inside:
        return now.inspector.call(linear_transpose, fun, *primals)  # type: ignore[no-any-return]
    r = record(fun, tree.map(ones, primals), "linear_transpose", False)
    for entry in r.entries:
        if entry is not None and not _is_linear(entry):
            raise NonLinearError(
                f"linear_transpose of {name_of(fun)}: {entry[0].name} is not linear in the "
                "arguments. Use vjp for the transpose of a derivative."
            )

    def transposed(cotangent: Any) -> tuple[Any, ...]:
        given = check_like(cotangent, r.values, r.outputs, "the cotangent", "the output")
        pairs = zip(r.slots, given, strict=True)
        seeds = [(slot, ct) for slot, ct in pairs if slot is not None and ct is not None]
        seen: set[int | None] = {id(ct) for ct in given}
        cts = backward(r.entries, seeds, len(r.leaves), safe=False)
        found = [gradient_of(x, ct, seen) for x, ct in zip(r.leaves, cts, strict=True)]
        return tree.unflatten(r.inputs, found)  # type: ignore[no-any-return]

    return transposed if now is None else now.inspector.bound(transposed)

"""Exceptions of funcgraph: one class per cause, each derived from the fitting built-in.

Every message says what was received, what was expected and how to fix it, and ends with the
user's file and line (`user_line`) and the command that shows the page about its class, which is
`docs/errors/NAME.md`. This module imports nothing of funcgraph.
"""

from __future__ import annotations

import os
import sys

import numpy

__all__ = [
    "BatchAxisError",
    "CarryTypeError",
    "ConcretizationError",
    "CustomRuleError",
    "DerivativeChoiceError",
    "DisconnectedGradientError",
    "DtypeError",
    "FuncgraphError",
    "GradientDisconnected",
    "GradientDtypeError",
    "GradientMismatchError",
    "GraphError",
    "InPlaceWriteError",
    "LayerError",
    "LeakedTracerError",
    "MemoryBudgetError",
    "MissingPackageError",
    "NoSourceError",
    "NonDifferentiableError",
    "NonFiniteError",
    "NonLinearError",
    "NonScalarOutputError",
    "OptimizerError",
    "PictureError",
    "PlotError",
    "RandomKeyError",
    "RangeError",
    "ShapeError",
    "SparsityError",
    "StaleArrayError",
    "StaticArgumentError",
    "StorageError",
    "TangentMismatchError",
    "TracerBoolError",
    "TracerConversionError",
    "TrainingError",
    "TreeError",
    "UnsupportedFunctionError",
    "WindowError",
    "is_library",
    "user_line",
]

_LIBRARIES = tuple(os.path.dirname(os.path.abspath(f)) + os.sep for f in (__file__, numpy.__file__))


class _Files(dict[str, bool]):
    """Whether code of a file is of a library; learns as it is asked, for each frame of a stack."""

    def __missing__(self, filename: str) -> bool:
        known = self[filename] = filename.startswith((*_LIBRARIES, "<__array_function__"))
        return known


_FILES = _Files()


def is_library(filename: str) -> bool:
    """Return whether code of this file is funcgraph's or NumPy's, not the user's."""
    return _FILES[filename]


def _is_jax(names: dict[str, object]) -> bool:
    return str(names.get("__name__")).partition(".")[0] == "jax"


def user_line() -> str:
    """Return `file:line` of the innermost frame outside funcgraph, NumPy and JAX."""
    frame = sys._getframe(1)
    while frame is not None:
        filename = frame.f_code.co_filename
        if not _FILES[filename] and not _is_jax(frame.f_globals):
            return f"{filename}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return "<unknown>"


class FuncgraphError(Exception):
    """Base of every exception that funcgraph raises itself.

    Attributes:
        message: What was received, what was expected and how to fix it.
        line: `file:line` of the user's program.
        layer: Where in a model it happened; empty outside layers.

    >>> import numpy as np
    >>> import funcgraph as fg
    >>> try:
    ...     fg.grad(np.sin)(np.ones(2))
    ... except fg.errors.NonScalarOutputError as error:
    ...     print(error.message)
    grad of sin needs a function that returns a scalar, but it returned an array of shape (2,).
    Reduce it (np.sum, np.mean), return extra values with has_aux=True, or use vjp.
    """

    def __init__(self, message: str, line: str | None = None) -> None:
        self.message = message
        self.line = line or user_line()
        self.layer = ""
        super().__init__(message, self.line)

    def __str__(self) -> str:
        """Return the message, where it happened, and the command that tells more."""
        places = [f"at {self.line}", self.layer] if self.layer else [f"at {self.line}"]
        page = next(c.__name__ for c in type(self).__mro__ if c.__module__ == __name__)
        return "\n  ".join([self.message, *places, f"help: python -m funcgraph help {page}"])


class TreeError(FuncgraphError, ValueError):
    """A pytree has not the structure that was expected; the message names the key path."""


class ShapeError(FuncgraphError, ValueError):
    """An array has not the shape that was expected."""


class DtypeError(FuncgraphError, TypeError):
    """An array has not the dtype that was expected."""


class SparsityError(FuncgraphError, ValueError):
    """A matrix of derivatives is not zero where the given sparsity says so."""


class WindowError(FuncgraphError, ValueError):
    """A window, stride, padding, dilation or number of groups is none, or does not fit."""


class NoSourceError(FuncgraphError, TypeError):
    """An operation cannot be written as a standalone NumPy program."""


class NonLinearError(FuncgraphError, TypeError):
    """`linear_transpose` was given a function that is not linear."""


class NonScalarOutputError(FuncgraphError, TypeError):
    """`grad` was given a function whose output is not a real scalar."""


class GradientDtypeError(FuncgraphError, TypeError):
    """A leaf to differentiate has a dtype (integer, bool, string, object) without derivatives."""


class GradientMismatchError(FuncgraphError, AssertionError):
    """Derivatives are not those of JAX or of finite differences."""


class GradientDisconnected(UserWarning):
    """The gradient by a leaf is zero, because operations without derivative cut all its paths."""


class DisconnectedGradientError(FuncgraphError, ValueError):
    """With strict=True: the output does not depend on a leaf, or by cut paths only."""


class NonFiniteError(FuncgraphError, FloatingPointError):
    """Under `debug_nans` an operation gave a number that is not finite.

    Attributes:
      operation: Its name.
      index: Where in its result the number stands.
    """

    operation: str
    index: tuple[int, ...]


class TangentMismatchError(FuncgraphError, TypeError):
    """Tangents or cotangents do not match the primals in structure, shape or dtype."""


class LeakedTracerError(FuncgraphError, RuntimeError):
    """A tracer was used after the transformation that made it had ended."""


class TracerConversionError(FuncgraphError, TypeError):
    """A tracer was about to be turned into a plain number or array, losing its derivative."""


class ConcretizationError(FuncgraphError, TypeError):
    """Python asked for a value that a transformation hides: under vmap each lane has another."""


class GraphError(FuncgraphError, ValueError):
    """A graph is not well formed, or was given arguments that do not fit its inputs."""


class RangeError(FuncgraphError, ValueError):
    """A class number or a length is negative, or larger than it can be."""


class LayerError(FuncgraphError, ValueError):
    """A layer, or a model made of layers, is not put together or used as it must be."""


class RandomKeyError(FuncgraphError, TypeError):
    """Something that should be a random key, or a seed, is none."""


class CustomRuleError(FuncgraphError, TypeError):
    """A rule of derivation given by the user is missing, or does not fit the function."""


class CarryTypeError(FuncgraphError, TypeError):
    """The carry of a loop, or the result of a branch, has another type than it must have."""


class DerivativeChoiceError(FuncgraphError, ValueError):
    """`to_jax` was asked for derivatives of a kind that does not exist."""


class MemoryBudgetError(FuncgraphError, MemoryError):
    """No program was found that needs no more memory than `memory_budget` of `jit` allows."""


class MissingPackageError(FuncgraphError, ImportError):
    """Something needs a package that is not installed."""


class PlotError(FuncgraphError, ValueError):
    """There is nothing to draw, or it is not of the kind that the picture is of."""


class StorageError(FuncgraphError, ValueError):
    """A pytree cannot be saved, or a file cannot be loaded: damaged, or of another pytree."""


class PictureError(FuncgraphError, ValueError):
    """A picture cannot be drawn or saved as asked for: the function, the suffix of the file."""


class TrainingError(FuncgraphError, ValueError):
    """Training was put together in a way that does not fit: loss, state, batches, patterns."""


class StaticArgumentError(FuncgraphError, TypeError):
    """An argument of a compiled function must be static, or a static one cannot be compared."""


class OptimizerError(FuncgraphError, ValueError):
    """Gradient transformations were put together, or called, in a way that cannot work."""


class BatchAxisError(FuncgraphError, ValueError):
    """An axis to map over is missing, has another length, or has no such name."""


class TracerBoolError(FuncgraphError, TypeError):
    """Python control flow asked for the truth of an array with more than one element."""


class StaleArrayError(FuncgraphError, RuntimeError):
    """An array was written in place while a derivative still needed what was in it."""


class InPlaceWriteError(FuncgraphError, TypeError):
    """A tracer was written into a plain array, or a tracer was modified in place."""


class NonDifferentiableError(FuncgraphError, TypeError):
    """An operation has no derivative with respect to a traced argument."""


class UnsupportedFunctionError(FuncgraphError, NotImplementedError):
    """A NumPy or SciPy function that funcgraph does not know was applied to a tracer."""

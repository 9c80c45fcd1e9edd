"""Public functions of storage: `save` and `load`. May import `funcgraph.errors`, `tree`, `io`."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from funcgraph import tree
from funcgraph.errors import MissingPackageError, StorageError
from funcgraph.io import npz, safetensors
from funcgraph.io.atomic import atomic_file
from funcgraph.io.layout import describe, leaf_of, match, names_in, rebuild

__all__ = ["load", "save"]

_FORMATS: dict[str, tuple[Any, Any]] = {
    ".npz": (npz.write, npz.NpzReader),
    ".safetensors": (safetensors.write, safetensors.SafetensorsReader),
}


def _format(path: Path) -> tuple[Any, Any]:
    if path.suffix not in _FORMATS:
        raise StorageError(
            f"the name of the file must end with {' or '.join(_FORMATS)}, got {str(path)!r}."
        )
    return _FORMATS[path.suffix]


def save(path: str | os.PathLike[str], tree: Any) -> None:
    """Save a pytree to a file, without pickle.

    The file is there whole or not at all: a process that is killed meanwhile leaves the old one.
    `numpy.load` reads a `.npz`; its names are the paths of the leaves, such as `dense/w`.

    Args:
      path: Name that ends with .npz, or with .safetensors (needs the package safetensors).
      tree: Dicts (with string or integer keys), lists, tuples, NamedTuples, registered dataclasses
        and other pytrees of arrays, NumPy and Python numbers, bools, strings and None. Random keys
        and the states of optimisers are such pytrees.

    Raises:
      StorageError: A leaf or key cannot be saved; the message lists their paths.
      MissingPackageError: The package for this format is not installed.

    Example:
      >>> import os, tempfile
      >>> import numpy as np
      >>> path = os.path.join(tempfile.mkdtemp(), "model.npz")
      >>> save(path, {"dense": {"w": np.ones((2, 3)), "b": np.zeros(3)}, "steps": 10})
      >>> sorted(np.load(path).files)
      ['__tree__', 'dense/b', 'dense/w']
      >>> load(path)
      {'dense': {'b': array([0., 0., 0.]), 'w': array([[1., 1., 1.],
             [1., 1., 1.]])}, 'steps': 10}
    """
    path = Path(path)
    write, _ = _format(path)
    description, arrays = describe(tree)
    with atomic_file(path) as temporary:
        write(temporary, description, arrays)


def load(path: str | os.PathLike[str], like: Any = None) -> Any:
    """Load a pytree from a file.

    Nothing in the file is run, sizes are checked before memory is taken, and checksums afterwards.

    Args:
      path: Name of a file of `save`, or of another program's `.npz` or `.safetensors`, which gives
        a dict of arrays by name.
      like: A pytree with the structure, shapes and dtypes that are expected (arrays, or ShapeDtype
        in their place). Default: what the file describes; in place of a NamedTuple or a registered
        type there is a dict of its fields, since a file does not say which classes to import.

    Returns:
      The pytree, with NumPy arrays, bit by bit as saved.

    Raises:
      StorageError: The file is damaged, or does not fit `like`; the message lists the paths.
      FileNotFoundError: There is no such file.
      MissingPackageError: The package for this format is not installed.

    Example:
      >>> import os, tempfile
      >>> import numpy as np
      >>> path = os.path.join(tempfile.mkdtemp(), "model.npz")
      >>> save(path, {"w": np.ones(2)})
      >>> load(path, like={"w": np.zeros(2)})
      {'w': array([1., 1.])}
    """
    path = Path(path)
    _, reader = _format(path)
    with open(path, "rb"):  # that it is missing, or not to be read, is an error of its own
        pass
    try:
        with contextlib.closing(reader(path)) as file:
            return _read(file, like)
    except (StorageError, MissingPackageError):
        raise
    except Exception as error:  # whatever a damaged file makes of its readers
        raise StorageError(
            f"{path} cannot be loaded: {error or type(error).__name__}. It is damaged, not "
            "complete, or no file of funcgraph.save."
        ) from error


def _read(file: Any, like: Any) -> Any:
    description = file.description
    if not file.described:
        description = {"dict": [[name, {"array": name}] for name in file.infos]}
    names = names_in(description)
    if sorted(names) != sorted(file.infos):
        different = sorted(set(names) ^ set(file.infos))
        raise ValueError(f"the description and the arrays differ: {different}")
    if like is None:
        return rebuild(description, {name: file.read(name) for name in names})
    found = match(description, like, file.infos)
    arrays = {name: file.read(name) for name in names}
    leaves = [leaf_of(kind, value, arrays) for kind, value in found]
    return tree.unflatten(tree.structure(like), leaves)

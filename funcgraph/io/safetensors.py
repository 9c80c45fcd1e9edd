"""Named arrays in `.safetensors` files, by the package of that name.

The format has no checksums: those of our files are in the description, as are shapes and dtypes.
It has little-endian numbers only, and no complex128, which is kept as float64 of shape (..., 2).
May import `funcgraph.errors`, `funcgraph.io` and NumPy.
"""

from __future__ import annotations

import importlib
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from funcgraph.errors import MissingPackageError
from funcgraph.io.layout import DESCRIPTION, Info, refuse

__all__ = ["SafetensorsReader", "write"]

_CHECKSUM = "__tree_crc32__"
_MARK = {"format": "funcgraph"}
_DTYPES = {
    "BOOL": "?", "I8": "i1", "I16": "<i2", "I32": "<i4", "I64": "<i8", "U8": "u1", "U16": "<u2",
    "U32": "<u4", "U64": "<u8", "F16": "<f2", "F32": "<f4", "F64": "<f8", "C64": "<c8",
}  # fmt: skip
_STORED = frozenset(np.dtype(d) for d in _DTYPES.values())


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingPackageError(
            "'.safetensors' files need the package safetensors, which is not installed: pip "
            "install 'funcgraph[examples]', or use a name that ends with .npz."
        ) from error


def _crc(value: np.ndarray[Any, Any]) -> int:
    return zlib.crc32(value.reshape(-1).view(np.uint8).data)


def _stored(value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the array that stands in the file for one of any order and byte order."""
    value = np.asarray(value, value.dtype.newbyteorder("<"), order="C")
    if value.dtype.char != "D":
        return value
    return value.reshape(-1).view(np.float64).reshape(*value.shape, 2)


def write(path: Path, description: Any, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Write a file."""
    package = _package("safetensors.numpy")
    tensors = {name: _stored(value) for name, value in arrays.items()}
    refuse(
        [f"{n}: an array of dtype {x.dtype}" for n, x in tensors.items() if x.dtype not in _STORED],
        "these have no form in a .safetensors file; save to a .npz file instead:",
    )
    table = {
        name: [value.dtype.str, list(value.shape), _crc(tensors[name])]
        for name, value in arrays.items()
    }
    text = json.dumps({"tree": description, "arrays": table})
    metadata = {**_MARK, DESCRIPTION: text, _CHECKSUM: str(zlib.crc32(text.encode()))}
    package.save_file(tensors, str(path), metadata=metadata)


class SafetensorsReader:
    """An open file: the description (None: another program wrote it), and shapes and dtypes."""

    def __init__(self, path: Path) -> None:
        """Open a file, and check all but the contents of the arrays."""
        self._file = _package("safetensors").safe_open(str(path), framework="numpy")
        stored = {name: self._stored_info(name) for name in self._file.keys()}  # noqa: SIM118
        metadata = self._file.metadata() or {}
        self.description: Any = None
        self.described = not {DESCRIPTION, _CHECKSUM}.isdisjoint(metadata) or (
            metadata.get("format") == _MARK["format"]
        )
        self.infos = stored
        self._checksums: dict[str, int] = {}
        if self.described:
            text = metadata[DESCRIPTION]
            if zlib.crc32(text.encode()) != int(metadata[_CHECKSUM]):
                raise ValueError("the checksum of the description is wrong")
            content = json.loads(text)
            self.description = content["tree"]
            self._read_table(content["arrays"], stored)

    def close(self) -> None:
        """Close the file."""
        del self._file

    def _stored_info(self, name: str) -> Info:
        part = self._file.get_slice(name)
        if part.get_dtype() not in _DTYPES:
            raise ValueError(f"{name} has dtype {part.get_dtype()}, which NumPy does not have")
        return Info(tuple(part.get_shape()), np.dtype(_DTYPES[part.get_dtype()]))

    def _read_table(self, table: Any, stored: dict[str, Info]) -> None:
        infos = {name: Info(tuple(shape), np.dtype(d)) for name, (d, shape, _) in table.items()}
        for name, info in infos.items():
            wide = info.dtype.kind == "c" and info.dtype.itemsize == 16
            expected = Info((*info.shape, 2), np.dtype("<f8")) if wide else info
            expected = Info(expected.shape, expected.dtype.newbyteorder("<"))
            if stored.get(name) != expected:
                raise ValueError(f"{name} should be {expected}, but is {stored.get(name)}")
        self.infos = infos
        self._checksums = {name: checksum for name, (_, _, checksum) in table.items()}
        if set(stored) != set(infos):
            raise ValueError(f"unexpected arrays {sorted(set(stored) - set(infos))}")

    def read(self, name: str) -> np.ndarray[Any, Any]:
        """Return an array; its checksum is compared, where there is one."""
        value = np.asarray(self._file.get_tensor(name))
        info = self.infos[name]
        if name in self._checksums and _crc(_stored(value)) != self._checksums[name]:
            raise ValueError(f"the checksum of {name} is wrong")
        if info.dtype.kind == "c" and value.dtype.kind == "f":
            value = value.reshape(-1).view(np.complex128).reshape(info.shape)
        value = value.astype(info.dtype, copy=False)
        return value if value.flags.writeable else value.copy()

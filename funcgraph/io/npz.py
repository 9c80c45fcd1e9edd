"""Named arrays in `.npz` files, which `numpy.load` reads. Everything is checked before it is read.

An `.npz` is a ZIP archive of `.npy` files. Ours are not compressed, so that no size in the file can
be larger than the file itself. May import `funcgraph.io` and NumPy.
"""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from funcgraph.io.layout import DESCRIPTION, KINDS, Info

__all__ = ["NpzReader", "write"]

_HEADER = 1 << 16  # bytes of a .npy header; NumPy's own limit is lower


def write(path: Path, description: Any, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Write a file."""
    text = np.array(json.dumps(description))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, value in {DESCRIPTION: text, **arrays}.items():
            entry = zipfile.ZipInfo(f"{name}.npy")  # with a fixed date: equal trees, equal files
            with archive.open(entry, "w", force_zip64=True) as file:
                npy.write_array(file, value, allow_pickle=False)


class NpzReader:
    """An open file: the description (None: another program wrote it), and shapes and dtypes."""

    def __init__(self, path: Path) -> None:
        """Open a file, and check all but the contents of the arrays."""
        self._archive = zipfile.ZipFile(path)
        try:
            self._entries = self._checked_entries(os.path.getsize(path))
            self.infos = {name: self._info(name) for name in self._entries}
            self.description: Any = None
            self.described = DESCRIPTION in self._entries
            if self.described:
                self.description = json.loads(str(self.read(DESCRIPTION)))
                del self.infos[DESCRIPTION]
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._archive.close()

    def _checked_entries(self, size: int) -> dict[str, zipfile.ZipInfo]:
        entries: dict[str, zipfile.ZipInfo] = {}
        for info in self._archive.infolist():
            name = info.filename.removesuffix(".npy")
            if name in entries or name == info.filename:
                raise ValueError(f"{info.filename!r} is there twice, or is no .npy")
            if info.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{name} is compressed: read it with numpy.load")
            if info.file_size != info.compress_size:
                raise ValueError(f"{name} claims {info.file_size} bytes, {info.compress_size} kept")
            entries[name] = info
        total = sum(info.file_size for info in entries.values())
        if total > size:
            raise ValueError(f"{total} bytes are claimed by a file of {size}")
        return entries

    def _info(self, name: str) -> Info:
        entry = self._entries[name]
        with self._archive.open(entry) as file:
            version = npy.read_magic(file)
            if version not in ((1, 0), (2, 0)):
                raise ValueError(f"{name} has version {version} of the .npy format")
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, dtype = read(file, max_header_size=_HEADER)
            begin = file.tell()
        if dtype.kind not in KINDS or dtype.hasobject:
            raise ValueError(f"{name} has dtype {dtype}, which is not read")
        nbytes = math.prod(shape) * dtype.itemsize
        if any(n < 0 for n in shape) or begin + nbytes != entry.file_size:
            raise ValueError(
                f"{name} claims shape {shape} and dtype {dtype}, {nbytes} bytes, but has "
                f"{entry.file_size - begin}"
            )
        return Info(tuple(shape), dtype)

    def read(self, name: str) -> np.ndarray[Any, Any]:
        """Return an array; its checksum is compared."""
        with self._archive.open(self._entries[name]) as file:
            value = npy.read_array(file, allow_pickle=False, max_header_size=_HEADER)
            file.read()  # only at its end is the checksum compared
        return np.asarray(value)

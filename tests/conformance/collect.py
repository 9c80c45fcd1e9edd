"""Reads the tables of samples and cases: one module per chapter, in a folder."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Iterator
from typing import Any

OPTIONAL = [name for name in ("scipy", "jax") if not importlib.util.find_spec(name)]


def tables(package: str, path: list[str], name: str) -> Iterator[Any]:
    """Yield the attribute `name` of every module of a package, in order.

    A chapter that needs a package which is not installed (scipy) is passed over.
    """
    for module in pkgutil.iter_modules(path):
        try:
            yield getattr(importlib.import_module(f"{package}.{module.name}"), name)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in OPTIONAL:
                raise

"""What is installed, what it is used for, and how to install the rest.

May import `core`, and looks optional packages up when it is called.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
from typing import Any, NamedTuple

import numpy as np

import funcgraph
from funcgraph.core.jaxlink import jax_name

__all__ = ["PACKAGES", "Package", "diagnosis"]


class Package(NamedTuple):
    """A package that need not be installed."""

    module: str  # as imported
    distribution: str
    extra: str  # of funcgraph, that installs it
    purpose: str


PACKAGES = (
    Package("jax", "jax", "xla", "the XLA engine, to_jax, from_jax, comparisons with JAX"),
    Package("optax", "optax", "xla", "optimisers of optax"),
    Package("scipy", "scipy", "scipy", "scipy.special, minimize, sparse Jacobians"),
    Package("sklearn", "scikit-learn", "sklearn", "funcgraph.estimators, the demonstration"),
    Package("matplotlib", "matplotlib", "examples", "pictures"),
    Package("PIL", "pillow", "examples", "pictures in the examples"),
    Package("safetensors", "safetensors", "examples", "files of weights in safetensors"),
    Package("tqdm", "tqdm", "examples", "progress bars"),
)
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_CHOSEN = "OPENBLAS_CORETYPE"  # another processor's kernels, which may take twice the time


def diagnosis() -> str:
    """Return versions, engines, devices and what is missing, as text."""
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    lines = [
        f"funcgraph {funcgraph.__version__}",
        f"Python    {platform.python_version()} ({platform.python_implementation()}, {system})",
        f"NumPy     {np.__version__}",
        "",
        "Engines",
        f"  numpy   {_blas()}",
        f"  xla     {_xla()}",
        "",
        "Optional packages",
        *map(_package, PACKAGES),
    ]
    return "\n".join(lines)


def _package(p: Package) -> str:
    name = f"  {p.distribution:<13}"
    if importlib.util.find_spec(p.module) is None:
        return f"{name}missing, for {p.purpose}: pip install 'funcgraph[{p.extra}]'"
    try:
        version = importlib.metadata.version(p.distribution)
    except importlib.metadata.PackageNotFoundError:
        version = "version unknown"
    return f"{name}{version}"


def _blas() -> str:
    config: Any = np.show_config(mode="dicts")
    blas = config.get("Build Dependencies", {}).get("blas", {})
    text = f"BLAS: {blas.get('name', 'unknown')} {blas.get('version', '')}".rstrip()
    return f"{text}, {_kernels_and_threads()}"


def _kernels_and_threads() -> str:
    """Return the BLAS's kernels and threads: as threadpoolctl sees them, or as the settings say."""
    if importlib.util.find_spec("threadpoolctl") is not None:
        pools = importlib.import_module("threadpoolctl").threadpool_info()
        pools = [p for p in pools if p.get("user_api") == "blas"]
        if pools:
            kernels = dict.fromkeys(p["architecture"] for p in pools if "architecture" in p)
            text = f"kernels: {', '.join(kernels)}, " if kernels else ""
            text += f"threads: {', '.join(str(p['num_threads']) for p in pools)}"
            return f"{text}; {_CHOSEN} is set" if _CHOSEN in os.environ else text
    given = [f"{name}={os.environ[name]}" for name in (*_THREADS, _CHOSEN) if name in os.environ]
    return f"threads: {', '.join(given)}" if given else "threads: not limited by the environment"


def _xla() -> str:
    if importlib.util.find_spec("jax") is None:
        return "JAX is missing: pip install 'funcgraph[xla]'"
    try:
        devices = ", ".join(map(str, jax_name("jax.devices")()))
        versions = (
            f"jax {jax_name('jax.__version__')}, jaxlib {importlib.metadata.version('jaxlib')}"
        )
    except Exception as error:  # of any kind: a driver that does not fit, say
        return f"JAX is installed, but fails: {type(error).__name__}: {error}"
    return f"{versions}, devices: {devices}"

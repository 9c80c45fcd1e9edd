#!/usr/bin/env python3
"""Say what each public function of NumPy is to funcgraph, and write docs/numpy_coverage.md.

    python3 tools/run.py exec python tools/numpy_coverage.py

The tables are read by tests/conformance/test_numpy_coverage.py too, which proves each line.
"""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "numpy_coverage.md"
NAMESPACES = ("numpy", "numpy.linalg", "numpy.fft")

DERIVATIVE = "derivative"
PLAIN = "no derivative"
REFUSED = "refused"
NO_ARRAYS = "no arrays"

# Functions that are built from others, and whose results are integers, booleans or steps.
INTEGER_RESULTS = (
    "all any argmax argmin argsort around count_nonzero fix isclose iscomplex isneginf isposinf "
    "isreal round"
)

# Functions that a traced array must not enter: a remark says why, or what to use instead.
REFUSALS = {
    "writes into copies and np.zeros_like(x) only; else use np.where": "copyto putmask",
    "writes into copies and np.zeros_like(x) only; else funcgraph.numpy's with inplace=False": (
        "fill_diagonal place put put_along_axis"
    ),
    "makes a plain array: use np.stack or the function of funcgraph.numpy": (
        "array asanyarray asarray asarray_chkfinite ascontiguousarray asfortranarray require full"
    ),
    "makes a plain matrix or array: use np.block": "asmatrix bmat",
    "its steps are numbers, not arrays: use np.linspace": "arange",
    "writes files: apply it to funcgraph.concrete(x)": "save savetxt savez savez_compressed",
    "prints numbers: print(x), or apply it to funcgraph.concrete(x)": (
        "array2string array_repr array_str"
    ),
    "compares memory": "may_share_memory shares_memory",
    "about bits": "packbits unpackbits",
    "about dates": "busday_count busday_offset datetime_as_string is_busday",
}

# Callables that arrays never enter, or that never look at an array's numbers.
UTILITIES = {
    "makes a constant from numbers": (
        "bartlett blackman diag_indices empty eye fftfreq fromfunction hamming hanning identity "
        "indices kaiser mask_indices ones rfftfreq tri tril_indices triu_indices zeros"
    ),
    "reads a file, text, buffer or iterator": (
        "from_dlpack frombuffer fromfile fromiter fromregex fromstring genfromtxt load loadtxt"
    ),
    "about dtypes": (
        "can_cast common_type datetime_data isdtype issubdtype min_scalar_type mintypecode "
        "promote_types result_type typename"
    ),
    "about shapes": "broadcast_shapes einsum_path",
    "text of numbers and printing": (
        "base_repr binary_repr format_float_positional "
        "format_float_scientific get_printoptions printoptions set_printoptions"
    ),
    "about Python objects": "isfortran isscalar iterable",
    "settings of NumPy": "getbufsize geterr geterrcall setbufsize seterr seterrcall",
    "about NumPy itself": "get_include info show_config show_runtime test",
    "makes a function or an iterator": "frompyfunc nested_iters",
}

# Names that NumPy only keeps for old programs.
DEPRECATED = frozenset({"in1d", "row_stack", "trapz"})


@dataclass(frozen=True)
class Entry:
    """One public callable of NumPy: where it is found, what it is, and a remark."""

    namespace: str
    name: str
    function: Any
    status: str
    remark: str


def _reasons(table: dict[str, str]) -> dict[str, str]:
    return {name: reason for reason, names in table.items() for name in names.split()}


def _status(name: str, function: Any) -> tuple[str, str]:
    """Return the status and the remark; raise LookupError for a function nobody has thought of."""
    from funcgraph.core.trace import FUNCTIONS, UFUNCS
    from funcgraph.numpy._register import NON_DIFFERENTIABLE

    refusals, utilities, steps = _reasons(REFUSALS), _reasons(UTILITIES), INTEGER_RESULTS.split()
    if isinstance(function, type):
        return NO_ARRAYS, "a class"
    if function in UFUNCS:
        constant = getattr(UFUNCS[function], "zero", False) or name in steps
        return PLAIN if constant else DERIVATIVE, "ufunc"
    if function in NON_DIFFERENTIABLE or (function in FUNCTIONS and name in steps):
        return PLAIN, ""
    if function in FUNCTIONS and name not in refusals and name not in utilities:
        return DERIVATIVE, ""
    if name in refusals:
        return REFUSED, refusals[name]
    if name in utilities:
        return NO_ARRAYS, utilities[name]
    if isinstance(function, np.ufunc):
        return REFUSED, "ufunc"
    if type(function).__name__ == "_ArrayFunctionDispatcher":
        return REFUSED, ""
    raise LookupError(f"{function} is neither known to funcgraph nor in a table of {__file__}")


def entries() -> Iterator[Entry]:
    """Yield every public callable of NumPy's namespaces, in alphabetical order."""
    for namespace in NAMESPACES:
        module = importlib.import_module(namespace)
        for name in sorted(n for n in dir(module) if not n.startswith("_")):
            function = getattr(module, name)
            if callable(function) and name not in DEPRECATED:
                yield Entry(namespace, name, function, *_status(name, function))


def document() -> str:
    """Return the text of docs/numpy_coverage.md for the NumPy that is installed."""
    rows = [e for e in entries() if e.remark != "a class"]
    lines = [
        "# Coverage of NumPy",
        "",
        f"What each public function of NumPy {version()} does with traced arrays. Generated by",
        "`tools/numpy_coverage.py`; `tests/conformance/test_numpy_coverage.py` proves it.",
        "",
        f"* **{DERIVATIVE}**: differentiable, plainly as `np.f(x)` and as `funcgraph.numpy.f(x)`.",
        f"* **{PLAIN}**: works; integers, booleans or piecewise constant results.",
        f"* **{REFUSED}**: raises an error that names the function and says what to do.",
        f"* **{NO_ARRAYS}**: arrays do not enter, or their numbers are not looked at.",
        "",
        "Classes are left out.",
    ]
    for namespace in NAMESPACES:
        chapter = [e for e in rows if e.namespace == namespace]
        counts = Counter(e.status for e in chapter)
        summary = ", ".join(f"{counts[s]} {s}" for s in (DERIVATIVE, PLAIN, REFUSED, NO_ARRAYS))
        lines += ["", f"## {namespace}", "", summary, "", "| function | status | remark |"]
        lines += ["| --- | --- | --- |"]
        lines += [f"| `{e.name}` | {e.status} | {_remark(e)} |" for e in chapter]
    return "\n".join(lines) + "\n"


def _remark(entry: Entry) -> str:
    name = getattr(entry.function, "__name__", entry.name)
    alias = f"`{name}`" if name != entry.name and hasattr(np, name) else ""
    return "; ".join(filter(None, [alias and f"another name of {alias}", entry.remark]))


def version() -> str:
    """Return NumPy's version without the micro part."""
    return ".".join(np.__version__.split(".")[:2])


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    DOCUMENT.write_text(document(), "utf-8")
    print(f"wrote {DOCUMENT.relative_to(ROOT)}")

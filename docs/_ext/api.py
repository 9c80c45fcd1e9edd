"""Sphinx extension: the reference of public names, and the check that none is left out.

    ```{api} funcgraph.nn
    Dense Conv
    ```

documents these names of a module; without names, all. `{api} funcgraph.optim schedules` documents
those that the module has from `funcgraph/optim/schedules.py`.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from funcgraph.core.primitive import Primitive, Zero

logger = logging.getLogger(__name__)

# Where public names are.
MODULES = [
    "funcgraph",
    "funcgraph.check",
    "funcgraph.errors",
    "funcgraph.estimators",
    "funcgraph.io",
    "funcgraph.losses",
    "funcgraph.nn",
    "funcgraph.nn.filters",
    "funcgraph.nn.initializers",
    "funcgraph.numpy",
    "funcgraph.numpy.fft",
    "funcgraph.numpy.linalg",
    "funcgraph.optim",
    "funcgraph.plots",
    "funcgraph.random",
    "funcgraph.scipy.linalg",
    "funcgraph.scipy.special",
    "funcgraph.sparse",
    "funcgraph.train",
    "funcgraph.tree",
]


class Api(SphinxDirective):
    """Documents names of a module: those of the content, of a file of the module, or all."""

    required_arguments = 1
    optional_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Parse the directives of autodoc, or an entry of our own, for each name."""
        module = importlib.import_module(self.arguments[0])
        names = " ".join(self.content).split()
        if not names:
            part = importlib.import_module(".".join(self.arguments))
            names = [name for name in part.__all__ if name in module.__all__]
        lines = [line for name in names for line in entry(module, name)]
        current = f".. py:currentmodule:: {module.__name__}"
        text = "\n".join(["```{eval-rst}", current, "", *lines, "```"])
        return self.parse_text_to_nodes(text, offset=self.lineno)


def entry(module: ModuleType, name: str) -> Iterator[str]:
    """Yield the lines that document one name of the current module."""
    value = getattr(module, name)
    original = f"``{module.__name__.removeprefix('funcgraph.')}.{name}``"
    if isinstance(value, Primitive) or getattr(value, "__name__", "") == "<lambda>":
        zero = isinstance(getattr(value, "derivative", None), Zero)
        rules = "its derivative is zero" if zero else "with rules for derivatives and batches"
        parameters = ", ".join(inspect.signature(value).parameters)
        yield from (f".. py:function:: {name}({parameters})", "")
        yield from (f"   {original} on arrays of all kinds and tracers, {rules}.", "")
    elif getattr(value, "__module__", "").partition(".")[0] == "numpy":
        yield from (f".. py:data:: {name}", "", f"   {original} itself.", "")
    elif isinstance(value, float | None):
        yield from (f".. py:data:: {name}", f"   :value: {value}", "")
    elif isinstance(value, type) and value.__name__ != name:
        other = f":py:class:`{value.__module__}.{value.__name__}`"
        yield from (f".. py:data:: {name}", "", f"   Another name of {other}.", "")
    elif isinstance(value, type):
        yield from (f".. autoclass:: {name}", "   :members:", "")
    else:
        kind = "function" if callable(value) else "data"
        yield from (f".. auto{kind}:: {name}", "")


def check(app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of public names that no page documents, hence end a strict build."""
    documented = set()
    for path in env.domains.python_domain.objects:
        place, _, name = path.rpartition(".")
        if place in MODULES:
            documented.add(id(getattr(importlib.import_module(place), name)))
    for module in map(importlib.import_module, MODULES):
        for name in module.__all__:
            value = getattr(module, name)
            if isinstance(value, ModuleType):
                if module.__name__ == "funcgraph" and value.__name__ not in MODULES:
                    logger.warning("docs/_ext/api.py does not know the module %s", value.__name__)
            elif id(value) not in documented:
                logger.warning("no page of docs/api documents %s.%s", module.__name__, name)
            elif isinstance(value, type | FunctionType) and not (
                inspect.getdoc(value) or value.__name__ == "<lambda>"
            ):
                logger.warning("%s.%s has no docstring", module.__name__, name)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive and the check."""
    app.add_directive("api", Api)
    app.connect("env-check-consistency", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

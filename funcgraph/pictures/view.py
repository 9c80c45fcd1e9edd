"""A function in the browser, step by step: `view`, and what it returns.

Importing this module is cheap: what records and draws is imported when it is needed. May import all
layers below `pictures`.
"""

from __future__ import annotations

import functools
import html
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from os import PathLike

    from funcgraph.pictures.steps import Recording

__all__ = ["View", "view"]


class View:
    """A page that shows a function's run; in notebooks it shows by itself.

    Attributes:
      recording: All numbers, as of `Explanation`.
    """

    def __init__(self, recording: Recording) -> None:
        self.recording = recording

    @functools.cached_property
    def html(self) -> str:
        """The page: HTML that needs nothing else, not even a network."""
        from funcgraph.pictures.web import page_text

        return page_text(self.recording)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the page to a file.

        Args:
          path: Of the file, such as "net.html"; it is overwritten.
        """
        Path(path).write_text(self.html, "utf-8")

    def open(self) -> None:
        """Show the page in the browser, from a temporary file."""
        import tempfile
        import webbrowser

        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", prefix="funcgraph-", suffix=".html", delete=False
        ) as file:
            file.write(self.html)
        webbrowser.open(Path(file.name).as_uri())

    def _repr_html_(self) -> str:
        style = "width:100%;height:640px;border:1px solid rgba(128,128,128,.4);border-radius:6px"
        return f'<iframe srcdoc="{html.escape(self.html)}" style="{style}"></iframe>'


def view(fun: Callable[..., Any], cotangents: Any = None) -> Callable[..., View]:
    """Return a function that shows a run in the browser, forwards and backwards, step by step.

    Args:
      fun: A function of arrays (pytrees). All floating-point leaves of its arguments are
        differentiated.
      cotangents: Of the result, a pytree like it. None: ones.

    Returns:
      A function of the same arguments that returns a View: a page with the graph, to which
      `save("name.html")` and `open()` belong, and which shows in notebooks.

    Raises:
      TangentMismatchError: The cotangents do not match the result.

    Example:
      >>> import numpy as np
      >>> page = view(lambda x, y: x * np.sin(x * y))(1.0, 2.0)
      >>> page.html[:15]
      '<!DOCTYPE html>'
    """

    @functools.wraps(fun)
    def wrapped(*args: Any, **kwargs: Any) -> View:
        from funcgraph.pictures.steps import record

        return View(record(fun, args, kwargs, cotangents))

    return wrapped

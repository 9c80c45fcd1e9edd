"""Command line: `python -m funcgraph {demo,compare,doctor,help}`."""

from __future__ import annotations

import argparse
import functools
import importlib
import importlib.util
import inspect
import operator
import runpy
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from funcgraph.check import Report, compare
from funcgraph.check.doctor import diagnosis

EXAMPLES = {"demo": "digits.py"}
PROGRAM = "python -m funcgraph"
PACKAGE = Path(__file__).resolve().parent


class UsageError(Exception):
    """The command line asks for something that is not there."""


# --- examples and pages: in an installed wheel, or in the clone around the package --------------


def found(candidates: Sequence[Path]) -> Path:
    """Return the first of the paths that exists."""
    for path in candidates:
        if path.exists():
            return path
    raise UsageError(f"found none of {', '.join(map(str, candidates))}")


def example(name: str) -> Path:
    """Return the path of an example."""
    return found([PACKAGE / "_examples" / name, PACKAGE.parent / "examples" / name])


def demo(name: str, arguments: list[str]) -> int:
    """Run an example; the arguments are its own."""
    sys.argv = [f"{PROGRAM} {name}", *arguments]
    runpy.run_path(str(example(EXAMPLES[name])), run_name="__main__")
    return 0


def pages() -> dict[str, Path]:
    """Return the pages about errors, by the name of the error."""
    candidates = [PACKAGE / "_docs" / "errors", PACKAGE.parent / "docs" / "errors"]
    paths = sorted(found(candidates).glob("*.md"))
    return {p.stem: p for p in paths if p.stem not in ("README", "index")}


def show_page(options: argparse.Namespace) -> int:
    """Print the page about an error, or the names of all."""
    known = pages()
    if options.name in known:
        print(known[options.name].read_text("utf-8"), end="")
        return 0
    if options.name is not None:
        raise UsageError(f"there is no page on {options.name!r}, only on: {', '.join(known)}")
    print("\n".join(known))
    return 0


# --- compare ------------------------------------------------------------------------------------


@functools.cache
def module_of(source: str) -> ModuleType:
    """Return the module that a file, or the name of a module, stands for."""
    if not source.endswith(".py"):
        return importlib.import_module(source)
    path = Path(source).resolve()
    if not path.is_file():
        raise UsageError(f"there is no file {source}")
    sys.path.insert(0, str(path.parent))  # as `python file.py` does
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def load(target: str) -> Any:
    """Return what `path/to/file.py:name` or `package.module:name` names."""
    source, _, name = target.rpartition(":")
    if not source or not name:
        raise UsageError(f"{target!r} is not of the form file.py:name or module:name")
    try:
        module = module_of(source)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{source}.".startswith(f"{error.name}."):
            raise  # something that the module itself imports
        raise UsageError(f"there is no module {source}") from None
    try:
        return operator.attrgetter(name)(module)
    except AttributeError:
        raise UsageError(f"{source} has nothing named {name}") from None


def bound(fun: Callable[..., Any], given: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Return a function and its positional arguments, from what --args names."""
    if callable(given):
        given = given()
    if isinstance(given, dict):
        arguments = inspect.signature(fun).bind(**given)
        if arguments.kwargs:
            fun = functools.update_wrapper(functools.partial(fun, **arguments.kwargs), fun)
        return fun, arguments.args
    if not isinstance(given, (tuple, list)):
        raise UsageError(
            "--args must name a tuple of arguments, a dict of keyword arguments, or a function "
            f"that returns one, got a {type(given).__name__}"
        )
    return fun, tuple(given)


def compared(options: argparse.Namespace) -> Report:
    """Return the report that the options ask for."""
    fun = load(options.function)
    fun, args = bound(fun, load(options.args) if options.args else ())
    if not args:
        raise UsageError(f"{options.function} needs arguments: name them by --args")
    return compare(
        fun,
        *args,
        argnums=options.argnums,
        order=options.order,
        modes=options.modes,
        against=options.against,
        has_aux=options.has_aux,
    )


def run_compare(options: argparse.Namespace) -> int:
    """Compare, print and save; the status is 0 if all agrees, 1 if something differs."""
    report = compared(options)
    print(report.to_json(2) if options.json else report)
    if options.html:
        report.save(options.html)
    return 0 if report else 1


def run_doctor(_: argparse.Namespace) -> int:
    """Print what is installed."""
    print(diagnosis())
    return 0


# --- the command line ---------------------------------------------------------------------------


def names(text: str) -> tuple[str, ...]:
    """Return the names in a list with commas."""
    return tuple(text.split(","))


def numbers(text: str) -> int | tuple[int, ...]:
    """Return one number, or the tuple of the numbers in a list with commas."""
    parts = [int(part) for part in text.split(",")]
    return parts[0] if len(parts) == 1 else tuple(parts)


def html_file(text: str) -> str:
    """Return the name of a file for HTML."""
    if not text.endswith(".html"):
        raise argparse.ArgumentTypeError(f"the name must end with .html, got {text!r}")
    return text


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(prog=PROGRAM)
    commands = top.add_subparsers(dest="command", required=True)
    commands.add_parser("demo", help="train a network on handwritten digits", add_help=False)

    sub = commands.add_parser(
        "compare",
        help="compare the derivatives of a function with JAX's and finite differences",
        description="Exit status: 0 all agrees, 1 something differs, 2 it could not be compared.",
    )
    sub.add_argument("function", help="file.py:name or module:name")
    sub.add_argument("--args", help="the arguments: file.py:name or module:name of a tuple, a dict "
                     "of keyword arguments, or a function that returns one")  # fmt: skip
    sub.add_argument("--argnums", type=numbers, default=0, help="positions to differentiate: 0,2")
    sub.add_argument("--order", type=int, choices=(1, 2), default=2, help="highest order")
    sub.add_argument("--modes", type=names, default=("rev", "fwd"), help="rev, fwd or rev,fwd")
    sub.add_argument("--against", type=names, default=("jax", "numeric"), help="jax,numeric")
    sub.add_argument("--has-aux", action="store_true", help="the function returns (output, aux)")
    sub.add_argument("--json", action="store_true", help="print JSON")
    sub.add_argument("--html", type=html_file, metavar="FILE", help="save a page")
    sub.set_defaults(run=run_compare)

    sub = commands.add_parser("doctor", help="print what is installed, and what is missing")
    sub.set_defaults(run=run_doctor)

    sub = commands.add_parser("help", help="explain an error")
    sub.add_argument("name", nargs="?", help="its class; without one, all are listed")
    sub.set_defaults(run=show_page)
    return top


def main(arguments: list[str]) -> int:
    """Run a command; return the exit status."""
    top = parser()
    if arguments and arguments[0] in EXAMPLES:
        return demo(arguments[0], arguments[1:])
    options = top.parse_args(arguments)
    try:
        return int(options.run(options))
    except UsageError as error:
        top.error(str(error))
    except Exception:  # the user's own function may raise anything: it is shown
        traceback.print_exc()
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

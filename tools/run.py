#!/usr/bin/env python3
"""Set up the project and run one of its jobs: `python3 tools/run.py COMMAND`.

    demo    train on the handwritten digits (examples/digits.py); more arguments go to it
    test    the linters, the documentation, the test suite; more arguments go to pytest
    lint    the linters alone
    docs    the documentation, into docs/_build/html
    matrix  the test suite on each Python found, on the oldest dependencies, and on NumPy alone
    exec    one command of the environment, e.g. `exec ruff format`

Needs only Python and pip. The environment is `.venv` (`.venvs/NAME` for matrix); it is made on the
first run and brought up to date when `pyproject.toml`, the Python or the folder changes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)
LINTERS = {
    "ruff check": ["ruff", "check", "--quiet"],
    "ruff format": ["ruff", "format", "--check", "--quiet"],
    "mypy": ["mypy"],
    "import-linter": ["lint-imports"],
    "codespell": ["codespell"],
}


class Environment:
    """A virtual environment that holds the project, editable, and what `requirements` adds."""

    def __init__(self, folder: Path, python: str, requirements: Sequence[str]) -> None:
        self.folder = folder
        self.bin = folder / ("Scripts" if os.name == "nt" else "bin")
        self.base = python
        self.requirements = list(requirements)

    @property
    def python(self) -> Path:
        """The environment's own Python."""
        return self.bin / ("python.exe" if os.name == "nt" else "python")

    def prepare(self) -> None:
        """Make the environment and install into it, unless that was done for the same inputs."""
        pyproject = (ROOT / "pyproject.toml").read_bytes()
        origin = f"{os.path.realpath(self.base)} {version_of(self.base)} {self.folder}"
        wanted = [origin, hashlib.sha256(pyproject).hexdigest(), *self.requirements]
        stamp = self.folder / "installed-from"
        found = stamp.read_text("utf-8").splitlines() if stamp.exists() else []
        if found == wanted and version_of(str(self.python)):
            return
        print(f"Setting up {self.folder.relative_to(ROOT)} (a minute or two, once) ...", flush=True)
        if found[:1] != wanted[:1] or not version_of(str(self.python)):
            self._create()
        stamp.unlink(missing_ok=True)
        check([*self._pip(), "install", "-qq", *self.requirements])
        stamp.write_text("\n".join(wanted) + "\n", "utf-8")

    def _create(self) -> None:
        """Make the empty environment, without pip where that is all the Python can do."""
        make = [self.base, "-m", "venv", "--clear", str(self.folder)]
        if not succeeds(make):
            check([*make, "--without-pip"])

    def _pip(self) -> list[str]:
        """Return the command that is pip for this environment: its own, or else the base's."""
        own = [str(self.python), "-m", "pip"]
        return own if succeeds([*own, "--version"]) else [self.base, *own[1:], "--python", own[0]]

    def run(self, command: Sequence[str]) -> int:
        """Run a command of the environment in the project's folder; return its exit status."""
        path = os.pathsep.join([str(self.bin), os.environ.get("PATH", "")])
        program = shutil.which(command[0], path=path) or command[0]
        environ = {**os.environ, "PATH": path, "VIRTUAL_ENV": str(self.folder)}
        command = [program, *command[1:]]
        return subprocess.run(command, cwd=ROOT, env=environ, check=False).returncode


def succeeds(command: Sequence[str]) -> bool:
    """Run a command without showing what it prints; return whether it succeeded."""
    return subprocess.run(list(command), capture_output=True, check=False).returncode == 0


def check(command: Sequence[str]) -> None:
    """Run a command in the project's folder; leave with its exit status where it fails."""
    status = subprocess.run(list(command), cwd=ROOT, check=False).returncode
    if status:
        sys.exit(f"failed with exit status {status}: {' '.join(command)}")


def version_of(python: str) -> str:
    """Return the version of a Python as 'major.minor.micro', or '' where it does not run."""
    code = "import platform; print(platform.python_version())"
    try:
        answer = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""


def pythons() -> dict[tuple[int, int], str]:
    """Return the Pythons found (this one, on PATH, pyenv's), one per minor version, by version."""
    candidates = [getattr(sys, "_base_executable", sys.executable)]
    candidates += [p for minor in range(11, 20) if (p := shutil.which(f"python3.{minor}"))]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates += sorted(map(str, pyenv.glob("versions/3.*/bin/python")))
    found: dict[tuple[int, int], str] = {}
    for python in candidates:
        parts = version_of(python).split(".")
        if len(parts) == 3 and (int(parts[0]), int(parts[1])) >= OLDEST:
            found.setdefault((int(parts[0]), int(parts[1])), python)
    if not found:
        sys.exit(f"funcgraph needs Python {OLDEST[0]}.{OLDEST[1]} or newer, and found none.")
    return dict(sorted(found.items()))


def main_environment() -> Environment:
    """Return `.venv`, prepared: this Python where it is new enough, otherwise the newest found."""
    if sys.version_info >= OLDEST:
        python = getattr(sys, "_base_executable", sys.executable)
    else:
        python = list(pythons().values())[-1]
    environment = Environment(ROOT / ".venv", python, ["-e", ".[all]"])
    environment.prepare()
    return environment


def lint(environment: Environment) -> list[str]:
    """Run every linter; return the names of those that failed."""
    failed = []
    for name, command in LINTERS.items():
        print(f"== {name}", flush=True)
        if environment.run(command):
            failed.append(name)
    return failed


def docs(environment: Environment) -> int:
    """Build the documentation; a warning is an error. Return the exit status."""
    print("== sphinx", flush=True)
    options = ["--quiet", "--fail-on-warning", "--builder", "html", "--conf-dir", "docs"]
    return environment.run(["sphinx-build", *options, ".", "docs/_build/html"])


def test(environment: Environment, arguments: Sequence[str]) -> int:
    """Run linters, documentation and test suite, all to their ends; return the exit status."""
    with ThreadPoolExecutor() as pool:  # one core is enough for either
        built = pool.submit(docs, environment)
        failed = lint(environment)
        if built.result():
            failed.append("sphinx")
    print("== pytest", flush=True)
    status = environment.run(["python", "-m", "pytest", "-n", "auto", *arguments])
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return status or bool(failed)


def matrix(arguments: Sequence[str]) -> int:
    """Run the test suite in every environment that is promised to work; return the exit status."""
    found = {f"{major}.{minor}": python for (major, minor), python in pythons().items()}
    everything, versions = ["-e", ".[all]"], list(found)
    rows = [(version, found[version], everything) for version in versions]
    oldest = [*everything, "numpy==2.1.*", "jax==0.10.0", "jaxlib==0.10.0"]
    rows.append((f"{versions[0]}-oldest", found[versions[0]], oldest))
    rows.append((f"{versions[-1]}-numpy", found[versions[-1]], ["-e", ".", "hypothesis", "pytest"]))
    results, status = [], 0
    for name, python, requirements in rows:
        environment = Environment(ROOT / ".venvs" / name, python, requirements)
        environment.prepare()
        print(f"== {name}", flush=True)
        start = time.monotonic()
        # Without the extras some modules cannot be imported; their doctests run in the other rows.
        tolerant = ["--doctest-ignore-import-errors"] if name.endswith("-numpy") else []
        failed = environment.run(["python", "-m", "pytest", "-q", *tolerant, *arguments])
        status |= bool(failed)
        result = f"FAILED ({failed})" if failed else "passed"
        results.append(f"{name:<12} {result:<12} {time.monotonic() - start:5.0f} s")
    print("\n".join(results))
    return status


def main() -> int:
    """Read the command line and run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["demo", "test", "lint", "docs", "matrix", "exec"])
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="passed on")
    options = parser.parse_args()
    if options.command == "matrix":
        return matrix(options.arguments)
    environment = main_environment()
    if options.command == "demo":
        return environment.run(["python", "-m", "funcgraph", "demo", *options.arguments])
    if options.command == "test":
        return test(environment, options.arguments)
    if options.command == "lint":
        return bool(lint(environment))
    if options.command == "docs":
        return docs(environment)
    return environment.run(options.arguments)


if __name__ == "__main__":
    sys.exit(main())

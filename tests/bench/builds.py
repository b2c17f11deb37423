"""Which muxproxy is measured: one per interpreter, and what it says of itself.

`--python PATH` names the interpreter of another environment or branch. Its own muxproxy runs, not the one of
the directory that the bench was started in: `-I` leaves that out of the path, and $PYTHONPATH with it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

# Asked of the interpreter itself. That the modules of the two rooms were compiled is seen from what the
# importer finds, whatever muxproxy says.
QUESTION = """
import importlib.util, json, pkgutil, platform
import muxproxy, muxproxy.mux, muxproxy.protocols, uvloop
found = [
    importlib.util.find_spec(one.name).origin or ""
    for room in (muxproxy.mux, muxproxy.protocols)
    for one in pkgutil.walk_packages(room.__path__, room.__name__ + ".")
]
print(json.dumps({
    "version": muxproxy.__version__, "python": platform.python_version(), "uvloop": uvloop.__version__,
    "modules": len(found), "compiled": sum(one.endswith((".so", ".pyd")) for one in found),
}))
"""


class BuildError(Exception):
    """An interpreter without a muxproxy; str() says what it said."""


@dataclass(frozen=True)
class Build:
    """A muxproxy that can be started."""

    name: str  # of its contestant
    python: str  # the interpreter's path
    says: str  # `muxproxy --version`
    told: dict[str, object]  # the answer to QUESTION

    @property
    def command(self) -> list[str]:
        return command_of(self.python)

    @property
    def kind(self) -> str:
        return "compiled" if self.told["compiled"] else "pure"

    def describe(self) -> str:
        told = self.told
        parts = f"{told['compiled']} of {told['modules']} modules of mux and protocols compiled"
        return f"{self.says} ({parts}; Python {told['python']}, uvloop {told['uvloop']}; {self.python})"


def command_of(python: str) -> list[str]:
    return [python, "-I", "-m", "muxproxy"]


def ask(python: str) -> tuple[str, dict[str, object]]:
    version = _run([*command_of(python), "--version"])
    return version.strip().removeprefix("muxproxy "), json.loads(_run([python, "-I", "-c", QUESTION]))


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BuildError(str(error)) from None
    if done.returncode:
        raise BuildError(f"{command[0]}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout


def find(pythons: Sequence[str]) -> list[Build]:
    """One is `muxproxy`; several are called after their kind or, by NAME=PATH, as they were told to be."""
    asked = []
    for one in pythons or [sys.executable]:
        label, equals, path = one.rpartition("=")
        asked.append((label if equals else "", path, *ask(path)))
    return named(asked)


def named(asked: Sequence[tuple[str, str, str, dict[str, object]]]) -> list[Build]:
    builds: list[Build] = []
    for label, path, says, told in asked:
        build = Build("muxproxy", path, says, told)
        if len(asked) > 1 or label:
            wanted = f"muxproxy-{label or build.kind}"
            twins = sum(other.name.split("#")[0] == wanted for other in builds)
            name = wanted if not twins else f"{wanted}#{twins + 1}"
            build = Build(name, path, says, told)
        builds.append(build)
    return builds

"""Which muxproxy is measured: one per interpreter, what it says of itself, and what runs of it.

`--python PATH` names the interpreter of another environment or branch. Its own muxproxy runs, not the one of
the directory that the bench was started in: `-I` leaves that out of the path, and $PYTHONPATH with it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
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

    def describe(self, running: Mapping[str, str]) -> str:
        """`running`: what of its contestants (the same one may come by TCP and by unix socket) is known."""
        mine = [said for name, said in running.items() if name in (self.name, f"{self.name}-unix")]
        told = self.told
        parts = [
            f"{told['compiled']} of {told['modules']} modules of mux and protocols are compiled",
            *dict.fromkeys(mine),
            f"Python {told['python']}, uvloop {told['uvloop']}",
            self.python,
        ]
        return f"{self.says} ({', '.join(parts)})"


def is_ours(path: str) -> bool:
    """Whether a shared object is a compiled module of muxproxy (mypyc puts the code of several into one file
    beside the package)."""
    place = path.rpartition("site-packages/")[2]  # an environment may lie in a folder that is called like us
    if "lib-dynload/" in place or not place.endswith(".so"):
        return False
    return "__mypyc" in place or "muxproxy/" in place


def parse_maps(text: str) -> set[str]:
    """Our compiled modules in /proc/<pid>/maps: what a process has loaded, whatever it says of itself."""
    fields = (line.split(maxsplit=5) for line in text.splitlines())
    return {each[5] for each in fields if len(each) == 6 and is_ours(each[5])}


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

"""`reachable.py FOLDER COMMAND...`: COMMAND, where every user can read our installation.

The tests' own may stand in root's home. Then the closed directories on the way to it are, in a mount
namespace of this process alone, empty ones with what is needed in them. FOLDER is an empty one, to pass
things through.
"""

from __future__ import annotations

import ctypes
import os
import stat
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_CLONE_NEWNS = 0x20000


def prefix(folder: Path) -> list[str]:
    """To be put before a command."""
    return [sys.executable, "-P", __file__, str(folder)]


def first_closed(path: Path) -> Path | None:
    """The first directory on the way that others may not enter."""
    for parent in reversed((path / "x").parents):
        if not parent.stat().st_mode & stat.S_IXOTH:
            return parent
    return None


def mount(*options: str | Path) -> None:
    subprocess.run(["mount", *map(str, options)], check=True)


def open_up(folder: Path) -> None:
    interpreter = Path(sys.executable).resolve().parents[1]
    closed = {path: first_closed(path) for path in (interpreter, Path(sys.prefix), ROOT)}
    needed = [path for path, where in closed.items() if where is not None]
    if ctypes.CDLL(None).unshare(_CLONE_NEWNS) != 0:
        raise SystemExit("unshare: not permitted")
    mount("--make-rprivate", "/")
    for number, path in enumerate(needed):
        (folder / str(number)).mkdir()
        mount("--bind", path, folder / str(number))
    for where in sorted({str(where) for where in closed.values() if where is not None}):
        mount("-t", "tmpfs", "-o", "mode=755", "none", where)
    for number, path in enumerate(needed):
        path.mkdir(parents=True, exist_ok=True)
        mount("--bind", folder / str(number), path)


if __name__ == "__main__":
    folder, *command = sys.argv[1:]
    here = os.getcwd()
    open_up(Path(folder))
    os.chdir(here if os.path.isdir(here) else "/")
    os.execvp(command[0], command)

"""How a program of ours is exec'ed: this interpreter, and a path that no current directory is on.

`python -m NAME` looks for modules in the working directory first, before the standard library: in one that
somebody else may write, his `argparse.py` would run as us, again at every respawn of a worker. `-P` leaves
the directory out; `-I` besides ignores what the environment and a user's own site-packages add, and is used
where nobody relies on these. cli/demo uses this too: nothing is imported here that a quick command would wait
for.
"""

from __future__ import annotations

import os
import site
import sys


def program(module: str) -> tuple[str, ...]:
    return sys.executable, "-I" if _can_be_isolated() else "-P", "-m", module


def _can_be_isolated() -> bool:
    """Nothing that we run on was found by what -I ignores: $PYTHONPATH and its like, the user's own site."""
    if sys.flags.isolated:
        return True
    if any(name.startswith("PYTHON") for name in os.environ):
        return False
    return not (site.ENABLE_USER_SITE and site.getusersitepackages() in sys.path)

"""How much is tried of what could go on for ever: a little at every run, much at a full one.

At every run it is the same for everybody: the same seeds, the same examples of Hypothesis. What a test is
about is reached at either size; a full run looks for what nobody has thought of. All of it takes hours:

    bash tests/run.sh --full                                     all of it
    bash tests/run.sh --full tests/mux                           the machines
    bash tests/run.sh --full tests/protocols -k conversations    the random conversations
    bash tests/run.sh --full tests/system/redis/test_torture.py  900,000 commands
"""

from __future__ import annotations

import os


def is_full() -> bool:
    """conftest.py knows before the first file of tests is imported, but not before other conftests are."""
    return bool(os.environ.get("MUXPROXY_FULL"))


def size(everywhere: int, full: int) -> int:
    """Of seeds, examples, commands: how many at every run, and how many at a full one."""
    return full if is_full() else everywhere

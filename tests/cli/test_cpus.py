"""The CPUs of a process of its own: pytest's stay as they are."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import os
from muxproxy.cli.cpus import usable_cpus
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
print(usable_cpus())
"""


def test_those_that_the_process_may_use_are_counted_and_not_those_that_there_are() -> None:
    result = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert result.stdout == "1\n"

"""The descriptor limit of a process of its own: pytest's stays as it is."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import resource
from muxproxy.cli import descriptors
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 300))
print(descriptors.hard_limit(), descriptors.raise_to_hard_limit())
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    result = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["300", "300", "300", "300"]

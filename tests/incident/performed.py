"""A replay as a person starts it, small: what it recorded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from muxproxy.incident.record import Recording, from_json

needs_namespaces = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces are root's to make")


def performed(name: str, out: Path, *options: str, before: tuple[str, ...] = ()) -> Recording:
    """Exit status 0: it showed what it is there to show. `before`: whatever changes who plays it."""
    command = [sys.executable, "-m", "muxproxy", "incident", name, "--size", "small", "--out", str(out)]
    command.append("--no-pictures")  # tests/incident/test_picture.py draws one
    done = subprocess.run(
        [*before, *command, *options], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    record = from_json((out / f"{name}.json").read_bytes())
    assert record.config in done.stdout
    assert record.namespaces == ("--loopback" not in options)
    return record

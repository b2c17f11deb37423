"""`run()` in a process of its own, with fake workers: run_supervisor.py CONFIG-AS-JSON [WORKER-OPTIONS]."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from muxproxy.config.model import Config
from muxproxy.supervisor.main import run

FAKE_WORKER = str(Path(__file__).with_name("fake_worker.py"))

if __name__ == "__main__":
    config = msgspec.json.decode(sys.argv[1], type=Config)
    command = [os.environ.get("FAKE_WORKER") or sys.executable, FAKE_WORKER, *sys.argv[2:]]
    sys.exit(run(config, command=command))

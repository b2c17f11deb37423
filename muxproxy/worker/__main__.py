"""`python -m muxproxy.worker --control-fd N`: what the supervisor execs. Not for people."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

import uvloop

from muxproxy.worker.control import die_with_parent
from muxproxy.worker.process import Worker


async def _run(control_fd: int) -> int:
    return await Worker(asyncio.get_running_loop()).run(control_fd)


def main() -> None:
    die_with_parent()
    # Signals to the whole group (ctrl-C, a service manager) are the supervisor's to hear; it tells us to
    # drain.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    parser = argparse.ArgumentParser(prog="python -m muxproxy.worker")
    parser.add_argument("--control-fd", type=int, required=True)
    sys.exit(uvloop.run(_run(parser.parse_args().control_fd)))


if __name__ == "__main__":
    main()

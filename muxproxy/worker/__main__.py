"""`python -m muxproxy.worker --control-fd N --sockets-fd M`: what the supervisor execs. Not for people."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

import uvloop

from muxproxy.worker.control import die_with_parent
from muxproxy.worker.process import Worker


async def _run(control_fd: int, sockets_fd: int | None) -> int:
    return await Worker(asyncio.get_running_loop()).run(control_fd, sockets_fd)


def main() -> None:
    die_with_parent()
    # Signals to the whole group (ctrl-C, a service manager) are the supervisor's to hear; it tells us to
    # drain.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    parser = argparse.ArgumentParser(prog="python -m muxproxy.worker")
    parser.add_argument("--control-fd", type=int, required=True)
    parser.add_argument("--sockets-fd", type=int)
    given = parser.parse_args()
    sys.exit(uvloop.run(_run(given.control_fd, given.sockets_fd)))


if __name__ == "__main__":
    main()

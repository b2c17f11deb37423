"""`python -m tests.bench.scraper SOCKET`: asks a muxproxy for its metrics every 100 ms, until it is ended.

What monitoring costs is measured so, at a hundred times the pace of a usual Prometheus: a contestant takes
part twice, and nothing else is different.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

EVERY = 0.1  # seconds
REQUEST = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"


@contextmanager
def scraping(path: str) -> Iterator[None]:
    """A scraper in a process of its own; it must have had its metrics all along."""
    command = [sys.executable, "-m", "tests.bench.scraper", path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"scraping\n"
            yield
            assert process.poll() is None, "the scraper has ended"
        finally:
            process.kill()


def scrape(path: str) -> int:
    """The size of what came."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5.0)
        client.connect(path)
        client.sendall(REQUEST)
        reply = b""
        while data := client.recv(1 << 20):
            reply += data
    assert reply.startswith(b"HTTP/1.1 200 "), reply[:100]
    return len(reply)


def main(path: str) -> None:
    scrape(path)
    print("scraping", flush=True)
    due = time.monotonic()
    while True:
        due += EVERY
        time.sleep(max(0.0, due - time.monotonic()))
        scrape(path)


if __name__ == "__main__":
    main(sys.argv[1])

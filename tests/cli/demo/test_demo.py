"""`muxproxy demo` as it is typed, into a pipe: its summary, its exit code, and nothing left behind."""

from __future__ import annotations

import http.client
import os
import re
import resource
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from muxproxy.cli.exits import Exit

DESCRIPTORS = 400  # few enough to be light on a busy machine
CLIENTS = 100


class Demo:
    """`muxproxy demo` with a descriptor limit; knows its processes by a mark in their environment."""

    def __init__(self, folder: Path, *options: str, descriptors: int = DESCRIPTORS) -> None:
        self.folder = folder
        self._mark = f"DEMO_TEST={uuid.uuid4()}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "muxproxy", "demo", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"TMPDIR": str(folder), "DEMO_TEST": self._mark.partition("=")[2]},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors)),  # noqa: PLW1509  # no threads here
        )

    def read_until(self, pattern: str) -> re.Match[str]:
        assert self.process.stdout is not None
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if match := re.search(pattern, line):
                return match
        raise AssertionError(f"it did not say {pattern!r}: {''.join(lines)}")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """Exit code, and the rest of what it said. Nothing of it may be left."""
        said, _ = self.process.communicate(timeout=60)
        assert self.left() == []
        assert list(self.folder.iterdir()) == []
        return self.process.returncode, said

    def left(self) -> list[str]:
        """Processes with our mark."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self._mark.encode() in (folder / "environ").read_bytes():
                    found.append((folder / "cmdline").read_text())
            except OSError:
                pass  # it has ended meanwhile, or is another user's
        return found

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


Start = Callable[..., Demo]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[Demo] = []

    def begin(*options: str, descriptors: int = DESCRIPTORS) -> Demo:
        running.append(Demo(tmp_path, *options, descriptors=descriptors))
        return running[-1]

    yield begin
    for demo in running:
        demo.close()


def number(text: str) -> int:
    return int(text.replace(",", ""))


def test_the_summary_shows_many_sockets_direct_and_eight_through_muxproxy(start: Start) -> None:
    demo = start("--seconds", "5")  # a busy machine may stand still for two of them
    code, said = demo.end()
    assert code == Exit.OK, said
    row = r" += +([\d,]+) sockets at the origin, +([\d,]+) opened, ([\d,]+) replies"
    (direct,) = re.findall("^direct" + row, said, re.MULTILINE)
    (through,) = re.findall("^through muxproxy" + row, said, re.MULTILINE)
    peak, opened, replies = map(number, direct)
    assert 8 < peak <= 2 * CLIENTS
    assert opened == replies > CLIENTS  # a connection for every request
    peak, opened, replies = map(number, through)
    assert 1 <= peak <= opened <= 8
    assert replies > CLIENTS
    assert "0 errors" in said
    assert "\x1b" not in said
    assert re.search(r"^Next: .*muxproxy check -c config", said, re.MULTILINE)


def test_keep_leaves_it_running_until_a_signal_and_that_is_no_failure(start: Start) -> None:
    demo = start("--keep", "--seconds", "1")
    host, port = demo.read_until(r"http://(127\.0\.0\.1):(\d+)/hello").groups()
    config = demo.read_until(r"status -c (\S+)").group(1)
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    try:
        connection.request("GET", "/hello")
        assert connection.getresponse().read() == b"/hello\n"
    finally:
        connection.close()
    status = subprocess.run(
        [sys.executable, "-m", "muxproxy", "status", "-c", config], capture_output=True, text=True, check=True
    )
    assert re.search(r"upstream +\d / 8", status.stdout)
    demo.signal(signal.SIGINT)
    code, said = demo.end()
    assert code == Exit.OK, said


def test_ctrl_c_ends_everything_with_the_signals_code(start: Start) -> None:
    demo = start("--seconds", "60")
    demo.read_until(r"^direct, \d+ s")
    assert len(demo.left()) >= 4  # the command, the origin, muxproxy and its worker, the clients
    demo.signal(signal.SIGINT)
    code, said = demo.end()
    assert code == 128 + signal.SIGINT
    assert said.endswith("stopped by SIGINT\n")


def test_too_few_descriptors_are_said_to_be_too_few(start: Start) -> None:
    code, said = start(descriptors=100).end()
    assert code == Exit.DEMO_FAILED
    assert said.startswith("Error: 100 file descriptors are too few")

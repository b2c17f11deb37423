"""The worker's end of the control channel, on real socketpairs and a uvloop loop."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
import uvloop

from muxproxy.messages import (
    AT_A_TIME,
    Ask,
    Configure,
    Drain,
    Log,
    Message,
    MessageReader,
    Ready,
    Reconnect,
    Stats,
    encode,
)
from muxproxy.worker.control import MAX_UNSENT, ControlChannel, Sockets, open_control


class FakeWorker:
    """Remembers what it is told; `changed` is set each time."""

    def __init__(self) -> None:
        self.told: list[Message | str] = []
        self.changed = asyncio.Event()
        self.snapshot: dict = {"backends": {}}

    def _tell(self, what: Message | str) -> None:
        self.told.append(what)
        self.changed.set()

    def on_configure(self, message: Configure) -> None:
        self._tell(message)

    def on_ask(self, message: Ask) -> dict:
        if not self.snapshot:
            raise ZeroDivisionError("a bug in the counting")
        return self.snapshot

    def on_reconnect(self, message: Reconnect) -> None:
        self._tell(message)

    def on_drain(self, message: Drain) -> None:
        self._tell(message)

    def on_supervisor_gone(self) -> None:
        self._tell("gone")

    async def wait_told(self, count: int) -> list[Message | str]:
        async with asyncio.timeout(10):
            while len(self.told) < count:
                self.changed.clear()
                await self.changed.wait()
        return self.told


class Supervisor:
    """The other end, by hand."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.reader = MessageReader()

    async def say(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def hear(self) -> list[Message]:
        """The next messages; none at the end of the stream."""
        loop = asyncio.get_running_loop()
        while True:
            async with asyncio.timeout(10):
                data = await loop.sock_recv(self.sock, 65536)
            messages = self.reader.feed(data)
            if messages or not data:
                return messages


def converse(conversation) -> None:
    """Run `conversation(worker, channel, supervisor)` on a uvloop loop with a fresh socketpair."""

    async def main() -> None:
        ours, theirs = socket.socketpair()
        with ours:
            worker = FakeWorker()
            channel = await open_control(theirs.detach(), worker)
            await conversation(worker, channel, Supervisor(ours))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def test_the_handler_is_told_what_the_supervisor_says_however_it_is_cut():
    async def conversation(worker: FakeWorker, channel: ControlChannel, supervisor: Supervisor) -> None:
        said = [Configure([], {"web": [("127.0.0.1:80", 5)]}), Reconnect("web"), Drain(1.5)]
        for byte in b"".join(map(encode, said)):
            await supervisor.say(bytes([byte]))
        assert await worker.wait_told(3) == said

    converse(conversation)


@pytest.mark.parametrize("new_loop", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_nothing_is_told_before_the_worker_has_its_channel(new_loop):
    async def main() -> None:
        ours, theirs = socket.socketpair()
        with ours:
            ours.sendall(encode(Drain(1.0)))
            worker = FakeWorker()
            await open_control(theirs.detach(), worker)
            assert worker.told == []
            assert await worker.wait_told(1) == [Drain(1.0)]

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


def test_a_question_is_answered_with_its_serial():
    async def conversation(worker: FakeWorker, channel: ControlChannel, supervisor: Supervisor) -> None:
        channel.send(Ready())
        assert await supervisor.hear() == [Ready()]
        await supervisor.say(encode(Ask(7)))
        assert await supervisor.hear() == [Stats(7, {"backends": {}})]

    converse(conversation)


def test_a_bug_in_the_statistics_is_logged_and_the_worker_goes_on():
    async def conversation(worker: FakeWorker, channel: ControlChannel, supervisor: Supervisor) -> None:
        worker.snapshot = {}
        await supervisor.say(encode(Ask(1)))
        [line] = await supervisor.hear()
        assert (line.level, line.event) == ("error", "statistics failed")
        assert "ZeroDivisionError" in line.fields["traceback"]
        worker.snapshot = {"backends": {}}
        await supervisor.say(encode(Ask(2)))
        assert await supervisor.hear() == [Stats(2, {"backends": {}})]
        assert worker.told == []

    converse(conversation)


def test_the_end_of_the_channel_is_told_once_and_what_is_said_after_it_is_lost():
    async def conversation(worker: FakeWorker, channel: ControlChannel, supervisor: Supervisor) -> None:
        supervisor.sock.close()
        assert await worker.wait_told(1) == ["gone"]
        channel.send(Ready())
        assert worker.told == ["gone"]

    converse(conversation)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xff\xff\xff\xff", id="a length above the limit"),
        pytest.param(encode(Ready()), id="a worker's word"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n" * 100, id="another protocol"),
    ],
)
def test_who_talks_garbage_is_not_our_supervisor(data):
    async def conversation(worker: FakeWorker, channel: ControlChannel, supervisor: Supervisor) -> None:
        await supervisor.say(data)
        assert await worker.wait_told(1) == ["gone"]

    converse(conversation)


def test_log_lines_that_nobody_reads_are_dropped_and_counted():
    async def conversation(worker: FakeWorker, channel: ControlChannel, supervisor: Supervisor) -> None:
        line = Log("info", "x" * 1000, {})
        for _ in range(4000):
            channel.send(line)
        assert channel._transport.get_write_buffer_size() < MAX_UNSENT + 2000
        heard = []
        while channel._transport.get_write_buffer_size():
            heard += await supervisor.hear()
        channel.send(Log("info", "end", {}))
        while not heard or heard[-1].event != "end":
            heard += await supervisor.hear()
        note = heard[-2]
        assert note.event == "log lines dropped"
        assert heard.count(line) + note.fields["count"] == 4000

    converse(conversation)


GRANDPARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
print(child.pid, child.stdout.readline().decode(), end="", flush=True)
sys.stdin.read()
"""
CHILD = """
from muxproxy.worker.control import die_with_parent
import signal
die_with_parent()
print("shielded", flush=True)
while True:
    signal.pause()
"""


def test_a_worker_too_busy_to_read_its_channel_dies_with_its_parent():
    parent = subprocess.Popen(
        [sys.executable, "-c", GRANDPARENT, CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with parent:
        pid, word = parent.stdout.readline().split()
        assert word == b"shielded"
        child = os.pidfd_open(int(pid))
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    assert ended(child, timeout=10)


def ended(pidfd: int, timeout: float) -> bool:
    """True once the process behind `pidfd` has ended."""
    try:
        return bool(select.select([pidfd], [], [], timeout)[0])
    finally:
        os.close(pidfd)


# -- the second channel ----------------------------------------------------------------------------------


@pytest.fixture
def channel() -> Iterator[tuple[socket.socket, Sockets]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sockets = Sockets(theirs.detach())
    with ours:
        yield ours, sockets
    sockets.close()


def sends(ours: socket.socket, *descriptors: int) -> None:
    socket.send_fds(ours, [b"\0"], descriptors)


def inodes(descriptors: list[int]) -> list[int]:
    found = [os.fstat(descriptor).st_ino for descriptor in descriptors]
    for descriptor in descriptors:
        os.close(descriptor)
    return found


def test_they_come_in_the_order_of_several_messages(channel: tuple[socket.socket, Sockets]) -> None:
    ours, sockets = channel
    pipes = [os.pipe() for _ in range(3)]
    all_of_them = [end for pipe in pipes for end in pipe]
    sends(ours, *all_of_them[:4])
    sends(ours, *all_of_them[4:])
    taken = sockets.take(6)
    assert inodes(taken) == inodes(all_of_them)


def test_as_many_as_a_message_may_have(channel: tuple[socket.socket, Sockets]) -> None:
    ours, sockets = channel
    sends(ours, *[ours.fileno()] * AT_A_TIME)
    sends(ours, ours.fileno())
    assert len(set(inodes(sockets.take(AT_A_TIME + 1)))) == 1


def test_none_are_asked_for_and_nobody_waits(channel: tuple[socket.socket, Sockets]) -> None:
    assert channel[1].take(0) == []


def test_fewer_than_promised_is_an_error_and_nothing_stays_open(
    channel: tuple[socket.socket, Sockets],
) -> None:
    ours, sockets = channel
    sends(ours, ours.fileno())
    before = os.listdir("/proc/self/fd")
    with pytest.raises(BlockingIOError):
        sockets.take(2)
    assert os.listdir("/proc/self/fd") == before


def test_a_supervisor_that_is_gone_is_an_error(channel: tuple[socket.socket, Sockets]) -> None:
    ours, sockets = channel
    ours.close()
    with pytest.raises(OSError, match="0 of 1 sockets"):
        sockets.take(1)

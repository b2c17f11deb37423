"""The worker's end of the control channel, and the two ways it learns that its supervisor is gone.

`open_control(fd, handler)` is called once at start-up; from then on the handler is told what the supervisor
says (messages.py has the conversation). A channel that ends, for whatever reason, ends the worker: no orphan
keeps a port or an upstream socket. `die_with_parent()` is the second line, for a worker too busy to read.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
from typing import Any, Protocol, cast

from muxproxy.messages import (
    AT_A_TIME,
    Apply,
    Ask,
    Configure,
    Drain,
    Lend,
    Log,
    Message,
    MessageReader,
    Reconnect,
    Stats,
    encode,
)
from muxproxy.worker.bugs import describe_current

# A supervisor that does not read its channel must not cost the worker memory (P7): beyond this many unsent
# bytes log lines are dropped and counted. Everything else a worker says is rare, or was asked for.
MAX_UNSENT = 1024 * 1024


_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Handler(Protocol):
    """What the channel needs of the worker."""

    def on_configure(self, message: Configure) -> None: ...

    def on_ask(self, message: Ask) -> dict[str, Any]:
        """The snapshot to answer with (`messages.Stats.snapshot`)."""
        ...

    def on_lend(self, message: Lend) -> None: ...

    def on_apply(self, message: Apply) -> None: ...

    def on_reconnect(self, message: Reconnect) -> None: ...

    def on_drain(self, message: Drain) -> None: ...

    def on_supervisor_gone(self) -> None:
        """The channel has ended: exit at once. Called once."""
        ...


class ControlChannel(asyncio.Protocol):
    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._reader = MessageReader()
        self._transport: asyncio.Transport | None = None
        self._early: list[Message] | None = []  # heard before start()
        self._dropped = 0  # log lines since the last one that went out

    def start(self) -> None:
        """Tell the handler what has been said so far, and from now on at once."""
        early, self._early = self._early or [], None
        for message in early:
            self._dispatch(message)

    def send(self, message: Message) -> None:
        """Never blocks and never raises; what is said to a supervisor that has gone is lost."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if isinstance(message, Log):
            if transport.get_write_buffer_size() > MAX_UNSENT:
                self._dropped += 1
                return
            if self._dropped:
                transport.write(encode(Log("warning", "log lines dropped", {"count": self._dropped})))
                self._dropped = 0
        transport.write(encode(message))

    # told by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            messages = self._reader.feed(data)
        except ValueError:
            self._close()  # whoever writes this is not our supervisor
            return
        if self._early is not None:
            self._early += messages
            return
        for message in messages:
            self._dispatch(message)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._handler.on_supervisor_gone()

    def _dispatch(self, message: Message) -> None:
        if isinstance(message, Ask):
            self._answer(message)
        elif isinstance(message, Configure):
            self._handler.on_configure(message)
        elif isinstance(message, Lend):
            self._handler.on_lend(message)
        elif isinstance(message, Apply):
            self._handler.on_apply(message)
        elif isinstance(message, Reconnect):
            self._handler.on_reconnect(message)
        elif isinstance(message, Drain):
            self._handler.on_drain(message)
        else:
            self._close()  # a word of ours, not of a supervisor

    def _answer(self, message: Ask) -> None:
        try:
            snapshot = self._handler.on_ask(message)
        except Exception:
            # A bug in the counting must not end the service it counts; the supervisor shows "not answering".
            self.send(Log("error", "statistics failed", {"traceback": describe_current()}))
        else:
            self.send(Stats(message.serial, snapshot))

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class Sockets:
    """Listening sockets that come while the worker runs, on the second channel (messages.py). They are there
    before the word that they belong to is read: nobody waits here."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(False)

    def close(self) -> None:
        self._socket.close()

    def take(self, count: int) -> list[int]:
        """So many, in the order in which they were sent. Raises OSError if they are not there."""
        taken: list[int] = []
        try:
            while len(taken) < count:
                data, descriptors, _, _ = socket.recv_fds(self._socket, 1, AT_A_TIME)
                taken += descriptors
                if not data:  # the supervisor is gone
                    raise OSError(f"{len(taken)} of {count} sockets have come")
        except OSError:
            for descriptor in taken:
                os.close(descriptor)
            raise
        return taken


async def open_control(fd: int, handler: Handler) -> ControlChannel:
    """Take the inherited end of the socketpair over. Once, at start-up.

    The handler is told nothing before the caller has got its channel: it could not answer.
    """
    sock = socket.socket(fileno=fd)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    _, channel = await loop.create_unix_connection(lambda: ControlChannel(handler), sock=sock)
    loop.call_soon(channel.start)  # pause_reading() would do, but uvloop forgets it this early
    return channel


def die_with_parent() -> None:
    """Have the kernel SIGKILL this process when the thread that spawned it ends (prctl(2), PR_SET_PDEATHSIG).

    Call it first thing. A parent that ended even before is noticed by the end of the control channel.
    """
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl(PR_SET_PDEATHSIG): {os.strerror(number)}")
    if os.getppid() != parent:  # it ended between the two calls: the signal was for somebody else's death
        os.kill(os.getpid(), signal.SIGKILL)

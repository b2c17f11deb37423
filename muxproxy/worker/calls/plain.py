"""The reference of the five calls; direct.c does the same, and has nothing to say of its own.

A connection per request makes five system calls. Around them Python makes an object that asks for the
socket's name, writes the peer's address out as text, and gives the interpreter away and takes it back for
calls that never wait: of 17,000 instructions for accept, recv, epoll_ctl, send and close, 8,600 are for that.

The descriptors do not block. Nobody but their owner closes them.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable
from functools import partial
from typing import Final

AT_ONCE: Final = 16 * 1024  # bytes that are read in one call
_SOCKET: Final = socket.SocketType
_STREAM: Final = int(socket.SOCK_STREAM)
# Of what close() follows at once: the segment waits for its FIN.
_LAST: Final = int(socket.MSG_DONTWAIT | socket.MSG_MORE)


def accept(listener: int) -> int:
    """A descriptor, or the kernel's error, negated: each burst ends with one, and an exception costs more."""
    try:
        # Of any family, but there is room for the peer's address of every one in this: nobody reads it.
        sock = _SOCKET(socket.AF_UNIX, _STREAM, 0, listener)
        try:
            descriptor: int = sock._accept()[0]  # type: ignore[attr-defined]
        finally:
            sock.detach()
    except OSError as error:
        return -(error.errno or errno.EIO)
    os.set_blocking(descriptor, False)
    return descriptor


def receive(descriptor: int) -> bytes | None:
    """None: nothing now; b"": there will be no more. If there is no memory for what was read, that is lost
    with the MemoryError: the connection is to be ended, as at an OSError."""
    try:
        return os.read(descriptor, AT_ONCE)
    except BlockingIOError:
        return None


def send(descriptor: int, data: bytes, last: bool) -> int:
    """As many bytes of it as were taken. Last: close() follows."""
    try:
        if not last:
            return os.write(descriptor, data)
        sock = _SOCKET(socket.AF_INET, _STREAM, 0, descriptor)
        try:
            return sock.send(data, _LAST)
        finally:
            sock.detach()
    except BlockingIOError:
        return 0


def close(descriptor: int) -> None:
    """It is closed, whatever close() says, unless it was not open: the next one like that is somebody's."""
    try:
        os.close(descriptor)
    except OSError as error:
        if error.errno == errno.EBADF:
            raise


def watcher(epoll: select.epoll) -> Callable[[int], object]:
    """What adds a descriptor to it, to be told of when there is something to read."""
    return partial(epoll.register, eventmask=select.EPOLLIN)

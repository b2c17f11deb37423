"""What systemd is told (sd_notify(3)): one datagram, to the socket in $NOTIFY_SOCKET if there is one."""

from __future__ import annotations

import array
import os
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

PATIENCE = 1.0  # seconds in which the manager makes room: it reads at once, or has a worse fault than ours


def is_managed() -> bool:
    return os.environ.get("NOTIFY_SOCKET", "").startswith(("/", "@"))


def notify(*words: str, descriptors: Sequence[int] = (), patience: float = PATIENCE) -> None:
    """`notify("READY=1", "STATUS=serving")`. Without systemd nothing. Never raises; blocks for `patience` at
    most, 0 where what is lost is said again soon."""
    if not is_managed():
        return
    address = os.environ["NOTIFY_SOCKET"]
    if address.startswith("@"):
        address = "\0" + address[1:]  # the abstract namespace, unix(7)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(patience)
        try:
            sock.connect(address)
            sock.sendmsg(["\n".join(words).encode(errors="backslashreplace")], rights)
        except OSError:
            pass  # a manager that does not listen must not stop the service it manages


@asynccontextmanager
async def reloading(is_told: bool) -> AsyncIterator[None]:
    """The time is for Type=notify-reload: it tells this reload from an earlier one. A reload that is refused
    ends with READY=1 as well: what ran before runs."""
    if is_told:
        notify("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")
    try:
        yield
    finally:
        if is_told:
            notify("READY=1")

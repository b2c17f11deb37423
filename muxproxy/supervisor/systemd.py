"""What systemd is told (sd_notify(3)): one datagram, to the socket in $NOTIFY_SOCKET if there is one."""

from __future__ import annotations

import os
import socket


def notify(*words: str) -> None:
    """`notify("READY=1", "STATUS=serving")`. Without systemd nothing. Never blocks, never raises."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]  # the abstract namespace, unix(7)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        try:
            sock.sendto("\n".join(words).encode(), address)
        except OSError:
            pass  # a manager that does not listen must not stop the service it manages

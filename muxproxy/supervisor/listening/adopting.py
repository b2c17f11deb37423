"""Listening sockets that somebody else has bound: they are ours as if we had.

A predecessor that hands over (upgrade.py) names each by its backend and its address.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from muxproxy.config.address import parse_listen, usual
from muxproxy.supervisor.listening.places import Place
from muxproxy.supervisor.listening.sockets import Listener, bound


class Estate:
    """What was handed over, until somebody takes it."""

    def __init__(self) -> None:
        # (backend, usual spelling of the address) -> descriptors, and of each the unit that has it, too
        self._sockets: dict[tuple[str, str], list[tuple[int, str]]] = {}

    def add(self, backend: str, text: str, descriptor: int, unit: str = "") -> None:
        """`unit`: of systemd's socket units, the one that has it, too."""
        os.set_inheritable(descriptor, False)
        self._sockets.setdefault((backend, usual(text)), []).append((descriptor, unit))

    def take(self, backend: str, text: str) -> Listener | None:
        """The socket of that address; which backend had it matters only where the kernel chose the port."""
        wanted = usual(text)
        for key in [(backend, wanted), *(each for each in self._sockets if each[1] == wanted)]:
            mine = self._sockets.get(key)
            if mine and (key[0] == backend or not wanted.endswith(":0")):
                return adopt(text, *mine.pop(0))
        return None

    def close(self, end: Callable[[Listener], None] = Listener.close) -> None:
        """What nobody wants any more, with the files of unix sockets."""
        for (_, text), sockets in self._sockets.items():
            for descriptor, unit in sockets:
                end(adopt(text, descriptor, unit))
        self._sockets.clear()


def adopt(text: str, descriptor: int, unit: str = "") -> Listener:
    """Raises OSError if that is no socket."""
    sock = socket.socket(fileno=descriptor)
    sock.setblocking(False)
    address = parse_listen(text)
    if address.kind == "unix" and unit:
        return Listener(text, text, sock, unit=unit)  # its file is systemd's
    if address.kind == "unix":
        place = Place(address.path)
        return Listener(text, text, sock, place, place.inode())
    return Listener(text, bound(sock, address), sock, unit=unit)

"""Listening sockets that somebody else has bound: they are ours as if we had.

A predecessor that hands over (upgrade.py) names each by its backend and its address.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from muxproxy.config.address import parse_listen
from muxproxy.supervisor.listening.places import Place
from muxproxy.supervisor.listening.sockets import Listener


class Estate:
    """What was handed over, until somebody takes it."""

    def __init__(self) -> None:
        self._sockets: dict[tuple[str, str], list[int]] = {}  # (backend, usual spelling of the address)
        self._units: dict[int, str] = {}

    def add(self, backend: str, text: str, descriptor: int, unit: str = "") -> None:
        """`unit`: of systemd's socket units, the one that has it, too."""
        self._units[descriptor] = unit
        os.set_inheritable(descriptor, False)
        self._sockets.setdefault((backend, _usual(text)), []).append(descriptor)

    def take(self, backend: str, text: str) -> Listener | None:
        """The socket of that address; which backend had it matters only where the kernel chose the port."""
        usual = _usual(text)
        for key in [(backend, usual), *(each for each in self._sockets if each[1] == usual)]:
            mine = self._sockets.get(key)
            if mine and (key[0] == backend or not usual.endswith(":0")):
                return self._adopt(text, mine.pop(0))
        return None

    def close(self, end: Callable[[Listener], None] = Listener.close) -> None:
        """What nobody wants any more, with the files of unix sockets."""
        for (_, text), descriptors in self._sockets.items():
            for descriptor in descriptors:
                end(self._adopt(text, descriptor))
        self._sockets.clear()

    def _adopt(self, text: str, descriptor: int) -> Listener:
        return adopt(text, descriptor, self._units.get(descriptor, ""))


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
    host, port = sock.getsockname()[:2]
    shown = f"[{host}]:{port}" if address.is_ipv6 else f"{host}:{port}"
    return Listener(text, shown, sock, unit=unit)


def _usual(text: str) -> str:
    return str(parse_listen(text))

"""Listening sockets that systemd gives us when we begin (sd_listen_fds(3)).

    of a socket unit   named by its FileDescriptorName=; the unit has it, too, and a unix socket's file is its
    kept for us        what an earlier muxproxy had put into the service's store (store.py); its file is ours

The configuration says where muxproxy listens, systemd only has bound it before: what is handed is taken by
its address, as the kernel says it, and by nothing else, for `[clients] from` and all that is checked goes by
that address. A name that is another backend's is told. What no backend listens on, or is no listening stream
socket, is told and not used, much as nginx closes what it inherits and does not know: one socket too many in
a unit must not keep all others from being served.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Collection, MutableMapping
from dataclasses import replace
from typing import NamedTuple

from muxproxy.config.address import Address, parse_listen
from muxproxy.supervisor.listening.places import Inode, Place
from muxproxy.supervisor.listening.sockets import Listener

FIRST = 3  # SD_LISTEN_FDS_START
# No backend's name, and no default of a socket unit's, has a slash. Of a unix socket's file: device, inode.
KEPT = re.compile(r"kept/\d+(?:/(\d+)/(\d+))?")
_UNNAMED = "unknown"  # as sd_listen_fds_with_names(3) calls those without a name


class Descriptor(NamedTuple):
    number: int
    name: str


def descriptors(environ: MutableMapping[str, str], pid: int) -> list[Descriptor]:
    """What was handed to this very process. The variables are removed: they are not for our workers."""
    meant_for = environ.pop("LISTEN_PID", "")
    count = environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    environ.pop("LISTEN_PIDFDID", None)
    if meant_for != str(pid) or not count.isdecimal():
        return []
    if len(names) != int(count):
        names = [_UNNAMED] * int(count)
    found = [Descriptor(FIRST + index, name) for index, name in enumerate(names)]
    for each in found:
        os.set_inheritable(each.number, False)
    return found


class Handed:
    """What was handed, until a backend takes it."""

    def __init__(self, found: Collection[Descriptor] = (), backends: Collection[str] = ()) -> None:
        """`backends`: their names."""
        self._backends = backends
        self.problems: list[str] = []  # to be told
        self._spare: list[Listener] = []
        for each in found:
            try:
                self._spare.append(adopt(each))
            except (OSError, ValueError) as error:
                os.close(each.number)
                if not KEPT.fullmatch(each.name):
                    self.problems.append(f"{each.name}: {error}")

    def take(self, backend: str, text: str) -> Listener | None:
        """The one that listens on this address."""
        wanted = parse_listen(text)
        for index, spare in enumerate(self._spare):
            if parse_listen(spare.address) == wanted:
                del self._spare[index]
                if spare.unit != backend and spare.unit in self._backends:
                    self.problems.append(f"{spare.unit}: its address, {text}, is backend {backend}'s")
                return replace(spare, address=text)
        return None

    def put(self, listener: Listener) -> None:
        """A backend has no more use for it: closed, but for those that a unit has. While that lives nobody
        can bind the address, we neither; so it is at hand if a reload wants it again."""
        if listener.unit:
            self._spare.append(listener)
        else:
            listener.close()

    def drop_kept(self) -> None:
        """Of a backend that was there when we last ran."""
        for spare in self._spare:
            if not spare.unit:
                spare.close()
        self._spare = [spare for spare in self._spare if spare.unit]

    @property
    def spares(self) -> list[Listener]:
        return list(self._spare)

    def idle(self) -> list[str]:
        """Those of units on which nobody accepts: who connects there waits in vain."""
        return [f"{spare.unit}: no backend listens on {spare.address}" for spare in self._spare]

    def close(self) -> None:
        for spare in self._spare:
            spare.close()


def adopt(found: Descriptor) -> Listener:
    """Raises ValueError where it is not what ListenStream= makes, OSError where it is no socket."""
    sock = socket.socket(fileno=found.number)
    try:
        address = str(_address(sock))
        kept = KEPT.fullmatch(found.name)
        place, inode = (None, None) if kept is None or kept[1] is None else _ours(address, (kept[1], kept[2]))
    except BaseException:
        sock.detach()
        raise
    sock.setblocking(False)
    return Listener(address, address, sock, place, inode, unit="" if kept else found.name)


def _address(sock: socket.socket) -> Address:
    """Raises ValueError."""
    if sock.type != socket.SOCK_STREAM:
        raise ValueError("not a stream socket: ListenStream= makes one")
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise ValueError("it does not listen: Accept=no")
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        if not isinstance(name, str) or not name:
            raise ValueError("a unix socket without a path")
        return parse_listen(f"unix:{name}")
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        raise ValueError("neither TCP nor a unix socket")
    if name[0] == "::" and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
        raise ValueError(f"[::]:{name[1]} takes IPv4, too: BindIPv6Only=ipv6-only")
    return parse_listen(str(Address("tcp", host=name[0], port=name[1])))


def _ours(address: str, written: tuple[str, str]) -> tuple[Place, Inode]:
    """Raises ValueError if its file is not there any more: nobody could connect to it, ever."""
    inode = int(written[0]), int(written[1])
    place = Place(parse_listen(address).path)
    if place.inode() != inode:
        place.close()
        raise ValueError("its file has gone")
    return place, inode

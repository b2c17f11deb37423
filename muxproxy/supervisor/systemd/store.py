"""Our listening sockets in the service's store: FDSTORE=1 of sd_notify(3), FileDescriptorStoreMax=.

systemd gives them back to the process that comes after us, be it by a restart or after a crash (handed.py).
Between the two they stay open: who connects then waits in the backlog, and nobody is refused. Those of socket
units systemd has anyhow, and a port that the kernel chose is another one next time.

What is in the store and has no listener any more would be worse than a closed port: connects would succeed,
and nobody would ever answer. So it is taken out as soon as a reload has no more use for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from muxproxy.config.address import parse_listen
from muxproxy.supervisor.listening.sockets import Listener
from muxproxy.supervisor.systemd.handed import KEPT, Descriptor
from muxproxy.supervisor.systemd.notify import notify


class Store:
    def __init__(self, found: Iterable[Descriptor] = ()) -> None:
        """`found`: what came out of it. It is still in there."""
        self._names = {each.name for each in found if KEPT.fullmatch(each.name)}

    def keep(self, listeners: Iterable[Listener]) -> None:
        """These and no others."""
        wanted = {name_of(listener): listener for listener in listeners if is_to_be_kept(listener)}
        for name in sorted(self._names - wanted.keys()):
            notify("FDSTOREREMOVE=1", f"FDNAME={name}")
        for name, listener in wanted.items():
            if name not in self._names:
                notify("FDSTORE=1", f"FDNAME={name}", descriptors=[listener.socket.fileno()])
        self._names = set(wanted)

    def forget(self, listener: Listener) -> None:
        """One that a predecessor had put in (upgrade.py)."""
        if is_to_be_kept(listener):
            notify("FDSTOREREMOVE=1", f"FDNAME={name_of(listener)}")


def is_to_be_kept(listener: Listener) -> bool:
    address = parse_listen(listener.address)
    return not listener.unit and (address.kind == "unix" or address.port != 0)


def name_of(listener: Listener) -> str:
    """The same for as long as the socket lives, whoever has it, and no other's."""
    name = f"kept/{os.fstat(listener.socket.fileno()).st_ino}"
    if listener.inode is not None:
        name += f"/{listener.inode[0]}/{listener.inode[1]}"
    return name

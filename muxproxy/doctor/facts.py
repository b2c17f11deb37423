"""What was read of a machine, in two looks some time apart and several glances in between. Pure.

A *flow* is all connections from one source address to one *remote* (address and port): what has ephemeral
ports of its own, since a port may serve once for each such pair. A *holder* is a process that has some of
its sockets.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

SOCK_DIAG = "sock_diag"


class Holder(msgspec.Struct, frozen=True):
    pid: int
    name: str
    user: str
    sockets: int = 0  # of the flow, at most at a time
    opened: int = 0  # of the flow's new ones, as many as were seen in its hands
    # "": its sockets were seen. Else nobody's were, and this is why it is thought of.
    guess: str = ""


class Flow(msgspec.Struct, frozen=True):
    source: str
    host: str
    port: int
    states: Mapping[str, int]  # at the second look
    ports: int = 0  # of ip_local_port_range that are taken, TIME_WAITs included
    young: int = 0  # TIME_WAITs younger than a second, which tcp_tw_reuse cannot take yet
    opened: float = 0.0  # connects per second, as many as were seen
    timed: float = 0.0  # TIME_WAITs that were added, per second
    growth: float = 0.0  # of `ports`, per second
    open_mean: float = 0.0  # ESTABLISHED at a time, over all looks
    open_most: int = 0
    busy_mean: float = 0.0  # of these: has said something, and nothing has come since
    busy_most: int = 0
    sent: float = 0.0  # segments with data, per second, on connections that lived through it
    rtt: float = 0.0  # seconds, the mean of the kernel's own smoothed figures
    unanswered: int = 0  # sockets whose last segments (or SYN) the other machine has not acknowledged in time
    retransmitted: int = 0  # segments between the two looks
    users: Mapping[str, int] = msgspec.field(
        default_factory=dict
    )  # whose sockets, also where no process is seen
    holders: tuple[Holder, ...] = ()

    @property
    def remote(self) -> str:
        return joined(self.host, self.port)

    @property
    def time_wait(self) -> int:
        return self.states.get("TIME_WAIT", 0)

    @property
    def churned(self) -> float:
        """Connections per second that come and go: a pool that fills, or is closed, does one of the two."""
        return min(self.opened, self.timed)

    @property
    def live(self) -> int:
        """Sockets that are somebody's or the kernel's, TIME_WAITs left out."""
        return sum(self.states.values()) - self.time_wait

    @property
    def is_loopback(self) -> bool:
        """What tcp_tw_reuse = 2 is about."""
        return all(ipaddress.ip_address(end).is_loopback for end in (self.source, self.host))


class Listener(msgspec.Struct, frozen=True):
    host: str
    port: int
    queue: int  # connections that are complete and wait for accept()
    backlog: int  # how many may
    dropped: int = 0  # since it was opened: connects that found the queue full
    dropped_now: int = 0  # of these between the two looks
    holders: tuple[Holder, ...] = ()

    @property
    def address(self) -> str:
        return joined(self.host, self.port)


class Process(msgspec.Struct, frozen=True):
    pid: int
    name: str
    user: str
    descriptors: int
    limit: int  # its soft limit, which accept() and socket() obey


class Sight(msgspec.Struct, frozen=True):
    """What could be seen, and what not."""

    is_root: bool
    processes: int = 0  # looked into
    hidden: int = 0  # processes of others
    unowned: int = 0  # sockets, there at both looks, of no process that was looked into
    namespaces: Mapping[int, int] = msgspec.field(default_factory=dict)  # a pid of it -> processes in it
    lists: int = 0  # of all sockets that live, that were made
    seconds: float = 1.0  # between the two looks
    by: str = SOCK_DIAG  # who told of sockets
    refused: str = ""  # why it was somebody else

    @property
    def knows_waiting(self) -> bool:
        """Which connections wait for a reply, and how long round trips are: tcp_info, which no text has."""
        return self.by == SOCK_DIAG


class Facts(msgspec.Struct, frozen=True):
    flows: tuple[Flow, ...]
    listeners: tuple[Listener, ...]
    processes: tuple[Process, ...]
    settings: Mapping[str, str]  # as /proc says it; what is not there is left out
    counters: Mapping[str, int]  # since the boot (or since the network namespace was made)
    growth: Mapping[str, int]  # of these between the two looks
    sight: Sight
    incoming: int = 0  # sockets that others have opened to this machine, TIME_WAITs included
    time_waits: int = 0  # of the whole namespace

    @property
    def ports(self) -> Ports:
        return Ports.read(self.settings)

    def knows(self, setting: str) -> bool:
        """Else what is assumed is Linux's own."""
        return setting in self.settings

    @property
    def may_reuse(self) -> Mapping[bool, bool]:
        """flow.is_loopback -> may the kernel take the port of a TIME_WAIT that is older than a second?"""
        word = self.settings.get("tcp_tw_reuse", "2")
        stamps = self.settings.get("tcp_timestamps", "1") != "0"
        return {False: word == "1" and stamps, True: word in ("1", "2") and stamps}


class Ports(NamedTuple):
    """From where connect() takes its ports."""

    low: int
    high: int
    reserved: frozenset[int]  # of all ports

    @classmethod
    def read(cls, settings: Mapping[str, str]) -> Ports:
        words = settings.get("ip_local_port_range", "32768 60999").split()
        return cls(int(words[0]), int(words[1]), port_list(settings.get("ip_local_reserved_ports", "")))

    @property
    def size(self) -> int:
        inside = sum(1 for port in self.reserved if self.low <= port <= self.high)
        return max(1, self.high - self.low + 1 - inside)

    def __contains__(self, port: object) -> bool:
        return isinstance(port, int) and self.low <= port <= self.high and port not in self.reserved


def port_list(text: str) -> frozenset[int]:
    """`8080,9000-9002`, as ip_local_reserved_ports has it."""
    found: set[int] = set()
    for part in text.replace(",", " ").split():
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


def joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

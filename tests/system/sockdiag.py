"""The kernel's own list of TCP sockets, and a process that samples it: the judge of P1.

`sockets(address)` asks netlink's sock_diag for every IPv4 socket whose peer is `address`. States and port
are filtered by the kernel: beside 100,000 TIME_WAITs a dump takes 5 ms (`/proc/net/tcp` prints them all).
The port alone is not enough: a client at 127.0.1.101 may get the very port that the origin has at 127.0.0.2,
and then the proxy's socket towards that client would count as one towards the origin.
`Sampler` runs the same question every few milliseconds in a process of its own and says at the end what the
worst moment was.

A dump is no snapshot: the kernel walks its hash table for about a millisecond, and a socket that replaces
another in the middle of the walk may be listed beside it. So a new maximum counts as `held` only when a
second dump, taken at once, still lists the same sockets: what both list existed together between the two.
`seen` is the plain count.
"""

from __future__ import annotations

import select
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from muxproxy import sockdiag
from muxproxy.sockdiag import BIT, HEADER, STATES, is_socket, messages
from tests.system.process import Child, go_first, say, take_orders

# Everything that is a connection of somebody's. TIME_WAIT has no socket any more, LISTEN has no peer yet.
CONNECTED = tuple(name for name in BIT if name not in ("TIME_WAIT", "CLOSE", "LISTEN", "SYN_RECV"))

# inet_diag_msg: family, state, timer, retransmits, the sockid with its cookie, expires, queues, uid, inode.
_ANSWER = struct.Struct("=4B2s2s16s16s4xQ5I")


class Entry(NamedTuple):
    state: str
    inode: int  # 0: no process holds it; the kernel is finishing it alone
    source: tuple[str, int]
    destination: tuple[str, int]
    cookie: int  # never used twice while the machine runs


class SockDiag(sockdiag.SockDiag):
    """Each `sockets()` is one dump."""

    def sockets(self, peer: str, *, states: tuple[str, ...] = CONNECTED) -> list[Entry]:
        """Those whose peer is HOST:PORT; "*": whatever host."""
        host, _, port = peer.rpartition(":")
        mask = sum(BIT[name] for name in states)
        entries = [
            entry(data, at)
            for data in self.dump(socket.AF_INET, mask, destination=int(port))
            for at, _ in messages(data)
            if is_socket(data, at)
        ]
        return [each for each in entries if host in ("*", each.destination[0])]


def entry(data: bytes, at: int) -> Entry:
    _, state, _, _, sport, dport, source, destination, cookie, _, _, _, _, inode = _ANSWER.unpack_from(
        data, at + HEADER.size
    )
    return Entry(
        STATES[state],
        inode,
        (socket.inet_ntoa(source[:4]), int.from_bytes(sport, "big")),
        (socket.inet_ntoa(destination[:4]), int.from_bytes(dport, "big")),
        cookie,
    )


@dataclass
class Tally:
    """What a sampler saw: `held` by a process and proven, `seen` in one dump, `lingering` without one."""

    samples: int = 0
    longest_gap: float = 0.0  # seconds between two samples
    last_dump: float = 0.0  # seconds that the last sample took
    seconds: float = 0.0  # from the first sample to the last
    held: int = 0
    seen: int = 0
    lingering: int = 0
    each: int = 0  # held towards one of several destinations, and proven likewise
    by_count: dict[str, int] = field(default_factory=dict)  # sockets held -> samples
    worst: list[str] = field(default_factory=list)  # the sockets of the moment `held` was set


class Watch:
    """Takes samples and keeps the tally. Pure but for `dump`, which tests replace."""

    def __init__(self, dump: Callable[[], list[Entry]], ignore_sources: tuple[str, ...] = ()) -> None:
        self._dump = dump
        self._ignore = frozenset(ignore_sources)
        self._counts: Counter[int] = Counter()
        self.tally = Tally()

    def sample(self) -> None:
        tally = self.tally
        entries = self._list()
        held = [entry for entry in entries if entry.inode]
        tally.samples += 1
        tally.seen = max(tally.seen, len(held))
        tally.lingering = max(tally.lingering, len(entries) - len(held))
        self._counts[len(held)] += 1
        if len(held) > tally.held or _most(held) > tally.each:
            still = {entry.cookie for entry in self._list() if entry.inode}
            together = [entry for entry in held if entry.cookie in still]
            tally.each = max(tally.each, _most(together))
            if len(together) > tally.held:
                tally.held = len(together)
                tally.worst = [f"{e.state} {e.source[0]}:{e.source[1]} inode {e.inode}" for e in together]

    def _list(self) -> list[Entry]:
        return [entry for entry in self._dump() if entry.source[0] not in self._ignore]

    def result(self) -> Tally:
        self.tally.by_count = {str(count): number for count, number in sorted(self._counts.items())}
        return self.tally


def _most(entries: list[Entry]) -> int:
    return max(Counter(entry.destination for entry in entries).values(), default=0)


class Sampler:
    """Watches the sockets towards a backend's servers (HOST:PORT each), taken together, from a process of its
    own until `result()` is asked for.
    """

    def __init__(self, *peers: str, ignore_sources: tuple[str, ...] = (), every: float = 0.002) -> None:
        orders = {"peers": peers, "ignore": ignore_sources, "every": every}
        self._child = Child("tests.system.sockdiag", orders)

    def now(self) -> Tally:
        """The tally so far."""
        self._child.tell("now")
        return Tally(**self._child.answer(within=10))

    def afresh(self) -> Tally:
        """The tally so far; another one begins."""
        self._child.tell("afresh")
        return Tally(**self._child.answer(within=10))

    def result(self) -> Tally:
        """The whole tally, one last sample included."""
        return Tally(**self._child.results())

    def __enter__(self) -> Sampler:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.close()


def main() -> None:
    go_first()  # a judge who waits for the CPU behind those he judges misses the moment
    orders = take_orders()
    kernel = SockDiag()

    def afresh() -> Watch:
        return Watch(
            lambda: [entry for peer in orders["peers"] for entry in kernel.sockets(peer)],
            tuple(orders["ignore"]),
        )

    watch = afresh()
    watch.sample()
    say("ready")
    first = last = due = time.monotonic()
    while True:
        asked = bool(select.select([0], [], [], max(0.0, due - time.monotonic()))[0])
        if asked and (order := sys.stdin.buffer.readline()):
            say(asdict(watch.result()))  # no sample for being asked: the answer is what the clock brought
            if b"afresh" in order:
                watch = afresh()
            continue
        began = time.monotonic()
        watch.sample()
        now = time.monotonic()
        tally = watch.tally
        tally.longest_gap = max(tally.longest_gap, now - last)
        tally.seconds = now - first
        tally.last_dump = now - began
        last = now
        # Beside many TIME_WAITs a dump takes longer: never spend more than a fifth of a core on it.
        due = now + max(orders["every"], 4 * tally.last_dump)
        if asked:  # end of orders
            say(asdict(watch.result()))
            return


if __name__ == "__main__":
    main()

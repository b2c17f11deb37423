"""Which of a name's addresses, when it has several (RFC 8305).

The addresses stand in the order that the resolver gives, its families in turn (section 4). The first is
tried; when a connect has not come to an end after DELAY the next one is tried beside it (section 5), if
somebody still waits and there is a place: each attempt counts against the bound (P1), and where there is no
second place the next address has its turn when the first attempt has failed. What becomes of an address is
its server's to remember (base/server.py), so that a family that does not work is tried first once and not
each time. Attempts that come late are no loss: they are connections like others.
"""

from __future__ import annotations

from itertools import chain, zip_longest
from typing import Final

from muxproxy.mux.base.pool import Pool
from muxproxy.mux.base.upstream import CONNECTING
from muxproxy.mux.deadlines import INF, Timed

DELAY: Final = 0.25  # seconds: "Connection Attempt Delay", RFC 8305 section 8


def in_turn(addresses: list[str]) -> list[str]:
    """As they are to be tried: `[::1]:80` and `127.0.0.1:80` in turn, beginning with the first's family."""
    six = [address for address in addresses if address[0] == "["]
    four = [address for address in addresses if address[0] != "["]
    pairs = (six, four) if addresses and addresses[0][0] == "[" else (four, six)
    return [address for address in chain.from_iterable(zip_longest(*pairs)) if address is not None]


class Race(Timed):
    """Of one pool."""

    __slots__ = ("_pool",)

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.deadline = INF
        self.wake = INF

    def on_dial(self, now: float) -> None:
        if self.deadline == INF and len(self._pool.servers) > 1:
            self.deadline = now + DELAY
            self._pool.fine.watch(self)

    def on_deadline(self, now: float) -> None:
        self.deadline = INF
        pool, oldest = self._pool, INF
        for server in pool.servers:
            server.late = 0
        for upstream in pool.upstreams:
            if upstream.state == CONNECTING:
                if now - upstream.dialled >= DELAY:
                    upstream.server.late += 1
                else:
                    oldest = min(oldest, upstream.dialled)
        if oldest != INF:
            self.deadline = oldest + DELAY
            pool.fine.watch(self)
        pool.on_worth_a_try(now)

    def on_bug(self, now: float) -> None:
        """Ours: the next connect tries again."""

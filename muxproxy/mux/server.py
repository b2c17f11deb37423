"""One server of a backend: its connections, and whether it is worth a try.

up --connect failed--> backing off --time is up--> probing (one connect) --> up | backing off, longer
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from muxproxy.metrics.snapshot import ServerSnapshot
from muxproxy.mux.deadlines import INF

if TYPE_CHECKING:
    from muxproxy.mux.pool import Pool
    from muxproxy.mux.shared import ByOrder
    from muxproxy.mux.upstream import Upstream


class Server:
    """`address` as the dialer takes it. `idle`: EXCLUSIVE connections that owe nothing, last used last
    (LIFO, P4). `open`: of the shared sharings, all that are connected."""

    __slots__ = (
        "address",
        "connecting",
        "connections",
        "deadline",
        "failed_at",
        "failures",
        "gone",
        "idle",
        "in_flight",
        "last_error",
        "open",
        "pool",
        "retry_at",
        "wake",
    )

    def __init__(self, pool: Pool, address: str) -> None:
        self.pool = pool
        self.address = address
        self.idle: list[Upstream] = []
        self.open: list[ByOrder] = []
        self.connections = 0  # sockets, connecting ones included
        self.connecting = 0
        self.in_flight = 0
        self.failures = 0  # connects that failed in a row
        self.failed_at = 0.0
        self.last_error = ""
        self.retry_at = 0.0
        self.gone = False  # its name no longer says this address
        self.deadline = INF
        self.wake = INF

    def may_dial(self, now: float) -> bool:
        """A server in doubt is probed by one connection at a time."""
        return not self.gone and (not self.failures or (not self.connecting and now >= self.retry_at))

    def on_failed(self, error: str, dialled: float, now: float) -> None:
        """up | probing => backing off: twice as long each time, with jitter, from when the connect began.

        Connects that were under way together fail together: that is one failure."""
        config = self.pool.config
        self.last_error = error
        if self.failures and dialled <= self.failed_at:
            return
        self.failures += 1
        self.failed_at = now
        # 2 ** 16 is beyond any backoff_max / backoff_min; a larger power would only overflow after days of
        # failure
        delay = min(config.backoff_max, config.backoff_min * 2 ** min(self.failures - 1, 16))
        # from its beginning, or a server whose connects hang would be left for connect_timeout and this
        self.retry_at = max(
            now + config.backoff_min / 2, dialled + delay * (0.5 + 0.5 * self.pool.world.jitter())
        )
        self.deadline = self.retry_at
        self.pool.fine.watch(self)

    def on_succeeded(self) -> None:
        self.failures = 0
        self.deadline = INF

    def on_deadline(self, now: float) -> None:
        """backing off => probing, if anybody waits or min_connections are not there"""
        self.deadline = INF
        self.pool.grow(now)
        self.pool.warm(now)

    def on_bug(self, now: float) -> None:
        """Ours: a dial raised, perhaps. Who waits for this server must not wait for ever."""
        self.deadline = now + self.pool.config.backoff_max
        self.pool.fine.watch(self)

    def snapshot(self) -> ServerSnapshot:
        state = "up" if not self.failures else "probing" if self.connecting else "backing_off"
        return {
            "address": self.address,
            "state": state,
            "connections": self.connections,
            "in_flight": self.in_flight,
            "failures": self.failures,
            "last_error": self.last_error,
        }

    def __str__(self) -> str:
        return self.address


def coming(servers: Sequence[Server], free: int, now: float) -> int:
    """Connections that are being made, and those that could be: `free` is what the bound leaves."""
    connecting = sum(server.connecting for server in servers)
    return connecting + (free if any(server.may_dial(now) for server in servers) else 0)

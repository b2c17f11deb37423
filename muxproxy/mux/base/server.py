"""One server of a backend: its connections, and whether it is worth a try.

up --connect failed--> backing off --time is up--> probing (one connect) --> up | backing off, longer

A connection that its server ends before it has said a word on it is a connect that failed: the server accepts
and closes (it has as many as it wants, a balancer has nothing behind). So the next one is watched for a
moment before anybody's request is risked on it, and the server is up again when it has said something on one
that was dialled since. Others are dialled as soon as one has lasted that moment, unless another server can
serve: who sends what makes a server close must not make it unreachable for all.
up --last call--> stopping --gone, as a connect tells--> backing off    (contract.PUSH)

Some servers close each connection after its first reply, or after so many, without having said so (uWSGI's
`--http-socket`). The FIN comes a moment after the reply: a request written meanwhile is lost, and only what
is idempotent may be sent again (P9). So a connection on which so many replies have come *rests*:
it is nobody's until its server has ended it, or a while has shown that it lives on. Connections to a new
server rest after their first reply until one has lived on, by resting or because a request that may be sent
again went ahead; from then on none does, until the server is seen to close so. That is forgotten when as many
have lived on.

A server that is about to stop gets nothing new while another one can serve. Whether it is gone by now a
connect of ours tells, which is closed at once: an open connection would keep it from its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from muxproxy.metrics.snapshot import ServerSnapshot
from muxproxy.mux.base.accounts import Accounts
from muxproxy.mux.deadlines import INF, Timed

# Seconds. uWSGI's FIN is some 0.1 ms behind its reply; both cores busy with others, some ms.
REST: Final = 0.05
MOST_DOUBLINGS: Final = 3  # of a rest: 0.4 s
MOST_ENDINGS: Final = 8


class PoolOfServers(Accounts):
    """What a server asks of its pool."""

    def others_serve(self, server: Server) -> bool:
        raise NotImplementedError

    def look_at(self, server: Server, now: float) -> None:
        """Is it gone? If there is a place for a connection that nobody needs (P1)."""
        raise NotImplementedError

    def on_stopping(self) -> None:
        """Another server, or one less, is about to stop."""
        raise NotImplementedError

    def on_worth_a_try(self, now: float) -> None:
        """A server may be dialled that could not be until now."""
        raise NotImplementedError


class Server(Timed):
    """`address` as the dialer takes it. `idle`: connections that owe nothing, last used last (LIFO, P4).
    `open`: where connections are shared, all that are connected. Both of the pool's own kind, which has no
    name here."""

    __slots__ = (
        "_ended_after",
        "_told",
        "absent_since",
        "accepts",
        "address",
        "closes",
        "connecting",
        "connections",
        "doubted_until",
        "endings",
        "failed_at",
        "failures",
        "gone",
        "idle",
        "in_flight",
        "is_told",
        "last_error",
        "lasts",
        "late",
        "open",
        "pace",
        "pool",
        "reached",
        "resting",
        "retry_at",
        "stopping",
    )

    def __init__(self, pool: PoolOfServers, address: str) -> None:
        self.pool = pool
        self.address = address
        self.idle: list[Any] = []
        self.open: list[Any] = []
        self.connections = 0  # sockets, connecting ones included
        self.connecting = 0
        self.late = 0  # of these, that take so long that others are tried (destinations/race.py)
        self.in_flight = 0
        self.failures = 0  # connects that failed in a row
        self.failed_at = 0.0
        self.is_told = True  # the log says that it failed, and so that it is back
        self.closes = False  # the last failure: it accepted, and closed without a word
        self.accepts = False  # but a connection has lasted for a moment since
        self.last_error = ""
        self.retry_at = 0.0
        self.pace = INF  # it closes connections that are silent for three times as long (tagged/heartbeat.py)
        self.stopping = 0.0  # it wants no more requests; until then, at the latest
        self.doubted_until = 0.0  # it has ended a connection: idle ones are looked at before they are used
        # The last connect that ended had succeeded; True, too, before any has begun: it is worth a try.
        self.reached = True
        self.absent_since = INF  # its name does not give this address any more, but may again
        self.gone = False  # its name no longer says this address
        self.deadline = INF
        self.wake = INF
        # Replies after which a connection of its rests; INF: none does.
        self.lasts: float = 1.0 if pool.protocol.may_close_unsaid else INF
        self.endings = 0  # of connections that it closed so, less those that lived on; MOST_ENDINGS at most
        self.resting: list[Any] = []
        self._ended_after = 0  # replies, of the last connection that it closed so
        self._told = False  # the log says it once

    def on_attempt_over(self) -> None:
        """A connect has come to its end."""
        self.connecting -= 1
        self.late = min(self.late, self.connecting)

    def may_dial(self, now: float) -> bool:
        """A server in doubt is probed by one connection at a time."""
        if self.gone or self.absent_since != INF or (self.failures and not self._may_probe(now)):
            return False
        return not self.stopping or not self.pool.others_serve(self)

    def _may_probe(self, now: float) -> bool:
        if self.accepts:
            return not self.connections or not self.pool.others_serve(self)
        return not self.connecting and now >= self.retry_at

    def coming(self) -> int:
        """Connects under way that bring a connection to use."""
        return 0 if self.stopping and self.pool.others_serve(self) else self.connecting - self.late

    def is_absent(self, now: float) -> bool:
        """Its name gives other addresses, and has for so long that this is no turn of a rota, or nothing that
        works is lost with it."""
        self.absent_since = min(self.absent_since, now)
        return self.connections <= self.connecting or now - self.absent_since >= self.pool.config.name_grace

    def can_serve(self) -> bool:
        """As far as we know."""
        return not self.stopping and (not self.failures or len(self.open) > 0)

    def on_failed(self, error: str, dialled: float, now: float, *, closes: bool = False) -> None:
        """up | probing => backing off: twice as long each time, with jitter, from when the connect began.

        Connects that were under way together fail together: that is one failure."""
        config = self.pool.config
        self.last_error = error
        if self.stopping:
            self._set_stopping(0.0)
        if self.failures and dialled <= self.failed_at:
            return
        self.failures += 1
        self.failed_at = now
        self.closes, self.accepts = closes, False
        # 2 ** 16 is beyond any backoff_max / backoff_min; a larger power would only overflow after days of
        # failure
        delay = min(config.backoff_max, config.backoff_min * 2 ** min(self.failures - 1, 16))
        # from its beginning, or a server whose connects hang would be left for connect_timeout and this
        self.retry_at = max(
            now + config.backoff_min / 2, dialled + delay * (0.5 + 0.5 * self.pool.world.jitter())
        )
        self.deadline = self.retry_at
        self.pool.fine.watch(self)

    def on_back(self) -> None:
        """backing off | probing => up"""
        where = {"backend": self.pool.name, "server": str(self)}
        if self.is_told:
            self.pool.world.log("server is back", **where, failures=self.failures)
        self.failures = 0
        self.closes = self.accepts = False
        if not self.stopping:  # else its looks go on
            self.deadline = INF

    # -- what its connections last -----------------------------------------------------------------

    def rest(self) -> float:
        """Seconds: longer the more often it has closed, and well within the time that anybody may wait."""
        return min(REST * (1 << min(self.endings, MOST_DOUBLINGS)), self.pool.queue.timeout / 2)

    def on_ended_unsaid(self, replies: int) -> None:
        """It closed a connection right behind its so-manieth reply. Reloads, too, look like that, but hardly
        twice after the same number above one."""
        if replies == 1 or replies == self._ended_after:
            self.endings = min(self.endings + 1, MOST_ENDINGS)
            self.lasts = float(replies)
            if not self._told:
                self._told = True
                where = {"backend": self.pool.name, "server": str(self)}
                self.pool.world.log("server closes after replies without saying so", **where, replies=replies)
        self._ended_after = replies

    def on_outlived(self) -> bool:
        """A connection lives on behind that reply. True: no other needs to rest any more."""
        self.endings = max(0, self.endings - 1)
        if not self.endings:
            self.lasts = INF
        return not self.endings

    def on_last_call(self, now: float, timeout: float) -> None:
        """up => stopping"""
        if not self.stopping:
            self.pool.world.log("server is about to stop", backend=self.pool.name, server=str(self))
        self._set_stopping(now + timeout)
        self._look_later(now)

    def on_stays(self, why: str, now: float) -> None:
        """stopping => up"""
        if self.stopping:
            self._set_stopping(0.0)
            self.pool.world.log(why, backend=self.pool.name, server=str(self))
            self.pool.on_worth_a_try(now)

    def _set_stopping(self, until: float) -> None:
        self.stopping = until
        self.pool.on_stopping()

    def _look_later(self, now: float) -> None:
        pause = self.pool.config.backoff_max * (0.5 + 0.5 * self.pool.world.jitter())
        self.deadline = min(self.stopping, now + pause)
        self.pool.fine.watch(self)

    def on_deadline(self, now: float) -> None:
        """backing off => probing, if anybody waits or min_connections are not there; stopping: looked at, or
        used all the same where no other serves"""
        self.deadline = INF
        if self.stopping > now:
            self.pool.look_at(self, now)
            self._look_later(now)
        else:
            self.on_stays("server did not stop", now)
        self.pool.on_worth_a_try(now)

    def on_bug(self, now: float) -> None:
        """Ours: a dial raised, perhaps. Who waits for this server must not wait for ever."""
        self.deadline = now + self.pool.config.backoff_max
        self.pool.fine.watch(self)

    def snapshot(self) -> ServerSnapshot:
        state = "up" if not self.failures else "probing" if self.connecting else "backing_off"
        if self.absent_since != INF:
            state = "absent"
        return {
            "address": self.address,
            "state": "stopping" if self.stopping else state,
            "connections": self.connections,
            "in_flight": self.in_flight,
            "failures": self.failures,
            "last_error": self.last_error,
        }

    def __str__(self) -> str:
        return self.address


def coming(servers: Sequence[Server], free: int, now: float) -> int:
    """Connections that are being made, and those that could be: `free` is what the bound leaves."""
    connecting = sum(server.coming() for server in servers)
    return connecting + (max(0, free) if any(server.may_dial(now) for server in servers) else 0)

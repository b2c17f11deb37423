"""What a live pool does when its configuration changes: its clients and its warm connections stay.

The numbers are Accounts._set_up()'s. Here is what they do to those who are there: who waits is served where
there is more now, and connections that may not stay go, as config/ways.py promises. These get nothing new and
close when they owe nothing, P1 holding meanwhile; a session that has one alone keeps it until it ends. Those
that are of no use any more (of a server that was removed, logged in with what is no longer ours) are
`outdated`, and are cut at the end of drain_timeout; whose time is merely up is not.

How many connections there may be is not said here: that comes from who lends them (allowance.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from muxproxy.budget import Order
from muxproxy.config.limits import CLIENTS, PINNED, PLACES, QUEUED
from muxproxy.config.model import Backend
from muxproxy.mux.base.accounts import Parts
from muxproxy.mux.base.lending.allowance import Allowance
from muxproxy.mux.base.lending.rations import ClientRation, PinRation, QueueRation, Ration
from muxproxy.mux.base.refusing import Refusing
from muxproxy.mux.base.upstream import CLOSING, OPEN, Upstream
from muxproxy.mux.deadlines import INF
from muxproxy.protocols.contract import Reason

REMOVED: Final = "server removed"
OTHER_TLS: Final = "[upstream.tls] has changed"
TOO_OLD: Final = "max_lifetime"
RECONNECT: Final = "reconnect"  # an operator wanted so


class Changing(Refusing):
    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.allowance = Allowance(self)
        self.crowd = ClientRation(self, self.bounds[CLIENTS])
        self.line = QueueRation(self, self.gate, QUEUED, self.bounds[QUEUED])
        self.pins = PinRation(self, self.bounds[PINNED])
        self.rations: dict[str, Ration] = {CLIENTS: self.crowd, QUEUED: self.line, PINNED: self.pins}

    def configure(self, backend: Backend, now: float) -> None:
        """From now on it is as `backend` says: the same one, of the same protocol. Which servers there are
        its resolver says (set_servers)."""
        life, tunnels = self.config.max_lifetime or INF, self.tunnel_timeout
        self._parts = self._parts._replace(backend=backend)
        outdated = self.protocol.configure(backend)
        if backend.upstream.tls != self.config.tls:
            outdated = OTHER_TLS
        self._set_up(backend)
        for key, ration in self.rations.items():
            ration.configure(self.bounds[key], now)
        if self.tunnel_timeout < tunnels and self.leads_clients:
            for client in self.clients:
                client.on_shorter_tunnels(now)
        for queue in self.queues():
            queue.set_timeout(backend.queue.timeout, now)
        if outdated:
            self._end_all(self.upstreams, outdated, now)
        if (self.config.max_lifetime or INF) < life:
            self._shorten_lives(now)
        self.serve(now)
        self.warm(now)
        if self.gate.waiting:
            self.allowance.want(now)

    def begin(self, orders: Mapping[str, Order], now: float) -> None:
        """What a new pool has been lent: not its whole bounds, of which others may have a part."""
        for key, order in orders.items():
            if key == PLACES:
                self.allowance.begin(order)
            else:
                self.rations[key].begin(order, now)

    def keeps_client(self, client: Any, data: bytes, now: float) -> bool:
        return self.crowd.admit(client, data, now)

    def keep_early(self, client: Any, data: bytes) -> None:
        self.crowd.keep_early(client, data)

    def forget_client(self, client: Any) -> None:
        self.crowd.forget(client)

    def reconnect(self, now: float, address: str = "") -> None:
        """Each connection is replaced as it comes free; those being made are new. `address`: one server's. A
        session that has one alone keeps it, and then its life is over."""
        old = [u for u in self.upstreams if u.state == OPEN and address in ("", u.server.address)]
        for upstream in old:
            upstream.retire_at = -INF
        self._retire(old, RECONNECT, now)

    def _end_all(self, upstreams: Iterable[Upstream], why: str, now: float) -> None:
        """These may not stay."""
        ending = [upstream for upstream in upstreams if not upstream.outdated]
        for upstream in ending:
            upstream.outdated, upstream.outdated_at = why, now
        self._retire(ending, why, now)

    def _shorten_lives(self, now: float) -> None:
        life, over = self.config.max_lifetime, []
        for upstream in self.upstreams:
            if upstream.state == OPEN:
                last = upstream.dialled + life * (0.9 + 0.1 * self.world.jitter())
                upstream.retire_at = min(upstream.retire_at, last)
                if now > upstream.retire_at:
                    over.append(upstream)
        self._retire(over, TOO_OLD, now)

    def _retire(self, upstreams: list[Upstream], why: str, now: float) -> None:
        """Those that owe nothing first: what the others have gathered goes to none of them."""
        for busy in (False, True):
            for upstream in upstreams:
                if upstream.is_busy() is busy:
                    upstream.retire(why, now)

    def end_retiring(self, now: float, until: float = INF) -> int:
        """The time to drain is up for those that may not stay, and were told so by `until`: whom they have is
        told. Returns how many connections are cut; idempotent requests may go elsewhere (P9)."""
        left = [
            each
            for each in self.upstreams
            if each.outdated and each.outdated_at <= until and each.state < CLOSING
        ]
        for upstream in left:
            text = f"{upstream.outdated}, and drain_timeout is over"
            upstream.fail(upstream.outdated, Reason.SERVER_CLOSED, text, now)
        self.serve(now)
        return len(left)

"""The random conversations of the folder above, through a forward proxy: each request goes to a host of many,
by its target or by Host, on connections of that host's own, and all else holds as without (P1 to P4, P9)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes import Peer, Stage
from tests.mux.destinations.test_hosts import Hosts
from tests.plays import played
from tests.protocols.http import test_conversations as plain
from tests.protocols.http.forward.talk import VIA
from tests.protocols.http.imitation import Ask, Caller, Origin

HOSTS = 5


def host_of(name: str) -> bytes:
    return b"10.0.0.%d" % (1 + sum(name.encode()) % HOSTS)


class HostCaller(Caller):
    """It names where each request goes."""

    def says(self) -> None:
        before = self._said
        super().says()
        if self._said != before:
            ask = self.owed[-1]
            self.unsent = self.unsent.replace(ask.head(), self._named(ask), 1)

    def _named(self, ask: Ask) -> bytes:
        head, host = ask.head(), host_of(ask.name)
        if self._random.random() < 0.5:
            return head.replace(b"Host: h\r\n", b"Host: " + host + b"\r\n")
        head = head.replace(b" /", b" http://" + host + b"/", 1)
        said = self._random.choice((host, b"other"))  # the target wins
        return head.replace(b"Host: h\r\n", b"Host: " + said + b"\r\nProxy-Connection: keep-alive\r\n")


class HostOrigin(Origin):
    """It is one host, and gets what names it."""

    def _begin(self) -> None:
        head, _, rest = self._come.partition(b"\r\n\r\n")
        host = self.peer.wire.brain.server.address.partition(":")[0].encode()
        assert b"\r\nHost: " + host + b"\r\n" in head + b"\r\n", head
        assert head.endswith((VIA[:-2], VIA[:-2].replace(b"1.1", b"1.0"))), head
        assert b"\r\nproxy-" not in head.lower()
        head = head.replace(b"\r\nHost: " + host, b"\r\nHost: h").rpartition(b"\r\nVia: ")[0]
        self._come = head + b"\r\n\r\n" + rest
        super()._begin()


class HostPlay(plain.Play):
    caller_type = HostCaller

    def __init__(self, seed: int, *, losses: bool) -> None:
        super().__init__(seed, losses=losses)
        keys: dict[str, Any] = {**self.stage.keys}
        self.bound = keys["max_connections"] = self.random.choice((1, 3, 8))
        self.each = keys["max_connections_each"] = self.random.choice((1, 2, 8))
        self.stage: Stage = Hosts(**keys)
        self.stage.request_high = self.random.choice((1000, 64 * 1024))

    def origin(self, peer: Peer) -> Origin:
        return HostOrigin(peer, self.asks, self.random, chokes=self.losses)

    def serve_all(self) -> None:
        super().serve_all()
        for origin in self.origins:
            if origin.tunnels and origin.peer.wire.eof:  # FIN for FIN: either direction ends by itself
                origin.peer.closes()

    def look(self) -> None:
        super().look()
        for place, count in self.stage.open().items():
            assert count <= self.each, f"{count} sockets to {place}"
        for room in self.stage.front.rooms.values():
            is_idle = any(server.idle for server in room.pool.servers)
            assert not (room.pool.queue.size and is_idle), "somebody waits beside a free place (P4)"


@pytest.mark.parametrize("losses", [False, True], ids=["no losses", "losses"])
def test_every_caller_gets_its_own_replies_from_the_host_that_it_named(losses: bool) -> None:
    for play in played(lambda seed: HostPlay(seed, losses=losses), seeds=8, steps=150):
        assert "internal" not in play.stage.outcomes()

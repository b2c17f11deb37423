"""The heart and this room together: random clients, connections that are lost, times that pass; and nobody
gets another's reply, db, version or transaction (P2), nor is anything left when all have gone (P1, P3)."""

from __future__ import annotations

from random import Random

import pytest

from muxproxy.config.model import Redis
from muxproxy.protocols.redis import RedisProtocol
from tests.fakes import Stage
from tests.plays import connected, is_told, left_behind, played
from tests.protocols.redis.imitation import Asker, Server

CLIENTS = 6


class Play:
    def __init__(self, seed: int, *, losses: bool) -> None:
        random = self.random = Random(seed)
        self.losses = losses
        self.users = users = random.random() < 0.5
        self.keep_silent = random.random() < 0.7
        self.most = most = random.choice((2, 8, 64))
        self.stage = Stage(
            RedisProtocol(
                Redis(fence=random.choice((0, 0, 2)), auth="passthrough" if users else "configured"),
                max_in_flight=most,
            ),
            max_connections=random.choice((1, 2, 3)),
            max_pinned=random.choice((1, 2)),
            max_in_flight=most,
            reply_timeout=5.0,
            timeout=2.0,
            response_buffer=random.choice((100, 64 * 1024)),
            pipeline_buffer=1 << 28,
        )
        self.askers: list[Asker] = []
        self.servers: list[Server] = []
        self.born = 0
        self.stalled: Server | None = None  # it says nothing, while the others do

    def step(self) -> None:
        random, askers, servers = self.random, self.askers, self.servers
        if self.stage.dials and random.random() < 0.7:
            peer = connected(self.stage, random, losses=self.losses)
            if peer is not None:
                servers.append(Server(peer, keeps_silent=self.keep_silent))
        what = random.random()
        if what < 0.12 and len(askers) < CLIENTS:
            askers.append(Asker(self.stage, self.born, random, users=self.users, mutes=not self.losses))
            self.born += 1
        elif what < 0.5 and askers:
            self.ask(random.choice(askers))
        elif what < 0.58 and askers:
            asker = askers.pop(random.randrange(len(askers)))
            asker.peer.reads()
            asker.peer.closes() if random.random() < 0.6 else asker.peer.breaks_off()
        elif what < 0.62 and servers and self.losses:
            peer = random.choice(servers).peer
            if random.random() < 0.6:
                peer.closes()
            else:
                peer.wire.refuses = "Broken pipe"
        elif what < 0.66:
            self.stage.passes(random.choice((0.01, 0.5, 2.1) if self.losses else (0.01, 0.25)))
        elif servers:
            server = random.choice(servers)
            if random.random() < 0.05:
                self.stalled = None if self.stalled else server
            if server is not self.stalled:
                self.serve(server)
        self.look()

    def ask(self, asker: Asker) -> None:
        random = self.random
        if random.random() < 0.1:  # writes all before it reads anything
            asker.peer.stops_reading()
        elif random.random() < 0.2:
            asker.peer.reads()
        for _ in range(random.choice((1, 1, 2, 4))):
            asker.says()
        cut = len(asker.unsent) if random.random() < 0.8 else random.randrange(len(asker.unsent) + 1)
        data, asker.unsent = asker.unsent[:cut], asker.unsent[cut:]
        asker.peer.sends(data)

    def serve(self, server: Server) -> None:
        server.work()
        if server.blocks and self.random.random() < 0.3:
            server.blocks = False
            server.work()
        ready = len(server.replies) - server.blocks
        cut = 1.0 if self.random.random() < 0.6 else self.random.random()
        server.send(self.random.randrange(ready) + 1 if ready > 0 else 0, cut)

    def look(self) -> None:
        for asker in list(self.askers):
            asker.hears()
            if asker.was_refused or not asker.peer.is_open:
                asker.peer.reads()
                asker.peer.closes()
                self.askers.remove(asker)
        self.servers[:] = [server for server in self.servers if server.peer.is_open]
        for upstream in self.stage.pool.upstreams:
            in_flight = sum(each.weight for each in upstream._waiting_for_reply() if each.client is not None)
            assert in_flight <= self.most, "P7: max_in_flight"

    def cut_off(self) -> None:
        """The time to drain is up: who is owed a reply that has not begun is told so, if it listens, and
        nobody stays."""
        with self.stage.turn():
            self.stage.pool.drain(self.stage.world.now)
        self.look()
        for asker in self.askers:
            asker.peer.reads()
        told = [asker for asker in self.askers if is_told(asker.peer)]
        with self.stage.turn():
            self.stage.pool.cut_off(self.stage.world.now)
        for asker in self.askers:
            asker.hears()
            assert asker.peer.wire.eof or not asker.peer.is_open, "nobody stays"
            assert asker not in told or not self.losses or asker.was_refused  # else it may have muted itself

    def end(self) -> None:
        """All leave; whoever still waits or blocks is served."""
        if self.random.random() < 0.2:
            self.cut_off()
        for asker in self.askers:
            asker.peer.reads()
            asker.peer.closes()
        for _ in range(1000):
            for server in self.servers:
                server.blocks = False
                server.work()
                server.send(len(server.replies))
            while self.stage.dials:
                self.servers.append(Server(self.stage.connects(), keeps_silent=self.keep_silent))
            self.stage.passes(0.01)
            if not left_behind(self.stage):
                break
        else:
            raise AssertionError(f"left behind: {left_behind(self.stage)}")
        for server in self.servers:
            if server.peer.is_open:
                assert server.queued is None, "a shared connection is in MULTI"
                assert not server.is_watching, "a shared connection is in WATCH"


@pytest.mark.parametrize("losses", [False, True], ids=["no losses", "losses"])
def test_nobody_gets_what_is_anothers_and_nothing_stays_when_all_have_gone(losses: bool) -> None:
    for play in played(lambda seed: Play(seed, losses=losses), seeds=60, steps=120):
        assert "internal" not in play.stage.outcomes()

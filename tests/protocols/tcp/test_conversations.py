"""The heart and this room together: random sessions that talk both ways, end one side before the other, wait
for a place, take a spare and are cut; bytes in are bytes out, in order, and what was cut does not pass for
whole (P2, P6); nothing is left when all have gone (P1)."""

from __future__ import annotations

from random import Random

import pytest

from muxproxy.config.model import Tcp
from muxproxy.protocols.tcp import TcpProtocol
from tests.fakes import Peer, Stage
from tests.plays import connected, left_behind, played

CLIENTS = 6


class End:
    """One end of a session: all that it has said and heard."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.said = b""
        self.heard = b""
        self.has_failed = False  # it reset the connection

    def says(self, random: Random, name: bytes) -> None:
        if self.peer.is_open and not self.peer.has_finished:
            data = b"%b:%d;" % (name, len(self.said)) * random.choice((1, 1, 10, 500, 5000))
            self.said += data
            self.peer.sends(data)

    def hears(self) -> None:
        self.heard += self.peer.got()

    def reads(self, random: Random) -> None:
        what = random.randrange(4)
        if what == 0:
            self.peer.stops_reading()
        elif what == 1:
            self.peer.reads(random.choice((10, 1000, 50_000)))
            self.peer.stops_reading()
        else:
            self.peer.reads()

    def leaves(self, random: Random) -> None:
        if random.random() < 0.3:
            self.has_failed = True
            self.peer.breaks_off()
        else:
            self.peer.closes()

    def heard_the_end(self) -> bool:
        """FIN, which an abort without a reset may be too."""
        wire = self.peer.wire
        return (wire.eof or wire.closing) and not (wire.was_reset or wire.buffer or self.has_failed)


class Play:
    def __init__(self, seed: int, *, losses: bool) -> None:
        random = self.random = Random(seed)
        self.losses = losses
        patience = 1.0 if losses else 1000.0  # where nothing is lost, nothing may fail
        self.bound = random.choice((1, 2, 4))
        self.speaks_first = random.random() < 0.5
        self.stage = Stage(
            TcpProtocol(Tcp(refuse=random.choice(("rst", "fin")))),
            servers=("one:1", "two:2")[: random.choice((1, 1, 2))],
            max_connections=self.bound,
            min_connections=random.choice((0, 0, 1, 2)) if self.bound > 1 else 0,
            request_buffer=random.choice((1000, 64 * 1024)),
            response_buffer=random.choice((1000, 64 * 1024)),
            max_waiting=random.choice((0, 2, 1000)) if losses else 1000,
            timeout=2.0 * patience,
            stall_timeout=10.0 * patience,
            hold_timeout=patience,
            client_idle_timeout=20.0 * patience,
            session_timeout=random.choice((0.0, 15.0)) if losses else 0.0,
        )
        self.stage.request_high = random.choice((1000, 64 * 1024))
        self.clients: dict[object, End] = {}  # by the heart's half of each, in the order of their birth
        self.servers: list[End] = []
        self.partners: dict[int, tuple[End, End]] = {}  # (client, server) by the id of the server's end
        self.sessions = 0

    def step(self) -> None:
        random = self.random
        clients = list(self.clients.values())[-2 * CLIENTS :]
        servers = self.servers[-2 * CLIENTS :]
        if self.stage.dials and random.random() < 0.7:
            self.connect()
        what = random.random()
        if what < 0.12 and sum(end.peer.is_open for end in clients) < CLIENTS:
            self.enter()
        elif what < 0.4 and clients:
            random.choice(clients).says(random, b"up")
        elif what < 0.5 and clients:
            random.choice(clients).reads(random)
        elif what < 0.56 and clients:
            self.leave(random.choice(clients))
        elif what < 0.8 and servers:
            self.talk(random.choice(servers))
        elif what < 0.88 and servers:
            random.choice(servers).reads(random)
        elif what < 0.94 and servers:
            self.leave(random.choice(servers))
        else:
            self.stage.passes(random.choice((0.01, 0.5, 2.1, 11.0)) if self.losses else 0.01)
        self.look()

    def enter(self) -> None:
        end = End(self.stage.client())
        self.clients[end.peer.wire.brain] = end

    def connect(self) -> None:
        peer = connected(self.stage, self.random, losses=self.losses)
        if peer is None:
            return
        end = End(peer)
        self.servers.append(end)
        self.look()
        if self.speaks_first:
            end.says(self.random, b"hello")

    def talk(self, server: End) -> None:
        if id(server) in self.partners or self.speaks_first:
            server.says(self.random, b"down")

    def leave(self, end: End) -> None:
        if self.losses:
            end.leaves(self.random)
        elif end.peer.wire.brain in self.clients or id(end) in self.partners:
            end.peer.closes()

    def look(self) -> None:
        assert len(self.stage.world.sockets) <= self.bound, "P1"
        for server in self.servers:
            current = server.peer.wire.brain.current
            if current is not None and id(server) not in self.partners:
                self.sessions += 1
                self.partners[id(server)] = self.clients[current.client], server
        for end in (*self.clients.values(), *self.servers):
            end.hears()
        for client, server in self.partners.values():
            self.check(client, server)
            self.check(server, client)
        pool = self.stage.pool
        is_idle = any(server.idle for server in pool.servers)
        assert not (pool.queue.size and is_idle), "somebody waits beside a free place (P4)"

    def check(self, one: End, other: End) -> None:
        """`one` has heard what `other` said, and the end only after all of it."""
        assert other.said.startswith(one.heard), f"{one.heard[-50:]!r} is not what was said"
        if one.heard_the_end():
            assert other.peer.has_finished, "an end that nobody said"
            assert one.heard == other.said, f"{len(one.heard)} bytes of {len(other.said)} pass for all"

    def end(self) -> None:
        """All read, and say that they have ended; or they are not asked."""
        if self.losses and self.random.random() < 0.3:
            with self.stage.turn():
                self.stage.pool.drain(self.stage.world.now)
                self.stage.pool.cut_off(self.stage.world.now)
            self.look()
        for _ in range(300):
            while self.stage.dials:
                self.connect()
            for end in (*self.clients.values(), *self.servers):
                end.peer.reads()
                if end.peer.wire.brain in self.clients or id(end) in self.partners:
                    end.peer.closes()
            self.stage.passes(0.1 if self.losses else 0.01)
            self.look()
            if not left_behind(self.stage):
                break
        else:
            raise AssertionError(f"left behind: {left_behind(self.stage)}")
        if not self.losses:
            for client, server in self.partners.values():
                assert client.heard == server.said, "the client did not get all"
                assert server.heard == client.said, "the server did not get all"
            assert self.sessions == len(self.clients), "not everybody got a session"
            assert set(self.stage.outcomes()) <= {"ok"}, self.stage.outcomes()


@pytest.mark.parametrize("losses", [False, True], ids=["no losses", "losses"])
def test_bytes_in_are_bytes_out_and_nothing_that_was_cut_passes_for_whole(losses: bool) -> None:
    for play in played(lambda seed: Play(seed, losses=losses), seeds=150, steps=150):
        assert "internal" not in play.stage.outcomes()

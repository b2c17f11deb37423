"""The heart and this room together: random callers that pipeline, trickle, upload and leave, origins that
answer in every framing, early, or not at all; each caller gets its own replies, whole, or is told (P2, P3),
what is not idempotent is carried out once (P9), and nothing is left when all have gone (P1)."""

from __future__ import annotations

from random import Random

import pytest

from muxproxy.config.model import Http
from muxproxy.protocols.http import HttpProtocol
from muxproxy.worker.process import LAST_WORDS
from tests.fakes import Peer, Stage
from tests.plays import connected, is_told, left_behind, played
from tests.protocols.http.imitation import Ask, Caller, Origin

CALLERS = 6


class Play:
    caller_type = Caller

    def __init__(self, seed: int, *, losses: bool, unsaid: bool = False) -> None:
        random = self.random = Random(seed)
        self.losses = losses
        self.unsaid = unsaid
        patience = 1.0 if losses else 1000.0  # where nothing is lost, nothing may fail
        self.bound = random.choice((1, 2, 3))
        self.stage = Stage(
            HttpProtocol(Http()),
            servers=("one:1", "two:2")[: random.choice((1, 1, 2))],
            max_connections=self.bound,
            max_upgraded=random.choice((1, 2)),
            request_buffer=random.choice((1000, 64 * 1024)),
            response_buffer=random.choice((1000, 64 * 1024)),
            pipeline_buffer=random.choice((2000, 1 << 28)) if losses else 1 << 28,
            max_waiting=random.choice((2, 1000)) if losses else 1000,
            reply_timeout=5.0 * patience,
            timeout=2.0 * patience,
            head_timeout=10.0 * patience,
            stall_timeout=10.0 * patience,
            hold_timeout=patience,
            abandoned_bytes=random.choice((1000, 256 * 1024)),
        )
        self.stage.request_high = random.choice((1000, 64 * 1024))
        self.asks: dict[str, Ask] = {}
        self.callers: list[Caller] = []
        self.left: list[Caller] = []
        self.origins: list[Origin] = []
        self.born = self.replies = 0

    def step(self) -> None:
        random, callers, origins = self.random, self.callers, self.origins
        if self.stage.dials and random.random() < 0.7:
            self.connect()
        what = random.random()
        if what < 0.12 and len(callers) < CALLERS:
            callers.append(self.caller_type(self.stage, self.born, self.asks, random))
            self.born += 1
        elif what < 0.42 and callers:
            self.ask(random.choice(callers))
        elif what < 0.46 and callers:
            caller = callers.pop(random.randrange(len(callers)))
            self.left.append(caller)
            caller.peer.wire.has_left = True
            if not self.losses:
                caller.peer.reads()
            caller.peer.closes() if random.random() < 0.6 else caller.peer.breaks_off()
        elif what < 0.52 and callers:
            self.read(random.choice(callers))
        elif what < 0.56 and origins:
            self.surprise(random.choice(origins))
        elif what < 0.60:
            self.stage.passes(random.choice((0.01, 0.01, 0.5, 2.1, 11.0)) if self.losses else 0.01)
        elif origins:
            self.serve(random.choice(origins))
        self.look()

    def connect(self) -> None:
        peer = connected(self.stage, self.random, losses=self.losses)
        if peer is not None:
            self.origins.append(self.origin(peer))

    def origin(self, peer: Peer) -> Origin:
        return Origin(peer, self.asks, self.random, chokes=self.losses, unsaid=self.unsaid)

    def ask(self, caller: Caller) -> None:
        if not caller.is_over:
            for _ in range(self.random.choice((1, 1, 1, 2, 4))):
                caller.says()
            caller.sends(1.0 if self.random.random() < 0.7 else self.random.random())

    def read(self, caller: Caller) -> None:
        """Slowly, or again as it should."""
        what = self.random.randrange(4)
        if what == 0:
            caller.was_slow = True
            caller.peer.stops_reading()
        elif what == 1:
            caller.peer.reads(self.random.choice((10, 1000, 50_000)))
            caller.peer.stops_reading()
        else:
            caller.peer.reads()

    def surprise(self, origin: Origin) -> None:
        """Something that an origin does by itself."""
        random = self.random
        what = random.randrange(5)
        if what == 0:
            origin.peer.stops_reading()
        elif what == 1:
            origin.babbles()
        elif self.losses or origin.is_idle():
            origin.leaves(rst=random.random() < 0.3)

    def serve(self, origin: Origin) -> None:
        random = self.random
        if random.random() < 0.7:
            origin.peer.reads(None if random.random() < 0.7 else random.choice((100, 10_000)))
        origin.work()
        if origin.tunnels:
            if random.random() < 0.1:
                origin.peer.closes()
            elif origin.peer.is_open:
                origin.talks()
        else:
            origin.send(1.0 if random.random() < 0.6 else random.random())

    def look(self) -> None:
        sockets = len(self.stage.world.sockets)
        assert sockets <= self.bound, f"{sockets} sockets (P1)"
        pool = self.stage.pool
        is_idle = any(server.idle for server in pool.servers)
        assert not (pool.queue.size and is_idle), "somebody waits beside a free place (P4)"
        for caller in list(self.callers):
            caller.hears()
            assert self.losses or not caller.errors, caller.errors
            if caller.has_ended():
                caller.ends()
                assert self.may_close(caller), "closed without a reason"
                self.replies += caller.replies
                self.callers.remove(caller)
        self.origins[:] = [origin for origin in self.origins if origin.peer.is_open]

    def may_close(self, caller: Caller) -> bool:
        is_done = caller.is_over or caller.tunnel is not None
        is_broken = bool(caller.owed) and caller.owed[0].breaks  # in a body, too late for an answer
        return self.losses or is_done or is_broken or self.stage.pool.draining

    def serve_all(self) -> None:
        while self.stage.dials:
            self.origins.append(self.origin(self.stage.connects()))
        for origin in self.origins:
            origin.peer.reads()
            origin.work()
            if not origin.tunnels:
                origin.send(1.0)

    def cut_off(self) -> None:
        """The time to drain is up: who is owed a reply that has not begun is told so, and nobody stays."""
        for caller in self.callers:
            caller.peer.reads()
            caller.hears()
        told = [caller for caller in self.callers if is_told(caller.peer)]
        with self.stage.turn():
            self.stage.pool.cut_off(self.stage.world.now)
        before = {caller: len(caller.errors) for caller in self.callers}
        for caller in self.callers:
            caller.hears()
        if not all(caller.has_ended() for caller in self.callers):
            # One whose reply had been cut off before has a moment to take what it got of it, then an RST.
            self.stage.passes(LAST_WORDS)
        for caller in self.callers:
            caller.hears()
            assert caller.has_ended(), "nobody stays"
            news = caller.errors[before[caller] :]
            assert caller not in told or caller.is_mute or news[0].startswith(b"503 "), news
            caller.ends()
        self.callers.clear()

    def end(self) -> None:
        """All is sent, read and served; then each has had all that it was owed, and all leave."""
        if self.random.random() < 0.3:
            with self.stage.turn():
                self.stage.pool.drain(self.stage.world.now)
            self.look()
            if self.random.random() < 0.5:
                self.cut_off()
        for _ in range(300):
            for caller in self.callers:
                caller.peer.reads()
                if not caller.is_over:
                    caller.goes_on()
                    caller.sends(1.0)
                if caller.tunnel is not None:
                    caller.peer.closes()
            self.serve_all()
            self.stage.passes(0.1)  # a place comes back late: CLOSE_TIMEOUT behind a tunnel, then a rest each
            self.look()
            if not any((caller.owed or caller.unsent) and not caller.is_over for caller in self.callers):
                break
        left = [[ask.name for ask in caller.owed] for caller in self.callers if not caller.is_over]
        assert not any(left), f"never answered: {left}"
        for caller in self.callers + self.left:
            caller.peer.closes()
            caller.peer.reads()
        for _ in range(100):
            self.serve_all()
            self.stage.passes(0.5)
            if not left_behind(self.stage):
                return
        raise AssertionError(f"left behind: {left_behind(self.stage)}")


@pytest.mark.parametrize("losses", [False, True], ids=["no losses", "losses"])
def test_every_caller_gets_its_own_replies_whole_or_is_told_and_nothing_stays_when_all_have_gone(
    losses: bool,
) -> None:
    for play in played(lambda seed: Play(seed, losses=losses), seeds=150, steps=150):
        assert "internal" not in play.stage.outcomes()


def test_nothing_is_lost_to_servers_that_close_after_each_reply_without_saying_so() -> None:
    """What may not be sent twice is not written where the FIN may be on its way, from the first one on."""
    for play in played(lambda seed: Play(seed, losses=False, unsaid=True), seeds=50, steps=150):
        assert set(play.stage.outcomes()) <= {"ok", "bad_request", "client_left", "client_broke", "draining"}

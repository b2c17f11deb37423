"""The heart and this room together: random consumers whose ids collide, providers that answer in any order,
connections that are lost, times that pass, consumers that ask on and do not read; every call gets its own
reply or its own error, once (P2, P3), and nothing is left when all have gone (P1)."""

from __future__ import annotations

from random import Random

import pytest

from muxproxy.config.model import Dubbo, Limit
from muxproxy.protocols.dubbo import DubboProtocol
from tests.fakes import Peer, Stage
from tests.plays import connected, left_behind, played, sends_part
from tests.protocols.dubbo import feeding as wire
from tests.protocols.dubbo.feeding import frame, invocation

CONSUMERS = 5
OURS = (31, 80, 100)  # statuses that muxproxy itself says
GOODBYE = frame(wire.ONE_WAY_BEAT, 0, wire.READONLY)
UNREAD = b"bytes of replies are unread, pipeline_buffer is "
LARGE = 1_200_000  # more than is held until it is whole


def taken(data: bytes) -> tuple[list[tuple[int, int, int, bytes]], bytes]:
    """(flags, status, id, body) of the whole frames, and the rest."""
    frames = []
    while len(data) >= 16 and len(data) >= 16 + int.from_bytes(data[12:16], "big"):
        end = 16 + int.from_bytes(data[12:16], "big")
        assert data[:2] == b"\xda\xbb", data[:40]
        frames.append((data[2], data[3], int.from_bytes(data[4:12], "big"), data[16:end]))
        data = data[end:]
    return frames, data


class Provider:
    """The far end of one upstream connection: the reply's body is the call's, behind an R."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.replies: list[bytes] = []  # not sent yet
        self._come = b""
        self._on_its_way = b""
        self._ids: set[int] = set()

    def work(self) -> None:
        frames, self._come = taken(self._come + self.peer.got())
        for flags, _, tag, body in frames:
            if flags == wire.BEAT:
                self.replies.append(frame(wire.BEAT_REPLY, tag, wire.NULL, status=20))
            elif flags == wire.CALL:
                assert tag not in self._ids, "an id is used twice at a time"
                self._ids.add(tag)
                self.replies.append(frame(wire.REPLY, tag, b"R" + body, status=20))
            else:
                assert flags in (wire.ONE_WAY_CALL, wire.BEAT_REPLY), flags

    def send(self, random: Random, cut: float) -> None:
        random.shuffle(self.replies)
        number = random.randrange(len(self.replies) + 1)
        sent, self.replies = self.replies[:number], self.replies[number:]
        self._ids -= {int.from_bytes(reply[4:12], "big") for reply in sent}
        self._on_its_way += b"".join(sent)
        self._on_its_way = sends_part(self.peer, self._on_its_way, cut)

    def says_by_itself(self, random: Random) -> None:
        """Between two frames only."""
        if not self._on_its_way:
            stray = frame(wire.REPLY, 1 << 60, b"who asked?", status=20)
            beat = frame(wire.BEAT, 7, wire.NULL)
            readonly = frame(wire.ONE_WAY_BEAT, 0, wire.READONLY)
            javas = frame(0xA7, 1, bytes.fromhex("aced000574000152"))
            writeable = frame(wire.ONE_WAY_BEAT, 0, b"\x01W")
            self.peer.sends(random.choice((stray, beat, readonly, javas, writeable)))


class Consumer:
    """Counts its ids from 0, as the others do, and knows what each call must hear."""

    def __init__(self, stage: Stage, number: int, random: Random) -> None:
        self.peer = stage.client()
        self.owed: dict[int, bytes] = {}
        self.unsent = b""
        self.errors = 0
        self.unread = 0  # calls that it was refused for what it had not read
        self.is_behind = False  # since it was heard last, it did not read for a while
        self.sure: set[int] | None = None  # what it had asked when the drain began, and must hear of
        self._number, self._random = number, random
        self._next = 0
        self._said = 0  # bytes
        self._ends: dict[int, int] = {}  # call -> bytes up to its end
        self._beats = 0
        self._come = b""

    def says(self) -> None:
        random = self._random
        what = random.random()
        if what < 0.1:
            self._beats += 1
            self._says(frame(wire.BEAT, 0, wire.NULL))
            return
        tag, self._next = self._next, self._next + 1
        body = invocation(random.choice(("limited", "free")), f"{self._number}.{tag}")
        if not self.is_behind:
            body += b"." * (LARGE if what > 0.98 else random.choice((0, 0, 10, 3000)))
        if what < 0.2:
            self._says(frame(wire.ONE_WAY_CALL, tag, body))
        else:
            self.owed[tag] = body
            self._says(frame(wire.CALL, tag, body))
            self._ends[tag] = self._said

    def _says(self, data: bytes) -> None:
        self.unsent += data
        self._said += len(data)

    def sends(self, cut: float) -> None:
        self.unsent = sends_part(self.peer, self.unsent, cut)

    def stops_reading(self) -> None:
        self.is_behind = True
        self.peer.stops_reading()

    def hears(self) -> None:
        writes = self.peer.wire.writes
        if self.is_behind:  # what it finds when it reads again comes in one read, however it was written
            writes.clear()
            self.is_behind = not self.peer.wire.takes
        for write in writes:
            # What some consumers lose: it comes in one read behind a heartbeat.
            alone = write.replace(frame(wire.BEAT_REPLY, 0, wire.NULL, status=20), b"")
            assert len(alone) in (0, len(write)) or alone == GOODBYE, write[:100]
        writes.clear()
        frames, self._come = taken(self._come + self.peer.got())
        for flags, status, tag, body in frames:
            if flags == wire.BEAT_REPLY:
                self._beats -= 1
                assert self._beats >= 0
                continue
            if flags == wire.ONE_WAY_BEAT:
                assert (body, self.sure is None) == (wire.READONLY, False)
                continue
            assert flags & ~0x1F == 0, flags
            assert tag in self.owed, f"nobody waits for {tag}: {body[:100]!r}"
            call = self.owed.pop(tag)
            if status == 20:
                assert body == b"R" + call, f"{body[:100]!r} instead of {call[:100]!r}"
            else:
                assert status in OURS, status
                self.unread += UNREAD in body
                self.errors += self.sure is None or status != 100

    def is_told(self) -> None:
        """A drain begins."""
        self.sure = set() if self.unsent else set(self.owed)

    def is_cut_off(self) -> None:
        """The time to drain is up: what was not read by then stays untold."""
        wire = self.peer.wire
        read = self._said - len(self.unsent) - wire.unread_bytes() - wire.brain.framer.more
        self.sure = {tag for tag in self.sure or () if self._ends[tag] <= read}

    def leaves(self, *, lawful: bool) -> None:
        """It has been closed: all that is sure has been said."""
        missing = (self.sure or set()) & set(self.owed)
        assert not self.peer.wire.buffer
        assert lawful or (self.sure is not None and not missing), "closed without a reason"
        self.peer.closes()


class Play:
    def __init__(self, seed: int, *, losses: bool) -> None:
        random = self.random = Random(seed)
        self.losses = losses
        patience = 1.0 if losses else 1000.0  # where nothing is lost, nothing may fail
        limit = Limit("limited", random.choice((1, 3)), timeout=patience)
        limits = (limit,) if random.random() < 0.5 else ()
        heartbeat = random.choice((0.0, 1.5))
        # long enough to be suspect, and where nothing is lost, never to be taken for dead
        self.times = (0.01, 0.5, 2.1) if losses else (0.01,) if heartbeat else (0.01, 0.25)
        self.stalled: Provider | None = None  # it says nothing, while the others do
        self.stage = Stage(
            DubboProtocol(Dubbo(heartbeat=heartbeat, limits=limits)),
            servers=("one:1", "two:2")[: random.choice((1, 2))],
            max_connections=random.choice((1, 2, 4)),
            max_pinned=random.choice((1, 2)),
            max_in_flight=random.choice((1, 4, 64)),
            reply_timeout=5.0 * patience,
            timeout=2.0 * patience,
            response_buffer=random.choice((100, 64 * 1024)),
            pipeline_buffer=random.choice((3000, 1 << 28)) if losses else 1 << 28,
            hold_timeout=random.choice((0.01, 1.0)) if losses else 1.0,
        )
        self.consumers: list[Consumer] = []
        self.providers: list[Provider] = []
        self.born = self.errors = self.unread = 0
        self.drains = random.random() < 0.3

    def step(self) -> None:
        random, consumers, providers = self.random, self.consumers, self.providers
        if self.stage.dials and random.random() < 0.7:
            peer = connected(self.stage, random, losses=self.losses)
            if peer is not None:
                providers.append(Provider(peer))
        what = random.random()
        if self.drains and random.random() < 0.02:
            self.drain()
        if what < 0.1 and len(consumers) < CONSUMERS and not self.stage.pool.draining:
            consumers.append(Consumer(self.stage, self.born, random))
            self.born += 1
        elif what < 0.5 and consumers:
            consumer = random.choice(consumers)
            if random.random() < 0.1:  # writes all before it reads anything
                consumer.stops_reading()
            elif random.random() < 0.2:
                consumer.peer.reads()
            for _ in range(random.choice((10, 40) if consumer.is_behind else (1, 1, 2, 10))):
                consumer.says()
            consumer.sends(1.0 if random.random() < 0.7 else random.random())
        elif what < 0.54 and consumers:
            consumer = consumers.pop(random.randrange(len(consumers)))
            self.unread += consumer.unread
            consumer.peer.closes() if random.random() < 0.6 else consumer.peer.breaks_off()
        elif what < 0.58 and providers:
            if self.losses and random.random() < 0.5:
                peer = random.choice(providers).peer
                if random.random() < 0.6:
                    peer.closes()
                else:
                    peer.wire.refuses = "Broken pipe"
            else:
                random.choice(providers).says_by_itself(random)
        elif what < 0.62:
            self.stage.passes(random.choice(self.times))
        elif providers:
            provider = random.choice(providers)
            if random.random() < 0.05:
                self.stalled = None if self.stalled else provider
            if provider is not self.stalled:
                provider.work()
                provider.send(random, 1.0 if random.random() < 0.6 else random.random())
        self.look()

    def drain(self) -> None:
        self.drains = False
        self.look()
        for consumer in self.consumers:
            consumer.is_told()
        with self.stage.turn():
            self.stage.pool.drain(self.stage.world.now)

    def look(self) -> None:
        for consumer in list(self.consumers):
            consumer.hears()
            if not consumer.peer.is_open or consumer.peer.wire.eof:
                consumer.peer.reads()
                consumer.hears()
                consumer.leaves(lawful=self.losses)
                self.unread += consumer.unread
                self.consumers.remove(consumer)
        self.providers[:] = [provider for provider in self.providers if provider.peer.is_open]

    def cut_off(self) -> None:
        """The time to drain is up: who is owed a call is told so, unless half of the reply is out."""
        for consumer in self.consumers:
            consumer.peer.reads()
            consumer.is_cut_off()
        with self.stage.turn():
            self.stage.pool.cut_off(self.stage.world.now)
        for consumer in list(self.consumers):
            consumer.hears()
            if not consumer.peer.is_open or consumer.peer.wire.eof:
                consumer.leaves(lawful=self.losses or consumer.peer.wire.was_reset)
                self.consumers.remove(consumer)

    def end(self) -> None:
        """All is read, sent and served; then each has had all that it was owed, and all leave."""
        for consumer in self.consumers:
            consumer.peer.reads()
        if self.stage.pool.draining and self.random.random() < 0.3:
            self.cut_off()
        for _ in range(3000):
            for consumer in self.consumers:
                consumer.sends(1.0)
            while self.stage.dials:
                self.providers.append(Provider(self.stage.connects()))
            for provider in self.providers:
                provider.work()
                provider.send(self.random, 1.0)
            self.stage.passes(0.01)
            self.look()
            if not any(consumer.owed or consumer.unsent for consumer in self.consumers):
                break
        left = [sorted(consumer.owed) for consumer in self.consumers]
        assert not any(left), f"never answered: {left}"
        errors = sum(consumer.errors for consumer in self.consumers)
        self.unread += sum(consumer.unread for consumer in self.consumers)
        assert self.losses or not errors, f"{errors} errors, and nothing was lost"
        for consumer in self.consumers:
            consumer.peer.closes()
        for _ in range(500):  # who is not read is seen to have left after a while
            while self.stage.dials:
                self.providers.append(Provider(self.stage.connects()))
            for provider in self.providers:
                provider.work()
                while provider.replies:
                    provider.send(self.random, 1.0)
            self.stage.passes(0.5)
            if not left_behind(self.stage):
                return
        raise AssertionError(f"left behind: {left_behind(self.stage)}")


@pytest.mark.parametrize("losses", [False, True], ids=["no losses", "losses"])
def test_every_call_gets_its_own_reply_or_error_and_nothing_stays_when_all_have_gone(losses: bool) -> None:
    told = 0  # that it was refused for what it had not read
    for play in played(lambda seed: Play(seed, losses=losses), seeds=50, steps=120):
        outcomes = play.stage.outcomes()
        assert "internal" not in outcomes
        assert play.unread <= outcomes.get("unread", 0)
        told += play.unread
    assert (told > 0) == losses

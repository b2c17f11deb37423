"""The heart and this room together, and channels: random listeners of both RESP versions that publish, say
other things between, leave, and lose the connection that they share; each gets its own acknowledgements, and
each message that was published while it listened once and in order, no other."""

from __future__ import annotations

from random import Random

import pytest

from muxproxy.config.model import Redis
from muxproxy.protocols.redis import RedisProtocol
from tests.fakes import Stage
from tests.plays import left_behind, played
from tests.protocols.redis.pubsub.channels import CHANNEL, SHARD, Broker, Link, Listener

CLIENTS = 6


class Play:
    def __init__(self, seed: int, *, losses: bool) -> None:
        random = self.random = Random(seed)
        self.losses = losses
        patience = 1.0 if losses else 1000.0  # where nothing is lost, nothing may fail
        self.bound = random.choice((4, 5))
        most = random.choice((2, 8, 64))
        self.stage = Stage(
            RedisProtocol(Redis(fence=random.choice((0, 0, 2))), max_in_flight=most),
            max_connections=self.bound,
            max_pinned=random.choice((2, 3)) if losses else 3,  # one for the listeners of each version
            max_in_flight=most,
            reply_timeout=5.0 * patience,
            timeout=2.0 * patience,
            stall_timeout=10.0 * patience,
            hold_timeout=patience,
            idle_timeout=random.choice((1.0, 30.0)) if losses else 30.0,
            response_buffer=random.choice((100, 64 * 1024)),
            pipeline_buffer=random.choice((100, 1 << 28)) if losses else 1 << 28,
        )
        self.broker = Broker()
        self.left: list[Listener] = []
        self.born = self.heard = 0

    def step(self) -> None:
        random, listeners, links = self.random, self.broker.listeners, self.broker.links
        if self.stage.dials and random.random() < 0.7:
            self.connect()
        what = random.random()
        if what < 0.12 and len(listeners) < CLIENTS:
            listeners.append(Listener(self.stage, self.born, random, self.broker))
            self.born += 1
        elif what < 0.5 and listeners:
            self.ask(random.choice(listeners))
        elif what < 0.54 and listeners:
            listener = listeners.pop(random.randrange(len(listeners)))
            listener.peer.wire.has_left = True
            self.left.append(listener)
            listener.peer.closes() if random.random() < 0.6 else listener.peer.breaks_off()
        elif what < 0.57 and links and self.losses:
            random.choice(links).peer.closes()
        elif what < 0.61:
            self.stage.passes(random.choice((0.01, 0.5, 2.1)) if self.losses else 0.01)
        elif what < 0.64 and listeners:
            peer = random.choice(listeners).peer
            peer.stops_reading() if random.random() < 0.5 else peer.reads(random.choice((10, 1000)))
        elif what < 0.74:
            self.publish()
        elif links:
            self.serve(random.choice(links))
        self.look()

    def publish(self) -> None:
        """By somebody who is not our client."""
        kind, name = self.random.choice(
            ((CHANNEL, b"c1"), (CHANNEL, b"c1"), (CHANNEL, b"d1"), (SHARD, b"s1"))
        )
        for _ in range(self.random.choice((1, 3, 9))):
            self.broker.publish(kind, name, b"elsewhere:%d" % len(self.broker.times))

    def connect(self) -> None:
        self.broker.links.append(Link(self.stage.connects(), self.broker))

    def ask(self, listener: Listener) -> None:
        for _ in range(self.random.choice((1, 1, 2, 4))):
            listener.says()
        end = len(listener.unsent)
        if self.random.random() < 0.2:
            end = self.random.randrange(end + 1)
        data, listener.unsent = listener.unsent[:end], listener.unsent[end:]
        listener.peer.reads()
        listener.peer.sends(data)

    def serve(self, link: Link) -> None:
        link.work()
        if link.blocks and self.random.random() < 0.3:
            link.blocks = False
            link.work()
        ready = len(link.replies) - link.blocks
        cut = 1.0 if self.random.random() < 0.6 else self.random.random()
        link.send(self.random.randrange(ready) + 1 if ready > 0 else 0, cut)

    def look(self) -> None:
        assert len(self.stage.world.sockets) <= self.bound  # P1
        for link in [link for link in self.broker.links if not link.peer.is_open]:
            self.broker.forget(link)
        for listener in list(self.broker.listeners):
            listener.hears()
            if listener.was_refused or not listener.peer.is_open:
                assert self.losses, "refused or closed, and nothing was lost"
                listener.peer.closes()
                self.broker.listeners.remove(listener)
                self.heard += listener.heard

    def settle(self) -> None:
        for listener in self.broker.listeners:
            listener.peer.reads()
            data, listener.unsent = listener.unsent, b""
            listener.peer.sends(data)
        for link in self.broker.links:
            link.blocks = False
            link.work()
            link.send(len(link.replies))
        while self.stage.dials:
            self.connect()
        self.stage.passes(0.1 if self.losses else 0.01)
        self.look()

    def end(self) -> None:
        """All is said, and each hears all that it must; then all leave."""
        for listener in self.left:
            listener.peer.reads()
        for listener in self.broker.listeners:
            listener.finishes()
        for _ in range(200):
            self.settle()
            if not any(each._expected or any(each.joined.values()) for each in self.broker.listeners):
                break
        for _ in range(30):
            self.settle()
        for listener in self.broker.listeners:
            assert not listener._expected, f"never answered: {listener._expected[:3]}"
            missed = {key: [when for when, _ in due] for key, due in listener.joined.items() if due}
            assert not missed, f"never came: {missed}"
        wanted = {(listener.resp, *key) for listener in self.broker.listeners for key in listener.joined}
        given = [(link.resp, *key) for link in self.broker.links for key in link.joined]
        assert sorted(given) == sorted(wanted), f"subscribed to {given}, and {wanted} is listened to"
        for listener in self.broker.listeners:
            listener.peer.closes()
            self.heard += listener.heard
        self.broker.listeners.clear()
        for _ in range(1000):
            self.settle()
            if not left_behind(self.stage):
                return
        raise AssertionError(f"left behind: {left_behind(self.stage)}")


@pytest.mark.parametrize("losses", [False, True], ids=["no losses", "losses"])
def test_each_listener_gets_what_was_published_while_it_listened_once_and_in_order(losses: bool) -> None:
    heard = 0
    for play in played(lambda seed: Play(seed, losses=losses), seeds=50, steps=120):
        heard += play.heard
    assert heard > 125, heard

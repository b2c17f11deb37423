"""Laws of the feed, for any interleaving of clients, server and losses:

every client's acknowledgements are those it would get alone on a connection of its own; nobody gets a message
of a channel that it has not joined or has left; and when all is quiet the server is subscribed to exactly
what somebody listens to.
"""

from __future__ import annotations

from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from muxproxy.protocols.contract import FIRST, LAST, PUSH, Frame
from muxproxy.protocols.redis.pubsub.feed import PubSub
from muxproxy.protocols.redis.pubsub.listening import VERBS
from muxproxy.protocols.redis.resp.grammar import arguments, commands
from tests.protocols.redis.talk import Talk, protocol
from tests.sizes import size

CLIENTS = 3
NAMES = ["a", "b", "c", "no"]  # the server refuses `no`
REDIS = protocol()  # its table is what costs time
NO = b"-NOPERM no\r\n"

requests = st.tuples(
    st.just("ask"),
    st.integers(0, CLIENTS - 1),
    st.sampled_from([*VERBS, "subscribe", "subscribe", "unsubscribe"]),
    st.lists(st.sampled_from(NAMES), max_size=3),
)
steps = st.one_of(
    requests,
    requests,
    st.tuples(st.just("serve"), st.integers(1, 4)),
    st.tuples(st.just("leave"), st.integers(0, CLIENTS - 1)),
    st.tuples(st.just("lose")),
    st.tuples(st.just("publish"), st.sampled_from(NAMES)),
)


class Alone:
    """What a server would do with one client that has it to itself."""

    def __init__(self) -> None:
        self.joined: tuple[list[bytes], list[bytes], list[bytes]] = ([], [], [])

    def does(self, verb: str, names: list[bytes]) -> bytes:
        kind, joins = VERBS[verb]
        mine = self.joined[kind]
        if joins and b"no" in names:
            return NO
        replies = []
        for name in names or ([] if joins else list(mine)):
            if joins and name not in mine:
                mine.append(name)
            elif not joins and name in mine:
                mine.remove(name)
            replies.append(self.acknowledge(verb, kind, b"$%d\r\n%b\r\n" % (len(name), name)))
        return b"".join(replies) or self.acknowledge(verb, kind, b"$-1\r\n")

    def acknowledge(self, verb: str, kind: int, name: bytes) -> bytes:
        channels, patterns, shards = self.joined
        count = len(shards) if kind == 2 else len(channels) + len(patterns)
        return b"*3\r\n$%d\r\n%b\r\n%b:%d\r\n" % (len(verb), verb.encode(), name, count)


class Play:
    def __init__(self) -> None:
        self.feed: PubSub = REDIS.feed()
        self.clients = [Talk(REDIS) for _ in range(CLIENTS)]
        self.alone = [Alone() for _ in range(CLIENTS)]
        self.expected: list[deque[bytes]] = [deque() for _ in range(CLIENTS)]
        self.wire: deque[list[bytes]] = deque()  # commands on their way to the server
        self.server = Alone()

    def write(self, data: bytes) -> None:
        self.wire.extend(arguments(each) for each in commands(data))

    def settle(self) -> None:
        """What was answered is what would have been, in order."""
        for session, reply in self.feed.take():
            number = [client.session for client in self.clients].index(session)
            assert reply == self.expected[number].popleft()
        self.write(self.feed.flush())

    def ask(self, number: int, verb: str, names: list[str]) -> None:
        client, words = self.clients[number], [name.encode() for name in names]
        said = client.says(" ".join([verb.upper(), *names]))
        if isinstance(said, bytes):  # answered at once: from nothing, or nothing to join
            if names or not VERBS[verb][1]:
                assert said == self.alone[number].does(verb, words)
            return
        self.expected[number].append(self.alone[number].does(verb, words))
        self.write(self.feed.on_request(client.session, client.frame))

    def serve(self, count: int) -> None:
        for _ in range(min(count, len(self.wire))):
            verb, name = self.wire.popleft()
            self.push(self.server.does(verb.decode().lower(), [name]))
            self.settle()

    def push(self, data: bytes) -> list[int]:
        _, listeners = self.feed.on_push(Frame(data, FIRST | LAST | PUSH))
        return [number for number, client in enumerate(self.clients) if client.session in listeners]

    def publish(self, name: str) -> None:
        """Only what the server is subscribed to comes; who must have it is who was told so."""
        word = name.encode()
        if word not in self.server.joined[0]:
            return
        heard = self.push(b"*3\r\n$7\r\nmessage\r\n$%d\r\n%b\r\n$1\r\nx\r\n" % (len(word), word))
        for number, alone in enumerate(self.alone):
            if not self.expected[number]:
                assert (number in heard) == (word in alone.joined[0])

    def leave(self, number: int) -> None:
        self.write(self.feed.leave(self.clients[number].session))
        self.clients[number] = Talk(REDIS)
        self.alone[number] = Alone()
        self.expected[number].clear()

    def lose(self) -> None:
        self.wire.clear()
        self.server = Alone()
        self.write(self.feed.restore())


@settings(max_examples=size(200, 20_000))
@given(st.lists(steps, max_size=60))
def test_many_clients_on_one_connection_are_as_each_alone(script: list[tuple]) -> None:
    play = Play()
    for step, *words in script:
        getattr(play, step)(*words)
        play.settle()
    while play.wire:
        play.serve(1)
    assert not any(play.expected)
    for kind in range(3):
        wanted = {name for alone in play.alone for name in alone.joined[kind]}
        assert set(play.server.joined[kind]) == wanted
    assert play.feed.is_empty() == (not any(any(alone.joined) for alone in play.alone))
    for client, alone in zip(play.clients, play.alone, strict=True):
        assert client.session.listening == any(alone.joined)

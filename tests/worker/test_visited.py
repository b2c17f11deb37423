"""The law of visit.py: the same conversation, with a visit and without, gives the same bytes in both
directions, the same ends and the same outcomes.

Each conversation is had three times, with a client that begins as a visit and gets a transport as soon as it
asks again, with one that remains a visit, and with one that has uvloop's transport from the beginning; and by
each of the ways in which a client's first words arrive.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any
from unittest import mock

import pytest
from msgspec import structs

from muxproxy.protocols import build
from muxproxy.protocols.contract import Sharing
from muxproxy.worker import visit
from muxproxy.worker.listener import Listener
from muxproxy.worker.visit import AT_ONCE
from tests.fakes import backend
from tests.worker.hands import Bench, End, perform

BUSY, NEVER = 1e9, 0.0  # seconds behind its last reply
ARRIVALS = TOGETHER, LATER, IN_PIECES = "together", "later", "in pieces"
LARGE = 3 * AT_ONCE


class Talk:
    """One client and its servers. What is heard at both ends is kept."""

    def __init__(self, bench: Bench, arrival: str) -> None:
        self.bench = bench
        self.arrival = arrival
        self.heard: list[object] = []
        self.ann = End(bench.front)  # until she comes
        self.server: End | None = None

    async def comes(self, words: bytes) -> None:
        """The client connects, and says that."""
        sock = socket.socket()
        sock.connect(self.bench.front.getsockname())
        self.ann = self.bench.keep(End(sock))
        if self.arrival == TOGETHER:  # nobody accepts before this function waits
            self.ann.sock.send(words)
            return
        await self.bench.until(lambda: self.bench.engine.client_sockets == 1)
        await self.turns()
        if self.arrival == LATER:
            await self.ann.sends(words)
            return
        middle = len(words) // 2
        await self.ann.sends(words[:middle])
        await self.turns()
        await self.ann.sends(words[middle:])

    async def turns(self) -> None:
        """What is under way arrives."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def serves(self, request: bytes, reply: bytes = b"") -> None:
        if self.server is None:
            self.server = await self.bench.accepted()
        got = await self.server.gets(len(request))
        assert got == request
        self.heard.append(("server", got))
        if reply:
            await self.server.sends(reply)

    async def hears(self, reply: bytes) -> None:
        self.heard.append(("client", await self.ann.gets(len(reply))))

    async def hears_end(self) -> None:
        """All that still comes, and how it ends."""
        try:
            words = await self.ann.gets_end()
            self.heard.append(("client", words.replace(self.bench.address.encode(), b"SERVER"), "FIN"))
        except ConnectionResetError:
            self.heard.append(("client", "RST"))

    async def server_hears_end(self) -> None:
        assert self.server is not None
        self.heard.append(("server", await self.server.gets_end()))


Conversation = Callable[[Talk], Awaitable[None]]


async def a_last_reply(talk: Talk) -> None:
    await talk.comes(b"ann bye\n")
    await talk.serves(b"ann bye\n", b"re\n")
    await talk.hears_end()


async def who_asks_again_and_again(talk: Talk) -> None:
    await talk.comes(b"one\n")
    for word in (b"one\n", b"two\n", b"three\n"):
        if word != b"one\n":
            await talk.ann.sends(word)
        await talk.serves(word, word)
        await talk.hears(word)
    talk.ann.finishes()
    await talk.hears_end()


async def requests_at_once(talk: Talk) -> None:
    await talk.comes(b"one\ntwo +3\nabcthree bye\n")
    for request in (b"one\n", b"two +3\nabc", b"three bye\n"):
        await talk.serves(request, b"re +4\nback")
    await talk.hears_end()


async def a_large_request(talk: Talk) -> None:
    request = b"up +%d\n" % LARGE + bytes(range(256)) * (LARGE // 256)
    await talk.comes(request)
    await talk.serves(request, b"re\n")
    await talk.hears(b"re\n")
    talk.ann.finishes()
    await talk.hears_end()


async def a_large_last_reply(talk: Talk) -> None:
    size = 4 * 1024 * 1024
    await talk.comes(b"ann bye\n")
    sending = asyncio.get_running_loop().create_task(
        talk.serves(b"ann bye\n", b"re +%d\n" % size + bytes(range(256)) * (size // 256))
    )
    await talk.bench.until(lambda: talk.bench.pool.bytes_to_clients > 256 * 1024)
    await talk.hears_end()
    await sending


async def a_reply_that_its_server_ends(talk: Talk) -> None:
    await talk.comes(b"ann\n")
    await talk.serves(b"ann\n", b"re ~\nuntil the end")
    assert talk.server is not None
    talk.server.closes()
    await talk.hears_end()


async def a_reply_that_breaks_off(talk: Talk) -> None:
    await talk.comes(b"ann\n")
    await talk.serves(b"ann\n", b"re +100\nonly so much")
    await talk.hears(b"re +100\nonly so much")
    assert talk.server is not None
    talk.server.closes()
    await talk.hears_end()


async def a_request_that_is_lost(talk: Talk) -> None:
    await talk.comes(b"ann\n")
    await talk.serves(b"ann\n")
    assert talk.server is not None
    talk.server.closes()
    await talk.bench.until(lambda: talk.bench.outcomes() != {})
    talk.ann.finishes()
    await talk.hears_end()


async def what_is_malformed(talk: Talk) -> None:
    await talk.comes(b"!bad\n")
    await talk.hears_end()


async def what_is_malformed_behind_a_request(talk: Talk) -> None:
    await talk.comes(b"ann\n!bad\n")
    await talk.serves(b"ann\n", b"re\n")
    await talk.hears_end()


async def who_cannot_be_answered(talk: Talk) -> None:
    await talk.comes(b"?bad\n")
    await talk.hears_end()


async def who_finishes_while_owed(talk: Talk) -> None:
    await talk.comes(b"ann\n")
    await talk.serves(b"ann\n")
    talk.ann.finishes()
    await talk.hears_end()


async def who_resets_while_owed(talk: Talk) -> None:
    await talk.comes(b"ann\n")
    await talk.serves(b"ann\n")
    talk.ann.resets()
    await talk.bench.until(lambda: not talk.bench.pool.clients)


async def who_leaves_in_the_middle_of_a_request(talk: Talk) -> None:
    await talk.comes(b"up +100\nonly so much")
    await talk.bench.until(lambda: talk.bench.pool.bytes_from_clients > 10)
    await talk.turns()
    talk.ann.finishes()
    await talk.hears_end()


async def who_says_nothing(talk: Talk) -> None:
    await talk.comes(b"")
    talk.ann.finishes()
    await talk.hears_end()


CONVERSATIONS = [
    a_last_reply,
    who_asks_again_and_again,
    requests_at_once,
    a_large_request,
    a_large_last_reply,
    a_reply_that_its_server_ends,
    a_reply_that_breaks_off,
    a_request_that_is_lost,
    what_is_malformed,
    what_is_malformed_behind_a_request,
    who_cannot_be_answered,
    who_finishes_while_owed,
    who_resets_while_owed,
    who_leaves_in_the_middle_of_a_request,
    who_says_nothing,
]


def told(
    conversation: Conversation, protocol: Any, arrival: str, *, visited: bool, soon: float = BUSY, **keys: Any
) -> Any:
    """What was heard at both ends, and what was counted."""
    results: list[Any] = []

    async def scene(bench: Bench) -> None:
        (listener,) = listeners(bench)
        assert listener._has_visits
        listener._has_visits = visited
        talk = Talk(bench, arrival)
        await conversation(talk)
        talk.ann.closes()
        await bench.until(lambda: bench.engine.client_sockets == 0 and not bench.pool.clients)
        assert visited or bench.engine.lobby._epoll is None  # nobody was read by it
        pool = bench.pool
        results.append((talk.heard, bench.outcomes(), pool.bytes_from_clients, pool.bytes_to_clients))

    with mock.patch.object(visit, "SOON", soon), mock.patch.object(visit, "OFTEN", 1):
        perform(scene, protocol, max_connections=1, **keys)
    return results[0]


def agree(conversation: Conversation, protocol: Any, arrival: str, **keys: Any) -> Any:
    """Whoever asks again is busy, or never is; or there are no visits."""
    without = told(conversation, protocol, arrival, visited=False, **keys)
    for soon in (BUSY, NEVER):
        assert told(conversation, protocol, arrival, visited=True, soon=soon, **keys) == without
    return without


def named(conversation: Conversation) -> str:
    return conversation.__name__


def listeners(bench: Bench) -> list[Listener]:
    assert bench.accepting is not None
    return bench.accepting._listeners


@pytest.mark.parametrize("arrival", ARRIVALS)
@pytest.mark.parametrize("sharing", [Sharing.EXCLUSIVE, Sharing.ORDERED])
@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=named)
def test_a_visit_changes_nothing(conversation: Conversation, sharing: Sharing, arrival: str) -> None:
    agree(conversation, sharing, arrival)


async def a_tunnel_whose_client_ends_first(talk: Talk) -> None:
    await talk.comes(b"up\n")
    await talk.serves(b"up\n", b"re 101\n")
    await talk.hears(b"re 101\n")
    talk.ann.finishes()
    await talk.server_hears_end()
    assert talk.server is not None
    await talk.server.sends(b"what it asked for")
    talk.server.closes()
    await talk.hears_end()


@pytest.mark.parametrize("arrival", ARRIVALS)
def test_nor_in_a_tunnel_that_goes_on_in_one_direction(arrival: str) -> None:
    talk = a_tunnel_whose_client_ends_first
    heard, *_ = agree(talk, Sharing.EXCLUSIVE, arrival)
    assert ("client", b"what it asked for", "FIN") in heard


async def by_tag(talk: Talk) -> None:
    """Twice, and gone in the middle of the third."""
    await talk.comes(b"00000007 ann\n")
    talk.server = await talk.bench.accepted()
    for _ in range(2):
        request = await talk.server.gets(13)
        await talk.server.sends(request[:9] + b"re\n")
        await talk.hears(b"00000007 re\n")
        await talk.ann.sends(b"00000007 ann\n")
    await talk.server.gets(13)
    await talk.ann.sends(b"00000009 up +100\nonly so much")
    await talk.bench.until(lambda: talk.bench.pool.bytes_from_clients >= 4 * 13)
    await talk.turns()
    talk.ann.finishes()
    await talk.hears_end()


async def by_tag_in_the_middle(talk: Talk) -> None:
    """Its first words are all it says."""
    await talk.comes(b"00000009 up +100\nonly so much")
    await talk.bench.until(lambda: len(talk.bench.pool.clients) == 1)
    await talk.turns()
    talk.ann.finishes()
    await talk.hears_end()


@pytest.mark.parametrize("arrival", ARRIVALS)
@pytest.mark.parametrize("conversation", [by_tag, by_tag_in_the_middle], ids=named)
def test_nor_for_who_is_matched_by_tag(conversation: Conversation, arrival: str) -> None:
    agree(conversation, Sharing.TAGGED, arrival)


HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n"


async def http_last(talk: Talk) -> None:
    await talk.comes(HEAD + b"Connection: close\r\n\r\n")
    await talk.serves(HEAD + b"\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    await talk.hears_end()


async def http_kept(talk: Talk) -> None:
    await talk.comes(HEAD + b"\r\n")
    for number in range(3):
        if number:
            await talk.ann.sends(HEAD + b"\r\n")
        await talk.serves(HEAD + b"\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        await talk.hears(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    talk.ann.finishes()
    await talk.hears_end()


async def http_refused(talk: Talk) -> None:
    await talk.comes(b"GET / HTTP/1.1\r\n\r\n")  # no Host: RFC 9112 section 3.2
    await talk.hears_end()


@pytest.mark.parametrize("arrival", ARRIVALS)
@pytest.mark.parametrize("conversation", [http_last, http_kept, http_refused], ids=named)
def test_nor_for_http(conversation: Conversation, arrival: str) -> None:
    protocol = build(structs.replace(backend((), {}), protocol="http"))
    agree(conversation, protocol, arrival)

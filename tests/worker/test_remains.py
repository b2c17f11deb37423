"""What had come before a connection broke is read, though it was a write of ours that found out."""

from __future__ import annotations

import socket

import pytest

from muxproxy.config.model import Tcp
from muxproxy.protocols.contract import Sharing
from muxproxy.protocols.tcp import TcpProtocol
from muxproxy.worker import remains
from tests.worker.hands import Bench, perform


class Wire:
    def __init__(self, sock: socket.socket | None) -> None:
        self.sock = sock

    def get_extra_info(self, name: str) -> socket.socket | None:
        return self.sock


def read(sock: socket.socket | None) -> bytes:
    return b"".join(remains.unread(Wire(sock)))


def test_what_came_before_the_end_is_there_and_no_more() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert read(ours) == b""  # nothing has come, and it does not wait
        theirs.sendall(b"x" * 100_000)
        assert read(ours) == b"x" * 100_000
        theirs.sendall(b"last")
        theirs.close()
        assert read(ours) == b"last"
        assert ours.fileno() >= 0  # still its owner's
    assert read(ours) == read(None) == b""


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remains, "SIZE", 10)
    monkeypatch.setattr(remains, "MOST", 30)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"x" * 1000)
        assert read(ours) == b"x" * 30


# sharing: (what is on its way, what it has come to, how it is answered, what its client gets)
ANSWERED = {
    Sharing.EXCLUSIVE: (b"up eager +20\n12345", b"up eager +20\n12345", b"too large\n", b"too large\n"),
    Sharing.ORDERED: (b"one\n", b"one\n", b"re one\n", b"re one\n"),
    Sharing.TAGGED: (b"00000007 one\n", b"", b"", b""),
}


@pytest.mark.parametrize("sharing", ANSWERED)
def test_a_reply_that_came_before_the_connection_broke_reaches_its_client(sharing: Sharing) -> None:
    async def scene(bench: Bench) -> None:
        asked, sent, reply, wanted = ANSWERED[sharing]
        ann = await bench.asks(asked)
        server = await bench.accepted()
        if sharing is Sharing.TAGGED:  # under an id of ours
            sent = await server.gets(len(asked))
            reply = sent[:9] + b"re\n"
            wanted = asked[:9] + b"re\n"
        else:
            assert await server.gets(len(sent)) == sent
        (upstream,) = bench.pool.upstreams
        server.says(reply)  # all of it in one turn of the loop: nothing is read meanwhile
        server.resets()
        assert upstream.wire is not None
        upstream.wire.write(b"more")
        assert await ann.gets(len(wanted)) == wanted
        assert bench.outcomes() == {"ok": 1}

    perform(scene, sharing, max_connections=1)


def test_the_last_words_of_a_session_go_on_in_both_directions() -> None:
    async def scene(bench: Bench) -> None:
        ann = await bench.client()
        server = await bench.accepted()
        (client,), (upstream,) = bench.pool.clients, bench.pool.upstreams
        await bench.until(lambda: upstream.load() == 1)
        server.says(b"that was all")
        server.resets()
        assert upstream.wire is not None
        upstream.wire.write(b"more")
        assert await ann.gets(12) == b"that was all"

        bob = await bench.client()
        server = await bench.accepted()
        await bench.until(lambda: len(bench.pool.upstreams) == len(bench.pool.clients) == 1)
        (client,), (upstream,) = bench.pool.clients, bench.pool.upstreams
        await bench.until(lambda: upstream.load() == 1)
        bob.says(b"goodbye")
        bob.resets()
        assert client.wire is not None
        client.wire.write(b"more")
        assert await server.gets(7) == b"goodbye"

    perform(scene, TcpProtocol(Tcp()))

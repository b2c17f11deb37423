"""Clients that are answered and closed without a transport, and what becomes of who goes on, on real
sockets. (One wire alone: test_visit.py.)"""

from __future__ import annotations

import asyncio
import socket
from itertools import pairwise

import pytest

from muxproxy.protocols.contract import Sharing
from muxproxy.worker import visit
from muxproxy.worker.client import ClientSocket
from muxproxy.worker.visit import Visit
from tests.toys import Toy
from tests.worker.hands import Bench, End, perform


def wire_of(bench: Bench) -> object:
    (client,) = bench.pool.clients
    return client.wire


async def comes_asking(bench: Bench, data: bytes) -> End:
    """A client whose request has come when it is accepted."""
    sock = socket.socket()
    sock.connect(bench.front.getsockname())  # nobody accepts while this function runs
    sock.send(data)
    return bench.keep(End(sock))


async def visits(bench: Bench, data: bytes) -> tuple[End, End]:
    """The client, and the server that has its request."""
    ann = await comes_asking(bench, data)
    server = await bench.accepted()
    assert await server.gets(len(data)) == data
    return ann, server


def who_asks_again_is_busy(monkeypatch: pytest.MonkeyPatch, times: int = 1) -> None:
    """However long it takes here."""
    monkeypatch.setattr(visit, "SOON", 1e9)
    monkeypatch.setattr(visit, "OFTEN", times)


def test_who_is_answered_with_its_last_reply_never_has_a_transport() -> None:
    async def scene(bench: Bench) -> None:
        ann, server = await visits(bench, b"ann bye\n")
        wire = wire_of(bench)
        assert isinstance(wire, Visit)
        await server.sends(b"re\n")
        assert await ann.gets_end() == b"re\n"
        await bench.until(lambda: not bench.pool.clients)
        assert wire._descriptor < 0
        assert not wire._moving
        assert bench.outcomes() == {"ok": 1}
        assert bench.engine.client_sockets == 0

    perform(scene)


def test_data_and_fin_of_a_last_reply_leave_in_one_segment() -> None:
    async def scene(bench: Bench) -> None:
        ann, server = await visits(bench, b"ann bye\n")
        await server.sends(b"re\n")
        assert await ann.gets_end() == b"re\n"
        info = ann.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232)
        # linux/tcp.h, struct tcp_info: tcpi_segs_in at 140: SYN-ACK, ACK of the request, data with FIN
        assert int.from_bytes(info[140:144], "little") <= 3

    perform(scene)


@pytest.mark.parametrize("sharing", [Sharing.EXCLUSIVE, Sharing.ORDERED])
def test_who_asks_again_soon_stays_and_has_a_transport(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    who_asks_again_is_busy(monkeypatch, 2)

    async def scene(bench: Bench) -> None:
        ann, server = await visits(bench, b"one\n")
        await server.sends(b"one\n")
        assert await ann.gets(4) == b"one\n"
        for _ in range(10):
            await asyncio.sleep(0)
        assert isinstance(wire_of(bench), Visit)
        for word in (b"two\n", b"three\n"):
            assert isinstance(wire_of(bench), Visit)
            await ann.sends(word)
            assert await server.gets(len(word)) == word
            await server.sends(word)
            assert await ann.gets(len(word)) == word
        assert not isinstance(wire_of(bench), Visit)
        ann.closes()
        await bench.until(lambda: not bench.pool.clients)
        assert bench.outcomes() == {"ok": 3}

    perform(scene, sharing)


@pytest.mark.parametrize("sharing", [Sharing.EXCLUSIVE, Sharing.ORDERED, Sharing.TAGGED])
def test_who_asks_seldom_needs_none(sharing: Sharing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visit, "SOON", 0.0)  # behind its last reply: never

    async def scene(bench: Bench) -> None:
        ann = await bench.client()
        server = None
        for number in range(9):
            data = (b"%08d one\n" if sharing is Sharing.TAGGED else b"%d\n") % number
            await ann.sends(data)
            server = server or await bench.accepted()
            await server.sends(await server.gets(len(data)))
            assert await ann.gets(len(data)) == data
            assert isinstance(wire_of(bench), Visit)
        # the rest of a request is not a request: who is in the midst of one is busy
        await ann.sends(b"00000009 one +9\n1" if sharing is Sharing.TAGGED else b"one +9\n1")
        await bench.until(lambda: bench.pool.bytes_from_clients > 9 * len(data))
        assert isinstance(wire_of(bench), Visit)
        monkeypatch.setattr(visit, "OFTEN", 1)
        await ann.sends(b"23")
        await bench.until(lambda: not isinstance(wire_of(bench), Visit))
        ann.closes()
        await bench.until(lambda: not bench.pool.clients)

    perform(scene, sharing)


@pytest.mark.parametrize("how", ["finishes", "resets"])
def test_who_leaves_with_its_reply_is_heard_of_by_no_transport(how: str) -> None:
    async def scene(bench: Bench) -> None:
        ann, server = await visits(bench, b"ann\n")
        wire = wire_of(bench)
        await server.sends(b"re\n")
        assert await ann.gets(3) == b"re\n"
        getattr(ann, how)()
        await bench.until(lambda: not bench.pool.clients)
        assert bench.engine.client_sockets == 0
        assert not wire._moving
        assert bench.engine.lobby.reads == 0

    perform(scene)


def test_requests_that_came_together_are_answered_in_order() -> None:
    async def scene(bench: Bench) -> None:
        ann = await comes_asking(bench, b"one\ntwo\nthree bye\n")
        server = await bench.accepted()
        for word in (b"one\n", b"two\n", b"three bye\n"):
            assert await server.gets(len(word)) == word
            await server.sends(b"re\n")
        assert await ann.gets_end() == b"re\n" * 3

    perform(scene, max_connections=1)


@pytest.mark.parametrize("first", [b"up +20\n12345", b"hel"])
def test_what_has_not_come_to_its_end_is_read_on(first: bytes) -> None:
    rest = b"678901234567890" if first.startswith(b"up") else b"lo\n"

    async def scene(bench: Bench) -> None:
        ann = await comes_asking(bench, first)
        await bench.until(lambda: len(bench.pool.clients) == 1)
        await ann.sends(rest)
        server = await bench.accepted()
        assert await server.gets(len(first + rest)) == first + rest
        await server.sends(b"re\n")
        assert await ann.gets(3) == b"re\n"

    perform(scene)


def test_a_request_longer_than_the_first_read_is_whole() -> None:
    async def scene(bench: Bench) -> None:
        size = 3 * visit.AT_ONCE
        data = b"up +%d\n" % size + b"x" * size
        ann, server = await visits(bench, data)
        await server.sends(b"re\n")
        assert await ann.gets(3) == b"re\n"

    perform(scene)


@pytest.mark.parametrize("how", ["finishes", "resets"])
def test_who_leaves_before_its_answer_is_heard_of(how: str) -> None:
    async def scene(bench: Bench) -> None:
        ann, _ = await visits(bench, b"ann bye\n")
        getattr(ann, how)()
        await bench.until(lambda: bench.outcomes() == {"client_left": 1})
        await bench.until(lambda: not bench.pool.clients)

    perform(scene)


def test_a_tunnel_goes_on_in_one_direction() -> None:
    async def scene(bench: Bench) -> None:
        ann, server = await visits(bench, b"ann pin\n")
        await server.sends(b"ann 101\n")
        assert await ann.gets(8) == b"ann 101\n"
        ann.finishes()
        assert await server.gets(1) == b""
        await server.sends(b"the rest")
        server.closes()
        assert await ann.gets_end() == b"the rest"

    perform(scene)


def test_visits_are_read_in_turns_a_few_in_each_turn_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visit, "READ_PER_TURN", 2)
    size = len(b"ann\n")

    async def scene(bench: Bench) -> None:
        ends = [await bench.client() for _ in range(5)]
        await bench.until(lambda: len(bench.pool.clients) == 5)
        for end in ends:
            end.sock.send(b"ann\n")
        seen = [0]
        while seen[-1] < 5 * size:
            await asyncio.sleep(0)  # a turn
            seen.append(bench.pool.bytes_from_clients)
        assert max(after - before for before, after in pairwise(seen)) == 2 * size

    perform(scene)


def test_one_that_is_not_read_costs_no_turns_and_is_read_again_later() -> None:
    async def scene(bench: Bench) -> None:
        ann, server = await visits(bench, b"one\n")
        await ann.sends(b"two\n")
        (client,) = bench.pool.clients
        await bench.until(client.is_read_paused)  # its second request is held back
        await ann.sends(b"three\n")
        assert bench.engine.lobby.reads == 0
        for word in (b"one\n", b"two\n", b"three\n"):
            if word != b"one\n":
                assert await server.gets(len(word)) == word
            await server.sends(b"re\n")
            assert await ann.gets(3) == b"re\n"

    perform(scene, max_connections=1)


def test_a_reply_larger_than_all_buffers_passes_whole_and_holds_its_server() -> None:
    size = 32 * 1024 * 1024
    data = bytes(range(256)) * (size // 256)

    async def scene(bench: Bench) -> None:
        ann, server = await visits(bench, b"ann bye\n")
        sending = asyncio.get_running_loop().create_task(server.sends(b"re +%d\n" % size + data))
        head = len(b"re +%d\n" % size)
        assert await ann.gets(head) == b"re +%d\n" % size
        await bench.until(lambda: bench.pool.bytes_to_clients > 1024 * 1024)
        for _ in range(200):
            await asyncio.sleep(0)
        assert not sending.done()
        assert bench.pool.bytes_to_clients < size // 2
        got = [await ann.gets(65536) for _ in range(size // 65536)]  # joined once: it is much
        assert b"".join(got) == data
        assert await ann.gets_end() == b""
        await sending
        await bench.until(lambda: bench.outcomes() == {"ok": 1})

    perform(scene)


def test_a_refusal_with_the_rest_still_coming_arrives_whole() -> None:
    async def scene(bench: Bench) -> None:
        ann = await comes_asking(bench, b"!bad\n" + b"x" * 10_000)
        await ann.sends(b"x" * 200_000)
        assert await ann.gets_end() == b"no bad_request bye | malformed !bad\n"

    perform(scene)


def test_who_is_gone_when_it_is_accepted_is_no_client() -> None:
    async def scene(bench: Bench) -> None:
        for how in ("finishes", "resets"):
            getattr(await comes_asking(bench, b""), how)()
        await bench.until(lambda: bench.engine.client_sockets == 0)
        ann, server = await visits(bench, b"ann\n")
        await server.sends(b"re\n")
        assert await ann.gets(3) == b"re\n"
        assert bench.outcomes() == {"ok": 1}

    perform(scene)


def test_a_bug_of_ours_ends_the_visit_it_touched() -> None:
    async def scene(bench: Bench) -> None:
        ann = await comes_asking(bench, b"ann bug bye\n")
        assert await ann.gets_end() == b""
        await bench.until(lambda: bench.engine.client_sockets == 0)
        (traceback,) = bench.bugs()
        assert "a bug of ours" in traceback
        bench.logged.clear()

    perform(scene, Toy(Sharing.EXCLUSIVE, sessions=True))


def test_a_transport_that_cannot_be_made_ends_the_visit(monkeypatch: pytest.MonkeyPatch) -> None:
    who_asks_again_is_busy(monkeypatch)

    async def scene(bench: Bench) -> None:
        def raises(*_: object) -> None:
            raise MemoryError

        monkeypatch.setattr(bench.engine.lobby, "adopt", raises)
        ann, server = await visits(bench, b"ann\n")
        await server.sends(b"re\n")
        assert await ann.gets(3) == b"re\n"
        await ann.sends(b"again\n")
        assert (await ann.gets_end()).startswith(b"no internal")
        await bench.until(lambda: bench.engine.client_sockets == 0)
        assert len(bench.bugs()) == 1
        bench.logged.clear()

    perform(scene)


@pytest.mark.parametrize("sharing", [Sharing.EXCLUSIVE, Sharing.ORDERED, Sharing.TAGGED])
def test_who_stays_and_falls_silent_gives_its_transport_back_and_is_heard_as_before(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    who_asks_again_is_busy(monkeypatch)
    monkeypatch.setattr(visit, "IDLE", 0.01)
    monkeypatch.setattr(visit, "LOOK_EVERY", 0.001)

    async def scene(bench: Bench) -> None:
        ann = await bench.client()
        server = None

        async def asks(word: bytes) -> None:
            nonlocal server
            data = b"00000007 " + word if sharing is Sharing.TAGGED else word
            await ann.sends(data)
            server = server or await bench.accepted()
            await server.sends(await server.gets(len(data)))
            assert await ann.gets(len(data)) == data

        for _ in range(3):
            await asks(b"one\n")
            await asks(b"two\n")
            await bench.until(lambda: isinstance(wire_of(bench), Visit))
        wire = wire_of(bench)
        ann.finishes()
        assert await ann.gets_end() == b""
        await bench.until(lambda: not bench.pool.clients)
        assert not wire._moving
        assert bench.outcomes() == {"ok": 6}
        assert bench.engine.client_sockets == 0

    perform(scene, sharing)


@pytest.mark.inside  # ClientSocket.come_back is replaced
def test_who_is_owed_something_or_takes_nothing_keeps_its_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    who_asks_again_is_busy(monkeypatch)
    monkeypatch.setattr(visit, "IDLE", 0.0)
    monkeypatch.setattr(visit, "LOOK_EVERY", 0.001)
    looks: list[bool] = []
    come_back = ClientSocket.come_back

    def looked(hands: ClientSocket, idle: float) -> bool:
        looks.append(come_back(hands, idle))
        return looks[-1]

    monkeypatch.setattr(ClientSocket, "come_back", looked)

    async def scene(bench: Bench) -> None:
        ann = await comes_asking(bench, b"up +40000\n" + b"x" * visit.AT_ONCE)
        await bench.until(lambda: len(looks) >= 3)  # the rest of its body is to come
        assert not any(looks)
        await ann.sends(b"x" * (40_000 - visit.AT_ONCE))
        server = await bench.accepted()
        await bench.until(lambda: len(looks) >= 6)  # its reply is
        assert not any(looks)
        await server.sends(b"re +20000000\n" + b"x" * 1000)
        assert await server.gets(10) == b"up +40000\n"
        await bench.until(lambda: len(looks) >= 9)  # and more of that
        assert not any(looks)
        ann.closes()
        await bench.until(lambda: any(looks))  # and is forgotten

    perform(scene)


def test_without_a_descriptor_to_spare_it_keeps_its_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    who_asks_again_is_busy(monkeypatch)
    monkeypatch.setattr(visit, "IDLE", 0.0)
    monkeypatch.setattr(visit, "LOOK_EVERY", 0.001)
    tried: list[int] = []

    def dup(descriptor: int) -> int:
        tried.append(descriptor)
        raise OSError(24, "Too many open files")

    async def scene(bench: Bench) -> None:
        monkeypatch.setattr("muxproxy.worker.client.os.dup", dup)
        ann, server = await visits(bench, b"one\n")
        for word in (b"one\n", b"two\n", b"three\n"):
            if word != b"one\n":
                await ann.sends(word)
                assert await server.gets(len(word)) == word
            await server.sends(b"re\n")
            assert await ann.gets(3) == b"re\n"
        await bench.until(lambda: len(tried) >= 2)
        assert not isinstance(wire_of(bench), Visit)

    perform(scene)

"""Clients that come by TLS: what they ask is served as any other's, and who does not get in costs little."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest

from muxproxy.config import sources
from muxproxy.config.address import parse_listen
from muxproxy.config.model import ClientsTls, Tcp
from muxproxy.protocols.tcp import TcpProtocol
from muxproxy.worker.arriving import newcomer
from tests.certificates import client_context, made
from tests.worker.hands import Bench, End, TlsEnd, perform

SERVER = made("server")
SHOWN = ClientsTls(SERVER.cert, SERVER.key)
PATTERN = bytes(range(256)) * 4096


async def _stranger(bench: Bench) -> End:
    """Connects, and says nothing by itself."""
    end = bench.keep(End(socket.socket()))
    await asyncio.get_running_loop().sock_connect(end.sock, bench.front.getsockname())
    return end


def _hello() -> bytes:
    out = ssl.MemoryBIO()
    tls = client_context().wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return out.read()


def test_a_client_is_served_and_its_connection_stays() -> None:
    async def scene(bench: Bench) -> None:
        ann = await bench.asks(b"ann\n")
        server = await bench.accepted()
        for _ in range(2):
            assert await server.gets(4) == b"ann\n"
            await server.sends(b"ann\n")
            assert await ann.gets(4) == b"ann\n"
            await ann.sends(b"ann\n")
        assert bench.pool.handshaking == 0
        assert bench.engine.contexts.statistics("toys")["tls"]["clients"]["handshakes"] == 1

    perform(scene, client_tls=SHOWN, max_connections=1)


def test_a_session_passes_both_ways_and_each_direction_ends_by_itself() -> None:
    async def scene(bench: Bench) -> None:
        ann = await bench.client()
        server = await bench.accepted()
        sending = asyncio.get_running_loop().create_task(ann.sends(PATTERN))
        assert await server.gets(len(PATTERN)) == PATTERN
        await sending
        ann.says_end() if isinstance(ann, TlsEnd) else None
        assert await server.gets_end() == b""
        sending = asyncio.get_running_loop().create_task(server.sends(PATTERN))
        assert await ann.gets(len(PATTERN)) == PATTERN
        await sending
        server.closes()
        assert await ann.gets_end() == b""
        assert isinstance(ann, TlsEnd)
        assert not ann.was_cut
        await bench.until(lambda: bench.outcomes() == {"ok": 1})

    perform(scene, TcpProtocol(Tcp()), client_tls=SHOWN)


def test_a_client_that_stops_half_way_counts_and_is_ended_in_its_time() -> None:
    async def scene(bench: Bench) -> None:
        ann = await _stranger(bench)
        await ann.sends(_hello()[:50])
        await bench.until(lambda: bench.pool.handshaking == 1)
        assert bench.engine.client_sockets == 1
        bob = await _stranger(bench)
        with pytest.raises(ConnectionResetError):  # there may be one client, and there is
            await bob.gets(1)
        assert bench.outcomes() == {"clients_full": 1}
        with pytest.raises(ConnectionResetError):
            await ann.gets(1)
        await bench.until(lambda: bench.engine.client_sockets == bench.pool.handshaking == 0)
        assert bench.statistics()["events"]["client_handshake_timeout"] == 1
        carl = await bench.asks(b"carl\n")
        await (await bench.accepted()).sends(b"carl\n")
        assert await carl.gets(5) == b"carl\n"

    perform(scene, client_tls=SHOWN, head_timeout=0.1, max_clients=1)


def test_a_client_in_plain_text_or_without_a_certificate_does_not_get_in() -> None:
    async def scene(bench: Bench) -> None:
        ann = await _stranger(bench)
        await ann.sends(b"GET / HTTP/1.1\r\n\r\n")
        await ann.gets_end()
        await bench.until(lambda: bench.statistics()["events"].get("client_handshake_failed") == 1)
        bob = await bench.client()  # with TLS 1.3 he hears of it afterwards
        assert isinstance(bob, TlsEnd)
        with pytest.raises(ssl.SSLError, match=r"(?i)certificate.required"):
            await bob.gets(1)
        await bench.until(lambda: bench.engine.client_sockets == 0)
        bench.client_context = client_context(shows="client")
        carl = await bench.asks(b"carl\n")
        await (await bench.accepted()).sends(b"carl\n")
        assert await carl.gets(5) == b"carl\n"
        assert bench.statistics()["events"]["client_handshake_failed"] == 2

    perform(scene, client_tls=ClientsTls(SERVER.cert, SERVER.key, SERVER.ca))


def test_a_client_may_be_asked_for_a_certificate_and_have_none() -> None:
    async def scene(bench: Bench) -> None:
        ann = await bench.asks(b"ann\n")
        await (await bench.accepted()).sends(b"ann\n")
        assert await ann.gets(4) == b"ann\n"
        bench.client_context = client_context(shows="stranger")
        bob = await bench.client()
        with pytest.raises(ssl.SSLError, match=r"(?i)unknown.ca"):
            await bob.gets(1)

    perform(scene, client_tls=ClientsTls(SERVER.cert, SERVER.key, SERVER.ca, "optional"))


def test_who_may_not_connect_is_reset_before_a_handshake() -> None:
    async def scene(bench: Bench) -> None:
        assert bench.accepting is not None
        bench.accepting._listeners[0].admit(sources.of(("10.0.0.0/8",), parse_listen("127.0.0.1:1")))
        ann = await _stranger(bench)
        with pytest.raises(ConnectionResetError):
            await ann.gets(1)
        assert bench.outcomes() == {"denied": 1}
        assert bench.engine.client_sockets == bench.pool.handshaking == 0

    perform(scene, client_tls=SHOWN)


def test_without_files_that_can_be_used_nobody_gets_in_and_the_log_says_why() -> None:
    async def scene(bench: Bench) -> None:
        ann = await _stranger(bench)
        assert await ann.gets_end() == b""
        assert [event for _, event, _ in bench.logged] == ["TLS files cannot be used"]

    perform(scene, client_tls=ClientsTls("/none.pem"))


def test_many_handshakes_wait_for_their_turns_and_all_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newcomer, "MOST_AHEAD", 10)  # who has sent more is not read meanwhile

    async def scene(bench: Bench) -> None:
        clients = await asyncio.gather(*(bench.asks(b"a\n") for _ in range(20)))
        for _ in range(20):
            server = await bench.accepted()
            assert await server.gets(2) == b"a\n"
            await server.sends(b"a\n")
        for client in clients:
            assert await client.gets(2) == b"a\n"

    perform(scene, TcpProtocol(Tcp()), client_tls=SHOWN, max_connections=20)


def test_all_that_a_client_says_with_the_end_of_its_handshake_is_heard() -> None:
    """Its FIN, too, though its handshake is still to be done."""

    async def scene(bench: Bench) -> None:
        end = bench.keep(TlsEnd(socket.socket(), bench.client_context, is_server=False))
        loop = asyncio.get_running_loop()
        await loop.sock_connect(end.sock, bench.front.getsockname())
        assert isinstance(end, TlsEnd)
        with pytest.raises(ssl.SSLWantReadError):
            end.tls.do_handshake()
        await end.tells()
        end.incoming.write(await loop.sock_recv(end.sock, 65536))
        end.tls.do_handshake()
        end.tls.write(b"all of it")
        end.finishes()
        server = await bench.accepted()
        assert await server.gets_end() == b"all of it"
        await server.sends(b"heard")
        server.closes()
        assert await end.gets_end() == b"heard"

    perform(scene, TcpProtocol(Tcp()), client_tls=SHOWN)
